//! How long a scrub may take before it is given up.

use std::path::Path;
use std::time::Duration;

use super::Place;
use super::Problem;

/// The longest a scrub may take, however little there is to read.
const WHOLE_MIN: Duration = Duration::from_secs(60);
/// What each MiB on disk adds to that: a hundredth of what a core and a disk do, for a scrub beside others' work.
const WHOLE_PER_MIB: Duration = Duration::from_secs(1);
/// The longest time without a sign of progress. A step of a scrub takes milliseconds; the engine hangs for ever.
const STEP: Duration = Duration::from_secs(60);

/// The limits of one scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For all of it.
    pub whole: Duration,
    /// Between two signs of progress.
    pub step: Duration,
}

impl Limits {
    /// Those of a data directory, by its size; or what was asked for, for both.
    pub fn of(directory: &Path, asked: Option<Duration>) -> Self {
        let mib = (bytes(&directory.join("store")) + bytes(&directory.join("segments"))) >> 20;
        let scaled = WHOLE_MIN + WHOLE_PER_MIB.saturating_mul(u32::try_from(mib).unwrap_or(u32::MAX));
        let whole = asked.unwrap_or(scaled);
        Limits { whole, step: STEP.min(whole) }
    }

    /// What a scrub that ended by itself, and badly, has found by that.
    pub fn broken(&self, place: &Place, how: &str) -> Problem {
        let Place { step, done } = place;
        Problem {
            code: "engine.crashed".into(),
            what: format!("{how} while it read {step}, after {done} of them; what follows was not read"),
            advice: "the engine broke on damaged bytes: keep a copy of the directory, and bring a backup back with `headgate store \
                     restore`"
                .into(),
        }
    }

    /// What a scrub that was given up has found by that.
    pub fn passed(&self, whole: bool, place: &Place) -> Problem {
        let (seconds, why) = if whole { (self.whole, "it had not ended after") } else { (self.step, "it did not move for") };
        let Place { step, done } = place;
        Problem {
            code: if whole { "check.unfinished" } else { "engine.hangs" }.into(),
            what: format!("{why} {} s while it read {step}, after {done} of them; what follows was not read", seconds.as_secs()),
            advice: if whole {
                "give it longer with --time-limit; if it stops at the same place again, the engine hangs on damaged bytes there: keep a copy of \
                 the directory and bring a backup back with `headgate store restore`"
            } else {
                "the engine hangs on damaged bytes: keep a copy of the directory, and bring a backup back with `headgate store restore`"
            }
            .into(),
        }
    }
}

fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
