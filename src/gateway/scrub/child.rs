//! A scrub in a process of its own: a hang or a crash of it is a finding, and ends nobody else.
//!
//! The parent holds the data directory's lock and the master key; the child gets the key on its standard input, opens keyring
//! and store, and tells on its standard output, a line of JSON each, where it is, what it finds, and at the end its report.
//! It ends when its standard input does, so it never outlives the parent.

use std::collections::BTreeMap;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;

use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use super::Ground;
use super::Limits;
use super::Listener;
use super::Pace;
use super::Place;
use super::Problem;
use super::RESTORE;
use super::Report;
use super::chain;
use super::scrub;
use super::settle_snapshots;
use crate::clock::Clock;
use crate::ids::Entropy;
use crate::store::Options;
use crate::store::Store;
use crate::store::StoreError;
use crate::vault::MasterKey;
use crate::vault::Vault;

/// The exit code of a child whose parent has gone.
const EXIT_ORPHANED: i32 = 1;

/// A line that the child writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Place { place: Place, checked: BTreeMap<String, u64> },
    Problem(Problem),
    Report(Report),
}

/// The child: reads everything below `directory`, whose lock the parent holds.
///
/// # Errors
/// When nobody listens any more.
pub fn run(directory: &Path, master: &MasterKey, clock: &Clock) -> io::Result<()> {
    let mut mouth = Mouth { failed: None };
    mouth.at(&Place { step: "the opening".into(), done: 0 }, &BTreeMap::new());
    let began = Instant::now();
    let report = match ground(directory, master, clock) {
        Ok(ground) => {
            let report = scrub(&ground, Pace::Full, &mut mouth);
            settle_snapshots(&ground, &report, clock);
            report
        }
        Err(problem) => {
            mouth.found(&problem);
            Report { ok: false, problems: vec![problem], checked: BTreeMap::new(), seconds: began.elapsed().as_secs_f64() }
        }
    };
    mouth.say(&Line::Report(report));
    mouth.failed.map_or(Ok(()), Err)
}

/// Ends this process as soon as the other end of `input` is closed.
pub fn end_with(mut input: impl io::Read + Send + 'static) {
    thread::spawn(move || {
        let _ = io::copy(&mut input, &mut io::sink());
        std::process::exit(EXIT_ORPHANED);
    });
}

fn ground(directory: &Path, master: &MasterKey, clock: &Clock) -> Result<Ground, Problem> {
    let refused = |code: &str, advice: &str| {
        let (code, advice) = (code.to_owned(), advice.to_owned());
        move |error: &dyn std::error::Error| Problem { code, what: chain(error), advice }
    };
    let vault = Vault::open(directory, master, Entropy::system(), clock.clone());
    let vault =
        vault.map_err(|error| refused("keyring.unopened", "see the message; without its keyring nothing of the store opens")(&error))?;
    let store = Store::open(directory, &Options { clock: clock.clone(), ..Options::default() });
    let store = store.map_err(|error| {
        let code = if matches!(error, StoreError::RolledBack { .. }) { "engine.lost" } else { "engine.unopened" };
        refused(code, RESTORE)(&error)
    })?;
    Ok(Ground::new(store, Arc::new(vault), clock.clone(), Entropy::system()))
}

/// Speaks to the parent.
struct Mouth {
    failed: Option<io::Error>,
}

impl Mouth {
    fn say(&mut self, line: &Line) {
        let said = serde_json::to_string(line).map_err(io::Error::other).and_then(|line| {
            let mut output = io::stdout().lock();
            writeln!(output, "{line}")?;
            output.flush()
        });
        if let Err(error) = said {
            self.failed = Some(error);
        }
    }
}

impl Listener for Mouth {
    fn at(&mut self, place: &Place, checked: &BTreeMap<String, u64>) {
        self.say(&Line::Place { place: place.clone(), checked: checked.clone() });
    }

