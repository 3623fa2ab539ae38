//! Keeping: whole atomic units over an embedded engine, sealed blocks in segment files, and the list of stops.
//!
//! A [`Unit`] is everything that one act writes: rows put and removed, sealed blocks, audit leaves. It is applied wholly
//! or not at all, only while the gates it names are open at the epochs it names, and it is acknowledged when it would
//! survive a power loss. One writer thread applies units in order and shares one fdatasync among those that wait.
//!
//! **Invariant**: nothing outside this module writes below `store/`, `segments/` or `stops`.

mod anchor;
mod backup;
pub mod check;
mod compact;
mod copy;
mod disk;
mod engine;
mod error;
mod fence;
pub mod layout;
mod making;
mod opening;
mod place;
mod restoring;
mod row;
mod segment;
mod stops;
mod unit;
pub mod watch;
mod writer;

use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

pub use self::backup::BackedUp;
pub use self::backup::Backup;
pub use self::backup::BackupOrder;
pub use self::backup::Built;
pub use self::compact::Compacted;
pub use self::copy::CopyError;
pub use self::copy::CopyWatch;
pub use self::disk::DiskLimits;
pub use self::disk::DiskState;
pub use self::disk::FLOOR_BYTES_DEFAULT;
pub use self::disk::LOW_BYTES_DEFAULT;
pub use self::error::StoreError;
pub use self::fence::Epoch;
pub use self::fence::GateState;
pub use self::layout::Table;
pub use self::opening::DAMAGED_FOLDER;
pub use self::opening::LockHolder;
pub use self::opening::OpenFault;
pub use self::opening::SetAside;
pub use self::restoring::Restoring;
pub use self::restoring::STORE_PARTS;
pub use self::row::Row;
pub use self::row::RowKey;
pub use self::segment::Placed;
pub use self::stops::Stop;
pub use self::stops::StopReason;
pub use self::unit::Committed;
pub use self::unit::Unit;
pub use self::writer::AuditHead;
pub use self::writer::AuditLeaf;
pub use self::writer::AuditNode;

use self::disk::Disk;
use self::engine::Engine;
use self::fence::Fences;
use self::making::Making;
use self::segment::Segments;
use self::stops::Stops;
use self::watch::Call;
use self::watch::End;
use self::watch::Limits;
use self::watch::Watch;
use self::writer::Job;
use self::writer::Progress;
use self::writer::Write;
use self::writer::Writer;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::telemetry::metrics::Metrics;

/// Settings of the embedded engine.
#[derive(Clone)]
pub struct Options {
    /// Bytes of pages that sled keeps in memory; real use is a few times this (docs/SAFETY.md).
    pub cache_bytes: u64,
    /// Units that may wait for the writer before callers are held back.
    pub queue_units: usize,
    /// Where commits are counted.
    pub metrics: Arc<Metrics>,
    /// When a call is late.
    pub limits: Limits,
    /// What ends the process when a call does not come back or panics. Nothing by default: the store is stopped all the same.
    pub end: End,
    /// When the disk is low, and when it is full.
    pub disk: DiskLimits,
    /// Names what is set aside.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cache_bytes: 32 << 20,
            queue_units: 1024,
            metrics: Arc::new(Metrics::new()),
            limits: Limits::default(),
            end: Arc::new(|_| {}),
            disk: DiskLimits::default(),
            clock: Clock::System,
        }
    }
}

/// The largest value of a row. sled writes up to some twenty neighbours as one message, and puts a message above a quarter of
/// its segment into a file that it never syncs; the engine's segment is chosen so that twenty of these fit.
pub const VALUE_BYTES_MAX: usize = 48 << 10;

/// Rows that are counted before the count rests, and for how long, while others use the store.
const COUNT_ROWS_AT_ONCE: u64 = 1000;
const COUNT_REST: Duration = Duration::from_millis(5);

