//! The master key: what wraps the root key, and where it may lie.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::ids::Entropy;
use crate::secret::Secret;
use crate::vault::FileKeyring;
use crate::vault::VaultError;
use crate::vault::files::same_file;
use crate::vault::files::sync_folder;
use crate::vault::hierarchy::FOLDER;
use crate::vault::hierarchy::open_root;

/// What is appended to the data directory's name for the key file beside it.
const SUFFIX: &str = ".master.key";

/// The key that wraps the root key, and nothing else: changing it re-wraps one small file.
#[derive(Debug)]
pub struct MasterKey(Secret<[u8; 32]>);

impl MasterKey {
    /// Takes 32 bytes that were resolved elsewhere.
    pub fn new(key: Secret<[u8; 32]>) -> Self {
        MasterKey(key)
    }

    /// Reads padded standard base64 of 32 bytes; surrounding white space is allowed, as files end in a newline.
    ///
    /// # Errors
    /// [`VaultError::MasterMalformed`] for any other text; the text itself is not repeated.
    pub fn from_base64(text: &str) -> Result<Self, VaultError> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim().as_bytes()).map_err(|_| VaultError::MasterMalformed)?);
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| VaultError::MasterMalformed)?;
        Ok(MasterKey(Secret::new(key)))
    }

    /// The file beside a data directory in which a master key is kept when the operator gave no better place:
    /// `<data>.master.key`.
    ///
    /// # Errors
    /// [`VaultError::Io`] when the directory's own name cannot be found out (it does not exist, or is the root).
    pub fn path_beside(data_dir: &Path) -> Result<PathBuf, VaultError> {
        let act = "find the name of";
        let full = fs::canonicalize(data_dir).map_err(|source| VaultError::io(act, data_dir, source))?;
        let Some(name) = full.file_name() else {
            return Err(VaultError::io(act, data_dir, std::io::ErrorKind::InvalidInput.into()));
        };
        let mut name = name.to_owned();
        name.push(SUFFIX);
        Ok(full.with_file_name(name))
    }

    /// The key that [`MasterKey::create_beside`] left, when there is one. A rotation that a crash cut short is settled: of the
    /// old and the new key file the one stays that opens the keyring. Called by whoever holds the data directory.
    ///
    /// # Errors
    /// When the file is there but cannot be read or holds no key.
    pub fn read_beside(data_dir: &Path, entropy: &Entropy) -> Result<Option<Self>, VaultError> {
        let beside = Beside::of(data_dir)?;
        if beside.next.exists() || beside.former.exists() { beside.settle(data_dir, entropy) } else { read(&beside.path) }
    }

    /// Makes a master key and writes it, durably and readable by its owner alone, beside the data directory.
    ///
    /// # Errors
    /// When there is a key file already: it may be the only key to something.
    pub fn create_beside(data_dir: &Path, entropy: &Entropy) -> Result<Self, VaultError> {
        create(&Beside::of(data_dir)?.path, entropy)
    }

    /// Makes the master key that a rotation is about to take into use, in a file beside the one of now.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn stage_beside(data_dir: &Path, entropy: &Entropy) -> Result<Self, VaultError> {
        let next = Beside::of(data_dir)?.next;
        wipe(&next, entropy)?;
        create(&next, entropy)
    }

    /// Lets the staged key file take the place of the one beside the data directory, which is wiped: the rotation has taken
    /// place. Where it lies now.
    ///
    /// # Errors
    /// When a file cannot be moved or wiped; [`MasterKey::read_beside`] goes on from there.
    pub fn promote_beside(data_dir: &Path, entropy: &Entropy) -> Result<PathBuf, VaultError> {
        let beside = Beside::of(data_dir)?;
        beside.promote(entropy)?;
        Ok(beside.path)
    }

    /// Wipes a staged key file: the rotation has not taken place.
    ///
    /// # Errors
    /// When it cannot be wiped.
    pub fn unstage_beside(data_dir: &Path, entropy: &Entropy) -> Result<(), VaultError> {
        wipe(&Beside::of(data_dir)?.next, entropy)
    }

    /// Wipes the key file beside the data directory: it opens nothing any more.
    ///
    /// # Errors
    /// When it cannot be wiped.
    pub fn destroy_beside(data_dir: &Path, entropy: &Entropy) -> Result<(), VaultError> {
        wipe(&Beside::of(data_dir)?.path, entropy)
    }

    /// The text from which [`MasterKey::from_base64`] reads this key.
    pub fn to_base64(&self) -> Secret<String> {
        Secret::new(BASE64.encode(self.expose()))
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// The key file beside a data directory, and the two that a rotation has for a moment.
struct Beside {
    path: PathBuf,
    /// The key that is about to be taken into use.
    next: PathBuf,
    /// The key that was in use, about to be wiped.
    former: PathBuf,
}

impl Beside {
    fn of(data_dir: &Path) -> Result<Self, VaultError> {
        let path = MasterKey::path_beside(data_dir)?;
        let with = |suffix: &str| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        Ok(Beside { next: with(".new"), former: with(".old"), path })
    }

    /// The one of two keys that opens the keyring; the other one's file is wiped. When neither does, all is left as it is.
    fn settle(&self, data_dir: &Path, entropy: &Entropy) -> Result<Option<MasterKey>, VaultError> {
        // A key file that was being written when the power went is none, and the keyring is under the other key.
        if let Ok(Some(next)) = read(&self.next)
            && next.opens(data_dir, entropy)
        {
            self.promote(entropy)?;
            return Ok(Some(next));
        }
        let kept = read(&self.path)?;
        if kept.as_ref().is_some_and(|kept| kept.opens(data_dir, entropy)) {
            wipe(&self.next, entropy)?;
            self.wipe_former(entropy)?;
        }
        Ok(kept)
    }

    fn promote(&self, entropy: &Entropy) -> Result<(), VaultError> {
        let moved = || {
            if self.path.exists() && !self.former.exists() {
                fs::hard_link(&self.path, &self.former)?;
            }
            fs::rename(&self.next, &self.path)?;
            sync_folder(self.path.parent().unwrap_or(Path::new("/")))
        };
        moved().map_err(|source| VaultError::io("replace", &self.path, source))?;
        self.wipe_former(entropy)
    }

    /// What is another name of the key in use is unlinked only.
    fn wipe_former(&self, entropy: &Entropy) -> Result<(), VaultError> {
        if same_file(&self.former, &self.path) {
            return fs::remove_file(&self.former).map_err(|source| VaultError::io("clear away", &self.former, source));
        }
        wipe(&self.former, entropy)
    }
}

impl MasterKey {
    /// Whether the keyring of a data directory opens under this key, or will once a decided rotation is finished.
    fn opens(&self, data_dir: &Path, entropy: &Entropy) -> bool {
        // Looked at and not opened: the keyring may be at work.
        let keyring = FileKeyring::at(&data_dir.join(FOLDER), entropy.clone());
        open_root(&keyring.to_be(), self).is_ok()
    }
}

fn read(path: &Path) -> Result<Option<MasterKey>, VaultError> {
    match fs::read_to_string(path) {
        Ok(text) => MasterKey::from_base64(&Zeroizing::new(text)).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(VaultError::io("read", path, source)),
    }
}

fn create(path: &Path, entropy: &Entropy) -> Result<MasterKey, VaultError> {
    let key = MasterKey(Secret::new(entropy.bytes()));
    let text = Zeroizing::new(BASE64.encode(key.expose()) + "\n");
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_folder(path.parent().unwrap_or(Path::new("/")))
    };
    write().map_err(|source| VaultError::io("create", path, source))?;
    Ok(key)
}

fn wipe(path: &Path, entropy: &Entropy) -> Result<(), VaultError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    FileKeyring::at(folder, entropy.clone()).wipe(path).map_err(|source| VaultError::io("wipe", path, source))
}
