//! The sweep: step by step, in batches, each together with how far the sweep is; and the commitment gathered on the way.

use std::collections::HashSet;

use crate::connection::Connection;
use crate::connection::State;
use crate::erasure::ErasureError;
use crate::erasure::ErasureRow;
use crate::erasure::Erasures;
use crate::erasure::Scope;
use crate::erasure::erased;
use crate::erasure::scope::Step;
use crate::ids::ConnectionKey;
use crate::lineage;
use crate::lineage::ChangeRow;
use crate::lineage::HASHES_PER_ROW;
use crate::lineage::RecordRow;
use crate::lineage::TombstoneRow;
use crate::merkle;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;

/// Rows removed in one unit: few enough that pages of other connections are not held up, and that one tombstone names them.
const SWEEP_ROWS: usize = HASHES_PER_ROW;
/// Connections whose rows are changed in one unit.
const SWEEP_CONNECTIONS: usize = 100;
/// Artifacts whose rows of what came from what are removed in one unit: each has up to some thousands.
const LOOSENED_AT_ONCE: usize = 20;
/// The bytes of an index row's key before the record's hash: table, connection, stream.
const STREAM_BYTES: usize = 11;

impl Erasures {
    /// Removes every row and file of the scope, from where a former sweep has come to.
    pub(super) async fn sweep(&self, mut row: ErasureRow) -> Result<ErasureRow, ErasureError> {
        if row.steps_done == 0 {
            // What the sweep finds is what the certificate says.
            row.counts = Default::default();
        }
        for (number, step) in (1..).zip(row.scope.steps()) {
            while row.steps_done < number {
                row = self.sweep_some(row, step, number).await?;
            }
        }
        Ok(row)
    }

    /// One batch of a step; the step is done when the row says its number.
    async fn sweep_some(&self, mut row: ErasureRow, step: Step, number: u16) -> Result<ErasureRow, ErasureError> {
        let mut unit = Unit::default();
        let mut is_done = true;
        match step {
            Step::Belongings => self.belongings.end(&row.tenant, self.clock.now()).await?,
            Step::Connections => self.mark_connections(&row).await?,
            Step::Segments => tokio::task::block_in_place(|| row.scope.unlink_segments(&self.store))?,
            Step::Artifacts => row = self.sweep_artifacts(row).await?,
            Step::Rows(Table::Records) => is_done = self.sweep_records(&mut row, &mut unit)?,
            Step::Rows(table) => {
                let rows = self.store.raw_below(table, &row.scope.prefix(), SWEEP_ROWS)?;
                is_done = rows.len() < SWEEP_ROWS;
                for (key, _) in rows {
                    unit.remove_raw(key);
                }
            }
        }
        if is_done {
            row.steps_done = number;
        }
        unit.put(&row.id.to_bytes(), &row);
        self.store.commit(unit).await?;
        Ok(row)
    }

    /// Adds that index rows of one stream go, and what stays in their place; whether they were the last.
    fn sweep_records(&self, row: &mut ErasureRow, unit: &mut Unit) -> Result<bool, ErasureError> {
        let mut rows = self.store.raw_below(Table::Records, &row.scope.prefix(), SWEEP_ROWS)?;
        let found = rows.len();
        // A tombstone is one stream's, and a unit has one number.
        if let Some(stream) = rows.first().and_then(|(key, _)| key.get(..STREAM_BYTES)).map(<[u8]>::to_vec) {
            rows.retain(|(key, _)| key.starts_with(&stream));
        }
        let is_last = found < SWEEP_ROWS && rows.len() == found;
        let (mut hashes, mut place) = (Vec::with_capacity(rows.len()), None);
        for (key, value) in rows {
            row.commitment.push(merkle::leaf_hash(&[key.as_slice(), value.as_slice()].concat()));
            row.counts.records += 1;
            if let Some((owner, (stream, hash))) = key.get(1..).and_then(<RecordRow as Row>::Key::decode) {
                row.counts.versions += self.store.get::<RecordRow>(&(owner, (stream, hash)))?.map_or(0, |row| u64::from(row.version));
                hashes.push(hash);
                place = Some((owner, stream, hash));
            }
            unit.remove_raw(key);
        }
        if let Some((owner, stream, last)) = place {
            unit.put(&(owner, (stream, last)), &TombstoneRow { erasure: row.id, at: self.clock.now(), hashes });
            // The feed of a tenant that is erased goes with it.
            if let Scope::Connection { .. } = row.scope {
                unit.put_numbered(move |number| ((owner.tenant, number), ChangeRow::Erased { owner, stream, last }));
            }
        }
        Ok(is_last)
    }

