//! The keyring and what is sealed under it.
//!
//! ```text
//! master -> root -> tenant -> connection                  wraps; each key is random, none is derived from the one above
//!                     |           '-> index, commitment and sealing subkeys (HKDF), which die with it
//!                     |-> extent, in its connection's file
//!                     '-> credential, revoking           a secret can go while the data stays
//! ```
//!
//! Destroying a key is what erasure is: **with copies of everything else from before, nothing that stood under a destroyed
//! key opens**. So the wrapped keys lie in `keyring/`, outside sled, which keeps the bytes of what it removed, and no backup
//! of the store takes them along. The list `keyring/destroyed` only grows; an older keyring that comes back loses again what
//! the list names.

mod destruction;
mod export;
mod extents;
mod files;
mod hierarchy;
mod import;
mod keyring;
mod keys;
mod list;
mod master;
mod rotation;
mod seal;
mod secrets;
mod signing;
#[cfg(test)]
mod tests;
mod turn;
mod wrapped;

use std::io;
use std::path::Path;
use std::path::PathBuf;

pub use destruction::DestroyedKeys;
pub use export::EXPORT_LIFE_DAYS;
pub use export::EXPORT_LIFE_DAYS_MAX;
pub use export::Export;
pub use files::FileKeyring;
pub use hierarchy::HighestNumbers;
pub use hierarchy::Vault;
pub use import::Imported;
pub use import::import;
pub use keyring::DestroyedKey;
pub use keyring::KeyKind;
pub use keyring::Keyring;
pub use keyring::Slot;
pub use keys::ArtifactKey;
pub use keys::ConnectionKeys;
pub use keys::ExtentKey;
pub use keys::Purpose;
pub use keys::SEAL_OVERHEAD;
pub use master::MasterKey;
pub use rotation::Rotation;
pub use signing::PublicKey;
pub use signing::SigningKey;
pub use signing::SigningUse;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;

/// What the vault refuses or fails at. No message holds a key or anything sealed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The folder holds no keyring.
    #[error(
        "no keyring in {folder:?}: {file:?} is missing; put back the keyring of this data directory, \
         or give `--keyring` and `--destroyed` to `store restore`"
    )]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
        /// The file that is not there.
        file: PathBuf,
    },
    /// A new keyring would take the place of one.
    #[error("{folder:?} holds a keyring already; open it, or name another data directory")]
    Present {
        /// Where it is.
        folder: PathBuf,
    },
    /// The root key does not open under the master key that was given.
    #[error("the master key given is not the one that wraps this keyring's root key; give the one it was created or last rotated with")]
    WrongMaster,
    /// A text that is no master key.
    #[error("the master key is malformed: it is 32 bytes in padded standard base64 (44 characters)")]
    MasterMalformed,
    /// The key is destroyed: what it sealed is gone for good.
    #[error("the {what} key of connection {owner} is destroyed; what it sealed cannot be read again")]
    Destroyed {
        /// What the key was for.
        what: &'static str,
        /// Whose it was.
        owner: ConnectionKey,
    },
    /// There never was such a key.
    #[error(
        "there is no {what} key of connection {owner}; the keyring and the store are not of the same data directory, or of another day"
    )]
    NoKey {
        /// What the key would be for.
        what: &'static str,
        /// Whose it would be.
        owner: ConnectionKey,
    },
    /// The number belongs to another, older connection.
    #[error("connection {owner} has keys already; take a number above the highest in the keyring")]
    Taken {
        /// The number that is taken.
        owner: ConnectionKey,
    },
    /// A connection has as many extents as it may have.
    #[error("connection {owner} has {limit} extents, the most there may be; make a new connection that succeeds it")]
    TooManyExtents {
        /// The connection.
        owner: ConnectionKey,
        /// The limit.
        limit: u32,
    },
    /// A ciphertext does not open: another key's, another place's, or damaged.
    #[error("a sealed {what} of connection {owner} does not open: it is damaged, or was moved from another place; run `store check`")]
    Unopened {
        /// What it should have been.
        what: &'static str,
        /// Whose it should have been.
        owner: ConnectionKey,
    },
    /// A key file is not what was written.
    #[error("{path:?} is damaged; restore this file from an export of the keyring")]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// The value in a slot reads well but is not a key of that place.
    #[error("the keyring's value for {slot:?} is not one of its form; restore it from an export of the keyring")]
    Malformed {
        /// The slot.
        slot: Slot,
    },
    /// An export would take the place of a file.
    #[error("{path:?} is there already, and an export never overwrites a file; name another one")]
    ExportPresent {
        /// The file.
        path: PathBuf,
    },
    /// An export is past its time.
    #[error("the export {path:?} was made {made_at} and expired {expires_at}; take a newer one")]
    ExportExpired {
        /// The file.
        path: PathBuf,
        /// When it was made.
        made_at: Timestamp,
        /// When its time was over.
        expires_at: Timestamp,
    },
    /// A file that is no export, or not as it was written.
    #[error("{path:?} is no export of a keyring, or is damaged; take another copy of it")]
    ExportDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The master key is not the one that the export was made under.
    #[error("the master key given is not the one under which the export {path:?} was made; give the one that was in force then")]
    ExportOfOther {
        /// The file.
        path: PathBuf,
    },
    /// A list of destroyed keys cannot be read.
    #[error("{path:?} is no list of destroyed keys, or is damaged; take the file `keyring/destroyed` of the data directory")]
    ListDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The list of destroyed keys is from before the export.
    #[error(
        "the list {path:?} has {entries} destroyed keys, and the export knows of {needed}; \
         take the newest copy of `keyring/destroyed`, or keys that were destroyed would come back"
    )]
    ListShort {
        /// The list.
        path: PathBuf,
        /// How many it has.
        entries: usize,
        /// How many it has to have.
        needed: usize,
    },
    /// The list of destroyed keys does not go on from the export's.
    #[error("the list {path:?} is of another data directory than the export: entry {entry} differs; take the list that belongs to it")]
    ListForeign {
        /// The list.
        path: PathBuf,
        /// The first entry that differs, counted from 1.
        entry: usize,
    },
    /// A rotation was decided, and not all of its files are in place.
    #[error(
        "the new master key holds, but not every key in {folder:?} is in its place; mend the disk, then end headgate and start it with the new master key"
    )]
    TurnUnfinished {
        /// Where.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot {act} {path:?}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl VaultError {
    fn io(act: &'static str, path: &Path, source: io::Error) -> Self {
        VaultError::Io { act, path: path.to_owned(), source }
    }
}
