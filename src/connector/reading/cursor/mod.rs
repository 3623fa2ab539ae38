//! What of a stream is read, and what is known afterwards: windows of time, one state or one for each part, numbers that rise.
//!
//! Source for the rules: the concurrent cursors of airbyte-cdk (LOWCODE.md section 4.8). The state of a stream without parts is
//! `{cursor_field: text}`: up to there everything has been read.

mod clamp;
mod count;
mod partitioned;
mod progress;
mod rule;

use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;

pub use partitioned::PartitionedCursor;
pub use progress::Progress;
pub use rule::TimeRule;

/// The most windows of one part: a step that makes more is too short for its stretch of time.
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

/// What has been read of one part of a stream, by windows of time.
#[derive(Debug)]
pub struct TimeCursor<'a> {
    rule: Arc<TimeRule<'a>>,
    /// What had been read when this reading began: records before it are known.
    known_until: DateTime,
    read: Vec<Stretch>,
    /// Open windows and the latest cursor value seen in each.
    open: Vec<(Window, Option<DateTime>)>,
    /// Other members of the state, kept as they were.
    others: Map<String, Value>,
}

impl<'a> TimeCursor<'a> {
    /// The cursor of a stream at the state of its last reading. `scope` has `config`; `now` is where time ends when the manifest names
    /// no end.
    ///
    /// # Errors
    /// When an expression, date, duration or the state cannot be read, or the stream has a cursor of another kind.
    pub fn new(
        sync: &'a IncrementalSync,
        scope: Scope,
        state: Option<&Value>,
        now: Timestamp,
        compat: Compat,
    ) -> Result<Self, ReadingError> {
        let IncrementalSync::DatetimeBasedCursor(cursor) = sync else {
            return Err(ReadingError::Value { field: "incremental_sync", found: String::new(), needs: "windows of time" });
        };
        Self::of(&Arc::new(TimeRule::new(cursor, scope, now, compat)?), state, None)
    }

