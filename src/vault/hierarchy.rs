//! The vault: the hierarchy of keys over a keyring.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;

use serde::Serialize;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::secret::Secret;
use crate::vault::ConnectionKeys;
use crate::vault::FileKeyring;
use crate::vault::KeyKind;
use crate::vault::Keyring;
use crate::vault::MasterKey;
use crate::vault::Slot;
use crate::vault::VaultError;
use crate::vault::extents::Extents;
use crate::vault::extents::extents_cipher;
use crate::vault::keys::Life;
use crate::vault::seal::Cipher;
use crate::vault::signing::SigningFile;
use crate::vault::wrapped::NOBODY;
use crate::vault::wrapped::WrappedConnection;
use crate::vault::wrapped::WrappedKey;
use crate::vault::wrapped::get;
use crate::vault::wrapped::wrapping;
use crate::vault::wrapped::wrapping_extent;

/// The keyring's folder within a data directory.
pub(super) const FOLDER: &str = "keyring";
/// Connections whose keys are held in memory before those that nobody holds are forgotten.
const CONNECTIONS_CACHED_MAX: usize = 4096;

/// Holds the root key, hands out what can be done with the keys below it, and destroys them.
pub struct Vault {
    pub(super) keyring: Box<dyn Keyring>,
    /// Held shared by whoever reads a key and unwraps it with the one above, so that a rotation does not come between.
    pub(super) root: RwLock<Held<Cipher>>,
    pub(super) entropy: Entropy,
    pub(super) clock: Clock,
    /// Held by whoever changes the keyring.
    change: Mutex<()>,
    pub(super) tenants: RwLock<HashMap<u32, Arc<Held<Cipher>>>>,
    pub(super) connections: RwLock<HashMap<ConnectionKey, Arc<HeldConnection>>>,
    pub(super) destroyed: RwLock<HashMap<(KeyKind, ConnectionKey), Timestamp>>,
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
    pub(super) id: [u8; 16],
    pub(super) key: K,
}

pub(super) struct HeldConnection {
    pub(super) id: [u8; 16],
    pub(super) key: Cipher,
    keys: Arc<ConnectionKeys>,
    life: Life,
    pub(super) extents: RwLock<Extents>,
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

    /// Whether a data directory has a keyring. One whose making was cut short by a crash is none: no key of it was ever used.
    pub fn is_in(data_dir: &Path) -> bool {
        FileKeyring::is_complete(&data_dir.join(FOLDER))
    }

    /// [`Vault::create`] over any keyring.
    ///
    /// # Errors
    /// Those of the keyring.
    pub fn create_in(keyring: Box<dyn Keyring>, master: &MasterKey, entropy: Entropy, clock: Clock) -> Result<Self, VaultError> {
        let vault = Self::over(keyring, Held { id: entropy.bytes(), key: Cipher::random(&entropy) }, entropy, clock);
        // The root last: a keyring without it is none, and is made again.
        vault.put(Slot::Signing, &SigningFile::new(&vault.root().key, &vault.entropy, vault.clock.now()))?;
        let root = wrapped_root(&vault.root(), master, &vault.entropy);
        vault.put(Slot::Root, &root)?;
        Ok(vault)
    }

    /// [`Vault::open`] over any keyring.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`], and those of the keyring.
    pub fn open_in(keyring: Box<dyn Keyring>, master: &MasterKey, entropy: Entropy, clock: Clock) -> Result<Self, VaultError> {
        let root = open_root(&*keyring, master)?;
        let vault = Self::over(keyring, root, entropy, clock);
        vault.replay_destroyed()?;
        Ok(vault)
    }

