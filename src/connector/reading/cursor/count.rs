//! Numbers that rise: what has a higher number than the highest known is read.

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::incremental::IncrementingCountCursor;
use crate::connector::component::requester::RequestOption;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::reading::Injection;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Target;

/// The name of the number in the slice, as the reference engine calls it.
const START: &str = "start";

/// What has been read of a stream, by the numbers of its records.
#[derive(Debug)]
pub struct CountCursor<'a> {
    scope: Scope,
    field: String,
    option: Option<&'a RequestOption>,
    known: i64,
    highest: Option<i64>,
    closed: bool,
}

impl<'a> CountCursor<'a> {
    /// The cursor of a stream at the state of its last reading. `scope` has `config`.
    ///
    /// # Errors
    /// When an expression fails, or the start or the state is no number.
    pub fn new(cursor: &'a IncrementingCountCursor, scope: Scope, state: Option<&Value>) -> Result<Self, ReadingError> {
        let field = cursor.cursor_field.text(&scope).map_err(ReadingError::expression("cursor_field"))?;
        let start = match &cursor.start_value {
            Some(start) => start.value(&scope).map_err(ReadingError::expression("start_value"))?,
            None => 0.into(),
        };
        let wrong =
            |field, value: &Value| ReadingError::Value { field, found: crate::ids::cut(&value.to_string()), needs: "a whole number" };
        let start = number(&start).ok_or_else(|| wrong("start_value", &start))?;
        let known = match state.and_then(|state| state.get(&field)).filter(|value| !value.is_null()) {
            Some(value) => number(value).ok_or_else(|| wrong("state", value))?.max(start),
            None => start,
        };
        Ok(CountCursor { scope, field, option: cursor.start_value_option.as_ref(), known, highest: None, closed: false })
    }

    /// The name of the field that holds a record's number.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The one slice that is read.
    pub fn slice(&self) -> Slice {
        Slice { interval: Map::from_iter([(START.to_owned(), self.known.into())]), ..Slice::default() }
    }

    /// What goes into every request.
    ///
    /// # Errors
    /// When a name cannot be evaluated.
    pub fn injections(&self) -> Result<Vec<Injection>, ReadingError> {
        let injection = |option| Ok(Injection { target: Target::of(option, &self.scope)?, value: self.known.into() });
        self.option.map(injection).into_iter().collect()
    }

    /// Notes a record's number; what is none moves nothing.
    pub fn observe(&mut self, value: &Value) {
        if let Some(number) = number(value) {
            self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        }
    }

    /// Notes that everything has been read.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The state: the highest number, once everything has been read.
    pub fn state(&self) -> Value {
        let reached = self.highest.filter(|_| self.closed).map_or(self.known, |highest| highest.max(self.known));
        Value::Object(Map::from_iter([(self.field.clone(), reached.into())]))
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
