//! Dates, times and durations as values of expressions: the parts of Python's `datetime` that manifests use.

use std::cmp::Ordering;
use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use jiff::civil;
use minijinja::Error;
use minijinja::ErrorKind;
use minijinja::State;
use minijinja::Value;
use minijinja::value::DynObject;
use minijinja::value::Kwargs;
use minijinja::value::Object;
use minijinja::value::ObjectRepr;
use minijinja::value::from_args;

use super::operator;
use crate::connector::datetime::DateError;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;
use crate::connector::datetime::strftime;

/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// A value of Python's `datetime` module, or of the calendar durations beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Moment {
    /// A date and time that knows its distance from UTC.
    DateTime(DateTime),
    /// A date.
    Date(civil::Date),
    /// A duration; months of the calendar only where `duration()` was given some.
    Duration(Duration),
}

impl From<DateError> for Error {
    /// The text that was no date stays out: it may be a record's, and errors are logged.
    fn from(error: DateError) -> Self {
        operator::value_error(match error {
            DateError::Mismatch { format, .. } => format!("the value is no date of the format `{format}`"),
            DateError::Iso { .. } => "the value is no date or time of ISO 8601".to_owned(),
            DateError::Duration { .. } => "the value is no duration of ISO 8601".to_owned(),
            error @ (DateError::Directive { .. } | DateError::Range) => error.to_string(),
        })
    }
}

impl Moment {
    pub(super) fn value(self) -> Value {
        Value::from_object(self)
    }

    pub(super) fn of(value: &Value) -> Option<&Moment> {
        value.downcast_object_ref::<Moment>()
    }

    /// `str()`.
    pub(super) fn text(&self) -> String {
        match self {
            Moment::DateTime(at) => iso(at, ' '),
            Moment::Date(date) => date.to_string(),
            Moment::Duration(duration) => duration_text(duration),
        }
    }

    /// `repr()`.
    pub(super) fn repr(&self) -> String {
        match self {
            Moment::DateTime(at) => {
                let civil = at.civil();
                let mut out = format!("datetime.datetime({}, {}, {}", civil.year(), civil.month(), civil.day());
                let _ = write!(out, ", {}, {}", civil.hour(), civil.minute());
                let micros = civil.subsec_nanosecond() / 1000;
                if civil.second() != 0 || micros != 0 {
                    let _ = write!(out, ", {}", civil.second());
                }
                if micros != 0 {
                    let _ = write!(out, ", {micros}");
                }
                out + ", tzinfo=datetime.timezone.utc)"
            }
            Moment::Date(date) => format!("datetime.date({}, {}, {})", date.year(), date.month(), date.day()),
            Moment::Duration(duration) => {
                let (days, rest) = (duration.micros.div_euclid(DAY_MICROS), duration.micros.rem_euclid(DAY_MICROS));
                let parts = [("days", days), ("seconds", rest / 1_000_000), ("microseconds", rest % 1_000_000)];
                let named: Vec<String> =
                    parts.iter().filter(|(_, number)| *number != 0).map(|(name, number)| format!("{name}={number}")).collect();
                format!("datetime.timedelta({})", if named.is_empty() { "0".to_owned() } else { named.join(", ") })
            }
        }
    }

    /// `left + right`, when one of them is a moment.
    pub(super) fn add(left: &Value, right: &Value) -> Option<Result<Value, Error>> {
        let sum = match (Moment::of(left)?, Moment::of(right)?) {
            (Moment::Duration(first), Moment::Duration(second)) => added(first, second).map(Moment::Duration),
            (at, Moment::Duration(duration)) | (Moment::Duration(duration), at) => at.moved(duration),
            _ => return None,
        };
        Some(sum.map(Moment::value))
    }

    /// `left - right`, when one of them is a moment.
    pub(super) fn subtract(left: &Value, right: &Value) -> Option<Result<Value, Error>> {
        let difference = match (Moment::of(left)?, Moment::of(right)?) {
            (Moment::Duration(first), Moment::Duration(second)) => added(first, &second.negated()).map(Moment::Duration),
            (at, Moment::Duration(duration)) => at.moved(&duration.negated()),
            (Moment::DateTime(late), Moment::DateTime(early)) => {
                Ok(Moment::Duration(Duration::from_micros(late.epoch_micros() - early.epoch_micros())))
            }
            (Moment::Date(late), Moment::Date(early)) => {
                let days = (*late - *early).get_days();
                Ok(Moment::Duration(Duration::from_micros(i64::from(days) * DAY_MICROS)))
            }
            _ => return None,
        };
        Some(difference.map(Moment::value))
    }

