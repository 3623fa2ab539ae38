//! Dates, times and durations of manifests: Python's formats, ISO 8601, and arithmetic to the microsecond.

use std::cmp::Ordering;

use jiff::SignedDuration;
use jiff::civil;
use jiff::tz::Offset;

use crate::clock::Timestamp;

mod duration;
mod format;
mod iso;
mod read;
mod write;

pub use duration::Duration;
pub use format::Format;
pub use write::strftime;

/// The refusal of a date, a duration or a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// A text is not of a format.
    #[error("`{text}` is no date of the format `{format}`")]
    Mismatch {
        /// The text.
        text: String,
        /// The format.
        format: String,
    },
    /// A text is no date of ISO 8601.
    #[error("`{text}` is no date or time of ISO 8601, such as 2026-11-24T10:00:00Z")]
    Iso {
        /// The text.
        text: String,
    },
    /// A text is no duration of ISO 8601.
    #[error("`{text}` is no duration of ISO 8601, such as P1D or PT1H")]
    Duration {
        /// The text.
        text: String,
    },
    /// A format that dates cannot be read with.
    #[error("the format `{format}` cannot be read: the directive `%{directive}` is not known for reading")]
    Directive {
        /// The format.
        format: String,
        /// The directive.
        directive: String,
    },
    /// A date before year 1 or after year 9999.
    #[error("the date is outside the years 1 to 9999")]
    Range,
}

/// A date and time with its distance from UTC, to the microsecond, in the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    at: Timestamp,
    offset: Offset,
}

impl DateTime {
    /// The instant in UTC; what is below a microsecond is cut off.
    pub fn utc(at: Timestamp) -> Self {
        DateTime { at: micros(at), offset: Offset::UTC }
    }

    /// A date and time at a distance from UTC.
    ///
    /// # Errors
    /// When the instant is out of range.
    pub fn new(civil: civil::DateTime, offset: Offset) -> Result<Self, DateError> {
        if !(1..=9999).contains(&civil.year()) {
            return Err(DateError::Range);
        }
        let at = offset.to_timestamp(civil).map_err(|_| DateError::Range)?;
        Ok(DateTime { at: micros(at), offset })
    }

    /// The instant so many microseconds after 1970.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn from_epoch_micros(micros: i64) -> Result<Self, DateError> {
        let at = Timestamp::from_microsecond(micros).map_err(|_| DateError::Range)?;
        let date = DateTime::utc(at);
        if (1..=9999).contains(&date.civil().year()) { Ok(date) } else { Err(DateError::Range) }
    }

    /// Reads a date or time of ISO 8601; UTC is assumed where the text names no distance.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse_iso(text: &str) -> Result<Self, DateError> {
        iso::read(text).ok_or_else(|| DateError::Iso { text: crate::ids::cut(text) })
    }

    /// The instant.
    pub fn timestamp(&self) -> Timestamp {
        self.at
    }

    /// Microseconds since 1970.
    pub fn epoch_micros(&self) -> i64 {
        self.at.as_microsecond()
    }

    /// Seconds since 1970, as Python's `timestamp()`.
    pub fn epoch_seconds(&self) -> f64 {
        self.epoch_micros() as f64 / 1e6
    }

    /// The date and time as read on a clock at its distance from UTC.
    pub fn civil(&self) -> civil::DateTime {
        self.offset.to_datetime(self.at)
    }

    /// The distance from UTC.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The same instant in UTC.
    pub fn in_utc(&self) -> Self {
        DateTime { at: self.at, offset: Offset::UTC }
    }

    /// The date and time that a duration later a clock shows; months first, the day cut to the month's length.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn plus(&self, duration: &Duration) -> Result<Self, DateError> {
        let civil = duration.add_to(self.civil())?;
        DateTime::new(civil, self.offset)
    }

    /// As [`DateTime::plus`], backwards.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn minus(&self, duration: &Duration) -> Result<Self, DateError> {
        self.plus(&duration.negated())
    }
}

impl PartialOrd for DateTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DateTime {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at).then(self.offset.cmp(&other.offset))
    }
}

fn micros(at: Timestamp) -> Timestamp {
    let below = i64::from(at.subsec_nanosecond()).rem_euclid(1000);
    at.checked_sub(SignedDuration::from_nanos(below)).unwrap_or(at)
}
