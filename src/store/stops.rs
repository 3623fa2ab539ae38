//! The list of stops: a preallocated file of closed gates, written before anything else when a connection is stopped and
//! read before anything else at start. It needs no engine and no free disk space.
//!
//! Entries are 64 bytes: mark, tenant, connection, epoch, reason, time in ms since 1970, and the first 8 bytes of the
//! SHA-256 of those. An entry that does not add up (a torn write that was never acknowledged) is passed over.

use std::collections::HashMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::store::Epoch;
use crate::store::StoreError;
use crate::store::sync_directory;

const ENTRY_BYTES: usize = 64;
const MARK: [u8; 4] = *b"STOP";
/// The file grows by this many entries (1 MiB), long before they are needed.
const GROWTH_ENTRIES: u64 = 16 << 10;
/// Fewer free entries than this, and the file grows.
const FREE_ENTRIES_MIN: u64 = 8 << 10;

/// Why a gate was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Revoked: final.
    Revoked,
    /// Paused by an operator.
    Paused,
    /// The application no longer accepts the credential.
    NeedsReauthorization,
}

impl StopReason {
    fn code(self) -> u8 {
        match self {
            StopReason::Revoked => 1,
            StopReason::Paused => 2,
            StopReason::NeedsReauthorization => 3,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        [StopReason::Revoked, StopReason::Paused, StopReason::NeedsReauthorization].into_iter().find(|reason| reason.code() == code)
    }
}

/// One closed gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Whose gate.
    pub owner: ConnectionKey,
    /// The epoch it is closed at, and every earlier one.
    pub epoch: Epoch,
    /// Why.
    pub reason: StopReason,
    /// When.
    pub at: Timestamp,
}

/// The file and what it says.
pub(super) struct Stops {
    file: File,
    path: PathBuf,
    entries: u64,
    capacity: u64,
    latest: HashMap<ConnectionKey, Stop>,
}

impl Stops {
    /// Reads the list, making it when it is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |what| move |source| StoreError::io(what, path, source);
        let fresh = !path.exists();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io("open"))?;
        let bytes = std::fs::read(path).map_err(io("read"))?;
        let mut stops = Stops { file, path: path.into(), entries: 0, capacity: (bytes.len() / ENTRY_BYTES) as u64, latest: HashMap::new() };
        for (index, entry) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
            if let Some(stop) = decode(entry) {
                stops.note(stop);
            }
            if entry.iter().any(|byte| *byte != 0) {
                stops.entries = index as u64 + 1;
            }
        }
        if let Err(error) = stops.grow()
            && stops.capacity == stops.entries
        {
            return Err(error);
        }
        if fresh && let Some(parent) = path.parent() {
            sync_directory(parent)?;
        }
        Ok(stops)
    }

    /// The last stop of a connection.
    pub fn of(&self, owner: ConnectionKey) -> Option<Stop> {
        self.latest.get(&owner).copied()
    }

    /// The last stop of each connection.
    pub fn latest(&self) -> Vec<Stop> {
        self.latest.values().copied().collect()
    }

    /// The highest numbers of a tenant and of a connection, each by itself; zeros when there is none.
    pub fn highest(&self) -> ConnectionKey {
        let highest = |highest: ConnectionKey, owner: &ConnectionKey| ConnectionKey {
            tenant: highest.tenant.max(owner.tenant),
            connection: highest.connection.max(owner.connection),
        };
        self.latest.keys().fold(ConnectionKey { tenant: 0, connection: 0 }, highest)
    }

    /// Appends entries and returns when they are durable.
    pub fn append(&mut self, stops: &[Stop]) -> Result<(), StoreError> {
        let bytes: Vec<u8> = stops.iter().flat_map(encode).collect();
        let written = self.file.write_all_at(&bytes, self.entries * ENTRY_BYTES as u64).and_then(|()| self.file.sync_data());
        written.map_err(|source| StoreError::io("write", &self.path, source))?;
        self.entries += stops.len() as u64;
        self.capacity = self.capacity.max(self.entries);
        stops.iter().for_each(|stop| self.note(*stop));
        if let Err(error) = self.grow() {
            tracing::warn!(error = &error as &dyn std::error::Error, free = self.capacity - self.entries, "the list of stops cannot grow");
        }
        Ok(())
    }

    fn note(&mut self, stop: Stop) {
        let latest = self.latest.entry(stop.owner).or_insert(stop);
        let final_already = latest.reason == StopReason::Revoked;
        if stop.epoch > latest.epoch || (stop.epoch == latest.epoch && !final_already) {
            *latest = stop;
        }
    }

    /// Writes zeros ahead, so that a later stop needs no new block of the disk.
    fn grow(&mut self) -> Result<(), StoreError> {
        if self.capacity - self.entries >= FREE_ENTRIES_MIN {
            return Ok(());
        }
        let zeros = vec![0; GROWTH_ENTRIES as usize * ENTRY_BYTES];
        let written = self.file.write_all_at(&zeros, self.capacity * ENTRY_BYTES as u64).and_then(|()| self.file.sync_all());
        written.map_err(|source| StoreError::io("extend", &self.path, source))?;
        self.capacity += GROWTH_ENTRIES;
        Ok(())
    }
}

