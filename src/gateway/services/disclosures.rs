//! Disclosures: listed, and stated where they were made elsewhere.

use std::collections::BTreeMap;

use futures_util::FutureExt;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::DisclosureFilter;
use crate::api::services::Reply;
use crate::api::wire::disclosure as wire;
use crate::audit::Action;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::connection;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::State;
use crate::consent::Purpose;
use crate::consent::PurposeError;
use crate::disclosure;
use crate::disclosure::Handover;
use crate::disclosure::Mechanism;
use crate::disclosure::MechanismError;
use crate::disclosure::Recipient;
use crate::gateway::services::problems::place;
use crate::gateway::services::reading::Reading;
use crate::gateway::services::reading::Readings;
use crate::gateway::services::visible;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::RecordId;
use crate::ids::TenantId;
use crate::lineage::Location;
use crate::lineage::RecordRow;
use crate::store::Store;
use crate::store::Unit;

/// [`services::Disclosures`] over the kept ones. Clones share it.
#[derive(Clone)]
pub struct Disclosures {
    store: Store,
    connections: Connections,
    kept: disclosure::Disclosures,
    readings: Readings,
    clock: Clock,
}

/// A disclosure made elsewhere, but for what was disclosed.
struct Stated {
    recipient: Recipient,
    purpose: Purpose,
    mechanism: Mechanism,
    at: crate::clock::Timestamp,
}

impl Disclosures {
    /// Over a store and the disclosures in it.
    pub fn new(store: Store, connections: Connections, kept: disclosure::Disclosures, readings: Readings, clock: Clock) -> Self {
        Disclosures { store, connections, kept, readings, clock }
    }

    /// The newest versions of records, by connection.
    fn of_records(&self, scope: services::Scope<'_>, ids: &[RecordId]) -> Result<Vec<Reading>, Problem> {
        let mut found: BTreeMap<ConnectionKey, Reading> = BTreeMap::new();
        for id in ids {
            let row = self.store.get::<RecordRow>(&(id.owner, (id.stream, id.hash)))?;
            let connection = match found.get(&id.owner) {
                Some(reading) => reading.connection.clone(),
                None => visible::of_record(&self.connections, scope, *id)?,
            };
            let row = row.ok_or_else(|| Problem::not_found("record", &id.to_string()))?;
            let reading = found.entry(id.owner).or_insert_with(|| Reading { connection, read: Vec::new() });
            reading.read.push((*id, row.location));
        }
        Ok(found.into_values().collect())
    }

    /// Keeps that records were disclosed; all of them in one unit.
    async fn state_records(&self, by: &Principal, stated: &Stated, ids: &[RecordId]) -> Result<Vec<Connection>, Problem> {
        let found = self.of_records(by.scope(), ids)?;
        let (mut unit, mut handovers, mut of) = (Unit::default(), Vec::new(), Vec::new());
        for Reading { connection, read } in found {
            let entry = self.readings.entry(by, Action::DisclosureRecorded, &connection, read.iter().map(|(id, _)| *id))?;
            unit.audit(said(entry, stated).to_leaf());
            handovers.push(stated.handover(connection.key, read.into_iter().map(|(_, location)| location).collect()));
            of.push(connection);
        }
        self.kept.keep(unit, &handovers).await?;
        Ok(of)
    }

    /// Keeps that every record of a connection, or of one of its streams, was disclosed.
    async fn state_connection(
        &self,
        by: &Principal,
        stated: &Stated,
        id: ConnectionId,
        stream: Option<String>,
    ) -> Result<Vec<Connection>, Problem> {
        let connection = visible::connection(&self.connections, by.scope(), id)?;
        if matches!(connection.state, State::Erased(_)) {
            let reason =
                format!("connection {id} is erased, so there is no record of it any more that could be told to have been disclosed");
            return Err(Problem::StateConflict { reason });
        }
        let streams: Vec<(u16, &String)> = match &stream {
            None => (0..).zip(&connection.streams).collect(),
            Some(name) => {
                let number = connection.stream_number(name).ok_or_else(|| Problem::not_found("stream", name))?;
                vec![(number, name)]
            }
        };
        for (number, name) in streams {
            let mut entry = connection::entry(Action::DisclosureRecorded, &by.actor(), &connection, self.clock.now());
            entry.object = Some(name.clone());
            let mut unit = Unit::default();
            unit.audit(said(entry, stated).to_leaf());
            self.kept.keep_stream(unit, stated.handover(connection.key, Vec::new()), number).await?;
        }
        Ok(vec![connection])
    }

