//! Blocks: a few records of a page with their own facts, compressed together, then sealed.
//!
//! Plain form: for each record its facts, its text as received (cards masked) and the patch to what the manifest emitted.
//! Together they compress two to three times better than alone, and one seal serves them all (DEPENDENCIES.md section 4).

use std::io;

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;
use zstd::bulk::Compressor;

use crate::ids::ConnectionKey;
use crate::lineage::rows::Location;
use crate::record::RecordFacts;

/// Records of one block at most: enough to compress well, few enough to open for one of them.
pub const RECORDS_PER_BLOCK: usize = 24;

/// Bytes of record text after which a block is closed, however few records it holds.
const BLOCK_BYTES_AIM: usize = 64 << 10;

/// What a sealed block may grow to when opened; a page's body is limited far below.
const PLAIN_BYTES_MAX: usize = 512 << 20;

/// zstd's level. Blocks are small: the default, 3, takes a fifth longer and makes them no smaller (docs/MEASURED.md).
const COMPRESSION_LEVEL: i32 = 1;

/// One record of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its own part of the tag.
    pub facts: RecordFacts,
    /// Where the version before lies.
    pub previous: Option<Location>,
    /// The hash part of its id.
    pub hash: [u8; 16],
    /// The record as received, cards masked.
    pub raw: Bytes,
    /// The patch from `raw` to the emitted record, JSON; empty when they are equal.
    pub patch: Bytes,
}

/// A block being filled, again and again: the compressor's tables and the plain form's memory are made once.
pub struct Block {
    entries: Vec<Entry>,
    bytes: usize,
    plain: Vec<u8>,
    compressor: Compressor<'static>,
}

/// The place that a sealed block is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// A page's facts.
    Facts,
    /// A block of records.
    Records(u16),
}

/// What seals a block to its place: a block moved to another page, or another number, does not open.
pub fn block_aad(owner: ConnectionKey, page: u64, placement: Placement) -> [u8; 19] {
    let mut aad = [0; 19];
    aad[..8].copy_from_slice(&owner.to_bytes());
    aad[8..16].copy_from_slice(&page.to_be_bytes());
    if let Placement::Records(number) = placement {
        aad[16] = 1;
        aad[17..].copy_from_slice(&number.to_be_bytes());
    }
    aad
}

impl Block {
    /// An empty block.
    ///
    /// # Errors
    /// When the compressor cannot be made, which only a lack of memory brings about.
    pub fn new() -> io::Result<Self> {
        Ok(Block { entries: Vec::new(), bytes: 0, plain: Vec::new(), compressor: Compressor::new(COMPRESSION_LEVEL)? })
    }

    /// Adds a record; its slot.
    pub fn push(&mut self, entry: Entry) -> u16 {
        self.bytes += entry.raw.len() + entry.patch.len();
        self.entries.push(entry);
        (self.entries.len() - 1) as u16
    }

    /// Whether the next record belongs into another block.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= RECORDS_PER_BLOCK || self.bytes >= BLOCK_BYTES_AIM
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many records it holds: the slot of the next.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The compressed bytes, ready to be sealed, and how many of the plain ones were no record's: its facts. The block is empty
    /// afterwards.
    ///
    /// # Errors
    /// When serialising or compressing fails, which only a lack of memory brings about.
    pub fn take(&mut self) -> io::Result<(Vec<u8>, usize)> {
        self.plain.clear();
        self.plain = postcard::to_extend(&self.entries, std::mem::take(&mut self.plain)).map_err(io::Error::other)?;
        let facts = self.plain.len().saturating_sub(self.bytes);
        self.entries.clear();
        self.bytes = 0;
        Ok((self.compressor.compress(&self.plain)?, facts))
    }

    /// The records of opened bytes.
    ///
    /// # Errors
    /// When they are no block.
    pub fn read(compressed: &[u8]) -> io::Result<Vec<Entry>> {
        let plain = decompress(compressed)?;
        postcard::from_bytes(&plain).map_err(io::Error::other)
    }
}

/// Decompresses what was compressed before it was sealed.
pub(super) fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let bytes = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten().unwrap_or(0) as usize;
    if bytes > PLAIN_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a block claims to be larger than any block"));
    }
    zstd::bulk::decompress(compressed, bytes)
}
