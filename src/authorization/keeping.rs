//! Where authorizations are kept: the store's rows behind [`PendingStore`] and [`Keeper`].

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::Serialize;
use url::Url;

use crate::audit::Action;
use crate::audit::Actor;
use crate::authorization::code::PENDING_MAX;
use crate::clock;
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
use crate::store::check::RowCheck;
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

/// How a scrub reads authorizations under way back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<AuthorizationRow>()]
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
            let expired: Vec<[u8; 32]> =
                rows.into_iter().filter(|(_, row)| clock::is_over(row.expires_at, PENDING_MAX, now)).map(|(key, _)| key).collect();
            if !expired.is_empty() {
                for key in &expired {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authorization::code;
    use crate::connection::NewConnection;
    use crate::connection::credential::Renewal;
    use crate::connection::credential::Tokens;
    use crate::connection::gate::Gates;
    use crate::consent::Consent;
    use crate::ids::ConsentId;
    use crate::ids::Entropy;
    use crate::record::ConnectorRef;
    use crate::store::Options;
    use crate::store::StopReason;
    use crate::vault::MasterKey;

    async fn pending(directory: &std::path::Path, clock: &Clock) -> (Store, Arc<Vault>, Connections, crate::connection::Connection) {
        let store = Store::open(directory, &Options::default()).unwrap();
        let master = MasterKey::new(Secret::new([7; 32]));
        let vault = Arc::new(Vault::create(directory, &master, Entropy::system(), clock.clone()).unwrap());
        let gates = Gates::new(store.clone());
        let connections = Connections::new(store.clone(), vault.clone(), gates, clock.clone(), Entropy::system());
        let consent = Consent {
            id: ConsentId::new(clock.now(), &Entropy::system()),
            person: "P".into(),
            organisation: "O".into(),
            policy_version: "1".into(),
            policy_digest: Digest::of(b"policy"),
            purposes: Vec::new(),
            streams: vec!["orders".into()],
            acknowledged: Vec::new(),
            at: clock.now(),
            scopes: Vec::new(),
        };
        let new = NewConnection {
            tenant: "acme".parse().unwrap(),
            connector: ConnectorRef { name: "shop".into(), digest: Digest::of(b"shop") },
            streams: consent.streams.clone(),
            purposes: Vec::new(),
            consent,
            config: Default::default(),
            secrets: json!({"extra": "kept"}).as_object().cloned().unwrap_or_default(),
            every_seconds: None,
        };
        let connection = connections.create(new, Actor::Local).await.unwrap();
        (store, vault, connections, connection)
    }

    fn tokens(clock: &Clock, number: u32) -> Tokens {
        Tokens::of_refresh_token(Secret::new(format!("refresh-{number}")), clock.now())
    }

    /// Goal: a link is found by its state alone, opens only there, is taken once, and goes with time. Method: the real store
    /// and vault; then the row as it lies there, which must not hold the verifier.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn links_are_sealed_and_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let (store, vault, _, connection) = pending(directory.path(), &clock).await;
        let authorizations = Authorizations::new(store.clone(), vault);
        let begun = |number: u8| Begun {
            authorize_url: Url::parse("https://auth.example.com/").unwrap(),
            state: Digest::of(&[number]),
            pending: Pending {
                owner: connection.key,
                verifier: Some(Secret::new(format!("verifier-{number}"))),
                redirect_uri: Url::parse("http://127.0.0.1:8080/oauth/callback").unwrap(),
                expires_at: clock.now() + code::PENDING_MAX,
            },
        };
        for number in 0..3 {
            authorizations.keep(&begun(number)).await.unwrap();
        }
        let found = authorizations.find(Digest::of(&[1])).await.unwrap().unwrap();
        assert_eq!(found.verifier.unwrap().expose(), "verifier-1");
        assert!(authorizations.find(Digest::of(b"x")).await.unwrap().is_none());
        let row = store.get::<AuthorizationRow>(&Digest::of(&[1]).to_bytes()).unwrap().unwrap();
        assert!(!format!("{row:?}").contains("verifier-1") && authorizations.open(Digest::of(&[2]), row).is_err());
        let both = tokio::join!(authorizations.take(Digest::of(&[1])), authorizations.take(Digest::of(&[1])));
        assert_eq!(u8::from(both.0.unwrap()) + u8::from(both.1.unwrap()), 1);
        authorizations.sweep(clock.now()).await.unwrap();
        assert!(authorizations.find(Digest::of(&[2])).await.unwrap().is_some());
        authorizations.sweep(clock.now() + code::PENDING_MAX).await.unwrap();
        assert!(store.scan::<AuthorizationRow>(&[], None, 10).unwrap().is_empty());
    }

    /// Goal: a renewal's writes are compared by generation, keep the rest of the credential, survive a restart of whoever
    /// reads, and land behind no closed gate.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn renewals_are_kept_by_generation() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let (store, _, connections, connection) = pending(directory.path(), &clock).await;
        let owner = connection.key;
        let mut first = connections.credentials().load(owner).unwrap();
        first.tokens = Some(tokens(&clock, 1));
        let also = |unit: &mut Unit| Ok(connections.credentials().put(unit, owner, &first).map(drop)?);
        connections.activate(connection, Action::ConnectionActivated, Actor::Local, also).await.unwrap();
        let keeper = CredentialKeeper::new(store, connections.clone(), clock.clone());
        let permit = connections.gates().permit(owner).unwrap();
        let held = keeper.load(&permit).await.unwrap();
        let marked = keeper.replace(&permit, held.generation, Change::Renewal(Renewal::Unknown)).await.unwrap();
        let stale = keeper.replace(&permit, held.generation, Change::Tokens(&tokens(&clock, 2))).await;
        assert!(matches!(stale, Err(KeeperError::Changed)), "{stale:?}");
        assert_eq!(keeper.load(&permit).await.unwrap().renewal, Renewal::Unknown);
        keeper.replace(&permit, marked, Change::Tokens(&tokens(&clock, 2))).await.unwrap();
        let held = keeper.load(&permit).await.unwrap();
        let refresh = held.tokens.and_then(|tokens| tokens.refresh_token);
        assert_eq!((held.renewal, refresh.unwrap().expose().as_str()), (Renewal::Settled, "refresh-2"));
        assert_eq!(connections.credentials().load(owner).unwrap().config_members()["extra"], "kept");
        connections.gates().close(&[owner], StopReason::NeedsReauthorization, clock.now()).await.unwrap();
        let late = keeper.replace(&permit, held.generation, Change::Tokens(&tokens(&clock, 3))).await;
        assert!(matches!(late, Err(KeeperError::Closed)), "{late:?}");
        assert!(matches!(keeper.load(&permit).await, Err(KeeperError::Closed)));
    }
}
