//! The one door to sled: every read and write of the store goes through [`Engine`], whose database can be exchanged while
//! the process runs (a compaction, [`crate::store::compact`]).
//!
//! A reader takes the current [`Database`] (one uncontended read lock and one reference count, some ten nanoseconds beside
//! the microseconds of a look-up) and keeps it until it is done: an exchange never waits for readers, and a reader never
//! sees half of two databases within one range. `std`'s lock is enough, for it is held for the copy of a pointer only and
//! written once in weeks.
//!
//! sled looks at its path while it opens, and afterwards only for blob files (there are none, [`crate::store::VALUE_BYTES_MAX`])
//! and in `size_on_disk` (not used here): an open database goes on working when its directory is renamed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use sled::IVec;

use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::anchor::Anchor;
use crate::store::opening;
use crate::store::sync_directory;
use crate::store::watch::Call;
use crate::store::watch::Under;
use crate::store::watch::Watch;

/// Changed keys that a copy may be behind before the writer gives way to it.
const CHANGED_MAX: usize = 2 << 10;

/// The database in use, and where it lies.
pub(super) struct Engine {
    path: PathBuf,
    current: RwLock<Arc<Database>>,
    /// The keys that were changed since a copy last asked for them; none while nobody copies.
    changed: Mutex<Option<BTreeSet<Vec<u8>>>>,
    taken: Condvar,
    watch: Arc<Watch>,
}

/// Rows to put (with a value) or to remove (without), in their order.
pub(super) type Changes = [(Vec<u8>, Option<Vec<u8>>)];

/// One open sled database, its log file beside it for the fsync that sled leaves out (SLED.md).
pub(super) struct Database {
    db: sled::Db,
    log: File,
    anchor: Anchor,
}

/// Rows of a range, in key order from either end. Holds the database that it began on.
pub(super) struct Rows {
    rows: sled::Iter,
    _database: Arc<Database>,
}

impl Engine {
    /// Opens the database below `path`, making it when there is none, and setting a damaged snapshot aside.
    ///
    /// # Errors
    /// [`StoreError::Held`] when another process has it open, [`StoreError::Unopened`] when it is damaged; the engine's and the
    /// file system's refusals.
    pub fn open(path: &Path, cache_bytes: u64, clock: &Clock, watch: Arc<Watch>) -> Result<Self, StoreError> {
        let database = Database::over(opening::open(path, cache_bytes, clock)?, path)?;
        Ok(Engine { path: path.into(), current: RwLock::new(Arc::new(database)), watch, changed: Mutex::default(), taken: Condvar::new() })
    }

    /// Where the database in use lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database in use now.
    pub fn current(&self) -> Arc<Database> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another database in its place; the one before. Whoever reads it still goes on doing so.
    pub fn exchange(&self, database: Arc<Database>) -> Arc<Database> {
        // It holds every unit that the one before does, so it is held to the same number at the next open.
        if let Some(number) = self.anchored()
            && let Err(error) = database.anchor.write(number)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the number of the last unit is not written down");
        }
        std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), database)
    }

    /// Registers what somebody does with a database of its own accord with the watchdog, until the answer is dropped.
    pub fn call(&self, call: Call) -> Result<Under<'_>, StoreError> {
        self.watch.call(call)
    }

    /// A value.
    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let _call = self.watch.call(Call::Get)?;
        self.current().get(key)
    }

    /// Whether there is a value.
    pub fn contains(&self, key: &[u8]) -> Result<bool, StoreError> {
        let _call = self.watch.call(Call::Get)?;
        self.current().db.contains_key(key).map_err(StoreError::engine)
    }

    /// The rows between two keys.
    pub fn range(&self, bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Rows {
        self.current().range(bounds)
    }

    /// The rows whose key begins with this.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Rows {
        let database = self.current();
        Rows { rows: database.db.scan_prefix(prefix), _database: database }
    }

    /// Writes rows, wholly or not at all. Not yet durable: [`Engine::sync`].
    pub fn apply(&self, rows: &Changes) -> Result<(), StoreError> {
        let _call = self.watch.call(Call::Apply)?;
        // Held while the rows are written: a copy that sees a key here sees the key's new row too.
        let mut changed = self.changed();
        if let Some(changed) = &mut *changed {
            changed.extend(rows.iter().map(|(key, _)| key.clone()));
        }
        self.current().apply(rows)
    }

    /// Begins to remember which keys are changed. One copy at a time does so.
    pub fn watch_changes(&self) {
        *self.changed() = Some(BTreeSet::new());
    }

    /// The keys that were changed since this was last called.
    pub fn take_changes(&self) -> BTreeSet<Vec<u8>> {
        let changes = self.changed().as_mut().map(std::mem::take).unwrap_or_default();
        self.taken.notify_all();
        changes
    }

    /// Waits a while when a copy has fallen behind: it has more to do for a row than the writer, and would never catch up with
    /// one that takes all it can.
    pub fn give_way(&self, at_most: Duration) {
        let behind = |changed: &mut Option<BTreeSet<Vec<u8>>>| changed.as_ref().is_some_and(|changed| changed.len() > CHANGED_MAX);
        drop(self.taken.wait_timeout_while(self.changed(), at_most, behind));
    }

    /// Forgets them.
    pub fn unwatch_changes(&self) {
        *self.changed() = None;
        self.taken.notify_all();
    }

    fn changed(&self) -> MutexGuard<'_, Option<BTreeSet<Vec<u8>>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything that was applied durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _call = self.watch.call(Call::Sync)?;
        self.current().sync()
    }

    /// Writes down that units up to this number are durable. What keeps it from that is told, and costs a check at the next open.
    pub fn anchor(&self, number: u64) {
        if let Err(error) = self.current().anchor.write(number) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the number of the last unit is not written down");
        }
    }

    /// The number that was written down last.
    pub fn anchored(&self) -> Option<u64> {
        self.current().anchor.number()
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let _call = self.watch.call(Call::Measure)?;
        tree_bytes(&self.path).map_err(|source| StoreError::io("measure", &self.path, source))
    }
}