/// The list of stops of a data directory, without opening it for writing; empty when there is none.
pub(super) fn listed(path: &Path) -> Result<Vec<Stop>, StoreError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        bytes => bytes.map(|bytes| decoded(&bytes)).map_err(|source| StoreError::io("read", path, source)),
    }
}

/// The entries of a list, for a backup.
pub(super) fn encoded(stops: &[Stop]) -> Vec<u8> {
    stops.iter().flat_map(encode).collect()
}

/// The entries that add up.
pub(super) fn decoded(bytes: &[u8]) -> Vec<Stop> {
    bytes.chunks_exact(ENTRY_BYTES).filter_map(decode).collect()
}

/// What a second reading of the list found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopsCheck {
    /// Entries that read back.
    pub entries: u64,
    /// Places of entries that do not although a later one does: not torn, for the list is written in order, but damaged.
    pub damaged: Vec<u64>,
    /// Whether the file is made of whole entries.
    pub whole: bool,
}

/// Reads a list without changing it.
pub(super) fn check(path: &Path) -> Result<StopsCheck, StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
    let mut check = StopsCheck { entries: 0, damaged: Vec::new(), whole: bytes.len().is_multiple_of(ENTRY_BYTES) };
    let mut unread = Vec::new();
    for (index, entry) in (0..).zip(bytes.chunks_exact(ENTRY_BYTES)) {
        if decode(entry).is_some() {
            check.entries += 1;
            check.damaged.append(&mut unread);
        } else {
            // A hole before a later entry is damage as well.
            unread.push(index);
        }
    }
    Ok(check)
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[..8]);
    sum
}

fn encode(stop: &Stop) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..4].copy_from_slice(&MARK);
    entry[4..12].copy_from_slice(&stop.owner.to_bytes());
    entry[12..16].copy_from_slice(&stop.epoch.to_be_bytes());
    entry[16] = stop.reason.code();
    entry[24..32].copy_from_slice(&stop.at.as_millisecond().to_be_bytes());
    let sum = checksum(&entry[..56]);
    entry[56..].copy_from_slice(&sum);
    entry
}

fn decode(entry: &[u8]) -> Option<Stop> {
    if entry[..4] != MARK || entry[56..] != checksum(&entry[..56]) {
        return None;
    }
    let owner = ConnectionKey::from_bytes(entry[4..12].try_into().ok()?);
    let epoch = u32::from_be_bytes(entry[12..16].try_into().ok()?);
    let at = Timestamp::from_millisecond(i64::from_be_bytes(entry[24..32].try_into().ok()?)).ok()?;
    Some(Stop { owner, epoch, reason: StopReason::of_code(entry[16])?, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(connection: u32, epoch: Epoch, reason: StopReason) -> Stop {
        Stop { owner: ConnectionKey { tenant: 1, connection }, epoch, reason, at: Timestamp::UNIX_EPOCH }
    }

    /// Goal: an acknowledged stop is read back, a torn one is passed over, and a revocation is never weakened by a pause.
    #[test]
    fn stops_survive_and_torn_entries_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stops");
        let mut stops = Stops::open(&path).unwrap();
        stops.append(&[stop(1, 1, StopReason::Revoked), stop(2, 4, StopReason::Paused)]).unwrap();
        stops.append(&[stop(1, 1, StopReason::Paused)]).unwrap();
        stops.file.write_all_at(b"STOP torn", 3 * ENTRY_BYTES as u64).unwrap();
        drop(stops);
        let mut stops = Stops::open(&path).unwrap();
        assert_eq!(stops.latest.get(&ConnectionKey { tenant: 1, connection: 1 }), Some(&stop(1, 1, StopReason::Revoked)));
        assert_eq!(stops.of(ConnectionKey { tenant: 1, connection: 2 }).map(|stop| stop.epoch), Some(4));
        stops.append(&[stop(3, 1, StopReason::Revoked)]).unwrap();
        assert_eq!(Stops::open(&path).unwrap().latest.len(), 3);
    }
}
