//! The sweep: step by step, in batches, each together with how far the sweep is; and the commitment gathered on the way.

use crate::connection::Connection;
use crate::connection::State;
use crate::erasure::ErasureError;
use crate::erasure::ErasureRow;
use crate::erasure::Erasures;
use crate::erasure::erased;
use crate::erasure::scope::Step;
use crate::ids::ConnectionKey;
use crate::lineage::RecordRow;
use crate::merkle;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::Table;
use crate::store::Unit;

/// Rows removed in one unit: few enough that pages of other connections are not held up.
const SWEEP_ROWS: usize = 1000;
/// Connections whose rows are changed in one unit.
const SWEEP_CONNECTIONS: usize = 100;

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
        match step {
            Step::Belongings => self.belongings.end(&row.tenant, self.clock.now()).await?,
            Step::Connections => self.mark_connections(&row).await?,
            Step::Segments => tokio::task::block_in_place(|| row.scope.unlink_segments(&self.store))?,
            Step::Rows(table) => {
                let rows = self.store.raw_below(table, &row.scope.prefix(), SWEEP_ROWS)?;
                for (key, value) in rows.iter().filter(|_| table == Table::Records) {
                    row.commitment.push(merkle::leaf_hash(&[key.as_slice(), value.as_slice()].concat()));
                    row.counts.records += 1;
                    row.counts.versions += self.versions(key)?;
                }
                let is_last = rows.len() < SWEEP_ROWS;
                for (key, _) in rows {
                    unit.remove_raw(key);
                }
                if !is_last {
                    unit.put(&row.id.to_bytes(), &row);
                    self.store.commit(unit).await?;
                    return Ok(row);
                }
            }
        }
        row.steps_done = number;
        unit.put(&row.id.to_bytes(), &row);
        self.store.commit(unit).await?;
        Ok(row)
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

    /// How many versions an index row stands for.
    fn versions(&self, key: &[u8]) -> Result<u64, ErasureError> {
        let key = key.get(1..).and_then(<RecordRow as Row>::Key::decode);
        let row = key.map(|key| self.store.get::<RecordRow>(&key)).transpose()?.flatten();
        Ok(row.map_or(0, |row| u64::from(row.version)))
    }
}
