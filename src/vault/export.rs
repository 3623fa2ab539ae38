//! A copy of the keyring to keep elsewhere: one file, sealed under the root key, which lies in it wrapped by the master key.
//!
//! ```text
//! magic | length of the header | header | sealed slots and list of destroyed keys | check
//! ```
//!
//! Whoever holds the export and the master key of its day holds every key that there was. That is what it is for, and why it
//! expires: a copy that lives for ever would undo every erasure for as long as it exists. The date binds this program and
//! its operators, not someone who writes another program; destroying old exports is theirs to do.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::vault::DestroyedKey;
use crate::vault::MasterKey;
use crate::vault::Slot;
use crate::vault::Vault;
use crate::vault::VaultError;
use crate::vault::files::sync_folder;
use crate::vault::hierarchy::master_cipher;
use crate::vault::list;
use crate::vault::list::CHECK_BYTES;
use crate::vault::list::check;
use crate::vault::seal::Cipher;
use crate::vault::seal::Place;
use crate::vault::wrapped::NOBODY;
use crate::vault::wrapped::WrappedKey;
use crate::vault::wrapped::get;
use crate::vault::wrapped::wrapping;

/// How many days an export lives when nobody says otherwise: as long as the shortest window after a tenant's end.
pub const EXPORT_LIFE_DAYS: u32 = 30;
/// The most days an export may live: the longest such window.
pub const EXPORT_LIFE_DAYS_MAX: u32 = 90;

/// The first bytes of the file: what it is, and the version of its form.
const MAGIC: &[u8] = b"headgate-keyring-export\x01";
/// What binds the sealed part, and names the key derived for it.
const PURPOSE: &str = "keyring export";

/// A copy of the keyring, sealed, not yet written anywhere.
pub struct Export {
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it can be imported.
    pub expires_at: Timestamp,
    /// How many keys it holds, those of extents not counted.
    pub keys: u64,
    /// How many keys were destroyed when it was made.
    pub destroyed: u64,
    bytes: Vec<u8>,
}

/// What an export tells without a key. All of it is associated data of the sealed part.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) made_at: Timestamp,
    pub(super) expires_at: Timestamp,
    root: WrappedKey,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) values: Vec<(Slot, Vec<u8>)>,
    /// As in the file `destroyed`.
    destroyed: Vec<u8>,
}

impl Vault {
    /// Copies the keyring as it is now. Only [`import`](super::import) reads the copy back, until `expires_at`.
    ///
    /// # Errors
    /// When the keyring cannot be read.
    pub fn export(&self, expires_at: Timestamp) -> Result<Export, VaultError> {
        let _change = self.changing();
        let slots = self.keyring.slots()?;
        let value = |slot: &Slot| Ok(self.keyring.read(*slot)?.map(|value| (*slot, value)));
        let values: Vec<_> = slots.iter().filter_map(|slot| value(slot).transpose()).collect::<Result<_, VaultError>>()?;
        let listed = self.keyring.destroyed()?;
        let root: WrappedKey = get(&*self.keyring, Slot::Root)?.ok_or(VaultError::Malformed { slot: Slot::Root })?;
        let made_at = self.clock.now();
        let keys = values.len() as u64;
        let header = postcard::to_stdvec(&Header { made_at, expires_at, root }).map_err(|_| VaultError::Malformed { slot: Slot::Root })?;
        let content = Content { values, destroyed: listed.iter().flat_map(list::entry).collect() };
        let mut sealed = postcard::to_stdvec(&content).map_err(|_| VaultError::Malformed { slot: Slot::Root })?;
        let held = self.root();
        export_cipher(&held.key).seal_in_place(&self.entropy, place(held.id, &header), &mut sealed);
        Ok(Export { made_at, expires_at, keys, destroyed: listed.len() as u64, bytes: framed(&header, &sealed) })
    }
}

impl Export {
    /// Writes the export into a file of its own, readable by its owner alone: wholly, or not at all.
    ///
    /// # Errors
    /// [`VaultError::ExportPresent`] when there is a file of that name.
    pub fn write_to(&self, path: &Path) -> Result<(), VaultError> {
        let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        // The name is taken first, so that of two exports to one file the second is refused.
        match open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(VaultError::ExportPresent { path: path.to_owned() }),
            taken => taken.map_err(|source| VaultError::io("create", path, source))?,
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let beside = Path::new(&beside);
        let write = || {
            let mut file: File = open(beside)?;
            file.write_all(&self.bytes)?;
            file.sync_all()?;
            fs::rename(beside, path)?;
            sync_folder(path.parent().unwrap_or(Path::new("/")))
        };
        write().map_err(|source| {
            let _ = fs::remove_file(beside);
            let _ = fs::remove_file(path);
            VaultError::io("write", path, source)
        })
    }

    /// The digest of the file, by which the log knows it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Content {
    /// The keys that were destroyed when the export was made, oldest first.
    pub(super) fn destroyed(&self) -> Option<Vec<DestroyedKey>> {
        list::read(&self.destroyed)
    }
}

/// Reads an export's header and opens what is sealed, whatever its date says.
pub(super) fn open(path: &Path, master: &MasterKey) -> Result<(Header, Content), VaultError> {
    let bytes = fs::read(path).map_err(|source| VaultError::io("read", path, source))?;
    let damaged = || VaultError::ExportDamaged { path: path.to_owned() };
    let (header, sealed) = unframe(&bytes).ok_or_else(damaged)?;
    let told: Header = postcard::from_bytes(header).map_err(|_| damaged())?;
    let WrappedKey { id, wrapped } = &told.root;
    let root = master_cipher(master).unwrap(wrapping("root", NOBODY, *id), wrapped);
    let root = root.map_err(|_| VaultError::ExportOfOther { path: path.to_owned() })?;
    let content = export_cipher(&root).open(place(*id, header), sealed).map_err(|_| damaged())?;
    let content: Content = postcard::from_bytes(content.expose()).map_err(|_| damaged())?;
    Ok((told, content))
}

fn framed(header: &[u8], sealed: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = [MAGIC, &length, header, sealed].concat();
    bytes.extend_from_slice(&check(&bytes));
    bytes
}

fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (guarded, sum) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    let rest = guarded.strip_prefix(MAGIC).filter(|_| check(guarded) == *sum)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn export_cipher(root: &Cipher) -> Cipher {
    Cipher::new(root.derive(PURPOSE))
}

fn place(root: [u8; 16], header: &[u8]) -> Place<'_> {
    Place { purpose: PURPOSE, owner: NOBODY, key: root, detail: header }
}
