//! The state of a stream that is cut into parts: one cursor for each, or one for all.
//!
//! The state is `{use_global_cursor, states: [{partition, cursor}], state, lookback_window, parent_state}`, the form of the reference
//! engine, so that a stream can change from one engine to the other.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::datetime::DateTime;
use crate::connector::datetime::Duration;
use crate::connector::reading::Compat;
use crate::connector::reading::Partition;
use crate::connector::reading::ReadingError;

use super::TimeCursor;
use super::TimeRule;
use super::Window;

/// The number of parts from which on they share one state.
const PARTS_OWN_STATE_MAX: usize = 10_000;
/// The most cursors that are kept: beyond it the oldest is forgotten, and its part begins at the shared state.
const CURSORS_MAX: usize = 25_000;

/// What has been read of a stream that is cut into parts.
#[derive(Debug)]
pub struct PartitionedCursor<'a> {
    rule: Arc<TimeRule<'a>>,
    began_at: Timestamp,
    /// The cursors by their part's key, in the order in which they were made.
    cursors: IndexMap<Arc<str>, TimeCursor<'a>>,
    /// How many parts there have been.
    parts: usize,
    /// Whether all parts share one state.
    is_global: bool,
    /// The shared state of the last reading.
    shared: Option<Newest>,
    /// What the shared state becomes.
    newest: Option<Newest>,
    /// How long the last reading took, in seconds: how far back a part without a state of its own begins before the shared one.
    took_seconds: u64,
    /// The parts of this reading that are not read to their end.
    open: HashMap<Arc<str>, OpenPart>,
    /// The parts that this reading has met.
    met: std::collections::HashSet<Arc<str>>,
    has_seen_times: bool,
    parents: Parents,
}

/// A time as the state has it.
#[derive(Debug, Clone)]
struct Newest {
    text: String,
    at: DateTime,
}

#[derive(Debug)]
struct OpenPart {
    number: usize,
    windows: usize,
}

/// The state of the parents that belongs to what has been read: that of a time when every part made until then is read.
#[derive(Debug, Default)]
struct Parents {
    reached: Option<Arc<Value>>,
    /// States in the order of the parts they were taken at.
    pending: VecDeque<(usize, Arc<Value>)>,
    /// The numbers of the parts that are not read to their end.
    open: BTreeSet<usize>,
    made: usize,
}

