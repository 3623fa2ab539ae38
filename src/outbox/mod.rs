//! The outbox: OpenLineage events are rows of the unit that makes true what they tell, and are told elsewhere afterwards.
//!
//! An event goes to the tenant's own graph and to every transport that the operator configured, each in the order in which the units
//! were written: the START of a run before its end. A position per transport moves when the other side has the event for good, so
//! each event is told at least once, whatever crashes. A row goes when everyone has it.
//!
//! A waiting event is sealed with its tenant's key. Only those about erasures are not: they are told when the keys are gone, and hold
//! what is kept of an erasure anyway.

mod delivery;
mod endpoint;
mod file;
mod graph;
mod row;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::clock::Clock;
use crate::ids::TenantId;
use crate::openlineage::Graph;
use crate::openlineage::emission::EventType;
use crate::openlineage::emission::Producer;
use crate::openlineage::emission::RunEvent;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::telemetry::metrics::TransportLabels;
use crate::vault::Vault;

use self::delivery::Place;
use self::delivery::Transport;
use self::endpoint::HttpEndpoint;
use self::file::EventFile;
use self::graph::OwnGraph;
use self::row::EventRow;
use self::row::KEPT_BYTES_MAX;
use self::row::PositionRow;

/// How a scrub reads the outbox back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<EventRow>(), RowCheck::of::<PositionRow>()]
}

/// Events that wait at most. Who receives them has been away for months then; later ones are not kept, and counted.
const WAITING_MAX: i64 = 1_000_000;
/// How hard events are compressed: a schema of many fields shrinks to a tenth.
const COMPRESSION: i32 = 3;
/// Rows read at once where all are looked at.
const STEP: usize = 1000;

/// Why the outbox cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The store failed.
    #[error("the outbox of OpenLineage events cannot be read")]
    Store(#[from] StoreError),
    /// The HTTP client cannot be made.
    #[error("the HTTP client for OpenLineage events cannot be made")]
    Client(#[from] reqwest::Error),
}

/// Where events go.
#[derive(Default)]
pub struct Options {
    /// The tenants' own graphs.
    pub graph: Option<Graph>,
    /// A file that gets one event a line.
    pub file: Option<PathBuf>,
    /// An HTTP endpoint.
    pub endpoint: Option<Endpoint>,
}

/// An HTTP endpoint that takes OpenLineage events.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address; `/api/v1/lineage` is put behind it unless it ends so.
    pub url: Url,
    /// Sent as a bearer token.
    pub api_key: Option<Secret<String>>,
}

