//! Durations of ISO 8601: years and months of the calendar, and a time to the microsecond.

use jiff::Span;
use jiff::civil;

use super::DateError;

/// A duration: months of the calendar and microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Duration {
    /// Whole months; a year is twelve.
    pub months: i64,
    /// Microseconds; a day is 24 hours.
    pub micros: i64,
}

/// Microseconds of a day.
pub(super) const DAY_MICROS: i64 = 86_400_000_000;

/// The longest duration, in microseconds either way: 9,999 years.
const MICROS_MAX: i64 = 9_999 * 366 * DAY_MICROS;

impl Duration {
    /// A duration of microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Duration { months: 0, micros }
    }

    /// Reads a duration such as `P1D`, `PT1H30M`, `P1M` or `-P2W`; decimals are allowed in the last of its parts.
    ///
    /// # Errors
    /// When the text is none, or longer than 9,999 years.
    pub fn parse(text: &str) -> Result<Self, DateError> {
        read(text).ok_or_else(|| DateError::Duration { text: crate::ids::cut(text) })
    }

    /// Whether it is no time at all.
    pub fn is_zero(&self) -> bool {
        self.months == 0 && self.micros == 0
    }

    /// The same, backwards.
    #[must_use]
    pub fn negated(&self) -> Self {
        Duration { months: -self.months, micros: -self.micros }
    }

    pub(super) fn add_to(&self, civil: civil::DateTime) -> Result<civil::DateTime, DateError> {
        let span = Span::new().try_months(self.months).and_then(|span| span.try_microseconds(0)).map_err(|_| DateError::Range)?;
        let time = jiff::SignedDuration::from_micros(self.micros);
        civil.checked_add(span).and_then(|civil| civil.checked_add(time)).map_err(|_| DateError::Range)
    }
}

fn read(text: &str) -> Option<Duration> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let rest = rest.strip_prefix('P')?;
    let (date, time) = match rest.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (rest, None),
    };
    let mut months: f64 = 0.0;
    let mut micros: i128 = 0;
    let mut parts = 0;
    for (number, unit) in Parts(date) {
        let number = number?;
        match unit {
            'Y' => months += number.whole()? as f64 * 12.0,
            'M' => months += number.whole()? as f64,
            'W' => micros += number.times(7 * DAY_MICROS)?,
            'D' => micros += number.times(DAY_MICROS)?,
            _ => return None,
        }
        parts += 1;
    }
    for (number, unit) in Parts(time.unwrap_or_default()) {
        let number = number?;
        micros += match unit {
            'H' => number.times(3_600_000_000)?,
            'M' => number.times(60_000_000)?,
            'S' => number.times(1_000_000)?,
            _ => return None,
        };
        parts += 1;
    }
    let micros = i64::try_from(micros).ok().filter(|micros| *micros <= MICROS_MAX)?;
    let months = months as i64;
    (parts > 0 && months <= 9_999 * 12).then_some(Duration { months: sign * months, micros: sign * micros })
}

/// A decimal number: whole part, and millionths.
struct Number {
    whole: i64,
    millionths: i64,
}

impl Number {
    fn read(text: &str) -> Option<Number> {
        let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 15 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
        Some(Number { whole: whole.parse().ok()?, millionths: fraction.parse().ok()? })
    }

    fn whole(&self) -> Option<i64> {
        (self.millionths == 0).then_some(self.whole)
    }

    fn times(&self, unit: i64) -> Option<i128> {
        let (whole, millionths, unit) = (i128::from(self.whole), i128::from(self.millionths), i128::from(unit));
        (whole * unit).checked_add(millionths * unit / 1_000_000)
    }
}

/// Numbers, each with the letter behind it.
struct Parts<'a>(&'a str);

impl Iterator for Parts<'_> {
    type Item = (Option<Number>, char);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.find(|character: char| character.is_ascii_alphabetic());
        let (number, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        let unit = rest.chars().next();
        self.0 = rest.get(1..).unwrap_or_default();
        Some((Number::read(number), unit.unwrap_or('?')))
    }
}

#[cfg(test)]
mod tests {
    use super::DAY_MICROS;
    use super::Duration;

    #[test]
    fn durations() {
        for (text, months, micros) in [
            ("P1D", 0, DAY_MICROS),
            ("PT1S", 0, 1_000_000),
            ("PT0.000001S", 0, 1),
            ("P1M", 1, 0),
            ("P1Y2M3DT4H5M6S", 14, 3 * DAY_MICROS + 14_706_000_000),
            ("P6DT23H", 0, 6 * DAY_MICROS + 82_800_000_000),
            ("-P2W", 0, -14 * DAY_MICROS),
            ("PT1,5H", 0, 5_400_000_000),
        ] {
            assert_eq!(Duration::parse(text), Ok(Duration { months, micros }), "{text}");
        }
        for text in ["", "P", "PT", "1D", "P1", "PD", "P1H", "PT1D", "P1.5M", "P99999999999999D", "Pé1D", "P1Dé"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }
}
