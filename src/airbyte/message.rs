//! The protocol's messages, written: one JSON object on a line.

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::airbyte::failure::Kind;
use crate::clock::Timestamp;

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// Its reading has begun.
    Started,
    /// Its first record follows.
    Running,
    /// It was read to its end.
    Complete,
    /// It was not.
    Incomplete,
}

/// How urgent a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Level {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warn,
}

/// What a configuration holds.
pub(super) fn spec(spec: Value) -> Value {
    json!({"type": "SPEC", "spec": spec})
}

/// Which streams there are.
pub(super) fn catalog(streams: Vec<Value>) -> Value {
    json!({"type": "CATALOG", "catalog": {"streams": streams}})
}

/// Whether the application can be read; if not, why.
pub(super) fn connection_status(fault: Option<&str>) -> Value {
    let status = match fault {
        None => json!({"status": "SUCCEEDED"}),
        Some(fault) => json!({"status": "FAILED", "message": fault}),
    };
    json!({"type": "CONNECTION_STATUS", "connectionStatus": status})
}

/// A configuration that takes the place of the one that was handed over.
pub(super) fn control(config: &Value, at: Timestamp) -> Value {
    let at = at.as_millisecond() as f64;
    json!({"type": "CONTROL", "control": {"type": "CONNECTOR_CONFIG", "emitted_at": at, "connectorConfig": {"config": config}}})
}

/// A line of the log.
pub(super) fn log(level: Level, message: &str) -> Value {
    json!({"type": "LOG", "log": {"level": level, "message": message}})
}

/// How a stream stands.
pub(super) fn status(stream: &str, status: Status, at: Timestamp) -> Value {
    trace("STREAM_STATUS", at, "stream_status", json!({"stream_descriptor": {"name": stream}, "status": status}))
}

/// A failure; of a stream, if one is named.
pub(super) fn error(stream: Option<&str>, kind: Kind, message: &str, at: Timestamp) -> Value {
    let mut error = json!({"message": message, "internal_message": message, "failure_type": kind.as_str()});
    if let Some(stream) = stream {
        error["stream_descriptor"] = json!({ "name": stream });
    }
    trace("ERROR", at, "error", error)
}

/// The state of a stream, and how many of its records were written since the last one.
pub(super) fn state(stream: &str, state: &Value, records: u64) -> Value {
    // The protocol counts in floating point.
    let count = records as f64;
    json!({"type": "STATE", "state": {
        "type": "STREAM",
        "stream": {"stream_descriptor": {"name": stream}, "stream_state": state},
        "sourceStats": {"recordCount": count},
    }})
}

fn trace(kind: &str, at: Timestamp, member: &str, content: Value) -> Value {
    // A number of milliseconds with a fraction, which is what the protocol says.
    let at = at.as_millisecond() as f64;
    json!({"type": "TRACE", "trace": {"type": kind, "emitted_at": at, member: content}})
}

/// What stands before the data of every record of a stream.
pub(super) fn record_head(stream: &str) -> Vec<u8> {
    format!("{{\"type\":\"RECORD\",\"record\":{{\"stream\":{},\"data\":", Value::from(stream)).into_bytes()
}

/// What stands behind the data of every record of a page.
pub(super) fn record_tail(at: Timestamp) -> Vec<u8> {
    format!(",\"emitted_at\":{}}}}}\n", at.as_millisecond()).into_bytes()
}
