//! Windows of time: which are read, and what of them is known afterwards.
//!
//! Source for the rules: the concurrent datetime cursor of airbyte-cdk (LOWCODE.md section 4.8). The state is `{cursor_field: text}`: up
//! to there everything has been read.

use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::incremental::DatetimeBasedCursor;
use crate::connector::component::incremental::IncrementalSync;
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

/// The most windows of one reading: a step that makes more is too short for its stretch of time.
pub const WINDOWS_MAX: usize = 100_000;

/// A window of time, both ends included.
#[derive(Debug, Clone)]
pub struct Window {
    /// Where it begins.
    pub start: DateTime,
    /// Where it ends.
    pub end: DateTime,
    /// The slice that expressions see.
    pub slice: Slice,
}

/// A stretch of time that has been read.
#[derive(Debug, Clone, PartialEq)]
struct Stretch {
    start: DateTime,
    end: DateTime,
    /// The latest cursor value of its records.
    latest: Option<DateTime>,
}

/// The cursor of one reading of a stream.
#[derive(Debug)]
pub struct TimeCursor<'a> {
    compat: Compat,
    scope: Scope,
    field: String,
    format: Format,
    read_formats: Vec<Format>,
    start: DateTime,
    end: DateTime,
    step: Option<Duration>,
    granularity: Option<Duration>,
    lookback: Option<Duration>,
    start_key: String,
    end_key: String,
    start_option: Option<&'a RequestOption>,
    end_option: Option<&'a RequestOption>,
    /// Whether paging ends at the first page that is older than what is known.
    pub is_data_feed: bool,
    client_side: bool,
    /// What had been read when this reading began: records before it are known.
    known_until: DateTime,
    read: Vec<Stretch>,
    /// Open windows and the latest cursor value seen in each.
    open: Vec<(Window, Option<DateTime>)>,
}

impl<'a> TimeCursor<'a> {
    /// The cursor of a stream at the state of its last reading. `scope` has `config`; `now` is where time ends when the manifest names
    /// no end.
    ///
    /// # Errors
    /// When an expression, date, duration or the state cannot be read.
    pub fn new(
        IncrementalSync::DatetimeBasedCursor(cursor): &'a IncrementalSync,
        scope: Scope,
        state: Option<&Value>,
        now: Timestamp,
        compat: Compat,
    ) -> Result<Self, ReadingError> {
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
        let format = Format::new(&cursor.datetime_format);
        let formats = cursor.cursor_datetime_formats.iter().chain(std::iter::once(&cursor.datetime_format));
        let field = text(&cursor.cursor_field, "cursor_field")?;
        let start = moment(&cursor.start_datetime, cursor, &scope, "start_datetime")?;
        let end = match &cursor.end_datetime {
            Some(end) => moment(end, cursor, &scope, "end_datetime")?,
            None => DateTime::utc(now),
        };
        let granularity =
            cursor.cursor_granularity.as_deref().map(Duration::parse).transpose().map_err(ReadingError::date("cursor_granularity"))?;
        let mut made = TimeCursor {
            compat,
            field,
            format,
            read_formats: formats.map(|format| Format::new(format)).collect(),
            start,
            end,
            step: duration(&cursor.step, "step")?,
            granularity,
            lookback: duration(&cursor.lookback_window, "lookback_window")?,
            start_key: key(&cursor.partition_field_start, "partition_field_start", "start_time")?,
            end_key: key(&cursor.partition_field_end, "partition_field_end", "end_time")?,
            start_option: cursor.start_time_option.as_ref(),
            end_option: cursor.end_time_option.as_ref(),
            is_data_feed: cursor.is_data_feed,
            client_side: cursor.is_client_side_incremental,
            known_until: start,
            read: Vec::new(),
            open: Vec::new(),
            scope,
        };
        made.resume(state)?;
        Ok(made)
    }

