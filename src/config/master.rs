//! The master key: the one secret that wraps all others, and where the operator keeps it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use data_encoding::BASE64;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::ids::Entropy;
use crate::secret::Secret;

/// The environment variable that may hold the master key: 32 bytes in standard base64.
pub const MASTER_KEY_VARIABLE: &str = "HEADGATE_MASTER_KEY";

/// The number of bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;

/// The longest text that is read as a key; a longer file is some other file.
const KEY_TEXT_BYTES_MAX: usize = 4096;

/// The key that wraps the keyring's root.
pub type MasterKey = Secret<[u8; MASTER_KEY_BYTES]>;

/// Where the master key is to be found.
#[derive(Debug)]
pub enum MasterKeySource {
    /// Standard base64, out of the environment.
    Text(Secret<String>),
    /// A file that holds it.
    File(PathBuf),
    /// A shell command whose standard output is the key.
    Command(String),
    /// Nowhere given: `<data>.master.key`, beside the data directory.
    Beside,
}

/// Why there is no master key. None of these repeats the key's text.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The text is not 32 bytes in base64.
    #[error("the master key in {origin} is not 32 bytes in standard base64; `head -c 32 /dev/urandom | base64` makes one")]
    Malformed {
        /// Where the text came from.
        origin: String,
    },
    /// The file cannot be read.
    #[error("the master key file {path:?} cannot be read; give a readable file to --master-key-file")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The command could not be started.
    #[error("the master key command cannot be started; give a shell command to --master-key-command")]
    CommandNotStarted {
        /// Why.
        source: std::io::Error,
    },
    /// The command failed.
    #[error("the master key command ended with {status}; it must print the key and end with 0")]
    CommandFailed {
        /// How it ended.
        status: ExitStatus,
    },
    /// The directory was made with a key that is not where one is looked for.
    #[error(
        "{data:?} is wrapped under a master key that is neither in {MASTER_KEY_VARIABLE} nor in {path:?}; \
         set the variable, or name the key with --master-key-file or --master-key-command"
    )]
    Missing {
        /// The data directory.
        data: PathBuf,
        /// Where the key would be if Headgate had made it.
        path: PathBuf,
    },
    /// A new key could not be kept.
    #[error("no master key was given and a new one cannot be kept in {path:?}; name one with --master-key-file")]
    NotKept {
        /// The file that was to be made.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl MasterKeySource {
    /// The key. For a directory that is `new`, one is made if none was given; `announce` is told of that, and of a key file
    /// that others can read.
    ///
    /// # Errors
    /// When the key is malformed or cannot be read, or when an existing directory's key was not given.
    pub fn resolve(
        &self,
        data: &Path,
        new: bool,
        entropy: &Entropy,
        announce: &mut dyn FnMut(String),
    ) -> Result<MasterKey, MasterKeyError> {
        match self {
            MasterKeySource::Text(text) => decode(text.expose().as_bytes(), MASTER_KEY_VARIABLE.into()),
            MasterKeySource::File(path) => read(path),
            MasterKeySource::Command(command) => ask(command),
            MasterKeySource::Beside => beside(data, new, entropy, announce),
        }
    }
}

fn beside(data: &Path, new: bool, entropy: &Entropy, announce: &mut dyn FnMut(String)) -> Result<MasterKey, MasterKeyError> {
    let path = path_beside(data);
    match std::fs::metadata(&path) {
        Ok(found) => {
            if found.permissions().mode() & 0o077 != 0 {
                announce(format!("others can read the master key {path:?}: `chmod 600` it, or keep it elsewhere with --master-key-file"));
            }
            read(&path)
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(MasterKeyError::Unreadable { path, source: error }),
        Err(_) if !new => Err(MasterKeyError::Missing { data: data.into(), path }),
        Err(_) => {
            let key = Zeroizing::new(entropy.bytes::<MASTER_KEY_BYTES>());
            keep(&path, key.as_slice()).map_err(|source| MasterKeyError::NotKept { path: path.clone(), source })?;
            announce(format!("made a master key in {path:?}: without it nothing in {data:?} can be read, so keep a copy in a safe place"));
            Ok(Secret::new(*key))
        }
    }
}

/// `<data>.master.key`.
fn path_beside(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".master.key");
    data.with_file_name(name)
}

