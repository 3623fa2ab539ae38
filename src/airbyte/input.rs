//! The files that a client of the protocol hands over: configuration, catalog, state.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::airbyte::AirbyteError;

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Catalog {
    /// The streams, in the order in which they are read.
    pub streams: Vec<Configured>,
}

/// A stream that is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Configured {
    /// Which.
    pub stream: Named,
    /// How.
    #[serde(default)]
    pub sync_mode: SyncMode,
}

/// A stream as a catalog names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its namespace, which messages repeat; a manifest's streams have none.
    pub namespace: Option<String>,
}

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// Everything.
    #[default]
    FullRefresh,
    /// What is new since the state.
    Incremental,
}

/// The state of each stream at the end of the last reading.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct States(BTreeMap<String, Value>);

impl States {
    /// The state of a stream.
    pub fn of(&self, stream: &str) -> Option<&Value> {
        self.0.get(stream)
    }

    /// Reads the state of a file. Taken are a list of state messages, with or without their envelope, one such message, and
    /// the map from stream to state of older platforms; an empty file, list or map is no state.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read(path: &Path) -> Result<Self, AirbyteError> {
        let text = text(path)?;
        if text.trim().is_empty() {
            return Ok(States::default());
        }
        let malformed = |fault: String| AirbyteError::Malformed { path: path.to_owned(), what: "state", fault };
        let value: Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        Self::of_value(value).map_err(malformed)
    }

    fn of_value(value: Value) -> Result<Self, String> {
        let mut states = States::default();
        match value {
            Value::Null => {}
            Value::Array(messages) => {
                for (position, message) in messages.into_iter().enumerate() {
                    states.take(message).map_err(|fault| format!("message {position} {fault}"))?;
                }
            }
            Value::Object(ref members) if members.get("type").is_some_and(Value::is_string) => states.take(value)?,
            Value::Object(members) => states.0.extend(members),
            _ => return Err("it has to be a list of state messages, or a map from stream to state".into()),
        }
        Ok(states)
    }

    fn take(&mut self, mut message: Value) -> Result<(), String> {
        match message.get("type").and_then(Value::as_str) {
            Some("STATE") => self.take(message["state"].take()),
            Some("STREAM") | None if message.get("stream").is_some() => self.take_stream(message["stream"].take()),
            Some("GLOBAL") => {
                let Value::Array(streams) = message["global"]["stream_states"].take() else {
                    return Err("is of type GLOBAL and has no `global.stream_states`".into());
                };
                streams.into_iter().try_for_each(|stream| self.take_stream(stream))
            }
            Some("LEGACY") | None => match message.get_mut("data").map(Value::take) {
                Some(Value::Object(members)) => {
                    self.0.extend(members);
                    Ok(())
                }
                _ => Err("has neither `stream` nor `data`".into()),
            },
            Some(other) => Err(format!("is of type `{}`; known are STREAM, GLOBAL and LEGACY", crate::ids::cut(other))),
        }
    }

    fn take_stream(&mut self, mut stream: Value) -> Result<(), String> {
        let Some(name) = stream["stream_descriptor"]["name"].as_str().map(str::to_owned) else {
            return Err("names no stream in `stream_descriptor`".into());
        };
        match stream.get_mut("stream_state").map(Value::take) {
            None | Some(Value::Null) => drop(self.0.remove(&name)),
            Some(state) => drop(self.0.insert(name, state)),
        }
        Ok(())
    }
}

impl Catalog {
    /// Reads the configured catalog of a file.
    ///
    /// # Errors
    /// When it cannot be read, is no catalog, or names a stream twice.
    pub fn read(path: &Path) -> Result<Self, AirbyteError> {
        let malformed = |fault: String| AirbyteError::Malformed { path: path.to_owned(), what: "configured catalog", fault };
        let catalog: Catalog = serde_json::from_str(&text(path)?).map_err(|error| malformed(error.to_string()))?;
        for (position, configured) in catalog.streams.iter().enumerate() {
            if catalog.streams[..position].iter().any(|before| before.stream.name == configured.stream.name) {
                return Err(malformed(format!("it names the stream `{}` twice", crate::ids::cut(&configured.stream.name))));
            }
        }
        Ok(catalog)
    }
}

/// Reads the configuration of a file: a JSON object. Whether it fits is for the manifest to say.
///
/// # Errors
/// When it cannot be read or is no JSON object.
pub fn config(path: &Path) -> Result<Value, AirbyteError> {
    // The text may be a secret, so an error says where it breaks off and does not repeat it.
    let malformed = |fault: String| AirbyteError::Malformed { path: path.to_owned(), what: "configuration", fault };
    let value: Value = serde_json::from_str(&text(path)?)
        .map_err(|error| malformed(format!("it is not JSON (line {}, column {})", error.line(), error.column())))?;
    if value.is_object() { Ok(value) } else { Err(malformed("it has to be a JSON object".into())) }
}

fn text(path: &Path) -> Result<String, AirbyteError> {
    std::fs::read_to_string(path).map_err(|source| AirbyteError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every form in which platforms have kept state says the same.
    #[test]
    fn states_come_in_many_forms() {
        let stream = json!({"stream_descriptor": {"name": "orders"}, "stream_state": {"at": "2026"}});
        let forms = [
            json!([{"type": "STREAM", "stream": stream}]),
            json!([{"stream": stream}]),
            json!({"type": "STREAM", "stream": stream}),
            json!([{"type": "STATE", "state": {"type": "STREAM", "stream": stream}}]),
            json!([{"type": "GLOBAL", "global": {"shared_state": {}, "stream_states": [stream]}}]),
            json!([{"type": "LEGACY", "data": {"orders": {"at": "2026"}}}]),
            json!([{"data": {"orders": {"at": "2026"}}}]),
            json!({"orders": {"at": "2026"}}),
        ];
        for form in forms {
            let states = States::of_value(form.clone()).unwrap();
            assert_eq!(states.of("orders"), Some(&json!({"at": "2026"})), "{form}");
        }
        for none in [json!([]), json!({}), json!(null), json!([{"stream": {"stream_descriptor": {"name": "a"}, "stream_state": null}}])] {
            assert_eq!(States::of_value(none), Ok(States::default()));
        }
    }

    /// What is no state is refused, and the message is named.
    #[test]
    fn what_is_no_state_is_refused() {
        for (form, words) in [
            (json!("x"), "a list of state messages"),
            (json!([{"type": "STREAM", "stream": {}}]), "message 0 names no stream"),
            (json!([{"type": "WEIRD"}]), "WEIRD"),
            (json!([1]), "neither"),
        ] {
            let fault = States::of_value(form).unwrap_err();
            assert!(fault.contains(words), "{fault}");
        }
    }
}
