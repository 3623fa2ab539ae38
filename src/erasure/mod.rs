//! Making records unreadable, sweeping what is left, and certifying it. The only deleter.
//!
//! ```text
//! requested -> approved -> unreadable -> complete
//!      \-> refused
//! ```
//!
//! An erasure of a connection destroys its keys first: from then on nothing of it opens, whatever happens next. Then its
//! segment files are unlinked and its rows removed, batch by batch, each batch together with how far the sweep is, so that
//! a crash in the middle goes on where it was. While the index rows go, their keyed hashes are gathered into the root that
//! the certificate signs: it commits to the set of records without telling anything of them.

mod certificate;
mod row;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::connection::State;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::ids::ErasureId;
use crate::intake::Intake;
use crate::lineage::StreamRow;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::row::Counts;
pub use self::row::ErasureRow;
pub use self::row::ErasureState;
pub use self::row::kept;

/// How a scrub reads erasures back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<ErasureRow>()]
}

/// The first wait before an interrupted sweep is tried again; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(600);

/// Why an erasure was not begun, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// There is none of this id.
    #[error("there is no erasure {id}")]
    Unknown {
        /// What was asked for.
        id: ErasureId,
    },
    /// The connection still fetches.
    #[error("connection {connection} is {state}; revoke it first, or ask for both with `revoke`")]
    NotRevoked {
        /// Which.
        connection: ConnectionId,
        /// Its state.
        state: &'static str,
    },
    /// Another erasure of the same connection is under way or done.
    #[error("connection {connection} is covered by erasure {by} already; look at that one")]
    Covered {
        /// Which.
        connection: ConnectionId,
        /// The other.
        by: ErasureId,
    },
    /// It cannot be approved in its state.
    #[error("erasure {id} is {state}; only a requested one can be approved")]
    NotRequested {
        /// Which.
        id: ErasureId,
        /// Its state.
        state: &'static str,
    },
    /// The connection could not be read or moved.
    #[error("the connection cannot be erased")]
    Connection(#[from] ConnectionError),
    /// The store failed; the erasure goes on at the next start.
    #[error("the erasure is not finished; it goes on by itself")]
    Store(#[from] StoreError),
    /// The keyring failed; the erasure goes on at the next start.
    #[error("the keys are not destroyed yet; it is tried again")]
    Vault(#[from] VaultError),
    /// The certificate could not be made.
    #[error("the certificate of the erasure cannot be made yet; it is tried again")]
    Audit(#[from] audit::AuditError),
}

/// All erasures. Clones share them.
#[derive(Clone)]
pub struct Erasures {
    store: Store,
    vault: Arc<Vault>,
    connections: Connections,
    intake: Intake,
    log: audit::Log,
    clock: Clock,
    entropy: Entropy,
    test: bool,
    tasks: TaskTracker,
    ended: CancellationToken,
    /// One act on erasures at a time: what is asked for twice is told so.
    acting: Arc<tokio::sync::Mutex<()>>,
}

/// What an erasure would cover.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The connection.
    pub connection: Connection,
    /// How much it holds.
    pub counts: Counts,
}

impl Erasures {
    /// Over a store and what is kept in it. `test` marks what a test directory signs.
    pub fn new(connections: Connections, intake: Intake, store: Store, vault: Arc<Vault>, log: audit::Log, ground: Ground) -> Self {
        let Ground { clock, entropy, test } = ground;
        Erasures {
            store,
            vault,
            connections,
            intake,
            log,
            clock,
            entropy,
            test,
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            acting: Arc::default(),
        }
    }

    /// What erasing a connection would cover; nothing is changed.
    ///
    /// # Errors
    /// When the connection is unknown.
    pub fn plan(&self, connection: ConnectionId) -> Result<Plan, ErasureError> {
        let connection = self.connections.find(connection)?;
        let counts = self.counts(connection.key)?;
        Ok(Plan { connection, counts })
    }

    fn counts(&self, key: ConnectionKey) -> Result<Counts, ErasureError> {
        let streams = self.store.scan::<StreamRow>(&key.to_bytes(), None, usize::from(u16::MAX))?;
        let add =
            |counts: Counts, row: &StreamRow| Counts { records: counts.records + row.records, versions: counts.versions + row.versions };
        Ok(streams.iter().fold(Counts::default(), |counts, (_, row)| add(counts, row)))
    }

    /// Asks for the erasure of a revoked connection; an operator has to approve it.
    ///
    /// # Errors
    /// [`ErasureError::NotRevoked`], [`ErasureError::Covered`].
    pub async fn request(&self, connection: ConnectionId, reason: Option<String>, actor: Actor) -> Result<ErasureRow, ErasureError> {
        let _acting = self.acting.lock().await;
        let plan = self.plan(connection)?;
        match plan.connection.state {
            State::Revoked(_) => {}
            State::Erased(ref erased) if erased.by.is_some() => {
                let by = erased.by.unwrap_or(ErasureId::from_bytes([0; 16]));
                return Err(ErasureError::Covered { connection, by });
            }
            State::Erased(_) => {}
            ref state => return Err(ErasureError::NotRevoked { connection, state: state.name() }),
        }
        if let Some(other) = self.of_connection(plan.connection.key)? {
            return Err(ErasureError::Covered { connection, by: other.id });
        }
        let now = self.clock.now();
        let row = ErasureRow::requested(ErasureId::new(now, &self.entropy), &plan, reason, now);
        let mut unit = Unit::default();
        unit.expect::<ErasureRow>(&row.id.to_bytes(), None).put(&row.id.to_bytes(), &row);
        unit.audit(entry(Action::ErasureRequested, &actor, &row, &plan.connection, now).to_leaf());
        self.store.commit(unit).await?;
        Ok(row)
    }

    /// The erasure that covers a connection, unless it was refused.
    fn of_connection(&self, key: ConnectionKey) -> Result<Option<ErasureRow>, ErasureError> {
        Ok(self.all()?.into_iter().find(|row| row.owner == key && row.state != ErasureState::Refused))
    }

    fn all(&self) -> Result<Vec<ErasureRow>, ErasureError> {
        Ok(self.store.scan::<ErasureRow>(&[], None, usize::MAX)?.into_iter().map(|(_, row)| row).collect())
    }

    /// One erasure.
    ///
    /// # Errors
    /// [`ErasureError::Unknown`].
    pub fn find(&self, id: ErasureId) -> Result<ErasureRow, ErasureError> {
        self.store.get::<ErasureRow>(&id.to_bytes())?.ok_or(ErasureError::Unknown { id })
    }

    /// At most `limit` erasures behind `before`, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, before: Option<ErasureId>, limit: usize) -> Result<Vec<ErasureRow>, ErasureError> {
        let rows = self.store.scan_back::<ErasureRow>(&[], before.map(ErasureId::to_bytes).as_ref(), limit)?;
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    /// Approves an erasure: when this returns, nothing of its scope opens any more. The sweep follows by itself.
    ///
    /// # Errors
    /// [`ErasureError::NotRequested`]; or what kept the keys from being destroyed, in which case it is tried again.
    pub async fn approve(&self, id: ErasureId, actor: Actor) -> Result<ErasureRow, ErasureError> {
        let _acting = self.acting.lock().await;
        let now = self.clock.now();
        let before = self.find(id)?;
        if before.state != ErasureState::Requested {
            return Err(ErasureError::NotRequested { id, state: before.state.name() });
        }
        let connection = self.connections.by_key(before.owner)?.ok_or(ConnectionError::Unknown { id: before.connection })?;
        let row = ErasureRow { state: ErasureState::Approved, started_at: Some(now), ..before.clone() };
        let mut unit = Unit::default();
        unit.expect(&id.to_bytes(), Some(&before)).put(&id.to_bytes(), &row);
        unit.audit(entry(Action::ErasureApproved, &actor, &row, &connection, now).to_leaf());
        self.store.commit(unit).await?;
        let row = self.make_unreadable(row, connection).await?;
        self.sweep_soon(row.clone());
        Ok(row)
    }

    /// Destroys the keys, then says so in the store.
    async fn make_unreadable(&self, before: ErasureRow, connection: Connection) -> Result<ErasureRow, ErasureError> {
        let now = self.clock.now();
        self.intake.forget(before.owner);
        let destroyed = tokio::task::block_in_place(|| self.vault.connection_destroy(before.owner))?;
        let mut row = before.clone();
        row.state = ErasureState::Unreadable;
        row.keys_destroyed = destroyed.ids.iter().map(ToString::to_string).collect();
        let mut unit = Unit::default();
        unit.expect(&row.id.to_bytes(), Some(&before)).put(&row.id.to_bytes(), &row);
        unit.put(&row.owner, &erased(connection.clone(), now, row.id));
        unit.audit(entry(Action::ErasureUnreadable, &Actor::System, &row, &connection, now).to_leaf());
        self.store.commit(unit).await?;
        Ok(row)
    }

    /// Goes on with every erasure that a crash or an error interrupted. Called at start, and now and then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self) -> Result<(), ErasureError> {
        let _acting = self.acting.lock().await;
        for row in self.all()? {
            match row.state {
                ErasureState::Approved => {
                    if let Some(connection) = self.connections.by_key(row.owner)? {
                        let row = self.make_unreadable(row, connection).await?;
                        self.sweep_soon(row);
                    }
                }
                ErasureState::Unreadable => self.sweep_soon(row),
                ErasureState::Requested | ErasureState::Complete | ErasureState::Refused => {}
            }
        }
        Ok(())
    }

    fn sweep_soon(&self, row: ErasureRow) {
        let erasures = self.clone();
        self.tasks.spawn(async move {
            let (id, mut wait) = (row.id, RETRY_FIRST);
            while let Err(error) = erasures.finish(id).await {
                tracing::error!(erasure = %id, error = &error as &dyn std::error::Error, "an erasure's sweep was interrupted; it is tried again");
                tokio::select! {
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
                    () = erasures.ended.cancelled() => return,
                }
            }
        });
    }

    /// Sweeps and certifies from where the row says that the erasure is.
    async fn finish(&self, id: ErasureId) -> Result<(), ErasureError> {
        let row = self.sweep(self.find(id)?).await?;
        self.certify(row).await
    }

    /// Waits for the sweeps that have begun; none begins afterwards.
    pub async fn close(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Time, randomness, and whether this is a test directory.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The clock.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    /// Whether the data directory was created with `--test`.
    pub test: bool,
}

/// The connection as an erased one, whatever the keyring made of its state when it was read.
fn erased(connection: Connection, at: Timestamp, by: ErasureId) -> Connection {
    match connection.revoked() {
        Ok(revoked) => revoked.erase(at, Some(by)).into(),
        Err(mut connection) => {
            if let State::Erased(erased) = &mut connection.state {
                erased.by = Some(by);
            }
            connection
        }
    }
}

fn entry(action: Action, actor: &Actor, row: &ErasureRow, connection: &Connection, at: Timestamp) -> Entry {
    let mut entry = crate::connection::entry(action, actor, connection, at);
    entry.object = Some(row.id.to_string());
    entry.count = Some(row.counts.records);
    entry
}
