//! What a manifest says about windows of time, evaluated for one configuration.

use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::incremental::Clamping;
use crate::connector::component::incremental::DatetimeBasedCursor;
use crate::connector::component::incremental::MinMaxDatetime;
use crate::connector::component::incremental::Moment;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::value::Expression;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;
use crate::connector::datetime::Format;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::reading::Compat;
use crate::connector::reading::Injection;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Target;

use super::WINDOWS_MAX;
use super::Window;
use super::clamp::Clamp;

/// The unit of times when the manifest names none: what the reference engine takes.
const UNIT: Duration = Duration::from_micros(1000);

/// The rule by which every part of a stream is cut into windows of time.
#[derive(Debug)]
pub struct TimeRule<'a> {
    pub(super) compat: Compat,
    scope: Scope,
    pub(super) field: String,
    pub(super) format: Format,
    read_formats: Vec<Format>,
    /// Whether times are brought to UTC, because the format says that they are: with a `Z` behind it, an hour of another offset is
    /// another hour. A format that says nothing may mean the application's own hours, which are left as they are.
    brings_to_utc: bool,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
    step: Option<Duration>,
    granularity: Option<Duration>,
    lookback: Option<Duration>,
    start_key: String,
    end_key: String,
    start_option: Option<&'a RequestOption>,
    end_option: Option<&'a RequestOption>,
    clamp: Clamp,
    compares_strictly: bool,
    /// Whether all parts of the stream share one state.
    pub is_global: bool,
    pub(super) is_data_feed: bool,
    pub(super) client_side: bool,
}

impl<'a> TimeRule<'a> {
    /// The rule of a cursor. `scope` has `config`; `now` is where time ends when the manifest names no end.
    ///
    /// # Errors
    /// When an expression, a date or a duration cannot be read.
    pub fn new(cursor: &'a DatetimeBasedCursor, scope: Scope, now: Timestamp, compat: Compat) -> Result<Self, ReadingError> {
        let text = |expression: &Expression, field| expression.text(&scope).map_err(ReadingError::expression(field));
        let duration = |expression: &Option<Expression>, field| -> Result<Option<Duration>, ReadingError> {
            let Some(expression) = expression else { return Ok(None) };
            let text = text(expression, field)?;
            if text.trim().is_empty() {
                return Ok(None);
            }
            Duration::parse(text.trim()).map(Some).map_err(ReadingError::date(field))
        };
        let key = |expression: &Option<Expression>, field, default: &str| match expression {
            Some(expression) => text(expression, field),
            None => Ok(default.to_owned()),
        };
        let formats = cursor.cursor_datetime_formats.iter().chain(std::iter::once(&cursor.datetime_format));
        let format = Format::new(&cursor.datetime_format);
        let brings_to_utc = compat == Compat::Safe && format.claims_utc();
        let written = |at: DateTime| if brings_to_utc { at.in_utc() } else { at };
        let granularity = cursor.cursor_granularity.as_deref().filter(|text| !text.is_empty());
        let granularity = granularity.map(Duration::parse).transpose().map_err(ReadingError::date("cursor_granularity"))?;
        let mut end = match &cursor.end_datetime {
            Some(end) => moment(end, cursor, &scope, "end_datetime")?,
            None => DateTime::utc(now),
        };
        let clamp = cursor.clamping.as_ref().map_or(Ok(Clamp::None), |clamping| clamping_of(clamping, &scope))?;
        if clamp != Clamp::None {
            let unit = granularity.unwrap_or(clamp.unit());
            end = clamp.floor(end).and_then(|end| end.minus(&unit)).map_err(ReadingError::date("clamping"))?;
        }
        Ok(TimeRule {
            compat,
            field: text(&cursor.cursor_field, "cursor_field")?,
            format,
            read_formats: formats.map(|format| Format::new(format)).collect(),
            brings_to_utc,
            start: written(moment(&cursor.start_datetime, cursor, &scope, "start_datetime")?),
            end: written(end),
            step: duration(&cursor.step, "step")?.filter(|step| !step.is_zero()),
            granularity,
            lookback: duration(&cursor.lookback_window, "lookback_window")?,
            start_key: key(&cursor.partition_field_start, "partition_field_start", "start_time")?,
            end_key: key(&cursor.partition_field_end, "partition_field_end", "end_time")?,
            start_option: cursor.start_time_option.as_ref(),
            end_option: cursor.end_time_option.as_ref(),
            clamp,
            compares_strictly: cursor.is_compare_strictly,
            is_global: cursor.global_substream_cursor,
            is_data_feed: cursor.is_data_feed,
            client_side: cursor.is_client_side_incremental,
            scope,
        })
    }

