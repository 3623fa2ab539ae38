//! The credential of a connection: tokens and the secret parts of its configuration, sealed as one value with a generation.
//!
//! A new pair of tokens replaces the old by compare-and-swap on the generation, behind the gate: a renewal that finishes
//! after a revocation cannot revive anything, and of two renewals one is told so.

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use zeroize::Zeroize;

use crate::clock::Timestamp;
use crate::connection::gate::Permit;
use crate::ids::ConnectionKey;
use crate::secret::Secret;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::vault::Vault;
use crate::vault::VaultError;

/// Why a credential is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The store failed, or another renewal was first, or the gate is closed.
    #[error("the credential of connection {owner} is not stored")]
    Store {
        /// Whose.
        owner: ConnectionKey,
        /// Why.
        source: StoreError,
    },
    /// It does not open: destroyed, or not under this keyring.
    #[error("the credential of connection {owner} does not open")]
    Vault {
        /// Whose.
        owner: ConnectionKey,
        /// Why.
        source: VaultError,
    },
    /// There is none.
    #[error("connection {owner} has no credential; it was revoked, or never authorized")]
    Missing {
        /// Whose.
        owner: ConnectionKey,
    },
}

/// The tokens of an OAuth 2.0 grant.
#[derive(Debug)]
pub struct Tokens {
    /// The access token.
    pub access_token: Secret<String>,
    /// The refresh token, if the server gave one.
    pub refresh_token: Option<Secret<String>>,
    /// When the access token expires, if the server said so.
    pub expires_at: Option<Timestamp>,
    /// When the pair was received: what a tenth of its lifetime counts from.
    pub issued_at: Timestamp,
    /// The token type as the application wrote it; empty when it did not.
    pub token_type: String,
    /// The scopes that were granted; empty when the application did not say.
    pub scopes: Vec<String>,
    /// The other members of the token answer, as a JSON object: they may hold secrets.
    pub extra: Secret<String>,
}

/// What is known of the last renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Renewal {
    /// Nothing is open.
    #[default]
    Settled,
    /// A renewal was sent and its answer never came: the refresh token may be used up.
    Unknown,
    /// It was tried once more after that; there is no further try.
    TriedAgain,
}

/// A connection's credential, unsealed.
#[derive(Debug)]
pub struct Credential {
    /// Rises with each replacement.
    pub generation: u64,
    /// The secret members of the configuration, as a JSON object to be merged into it.
    pub config: Secret<String>,
    /// The tokens, for an OAuth connection that has been authorized.
    pub tokens: Option<Tokens>,
    /// Whether a renewal is open.
    pub renewal: Renewal,
}

impl Credential {
    /// A credential that was just given: no tokens yet.
    pub fn of_config(secrets: &Map<String, Value>) -> Self {
        let config = serde_json::to_string(secrets).unwrap_or_default();
        Credential { generation: 0, config: Secret::new(config), tokens: None, renewal: Renewal::Settled }
    }

    /// The secret members of the configuration.
    pub fn config_members(&self) -> Map<String, Value> {
        serde_json::from_str(self.config.expose()).unwrap_or_default()
    }
}

/// The sealed row, under its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRow {
    generation: u64,
    sealed: Vec<u8>,
}

impl Row for CredentialRow {
    const TABLE: Table = Table::Credentials;
    type Key = ConnectionKey;
}

/// The plain form behind the seal, wiped when dropped.
#[derive(Serialize, Deserialize)]
struct Plain {
    config: String,
    tokens: Option<PlainTokens>,
    renewal: Renewal,
}

#[derive(Serialize, Deserialize)]
struct PlainTokens {
    access_token: String,
    refresh_token: Option<String>,
    expires_at: Option<Timestamp>,
    issued_at: Timestamp,
    token_type: String,
    scopes: Vec<String>,
    extra: String,
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.config.zeroize();
        if let Some(tokens) = &mut self.tokens {
            tokens.access_token.zeroize();
            tokens.refresh_token.zeroize();
            tokens.extra.zeroize();
        }
    }
}

/// The credentials of all connections. Clones share them.
#[derive(Clone)]
pub struct Credentials {
    store: Store,
    vault: Arc<Vault>,
}

