//! Opening the engine with care: on a thread of its own with a limit, panics caught, a damaged snapshot set aside.
//!
//! sled's snapshot (`store/snap.*`) only makes an open faster: everything in it follows from the log. But sled 0.34 refuses to
//! open when it is damaged, and takes a half-written one (`snap.*.generating`) for a snapshot. So a half-written one is
//! removed, and when an open fails while a snapshot is there, the snapshot is copied to `damaged-snapshots/TIME/`, removed, and
//! the open tried once more. Whoever opened the store then holds it against its own digests, and puts [`VERIFIED_FILE`] beside the copy;
//! until that is there, every start verifies again. The store itself is never deleted.

use std::any::Any;
use std::fmt;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::sync_directory;

/// Where damaged snapshots are kept, within a data directory. Not within `store/`, which a compaction replaces.
pub const DAMAGED_FOLDER: &str = "damaged-snapshots";
/// The file beside a damaged snapshot that says that the store was verified without it.
const VERIFIED_FILE: &str = "verified";
/// The file beside a damaged snapshot that says what the engine said of it.
const CAUSE_FILE: &str = "cause";

/// The longest an open may take, however small the store is.
const OPEN_LIMIT_MIN: Duration = Duration::from_secs(60);
/// What each GiB on disk adds to that. Measured: a second for 0.6 GiB; a minute for 11 GB in a report (SLED.md).
const OPEN_LIMIT_PER_GIB: Duration = Duration::from_secs(60);

/// The engine's segment. A node of its tree holds up to 16 rows, some more while nodes merge, and is written as one message; a
/// message of more than a quarter of a segment goes to a file that sled never syncs. So this is chosen for
/// [`crate::store::VALUE_BYTES_MAX`]: 21 of the largest rows fit into a quarter (`the_largest_rows_stay_out_of_blobs`).
const SEGMENT_BYTES: usize = 4 << 20;

/// A snapshot that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The folder that holds it, named by the time.
    pub folder: PathBuf,
    /// What the engine said of it.
    pub cause: String,
    /// Whether the store was verified without it.
    pub verified: bool,
}

/// Why the engine did not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenFault {
    /// It had not returned within the limit.
    Hung {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// It panicked.
    Panicked {
        /// Its words.
        said: String,
    },
    /// It found its files damaged.
    Corrupt {
        /// Its words.
        said: String,
    },
}

impl fmt::Display for OpenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenFault::Hung { seconds } => write!(f, "the engine had not opened it after {seconds} s and was given up"),
            OpenFault::Panicked { said } => write!(f, "the engine panicked ({said})"),
            OpenFault::Corrupt { said } => write!(f, "the engine found it damaged ({said})"),
        }
    }
}

/// The process that has a file locked, as far as the operating system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder(Option<(u32, String)>);

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((process, command)) => write!(f, "process {process} ({command})"),
            None => f.write_str("another process"),
        }
    }
}

/// The engine's settings for a store at `path`.
fn configuration(path: &Path, cache_bytes: u64) -> sled::Config {
    #[allow(deprecated, reason = "the only way to keep large nodes out of files that sled does not sync")]
    sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput)
        .segment_size(segment_bytes(path))
}

/// The segment that a store was made with, which it keeps.
fn segment_bytes(path: &Path) -> usize {
    let conf = fs::read(path.join("conf")).unwrap_or_default();
    let conf = String::from_utf8_lossy(&conf);
    let made_with = conf.lines().find_map(|line| line.strip_prefix("segment_size: ")?.trim().parse().ok());
    made_with.unwrap_or(SEGMENT_BYTES)
}

