//! The house stands as DESIGN says: floors, names, sizes. The sources are read as text, so nothing here can be imported
//! around.
//!
//! A module imports from lower floors only, or what a named pair allows; tests in the sources are left out, because a
//! test may reach upwards. Each check names every offender.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The modules of each floor, the ground first.
const FLOORS: [&[&str]; 8] = [
    &["ids", "clock", "secret", "digest", "telemetry", "merkle"],
    &["connector", "record", "consent"],
    &["store", "vault", "audit"],
    &["connection", "lineage", "openlineage", "retention", "disclosure"],
    &["authorization", "fetch", "intake", "outbox"],
    &["connect", "run", "revocation", "erasure", "rights", "export", "copies"],
    &["api", "airbyte"],
    &["cli", "gateway", "config", "main"],
];

/// Beside the floors: a Connected Application of our own stands on the ground and is used by the doors alone.
const BESIDE: &str = "sandbox";

/// Imports within a floor, each with its reason.
const PAIRS: [(&str, &str, &str); 14] = [
    ("audit", "store", "leaves are rows of the unit that they are about"),
    ("audit", "vault", "checkpoints are signed with a sealed key"),
    ("fetch", "authorization", "a request carries the credential, and a refusal renews it"),
    ("authorization", "fetch", "token requests leave through the one guarded client"),
    ("outbox", "fetch", "events leave by a client of the same making, to the one address that the operator names"),
    ("connector", "consent", "a treatment states the purposes that a connection is offered for"),
    ("connector", "record", "a treatment names kinds and points into records"),
    ("record", "consent", "a tag states the purposes that the consent names"),
    ("openlineage", "connection", "an event is admitted while its tenant is active"),
    ("disclosure", "lineage", "what is disclosed is a version of a record, by where that lies"),
    ("connect", "revocation", "connecting knows the endpoint where a revocation gives the credential up"),
    ("cli", "config", "a command opens the directory that the configuration names"),
    ("cli", "gateway", "a command composes the gateway when nobody else holds the store"),
    ("gateway", "config", "composition reads the configuration"),
];

/// Imports that the floors would allow and the flow forbids, each with its reason.
const ABSENT: [(&str, &str, &str); 4] = [
    ("fetch", "store", "fetch returns pages and never writes"),
    ("fetch", "vault", "fetch never unseals"),
    ("intake", "connector", "intake stores what was fetched, whatever language asked for it"),
    ("run", "vault", "a run moves pages and opens nothing"),
];

/// How many lines a source file may have.
const LINES_MAX: usize = 800;

/// Names that say nothing about what is behind them.
const EMPTY_NAMES: [&str; 10] = ["util", "utils", "helper", "helpers", "common", "misc", "type", "types", "shared", "base"];

/// A source file of the crate, relative to the crate's folder, tests cut away.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module of the house that the file belongs to.
    fn module(&self) -> String {
        let first = self.path.iter().nth(1).unwrap_or_default();
        Path::new(first).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A module stands on exactly one floor.
#[test]
fn every_module_has_its_floor() {
    let mut offenders = Vec::new();
    for module in sources().iter().map(Source::module).filter(|module| module != "lib").collect::<BTreeSet<_>>() {
        let floors = FLOORS.iter().filter(|floor| floor.contains(&module.as_str())).count();
        if floors != usize::from(module != BESIDE) {
            offenders
                .push(format!("src/{module} stands on {floors} floors of the table; put it on one, in the house's table of DESIGN too"));
        }
    }
    none(offenders);
}

/// Nothing is imported from the same floor or a higher one, but for the named pairs.
#[test]
fn imports_go_down() {
    let mut offenders = Vec::new();
    for source in sources().iter().filter(|source| source.module() != "lib") {
        let from = source.module();
        for (line, to) in imports(&source.text) {
            if from != to && !may_import(&from, &to) {
                offenders.push(format!("{}:{line}: {from} imports {to}", source.path.display()));
            }
        }
    }
    none(offenders);
}

/// The exceptions are exceptions, and the rule tells right from wrong.
#[test]
fn exceptions_change_what_the_floors_say() {
    for (from, to) in
        [("sandbox", "record"), ("api", "sandbox"), ("ids", "sandbox"), ("run", "revocation"), ("store", "vault"), ("record", "store")]
    {
        assert!(!may_import(from, to), "{from} may import {to}");
    }
    for (from, to) in [("sandbox", "clock"), ("cli", "sandbox"), ("ids", "clock"), ("erasure", "connection"), ("audit", "store")] {
        assert!(may_import(from, to), "{from} may not import {to}");
    }
    for (from, to, reason) in PAIRS {
        assert!(floor(from).is_some() && floor(from) == floor(to), "{from} -> {to} ({reason}) is no pair of one floor");
    }
    for (from, to, reason) in ABSENT {
        assert!(floor(from) > floor(to), "{from} -> {to} ({reason}) is forbidden by the floors already");
    }
}

/// What is written into a segment was sealed by a key: the type is made in one place.
#[test]
fn only_the_vault_says_that_bytes_are_sealed() {
    let makers = sources().into_iter().filter(|source| source.text.contains("Sealed::by_a_key"));
    let offenders = makers.map(|source| source.path.display().to_string()).filter(|path| path != "src/vault/keys.rs");
    none(offenders.collect());
}

/// Files are read by people.
#[test]
fn files_are_short_and_named_for_what_they_hold() {
    let mut offenders = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let lines = fs::read_to_string(root().join(&path)).unwrap().lines().count();
        if lines > LINES_MAX {
            offenders.push(format!("{} has {lines} lines; split it before {LINES_MAX}", path.display()));
        }
        let names = path.iter().map(|part| Path::new(part).file_stem().unwrap_or_default().to_string_lossy().into_owned());
        for name in names.filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
            offenders.push(format!("{}: `{name}` does not say what is in it", path.display()));
        }
    }
    none(offenders);
}