/// The outbox. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    vault: Arc<Vault>,
    producer: Producer,
    /// Those that no worker has taken yet.
    transports: Mutex<Vec<Transport>>,
    /// How far each transport has come.
    positions: tokio::sync::Mutex<Vec<(u8, Option<Place>)>>,
    is_kept: bool,
    /// Tells events of one unit apart, and keeps them in order.
    order: AtomicU32,
    arrived: Notify,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Outbox {
    /// Over a store.
    ///
    /// # Errors
    /// When the store fails, or the HTTP client cannot be made.
    pub fn open(store: Store, vault: Arc<Vault>, producer: Producer, clock: Clock, options: Options) -> Result<Self, OutboxError> {
        let mut transports = Vec::new();
        transports.extend(options.graph.map(|graph| Transport::Graph(OwnGraph(graph))));
        transports.extend(options.file.map(|path| Transport::File(EventFile::new(path))));
        if let Some(endpoint) = options.endpoint {
            transports.push(Transport::Http(HttpEndpoint::new(endpoint, clock)?));
        }
        let mut positions = Vec::new();
        for transport in &transports {
            let position = store.get::<PositionRow>(&transport.tag())?.map(|PositionRow(number, index)| (number, index));
            positions.push((transport.tag(), position));
        }
        let is_kept = !transports.is_empty();
        let inner = Inner {
            store,
            vault,
            producer,
            transports: Mutex::new(transports),
            positions: tokio::sync::Mutex::new(positions),
            is_kept,
            order: AtomicU32::new(0),
            arrived: Notify::new(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        };
        let outbox = Outbox { inner: Arc::new(inner) };
        outbox.count_waiting()?;
        Ok(outbox)
    }

    /// Who tells.
    pub fn producer(&self) -> &Producer {
        &self.inner.producer
    }

    /// Whether anybody is told. If not, nothing needs to be gathered.
    pub fn is_kept(&self) -> bool {
        self.inner.is_kept
    }

    /// Adds an event to the unit that makes true what it tells. An act never fails because it cannot be told: an event that cannot be
    /// kept is logged and counted.
    pub fn put(&self, unit: &mut Unit, tenant: (&TenantId, u32), run: [u8; 16], event: RunEvent) {
        self.keep(unit, tenant, true, run, event);
    }

    /// As [`Outbox::put`], for an event about an erasure: it is told although the tenant's key is destroyed meanwhile.
    pub fn put_of_erasure(&self, unit: &mut Unit, tenant: (&TenantId, u32), erasure: [u8; 16], event: RunEvent) {
        self.keep(unit, tenant, false, erasure, event);
    }

    fn keep(&self, unit: &mut Unit, tenant: (&TenantId, u32), is_sealed: bool, run: [u8; 16], event: RunEvent) {
        let inner = &self.inner;
        if !inner.is_kept {
            return;
        }
        let metrics = inner.store.metrics();
        let event_type = event.event_type;
        let row =
            if metrics.openlineage_waiting.get() < WAITING_MAX { self.row(tenant, is_sealed, (run, event_type), event) } else { None };
        let Some(row) = row else {
            metrics.openlineage_lost.inc();
            tracing::warn!(run = %uuid::Uuid::from_bytes(run), event = event_type.as_str(), "an OpenLineage event is not kept: too many wait, or it cannot be sealed");
            return;
        };
        let index = inner.order.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let arrived = self.clone();
        unit.put_numbered(move |number| {
            arrived.inner.store.metrics().openlineage_waiting.inc();
            arrived.inner.arrived.notify_waiters();
            ((number, index), row)
        });
    }

    fn row(&self, (tenant, number): (&TenantId, u32), is_sealed: bool, told: ([u8; 16], EventType), event: RunEvent) -> Option<EventRow> {
        let compressed = compressed(&event).or_else(|| compressed(&event.without_large_facets()))?;
        if !is_sealed {
            return Some(EventRow::open(tenant, told, compressed));
        }
        let keys = self.inner.vault.tenant_keys(number).ok()?;
        EventRow::sealed(tenant, number, &keys, told, &compressed).ok()
    }

    /// Begins to tell what waits, in the background. What waits for transports that are no longer configured is forgotten.
    pub fn start(&self) {
        let outbox = self.clone();
        self.inner.tasks.spawn(async move {
            if let Err(error) = outbox.forget_unwanted().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what waits for transports that are gone is forgotten at the next start"
                );
            }
        });
        let transports = std::mem::take(&mut *self.inner.transports.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for transport in transports {
            let outbox = self.clone();
            self.inner.tasks.spawn(async move { outbox.tell(transport).await });
        }
    }

    /// Tells what waits, as far as that takes no waiting, and ends.
    pub async fn close(&self) {
        self.inner.end.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Removes positions of transports that are not configured, and every event when nobody is told.
    async fn forget_unwanted(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let wanted: Vec<u8> = inner.positions.lock().await.iter().map(|(tag, _)| *tag).collect();
        let mut unit = Unit::default();
        let known = inner.store.scan::<PositionRow>(&[], None, usize::MAX)?;
        let unwanted: Vec<u8> = known.into_iter().map(|(tag, _)| tag).filter(|tag| !wanted.contains(tag)).collect();
        let mut is_changed = !unwanted.is_empty();
        for tag in &unwanted {
            unit.remove::<PositionRow>(tag);
        }
        loop {
            let rows = if inner.is_kept { Vec::new() } else { inner.store.scan::<EventRow>(&[], None, STEP)? };
            for (key, _) in &rows {
                unit.remove::<EventRow>(key);
            }
            is_changed |= !rows.is_empty();
            if std::mem::take(&mut is_changed) {
                inner.store.commit(std::mem::take(&mut unit)).await?;
            }
            inner.store.metrics().openlineage_waiting.dec_by(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            if rows.len() < STEP {
                return Ok(());
            }
        }
    }

    fn count_waiting(&self) -> Result<(), OutboxError> {
        let (mut waiting, mut after) = (0, None);
        loop {
            let rows = self.inner.store.scan::<EventRow>(&[], after.as_ref(), STEP)?;
            waiting += rows.len();
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
        }
        self.inner.store.metrics().openlineage_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        Ok(())
    }

    fn count(&self, transport: &'static str, outcome: &'static str, number: usize) {
        let labels = TransportLabels { transport, outcome };
        self.inner.store.metrics().openlineage_events.get_or_create(&labels).inc_by(number as u64);
    }
}

/// An event as it is kept; nothing when it is too long.
fn compressed(event: &RunEvent) -> Option<Vec<u8>> {
    let json = event.to_json().ok().filter(|json| json.len() <= row::EVENT_BYTES_MAX)?;
    zstd::bulk::compress(&json, COMPRESSION).ok().filter(|compressed| compressed.len() <= KEPT_BYTES_MAX)
}
