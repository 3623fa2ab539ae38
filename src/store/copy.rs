//! A copy of all rows as of one moment, made beside the running store: what a compaction and a backup have in common.
//!
//! ```text
//! copy all, range by range -> reopen from disk -> compare all, range by range -> catch up until little is left
//!        '-------- the writer goes on; what it changes is noted and carried over --------'      -> pause: the rest
//! ```
//!
//! Every row that stands in the copy was compared with its original, both read back from their databases; a row that was
//! changed after that was compared again when the change was carried over. The writer pauses for the last few of them only.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ring::digest;
use sled::IVec;
use tokio::time::Instant;

use crate::digest::Digest;
use crate::store::StoreError;
use crate::store::disk::Disk;
use crate::store::engine::Database;
use crate::store::engine::Engine;
use crate::store::sync_directory;
use crate::store::watch::Call;

/// Rows that are copied or compared in one step.
const STEP_ROWS: usize = 2048;
/// Memory for the pages of a database that is only filled.
const FILLING_CACHE_BYTES: u64 = 16 << 20;
/// Changed rows that the writer's pause may be spent on: about 20 ms of work.
const PAUSE_ROWS: usize = 4096;
/// Rounds of catching up before a copy is given up: the writer changes rows faster than they are carried over.
const ROUNDS_MAX: usize = 500;
/// How long a database that was closed may keep its lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// The time between two attempts to open it again.
const LOCK_TRY_EVERY: Duration = Duration::from_millis(10);

/// Why a copy of the store was not made, or is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store failed.
    #[error("the copy was given up, and everything is as it was before")]
    Store(#[from] StoreError),
    /// The copy is not what was copied.
    #[error("a row of the copy differs from its original, so the copy was removed; test the disk and the memory of this machine")]
    Differs,
    /// More is changed than can be carried over.
    #[error("{left} rows were still changing after {ROUNDS_MAX} rounds, so the copy was removed; try again when less is pulled")]
    Busy {
        /// Changed rows that were left.
        left: usize,
    },
    /// Somebody ended it.
    #[error("the copy was interrupted and removed; everything is as it was before")]
    Interrupted,
    /// Another copy is being made.
    #[error("a {other} is under way; wait for its end")]
    UnderWay {
        /// Which.
        other: &'static str,
    },
    /// A backup would be written where something is.
    #[error("{path:?} is not empty; name a folder that does not exist yet")]
    Occupied {
        /// The place.
        path: PathBuf,
    },
    /// A backup would be written among the files that it copies.
    #[error("{path:?} lies within the data directory; name a folder outside of it, or below its `backups/`")]
    Inside {
        /// The place.
        path: PathBuf,
    },
    /// The folder is no backup.
    #[error("{path:?} is no backup: it has no {file}; name the folder that `store backup` wrote")]
    NoBackup {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// A backup that is cut off or altered.
    #[error("{path:?} of the backup is damaged ({fault}); nothing was restored; take another backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A backup of a later Headgate.
    #[error("{path:?} has format {found}, and this build knows format {known}; use the newer headgate that made it")]
    Newer {
        /// The backup.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format of this build.
        known: u32,
    },
}

/// How far a copy is, and whether somebody wants its end. Shared by who copies and who watches.
#[derive(Debug, Default)]
pub struct CopyWatch {
    phase: Mutex<&'static str>,
    done: AtomicU64,
    interrupted: AtomicBool,
}

impl CopyWatch {
    /// What is being done, and how many rows or bytes of it are done.
    pub fn progress(&self) -> (&'static str, u64) {
        (*self.phase.lock().unwrap_or_else(PoisonError::into_inner), self.done.load(Ordering::Relaxed))
    }

    /// Ends the copy at its next step, unless its last step has begun.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
    }

    pub(super) fn begin(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.done.store(0, Ordering::Relaxed);
    }

    pub(super) fn add(&self, done: u64) -> Result<(), CopyError> {
        self.done.fetch_add(done, Ordering::Relaxed);
        if self.interrupted.load(Ordering::SeqCst) { Err(CopyError::Interrupted) } else { Ok(()) }
    }
}

