//! The real binary, run as an operator runs it.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;

/// What a command came to.
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// The objects on standard output.
    pub objects: Vec<Value>,
    /// Standard output and standard error, in clear.
    pub text: String,
}

impl Said {
    /// The result: the last object.
    pub fn result(&self) -> &Value {
        self.objects.last().unwrap_or_else(|| panic!("no result: {}", self.text))
    }
}

/// Runs `headgate --json` on a data directory, logging everything, and waits for its end.
pub fn headgate(data: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["--json", "--test", "--data"]).arg(data).args(arguments);
    command.env("HEADGATE_LOG", "trace").env_remove("HEADGATE_CONFIG").env_remove("HEADGATE_MASTER_KEY");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    let objects = stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    Said { code: status.code().unwrap_or(-1), objects, text: stdout + &String::from_utf8_lossy(&stderr) }
}

/// A served gateway of its own process; it is killed when this is dropped.
pub struct Served {
    child: Child,
    /// Where it listens: a URL without a slash at the end.
    pub address: String,
    log: PathBuf,
}

impl Served {
    /// Serves a test directory on a free port, by the time in `clock`, logging everything.
    pub fn start(data: &Path, clock: &Path) -> Self {
        let log = data.with_extension("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.args(["--json", "--test", "--data"]).arg(data).args(["serve", "--listen", "127.0.0.1:0", "--test-clock"]).arg(clock);
        command.env("HEADGATE_LOG", "trace").env_remove("HEADGATE_CONFIG").env_remove("HEADGATE_MASTER_KEY");
        let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no address: {}", std::fs::read_to_string(&log).unwrap()));
        Self { child, address: said["address"].as_str().unwrap().to_owned(), log }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
