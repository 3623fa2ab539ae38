//! What stands around a node: consent and connector, connection, runs, pages, records, in the direction of the data.

use std::collections::HashSet;
use std::collections::VecDeque;

use serde_json::Value;
use serde_json::json;

use crate::api::problem::Problem;
use crate::api::services::GraphQuestion;
use crate::api::services::Scope;
use crate::api::wire::lineage::Edge;
use crate::api::wire::lineage::Graph;
use crate::api::wire::lineage::Node;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::State;
use crate::gateway::services::records::Records;
use crate::gateway::services::visible;
use crate::ids::ConnectionKey;
use crate::ids::ConsentId;
use crate::ids::PageId;
use crate::ids::RecordId;
use crate::ids::RunId;
use crate::lineage::Location;
use crate::lineage::PageRow;
use crate::lineage::RunIdRow;
use crate::lineage::RunRow;

/// Nodes of one graph; past it the graph says that it is cut short.
const NODES_MAX: usize = 1000;
/// Page rows that are looked at in search of those of one run.
const PAGES_MAX: usize = 10_000;

/// Something that data passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Record(RecordId),
    Page(PageId),
    Run(ConnectionKey, RunId),
    Connection(ConnectionKey),
    Consent(ConnectionKey, ConsentId),
    Connector(ConnectionKey),
}

/// Which way a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Where a graph begins, and whose it is. An id that the caller may not see is an unknown one.
pub fn start(records: &Records, scope: Scope<'_>, node: &str) -> Result<(Place, Connection), Problem> {
    let missing = || Problem::not_found("node", node);
    let connections = &records.connections;
    let place = if let Ok(id) = node.parse() {
        Some(Place::Record(id))
    } else if let Ok(id) = node.parse::<PageId>() {
        Some(Place::Page(id))
    } else if let Ok(id) = node.parse::<RunId>() {
        records.store.get::<RunIdRow>(&id.to_bytes())?.map(|RunIdRow(owner)| Place::Run(owner, id))
    } else if let Ok(id) = node.parse() {
        match connections.find(id) {
            Ok(connection) => Some(Place::Connection(connection.key)),
            Err(ConnectionError::Unknown { .. }) => None,
            Err(error) => return Err(error.into()),
        }
    } else if let Ok(id) = node.parse::<ConsentId>() {
        connections.consent(id)?.map(|(connection, _)| Place::Consent(connection.key, id))
    } else {
        None
    };
    let place = place.ok_or_else(missing)?;
    let connection = connections.by_key(place.owner())?.filter(|connection| visible::sees(scope, connection)).ok_or_else(missing)?;
    if records.facts(place, &connection)?.is_none() {
        return Err(missing());
    }
    Ok((place, connection))
}

/// The graph around a place: a walk up and a walk down, each as deep as is asked for.
pub fn around(records: &Records, start: Place, question: &GraphQuestion) -> Result<Graph, Problem> {
    let owner = records.connections.by_key(start.owner())?;
    let connection = owner.ok_or_else(|| Problem::not_found("node", &question.node))?;
    let mut walk = Walk { records, connection: &connection, graph: Graph { nodes: Vec::new(), edges: Vec::new(), truncated: false } };
    walk.add(start)?;
    for (way, other) in [(Way::Up, "down"), (Way::Down, "up")] {
        if question.direction != other {
            walk.go(start, way, question.depth)?;
        }
    }
    Ok(walk.graph)
}

struct Walk<'a> {
    records: &'a Records,
    connection: &'a Connection,
    graph: Graph,
}

impl Walk<'_> {
    fn go(&mut self, start: Place, way: Way, depth: u32) -> Result<(), Problem> {
        let mut seen = HashSet::from([start]);
        let mut ahead = VecDeque::from([(start, 0)]);
        while let Some((place, edges)) = ahead.pop_front() {
            if edges == depth {
                continue;
            }
            for next in self.records.beside(place, self.connection, way, NODES_MAX + 1)? {
                if self.graph.nodes.len() >= NODES_MAX {
                    self.graph.truncated = true;
                    return Ok(());
                }
                let (here, there) = (place.id(self.connection), next.id(self.connection));
                if !seen.insert(next) {
                    continue;
                }
                if self.add(next)? {
                    let (from, to) = if way == Way::Up { (there, here) } else { (here, there) };
                    self.graph.edges.push(Edge { from, to });
                    ahead.push_back((next, edges + 1));
                }
            }
        }
        Ok(())
    }

    /// Adds a node, unless nothing is known of it any more.
    fn add(&mut self, place: Place) -> Result<bool, Problem> {
        let Some(facts) = self.records.facts(place, self.connection)? else { return Ok(false) };
        self.graph.nodes.push(Node { id: place.id(self.connection), noun: place.noun().into(), facts });
        Ok(true)
    }
}

