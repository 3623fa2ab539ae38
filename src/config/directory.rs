//! The data directory: whose it is, which format it has, and which process holds it.
//!
//! | file | what it says |
//! |---|---|
//! | `format.json` | this is Headgate's directory, in which format, and whether it was created with `--test`; written last when a directory is made |
//! | `lock` | an advisory lock held by the one process that has the store open; its text names that process |
//! | `admin.sock` | where the holder answers other commands |
//! | `headgate.toml` | the configuration, when `HEADGATE_CONFIG` names no other file |

use std::fmt;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Permissions;
use std::fs::TryLockError;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::CONFIG_FILE;

/// The format of directory that this build reads and writes.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format.json";
const FORMAT_DRAFT_FILE: &str = "format.json.draft";
const LOCK_FILE: &str = "lock";
/// What a restore into a new directory leaves behind when it is killed; the next one clears it away.
const RESTORING_FOLDER: &str = "restoring";
const SOCKET_FILE: &str = "admin.sock";

/// The permissions of a data directory: its owner's alone.
const DIRECTORY_MODE: u32 = 0o700;

/// The number of foreign files that a message names.
const FOREIGN_NAMED_MAX: usize = 3;

/// The longest text that is read from the lock file, in bytes.
const HOLDER_BYTES_MAX: u64 = 1024;

/// A data directory by its path; nothing is opened or made before [`DataDirectory::access`].
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
}

/// Who has the directory.
#[derive(Debug)]
pub enum Access {
    /// This process does, now.
    Held(HeldDirectory),
    /// Another process does.
    HeldBy(Holder),
}

/// The directory, held by this process until this is dropped.
#[derive(Debug)]
pub struct HeldDirectory {
    directory: DataDirectory,
    new: bool,
    test: bool,
    _lock: File,
}

/// The process that holds a directory, as its lock file names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process id.
    pub pid: u32,
    /// The command, such as `serve`.
    pub command: String,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`headgate {}` (process {}, since {})", self.command, self.pid, self.since)
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The operating system refused.
    #[error("the data directory {path:?} cannot be used: {act} failed")]
    Io {
        /// The directory or a file in it.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The directory holds files of someone else.
    #[error("{path:?} is not Headgate's: it holds {names} and no {FORMAT_FILE}; give --data a new or empty folder")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Some of the files in it.
        names: String,
    },
    /// The marker cannot be understood.
    #[error("{path:?} is damaged or from another program; bring the file back from a copy of the directory")]
    Marker {
        /// The marker file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The directory is from a later Headgate.
    #[error("{path:?} has format {found}, and this build knows format {FORMAT}; use the newer headgate that made it")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// `--test` was given for a directory that was made without it.
    #[error("{path:?} was created without --test, and stays a real directory; give --data a new folder for tests")]
    NotTest {
        /// The directory.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    test: bool,
    created_at: Timestamp,
}

impl DataDirectory {
    /// The directory at `path`, which may not exist yet.
    ///
    /// # Errors
    /// When `path` is relative and the working directory is gone.
    pub fn at(path: &Path) -> Result<Self, DirectoryError> {
        let absolute = std::path::absolute(path).map_err(io(path, "finding the working directory"))?;
        // `.` and `..` at the end name the directory, but the master key beside it needs the directory's own name.
        let path = if absolute.file_name().is_none() { absolute.canonicalize().unwrap_or(absolute) } else { absolute };
        Ok(Self { path })
    }

    /// The directory's path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the holder answers other commands.
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET_FILE)
    }

    /// Where the configuration stands when `HEADGATE_CONFIG` names no other file.
    pub fn config_file(&self) -> PathBuf {
        self.path.join(CONFIG_FILE)
    }

    /// Takes the directory for this process, making it when there is none; or says who has it.
    ///
    /// `command` and `now` are written into the lock file for others to read. `test` makes a new directory a test directory.
    ///
    /// # Errors
    /// When the directory is someone else's, of a later format, or cannot be read or made; when `test` is asked of a real one.
    pub fn access(&self, command: &str, test: bool, now: Timestamp) -> Result<Access, DirectoryError> {
        self.prepare()?;
        let path = self.path.join(LOCK_FILE);
        let mut lock =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io(&path, "opening the lock file"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Access::HeldBy(holder(&mut lock, now))),
            Err(TryLockError::Error(source)) => return Err(io(&path, "taking the lock")(source)),
        }
        let holder = Holder { pid: std::process::id(), command: command.into(), since: now };
        name_holder(&mut lock, &holder).map_err(io(&path, "writing the lock file"))?;
        let marker = self.marker()?;
        match &marker {
            Some(marker) if marker.format != FORMAT => return Err(DirectoryError::Newer { path: self.path.clone(), found: marker.format }),
            Some(marker) if test && !marker.test => return Err(DirectoryError::NotTest { path: self.path.clone() }),
            _ => {}
        }
        let test = marker.as_ref().map_or(test, |marker| marker.test);
        Ok(Access::Held(HeldDirectory { directory: self.clone(), new: marker.is_none(), test, _lock: lock }))
    }

    /// Makes the directory, or sees that an existing one is ours or empty.
    fn prepare(&self) -> Result<(), DirectoryError> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.path).map_err(io(&self.path, "making it"));
            }
            Err(source) => return Err(io(&self.path, "reading it")(source)),
        };
        let mut foreign = Vec::new();
        for entry in entries {
            let name = entry.map_err(io(&self.path, "reading it"))?.file_name();
            match name.to_str() {
                Some(FORMAT_FILE) => return Ok(()),
                Some(CONFIG_FILE | LOCK_FILE | FORMAT_DRAFT_FILE | RESTORING_FOLDER) => {}
                _ => foreign.push(format!("{name:?}")),
            }
        }
        if foreign.is_empty() {
            std::fs::set_permissions(&self.path, Permissions::from_mode(DIRECTORY_MODE)).map_err(io(&self.path, "making it private"))
        } else {
            foreign.sort();
            foreign.truncate(FOREIGN_NAMED_MAX);
            Err(DirectoryError::Foreign { path: self.path.clone(), names: foreign.join(", ") })
        }
    }

    fn marker(&self) -> Result<Option<Marker>, DirectoryError> {
        let path = self.path.join(FORMAT_FILE);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|source| DirectoryError::Marker { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io(&path, "reading its format")(source)),
        }
    }
}