/// A row's whole key and value, as the engine holds them.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// The store of one data directory. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    fences: Arc<Fences>,
    segments: Arc<Segments>,
    jobs: mpsc::Sender<Job>,
    /// The number of the last unit that readers can see, and of the last that is on disk.
    applied: Arc<AtomicU64>,
    /// As `applied`, but for units that bring nothing but entries of the audit log.
    rows_applied: Arc<AtomicU64>,
    durable: tokio::sync::watch::Receiver<u64>,
    watch: Arc<Watch>,
    disk: Arc<Disk>,
    metrics: Arc<Metrics>,
    /// The writer's, and the monitor's.
    threads: std::sync::Mutex<Vec<std::thread::JoinHandle<()>>>,
    directory: PathBuf,
    cache_bytes: u64,
    /// What makes a copy of the rows at the moment, if anything does.
    copying: std::sync::Mutex<Option<&'static str>>,
}

impl Store {
    /// Opens the store of a data directory, making it when the directory has none. The stops are read first.
    ///
    /// # Errors
    /// [`StoreError::Held`] when another process has it open; the engine's and the file system's refusals.
    pub fn open(directory: &Path, options: &Options) -> Result<Self, StoreError> {
        place::finish(directory)?;
        let stops = Stops::open(&directory.join("stops"))?;
        let watch = Arc::new(Watch::new(options.limits, options.end.clone()));
        let path = directory.join("store");
        let making = Making::begin(&path)?;
        let engine = Arc::new(Engine::open(&path, options.cache_bytes, &options.clock, watch.clone())?);
        making.finish(&path)?;
        // Not before this process holds the store: another one may be copying.
        place::remove_leftovers(directory)?;
        let segments = Arc::new(Segments::open(directory.join("segments"), watch.clone())?);
        let fences = Arc::new(Fences::new(engine.clone(), stops));
        let (jobs, queue) = mpsc::channel(options.queue_units);
        let (applied, (on_disk, durable)) = (Arc::new(AtomicU64::new(0)), tokio::sync::watch::channel(0));
        let rows_applied = Arc::new(AtomicU64::new(0));
        let progress = Progress { applied: applied.clone(), rows_applied: rows_applied.clone(), durable: on_disk };
        let metrics = options.metrics.clone();
        let disk = Arc::new(Disk::new(directory.into(), options.disk, metrics.clone()));
        let care = (watch.clone(), disk.clone());
        let writer = Writer::new(engine.clone(), fences.clone(), segments.clone(), metrics.clone(), progress, care)?;
        let begin = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).spawn(work);
            thread.map_err(|source| StoreError::io("start a thread of the store in", directory, source))
        };
        let monitored = watch.clone();
        let threads = vec![
            begin("headgate-writer", Box::new(move || writer.run(queue)))?,
            begin("headgate-watch", Box::new(move || monitored.monitor()))?,
        ];
        let threads = std::sync::Mutex::new(threads);
        let inner = Inner {
            engine,
            fences,
            segments,
            jobs,
            applied,
            rows_applied,
            durable,
            watch,
            disk,
            metrics,
            threads,
            directory: directory.into(),
            cache_bytes: options.cache_bytes,
            copying: std::sync::Mutex::default(),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Finishes what a restore or a compaction of this data directory was killed in the middle of: looked at before anything
    /// is concluded from which of the store's folders are there.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish_replacing(directory: &Path) -> Result<(), StoreError> {
        place::finish(directory)
    }

    /// Applies a unit; returns when it is durable.
    ///
    /// # Errors
    /// [`StoreError::GateClosed`] and [`StoreError::Conflict`] when a fence or an expectation does not hold (nothing is
    /// written then), and whatever kept the writer from making it durable.
    pub async fn commit(&self, unit: Unit) -> Result<Committed, StoreError> {
        self.submit(unit).await?.await.map_err(|_| StoreError::Stopped)?
    }

    /// Hands a unit to the writer, in order, and returns the answer to come: for callers that go on meanwhile.
    ///
    /// # Errors
    /// When the unit is malformed or the writer has stopped.
    pub async fn submit(&self, unit: Unit) -> Result<oneshot::Receiver<Result<Committed, StoreError>>, StoreError> {
        let unit = unit.checked()?;
        let (reply, answer) = oneshot::channel();
        self.inner.jobs.send(Job::Write(Write { unit, reply })).await.map_err(|_| StoreError::Stopped)?;
        Ok(answer)
    }

    /// Waits until everything that a read before this call may have seen is on disk, and writes nothing: a unit can be read as
    /// soon as it is applied, which is before its group is synced. Whoever tells others what was read waits here first.
    ///
    /// # Errors
    /// When the writer has stopped before that.
    pub async fn seen_is_durable(&self) -> Result<(), StoreError> {
        self.reached(self.inner.applied.load(Ordering::SeqCst)).await
    }

    /// As [`Store::seen_is_durable`], for whoever has read nothing of the audit log: entries that others have just appended are
    /// not waited for.
    ///
    /// # Errors
    /// When the writer has stopped before that.
    pub async fn rows_seen_are_durable(&self) -> Result<(), StoreError> {
        self.reached(self.inner.rows_applied.load(Ordering::SeqCst)).await
    }

    /// Tells whenever more has become durable; by nothing else that is on its way.
    pub fn durable(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.durable.clone()
    }

    async fn reached(&self, unit: u64) -> Result<(), StoreError> {
        let reached = self.inner.durable.clone().wait_for(|durable| *durable >= unit).await.map(|_| ());
        reached.map_err(|_| StoreError::Stopped)
    }

    /// One row.
    ///
    /// # Errors
    /// When the engine fails or the row does not read back.
    pub fn get<R: Row>(&self, key: &R::Key) -> Result<Option<R>, StoreError> {
        let key = row::key_bytes::<R>(key);
        self.inner.engine.get(&key)?.map(|value| row::decode(&value)).transpose()
    }

    /// Whether a row is there, without reading it back.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn contains<R: Row>(&self, key: &R::Key) -> Result<bool, StoreError> {
        self.inner.engine.contains(&row::key_bytes::<R>(key))
    }

    /// At most `limit` rows of a table in key order: those whose key begins with `prefix` and lies behind `after`.
    ///
    /// `prefix` is the beginning of an encoded key (see [`RowKey`]), without the table's tag.
    ///
    /// # Errors
    /// When the engine fails or a row does not read back.
    pub fn scan<R: Row>(&self, prefix: &[u8], after: Option<&R::Key>, limit: usize) -> Result<Vec<(R::Key, R)>, StoreError> {
        let (start, end) = row::range::<R>(prefix);
        let start = match after {
            Some(key) => Bound::Excluded(row::key_bytes::<R>(key)),
            None => Bound::Included(start),
        };
        let _call = self.inner.watch.call(Call::Scan)?;
        let range = self.inner.engine.range((start, end));
        range.take(limit).map(|entry| entry.and_then(|(key, value)| row::entry(&key, &value))).collect()
    }

    /// As [`Store::scan`], from the end backwards; `before` is excluded.
    ///
    /// # Errors
    /// When the engine fails or a row does not read back.
    pub fn scan_back<R: Row>(&self, prefix: &[u8], before: Option<&R::Key>, limit: usize) -> Result<Vec<(R::Key, R)>, StoreError> {
        let (start, end) = row::range::<R>(prefix);
        let end = match before {
            Some(key) => Bound::Excluded(row::key_bytes::<R>(key)),
            None => end,
        };
        let _call = self.inner.watch.call(Call::Scan)?;
        let range = self.inner.engine.range((Bound::Included(start), end));
        range.rev().take(limit).map(|entry| entry.and_then(|(key, value)| row::entry(&key, &value))).collect()
    }

    /// At most `limit` raw keys and values of one table whose keys begin with `owner`, the bytes of a connection's numbers or of
    /// a tenant's: what a sweep removes.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn raw_below(&self, table: Table, owner: &[u8], limit: usize) -> Result<Vec<RawRow>, StoreError> {
        let mut prefix = vec![table.tag()];
        prefix.extend_from_slice(owner);
        let _call = self.inner.watch.call(Call::Scan)?;
        let entries = self.inner.engine.scan_prefix(&prefix).take(limit);
        entries.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
    }

    /// Looks at the rows of one table whose keys begin with `owner` and lie behind the whole key `after`, at most `limit`, without
    /// reading them back: whole keys and values. How many there were.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn look_below(
        &self,
        table: Table,
        owner: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        mut look: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, StoreError> {
        let (start, end) = row::prefixed(table, owner);
        let start = after.map_or(Bound::Included(start), |key| Bound::Excluded(key.to_vec()));
        let _call = self.inner.watch.call(Call::Scan)?;
        let mut looked_at = 0;
        for entry in self.inner.engine.range((start, end)).take(limit) {
            let (key, value) = entry?;
            look(&key, &value);
            looked_at += 1;
        }
        Ok(looked_at)
    }

    /// The state of a connection's gate, as it is in memory: what every fence compares with.
    ///
    /// # Errors
    /// When the engine fails on the first look.
    pub fn gate(&self, owner: ConnectionKey) -> Result<GateState, StoreError> {
        self.inner.fences.state(owner)
    }

    /// Closes a gate in memory: from this moment no unit lands behind it. Returns the epoch it is closed at.
    ///
    /// # Errors
    /// When the engine fails on the first look at this gate.
    pub fn close_gate(&self, owner: ConnectionKey) -> Result<Epoch, StoreError> {
        self.inner.fences.close(owner)
    }

    /// Makes stops durable in the preallocated list: this works on a full disk.
    ///
    /// # Errors
    /// When the list cannot be written; gates that were closed in memory stay closed until the process ends.
    pub fn record_stops(&self, stops: &[Stop]) -> Result<(), StoreError> {
        // A stop is written whatever has become of the engine.
        let _call = self.inner.watch.call(Call::Stop);
        self.inner.fences.record(stops)
    }

    /// The last stop of each connection, for what is left to do after a crash.
    pub fn stops(&self) -> Vec<Stop> {
        self.inner.fences.stops()
    }

    /// The last stop of one connection.
    pub fn stop(&self, owner: ConnectionKey) -> Option<Stop> {
        self.inner.fences.stop(owner)
    }

    /// The highest numbers of a tenant and of a connection that were ever stopped: a new connection that got one of these
    /// would be stopped from its beginning.
    pub fn highest_stopped(&self) -> ConnectionKey {
        self.inner.fences.highest_stopped()
    }

    /// Reads sealed bytes from a segment file.
    ///
    /// # Errors
    /// When the file is gone (an erasure) or cannot be read.
    pub fn read_block(&self, owner: ConnectionKey, placed: Placed) -> Result<Vec<u8>, StoreError> {
        self.inner.segments.read(owner, placed)
    }

    /// Unlinks every segment file of a connection; how many there were.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn unlink_segments(&self, owner: ConnectionKey) -> Result<u64, StoreError> {
        self.inner.segments.unlink(owner)
    }

    /// Unlinks every segment file of a tenant.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn unlink_tenant_segments(&self, tenant: u32) -> Result<(), StoreError> {
        self.inner.segments.unlink_tenant(tenant)
    }

    /// Bytes on disk: the engine's files and the segment files.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn disk_bytes(&self) -> Result<(u64, u64), StoreError> {
        Ok((self.inner.engine.bytes()?, self.inner.segments.bytes()?))
    }

    /// How many rows each table holds, by a full walk over the keys: for `store stats`, not for a request path.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn row_counts(&self) -> Result<Vec<(Table, u64)>, StoreError> {
        let call = self.inner.watch.call(Call::Walk)?;
        let count = |table: &Table| {
            let mut rows = 0;
            for key in self.inner.engine.scan_prefix(&[table.tag()]).keys() {
                key?;
                rows += 1;
                call.moves();
            }
            Ok((*table, rows))
        };
        layout::TABLES.iter().map(count).collect()
    }

    /// Where commits and syncs are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Looks at the disk: what is free, and what the engine makes of its share. The rows of an engine that is large and has
    /// grown are counted first, at a pace that leaves the others room: this takes its time, and is no part of a request. The
    /// count is given up once `stopping` says so.
    ///
    /// # Errors
    /// When the engine or the file system fails.
    pub fn look_at_disk(&self, stopping: impl Fn() -> bool) -> Result<DiskState, StoreError> {
        let engine_bytes = self.inner.engine.bytes()?;
        if self.inner.disk.wants_count(engine_bytes)
            && let Some(row_bytes) = self.row_bytes(stopping)?
        {
            self.inner.disk.counted(engine_bytes, row_bytes);
        }
        self.inner.disk.look(engine_bytes)
    }

    /// The bytes of all keys and values.
    fn row_bytes(&self, stopping: impl Fn() -> bool) -> Result<Option<u64>, StoreError> {
        let call = self.inner.watch.call(Call::Walk)?;
        let (mut bytes, mut rows) = (0, 0_u64);
        for row in self.inner.engine.scan_prefix(&[]) {
            let (key, value) = row?;
            bytes += (key.len() + value.len()) as u64;
            rows += 1;
            if rows.is_multiple_of(COUNT_ROWS_AT_ONCE) {
                if stopping() {
                    return Ok(None);
                }
                std::thread::sleep(COUNT_REST);
            }
            call.moves();
        }
        Ok(Some(bytes))
    }

    /// Whether the store answers: no call is late, and none has made an end of it.
    pub fn answers(&self) -> bool {
        self.inner.watch.answers()
    }

    /// The snapshots of the engine that were found damaged and set aside, oldest first.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        opening::all_set_aside(&self.inner.directory)
    }

    /// Writes down that the store was verified after snapshots had been set aside.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn note_verified(&self, at: Timestamp) -> Result<(), StoreError> {
        opening::note_verified(&self.inner.directory, at)
    }

    /// Whether the writer still takes units; after a failed sync it does not, for nothing could be promised any more.
    pub fn writes(&self) -> bool {
        !self.inner.jobs.is_closed()
    }

    /// Where the store lies.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Waits until everything submitted before is durable.
    ///
    /// # Errors
    /// When the writer has stopped.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.commit(Unit::default()).await.map(|_| ())
    }
}