/// The SHA-256 over rows: each key and value behind its length (4 bytes, big-endian).
pub(super) struct RowsDigest {
    context: digest::Context,
    rows: u64,
}

impl RowsDigest {
    pub fn new() -> Self {
        RowsDigest { context: digest::Context::new(&digest::SHA256), rows: 0 }
    }

    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.context.update(&(part.len() as u32).to_be_bytes());
            self.context.update(part);
        }
        self.rows += 1;
    }

    /// The digest, and how many rows it is over.
    pub fn finish(self) -> (Digest, u64) {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        (Digest::from_bytes(bytes), self.rows)
    }
}

/// A copy on its way: a database beside the one that is in use.
pub(super) struct Copying {
    engine: Arc<Engine>,
    from: Arc<Database>,
    to: Arc<Database>,
    path: PathBuf,
    disk: Arc<Disk>,
    watch: Arc<CopyWatch>,
    /// Over the rows as they were compared: in the order of keys, then what was carried over, round by round.
    digest: RowsDigest,
    rows: u64,
}

/// A copy that is whole.
pub(super) struct Copied {
    pub database: Arc<Database>,
    pub rows: u64,
    /// Over the rows in the order of their keys when nothing was changed meanwhile; else those that were changed follow.
    pub digest: Digest,
}

impl Copying {
    /// Copies everything to a new database at `path`, verified but for what the writer changes from now on. It keeps up
    /// with the writer until [`Copying::finish`], which is called while the writer pauses.
    ///
    /// It takes no room on the disk that is kept for what must still work.
    pub fn of((engine, disk): (Arc<Engine>, Arc<Disk>), path: &Path, cache_bytes: u64, watch: Arc<CopyWatch>) -> Result<Self, CopyError> {
        remove(path)?;
        let (from, to) = (engine.current(), Arc::new(Database::open(path, FILLING_CACHE_BYTES)?));
        engine.watch_changes();
        let mut copying = Copying { engine, from, to, path: path.into(), disk, watch, digest: RowsDigest::new(), rows: 0 };
        copying.copy_all()?;
        copying.reopen(cache_bytes)?;
        copying.compare_all()?;
        copying.catch_up()?;
        Ok(copying)
    }

    fn copy_all(&mut self) -> Result<(), CopyError> {
        self.watch.begin("copying rows");
        let (mut last, engine): (Option<IVec>, _) = (None, self.engine.clone());
        loop {
            let _call = engine.call(Call::Walk)?;
            self.disk.takes(0)?;
            let rows = step(&self.from, last.as_ref(), Bound::Unbounded, STEP_ROWS)?;
            let Some((key, _)) = rows.last() else { return Ok(()) };
            last = Some(key.clone());
            self.to.apply(&rows.iter().map(|(key, value)| (key.to_vec(), Some(value.to_vec()))).collect::<Vec<_>>())?;
            self.rows += rows.len() as u64;
            // What lies ahead will be copied as it is by then.
            let changed = self.engine.take_changes().into_iter().filter(|key| Some(key.as_slice()) <= last.as_deref());
            self.carry_over(&changed.collect())?;
            self.watch.add(rows.len() as u64)?;
        }
    }

    /// Closes the copy and opens it again, so that everything compared afterwards was read back from the disk.
    fn reopen(&mut self, cache_bytes: u64) -> Result<(), CopyError> {
        self.watch.begin("syncing");
        self.to.sync()?;
        self.to.forget_pages();
        // The last handle but this one is the placeholder's: an `Arc` cannot be left empty.
        self.to = self.from.clone();
        self.to = Arc::new(open_again(&self.path, cache_bytes)?);
        Ok(())
    }