    fn found(&mut self, problem: &Problem) {
        self.say(&Line::Problem(problem.clone()));
    }

    fn goes_on(&mut self) -> bool {
        self.failed.is_none()
    }
}

/// The parent: runs `command`, which ends in [`run`], and is told of its progress. The report is the child's, or says what
/// became of the child.
///
/// # Errors
/// When the child cannot be started.
pub fn supervise(mut command: Command, key: &[u8], limits: Limits, at: &mut dyn FnMut(&Place)) -> io::Result<Report> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Kept open to the end: the child ends with it.
    let mut input = child.stdin.take();
    if let Some(input) = &mut input {
        // A child that has ended already is seen below.
        let _ = input.write_all(key).and_then(|()| input.write_all(b"\n"));
    }
    let (lines, heard) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let report = listen(&heard, limits, &mut child, at);
    // It has told everything, or is given up.
    let _ = child.kill();
    let _ = child.wait();
    Ok(report)
}

fn listen(heard: &mpsc::Receiver<Line>, limits: Limits, child: &mut Child, at: &mut dyn FnMut(&Place)) -> Report {
    let began = Instant::now();
    let (mut place, mut counts) = (Place { step: "the opening".into(), done: 0 }, BTreeMap::new());
    let mut problems = Vec::new();
    loop {
        let left = limits.whole.saturating_sub(began.elapsed());
        let problem = match heard.recv_timeout(left.min(limits.step)) {
            Ok(Line::Place { place: now, checked }) => {
                at(&now);
                (place, counts) = (now, checked);
                continue;
            }
            Ok(Line::Problem(problem)) => {
                problems.push(problem);
                continue;
            }
            Ok(Line::Report(report)) => return report,
            Err(RecvTimeoutError::Timeout) => limits.passed(left <= limits.step && limits.whole > limits.step, &place),
            Err(RecvTimeoutError::Disconnected) => {
                let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                limits.broken(&place, &format!("the process that read it ended with {ended}"))
            }
        };
        problems.push(problem);
        return Report { ok: false, problems, checked: counts, seconds: began.elapsed().as_secs_f64() };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Goal: a child that hangs, crashes, or says nothing sensible is a finding, with what it had found before; and it is gone
    /// afterwards. Method: shells in its place.
    #[test]
    fn what_becomes_of_the_child_is_a_finding() {
        let place = r#"echo '{"place":{"place":{"step":"pages","done":7},"checked":{"pages":7}}}'"#;
        let problem = r#"echo '{"problem":{"code":"block.damaged","what":"w","advice":"a"}}'"#;
        let report = r#"echo '{"report":{"ok":true,"problems":[],"checked":{"pages":9},"seconds":0.1}}'"#;
        let cases = [
            (format!("{place}; {problem}; sleep 60"), vec!["block.damaged", "engine.hangs"]),
            (format!("{place}; {problem}; while :; do {place}; sleep 0.1; done"), vec!["block.damaged", "check.unfinished"]),
            (format!("{place}; kill -ABRT $$"), vec!["engine.crashed"]),
            ("echo nonsense".to_owned(), vec!["engine.crashed"]),
            (format!("{place}; {report}; sleep 60"), vec![]),
        ];
        for (script, codes) in cases {
            let limits = Limits { whole: Duration::from_millis(1500), step: Duration::from_millis(700) };
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("read key; test \"$key\" = secret || exit 9; {script}"));
            let mut seen = Vec::new();
            let began = Instant::now();
            let report = supervise(command, b"secret", limits, &mut |place| seen.push(place.clone())).unwrap();
            assert_eq!(report.problems.iter().map(|problem| problem.code.as_str()).collect::<Vec<_>>(), codes, "{script}: {report:?}");
            assert!(began.elapsed() < Duration::from_secs(10), "{script}: {:?}", began.elapsed());
            if script.contains("pages") {
                assert!(!seen.is_empty() && report.checked["pages"] >= 7, "{script}: {report:?}");
            }
        }
    }
}
