//! The disk that the store lies on: how much room is left, and how much of it the engine wastes.
//!
//! sled 0.34 gives little back (SLED.md: 3 to 5 times the bytes of its rows after many overwrites), and a full disk is where it
//! fails for good. So room is looked at often and told once when it becomes low, and pages are refused while there is still
//! room for everything else: states, acknowledgements, erasures. Stops need none (their list is allocated ahead).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;

/// Free bytes below which a disk is low when nothing else is said; of a small disk a tenth.
pub const LOW_BYTES_DEFAULT: u64 = 1 << 30;
/// Free bytes below which no page is taken in when nothing else is said; of a small disk a twentieth.
pub const FLOOR_BYTES_DEFAULT: u64 = 64 << 20;

/// Where the alarms stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiskLimits {
    /// Free bytes below which the disk is low: logged, and shown. `None`: [`LOW_BYTES_DEFAULT`], on a small disk less.
    pub low_bytes: Option<u64>,
    /// Free bytes below which no page is taken in. `None`: [`FLOOR_BYTES_DEFAULT`], on a small disk less.
    pub floor_bytes: Option<u64>,
    /// Bytes of the engine over bytes of its rows from which on a compaction is due.
    pub amplification_max: f64,
    /// An engine smaller than this wastes nothing worth a word.
    pub amplification_bytes_min: u64,
}

impl Default for DiskLimits {
    fn default() -> Self {
        DiskLimits { low_bytes: None, floor_bytes: None, amplification_max: 3.0, amplification_bytes_min: 64 << 20 }
    }
}

/// The room is enough again only when it is above the limit by this part of it.
const RELIEF_PART: u64 = 10;
/// The rows are counted again when the engine has grown by this part of its size at the last count.
const RECOUNT_PART: u64 = 4;

/// What was seen at the last look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiskState {
    /// Free bytes of the file system, for those who are not root.
    pub free_bytes: u64,
    /// Whether that is low.
    pub low: bool,
    /// Whether it is so low that no page is taken in.
    pub full: bool,
    /// Bytes of the engine's files.
    pub engine_bytes: u64,
    /// Bytes of its rows, when they were last counted.
    pub row_bytes: Option<u64>,
    /// The one over the other.
    pub amplification: Option<f64>,
    /// Whether a compaction is due.
    pub wasteful: bool,
}

pub(super) struct Disk {
    directory: PathBuf,
    limits: DiskLimits,
    metrics: Arc<Metrics>,
    low: AtomicBool,
    wasteful: AtomicBool,
    /// Bytes of rows and of files at the last count; zero before the first.
    counted_rows: AtomicU64,
    counted_engine: AtomicU64,
}

impl Disk {
    pub fn new(directory: PathBuf, limits: DiskLimits, metrics: Arc<Metrics>) -> Self {
        Disk {
            directory,
            limits,
            metrics,
            low: AtomicBool::new(false),
            wasteful: AtomicBool::new(false),
            counted_rows: AtomicU64::new(0),
            counted_engine: AtomicU64::new(0),
        }
    }

    /// What is free, and where that is low and too low.
    fn room(&self) -> Result<Room, StoreError> {
        let found = rustix::fs::statvfs(&self.directory);
        let found = found.map_err(|error| StoreError::io("measure the disk of", &self.directory, error.into()))?;
        let all = found.f_blocks.saturating_mul(found.f_frsize);
        Ok(Room {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            low: self.limits.low_bytes.unwrap_or(LOW_BYTES_DEFAULT.min(all / 10)),
            floor: self.limits.floor_bytes.unwrap_or(FLOOR_BYTES_DEFAULT.min(all / 20)),
        })
    }

    /// Refuses sealed bytes that would leave less room than the floor. A disk that cannot be measured is not held against them.
    pub fn takes(&self, bytes: u64) -> Result<(), StoreError> {
        let Ok(Room { free, floor, .. }) = self.room() else { return Ok(()) };
        if free >= floor.saturating_add(bytes) {
            return Ok(());
        }
        Err(StoreError::DiskFull { path: self.directory.clone(), free_bytes: free, floor_bytes: floor })
    }

    /// Whether the rows of an engine of this size should be counted (again).
    pub fn wants_count(&self, engine_bytes: u64) -> bool {
        let counted = self.counted_engine.load(Ordering::Relaxed);
        engine_bytes >= self.limits.amplification_bytes_min && engine_bytes >= counted + counted / RECOUNT_PART
    }