    /// A duration so many times.
    pub(super) fn multiply(value: &Value, times: i128) -> Option<Result<Value, Error>> {
        let Moment::Duration(duration) = Moment::of(value)? else { return None };
        let times = i64::try_from(times).ok();
        let scaled = times
            .and_then(|times| Some(Duration { months: duration.months.checked_mul(times)?, micros: duration.micros.checked_mul(times)? }));
        Some(scaled.map(|scaled| Moment::Duration(scaled).value()).ok_or_else(too_long))
    }

    pub(super) fn negate(value: &Value) -> Option<Result<Value, Error>> {
        match Moment::of(value)? {
            Moment::Duration(duration) => Some(Ok(Moment::Duration(duration.negated()).value())),
            _ => None,
        }
    }

    /// The order of two moments of one kind.
    pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
        Moment::of(left)?.order(Moment::of(right)?)
    }

    fn order(&self, other: &Moment) -> Option<Ordering> {
        match (self, other) {
            (Moment::DateTime(left), Moment::DateTime(right)) => Some(left.timestamp().cmp(&right.timestamp())),
            (Moment::Date(left), Moment::Date(right)) => Some(left.cmp(right)),
            (Moment::Duration(left), Moment::Duration(right)) if left.months == right.months => Some(left.micros.cmp(&right.micros)),
            _ => None,
        }
    }

    fn moved(&self, by: &Duration) -> Result<Moment, Error> {
        match self {
            Moment::DateTime(at) => Ok(Moment::DateTime(at.plus(by)?)),
            Moment::Date(date) => {
                // A date moves by the whole days of a duration.
                let days = Duration { months: by.months, micros: by.micros.div_euclid(DAY_MICROS) * DAY_MICROS };
                let at = DateTime::new(date.at(0, 0, 0, 0), jiff::tz::Offset::UTC)?.plus(&days)?;
                Ok(Moment::Date(at.civil().date()))
            }
            Moment::Duration(duration) => added(duration, by).map(Moment::Duration),
        }
    }

    fn civil(&self) -> Option<civil::DateTime> {
        match self {
            Moment::DateTime(at) => Some(at.civil()),
            Moment::Date(date) => Some(date.at(0, 0, 0, 0)),
            Moment::Duration(_) => None,
        }
    }

    /// Python's `strftime`.
    pub(super) fn strftime(&self, format: &str) -> Option<String> {
        let offset = match self {
            Moment::DateTime(at) => Some(at.offset()),
            _ => None,
        };
        self.civil().map(|civil| strftime(&civil, offset, format))
    }
}

fn added(first: &Duration, second: &Duration) -> Result<Duration, Error> {
    let sum = first.months.checked_add(second.months).zip(first.micros.checked_add(second.micros));
    sum.map(|(months, micros)| Duration { months, micros }).ok_or_else(too_long)
}

fn too_long() -> Error {
    operator::value_error("the duration is too long")
}

/// `isoformat()`, with `separator` between date and time.
fn iso(at: &DateTime, separator: char) -> String {
    let fraction = if at.civil().subsec_nanosecond() / 1000 == 0 { "" } else { ".%f" };
    iso_with(at, &separator.to_string(), &format!("%H:%M:%S{fraction}"))
}

/// `isoformat(sep, timespec)`: up to which unit the time is written.
fn iso_in(at: &DateTime, separator: &str, unit: &str) -> Result<String, Error> {
    let fraction = if at.civil().subsec_nanosecond() / 1000 == 0 { "" } else { ".%f" };
    let milliseconds = format!("%H:%M:%S.{:03}", at.civil().subsec_nanosecond() / 1_000_000);
    let automatic = format!("%H:%M:%S{fraction}");
    let time = match unit {
        "auto" => automatic.as_str(),
        "hours" => "%H",
        "minutes" => "%H:%M",
        "seconds" => "%H:%M:%S",
        "milliseconds" => milliseconds.as_str(),
        "microseconds" => "%H:%M:%S.%f",
        _ => return Err(operator::value_error("isoformat() does not know that unit")),
    };
    Ok(iso_with(at, separator, time))
}

