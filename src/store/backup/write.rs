//! The writing of a backup, beside everything else.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::CHUNK_BYTES;
use super::COMPRESSION_LEVEL;
use super::CONFIG;
use super::DESTROYED;
use super::FORMAT;
use super::FilePart;
use super::HEADER;
use super::Header;
use super::ROWS;
use super::RowsPart;
use super::SEGMENTS;
use super::SEGMENTS_LIST;
use super::STOPS;
use super::SegmentLine;
use super::SegmentsPart;
use super::copied;
use super::create;
use super::create_folder;
use super::owner_of_segment;
use super::sync_folders;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::store::AuditHead;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::compact::InPause;
use crate::store::copy;
use crate::store::copy::CopyError;
use crate::store::copy::CopyWatch;
use crate::store::copy::RowsDigest;
use crate::store::engine::Database;
use crate::store::place;
use crate::store::row;
use crate::store::stops;
use crate::store::sync_directory;

/// Memory for the pages of the copy that the rows are written from.
const CACHE_BYTES: u64 = 16 << 20;
/// Rows that are written in one step.
const STEP_ROWS: usize = 2048;

/// What a backup is to be made of and where.
pub struct BackupOrder<'a> {
    /// The folder, absolute. It must not exist yet, or be empty.
    pub to: &'a Path,
    /// When it is made.
    pub at: Timestamp,
    /// Whether the data directory was made for tests.
    pub test: bool,
    /// The list of destroyed keys as bytes. Asked for when all segment files are copied: what vanished under the copy was
    /// destroyed before, and so is on the list.
    pub destroyed: &'a dyn Fn() -> Result<Vec<u8>, CopyError>,
}

/// What a backup came to.
#[derive(Debug, Clone, Copy)]
pub struct BackedUp {
    /// Of the whole backup: the last line of its header.
    pub digest: Digest,
    /// Rows.
    pub rows: u64,
    /// Size of the audit log.
    pub audit_entries: u64,
    /// Segment files.
    pub segment_files: u64,
    /// Segment files that were erased before they were copied.
    pub segments_erased: u64,
    /// Bytes of the backup.
    pub bytes: u64,
    /// How long nothing was written.
    pub pause: Duration,
}

impl Store {
    /// Writes a backup of the rows as of one moment, and of every byte that they name, while everything goes on. For a
    /// blocking thread. The folder gets its name when everything in it is durable.
    ///
    /// A connection that is erased meanwhile is in it or not, and opens in no case: its keys are on the backup's list.
    ///
    /// # Errors
    /// [`CopyError::Occupied`], [`CopyError::Inside`], [`CopyError::Interrupted`], [`CopyError::UnderWay`], and the
    /// refusals of disk and engine. Nothing is left of it then.
    pub fn backup(&self, order: &BackupOrder<'_>, watch: &Arc<CopyWatch>) -> Result<BackedUp, CopyError> {
        let _alone = self.copying_alone("backup")?;
        self.refuse_place(order.to)?;
        let (Some(parent), Some(name)) = (order.to.parent(), order.to.file_name()) else {
            return Err(CopyError::Occupied { path: order.to.into() });
        };
        let part = parent.join(format!(".{}.headgate-part", name.to_string_lossy()));
        create_folder(parent)?;
        copy::remove(&part)?;
        let written = self.write_backup(order, &part, watch).and_then(|backed_up| {
            watch.begin("naming it");
            fs::rename(&part, order.to).map_err(|source| StoreError::io("name", order.to, source))?;
            sync_directory(parent)?;
            Ok(backed_up)
        });
        if written.is_err() {
            copy::remove(&part)?;
            copy::remove(&self.inner.directory.join(place::BACKING_UP))?;
        }
        written
    }

    /// Neither over something, nor among the files that are copied.
    fn refuse_place(&self, to: &Path) -> Result<(), CopyError> {
        let directory = &self.inner.directory;
        if to.starts_with(directory) && !to.starts_with(directory.join("backups")) {
            return Err(CopyError::Inside { path: to.into() });
        }
        let is_free = match fs::read_dir(to) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_free { Ok(()) } else { Err(CopyError::Occupied { path: to.into() }) }
    }

