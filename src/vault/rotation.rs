//! Rotation: new keys above everything that seals data, under a new master key.
//!
//! A rotation makes a new root key and a new key for each tenant, and wraps everything below anew. The keys that seal data
//! stay, or all data would have to be sealed again. What that achieves, and what it does not, is told in
//! `docs/decisions/0011-rotation.md`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::PoisonError;

use serde::Serialize;

use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::vault::KeyKind;
use crate::vault::MasterKey;
use crate::vault::Slot;
use crate::vault::Vault;
use crate::vault::VaultError;
use crate::vault::extents::extents_cipher;
use crate::vault::hierarchy::Held;
use crate::vault::hierarchy::open_root;
use crate::vault::hierarchy::wrapped_root;
use crate::vault::seal::Cipher;
use crate::vault::seal::Place;
use crate::vault::signing::SigningFile;
use crate::vault::wrapped::WrappedConnection;
use crate::vault::wrapped::WrappedKey;
use crate::vault::wrapped::wrapping;
use crate::vault::wrapped::wrapping_extent;

/// A rotation that has not taken place: the new keys, in memory alone, and what is staged under them.
pub struct Rotation {
    root: Held<Cipher>,
    tenants: BTreeMap<u32, Turned>,
    /// What each staged value was made of.
    staged: BTreeMap<Slot, Digest>,
}

/// The old and the new key of a tenant.
struct Turned {
    before: Cipher,
    after: Held<Cipher>,
}

