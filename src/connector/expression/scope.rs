//! The variables that an expression sees.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Enumerator;
use minijinja::value::Object;

use crate::clock::Clock;

/// Names and their values, set once and used by many renderings; a clone is cheap and may be changed on its own.
#[derive(Debug, Clone)]
pub struct Scope(Arc<Names>);

/// The object behind the engine's root.
#[derive(Debug, Clone)]
pub(super) struct Names {
    clock: Clock,
    values: Vec<(Arc<str>, Value)>,
}

/// A slice of a stream: what a partition router and a cursor decided for the requests of one pass.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// Keys of the partition router.
    pub partition: serde_json::Map<String, serde_json::Value>,
    /// Keys of the cursor, such as `start_time` and `end_time`.
    pub interval: serde_json::Map<String, serde_json::Value>,
    /// Extra fields; they are top-level names as well, and not part of the state's key.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Scope {
    /// A scope without variables; `clock` answers `now_utc()` and its kin.
    pub fn new(clock: Clock) -> Self {
        Scope(Arc::new(Names { clock, values: Vec::with_capacity(8) }))
    }

    /// Gives `name` a value, in place of the one it had.
    pub fn set(&mut self, name: &str, value: Value) -> &mut Self {
        let names = Arc::make_mut(&mut self.0);
        match names.values.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, slot)) => *slot = value,
            None => names.values.push((name.into(), value)),
        }
        self
    }

    /// Sets `stream_slice`, its aliases `stream_partition` and `stream_interval`, and the slice's extra fields as names of their own.
    pub fn set_slice(&mut self, slice: &Slice) -> &mut Self {
        let value = Value::from_object(SliceValue::from(slice));
        for alias in ["stream_slice", "stream_partition", "stream_interval"] {
            self.set(alias, value.clone());
        }
        for (name, value) in &slice.extra {
            self.set(name, super::dynamic(value));
        }
        self
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn root(&self) -> Value {
        Value::from_dyn_object(Arc::clone(&self.0))
    }
}

impl Names {
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }
}

/// The name under which functions of the language find the scope itself. No identifier can spell it.
pub(super) const SELF: &str = "\u{0}scope";

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if key == SELF {
            return Some(Value::from_dyn_object(Arc::clone(self)));
        }
        self.get(key).cloned()
    }
}

/// A slice as expressions see it: the merged keys, and `partition`, `cursor_slice` and `extra_fields` as attributes.
#[derive(Debug)]
struct SliceValue {
    merged: Value,
    partition: Value,
    interval: Value,
    extra: Value,
}

impl From<&Slice> for SliceValue {
    fn from(slice: &Slice) -> Self {
        let map = |map: &serde_json::Map<String, serde_json::Value>| {
            map.iter().map(|(key, value)| (key.clone(), super::dynamic(value))).collect::<Value>()
        };
        let mut merged = slice.partition.clone();
        merged.extend(slice.interval.clone());
        SliceValue { merged: map(&merged), partition: map(&slice.partition), interval: map(&slice.interval), extra: map(&slice.extra) }
    }
}

impl Object for SliceValue {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        // The attributes win over keys of their names, as in the reference engine.
        match key {
            "extra_fields" => Some(self.extra.clone()),
            "partition" => Some(self.partition.clone()),
            "cursor_slice" => Some(self.interval.clone()),
            _ => self.merged.get_item(&Value::from(key)).ok().filter(|value| !value.is_undefined()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.merged.try_iter().map(Iterator::collect).unwrap_or_default())
    }
}
