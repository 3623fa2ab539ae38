//! Records: payload is read for a purpose and audited before it is answered; lineage tells where it came from.

use futures_util::FutureExt;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::paging::foreign_token;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::GraphQuestion;
use crate::api::services::OriginQuestion;
use crate::api::services::RecordFilter;
use crate::api::services::Reply;
use crate::api::wire::lineage::Explanation;
use crate::api::wire::lineage::Graph;
use crate::api::wire::lineage::KeyMatch;
use crate::api::wire::lineage::Origin;
use crate::api::wire::lineage::StreamFields;
use crate::api::wire::record::Record;
use crate::audit::Action;
use crate::audit::Entry;
use crate::audit::Log;
use crate::clock::Clock;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::Connectors;
use crate::connection::Definitions;
use crate::connection::State;
use crate::consent::Purpose;
use crate::disclosure::Mechanism;
use crate::gateway::services::graph;
use crate::gateway::services::keys;
use crate::gateway::services::problems::place;
use crate::gateway::services::reading::Reading;
use crate::gateway::services::reading::Readings;
use crate::gateway::services::shape;
use crate::gateway::services::visible;
use crate::ids::ConnectionId;
use crate::ids::RecordId;
use crate::ids::TenantId;
use crate::lineage::LineageError;
use crate::lineage::Location;
use crate::lineage::Reader;
use crate::lineage::StoredRecord;
use crate::record::Kind;
use crate::store::Store;
use crate::vault::VaultError;

/// Records that one request opens at most while it looks for those of a kind.
const OPENED_MAX: usize = 10_000;

/// [`services::Records`] over the reader. Clones share it.
#[derive(Clone)]
pub struct Records {
    pub(super) store: Store,
    pub(super) connections: Connections,
    pub(super) definitions: Definitions,
    pub(super) connectors: Connectors,
    pub(super) reader: Reader,
    readings: Readings,
    pub(super) log: Log,
    clock: Clock,
}

impl Records {
    /// Over a store and what reads it.
    pub fn new(
        store: Store,
        readings: Readings,
        (connections, definitions, connectors): (Connections, Definitions, Connectors),
        reader: Reader,
        (log, clock): (Log, Clock),
    ) -> Self {
        Records { store, connections, definitions, connectors, reader, readings, log, clock }
    }

