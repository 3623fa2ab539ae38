//! The vault: the hierarchy of keys over a keyring.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::secret::Secret;
use crate::vault::ConnectionKeys;
use crate::vault::DestroyedKey;
use crate::vault::ExtentKey;
use crate::vault::FileKeyring;
use crate::vault::KeyKind;
use crate::vault::Keyring;
use crate::vault::MasterKey;
use crate::vault::PublicKey;
use crate::vault::SigningKey;
use crate::vault::SigningUse;
use crate::vault::Slot;
use crate::vault::VaultError;
use crate::vault::keys::Life;
use crate::vault::seal::Cipher;
use crate::vault::seal::Place;
use crate::vault::signing::SigningFile;

/// The keyring's folder within a data directory.
const FOLDER: &str = "keyring";
/// The extents made at once, so that a connection's file is not written for each.
const EXTENTS_PER_CHUNK: u32 = 16;
/// The most extents of a connection: at 60 bytes a wrapped key, its file stays below 4 MB.
const EXTENTS_MAX: u32 = 65_536;
/// Connections whose keys are held in memory before those that nobody holds are forgotten.
const CONNECTIONS_CACHED_MAX: usize = 4096;

/// The owner of what has none: no tenant and no connection has number zero.
pub(super) const NOBODY: ConnectionKey = ConnectionKey { tenant: 0, connection: 0 };

/// Holds the root key, hands out what can be done with the keys below it, and destroys them.
pub struct Vault {
    pub(super) keyring: Box<dyn Keyring>,
    root: Cipher,
    root_id: [u8; 16],
    entropy: Entropy,
    pub(super) clock: Clock,
    /// Held by whoever changes the keyring.
    change: Mutex<()>,
    pub(super) tenants: RwLock<HashMap<u32, Arc<Held<Cipher>>>>,
    pub(super) connections: RwLock<HashMap<ConnectionKey, Arc<HeldConnection>>>,
    pub(super) destroyed: RwLock<HashMap<(KeyKind, ConnectionKey), Timestamp>>,
}

/// What a destruction destroyed, for the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyedKeys {
    /// The names of the keys: kind, id, and an extent's number.
    pub ids: Vec<String>,
    /// When it was decided.
    pub at: Timestamp,
}

/// The highest numbers that the keyring knows, destroyed ones included; zero for none.
///
/// An older store beside today's keyring counts on from here, so that no number comes twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HighestNumbers {
    /// Of tenants.
    pub tenant: u32,
    /// Of connections.
    pub connection: u32,
}

/// A key and its id.
pub(super) struct Held<K> {
    id: [u8; 16],
    key: K,
}

pub(super) struct HeldConnection {
    pub(super) id: [u8; 16],
    key: Cipher,
    keys: Arc<ConnectionKeys>,
    life: Life,
    pub(super) extents: RwLock<Extents>,
}

#[derive(Clone)]
pub(super) struct Extents {
    next: u32,
    pub(super) made: BTreeMap<u32, Arc<ExtentKey>>,
}

/// The value of [`Slot::Root`], [`Slot::Tenant`], [`Slot::Credential`] and [`Slot::Revoking`].
#[derive(Serialize, Deserialize)]
pub(super) struct WrappedKey {
    pub(super) id: [u8; 16],
    wrapped: Vec<u8>,
}

/// The value of [`Slot::Connection`].
#[derive(Serialize, Deserialize)]
pub(super) struct WrappedConnection {
    pub(super) key: WrappedKey,
    /// The number of the next extent; numbers of destroyed extents do not come again.
    next: u32,
    pub(super) extents: Vec<(u32, Vec<u8>)>,
}

impl Vault {
    /// Makes the keyring of a new data directory: a root key and two signing keys.
    ///
    /// # Errors
    /// [`VaultError::Present`] when there is one already.
    pub fn create(data_dir: &Path, master: &MasterKey, entropy: Entropy, clock: Clock) -> Result<Self, VaultError> {
        let keyring = FileKeyring::create(&data_dir.join(FOLDER), entropy.clone())?;
        Self::create_in(Box::new(keyring), master, entropy, clock)
    }

