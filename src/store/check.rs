//! What a scrub asks of the store: rows as bytes and read back, and the list of stops entry by entry.

use std::ops::Bound;
use std::path::PathBuf;

use crate::ids::ConnectionKey;
use crate::store::AuditHead;
use crate::store::AuditLeaf;
use crate::store::AuditNode;
use crate::store::GateState;
use crate::store::RawRow;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::anchor::UnitsRow;
use crate::store::row;
use crate::store::stops;
use crate::store::watch::Call;

pub use crate::store::stops::StopsCheck;

/// How the rows of a table are held against their type. Each module lists those of its rows.
#[derive(Debug, Clone, Copy)]
pub struct RowCheck {
    /// The table.
    pub table: Table,
    reads_back: fn(&[u8], &[u8]) -> Result<(), StoreError>,
}

impl RowCheck {
    /// The check of a kind of row.
    pub fn of<R: Row>() -> Self {
        RowCheck { table: R::TABLE, reads_back: reads_back::<R> }
    }

    /// Whether a row reads back, and would be written as the same bytes again: nothing is behind it that was not written.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] otherwise.
    pub fn check(&self, (key, value): &RawRow) -> Result<(), StoreError> {
        (self.reads_back)(key, value)
    }
}

/// The checks of the store's own tables.
pub fn row_checks() -> Vec<RowCheck> {
    vec![
        RowCheck::of::<UnitsRow>(),
        RowCheck::of::<GateState>(),
        RowCheck::of::<AuditLeaf>(),
        RowCheck::of::<AuditNode>(),
        RowCheck::of::<AuditHead>(),
    ]
}

fn reads_back<R: Row>(key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let (typed, found) = row::entry::<R>(key, value)?;
    let same = row::key_bytes::<R>(&typed) == key && row::value_bytes(&found)? == value;
    if same { Ok(()) } else { Err(StoreError::Malformed { table: R::TABLE.name() }) }
}

/// Key and row of a raw row.
///
/// # Errors
/// [`StoreError::Malformed`] when it does not read back.
pub fn read<R: Row>((key, value): &RawRow) -> Result<(R::Key, R), StoreError> {
    row::entry(key, value)
}

impl Store {
    /// At most `limit` raw rows of a table in key order: those whose key, without the table's tag, begins with `prefix`, behind
    /// the raw key `after`.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn raw_rows(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<RawRow>, StoreError> {
        let (start, end) = row::prefixed(table, prefix);
        let start = after.map_or(Bound::Included(start), |after| Bound::Excluded(after.to_vec()));
        let _call = self.inner.watch.call(Call::Scan)?;
        let rows = self.inner.engine.range((start, end)).take(limit);
        rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
    }

    /// Keys that no table owns, at most `limit`.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn foreign_keys(&self, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let call = self.inner.watch.call(Call::Scan)?;
        let mut foreign = Vec::new();
        for tag in (0..=u8::MAX).filter(|tag| Table::of_tag(*tag).is_none()) {
            call.moves();
            for key in self.inner.engine.scan_prefix(&[tag]).keys().take(limit - foreign.len()) {
                foreign.push(key?.to_vec());
            }
        }
        Ok(foreign)
    }

    /// Where an extent's segment file lies.
    pub fn segment_path(&self, owner: ConnectionKey, extent: u32) -> PathBuf {
        self.inner.segments.path((owner, extent))
    }

    /// Reads the list of stops again, and says what of it does not add up.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn check_stops(&self) -> Result<StopsCheck, StoreError> {
        let _call = self.inner.watch.call(Call::Stop)?;
        stops::check(&self.inner.directory.join("stops"))
    }
}
