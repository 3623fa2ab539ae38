//! The log of changes, read in its order: pages are opened into the versions that they brought, tombstones into the records that they
//! stand for.
//!
//! A place in the log is the number of a row and a place within it, so reading can end and go on anywhere.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::ErasureId;
use crate::ids::RecordId;
use crate::ids::RunId;
use crate::lineage::ChangeRow;
use crate::lineage::LineageError;
use crate::lineage::Location;
use crate::lineage::PageRow;
use crate::lineage::Reader;
use crate::lineage::StoredRecord;
use crate::lineage::TombstoneRow;
use crate::lineage::reader::stored;
use crate::vault::VaultError;

/// Bytes of records as received after which one reading ends, at the next record.
const BYTES_MAX: usize = 4 << 20;
/// Rows of the log that one reading looks at, however few of them the caller wants.
const ROWS_MAX: usize = 10_000;
/// Rows read at a time.
const ROWS_STEP: usize = 64;

/// A place in the log of a tenant: everything before it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct FeedPlace {
    /// The number of a row.
    number: u64,
    /// A place within that row: block and slot of a page, else an index.
    within: u32,
}

/// Something that happened to one record.
#[derive(Debug, Clone)]
pub enum Change {
    /// A version came: the first, or another.
    Version(Box<StoredRecord>),
    /// The application has it no more.
    DeletedAtSource {
        /// Which.
        id: RecordId,
        /// The run that did not meet it.
        run: RunId,
        /// When that had read the stream to its end.
        at: Timestamp,
    },
    /// It was erased.
    Erased {
        /// Which.
        id: RecordId,
        /// By which erasure.
        erasure: ErasureId,
        /// When its rows were removed.
        at: Timestamp,
    },
}

impl Change {
    /// The record that it happened to.
    pub fn id(&self) -> RecordId {
        match self {
            Change::Version(stored) => stored.id,
            Change::DeletedAtSource { id, .. } | Change::Erased { id, .. } => *id,
        }
    }
}

/// A part of the log.
#[derive(Debug)]
pub struct FeedPart {
    /// What happened, each with the place behind it.
    pub changes: Vec<(Change, FeedPlace)>,
    /// Where to go on.
    pub next: FeedPlace,
    /// Whether nothing lay behind that.
    pub is_end: bool,
}

/// A part of the log while it is read.
struct Part<'a> {
    limit: usize,
    bytes: usize,
    changes: Vec<(Change, FeedPlace)>,
    wants: &'a dyn Fn(ConnectionKey, u16) -> Result<bool, LineageError>,
}

impl Part<'_> {
    fn is_full(&self) -> bool {
        self.changes.len() >= self.limit || self.bytes >= BYTES_MAX
    }
}

impl FeedPlace {
    fn after(number: u64) -> Self {
        FeedPlace { number: number + 1, within: 0 }
    }

    fn slot(block: u16, slot: u16) -> u32 {
        u32::from(block) << 16 | u32::from(slot)
    }
}

impl Reader {
    /// What happened to a tenant's records from a place on: at most `limit` changes of streams that `wants` says yes to.
    ///
    /// Of a page whose keys are gone nothing can be told any more: that its records are erased comes later in the log.
    ///
    /// # Errors
    /// When a page does not read back.
    pub fn changes(
        &self,
        tenant: u32,
        from: FeedPlace,
        limit: usize,
        wants: &dyn Fn(ConnectionKey, u16) -> Result<bool, LineageError>,
    ) -> Result<FeedPart, LineageError> {
        let mut part = Part { limit, bytes: 0, changes: Vec::new(), wants };
        let (mut next, mut looked_at) = (from, 0);
        loop {
            let behind = next.number.checked_sub(1).map(|number| (tenant, number));
            let rows = self.store().scan::<ChangeRow>(&tenant.to_be_bytes(), behind.as_ref(), ROWS_STEP)?;
            let is_end = rows.len() < ROWS_STEP;
            for ((_, number), row) in rows {
                let within = if number == next.number { next.within } else { 0 };
                if let Some(within) = self.change(&row, within, number, &mut part)? {
                    return Ok(FeedPart { changes: part.changes, next: FeedPlace { number, within }, is_end: false });
                }
                next = FeedPlace::after(number);
                looked_at += 1;
            }
            if is_end || looked_at >= ROWS_MAX {
                return Ok(FeedPart { changes: part.changes, next, is_end });
            }
        }
    }

    /// Adds what a row tells; where to go on within it, when the part is full.
    fn change(&self, row: &ChangeRow, within: u32, number: u64, part: &mut Part<'_>) -> Result<Option<u32>, LineageError> {
        match row {
            ChangeRow::Page { owner, page } => match self.versions(*owner, *page, within, number, part) {
                Err(LineageError::Vault(VaultError::Destroyed { .. })) => Ok(None),
                other => other,
            },
            // Of records whose coming is not told any more, neither is their going.
            ChangeRow::DeletedAtSource { owner, .. } if self.is_gone(*owner) => Ok(None),
            ChangeRow::DeletedAtSource { owner, stream, run, at, hashes } => {
                let told = |id| Change::DeletedAtSource { id, run: *run, at: *at };
                of_hashes((*owner, *stream), hashes, (within, number), part, told)
            }
            ChangeRow::Erased { owner, stream, last } => {
                let Some(stone) = self.store().get::<TombstoneRow>(&(*owner, (*stream, *last)))? else { return Ok(None) };
                let told = |id| Change::Erased { id, erasure: stone.erasure, at: stone.at };
                of_hashes((*owner, *stream), &stone.hashes, (within, number), part, told)
            }
        }
    }

    fn versions(
        &self,
        owner: ConnectionKey,
        page: u64,
        within: u32,
        number: u64,
        part: &mut Part<'_>,
    ) -> Result<Option<u32>, LineageError> {
        let Some(row) = self.store().get::<PageRow>(&(owner, page))? else { return Ok(None) };
        if !(part.wants)(owner, row.stream)? {
            return Ok(None);
        }
        let mut facts = None;
        for block in (within >> 16) as u16..row.block_bytes.len() as u16 {
            if part.is_full() {
                return Ok(Some(FeedPlace::slot(block, 0).max(within)));
            }
            for (slot, entry) in (0..).zip(self.entries(owner, page, block, &row)?) {
                let at = FeedPlace::slot(block, slot);
                if at < within {
                    continue;
                }
                if part.is_full() {
                    return Ok(Some(at));
                }
                let facts = match &facts {
                    Some(facts) => Arc::clone(facts),
                    None => Arc::clone(facts.insert(Arc::new(self.facts(owner, page, &row)?))),
                };
                part.bytes += entry.raw.len() + entry.patch.len();
                let record = stored(owner, row.stream, Location { page, block, slot }, facts, entry);
                part.changes.push((Change::Version(Box::new(record)), FeedPlace { number, within: at + 1 }));
            }
        }
        Ok(None)
    }
}

/// Adds what a row tells of records by their hashes; where to go on within it, when the part is full.
fn of_hashes(
    (owner, stream): (ConnectionKey, u16),
    hashes: &[[u8; 16]],
    (within, number): (u32, u64),
    part: &mut Part<'_>,
    told: impl Fn(RecordId) -> Change,
) -> Result<Option<u32>, LineageError> {
    if !(part.wants)(owner, stream)? {
        return Ok(None);
    }
    for (index, hash) in (0..).zip(hashes).skip(within as usize) {
        if part.is_full() {
            return Ok(Some(index));
        }
        part.changes.push((told(RecordId { owner, stream, hash: *hash }), FeedPlace { number, within: index + 1 }));
    }
    Ok(None)
}
