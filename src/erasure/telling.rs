//! What is told of erasures elsewhere: a run that deletes, from its approval to its certificate.

use data_encoding::HEXLOWER;

use crate::clock::Timestamp;
use crate::erasure::ErasureError;
use crate::erasure::ErasureRow;
use crate::erasure::Erasures;
use crate::erasure::SCOPE_STEP;
use crate::erasure::Scope;
use crate::ids::ConnectionId;
use crate::openlineage::emission::Erased;
use crate::openlineage::emission::ErasureRun;
use crate::store::Unit;

impl Erasures {
    /// Adds that an erasure has begun to the unit that approves it.
    pub(super) fn tell_began(&self, unit: &mut Unit, row: &ErasureRow, at: Timestamp) -> Result<(), ErasureError> {
        if !self.outbox.is_kept() {
            return Ok(());
        }
        let streams = self.covered(&row.scope)?;
        let event = told(row, &streams).began(self.outbox.producer(), at);
        self.outbox.put_of_erasure(unit, (&row.tenant, row.scope.tenant()), row.id.to_bytes(), event);
        Ok(())
    }

    /// Adds that it is complete to the unit that certifies it.
    pub(super) fn tell_completed(&self, unit: &mut Unit, row: &ErasureRow) -> Result<(), ErasureError> {
        if !self.outbox.is_kept() {
            return Ok(());
        }
        let streams = self.covered(&row.scope)?;
        let erased = Erased {
            at: row.completed_at.unwrap_or(row.requested_at),
            records: row.counts.records,
            versions: row.counts.versions,
            keys_destroyed: row.keys_destroyed.len() as u64,
            commitment: HEXLOWER.encode(&row.commitment.root()),
            log_entry: row.entry,
        };
        for event in told(row, &streams).completed(self.outbox.producer(), &erased) {
            self.outbox.put_of_erasure(unit, (&row.tenant, row.scope.tenant()), row.id.to_bytes(), event);
        }
        Ok(())
    }

    /// Every stream of every connection that a scope covers.
    fn covered(&self, scope: &Scope) -> Result<Vec<(String, ConnectionId, String)>, ErasureError> {
        let mut connections = Vec::new();
        match scope {
            Scope::Connection { owner, .. } => connections.extend(self.connections.by_key(*owner)?),
            Scope::Tenant { number } => {
                let mut after = None;
                loop {
                    let step = self.connections.list(Some(*number), after, SCOPE_STEP)?;
                    let Some(last) = step.last() else { break };
                    after = Some(last.key);
                    connections.extend(step);
                }
            }
        }
        let streams = connections.into_iter().flat_map(|connection| {
            let (connector, id) = (connection.connector.name, connection.id);
            connection.streams.into_iter().map(move |stream| (connector.clone(), id, stream))
        });
        Ok(streams.collect())
    }
}

fn told<'a>(row: &'a ErasureRow, streams: &'a [(String, ConnectionId, String)]) -> ErasureRun<'a> {
    let connection = row.scope.connection().map(|connection| {
        let connector = streams.first().map(|(connector, ..)| connector.as_str()).unwrap_or_default();
        (connector, connection)
    });
    ErasureRun { erasure: row.id, tenant: &row.tenant, connection, streams }
}