    /// As it is told; the connection's id is known as long as the tenant is.
    fn shown(&self, told: disclosure::Disclosure) -> Result<wire::Disclosure, Problem> {
        let connection = self.connections.by_key(told.owner)?.map(|connection| connection.id);
        Ok(wire::Disclosure {
            id: told.id,
            recipient: wire::Recipient {
                name: told.recipient.name,
                kind: told.recipient.kind.as_str().to_owned(),
                category: told.recipient.category,
                region: told.recipient.region,
            },
            connection,
            purpose: told.purpose.map(|purpose| purpose.as_str().to_owned()),
            mechanism: told.mechanism.as_str().to_owned(),
            first_at: told.first_at,
            last_at: told.last_at,
            records: told.versions,
        })
    }
}

impl Stated {
    fn of(order: &wire::Order, clock: &Clock) -> Result<Self, Problem> {
        let taken = || Problem::member("/recipient", "taken", "this is how Headgate names API keys and the operator; use another name");
        let recipient = Recipient::external(order.recipient.clone(), order.category.clone(), order.region.clone()).ok_or_else(taken)?;
        let now = clock.now();
        let at = order.at.unwrap_or(now);
        if at > now {
            return Err(Problem::member("/at", "future", "it has not come yet; state what has taken place"));
        }
        Ok(Stated {
            recipient,
            purpose: order.purpose.parse().map_err(|error: PurposeError| Problem::member("/purpose", "unknown", error.to_string()))?,
            mechanism: match &order.mechanism {
                None => Mechanism::Stated,
                Some(word) => word.parse().map_err(|error: MechanismError| Problem::member("/mechanism", "unknown", error.to_string()))?,
            },
            at,
        })
    }

    fn handover(&self, owner: ConnectionKey, versions: Vec<Location>) -> Handover {
        let Stated { recipient, purpose, mechanism, at } = self;
        Handover { owner, recipient: recipient.clone(), purpose: Some(*purpose), mechanism: *mechanism, at: *at, versions }
    }
}

/// The entry of a stated disclosure: who the recipient is stays out of the log.
fn said(mut entry: Entry, stated: &Stated) -> Entry {
    entry.purpose = Some(stated.purpose.as_str().to_owned());
    entry
}

impl services::Disclosures for Disclosures {
    fn state<'a>(&'a self, by: &'a Principal, order: wire::Order) -> Reply<'a, List<wire::Disclosure>> {
        async move {
            let stated = Stated::of(&order, &self.clock)?;
            let connections = match (order.records, order.connection) {
                (Some(ids), None) => self.state_records(by, &stated, &ids).await?,
                (None, Some(connection)) => self.state_connection(by, &stated, connection, order.stream).await?,
                _ => return Err(Problem::member("", "scope", "name either `records` or a `connection`")),
            };
            let mut items = Vec::new();
            for connection in connections {
                let told = self.kept.of_connection(connection.key)?.into_iter().filter(|told| {
                    told.recipient.name == stated.recipient.name
                        && (told.purpose, told.mechanism) == (Some(stated.purpose), stated.mechanism)
                });
                items.extend(told.map(|told| self.shown(told)).collect::<Result<Vec<_>, _>>()?);
            }
            Ok(List { items, next: None })
        }
        .boxed()
    }

    fn list<'a>(&'a self, tenant: TenantId, filter: DisclosureFilter, page: PageOrder) -> Reply<'a, List<wire::Disclosure>> {
        async move {
            let after: Option<disclosure::Place> = place(page.after.as_deref())?;
            let wanted = filter.connection.map(|id| visible::connection(&self.connections, Some(&tenant), id)).transpose()?;
            let Some(number) = self.connections.tenant(&tenant)? else { return Ok(List { items: Vec::new(), next: None }) };
            let all = self.clone();
            visible::blocking(move || {
                let step = |after, limit| Ok(all.kept.list(number, filter.recipient.as_deref(), after, limit)?);
                let keep = |(_, told): (disclosure::Place, disclosure::Disclosure)| {
                    let is_wanted = wanted.as_ref().is_none_or(|connection| connection.key == told.owner)
                        && filter.since.is_none_or(|since| told.last_at >= since);
                    is_wanted.then(|| all.shown(told)).transpose()
                };
                visible::page(page.limit, after, step, |(place, _)| *place, keep)
            })
            .await
        }
        .boxed()
    }
}