impl HeldDirectory {
    /// The directory.
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// Whether nothing was ever stored in it.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// Whether it was created with `--test`.
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// As [`HeldDirectory::mark`], for what a backup says that it is of: only a new directory becomes that.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn mark_as(&mut self, test: bool, now: Timestamp) -> Result<(), DirectoryError> {
        if self.new {
            self.test = test;
        }
        self.mark(now)
    }

    /// Writes down, durably, that this is Headgate's directory. Called once the master key is known to be kept: a directory
    /// that is marked and has no key is refused, so a crash between the two must leave it unmarked.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn mark(&mut self, now: Timestamp) -> Result<(), DirectoryError> {
        if !self.new {
            return Ok(());
        }
        let path = self.directory.path.join(FORMAT_FILE);
        let draft = self.directory.path.join(FORMAT_DRAFT_FILE);
        let marker = Marker { format: FORMAT, test: self.test, created_at: now };
        write_durably(&draft, &path, &self.directory.path, &marker).map_err(io(&path, "writing its format"))?;
        self.new = false;
        Ok(())
    }
}

fn write_durably(draft: &Path, path: &Path, folder: &Path, marker: &Marker) -> std::io::Result<()> {
    let mut file = File::create(draft)?;
    serde_json::to_writer(&mut file, marker)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(draft, path)?;
    File::open(folder)?.sync_all()
}

fn name_holder(lock: &mut File, holder: &Holder) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    serde_json::to_writer(&mut *lock, holder)?;
    lock.write_all(b"\n")
}

/// Who the lock file names; a holder that has not written its name yet is still a holder.
fn holder(lock: &mut File, now: Timestamp) -> Holder {
    let mut text = String::new();
    let read = lock.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
    let named = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    named.unwrap_or(Holder { pid: 0, command: "(starting)".into(), since: now })
}

fn io(path: &Path, act: &'static str) -> impl FnOnce(std::io::Error) -> DirectoryError {
    move |source| DirectoryError::Io { path: path.into(), act, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(path: &Path, test: bool) -> Result<Access, DirectoryError> {
        DataDirectory::at(path).unwrap().access("serve", test, Timestamp::UNIX_EPOCH)
    }

    fn held(path: &Path, test: bool) -> HeldDirectory {
        match access(path, test).unwrap() {
            Access::Held(held) => held,
            Access::HeldBy(holder) => panic!("held by {holder}"),
        }
    }

    /// An absent directory is made private; a folder that holds only the configuration counts as empty; a second process (a
    /// second open file, as the lock sees it) is told who has it; and the next one after that gets it.
    #[test]
    fn one_process_holds_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/data");
        let mut first = held(&path, false);
        assert!(first.is_new());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        first.mark(Timestamp::UNIX_EPOCH).unwrap();
        let Access::HeldBy(holder) = access(&path, false).unwrap() else { panic!("the lock was given twice") };
        assert_eq!((holder.pid, holder.command.as_str()), (std::process::id(), "serve"));
        drop(first);
        assert!(!held(&path, false).is_new());

        let configured = folder.path().join("configured");
        std::fs::create_dir(&configured).unwrap();
        std::fs::write(configured.join(CONFIG_FILE), "").unwrap();
        assert!(held(&configured, false).is_new());
    }

    /// A folder with other files in it is left alone, and not even a lock file is put there.
    #[test]
    fn foreign_folders_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let error = access(folder.path(), false).unwrap_err();
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert!(!folder.path().join(LOCK_FILE).exists());
    }

    /// Being a test directory is decided once, when it is made.
    #[test]
    fn a_test_directory_is_made_not_declared() {
        let folder = tempfile::tempdir().unwrap();
        let (real, test) = (folder.path().join("real"), folder.path().join("test"));
        held(&real, false).mark(Timestamp::UNIX_EPOCH).unwrap();
        held(&test, true).mark(Timestamp::UNIX_EPOCH).unwrap();
        assert!(matches!(access(&real, true), Err(DirectoryError::NotTest { .. })));
        assert!(held(&test, false).is_test() && held(&test, true).is_test());
    }

    /// A later format and a torn marker are refused.
    #[test]
    fn unknown_formats_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join(FORMAT_FILE);
        std::fs::write(&marker, r#"{"format":2,"test":false,"created_at":"2026-11-24T00:00:00Z"}"#).unwrap();
        assert!(matches!(access(folder.path(), false), Err(DirectoryError::Newer { found: 2, .. })));
        std::fs::write(&marker, "{").unwrap();
        assert!(matches!(access(folder.path(), false), Err(DirectoryError::Marker { .. })));
    }
}
