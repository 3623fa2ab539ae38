//! Putting folders in the place of others so that a crash at any moment leaves the one or the other, whole.
//!
//! One folder is exchanged with another in one step where the file system can (`renameat2`). Several, and any on other file
//! systems, are renamed one after the other under a note of what is to be done: whoever opens the data directory next does
//! the rest of it. The note is written when everything new is complete and durable, so the rest is always the new state.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;

use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::fs::renameat_with;
use serde::Deserialize;
use serde::Serialize;

use crate::store::StoreError;
use crate::store::copy;
use crate::store::sync_directory;

/// The note of renames that are under way.
pub(super) const NOTE: &str = "replacing.json";
/// Folders of the data directory that are worth nothing once nobody works in them: copies that were never finished, and
/// what a finished one has replaced.
const LEFTOVERS: [&str; 4] = [COMPACTING, COMPACTED, BACKING_UP, RESTORING];
/// Where a compaction builds the new database.
pub(super) const COMPACTING: &str = "store.compact";
/// Where the old one goes when it cannot be exchanged in one step.
const COMPACTED: &str = "store.old";
/// Where a backup holds the rows of its moment.
pub(super) const BACKING_UP: &str = "store.backup";
/// Where a restore builds what it restores.
pub(super) const RESTORING: &str = "restoring";

/// One rename: what is at `place` goes to `aside`, what is at `new` to `place`. All are relative to the data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Move {
    pub new: String,
    pub place: String,
    pub aside: String,
}

/// Why folders were not put in the place of others.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing has changed.
    Before(StoreError),
    /// Nobody knows what lies where after a power loss; the next start does.
    Between(StoreError),
}

/// Exchanges the database in use with the new one. Both are complete and durable before and after.
pub(super) fn exchange_store(directory: &Path) -> Result<(), Failed> {
    let (store, new) = (directory.join("store"), directory.join(COMPACTING));
    match renameat_with(CWD, &store, CWD, &new, RenameFlags::EXCHANGE) {
        Ok(()) => sync_directory(directory).map_err(Failed::Between),
        Err(_) => replace(directory, &[Move { new: COMPACTING.into(), place: "store".into(), aside: COMPACTED.into() }]),
    }
}

/// Notes the moves, durably, and does them.
pub(super) fn replace(directory: &Path, moves: &[Move]) -> Result<(), Failed> {
    let (path, draft) = (directory.join(NOTE), directory.join(format!("{NOTE}.draft")));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(moves)?)?;
        file.sync_all()
    };
    write().map_err(|source| Failed::Before(StoreError::io("write", &draft, source)))?;
    fs::rename(&draft, &path).map_err(|source| Failed::Before(StoreError::io("write", &path, source)))?;
    sync_directory(directory).and_then(|()| finish(directory)).map_err(Failed::Between)
}

/// Whether renames are under way.
pub(super) fn is_noted(directory: &Path) -> bool {
    directory.join(NOTE).exists()
}

/// Does the rest of the moves that were noted; nothing when none were.
pub(super) fn finish(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(NOTE);
    let note = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        note => note.map_err(|source| StoreError::io("read", &path, source))?,
    };
    let moves: Vec<Move> = serde_json::from_slice(&note).map_err(|error| StoreError::io("understand", &path, error.into()))?;
    for Move { new, place, aside } in &moves {
        let (new, place, aside) = (directory.join(new), directory.join(place), directory.join(aside));
        // What is no longer at `new` is at its place already.
        if !new.exists() {
            continue;
        }
        if place.exists() && !aside.exists() {
            rename(&place, &aside)?;
        }
        rename(&new, &place)?;
    }
    fs::remove_file(&path).map_err(|source| StoreError::io("remove", &path, source))?;
    sync_directory(directory)
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|source| StoreError::io("make", parent, source))?;
    }
    fs::rename(from, to).map_err(|source| StoreError::io("rename", from, source))?;
    [from, to].iter().filter_map(|path| path.parent()).try_for_each(sync_directory)
}

/// Removes what copies have left behind. Called by whoever holds the store, before anybody copies.
pub(super) fn remove_leftovers(directory: &Path) -> Result<(), StoreError> {
    LEFTOVERS.iter().map(|name| directory.join(name)).filter(|path| path.exists()).try_for_each(|path| {
        tracing::info!(folder = %path.display(), "what an interrupted copy of the store has left is removed");
        copy::remove(&path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a crash between any two of the renames is finished by the next start. Method: put the files as they lie after
    /// each of them, and look that the end is always the same.
    #[test]
    fn renames_are_finished_wherever_they_were_cut() {
        let moves =
            ["store", "stops"].map(|part| Move { new: format!("restoring/{part}"), place: part.into(), aside: format!("replaced/{part}") });
        for done in 0..=4 {
            let directory = tempfile::tempdir().unwrap();
            let at = |path: &str| directory.path().join(path);
            for part in ["store", "stops"] {
                fs::create_dir_all(at(&format!("restoring/{part}/new"))).unwrap();
                fs::create_dir_all(at(&format!("{part}/old"))).unwrap();
            }
            fs::write(at(NOTE), serde_json::to_vec(&moves).unwrap()).unwrap();
            fs::create_dir(at("replaced")).unwrap();
            let renames = moves.iter().flat_map(|moved| [(&moved.place, &moved.aside), (&moved.new, &moved.place)]);
            renames.take(done).for_each(|(from, to)| fs::rename(at(from), at(to)).unwrap());
            finish(directory.path()).unwrap();
            for part in ["store", "stops"] {
                assert!(at(&format!("{part}/new")).exists() && at(&format!("replaced/{part}/old")).exists(), "{part} after {done}");
            }
            assert!(!at(NOTE).exists());
        }
    }
}