    pub fn counted(&self, engine_bytes: u64, row_bytes: u64) {
        self.counted_engine.store(engine_bytes, Ordering::Relaxed);
        self.counted_rows.store(row_bytes, Ordering::Relaxed);
    }

    /// Looks, counts what is to be seen in `/metrics`, and logs each crossing of a limit once.
    pub fn look(&self, engine_bytes: u64) -> Result<DiskState, StoreError> {
        let (Room { free, low, floor }, limits) = (self.room()?, &self.limits);
        let full = free < floor;
        match crossed(&self.low, free < low, free >= low.saturating_add(low / RELIEF_PART)) {
            Crossing::Up => tracing::warn!(
                disk.free_bytes = free,
                disk.low_bytes = low,
                disk.floor_bytes = floor,
                path = %self.directory.display(),
                "the disk is nearly full; below the floor no page is taken in: free some space, or run `headgate store compact`"
            ),
            Crossing::Down => tracing::info!(disk.free_bytes = free, "the disk has room again"),
            Crossing::None => {}
        }
        let row_bytes = Some(self.counted_rows.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0);
        let amplification = row_bytes.map(|rows| engine_bytes as f64 / rows as f64);
        let large = engine_bytes >= limits.amplification_bytes_min;
        let over = large && amplification.is_some_and(|amplification| amplification >= limits.amplification_max);
        if let Crossing::Up = crossed(&self.wasteful, over, !over) {
            tracing::warn!(
                store.engine_bytes = engine_bytes,
                store.row_bytes = row_bytes,
                store.amplification = amplification,
                "the store takes far more space than its rows; run `headgate store compact`"
            );
        }
        self.metrics.disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        self.metrics.store_engine_bytes.set(i64::try_from(engine_bytes).unwrap_or(i64::MAX));
        self.metrics.store_row_bytes.set(row_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0));
        let (low, wasteful) = (self.low.load(Ordering::Relaxed), self.wasteful.load(Ordering::Relaxed));
        Ok(DiskState { free_bytes: free, low, full, engine_bytes, row_bytes, amplification, wasteful })
    }
}

/// Bytes of a file system: free, and below what that is low, and too low for a page.
struct Room {
    free: u64,
    low: u64,
    floor: u64,
}

/// How an alarm has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crossing {
    Up,
    Down,
    None,
}

/// Sets an alarm: on as soon as it is due, off only once it is over, and nothing between.
fn crossed(alarm: &AtomicBool, due: bool, over: bool) -> Crossing {
    if due && !alarm.swap(true, Ordering::Relaxed) {
        Crossing::Up
    } else if over && !due && alarm.swap(false, Ordering::Relaxed) {
        Crossing::Down
    } else {
        Crossing::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each crossing is told once, and a value that trembles at the limit is not told again and again.
    #[test]
    fn crossings_are_told_once() {
        let alarm = AtomicBool::new(false);
        let told = |free: u64| crossed(&alarm, free < 100, free >= 110);
        let walk = [200, 99, 98, 105, 99, 109, 110, 111, 50].map(told);
        let (up, down, none) = (Crossing::Up, Crossing::Down, Crossing::None);
        assert_eq!(walk, [none, up, none, none, none, none, down, none, up]);
    }

    /// Goal: the floor refuses pages and lets go again; the engine's waste is seen from its size and its rows.
    #[test]
    fn floors_and_waste_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let disk = |limits| Disk::new(directory.path().into(), limits, Arc::new(Metrics::new()));
        let roomy = disk(DiskLimits { low_bytes: Some(1), floor_bytes: Some(0), ..DiskLimits::default() });
        roomy.takes(1).unwrap();
        let state = roomy.look(5).unwrap();
        assert!(!state.low && !state.full && state.free_bytes > 0 && state.amplification.is_none(), "{state:?}");
        let tight = disk(DiskLimits { low_bytes: Some(u64::MAX), floor_bytes: Some(u64::MAX / 2), ..DiskLimits::default() });
        let refused = tight.takes(1).unwrap_err();
        assert!(matches!(refused, StoreError::DiskFull { .. }) && refused.to_string().contains("the disk is full"), "{refused}");
        assert!(tight.look(5).unwrap().low && tight.look(5).unwrap().full);

        let size = DiskLimits::default().amplification_bytes_min;
        assert!(!roomy.wants_count(size - 1) && roomy.wants_count(size));
        roomy.counted(size, size / 4);
        assert!(!roomy.wants_count(size + 1) && roomy.wants_count(size * 2));
        let state = roomy.look(size).unwrap();
        assert!(state.wasteful && state.amplification == Some(4.0), "{state:?}");
    }
}
