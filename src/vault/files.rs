//! A keyring of small files in `DIR/keyring/`, outside sled, because sled keeps the bytes of what was removed.
//!
//! Every step is one call of the operating system followed by a sync, in an order that a crash may cut anywhere:
//!
//! - *replace*: write and sync `NAME.new`; link `NAME` as `NAME.old`; rename `NAME.new` to `NAME`; wipe `NAME.old`.
//! - *wipe*: overwrite with random bytes (zeros might become a hole, which frees the block instead of overwriting it), sync,
//!   unlink, sync the directory.
//!
//! [`FileKeyring::open`] finishes whatever it finds half done. A file system that writes copies, and flash below it, may
//! keep what was overwritten: that is what re-wrapping the root key under a new master key is for.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use ring::rand::SecureRandom;

use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::vault::DestroyedKey;
use crate::vault::KeyKind;
use crate::vault::Keyring;
use crate::vault::Slot;
use crate::vault::VaultError;
use crate::vault::list;
use crate::vault::list::CHECK_BYTES;
use crate::vault::list::check;

/// The first bytes of each file: what it is, and the version of its form.
const MAGIC: &[u8] = b"headgate-keyring\x01";
const TENANTS: &str = "tenants";
const CONNECTIONS: &str = "connections";
const CREDENTIALS: &str = "credentials";
const REVOKING: &str = "revoking";
pub(super) const FOLDERS: [&str; 4] = [TENANTS, CONNECTIONS, CREDENTIALS, REVOKING];
const DESTROYED: &str = "destroyed";
pub(super) const ROOT: &str = "root";

/// A keyring of files, all of them 0600 in folders 0700.
#[derive(Debug)]
pub struct FileKeyring {
    folder: PathBuf,
    entropy: Entropy,
    /// Whole entries in the list of destroyed keys, once it was read: each addition would read it again otherwise.
    listed: Mutex<Option<usize>>,
    #[cfg(test)]
    fault: fault::Fault,
}

impl FileKeyring {
    /// Makes the folders of a new keyring.
    ///
    /// # Errors
    /// [`VaultError::Present`] when the folder holds a keyring already.
    pub fn create(folder: &Path, entropy: Entropy) -> Result<Self, VaultError> {
        let keyring = Self::at(folder, entropy);
        if keyring.is_begun() {
            return Err(VaultError::Present { folder: folder.to_owned() });
        }
        keyring.make_folders()?;
        let list = folder.join(DESTROYED);
        let made = || {
            OpenOptions::new().create(true).append(true).mode(0o600).open(&list)?.sync_all()?;
            sync_folder(folder)?;
            sync_folder(folder.parent().unwrap_or(Path::new(".")))
        };
        made().map_err(|source| VaultError::io("create", &list, source))?;
        Ok(keyring)
    }

    /// Opens a keyring and finishes what a crash left half done.
    ///
    /// # Errors
    /// [`VaultError::Missing`] when there is none.
    pub fn open(folder: &Path, entropy: Entropy) -> Result<Self, VaultError> {
        let keyring = Self::at(folder, entropy);
        keyring.finish_turn()?;
        for needed in [keyring.path(Slot::Root), folder.join(DESTROYED)] {
            if !needed.exists() {
                return Err(VaultError::Missing { folder: folder.to_owned(), file: needed });
            }
        }
        // A copy of the directory may have left empty folders out.
        keyring.make_folders()?;
        keyring.finish_replacements()?;
        for DestroyedKey { kind, owner, .. } in keyring.destroyed()? {
            keyring.finish_destruction(kind, owner)?;
        }
        Ok(keyring)
    }

    /// Makes a keyring whole, in a folder of which nobody knows yet: it becomes one when the folder gets its name.
    ///
    /// # Errors
    /// When a file cannot be made durable.
    pub(super) fn make(folder: &Path, entropy: Entropy, destroyed: &[DestroyedKey], values: &[(Slot, Vec<u8>)]) -> Result<(), VaultError> {
        let keyring = Self::create(folder, entropy)?;
        keyring.record_destroyed(destroyed)?;
        keyring.fill(values)
    }

