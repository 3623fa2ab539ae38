//! Bringing times to whole units of the calendar.

use jiff::civil;

use crate::connector::component::incremental::Weekday;
use crate::connector::datetime::DateError;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;

/// The unit that the ends of windows are brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clamp {
    /// None.
    None,
    /// A day.
    Day,
    /// A week that begins with a day.
    Week(Weekday),
    /// A month.
    Month,
}

const SECOND: Duration = Duration::from_micros(1_000_000);
const DAY: Duration = Duration::from_micros(86_400_000_000);

impl Clamp {
    /// What lies between the end of one unit and the beginning of the next, when the manifest has no granularity.
    pub(super) fn unit(self) -> Duration {
        if let Clamp::Week(_) | Clamp::Month = self { DAY } else { SECOND }
    }

    /// The beginning of the unit that a time lies in.
    pub(super) fn floor(self, at: DateTime) -> Result<DateTime, DateError> {
        let day = at.civil().date();
        let first = match self {
            Clamp::None => return Ok(at),
            Clamp::Day => day,
            Clamp::Week(begins) => {
                let past = (i64::from(day.weekday().to_monday_zero_offset()) - number(begins)).rem_euclid(7);
                day.checked_sub(jiff::Span::new().days(past)).map_err(|_| DateError::Range)?
            }
            Clamp::Month => day.first_of_month(),
        };
        midnight(first, at)
    }

    /// The first beginning of a unit that is not before a time. As in the reference engine, weeks and months look at the day alone.
    pub(super) fn ceil(self, at: DateTime) -> Result<DateTime, DateError> {
        let begins = self.floor(at)?;
        let within = match self {
            Clamp::None => return Ok(at),
            Clamp::Day => begins != at,
            Clamp::Week(_) | Clamp::Month => begins.civil().date() != at.civil().date(),
        };
        match self {
            _ if !within => Ok(begins),
            Clamp::Week(_) => begins.plus(&Duration::from_micros(7 * DAY.micros)),
            Clamp::Month => begins.plus(&Duration { months: 1, micros: 0 }),
            Clamp::None | Clamp::Day => begins.plus(&DAY),
        }
    }
}

fn midnight(day: civil::Date, like: DateTime) -> Result<DateTime, DateError> {
    DateTime::new(day.at(0, 0, 0, 0), like.offset())
}

/// The days since Monday.
fn number(day: Weekday) -> i64 {
    match day {
        Weekday::Monday => 0,
        Weekday::Tuesday => 1,
        Weekday::Wednesday => 2,
        Weekday::Thursday => 3,
        Weekday::Friday => 4,
        Weekday::Saturday => 5,
        Weekday::Sunday => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(clamp: Clamp, text: &str) -> (String, String) {
        let at = DateTime::parse_iso(text).unwrap();
        let text = |at: DateTime| at.civil().to_string();
        (text(clamp.floor(at).unwrap()), text(clamp.ceil(at).unwrap()))
    }

    /// 2026-11-24 is a Tuesday. What begins a unit is its own beginning.
    #[test]
    fn times_are_brought_to_units() {
        let expected = |floor: &str, ceil: &str| (format!("{floor}T00:00:00"), format!("{ceil}T00:00:00"));
        assert_eq!(check(Clamp::Day, "2026-11-24T10:00:00Z"), expected("2026-11-24", "2026-11-25"));
        assert_eq!(check(Clamp::Day, "2026-11-24T00:00:00Z"), expected("2026-11-24", "2026-11-24"));
        assert_eq!(check(Clamp::Week(Weekday::Monday), "2026-11-24T10:00:00Z"), expected("2026-11-23", "2026-11-30"));
        assert_eq!(check(Clamp::Week(Weekday::Wednesday), "2026-11-24T10:00:00Z"), expected("2026-11-18", "2026-11-25"));
        assert_eq!(check(Clamp::Week(Weekday::Tuesday), "2026-11-24T10:00:00Z"), expected("2026-11-24", "2026-11-24"));
        assert_eq!(check(Clamp::Month, "2026-12-24T10:00:00Z"), expected("2026-12-01", "2027-01-01"));
        assert_eq!(check(Clamp::Month, "2026-12-01T10:00:00Z"), expected("2026-12-01", "2026-12-01"));
    }
}
