//! Giving a credential up at the application (RFC 7009), after the stop and apart from it.

use std::future::Future;
use std::pin::Pin;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::CredentialFate;
use crate::clock;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::connection::credential::Credential;
use crate::connection::credential::CredentialError;
use crate::ids::ConnectionKey;
use crate::revocation::RETRY_FIRST;
use crate::revocation::Revocations;
use crate::secret::Secret;
use crate::store::Row;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::vault::VaultError;

/// After this the credential is destroyed whether or not the application has answered (promise P2).
const SURRENDER_HOURS_MAX: i64 = 24;

/// What keeps a credential from being given up.
#[derive(Debug, thiserror::Error)]
pub enum SurrenderError {
    /// The application did not take it.
    #[error("the revocation endpoint did not take the credential: {why}")]
    Refused {
        /// What it said, without secrets.
        why: String,
    },
    /// The credential could not be read.
    #[error("the credential is not to be had")]
    Credential(#[from] CredentialError),
    /// It could not be sealed anew.
    #[error("the credential cannot be sealed anew")]
    Vault(#[from] VaultError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// The answer to come of a revocation endpoint.
pub type SurrenderFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SurrenderError>> + Send + 'a>>;

/// How a credential is given up, as authorization knows it.
pub trait Surrender: Send + Sync {
    /// What the revocation endpoint will need, as bytes to be sealed; none when the connector has no such endpoint or the
    /// credential holds nothing to give up.
    fn prepare(&self, connection: &Connection, credential: &Credential) -> Option<Secret<Vec<u8>>>;

    /// Gives it up: the one request that is still allowed, to that endpoint alone.
    fn carry_out<'a>(&'a self, prepared: &'a Secret<Vec<u8>>) -> SurrenderFuture<'a>;
}

/// A credential that waits to be given up, under its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokingRow {
    sealed: Vec<u8>,
    deadline: Timestamp,
}

impl Row for RevokingRow {
    const TABLE: Table = Table::Revoking;
    type Key = ConnectionKey;
}

impl RevokingRow {
    pub(super) fn new(sealed: Vec<u8>, at: Timestamp) -> Self {
        let deadline = at.checked_add(jiff::SignedDuration::from_hours(SURRENDER_HOURS_MAX)).unwrap_or(at);
        RevokingRow { sealed, deadline }
    }
}

impl Revocations {
    /// Seals what the revocation endpoint will need, and says what becomes of the credential.
    pub(super) fn surrendered(&self, connection: &Connection) -> Result<(CredentialFate, Option<Vec<u8>>), SurrenderError> {
        let key = connection.key;
        let credential = match self.connections.credentials().load(key) {
            Ok(credential) => credential,
            Err(CredentialError::Missing { .. }) => return Ok((CredentialFate::None, None)),
            // A credential that does not open cannot be given up; its key is destroyed all the same.
            Err(CredentialError::Vault { .. }) => return Ok((CredentialFate::Destroyed, None)),
            Err(error) => return Err(error.into()),
        };
        match self.surrender.prepare(connection, &credential) {
            Some(prepared) => {
                let sealed = tokio::task::block_in_place(|| self.vault.revoking_seal(key, prepared.expose()))?;
                Ok((CredentialFate::Revoking, Some(sealed)))
            }
            None => Ok((CredentialFate::Destroyed, None)),
        }
    }

    /// Takes up every surrender that is open.
    pub(super) fn surrender_all(&self) {
        match self.store.scan::<RevokingRow>(&[], None, usize::MAX) {
            Ok(rows) => rows.into_iter().for_each(|(key, _)| self.surrender_soon(key)),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "open surrenders cannot be listed"),
        }
    }

    pub(super) fn surrender_soon(&self, key: ConnectionKey) {
        let revocations = self.clone();
        self.tasks.spawn(async move {
            let mut wait = RETRY_FIRST;
            while let Err(error) = revocations.try_surrender(key).await {
                tracing::warn!(connection = %key, error = &error as &dyn std::error::Error, "a revoked credential is not given up yet; it is tried again");
                if !revocations.pause(&mut wait).await {
                    return;
                }
            }
        });
    }

    async fn try_surrender(&self, key: ConnectionKey) -> Result<(), SurrenderError> {
        let Some(row) = self.store.get::<RevokingRow>(&key)? else { return Ok(()) };
        let longest = jiff::SignedDuration::from_hours(SURRENDER_HOURS_MAX);
        let action = if clock::is_over(row.deadline, longest, self.clock.now()) {
            Action::CredentialDestroyed
        } else {
            let prepared = self.vault.revoking_open(key, &row.sealed)?;
            self.surrender.carry_out(&prepared).await?;
            Action::CredentialGivenUp
        };
        tokio::task::block_in_place(|| self.vault.revoking_destroy(key))?;
        let mut unit = Unit::default();
        unit.remove::<RevokingRow>(&key);
        if let Some(connection) = self.store.get::<Connection>(&key)? {
            unit.audit(crate::connection::entry(action, &Actor::System, &connection, self.clock.now()).to_leaf());
        }
        self.store.commit(unit).await?;
        Ok(())
    }
}
