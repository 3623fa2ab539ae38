//! The one registry of the process, in the OpenMetrics text format.
//!
//! Labels come from closed lists or from the operator's own connector names. A tenant, a connection, a record or a URL is
//! never a label: `/metrics` is readable without a key.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// The content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A request that Headgate answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// The HTTP method.
    pub method: String,
    /// The route's template, such as `/v1/records/{id}`; `none` where no route matched.
    pub route: String,
    /// The answer's status.
    pub status: u16,
}

/// Something that happened at one connector.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConnectorLabels {
    /// The connector's name.
    pub connector: String,
    /// How it went, from the closed list of the metric.
    pub outcome: &'static str,
}

/// Something that happened anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// How it went, from the closed list of the metric.
    pub outcome: &'static str,
}

/// An OpenLineage event that was told, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TransportLabels {
    /// Where to: `graph`, `file`, `http`.
    pub transport: &'static str,
    /// How it went, from the closed list of the metric.
    pub outcome: &'static str,
}

/// What making groups of writes durable took, since the process began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Syncs {
    /// How many there were.
    pub count: u32,
    /// Their time together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

/// Every metric of the process. Its parts are handles: counting is one atomic addition.
pub struct Metrics {
    registry: Registry,
    /// Requests answered by the HTTP face.
    pub answers: Family<AnswerLabels, Counter>,
    /// Seconds from a request's head to its answer's head.
    pub answer_seconds: Histogram,
    /// Requests sent to applications; outcome `ok`, `limited`, `refused`, `failed`, `cut`.
    pub application_requests: Family<ConnectorLabels, Counter>,
    /// Attempts that repeat a failed one; outcome `repeated`.
    pub retries: Family<ConnectorLabels, Counter>,
    /// Waits of pulls; the outcome is what was waited for: `budget`, `retry`, `token`, `store`.
    pub waits: Family<ConnectorLabels, Counter>,
    /// Seconds of those waits.
    pub wait_seconds: Family<ConnectorLabels, Counter<f64, AtomicU64>>,
    /// Named limits that were reached; the outcome is the limit's name.
    pub limits: Family<ConnectorLabels, Counter>,
    /// Pages read; outcome `stored`, or `dropped` when the connection was stopped before.
    pub pages: Family<ConnectorLabels, Counter>,
    /// Records seen; outcome `new`, `changed`, `unchanged`, `filtered`, `ignored`; and `coerced`: added values that became another type.
    pub records: Family<ConnectorLabels, Counter>,
    /// Pulls under way.
    pub pulls_running: Gauge,
    /// Connections closed by a revocation; outcome `revoked`, `already`.
    pub revocations: Family<OutcomeLabels, Counter>,
    /// Erasures; outcome `requested`, `complete`, `refused`.
    pub erasures: Family<OutcomeLabels, Counter>,
    /// Seconds that one group commit of the store took, its fdatasync included.
    pub commit_seconds: Histogram,
    /// Atomic units in one group commit.
    pub commit_units: Histogram,
    /// Seconds that one group's flush and fdatasync took.
    sync_seconds: Histogram,
    syncs: Mutex<Syncs>,
    /// Units that wait for the writer.
    pub store_queue: Gauge,
    /// Since when the group under way waits to be durable; none when nothing does.
    pub unsynced_since: Mutex<Option<Instant>>,
    unsynced_seconds: Gauge<f64, AtomicU64>,
    /// Bytes on disk per record, at the last look.
    pub bytes_per_record: Gauge<f64, AtomicU64>,
    /// Bytes of tags, origins and index rows per version of a record, keys included, business keys apart; before compression.
    pub lineage_bytes_per_record: Gauge<f64, AtomicU64>,
    /// Entries appended to the audit log.
    pub audit_entries: Counter,
    /// OpenLineage events; outcome `told`, `refused` (set aside for good), `unreadable` (its tenant was erased), `repeated` (tried again).
    pub openlineage_events: Family<TransportLabels, Counter>,
    /// OpenLineage events that wait to be told somewhere.
    pub openlineage_waiting: Gauge,
    /// OpenLineage events that were not kept because too many waited, or that could not be sealed.
    pub openlineage_lost: Counter,
    /// Free bytes of the data directory's file system, at the last look.
    pub disk_free_bytes: Gauge,
    /// Bytes of the engine's files, at the last look.
    pub store_engine_bytes: Gauge,
    /// Bytes of the engine's rows when they were last counted; zero before.
    pub store_row_bytes: Gauge,
}

