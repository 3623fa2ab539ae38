//! Everything of a tenant that carries a business key.

use crate::api::paging::List;
use crate::api::problem::Problem;
use crate::api::wire::lineage::KeyMatch;
use crate::connection::Connection;
use crate::connection::State;
use crate::gateway::services::records::Records;
use crate::gateway::services::shape;
use crate::ids::ConnectionKey;
use crate::ids::RecordId;
use crate::lineage::KeptVersion;
use crate::lineage::LineageError;
use crate::lineage::StoredRecord;
use crate::record::KeyClass;
use crate::vault::VaultError;

/// Connections looked at in one step.
const CONNECTIONS_STEP: usize = 100;
/// Versions of a record that are opened in search of the one that carries the key.
const VERSIONS_MAX: usize = 20;

/// A key that is asked for.
pub struct Question {
    kind: String,
    normalised: String,
}

impl Question {
    /// The question, or none when nothing can be found under the value.
    pub fn new(kind: String, value: &str) -> Option<Self> {
        KeyClass::Business.normalise(value).map(|normalised| Question { kind, normalised })
    }
}

/// The records behind `after`, in the order of their ids: at most `limit`, over all of the tenant's connections.
pub fn matches(
    records: &Records,
    tenant: u32,
    question: &Question,
    after: Option<RecordId>,
    limit: usize,
) -> Result<List<KeyMatch>, Problem> {
    let mut found = Vec::new();
    let mut last = after;
    let before_first = |owner: ConnectionKey| ConnectionKey { connection: owner.connection.saturating_sub(1), ..owner };
    let mut behind = after.map(|id| before_first(id.owner));
    loop {
        let connections = records.connections.list(Some(tenant), behind, CONNECTIONS_STEP)?;
        let Some(end) = connections.last() else { return Ok(List::new(found, None)) };
        behind = Some(end.key);
        for connection in connections.iter().filter(|connection| !matches!(connection.state, State::Erased(_))) {
            let within = last.filter(|id| id.owner == connection.key);
            let ids = match records.reader.by_key(connection.key, &question.kind, &question.normalised, within, limit - found.len() + 1) {
                Ok(ids) => ids,
                // Erased while it was looked at.
                Err(LineageError::Vault(VaultError::Destroyed { .. })) => continue,
                Err(error) => return Err(error.into()),
            };
            for id in ids {
                if found.len() == limit {
                    return Ok(List::new(found, last.map(RecordId::to_bytes).as_ref().map(|place| &place[..])));
                }
                last = Some(id);
                if let Some(stored) = carrying(records, connection, id, question)? {
                    found.push(shown(records, connection, &stored)?);
                }
            }
        }
    }
}

/// The newest version of a record that carries the key: a later one may have lost it.
fn carrying(records: &Records, connection: &Connection, id: RecordId, question: &Question) -> Result<Option<StoredRecord>, Problem> {
    let Some(newest) = records.reader.record(id, None)? else { return Ok(None) };
    let connector = records.definitions.load(&connection.connector);
    let treatment = connector.as_ref().ok().and_then(|connector| connector.treatment.stream(&newest.page.stream));
    let Some(pointer) = treatment.and_then(|stream| stream.business_keys.get(&question.kind)) else { return Ok(Some(newest)) };
    let mut version = newest.clone();
    for _ in 0..VERSIONS_MAX {
        if KeyClass::Business.values(&version.raw, pointer).is_ok_and(|values| values.contains(&question.normalised)) {
            return Ok(Some(version));
        }
        match version.facts.previous.map(|previous| records.reader.record(id, Some(previous))).transpose()?.flatten() {
            Some(previous) => version = previous,
            None => break,
        }
    }
    Ok(Some(newest))
}

fn shown(records: &Records, connection: &Connection, stored: &StoredRecord) -> Result<KeyMatch, Problem> {
    Ok(KeyMatch {
        record: stored.id,
        version: stored.facts.version,
        connection: connection.id,
        stream: stored.page.stream.clone(),
        kind: stored.page.kind.map(|kind| kind.as_str().to_owned()),
        tag: shape::tag(stored)?,
        outputs: records.outputs(stored.id, &[KeptVersion::of(stored)])?,
    })
}