    /// Artifacts that die are reduced to their tombstones, in the order of their ids; those that outlive the erasure lose what
    /// it took. Begun again whenever somebody else wrote to one of them in between, or after a crash: what is done is not done twice.
    async fn sweep_artifacts(&self, mut row: ErasureRow) -> Result<ErasureRow, ErasureError> {
        loop {
            let swept = match row.scope {
                Scope::Connection { owner, .. } => self.sweep_artifacts_of(&mut row, owner).await,
                Scope::Tenant { number } => self.sweep_all_artifacts(&mut row, number).await,
            };
            match swept {
                Ok(()) => return Ok(row),
                Err(ErasureError::Store(StoreError::Conflict { .. })) => row = self.find(row.id)?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn sweep_artifacts_of(&self, row: &mut ErasureRow, owner: ConnectionKey) -> Result<(), ErasureError> {
        let affected = tokio::task::block_in_place(|| self.derivations.affected(owner, Some(row.id)))?;
        for step in affected.dies.chunks(SWEEP_ROWS) {
            let mut unit = Unit::default();
            self.derivations.bury(&mut unit, owner.tenant, step, (row.id, self.clock.now()))?;
            for artifact in step {
                row.commitment.push(lineage::artifact_leaf(owner.tenant, *artifact));
            }
            unit.put(&row.id.to_bytes(), &*row);
            self.store.commit(unit).await?;
        }
        // Those that stay first, then the dead, the farthest first: whatever is left to be done can still be come to from the
        // connection, should this end in the middle.
        let dead: HashSet<[u8; 16]> = affected.order.iter().copied().collect();
        let in_order: Vec<_> = affected.survives.iter().chain(&affected.beyond).chain(affected.order.iter().rev()).collect();
        for step in in_order.chunks(LOOSENED_AT_ONCE) {
            let mut unit = Unit::default();
            for artifact in step {
                self.derivations.loosen(&mut unit, owner, **artifact, (row.id, &dead))?;
            }
            self.store.commit(unit).await?;
        }
        Ok(())
    }

    async fn sweep_all_artifacts(&self, row: &mut ErasureRow, tenant: u32) -> Result<(), ErasureError> {
        loop {
            let step = self.derivations.artifacts(tenant, None, SWEEP_ROWS)?;
            if step.is_empty() {
                return Ok(());
            }
            for (artifact, _) in step.iter().filter(|(_, is_alive)| *is_alive) {
                row.commitment.push(lineage::artifact_leaf(tenant, *artifact));
            }
            let hashes: Vec<[u8; 16]> = step.into_iter().map(|(artifact, _)| artifact).collect();
            let mut unit = Unit::default();
            self.derivations.bury_all(&mut unit, tenant, &hashes, (row.id, self.clock.now()));
            unit.put(&row.id.to_bytes(), &*row);
            self.store.commit(unit).await?;
        }
    }

    /// The rows of a tenant's connections say that they are erased, and by what; those that were before stay as they are.
    async fn mark_connections(&self, row: &ErasureRow) -> Result<(), ErasureError> {
        let mut after: Option<ConnectionKey> = None;
        loop {
            let found = self.store.scan::<Connection>(&row.scope.prefix(), after.as_ref(), SWEEP_CONNECTIONS)?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            after = Some(*last);
            let mut unit = Unit::default();
            for (key, stored) in found.into_iter().filter(|(_, stored)| !matches!(stored.state, State::Erased(_))) {
                // As the keyring and the list of stops know it, should its row be behind them.
                let known = self.connections.by_key(key)?.unwrap_or_else(|| stored.clone());
                unit.expect(&key, Some(&stored)).put(&key, &erased(known, self.clock.now(), row.id));
            }
            self.store.commit(unit).await?;
        }
    }
}