    /// Opens the keyring of a data directory, and finishes destructions that a crash cut short.
    ///
    /// # Errors
    /// [`VaultError::Missing`], [`VaultError::WrongMaster`], [`VaultError::Corrupt`].
    pub fn open(data_dir: &Path, master: &MasterKey, entropy: Entropy, clock: Clock) -> Result<Self, VaultError> {
        let keyring = FileKeyring::open(&data_dir.join(FOLDER), entropy.clone())?;
        Self::open_in(Box::new(keyring), master, entropy, clock)
    }

    /// [`Vault::create`] over any keyring.
    ///
    /// # Errors
    /// Those of the keyring.
    pub fn create_in(keyring: Box<dyn Keyring>, master: &MasterKey, entropy: Entropy, clock: Clock) -> Result<Self, VaultError> {
        let vault = Self::over(keyring, Held { id: entropy.bytes(), key: Cipher::random(&entropy) }, entropy, clock);
        // The root last: a keyring without it is none, and is made again.
        vault.put(Slot::Signing, &SigningFile::new(&vault.root, &vault.entropy, vault.clock.now()))?;
        vault.rewrap_root(master)?;
        Ok(vault)
    }

    /// [`Vault::open`] over any keyring.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`], and those of the keyring.
    pub fn open_in(keyring: Box<dyn Keyring>, master: &MasterKey, entropy: Entropy, clock: Clock) -> Result<Self, VaultError> {
        let WrappedKey { id, wrapped } = get(&*keyring, Slot::Root)?.ok_or(VaultError::Malformed { slot: Slot::Root })?;
        let key = master_cipher(master).unwrap(wrapping("root", NOBODY, id), &wrapped).map_err(|_| VaultError::WrongMaster)?;
        let vault = Self::over(keyring, Held { id, key }, entropy, clock);
        vault.replay_destroyed()?;
        Ok(vault)
    }

    /// Wraps the root key under a new master key. The old wrapping is overwritten; with the old master key destroyed where
    /// it lay, whatever old copies of key files exist on the medium are worth nothing.
    ///
    /// # Errors
    /// When the keyring cannot be written; the old master key then still holds.
    pub fn rewrap_root(&self, new_master: &MasterKey) -> Result<(), VaultError> {
        let _change = self.changing();
        let place = wrapping("root", NOBODY, self.root_id);
        let wrapped = master_cipher(new_master).seal(&self.entropy, place, self.root.expose());
        self.put(Slot::Root, &WrappedKey { id: self.root_id, wrapped })
    }

    /// Makes sure that a tenant has a key.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] for a tenant that was erased.
    pub fn tenant_ensure(&self, tenant: u32) -> Result<(), VaultError> {
        let _change = self.changing();
        if self.tenant(tenant)?.is_none() {
            self.make(Slot::Tenant(tenant), "tenant", ConnectionKey { tenant, connection: 0 }, &self.root)?;
        }
        Ok(())
    }

    /// Makes a connection's key. The tenant must have one.
    ///
    /// # Errors
    /// [`VaultError::Taken`] when the number has a key, [`VaultError::Destroyed`] when it had one.
    pub fn connection_create(&self, owner: ConnectionKey) -> Result<(), VaultError> {
        let _change = self.changing();
        self.refuse_destroyed(KeyKind::Connection, owner)?;
        if self.keyring.read(Slot::Connection(owner))?.is_some() {
            return Err(VaultError::Taken { owner });
        }
        let tenant = self.tenant_of(owner)?;
        let (key, id) = (Cipher::random(&self.entropy), self.entropy.bytes());
        let wrapped = tenant.key.seal(&self.entropy, wrapping("connection", owner, id), key.expose());
        self.put(Slot::Connection(owner), &WrappedConnection { key: WrappedKey { id, wrapped }, next: 0, extents: Vec::new() })
    }

    /// What can be done with a connection's key.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`], [`VaultError::NoKey`].
    pub fn connection(&self, owner: ConnectionKey) -> Result<Arc<ConnectionKeys>, VaultError> {
        Ok(Arc::clone(&self.held(owner)?.keys))
    }

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

