//! An OpenLineage event, read leniently: what a consumer cannot do without is refused, everything else is a warning.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::Map;
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::record::canonical_form;

/// The longest name of a namespace, job or dataset that is kept, in bytes; what is longer is left out with a warning.
const NAME_BYTES_MAX: usize = 4096;
/// Warnings of one event that are kept.
const WARNINGS_MAX: usize = 50;
/// Digits of a second that a time can have.
const FRACTION_DIGITS: usize = 9;

/// Why an event is refused. Nothing else is a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// It is no JSON.
    #[error("the event is no JSON: line {line}, column {column}; correct it there")]
    NoJson {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// It is JSON of another kind.
    #[error("an event is a JSON object; send one")]
    NoObject,
    /// It is about nothing.
    #[error("the event has none of `run`, `job` and `dataset`; send at least one of them")]
    AboutNothing,
    /// Its run has no id.
    #[error("`run.runId` is no UUID; give each run one of its own")]
    RunId,
    /// Its time cannot be read.
    #[error("`eventTime` is no time of RFC 3339; send one such as 2026-11-24T10:00:00Z")]
    EventTime,
}

/// What an event says of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    Running,
    Complete,
    Fail,
    Abort,
    Other,
}

/// A name: a namespace and a name in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FullName {
    pub namespace: String,
    pub name: String,
}

/// A dataset as an event mentions it.
#[derive(Debug, Clone)]
pub(super) struct Mention {
    pub name: FullName,
    /// The facets of the dataset, and those of its part in this run.
    pub facets: Map<String, Value>,
    pub of_run: Map<String, Value>,
}

/// An event that is admitted whatever else may be odd about it.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) text: Vec<u8>,
    pub(super) canonical: Vec<u8>,
    pub(super) time: Timestamp,
    pub(super) phase: Phase,
    /// Its run and the facets of that.
    pub(super) run: Option<(Uuid, Map<String, Value>)>,
    /// Its job and the facets of that.
    pub(super) job: Option<(FullName, Map<String, Value>)>,
    /// The dataset that it is about, when it has neither run nor job.
    pub(super) dataset: Option<Mention>,
    /// None when the event does not say.
    pub(super) inputs: Option<Vec<Mention>>,
    pub(super) outputs: Option<Vec<Mention>>,
    pub(super) warnings: Vec<String>,
}

impl Event {
    /// Reads an event from its text.
    ///
    /// # Errors
    /// [`EventFault`], whose variants are all the reasons that there are.
    pub fn read(text: &[u8]) -> Result<Event, EventFault> {
        let value = serde_json::from_slice(text).map_err(|error| EventFault::NoJson { line: error.line(), column: error.column() })?;
        // Members that are given twice have no canonical form; the last one counts, as everywhere.
        Event::of(&value, text.to_vec())
    }

    /// Reads an event that is a value already.
    ///
    /// # Errors
    /// As [`Event::read`].
    pub fn from_value(value: &Value) -> Result<Event, EventFault> {
        Event::of(value, value.to_string().into_bytes())
    }

