//! A keyring made anew from an export, without the keys that were destroyed since.
//!
//! What can be known: the export says which keys were destroyed when it was made, and the list that is given must begin with
//! those and may only go on from there. What cannot be known from these two files is whether the list is the newest one: with
//! a list of the export's own day, keys that were destroyed later come back. So a restore takes the list of the live keyring
//! where there is one, the export's date bounds how far back it can reach, and the store knows of the erasures of its own
//! day: what it tells is destroyed again at the next start.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::vault::DestroyedKey;
use crate::vault::FileKeyring;
use crate::vault::KeyKind;
use crate::vault::MasterKey;
use crate::vault::Slot;
use crate::vault::VaultError;
use crate::vault::export;
use crate::vault::files::sync_folder;
use crate::vault::hierarchy::FOLDER;
use crate::vault::list;
use crate::vault::wrapped::WrappedConnection;

/// The folder in which an import is made before it gets its name.
const PART: &str = "keyring.part";

/// What an import brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// When the export was made.
    pub made_at: Timestamp,
    /// Keys that are there now.
    pub keys: u64,
    /// Keys of the export that the list names: they were left out.
    pub left_out: u64,
    /// Entries of the list of destroyed keys.
    pub destroyed: u64,
    /// The last destruction that the list knows of.
    pub last_destroyed_at: Option<Timestamp>,
}

/// Makes the keyring of `data_dir` from an export and the list of destroyed keys (a copy of `keyring/destroyed`), all of it or
/// nothing. Nothing that the list names is written, not even for a moment.
///
/// # Errors
/// [`VaultError::Present`] when the directory has a keyring; [`VaultError::ExportExpired`], [`VaultError::ExportDamaged`],
/// [`VaultError::ExportOfOther`] (the master key), [`VaultError::ListDamaged`], [`VaultError::ListShort`],
/// [`VaultError::ListForeign`].
pub fn import(
    data_dir: &Path,
    export: &Path,
    destroyed: &Path,
    master: &MasterKey,
    now: Timestamp,
    entropy: Entropy,
) -> Result<Imported, VaultError> {
    let folder = data_dir.join(FOLDER);
    if folder.exists() {
        return Err(VaultError::Present { folder });
    }
    let (header, content) = export::open(export, master)?;
    if header.expires_at <= now {
        let (made_at, expires_at) = (header.made_at, header.expires_at);
        return Err(VaultError::ExportExpired { path: export.to_owned(), made_at, expires_at });
    }
    let then = content.destroyed().ok_or_else(|| VaultError::ExportDamaged { path: export.to_owned() })?;
    let listed = read_list(destroyed, &then)?;
    let gone = Gone::of(&listed);
    let before = content.values.len();
    let values: Vec<_> = content.values.into_iter().filter_map(|(slot, value)| Some((slot, gone.without(slot, value)?))).collect();

    let part = data_dir.join(PART);
    FileKeyring::at(&part, entropy.clone()).clear_away()?;
    FileKeyring::make(&part, entropy, &listed, &values)?;
    let name = || {
        fs::rename(&part, &folder)?;
        sync_folder(data_dir)
    };
    name().map_err(|source| VaultError::io("create", &folder, source))?;
    Ok(Imported {
        made_at: header.made_at,
        keys: values.len() as u64,
        left_out: (before - values.len()) as u64,
        destroyed: listed.len() as u64,
        last_destroyed_at: listed.iter().map(|key| key.at).max(),
    })
}

/// The list that was given, if it goes on from what the export knows.
fn read_list(path: &Path, then: &[DestroyedKey]) -> Result<Vec<DestroyedKey>, VaultError> {
    let bytes = fs::read(path).map_err(|source| VaultError::io("read", path, source))?;
    let listed = list::read(&bytes).ok_or_else(|| VaultError::ListDamaged { path: path.to_owned() })?;
    // A file of some other kind has no entry at all, and not even a torn one would have been written first.
    if listed.is_empty() && !bytes.is_empty() {
        return Err(VaultError::ListDamaged { path: path.to_owned() });
    }
    if let Some(entry) = then.iter().zip(&listed).position(|(then, now)| then != now) {
        return Err(VaultError::ListForeign { path: path.to_owned(), entry: entry + 1 });
    }
    if listed.len() < then.len() {
        return Err(VaultError::ListShort { path: path.to_owned(), entries: listed.len(), needed: then.len() });
    }
    Ok(listed)
}

/// What a list takes away.
struct Gone {
    keys: BTreeSet<(KeyKind, ConnectionKey)>,
    extents: BTreeSet<(ConnectionKey, [u8; 16], u32)>,
}

impl Gone {
    fn of(listed: &[DestroyedKey]) -> Self {
        let (extents, keys): (Vec<_>, Vec<_>) = listed.iter().partition(|key| key.kind == KeyKind::Extent);
        Gone {
            keys: keys.into_iter().map(|key| (key.kind, key.owner)).collect(),
            extents: extents.into_iter().map(|key| (key.owner, key.id, key.extent)).collect(),
        }
    }

    /// What may be kept of a slot's value: all, nothing, or a connection's file without some extents.
    fn without(&self, slot: Slot, value: Vec<u8>) -> Option<Vec<u8>> {
        let (kind, owner) = match slot {
            Slot::Root | Slot::Signing => return Some(value),
            Slot::Tenant(tenant) => (KeyKind::Tenant, ConnectionKey { tenant, connection: 0 }),
            Slot::Connection(owner) => (KeyKind::Connection, owner),
            Slot::Credential(owner) => (KeyKind::Credential, owner),
            Slot::Revoking(owner) => (KeyKind::Revoking, owner),
        };
        let tenant = ConnectionKey { connection: 0, ..owner };
        let above = [(KeyKind::Tenant, tenant), (KeyKind::Connection, owner), (kind, owner)];
        if above.iter().any(|key| self.keys.contains(key)) {
            return None;
        }
        if kind != KeyKind::Connection {
            return Some(value);
        }
        // A file that does not read is of no use to anyone, and might hold what the list names.
        let mut file: WrappedConnection = postcard::from_bytes(&value).ok()?;
        let id = file.key.id;
        file.extents.retain(|(number, _)| !self.extents.contains(&(owner, id, *number)));
        postcard::to_stdvec(&file).ok()
    }
}
