//! What the slots of a keyring hold, and the places that wrapped keys are sealed to.

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::ConnectionKey;
use crate::vault::Keyring;
use crate::vault::Slot;
use crate::vault::VaultError;
use crate::vault::seal::Place;

/// The owner of what has none: no tenant and no connection has number zero.
pub(super) const NOBODY: ConnectionKey = ConnectionKey { tenant: 0, connection: 0 };

/// The value of [`Slot::Root`], [`Slot::Tenant`], [`Slot::Credential`] and [`Slot::Revoking`].
#[derive(Serialize, Deserialize)]
pub(super) struct WrappedKey {
    pub(super) id: [u8; 16],
    pub(super) wrapped: Vec<u8>,
}

/// The value of [`Slot::Connection`].
#[derive(Serialize, Deserialize)]
pub(super) struct WrappedConnection {
    pub(super) key: WrappedKey,
    /// The number of the next extent; numbers of destroyed extents do not come again.
    pub(super) next: u32,
    pub(super) extents: Vec<(u32, Vec<u8>)>,
}

/// The value of a slot, read; none when the slot is empty.
pub(super) fn get<T: DeserializeOwned>(keyring: &dyn Keyring, slot: Slot) -> Result<Option<T>, VaultError> {
    let read = keyring.read(slot)?;
    read.map(|bytes| postcard::from_bytes(&bytes).map_err(|_| VaultError::Malformed { slot })).transpose()
}

/// Where a key of the hierarchy is wrapped.
pub(super) fn wrapping(what: &'static str, owner: ConnectionKey, id: [u8; 16]) -> Place<'static> {
    Place { purpose: what, owner, key: id, detail: b"wrapped" }
}

/// Where an extent's key is wrapped.
pub(super) fn wrapping_extent(owner: ConnectionKey, id: [u8; 16], number: &[u8; 4]) -> Place<'_> {
    Place { purpose: "extent", owner, key: id, detail: number }
}
