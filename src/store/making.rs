//! The making of a store. While it lasts a file beside the store says so: what a power loss leaves of a half-made store may not
//! open, and since nothing of it was ever acknowledged, the next start makes it anew.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use crate::store::StoreError;
use crate::store::sync_directory;

/// A store that may be being made.
pub(super) struct Making {
    is_new: bool,
}

impl Making {
    /// Called before the engine opens `store`.
    pub fn begin(store: &Path) -> Result<Self, StoreError> {
        let sign = sign(store);
        if sign.exists() && store.exists() {
            tracing::warn!("the store was not made to its end before the process or the power went; it is made anew");
            fs::remove_dir_all(store).map_err(|source| StoreError::io("remove", store, source))?;
        }
        let is_new = !store.exists();
        if is_new {
            File::create(&sign).map_err(|source| StoreError::io("make", &sign, source))?;
            sync_parent(store)?;
        }
        Ok(Making { is_new })
    }

    /// Called when the engine is open. Nothing has been acknowledged before this returns, and then the sign is gone for good.
    pub fn finish(self, store: &Path) -> Result<(), StoreError> {
        if self.is_new {
            let sign = sign(store);
            sync_tree(store)?;
            fs::remove_file(&sign).map_err(|source| StoreError::io("remove", &sign, source))?;
            sync_parent(store)?;
        }
        Ok(())
    }
}

fn sign(store: &Path) -> PathBuf {
    store.with_extension("making")
}

fn sync_parent(store: &Path) -> Result<(), StoreError> {
    store.parent().map_or(Ok(()), sync_directory)
}

/// Makes everything below a directory durable, its own entries last.
fn sync_tree(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::io("sync", path, source);
    for entry in fs::read_dir(path).map_err(io)? {
        let below = entry.map_err(io)?.path();
        if below.is_dir() {
            sync_tree(&below)?;
        } else {
            File::open(&below).and_then(|file| file.sync_all()).map_err(|source| StoreError::io("sync", &below, source))?;
        }
    }
    sync_directory(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was half made is made anew; what was made to its end stays, whatever else lies there.
    #[test]
    fn half_made_stores_are_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        // Whoever began this has not come to its end.
        Making::begin(&store).unwrap();
        fs::create_dir(&store).unwrap();
        fs::write(store.join("conf"), "").unwrap();
        let making = Making::begin(&store).unwrap();
        assert!(!store.exists(), "what a power loss left is gone");
        fs::create_dir(&store).unwrap();
        fs::write(store.join("conf"), "whole").unwrap();
        making.finish(&store).unwrap();
        Making::begin(&store).unwrap().finish(&store).unwrap();
        assert_eq!(fs::read(store.join("conf")).unwrap(), b"whole");
        assert!(!folder.path().join("store.making").exists());
    }
}