    /// Destroys the key of a connection's credential, for good: none is made again.
    ///
    /// # Errors
    /// When the list or the file cannot be written; opening the vault then finishes what was listed.
    pub fn credential_destroy(&self, owner: ConnectionKey) -> Result<DestroyedKeys, VaultError> {
        self.destroy(KeyKind::Credential, owner)
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

    /// Whether the key of a connection's credential was destroyed, alone or with the connection.
    pub fn is_credential_destroyed(&self, owner: ConnectionKey) -> bool {
        self.gone(KeyKind::Credential, owner).is_some()
    }

    /// Every key that was ever destroyed, oldest first: what a restore of an older keyring needs.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn destroyed_list(&self) -> Result<Vec<DestroyedKey>, VaultError> {
        self.keyring.destroyed()
    }

    /// The highest numbers of tenants and connections that ever had a key.
    ///
    /// # Errors
    /// When the keyring cannot be listed.
    pub fn highest_numbers(&self) -> Result<HighestNumbers, VaultError> {
        let mut highest = HighestNumbers::default();
        let mut see = |tenant: u32, connection: u32| {
            highest.tenant = highest.tenant.max(tenant);
            highest.connection = highest.connection.max(connection);
        };
        for slot in self.keyring.slots()? {
            match slot {
                Slot::Root | Slot::Signing => {}
                Slot::Tenant(tenant) => see(tenant, 0),
                Slot::Connection(key) | Slot::Credential(key) | Slot::Revoking(key) => see(key.tenant, key.connection),
            }
        }
        for (_, owner) in self.destroyed.read().unwrap_or_else(PoisonError::into_inner).keys() {
            see(owner.tenant, owner.connection);
        }
        Ok(highest)
    }

    /// The key that signs statements or notes now.
    ///
    /// # Errors
    /// When the keyring's value is missing or damaged.
    pub fn signing_key(&self, signs: SigningUse) -> Result<SigningKey, VaultError> {
        self.signing()?.current(signs, &self.root)
    }

    /// The name under which this installation signs: the origin of its log.
    ///
    /// # Errors
    /// When the keyring's value is missing or damaged.
    pub fn signing_origin(&self) -> Result<String, VaultError> {
        Ok(self.signing()?.origin)
    }

    /// The verification keys, retired ones included.
    ///
    /// # Errors
    /// When the keyring's value is missing or damaged.
    pub fn public_keys(&self) -> Result<Vec<PublicKey>, VaultError> {
        Ok(self.signing()?.public())
    }

    /// Puts a new signing key in the place of the one that signs now, which is retired: it stays listed, and cannot sign.
    ///
    /// # Errors
    /// When the keyring cannot be read or written.
    pub fn signing_rotate(&self, signs: SigningUse) -> Result<(), VaultError> {
        let _change = self.changing();
        let mut file = self.signing()?;
        file.add(signs, &self.root, &self.entropy, self.clock.now());
        self.put(Slot::Signing, &file)
    }
}

impl Vault {
    fn over(keyring: Box<dyn Keyring>, root: Held<Cipher>, entropy: Entropy, clock: Clock) -> Self {
        Vault {
            keyring,
            root: root.key,
            root_id: root.id,
            entropy,
            clock,
            change: Mutex::default(),
            tenants: RwLock::default(),
            connections: RwLock::default(),
            destroyed: RwLock::default(),
        }
    }

    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put<T: Serialize>(&self, slot: Slot, value: &T) -> Result<(), VaultError> {
        let bytes = postcard::to_stdvec(value).map_err(|_| VaultError::Malformed { slot })?;
        self.keyring.write(slot, &bytes)
    }

    fn signing(&self) -> Result<SigningFile, VaultError> {
        get(&*self.keyring, Slot::Signing)?.ok_or(VaultError::Malformed { slot: Slot::Signing })
    }

