//! The state of a stream: that of its cursor, or one for each partition.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::connector::reading::Partition;

/// The state as it is kept between readings. A partitioned stream keeps `{"states": [{"partition", "cursor"}]}`, the form
/// of the reference engine.
pub(super) struct StreamState {
    partitioned: bool,
    plain: Option<Value>,
    of: Vec<(Value, Value)>,
}

impl StreamState {
    pub fn new(state: Option<Value>, partitioned: bool) -> Self {
        let mut of = Vec::new();
        for entry in state.as_ref().and_then(|state| state.get("states")).and_then(Value::as_array).into_iter().flatten() {
            if let (Some(partition), Some(cursor)) = (entry.get("partition"), entry.get("cursor")) {
                of.push((partition.clone(), cursor.clone()));
            }
        }
        // A plain state of a stream that has become partitioned holds for every partition.
        let plain = state.filter(|state| state.get("states").is_none());
        StreamState { partitioned, plain, of }
    }

    /// Where the reading of a partition begins.
    pub fn of(&self, partition: &Partition) -> Option<Value> {
        let own = self.position(partition).map(|position| self.of[position].1.clone());
        own.or_else(|| self.plain.clone())
    }

    /// Sets a partition's state; the whole state.
    pub fn set(&mut self, partition: &Partition, cursor: Value) -> Value {
        if !self.partitioned {
            self.plain = Some(cursor.clone());
            return cursor;
        }
        match self.position(partition) {
            Some(position) => self.of[position].1 = cursor,
            None => self.of.push((key(partition), cursor)),
        }
        let states: Vec<Value> = self.of.iter().map(|(partition, cursor)| json!({ "partition": partition, "cursor": cursor })).collect();
        json!({ "use_global_cursor": false, "states": states })
    }

    fn position(&self, partition: &Partition) -> Option<usize> {
        let key = key(partition);
        self.of.iter().position(|(known, _)| *known == key)
    }
}

fn key(partition: &Partition) -> Value {
    partition.recorded().unwrap_or_else(|| Value::Object(Map::new()))
}
