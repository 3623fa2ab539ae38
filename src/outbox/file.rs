//! Events in a file: one a line, on disk before the position moves.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::outbox::delivery::Progress;
use crate::outbox::delivery::Told;

/// The wait after a write that failed: a full disk, a folder that is not there.
const RETRY_EVERY: Duration = Duration::from_secs(10);
/// Bytes read at once while the end of the last whole line is looked for.
const LOOK_BACK: u64 = 64 << 10;

/// A file that gets one event a line. It is opened for every batch, so that it can be rotated by moving it away.
pub(super) struct EventFile {
    path: PathBuf,
    was_failing: bool,
}

impl EventFile {
    pub(super) fn new(path: PathBuf) -> Self {
        EventFile { path, was_failing: false }
    }

    /// Appends events, all or none.
    pub(super) fn append(&mut self, events: &[Told]) -> Progress {
        let written = tokio::task::block_in_place(|| append(&self.path, events));
        if let Err(error) = &written
            && !self.was_failing
        {
            tracing::warn!(path = %self.path.display(), %error, "OpenLineage events are not written; they wait, and it is tried again");
        }
        self.was_failing = written.is_err();
        match written {
            Ok(()) => Progress { done: events.len(), refused: 0, wait: None },
            Err(_) => Progress { done: 0, refused: 0, wait: Some(RETRY_EVERY) },
        }
    }
}

fn append(path: &Path, events: &[Told]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // A pipe or a terminal has neither a past nor a disk.
    let is_regular = file.metadata()?.is_file();
    if is_regular {
        cut_torn_line(&mut file)?;
    }
    let mut lines = Vec::with_capacity(events.iter().map(|event| event.json.len() + 1).sum());
    for event in events {
        lines.extend_from_slice(&event.json);
        lines.push(b'\n');
    }
    file.write_all(&lines)?;
    if is_regular {
        file.sync_data()?;
    }
    if is_new && let Some(folder) = path.parent() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(())
}

/// Takes away what a crash left of a line. The event is whole in the outbox, and is about to be written again.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(LOOK_BACK);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    fn told(json: &str) -> Told {
        let tenant: TenantId = "acme".parse().unwrap();
        Told { tenant, run: uuid::Uuid::nil(), event_type: "START".into(), json: json.as_bytes().to_vec() }
    }

    /// Goal: whatever a crash tore, every line of the file is whole afterwards. Method: cut a file at each byte, and append.
    #[test]
    fn a_torn_line_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        append(&path, &[told("{\"a\":1}"), told("{\"b\":2}")]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole, b"{\"a\":1}\n{\"b\":2}\n");
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            append(&path, &[told("{\"b\":2}")]).unwrap();
            let lines = std::fs::read_to_string(&path).unwrap();
            assert!(lines.ends_with("{\"b\":2}\n"), "{cut}: {lines}");
            assert!(lines.lines().all(|line| line == "{\"a\":1}" || line == "{\"b\":2}"), "{cut}: {lines}");
        }
    }

    /// A line longer than one look back is cut whole.
    #[test]
    fn a_long_torn_line_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        std::fs::write(&path, format!("{{}}\n{}", "x".repeat(200_000))).unwrap();
        append(&path, &[told("{}")]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{}\n");
    }
}