impl Vault {
    /// Whether the root key opens under this master key.
    ///
    /// # Errors
    /// When the keyring cannot be read.
    pub fn is_under(&self, master: &MasterKey) -> Result<bool, VaultError> {
        let _root = self.root();
        match open_root(&*self.keyring, master) {
            Ok(_) => Ok(true),
            Err(VaultError::WrongMaster) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the keys of a rotation and wraps everything under them, while everybody goes on working. One at a time; one that
    /// is begun and dropped has changed nothing.
    ///
    /// # Errors
    /// When the keyring cannot be read or written.
    pub fn rotation_begin(&self) -> Result<Rotation, VaultError> {
        self.keyring.unstage_all()?;
        let mut rotation = Rotation::new(&self.entropy);
        let mut values = Vec::new();
        for slot in self.keyring.slots()?.into_iter().filter(|slot| *slot != Slot::Root) {
            // What does not work out changed in between, or is damaged: the end looks again, and tells.
            if let Ok(Some(value)) = self.keyring.read(slot)
                && let Ok(wrapped) = rotation.rewrap(&self.root(), &self.entropy, slot, &value)
            {
                rotation.staged.insert(slot, Digest::of(&value));
                values.push((slot, wrapped));
            }
        }
        self.keyring.stage(&values)?;
        Ok(rotation)
    }

    /// Lets a rotation take place: from here on the new master key opens the keyring, and the old one nothing. Keys that were
    /// made or destroyed since the beginning are looked after; whoever uses a key waits for a moment.
    ///
    /// # Errors
    /// When the keyring cannot be written, with nothing changed; but for [`VaultError::TurnUnfinished`], when the new master
    /// key holds and the next opening finishes the rest.
    pub fn rotation_finish(&self, mut rotation: Rotation, new_master: &MasterKey) -> Result<(), VaultError> {
        let change = self.changing();
        self.catch_up(&mut rotation)?;
        let root = wrapped_root(&rotation.root, new_master, &self.entropy);
        self.keyring.stage(&[(Slot::Root, bytes(Slot::Root, &root)?)])?;
        let mut held = self.root.write().unwrap_or_else(PoisonError::into_inner);
        let turned = self.keyring.turn();
        if matches!(turned, Ok(()) | Err(VaultError::TurnUnfinished { .. })) {
            *held = rotation.root;
            self.tenants.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
        drop((held, change));
        turned?;
        self.keyring.settle()
    }

    /// Stages anew what has changed since it was staged; forgets what is gone.
    fn catch_up(&self, rotation: &mut Rotation) -> Result<(), VaultError> {
        let slots: BTreeSet<Slot> = self.keyring.slots()?.into_iter().filter(|slot| *slot != Slot::Root).collect();
        for gone in rotation.staged.keys().filter(|slot| !slots.contains(slot)) {
            self.keyring.unstage(*gone)?;
        }
        let mut values = Vec::new();
        for slot in slots {
            let value = self.keyring.read(slot)?.ok_or(VaultError::Malformed { slot })?;
            if rotation.staged.get(&slot) != Some(&Digest::of(&value)) {
                values.push((slot, rotation.rewrap(&self.root(), &self.entropy, slot, &value)?));
            }
        }
        self.keyring.stage(&values)
    }
}

impl Rotation {
    /// How many keys are wrapped anew, those of extents not counted.
    pub fn keys(&self) -> u64 {
        self.staged.len() as u64
    }

    fn new(entropy: &Entropy) -> Self {
        let root = Held { id: entropy.bytes(), key: Cipher::random(entropy) };
        Rotation { root, tenants: BTreeMap::new(), staged: BTreeMap::new() }
    }

    /// A slot's value under the new keys. Tenants come before what is below them.
    fn rewrap(&mut self, old: &Held<Cipher>, entropy: &Entropy, slot: Slot, value: &[u8]) -> Result<Vec<u8>, VaultError> {
        match slot {
            Slot::Root => Err(VaultError::Malformed { slot }),
            Slot::Signing => {
                let file: SigningFile = read(slot, value)?;
                bytes(slot, &file.rewrapped(&old.key, &self.root.key, entropy).ok_or(VaultError::Malformed { slot })?)
            }
            Slot::Tenant(tenant) => {
                let owner = ConnectionKey { tenant, connection: 0 };
                let WrappedKey { id, wrapped } = read(slot, value)?;
                let before = old.key.unwrap(wrapping("tenant", owner, id), &wrapped).map_err(|_| VaultError::Malformed { slot })?;
                let after = Held { id: entropy.bytes(), key: Cipher::random(entropy) };
                let wrapped = self.root.key.seal(entropy, wrapping("tenant", owner, after.id), after.key.expose());
                let file = WrappedKey { id: after.id, wrapped };
                self.tenants.insert(tenant, Turned { before, after });
                bytes(slot, &file)
            }
            Slot::Connection(owner) => bytes(slot, &self.tenant(owner)?.connection(entropy, slot, owner, read(slot, value)?)?),
            Slot::Credential(owner) => self.tenant(owner)?.key(entropy, slot, wrapping_secret(KeyKind::Credential, owner), value),
            Slot::Revoking(owner) => self.tenant(owner)?.key(entropy, slot, wrapping_secret(KeyKind::Revoking, owner), value),
        }
    }

    fn tenant(&self, owner: ConnectionKey) -> Result<&Turned, VaultError> {
        self.tenants.get(&owner.tenant).ok_or(VaultError::NoKey { what: "tenant", owner })
    }
}

impl Turned {
    fn connection(
        &self,
        entropy: &Entropy,
        slot: Slot,
        owner: ConnectionKey,
        file: WrappedConnection,
    ) -> Result<WrappedConnection, VaultError> {
        let id = file.key.id;
        let key = self.rewrap(entropy, slot, &wrapping("connection", owner, id), &file.key.wrapped)?;
        let (before, after) = (extents_cipher(&self.before, owner, id), extents_cipher(&self.after.key, owner, id));
        let extent = |(number, wrapped): (u32, Vec<u8>)| {
            let detail = number.to_be_bytes();
            let place = wrapping_extent(owner, id, &detail);
            let plain = before.unwrap(place, &wrapped).map_err(|_| VaultError::Malformed { slot })?;
            Ok((number, after.seal(entropy, place, plain.expose())))
        };
        let extents = file.extents.into_iter().map(extent).collect::<Result<_, VaultError>>()?;
        Ok(WrappedConnection { key: WrappedKey { id, wrapped: key }, next: file.next, extents })
    }

    fn key(
        &self,
        entropy: &Entropy,
        slot: Slot,
        place: impl FnOnce([u8; 16]) -> Place<'static>,
        value: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let WrappedKey { id, wrapped } = read(slot, value)?;
        bytes(slot, &WrappedKey { id, wrapped: self.rewrap(entropy, slot, &place(id), &wrapped)? })
    }

    fn rewrap(&self, entropy: &Entropy, slot: Slot, place: &Place<'_>, wrapped: &[u8]) -> Result<Vec<u8>, VaultError> {
        let plain = self.before.unwrap(*place, wrapped).map_err(|_| VaultError::Malformed { slot })?;
        Ok(self.after.key.seal(entropy, *place, plain.expose()))
    }
}

fn wrapping_secret(kind: KeyKind, owner: ConnectionKey) -> impl FnOnce([u8; 16]) -> Place<'static> {
    move |id| wrapping(kind.as_str(), owner, id)
}

fn read<T: serde::de::DeserializeOwned>(slot: Slot, value: &[u8]) -> Result<T, VaultError> {
    postcard::from_bytes(value).map_err(|_| VaultError::Malformed { slot })
}

fn bytes<T: Serialize>(slot: Slot, value: &T) -> Result<Vec<u8>, VaultError> {
    postcard::to_stdvec(value).map_err(|_| VaultError::Malformed { slot })
}