impl Metrics {
    /// A registry with every metric at zero.
    pub fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let mut metrics = Metrics {
            registry: Registry::with_prefix("headgate"),
            answers: Family::default(),
            answer_seconds: seconds(),
            application_requests: Family::default(),
            retries: Family::default(),
            waits: Family::default(),
            wait_seconds: Family::default(),
            limits: Family::default(),
            pages: Family::default(),
            records: Family::default(),
            pulls_running: Gauge::default(),
            revocations: Family::default(),
            erasures: Family::default(),
            commit_seconds: seconds(),
            commit_units: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            sync_seconds: seconds(),
            syncs: Mutex::default(),
            store_queue: Gauge::default(),
            unsynced_since: Mutex::default(),
            unsynced_seconds: Gauge::default(),
            bytes_per_record: Gauge::default(),
            lineage_bytes_per_record: Gauge::default(),
            audit_entries: Counter::default(),
            openlineage_events: Family::default(),
            openlineage_waiting: Gauge::default(),
            openlineage_lost: Counter::default(),
            disk_free_bytes: Gauge::default(),
            store_engine_bytes: Gauge::default(),
            store_row_bytes: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    /// The text that `/metrics` answers.
    ///
    /// # Errors
    /// Never in practice: writing into a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        self.unsynced_seconds.set(self.unsynced().map_or(0.0, |age| age.as_secs_f64()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A group was made durable in this time.
    pub fn synced(&self, took: Duration) {
        self.sync_seconds.observe(took.as_secs_f64());
        let mut syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.count += 1;
        syncs.total += took;
        syncs.longest = syncs.longest.max(took);
    }

    /// What making groups durable took so far.
    pub fn syncs(&self) -> Syncs {
        *self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the oldest write that is not durable yet has waited.
    pub fn unsynced(&self) -> Option<Duration> {
        self.unsynced_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("answers", "Requests answered by the HTTP face", self.answers.clone());
        registry.register("answer_seconds", "Seconds from a request's head to its answer's head", self.answer_seconds.clone());
        registry.register("application_requests", "Requests sent to Connected Applications", self.application_requests.clone());
        registry.register("retries", "Attempts that repeat a failed one", self.retries.clone());
        registry.register("waits", "Waits of pulls, by what was waited for", self.waits.clone());
        registry.register("wait_seconds", "Seconds of those waits", self.wait_seconds.clone());
        registry.register("limits", "Named limits that were reached", self.limits.clone());
        registry.register("pages", "Pages that were read, by what became of them", self.pages.clone());
        registry.register("records", "Records seen in pages", self.records.clone());
        registry.register("pulls_running", "Pulls under way", self.pulls_running.clone());
        registry.register("revocations", "Connections closed by a revocation", self.revocations.clone());
        registry.register("erasures", "Erasures by how they went", self.erasures.clone());
        registry.register("commit_seconds", "Seconds per group commit, fdatasync included", self.commit_seconds.clone());
        registry.register("commit_units", "Atomic units in one group commit", self.commit_units.clone());
        registry.register("sync_seconds", "Seconds of a group's flush and fdatasync", self.sync_seconds.clone());
        registry.register("store_queue", "Units that wait for the writer", self.store_queue.clone());
        registry.register("oldest_unsynced_seconds", "Age of the oldest write that is not durable", self.unsynced_seconds.clone());
        registry.register("bytes_per_record", "Bytes on disk per record, at the last look", self.bytes_per_record.clone());
        let lineage = "Bytes of tag, origin and index per version of a record, at the last look";
        registry.register("lineage_bytes_per_record", lineage, self.lineage_bytes_per_record.clone());
        registry.register("audit_entries", "Entries appended to the audit log", self.audit_entries.clone());
        registry.register("openlineage_events", "OpenLineage events by where they went and how", self.openlineage_events.clone());
        registry.register("openlineage_waiting", "OpenLineage events that wait to be told somewhere", self.openlineage_waiting.clone());
        registry.register("openlineage_lost", "OpenLineage events that were never kept", self.openlineage_lost.clone());
        registry.register("disk_free_bytes", "Free bytes of the data directory's file system", self.disk_free_bytes.clone());
        registry.register("store_engine_bytes", "Bytes of the store engine's files", self.store_engine_bytes.clone());
        registry.register("store_row_bytes", "Bytes of the store engine's rows when last counted", self.store_row_bytes.clone());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted shows in the text, under the prefix and with its labels.
    #[test]
    fn counts_show_in_the_text() {
        let metrics = Metrics::new();
        metrics.records.get_or_create(&ConnectorLabels { connector: "sandbox".into(), outcome: "new" }).inc_by(3);
        let text = metrics.encode().expect("a string takes the text");
        assert!(text.contains("headgate_records_total{connector=\"sandbox\",outcome=\"new\"} 3"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