    /// The field of a record that tells its time.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The windows to read, in the order of time.
    ///
    /// # Errors
    /// When a date leaves the calendar, or there are more than `WINDOWS_MAX`.
    pub fn windows(&self) -> Result<Vec<Window>, ReadingError> {
        let lower = match (&self.lookback, self.known_until > self.start) {
            (Some(lookback), true) => self.known_until.minus(lookback).unwrap_or(self.start).max(self.start),
            _ => self.known_until,
        };
        let mut windows = Vec::new();
        let mut lower = lower;
        while lower < self.end {
            if windows.len() >= WINDOWS_MAX {
                let found = format!("a step that makes more than {WINDOWS_MAX} windows");
                return Err(ReadingError::Value { field: "step", found, needs: "a longer duration, or a later start" });
            }
            // A step beyond the calendar reaches the end.
            let stepped = self.step.filter(|step| !step.is_zero()).and_then(|step| lower.plus(&step).ok());
            let upper = stepped.filter(|upper| *upper > lower).unwrap_or(self.end).min(self.end);
            let is_last = upper >= self.end;
            let end = match &self.granularity {
                Some(granularity) if !is_last => upper.minus(granularity).map_err(ReadingError::date("cursor_granularity"))?,
                _ => upper,
            };
            windows.push(self.window(lower, end));
            lower = upper;
        }
        Ok(windows)
    }

    /// What goes into every request of a window.
    ///
    /// # Errors
    /// When a name cannot be evaluated.
    pub fn injections(&self, window: &Window) -> Result<Vec<Injection>, ReadingError> {
        let mut injections = Vec::new();
        for (option, at) in [(self.start_option, &window.start), (self.end_option, &window.end)] {
            if let Some(option) = option {
                injections.push(Injection { target: Target::of(option, &self.scope)?, value: self.format.write(at).into() });
            }
        }
        Ok(injections)
    }

