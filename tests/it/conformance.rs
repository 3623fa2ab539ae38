//! The public number: how many of the recorded cases headgate runs as the reference engine ran them.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Every so many of the cases are run here; `.ci/run` runs all of them.
const EVERY: usize = 25;

/// The kit of recorded cases, if the shared material is there.
fn kit() -> Option<PathBuf> {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("HEADGATE_SHARED").map_or_else(|| crate_root.join("../shared"), PathBuf::from);
    let kit = shared.join("conformance");
    if !kit.join("run.py").is_file() || Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: {} and python3 are needed", kit.join("run.py").display());
        return None;
    }
    Some(kit)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Goal: what README and docs say of the kit is what `.ci/run` holds, and a sample of it is held here.
#[test]
fn recorded_cases_are_repeated() {
    let Some(kit) = kit() else { return };
    let cases = std::fs::read_dir(kit.join("cases")).unwrap().count();
    let number = format!("{cases} of {cases}");
    for page in ["README.md", "docs/conformance.md"] {
        assert!(read(page).contains(&number), "{page} does not say {number}");
    }
    let floor = "--min-records 100 --min-identical 100";
    assert!(read(".ci/run").contains(floor), ".ci/run does not hold {floor}");

    let binary = Path::new(env!("CARGO_BIN_EXE_headgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let every = EVERY.to_string();
    let output = Command::new("python3")
        .arg(kit.join("run.py"))
        .args(["--every", &every, "--jobs", "2", "--timeout", "300"])
        .args(floor.split(' '))
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
