//! Dates and times of ISO 8601, in the forms that Python's `dateutil` accepts.

use jiff::civil;
use jiff::tz::Offset;

use super::DateTime;
use super::Duration;

pub(super) fn read(text: &str) -> Option<DateTime> {
    if !text.is_ascii() {
        return None;
    }
    let (date, used) = date(text)?;
    let rest = &text[used..];
    if rest.is_empty() {
        return DateTime::new(date.at(0, 0, 0, 0), Offset::UTC).ok();
    }
    // Any one character separates date and time.
    let (time, offset) = split_offset(rest.get(1..)?)?;
    let (hour, minute, second, micros) = clock(time)?;
    let offset = match offset {
        Some(offset) => offset,
        None => Offset::UTC,
    };
    let nanos = i32::try_from(micros).ok()?.checked_mul(1000)?;
    if hour == 24 {
        let midnight = minute == 0 && second == 0 && micros == 0;
        let next = DateTime::new(date.at(0, 0, 0, 0), offset).ok()?.plus(&Duration::from_micros(super::duration::DAY_MICROS));
        return next.ok().filter(|_| midnight);
    }
    let civil = civil::DateTime::new(date.year(), date.month(), date.day(), hour, minute, second, nanos).ok()?;
    DateTime::new(civil, offset).ok()
}

/// The date that the text begins with, and its length.
fn date(text: &str) -> Option<(civil::Date, usize)> {
    let year: i16 = number(text.get(..4)?)?;
    let first = |month: i8| civil::Date::new(year, month, 1).ok();
    let bytes = text.as_bytes();
    if bytes.len() == 4 {
        return Some((first(1)?, 4));
    }
    let dash = usize::from(bytes[4] == b'-');
    let rest = &text[4 + dash..];
    if let Some(week) = rest.strip_prefix('W') {
        let (day, used) = self::week(year, week, dash == 1)?;
        return Some((day, 4 + dash + 1 + used));
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    // Three digits are a day of the year; the digits of a time follow behind a separator only.
    if digits == 3 {
        let day: i16 = number(&rest[..3])?;
        let date = first(1)?.checked_add(jiff::Span::new().days(i64::from(day) - 1)).ok()?;
        return (day >= 1 && date.year() == year).then_some((date, 4 + dash + 3));
    }
    let month: i8 = number(rest.get(..2)?)?;
    let rest = &rest[2..];
    match (dash, rest.as_bytes().first()) {
        (1, None) => Some((first(month)?, 7)),
        (1, Some(b'-')) => Some((civil::Date::new(year, month, number(rest.get(1..3)?)?).ok()?, 10)),
        (0, Some(_)) => Some((civil::Date::new(year, month, number(rest.get(..2)?)?).ok()?, 8)),
        _ => None,
    }
}

fn week(year: i16, text: &str, dashes: bool) -> Option<(civil::Date, usize)> {
    let week: i8 = number(text.get(..2)?)?;
    let (day, used) = match (dashes, text.as_bytes().get(2)) {
        (true, Some(b'-')) => (number(text.get(3..4)?)?, 4),
        (false, Some(byte)) if byte.is_ascii_digit() => (number(text.get(2..3)?)?, 3),
        _ => (1, 2),
    };
    let weekday = civil::Weekday::from_monday_one_offset(day).ok()?;
    Some((civil::ISOWeekDate::new(year, week, weekday).ok()?.date(), used))
}

/// The time and its distance from UTC, when it names one.
fn split_offset(text: &str) -> Option<(&str, Option<Offset>)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, Some(Offset::UTC)));
    }
    match text.rfind(['+', '-']) {
        None => Some((text, None)),
        Some(at) => Some((&text[..at], Some(offset(&text[at..])?))),
    }
}

/// A distance such as `+02`, `+0200` or `+02:00`.
pub(super) fn offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let parts: String = text[1..].chars().filter(|character| *character != ':').collect();
    let part = |at: usize| -> Option<i32> { if at < parts.len() { number(parts.get(at..at + 2)?) } else { Some(0) } };
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    if parts.is_empty() || parts.len() > 6 || minutes > 59 || seconds > 59 || hours > 23 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60 + seconds)).ok()
}

/// Hour, minute, second and microsecond.
fn clock(text: &str) -> Option<(i8, i8, i8, i64)> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let colons = whole.contains(':');
    let parts: Vec<&str> = match colons {
        true => whole.split(':').collect(),
        false => whole.as_bytes().chunks(2).filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect(),
    };
    if parts.is_empty() || parts.len() > 3 || parts.iter().any(|part| part.len() != 2) {
        return None;
    }
    let part = |at: usize| parts.get(at).map_or(Some(0), |part| number::<i8>(part));
    let micros = match fraction {
        None => 0,
        Some(fraction) if parts.len() == 3 && !fraction.is_empty() => {
            let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
            number::<i64>(&digits).filter(|_| fraction.bytes().all(|byte| byte.is_ascii_digit()))?
        }
        Some(_) => return None,
    };
    Some((part(0)?, part(1)?, part(2)?, micros))
}

fn number<N: std::str::FromStr>(digits: &str) -> Option<N> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}
