//! All values of a file keyring replaced at one moment, which is what a rotation of the master key needs.
//!
//! Everything stays inside `keyring/`, so that whoever copies the data directory without it copies no key:
//!
//! - *stage*: `next.part/` gets every value anew; nobody reads it.
//! - *decide*: `next.part/` becomes `next/`. Before this rename nothing has happened; after it everything will have.
//! - *take place*: each file goes to `old/`, and its successor from `next/` to where it was. Renames alone, so that readers
//!   wait for milliseconds, however many connections there are. The old root key is wiped at once: without it the rest of
//!   `old/` is noise, whoever holds whichever master key.
//! - *settle*: what is in `old/` is wiped.
//!
//! [`FileKeyring::open`] finishes a turn that was decided, and forgets one that was not.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::vault::FileKeyring;
use crate::vault::Slot;
use crate::vault::VaultError;
use crate::vault::files::FOLDERS;
use crate::vault::files::ROOT;
use crate::vault::files::files_in;
use crate::vault::files::sync_folder;

/// Values that nobody reads yet.
const BEING_MADE: &str = "next.part";
/// Values that take the place of those beside this folder, whatever happens.
const DECIDED: &str = "next";
/// Values whose place was taken, to be wiped.
const REPLACED: &str = "old";

impl FileKeyring {
    /// Whether a turn was decided and has not taken place: there is a root key, if not in its place.
    pub(super) fn is_decided(folder: &Path) -> bool {
        folder.join(DECIDED).exists()
    }

    /// The keyring whose root key holds: this one, or the one that was decided to take its place.
    pub(super) fn to_be(&self) -> FileKeyring {
        let decided = self.within(DECIDED);
        if decided.folder().join(ROOT).exists() { decided } else { self.like(self.folder()) }
    }

    /// Finishes a turn that was decided, forgets one that was not, and wipes what either left.
    pub(super) fn finish_turn(&self) -> Result<(), VaultError> {
        self.take_place().map_err(|source| VaultError::io("finish a rotation in", self.folder(), source))?;
        self.forget_staged()?;
        self.wipe_replaced()
    }

    pub(super) fn stage_values(&self, values: &[(Slot, Vec<u8>)]) -> Result<(), VaultError> {
        let staged = self.within(BEING_MADE);
        staged.make_folders()?;
        for (slot, _) in values {
            staged.wipe_slot(*slot)?;
        }
        staged.fill(values)
    }

    pub(super) fn unstage_value(&self, slot: Slot) -> Result<(), VaultError> {
        self.within(BEING_MADE).wipe_slot(slot)
    }

    pub(super) fn forget_staged(&self) -> Result<(), VaultError> {
        self.within(BEING_MADE).clear_away()
    }

    pub(super) fn wipe_replaced(&self) -> Result<(), VaultError> {
        self.within(REPLACED).clear_away()
    }

    pub(super) fn turn_staged(&self) -> Result<(), VaultError> {
        let (made, decided) = (self.folder().join(BEING_MADE), self.folder().join(DECIDED));
        let decide = || {
            self.step()?;
            fs::rename(&made, &decided)?;
            self.step()?;
            sync_folder(self.folder())
        };
        let outcome = decide().and_then(|()| self.take_place());
        // Decided or not is what the rename says, whatever failed after it.
        outcome.map_err(|source| match decided.exists() || !made.exists() {
            true => VaultError::TurnUnfinished { folder: self.folder().to_owned(), source },
            false => VaultError::io("rotate the keys in", self.folder(), source),
        })
    }

    /// Moves every file of `next/` to its place, and the one that was there to `old/`. While a file is in `next/`, the one in
    /// its place is of before; so this may stop anywhere and begin again.
    fn take_place(&self) -> io::Result<()> {
        let decided = self.folder().join(DECIDED);
        if !decided.exists() {
            return Ok(());
        }
        let replaced = self.within(REPLACED);
        replaced.make_folders().map_err(io::Error::other)?;
        for part in parts().filter(|part| decided.join(part).exists()) {
            for next in files_in(&decided.join(&part)).map_err(io::Error::other)? {
                let name = part.join(next.file_name().unwrap_or_default());
                let kept = self.folder().join(&name);
                self.step()?;
                if kept.exists() {
                    fs::rename(&kept, replaced.folder().join(&name))?;
                }
                self.step()?;
                fs::rename(&next, &kept)?;
            }
        }
        self.step()?;
        for part in parts() {
            sync_folder(&self.folder().join(&part))?;
            sync_folder(&replaced.folder().join(&part))?;
        }
        for part in parts().collect::<Vec<_>>().into_iter().rev().filter(|part| decided.join(part).exists()) {
            self.step()?;
            fs::remove_dir(decided.join(part))?;
        }
        sync_folder(self.folder())?;
        replaced.wipe(&replaced.folder().join(ROOT))
    }

    /// The keyring in a folder of this one: the same files, to another end.
    fn within(&self, name: &str) -> FileKeyring {
        self.like(&self.folder().join(name))
    }
}

/// The folders of a keyring, itself first, relative to it.
fn parts() -> impl Iterator<Item = PathBuf> {
    [""].into_iter().chain(FOLDERS).map(PathBuf::from)
}
