//! Python's `strptime`, by way of the same regular expressions as CPython's.

use jiff::civil;
use jiff::tz::Offset;
use regex::Captures;
use regex::Regex;

use super::DateError;
use super::DateTime;
use super::iso;

/// A format compiled for reading.
#[derive(Debug)]
pub(super) struct Reader {
    pattern: Regex,
    /// The directive of each group, in order.
    directives: Vec<char>,
}

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

/// The pattern of a directive. The order of alternatives is CPython's: the first that fits is taken, and never taken back.
fn pattern(directive: char) -> Option<&'static str> {
    Some(match directive {
        'd' => r"(3[0-1]|[1-2][0-9]|0[1-9]|[1-9]| [1-9])",
        'f' => r"([0-9]{1,6})",
        'H' => r"(2[0-3]|[0-1][0-9]|[0-9])",
        'I' => r"(1[0-2]|0[1-9]|[1-9]| [1-9])",
        'j' => r"(36[0-6]|3[0-5][0-9]|[1-2][0-9][0-9]|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0[1-9]|[1-9])",
        'm' => r"(1[0-2]|0[1-9]|[1-9])",
        'M' => r"([0-5][0-9]|[0-9])",
        'S' => r"(6[0-1]|[0-5][0-9]|[0-9])",
        'w' => r"([0-6])",
        'u' => r"([1-7])",
        'y' => r"([0-9][0-9])",
        'Y' => r"([0-9][0-9][0-9][0-9])",
        'z' => r"([+-][0-9][0-9]:?[0-5][0-9](?::?[0-5][0-9](?:\.[0-9]{1,6})?)?|(?-i:Z))",
        'A' => r"(wednesday|thursday|saturday|tuesday|monday|friday|sunday)",
        'a' => r"(mon|tue|wed|thu|fri|sat|sun)",
        'B' => r"(september|february|november|december|january|october|august|march|april|june|july|may)",
        'b' => r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
        'p' => r"(am|pm)",
        'Z' => r"(utc|gmt)",
        _ => return None,
    })
}

impl Reader {
    pub(super) fn new(format: &str) -> Result<Self, DateError> {
        // The locale's own formats, in the C locale.
        let format = format.replace("%c", "%a %b %d %H:%M:%S %Y").replace("%x", "%m/%d/%y").replace("%X", "%H:%M:%S");
        let refused = |directive: &str| DateError::Directive { format: format.clone(), directive: directive.to_owned() };
        let mut expression = String::from("^(?i:");
        let mut directives = Vec::new();
        let mut rest = format.chars().peekable();
        while let Some(character) = rest.next() {
            if character.is_whitespace() {
                while rest.next_if(|next| next.is_whitespace()).is_some() {}
                expression.push_str(r"\s+");
                continue;
            }
            if character != '%' {
                expression.push_str(&regex::escape(&character.to_string()));
                continue;
            }
            match rest.next() {
                Some('%') => expression.push('%'),
                Some(directive) => {
                    if directives.contains(&directive) {
                        return Err(refused(&directive.to_string()));
                    }
                    expression.push_str(pattern(directive).ok_or_else(|| refused(&directive.to_string()))?);
                    directives.push(directive);
                }
                None => return Err(refused("")),
            }
        }
        expression.push(')');
        let pattern = Regex::new(&expression).map_err(|_| refused(""))?;
        Ok(Reader { pattern, directives })
    }

    pub(super) fn read(&self, text: &str) -> Option<DateTime> {
        let found = self.pattern.captures(text)?;
        if found.get(0)?.end() != text.len() {
            return None;
        }
        let mut fields = Fields::default();
        for (group, directive) in self.directives.iter().enumerate() {
            fields.take(*directive, &found, group + 1)?;
        }
        fields.date()
    }
}

/// What the directives of a text said.
#[derive(Default)]
struct Fields {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    twelve: Option<i8>,
    afternoon: Option<bool>,
    minute: i8,
    second: i8,
    micros: i32,
    offset: Option<Offset>,
}

impl Fields {
    fn take(&mut self, directive: char, found: &Captures<'_>, group: usize) -> Option<()> {
        let text = found.get(group)?.as_str().trim_start();
        match directive {
            'd' => self.day = Some(text.parse().ok()?),
            'f' => self.micros = text.chars().chain("000000".chars()).take(6).collect::<String>().parse().ok()?,
            'H' => self.hour = text.parse().ok()?,
            'I' => self.twelve = Some(text.parse().ok()?),
            'j' => self.day_of_year = Some(text.parse().ok()?),
            'm' => self.month = Some(text.parse().ok()?),
            'M' => self.minute = text.parse().ok()?,
            'S' => self.second = text.parse().ok()?,
            'y' => {
                let year: i16 = text.parse().ok()?;
                self.year = Some(if year <= 68 { 2000 + year } else { 1900 + year });
            }
            'Y' => self.year = Some(text.parse().ok()?),
            'z' if text == "Z" => self.offset = Some(Offset::UTC),
            'z' => self.offset = Some(iso::offset(text.split('.').next()?)?),
            'B' | 'b' => {
                let name = text.to_lowercase();
                let month = MONTHS.iter().position(|month| month.starts_with(&name))?;
                self.month = Some(i8::try_from(month).ok()? + 1);
            }
            'p' => self.afternoon = Some(text.eq_ignore_ascii_case("pm")),
            // The day of the week and the zone's name say nothing that is not said otherwise.
            _ => {}
        }
        Some(())
    }

    fn date(self) -> Option<DateTime> {
        let year = self.year.unwrap_or(1900);
        let mut date = civil::Date::new(year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?;
        if let (Some(day), None, None) = (self.day_of_year, self.month, self.day) {
            date = civil::Date::new(year, 1, 1).ok()?.checked_add(jiff::Span::new().days(i64::from(day) - 1)).ok()?;
        }
        let hour = match (self.twelve, self.afternoon.unwrap_or(false)) {
            (None, _) => self.hour,
            (Some(hour), afternoon) => hour % 12 + if afternoon { 12 } else { 0 },
        };
        let time = civil::Time::new(hour, self.minute, self.second, self.micros * 1000).ok()?;
        DateTime::new(date.to_datetime(time), self.offset.unwrap_or(Offset::UTC)).ok()
    }
}
