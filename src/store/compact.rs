//! Compaction: the rows alone in a new database, in the place of one that keeps the bytes of what was removed (SLED.md).
//!
//! It goes on beside everything else; the writer pauses while the last changed rows are carried over and the two folders
//! are exchanged. docs/decisions/0012-online-compaction.md says why it is done this way.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::copy;
use crate::store::copy::Copied;
use crate::store::copy::CopyError;
use crate::store::copy::CopyWatch;
use crate::store::copy::Copying;
use crate::store::engine::Database;
use crate::store::place;
use crate::store::place::Failed;
use crate::store::writer::Job;

/// How long readers that began on the old database are waited for before its files are removed under them.
const READERS_WAIT: Duration = Duration::from_secs(10);
/// The time between two looks whether they have ended.
const READERS_LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a compaction came to.
#[derive(Debug, Clone, Copy)]
pub struct Compacted {
    /// Bytes of the engine's files before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
    /// Rows.
    pub rows: u64,
    /// SHA-256 over the rows as they were compared: in the order of keys, then what was changed meanwhile.
    pub digest: Digest,
    /// How long nothing was written.
    pub pause: Duration,
}

impl Store {
    /// Puts a new database with the same rows in the place of the present one, while everything goes on. For a blocking
    /// thread. Whatever goes wrong before the last step leaves everything as it was.
    ///
    /// # Errors
    /// [`CopyError::Interrupted`], [`CopyError::Busy`], [`CopyError::Differs`], [`CopyError::UnderWay`], and the refusals
    /// of disk and engine.
    pub fn compact(&self, watch: &Arc<CopyWatch>) -> Result<Compacted, CopyError> {
        let _alone = self.copying_alone("compaction")?;
        let directory = self.inner.directory.clone();
        let bytes_before = self.inner.engine.bytes()?;
        let exchange = {
            let (engine, directory) = (self.inner.engine.clone(), directory.clone());
            move |new: &Arc<Database>| place::exchange_store(&directory).map(|()| engine.exchange(new.clone()))
        };
        let InPause { copied, pause, last: old } = match self.copied_in_pause(place::COMPACTING, self.inner.cache_bytes, watch, exchange) {
            Ok(done) => done,
            Err(error) => {
                // What an error between the two folders has left is for the next start to settle.
                if self.writes() {
                    copy::remove(&directory.join(place::COMPACTING))?;
                }
                return Err(error);
            }
        };
        watch.begin("removing the old files");
        wait_for_readers(old);
        place::remove_leftovers(&directory)?;
        let bytes_after = self.inner.engine.bytes()?;
        let (rows, pause_ms) = (copied.rows, pause.as_secs_f64() * 1e3);
        tracing::info!(rows, bytes_before, bytes_after, pause_ms, digest = %copied.digest, "the store was compacted");
        Ok(Compacted { bytes_before, bytes_after, rows, digest: copied.digest, pause })
    }

