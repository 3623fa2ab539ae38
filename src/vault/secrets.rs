//! Credentials: each sealed under a key of its own, so that it can be destroyed while the data stays.

use crate::ids::ConnectionKey;
use crate::secret::Secret;
use crate::vault::KeyKind;
use crate::vault::Slot;
use crate::vault::Vault;
use crate::vault::VaultError;
use crate::vault::hierarchy::Held;
use crate::vault::seal::Cipher;
use crate::vault::seal::Place;

impl Vault {
    /// Seals a connection's credential of one generation, under a key that can be destroyed without the data.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] once the credential was.
    pub fn credential_seal(&self, owner: ConnectionKey, generation: u64, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.secret_seal(KeyKind::Credential, owner, generation, plain)
    }

    /// Opens what [`Vault::credential_seal`] sealed.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`], [`VaultError::NoKey`], [`VaultError::Unopened`].
    pub fn credential_open(&self, owner: ConnectionKey, generation: u64, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        self.secret_open(KeyKind::Credential, owner, generation, sealed)
    }

    /// Seals the credential that waits to be revoked at the application.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] once it was.
    pub fn revoking_seal(&self, owner: ConnectionKey, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.secret_seal(KeyKind::Revoking, owner, 0, plain)
    }

    /// Opens what [`Vault::revoking_seal`] sealed.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`], [`VaultError::NoKey`], [`VaultError::Unopened`].
    pub fn revoking_open(&self, owner: ConnectionKey, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        self.secret_open(KeyKind::Revoking, owner, 0, sealed)
    }

    fn secret_seal(&self, kind: KeyKind, owner: ConnectionKey, generation: u64, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let _change = self.changing();
        let held = match self.secret_key(kind, owner)? {
            Some(held) => held,
            None => self.make(secret_slot(kind, owner), kind.as_str(), owner, &self.tenant_of(&self.root(), owner)?.key)?,
        };
        let detail = generation.to_be_bytes();
        Ok(held.key.seal(&self.entropy, Place { purpose: "secret", owner, key: held.id, detail: &detail }, plain))
    }

    fn secret_open(&self, kind: KeyKind, owner: ConnectionKey, generation: u64, sealed: &[u8]) -> Result<Secret<Vec<u8>>, VaultError> {
        let held = self.secret_key(kind, owner)?.ok_or(VaultError::NoKey { what: kind.as_str(), owner })?;
        let detail = generation.to_be_bytes();
        let place = Place { purpose: "secret", owner, key: held.id, detail: &detail };
        held.key.open(place, sealed).map_err(|_| VaultError::Unopened { what: kind.as_str(), owner })
    }

    /// Read from the keyring at each use, so that no copy of it stays in memory.
    fn secret_key(&self, kind: KeyKind, owner: ConnectionKey) -> Result<Option<Held<Cipher>>, VaultError> {
        self.refuse_destroyed(kind, owner)?;
        let root = self.root();
        self.kept(secret_slot(kind, owner), kind.as_str(), owner, &self.tenant_of(&root, owner)?.key)
    }
}

pub(super) fn secret_slot(kind: KeyKind, owner: ConnectionKey) -> Slot {
    if kind == KeyKind::Revoking { Slot::Revoking(owner) } else { Slot::Credential(owner) }
}
