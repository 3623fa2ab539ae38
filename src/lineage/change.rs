//! The log of what happened to records, as the change feed reads it: one row a page, not one a record.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::ErasureId;
use crate::ids::RunId;
use crate::store::Row;
use crate::store::Table;

/// Something that happened to records of a tenant, under (tenant, number of the unit that brought it): in the order in which it
/// became true, with nothing between two numbers that comes later.
///
/// It names places and keyed hashes only; what is read through it is gone when the keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeRow {
    /// A page brought versions: each slot of its blocks is one, created when it is the first, changed otherwise.
    Page {
        /// Whose page it is.
        owner: ConnectionKey,
        /// Its number.
        page: u64,
    },
    /// A run over the whole of a stream did not meet records that were there: the application has deleted them.
    DeletedAtSource {
        /// Whose they are.
        owner: ConnectionKey,
        /// Their stream.
        stream: u16,
        /// The run that did not meet them.
        run: RunId,
        /// When it had ended.
        at: Timestamp,
        /// The hash parts of their ids; a row holds at most [`crate::lineage::HASHES_PER_ROW`].
        hashes: Vec<[u8; 16]>,
    },
    /// An erasure removed the records of one [`TombstoneRow`].
    Erased {
        /// Whose they were.
        owner: ConnectionKey,
        /// Their stream.
        stream: u16,
        /// The tombstone's last hash: the rest of its key.
        last: [u8; 16],
    },
}

impl Row for ChangeRow {
    const TABLE: Table = Table::Changes;
    type Key = (u32, u64);
}

/// That records were there and are erased, under (owner, stream, the last of their hashes): enough to answer where an id came
/// from, and nothing that tells what it was, for the key of the hashes is destroyed.
///
/// The hashes are in order: a record's tombstone is the first at or behind its own hash, if that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRow {
    /// The erasure that removed them.
    pub erasure: ErasureId,
    /// When the row was removed.
    pub at: Timestamp,
    /// The hash parts of their ids, rising; at most [`crate::lineage::HASHES_PER_ROW`].
    pub hashes: Vec<[u8; 16]>,
}

impl Row for TombstoneRow {
    const TABLE: Table = Table::Tombstones;
    type Key = (ConnectionKey, (u16, [u8; 16]));
}