/// One noun a line, so that a line of a diff is a dependency; tests may take a whole module.
#[test]
fn imports_name_one_noun_a_line() {
    let mut offenders = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (index, line) in text.lines().enumerate() {
            let import = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            let Some(noun) = import.strip_prefix("use ") else { continue };
            // The variants of one enum, within a function, are one noun.
            if noun.starts_with(char::is_uppercase) {
                continue;
            }
            let of_tests = path.iter().any(|part| part == "tests") || ["super::*", "prelude::*"].iter().any(|glob| noun.contains(glob));
            let glob = noun.contains('*') && !of_tests;
            if glob || noun.contains('{') {
                offenders.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
            }
        }
    }
    none(offenders);
}

/// A test file that `main.rs` does not list would never run.
#[test]
fn every_test_file_is_listed() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    let mut offenders = Vec::new();
    for entry in fs::read_dir(root().join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let holds_tests = path.is_dir() || path.extension().is_some_and(|extension| extension == "rs");
        if holds_tests && name != "main" && !main.lines().any(|line| line == format!("mod {name};")) {
            offenders.push(format!("tests/it/{name} is not in tests/it/main.rs"));
        }
    }
    let stray = fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    offenders.extend(
        stray
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| format!("{path:?} is a second test binary")),
    );
    none(offenders);
}

fn none(offenders: Vec<String>) {
    assert!(offenders.is_empty(), "\n  {}\n", offenders.join("\n  "));
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn may_import(from: &str, to: &str) -> bool {
    let listed = |list: &[(&str, &str, &str)]| list.iter().any(|(a, b, _)| (*a, *b) == (from, to));
    let ground = floor(to) == Some(0);
    match (from, to) {
        (BESIDE, _) => ground,
        (_, BESIDE) => floor(from) == Some(FLOORS.len() - 1),
        ("ids" | "clock" | "secret" | "digest" | "telemetry" | "merkle", _) => ground,
        _ => (floor(from) > floor(to) && !listed(&ABSENT)) || listed(&PAIRS),
    }
}

/// The modules of the house that a text names in code, with the line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(index, line)| {
        let names =
            line.split("crate::").skip(1).map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
        names.filter(|name| !name.is_empty()).map(move |name| (index + 1, name)).collect::<Vec<_>>()
    })
    .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crate's sources without their tests.
fn sources() -> Vec<Source> {
    let mut sources: Vec<_> =
        rust_files("src").into_iter().map(|path| Source { text: fs::read_to_string(root().join(&path)).unwrap(), path }).collect();
    let test_files: Vec<PathBuf> = sources.iter().flat_map(test_modules).collect();
    sources.retain(|source| !test_files.iter().any(|file| source.path.starts_with(file) || source.path == file.with_extension("rs")));
    for source in &mut sources {
        // Tests come last in a file, so everything behind their beginning is theirs.
        if let Some(start) = source.text.find("#[cfg(test)]\nmod tests {") {
            source.text.truncate(start);
        }
    }
    sources
}

/// The files without `.rs` (or folders) of the modules that a source declares for tests only.
fn test_modules(source: &Source) -> Vec<PathBuf> {
    let stem = source.path.file_stem().unwrap_or_default();
    let own = ["mod", "lib", "main"].iter().any(|name| stem == *name);
    let folder = if own { source.path.parent().unwrap_or(Path::new("")).to_owned() } else { source.path.with_extension("") };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let (_, name) = pair[1].split_once("mod ")?;
        name.strip_suffix(';')
    });
    declared.map(|name| folder.join(name)).collect()
}

/// The Rust files below a folder of the crate, relative to the crate's folder.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
