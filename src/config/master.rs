//! The master key: the one secret that wraps all others, and where the operator keeps it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use zeroize::Zeroizing;

use crate::ids::Entropy;
use crate::secret::Secret;
use crate::vault::MasterKey;
use crate::vault::VaultError;

/// The environment variable that may hold the master key: 32 bytes in standard base64.
pub const MASTER_KEY_VARIABLE: &str = "HEADGATE_MASTER_KEY";

/// The longest text that is read as a key, in bytes; a longer file is some other file.
const KEY_TEXT_BYTES_MAX: usize = 4096;

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
    /// The key beside the directory cannot be read or made.
    #[error("no master key was given, and the one beside {data:?} cannot be used; name one with --master-key-file")]
    Beside {
        /// The data directory.
        data: PathBuf,
        /// Why.
        source: VaultError,
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
    let refused = |source| MasterKeyError::Beside { data: data.into(), source };
    let path = MasterKey::path_beside(data).map_err(refused)?;
    if let Some(key) = MasterKey::read_beside(data, entropy).map_err(refused)? {
        if std::fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
            announce(format!("others can read the master key {path:?}: `chmod 600` it, or keep it elsewhere with --master-key-file"));
        }
        return Ok(key);
    }
    if !new {
        return Err(MasterKeyError::Missing { data: data.into(), path });
    }
    let key = MasterKey::create_beside(data, entropy).map_err(refused)?;
    announce(format!("made a master key in {path:?}: without it nothing in {data:?} can be read, so keep a copy in a safe place"));
    Ok(key)
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
    let short = std::str::from_utf8(text).ok().filter(|text| text.len() <= KEY_TEXT_BYTES_MAX);
    short.and_then(|text| MasterKey::from_base64(text).ok()).ok_or(MasterKeyError::Malformed { origin })
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    fn resolve(source: &MasterKeySource, data: &Path, new: bool) -> (Result<MasterKey, MasterKeyError>, Vec<String>) {
        let mut said = Vec::new();
        let key = source.resolve(data, new, &Entropy::system(), &mut |message| said.push(message));
        (key, said)
    }

    /// A new directory gets a key file that only its owner reads, and says so once.
    #[test]
    fn a_new_key_is_kept_beside_and_announced() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let (key, said) = resolve(&MasterKeySource::Beside, &data, true);
        key.unwrap();
        let path = folder.path().join("data.master.key");
        assert!(said[0].contains("data.master.key"), "{said:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (again, said) = resolve(&MasterKeySource::Beside, &data, false);
        assert!(again.is_ok() && said.is_empty());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(resolve(&MasterKeySource::Beside, &data, false).1[0].contains("chmod 600"));
    }

    /// A directory that was made with a key given elsewhere never gets a second one by mistake.
    #[test]
    fn an_old_directory_gets_no_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = resolve(&MasterKeySource::Beside, folder.path(), false);
        assert!(key.unwrap_err().to_string().contains("--master-key-file"));
    }

    /// The three given sources are read, and a wrong text is refused without being repeated.
    #[test]
    fn the_key_may_come_from_three_places() {
        let folder = tempfile::tempdir().unwrap();
        let text = BASE64.encode(&[7; 32]);
        let path = folder.path().join("key");
        std::fs::write(&path, format!("{text}\n")).unwrap();
        let sources = [
            MasterKeySource::Text(Secret::new(text.clone())),
            MasterKeySource::File(path),
            MasterKeySource::Command(format!("printf %s '{text}'")),
        ];
        for source in &sources {
            resolve(source, Path::new("data"), false).0.unwrap();
        }
        for wrong in ["c2hvcnQ=", "not base64!", ""] {
            let error = resolve(&MasterKeySource::Text(Secret::new(wrong.into())), Path::new("data"), true).0.unwrap_err();
            assert!(wrong.is_empty() || !error.to_string().contains(wrong));
        }
        let failing = MasterKeySource::Command("exit 3".into());
        assert!(matches!(resolve(&failing, Path::new("d"), true).0, Err(MasterKeyError::CommandFailed { .. })));
    }
}