    /// What was odd about it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn of(value: &Value, text: Vec<u8>) -> Result<Event, EventFault> {
        let whole = value.as_object().ok_or(EventFault::NoObject)?;
        let is_there = |name: &str| whole.get(name).is_some_and(|member| !member.is_null());
        if !["run", "job", "dataset"].into_iter().any(is_there) {
            return Err(EventFault::AboutNothing);
        }
        let canonical = canonical_form(&text).or_else(|_| canonical_form(value.to_string().as_bytes())).unwrap_or_else(|_| text.clone());
        let mut reading = Reading { warnings: Vec::new() };
        let (time, has_zone) = whole.get("eventTime").and_then(Value::as_str).and_then(time_of).ok_or(EventFault::EventTime)?;
        if !has_zone {
            reading.warn("eventTime has no zone; it is read as UTC");
        }
        let run = match whole.get("run").filter(|run| !run.is_null()) {
            Some(run) => {
                let id =
                    run.get("runId").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id.trim()).ok()).ok_or(EventFault::RunId)?;
                Some((id, reading.facets("run", run, "facets")))
            }
            None => None,
        };
        let job = whole.get("job").filter(|job| !job.is_null()).and_then(|job| {
            let name = reading.name("job", job)?;
            Some((name, reading.facets("job", job, "facets")))
        });
        if run.is_some() && job.is_none() {
            reading.warn("the run has no job that can be named");
        }
        let about = whole.get("dataset").filter(|dataset| !dataset.is_null());
        let dataset = match (&run, &job, about) {
            (None, None, Some(dataset)) => reading.mention("dataset", dataset, ""),
            (_, _, Some(_)) => {
                reading.warn("`dataset` beside `run` or `job` is not looked at");
                None
            }
            _ => None,
        };
        let phase = reading.phase(whole.get("eventType"), run.is_some());
        for name in ["producer", "schemaURL"] {
            if !whole.get(name).and_then(Value::as_str).is_some_and(is_uri) {
                reading.warn(format!("`{name}` is missing or no URI"));
            }
        }
        let inputs = reading.mentions("inputs", whole.get("inputs"), "inputFacets");
        let outputs = reading.mentions("outputs", whole.get("outputs"), "outputFacets");
        Ok(Event { text, canonical, time, phase, run, job, dataset, inputs, outputs, warnings: reading.warnings })
    }
}

struct Reading {
    warnings: Vec<String>,
}

impl Reading {
    fn warn(&mut self, text: impl Into<String>) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(text.into());
        }
    }

    fn phase(&mut self, value: Option<&Value>, of_run: bool) -> Phase {
        match value.and_then(Value::as_str).map(str::to_ascii_uppercase).as_deref() {
            Some("START") => Phase::Start,
            Some("RUNNING") => Phase::Running,
            Some("COMPLETE") => Phase::Complete,
            Some("FAIL") => Phase::Fail,
            Some("ABORT") => Phase::Abort,
            Some("OTHER") => Phase::Other,
            Some(_) => {
                self.warn("`eventType` is none of START, RUNNING, COMPLETE, ABORT, FAIL and OTHER; it is read as OTHER");
                Phase::Other
            }
            None => {
                if of_run {
                    self.warn("`eventType` is missing; it is read as OTHER");
                }
                Phase::Other
            }
        }
    }

    /// The name of a job or dataset. An empty namespace is one; a missing one is not.
    fn name(&mut self, what: &str, value: &Value) -> Option<FullName> {
        let text = |member: &str| value.get(member).and_then(Value::as_str).filter(|text| text.len() <= NAME_BYTES_MAX).map(str::to_owned);
        match (text("namespace"), text("name")) {
            (Some(namespace), Some(name)) => Some(FullName { namespace, name }),
            _ => {
                self.warn(format!("`{what}` has no namespace and name of up to {NAME_BYTES_MAX} bytes, and is left out"));
                None
            }
        }
    }

    fn facets(&mut self, what: &str, value: &Value, member: &str) -> Map<String, Value> {
        match value.get(member) {
            Some(Value::Object(facets)) => {
                for (name, facet) in facets {
                    self.facet(what, name, facet);
                }
                facets.iter().filter(|(_, facet)| facet.is_object()).map(|(name, facet)| (name.clone(), facet.clone())).collect()
            }
            None | Some(Value::Null) => Map::new(),
            Some(_) => {
                self.warn(format!("`{what}.{member}` is no object, and is left out"));
                Map::new()
            }
        }
    }

    fn facet(&mut self, what: &str, name: &str, facet: &Value) {
        let name = crate::ids::cut(name);
        if !facet.is_object() {
            return self.warn(format!("facet `{name}` of `{what}` is no object, and is left out"));
        }
        if ["_producer", "_schemaURL"].into_iter().any(|member| !facet.get(member).and_then(Value::as_str).is_some_and(is_uri)) {
            self.warn(format!("facet `{name}` of `{what}` lacks `_producer` or `_schemaURL`, or one is no URI"));
        }
        if name == "dataSource" && facet.get("uri").is_some_and(|uri| !uri.as_str().is_some_and(is_uri)) {
            self.warn(format!("`uri` of the data source of `{what}` is no URI"));
        }
    }

    fn mention(&mut self, what: &str, value: &Value, of_run: &str) -> Option<Mention> {
        let name = self.name(what, value)?;
        let facets = self.facets(what, value, "facets");
        let of_run = if of_run.is_empty() { Map::new() } else { self.facets(what, value, of_run) };
        Some(Mention { name, facets, of_run })
    }

    fn mentions(&mut self, what: &str, value: Option<&Value>, of_run: &str) -> Option<Vec<Mention>> {
        match value {
            Some(Value::Array(items)) => Some(items.iter().filter_map(|item| self.mention(what, item, of_run)).collect()),
            None | Some(Value::Null) => None,
            Some(_) => {
                self.warn(format!("`{what}` is no array, and is left out"));
                None
            }
        }
    }
}