/// Opens the engine of the data directory that `path` lies in.
pub(super) fn open(path: &Path, cache_bytes: u64, clock: &Clock) -> Result<sled::Db, StoreError> {
    clear_half_written(path)?;
    let first = match attempt(path, cache_bytes) {
        Err(fault @ StoreError::Unopened { fault: OpenFault::Panicked { .. } | OpenFault::Corrupt { .. }, .. }) => fault,
        outcome => return outcome,
    };
    let snapshots = snapshots(path)?;
    if snapshots.is_empty() {
        return Err(first);
    }
    let cause = if let StoreError::Unopened { fault, .. } = &first { fault.to_string() } else { first.to_string() };
    let folder = set_aside(path, &snapshots, &cause, clock)?;
    match attempt(path, cache_bytes) {
        // Told once it is verified.
        Ok(db) => Ok(db),
        Err(second) => {
            // As it was found, so that the next attempt, or a person, sees what this one saw.
            put_back(path, &folder)?;
            Err(second)
        }
    }
}

/// The snapshots that were set aside in a data directory, oldest first.
pub(super) fn all_set_aside(directory: &Path) -> Result<Vec<SetAside>, StoreError> {
    let folder = directory.join(DAMAGED_FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| StoreError::io("list", &folder, source))?,
    };
    let folders = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut folders = folders.map_err(|source| StoreError::io("list", &folder, source))?;
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    let told = |folder: PathBuf| SetAside {
        cause: fs::read_to_string(folder.join(CAUSE_FILE)).unwrap_or_default().trim().to_owned(),
        verified: folder.join(VERIFIED_FILE).exists(),
        folder,
    };
    Ok(folders.into_iter().map(told).collect())
}

/// Writes down that the store was verified after its snapshots had been set aside.
pub(super) fn note_verified(directory: &Path, at: crate::clock::Timestamp) -> Result<(), StoreError> {
    for SetAside { folder, .. } in all_set_aside(directory)?.into_iter().filter(|aside| !aside.verified) {
        write(&folder.join(VERIFIED_FILE), &at.to_string())?;
        sync_directory(&folder)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), StoreError> {
    let written = File::create(path).and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()));
    written.map_err(|source| StoreError::io("write", path, source))
}

fn limit(path: &Path) -> Duration {
    let bytes = fs::metadata(path.join("db")).map_or(0, |file| file.len());
    OPEN_LIMIT_MIN + OPEN_LIMIT_PER_GIB.mul_f64(bytes as f64 / f64::from(1 << 30))
}

/// One open, on a thread that can be left behind.
pub(super) fn attempt(path: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let config = configuration(path, cache_bytes);
    on_a_thread(path, limit(path), move || config.open())
}

fn on_a_thread<T: Send + 'static>(
    path: &Path,
    limit: Duration,
    open: impl FnOnce() -> sled::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let unopened = |fault| StoreError::Unopened { path: path.into(), fault };
    let (answer, answered) = mpsc::channel();
    let thread = std::thread::Builder::new().name("headgate-opening".into()).spawn(move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open));
        // Nobody listens any more when the limit was passed.
        let _ = answer.send(outcome);
    });
    thread.map_err(|source| StoreError::io("start a thread to open", path, source))?;
    match answered.recv_timeout(limit) {
        Ok(Ok(Ok(opened))) => Ok(opened),
        Ok(Ok(Err(error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_))))) => {
            Err(unopened(OpenFault::Corrupt { said: error.to_string() }))
        }
        Ok(Ok(Err(error))) => Err(StoreError::opening(path, error)),
        Ok(Err(panic)) => Err(unopened(OpenFault::Panicked { said: words(&*panic) })),
        Err(_) => Err(unopened(OpenFault::Hung { seconds: limit.as_secs() })),
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it did not say why").to_owned()
}

/// The files that sled would take for snapshots.
fn snapshots(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| StoreError::io("list", path, source))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(|source| StoreError::io("list", path, source))?;
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")));
    Ok(paths)
}

/// A snapshot whose writing was cut short was never one: the one before it still holds.
fn clear_half_written(path: &Path) -> Result<(), StoreError> {
    for half in snapshots(path)?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "generating")) {
        fs::remove_file(&half).map_err(|source| StoreError::io("remove", &half, source))?;
    }
    Ok(())
}

