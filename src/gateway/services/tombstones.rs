//! What is left of a record that was erased: where it came from, and under which certificate it went.

use crate::api::problem::Problem;
use crate::api::services::Scope;
use crate::api::wire::lineage::Origin;
use crate::api::wire::lineage::Tombstone;
use crate::connection::Connection;
use crate::connection::State;
use crate::erasure::ErasureRow;
use crate::gateway::services::records::Records;
use crate::gateway::services::visible;
use crate::ids::RecordId;

/// The origin of a record of an erased connection, for whoever may see that: none of a record that never was, and none while the
/// connection is there.
pub fn origin(records: &Records, scope: Scope<'_>, id: RecordId) -> Result<Option<(Connection, Origin)>, Problem> {
    let Some(connection) = records.connections.by_key(id.owner)?.filter(|connection| visible::sees(scope, connection)) else {
        return Ok(None);
    };
    let tombstone = of(records, &connection, id)?;
    let origin = |tombstone| Origin {
        record: id,
        version: None,
        tag: serde_json::Value::Null,
        inputs: Vec::new(),
        outputs: Vec::new(),
        source: None,
        tombstone: Some(tombstone),
    };
    Ok(tombstone.map(|tombstone| (connection, origin(tombstone))))
}

/// The tombstone of a record of this connection. The sweep may not have come to it yet: its keys are gone already, and its row says
/// as much as the tombstone will.
pub fn of(records: &Records, connection: &Connection, id: RecordId) -> Result<Option<Tombstone>, Problem> {
    let State::Erased(erased) = &connection.state else { return Ok(None) };
    let (erased_at, erasure) = match records.reader.tombstone(id)? {
        Some(tombstone) => (tombstone.at, Some(tombstone.erasure)),
        None if records.reader.is_indexed(id)? => (erased.at, erased.by),
        None => return Ok(None),
    };
    let row = erasure.map(|erasure| records.store.get::<ErasureRow>(&erasure.to_bytes())).transpose()?.flatten();
    let certified = row.filter(|row| row.certificate.is_some());
    Ok(Some(Tombstone {
        tenant: connection.tenant.clone(),
        connection: connection.id,
        connector: connection.connector.name.clone(),
        application: application(records, connection),
        stream: connection.streams.get(usize::from(id.stream)).cloned(),
        erased_at,
        erasure,
        certificate: certified.map(|row| format!("/v1/erasures/{}/certificate", row.id)),
    }))
}

fn application(records: &Records, connection: &Connection) -> String {
    let definition = records.definitions.load(&connection.connector);
    definition.map_or_else(|_| connection.connector.name.clone(), |connector| connector.display_name().to_owned())
}