    /// The time that a record's cursor value tells; nothing when it cannot be read. Such a record is emitted and moves no state.
    pub fn read_value(&self, value: &Value) -> Option<DateTime> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        self.read_formats.iter().find_map(|format| format.read(&text).ok())
    }

    /// Whether a record is to be kept: only where the manifest says that the application cannot filter are others left out.
    pub fn admits(&self, at: Option<DateTime>) -> bool {
        let filters = self.client_side || self.is_data_feed;
        let Some(at) = at else { return true };
        !filters || (self.known_until.timestamp()..=self.end.timestamp()).contains(&at.timestamp())
    }

    /// Whether a record was known before this reading: the end of a data feed.
    pub fn is_known(&self, at: DateTime) -> bool {
        at < self.known_until
    }

    /// Notes that a window is being read.
    pub fn open(&mut self, window: &Window) {
        self.open.push((window.clone(), None));
    }

    /// Notes the time of a record of an open window.
    pub fn observe(&mut self, window: &Window, at: DateTime) {
        let safe = self.compat == Compat::Safe;
        if let Some((open, latest)) = self.open.iter_mut().find(|(open, _)| open.start == window.start) {
            // A record from beyond its window, such as one dated tomorrow, must not move the state past what has been read.
            let at = if safe && at > open.end { open.end } else { at };
            *latest = Some(latest.map_or(at, |latest| latest.max(at)));
        }
    }

    /// Notes that a window has been read to its last page.
    pub fn close(&mut self, window: &Window) {
        let Some(position) = self.open.iter().position(|(open, _)| open.start == window.start) else { return };
        let (window, latest) = self.open.swap_remove(position);
        self.read.push(Stretch { start: window.start, end: window.end, latest });
        self.merge();
    }

    /// The state: the latest cursor value of the first stretch that was read without a gap, or else where that stretch begins.
    pub fn state(&self) -> Value {
        let first = self.read.first();
        let at = first.map_or(self.start, |stretch| stretch.latest.unwrap_or(stretch.start));
        Value::Object(Map::from_iter([(self.field.clone(), Value::from(self.format.write(&at)))]))
    }

    /// Takes up the state of the last reading. A state before the start is the start.
    fn resume(&mut self, state: Option<&Value>) -> Result<(), ReadingError> {
        if let Some(value) = state.and_then(|state| state.get(&self.field)).filter(|value| !value.is_null()) {
            let wrong = || ReadingError::Value {
                field: "state",
                found: crate::ids::cut(&value.to_string()),
                needs: "a time in the cursor's format",
            };
            self.known_until = self.read_value(value).ok_or_else(wrong)?.in_utc().max(self.start);
        }
        let latest = Some(self.known_until);
        self.read.push(Stretch { start: self.start, end: self.known_until, latest });
        Ok(())
    }

    fn window(&self, start: DateTime, end: DateTime) -> Window {
        let keys = [(&self.start_key, &start), (&self.end_key, &end)];
        let interval = keys.into_iter().map(|(key, at)| (key.clone(), Value::from(self.format.write(at)))).collect();
        Window { start, end, slice: Slice { interval, ..Slice::default() } }
    }

    /// Joins stretches whose gap is at most one unit of the application's times.
    fn merge(&mut self) {
        let unit = self.granularity.unwrap_or(Duration::from_micros(1));
        self.read.sort_by_key(|stretch| (stretch.start, stretch.end));
        let mut merged: Vec<Stretch> = Vec::with_capacity(self.read.len());
        for stretch in self.read.drain(..) {
            match merged.last_mut() {
                Some(last) if last.end.plus(&unit).unwrap_or(last.end) >= stretch.start => {
                    last.end = last.end.max(stretch.end);
                    last.latest = last.latest.max(stretch.latest);
                }
                _ => merged.push(stretch),
            }
        }
        self.read = merged;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    const DAILY: &str = "{type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%Y-%m-%d', start_datetime: \"{{ config['from'] }}\", end_datetime: {datetime: '2026-11-05', datetime_format: '%Y-%m-%d'}, step: P2D, cursor_granularity: P1D";

    fn sync(yaml: &str) -> IncrementalSync {
        component(yaml, "DeclarativeStream", "incremental_sync")
    }

    fn cursor<'a>(sync: &'a IncrementalSync, state: Option<&Value>, compat: Compat) -> TimeCursor<'a> {
        let config = json!({"from": "2026-11-01"});
        TimeCursor::new(sync, scope(&config), state, NOW.parse().unwrap(), compat).unwrap()
    }

    fn windows(yaml: &str, state: Option<Value>) -> Vec<String> {
        let sync = sync(yaml);
        let windows = cursor(&sync, state.as_ref(), Compat::Safe).windows().unwrap();
        let text = |window: &Window| {
            format!("{}..{}", window.slice.interval["start_time"].as_str().unwrap(), window.slice.interval["end_time"].as_str().unwrap())
        };
        windows.iter().map(text).collect()
    }

    /// Windows start where the state ends, less the lookback but never before the start; each but the last ends one unit early.
    #[test]
    fn windows_cover_what_is_not_known() {
        let daily = format!("{DAILY}}}");
        assert_eq!(windows(&daily, None), ["2026-11-01..2026-11-02", "2026-11-03..2026-11-05"]);
        assert_eq!(windows(&daily, Some(json!({"at": "2026-11-04"}))), ["2026-11-04..2026-11-05"]);
        assert_eq!(windows(&daily, Some(json!({"at": "2026-11-05"}))), Vec::<String>::new());
        assert_eq!(windows(&daily, Some(json!({"at": "2020-01-01"}))).len(), 2);
        let back = format!("{DAILY}, lookback_window: P1D}}");
        assert_eq!(windows(&back, Some(json!({"at": "2026-11-04"}))), ["2026-11-03..2026-11-05"]);
        assert_eq!(windows(&back, Some(json!({"at": "2026-11-01"}))), windows(&daily, None));
        let open = "{type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%s', start_datetime: {datetime: '2026-01-01', datetime_format: '%Y-%m-%d', min_datetime: '2026-11-24'}}";
        assert_eq!(windows(open, None), ["1795478400..1795514400"]);
    }

    /// The state moves when a window is closed, and only over stretches without a gap.
    #[test]
    fn state_never_passes_a_gap() {
        let sync = sync(&format!("{DAILY}}}").replace("P2D", "P1D"));
        let mut cursor = cursor(&sync, None, Compat::Safe);
        let windows = cursor.windows().unwrap();
        let at = |cursor: &TimeCursor<'_>, text: &str| cursor.read_value(&json!(text)).unwrap();
        windows.iter().for_each(|window| cursor.open(window));
        for (window, text) in windows.iter().zip(["2026-11-01", "2026-11-02", "2026-11-03"]) {
            let time = at(&cursor, text);
            cursor.observe(window, time);
        }
        assert_eq!(cursor.state(), json!({"at": "2026-11-01"}));
        cursor.close(&windows[2]);
        assert_eq!(cursor.state(), json!({"at": "2026-11-01"}), "the second window is not read yet");
        cursor.close(&windows[0]);
        cursor.close(&windows[1]);
        assert_eq!(cursor.state(), json!({"at": "2026-11-03"}));
        cursor.close(&windows[3]);
        assert_eq!(cursor.state(), json!({"at": "2026-11-03"}), "an empty window leaves the latest record");
    }

    /// A record dated beyond its window does not move the state past the window; the reference engine lets it.
    #[test]
    fn records_from_the_future_do_not_move_the_state() {
        let sync = sync(&format!("{DAILY}}}").replace("step: P2D, cursor_granularity: P1D", "lookback_window: P1D"));
        for (compat, expected) in [(Compat::Safe, "2026-11-05"), (Compat::Strict, "2027-01-01")] {
            let mut cursor = cursor(&sync, None, compat);
            let window = cursor.windows().unwrap().remove(0);
            let future = cursor.read_value(&json!("2027-01-01")).unwrap();
            cursor.open(&window);
            cursor.observe(&window, future);
            cursor.close(&window);
            assert_eq!(cursor.state(), json!({"at": expected}));
        }
    }

    /// Where the application cannot filter, records outside are left out; those without a time are kept.
    #[test]
    fn client_side_filter() {
        let sync = sync(&format!("{DAILY}, is_client_side_incremental: true, cursor_datetime_formats: ['%s']}}"));
        let cursor = cursor(&sync, Some(&json!({"at": "2026-11-03"})), Compat::Safe);
        let admits = |value: Value| cursor.admits(cursor.read_value(&value));
        assert!(admits(json!("2026-11-03")) && admits(json!("2026-11-05")) && admits(json!(null)) && admits(json!("soon")));
        assert!(!admits(json!("2026-11-02")) && !admits(json!("2026-11-06")) && !admits(json!(0)));
    }

    /// A step that would make windows without end is refused, and a state that is no time as well.
    #[test]
    fn hostile_steps_and_states_end() {
        let tiny = sync(&format!("{DAILY}}}").replace("P2D", "PT0.000001S").replace("P1D", "PT0.000001S"));
        assert!(matches!(cursor(&tiny, None, Compat::Safe).windows(), Err(ReadingError::Value { field: "step", .. })));
        let daily = sync(&format!("{DAILY}}}"));
        let config = json!({"from": "2026-11-01"});
        let bad = TimeCursor::new(&daily, scope(&config), Some(&json!({"at": "never"})), NOW.parse().unwrap(), Compat::Safe);
        assert!(matches!(bad, Err(ReadingError::Value { field: "state", .. })));
        let none = TimeCursor::new(&daily, scope(&json!({})), None, NOW.parse().unwrap(), Compat::Safe);
        assert!(none.is_err());
    }

    proptest! {
        /// Whatever step and state: windows follow each other without a gap of more than one unit, and end at the end.
        #[test]
        fn windows_leave_no_gap(step in 1_u32..9, day in 1_u32..6) {
            let sync = sync(&format!("{DAILY}}}").replace("P2D", &format!("P{step}D")));
            let state = json!({"at": format!("2026-11-{day:02}")});
            let cursor = cursor(&sync, Some(&state), Compat::Safe);
            let windows = cursor.windows().unwrap();
            let unit = Duration::parse("P1D").unwrap();
            for pair in windows.windows(2) {
                prop_assert_eq!(pair[0].end.plus(&unit).unwrap(), pair[1].start);
            }
            if let (Some(first), Some(last)) = (windows.first(), windows.last()) {
                prop_assert_eq!(first.start, cursor.known_until);
                prop_assert_eq!(last.end, cursor.end);
            }
            prop_assert_eq!(windows.is_empty(), day == 5);
        }
    }
}
