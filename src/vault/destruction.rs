//! The destruction of keys: listed first, durably; then held copies end; then the files are wiped. Opening the vault goes
//! through the list again, so a crash between two of these steps changes nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::PoisonError;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::vault::DestroyedKey;
use crate::vault::KeyKind;
use crate::vault::Slot;
use crate::vault::Vault;
use crate::vault::VaultError;
use crate::vault::list;
use crate::vault::secrets::secret_slot;
use crate::vault::wrapped::WrappedConnection;
use crate::vault::wrapped::WrappedKey;
use crate::vault::wrapped::get;

/// The most keys that a destruction names one by one: a certificate is a page, and the keys below a tenant's may be thousands.
const KEYS_NAMED_MAX: usize = 200;

/// What a destruction destroyed, for the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyedKeys {
    /// The names of the keys: kind, id, and an extent's number; of many extents the first and the last, and behind the last name
    /// how many more there are.
    pub ids: Vec<String>,
    /// When it was decided.
    pub at: Timestamp,
}

impl Vault {
    /// Destroys the key of a connection's credential, for good: none is made again.
    ///
    /// # Errors
    /// When the list or the file cannot be written; opening the vault then finishes what was listed.
    pub fn credential_destroy(&self, owner: ConnectionKey) -> Result<DestroyedKeys, VaultError> {
        self.destroy(KeyKind::Credential, owner)
    }

    /// Destroys the key of the credential that waited to be revoked.
    ///
    /// # Errors
    /// When the list or the file cannot be written; opening the vault then finishes what was listed.
    pub fn revoking_destroy(&self, owner: ConnectionKey) -> Result<DestroyedKeys, VaultError> {
        self.destroy(KeyKind::Revoking, owner)
    }

    /// Destroys a connection's keys: its own, its extents', its credentials'. Copies that are held stop sealing and opening
    /// before this returns.
    ///
    /// # Errors
    /// When the list or a file cannot be written; opening the vault then finishes what was listed.
    pub fn connection_destroy(&self, owner: ConnectionKey) -> Result<DestroyedKeys, VaultError> {
        self.destroy(KeyKind::Connection, owner)
    }

    /// Destroys a tenant's key and the keys of all its connections.
    ///
    /// # Errors
    /// When the list or a file cannot be written; opening the vault then finishes what was listed.
    pub fn tenant_destroy(&self, tenant: u32) -> Result<DestroyedKeys, VaultError> {
        self.destroy(KeyKind::Tenant, ConnectionKey { tenant, connection: 0 })
    }

    /// Whether a connection's key was destroyed, by itself or with its tenant's.
    pub fn is_destroyed(&self, owner: ConnectionKey) -> bool {
        self.destroyed_at(owner).is_some()
    }

    /// When the destruction of a connection's key was decided.
    pub fn destroyed_at(&self, owner: ConnectionKey) -> Option<Timestamp> {
        self.gone(KeyKind::Connection, owner)
    }

    /// When the destruction of a tenant's key was decided.
    pub fn tenant_destroyed_at(&self, tenant: u32) -> Option<Timestamp> {
        self.gone(KeyKind::Tenant, ConnectionKey { tenant, connection: 0 })
    }

