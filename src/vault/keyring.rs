//! What keeps wrapped keys: a few small named values that can be replaced and, above all, destroyed.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::vault::VaultError;

/// The place of one value in a keyring. The order of the variants is in every export: add at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// The root key, wrapped by the master key.
    Root,
    /// The signing keys, wrapped by the root key.
    Signing,
    /// A tenant's key, wrapped by the root key.
    Tenant(u32),
    /// A connection's key, wrapped by its tenant's, with its extents' keys, wrapped by the connection's.
    Connection(ConnectionKey),
    /// The key of a connection's credential, wrapped by its tenant's: it can go while the data stays.
    Credential(ConnectionKey),
    /// The key of a credential that waits to be revoked at the application.
    Revoking(ConnectionKey),
}

/// What kind of key was destroyed. The numbers are on disk: add at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// A tenant's key, and with it every key below.
    Tenant = 1,
    /// A connection's key, and with it the keys of its extents.
    Connection = 2,
    /// The key of one extent.
    Extent = 3,
    /// The key of a connection's credential.
    Credential = 4,
    /// The key of a credential on its way out.
    Revoking = 5,
}

impl KeyKind {
    /// The kind as certificates name it.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::Tenant => "tenant",
            KeyKind::Connection => "connection",
            KeyKind::Extent => "extent",
            KeyKind::Credential => "credential",
            KeyKind::Revoking => "revoking",
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        use KeyKind::*;
        [Tenant, Connection, Extent, Credential, Revoking].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A key that is gone: one entry of the list that only grows. It holds no key and no name of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyedKey {
    /// What the key was for.
    pub kind: KeyKind,
    /// Whose it was; connection 0 for a tenant's key.
    pub owner: ConnectionKey,
    /// The extent's number, for [`KeyKind::Extent`]; 0 otherwise.
    pub extent: u32,
    /// The key's random id (of an extent: its connection's); zeros when there never was a key, only the promise of none.
    pub id: [u8; 16],
    /// When its destruction was decided, in whole milliseconds.
    pub at: Timestamp,
}

impl fmt::Display for DestroyedKey {
    /// The name under which certificates list it: kind, key id, and the number of an extent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), HEXLOWER.encode(&self.id))?;
        if self.kind == KeyKind::Extent { write!(f, "/{}", self.extent) } else { Ok(()) }
    }
}

/// Keeps wrapped keys. Several nodes need one that they can share; one node has [`FileKeyring`](super::FileKeyring).
///
/// Implementations are called by one writer at a time and any number of readers.
pub trait Keyring: Send + Sync {
    /// The value in a slot, or none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    fn read(&self, slot: Slot) -> Result<Option<Vec<u8>>, VaultError>;

    /// Puts a value, durable before this returns; after a crash either the old or the new one is there, and the bytes of the
    /// one that is not have been wiped.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn write(&self, slot: Slot, value: &[u8]) -> Result<(), VaultError>;

    /// Destroys the value in a slot, if there is one: its bytes are wiped, durably, and then the slot is empty.
    ///
    /// # Errors
    /// When that cannot be made sure.
    fn destroy(&self, slot: Slot) -> Result<(), VaultError>;

    /// Keeps values that are to take the place of those in their slots, all at one moment. Nobody reads them yet; one that was
    /// staged before for the same slot is wiped.
    ///
    /// # Errors
    /// When they cannot be made durable.
    fn stage(&self, values: &[(Slot, Vec<u8>)]) -> Result<(), VaultError>;

    /// Wipes what is staged for a slot.
    ///
    /// # Errors
    /// When that cannot be made sure.
    fn unstage(&self, slot: Slot) -> Result<(), VaultError>;

    /// Wipes everything that is staged, or was replaced by a turn before.
    ///
    /// # Errors
    /// When that cannot be made sure.
    fn unstage_all(&self) -> Result<(), VaultError>;

    /// Lets what is staged take its place, durable before this returns; after a crash everything has, or nothing. Called while
    /// nobody reads or writes, with every occupied slot staged. The root that was replaced is wiped before this returns.
    ///
    /// # Errors
    /// With nothing changed; but [`VaultError::TurnUnfinished`] once it is decided.
    fn turn(&self) -> Result<(), VaultError>;

    /// Wipes what the last turn replaced.
    ///
    /// # Errors
    /// When that cannot be made sure; opening the keyring does it then.
    fn settle(&self) -> Result<(), VaultError>;

    /// Every occupied slot.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn slots(&self) -> Result<Vec<Slot>, VaultError>;

    /// The list of destroyed keys, oldest first.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged before its last entry.
    fn destroyed(&self) -> Result<Vec<DestroyedKey>, VaultError>;

    /// Adds to that list, durable before this returns. Always called before the keys themselves are touched.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn record_destroyed(&self, keys: &[DestroyedKey]) -> Result<(), VaultError>;
}