    /// The cursor of one part by the rule of its stream. `back` is how far before its state the part begins, beside the rule's own
    /// lookback.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn of(rule: &Arc<TimeRule<'a>>, state: Option<&Value>, back: Option<Duration>) -> Result<Self, ReadingError> {
        let mut cursor = TimeCursor { known_until: rule.start, read: Vec::new(), open: Vec::new(), others: Map::new(), rule: rule.clone() };
        if let Some(state) = state.and_then(Value::as_object) {
            cursor.others.clone_from(state);
            cursor.others.shift_remove(&rule.field);
            if let Some(value) = state.get(&rule.field).filter(|value| !value.is_null()) {
                let wrong = || ReadingError::Value {
                    field: "state",
                    found: crate::ids::cut(&value.to_string()),
                    needs: "a time in the cursor's format",
                };
                let at = rule.read(value).ok_or_else(wrong)?;
                let at = back.and_then(|back| at.minus(&back).ok()).unwrap_or(at);
                // A state before the start is the start.
                cursor.known_until = at.in_utc().max(rule.start);
            }
        }
        let latest = Some(cursor.known_until);
        cursor.read.push(Stretch { start: rule.start, end: cursor.known_until, latest });
        Ok(cursor)
    }

    /// The rule that it follows.
    pub fn rule(&self) -> &Arc<TimeRule<'a>> {
        &self.rule
    }

    /// The windows to read, in the order of time.
    ///
    /// # Errors
    /// When a date leaves the calendar, or there are more than `WINDOWS_MAX`.
    pub fn windows(&self) -> Result<Vec<Window>, ReadingError> {
        self.rule.windows(self.known_until)
    }

    /// The time that a record's cursor value tells; nothing when it cannot be read. Such a record is emitted and moves no state.
    pub fn read_value(&self, value: &Value) -> Option<DateTime> {
        self.rule.read(value)
    }

    /// Whether a record belongs to what this reading is about: from where it begins to its end.
    pub fn is_wanted(&self, at: Option<DateTime>) -> bool {
        let Some(at) = at else { return true };
        (self.rule.lower(self.known_until).timestamp()..=self.rule.end.timestamp()).contains(&at.timestamp())
    }

    /// Whether a record is to be kept: only where the manifest says that the application cannot filter are others left out.
    pub fn admits(&self, at: Option<DateTime>) -> bool {
        !(self.rule.client_side || self.rule.is_data_feed) || self.is_wanted(at)
    }

    /// Whether the application gives the newest records first.
    pub fn is_data_feed(&self) -> bool {
        self.rule.is_data_feed
    }

    /// Whether the last record of a page ends a feed that runs backwards in time.
    pub fn ends_feed(&self, last: Option<DateTime>) -> bool {
        self.rule.is_data_feed && !self.is_wanted(last)
    }

    /// Notes that a window is being read.
    pub fn open(&mut self, window: &Window) {
        self.open.push((window.clone(), None));
    }

    /// Notes the time of a record of an open window.
    pub fn observe(&mut self, window: &Window, at: DateTime) {
        let safe = self.rule.compat == Compat::Safe;
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

    /// Up to where everything has been read: the latest cursor value of the first stretch without a gap, or else where that begins.
    fn reached(&self) -> DateTime {
        self.read.first().map_or(self.rule.start, |stretch| stretch.latest.unwrap_or(stretch.start))
    }

    /// The state.
    pub fn state(&self) -> Value {
        let mut state = self.others.clone();
        state.insert(self.rule.field.clone(), Value::from(self.rule.format.write(&self.reached())));
        Value::Object(state)
    }

    /// Joins stretches whose gap is at most one unit of the application's times.
    fn merge(&mut self) {
        let unit = self.rule.unit();
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
        assert_eq!(windows(&daily, Some(json!({"at": "2026-11-05"}))), ["2026-11-05..2026-11-05"], "the last unit may have more");
        assert_eq!(windows(&format!("{DAILY}, is_compare_strictly: true}}"), Some(json!({"at": "2026-11-05"}))), Vec::<String>::new());
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

    /// A time of another offset is written in UTC where the format claims UTC; the reference engine writes its hours as they are.
    #[test]
    fn times_of_other_offsets_are_written_in_utc() {
        let of = |format: &str| {
            sync(&format!(
                "{{type: DatetimeBasedCursor, cursor_field: at, datetime_format: '{format}', cursor_datetime_formats: ['%Y-%m-%dT%H:%M:%S%z'], \
                 start_datetime: {{datetime: '2026-11-01T00:00:00Z', datetime_format: '%Y-%m-%dT%H:%M:%SZ'}}, \
                 end_datetime: {{datetime: '2026-11-05T00:00:00Z', datetime_format: '%Y-%m-%dT%H:%M:%SZ'}}}}"
            ))
        };
        for (format, compat, expected) in [
            ("%Y-%m-%dT%H:%M:%SZ", Compat::Safe, "2026-11-02T09:00:00Z"),
            ("%Y-%m-%dT%H:%M:%SZ", Compat::Strict, "2026-11-02T10:00:00Z"),
            ("%Y-%m-%dT%H:%M:%S%z", Compat::Safe, "2026-11-02T10:00:00+0100"),
            ("%Y-%m-%dT%H:%M:%S", Compat::Safe, "2026-11-02T10:00:00"),
        ] {
            let sync = of(format);
            let mut cursor = cursor(&sync, None, compat);
            let window = cursor.windows().unwrap().remove(0);
            let at = cursor.read_value(&json!("2026-11-02T10:00:00+01:00")).unwrap();
            cursor.open(&window);
            cursor.observe(&window, at);
            cursor.close(&window);
            assert_eq!(cursor.state(), json!({"at": expected}));
        }
    }

    /// Where the format is coarser than the unit, windows still follow each other; read back, as in the reference engine, they have gaps.
    #[test]
    fn coarse_formats_leave_no_gap() {
        let sync = sync(&format!("{DAILY}}}").replace("step: P2D, cursor_granularity: P1D", "step: P2D, cursor_granularity: PT1S"));
        for (compat, expected) in [(Compat::Safe, "2026-11-04"), (Compat::Strict, "2026-11-02")] {
            let mut cursor = cursor(&sync, None, compat);
            let windows = cursor.windows().unwrap();
            for (window, day) in windows.iter().zip(["2026-11-02", "2026-11-04"]) {
                let at = cursor.read_value(&json!(day)).unwrap();
                cursor.open(window);
                cursor.observe(window, at);
                cursor.close(window);
            }
            assert_eq!(cursor.state(), json!({"at": expected}), "{compat:?}");
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
                prop_assert_eq!(first.start, cursor.rule.lower(cursor.known_until));
                prop_assert_eq!(last.end, cursor.rule.end);
            }
            prop_assert!(!windows.is_empty());
        }
    }
}
