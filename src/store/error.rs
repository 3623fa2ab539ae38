//! What can go wrong in keeping.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::ids::ConnectionKey;
use crate::store::Table;
use crate::store::anchor;
use crate::store::opening;
use crate::store::opening::LockHolder;
use crate::store::opening::OpenFault;

/// The engine's folder, as messages name it.
const ENGINE_FOLDER: &str = "store";

/// A refusal of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory open.
    #[error("{path:?} is held by {holder}; end it, or run the command while it serves: it is then passed on")]
    Held {
        /// The engine's directory.
        path: PathBuf,
        /// Which process.
        holder: LockHolder,
    },
    /// The engine does not open its files.
    #[error(
        "{path:?} does not open: {fault}; keep a copy of it, see with `headgate store check` what it still holds, and bring a \
         backup back with `headgate store restore`"
    )]
    Unopened {
        /// The engine's directory.
        path: PathBuf,
        /// What happened.
        fault: OpenFault,
    },
    /// The embedded engine failed.
    #[error("the store's engine failed; look at the disk, then run `headgate store check`")]
    Engine {
        /// sled's words.
        source: sled::Error,
    },
    /// The engine holds less than was made durable.
    #[error(
        "{path:?} has lost its end: it knows of {has} units, and {had} were made durable. sled drops what stands behind damaged bytes \
         and says nothing. Bring a backup back with `headgate store restore`; or, to go on with what is left, remove {anchor:?}",
        anchor = path.join(anchor::ANCHOR_FILE)
    )]
    RolledBack {
        /// The engine's directory.
        path: PathBuf,
        /// The number of its last unit.
        has: u64,
        /// The number of the last unit that was synced.
        had: u64,
    },
    /// The file system failed.
    #[error("cannot {what} {path:?}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A unit named a gate that is closed, or open at another epoch. Nothing of it was written.
    #[error("connection {owner} was stopped meanwhile; nothing of this was stored")]
    GateClosed {
        /// Whose gate.
        owner: ConnectionKey,
    },
    /// A unit expected a row that has changed. Nothing of it was written.
    #[error("a row of `{table}` was changed by someone else meanwhile; read it again and decide anew")]
    Conflict {
        /// The row's table.
        table: &'static str,
    },
    /// A row that does not read back.
    #[error("a row of `{table}` does not read back; restore from a backup, and report this")]
    Malformed {
        /// The row's table.
        table: &'static str,
    },
    /// A value past the limit.
    #[error("a row of `{table}` would be {bytes} bytes, above the {max} that the store keeps in one row")]
    ValueTooLarge {
        /// The row's table.
        table: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A page would take room that is kept for everything else.
    #[error(
        "the disk is full: {path:?} has {} MiB left, and {} MiB are kept for what must still work; free some space, run `headgate \
         store compact`, and pull again", free_bytes >> 20, floor_bytes >> 20
    )]
    DiskFull {
        /// The data directory.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is kept free.
        floor_bytes: u64,
    },
    /// The writer has ended: the process is going down, or an earlier failure ended it.
    #[error("the store no longer takes writes; an earlier error in the log says why; restart the process")]
    Stopped,
}

impl StoreError {
    /// What the file system refused the engine is told as a refusal of the file system.
    pub(super) fn engine(source: sled::Error) -> Self {
        match source {
            sled::Error::Io(source) => StoreError::io("read or write", Path::new(ENGINE_FOLDER), source),
            source => StoreError::Engine { source },
        }
    }

    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        StoreError::Io { what, path: path.into(), source }
    }

    /// sled tells a held lock only in words, inside an I/O error.
    pub(super) fn opening(path: &Path, source: sled::Error) -> Self {
        let held =
            matches!(&source, sled::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("lock"));
        match source {
            _ if held => StoreError::Held { path: path.into(), holder: opening::lock_holder(&path.join("db")) },
            sled::Error::Io(source) => StoreError::io("open", path, source),
            source => StoreError::Engine { source },
        }
    }

    pub(super) fn unknown(table: Option<Table>) -> &'static str {
        table.map_or("an unknown table", Table::name)
    }
}

impl StoreError {
    /// A second error of the same meaning, for each of the units that one failed sync leaves unacknowledged.
    pub(super) fn again(&self) -> Self {
        match self {
            StoreError::Engine { source } => StoreError::Engine { source: source.clone() },
            StoreError::Io { what, path, source } => StoreError::Io { what, path: path.clone(), source: io::Error::from(source.kind()) },
            StoreError::GateClosed { owner } => StoreError::GateClosed { owner: *owner },
            StoreError::Conflict { table } => StoreError::Conflict { table },
            StoreError::Held { path, holder } => StoreError::Held { path: path.clone(), holder: holder.clone() },
            StoreError::RolledBack { path, has, had } => StoreError::RolledBack { path: path.clone(), has: *has, had: *had },
            StoreError::Unopened { path, fault } => StoreError::Unopened { path: path.clone(), fault: fault.clone() },
            StoreError::Malformed { table } => StoreError::Malformed { table },
            StoreError::ValueTooLarge { table, bytes, max } => StoreError::ValueTooLarge { table, bytes: *bytes, max: *max },
            StoreError::DiskFull { path, free_bytes, floor_bytes } => {
                StoreError::DiskFull { path: path.clone(), free_bytes: *free_bytes, floor_bytes: *floor_bytes }
            }
            StoreError::Stopped => StoreError::Stopped,
        }
    }
}
