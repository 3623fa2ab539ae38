//! Stopping a connection, at once and for good.
//!
//! The order is the promise: the gate closes in memory, the list of stops makes it durable, and only then does anything
//! else happen. The state's row, the receipt and the credential follow; should one of them fail (a full disk), the stop
//! stands, and the rest is done at the next start. What was fetched before is not touched: deleting is another act.
//!
//! The credential moves to `revoking`: sealed anew under a key of its own, readable here alone, bound to the application's
//! revocation endpoint. It is destroyed when that has answered, or after 24 hours. It never delays the stop.

mod surrender;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::CredentialFate;
use crate::audit::Predicate;
use crate::audit::RevocationReceipt;
use crate::audit::Statement;
use crate::audit::Subject;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::connection::Revoked;
use crate::connection::State;
use crate::connection::credential::CredentialRow;
use crate::connection::schedule::Schedule;
use crate::digest::Digest;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::ids::RevocationId;
use crate::ids::TenantId;
use crate::store::Row;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::vault::SigningUse;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::surrender::Surrender;
pub use self::surrender::SurrenderError;
pub use self::surrender::SurrenderFuture;

use self::surrender::RevokingRow;

/// The first wait before something that failed after a stop is tried again; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Connections of a wide scope that are settled side by side.
const SETTLED_AT_ONCE: usize = 64;
/// Connections looked at in one step of a wide scope.
const SCOPE_STEP: usize = 500;

/// What is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of a connector, whoever's.
    Connector(String),
    /// Every connection of a tenant.
    Tenant(TenantId),
}

/// Why something was not stopped, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The connection is unknown or could not be read.
    #[error("the revocation did not find what to stop")]
    Connection(#[from] ConnectionError),
    /// The list of stops could not be written.
    #[error("{count} connections are stopped in this process, but the stop would not survive its end; mend the disk and revoke again")]
    NotDurable {
        /// How many.
        count: usize,
        /// Why.
        source: StoreError,
    },
}

/// A revocation, under its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRow {
    /// The connection that was stopped.
    pub owner: ConnectionKey,
    /// When.
    pub at: Timestamp,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// The signed receipt: one line of DSSE.
    pub receipt: String,
}

impl Row for RevocationRow {
    const TABLE: Table = Table::Revocations;
    type Key = [u8; 16];
}

/// How a scrub reads revocations, and credentials on their way out, back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<RevocationRow>(), RowCheck::of::<RevokingRow>()]
}

/// One connection after a revocation.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// The connection.
    pub connection: Connection,
    /// What has become of its credential.
    pub credential: CredentialFate,
    /// The receipt, unless the store could not keep it yet.
    pub receipt: Option<String>,
}

