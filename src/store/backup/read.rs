//! The reading of a backup: verified wholly before anything is made of it.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::CHUNK_BYTES_MAX;
use super::CONFIG;
use super::DESTROYED;
use super::FORMAT;
use super::HEADER;
use super::Header;
use super::ROWS;
use super::SEGMENTS;
use super::SEGMENTS_LIST;
use super::SMALL_FILES;
use super::STOPS;
use super::SegmentLine;
use super::copied;
use super::create;
use super::create_folder;
use super::owner_of_segment;
use super::sync_folders;
use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::store::Stop;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::copy;
use crate::store::copy::CopyError;
use crate::store::copy::CopyWatch;
use crate::store::copy::RowsDigest;
use crate::store::engine::Database;
use crate::store::layout::Erasure;
use crate::store::stops;

/// Bytes of a header or a small file that are believed.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A backup whose every byte was found to be as it was written.
pub struct Backup {
    path: PathBuf,
    header: Header,
    digest: Digest,
    segments: Vec<SegmentLine>,
    files: HashMap<String, Vec<u8>>,
}

/// What was made of a backup.
#[derive(Debug, Clone, Copy)]
pub struct Built {
    /// Rows.
    pub rows: u64,
    /// Rows that were left out, because their connection is erased.
    pub rows_erased: u64,
    /// Segment files.
    pub segment_files: u64,
}

impl Backup {
    /// Reads a backup and compares everything in it with its digest.
    ///
    /// # Errors
    /// [`CopyError::NoBackup`], [`CopyError::Newer`], [`CopyError::Damaged`] with the file's name, [`CopyError::Interrupted`].
    pub fn open(path: &Path, watch: &CopyWatch) -> Result<Self, CopyError> {
        watch.begin("verifying");
        let (header, digest) = read_header(path)?;
        let mut backup = Backup { path: path.into(), header, digest, segments: Vec::new(), files: HashMap::new() };
        for part in &backup.header.files {
            if !SMALL_FILES.contains(&part.name.as_str()) {
                return Err(backup.damaged(HEADER, "it names a file that no backup has"));
            }
            let bytes = backup.whole(&part.name)?;
            if Digest::of(&bytes) != part.digest {
                return Err(backup.damaged(&part.name, DIFFERS));
            }
            backup.files.insert(part.name.clone(), bytes);
        }
        if [STOPS, DESTROYED].iter().any(|needed| !backup.files.contains_key(*needed)) {
            return Err(backup.damaged(HEADER, "it names no list of stops, or none of destroyed keys"));
        }
        backup.verify_rows(watch)?;
        backup.segments = backup.verify_segments(watch)?;
        Ok(backup)
    }

    /// Of the whole backup.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// When it was made.
    pub fn made_at(&self) -> Timestamp {
        self.header.made_at
    }

    /// Whether it is of a data directory that was made for tests.
    pub fn is_test(&self) -> bool {
        self.header.test
    }

    /// Size of the audit log in it.
    pub fn audit_entries(&self) -> u64 {
        self.header.audit_entries
    }

    /// The list of stops of its moment.
    pub fn stops(&self) -> Vec<Stop> {
        stops::decoded(self.file(STOPS))
    }

    /// The list of destroyed keys of its moment, as bytes.
    pub fn destroyed(&self) -> &[u8] {
        self.file(DESTROYED)
    }

    /// The configuration, if it has one.
    pub fn config(&self) -> Option<&[u8]> {
        self.files.get(CONFIG).map(Vec::as_slice)
    }

