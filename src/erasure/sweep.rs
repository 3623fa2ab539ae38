//! The sweep: segment files unlinked, rows removed in batches, and the commitment gathered on the way.

use crate::erasure::ErasureError;
use crate::erasure::ErasureRow;
use crate::erasure::Erasures;
use crate::lineage::RecordRow;
use crate::merkle;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::Table;
use crate::store::Unit;
use crate::store::layout::Erasure;
use crate::store::layout::TABLES;

/// Rows removed in one unit: few enough that pages of other connections are not held up.
const SWEEP_ROWS: usize = 1000;

/// The tables that an erasure empties, the index of records first: what it commits to.
fn tables() -> impl Iterator<Item = Table> {
    let removed = |table: &Table| table.erasure() == Erasure::Removed;
    std::iter::once(Table::Records).chain(TABLES.iter().copied().filter(removed).filter(|table| *table != Table::Records))
}

impl Erasures {
    /// Removes every row and file of the scope, from where a former sweep has come to.
    pub(super) async fn sweep(&self, mut row: ErasureRow) -> Result<ErasureRow, ErasureError> {
        let owner = row.owner;
        let store = self.store.clone();
        tokio::task::block_in_place(|| store.unlink_segments(owner))?;
        if row.tables_swept == 0 && row.commitment.size() == 0 {
            // What the sweep finds is what the certificate says.
            row.counts = Default::default();
        }
        for (number, table) in (1..).zip(tables()) {
            while row.tables_swept < number {
                row = self.sweep_batch(row, table, number).await?;
            }
        }
        Ok(row)
    }

    async fn sweep_batch(&self, mut row: ErasureRow, table: Table, number: u16) -> Result<ErasureRow, ErasureError> {
        let rows = self.store.raw_of_connection(table, row.owner, SWEEP_ROWS)?;
        let mut unit = Unit::default();
        for (key, value) in &rows {
            if table == Table::Records {
                row.commitment.push(merkle::leaf_hash(&[key.as_slice(), value.as_slice()].concat()));
                row.counts.records += 1;
                row.counts.versions += self.versions(key)?;
            }
        }
        if rows.len() < SWEEP_ROWS {
            row.tables_swept = number;
        }
        for (key, _) in rows {
            unit.remove_raw(key);
        }
        unit.put(&row.id.to_bytes(), &row);
        self.store.commit(unit).await?;
        Ok(row)
    }

    /// How many versions an index row stands for.
    fn versions(&self, key: &[u8]) -> Result<u64, ErasureError> {
        let key = key.get(1..).and_then(<RecordRow as Row>::Key::decode);
        let row = key.map(|key| self.store.get::<RecordRow>(&key)).transpose()?.flatten();
        Ok(row.map_or(0, |row| u64::from(row.version)))
    }
}