    /// Makes sure that a tenant has a key.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] for a tenant that was erased.
    pub fn tenant_ensure(&self, tenant: u32) -> Result<(), VaultError> {
        let _change = self.changing();
        let root = self.root();
        if self.tenant(&root, tenant)?.is_none() {
            self.make(Slot::Tenant(tenant), "tenant", ConnectionKey { tenant, connection: 0 }, &root.key)?;
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
        let tenant = self.tenant_of(&self.root(), owner)?;
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

    /// What can be done with the key of what is a tenant's own ([`ConnectionKey::of_tenant`]): artifacts, the graph of its jobs. It is
    /// made at its first use, and is destroyed with the tenant's.
    ///
    /// # Errors
    /// [`VaultError::Destroyed`] for a tenant that was erased, [`VaultError::NoKey`] for one that never was.
    pub fn tenant_keys(&self, tenant: u32) -> Result<Arc<ConnectionKeys>, VaultError> {
        let owner = ConnectionKey::of_tenant(tenant);
        match self.connection(owner) {
            Err(VaultError::NoKey { what: "connection", .. }) => match self.connection_create(owner) {
                // Somebody else made it in between.
                Ok(()) | Err(VaultError::Taken { .. }) => self.connection(owner),
                Err(error) => Err(error),
            },
            keys => keys,
        }
    }

    /// Every slot of the keyring that holds something.
    ///
    /// # Errors
    /// When the keyring cannot be listed.
    pub fn slots(&self) -> Result<Vec<Slot>, VaultError> {
        self.keyring.slots()
    }

    /// The highest numbers of tenants and connections that ever had a key.
    ///
    /// # Errors
    /// When the keyring cannot be listed.
    pub fn highest_numbers(&self) -> Result<HighestNumbers, VaultError> {
        // While a rotation takes place, no list of slots is whole.
        let _root = self.root();
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
}

impl Vault {
    fn over(keyring: Box<dyn Keyring>, root: Held<Cipher>, entropy: Entropy, clock: Clock) -> Self {
        Vault {
            keyring,
            root: RwLock::new(root),
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

    pub(super) fn root(&self) -> RwLockReadGuard<'_, Held<Cipher>> {
        self.root.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put<T: Serialize>(&self, slot: Slot, value: &T) -> Result<(), VaultError> {
        let bytes = postcard::to_stdvec(value).map_err(|_| VaultError::Malformed { slot })?;
        self.keyring.write(slot, &bytes)
    }

    /// Makes and keeps a key that `above` wraps.
    pub(super) fn make(&self, slot: Slot, what: &'static str, owner: ConnectionKey, above: &Cipher) -> Result<Held<Cipher>, VaultError> {
        let (key, id) = (Cipher::random(&self.entropy), self.entropy.bytes());
        let wrapped = above.seal(&self.entropy, wrapping(what, owner, id), key.expose());
        self.put(slot, &WrappedKey { id, wrapped })?;
        Ok(Held { id, key })
    }

    /// The key in a slot that `above` wraps, when there is one.
    pub(super) fn kept(
        &self,
        slot: Slot,
        what: &'static str,
        owner: ConnectionKey,
        above: &Cipher,
    ) -> Result<Option<Held<Cipher>>, VaultError> {
        let Some(WrappedKey { id, wrapped }) = get(&*self.keyring, slot)? else { return Ok(None) };
        let key = above.unwrap(wrapping(what, owner, id), &wrapped).map_err(|_| VaultError::Malformed { slot })?;
        Ok(Some(Held { id, key }))
    }

    fn tenant(&self, root: &Held<Cipher>, tenant: u32) -> Result<Option<Arc<Held<Cipher>>>, VaultError> {
        let owner = ConnectionKey { tenant, connection: 0 };
        self.refuse_destroyed(KeyKind::Tenant, owner)?;
        if let Some(held) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return Ok(Some(Arc::clone(held)));
        }
        let Some(held) = self.kept(Slot::Tenant(tenant), "tenant", owner, &root.key)?.map(Arc::new) else { return Ok(None) };
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        // Within the cache's lock: a destruction notes itself before it clears the cache.
        self.refuse_destroyed(KeyKind::Tenant, owner)?;
        if tenants.len() >= CONNECTIONS_CACHED_MAX {
            tenants.clear();
        }
        tenants.insert(tenant, Arc::clone(&held));
        Ok(Some(held))
    }

    pub(super) fn tenant_of(&self, root: &Held<Cipher>, owner: ConnectionKey) -> Result<Arc<Held<Cipher>>, VaultError> {
        self.tenant(root, owner.tenant)?.ok_or(VaultError::NoKey { what: "tenant", owner })
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
        let root = self.root();
        let file: Option<WrappedConnection> = get(&*self.keyring, slot)?;
        let WrappedConnection { key: WrappedKey { id, wrapped }, next, extents } =
            file.ok_or(VaultError::NoKey { what: "connection", owner })?;
        let tenant = self.tenant_of(&root, owner)?;
        let unreadable = |_| VaultError::Malformed { slot };
        let key = tenant.key.unwrap(wrapping("connection", owner, id), &wrapped).map_err(unreadable)?;
        let wraps_extents = extents_cipher(&tenant.key, owner, id);
        let extent = |(number, wrapped): (u32, Vec<u8>)| {
            let detail = number.to_be_bytes();
            let extent = wraps_extents.unwrap(wrapping_extent(owner, id, &detail), &wrapped).map_err(unreadable)?;
            Ok((number, Arc::new(self.extent_key(owner, id, number, extent))))
        };
        let made = extents.into_iter().map(extent).collect::<Result<_, VaultError>>()?;
        let life = Life::default();
        let keys = Arc::new(ConnectionKeys::new(owner, id, &key, life.clone(), self.entropy.clone()));
        Ok(HeldConnection { id, key, keys, life, extents: RwLock::new(Extents { next, made }) })
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

pub(super) fn master_cipher(master: &MasterKey) -> Cipher {
    Cipher::new(Secret::new(*master.expose()))
}

/// The root key of a keyring.
pub(super) fn open_root(keyring: &dyn Keyring, master: &MasterKey) -> Result<Held<Cipher>, VaultError> {
    let WrappedKey { id, wrapped } = get(keyring, Slot::Root)?.ok_or(VaultError::Malformed { slot: Slot::Root })?;
    let key = master_cipher(master).unwrap(wrapping("root", NOBODY, id), &wrapped).map_err(|_| VaultError::WrongMaster)?;
    Ok(Held { id, key })
}

/// The value of [`Slot::Root`].
pub(super) fn wrapped_root(root: &Held<Cipher>, master: &MasterKey, entropy: &Entropy) -> WrappedKey {
    let wrapped = master_cipher(master).seal(entropy, wrapping("root", NOBODY, root.id), root.key.expose());
    WrappedKey { id: root.id, wrapped }
}

#[cfg(test)]
impl Vault {
    /// Every key that encrypts, plain, for the test that searches for them.
    pub(super) fn plain_keys(&self, owners: &[ConnectionKey]) -> Vec<[u8; 32]> {
        let mut keys = vec![*self.root().key.expose()];
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