    fn file(&self, name: &str) -> &[u8] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }

    /// Makes `store/` and `segments/` below a folder, durable, and compares the rows with those of the backup after they
    /// were read back from the disk. What an erasure removes of the connections that `is_erased` is left out: it would not
    /// open, and was promised to be gone.
    ///
    /// # Errors
    /// As [`Backup::open`], and the refusals of disk and engine.
    pub fn build(&self, into: &Path, is_erased: &dyn Fn(ConnectionKey) -> bool, watch: &CopyWatch) -> Result<Built, CopyError> {
        watch.begin("restoring rows");
        let path = into.join("store");
        create_folder(&path)?;
        let database = Database::open(&path, CACHE_BYTES)?;
        let (mut kept, mut rows_erased) = (RowsDigest::new(), 0);
        self.each_chunk(|rows| {
            let mut batch = Vec::with_capacity(rows.len());
            for (key, value) in rows {
                if owner_of_removed(key).is_some_and(is_erased) {
                    rows_erased += 1;
                    continue;
                }
                kept.add(key, value);
                batch.push((key.to_vec(), Some(value.to_vec())));
            }
            database.apply(&batch)?;
            watch.add(rows.len() as u64)
        })?;
        database.sync()?;
        database.forget_pages();
        drop(database);
        let (digest, rows) = kept.finish();
        watch.begin("comparing rows");
        if rows_on_disk(&path, watch)? != (digest, rows) {
            return Err(CopyError::Differs);
        }
        let segment_files = self.build_segments(into, is_erased, watch)?;
        sync_folders(into)?;
        Ok(Built { rows, rows_erased, segment_files })
    }

    fn build_segments(&self, into: &Path, is_erased: &dyn Fn(ConnectionKey) -> bool, watch: &CopyWatch) -> Result<u64, CopyError> {
        watch.begin("restoring segments");
        create_folder(&into.join(SEGMENTS))?;
        let mut files = 0;
        for line in &self.segments {
            if owner_of_segment(&line.name).is_none_or(is_erased) {
                continue;
            }
            let to = into.join(SEGMENTS).join(&line.name);
            create_folder(to.parent().unwrap_or(into))?;
            let mut file = create(&to)?;
            let (_, digest) = copied(self.opened(&segment_name(line))?, &to, |step| {
                file.write_all(step).map_err(|source| StoreError::io("write", &to, source))?;
                watch.add(step.len() as u64)
            })?;
            if digest != line.digest {
                return Err(self.damaged(&segment_name(line), DIFFERS));
            }
            file.sync_all().map_err(|source| StoreError::io("sync", &to, source))?;
            files += 1;
        }
        Ok(files)
    }

    fn verify_rows(&self, watch: &CopyWatch) -> Result<(), CopyError> {
        let mut digest = RowsDigest::new();
        self.each_chunk(|rows| {
            rows.iter().for_each(|(key, value)| digest.add(key, value));
            watch.add(rows.len() as u64)
        })?;
        let (digest, rows) = digest.finish();
        if (digest, rows) == (self.header.rows.digest, self.header.rows.rows) { Ok(()) } else { Err(self.damaged(ROWS, DIFFERS)) }
    }

    fn verify_segments(&self, watch: &CopyWatch) -> Result<Vec<SegmentLine>, CopyError> {
        let list = self.whole(SEGMENTS_LIST)?;
        if Digest::of(&list) != self.header.segments.digest {
            return Err(self.damaged(SEGMENTS_LIST, DIFFERS));
        }
        let text = String::from_utf8(list).map_err(|_| self.damaged(SEGMENTS_LIST, "it is no text"))?;
        let lines = text.lines().map(|line| SegmentLine::parse(line).filter(|line| owner_of_segment(&line.name).is_some()));
        let lines: Option<Vec<SegmentLine>> = lines.collect();
        let lines = lines.ok_or_else(|| self.damaged(SEGMENTS_LIST, "a line of it names no segment file"))?;
        for line in &lines {
            let name = segment_name(line);
            let (bytes, digest) = copied(self.opened(&name)?, &self.path.join(&name), |step| watch.add(step.len() as u64))?;
            if (bytes, digest) != (line.bytes, line.digest) {
                return Err(self.damaged(&name, if bytes < line.bytes { "it is cut off" } else { DIFFERS }));
            }
        }
        Ok(lines)
    }

    /// The rows of each chunk, in their order; a chunk is compared with its digest before its rows are looked at.
    fn each_chunk(&self, mut each: impl FnMut(&[(&[u8], &[u8])]) -> Result<(), CopyError>) -> Result<(), CopyError> {
        let mut file = BufReader::new(self.opened(ROWS)?);
        loop {
            let mut frame = [0; 44];
            match read_up_to(&mut file, &mut frame) {
                Ok(0) => return Ok(()),
                Ok(44) => {}
                Ok(_) => return Err(self.damaged(ROWS, "it is cut off")),
                Err(source) => return Err(StoreError::io("read", &self.path.join(ROWS), source).into()),
            }
            let number = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]) as usize;
            let (compressed_bytes, bytes, rows) = (number(0), number(4), number(8));
            if compressed_bytes > CHUNK_BYTES_MAX || bytes > CHUNK_BYTES_MAX {
                return Err(self.damaged(ROWS, "a chunk is larger than any that is written"));
            }
            let mut compressed = vec![0; compressed_bytes];
            file.read_exact(&mut compressed).map_err(|_| self.damaged(ROWS, "it is cut off"))?;
            let plain = zstd::bulk::decompress(&compressed, bytes).map_err(|_| self.damaged(ROWS, "a chunk does not decompress"))?;
            if Digest::of(&plain).to_bytes() != frame[12..44] {
                return Err(self.damaged(ROWS, DIFFERS));
            }
            let parsed = parse_rows(&plain).filter(|parsed| parsed.len() == rows);
            each(&parsed.ok_or_else(|| self.damaged(ROWS, "a chunk has not the rows that it says"))?)?;
        }
    }

    fn whole(&self, name: &str) -> Result<Vec<u8>, CopyError> {
        let mut bytes = Vec::new();
        let read = self.opened(name)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|source| StoreError::io("read", &self.path.join(name), source))?;
        Ok(bytes)
    }

    fn opened(&self, name: &str) -> Result<File, CopyError> {
        let path = self.path.join(name);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.damaged(name, "it is missing")),
            opened => Ok(opened.map_err(|source| StoreError::io("open", &path, source))?),
        }
    }

    fn damaged(&self, name: &str, fault: &'static str) -> CopyError {
        CopyError::Damaged { path: self.path.join(name), fault }
    }
}

