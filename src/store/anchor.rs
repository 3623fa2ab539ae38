//! The anchor: how many units were made durable, told outside of the engine.
//!
//! One flipped bit in the log of sled 0.34 is enough for an open that says nothing and has dropped everything behind it: what
//! looks to sled like the torn end of a crash. So each unit counts itself in a row of its own, and once a group is synced its
//! number is written here. At the next open the row must not be behind it.
//!
//! The file is written after the sync and never synced itself: it costs a microsecond, is exact after a kill, and after a power
//! loss is at most behind the engine, never before it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::store::Row;
use crate::store::StoreError;
use crate::store::Table;

/// The anchor's file, beside the engine's own.
pub(super) const ANCHOR_FILE: &str = "anchor";

const NUMBER_BYTES: usize = 8;
const CHECK_BYTES: usize = 8;
const ANCHOR_BYTES: usize = NUMBER_BYTES + CHECK_BYTES;

/// The number of the last unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsRow(pub u64);

impl Row for UnitsRow {
    const TABLE: Table = Table::Units;
    type Key = ();
}

/// The file of one database.
pub(super) struct Anchor {
    file: File,
}

impl Anchor {
    /// Opens the anchor of the database below `path`, making it when there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.join(ANCHOR_FILE);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        Ok(Anchor { file: file.map_err(|source| StoreError::io("open", &path, source))? })
    }

    /// The number that was written last; none before the first, or when a power loss has torn it.
    pub fn number(&self) -> Option<u64> {
        let mut bytes = [0; ANCHOR_BYTES];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let (number, check) = bytes.split_first_chunk::<NUMBER_BYTES>()?;
        (check == check_of(number)).then(|| u64::from_be_bytes(*number))
    }

    /// Writes a number in the place of the last one.
    pub fn write(&self, number: u64) -> io::Result<()> {
        let number = number.to_be_bytes();
        let mut bytes = [0; ANCHOR_BYTES];
        bytes[..NUMBER_BYTES].copy_from_slice(&number);
        bytes[NUMBER_BYTES..].copy_from_slice(&check_of(&number));
        self.file.write_all_at(&bytes, 0)
    }
}

fn check_of(number: &[u8; NUMBER_BYTES]) -> [u8; CHECK_BYTES] {
    let digest = Digest::of(number).to_bytes();
    std::array::from_fn(|index| digest[index])
}
