//! Python's `strftime`, in the C locale.

use std::fmt::Write;

use jiff::civil;
use jiff::tz::Offset;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// Writes a date and time; `offset` is nothing for dates that know no distance from UTC. Unknown directives stay as they are.
pub fn strftime(civil: &civil::DateTime, offset: Option<Offset>, format: &str) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let flag = rest.next_if(|next| matches!(next, '-' | '_' | '0' | '^'));
        let Some(directive) = rest.next() else {
            out.push('%');
            out.extend(flag);
            break;
        };
        if !directive_text(&mut out, civil, offset, flag, directive) {
            out.push('%');
            out.extend(flag);
            out.push(directive);
        }
    }
    out
}

/// Appends what a directive stands for; false when it is not known.
fn directive_text(out: &mut String, civil: &civil::DateTime, offset: Option<Offset>, flag: Option<char>, directive: char) -> bool {
    let weekday = civil.weekday();
    let name = |names: &[&'static str], at: i8| names.get(usize::try_from(at).unwrap_or_default()).copied().unwrap_or_default();
    let day_name = name(&WEEKDAYS, weekday.to_monday_zero_offset());
    let month_name = name(&MONTHS, civil.month() - 1);
    if let Some((number, width, pad)) = directive_number(civil, directive) {
        let pad = match flag {
            Some('-') => None,
            Some('_') => Some(' '),
            Some('0') => Some('0'),
            _ => Some(pad),
        };
        let digits = number.to_string();
        out.extend(pad.into_iter().flat_map(|pad| std::iter::repeat_n(pad, width.saturating_sub(digits.len()))));
        out.push_str(&digits);
        return true;
    }
    let whole = match directive {
        'a' => day_name.get(..3).unwrap_or_default().to_owned(),
        'A' => day_name.to_owned(),
        'b' | 'h' => month_name.get(..3).unwrap_or_default().to_owned(),
        'B' => month_name.to_owned(),
        'p' => (if civil.hour() < 12 { "AM" } else { "PM" }).to_owned(),
        'P' => (if civil.hour() < 12 { "am" } else { "pm" }).to_owned(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        '%' => "%".to_owned(),
        'z' => offset.map(|offset| offset_text(offset, "")).unwrap_or_default(),
        'Z' => offset.map(zone_name).unwrap_or_default(),
        'D' | 'x' => strftime(civil, offset, "%m/%d/%y"),
        'F' => strftime(civil, offset, "%Y-%m-%d"),
        'T' | 'X' => strftime(civil, offset, "%H:%M:%S"),
        'R' => strftime(civil, offset, "%H:%M"),
        'r' => strftime(civil, offset, "%I:%M:%S %p"),
        'c' => strftime(civil, offset, "%a %b %e %H:%M:%S %Y"),
        _ => return false,
    };
    out.push_str(&if flag == Some('^') { whole.to_uppercase() } else { whole });
    true
}

/// The number that a directive stands for, its width and what fills it.
fn directive_number(civil: &civil::DateTime, directive: char) -> Option<(i64, usize, char)> {
    let weekday = civil.weekday();
    let twelve = match civil.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    Some(match directive {
        'Y' => (civil.year().into(), 1, '0'),
        'C' => (i64::from(civil.year()) / 100, 2, '0'),
        'y' => (i64::from(civil.year()).rem_euclid(100), 2, '0'),
        'm' => (civil.month().into(), 2, '0'),
        'd' => (civil.day().into(), 2, '0'),
        'e' => (civil.day().into(), 2, ' '),
        'H' => (civil.hour().into(), 2, '0'),
        'k' => (civil.hour().into(), 2, ' '),
        'I' => (twelve.into(), 2, '0'),
        'l' => (twelve.into(), 2, ' '),
        'M' => (civil.minute().into(), 2, '0'),
        'S' => (civil.second().into(), 2, '0'),
        'f' => (i64::from(civil.subsec_nanosecond()) / 1000, 6, '0'),
        'j' => (civil.day_of_year().into(), 3, '0'),
        'u' => (weekday.to_monday_one_offset().into(), 1, '0'),
        'w' => (weekday.to_sunday_zero_offset().into(), 1, '0'),
        'U' => (week(civil, weekday.to_sunday_zero_offset()), 2, '0'),
        'W' => (week(civil, weekday.to_monday_zero_offset()), 2, '0'),
        'V' => (civil.date().iso_week_date().week().into(), 2, '0'),
        'G' => (civil.date().iso_week_date().year().into(), 1, '0'),
        's' => (Offset::UTC.to_timestamp(*civil).map(|at| at.as_second()).unwrap_or_default(), 1, '0'),
        _ => return None,
    })
}

/// The number of the week whose first day is `weekday` days ago.
fn week(civil: &civil::DateTime, weekday: i8) -> i64 {
    (i64::from(civil.day_of_year()) + 6 - i64::from(weekday)) / 7
}

/// A distance such as `+0530`, or with `separator` between its parts.
pub(super) fn offset_text(offset: Offset, separator: &str) -> String {
    let seconds = offset.seconds();
    let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
    let mut out = format!("{sign}{:02}{separator}{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 {
        let _ = write!(out, "{separator}{:02}", seconds % 60);
    }
    out
}

fn zone_name(offset: Offset) -> String {
    if offset == Offset::UTC { "UTC".to_owned() } else { format!("UTC{}", offset_text(offset, ":")) }
}