/// Writes a new key so that it survives a power loss: the directory that it wraps is made right after.
fn keep(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let text = Zeroizing::new(format!("{}\n", BASE64.encode(key)));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => std::fs::File::open(".")?.sync_all(),
    }
}

fn read(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let text = std::fs::read(path).map_err(|source| MasterKeyError::Unreadable { path: path.into(), source })?;
    decode(&Zeroizing::new(text), format!("{path:?}"))
}

fn ask(command: &str) -> Result<MasterKey, MasterKeyError> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| MasterKeyError::CommandNotStarted { source })?;
    let text = Zeroizing::new(output.stdout);
    if output.status.success() {
        decode(&text, "the output of --master-key-command".into())
    } else {
        Err(MasterKeyError::CommandFailed { status: output.status })
    }
}

fn decode(text: &[u8], origin: String) -> Result<MasterKey, MasterKeyError> {
    let trimmed = text.trim_ascii();
    if trimmed.len() > KEY_TEXT_BYTES_MAX {
        return Err(MasterKeyError::Malformed { origin });
    }
    let bytes = BASE64.decode(trimmed).map(Zeroizing::new).unwrap_or_default();
    let mut key: [u8; MASTER_KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| MasterKeyError::Malformed { origin })?;
    let secret = Secret::new(key);
    key.zeroize();
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(source: &MasterKeySource, data: &Path, new: bool) -> (Result<MasterKey, MasterKeyError>, Vec<String>) {
        let mut said = Vec::new();
        let key = source.resolve(data, new, &Entropy::system(), &mut |message| said.push(message));
        (key, said)
    }

    /// A new directory gets a key file that only its owner reads; the same key is found again, and is not made twice.
    #[test]
    fn a_new_key_is_kept_beside_and_announced() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (first, said) = resolve(&MasterKeySource::Beside, &data, true);
        let path = folder.path().join("data.master.key");
        assert!(said[0].contains("data.master.key"), "{said:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (second, said) = resolve(&MasterKeySource::Beside, &data, false);
        assert_eq!(first.unwrap().expose(), second.unwrap().expose());
        assert!(said.is_empty());
    }

    /// A directory that was made with a key given elsewhere never gets a second one by mistake.
    #[test]
    fn an_old_directory_gets_no_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = resolve(&MasterKeySource::Beside, &folder.path().join("data"), false);
        assert!(key.unwrap_err().to_string().contains("--master-key-file"));
    }

    /// The three given sources agree, and a wrong text is refused without being repeated.
    #[test]
    fn the_key_may_come_from_three_places() {
        let folder = tempfile::tempdir().unwrap();
        let text = BASE64.encode(&[7; MASTER_KEY_BYTES]);
        let path = folder.path().join("key");
        std::fs::write(&path, format!("{text}\n")).unwrap();
        let sources = [
            MasterKeySource::Text(Secret::new(text.clone())),
            MasterKeySource::File(path),
            MasterKeySource::Command(format!("printf %s '{text}'")),
        ];
        for source in &sources {
            assert_eq!(resolve(source, Path::new("data"), false).0.unwrap().expose(), &[7; MASTER_KEY_BYTES]);
        }
        for wrong in ["c2hvcnQ=", "not base64!", ""] {
            let error = resolve(&MasterKeySource::Text(Secret::new(wrong.into())), Path::new("data"), true).0.unwrap_err();
            assert!(wrong.is_empty() || !error.to_string().contains(wrong));
        }
        assert!(matches!(
            resolve(&MasterKeySource::Command("exit 3".into()), Path::new("d"), true).0,
            Err(MasterKeyError::CommandFailed { .. })
        ));
    }
}