    /// A record within the scope. One whose keys are gone is not there any more, even before the sweep has come to it.
    pub(super) fn stored(
        &self,
        scope: services::Scope<'_>,
        id: RecordId,
        version: Option<u32>,
    ) -> Result<(Connection, StoredRecord), Problem> {
        let connection = visible::of_record(&self.connections, scope, id)?;
        match self.reader.record(id, version) {
            Ok(Some(record)) => Ok((connection, record)),
            Ok(None) | Err(LineageError::Vault(VaultError::Destroyed { .. })) => Err(Problem::not_found("record", &id.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest versions of a connection's records, from a place on; those of one stream or kind.
    fn read(
        &self,
        connection: &Connection,
        filter: &RecordFilter,
        page: &PageOrder,
    ) -> Result<(Vec<StoredRecord>, Option<Location>), Problem> {
        let missing = |stream: &String| Problem::not_found("stream", stream);
        let number = |stream: &String| connection.stream_number(stream).ok_or_else(|| missing(stream));
        let stream = filter.stream.as_ref().map(number).transpose()?;
        let kind = filter.kind.as_deref().map(str::parse::<Kind>).transpose()?;
        let mut from: Option<Location> = place(page.after.as_deref())?;
        let (mut items, mut opened) = (Vec::new(), 0);
        if matches!(connection.state, State::Erased(_)) {
            return Ok((items, None));
        }
        loop {
            let found = self.reader.records(connection.key, stream, from, page.limit - items.len())?;
            opened += found.items.len();
            from = found.next;
            items.extend(found.items.into_iter().filter(|record| kind.is_none() || record.page.kind == kind));
            if items.len() == page.limit || from.is_none() || opened >= OPENED_MAX {
                return Ok((items, from));
            }
        }
    }

    /// Writes down who reads what and for what, and that they received it, durably: only then may it be answered (promise P8).
    async fn audited(
        &self,
        by: &Principal,
        connection: &Connection,
        purpose: Option<Purpose>,
        read: Vec<(RecordId, Location)>,
    ) -> Result<(), Problem> {
        let reading = Reading { connection: connection.clone(), read };
        self.readings.hand_over(by, purpose, Mechanism::Api, vec![reading]).await
    }

    /// Writes down who asks where things came from: without payload it need not be waited for.
    async fn noted(&self, by: &Principal, connection: &Connection, ids: &[RecordId]) -> Result<(), Problem> {
        let entry = self.entry(by, Action::LineageRead, connection, ids)?;
        Ok(self.log.append_behind(&[entry]).await?)
    }

    fn entry(&self, by: &Principal, action: Action, connection: &Connection, ids: &[RecordId]) -> Result<Entry, Problem> {
        self.readings.entry(by, action, connection, ids.iter().copied())
    }
}

impl services::Records for Records {
    fn list<'a>(&'a self, by: &'a Principal, purpose: Option<Purpose>, filter: RecordFilter, page: PageOrder) -> Reply<'a, List<Record>> {
        async move {
            let connection = visible::connection(&self.connections, by.scope(), filter.connection)?;
            let purpose = allowed(&connection, purpose)?;
            let (records, of) = (self.clone(), connection.clone());
            let (items, read, next) = visible::blocking(move || {
                let (stored, next) = records.read(&of, &filter, &page)?;
                let read: Vec<(RecordId, Location)> = stored.iter().map(|record| (record.id, record.location)).collect();
                let items = stored.iter().map(|record| shape::record(&records.definitions, record)).collect::<Result<Vec<_>, _>>()?;
                Ok((items, read, next))
            })
            .await?;
            self.audited(by, &connection, purpose, read).await?;
            visible::list(items, next)
        }
        .boxed()
    }

    fn get<'a>(&'a self, by: &'a Principal, purpose: Option<Purpose>, id: RecordId, version: Option<u32>) -> Reply<'a, Record> {
        async move {
            let (connection, stored) = self.stored(by.scope(), id, version)?;
            let purpose = allowed(&connection, purpose)?;
            let record = shape::record(&self.definitions, &stored)?;
            self.audited(by, &connection, purpose, vec![(id, stored.location)]).await?;
            Ok(record)
        }
        .boxed()
    }

    fn origin<'a>(&'a self, by: &'a Principal, id: RecordId, question: OriginQuestion) -> Reply<'a, Origin> {
        async move {
            let (connection, stored) = self.stored(by.scope(), id, question.version)?;
            let origin = self.origin_of(&connection, &stored, question)?;
            self.noted(by, &connection, &[id]).await?;
            Ok(origin)
        }
        .boxed()
    }

    fn explain<'a>(
        &'a self,
        by: &'a Principal,
        purpose: Option<Purpose>,
        id: RecordId,
        (version, field): (Option<u32>, Option<String>),
    ) -> Reply<'a, Explanation> {
        async move {
            let (connection, stored) = self.stored(by.scope(), id, version)?;
            let purpose = allowed(&connection, purpose)?;
            let explanation = self.explained(&stored, field.as_deref())?;
            self.audited(by, &connection, purpose, vec![(id, stored.location)]).await?;
            Ok(explanation)
        }
        .boxed()
    }

    fn fields<'a>(&'a self, by: &'a Principal, connection: ConnectionId, stream: String) -> Reply<'a, StreamFields> {
        async move { self.stream_fields(by.scope(), connection, &stream) }.boxed()
    }

    fn graph<'a>(&'a self, by: &'a Principal, question: GraphQuestion) -> Reply<'a, Graph> {
        async move {
            let (start, connection) = graph::start(self, by.scope(), &question.node)?;
            let records = self.clone();
            let graph = visible::blocking(move || graph::around(&records, start, &question)).await?;
            self.noted(by, &connection, &[]).await?;
            Ok(graph)
        }
        .boxed()
    }

    fn by_key<'a>(
        &'a self,
        by: &'a Principal,
        tenant: TenantId,
        kind: String,
        value: String,
        page: PageOrder,
    ) -> Reply<'a, List<KeyMatch>> {
        async move {
            let nothing = || Ok(List::new(Vec::new(), None));
            let Some(number) = self.connections.tenant(&tenant)? else { return nothing() };
            let after = page.after.as_deref().map(|bytes| <[u8; 26]>::try_from(bytes).map_err(|_| foreign_token())).transpose()?;
            let after = after.map(RecordId::from_bytes);
            if after.is_some_and(|id| id.owner.tenant != number) {
                return Err(foreign_token());
            }
            let Some(question) = keys::Question::new(kind, &value) else { return nothing() };
            let records = self.clone();
            let found = visible::blocking(move || keys::matches(&records, number, &question, after, page.limit)).await?;
            let mut entry = Entry::new(self.clock.now(), by.actor(), Action::LineageRead);
            entry.tenant = Some(tenant);
            entry.count = Some(found.items.len() as u64);
            self.log.append_behind(&[entry]).await?;
            Ok(found)
        }
        .boxed()
    }
}

/// What the reading is for: the stated purpose, if the customer agreed to it; without one, which only the local operator
/// may leave out, the connection's first.
pub(super) fn allowed(connection: &Connection, stated: Option<Purpose>) -> Result<Option<Purpose>, Problem> {
    let Some(purpose) = stated else { return Ok(connection.purposes.first().copied()) };
    if connection.purposes.contains(&purpose) {
        return Ok(Some(purpose));
    }
    let allowed = connection.purposes.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>().join(", ");
    Err(Problem::PurposeNotAgreed { connection: connection.id.to_string(), purpose: purpose.as_str(), allowed })
}