fn iso_with(at: &DateTime, separator: &str, time: &str) -> String {
    let civil = at.civil();
    let seconds = at.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let mut out = format!("{}{separator}{}", strftime(&civil, None, "%Y-%m-%d"), strftime(&civil, None, time));
    let _ = write!(out, "{sign}{:02}:{:02}", seconds.abs() / 3600, seconds.abs() / 60 % 60);
    out
}

fn duration_text(duration: &Duration) -> String {
    let mut parts = Vec::new();
    let plural = |number: i64, unit: &str| format!("{number} {unit}{}", if number.abs() == 1 { "" } else { "s" });
    if duration.months / 12 != 0 {
        parts.push(plural(duration.months / 12, "year"));
    }
    if duration.months % 12 != 0 {
        parts.push(plural(duration.months % 12, "month"));
    }
    let (days, rest) = (duration.micros.div_euclid(DAY_MICROS), duration.micros.rem_euclid(DAY_MICROS));
    if days != 0 {
        parts.push(plural(days, "day"));
    }
    let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
    let mut time = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros != 0 {
        let _ = write!(time, ".{micros:06}");
    }
    parts.push(time);
    parts.join(", ")
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        if let Moment::Duration(duration) = &**self {
            let (days, rest) = (duration.micros.div_euclid(DAY_MICROS), duration.micros.rem_euclid(DAY_MICROS));
            return match key {
                "days" => Some(Value::from(days)),
                "seconds" => Some(Value::from(rest / 1_000_000)),
                "microseconds" => Some(Value::from(rest % 1_000_000)),
                _ => None,
            };
        }
        let civil = self.civil()?;
        let dated = match key {
            "year" => return Some(Value::from(civil.year())),
            "month" => civil.month(),
            "day" => civil.day(),
            "hour" => civil.hour(),
            "minute" => civil.minute(),
            "second" => civil.second(),
            "microsecond" => return Some(Value::from(civil.subsec_nanosecond() / 1000)),
            _ => return None,
        };
        let of_day = matches!(key, "hour" | "minute" | "second");
        (!of_day || matches!(**self, Moment::DateTime(_))).then(|| Value::from(dated))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !matches!(&**self, Moment::Duration(duration) if duration.is_zero())
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        Some(self.order(other).unwrap_or(Ordering::Less))
    }

    fn call_method(self: &Arc<Self>, _state: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let unknown = || Error::from(ErrorKind::UnknownMethod);
        if method == "strftime" {
            let (format,): (&str,) = from_args(args)?;
            return self.strftime(format).map(Value::from).ok_or_else(unknown);
        }
        if let (Moment::DateTime(at), "isoformat") = (&**self, method) {
            let (separator, unit, kwargs): (Option<&str>, Option<&str>, Kwargs) = from_args(args)?;
            let separator = kwargs.get::<Option<&str>>("sep")?.or(separator).unwrap_or("T");
            let unit = kwargs.get::<Option<&str>>("timespec")?.or(unit).unwrap_or("auto");
            kwargs.assert_all_used()?;
            return iso_in(at, separator, unit).map(Value::from);
        }
        let () = from_args(args)?;
        match (&**self, method) {
            (Moment::Date(date), "isoformat") => Ok(Value::from(date.to_string())),
            (Moment::DateTime(at), "timestamp") => Ok(Value::from(at.epoch_seconds())),
            (Moment::DateTime(at), "date") => Ok(Moment::Date(at.civil().date()).value()),
            (Moment::Duration(duration), "total_seconds") => Ok(Value::from(duration.micros as f64 / 1e6)),
            (_, "weekday") => self.civil().map(|civil| Value::from(civil.weekday().to_monday_zero_offset())).ok_or_else(unknown),
            (_, "isoweekday") => self.civil().map(|civil| Value::from(civil.weekday().to_monday_one_offset())).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}
