//! Segment files: one per extent of a connection, filled with sealed blocks, unlinked whole by an erasure.
//!
//! `segments/<tenant>/<connection>/<extent>.seg`. Offsets are chosen by whoever seals (so that nothing has to be patched),
//! written at their place, synced before the rows that name them. Bytes that no row names are leftovers of a crash: they
//! are sealed, unreachable, and overwritten when the extent goes on.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::ids::ConnectionKey;
use crate::store::StoreError;
use crate::store::engine::tree_bytes;
use crate::store::sync_directory;
use crate::store::unit::Blocks;
use crate::store::watch::Call;
use crate::store::watch::Watch;

/// Open files kept for reuse; the oldest half is let go when there are more.
const OPEN_FILES_MAX: usize = 128;

/// Where sealed bytes lie within a connection's segment files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The extent, which names the file.
    pub extent: u32,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u32,
}

type Segment = (ConnectionKey, u32);

pub(super) struct Segments {
    directory: PathBuf,
    files: Mutex<HashMap<Segment, Arc<File>>>,
    watch: Arc<Watch>,
}

impl Segments {
    pub fn open(directory: PathBuf, watch: Arc<Watch>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&directory).map_err(|source| StoreError::io("make", &directory, source))?;
        // Without its own name on disk a synced segment is lost with all that leads to it.
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
        Ok(Segments { directory, files: Mutex::default(), watch })
    }

    fn folder(&self, owner: ConnectionKey) -> PathBuf {
        self.directory.join(owner.tenant.to_string()).join(owner.connection.to_string())
    }

    pub fn path(&self, (owner, extent): Segment) -> PathBuf {
        self.folder(owner).join(format!("{extent}.seg"))
    }

    /// The extent's file, made when `create` is set and it is missing; its name is then synced.
    fn file(&self, segment: Segment, create: bool) -> Result<Arc<File>, StoreError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&segment) {
            return Ok(file.clone());
        }
        let path = self.path(segment);
        if create {
            self.make_folder(segment.0)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        let file = Arc::new(options.open(&path).map_err(|source| StoreError::io("open", &path, source))?);
        if create {
            // Also for a file that is there: whoever made it may have been killed before its name was synced.
            sync_directory(&self.folder(segment.0))?;
        }
        if files.len() >= OPEN_FILES_MAX {
            let keep: HashSet<Segment> = files.keys().copied().take(OPEN_FILES_MAX / 2).collect();
            files.retain(|segment, _| keep.contains(segment));
        }
        files.insert(segment, file.clone());
        Ok(file)
    }

    fn make_folder(&self, owner: ConnectionKey) -> Result<(), StoreError> {
        let folder = self.folder(owner);
        std::fs::create_dir_all(&folder).map_err(|source| StoreError::io("make", &folder, source))?;
        sync_directory(&self.directory.join(owner.tenant.to_string()))?;
        sync_directory(&self.directory)
    }

    /// Writes blocks at their places; the files to sync are added to `touched`.
    pub fn write(&self, blocks: &Blocks, touched: &mut HashMap<Segment, Arc<File>>) -> Result<(), StoreError> {
        let _call = self.watch.call(Call::WriteBlocks)?;
        let segment = (blocks.owner, blocks.extent);
        let file = self.file(segment, true)?;
        file.write_all_at(blocks.sealed.as_bytes(), blocks.offset)
            .map_err(|source| StoreError::io("write", &self.path(segment), source))?;
        touched.insert(segment, file);
        Ok(())
    }

    pub fn sync(&self, touched: &HashMap<Segment, Arc<File>>) -> Result<(), StoreError> {
        let _call = self.watch.call(Call::SyncBlocks)?;
        for (segment, file) in touched {
            file.sync_data().map_err(|source| StoreError::io("sync", &self.path(*segment), source))?;
        }
        Ok(())
    }

    pub fn read(&self, owner: ConnectionKey, placed: Placed) -> Result<Vec<u8>, StoreError> {
        let _call = self.watch.call(Call::ReadBlock)?;
        let segment = (owner, placed.extent);
        let mut bytes = vec![0; placed.bytes as usize];
        let file = self.file(segment, false)?;
        file.read_exact_at(&mut bytes, placed.offset).map_err(|source| StoreError::io("read", &self.path(segment), source))?;
        Ok(bytes)
    }

    pub fn unlink(&self, owner: ConnectionKey) -> Result<u64, StoreError> {
        let _call = self.watch.call(Call::Unlink)?;
        self.files.lock().unwrap_or_else(PoisonError::into_inner).retain(|segment, _| segment.0 != owner);
        let folder = self.folder(owner);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.count() as u64,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(StoreError::io("list", &folder, source)),
        };
        std::fs::remove_dir_all(&folder).map_err(|source| StoreError::io("remove", &folder, source))?;
        sync_directory(&self.directory.join(owner.tenant.to_string()))?;
        Ok(entries)
    }

    /// The connections that have a folder.
    pub fn owners(&self) -> Result<Vec<ConnectionKey>, StoreError> {
        let mut owners = Vec::new();
        for tenant in numbers_in(&self.directory)? {
            let connections = numbers_in(&self.directory.join(tenant.to_string()))?;
            owners.extend(connections.into_iter().map(|connection| ConnectionKey { tenant, connection }));
        }
        Ok(owners)
    }

    /// The extents that have a file, and its length.
    pub fn lengths(&self, owner: ConnectionKey) -> Result<Vec<(u32, u64)>, StoreError> {
        let mut lengths = Vec::new();
        for extent in numbers_in(&self.folder(owner))? {
            let path = self.path((owner, extent));
            let bytes = std::fs::metadata(&path).map_err(|source| StoreError::io("measure", &path, source))?.len();
            lengths.push((extent, bytes));
        }
        Ok(lengths)
    }

    /// Cuts the file of an extent at `end`, or removes it when nothing is before that. Nobody writes meanwhile.
    pub fn trim(&self, owner: ConnectionKey, extent: u32, end: u64) -> Result<(), StoreError> {
        let segment = (owner, extent);
        // Whoever writes next must not have the removed file in hand.
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        let path = self.path(segment);
        let trim = || match end {
            0 => std::fs::remove_file(&path),
            _ => OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(end).and_then(|()| file.sync_all())),
        };
        trim().map_err(|source| StoreError::io("cut", &path, source))?;
        sync_directory(&self.folder(owner))
    }

    pub fn unlink_tenant(&self, tenant: u32) -> Result<(), StoreError> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).retain(|segment, _| segment.0.tenant != tenant);
        let folder = self.directory.join(tenant.to_string());
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| StoreError::io("remove", &folder, source)).and_then(|()| sync_directory(&self.directory)),
        }
    }

    pub fn bytes(&self) -> Result<u64, StoreError> {
        tree_bytes(&self.directory).map_err(|source| StoreError::io("measure", &self.directory, source))
    }
}

/// The files and folders of a folder whose names are numbers, an extent's `.seg` left aside; none when it is not there.
fn numbers_in(folder: &Path) -> Result<Vec<u32>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| StoreError::io("list", folder, source))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(|source| StoreError::io("list", folder, source))?.file_name();
        let name = name.to_string_lossy();
        numbers.extend(name.strip_suffix(".seg").unwrap_or(&name).parse::<u32>());
    }
    numbers.sort_unstable();
    Ok(numbers)
}
