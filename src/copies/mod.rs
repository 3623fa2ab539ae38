//! Copies of the store: made anew without what was removed, backed up, restored.
//!
//! The store itself knows how a copy is made; here it is asked for, one at a time, watched, interrupted when whoever asked
//! goes away, and told to the audit log before it is answered.

mod leftovers;
mod restore;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::AuditError;
use crate::audit::Entry;
use crate::audit::Log;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::store::BackedUp;
use crate::store::BackupOrder;
use crate::store::Compacted;
use crate::store::CopyError;
use crate::store::CopyWatch;
use crate::store::Store;
use crate::store::StoreError;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::restore::KeyringSource;
pub use self::restore::Prepared;
pub use self::restore::RestoreError;
pub use self::restore::RestoreOrder;
pub use self::restore::Restored;
pub use self::restore::keyring_is_told;
pub use self::restore::prepare;

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum CopiesError {
    /// The copy itself.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The log does not know of it, so it is not told to anybody.
    #[error("the copy was made, but the audit log cannot be told of it")]
    Audit(#[from] AuditError),
    /// Whoever made it ended by a panic.
    #[error("the copy ended unexpectedly; look into the log")]
    Ended(#[from] JoinError),
}

/// A compaction or backup that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// `compaction` or `backup`.
    pub what: &'static str,
    /// What of it is being done.
    pub phase: &'static str,
    /// Rows or bytes that are done of that.
    pub done: u64,
}

/// What is made, and how far it is.
type Watched = (&'static str, Arc<CopyWatch>);

/// Makes copies of one store. Clones share it.
#[derive(Clone)]
pub struct Copies {
    store: Store,
    vault: Arc<Vault>,
    log: Log,
    clock: Clock,
    test: bool,
    under_way: Arc<Mutex<Option<Watched>>>,
    tasks: TaskTracker,
}

impl Copies {
    /// Over a store, its keyring and its log. `test` marks the backups of a directory that was made for tests.
    pub fn new(store: Store, vault: Arc<Vault>, log: Log, clock: Clock, test: bool) -> Self {
        Copies { store, vault, log, clock, test, under_way: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Compacts the store, then removes what no page names from the segment files; what it came to, how many segment files
    /// were removed or cut, and how long it took. Dropping this interrupts it.
    ///
    /// # Errors
    /// When another copy is under way, and whatever kept it from being made; everything is then as it was before.
    pub async fn compact(&self, actor: Actor) -> Result<(Compacted, u64, Duration), CopiesError> {
        let store = self.store.clone();
        let make = move |watch: &Arc<CopyWatch>| {
            let compacted = store.compact(watch)?;
            // The rows are compacted already: what is left of bytes can be removed another time.
            let trimmed = leftovers::trim(&store).inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "bytes that no page names are not removed from the segment files");
            });
            Ok((compacted, trimmed.unwrap_or(0)))
        };
        let ((compacted, trimmed), took) = self.make("compaction", make).await?;
        self.tell(Action::StoreCompacted, actor, self.clock.now(), compacted.digest, compacted.rows).await?;
        Ok((compacted, trimmed, took))
    }

    /// Backs the store up into a folder that does not exist yet; when, what it came to, and how long it took. Dropping this
    /// interrupts it.
    ///
    /// # Errors
    /// When another copy is under way, and whatever kept it from being made; nothing is left of it then.
    pub async fn backup(&self, to: PathBuf, actor: Actor) -> Result<(Timestamp, BackedUp, Duration), CopiesError> {
        let (store, vault, at, test) = (self.store.clone(), self.vault.clone(), self.clock.now(), self.test);
        let make = move |watch: &Arc<CopyWatch>| {
            let destroyed = || vault.destroyed_bytes().map_err(listing_failed);
            store.backup(&BackupOrder { to: &to, at, test, destroyed: &destroyed }, watch)
        };
        let (backed_up, took) = self.make("backup", make).await?;
        self.tell(Action::StoreBackedUp, actor, at, backed_up.digest, backed_up.rows).await?;
        Ok((at, backed_up, took))
    }

    /// What is under way now.
    pub fn under_way(&self) -> Option<UnderWay> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        under_way.map(|(what, watch)| {
            let (phase, done) = watch.progress();
            UnderWay { what, phase, done }
        })
    }

    /// Interrupts what is under way and waits for its end; nothing begins afterwards.
    pub async fn close(&self) {
        if let Some((_, watch)) = &*self.under_way.lock().unwrap_or_else(PoisonError::into_inner) {
            watch.interrupt();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn make<T: Send + 'static>(
        &self,
        what: &'static str,
        copy: impl FnOnce(&Arc<CopyWatch>) -> Result<T, CopyError> + Send + 'static,
    ) -> Result<(T, Duration), CopiesError> {
        let (watch, began) = (Arc::new(CopyWatch::default()), Instant::now());
        let _interrupts = Interrupts(watch.clone());
        let under_way = self.under_way.clone();
        let shown = move |now| *under_way.lock().unwrap_or_else(PoisonError::into_inner) = now;
        if let Some(other) = self.under_way() {
            return Err(CopyError::UnderWay { other: other.what }.into());
        }
        let making = self.tasks.spawn_blocking(move || {
            shown(Some((what, watch.clone())));
            let copied = copy(&watch);
            shown(None);
            copied
        });
        Ok((making.await??, began.elapsed()))
    }

    async fn tell(&self, action: Action, actor: Actor, at: Timestamp, digest: Digest, rows: u64) -> Result<(), AuditError> {
        let mut entry = Entry::new(at, actor, action);
        entry.count = Some(rows);
        entry.commitment = Some(digest);
        self.log.append(&[entry]).await.map(|_| ())
    }
}

/// Interrupts a copy when nobody waits for it any more.
struct Interrupts(Arc<CopyWatch>);

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

fn listing_failed(error: VaultError) -> CopyError {
    let path = PathBuf::from("keyring/destroyed");
    StoreError::Io { what: "read", path, source: std::io::Error::other(error) }.into()
}