    /// Copies everything to a new database, and calls `last` with it while the writer pauses.
    pub(super) fn copied_in_pause<T: Send + 'static>(
        &self,
        folder: &str,
        cache_bytes: u64,
        watch: &Arc<CopyWatch>,
        last: impl FnOnce(&Arc<Database>) -> Result<T, Failed> + Send + 'static,
    ) -> Result<InPause<T>, CopyError> {
        let path = self.inner.directory.join(folder);
        let copying = Copying::of((self.inner.engine.clone(), self.inner.disk.clone()), &path, cache_bytes, watch.clone())?;
        watch.begin("pausing");
        self.paused(move || {
            let began = Instant::now();
            let (result, writer) = match copying.finish() {
                Err(error) => (Err(error), Ok(())),
                Ok(copied) => match last(&copied.database) {
                    Ok(last) => (Ok(InPause { copied, pause: began.elapsed(), last }), Ok(())),
                    Err(Failed::Before(error)) => (Err(error.into()), Ok(())),
                    Err(Failed::Between(error)) => (Err(error.again().into()), Err(error)),
                },
            };
            (result, writer)
        })
    }

    /// Calls `act` on the writer's thread, while nothing is written. Its second answer is what the writer makes of it: an error
    /// ends the writer.
    fn paused<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> (Result<T, CopyError>, Result<(), StoreError>) + Send + 'static,
    ) -> Result<T, CopyError> {
        let (answer, outcome) = oneshot::channel();
        let act = move || {
            let (result, writer) = act();
            // Nobody waits any more when the process ends.
            let _ = answer.send(result);
            writer
        };
        self.inner.jobs.blocking_send(Job::Pause(Box::new(act))).map_err(|_| StoreError::Stopped)?;
        outcome.blocking_recv().map_err(|_| StoreError::Stopped)?
    }

    /// Connections that have segment files.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn segment_owners(&self) -> Result<Vec<ConnectionKey>, StoreError> {
        self.inner.segments.owners()
    }

    /// The extents of a connection that have a segment file, and the length of that.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn segment_lengths(&self, owner: ConnectionKey) -> Result<Vec<(u32, u64)>, StoreError> {
        self.inner.segments.lengths(owner)
    }

    /// Cuts segment files of a connection where their last page ends, and removes those without one, unless a run is under way
    /// or `newest_page` is no longer the connection's newest: then nothing is done. How many files were removed or cut. For a
    /// blocking thread.
    ///
    /// # Errors
    /// When disk or engine fail, or the writer has stopped.
    pub fn trim_segments(&self, owner: ConnectionKey, newest_page: Option<u64>, ends: Vec<(u32, u64)>) -> Result<u64, CopyError> {
        let (engine, segments) = (self.inner.engine.clone(), self.inner.segments.clone());
        let trim = move || {
            let mut pages = vec![Table::Pages.tag()];
            pages.extend_from_slice(&owner.to_bytes());
            let newest = engine.scan_prefix(&pages).next_back().transpose()?.map(|(key, _)| key);
            pages.extend(newest_page.map(u64::to_be_bytes).into_iter().flatten());
            let is_newest = newest.as_deref() == newest_page.map(|_| pages.as_slice());
            if !is_newest || engine.scan_prefix(&[Table::RunsUnderWay.tag()]).next().is_some() {
                return Ok(0);
            }
            ends.iter().try_for_each(|(extent, end)| segments.trim(owner, *extent, *end))?;
            Ok(ends.len() as u64)
        };
        self.paused(move || (trim(), Ok(())))
    }

    /// Makes sure that one copy is made at a time.
    pub(super) fn copying_alone(&self, what: &'static str) -> Result<Alone<'_>, CopyError> {
        let mut copying = self.inner.copying.lock().unwrap_or_else(PoisonError::into_inner);
        match *copying {
            Some(other) => Err(CopyError::UnderWay { other }),
            None => {
                *copying = Some(what);
                Ok(Alone(&self.inner.copying))
            }
        }
    }
}

/// What was done while the writer paused, and how long it did.
pub(super) struct InPause<T> {
    pub copied: Copied,
    pub pause: Duration,
    pub last: T,
}

