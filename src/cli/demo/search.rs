//! Looking for plain values in files, as somebody would who took the disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use regex::bytes::Regex;

use crate::cli::failure::Failure;

/// How much of a file is looked at at once.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What a search went through, and where it found something.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files looked at.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// The files that hold one of the values in plain.
    pub hits: Vec<PathBuf>,
}

/// Searches every file below `folder` for the bytes of each value. Sockets and links are left out.
///
/// # Errors
/// When a file or folder cannot be read; one that vanishes meanwhile is not there.
pub fn search(folder: &Path, values: &[String]) -> Result<Found, Failure> {
    let alternatives: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
    let wanted =
        Regex::new(&alternatives.join("|")).map_err(|error| Failure::outcome(format!("the values cannot be searched for: {error}")))?;
    let longest = values.iter().map(String::len).max().unwrap_or(0);
    let mut found = Found::default();
    for path in files(folder)? {
        let unreadable = |source| Failure::FileAccess { path: path.clone(), act: "read", source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let (bytes, hit) = scan(file, &wanted, longest).map_err(unreadable)?;
        found.files += 1;
        found.bytes += bytes;
        found.hits.extend(hit.then_some(path));
    }
    Ok(found)
}

/// Every regular file below `folder`, in the order of their names.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let (mut waiting, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = waiting.pop() {
        let unreadable = |source| Failure::FileAccess { path: folder.clone(), act: "read", source };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The length of what was read, and whether `wanted` is in it. Windows overlap by the longest value, so that none is cut in two.
fn scan(mut source: impl Read, wanted: &Regex, longest: usize) -> std::io::Result<(u64, bool)> {
    let (mut window, mut total, mut hit) = (Vec::with_capacity(WINDOW_BYTES + longest), 0, false);
    loop {
        let keep = window.len().min(longest);
        window.drain(..window.len() - keep);
        let read = source.by_ref().take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
        total += read as u64;
        hit |= wanted.is_match(&window);
        if read == 0 {
            return Ok((total, hit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value is found wherever it stands, across two windows too, and in a folder below.
    #[test]
    fn values_are_found_across_windows() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        for before in [0, 1, WINDOW_BYTES - 3, WINDOW_BYTES, 2 * WINDOW_BYTES - 5] {
            let path = folder.path().join("deep").join("file");
            std::fs::write(&path, [vec![b'x'; before], b"ada@example.com".to_vec(), vec![0xff; 9]].concat()).unwrap();
            let found = search(folder.path(), &["a.c".into(), "ada@example.com".into()]).unwrap();
            assert_eq!(found, Found { files: 1, bytes: (before + 24) as u64, hits: vec![path] });
            assert_eq!(search(folder.path(), &["adaX".into(), "a.a@".into()]).unwrap().hits, Vec::<PathBuf>::new());
        }
    }
}
