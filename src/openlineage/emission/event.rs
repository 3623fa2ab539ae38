//! The events themselves, in the core schema 2-0-2 of OpenLineage: the shape is written down once, and no key is left out that a
//! reader may look at unguarded.

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::openlineage::emission::facets::Facet;
use crate::openlineage::emission::producer::Producer;

/// The schema that every event follows.
const SCHEMA_URL: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// What has happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    /// It has begun.
    Start,
    /// It goes on, and more is known of it.
    Running,
    /// It has done all that it was to do.
    Complete,
    /// It ended early.
    Fail,
    /// It was stopped.
    Abort,
}

impl EventType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Start => "START",
            EventType::Running => "RUNNING",
            EventType::Complete => "COMPLETE",
            EventType::Fail => "FAIL",
            EventType::Abort => "ABORT",
        }
    }
}

/// Something observed about a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent {
    /// What has happened.
    pub event_type: EventType,
    /// When, as RFC 3339 with its offset.
    pub event_time: Timestamp,
    /// Who says so.
    pub producer: String,
    #[serde(rename = "schemaURL")]
    schema_url: &'static str,
    /// The run.
    pub run: Run,
    /// What it is a run of.
    pub job: Job,
    /// What it reads.
    pub inputs: Vec<Input>,
    /// What it writes.
    pub outputs: Vec<Output>,
}

/// A run by its id.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// A UUID.
    pub run_id: String,
    /// What is said of it.
    pub facets: Facets,
}

/// A job by its name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
    /// What is said of it.
    pub facets: Facets,
}

/// A dataset's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatasetName {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

/// A dataset that is read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Which.
    #[serde(flatten)]
    pub dataset: DatasetName,
    /// What is said of it.
    pub facets: Facets,
    /// What is said of this reading.
    pub input_facets: Facets,
}

/// A dataset that is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Which.
    #[serde(flatten)]
    pub dataset: DatasetName,
    /// What is said of it.
    pub facets: Facets,
    /// What is said of this writing.
    pub output_facets: Facets,
}

/// Facets by their keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Facets(Map<String, Value>);

impl Facets {
    /// Adds a facet, with who says it and which schema it follows.
    pub fn with<F: Facet>(mut self, producer: &Producer, facet: &F) -> Self {
        // A facet is a struct of texts, numbers and lists: it is always an object.
        if let Ok(Value::Object(members)) = serde_json::to_value(facet) {
            let mut whole = Map::new();
            whole.insert("_producer".to_owned(), producer.uri().into());
            whole.insert("_schemaURL".to_owned(), F::SCHEMA.url(producer).into());
            whole.extend(members);
            self.0.insert(F::KEY.to_owned(), Value::Object(whole));
        }
        self
    }

    /// Adds a facet, if there is one.
    pub fn with_some<F: Facet>(self, producer: &Producer, facet: Option<&F>) -> Self {
        match facet {
            Some(facet) => self.with(producer, facet),
            None => self,
        }
    }

    /// A facet by its key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    fn leave_out(&mut self, keys: &[&str]) {
        self.0.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// The facets that grow with a stream's schema.
const LARGE_FACETS: [&str; 3] = ["schema", "columnLineage", "tags"];

impl RunEvent {
    /// An event with nothing but its names; facets are added by whoever knows them.
    pub(super) fn new(producer: &Producer, event_type: EventType, event_time: Timestamp, run: Run, job: Job) -> Self {
        let producer = producer.uri().to_owned();
        RunEvent { event_type, event_time, producer, schema_url: SCHEMA_URL, run, job, inputs: Vec::new(), outputs: Vec::new() }
    }

    /// The event as one line of JSON, without the line's end.
    ///
    /// # Errors
    /// Never in practice: every key is a text.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The same event without the facets that grow with a stream's schema: what is told of one whose schema is past every measure.
    #[must_use]
    pub fn without_large_facets(mut self) -> Self {
        self.inputs.iter_mut().for_each(|input| input.facets.leave_out(&LARGE_FACETS));
        self.outputs.iter_mut().for_each(|output| output.facets.leave_out(&LARGE_FACETS));
        self
    }
}