/// Held by the one copy that is being made.
pub(super) struct Alone<'a>(&'a Mutex<Option<&'static str>>);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Waits until nobody reads a database that is no longer in use. Its open files outlive their names, so a reader that hangs
/// costs disk space and nothing else.
fn wait_for_readers(old: Arc<Database>) {
    let began = Instant::now();
    while Arc::strong_count(&old) > 1 && began.elapsed() < READERS_WAIT {
        std::thread::sleep(READERS_LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::store::Options;
    use crate::store::Row;
    use crate::store::Table;
    use crate::store::Unit;

    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Text(String);

    impl Row for Text {
        const TABLE: Table = Table::ConnectorSwitches;
        type Key = u32;
    }

    /// A row's text, long enough to be found in a file.
    fn text(key: u32, turn: u64) -> Text {
        Text(format!("row {key:06} of turn {turn:06} {}", "-".repeat(150)))
    }

    fn all(store: &Store) -> BTreeMap<u32, Text> {
        store.scan::<Text>(b"", None, usize::MAX).unwrap().into_iter().collect()
    }

    fn holds_bytes(folder: &Path, needle: &[u8]) -> bool {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
            true => holds_bytes(&path, needle),
            false => std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle),
        })
    }

    /// Goal: compactions, one after the other, while rows are put, changed and removed without a break: nothing is lost,
    /// nothing comes back, and the writer is held up for a moment only. Method: a writer keeps a model beside; after each
    /// compaction, and after a reopen, the store is what the model is.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rows_change_while_the_store_is_compacted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn({
            let (store, end) = (store.clone(), end.clone());
            async move {
                let (mut model, mut turn) = (BTreeMap::new(), 0_u64);
                while !end.load(Ordering::SeqCst) {
                    let mut unit = Unit::default();
                    for step in 0..50 {
                        turn += 1;
                        let key = (turn * 7919 % 5000) as u32;
                        if (turn + step) % 3 == 0 {
                            unit.remove::<Text>(&key);
                            model.remove(&key);
                        } else {
                            unit.put(&key, &text(key, turn));
                            model.insert(key, text(key, turn));
                        }
                    }
                    unit.audit(turn.to_be_bytes().to_vec());
                    store.commit(unit).await.unwrap();
                }
                model
            }
        });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let compacting = store.clone();
            let compacted = tokio::task::spawn_blocking(move || compacting.compact(&Arc::default())).await.unwrap().unwrap();
            assert!(compacted.pause < Duration::from_secs(2), "{compacted:?}");
        }
        end.store(true, Ordering::SeqCst);
        let model = writing.await.unwrap();
        assert!(all(&store) == model, "the rows are not those that were written");
        drop(store);
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        assert!(all(&store) == model, "the rows are not those that were written, after a reopen");
        assert!(!directory.path().join(place::COMPACTING).exists());
    }

    /// Goal: what was removed is on disk before a compaction and gone after it; and one that is interrupted changes nothing.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn removed_rows_are_gone_from_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let mut unit = Unit::default();
        for key in 0..100 {
            unit.put(&key, &text(key, 1));
        }
        store.commit(unit).await.unwrap();
        let mut unit = Unit::default();
        unit.remove::<Text>(&7);
        store.commit(unit).await.unwrap();
        let compact = |watch: Arc<CopyWatch>| {
            let store = store.clone();
            tokio::task::spawn_blocking(move || store.compact(&watch))
        };
        let interrupted = Arc::new(CopyWatch::default());
        interrupted.interrupt();
        assert!(matches!(compact(interrupted).await.unwrap(), Err(CopyError::Interrupted)));
        assert!(!directory.path().join(place::COMPACTING).exists());
        let removed = text(7, 1).0.into_bytes();
        assert!(holds_bytes(directory.path(), &removed));
        let first = compact(Arc::default()).await.unwrap().unwrap();
        assert!(!holds_bytes(directory.path(), &removed));
        let second = compact(Arc::default()).await.unwrap().unwrap();
        // One row more: the number of the last unit.
        assert_eq!((first.rows, first.digest), (100, second.digest), "the same rows have the same digest");
        assert_eq!(all(&store).len(), 99);
    }
    /// Goal: bytes that no page names are removed, those that one names are not, and nothing is while a run is under way.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bytes_of_no_page_are_cut_off() {
        const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 7 };
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let mut unit = Unit::default();
        for extent in [1, 2] {
            unit.blocks(OWNER, extent, 0, crate::secret::Sealed::by_a_key(vec![extent as u8; 100]));
        }
        let key = |table: Table, rest: &[u8]| [&[table.tag()], rest].concat();
        let page = [OWNER.to_bytes().as_slice(), &5_u64.to_be_bytes()].concat();
        unit.put_raw((key(Table::Pages, &page), vec![1])).put_raw((key(Table::RunsUnderWay, b"a run"), vec![1]));
        store.commit(unit).await.unwrap();
        let trim = |newest: Option<u64>| {
            let store = store.clone();
            tokio::task::spawn_blocking(move || store.trim_segments(OWNER, newest, vec![(1, 60), (2, 0)]).unwrap())
        };
        assert_eq!(store.segment_owners().unwrap(), [OWNER]);
        assert_eq!(trim(Some(5)).await.unwrap(), 0, "a run is under way");
        let mut unit = Unit::default();
        unit.remove_raw(key(Table::RunsUnderWay, b"a run"));
        store.commit(unit).await.unwrap();
        assert_eq!((trim(Some(4)).await.unwrap(), trim(None).await.unwrap()), (0, 0), "another page came");
        assert_eq!(trim(Some(5)).await.unwrap(), 2);
        assert_eq!(store.segment_lengths(OWNER).unwrap(), [(1, 60)]);
        let placed = |extent, bytes| crate::store::Placed { extent, offset: 0, bytes };
        assert_eq!(store.read_block(OWNER, placed(1, 60)).unwrap(), [1; 60]);
        let mut unit = Unit::default();
        unit.blocks(OWNER, 2, 40, crate::secret::Sealed::by_a_key(vec![9; 10]));
        store.commit(unit).await.unwrap();
        assert_eq!(store.segment_lengths(OWNER).unwrap(), [(1, 60), (2, 50)], "what is written next makes the file anew");
    }
    /// Goal: a writer that takes all it can does not starve a compaction, and is held up for moments only.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_writer_that_never_rests_is_caught_up_with() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn({
            let (store, end) = (store.clone(), end.clone());
            async move {
                let (mut longest, mut keys) = (Duration::ZERO, 0..);
                while !end.load(Ordering::SeqCst) {
                    let mut unit = Unit::default();
                    for key in keys.by_ref().take(300).map(|key: u32| key.wrapping_mul(2_654_435_761)) {
                        unit.put(&key, &text(key, 1));
                    }
                    let began = Instant::now();
                    store.commit(unit).await.unwrap();
                    longest = longest.max(began.elapsed());
                }
                (keys.start as usize, longest)
            }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let compacting = store.clone();
        let compacted = tokio::task::spawn_blocking(move || compacting.compact(&Arc::default())).await.unwrap().unwrap();
        end.store(true, Ordering::SeqCst);
        let (written, longest) = writing.await.unwrap();
        println!("longest commit {longest:?} of {written} rows beside {compacted:?}");
        assert!(longest < Duration::from_secs(5), "a commit took {longest:?}");
        assert_eq!(all(&store).len(), written);
    }
}