    /// Makes and keeps a key that `above` wraps.
    fn make(&self, slot: Slot, what: &'static str, owner: ConnectionKey, above: &Cipher) -> Result<Held<Cipher>, VaultError> {
        let (key, id) = (Cipher::random(&self.entropy), self.entropy.bytes());
        let wrapped = above.seal(&self.entropy, wrapping(what, owner, id), key.expose());
        self.put(slot, &WrappedKey { id, wrapped })?;
        Ok(Held { id, key })
    }

    /// The key in a slot that `above` wraps, when there is one.
    fn kept(&self, slot: Slot, what: &'static str, owner: ConnectionKey, above: &Cipher) -> Result<Option<Held<Cipher>>, VaultError> {
        let Some(WrappedKey { id, wrapped }) = get(&*self.keyring, slot)? else { return Ok(None) };
        let key = above.unwrap(wrapping(what, owner, id), &wrapped).map_err(|_| VaultError::Malformed { slot })?;
        Ok(Some(Held { id, key }))
    }

    fn tenant(&self, tenant: u32) -> Result<Option<Arc<Held<Cipher>>>, VaultError> {
        let owner = ConnectionKey { tenant, connection: 0 };
        self.refuse_destroyed(KeyKind::Tenant, owner)?;
        if let Some(held) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return Ok(Some(Arc::clone(held)));
        }
        let Some(held) = self.kept(Slot::Tenant(tenant), "tenant", owner, &self.root)?.map(Arc::new) else { return Ok(None) };
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        // Within the cache's lock: a destruction notes itself before it clears the cache.
        self.refuse_destroyed(KeyKind::Tenant, owner)?;
        if tenants.len() >= CONNECTIONS_CACHED_MAX {
            tenants.clear();
        }
        tenants.insert(tenant, Arc::clone(&held));
        Ok(Some(held))
    }

    fn tenant_of(&self, owner: ConnectionKey) -> Result<Arc<Held<Cipher>>, VaultError> {
        self.tenant(owner.tenant)?.ok_or(VaultError::NoKey { what: "tenant", owner })
    }

    pub(super) fn held(&self, owner: ConnectionKey) -> Result<Arc<HeldConnection>, VaultError> {
        self.refuse_destroyed(KeyKind::Connection, owner)?;
        if let Some(held) = self.connections.read().unwrap_or_else(PoisonError::into_inner).get(&owner) {
            return Ok(Arc::clone(held));
        }
        // Read within the cache's lock: two copies would not know of each other's extents, and one made from a file read
        // before a destruction would outlive it.
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = connections.get(&owner) {
            return Ok(Arc::clone(held));
        }
        self.refuse_destroyed(KeyKind::Connection, owner)?;
        if connections.len() >= CONNECTIONS_CACHED_MAX {
            connections.retain(|_, held| Arc::strong_count(held) > 1 || !held.is_idle());
        }
        let held = Arc::new(self.load(owner)?);
        connections.insert(owner, Arc::clone(&held));
        Ok(held)
    }

    fn load(&self, owner: ConnectionKey) -> Result<HeldConnection, VaultError> {
        let slot = Slot::Connection(owner);
        let file: Option<WrappedConnection> = get(&*self.keyring, slot)?;
        let WrappedConnection { key: WrappedKey { id, wrapped }, next, extents } =
            file.ok_or(VaultError::NoKey { what: "connection", owner })?;
        let tenant = self.tenant_of(owner)?;
        let unreadable = |_| VaultError::Malformed { slot };
        let key = tenant.key.unwrap(wrapping("connection", owner, id), &wrapped).map_err(unreadable)?;
        let extent = |(number, wrapped): (u32, Vec<u8>)| {
            let detail = number.to_be_bytes();
            let extent = key.unwrap(wrapping_extent(owner, id, &detail), &wrapped).map_err(unreadable)?;
            Ok((number, Arc::new(self.extent_key(owner, id, number, extent))))
        };
        let made = extents.into_iter().map(extent).collect::<Result<_, VaultError>>()?;
        let life = Life::default();
        let keys = Arc::new(ConnectionKeys::new(owner, id, &key, life.clone(), self.entropy.clone()));
        Ok(HeldConnection { id, key, keys, life, extents: RwLock::new(Extents { next, made }) })
    }

    fn extent_key(&self, owner: ConnectionKey, id: [u8; 16], number: u32, key: Cipher) -> ExtentKey {
        ExtentKey::new(owner, id, number, key, Life::default(), self.entropy.clone())
    }

    /// Writes a connection's file with these extents, then lets them be seen.
    pub(super) fn put_extents(&self, owner: ConnectionKey, held: &HeldConnection, extents: Extents) -> Result<(), VaultError> {
        let tenant = self.tenant_of(owner)?;
        let wrapped = tenant.key.seal(&self.entropy, wrapping("connection", owner, held.id), held.key.expose());
        let wrap = |(number, extent): (&u32, &Arc<ExtentKey>)| {
            let detail = number.to_be_bytes();
            (*number, held.key.seal(&self.entropy, wrapping_extent(owner, held.id, &detail), extent.key().expose()))
        };
        let key = WrappedKey { id: held.id, wrapped };
        let file = WrappedConnection { key, next: extents.next, extents: extents.made.iter().map(wrap).collect() };
        self.put(Slot::Connection(owner), &file)?;
        *held.extents.write().unwrap_or_else(PoisonError::into_inner) = extents;
        Ok(())
    }

    fn secret_seal(&self, kind: KeyKind, owner: ConnectionKey, generation: u64, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let _change = self.changing();
        let held = match self.secret_key(kind, owner)? {
            Some(held) => held,
            None => self.make(secret_slot(kind, owner), kind.as_str(), owner, &self.tenant_of(owner)?.key)?,
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
        self.kept(secret_slot(kind, owner), kind.as_str(), owner, &self.tenant_of(owner)?.key)
    }
}