impl<'a> PartitionedCursor<'a> {
    /// The cursor of a stream at the state of its last reading, begun at `now`. `groups` says that its parts are groups, which have
    /// no state of their own.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn new(rule: Arc<TimeRule<'a>>, state: Option<&Value>, groups: bool, now: Timestamp) -> Result<Self, ReadingError> {
        let mut cursor = PartitionedCursor {
            began_at: now,
            cursors: IndexMap::new(),
            parts: 0,
            is_global: groups || rule.is_global,
            shared: None,
            newest: None,
            took_seconds: 0,
            open: HashMap::new(),
            met: std::collections::HashSet::new(),
            has_seen_times: false,
            parents: Parents::default(),
            rule,
        };
        if let Some(state) = state.and_then(Value::as_object).filter(|state| !state.is_empty()) {
            cursor.resume(state)?;
        }
        Ok(cursor)
    }

    fn resume(&mut self, state: &Map<String, Value>) -> Result<(), ReadingError> {
        if !state.contains_key("states") && !state.contains_key("state") {
            // The state of a stream that was not cut holds for every part.
            self.share(&Value::Object(state.clone()))?;
        } else {
            self.is_global = state.get("use_global_cursor").and_then(Value::as_bool).unwrap_or(false);
            self.took_seconds = state.get("lookback_window").and_then(Value::as_u64).unwrap_or(0);
            for entry in state.get("states").and_then(Value::as_array).into_iter().flatten() {
                let (Some(Value::Object(keys)), Some(own)) = (entry.get("partition"), entry.get("cursor")) else { continue };
                self.parts += 1;
                self.cursors.insert(Partition::of_state(keys).key().clone(), TimeCursor::of(&self.rule, Some(own), None)?);
            }
            if let Some(shared) = state.get("state") {
                self.share(shared)?;
            }
        }
        let parents = state.get("parent_state").filter(|parents| parents.as_object().is_some_and(|parents| !parents.is_empty()));
        self.parents.reached = parents.map(|parents| Arc::new(parents.clone()));
        Ok(())
    }

    fn share(&mut self, state: &Value) -> Result<(), ReadingError> {
        let Some(value) = state.get(&self.rule.field) else { return Ok(()) };
        let needs = "a time in the cursor's format";
        let wrong = || ReadingError::Value { field: "state", found: crate::ids::cut(&value.to_string()), needs };
        let at = self.rule.read(value).ok_or_else(wrong)?;
        self.shared = Some(Newest { text: self.rule.format.write(&at), at });
        self.newest.clone_from(&self.shared);
        Ok(())
    }

    /// The rule that every part follows.
    pub fn rule(&self) -> &Arc<TimeRule<'a>> {
        &self.rule
    }

    /// The windows of a part; none when this reading has met the part before.
    ///
    /// # Errors
    /// When a date leaves the calendar.
    pub fn windows(&mut self, part: &Partition) -> Result<Vec<Window>, ReadingError> {
        self.keep_within_limits();
        let key = part.key();
        if !self.cursors.contains_key(key) {
            self.parts += 1;
            let made = self.at_shared()?;
            self.cursors.insert(key.clone(), made);
        }
        if !self.met.insert(key.clone()) {
            return Ok(Vec::new());
        }
        let number = self.parents.made(part.parent_state.clone());
        let windows = self.cursors[key].windows()?;
        if windows.is_empty() {
            return Ok(windows);
        }
        self.open.insert(key.clone(), OpenPart { number, windows: windows.len() });
        Ok(windows)
    }

    /// A cursor at the shared state.
    fn at_shared(&self) -> Result<TimeCursor<'a>, ReadingError> {
        let Some(shared) = &self.shared else { return TimeCursor::of(&self.rule, None, None) };
        let state = Value::Object(Map::from_iter([(self.rule.field.clone(), shared.text.clone().into())]));
        let back = Duration::from_micros(i64::try_from(self.took_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000));
        TimeCursor::of(&self.rule, Some(&state), Some(back))
    }

    /// Calls `look` with the cursor by which a part's records are judged.
    ///
    /// # Errors
    /// When the shared state cannot be read.
    pub fn with<T>(&self, part: &Partition, look: impl FnOnce(&TimeCursor<'a>) -> T) -> Result<T, ReadingError> {
        match self.cursors.get(part.key()).filter(|_| !self.is_global) {
            Some(cursor) => Ok(look(cursor)),
            None => self.at_shared().map(|cursor| look(&cursor)),
        }
    }

    /// Notes that a window of a part is being read.
    pub fn begin(&mut self, part: &Partition, window: &Window) {
        if let Some(cursor) = self.cursors.get_mut(part.key()) {
            cursor.open(window);
        }
    }

    /// Notes the time of a record.
    pub fn observe(&mut self, part: &Partition, window: &Window, at: DateTime) {
        self.has_seen_times = true;
        let at_most = if self.rule.compat == Compat::Safe && at > window.end { window.end } else { at };
        self.raise(at_most);
        if !self.is_global
            && let Some(cursor) = self.cursors.get_mut(part.key())
        {
            cursor.observe(window, at);
        }
    }

    /// Notes that a window of a part has been read to its last page.
    pub fn close(&mut self, part: &Partition, window: &Window) {
        let key = part.key();
        let Some(open) = self.open.get_mut(key) else { return };
        open.windows -= 1;
        let (is_done, number) = (open.windows == 0, open.number);
        if !self.is_global
            && let Some(cursor) = self.cursors.get_mut(key)
        {
            cursor.close(window);
            let reached = cursor.reached();
            if is_done {
                self.raise(reached);
            }
        }
        if is_done {
            self.open.remove(key);
            self.parents.read(number);
        }
    }

    fn raise(&mut self, at: DateTime) {
        let text = self.rule.format.write(&at);
        // The reference engine compares the texts.
        let is_higher = |known: &Newest| if self.rule.compat == Compat::Strict { known.text < text } else { known.at < at };
        if self.newest.as_ref().is_none_or(is_higher) {
            self.newest = Some(Newest { text, at });
        }
    }

    /// Ends the reading: the shared state moves, if every part was read to its end. `parents` is the parents' state now.
    pub fn finish(&mut self, parents: Option<Arc<Value>>, now: Timestamp) {
        if !self.open.is_empty() {
            return;
        }
        if self.has_seen_times {
            self.shared.clone_from(&self.newest);
            let took = now.duration_since(self.began_at);
            self.took_seconds = u64::try_from(took.as_secs()).unwrap_or(0) + u64::from(took.subsec_nanos() > 0);
        }
        self.parents.reached = parents;
    }

    /// The number of cursors, by which the size of the state grows.
    pub fn size(&self) -> usize {
        if self.is_global { 1 } else { self.cursors.len() }
    }

    /// The state.
    pub fn state(&self) -> Value {
        let mut state = Map::from_iter([("use_global_cursor".to_owned(), self.is_global.into())]);
        if !self.is_global {
            let own = |(key, cursor): (&Arc<str>, &TimeCursor<'_>)| {
                let partition = serde_json::from_str::<Value>(key).unwrap_or_default();
                Value::Object(Map::from_iter([("partition".to_owned(), partition), ("cursor".to_owned(), cursor.state())]))
            };
            state.insert("states".to_owned(), self.cursors.iter().map(own).collect());
        }
        if let Some(shared) = &self.shared {
            state.insert("state".to_owned(), Value::Object(Map::from_iter([(self.rule.field.clone(), shared.text.clone().into())])));
        }
        state.insert("lookback_window".to_owned(), self.took_seconds.into());
        if let Some(parents) = &self.parents.reached {
            state.insert("parent_state".to_owned(), parents.as_ref().clone());
        }
        Value::Object(state)
    }

    fn keep_within_limits(&mut self) {
        if self.parts > PARTS_OWN_STATE_MAX {
            self.is_global = true;
        }
        while self.cursors.len() >= CURSORS_MAX {
            // A part that is read to its end is let go before one that is being read.
            let done = self.cursors.keys().position(|key| !self.open.contains_key(key)).unwrap_or(0);
            self.cursors.shift_remove_index(done);
        }
    }
}

