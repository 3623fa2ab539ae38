//! The rows of records, pages and runs.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::PullId;
use crate::ids::RunId;
use crate::store::Placed;
use crate::store::Row;
use crate::store::Table;

/// Where one version of a record lies: a slot of a block of a page of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The page's number.
    pub page: u64,
    /// The block within the page.
    pub block: u16,
    /// The slot within the block.
    pub slot: u16,
}

/// The newest version of a record, under (owner, stream, keyed hash of partition and primary key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRow {
    /// Its number; versions count from 1.
    pub version: u32,
    /// Where it lies.
    pub location: Location,
    /// A keyed hash of its content digest: tells whether a fetched record is new, and commits to what an erasure removes.
    pub content: [u8; 16],
    /// Since when the application has it no more; a record that comes back is a new version.
    pub deleted: Option<DeletedAtSource>,
}

/// That a run over the whole of a stream did not meet a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedAtSource {
    /// The run that did not meet it.
    pub run: RunId,
    /// When that had read the stream to its end.
    pub at: Timestamp,
}

impl Row for RecordRow {
    const TABLE: Table = Table::Records;
    type Key = (ConnectionKey, (u16, [u8; 16]));
}

/// A record under a business key: (owner, keyed hash of kind and value, stream, the record's hash). The key says it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessKeyRow;

impl Row for BusinessKeyRow {
    const TABLE: Table = Table::BusinessKeys;
    type Key = (ConnectionKey, ([u8; 16], (u16, [u8; 16])));
}

/// A page that brought something new, under (owner, page number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRow {
    /// The run that fetched it.
    pub run: RunId,
    /// The stream's number.
    pub stream: u16,
    /// The extent that its blocks lie in.
    pub extent: u32,
    /// Where they begin in the extent's file; they follow each other, the facts first.
    pub offset: u64,
    /// Length of the sealed facts in bytes.
    pub facts_bytes: u32,
    /// Length of each sealed block in bytes.
    pub block_bytes: Vec<u32>,
}

impl Row for PageRow {
    const TABLE: Table = Table::Pages;
    type Key = (ConnectionKey, u64);
}

impl PageRow {
    /// Where the sealed facts lie.
    pub fn facts(&self) -> Placed {
        Placed { extent: self.extent, offset: self.offset, bytes: self.facts_bytes }
    }

    /// Where a sealed block lies.
    pub fn block(&self, number: u16) -> Option<Placed> {
        let bytes = *self.block_bytes.get(usize::from(number))?;
        let before: u64 = self.block_bytes[..usize::from(number)].iter().copied().map(u64::from).sum();
        Some(Placed { extent: self.extent, offset: self.offset + u64::from(self.facts_bytes) + before, bytes })
    }

    /// The first byte behind the page in its extent's file.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.facts_bytes) + self.block_bytes.iter().copied().map(u64::from).sum::<u64>()
    }
}

/// The counters of a stream, under (owner, stream number).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRow {
    /// Records that are there.
    pub records: u64,
    /// Those of them that the application has deleted.
    pub deleted: u64,
    /// Their versions.
    pub versions: u64,
    /// Pages that brought something.
    pub pages: u64,
    /// Bytes of JSON as received, of all versions.
    pub bytes: u64,
    /// Bytes of tags, origins and index rows of all versions, keys included, before compression.
    pub lineage_bytes: u64,
    /// Bytes of the rows of business keys.
    pub key_bytes: u64,
}

impl Row for StreamRow {
    const TABLE: Table = Table::Streams;
    type Key = (ConnectionKey, u16);
}

/// A stream's saved state, sealed, under (owner, stream number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorRow(pub Vec<u8>);

impl Row for CursorRow {
    const TABLE: Table = Table::Cursors;
    type Key = (ConnectionKey, u16);
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Under way.
    Running,
    /// The stream was read to its end.
    Complete,
    /// It ended early; `error` says why.
    Failed,
    /// It was stopped: by a revocation, a pause, a cancel, or the end of the process.
    Cancelled,
}

/// One attempt to read one stream. Counters count durable pages only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The runs started together with it.
    pub pull: PullId,
    /// The stream's name.
    pub stream: String,
    /// Where it stands.
    pub state: RunState,
    /// Pages taken in.
    pub pages: u64,
    /// Requests sent, retries included.
    pub requests: u64,
    /// Records that were not there before.
    pub new: u64,
    /// Records that differ from their newest version.
    pub changed: u64,
    /// Records equal to their newest version.
    pub unchanged: u64,
    /// Records that were there and are no more; none where the run could not know, because it did not ask for the whole of the stream.
    pub deleted: Option<u64>,
    /// Records that the manifest's filter left out.
    pub filtered: u64,
    /// Items that were no records.
    pub ignored: u64,
    /// Added values that were texts and became another type.
    pub coerced: u64,
    /// Those of them that are part of the primary key.
    pub coerced_keys: u64,
    /// Card numbers masked.
    pub masked: u64,
    /// The generation of the credential that it began with.
    pub credential: u64,
    /// The entry of the audit log under which that was unsealed; none until the pull's start is on disk.
    pub entry: Option<u64>,
    /// What happened, to what, and what to do.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Row for RunRow {
    const TABLE: Table = Table::Runs;
    type Key = (ConnectionKey, [u8; 16]);
}

/// Whose run it is, under the run's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIdRow(pub ConnectionKey);

impl Row for RunIdRow {
    const TABLE: Table = Table::RunIds;
    type Key = [u8; 16];
}

/// A run of a pull, under (pull, run).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRow(pub ConnectionKey);

impl Row for PullRow {
    const TABLE: Table = Table::Pulls;
    type Key = ([u8; 16], [u8; 16]);
}