    fn compare_all(&mut self) -> Result<(), CopyError> {
        self.watch.begin("comparing rows");
        let (mut last, engine): (Option<IVec>, _) = (None, self.engine.clone());
        loop {
            let _call = engine.call(Call::Walk)?;
            let mut originals = step(&self.from, last.as_ref(), Bound::Unbounded, STEP_ROWS)?;
            let at_end = originals.len() < STEP_ROWS;
            let end = originals.last().filter(|_| !at_end).map(|(key, _)| key.to_vec());
            let until = end.as_ref().map_or(Bound::Unbounded, |key| Bound::Included(key.clone()));
            let mut copies = step(&self.to, last.as_ref(), until, usize::MAX)?;
            let compared = originals.len() as u64;
            // Taken after both were read: whatever changed meanwhile is among these.
            let changed = self.engine.take_changes();
            originals.retain(|(key, _)| !changed.contains(key.as_ref()));
            copies.retain(|(key, _)| !changed.contains(key.as_ref()));
            if originals != copies {
                return Err(CopyError::Differs);
            }
            copies.iter().for_each(|(key, value)| self.digest.add(key, value));
            self.carry_over(&changed)?;
            self.compare(&changed)?;
            self.watch.add(compared)?;
            match end {
                Some(key) => last = Some(key.into()),
                None => return Ok(()),
            }
        }
    }

    /// Rounds of carrying over what was changed during the round before, until a pause could take the rest.
    fn catch_up(&mut self) -> Result<(), CopyError> {
        self.watch.begin("catching up");
        let (mut left, engine) = (0, self.engine.clone());
        for _ in 0..ROUNDS_MAX {
            let _call = engine.call(Call::Walk)?;
            let changed = self.engine.take_changes();
            left = changed.len();
            self.carry_over(&changed)?;
            self.compare(&changed)?;
            self.to.sync()?;
            self.watch.add(left as u64)?;
            if left <= PAUSE_ROWS {
                return Ok(());
            }
        }
        Err(CopyError::Busy { left })
    }

    /// The last round, while nothing is written: then the copy is what the store is, and durable.
    pub fn finish(mut self) -> Result<Copied, CopyError> {
        let engine = self.engine.clone();
        let _call = engine.call(Call::Walk)?;
        let changed = self.engine.take_changes();
        self.carry_over(&changed)?;
        self.compare(&changed)?;
        self.to.sync()?;
        let digest = std::mem::replace(&mut self.digest, RowsDigest::new());
        Ok(Copied { database: self.to.clone(), rows: self.rows, digest: digest.finish().0 })
    }

    fn carry_over(&mut self, changed: &BTreeSet<Vec<u8>>) -> Result<(), CopyError> {
        let mut rows = Vec::with_capacity(changed.len());
        for key in changed {
            let value = self.from.get(key)?;
            match (self.to.get(key)?.is_some(), value.is_some()) {
                (false, true) => self.rows += 1,
                (true, false) => self.rows -= 1,
                _ => {}
            }
            rows.push((key.clone(), value.map(|value| value.to_vec())));
        }
        Ok(self.to.apply(&rows)?)
    }

    /// Compares rows that were carried over; those that were changed again meanwhile have their turn in the next round.
    fn compare(&mut self, keys: &BTreeSet<Vec<u8>>) -> Result<(), CopyError> {
        for key in keys {
            let (original, copy) = (self.from.get(key)?, self.to.get(key)?);
            match copy {
                copy if copy != original && !self.engine.is_changed(key) => return Err(CopyError::Differs),
                Some(value) if Some(&value) == original.as_ref() => self.digest.add(key, &value),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.engine.unwatch_changes();
    }
}

/// At most `limit` rows behind `last`.
pub(super) fn step(
    database: &Arc<Database>,
    last: Option<&IVec>,
    until: Bound<Vec<u8>>,
    limit: usize,
) -> Result<Vec<(IVec, IVec)>, StoreError> {
    let start = last.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()));
    database.range((start, until)).take(limit).collect()
}

/// Opens a database that this process has closed: sled lets go of its lock a moment later.
pub(super) fn open_again(path: &Path, cache_bytes: u64) -> Result<Database, StoreError> {
    let began = Instant::now();
    loop {
        match Database::open(path, cache_bytes) {
            Err(StoreError::Held { .. }) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_TRY_EVERY),
            opened => return opened,
        }
    }
}

/// Removes a folder and what is in it, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::io("remove", path, source)),
        Ok(()) => path.parent().map_or(Ok(()), sync_directory),
    }
}
