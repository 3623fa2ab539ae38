//! The place where a restore is made beside the store that it takes the place of. Used while nobody has that store open.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use crate::store::RawRow;
use crate::store::Stop;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::copy;
use crate::store::engine::Database;
use crate::store::place;
use crate::store::place::Failed;
use crate::store::place::Move;
use crate::store::stops;

/// What a store consists of, below its data directory.
pub const STORE_PARTS: [&str; 3] = ["store", "segments", "stops"];

/// Memory for the pages of the old database while a few tables of it are read.
const CACHE_BYTES: u64 = 16 << 20;
/// How long the old database is read at most: a damaged one may never answer (SLED.md).
const READ_WAIT: Duration = Duration::from_secs(60);

/// A folder beside the store, removed unless it takes the store's place.
pub struct Restoring {
    data: PathBuf,
    folder: PathBuf,
}

impl Restoring {
    /// An empty folder in a data directory that this process holds.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn begin(data: &Path) -> Result<Self, StoreError> {
        place::finish(data)?;
        let folder = data.join(place::RESTORING);
        copy::remove(&folder)?;
        std::fs::create_dir(&folder).map_err(|source| StoreError::io("make", &folder, source))?;
        Ok(Restoring { data: data.into(), folder })
    }

    /// Where to build.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stops of the present store, whatever state that is in.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn present_stops(&self) -> Result<Vec<Stop>, StoreError> {
        stops::listed(&self.data.join("stops"))
    }

    /// The rows of some tables of the present store; none when there is no store, or when it cannot be read within a minute.
    pub fn present_rows(&self, tables: &[Table]) -> Option<Vec<RawRow>> {
        let (path, tags): (_, Vec<u8>) = (self.data.join("store"), tables.iter().map(|table| table.tag()).collect());
        if !path.exists() {
            return None;
        }
        let (answer, rows) = mpsc::channel();
        let read = move || -> Result<Vec<RawRow>, StoreError> {
            let database = Arc::new(Database::open(&path, CACHE_BYTES)?);
            let of_tag = |tag: u8| database.range((std::ops::Bound::Included(vec![tag]), std::ops::Bound::Excluded(vec![tag + 1])));
            tags.into_iter().flat_map(of_tag).map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
        };
        // A thread of its own: should sled hang or panic on a damaged file, only that is lost.
        let reading = std::thread::Builder::new().name("headgate-present".into()).spawn(move || answer.send(read()));
        let rows = reading.ok().and_then(|_| rows.recv_timeout(READ_WAIT).ok())?;
        match rows {
            Ok(rows) => Some(rows),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the present store cannot be read; nothing is taken over from it");
                None
            }
        }
    }

    /// Puts what was built in its place, all of it or nothing; what is there now goes to the folder `aside`, below the data
    /// directory. `also` names further files of the folder that belong there, such as a keyring.
    ///
    /// # Errors
    /// When the file system refuses; if that is between two renames, the next start does the rest.
    pub fn put_in_place(self, aside: &str, also: &[&str]) -> Result<(), StoreError> {
        let moves: Vec<Move> = STORE_PARTS
            .iter()
            .chain(also)
            .map(|part| Move { new: format!("{}/{part}", place::RESTORING), place: (*part).into(), aside: format!("{aside}/{part}") })
            .collect();
        place::replace(&self.data, &moves).map_err(|failed| match failed {
            Failed::Before(error) | Failed::Between(error) => error,
        })
    }
}

impl Drop for Restoring {
    /// When the renames are noted, the next start needs the folder.
    fn drop(&mut self) {
        if !place::is_noted(&self.data)
            && let Err(error) = copy::remove(&self.folder)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "what was built for the restore is left for the next start to remove");
        }
    }
}
