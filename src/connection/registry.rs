//! The registry: connections made, found and moved between their states, each act with its audit entry in the same unit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Entry;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::credential::Credential;
use crate::connection::credential::CredentialError;
use crate::connection::credential::Credentials;
use crate::connection::gate::Gates;
use crate::connection::schedule::FIRST_PULL_SECONDS;
use crate::connection::schedule::Schedule;
use crate::connection::state::Active;
use crate::connection::state::Connection;
use crate::connection::state::State;
use crate::connection::tenant::TenantNameRow;
use crate::connection::tenant::TenantRow;
use crate::connection::tenant::TenantState;
use crate::consent::Consent;
use crate::consent::Purpose;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::ConsentId;
use crate::ids::Entropy;
use crate::ids::TenantId;
use crate::record::ConnectorRef;
use crate::store::Row;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::vault;
use crate::vault::Vault;
use crate::vault::VaultError;

/// Why a connection was not made, found or moved.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// There is none of this id, or it is another tenant's.
    #[error("there is no connection {id}")]
    Unknown {
        /// What was asked for.
        id: ConnectionId,
    },
    /// The tenant is being erased, or is.
    #[error(
        "tenant {tenant} is {state}, and its name is not used again, so that nobody takes new data for what was erased; \
         connect under another name (`headgate tenants show {tenant}` tells of the erasure)"
    )]
    TenantEnded {
        /// Which.
        tenant: TenantId,
        /// Its state.
        state: &'static str,
    },
    /// Its state does not allow the act.
    #[error("connection {id} is {state}, so it cannot be {act}")]
    State {
        /// Which.
        id: ConnectionId,
        /// Its state.
        state: &'static str,
        /// What was asked for.
        act: &'static str,
    },
    /// The store failed.
    #[error("the connection is not stored")]
    Store(#[from] StoreError),
    /// The keyring failed.
    #[error("the connection's keys are not to be had")]
    Vault(#[from] VaultError),
    /// The credential failed.
    #[error("the connection's credential is not to be had")]
    Credential(#[from] CredentialError),
}

/// The next numbers to give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct NumbersRow {
    tenant: u32,
    connection: u32,
}

impl Row for NumbersRow {
    const TABLE: Table = Table::Numbers;
    type Key = ();
}

/// Where a connection is, under its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ConnectionIdRow(ConnectionKey);

impl Row for ConnectionIdRow {
    const TABLE: Table = Table::ConnectionIds;
    type Key = [u8; 16];
}

/// A consent, under (owner, consent id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ConsentRow(Consent);

impl Row for ConsentRow {
    const TABLE: Table = Table::Consents;
    type Key = (ConnectionKey, [u8; 16]);
}

/// Whose consent it is, under its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ConsentIdRow(ConnectionKey);

impl Row for ConsentIdRow {
    const TABLE: Table = Table::ConsentIds;
    type Key = [u8; 16];
}

/// The configuration without its secrets, sealed, under the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ConfigRow(Vec<u8>);

impl Row for ConfigRow {
    const TABLE: Table = Table::Configs;
    type Key = ConnectionKey;
}

/// How a scrub reads the registry's rows back.
pub(super) fn row_checks() -> Vec<RowCheck> {
    vec![
        RowCheck::of::<NumbersRow>(),
        RowCheck::of::<TenantRow>(),
        RowCheck::of::<TenantNameRow>(),
        RowCheck::of::<ConnectionIdRow>(),
        RowCheck::of::<Connection>(),
        RowCheck::of::<ConsentRow>(),
        RowCheck::of::<ConsentIdRow>(),
        RowCheck::of::<ConfigRow>(),
    ]
}

/// What a connection is made of.
#[derive(Debug)]
pub struct NewConnection {
    /// Whose it is; made on first use.
    pub tenant: TenantId,
    /// The connector.
    pub connector: ConnectorRef,
    /// The streams that the consent names.
    pub streams: Vec<String>,
    /// What its data may be used for.
    pub purposes: Vec<Purpose>,
    /// The consent, which is recorded with it.
    pub consent: Consent,
    /// The configuration without secrets.
    pub config: Map<String, Value>,
    /// The secret members of the configuration.
    pub secrets: Map<String, Value>,
    /// When it pulls by itself.
    pub every_seconds: Option<u64>,
}

/// All connections. Clones share them.
#[derive(Clone)]
pub struct Connections {
    store: Store,
    vault: Arc<Vault>,
    gates: Gates,
    credentials: Credentials,
    clock: Clock,
    entropy: Entropy,
    /// Numbers are given away one at a time; the store's expectation would refuse the second anyway.
    creating: Arc<tokio::sync::Mutex<()>>,
    /// Connections that were found before, for those who stop them when the engine reads nothing any more: on a full disk it cannot
    /// give back a page that it has not written yet.
    found: Arc<RwLock<HashMap<ConnectionId, Connection>>>,
}

/// Connections that are remembered at most.
const FOUND_MAX: usize = 20_000;

/// What binds a sealed configuration to its row.
const CONFIG_PLACE: &[u8] = b"config";

impl Connections {
    /// Over a store and its vault.
    pub fn new(store: Store, vault: Arc<Vault>, gates: Gates, clock: Clock, entropy: Entropy) -> Self {
        let credentials = Credentials::new(store.clone(), vault.clone());
        Connections { store, vault, gates, credentials, clock, entropy, creating: Arc::default(), found: Arc::default() }
    }

    /// The gates.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// The credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Makes a pending connection: its consent is recorded before anything is asked of the application.
    ///
    /// # Errors
    /// When the store or the keyring fails; nothing is left then but unused keys.
    pub async fn create(&self, new: NewConnection, actor: Actor) -> Result<Connection, ConnectionError> {
        let _creating = self.creating.lock().await;
        let now = self.clock.now();
        let mut unit = Unit::default();
        let key = self.number(&new.tenant, now, &mut unit)?;
        tokio::task::block_in_place(|| {
            self.vault.tenant_ensure(key.tenant)?;
            self.vault.connection_create(key)
        })?;
        let connection = Connection {
            key,
            id: ConnectionId::new(now, &self.entropy),
            succeeds: self.predecessor(key.tenant, &new.connector.name)?,
            tenant: new.tenant,
            connector: new.connector,
            streams: new.streams,
            purposes: new.purposes,
            consent: new.consent.id,
            created_at: now,
            state: State::Pending,
        };
        let config = serde_json::to_vec(&new.config).unwrap_or_default();
        let sealed = self.vault.connection(key)?.seal(vault::Purpose::Row, CONFIG_PLACE, &config)?;
        self.credentials.put(&mut unit, key, &Credential::of_config(&new.secrets))?;
        unit.put(&key, &ConfigRow(sealed))
            .put(&key, &connection)
            .put(&connection.id.to_bytes(), &ConnectionIdRow(key))
            .put(&(key, new.consent.id.to_bytes()), &ConsentRow(new.consent.clone()))
            .put(&new.consent.id.to_bytes(), &ConsentIdRow(key))
            .audit(entry(Action::ConsentRecorded, &actor, &connection, now).to_leaf());
        if let Some(seconds) = new.every_seconds {
            let schedule = Schedule { every_seconds: Some(seconds), due: now, not_before: None, failures: 0 };
            unit.put(&key, &schedule);
        }
        self.store.commit(unit).await?;
        Ok(connection)
    }

    /// The number of a tenant that may have new data, which is made at its first use, with its key.
    ///
    /// # Errors
    /// [`ConnectionError::TenantEnded`] for one whose erasure is approved; when the store or the keyring fails.
    pub async fn use_tenant(&self, tenant: &TenantId) -> Result<u32, ConnectionError> {
        if let Some(row) = self.open_tenant(tenant)? {
            return Ok(row.number);
        }
        let _creating = self.creating.lock().await;
        if let Some(row) = self.open_tenant(tenant)? {
            return Ok(row.number);
        }
        let (before, next) = self.next_numbers()?;
        let (slug, number, now) = (tenant.as_str().to_owned(), next.tenant, self.clock.now());
        tokio::task::block_in_place(|| self.vault.tenant_ensure(number))?;
        let mut unit = Unit::default();
        let row = TenantRow { number, created_at: now, connections: 0, state: TenantState::Active };
        unit.expect::<TenantRow>(&slug, None).put(&slug, &row).put(&number, &TenantNameRow(tenant.clone()));
        unit.expect(&(), before.as_ref()).put(&(), &NumbersRow { tenant: number + 1, ..next });
        self.store.commit(unit).await?;
        Ok(number)
    }

    /// The numbers as they stand, and those that are given away next.
    fn next_numbers(&self) -> Result<(Option<NumbersRow>, NumbersRow), ConnectionError> {
        let before = self.store.get::<NumbersRow>(&())?;
        // An old copy of the store beside today's keyring must not give a number away twice.
        let used = self.vault.highest_numbers()?;
        // Nor one that the list of stops knows: the list outlives a restore of an older store and keyring.
        let stopped = self.store.highest_stopped();
        let stored = before.unwrap_or(NumbersRow { tenant: 1, connection: 1 });
        let next = NumbersRow {
            tenant: stored.tenant.max(used.tenant.max(stopped.tenant).saturating_add(1)),
            connection: stored.connection.max(used.connection.max(stopped.connection).saturating_add(1)),
        };
        Ok((before, next))
    }

    /// The next numbers, and the rows that give them away.
    fn number(&self, tenant: &TenantId, now: Timestamp, unit: &mut Unit) -> Result<ConnectionKey, ConnectionError> {
        let (before, mut next) = self.next_numbers()?;
        let slug = tenant.as_str().to_owned();
        let row = self.open_tenant(tenant)?;
        unit.expect(&slug, row.as_ref());
        let row = row.unwrap_or_else(|| {
            let number = next.tenant;
            next.tenant += 1;
            unit.put(&number, &TenantNameRow(tenant.clone()));
            TenantRow { number, created_at: now, connections: 0, state: TenantState::Active }
        });
        let number = row.number;
        unit.put(&slug, &TenantRow { connections: row.connections + 1, ..row });
        let key = ConnectionKey { tenant: number, connection: next.connection };
        next.connection += 1;
        unit.expect(&(), before.as_ref()).put(&(), &next);
        Ok(key)
    }

    /// The newest revoked connection of the tenant with this connector.
    fn predecessor(&self, tenant: u32, connector: &str) -> Result<Option<ConnectionId>, ConnectionError> {
        let mut before = None;
        loop {
            let rows = self.store.scan_back::<Connection>(&tenant.to_be_bytes(), before.as_ref(), 100)?;
            let Some((last, _)) = rows.last() else { return Ok(None) };
            before = Some(*last);
            let ended = |state: &State| matches!(state, State::Revoked(_) | State::Erased(_));
            if let Some((_, row)) = rows.iter().find(|(_, row)| row.connector.name == connector && ended(&row.state)) {
                return Ok(Some(row.id));
            }
        }
    }

    /// A connection by its id.
    ///
    /// # Errors
    /// [`ConnectionError::Unknown`].
    pub fn find(&self, id: ConnectionId) -> Result<Connection, ConnectionError> {
        let read = || -> Result<Connection, ConnectionError> {
            let row = self.store.get::<ConnectionIdRow>(&id.to_bytes())?.ok_or(ConnectionError::Unknown { id })?;
            self.store.get::<Connection>(&row.0)?.ok_or(ConnectionError::Unknown { id })
        };
        let found = || self.found.read().unwrap_or_else(PoisonError::into_inner);
        let connection = match read() {
            Err(ConnectionError::Store(error)) => found().get(&id).cloned().ok_or(error)?,
            other => other?,
        };
        let is_known = { found().contains_key(&id) || found().len() >= FOUND_MAX };
        if !is_known {
            self.found.write().unwrap_or_else(PoisonError::into_inner).insert(id, connection.clone());
        }
        Ok(self.as_known(connection))
    }

    /// A connection by its numbers.
    ///
    /// # Errors
    /// When the store fails.
    pub fn by_key(&self, key: ConnectionKey) -> Result<Option<Connection>, ConnectionError> {
        Ok(self.store.get::<Connection>(&key)?.map(|connection| self.as_known(connection)))
    }

    /// At most `limit` connections behind `after`, of one tenant or of all, in the order of their making.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, tenant: Option<u32>, after: Option<ConnectionKey>, limit: usize) -> Result<Vec<Connection>, ConnectionError> {
        let prefix = tenant.map(|tenant| tenant.to_be_bytes().to_vec()).unwrap_or_default();
        let rows = self.store.scan::<Connection>(&prefix, after.as_ref(), limit)?;
        Ok(rows.into_iter().map(|(_, connection)| self.as_known(connection)).collect())
    }

    /// The keyring knows best whether a connection is erased, and the list of stops whether it is revoked: its row is
    /// behind them in an old copy of the store, or when the disk was full at the stop.
    fn as_known(&self, connection: Connection) -> Connection {
        if let Some(at) = self.vault.destroyed_at(connection.key) {
            return connection.found_erased(at);
        }
        match self.store.stop(connection.key) {
            Some(stop) if stop.reason == StopReason::Revoked => connection.found_revoked(stop.at),
            // Stopped, and its row not written yet, or never: a crash came between.
            Some(stop) if self.gates.state(connection.key).is_ok_and(|gate| !gate.open) => connection.found_suspended(stop),
            _ => connection,
        }
    }

    /// The consent of an id, and the connection it belongs to.
    ///
    /// # Errors
    /// When the store fails.
    pub fn consent(&self, id: ConsentId) -> Result<Option<(Connection, Consent)>, ConnectionError> {
        let Some(ConsentIdRow(key)) = self.store.get::<ConsentIdRow>(&id.to_bytes())? else { return Ok(None) };
        let consent = self.store.get::<ConsentRow>(&(key, id.to_bytes()))?;
        Ok(self.by_key(key)?.zip(consent.map(|row| row.0)))
    }

    /// The configuration without its secrets.
    ///
    /// # Errors
    /// When it does not open: after an erasure.
    pub fn config(&self, key: ConnectionKey) -> Result<Map<String, Value>, ConnectionError> {
        let Some(ConfigRow(sealed)) = self.store.get::<ConfigRow>(&key)? else { return Ok(Map::new()) };
        let plain = self.vault.connection(key)?.open(vault::Purpose::Row, CONFIG_PLACE, &sealed)?;
        Ok(serde_json::from_slice(plain.expose()).unwrap_or_default())
    }

    /// Adds the rows that change a configuration: what an application hands over in its redirect.
    ///
    /// # Errors
    /// When the keys are not to be had.
    pub fn put_config(&self, unit: &mut Unit, key: ConnectionKey, config: &Map<String, Value>) -> Result<(), ConnectionError> {
        let plain = serde_json::to_vec(config).unwrap_or_default();
        let sealed = self.vault.connection(key)?.seal(vault::Purpose::Row, CONFIG_PLACE, &plain)?;
        unit.put(&key, &ConfigRow(sealed));
        Ok(())
    }

    /// Opens the gate at a new epoch, together with what `also` adds (the first tokens, a configuration).
    ///
    /// # Errors
    /// [`ConnectionError::State`] when it is active, revoked or erased.
    pub async fn activate(
        &self,
        connection: Connection,
        action: Action,
        actor: Actor,
        also: impl FnOnce(&mut Unit) -> Result<(), ConnectionError>,
    ) -> Result<Connection<Active>, ConnectionError> {
        let now = self.clock.now();
        let (id, state) = (connection.id, connection.state.name());
        let before = connection.clone();
        let active = connection.activate(now).map_err(|_| ConnectionError::State { id, state, act: "opened" })?;
        self.open(before, active, action, actor, also).await
    }

    /// As [`Connections::activate`], also for a connection that is active: its permits end, and a new epoch begins.
    ///
    /// # Errors
    /// [`ConnectionError::State`] when it is revoked or erased.
    pub async fn reopen(
        &self,
        connection: Connection,
        action: Action,
        actor: Actor,
        also: impl FnOnce(&mut Unit) -> Result<(), ConnectionError>,
    ) -> Result<Connection<Active>, ConnectionError> {
        match connection.clone().active() {
            Ok(active) => {
                // The old credential is about to be replaced: nothing that uses it goes on.
                self.gates.close(&[connection.key], StopReason::Paused, self.clock.now()).await?;
                self.open(connection, active, action, actor, also).await
            }
            Err(connection) => self.activate(connection, action, actor, also).await,
        }
    }

    async fn open(
        &self,
        before: Connection,
        active: Connection<Active>,
        action: Action,
        actor: Actor,
        also: impl FnOnce(&mut Unit) -> Result<(), ConnectionError>,
    ) -> Result<Connection<Active>, ConnectionError> {
        let (now, key) = (self.clock.now(), before.key);
        let epoch = self.gates.state(key)?.epoch + 1;
        let mut unit = Unit::default();
        // What the registry shows may be ahead of the row: a suspension whose row is not written yet.
        let stored = self.store.get::<Connection>(&key)?.filter(|stored| *stored == before || self.as_known(stored.clone()) == before);
        let expected = stored.as_ref().unwrap_or(&before);
        unit.expect(&key, Some(expected)).put(&key, &Connection::from(active.clone())).open_gate(key, epoch);
        unit.audit(entry(action, &actor, &before, now).to_leaf());
        if let Some(schedule) = self.schedule(key)? {
            let earliest = now.checked_add(jiff::SignedDuration::from_secs(FIRST_PULL_SECONDS)).unwrap_or(now);
            unit.put(&key, &Schedule { due: schedule.due.max(earliest), ..schedule });
        }
        also(&mut unit)?;
        self.store.commit(unit).await?;
        Ok(active)
    }

    /// Closes the gate of an active connection that stays: a pause, or a credential that is no longer accepted.
    ///
    /// # Errors
    /// [`ConnectionError::State`] when it is not active.
    pub async fn suspend(
        &self,
        id: ConnectionId,
        reason: StopReason,
        actor: Actor,
        next: impl FnOnce(Connection<Active>, Timestamp) -> Connection,
    ) -> Result<Connection, ConnectionError> {
        let now = self.clock.now();
        let before = self.find(id)?;
        let state = before.state.name();
        let action = if reason == StopReason::Paused { Action::ConnectionPaused } else { Action::ReauthorizationNeeded };
        let active = before.clone().active().map_err(|_| ConnectionError::State { id, state, act: "suspended" })?;
        self.gates.close(&[before.key], reason, now).await?;
        let epoch = self.gates.state(before.key)?.epoch;
        let after = next(active, now);
        let mut unit = Unit::default();
        unit.expect(&before.key, Some(&before)).put(&before.key, &after).close_gate(before.key, epoch);
        unit.audit(entry(action, &actor, &before, now).to_leaf());
        self.store.commit(unit).await?;
        Ok(after)
    }

    /// A connection's schedule, if it has one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn schedule(&self, key: ConnectionKey) -> Result<Option<Schedule>, ConnectionError> {
        Ok(self.store.get::<Schedule>(&key)?)
    }

    /// Sets or ends the schedule; the next pull is one interval from now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_schedule(&self, connection: &Connection, every_seconds: Option<u64>, actor: Actor) -> Result<(), ConnectionError> {
        let now = self.clock.now();
        let not_before = self.schedule(connection.key)?.and_then(|schedule| schedule.not_before);
        let due = now.checked_add(jiff::SignedDuration::from_secs(every_seconds.unwrap_or(0) as i64)).unwrap_or(now);
        let mut unit = Unit::default();
        unit.put(&connection.key, &Schedule { every_seconds, due, not_before, failures: 0 });
        unit.audit(entry(Action::ScheduleChanged, &actor, connection, now).to_leaf());
        self.store.commit(unit).await?;
        Ok(())
    }
}

/// An audit entry about a connection.
pub fn entry<S>(action: Action, actor: &Actor, connection: &Connection<S>, at: Timestamp) -> Entry {
    let mut entry = Entry::new(at, actor.clone(), action);
    entry.tenant = Some(connection.tenant.clone());
    entry.connection = Some(connection.id);
    entry
}