impl Credentials {
    /// Over a store and its vault.
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Credentials { store, vault }
    }

    /// The generation of a connection's credential, without unsealing it; `None` when it has none any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn generation(&self, owner: ConnectionKey) -> Result<Option<u64>, CredentialError> {
        Ok(self.row(owner)?.map(|row| row.generation))
    }

    /// A connection's credential. Unsealing is audited by whoever asks (promise P8).
    ///
    /// # Errors
    /// [`CredentialError::Missing`] after a revocation; else what kept it from opening.
    pub fn load(&self, owner: ConnectionKey) -> Result<Credential, CredentialError> {
        let row = self.row(owner)?.ok_or(CredentialError::Missing { owner })?;
        let opened = self.vault.credential_open(owner, row.generation, &row.sealed);
        let bytes = opened.map_err(|source| CredentialError::Vault { owner, source })?;
        let malformed = |_| CredentialError::Store { owner, source: StoreError::Malformed { table: Table::Credentials.name() } };
        let mut plain: Plain = postcard::from_bytes(bytes.expose()).map_err(malformed)?;
        let tokens = plain.tokens.as_mut().map(|tokens| Tokens {
            access_token: Secret::new(std::mem::take(&mut tokens.access_token)),
            refresh_token: tokens.refresh_token.take().map(Secret::new),
            expires_at: tokens.expires_at,
            issued_at: tokens.issued_at,
            token_type: std::mem::take(&mut tokens.token_type),
            scopes: std::mem::take(&mut tokens.scopes),
            extra: Secret::new(std::mem::take(&mut tokens.extra)),
        });
        let config = Secret::new(std::mem::take(&mut plain.config));
        Ok(Credential { generation: row.generation, config, tokens, renewal: plain.renewal })
    }

    /// Puts a credential in the place of the generation it was read at; durable before this returns. The new generation.
    ///
    /// `leaf` is the audit entry of the act.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another was first, [`StoreError::GateClosed`] when the connection was stopped: the new
    /// tokens are then to be revoked at the application.
    pub async fn replace(&self, permit: &Permit, credential: &Credential, leaf: Vec<u8>) -> Result<u64, CredentialError> {
        let owner = permit.owner();
        let mut unit = Unit::default();
        unit.fence(owner, permit.epoch()).audit(leaf);
        let generation = self.put(&mut unit, owner, credential)?;
        self.store.commit(unit).await.map_err(|source| CredentialError::Store { owner, source })?;
        Ok(generation)
    }

    /// Adds a replacement to a unit that does more: the first tokens together with the opening of the gate.
    ///
    /// # Errors
    /// When the credential cannot be sealed, or was replaced since it was read.
    pub fn put(&self, unit: &mut Unit, owner: ConnectionKey, credential: &Credential) -> Result<u64, CredentialError> {
        let before = self.row(owner)?;
        let stale = before.as_ref().map_or(0, |row| row.generation) != credential.generation;
        if stale {
            let source = StoreError::Conflict { table: Table::Credentials.name() };
            return Err(CredentialError::Store { owner, source });
        }
        let generation = credential.generation + 1;
        let plain = Plain {
            config: credential.config.expose().clone(),
            tokens: credential.tokens.as_ref().map(|tokens| PlainTokens {
                access_token: tokens.access_token.expose().clone(),
                refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose().clone()),
                expires_at: tokens.expires_at,
                issued_at: tokens.issued_at,
                token_type: tokens.token_type.clone(),
                scopes: tokens.scopes.clone(),
                extra: tokens.extra.expose().clone(),
            }),
            renewal: credential.renewal,
        };
        let malformed = |_| CredentialError::Store { owner, source: StoreError::Malformed { table: Table::Credentials.name() } };
        let bytes = Secret::new(postcard::to_stdvec(&plain).map_err(malformed)?);
        let sealed = self.vault.credential_seal(owner, generation, bytes.expose());
        let sealed = sealed.map_err(|source| CredentialError::Vault { owner, source })?;
        unit.expect(&owner, before.as_ref()).put(&owner, &CredentialRow { generation, sealed });
        Ok(generation)
    }

    fn row(&self, owner: ConnectionKey) -> Result<Option<CredentialRow>, CredentialError> {
        self.store.get::<CredentialRow>(&owner).map_err(|source| CredentialError::Store { owner, source })
    }
}