    /// The time that a cursor value tells; nothing when it cannot be read.
    pub fn read(&self, value: &Value) -> Option<DateTime> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let read = self.read_formats.iter().find_map(|format| format.read(&text).ok());
        read.map(|at| if self.brings_to_utc { at.in_utc() } else { at })
    }

    /// The smallest difference between two times.
    pub(super) fn unit(&self) -> Duration {
        self.granularity.unwrap_or(UNIT)
    }

    /// Where reading begins when everything up to `known` is known: the lookback before, but never before the start.
    pub(super) fn lower(&self, known: DateTime) -> DateTime {
        match &self.lookback {
            Some(lookback) => known.minus(lookback).unwrap_or(self.start).max(self.start),
            None => known.max(self.start),
        }
    }

    /// The windows from what is known to the end, in the order of time.
    ///
    /// # Errors
    /// When a date leaves the calendar, or there are more than [`WINDOWS_MAX`].
    pub(super) fn windows(&self, known: DateTime) -> Result<Vec<Window>, ReadingError> {
        let date = ReadingError::date;
        let upper = self.end;
        let lower = self.clamp.ceil(self.lower(known)).map_err(date("clamping"))?;
        // With a unit the last window includes its end, so that one unit is left when both ends are equal.
        let nothing = if self.granularity.is_some() && !self.compares_strictly { lower > upper } else { lower >= upper };
        if nothing {
            return Ok(Vec::new());
        }
        // A step beyond the calendar reaches the end.
        let stepped = |from: DateTime| self.step.and_then(|step| from.plus(&step).ok()).map_or(upper, |stepped| stepped.min(upper));
        let mut windows = Vec::new();
        if stepped(lower) >= upper {
            let end = if self.granularity.is_some() { upper } else { self.clamp.ceil(upper).map_err(date("clamping"))? };
            windows.push(self.window(lower, end));
            return Ok(windows);
        }
        let mut lower = lower;
        loop {
            if windows.len() >= WINDOWS_MAX {
                let found = format!("a step that makes more than {WINDOWS_MAX} windows");
                return Err(ReadingError::Value { field: "step", found, needs: "a longer duration, or a later start" });
            }
            let reached = stepped(lower);
            let clamped = if reached == upper { upper } else { self.clamp.ceil(reached).map_err(date("clamping"))? };
            let is_last = reached >= upper || clamped == upper;
            if lower >= clamped {
                return Ok(windows);
            }
            let end = match &self.granularity {
                Some(granularity) if !is_last => clamped.minus(granularity).map_err(date("cursor_granularity"))?,
                _ => clamped,
            };
            windows.push(self.window(lower, end));
            if is_last {
                return Ok(windows);
            }
            lower = clamped;
        }
    }

    /// What expressions see of a window whose records up to a time are read.
    pub(super) fn rest(&self, window: &Window, read_until: DateTime) -> Map<String, Value> {
        let mut interval = window.slice.interval.clone();
        interval.insert(self.start_key.clone(), self.format.write(&read_until).into());
        interval
    }

    /// What goes into every request of a window, by what expressions see of it.
    ///
    /// # Errors
    /// When a name cannot be evaluated.
    pub fn injections(&self, interval: &Map<String, Value>) -> Result<Vec<Injection>, ReadingError> {
        let mut injections = Vec::new();
        for (option, key) in [(self.start_option, &self.start_key), (self.end_option, &self.end_key)] {
            if let Some(option) = option {
                let value = interval.get(key).cloned().unwrap_or_default();
                injections.push(Injection { target: Target::of(option, &self.scope)?, value });
            }
        }
        Ok(injections)
    }

    fn window(&self, start: DateTime, end: DateTime) -> Window {
        let keys = [(&self.start_key, &start), (&self.end_key, &end)];
        let interval = keys.into_iter().map(|(key, at)| (key.clone(), Value::from(self.format.write(at)))).collect();
        // The reference engine reads the ends back from what it wrote. Where the format is coarser than the unit that leaves gaps
        // between windows, which the state then never passes.
        let kept = |at: DateTime| match self.compat {
            Compat::Strict => self.read(&self.format.write(&at).into()).map_or(at, |read| read.in_utc()),
            Compat::Safe => at,
        };
        let (start, end) = (kept(start), kept(end));
        Window { start, end, slice: Slice { interval, ..Slice::default() } }
    }
}

fn clamping_of(clamping: &Clamping, scope: &Scope) -> Result<Clamp, ReadingError> {
    let target = clamping.target.text(scope).map_err(ReadingError::expression("clamping"))?;
    let weekday = clamping.target_details.as_ref().and_then(|details| details.weekday);
    match (target.as_str(), weekday) {
        ("DAY", _) => Ok(Clamp::Day),
        ("WEEK", Some(weekday)) => Ok(Clamp::Week(weekday)),
        ("MONTH", _) => Ok(Clamp::Month),
        _ => {
            let needs = "DAY, MONTH, or WEEK with target_details.weekday";
            Err(ReadingError::Value { field: "clamping", found: crate::ids::cut(&target), needs })
        }
    }
}

/// A time of the manifest, within its bounds.
fn moment(moment: &Moment, cursor: &DatetimeBasedCursor, scope: &Scope, field: &'static str) -> Result<DateTime, ReadingError> {
    let read = |expression: &Expression, format: &str| -> Result<Option<DateTime>, ReadingError> {
        let text = expression.text(scope).map_err(ReadingError::expression(field))?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let read = Format::new(format).read(text).or_else(|mismatch| DateTime::parse_iso(text).map_err(|_| mismatch));
        read.map(|at| Some(at.in_utc())).map_err(ReadingError::date(field))
    };
    let needed = |at: Option<DateTime>| {
        let missing = || ReadingError::Value { field, found: String::new(), needs: "a time" };
        at.ok_or_else(missing)
    };
    match moment {
        Moment::Plain(expression) => needed(read(expression, &cursor.datetime_format)?),
        Moment::Bounded(bounded) => {
            let MinMaxDatetime { datetime, datetime_format, min_datetime, max_datetime, line: _ } = bounded.as_ref();
            let format = datetime_format.as_deref().filter(|format| !format.is_empty()).unwrap_or(&cursor.datetime_format);
            let bound = |expression: &Option<Expression>| match expression {
                Some(expression) => read(expression, format),
                None => Ok(None),
            };
            let mut at = needed(read(datetime, format)?)?;
            if let Some(least) = bound(min_datetime)? {
                at = at.max(least);
            }
            if let Some(most) = bound(max_datetime)? {
                at = at.min(most);
            }
            Ok(at)
        }
    }
}
