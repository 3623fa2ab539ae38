//! The change feed: the log of changes, as a caller with a purpose may see it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::api::paging::List;
use crate::api::paging::foreign_token;
use crate::api::paging::token;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::FeedQuestion;
use crate::api::services::Reply;
use crate::api::wire::change as wire;
use crate::audit::Action;
use crate::audit::Entry;
use crate::audit::Log;
use crate::clock::Clock;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::Definitions;
use crate::consent::Purpose;
use crate::disclosure::Mechanism;
use crate::gateway::services::problems::place;
use crate::gateway::services::reading::Reading;
use crate::gateway::services::reading::Readings;
use crate::gateway::services::records::allowed;
use crate::gateway::services::shape;
use crate::gateway::services::visible;
use crate::ids::ConnectionKey;
use crate::lineage::Change;
use crate::lineage::FeedPlace;
use crate::lineage::LineageError;
use crate::lineage::Reader;
use crate::store::Store;

/// [`services::Changes`] over the log. Clones share it.
#[derive(Clone)]
pub struct Changes {
    store: Store,
    connections: Connections,
    definitions: Definitions,
    reader: Reader,
    readings: Readings,
    log: Log,
    clock: Clock,
}

/// A place in the feed as a caller holds it: with the tenant, for another tenant's means nothing here; none while there was no such tenant.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Place(Option<u32>, FeedPlace);

/// A part of the feed before it is written down that it was read.
struct Part {
    items: Vec<wire::Change>,
    /// The versions whose records are in it.
    read: HashMap<ConnectionKey, Reading>,
    next: FeedPlace,
    is_end: bool,
}

impl Place {
    fn token(self) -> Result<String, Problem> {
        Ok(token(&postcard::to_stdvec(&self).map_err(Problem::internal)?))
    }
}

impl Changes {
    /// Over a store and what reads it.
    pub fn new(
        store: Store,
        (connections, definitions): (Connections, Definitions),
        reader: Reader,
        readings: Readings,
        (log, clock): (Log, Clock),
    ) -> Self {
        Changes { store, connections, definitions, reader, readings, log, clock }
    }

    /// What lies behind a place. Connections that did not agree to the purpose are left out, and so is what the question does not name.
    fn part(&self, tenant: u32, from: FeedPlace, purpose: Option<Purpose>, question: &FeedQuestion) -> Result<Part, Problem> {
        let known: RefCell<HashMap<ConnectionKey, Option<Connection>>> = RefCell::default();
        let failed: RefCell<Option<Problem>> = RefCell::default();
        let wants = |owner: ConnectionKey, stream: u16| {
            let mut known = known.borrow_mut();
            let connection = match known.get(&owner) {
                Some(connection) => connection,
                None => {
                    let found = self.connections.by_key(owner).unwrap_or_else(|error| {
                        failed.borrow_mut().get_or_insert(error.into());
                        None
                    });
                    known.entry(owner).or_insert(found)
                }
            };
            let is_wanted = connection.as_ref().is_some_and(|connection| {
                question.connection.is_none_or(|id| id == connection.id)
                    && question.stream.as_ref().is_none_or(|name| connection.streams.get(usize::from(stream)) == Some(name))
                    && purpose.is_none_or(|purpose| connection.purposes.contains(&purpose))
            });
            Ok::<bool, LineageError>(is_wanted)
        };
        let found = self.reader.changes(tenant, from, question.page.limit, &wants)?;
        if let Some(problem) = failed.into_inner() {
            return Err(problem);
        }
        let known = known.into_inner();
        let mut part =
            Part { items: Vec::with_capacity(found.changes.len()), read: HashMap::new(), next: found.next, is_end: found.is_end };
        for (change, behind) in found.changes {
            let owner = change.id().owner;
            let Some(connection) = known.get(&owner).and_then(Option::as_ref) else { continue };
            let position = Place(Some(tenant), behind).token()?;
            if let Change::Version(stored) = &change
                && question.data
            {
                let reading = part.read.entry(owner).or_insert_with(|| Reading { connection: connection.clone(), read: Vec::new() });
                reading.read.push((stored.id, stored.location));
            }
            part.items.push(self.shown(change, position, connection, question.data)?);
        }
        Ok(part)
    }

