//! The keys of extents: many to a connection, in its one file, made by the chunk and destroyed one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::PoisonError;

use data_encoding::HEXLOWER;

use crate::ids::ConnectionKey;
use crate::vault::DestroyedKey;
use crate::vault::DestroyedKeys;
use crate::vault::ExtentKey;
use crate::vault::KeyKind;
use crate::vault::Slot;
use crate::vault::Vault;
use crate::vault::VaultError;
use crate::vault::hierarchy::HeldConnection;
use crate::vault::keys::Life;
use crate::vault::seal::Cipher;
use crate::vault::wrapped::WrappedConnection;
use crate::vault::wrapped::WrappedKey;
use crate::vault::wrapped::wrapping;
use crate::vault::wrapped::wrapping_extent;

/// The extents made at once, so that a connection's file is not written for each.
const EXTENTS_PER_CHUNK: u32 = 16;
/// The most extents of a connection: at 60 bytes a wrapped key, its file stays below 4 MB.
const EXTENTS_MAX: u32 = 65_536;

/// The extents of a connection that is held in memory.
#[derive(Clone)]
pub(super) struct Extents {
    pub(super) next: u32,
    pub(super) made: BTreeMap<u32, Arc<ExtentKey>>,
}

impl Vault {
    /// The key of extent `number`.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] for one that was destroyed, [`VaultError::NoKey`] for one that was never made.
    pub fn extent(&self, owner: ConnectionKey, number: u32) -> Result<Arc<ExtentKey>, VaultError> {
        let held = self.held(owner)?;
        let extents = held.extents.read().unwrap_or_else(PoisonError::into_inner);
        match extents.made.get(&number) {
            Some(extent) => Ok(Arc::clone(extent)),
            None if number < extents.next => Err(VaultError::Destroyed { what: "extent", owner }),
            None => Err(VaultError::NoKey { what: "extent", owner }),
        }
    }

    /// The next extent after `last`, the connection's last that was used, made when there is none ready; durable before
    /// this returns. Asked again with the same `last`, as after a crash, it is the same extent.
    ///
    /// # Errors
    /// [`VaultError::TooManyExtents`], and those of [`Vault::connection`].
    pub fn extent_create(&self, owner: ConnectionKey, last: Option<u32>) -> Result<(u32, Arc<ExtentKey>), VaultError> {
        let _change = self.changing();
        let held = self.held(owner)?;
        let first = last.map_or(0, |last| last.saturating_add(1));
        let mut extents = held.extents.read().unwrap_or_else(PoisonError::into_inner).clone();
        if extents.made.range(first..).next().is_none() {
            let end = extents.next.max(first).saturating_add(EXTENTS_PER_CHUNK);
            if end > EXTENTS_MAX {
                return Err(VaultError::TooManyExtents { owner, limit: EXTENTS_MAX });
            }
            for number in extents.next.max(first)..end {
                extents.made.insert(number, Arc::new(self.extent_key(owner, held.id, number, Cipher::random(&self.entropy))));
            }
            extents.next = end;
            self.put_extents(owner, &held, extents.clone())?;
        }
        let (number, extent) = extents.made.range(first..).next().ok_or(VaultError::NoKey { what: "extent", owner })?;
        Ok((*number, Arc::clone(extent)))
    }

    /// Destroys the keys of some extents, after whose survivors were sealed anew elsewhere; the connection stays.
    ///
    /// # Errors
    /// When the list or the file cannot be written; opening the vault then finishes what was listed.
    pub fn extents_destroy(&self, owner: ConnectionKey, numbers: &[u32]) -> Result<DestroyedKeys, VaultError> {
        let _change = self.changing();
        let held = self.held(owner)?;
        let mut extents = held.extents.read().unwrap_or_else(PoisonError::into_inner).clone();
        let at = self.clock.now();
        let there = numbers.iter().copied().filter(|number| extents.made.contains_key(number));
        let gone: Vec<_> = there.map(|extent| DestroyedKey { kind: KeyKind::Extent, owner, extent, id: held.id, at }).collect();
        self.keyring.record_destroyed(&gone)?;
        for number in numbers {
            if let Some(extent) = extents.made.remove(number) {
                extent.end();
            }
        }
        self.put_extents(owner, &held, extents)?;
        Ok(DestroyedKeys::of(&gone, at))
    }

    pub(super) fn extent_key(&self, owner: ConnectionKey, id: [u8; 16], number: u32, key: Cipher) -> ExtentKey {
        ExtentKey::new(owner, id, number, key, Life::default(), self.entropy.clone())
    }

    /// Writes a connection's file with these extents, then lets them be seen.
    pub(super) fn put_extents(&self, owner: ConnectionKey, held: &HeldConnection, extents: Extents) -> Result<(), VaultError> {
        let tenant = self.tenant_of(&self.root(), owner)?;
        let wraps_extents = extents_cipher(&tenant.key, owner, held.id);
        let wrapped = tenant.key.seal(&self.entropy, wrapping("connection", owner, held.id), held.key.expose());
        let wrap = |(number, extent): (&u32, &Arc<ExtentKey>)| {
            let detail = number.to_be_bytes();
            (*number, wraps_extents.seal(&self.entropy, wrapping_extent(owner, held.id, &detail), extent.key().expose()))
        };
        let key = WrappedKey { id: held.id, wrapped };
        let file = WrappedConnection { key, next: extents.next, extents: extents.made.iter().map(wrap).collect() };
        self.put(Slot::Connection(owner), &file)?;
        *held.extents.write().unwrap_or_else(PoisonError::into_inner) = extents;
        Ok(())
    }
}

/// What wraps the keys of a connection's extents. Derived from the tenant's key, so that a rotation changes it: under the
/// connection's own key, which stays, an old copy of a destroyed extent's wrapping would open for ever.
pub(super) fn extents_cipher(tenant: &Cipher, owner: ConnectionKey, id: [u8; 16]) -> Cipher {
    Cipher::new(tenant.derive(&format!("extents of {owner} {}", HEXLOWER.encode(&id))))
}
