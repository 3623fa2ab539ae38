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
use crate::vault::VaultError;

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

    /// The key that [`MasterKey::create_beside`] left, when there is one.
    ///
    /// # Errors
    /// When the file is there but cannot be read or holds no key.
    pub fn read_beside(data_dir: &Path) -> Result<Option<Self>, VaultError> {
        let path = Self::path_beside(data_dir)?;
        match fs::read_to_string(&path) {
            Ok(text) => Self::from_base64(&Zeroizing::new(text)).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::io("read", &path, source)),
        }
    }

    /// Makes a master key and writes it, durably and readable by its owner alone, beside the data directory.
    ///
    /// # Errors
    /// When there is a key file already: it may be the only key to something.
    pub fn create_beside(data_dir: &Path, entropy: &Entropy) -> Result<Self, VaultError> {
        let path = Self::path_beside(data_dir)?;
        let key = MasterKey(Secret::new(entropy.bytes()));
        let text = Zeroizing::new(BASE64.encode(key.expose()) + "\n");
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        write().map_err(|source| VaultError::io("create", &path, source))?;
        Ok(key)
    }

    /// The key in base64, for the standard input of a process of our own.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.expose()))
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}
