//! Time, passed in: the machine's clock, a file that a test writes, or a value that a test holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::SignedDuration;
pub use jiff::Timestamp;

/// The cause of a test clock's refusal.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The file could not be read.
    #[error("test clock {path:?} cannot be read; write an RFC 3339 time into it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file's text is no time.
    #[error("test clock {path:?} holds `{text}`, which is no RFC 3339 time such as 2026-11-24T10:00:00Z")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it holds, cut short.
        text: String,
    },
}

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A file with an RFC 3339 time, read again at each use; the last good value stands while the file is unreadable.
    File(Arc<FileClock>),
    /// A value that is moved by hand.
    Manual(Arc<Mutex<Timestamp>>),
}

/// A clock in a file.
#[derive(Debug)]
pub struct FileClock {
    path: PathBuf,
    last: Mutex<Timestamp>,
}

impl Clock {
    /// A clock that stands still until [`Clock::set`].
    pub fn manual(at: Timestamp) -> Self {
        Clock::Manual(Arc::new(Mutex::new(at)))
    }

    /// A clock that reads `path` at each use.
    ///
    /// # Errors
    /// When the file is missing or holds no RFC 3339 time.
    pub fn file(path: PathBuf) -> Result<Self, ClockError> {
        let at = read(&path)?;
        Ok(Clock::File(Arc::new(FileClock { path, last: Mutex::new(at) })))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        match self {
            #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
            Clock::System => Timestamp::now(),
            Clock::File(file) => {
                let mut last = file.last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Ok(at) = read(&file.path) {
                    *last = at;
                }
                *last
            }
            Clock::Manual(at) => *at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock; the others are not to be moved, and stay.
    pub fn set(&self, to: Timestamp) {
        if let Clock::Manual(at) = self {
            *at.lock().unwrap_or_else(PoisonError::into_inner) = to;
        }
    }
}

/// Whether something that lasts until a time, and `longest` at most, is over at `now`.
///
/// What lasts longer than it can was written by a clock that has been set back since: taken at its word, a link would open
/// and a connection would wait for as long as the clock was wrong.
pub fn is_over(until: Timestamp, longest: SignedDuration, now: Timestamp) -> bool {
    until <= now || until.duration_since(now) > longest
}

fn read(path: &std::path::Path) -> Result<Timestamp, ClockError> {
    let text = std::fs::read_to_string(path).map_err(|source| ClockError::Unreadable { path: path.into(), source })?;
    text.trim().parse().map_err(|_| ClockError::Malformed { path: path.into(), text: crate::ids::cut(text.trim()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An end that has come is one, and so is an end that nobody can have set.
    #[test]
    fn ends_that_are_too_far_have_come() {
        let now: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let hours = |hours| now + SignedDuration::from_hours(hours);
        let day = SignedDuration::from_hours(24);
        for (until, over) in [(hours(-1), true), (now, true), (hours(1), false), (hours(24), false), (hours(25), true)] {
            assert_eq!(is_over(until, day, now), over, "{until}");
        }
    }
}
