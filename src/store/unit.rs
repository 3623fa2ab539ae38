//! A unit: everything that one act writes, and what must hold for it to be written.

use crate::ids::ConnectionKey;
use crate::secret::Sealed;
use crate::store::Row;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::VALUE_BYTES_MAX;
use crate::store::fence::Epoch;
use crate::store::fence::GateState;
use crate::store::row;

/// Rows that depend on the number that the log gives to an audit leaf of the same unit.
pub(super) type Follow = Box<dyn FnOnce(u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> + Send>;

/// A row whose key or value holds the number of the unit that brings it.
pub(super) type Numbered = Box<dyn FnOnce(u64) -> Option<(Vec<u8>, Vec<u8>)> + Send>;

/// One atomic write. Built by its acts, applied by [`crate::store::Store::commit`].
#[derive(Default)]
pub struct Unit {
    pub(super) rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(super) fences: Vec<(ConnectionKey, Epoch)>,
    pub(super) openings: Vec<(ConnectionKey, Epoch)>,
    pub(super) expectations: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(super) leaves: Vec<Vec<u8>>,
    pub(super) follows: Vec<(usize, Follow)>,
    pub(super) numbered: Vec<Numbered>,
    pub(super) blocks: Vec<Blocks>,
    malformed: Option<StoreError>,
}

/// Sealed bytes for a segment file, at the place that the extent's owner chose.
pub(super) struct Blocks {
    pub owner: ConnectionKey,
    pub extent: u32,
    pub offset: u64,
    pub sealed: Sealed,
}

/// What the writer says of a unit that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The index of the unit's first audit leaf; the size of the log when it had none.
    pub first_leaf: u64,
}

impl Unit {
    /// Puts a row.
    pub fn put<R: Row>(&mut self, key: &R::Key, row: &R) -> &mut Self {
        match row::value_bytes(row) {
            Ok(value) => self.rows.push((row::key_bytes::<R>(key), Some(value))),
            Err(error) => self.malformed = Some(error),
        }
        self
    }

    /// Removes a row.
    pub fn remove<R: Row>(&mut self, key: &R::Key) -> &mut Self {
        self.rows.push((row::key_bytes::<R>(key), None));
        self
    }

    /// Puts a row as another store of the same kind has it.
    pub fn put_raw(&mut self, (key, value): (Vec<u8>, Vec<u8>)) -> &mut Self {
        self.rows.push((key, Some(value)));
        self
    }

    /// Removes a row that a sweep found by its raw key.
    pub fn remove_raw(&mut self, key: Vec<u8>) -> &mut Self {
        self.rows.push((key, None));
        self
    }

    /// The unit is written only while the row is exactly this (`None`: only while it is absent).
    pub fn expect<R: Row>(&mut self, key: &R::Key, row: Option<&R>) -> &mut Self {
        match row.map(row::value_bytes).transpose() {
            Ok(value) => self.expectations.push((row::key_bytes::<R>(key), value)),
            Err(error) => self.malformed = Some(error),
        }
        self
    }

    /// The unit is written only while this gate is open at this epoch.
    pub fn fence(&mut self, owner: ConnectionKey, epoch: Epoch) -> &mut Self {
        self.fences.push((owner, epoch));
        self
    }

    /// Opens the gate at this epoch, which must be above every epoch it was ever open or stopped at.
    pub fn open_gate(&mut self, owner: ConnectionKey, epoch: Epoch) -> &mut Self {
        self.openings.push((owner, epoch));
        self
    }

    /// Writes that the gate is closed at this epoch. It was closed before, by [`crate::store::Store::close_gate`].
    pub fn close_gate(&mut self, owner: ConnectionKey, epoch: Epoch) -> &mut Self {
        self.put(&owner, &GateState { epoch, open: false })
    }

    /// Bytes of the rows of a table put so far, keys and values.
    pub fn row_bytes(&self, table: Table) -> u64 {
        let rows = self.rows.iter().filter(|(key, _)| key.first() == Some(&table.tag()));
        rows.map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64).sum()
    }

    /// Appends an audit leaf.
    pub fn audit(&mut self, leaf: Vec<u8>) -> &mut Self {
        self.leaves.push(leaf);
        self
    }

    /// Appends an audit leaf and puts a row that holds the leaf's index.
    pub fn audit_then<R: Row>(&mut self, leaf: Vec<u8>, key: &R::Key, row: impl FnOnce(u64) -> R + Send + 'static) -> &mut Self {
        let key = row::key_bytes::<R>(key);
        let follow: Follow = Box::new(move |index| match row::value_bytes(&row(index)) {
            Ok(value) => vec![(key, Some(value))],
            Err(_) => Vec::new(),
        });
        self.follows.push((self.leaves.len(), follow));
        self.leaves.push(leaf);
        self
    }

    /// Puts a row that is made with the unit's number. Numbers rise in the order in which units are applied and are never used
    /// twice, so rows under them are a log: who has read one up to a number has missed nothing before it.
    pub fn put_numbered<R: Row>(&mut self, make: impl FnOnce(u64) -> (R::Key, R) + Send + 'static) -> &mut Self {
        self.numbered.push(Box::new(move |number| {
            let (key, row) = make(number);
            row::value_bytes(&row).ok().map(|value| (row::key_bytes::<R>(&key), value))
        }));
        self
    }

    /// Writes sealed bytes into an extent's segment file, durable before any row of the unit.
    pub fn blocks(&mut self, owner: ConnectionKey, extent: u32, offset: u64, sealed: Sealed) -> &mut Self {
        self.blocks.push(Blocks { owner, extent, offset, sealed });
        self
    }

    /// Refuses what could not be stored, before it reaches the writer.
    pub(super) fn checked(mut self) -> Result<Self, StoreError> {
        if let Some(error) = self.malformed.take() {
            return Err(error);
        }
        for (key, value) in &self.rows {
            let bytes = value.as_ref().map_or(0, Vec::len);
            if bytes > VALUE_BYTES_MAX {
                let table = StoreError::unknown(key.first().copied().and_then(Table::of_tag));
                return Err(StoreError::ValueTooLarge { table, bytes, max: VALUE_BYTES_MAX });
            }
        }
        Ok(self)
    }
}