impl Place {
    fn owner(self) -> ConnectionKey {
        match self {
            Place::Record(id) => id.owner,
            Place::Page(id) => id.owner,
            Place::Run(owner, _) | Place::Connection(owner) | Place::Consent(owner, _) | Place::Connector(owner) => owner,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Place::Record(_) => "record",
            Place::Page(_) => "page",
            Place::Run(..) => "run",
            Place::Connection(_) => "connection",
            Place::Consent(..) => "consent",
            Place::Connector(_) => "connector",
        }
    }

    fn id(self, connection: &Connection) -> String {
        match self {
            Place::Record(id) => id.to_string(),
            Place::Page(id) => id.to_string(),
            Place::Run(_, id) => id.to_string(),
            Place::Connection(_) => connection.id.to_string(),
            Place::Consent(_, id) => id.to_string(),
            Place::Connector(_) => connection.connector.name.clone(),
        }
    }
}

impl Records {
    /// The places one edge away, at most `limit`.
    fn beside(&self, place: Place, connection: &Connection, way: Way, limit: usize) -> Result<Vec<Place>, Problem> {
        let owner = connection.key;
        Ok(match (way, place) {
            (Way::Up, Place::Record(id)) => {
                let record = self.reader.record(id, None)?;
                record.map(|record| Place::Page(PageId { owner, page: record.location.page })).into_iter().collect()
            }
            (Way::Up, Place::Page(id)) => {
                self.store.get::<PageRow>(&(owner, id.page))?.map(|row| Place::Run(owner, row.run)).into_iter().collect()
            }
            (Way::Up, Place::Run(..)) => vec![Place::Connection(owner)],
            (Way::Up, Place::Connection(_)) => vec![Place::Consent(owner, connection.consent), Place::Connector(owner)],
            (Way::Up, Place::Consent(..) | Place::Connector(_)) | (Way::Down, Place::Record(_)) => Vec::new(),
            (Way::Down, Place::Consent(..) | Place::Connector(_)) => vec![Place::Connection(owner)],
            (Way::Down, Place::Connection(_)) => {
                let runs = self.store.scan_back::<RunRow>(&owner.to_bytes(), None, limit)?;
                runs.into_iter().map(|((_, id), _)| Place::Run(owner, RunId::from_bytes(id))).collect()
            }
            (Way::Down, Place::Run(_, run)) => {
                let pages = self.store.scan_back::<PageRow>(&owner.to_bytes(), None, PAGES_MAX)?;
                let of_run = pages.into_iter().filter(|(_, row)| row.run == run);
                of_run.map(|((_, page), _)| Place::Page(PageId { owner, page })).take(limit).collect()
            }
            (Way::Down, Place::Page(id)) => {
                let Some(row) = self.store.get::<PageRow>(&(owner, id.page))? else { return Ok(Vec::new()) };
                let from = Location { page: id.page, block: 0, slot: 0 };
                let records = self.reader.records(owner, Some(row.stream), Some(from), limit)?.items;
                records.into_iter().take_while(|record| record.location.page == id.page).map(|record| Place::Record(record.id)).collect()
            }
        })
    }

    /// What is known of a place, never payload; none when there is no such place.
    fn facts(&self, place: Place, connection: &Connection) -> Result<Option<Value>, Problem> {
        let stream = |number: u16| connection.streams.get(usize::from(number)).cloned();
        let is_erased = matches!(connection.state, State::Erased(_));
        Ok(match place {
            // Their rows wait for the sweep, their keys are gone.
            Place::Record(_) | Place::Page(_) if is_erased => None,
            Place::Record(id) => {
                let row = self.store.get::<crate::lineage::RecordRow>(&(id.owner, (id.stream, id.hash)))?;
                row.map(|row| json!({ "stream": stream(id.stream), "version": row.version }))
            }
            Place::Page(id) => {
                let row = self.store.get::<PageRow>(&(id.owner, id.page))?;
                row.map(|row| -> Result<_, Problem> {
                    let facts = self.reader.facts(id.owner, id.page, &row)?;
                    Ok(json!({
                        "stream": stream(row.stream), "run": row.run, "filtered": facts.filtered, "ignored": facts.ignored,
                        "coerced": facts.coerced, "coerced_keys": facts.coerced_keys,
                    }))
                })
                .transpose()?
            }
            Place::Run(owner, id) => {
                let row = self.store.get::<RunRow>(&(owner, id.to_bytes()))?;
                row.map(|run| {
                    json!({
                        "stream": run.stream, "state": run.state, "pages": run.pages, "filtered": run.filtered, "ignored": run.ignored,
                        "coerced": run.coerced, "coerced_keys": run.coerced_keys, "started_at": run.started_at,
                    })
                })
            }
            Place::Connection(_) => {
                Some(json!({ "tenant": connection.tenant, "state": connection.state.name(), "created_at": connection.created_at }))
            }
            Place::Consent(_, id) => {
                let consent = self.connections.consent(id)?;
                consent
                    .map(|(_, consent)| json!({ "policy_version": consent.policy_version, "purposes": consent.purposes, "at": consent.at }))
            }
            Place::Connector(_) => Some(json!({ "digest": connection.connector.digest })),
        })
    }
}
