//! Formats of dates: Python's directives, and four that stand for a whole number of time units.

use std::sync::OnceLock;

use super::DateError;
use super::DateTime;
use super::read::Reader;
use super::write;
use crate::connector::number;

/// A format that dates are read with and written in.
///
/// `%s`, `%s_as_float`, `%ms` and `%epoch_microseconds` as the whole format stand for the time since 1970; `%_ms` within one stands for
/// milliseconds.
#[derive(Debug)]
pub struct Format {
    text: String,
    kind: Kind,
    /// Made at the first reading.
    reader: OnceLock<Result<Reader, DateError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Seconds,
    SecondsFloat,
    Millis,
    Micros,
    Directives,
}

impl Format {
    /// A format. Any text is one for writing; see [`Format::check`] for reading.
    pub fn new(text: &str) -> Self {
        let kind = match text {
            "%s" => Kind::Seconds,
            "%s_as_float" => Kind::SecondsFloat,
            "%ms" => Kind::Millis,
            "%epoch_microseconds" => Kind::Micros,
            _ => Kind::Directives,
        };
        Format { text: text.to_owned(), kind, reader: OnceLock::new() }
    }

    /// The format as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it says, as text of its own, that what it writes is UTC.
    pub fn claims_utc(&self) -> bool {
        let letter = self.text.strip_suffix('Z').is_some_and(|before| !before.ends_with('%'));
        letter || self.text.ends_with("+00:00") || self.text.ends_with("+0000")
    }

    /// Whether dates can be read with it.
    ///
    /// # Errors
    /// When a directive is not known for reading.
    pub fn check(&self) -> Result<(), DateError> {
        match self.kind {
            Kind::Directives => self.reader().map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Reads a date; UTC is assumed where the format has no distance from it.
    ///
    /// # Errors
    /// When the text is not of this format.
    pub fn read(&self, text: &str) -> Result<DateTime, DateError> {
        let mismatch = || DateError::Mismatch { text: crate::ids::cut(text), format: self.text.clone() };
        let scaled = |unit: i64| {
            let number = integer(text).ok_or_else(mismatch)?;
            DateTime::from_epoch_micros(number.checked_mul(unit).ok_or(DateError::Range)?)
        };
        match self.kind {
            Kind::Seconds => scaled(1_000_000),
            Kind::Millis => scaled(1000),
            Kind::Micros => scaled(1),
            Kind::SecondsFloat => {
                let seconds: f64 = text.trim().replace('_', "").parse().map_err(|_| mismatch())?;
                if !seconds.is_finite() || seconds.abs() > 1e12 {
                    return Err(DateError::Range);
                }
                DateTime::from_epoch_micros((seconds * 1e6).round_ties_even() as i64)
            }
            Kind::Directives => self.reader()?.read(text).ok_or_else(mismatch),
        }
    }

    /// Writes a date.
    pub fn write(&self, date: &DateTime) -> String {
        // Floats, as the reference engine computes them: the last microsecond of large times is theirs.
        match self.kind {
            Kind::Seconds => (date.epoch_seconds().trunc() as i64).to_string(),
            Kind::Millis => ((date.epoch_seconds() * 1000.0).trunc() as i64).to_string(),
            Kind::Micros => ((date.epoch_seconds() * 1e6).trunc() as i64).to_string(),
            Kind::SecondsFloat => {
                let mut out = String::new();
                number::write_float(&mut out, date.epoch_seconds());
                out
            }
            Kind::Directives => {
                let millis = format!("{:03}", date.civil().subsec_nanosecond() / 1_000_000);
                write::strftime(&date.civil(), Some(date.offset()), &self.text.replace("%_ms", &millis))
            }
        }
    }

    fn reader(&self) -> Result<&Reader, DateError> {
        self.reader.get_or_init(|| Reader::new(&self.text.replace("%_ms", "%f"))).as_ref().map_err(Clone::clone)
    }
}

impl Clone for Format {
    fn clone(&self) -> Self {
        Format::new(&self.text)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Format {}

/// Python's `int()` of a text.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let grouped = digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if grouped { text.replace('_', "").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: what a format writes in full it reads back.
        #[test]
        fn full_formats_read_what_they_write(micros in -62_135_596_800_000_000i64..253_402_300_799_999_999, minutes in -1439i32..1439) {
            let utc = DateTime::from_epoch_micros(micros).expect("within years 1 to 9999");
            let offset = jiff::tz::Offset::from_seconds(minutes * 60).expect("a distance");
            prop_assert_eq!(Format::new("%epoch_microseconds").read(&micros.to_string()), Ok(utc));
            // Years are written as glibc does, without zeros in front, and read with four digits.
            if let Ok(date) = DateTime::new(utc.civil(), offset) && date.civil().year() >= 1000 {
                for format in ["%Y-%m-%dT%H:%M:%S.%f%z", "%d/%b/%Y %I:%M:%S.%f %p %z", "at:%Y%m%dT%H%M%S.%f%z"] {
                    let format = Format::new(format);
                    prop_assert_eq!(format.read(&format.write(&date)), Ok(date));
                }
            }
        }

        /// Goal: no format and no text makes reading or writing panic.
        #[test]
        fn any_format(format in "[%a-zA-Z_0-9 :é-]{0,12}", text in any::<String>(), micros in any::<i64>()) {
            let format = Format::new(&format);
            let _ = format.read(&text);
            let _ = DateTime::parse_iso(&text);
            if let Ok(date) = DateTime::from_epoch_micros(micros) {
                let _ = format.read(&format.write(&date));
            }
        }
    }
}