impl Parents {
    /// A part was made when the parents were at a state; its number.
    fn made(&mut self, state: Option<Arc<Value>>) -> usize {
        let number = self.made;
        self.made += 1;
        self.open.insert(number);
        if let Some(state) = state
            && self.pending.back().is_none_or(|(_, last)| **last != *state)
        {
            self.pending.push_back((number, state));
        }
        number
    }

    /// A part was read to its end.
    fn read(&mut self, number: usize) {
        self.open.remove(&number);
        while let Some((taken_at, _)) = self.pending.front()
            && self.open.first().is_none_or(|open| open > taken_at)
        {
            self.reached = self.pending.pop_front().map(|(_, state)| state);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::incremental::IncrementalSync;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    const DAILY: &str = "{type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%Y-%m-%d', start_datetime: '2026-11-01', end_datetime: '2026-11-05'}";

    fn part(id: u32) -> Partition {
        Partition::of_state(json!({"id": id}).as_object().unwrap())
    }

    fn with_cursor<T>(state: Option<Value>, groups: bool, compat: Compat, look: impl FnOnce(PartitionedCursor<'_>) -> T) -> T {
        let sync: IncrementalSync = component(DAILY, "DeclarativeStream", "incremental_sync");
        let IncrementalSync::DatetimeBasedCursor(declared) = &sync else { panic!() };
        let now = NOW.parse().unwrap();
        let rule = Arc::new(TimeRule::new(declared, scope(&json!({})), now, compat).unwrap());
        look(PartitionedCursor::new(rule, state.as_ref(), groups, now).unwrap())
    }

    fn read(cursor: &mut PartitionedCursor<'_>, id: u32, day: &str) {
        let part = part(id);
        for window in cursor.windows(&part).unwrap() {
            cursor.begin(&part, &window);
            let at = cursor.rule.read(&json!(day)).unwrap();
            cursor.observe(&part, &window, at);
            cursor.close(&part, &window);
        }
    }

    fn finished(cursor: &mut PartitionedCursor<'_>) -> Value {
        cursor.finish(None, "2026-11-24T10:00:07Z".parse().unwrap());
        cursor.state()
    }

    /// Every part has its own state, and all of them one besides; a part without a state begins at the shared one, less the time that
    /// the last reading took.
    #[test]
    fn parts_have_states() {
        let state = with_cursor(None, false, Compat::Safe, |mut cursor| {
            read(&mut cursor, 1, "2026-11-03");
            read(&mut cursor, 2, "2026-11-02");
            read(&mut cursor, 1, "2026-11-05");
            finished(&mut cursor)
        });
        let expected = json!({
            "use_global_cursor": false,
            "states": [{"partition": {"id": 1}, "cursor": {"at": "2026-11-03"}}, {"partition": {"id": 2}, "cursor": {"at": "2026-11-02"}}],
            "state": {"at": "2026-11-03"},
            "lookback_window": 7,
        });
        assert_eq!(state, expected);
        with_cursor(Some(state), false, Compat::Safe, |mut cursor| {
            let starts = [1, 2, 3].map(|id| cursor.windows(&part(id)).unwrap()[0].start.civil().to_string());
            assert_eq!(starts, ["2026-11-03T00:00:00", "2026-11-02T00:00:00", "2026-11-02T23:59:53"]);
        });
    }

    /// The shared state is the latest time; the reference engine takes the highest text.
    #[test]
    fn parts_share_the_latest_time() {
        let sync: IncrementalSync = component(
            &DAILY.replace(
                "'%Y-%m-%d', start_datetime: '2026-11-01', end_datetime: '2026-11-05'",
                "'%d.%m.%Y', start_datetime: '01.11.2026', end_datetime: '05.12.2026'",
            ),
            "DeclarativeStream",
            "incremental_sync",
        );
        let IncrementalSync::DatetimeBasedCursor(declared) = &sync else { panic!() };
        let now = NOW.parse().unwrap();
        for (compat, expected) in [(Compat::Safe, "01.12.2026"), (Compat::Strict, "30.11.2026")] {
            let rule = Arc::new(TimeRule::new(declared, scope(&json!({})), now, compat).unwrap());
            let mut cursor = PartitionedCursor::new(rule, None, false, now).unwrap();
            read(&mut cursor, 1, "30.11.2026");
            read(&mut cursor, 2, "01.12.2026");
            assert_eq!(finished(&mut cursor)["state"], json!({"at": expected}), "{compat:?}");
        }
    }

    /// A part that is not read to its end keeps its own state and the shared one.
    #[test]
    fn an_open_part_holds_the_shared_state() {
        with_cursor(Some(json!({"at": "2026-11-02"})), false, Compat::Safe, |mut cursor| {
            let open = cursor.windows(&part(9)).unwrap().remove(0);
            cursor.begin(&part(9), &open);
            read(&mut cursor, 1, "2026-11-04");
            let state = finished(&mut cursor);
            assert_eq!(
                (&state["state"], &state["states"][0]["cursor"], &state["lookback_window"]),
                (&json!({"at": "2026-11-02"}), &json!({"at": "2026-11-02"}), &json!(0))
            );
        });
    }

    /// Groups share one state from the beginning, and too many parts share one from then on.
    #[test]
    fn many_parts_share_a_state() {
        let groups = with_cursor(None, true, Compat::Safe, |mut cursor| {
            read(&mut cursor, 1, "2026-11-03");
            finished(&mut cursor)
        });
        assert_eq!(groups, json!({"use_global_cursor": true, "state": {"at": "2026-11-03"}, "lookback_window": 7}));
        with_cursor(None, false, Compat::Safe, |mut cursor| {
            for id in 0..=PARTS_OWN_STATE_MAX as u32 + 1 {
                read(&mut cursor, id, "2026-11-03");
            }
            assert_eq!((finished(&mut cursor)["use_global_cursor"].clone(), cursor.size()), (json!(true), 1));
        });
    }

    /// The parents' state is that of the last part before which every part is read.
    #[test]
    fn parents_follow_their_children() {
        with_cursor(None, false, Compat::Safe, |mut cursor| {
            let at = |id: u32, day: u32| part(id).at(Some(Arc::new(json!({"p": day}))));
            let parts = [at(1, 1), at(2, 1), at(3, 2)];
            let windows: Vec<Window> = parts.iter().map(|part| cursor.windows(part).unwrap().remove(0)).collect();
            let mut reached = |index: usize| {
                cursor.close(&parts[index], &windows[index]);
                cursor.state().get("parent_state").cloned()
            };
            assert_eq!(reached(2), None);
            assert_eq!(reached(0), Some(json!({"p": 1})));
            assert_eq!(reached(1), Some(json!({"p": 2})));
        });
    }
}
