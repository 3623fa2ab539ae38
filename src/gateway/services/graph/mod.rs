//! What stands around a node: consent and connector, connection, runs, pages, records, what was made of them and who received
//! them, and the company's own jobs; in the direction of the data.

mod beside;
mod facts;
mod place;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::api::paging::token;
use crate::api::problem::Problem;
use crate::api::services::GraphQuestion;
use crate::api::wire::lineage::Edge;
use crate::api::wire::lineage::Graph;
use crate::api::wire::lineage::Node;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::connection::State;
use crate::gateway::services::records::Records;
use crate::ids::ConnectionKey;
use crate::ids::RecordId;
use crate::ids::TenantId;
use crate::lineage::StoredRecord;
use crate::openlineage::Book;

use self::place::Place;

/// Nodes that one walk meets at most, those of the pages before included; past it the graph says that it is cut short.
const WALK_NODES_MAX: usize = 10_000;
/// Versions that are looked at for the one of a time.
const VERSIONS_MAX: usize = 1000;

/// Which way a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// The graph around a node of a tenant: a walk up and a walk down, each as deep as is asked for, the nearer nodes first. An id
/// that is not the tenant's is an unknown one.
pub fn around(records: &Records, tenant: &TenantId, question: &GraphQuestion) -> Result<Graph, Problem> {
    let missing = || Problem::not_found("node", &question.node);
    let number = records.connections.tenant(tenant)?.ok_or_else(missing)?;
    let book = records.joined.graph.book(tenant)?;
    let walk = Walk { records, tenant: number, book, at: question.at, connections: Mutex::default() };
    let start = walk.place(&question.node)?.ok_or_else(missing)?;
    let first = walk.node(&start)?.ok_or_else(missing)?;
    let mut found = Found { nodes: vec![first], places: HashMap::from([(start.clone(), 0)]), edges: BTreeSet::new(), is_cut: false };
    for (way, other) in [(Way::Up, "down"), (Way::Down, "up")] {
        if question.direction != other {
            walk.go(&start, way, question, &mut found)?;
        }
    }
    Ok(found.page(question))
}

/// Whose node it is, as far as its id says so.
pub fn tenant_of(records: &Records, node: &str) -> Result<Option<TenantId>, Problem> {
    let owner = Place::numbered(records, node)?;
    Ok(owner.map(|owner| records.connections.tenant_named(owner)).transpose()?.flatten())
}

/// A walk through one tenant's graph.
struct Walk<'a> {
    records: &'a Records,
    tenant: u32,
    book: Option<Book>,
    /// What is not older than this is left out.
    at: Option<Timestamp>,
    connections: Mutex<HashMap<ConnectionKey, Option<Connection>>>,
}

/// What a walk has met, in the order in which it did.
struct Found {
    nodes: Vec<Node>,
    places: HashMap<Place, usize>,
    /// From what to what, by number.
    edges: BTreeSet<(usize, usize)>,
    is_cut: bool,
}

impl Walk<'_> {
    fn go(&self, start: &Place, way: Way, question: &GraphQuestion, found: &mut Found) -> Result<(), Problem> {
        let mut ahead = VecDeque::from([(start.clone(), 0)]);
        let mut seen = HashSet::from([start.clone()]);
        let wanted = (question.offset + question.limit + 1).min(WALK_NODES_MAX);
        while let Some((place, edges)) = ahead.pop_front() {
            if edges == question.depth {
                continue;
            }
            for next in self.beside(&place, way, wanted)? {
                let is_new = seen.insert(next.clone());
                if !found.places.contains_key(&next) {
                    if found.nodes.len() >= wanted {
                        found.is_cut = true;
                        return Ok(());
                    }
                    let Some(node) = self.node(&next)? else { continue };
                    found.places.insert(next.clone(), found.nodes.len());
                    found.nodes.push(node);
                }
                if let (Some(here), Some(there)) = (found.places.get(&place), found.places.get(&next)) {
                    found.edges.insert(if way == Way::Up { (*there, *here) } else { (*here, *there) });
                }
                if is_new {
                    ahead.push_back((next, edges + 1));
                }
            }
        }
        Ok(())
    }

    /// A connection of the tenant, looked up once.
    fn connection(&self, owner: ConnectionKey) -> Result<Option<Connection>, Problem> {
        let mut known = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = known.get(&owner) {
            return Ok(connection.clone());
        }
        let connection = self.records.connections.by_key(owner)?.filter(|found| found.key.tenant == self.tenant);
        known.insert(owner, connection.clone());
        Ok(connection)
    }

    fn is_erased(&self, owner: ConnectionKey) -> Result<bool, Problem> {
        Ok(self.connection(owner)?.is_some_and(|connection| matches!(connection.state, State::Erased(_))))
    }

    /// The version of a record at the time that is asked about: the newest that had been received by then.
    fn version(&self, id: RecordId) -> Result<Option<StoredRecord>, Problem> {
        let newest = self.records.reader.record(id, None)?;
        let (Some(newest), Some(at)) = (&newest, self.at) else { return Ok(newest) };
        let history = self.records.reader.history(newest, VERSIONS_MAX)?;
        let Some(then) = history.into_iter().find(|kept| kept.received_at <= at) else { return Ok(None) };
        Ok(self.records.reader.record(id, Some(then.version))?)
    }
}

impl Found {
    /// The part of the graph that is asked for: some nodes, and the edges that they add to those before.
    fn page(self, question: &GraphQuestion) -> Graph {
        let end = (question.offset + question.limit).min(self.nodes.len());
        let is_kind = |node: &Node| question.kinds.is_empty() || question.kinds.contains(&node.noun);
        let shown: HashSet<usize> = self.nodes.iter().enumerate().filter(|(_, node)| is_kind(node)).map(|(number, _)| number).collect();
        let is_here = |number: usize| (question.offset..end).contains(&number);
        let edges = self.edges.iter().filter(|(from, to)| {
            let all = [*from, *to];
            all.iter().all(|end_of| *end_of < end && shown.contains(end_of)) && all.iter().any(|end_of| is_here(*end_of))
        });
        let edges = edges.map(|(from, to)| Edge { from: self.nodes[*from].id.clone(), to: self.nodes[*to].id.clone() }).collect();
        let more = self.is_cut || end < self.nodes.len();
        let next = (more && end < WALK_NODES_MAX && end > question.offset).then(|| token(&(end as u32).to_be_bytes()));
        let nodes = self.nodes.into_iter().enumerate().filter(|(number, _)| is_here(*number) && shown.contains(number));
        Graph { nodes: nodes.map(|(_, node)| node).collect(), edges, truncated: more, next }
    }
}
