//! Backups: the store of one moment in a folder, in a form of its own that needs no sled to be read.
//!
//! | file | what |
//! |---|---|
//! | `backup.json` | format, moment, counts, and a digest of every other file; its last line is its own digest |
//! | `rows.zst` | all rows in the order of their keys, in chunks: each compressed by itself, with its own digest |
//! | `segments.list` | each segment file: its name, its bytes, its digest |
//! | `segments/` | the segment files |
//! | `stops` | the list of stops |
//! | `destroyed` | the list of destroyed keys, for a restore with an older keyring |
//! | `headgate.toml` | the configuration, where the data directory has one |
//!
//! Nothing in it opens without the keyring, which is never part of it. A chunk of `rows.zst` is 4 bytes with the length of
//! what is compressed, 4 with its length when decompressed, 4 with the number of rows (all big-endian), the SHA-256 of what
//! is decompressed, and what is compressed: for each row the length of its key in 4 bytes, the key, the length of its value
//! in 4 bytes, the value.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use ring::digest;
use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::store::CopyError;
use crate::store::StoreError;

pub use self::read::Backup;
pub use self::read::Built;
pub use self::write::BackedUp;
pub use self::write::BackupOrder;

/// The format that this build writes and reads.
const FORMAT: u32 = 1;

const HEADER: &str = "backup.json";
const ROWS: &str = "rows.zst";
const SEGMENTS: &str = "segments";
const SEGMENTS_LIST: &str = "segments.list";
const STOPS: &str = "stops";
const DESTROYED: &str = "destroyed";
/// The configuration's name, in the backup as in the data directory.
const CONFIG: &str = "headgate.toml";
/// Files that a header may name besides rows and segments: no name in a backup leads out of it.
const SMALL_FILES: [&str; 3] = [STOPS, DESTROYED, CONFIG];

/// Bytes of rows in a chunk, before it is compressed; one row more may exceed it.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a chunk that are believed, compressed or not: a chunk, and the largest row.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// zstd's level for rows.
const COMPRESSION_LEVEL: i32 = 3;
/// Bytes of a segment file that are copied in one step.
const STEP_BYTES: usize = 1 << 20;

/// What a backup says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    format: u32,
    made_at: Timestamp,
    headgate: String,
    /// Whether the data directory was made for tests.
    test: bool,
    /// Size of the audit log.
    audit_entries: u64,
    rows: RowsPart,
    segments: SegmentsPart,
    files: Vec<FilePart>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RowsPart {
    rows: u64,
    /// Over the rows in the order of their keys, as a compaction computes it.
    digest: Digest,
    bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SegmentsPart {
    files: u64,
    bytes: u64,
    /// Of `segments.list`.
    digest: Digest,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FilePart {
    name: String,
    digest: Digest,
}

/// One segment file, as a line of `segments.list` names it.
struct SegmentLine {
    /// `T/C/E.seg`
    name: String,
    bytes: u64,
    digest: Digest,
}

impl SegmentLine {
    fn text(&self) -> String {
        format!("{} {} {}\n", self.name, self.bytes, self.digest)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, bytes, digest) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (words.next().is_none()).then(|| SegmentLine { name: name.into(), bytes, digest })
    }
}

/// Whose segment file `T/C/E.seg` is; nobody's when it is no such name.
fn owner_of_segment(name: &str) -> Option<ConnectionKey> {
    let mut parts = name.split('/');
    let owner = ConnectionKey { tenant: parts.next()?.parse().ok()?, connection: parts.next()?.parse().ok()? };
    let extent: u32 = parts.next()?.strip_suffix(".seg")?.parse().ok()?;
    // Only the one form: `01` or `+1` would name another file.
    (parts.next().is_none() && name == format!("{}/{}/{extent}.seg", owner.tenant, owner.connection)).then_some(owner)
}

/// Copies what a reader gives to `write`, step by step, and computes its digest.
fn copied(mut from: impl Read, path: &Path, mut write: impl FnMut(&[u8]) -> Result<(), CopyError>) -> CopyResult {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut step, mut bytes) = (vec![0; STEP_BYTES], 0);
    loop {
        let read = match from.read(&mut step) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|source| StoreError::io("read", path, source))?,
        };
        if read == 0 {
            let mut out = [0; 32];
            out.copy_from_slice(context.finish().as_ref());
            return Ok((bytes, Digest::from_bytes(out)));
        }
        context.update(&step[..read]);
        write(&step[..read])?;
        bytes += read as u64;
    }
}

type CopyResult = Result<(u64, Digest), CopyError>;

/// A new file for its owner alone.
fn create(path: &Path) -> Result<File, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(|source| StoreError::io("make", path, source))
}

/// A new folder for its owner alone.
fn create_folder(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StoreError::io("make", path, source))
}

/// Makes the names of every folder below one durable, and its own.
fn sync_folders(path: &Path) -> Result<(), StoreError> {
    let list = || std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>();
    for entry in list().map_err(|source| StoreError::io("list", path, source))? {
        let entry: PathBuf = entry.path();
        if entry.is_dir() {
            sync_folders(&entry)?;
        }
    }
    crate::store::sync_directory(path)
}
