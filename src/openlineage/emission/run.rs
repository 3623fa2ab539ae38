//! What is told of a run: that it began, and how it ended.

use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::ConsentId;
use crate::ids::PullId;
use crate::ids::RunId;
use crate::ids::TenantId;
use crate::openlineage::emission::event::DatasetName;
use crate::openlineage::emission::event::EventType;
use crate::openlineage::emission::event::Facets;
use crate::openlineage::emission::event::Input;
use crate::openlineage::emission::event::Job;
use crate::openlineage::emission::event::Output;
use crate::openlineage::emission::event::Run;
use crate::openlineage::emission::event::RunEvent;
use crate::openlineage::emission::facets::DataSource;
use crate::openlineage::emission::facets::DatasetType;
use crate::openlineage::emission::facets::DatasetVersion;
use crate::openlineage::emission::facets::Documentation;
use crate::openlineage::emission::facets::ErrorMessage;
use crate::openlineage::emission::facets::ExecutionParameter;
use crate::openlineage::emission::facets::ExecutionParameters;
use crate::openlineage::emission::facets::HeadgateConnection;
use crate::openlineage::emission::facets::HeadgateProvenance;
use crate::openlineage::emission::facets::HeadgateRateLimit;
use crate::openlineage::emission::facets::InputStatistics;
use crate::openlineage::emission::facets::JobType;
use crate::openlineage::emission::facets::NominalTime;
use crate::openlineage::emission::facets::OutputStatistics;
use crate::openlineage::emission::facets::Owner;
use crate::openlineage::emission::facets::Ownership;
use crate::openlineage::emission::facets::Parent;
use crate::openlineage::emission::facets::ParentRun;
use crate::openlineage::emission::facets::ProcessingEngine;
use crate::openlineage::emission::facets::RunTags;
use crate::openlineage::emission::facets::SourceCodeLocation;
use crate::openlineage::emission::facets::Tag;
use crate::openlineage::emission::producer::Producer;
use crate::openlineage::emission::producer::plain;
use crate::openlineage::emission::producer::uuid;
use crate::openlineage::emission::schema::StreamShape;
use crate::openlineage::emission::source::Source;
use crate::record::ConnectorRef;

/// The most characters of an error that are told.
const MESSAGE_CHARS_MAX: usize = 4000;

/// A run, and what it is a run of.
#[derive(Debug, Clone)]
pub struct StreamRun<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// The connection that it reads.
    pub connection: ConnectionId,
    /// The connector as the connection was authorized with it.
    pub connector: &'a ConnectorRef,
    /// What people call the application.
    pub application: &'a str,
    /// The stream.
    pub stream: &'a str,
    /// The stream at its source.
    pub source: &'a Source,
    /// The run.
    pub run: RunId,
    /// The pull that it is part of.
    pub pull: PullId,
}

/// How a run was begun.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// When.
    pub at: Timestamp,
    /// When the schedule wanted it, if that began it.
    pub due: Option<Timestamp>,
    /// Whether it reads everything again.
    pub full: bool,
    /// The consent that permits it.
    pub consent: ConsentId,
    /// The permissions that the application was to be asked for.
    pub scopes: Vec<String>,
    /// Which credential it reads with.
    pub credential_generation: Option<u64>,
}

/// How a run has ended.
#[derive(Debug, Clone, Default)]
pub struct Ending<'a> {
    /// When.
    pub at: Timestamp,
    /// Whether it was stopped rather than failed.
    pub stopped: bool,
    /// Why it did not come to its end, without secrets.
    pub error: Option<&'a str>,
    /// The stream's fields, where its connector is at hand.
    pub shape: Option<&'a StreamShape<'a>>,
    /// What it stored.
    pub stored: Stored,
    /// How the application was spared; unknown for a run that a crash interrupted.
    pub spared: Option<HeadgateRateLimit>,
}

/// What a run stored: durable pages alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stored {
    /// Pages.
    pub pages: u64,
    /// Records that were not there before.
    pub new: u64,
    /// Records that differ from their newest version.
    pub changed: u64,
    /// Records equal to their newest version.
    pub unchanged: u64,
    /// Records that the manifest's filter left out.
    pub filtered: u64,
    /// Card numbers masked.
    pub masked: u64,
    /// Versions that the stream holds now.
    pub versions: u64,
    /// Bytes that the run added, as received.
    pub bytes: u64,
}