impl Drop for Inner {
    /// Ends the writer and waits for it, so that the lock is free when the last handle is gone.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        self.jobs = closed;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            // The writer is watched to its end, then the monitor.
            if thread.join().is_err() {
                tracing::error!("the store's writer ended by a panic; what it had not acknowledged is lost");
            }
            self.watch.close();
        }
    }
}

/// Makes a directory's entries durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|source| StoreError::io("sync", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::clock::Timestamp;
    use crate::merkle;
    use crate::secret::Sealed;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Switch(bool);

    impl Row for Switch {
        const TABLE: Table = Table::ConnectorSwitches;
        type Key = String;
    }

    const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 7 };

    fn unit(build: impl for<'a> FnOnce(&'a mut Unit) -> &'a mut Unit) -> Unit {
        let mut unit = Unit::default();
        build(&mut unit);
        unit
    }

    /// Goal: what commit has answered is there after a reopen, blocks and audit log included, and the log's root is that
    /// of its leaves. Method: write, drop, open again.
    #[tokio::test]
    async fn a_unit_is_whole_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        for number in 0..5_u8 {
            let committed = store
                .commit(unit(|unit| {
                    unit.put(&format!("n{number}"), &Switch(true)).audit(vec![number]).blocks(
                        OWNER,
                        1,
                        10 * u64::from(number),
                        Sealed::by_a_key(vec![number; 10]),
                    )
                }))
                .await
                .unwrap();
            assert_eq!(committed.first_leaf, u64::from(number));
        }
        drop(store);
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let rows = store.scan::<Switch>(b"n", Some(&"n1".into()), 2).unwrap();
        assert_eq!(rows.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["n2", "n3"]);
        assert_eq!(store.scan_back::<Switch>(b"", None, 1).unwrap()[0].0, "n4");
        assert_eq!(store.read_block(OWNER, Placed { extent: 1, offset: 30, bytes: 10 }).unwrap(), [3; 10]);
        let committed = store.commit(unit(|unit| unit.audit(vec![5]).audit(vec![6]))).await.unwrap();
        assert_eq!(committed.first_leaf, 5);
        let leaves: Vec<merkle::Hash> = (0..7).map(|n| merkle::leaf_hash(&[n])).collect();
        let pair = |a: usize| merkle::node_hash(&leaves[a], &leaves[a + 1]);
        let root = merkle::node_hash(&merkle::node_hash(&pair(0), &pair(2)), &merkle::node_hash(&pair(4), &leaves[6]));
        assert_eq!(store.get::<AuditHead>(&()).unwrap(), Some(AuditHead { size: 7, root }));
    }

    /// Goal: a fence that does not hold leaves nothing behind, and a stop outlives the process even when no row tells of it.
    #[tokio::test]
    async fn nothing_lands_behind_a_closed_gate() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        store.commit(unit(|unit| unit.open_gate(OWNER, 1))).await.unwrap();
        store.commit(unit(|unit| unit.fence(OWNER, 1).put(&"a".into(), &Switch(true)))).await.unwrap();
        let epoch = store.close_gate(OWNER).unwrap();
        store.record_stops(&[Stop { owner: OWNER, epoch, reason: StopReason::Revoked, at: Timestamp::UNIX_EPOCH }]).unwrap();
        let late = store
            .commit(unit(|unit| unit.fence(OWNER, 1).blocks(OWNER, 1, 0, Sealed::by_a_key(vec![1])).put(&"b".into(), &Switch(true))))
            .await;
        assert!(matches!(late, Err(StoreError::GateClosed { owner: OWNER })), "{late:?}");
        assert_eq!(store.get::<Switch>(&"b".into()).unwrap(), None);
        assert_eq!(store.disk_bytes().unwrap().1, 0);
        drop(store);
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        assert_eq!(store.gate(OWNER).unwrap(), GateState { epoch: 1, open: false });
        assert!(store.commit(unit(|unit| unit.open_gate(OWNER, 1))).await.is_err(), "an epoch is never used twice");
        store.commit(unit(|unit| unit.open_gate(OWNER, 2).put(&"c".into(), &Switch(true)))).await.unwrap();
        assert!(store.gate(OWNER).unwrap().open);
    }

    /// Goal: of two acts that expect the same row, one is told so. A second process is told who holds the store.
    #[tokio::test]
    async fn expectations_and_the_lock_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let claim = || unit(|unit| unit.expect::<Switch>(&"a".into(), None).put(&"a".into(), &Switch(true)));
        store.commit(claim()).await.unwrap();
        assert!(matches!(store.commit(claim()).await, Err(StoreError::Conflict { .. })));
        assert!(matches!(Store::open(directory.path(), &Options::default()), Err(StoreError::Held { .. })));
        let large = unit(|unit| unit.put(&"big".into(), &AuditLeafOf(vec![0; VALUE_BYTES_MAX])));
        assert!(matches!(store.commit(large).await, Err(StoreError::ValueTooLarge { .. })));
    }

    /// Goal: no row, however large and however many stand together, goes into a file that sled never syncs. Method: more rows of
    /// the largest size than any node holds, in an order that splits, grows and merges nodes, overwritten and removed; nothing
    /// is below `blobs/` at any time, and one byte more is refused.
    #[tokio::test]
    async fn the_largest_rows_stay_out_of_blobs() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let blobs = || std::fs::read_dir(directory.path().join("store/blobs")).unwrap().count();
        // A version byte, and three bytes of length.
        let largest = |fill: u8| AuditLeafOf(vec![fill; VALUE_BYTES_MAX - 4]);
        for round in 0..3_u8 {
            for at in 0..5_u32 {
                let keys = (0..20).map(|step| (step * 37 + at * 11) % 97);
                let large = unit(|unit| keys.fold(unit, |unit, key| unit.put(&format!("k{key:03}"), &largest(round))));
                store.commit(large).await.unwrap();
                assert_eq!(blobs(), 0, "round {round}, step {at}");
            }
            let gone =
                unit(|unit| (0..97).filter(|key| key % 4 > 0).fold(unit, |unit, key| unit.remove::<AuditLeafOf>(&format!("k{key:03}"))));
            store.commit(gone).await.unwrap();
            assert_eq!(blobs(), 0, "round {round}, removal");
        }
        let over = unit(|unit| unit.put(&"k".into(), &AuditLeafOf(vec![0; VALUE_BYTES_MAX - 3])));
        assert!(matches!(store.commit(over).await, Err(StoreError::ValueTooLarge { .. })));
    }

    /// Goal: an engine that has lost its end is not taken for whole, and what lost nothing is: a kill, a settled store, an anchor that
    /// a power loss has torn or left behind. Method: an older copy of the engine's files beside the present anchor, and the other
    /// way round.
    #[tokio::test]
    async fn an_engine_that_has_lost_its_end_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path(), &Options::default());
        let (db, anchor) = (directory.path().join("store/db"), directory.path().join("store/anchor"));
        let put = |key: &str| unit(|unit| unit.put(&key.to_owned(), &Switch(true)));
        let store = open().unwrap();
        store.commit(put("a")).await.unwrap();
        let (old_db, old_anchor) = (std::fs::read(&db).unwrap(), std::fs::read(&anchor).unwrap());
        store.commit(put("b")).await.unwrap();
        store.settle().await.unwrap();
        let (new_db, new_anchor) = (std::fs::read(&db).unwrap(), std::fs::read(&anchor).unwrap());
        drop(store);
        let lay = |engine: &[u8], number: &[u8]| {
            std::fs::remove_dir_all(directory.path().join("store")).unwrap();
            std::fs::create_dir(directory.path().join("store")).unwrap();
            std::fs::write(&db, engine).unwrap();
            std::fs::write(&anchor, number).unwrap();
        };
        lay(&old_db, &new_anchor);
        let refused = open().err().unwrap();
        assert!(matches!(refused, StoreError::RolledBack { has: 1, had: 2, .. }), "{refused}");
        assert!(refused.to_string().contains("restore") && refused.to_string().contains("store/anchor"), "{refused}");
        for (engine, number) in [(&new_db, &new_anchor[..]), (&new_db, &old_anchor), (&old_db, b"torn"), (&old_db, &old_anchor)] {
            lay(engine, number);
            let store = open().unwrap();
            store.commit(put("c")).await.unwrap();
        }
    }

    /// Goal: with a damaged snapshot everything that was acknowledged is there, and the snapshot is kept aside; a half-written one
    /// is no damage. Method: a store whose segments were used again and again, then each kind of damage.
    #[tokio::test]
    async fn a_damaged_snapshot_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path(), &Options::default()).unwrap();
        let store = open();
        for round in 0..60_u8 {
            let put = |unit: &mut Unit| {
                for key in 0..200 {
                    unit.put(&format!("k{key}"), &AuditLeafOf(vec![round; 1000]));
                }
            };
            store
                .commit(unit(|unit| {
                    put(unit);
                    unit.audit(vec![round])
                }))
                .await
                .unwrap();
        }
        drop(store);
        drop(open());
        let snapshot = || {
            let files = std::fs::read_dir(directory.path().join("store")).unwrap().map(|entry| entry.unwrap().path());
            files.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).unwrap()
        };
        let damages: [fn(&mut Vec<u8>); 4] = [
            |bytes| bytes[9] ^= 4,
            |bytes| bytes.truncate(bytes.len() / 2),
            Vec::clear,
            |bytes| {
                let at = bytes.len() - 1;
                bytes[at] ^= 1
            },
        ];
        for (count, damage) in (1..).zip(damages) {
            let path = snapshot();
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            let store = open();
            for key in 0..200 {
                assert_eq!(store.get::<AuditLeafOf>(&format!("k{key}")).unwrap().map(|row| row.0), Some(vec![59; 1000]));
            }
            assert_eq!(store.get::<AuditHead>(&()).unwrap().map(|head| head.size), Some(60));
            let aside = store.set_aside().unwrap();
            assert_eq!(aside.len(), count);
            let (last, earlier) = aside.split_last().unwrap();
            assert!(!last.verified && earlier.iter().all(|aside| aside.verified), "{aside:?}");
            assert_eq!(std::fs::read(last.folder.join(path.file_name().unwrap())).unwrap(), bytes);
            store.note_verified(Timestamp::UNIX_EPOCH).unwrap();
        }
        let half = snapshot().with_extension("generating");
        std::fs::write(&half, b"half").unwrap();
        let store = open();
        assert_eq!((store.set_aside().unwrap().len(), half.exists()), (4, false));
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct AuditLeafOf(Vec<u8>);

    impl Row for AuditLeafOf {
        const TABLE: Table = Table::ConnectorTexts;
        type Key = String;
    }
}