impl Database {
    /// Opens one, making it when there is none; its names are durable when this returns.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        Self::over(opening::attempt(path, cache_bytes)?, path)
    }

    fn over(db: sled::Db, path: &Path) -> Result<Self, StoreError> {
        let log_path = path.join("db");
        let log = File::open(&log_path).map_err(|source| StoreError::io("open", &log_path, source))?;
        let anchor = Anchor::open(path)?;
        // At each start: whoever made the directory may have been killed before it had synced the names.
        sync_directory(path)?;
        if let Some(parent) = path.parent() {
            sync_directory(parent)?;
        }
        Ok(Database { db, log, anchor })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.db.get(key).map_err(StoreError::engine)
    }

    pub fn range(self: &Arc<Self>, bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Rows {
        Rows { rows: self.db.range::<Vec<u8>, _>(bounds), _database: self.clone() }
    }

    pub fn apply(&self, rows: &Changes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch).map_err(StoreError::engine)
    }

    /// Puts or removes one row; whether there was one.
    pub fn put(&self, key: &[u8], value: Option<&IVec>) -> Result<bool, StoreError> {
        let before = match value {
            Some(value) => self.db.insert(key, value),
            None => self.db.remove(key),
        };
        before.map(|before| before.is_some()).map_err(StoreError::engine)
    }

    /// sled's own flush issues no fsync on Linux: this one does.
    pub fn sync(&self) -> Result<(), StoreError> {
        #[allow(clippy::disallowed_methods, reason = "the one place that flushes, and syncs behind it")]
        self.db.flush().map_err(StoreError::engine)?;
        self.log.sync_data().map_err(|source| StoreError::io("sync", Path::new("store/db"), source))
    }

    /// Lets the operating system forget what it holds of the file, so that the next reads come from the disk.
    pub fn forget_pages(&self) {
        // Advice: where it is not taken, the reads are as good as they were.
        let _ = rustix::fs::fadvise(&self.log, 0, None, rustix::fs::Advice::DontNeed);
    }
}

impl Rows {
    /// The keys alone.
    pub fn keys(self) -> impl Iterator<Item = Result<IVec, StoreError>> {
        self.map(|row| row.map(|(key, _)| key))
    }
}

impl Iterator for Rows {
    type Item = Result<(IVec, IVec), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(|row| row.map_err(StoreError::engine))
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rows.next_back().map(|row| row.map_err(StoreError::engine))
    }
}

/// Bytes of the files below a directory.
pub(super) fn tree_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // The file was removed since it was listed: an erasure unlinks while others measure.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        bytes += if metadata.is_dir() { tree_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