impl StreamRun<'_> {
    /// The event of its beginning.
    pub fn began(&self, producer: &Producer, beginning: &Beginning) -> RunEvent {
        let how = if beginning.full { "full" } else { "incremental" };
        let parameters = vec![ExecutionParameter { key: "read", value: how.to_owned() }];
        let connection = HeadgateConnection {
            connection: self.connection.to_string(),
            consent: beginning.consent.to_string(),
            scopes: beginning.scopes.clone(),
            credential_generation: beginning.credential_generation,
        };
        let due = beginning.due.map(|at| NominalTime { nominal_start_time: at });
        let facets = self
            .run_facets(producer)
            .with_some(producer, due.as_ref())
            .with(producer, &ExecutionParameters { parameters })
            .with(producer, &connection);
        self.event(producer, EventType::Start, beginning.at, facets, &Ending::default())
    }

    /// The event of its end.
    pub fn ended(&self, producer: &Producer, ending: &Ending<'_>) -> RunEvent {
        let event_type = match ending.error {
            _ if ending.stopped => EventType::Abort,
            Some(_) => EventType::Fail,
            None => EventType::Complete,
        };
        let message = |error: &str| ErrorMessage { message: error.chars().take(MESSAGE_CHARS_MAX).collect(), programming_language: "RUST" };
        let error = ending.error.map(message);
        let facets = self.run_facets(producer).with_some(producer, error.as_ref()).with_some(producer, ending.spared.as_ref());
        self.event(producer, event_type, ending.at, facets, ending)
    }

    fn event(&self, producer: &Producer, event_type: EventType, at: Timestamp, facets: Facets, ending: &Ending<'_>) -> RunEvent {
        let run = Run { run_id: uuid(self.run.to_bytes()), facets };
        let mut event = RunEvent::new(producer, event_type, at, run, self.job(producer));
        let has_ended = event_type != EventType::Start;
        event.inputs.push(self.input(producer, ending, has_ended));
        event.outputs.push(self.output(producer, ending, has_ended));
        event
    }

    fn run_facets(&self, producer: &Producer) -> Facets {
        let job = DatasetName { namespace: producer.namespace(self.tenant), name: self.job_name("pull") };
        let tag = |key, value: String| Tag { key, value, source: "HEADGATE", field: None };
        let tags = vec![tag("connection", self.connection.to_string()), tag("tenant", self.tenant.to_string())];
        Facets::default()
            .with(producer, &Parent { run: ParentRun { run_id: uuid(self.pull.to_bytes()) }, job })
            .with(producer, &engine())
            .with(producer, &RunTags { tags })
    }

    fn job(&self, producer: &Producer) -> Job {
        let digest = self.connector.digest.to_string();
        let name = self.job_name(&format!("{}.sync", plain(self.stream)));
        let url = format!("urn:headgate:connector:{}:{digest}", self.connector.name);
        let description = format!("Reads the stream {} of {} and stores what is new or has changed", self.stream, self.application);
        let facets = Facets::default()
            .with(producer, &JobType { processing_type: "BATCH", integration: "HEADGATE", job_type: "SYNC" })
            .with(producer, &Documentation { description })
            .with(producer, &SourceCodeLocation { r#type: "headgate", url, version: digest });
        Job { namespace: producer.namespace(self.tenant), name, facets }
    }

    fn job_name(&self, rest: &str) -> String {
        format!("{}.{}.{rest}", plain(&self.connector.name), self.connection)
    }

    fn input(&self, producer: &Producer, ending: &Ending<'_>, has_ended: bool) -> Input {
        let Source { dataset, address } = self.source;
        let uri = address.clone().unwrap_or_else(|| dataset.namespace.clone());
        let facets = Facets::default()
            .with(producer, &DataSource { name: self.application.to_owned(), uri })
            .with(producer, &DatasetType { dataset_type: "API" })
            .with_some(producer, ending.shape.and_then(StreamShape::source).as_ref());
        let Stored { new, changed, unchanged, filtered, .. } = ending.stored;
        let statistics = InputStatistics { row_count: new + changed + unchanged + filtered };
        Input { dataset: dataset.clone(), facets, input_facets: Facets::default().with_some(producer, has_ended.then_some(&statistics)) }
    }

    fn output(&self, producer: &Producer, ending: &Ending<'_>, has_ended: bool) -> Output {
        let stored = ending.stored;
        let dataset = producer.stored(self.tenant, &self.connector.name, self.connection, self.stream);
        let version = DatasetVersion { dataset_version: stored.versions.to_string() };
        let shape = ending.shape;
        let facets = stored_facets(producer, self.tenant, &dataset)
            .with_some(producer, has_ended.then_some(&version))
            .with_some(producer, shape.and_then(StreamShape::stored).as_ref())
            .with_some(producer, shape.and_then(|shape| shape.lineage(&self.source.dataset)).as_ref())
            .with_some(producer, shape.and_then(StreamShape::personal).as_ref());
        let versions = stored.new + stored.changed;
        let provenance = HeadgateProvenance {
            run: self.run.to_string(),
            pages: stored.pages,
            records_new: stored.new,
            records_changed: stored.changed,
            records_unchanged: stored.unchanged,
            versions_before: stored.versions.saturating_sub(versions),
            versions_after: stored.versions,
            cards_masked: stored.masked,
        };
        let statistics = OutputStatistics { row_count: versions, size: stored.bytes };
        let output_facets =
            Facets::default().with_some(producer, has_ended.then_some(&statistics)).with_some(producer, has_ended.then_some(&provenance));
        Output { dataset, facets, output_facets }
    }
}

/// What runs.
pub(super) fn engine() -> ProcessingEngine {
    let version = env!("CARGO_PKG_VERSION");
    ProcessingEngine { version, name: "Headgate", openlineage_adapter_version: version }
}

/// What is said of every stored dataset.
pub(super) fn stored_facets(producer: &Producer, tenant: &TenantId, dataset: &DatasetName) -> Facets {
    let owners = vec![Owner { name: tenant.to_string(), r#type: "TENANT" }];
    Facets::default()
        .with(producer, &DataSource { name: "Headgate".to_owned(), uri: dataset.namespace.clone() })
        .with(producer, &DatasetType { dataset_type: "TABLE" })
        .with(producer, &Ownership { owners })
}
