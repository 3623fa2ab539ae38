//! Where authorizations are kept: the store's rows behind [`PendingStore`] and [`Keeper`].

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::Serialize;
use url::Url;

use crate::audit::Action;
use crate::audit::Actor;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Connections;
use crate::connection::credential::CredentialError;
use crate::connection::entry;
use crate::connection::gate::Permit;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::secret::Secret;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::vault::Purpose;
use crate::vault::Vault;
use crate::vault::VaultError;

use super::code::Begun;
use super::code::Pending;
use super::code::PendingStore;
use super::error::Cause;
use super::renewal::Change;
use super::renewal::Held;
use super::renewal::Keeper;
use super::renewal::KeeperError;

/// An authorization under way, under the digest of its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AuthorizationRow {
    owner: ConnectionKey,
    /// The PKCE verifier, sealed under the connection's key and bound to the state.
    verifier: Option<Vec<u8>>,
    redirect_uri: String,
    expires_at: Timestamp,
}

impl Row for AuthorizationRow {
    const TABLE: Table = Table::Authorizations;
    type Key = [u8; 32];
}

/// Rows looked at in one step of [`Authorizations::sweep`].
const SWEEP_ROWS: usize = 500;

/// The authorizations under way. Clones share them.
#[derive(Clone)]
pub struct Authorizations {
    store: Store,
    vault: Arc<Vault>,
}

impl Authorizations {
    /// Over a store and its vault.
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Self { store, vault }
    }

    /// Keeps what a link needs. It is durable when this returns; only then may the link be shown.
    ///
    /// # Errors
    /// When the store or the vault fails, or the connection's keys are gone.
    pub async fn keep(&self, begun: &Begun) -> Result<(), Cause> {
        let Pending { owner, verifier, redirect_uri, expires_at } = &begun.pending;
        let seal = |verifier: &Secret<String>| {
            let keys = self.vault.connection(*owner)?;
            keys.seal(Purpose::Row, &begun.state.to_bytes(), verifier.expose().as_bytes())
        };
        let verifier = verifier.as_ref().map(seal).transpose().map_err(cause::<VaultError>)?;
        let row = AuthorizationRow { owner: *owner, verifier, redirect_uri: redirect_uri.to_string(), expires_at: *expires_at };
        let mut unit = Unit::default();
        unit.put(&begun.state.to_bytes(), &row);
        self.store.commit(unit).await.map(drop).map_err(cause)
    }

    /// Removes the expired. For the scheduler, now and then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = self.store.scan::<AuthorizationRow>(&[], after.as_ref(), SWEEP_ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(*last);
            let mut unit = Unit::default();
            let mut expired = rows.iter().filter(|(_, row)| row.expires_at <= now).peekable();
            if expired.peek().is_some() {
                for (key, _) in expired {
                    unit.remove::<AuthorizationRow>(key);
                }
                self.store.commit(unit).await?;
            }
        }
    }

    fn open(&self, state: Digest, row: AuthorizationRow) -> Result<Pending, Cause> {
        let open = |sealed: Vec<u8>| {
            let plain = self.vault.connection(row.owner)?.open(Purpose::Row, &state.to_bytes(), &sealed)?;
            Ok(Secret::new(String::from_utf8_lossy(plain.expose()).into_owned()))
        };
        let verifier = row.verifier.map(open).transpose().map_err(cause::<VaultError>)?;
        let redirect_uri = Url::parse(&row.redirect_uri).map_err(cause)?;
        Ok(Pending { owner: row.owner, verifier, redirect_uri, expires_at: row.expires_at })
    }
}

impl PendingStore for Authorizations {
    fn find(&self, state: Digest) -> BoxFuture<'_, Result<Option<Pending>, Cause>> {
        async move {
            let row = self.store.get::<AuthorizationRow>(&state.to_bytes()).map_err(cause)?;
            row.map(|row| self.open(state, row)).transpose()
        }
        .boxed()
    }

    fn take(&self, state: Digest) -> BoxFuture<'_, Result<bool, Cause>> {
        async move {
            let key = state.to_bytes();
            let Some(row) = self.store.get::<AuthorizationRow>(&key).map_err(cause)? else { return Ok(false) };
            let mut unit = Unit::default();
            unit.expect(&key, Some(&row)).remove::<AuthorizationRow>(&key);
            match self.store.commit(unit).await {
                Ok(_) => Ok(true),
                Err(StoreError::Conflict { .. }) => Ok(false),
                Err(error) => Err(cause(error)),
            }
        }
        .boxed()
    }
}

/// Credentials as renewals see them, each act with its audit entry (promise P8).
#[derive(Clone)]
pub struct CredentialKeeper {
    store: Store,
    connections: Connections,
    clock: Clock,
}

impl CredentialKeeper {
    /// Over the registry and its store.
    pub fn new(store: Store, connections: Connections, clock: Clock) -> Self {
        Self { store, connections, clock }
    }

    fn leaf(&self, owner: ConnectionKey, action: Action, generation: u64) -> Result<Vec<u8>, KeeperError> {
        let found = self.connections.by_key(owner).map_err(failed)?;
        let connection = found.ok_or_else(|| failed(CredentialError::Missing { owner }))?;
        let mut entry = entry(action, &Actor::System, &connection, self.clock.now());
        entry.count = Some(generation);
        Ok(entry.to_leaf())
    }
}

impl Keeper for CredentialKeeper {
    fn load<'a>(&'a self, permit: &'a Permit) -> BoxFuture<'a, Result<Held, KeeperError>> {
        async move {
            let owner = permit.owner();
            let credential = self.connections.credentials().load(owner).map_err(kept)?;
            let mut unit = Unit::default();
            unit.fence(owner, permit.epoch()).audit(self.leaf(owner, Action::CredentialUnsealed, credential.generation)?);
            self.store.commit(unit).await.map_err(|source| kept(CredentialError::Store { owner, source }))?;
            Ok(Held { generation: credential.generation, tokens: credential.tokens, renewal: credential.renewal })
        }
        .boxed()
    }

    fn replace<'a>(&'a self, permit: &'a Permit, generation: u64, change: Change<'a>) -> BoxFuture<'a, Result<u64, KeeperError>> {
        async move {
            let owner = permit.owner();
            let mut credential = self.connections.credentials().load(owner).map_err(kept)?;
            if credential.generation != generation {
                return Err(KeeperError::Changed);
            }
            match change {
                Change::Renewal(renewal) => credential.renewal = renewal,
                Change::Tokens(tokens) => {
                    credential.tokens = Some(tokens.duplicate());
                    credential.renewal = Default::default();
                }
            }
            let leaf = self.leaf(owner, Action::CredentialStored, generation + 1)?;
            self.connections.credentials().replace(permit, &credential, leaf).await.map_err(kept)
        }
        .boxed()
    }
}

fn cause<E: std::error::Error + Send + Sync + 'static>(error: E) -> Cause {
    Arc::new(error)
}

fn kept(error: CredentialError) -> KeeperError {
    match error {
        CredentialError::Store { source: StoreError::GateClosed { .. }, .. } | CredentialError::Missing { .. } => KeeperError::Closed,
        CredentialError::Store { source: StoreError::Conflict { .. }, .. } => KeeperError::Changed,
        other => failed(other),
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> KeeperError {
    KeeperError::Failed { source: cause(error) }
}