impl HeldConnection {
    fn is_idle(&self) -> bool {
        let extents = self.extents.read().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(&self.keys) == 1 && extents.made.values().all(|extent| Arc::strong_count(extent) == 1)
    }

    pub(super) fn end(&self) {
        self.life.end();
        self.extents.read().unwrap_or_else(PoisonError::into_inner).made.values().for_each(|extent| extent.end());
    }
}

impl DestroyedKeys {
    pub(super) fn of(keys: &[DestroyedKey], at: Timestamp) -> Self {
        DestroyedKeys { ids: keys.iter().map(DestroyedKey::to_string).collect(), at }
    }
}

pub(super) fn get<T: DeserializeOwned>(keyring: &dyn Keyring, slot: Slot) -> Result<Option<T>, VaultError> {
    let read = keyring.read(slot)?;
    read.map(|bytes| postcard::from_bytes(&bytes).map_err(|_| VaultError::Malformed { slot })).transpose()
}

pub(super) fn secret_slot(kind: KeyKind, owner: ConnectionKey) -> Slot {
    if kind == KeyKind::Revoking { Slot::Revoking(owner) } else { Slot::Credential(owner) }
}

fn wrapping(what: &'static str, owner: ConnectionKey, id: [u8; 16]) -> Place<'static> {
    Place { purpose: what, owner, key: id, detail: b"wrapped" }
}

fn wrapping_extent(owner: ConnectionKey, id: [u8; 16], number: &[u8; 4]) -> Place<'_> {
    Place { purpose: "extent", owner, key: id, detail: number }
}

fn master_cipher(master: &MasterKey) -> Cipher {
    Cipher::new(Secret::new(*master.expose()))
}

#[cfg(test)]
impl Vault {
    /// Every key that encrypts, plain, for the test that searches for them.
    pub(super) fn plain_keys(&self, owners: &[ConnectionKey]) -> Vec<[u8; 32]> {
        let mut keys = vec![*self.root.expose()];
        for owner in owners {
            let held = self.held(*owner).expect("a connection of the test");
            keys.push(*held.key.expose());
            let extents = held.extents.read().expect("no panic before");
            keys.extend(extents.made.values().map(|extent| *extent.key().expose()));
        }
        keys.extend(self.tenants.read().expect("no panic before").values().map(|tenant| *tenant.key.expose()));
        keys
    }
}