/// All revocations. Clones share them.
#[derive(Clone)]
pub struct Revocations {
    store: Store,
    vault: Arc<Vault>,
    connections: Connections,
    surrender: Arc<dyn Surrender>,
    clock: Clock,
    entropy: Entropy,
    test: bool,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Revocations {
    /// Over the connections of a store. `test` marks what a test directory signs.
    pub fn new(
        store: Store,
        vault: Arc<Vault>,
        connections: Connections,
        surrender: Arc<dyn Surrender>,
        (clock, entropy, test): (Clock, Entropy, bool),
    ) -> Self {
        Revocations {
            store,
            vault,
            connections,
            surrender,
            clock,
            entropy,
            test,
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
        }
    }

    /// The connections that a revocation of this scope would stop; nothing is changed.
    ///
    /// # Errors
    /// When the one connection is unknown, or the store fails.
    pub fn plan(&self, scope: &Scope) -> Result<Vec<Connection>, RevocationError> {
        let ended = |connection: &Connection| matches!(connection.state, State::Revoked(_) | State::Erased(_));
        match scope {
            Scope::Connection(id) => Ok(vec![self.connections.find(*id)?]),
            Scope::Connector(name) => self.all(None, |connection| connection.connector.name == *name && !ended(connection)),
            Scope::Tenant(tenant) => match self.connections.tenant(tenant)? {
                Some(number) => self.all(Some(number), |connection| !ended(connection)),
                None => Ok(Vec::new()),
            },
        }
    }

    fn all(&self, tenant: Option<u32>, matches: impl Fn(&Connection) -> bool) -> Result<Vec<Connection>, RevocationError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let step = self.connections.list(tenant, after, SCOPE_STEP)?;
            let Some(last) = step.last() else { return Ok(found) };
            after = Some(last.key);
            found.extend(step.into_iter().filter(&matches));
        }
    }

    /// Stops what the scope names. When this returns, nothing of it fetches, and nothing of it in flight will be stored.
    ///
    /// A connection that was revoked before is answered with the receipt of then.
    ///
    /// # Errors
    /// [`RevocationError::NotDurable`] when the stop is in memory only; everything else stops nothing.
    pub async fn revoke(&self, scope: &Scope, reason: Option<String>, actor: &Actor) -> Result<Vec<Stopped>, RevocationError> {
        let at = self.clock.now();
        let connections = self.plan(scope)?;
        let open = |connection: &&Connection| !matches!(connection.state, State::Revoked(_) | State::Erased(_));
        let owners: Vec<ConnectionKey> = connections.iter().filter(open).map(|connection| connection.key).collect();
        if !owners.is_empty() {
            let closed = self.connections.gates().close(&owners, StopReason::Revoked, at).await;
            closed.map_err(|source| RevocationError::NotDurable { count: owners.len(), source })?;
        }
        // Side by side, so that they share the store's syncs; answered in their order.
        let settled = stream::iter(connections).map(|connection| self.settle(connection, at, reason.clone(), actor));
        Ok(settled.buffered(SETTLED_AT_ONCE).collect().await)
    }

    /// Does what follows a stop; when that fails it is tried again until it works, for the stop itself stands.
    async fn settle(&self, connection: Connection, at: Timestamp, reason: Option<String>, actor: &Actor) -> Stopped {
        let id = connection.id;
        match self.try_settle(connection.clone(), at, reason.clone(), actor).await {
            Ok(stopped) => stopped,
            Err(error) => {
                tracing::error!(connection = %id, error = &error as &dyn std::error::Error, "a revoked connection's row is not written yet; the stop stands");
                self.settle_later(connection.clone(), at, reason, actor.clone());
                let connection = self.connections.find(connection.id).unwrap_or(connection);
                Stopped { connection, credential: CredentialFate::Revoking, receipt: None }
            }
        }
    }

    fn settle_later(&self, connection: Connection, at: Timestamp, reason: Option<String>, actor: Actor) {
        let revocations = self.clone();
        self.tasks.spawn(async move {
            let mut wait = RETRY_FIRST;
            while revocations.pause(&mut wait).await {
                if revocations.try_settle(connection.clone(), at, reason.clone(), &actor).await.is_ok() {
                    return;
                }
            }
        });
    }

    /// Waits before another try, longer each time; false when the process ends.
    async fn pause(&self, wait: &mut Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(*wait) => {
                *wait = (*wait * 2).min(RETRY_MAX);
                true
            }
            () = self.ended.cancelled() => false,
        }
    }

    async fn try_settle(
        &self,
        connection: Connection,
        at: Timestamp,
        reason: Option<String>,
        actor: &Actor,
    ) -> Result<Stopped, SettleError> {
        let id = RevocationId::new(at, &self.entropy);
        // What the registry shows may be ahead of the row: a stop whose row is not written yet reads as revoked.
        let stored = self.store.get::<Connection>(&connection.key)?.unwrap_or_else(|| connection.clone());
        let revoked = match stored.clone().revoke(at, id) {
            Ok(revoked) => revoked,
            Err(_) => return self.stopped_before(connection),
        };
        let (fate, surrendered) = self.surrendered(&stored)?;
        let receipt = self.receipt(&revoked, reason.clone(), fate)?;
        let key = connection.key;
        let epoch = self.connections.gates().state(key)?.epoch;
        let mut unit = Unit::default();
        unit.expect(&key, Some(&stored)).put(&key, &Connection::from(revoked.clone())).close_gate(key, epoch);
        unit.remove::<CredentialRow>(&key).remove::<Schedule>(&key);
        unit.put(&id.to_bytes(), &RevocationRow { owner: key, at, reason, receipt: receipt.clone() });
        if let Some(sealed) = surrendered {
            unit.put(&key, &RevokingRow::new(sealed, at));
        }
        let mut entry = crate::connection::entry(Action::ConnectionRevoked, actor, &connection, at);
        entry.object = Some(id.to_string());
        unit.audit(entry.to_leaf());
        self.store.commit(unit).await?;
        tokio::task::block_in_place(|| self.vault.credential_destroy(key))?;
        if fate == CredentialFate::Revoking {
            self.surrender_soon(key);
        }
        Ok(Stopped { connection: revoked.into(), credential: fate, receipt: Some(receipt) })
    }

    /// A connection that was revoked before, with the receipt of then and what has become of the credential since.
    fn stopped_before(&self, connection: Connection) -> Result<Stopped, SettleError> {
        let revocation = match &connection.state {
            State::Revoked(revoked) => Some(revoked.by),
            State::Erased(erased) => erased.revoked.as_ref().map(|revoked| revoked.by),
            _ => None,
        };
        let row = revocation.map(|id| self.store.get::<RevocationRow>(&id.to_bytes())).transpose()?.flatten();
        let credential = self.fate(connection.key)?;
        Ok(Stopped { connection, credential, receipt: row.map(|row| row.receipt) })
    }

    /// What has become of a revoked connection's credential.
    ///
    /// # Errors
    /// When the store fails.
    pub fn fate(&self, key: ConnectionKey) -> Result<CredentialFate, StoreError> {
        let revoking = self.store.contains::<RevokingRow>(&key)?;
        Ok(if revoking { CredentialFate::Revoking } else { CredentialFate::Destroyed })
    }

    fn receipt(&self, connection: &Connection<Revoked>, reason: Option<String>, fate: CredentialFate) -> Result<String, SettleError> {
        let receipt = RevocationReceipt {
            connection: connection.id,
            tenant: connection.tenant.clone(),
            connector: connection.connector.name.clone(),
            reason,
            revoked_at: connection.state.at,
            credential: fate,
            test: self.test,
        };
        let keys = self.vault.connection(connection.key)?;
        let commitment = Digest::from_bytes(keys.commitment_hmac(&[b"revocation", &connection.state.by.to_bytes()]));
        let subject = Subject { name: connection.state.by.to_string(), sha256: commitment };
        let statement = Statement { subject, predicate: Predicate::Revocation(receipt) };
        Ok(statement.sign(&self.vault.signing_key(SigningUse::Statement)?))
    }

    /// The receipt of a revocation.
    ///
    /// # Errors
    /// When the store fails.
    pub fn find(&self, id: RevocationId) -> Result<Option<RevocationRow>, StoreError> {
        self.store.get::<RevocationRow>(&id.to_bytes())
    }

    /// Finishes what a crash or a full disk left: stops whose rows are not written, credentials that wait to be given up.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self) -> Result<(), RevocationError> {
        for stop in self.store.stops() {
            if stop.reason == StopReason::Revoked
                && let Some(connection) = self.connections.by_key(stop.owner)?
                && self.vault.destroyed_at(stop.owner).is_none()
            {
                self.settle(connection, stop.at, Some("finished after an interruption".into()), &Actor::System).await;
            }
        }
        self.surrender_all();
        Ok(())
    }

    /// Waits for the surrenders that are under way; none begins afterwards.
    pub async fn close(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What can keep the consequences of a stop from being written.
#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the keyring failed")]
    Vault(#[from] VaultError),
    #[error("the credential failed")]
    Surrender(#[from] SurrenderError),
}
