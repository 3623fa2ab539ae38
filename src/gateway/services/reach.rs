//! How far records went besides artifacts: whoever received them, and the datasets and jobs that are fed by them.

use serde_json::Value;
use serde_json::json;

use crate::api::problem::Problem;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::disclosure::Disclosure;
use crate::erasure::Scope;
use crate::gateway::services::impact::Reach;
use crate::gateway::services::records::Joined;
use crate::openlineage::Direction;
use crate::openlineage::NodeKind;

/// How far downstream a job is still told.
const DEPTH: u32 = 20;
/// Datasets and jobs that are told at most.
const NODES_MAX: usize = 1000;
/// Recipients that are told at most.
const RECIPIENTS_MAX: usize = 1000;
/// Connections of a tenant that are looked at at most.
const CONNECTIONS_MAX: usize = 1000;

/// Reach over what records are joined with.
pub struct Joining {
    joined: Joined,
    connections: Connections,
}

impl Joining {
    /// Over both.
    pub fn new(joined: Joined, connections: Connections) -> Self {
        Joining { joined, connections }
    }

    fn connections_of(&self, scope: &Scope) -> Result<Vec<Connection>, Problem> {
        Ok(match scope {
            Scope::Connection { owner, .. } => self.connections.by_key(*owner)?.into_iter().collect(),
            Scope::Tenant { number } => self.connections.list(Some(*number), None, CONNECTIONS_MAX)?,
        })
    }
}

impl Reach for Joining {
    fn recipients(&self, scope: &Scope) -> Result<Vec<Value>, Problem> {
        let found = match scope {
            Scope::Connection { owner, .. } => self.joined.disclosures.of_connection(*owner)?,
            Scope::Tenant { number } => {
                let listed = self.joined.disclosures.list(*number, None, None, RECIPIENTS_MAX)?;
                listed.into_iter().map(|(_, disclosure)| disclosure).collect()
            }
        };
        Ok(found.into_iter().take(RECIPIENTS_MAX).map(|disclosure| recipient(&disclosure)).collect())
    }

    fn downstream(&self, scope: &Scope) -> Result<Vec<Value>, Problem> {
        let connections = self.connections_of(scope)?;
        let Some(tenant) = connections.first().map(|connection| connection.tenant.clone()) else { return Ok(Vec::new()) };
        let Some(book) = self.joined.graph.book(&tenant)? else { return Ok(Vec::new()) };
        let mut told = Vec::new();
        for connection in &connections {
            for stream in &connection.streams {
                let stored = self.joined.producer.stored(&tenant, &connection.connector.name, connection.id, stream);
                let Some(node) = book.node(NodeKind::Dataset, &stored.namespace, &stored.name)? else { continue };
                for (_, head) in book.around(node, DEPTH, Direction::Down, NODES_MAX)?.nodes.into_iter().skip(1) {
                    let node = json!({ "id": head.id(), "type": head.kind.word() });
                    if !told.contains(&node) {
                        told.push(node);
                    }
                }
                if told.len() >= NODES_MAX {
                    told.truncate(NODES_MAX);
                    return Ok(told);
                }
            }
        }
        Ok(told)
    }
}

fn recipient(disclosure: &Disclosure) -> Value {
    json!({
        "name": disclosure.recipient.name, "kind": disclosure.recipient.kind, "category": disclosure.recipient.category,
        "region": disclosure.recipient.region, "purpose": disclosure.purpose, "mechanism": disclosure.mechanism,
        "records": disclosure.versions, "first_at": disclosure.first_at, "last_at": disclosure.last_at,
    })
}