const DIFFERS: &str = "it is not what was written";
/// Memory for the pages of the database that is filled.
const CACHE_BYTES: u64 = 16 << 20;

fn read_header(path: &Path) -> Result<(Header, Digest), CopyError> {
    let file = path.join(HEADER);
    let text = match fs::read_to_string(&file) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(CopyError::NoBackup { path: path.into(), file: HEADER });
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(CopyError::Damaged { path: file, fault: DIFFERS });
        }
        text => text.map_err(|source| StoreError::io("read", &file, source))?,
    };
    let damaged = |fault| CopyError::Damaged { path: file.clone(), fault };
    let (json, digest) = text.strip_suffix('\n').and_then(|text| text.split_once('\n')).ok_or_else(|| damaged("it is cut off"))?;
    if Digest::of(json.as_bytes()).to_string() != digest {
        return Err(damaged(DIFFERS));
    }
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let parsed = |_| damaged("it is no header of a backup");
    let Format { format } = serde_json::from_str(json).map_err(parsed)?;
    if format != FORMAT {
        return Err(CopyError::Newer { path: path.into(), found: format, known: FORMAT });
    }
    Ok((serde_json::from_str(json).map_err(parsed)?, Digest::of(json.as_bytes())))
}

/// Fills a buffer as far as the file goes.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn parse_rows(mut plain: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rows = Vec::new();
    while !plain.is_empty() {
        let mut part = || {
            let (length, rest) = plain.split_first_chunk::<4>()?;
            let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            plain = rest;
            Some(part)
        };
        rows.push((part()?, part()?));
    }
    Some(rows)
}

/// Digest and number of the rows in a database that nobody has open.
fn rows_on_disk(path: &Path, watch: &CopyWatch) -> Result<(Digest, u64), CopyError> {
    let database = Arc::new(copy::open_again(path, CACHE_BYTES)?);
    let mut digest = RowsDigest::new();
    for row in database.range((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)) {
        let (key, value) = row?;
        digest.add(&key, &value);
        watch.add(1)?;
    }
    Ok(digest.finish())
}

/// Whose row it is, when an erasure of its connection removes it: such keys begin with tag, tenant and connection.
fn owner_of_removed(key: &[u8]) -> Option<ConnectionKey> {
    let (tag, rest) = key.split_first()?;
    Table::of_tag(*tag).filter(|table| table.erasure() == Erasure::Removed)?;
    rest.first_chunk::<8>().map(|owner| ConnectionKey::from_bytes(*owner))
}

fn segment_name(line: &SegmentLine) -> String {
    format!("{SEGMENTS}/{}", line.name)
}