    fn write_backup(&self, order: &BackupOrder<'_>, part: &Path, watch: &Arc<CopyWatch>) -> Result<BackedUp, CopyError> {
        create_folder(part)?;
        let fences = self.inner.fences.clone();
        let last = move |_: &Arc<Database>| Ok(fences.stops());
        let InPause { copied, pause, last: stops } = self.copied_in_pause(place::BACKING_UP, CACHE_BYTES, watch, last)?;
        let rows = write_rows(&copied.database, &part.join(ROWS), watch)?;
        if rows.rows != copied.rows {
            return Err(CopyError::Differs);
        }
        let head = copied.database.get(&row::key_bytes::<AuditHead>(&()))?;
        let audit_entries = head.map(|value| row::decode::<AuditHead>(&value)).transpose()?.map_or(0, |head| head.size);
        drop(copied);
        copy::remove(&self.inner.directory.join(place::BACKING_UP))?;
        let (segments, segments_erased) = write_segments(&self.inner.directory.join(SEGMENTS), part, watch)?;
        let mut files = Vec::new();
        let mut add = |name: &str, bytes: &[u8]| {
            files.push(FilePart { name: name.into(), digest: Digest::of(bytes) });
            write_durably(&part.join(name), bytes)
        };
        add(STOPS, &stops::encoded(&stops))?;
        add(DESTROYED, &(order.destroyed)()?)?;
        if let Ok(config) = fs::read(self.inner.directory.join(CONFIG)) {
            add(CONFIG, &config)?;
        }
        let headgate = env!("CARGO_PKG_VERSION").into();
        let header = Header { format: FORMAT, made_at: order.at, headgate, test: order.test, audit_entries, rows, segments, files };
        let text = serde_json::to_string(&header).map_err(|error| StoreError::io("write", part, error.into()))?;
        let digest = Digest::of(text.as_bytes());
        write_durably(&part.join(HEADER), format!("{text}\n{digest}\n").as_bytes())?;
        sync_folders(part)?;
        let bytes = header.rows.bytes + header.segments.bytes;
        let (rows, segment_files) = (header.rows.rows, header.segments.files);
        Ok(BackedUp { digest, rows, audit_entries, segment_files, segments_erased, bytes, pause })
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|source| StoreError::io("write", path, source))
}

fn write_rows(database: &Arc<Database>, path: &Path, watch: &CopyWatch) -> Result<RowsPart, CopyError> {
    watch.begin("writing rows");
    let mut chunks = Chunks { file: create(path)?, path, plain: Vec::new(), rows: 0, bytes: 0 };
    let (mut digest, mut last) = (RowsDigest::new(), None);
    loop {
        let rows = copy::step(database, last.as_ref(), std::ops::Bound::Unbounded, STEP_ROWS)?;
        let Some((key, _)) = rows.last() else { break };
        last = Some(key.clone());
        for (key, value) in &rows {
            digest.add(key, value);
            chunks.add(key, value)?;
        }
        watch.add(rows.len() as u64)?;
    }
    let bytes = chunks.end()?;
    let (digest, rows) = digest.finish();
    Ok(RowsPart { rows, digest, bytes })
}

/// Rows on their way into the file, and the chunk that is being filled.
struct Chunks<'a> {
    file: File,
    path: &'a Path,
    plain: Vec<u8>,
    rows: u32,
    bytes: u64,
}

impl Chunks<'_> {
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        for part in [key, value] {
            self.plain.extend_from_slice(&(part.len() as u32).to_be_bytes());
            self.plain.extend_from_slice(part);
        }
        self.rows += 1;
        if self.plain.len() >= CHUNK_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let io = |source| StoreError::io("write", self.path, source);
        let compressed = zstd::bulk::compress(&self.plain, COMPRESSION_LEVEL).map_err(io)?;
        let mut frame = Vec::with_capacity(compressed.len() + 44);
        for number in [compressed.len() as u32, self.plain.len() as u32, self.rows] {
            frame.extend_from_slice(&number.to_be_bytes());
        }
        frame.extend_from_slice(&Digest::of(&self.plain).to_bytes());
        frame.extend_from_slice(&compressed);
        self.file.write_all(&frame).map_err(io)?;
        self.bytes += frame.len() as u64;
        self.plain.clear();
        self.rows = 0;
        Ok(())
    }

    fn end(mut self) -> Result<u64, StoreError> {
        if self.rows > 0 {
            self.write()?;
        }
        self.file.sync_all().map_err(|source| StoreError::io("sync", self.path, source))?;
        Ok(self.bytes)
    }
}

/// Copies the segment files as they are now: they only grow, and what the rows name was in them before. How many were
/// erased before they were copied.
fn write_segments(from: &Path, part: &Path, watch: &CopyWatch) -> Result<(SegmentsPart, u64), CopyError> {
    watch.begin("copying segments");
    let (mut list, mut files, mut bytes, mut erased) = (String::new(), 0, 0, 0);
    for path in segment_files(from)? {
        let name = path.strip_prefix(from).unwrap_or(&path).to_string_lossy().into_owned();
        if owner_of_segment(&name).is_none() {
            continue;
        }
        let source = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                erased += 1;
                continue;
            }
            opened => opened.map_err(|source| StoreError::io("open", &path, source))?,
        };
        let to = part.join(SEGMENTS).join(&name);
        create_folder(to.parent().unwrap_or(part))?;
        let mut file = create(&to)?;
        let (copied, digest) = copied(source, &path, |step| {
            file.write_all(step).map_err(|source| StoreError::io("write", &to, source))?;
            watch.add(step.len() as u64)
        })?;
        file.sync_all().map_err(|source| StoreError::io("sync", &to, source))?;
        list.push_str(&SegmentLine { name, bytes: copied, digest }.text());
        files += 1;
        bytes += copied;
    }
    write_durably(&part.join(SEGMENTS_LIST), list.as_bytes())?;
    Ok((SegmentsPart { files, bytes, digest: Digest::of(list.as_bytes()) }, erased))
}

/// The files below a folder, in the order of their names; what vanishes meanwhile is left out.
fn segment_files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| StoreError::io("list", folder, source))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| StoreError::io("list", folder, source))?.path();
        match path.is_dir() {
            true => files.extend(segment_files(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}
