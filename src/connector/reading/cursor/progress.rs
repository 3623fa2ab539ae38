//! What of a stream has been read, whatever kind of cursor it has.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Scope;
use crate::connector::reading::Compat;
use crate::connector::reading::Injection;
use crate::connector::reading::Partition;
use crate::connector::reading::ReadingError;

use super::PartitionedCursor;
use super::TimeCursor;
use super::TimeRule;
use super::Window;
use super::count::CountCursor;

/// The progress of a stream's reading.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Everything is read each time.
    Whole,
    /// Windows of time of the stream as a whole.
    Time(Box<TimeCursor<'a>>),
    /// Windows of time of each part.
    Partitioned(Box<PartitionedCursor<'a>>),
    /// What has a higher number.
    Count(Box<CountCursor<'a>>),
}

impl<'a> Progress<'a> {
    /// The progress at the state of the last reading. `scope` has `config`; `parts` says whether routers cut the stream, `groups` whether
    /// into groups; `now` is when this reading begins.
    ///
    /// # Errors
    /// When an expression, a date or the state cannot be read.
    pub fn new(
        sync: Option<&'a IncrementalSync>,
        scope: Scope,
        state: Option<&Value>,
        (parts, groups): (bool, bool),
        now: Timestamp,
        compat: Compat,
    ) -> Result<Self, ReadingError> {
        let cursor = match sync {
            None => return Ok(Progress::Whole),
            Some(IncrementalSync::IncrementingCountCursor(cursor)) => {
                return CountCursor::new(cursor, scope, state).map(Box::new).map(Progress::Count);
            }
            Some(IncrementalSync::DatetimeBasedCursor(cursor)) => cursor,
        };
        let rule = Arc::new(TimeRule::new(cursor, scope, now, compat)?);
        if parts {
            PartitionedCursor::new(rule, state, groups, now).map(Box::new).map(Progress::Partitioned)
        } else {
            TimeCursor::of(&rule, state, None).map(Box::new).map(Progress::Time)
        }
    }

    /// The slices of a part that are to be read: its windows, or the part as a whole.
    ///
    /// # Errors
    /// When a date leaves the calendar, or there are too many windows.
    pub fn windows(&mut self, part: &Partition) -> Result<Vec<Option<Window>>, ReadingError> {
        let windows = match self {
            Progress::Whole | Progress::Count(_) => return Ok(vec![None]),
            Progress::Time(cursor) => cursor.windows()?,
            Progress::Partitioned(cursor) => cursor.windows(part)?,
        };
        Ok(windows.into_iter().map(Some).collect())
    }

    /// What expressions see of a slice beside its part.
    pub fn interval(&self, window: Option<&Window>) -> serde_json::Map<String, Value> {
        match (self, window) {
            (Progress::Count(cursor), _) => cursor.slice().interval,
            (_, Some(window)) => window.slice.interval.clone(),
            (_, None) => serde_json::Map::new(),
        }
    }

    /// What goes into every request of a slice, by what expressions see of it.
    ///
    /// # Errors
    /// When a name cannot be evaluated.
    pub fn injections(&self, interval: &serde_json::Map<String, Value>) -> Result<Vec<Injection>, ReadingError> {
        match self {
            Progress::Whole => Ok(Vec::new()),
            Progress::Count(cursor) => cursor.injections(),
            Progress::Time(cursor) => cursor.rule().injections(interval),
            Progress::Partitioned(cursor) => cursor.rule().injections(interval),
        }
    }

    /// What expressions see of a window whose records up to a time are read; nothing when that does not change it.
    pub fn rest(&self, window: Option<&Window>, read_until: Option<DateTime>) -> Option<serde_json::Map<String, Value>> {
        match self {
            Progress::Whole | Progress::Count(_) => None,
            Progress::Time(cursor) => Some(cursor.rule().rest(window?, read_until?)),
            Progress::Partitioned(cursor) => Some(cursor.rule().rest(window?, read_until?)),
        }
    }

    /// Calls `look` with the cursor by which the records of a part are judged, if the stream has one of time.
    ///
    /// # Errors
    /// When the shared state cannot be read.
    pub fn with<T>(&self, part: &Partition, look: impl FnOnce(Option<&TimeCursor<'a>>) -> T) -> Result<T, ReadingError> {
        match self {
            Progress::Whole | Progress::Count(_) => Ok(look(None)),
            Progress::Time(cursor) => Ok(look(Some(cursor))),
            Progress::Partitioned(cursor) => cursor.with(part, |cursor| look(Some(cursor))),
        }
    }

    /// Notes that a slice is being read.
    pub fn begin(&mut self, part: &Partition, window: Option<&Window>) {
        match (self, window) {
            (Progress::Time(cursor), Some(window)) => cursor.open(window),
            (Progress::Partitioned(cursor), Some(window)) => cursor.begin(part, window),
            _ => {}
        }
    }

    /// Notes the time of a record.
    pub fn observe(&mut self, part: &Partition, window: Option<&Window>, at: DateTime) {
        match (self, window) {
            (Progress::Time(cursor), Some(window)) => cursor.observe(window, at),
            (Progress::Partitioned(cursor), Some(window)) => cursor.observe(part, window, at),
            _ => {}
        }
    }

    /// The field whose number is to be noted of every record, if the stream counts.
    pub fn counted_field(&self) -> Option<&str> {
        if let Progress::Count(cursor) = self { Some(cursor.field()) } else { None }
    }

    /// Notes a record's number.
    pub fn count(&mut self, value: &Value) {
        if let Progress::Count(cursor) = self {
            cursor.observe(value);
        }
    }

    /// Notes that a slice has been read to its last page.
    pub fn close(&mut self, part: &Partition, window: Option<&Window>) {
        match (self, window) {
            (Progress::Time(cursor), Some(window)) => cursor.close(window),
            (Progress::Partitioned(cursor), Some(window)) => cursor.close(part, window),
            (Progress::Count(cursor), _) => cursor.close(),
            _ => {}
        }
    }

    /// Ends the reading. `parents` is the state of the parents now.
    pub fn finish(&mut self, parents: Option<Arc<Value>>, now: Timestamp) {
        if let Progress::Partitioned(cursor) = self {
            cursor.finish(parents, now);
        }
    }

    /// How many states the state is made of.
    pub fn size(&self) -> usize {
        match self {
            Progress::Partitioned(cursor) => cursor.size(),
            _ => 1,
        }
    }

    /// The state; none when everything is read each time.
    pub fn state(&self) -> Option<Value> {
        match self {
            Progress::Whole => None,
            Progress::Time(cursor) => Some(cursor.state()),
            Progress::Partitioned(cursor) => Some(cursor.state()),
            Progress::Count(cursor) => Some(cursor.state()),
        }
    }
}