    fn shown(&self, change: Change, position: String, connection: &Connection, data: bool) -> Result<wire::Change, Problem> {
        let record = change.id();
        let mut item = wire::Change {
            position,
            change: String::new(),
            record,
            version: None,
            previous: None,
            connection: connection.id,
            stream: connection.streams.get(usize::from(record.stream)).cloned().unwrap_or_default(),
            kind: None,
            at: crate::clock::Timestamp::UNIX_EPOCH,
            data: None,
            operational: None,
            tag: None,
            run: None,
            erasure: None,
        };
        match change {
            Change::Version(stored) => {
                item.change = if stored.facts.version == 1 { "created" } else { "changed" }.into();
                (item.version, item.previous) = (Some(stored.facts.version), stored.facts.previous);
                item.kind = stored.page.kind.map(|kind| kind.as_str().to_owned());
                item.at = stored.page.exchange.received_at;
                if data {
                    let record = shape::record(&self.definitions, &stored)?;
                    (item.data, item.operational, item.tag) = (Some(record.data), record.operational, Some(record.tag));
                }
            }
            Change::DeletedAtSource { run, at, .. } => (item.change, item.run, item.at) = ("deleted".into(), Some(run), at),
            Change::Erased { erasure, at, .. } => (item.change, item.erasure, item.at) = ("erased".into(), Some(erasure), at),
        }
        Ok(item)
    }

    /// Writes down what is about to be answered: payload durably and as disclosed (promise P8), the rest as lineage.
    async fn written_down(
        &self,
        by: &Principal,
        purpose: Option<Purpose>,
        question: &FeedQuestion,
        items: usize,
        read: HashMap<ConnectionKey, Reading>,
    ) -> Result<(), Problem> {
        let mut by_purpose: BTreeMap<Option<Purpose>, Vec<Reading>> = BTreeMap::new();
        for reading in read.into_values() {
            by_purpose.entry(allowed(&reading.connection, purpose)?).or_default().push(reading);
        }
        let is_lineage = by_purpose.is_empty();
        for (purpose, readings) in by_purpose {
            self.readings.hand_over(by, purpose, Mechanism::Feed, readings).await?;
        }
        if is_lineage {
            let mut entry = Entry::new(self.clock.now(), by.actor(), Action::LineageRead);
            (entry.tenant, entry.count) = (Some(question.tenant.clone()), Some(items as u64));
            self.log.append_behind(&[entry]).await?;
        }
        // Only what is on disk is told (P5), also within an answer that has no end.
        Ok(self.store.rows_seen_are_durable().await?)
    }
}

impl services::Changes for Changes {
    fn next<'a>(&'a self, by: &'a Principal, purpose: Option<Purpose>, question: FeedQuestion) -> Reply<'a, List<wire::Change>> {
        async move {
            if let Some(id) = question.connection {
                visible::connection(&self.connections, Some(&question.tenant), id)?;
            }
            let Place(of, mut from) = place(question.page.after.as_deref())?.unwrap_or(Place(None, FeedPlace::default()));
            let (mut durable, until) = (self.store.durable(), Instant::now() + question.wait);
            loop {
                durable.borrow_and_update();
                let tenant = self.connections.tenant(&question.tenant)?;
                if of.is_some() && of != tenant {
                    return Err(foreign_token());
                }
                let mut is_end = true;
                if let Some(tenant) = tenant {
                    let (all, asked) = (self.clone(), question.clone());
                    let part = visible::blocking(move || all.part(tenant, from, purpose, &asked)).await?;
                    (from, is_end) = (part.next, part.is_end);
                    if !part.items.is_empty() {
                        self.written_down(by, purpose, &question, part.items.len(), part.read).await?;
                        return Ok(List { items: part.items, next: Some(Place(Some(tenant), from).token()?) });
                    }
                }
                if question.stop.is_cancelled() || (is_end && Instant::now() >= until) {
                    return Ok(List { items: Vec::new(), next: Some(Place(tenant, from).token()?) });
                }
                if is_end {
                    tokio::select! {
                        changed = durable.changed() => changed.map_err(Problem::internal)?,
                        () = tokio::time::sleep_until(until) => {}
                        () = question.stop.cancelled() => {}
                    }
                }
            }
        }
        .boxed()
    }
}
