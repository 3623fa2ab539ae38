//! Dates, times and durations as values of expressions.

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::Error;
use minijinja::Value;
use minijinja::value::Object;
use minijinja::value::ObjectRepr;

/// A value of Python's `datetime` module.
#[derive(Debug, Clone)]
pub(super) enum Moment {}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl Moment {
    pub(super) fn repr(&self) -> String {
        match *self {}
    }
    pub(super) fn add(_: &Value, _: &Value) -> Option<Result<Value, Error>> {
        None
    }
    pub(super) fn subtract(_: &Value, _: &Value) -> Option<Result<Value, Error>> {
        None
    }
    pub(super) fn multiply(_: &Value, _: usize) -> Option<Result<Value, Error>> {
        None
    }
    pub(super) fn negate(_: &Value) -> Option<Result<Value, Error>> {
        None
    }
    pub(super) fn compare(_: &Value, _: &Value) -> Option<Ordering> {
        None
    }
}
