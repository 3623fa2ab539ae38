//! When a connection pulls by itself.

use serde::Deserialize;
use serde::Serialize;

use jiff::SignedDuration;

use crate::clock;
use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::store::Row;
use crate::store::Table;

/// The shortest interval.
pub const EVERY_SECONDS_MIN: u64 = 60;
/// The longest interval: a year and a day.
pub const EVERY_SECONDS_MAX: u64 = 366 * 24 * 3600;

/// How long after its authorization a connection pulls by itself for the first time: whoever has just connected may want to
/// say what is pulled first, and is not to find a pull under way.
pub const FIRST_PULL_SECONDS: i64 = 30;

/// The longest wait that an application is believed: who asks for more is asked again after a day.
pub const PATIENCE_SECONDS_MAX: i64 = 24 * 3600;

/// A failing connection is tried at its interval times two for each failure in a row, up to this factor.
const BACKOFF_FACTOR_MAX: u64 = 64;
/// ... and never less often than once a day, unless its interval is longer.
const BACKOFF_SECONDS_MAX: u64 = 24 * 3600;

/// An interval that no schedule can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no interval: give an ISO 8601 duration from PT1M to P366D, such as PT15M")]
pub struct IntervalError {
    /// What was given, cut short.
    pub text: String,
}

/// A connection's schedule, under its owner. No row: it pulls only when it is told to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The interval in seconds; none: no schedule, the row only remembers `not_before`.
    pub every_seconds: Option<u64>,
    /// When the next pull is due.
    pub due: Timestamp,
    /// What the application asked to wait for: kept across restarts, obeyed by pulls on demand too.
    pub not_before: Option<Timestamp>,
    /// Failed pulls in a row, for the back-off.
    pub failures: u32,
}

impl Schedule {
    /// When the connection may next be pulled by itself, as seen from `now`.
    pub fn next(&self, now: Timestamp) -> Timestamp {
        let longest = SignedDuration::from_secs(i64::try_from(self.wait_seconds()).unwrap_or(i64::MAX).max(FIRST_PULL_SECONDS));
        let due = if clock::is_over(self.due, longest, now) { self.due.min(now) } else { self.due };
        self.patience(now).map_or(due, |not_before| not_before.max(due))
    }

    /// Until when the application wants to be left alone, if that is still to come.
    pub fn patience(&self, now: Timestamp) -> Option<Timestamp> {
        self.not_before.filter(|until| !clock::is_over(*until, SignedDuration::from_secs(PATIENCE_SECONDS_MAX), now))
    }

    /// The distance between two pulls, longer with each failure in a row.
    pub fn wait_seconds(&self) -> u64 {
        let every = self.every_seconds.unwrap_or(0);
        let factor = 1u64.checked_shl(self.failures.min(16)).unwrap_or(BACKOFF_FACTOR_MAX).min(BACKOFF_FACTOR_MAX);
        every.saturating_mul(factor).min(every.max(BACKOFF_SECONDS_MAX))
    }
}

impl Row for Schedule {
    const TABLE: Table = Table::Schedules;
    type Key = ConnectionKey;
}

/// Reads an interval.
///
/// # Errors
/// When it is no ISO 8601 duration of fixed length, or outside the limits.
pub fn interval_seconds(text: &str) -> Result<u64, IntervalError> {
    let refuse = || IntervalError { text: crate::ids::cut(text) };
    // jiff also reads `15m`; the contract says ISO 8601.
    let span: jiff::Span = text.starts_with('P').then(|| text.parse().ok()).flatten().ok_or_else(refuse)?;
    // Days are taken as 24 hours: an interval is a distance, not a calendar.
    let marker = jiff::SpanRelativeTo::days_are_24_hours();
    let seconds = span.total((jiff::Unit::Second, marker)).map_err(|_| refuse())?;
    if seconds.fract() != 0.0 || !(EVERY_SECONDS_MIN as f64..=EVERY_SECONDS_MAX as f64).contains(&seconds) {
        return Err(refuse());
    }
    Ok(seconds as u64)
}

/// An interval as the contract writes it.
pub fn interval_text(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let part = |number: u64, unit: &str| if number == 0 { String::new() } else { format!("{number}{unit}") };
    format!("PT{}{}{}", part(hours, "H"), part(minutes, "M"), part(rest, "S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_within_their_limits() {
        for (text, seconds) in [("PT15M", 900), ("PT1M", 60), ("P1D", 86400), ("PT1H30M", 5400)] {
            assert_eq!(interval_seconds(text), Ok(seconds), "{text}");
            assert_eq!(interval_seconds(&interval_text(seconds)), Ok(seconds), "{text}");
        }
        for text in ["", "15m", "PT59S", "PT0S", "-PT5M", "P1M", "P400D", "PT90.5S"] {
            assert!(interval_seconds(text).is_err(), "{text}");
        }
    }
}