    /// Overwrites and removes whatever the folder holds, and the folder, if there is one.
    ///
    /// # Errors
    /// When a file cannot be overwritten or removed.
    pub(super) fn clear_away(&self) -> Result<(), VaultError> {
        let folder = &self.folder;
        if !folder.exists() {
            return Ok(());
        }
        for part in FOLDERS.iter().map(|part| folder.join(part)).chain([folder.clone()]).filter(|part| part.exists()) {
            for file in files_in(&part)? {
                self.overwrite(&file).map_err(|source| VaultError::io("clear away", &file, source))?;
            }
            let removed = self.step().and_then(|()| fs::remove_dir(&part));
            removed.map_err(|source| VaultError::io("clear away", &part, source))?;
        }
        sync_folder(folder.parent().unwrap_or(Path::new("."))).map_err(|source| VaultError::io("clear away", folder, source))
    }

    /// A keyring of the same files in another folder.
    pub(super) fn like(&self, folder: &Path) -> Self {
        FileKeyring {
            folder: folder.to_owned(),
            entropy: self.entropy.clone(),
            listed: Mutex::new(None),
            #[cfg(test)]
            fault: self.fault.clone(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn wipe_slot(&self, slot: Slot) -> Result<(), VaultError> {
        let path = self.path(slot);
        self.wipe(&path).map_err(|source| VaultError::io("destroy", &path, source))
    }

    /// Writes files that are not there yet, and syncs the folders once at the end.
    pub(super) fn fill(&self, values: &[(Slot, Vec<u8>)]) -> Result<(), VaultError> {
        for (slot, value) in values {
            let path = self.path(*slot);
            let write = || {
                self.step()?;
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                self.step()?;
                file.write_all(&framed(value))?;
                self.step()?;
                file.sync_all()
            };
            write().map_err(|source| VaultError::io("write", &path, source))?;
        }
        for folder in FOLDERS.iter().map(|part| self.folder.join(part)).chain([self.folder.clone()]) {
            sync_folder(&folder).map_err(|source| VaultError::io("write", &folder, source))?;
        }
        Ok(())
    }

    pub(super) fn at(folder: &Path, entropy: Entropy) -> Self {
        FileKeyring {
            folder: folder.to_owned(),
            entropy,
            listed: Mutex::new(None),
            #[cfg(test)]
            fault: fault::Fault::default(),
        }
    }

    /// Whether a folder holds a keyring that was made to its end: its root key comes last.
    pub fn is_complete(folder: &Path) -> bool {
        folder.join(ROOT).exists() || Self::is_decided(folder)
    }

    pub(super) fn make_folders(&self) -> Result<(), VaultError> {
        for path in FOLDERS.map(|part| self.folder.join(part)).into_iter().filter(|path| !path.exists()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.and_then(|()| sync_folder(&self.folder)).map_err(|source| VaultError::io("create", &path, source))?;
        }
        Ok(())
    }

    /// Whether anything hangs on what is here. Signing keys alone, without a root key, were never used: their making was
    /// cut short.
    fn is_begun(&self) -> bool {
        let occupied = self.slots().unwrap_or_default().iter().any(|slot| *slot != Slot::Signing);
        occupied || self.path(Slot::Root).exists() || fs::metadata(self.folder.join(DESTROYED)).is_ok_and(|list| list.len() > 0)
    }

    fn path(&self, slot: Slot) -> PathBuf {
        match slot {
            Slot::Root => self.folder.join(ROOT),
            Slot::Signing => self.folder.join("signing"),
            Slot::Tenant(tenant) => self.folder.join(TENANTS).join(tenant.to_string()),
            Slot::Connection(key) => self.folder.join(CONNECTIONS).join(key.to_string()),
            Slot::Credential(key) => self.folder.join(CREDENTIALS).join(key.to_string()),
            Slot::Revoking(key) => self.folder.join(REVOKING).join(key.to_string()),
        }
    }

    fn replace(&self, path: &Path, framed: &[u8]) -> io::Result<()> {
        let (new, old) = (beside(path, ".new"), beside(path, ".old"));
        let folder = path.parent().unwrap_or(&self.folder);
        self.step()?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        self.step()?;
        file.write_all(framed)?;
        self.step()?;
        file.sync_all()?;
        let replaces = path.exists();
        if replaces {
            self.step()?;
            fs::hard_link(path, &old)?;
            self.step()?;
            sync_folder(folder)?;
        }
        self.step()?;
        fs::rename(&new, path)?;
        self.step()?;
        sync_folder(folder)?;
        if replaces { self.wipe(&old) } else { Ok(()) }
    }

    pub(super) fn wipe(&self, path: &Path) -> io::Result<()> {
        if self.overwrite(path)? {
            self.step()?;
            sync_folder(path.parent().unwrap_or(&self.folder))?;
        }
        Ok(())
    }

    /// Overwrites and unlinks a file; whether there was one. Its folder is not synced.
    fn overwrite(&self, path: &Path) -> io::Result<bool> {
        self.step()?;
        let mut file = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut noise = vec![0; length];
        self.entropy.generator().fill(&mut noise).map_err(io::Error::other)?;
        self.step()?;
        file.write_all(&noise)?;
        self.step()?;
        file.sync_all()?;
        self.step()?;
        fs::remove_file(path)?;
        Ok(true)
    }

    /// `NAME.old` is wiped unless it is still another name of `NAME`; `NAME.new` never became `NAME`, so it is wiped.
    fn finish_replacements(&self) -> Result<(), VaultError> {
        let folders = FOLDERS.iter().map(|part| self.folder.join(part)).chain([self.folder.clone()]);
        for path in folders.map(|folder| files_in(&folder)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let finished = match path.extension().and_then(|extension| extension.to_str()) {
                Some("old") if same_file(&path, &path.with_extension("")) => fs::remove_file(&path),
                Some("old" | "new") => self.wipe(&path),
                _ => Ok(()),
            };
            finished.map_err(|source| VaultError::io("clear away", &path, source))?;
        }
        Ok(())
    }

    /// Writes the list anew without what a power loss has torn; the number of its entries.
    fn mend_list(&self, path: &Path) -> Result<usize, VaultError> {
        let listed = self.destroyed()?;
        let whole: Vec<u8> = listed.iter().flat_map(list::entry).collect();
        let present = fs::read(path).map_err(|source| VaultError::io("read", path, source))?;
        if present != whole {
            self.replace(path, &whole).map_err(|source| VaultError::io("mend", path, source))?;
        }
        Ok(listed.len())
    }

    /// A destroyed key stays destroyed, also when its file came back with an older copy of the keyring.
    fn finish_destruction(&self, kind: KeyKind, owner: ConnectionKey) -> Result<(), VaultError> {
        match kind {
            KeyKind::Tenant => {
                self.destroy(Slot::Tenant(owner.tenant))?;
                let below = self.slots()?.into_iter().filter(|slot| slot.connection().is_some_and(|key| key.tenant == owner.tenant));
                below.into_iter().try_for_each(|slot| self.destroy(slot))
            }
            KeyKind::Connection => {
                self.destroy(Slot::Connection(owner))?;
                self.destroy(Slot::Credential(owner))?;
                self.destroy(Slot::Revoking(owner))
            }
            KeyKind::Credential => self.destroy(Slot::Credential(owner)),
            KeyKind::Revoking => self.destroy(Slot::Revoking(owner)),
            // Inside a file that holds other keys as well: `Vault::open` rewrites it.
            KeyKind::Extent => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "the test's twin of this function needs it")]
    pub(super) fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn step(&self) -> io::Result<()> {
        self.fault.step()
    }
}

impl Keyring for FileKeyring {
    fn read(&self, slot: Slot) -> Result<Option<Vec<u8>>, VaultError> {
        let path = self.path(slot);
        match fs::read(&path) {
            Ok(framed) => unframe(&framed).map(|value| Some(value.to_vec())).ok_or(VaultError::Corrupt { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::io("read", &path, source)),
        }
    }

    fn write(&self, slot: Slot, value: &[u8]) -> Result<(), VaultError> {
        let path = self.path(slot);
        self.replace(&path, &framed(value)).map_err(|source| VaultError::io("write", &path, source))
    }

    fn destroy(&self, slot: Slot) -> Result<(), VaultError> {
        self.wipe_slot(slot)
    }

    fn stage(&self, values: &[(Slot, Vec<u8>)]) -> Result<(), VaultError> {
        self.stage_values(values)
    }

    fn unstage(&self, slot: Slot) -> Result<(), VaultError> {
        self.unstage_value(slot)
    }

    fn unstage_all(&self) -> Result<(), VaultError> {
        self.forget_staged()?;
        self.wipe_replaced()
    }

    fn turn(&self) -> Result<(), VaultError> {
        self.turn_staged()
    }

    fn settle(&self) -> Result<(), VaultError> {
        self.wipe_replaced()
    }

    fn slots(&self) -> Result<Vec<Slot>, VaultError> {
        let mut slots = Vec::new();
        for folder in FOLDERS {
            let files = files_in(&self.folder.join(folder))?;
            let names = files.iter().filter_map(|path| path.file_name()?.to_str());
            slots.extend(names.filter_map(|name| Slot::parse(folder, name)));
        }
        slots.extend([Slot::Root, Slot::Signing].into_iter().filter(|slot| self.path(*slot).exists()));
        slots.sort();
        Ok(slots)
    }

    fn destroyed(&self) -> Result<Vec<DestroyedKey>, VaultError> {
        let path = self.folder.join(DESTROYED);
        let bytes = fs::read(&path).map_err(|source| VaultError::io("read", &path, source))?;
        list::read(&bytes).ok_or(VaultError::Corrupt { path })
    }

    fn record_destroyed(&self, keys: &[DestroyedKey]) -> Result<(), VaultError> {
        let path = self.folder.join(DESTROYED);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        // Taken, so that a failed addition is followed by a fresh look; a list of another length is looked at anew as well.
        let entries = match listed.take().filter(|entries| (entries * list::ENTRY_BYTES) as u64 == bytes) {
            Some(entries) => entries,
            None => self.mend_list(&path)?,
        };
        let append = || {
            self.step()?;
            let mut file = OpenOptions::new().append(true).open(&path)?;
            file.set_len((entries * list::ENTRY_BYTES) as u64)?;
            for key in keys {
                self.step()?;
                file.write_all(&list::entry(key))?;
            }
            self.step()?;
            file.sync_all()
        };
        append().map_err(|source| VaultError::io("add to", &path, source))?;
        *listed = Some(entries + keys.len());
        Ok(())
    }
}

impl Slot {
    /// Whose slot it is, when it is a connection's.
    pub fn connection(self) -> Option<ConnectionKey> {
        match self {
            Slot::Root | Slot::Signing | Slot::Tenant(_) => None,
            Slot::Connection(key) | Slot::Credential(key) | Slot::Revoking(key) => Some(key),
        }
    }

    fn parse(folder: &str, name: &str) -> Option<Slot> {
        if folder == TENANTS {
            return name.parse().ok().map(Slot::Tenant);
        }
        let (tenant, connection) = name.split_once('-')?;
        let key = ConnectionKey { tenant: tenant.parse().ok()?, connection: connection.parse().ok()? };
        match folder {
            CONNECTIONS => Some(Slot::Connection(key)),
            CREDENTIALS => Some(Slot::Credential(key)),
            REVOKING => Some(Slot::Revoking(key)),
            _ => None,
        }
    }
}

fn framed(value: &[u8]) -> Vec<u8> {
    let mut framed = [MAGIC, value].concat();
    framed.extend_from_slice(&check(&framed));
    framed
}

fn unframe(framed: &[u8]) -> Option<&[u8]> {
    let (guarded, sum) = framed.split_last_chunk::<CHECK_BYTES>()?;
    guarded.strip_prefix(MAGIC).filter(|_| check(guarded) == *sum)
}

/// `path` with `suffix` after its name; no name in a keyring has a dot of its own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_extension(&suffix[1..])
}

pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    inode(one).is_some() && inode(one) == inode(other)
}

pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, VaultError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
    };
    list().map_err(|source| VaultError::io("list", folder, source))
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
impl FileKeyring {
    pub(super) fn fault(&self) -> fault::Fault {
        self.fault.clone()
    }
}

#[cfg(test)]
pub(super) mod fault {
    //! Stops a keyring dead after some steps, as a crash would.

    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering;

    /// Counts steps down; from zero on every step fails.
    #[derive(Debug, Clone)]
    pub(in crate::vault) struct Fault(Arc<AtomicI64>);

    impl Default for Fault {
        fn default() -> Self {
            Fault(Arc::new(AtomicI64::new(i64::MAX)))
        }
    }

    impl Fault {
        pub(super) fn step(&self) -> io::Result<()> {
            let left = self.0.fetch_sub(1, Ordering::SeqCst);
            if left > 0 { Ok(()) } else { Err(io::Error::other("stopped by the test")) }
        }

        pub(in crate::vault) fn stop_after(&self, steps: i64) {
            self.0.store(steps, Ordering::SeqCst);
        }
    }
}
