//! Where connectors are found: built into the binary, or at a path. The one place of this folder that reads files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::connector::component::reader::told_once;
use crate::connector::component::source::RefusedStream;
use crate::connector::definition::Connector;
use crate::connector::definition::ConnectorError;
use crate::connector::problem::Code;
use crate::connector::problem::Problem;
use crate::connector::yaml::BYTES_MAX;

/// The most schema files of a connector.
pub const SCHEMA_FILES_MAX: usize = 1_000;

/// A connector that is part of the binary.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// The folder in `connectors/`.
    pub name: &'static str,
    manifest: &'static str,
    treatment: &'static str,
}

/// Takes the two files of a folder in `connectors/` into the binary.
macro_rules! embedded {
    ($name:literal) => {
        Embedded {
            name: $name,
            manifest: include_str!(concat!("../../connectors/", $name, "/manifest.yaml")),
            treatment: include_str!(concat!("../../connectors/", $name, "/headgate.yaml")),
        }
    };
}

/// The connectors that are part of the binary: to add one, make its folder and a row here.
pub const EMBEDDED: &[Embedded] = &[
    embedded!("sandbox"),
    embedded!("shipstation"),
    embedded!("stripe"),
    embedded!("shopify"),
    embedded!("quickbooks"),
    embedded!("woocommerce"),
];

impl Embedded {
    /// Reads it.
    ///
    /// # Errors
    /// When its files have problems, which a test rules out.
    pub fn load(&self) -> Result<Connector, ConnectorError> {
        Connector::load(self.name, self.manifest, Some(self.treatment))
    }
}

/// Reads the connector at `path`: a manifest file, with strict defaults, or a folder with `manifest.yaml` and perhaps `headgate.yaml`.
///
/// # Errors
/// Every problem, also that of a path that cannot be read.
pub fn load_path(path: &Path) -> Result<Connector, ConnectorError> {
    let named = |name: Option<&std::ffi::OsStr>| name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if path.is_dir() {
        // `.` and `a/..` have no last component of their own.
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = named(whole.file_name());
        let manifest = read(&name, &path.join("manifest.yaml"))?;
        let treatment = path.join("headgate.yaml");
        let treatment = if treatment.exists() { Some(read(&name, &treatment)?) } else { None };
        return Connector::load_with(&name, &manifest, treatment.as_deref(), schemas(&name, path)?);
    }
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let name = named(if is_yaml { path.file_stem() } else { path.file_name() });
    let manifest = read(&name, path)?;
    Connector::load(&name, &manifest, None)
}

/// What a check of a connector found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether it can be used: at least one stream runs, and nothing is wrong beside what refuses single streams.
    pub ok: bool,
    /// The streams that run.
    pub streams: Vec<String>,
    /// The streams that do not, each with its reasons.
    pub refused: Vec<RefusedStream>,
    /// Every problem, those of refused streams too, in the order of the text.
    pub problems: Vec<Problem>,
    /// What is ignored.
    pub warnings: Vec<Problem>,
}

/// Everything that is to say about the connector at `path`.
pub fn check(path: &Path) -> Verdict {
    match load_path(path) {
        Ok(connector) => {
            let refused: Vec<RefusedStream> = connector.manifest.refused().cloned().collect();
            let problems = refused.iter().flat_map(|stream| stream.problems.iter().cloned()).collect();
            Verdict {
                ok: true,
                streams: connector.manifest.declared().map(|stream| stream.name.clone()).collect(),
                problems: told_once(problems),
                refused,
                warnings: connector.warnings,
            }
        }
        Err(ConnectorError::Refused { problems, .. }) => Verdict { problems, ..Verdict::default() },
        Err(error) => Verdict { problems: vec![path_problem(error.to_string())], ..Verdict::default() },
    }
}

/// The schema files of a connector's folder, by their paths in it: `schemas/*.json` and `schemas/shared/*.json`.
fn schemas(name: &str, folder: &Path) -> Result<BTreeMap<String, String>, ConnectorError> {
    let refused = |message| ConnectorError::Refused { name: crate::ids::cut(name), problems: vec![path_problem(message)] };
    let mut texts = BTreeMap::new();
    for within in ["schemas", "schemas/shared"] {
        let Ok(entries) = folder.join(within).read_dir() else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(file) = path.file_name().and_then(|file| file.to_str()).filter(|file| file.ends_with(".json")) else { continue };
            texts.insert(format!("{within}/{file}"), read(name, &path)?);
            if texts.len() > SCHEMA_FILES_MAX || texts.values().map(String::len).sum::<usize>() > BYTES_MAX {
                return Err(refused(format!("{folder:?} has more than {SCHEMA_FILES_MAX} schema files, or {BYTES_MAX} bytes of them")));
            }
        }
    }
    Ok(texts)
}

fn read(name: &str, path: &Path) -> Result<String, ConnectorError> {
    let refused = |message| ConnectorError::Refused { name: crate::ids::cut(name), problems: vec![path_problem(message)] };
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    // One byte more than is allowed, so that a longer file is seen to be longer and not read whole.
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length > BYTES_MAX => Err(refused(format!("{path:?} has more than {BYTES_MAX} bytes"))),
        Ok(_) => Ok(text),
        Err(error) => Err(refused(format!("{path:?} cannot be read: {error}; give a manifest file, or a folder with manifest.yaml"))),
    }
}

fn path_problem(message: String) -> Problem {
    Problem { code: Code::Path, file: "", line: 0, path: String::new(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every embedded connector loads, and its folder has its name.
    #[test]
    fn embedded_connectors_load() {
        for embedded in EMBEDDED {
            let connector = embedded.load().unwrap();
            assert_eq!(connector.name, embedded.name);
            assert!(connector.treatment.display_name.is_some(), "{}", embedded.name);
        }
    }

    /// A file takes its name without the ending, a folder its last component; what is not there is a problem, not an error.
    #[test]
    fn paths_name_connectors() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("shop");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("manifest.yaml"), EMBEDDED[0].manifest).unwrap();
        let bare = load_path(&folder).unwrap();
        assert_eq!((bare.name.as_str(), bare.treatment.retention.days), ("shop", 30));
        std::fs::write(folder.join("headgate.yaml"), "retention: {days: 7}\n").unwrap();
        assert_eq!(load_path(&folder).unwrap().treatment.retention.days, 7);
        let file = directory.path().join("my-shop.yaml");
        std::fs::copy(folder.join("manifest.yaml"), &file).unwrap();
        assert_eq!(load_path(&file).unwrap().name, "my-shop");
        assert_eq!(check(&directory.path().join("none.yaml")).problems[0].code, Code::Path);
        let verdict = check(&file);
        assert!(verdict.ok && verdict.problems.is_empty() && verdict.streams.len() > 1, "{verdict:?}");
    }
}