fn is_uri(text: &str) -> bool {
    url::Url::parse(text).is_ok()
}

/// A time, and whether it has a zone. Digits beyond nanoseconds are left out.
pub(super) fn time_of(text: &str) -> Option<(Timestamp, bool)> {
    let text = shortened(text.trim());
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some((time, true));
    }
    // A date with a zone is no time, and a date alone is not either.
    let civil = text.parse::<DateTime>().ok().filter(|_| text.contains(':'))?;
    Some((Offset::UTC.to_timestamp(civil).ok()?, false))
}

fn shortened(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else { return text.to_owned() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let kept = digits.min(FRACTION_DIGITS);
    format!("{whole}.{}{}", &rest[..kept], &rest[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Event, EventFault> {
        Event::read(text.as_bytes())
    }

    /// Goal: exactly the five reasons refuse. Method: one event for each, and odd ones that are none.
    #[test]
    fn little_is_refused() {
        assert!(matches!(read("{"), Err(EventFault::NoJson { line: 1, .. })));
        assert_eq!(read("[]").unwrap_err(), EventFault::NoObject);
        assert_eq!(read(r#"{"eventTime":"2026-11-24T10:00:00Z","run":null}"#).unwrap_err(), EventFault::AboutNothing);
        assert_eq!(read(r#"{"eventTime":"2026-11-24T10:00:00Z","run":{"runId":"7"}}"#).unwrap_err(), EventFault::RunId);
        for time in ["yesterday", "2026-11-24", ""] {
            assert_eq!(read(&format!(r#"{{"eventTime":"{time}","job":{{}}}}"#)).unwrap_err(), EventFault::EventTime, "{time}");
        }
        let odd = r#"{"eventTime":"2026-11-24T10:00:00.1234567891","eventType":"begin","run":{"runId":"0190d4f6-0000-7000-8000-000000000001"},
            "job":{"name":3},"inputs":{},"outputs":[{"namespace":"n","name":"ö","facets":{"dataSource":{"uri":"file"},"x":1}}]}"#;
        let event = read(odd).unwrap();
        assert_eq!(event.time.to_string(), "2026-11-24T10:00:00.123456789Z");
        assert_eq!((event.phase, event.inputs.is_none(), event.outputs.unwrap().len()), (Phase::Other, true, 1));
        for word in ["zone", "eventType", "`job`", "inputs", "producer", "schemaURL", "_producer", "no URI", "no object"] {
            assert!(event.warnings.iter().any(|warning| warning.contains(word)), "{word} in {:?}", event.warnings);
        }
    }

    /// Goal: the same event is the same whatever the order of its members and the space between them.
    #[test]
    fn an_event_has_one_form() {
        let one = read(r#"{"eventTime":"2026-11-24T10:00:00Z","job":{"namespace":"n","name":"j"}}"#).unwrap();
        let other = read("{ \"job\": {\"name\":\"j\", \"namespace\":\"n\"},\n \"eventTime\":\"2026-11-24T10:00:00Z\"}").unwrap();
        assert_eq!(one.canonical, other.canonical);
    }
}
