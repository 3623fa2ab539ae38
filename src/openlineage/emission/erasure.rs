//! What is told of an erasure: a run that deletes. It began with its approval, and is complete with its certificate; it does not fail,
//! for an interrupted one goes on by itself.
//!
//! An event says nothing that the certificate and the rows kept after an erasure do not say: names, counts and times.

use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::ErasureId;
use crate::ids::TenantId;
use crate::openlineage::emission::event::DatasetName;
use crate::openlineage::emission::event::EventType;
use crate::openlineage::emission::event::Facets;
use crate::openlineage::emission::event::Job;
use crate::openlineage::emission::event::Output;
use crate::openlineage::emission::event::Run;
use crate::openlineage::emission::event::RunEvent;
use crate::openlineage::emission::facets::Documentation;
use crate::openlineage::emission::facets::HeadgateErasure;
use crate::openlineage::emission::facets::JobType;
use crate::openlineage::emission::facets::LifecycleStateChange;
use crate::openlineage::emission::facets::RunTags;
use crate::openlineage::emission::facets::Tag;
use crate::openlineage::emission::producer::Producer;
use crate::openlineage::emission::producer::plain;
use crate::openlineage::emission::producer::uuid;
use crate::openlineage::emission::run::engine;
use crate::openlineage::emission::run::stored_facets;

/// Datasets that one event names. An erasure of more tells the rest in events of its run before the last.
const DATASETS_PER_EVENT: usize = 100;

/// An erasure, and what it covers.
#[derive(Debug, Clone)]
pub struct ErasureRun<'a> {
    /// The erasure.
    pub erasure: ErasureId,
    /// Whose data it is.
    pub tenant: &'a TenantId,
    /// The one connection that it covers; a whole tenant when there is none.
    pub connection: Option<(&'a str, ConnectionId)>,
    /// Every stored stream that it covers: connector, connection, stream.
    pub streams: &'a [(String, ConnectionId, String)],
}

/// What an erasure came to.
#[derive(Debug, Clone)]
pub struct Erased {
    /// When the sweep had ended.
    pub at: Timestamp,
    /// Records that were removed.
    pub records: u64,
    /// Versions of those.
    pub versions: u64,
    /// How many keys were destroyed.
    pub keys_destroyed: u64,
    /// The root that commits to what was removed, in hexadecimal.
    pub commitment: String,
    /// The index of the entry in the audit log.
    pub log_entry: Option<u64>,
}

impl ErasureRun<'_> {
    /// The event of its approval.
    pub fn began(&self, producer: &Producer, at: Timestamp) -> RunEvent {
        let facet = HeadgateErasure {
            erasure: self.erasure.to_string(),
            scope: self.scope(),
            records: None,
            versions: None,
            keys_destroyed: None,
            commitment: None,
            log_entry: None,
        };
        self.event(producer, EventType::Start, at, &facet)
    }

    /// The events of its completion: the last says so, those before it name datasets that did not fit into one.
    pub fn completed(&self, producer: &Producer, erased: &Erased) -> Vec<RunEvent> {
        let facet = HeadgateErasure {
            erasure: self.erasure.to_string(),
            scope: self.scope(),
            records: Some(erased.records),
            versions: Some(erased.versions),
            keys_destroyed: Some(erased.keys_destroyed),
            commitment: Some(erased.commitment.clone()),
            log_entry: erased.log_entry,
        };
        let outputs: Vec<Output> = self.streams.iter().map(|stream| self.dropped(producer, stream)).collect();
        let part = |outputs: &[Output]| {
            let mut event = self.event(producer, EventType::Running, erased.at, &facet);
            event.outputs = outputs.to_vec();
            event
        };
        let mut events: Vec<RunEvent> = outputs.chunks(DATASETS_PER_EVENT).map(part).collect();
        match events.last_mut() {
            Some(last) => last.event_type = EventType::Complete,
            None => events.push(self.event(producer, EventType::Complete, erased.at, &facet)),
        }
        events
    }

    fn event(&self, producer: &Producer, event_type: EventType, at: Timestamp, erasure: &HeadgateErasure) -> RunEvent {
        let tag = |key, value: String| Tag { key, value, source: "HEADGATE", field: None };
        let connection = self.connection.map(|(_, connection)| tag("connection", connection.to_string()));
        let tags = connection.into_iter().chain([tag("tenant", self.tenant.to_string())]).collect();
        let facets = Facets::default().with(producer, &engine()).with(producer, &RunTags { tags }).with(producer, erasure);
        let run = Run { run_id: uuid(self.erasure.to_bytes()), facets };
        RunEvent::new(producer, event_type, at, run, self.job(producer))
    }

    fn job(&self, producer: &Producer) -> Job {
        let (name, what) = match self.connection {
            Some((connector, connection)) => (format!("{}.{connection}.delete", plain(connector)), "a connection"),
            None => ("tenant.delete".to_owned(), "a tenant"),
        };
        let description = format!("Makes everything of {what} unreadable, removes it, and certifies that");
        let facets = Facets::default()
            .with(producer, &JobType { processing_type: "BATCH", integration: "HEADGATE", job_type: "DELETE" })
            .with(producer, &Documentation { description });
        Job { namespace: producer.namespace(self.tenant), name, facets }
    }

    fn dropped(&self, producer: &Producer, (connector, connection, stream): &(String, ConnectionId, String)) -> Output {
        let dataset: DatasetName = producer.stored(self.tenant, connector, *connection, stream);
        let facets =
            stored_facets(producer, self.tenant, &dataset).with(producer, &LifecycleStateChange { lifecycle_state_change: "DROP" });
        Output { dataset, facets, output_facets: Facets::default() }
    }

    fn scope(&self) -> &'static str {
        if self.connection.is_some() { "connection" } else { "tenant" }
    }
}