/// Copies the snapshots, durably, then removes them.
fn set_aside(path: &Path, snapshots: &[PathBuf], cause: &str, clock: &Clock) -> Result<PathBuf, StoreError> {
    let directory = path.parent().unwrap_or(path);
    let parent = directory.join(DAMAGED_FOLDER);
    let mut folder = parent.join(clock.now().strftime("%Y-%m-%dT%H-%M-%S.%3fZ").to_string());
    while folder.exists() {
        // A clock that stands still, or was set back.
        folder.as_mut_os_string().push("+");
    }
    fs::create_dir_all(&folder).map_err(|source| StoreError::io("make", &folder, source))?;
    for snapshot in snapshots {
        let copy = folder.join(snapshot.file_name().unwrap_or_default());
        let copied = fs::copy(snapshot, &copy).and_then(|_| File::open(&copy)?.sync_all());
        copied.map_err(|source| StoreError::io("copy aside", snapshot, source))?;
    }
    write(&folder.join(CAUSE_FILE), cause)?;
    sync_directory(&folder)?;
    sync_directory(&parent)?;
    sync_directory(directory)?;
    for snapshot in snapshots {
        fs::remove_file(snapshot).map_err(|source| StoreError::io("remove", snapshot, source))?;
    }
    sync_directory(path)?;
    Ok(folder)
}

/// Copies the snapshots back, unless the engine has made another meanwhile; what was set aside stays for inspection.
fn put_back(path: &Path, folder: &Path) -> Result<(), StoreError> {
    if !snapshots(path)?.is_empty() {
        return Ok(());
    }
    for copy in snapshots(folder)? {
        let place = path.join(copy.file_name().unwrap_or_default());
        fs::copy(&copy, &place).map_err(|source| StoreError::io("put back", &place, source))?;
    }
    Ok(())
}

/// Who holds the lock of a file, from `/proc/locks`.
pub(super) fn lock_holder(file: &Path) -> LockHolder {
    let inode = fs::metadata(file).map(|file| file.ino()).ok();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let process = inode.and_then(|inode| locks.lines().find_map(|line| locked_by(line, inode)));
    let command = |process| fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned();
    LockHolder(process.map(|process| (process, command(process))))
}

/// The process of a line such as `1: FLOCK  ADVISORY  WRITE 708 00:1a:12345 0 EOF`, when it is about this file (proc(5)).
fn locked_by(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, process, place, ..] = words[..] else { return None };
    (place.rsplit(':').next()?.parse() == Ok(inode)).then(|| process.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::store::Options;
    use crate::store::Store;

    /// Goal: an open that hangs or panics becomes an error that says so. Method: openings that do.
    #[test]
    fn openings_that_hang_or_panic_are_told() {
        let path = Path::new("store");
        let hung = on_a_thread(path, Duration::from_millis(50), || {
            std::thread::sleep(Duration::from_secs(2));
            Ok(())
        });
        assert!(matches!(hung, Err(StoreError::Unopened { fault: OpenFault::Hung { .. }, .. })), "{hung:?}");
        let panicked = on_a_thread::<()>(path, Duration::from_secs(9), || panic!("cannot find pid {}", 7));
        let said = panicked.unwrap_err().to_string();
        assert!(said.contains("cannot find pid 7") && said.contains("headgate store check") && said.contains("restore"), "{said}");
        let corrupt = on_a_thread::<()>(path, Duration::from_secs(9), || Err(sled::Error::ReportableBug("odd".into())));
        assert!(matches!(corrupt, Err(StoreError::Unopened { fault: OpenFault::Corrupt { .. }, .. })), "{corrupt:?}");
    }

    /// Goal: a file's lock names its holder. Method: the kernel's table, with this very process in it.
    #[test]
    fn a_lock_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let held = Store::open(directory.path(), &Options::default()).err().unwrap();
        assert!(matches!(&held, StoreError::Held { .. }), "{held}");
        if fs::read_to_string("/proc/locks").is_ok_and(|locks| !locks.is_empty()) {
            assert!(held.to_string().contains(&format!("process {}", std::process::id())), "{held}");
        }
        drop(store);
        // The engine's own threads let go of the file a moment later.
        let free = || lock_holder(&directory.path().join("store/db")).to_string() == "another process";
        let soon = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            free()
        });
        assert!(soon, "nobody holds it any more");
    }
}