    /// Every key that was ever destroyed, oldest first: what a restore of an older keyring needs.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn destroyed_list(&self) -> Result<Vec<DestroyedKey>, VaultError> {
        self.keyring.destroyed()
    }

    /// That list in the form of the file `keyring/destroyed`.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn destroyed_bytes(&self) -> Result<Vec<u8>, VaultError> {
        Ok(self.keyring.destroyed()?.iter().flat_map(list::entry).collect())
    }

    /// Adds what another copy of the list knows and this keyring does not: a keyring that is older than a backup loses again
    /// what was destroyed before that. How many there were; the next opening destroys the keys themselves.
    ///
    /// # Errors
    /// [`VaultError::Corrupt`] when the bytes are no such list, and when the keyring's list cannot be written.
    pub fn record_destroyed_elsewhere(&self, path: &Path, bytes: &[u8]) -> Result<usize, VaultError> {
        let _change = self.changing();
        let other = list::read(bytes).ok_or_else(|| VaultError::Corrupt { path: path.to_owned() })?;
        let known = self.keyring.destroyed()?;
        let unknown: Vec<DestroyedKey> = other.into_iter().filter(|key| !known.contains(key)).collect();
        if !unknown.is_empty() {
            self.keyring.record_destroyed(&unknown)?;
            self.note_destroyed(&unknown);
        }
        Ok(unknown.len())
    }

    fn destroy(&self, kind: KeyKind, owner: ConnectionKey) -> Result<DestroyedKeys, VaultError> {
        let _change = self.changing();
        // The list keeps whole milliseconds.
        let now = self.clock.now();
        let at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let is_first = self.gone(kind, owner).is_none();
        let slots = self.slots_under(kind, owner)?;
        let mut gone = Vec::new();
        for (kind, owner, slot) in slots.iter().copied() {
            gone.extend(self.entries(kind, owner, slot, at)?);
        }
        // Nothing was there: the promise that nothing will be is listed all the same.
        if !gone.iter().any(|key| key.kind == kind && key.owner == owner) && is_first {
            gone.push(DestroyedKey { kind, owner, extent: 0, id: [0; 16], at });
        }
        self.keyring.record_destroyed(&gone)?;
        self.note_destroyed(&gone);
        for (_, _, slot) in slots {
            self.keyring.destroy(slot)?;
        }
        if is_first { Ok(DestroyedKeys::of(&gone, at)) } else { self.first_destruction(kind, owner) }
    }

    /// What the list says of a destruction, when this is the second time that it was asked for.
    fn first_destruction(&self, kind: KeyKind, owner: ConnectionKey) -> Result<DestroyedKeys, VaultError> {
        let list = self.keyring.destroyed()?;
        let same = |key: &&DestroyedKey| key.kind == kind && key.owner == owner;
        let at = list.iter().find(same).map_or_else(|| self.clock.now(), |key| key.at);
        let within = |key: &&DestroyedKey| match kind {
            KeyKind::Tenant => key.owner.tenant == owner.tenant,
            KeyKind::Connection => key.owner == owner,
            KeyKind::Extent | KeyKind::Credential | KeyKind::Revoking => key.owner == owner && key.kind == kind,
        };
        let batch: Vec<_> = list.iter().filter(within).filter(|key| key.at == at).cloned().collect();
        Ok(DestroyedKeys::of(&batch, at))
    }

    /// The slots that go with a key: its own, and all below it.
    fn slots_under(&self, kind: KeyKind, owner: ConnectionKey) -> Result<Vec<(KeyKind, ConnectionKey, Slot)>, VaultError> {
        let of_connection = |owner| {
            [
                (KeyKind::Connection, owner, Slot::Connection(owner)),
                (KeyKind::Credential, owner, Slot::Credential(owner)),
                (KeyKind::Revoking, owner, Slot::Revoking(owner)),
            ]
        };
        let mut under = match kind {
            KeyKind::Tenant => {
                let mut under = vec![(kind, owner, Slot::Tenant(owner.tenant))];
                let owners = self.keyring.slots()?;
                let owners = owners.iter().filter_map(|slot| slot.connection()).filter(|key| key.tenant == owner.tenant);
                let owners: BTreeSet<_> = owners.collect();
                under.extend(owners.into_iter().flat_map(of_connection));
                under
            }
            KeyKind::Connection => of_connection(owner).to_vec(),
            KeyKind::Credential | KeyKind::Revoking | KeyKind::Extent => vec![(kind, owner, secret_slot(kind, owner))],
        };
        // Looked at one by one: a list of all slots for each of ten thousand revocations would be a hundred million names. One
        // that does not read back is occupied, and is to be destroyed all the more.
        under.retain(|(_, _, slot)| !matches!(self.keyring.read(*slot), Ok(None)));
        Ok(under)
    }

    /// What the list says of one slot: its key, and of a connection its extents' keys too.
    fn entries(&self, kind: KeyKind, owner: ConnectionKey, slot: Slot, at: Timestamp) -> Result<Vec<DestroyedKey>, VaultError> {
        let entry = |kind, extent, id| DestroyedKey { kind, owner, extent, id, at };
        // Only ids are read, so that a key whose wrapping is damaged can still be destroyed.
        if let Slot::Connection(_) = slot {
            let Ok(Some(file)) = get::<WrappedConnection>(&*self.keyring, slot) else { return Ok(vec![entry(kind, 0, [0; 16])]) };
            let extents = file.extents.iter().map(|(number, _)| entry(KeyKind::Extent, *number, file.key.id));
            return Ok([entry(kind, 0, file.key.id)].into_iter().chain(extents).collect());
        }
        let id = get::<WrappedKey>(&*self.keyring, slot).ok().flatten().map_or([0; 16], |file| file.id);
        Ok(vec![entry(kind, 0, id)])
    }

    /// Lets every later use fail, and ends what is held.
    fn note_destroyed(&self, keys: &[DestroyedKey]) {
        let mut destroyed = self.destroyed.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys.iter().filter(|key| key.kind != KeyKind::Extent) {
            destroyed.entry((key.kind, key.owner)).or_insert(key.at);
        }
        drop(destroyed);
        for key in keys {
            match key.kind {
                KeyKind::Tenant => drop(self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(&key.owner.tenant)),
                KeyKind::Connection => {
                    let held = self.connections.write().unwrap_or_else(PoisonError::into_inner).remove(&key.owner);
                    if let Some(held) = held {
                        held.end();
                    }
                }
                KeyKind::Extent | KeyKind::Credential | KeyKind::Revoking => {}
            }
        }
    }

    /// At open: remembers what is destroyed, and takes listed extents out of files that still have them.
    pub(super) fn replay_destroyed(&self) -> Result<(), VaultError> {
        let list = self.keyring.destroyed()?;
        self.note_destroyed(&list);
        let mut extents: BTreeMap<ConnectionKey, Vec<DestroyedKey>> = BTreeMap::new();
        for key in list.into_iter().filter(|key| key.kind == KeyKind::Extent && !self.is_destroyed(key.owner)) {
            extents.entry(key.owner).or_default().push(key);
        }
        for (owner, gone) in extents {
            let held = match self.held(owner) {
                // Neither keys nor a word of their destruction: whoever asks for them is told; the rest is served.
                Err(VaultError::NoKey { .. }) => continue,
                held => held?,
            };
            let mut extents = held.extents.read().unwrap_or_else(PoisonError::into_inner).clone();
            let before = extents.made.len();
            extents.made.retain(|number, _| !gone.iter().any(|key| key.extent == *number && key.id == held.id));
            if extents.made.len() < before {
                self.put_extents(owner, &held, extents)?;
            }
        }
        Ok(())
    }

    pub(super) fn gone(&self, kind: KeyKind, owner: ConnectionKey) -> Option<Timestamp> {
        let destroyed = self.destroyed.read().unwrap_or_else(PoisonError::into_inner);
        let tenant = ConnectionKey { connection: 0, ..owner };
        let with = [(KeyKind::Tenant, tenant), (KeyKind::Connection, owner), (kind, owner)];
        with.iter().find_map(|key| destroyed.get(key).copied())
    }

    pub(super) fn refuse_destroyed(&self, kind: KeyKind, owner: ConnectionKey) -> Result<(), VaultError> {
        self.gone(kind, owner).map_or(Ok(()), |_| Err(VaultError::Destroyed { what: kind.as_str(), owner }))
    }
}

impl DestroyedKeys {
    pub(super) fn of(keys: &[DestroyedKey], at: Timestamp) -> Self {
        let mut ids: Vec<String> = keys.chunk_by(continues).take(KEYS_NAMED_MAX).map(named).collect();
        let more = keys.chunk_by(continues).skip(KEYS_NAMED_MAX).map(<[_]>::len).sum::<usize>();
        if more > 0 {
            ids.push(format!("and {more} more below them"));
        }
        DestroyedKeys { ids, at }
    }
}

/// Whether one extent follows another in the same connection.
fn continues(one: &DestroyedKey, next: &DestroyedKey) -> bool {
    let extents = one.kind == KeyKind::Extent && next.kind == KeyKind::Extent;
    extents && (one.owner, one.id, one.extent.checked_add(1)) == (next.owner, next.id, Some(next.extent))
}

/// The name of a key, or of a run of extents: `extent/ID/0-15`.
fn named(keys: &[DestroyedKey]) -> String {
    match keys {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{}", last.extent),
        [] => String::new(),
    }
}
