//! The writer: one thread that applies units in order, in groups that share one fdatasync.
//!
//! For a group: blocks are written and their files synced; then, unit by unit, the fences it names are held, its
//! expectations compared and its rows applied as one batch; then the engine's log is flushed *and* synced (sled's own
//! flush issues no fsync on Linux, SLED.md); then all are answered. A unit that does not pass writes no row.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ids::ConnectionKey;
use crate::merkle;
use crate::merkle::Frontier;
use crate::merkle::Hash;
use crate::merkle::NodeId;
use crate::store::Row;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::anchor::UnitsRow;
use crate::store::disk::Disk;
use crate::store::engine::Engine;
use crate::store::fence;
use crate::store::fence::Cell;
use crate::store::fence::Epoch;
use crate::store::fence::Fences;
use crate::store::fence::GateState;
use crate::store::row;
use crate::store::segment::Segments;
use crate::store::unit::Committed;
use crate::store::unit::Unit;
use crate::store::watch::Call;
use crate::store::watch::Watch;
use crate::telemetry::metrics::Metrics;

/// Units of one group at most: what waits behind a group waits no longer than its sync.
const GROUP_UNITS_MAX: usize = 64;

/// While a copy is behind, the writer waits this many times as long as a group took,
const GIVE_WAY_TIMES: u32 = 4;
/// and no longer than this, so that whoever stops something is answered soon.
const GIVE_WAY_MAX: Duration = Duration::from_millis(250);

/// What the writer is asked for.
#[allow(clippy::large_enum_variant, reason = "nearly every job is a unit: a box for each would cost more than the bytes")]
pub(super) enum Job {
    /// To write a unit.
    Write(Write),
    /// To do something while nothing is written. When it fails, nothing can be promised any more.
    Pause(Box<dyn FnOnce() -> Result<(), StoreError> + Send>),
}

/// A unit, and who waits for it.
pub(super) struct Write {
    pub unit: Unit,
    pub reply: oneshot::Sender<Result<Committed, StoreError>>,
}

/// Size and root of the audit log; also its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Number of leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

impl Row for AuditHead {
    const TABLE: Table = Table::AuditHead;
    type Key = ();
}

/// The bytes of a leaf, by index.
#[derive(Serialize, Deserialize)]
pub struct AuditLeaf(pub Vec<u8>);

impl Row for AuditLeaf {
    const TABLE: Table = Table::AuditLeaves;
    type Key = u64;
}

/// The hash of a complete subtree, by level (0 = leaves) and index within the level.
#[derive(Serialize, Deserialize)]
pub struct AuditNode(pub Hash);

impl Row for AuditNode {
    const TABLE: Table = Table::AuditNodes;
    type Key = (u8, u64);
}

pub(super) struct Writer {
    engine: Arc<Engine>,
    fences: Arc<Fences>,
    segments: Arc<Segments>,
    tree: Frontier,
    /// The number of the last unit that was applied.
    units: u64,
    metrics: Arc<Metrics>,
    progress: Progress,
    watch: Arc<Watch>,
    disk: Arc<Disk>,
}

/// How far the writer is, by the numbers of units.
pub(super) struct Progress {
    /// The last that readers can see.
    pub applied: Arc<AtomicU64>,
    /// The last that readers can see and that brought more than entries of the audit log.
    pub rows_applied: Arc<AtomicU64>,
    /// Where the last durable one is told.
    pub durable: tokio::sync::watch::Sender<u64>,
}

impl Writer {
    pub fn new(
        engine: Arc<Engine>,
        fences: Arc<Fences>,
        segments: Arc<Segments>,
        metrics: Arc<Metrics>,
        progress: Progress,
        (watch, disk): (Arc<Watch>, Arc<Disk>),
    ) -> Result<Self, StoreError> {
        let tree = load(&engine)?;
        let units = units(&engine)?;
        Ok(Writer { engine, fences, segments, tree, units, metrics, progress, watch, disk })
    }

    /// Serves jobs until every sender is gone, or a sync has failed: after that nothing can be promised any more.
    pub fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(GROUP_UNITS_MAX);
        while let Some(job) = queue.blocking_recv() {
            let mut pause = None;
            let mut next = Some(job);
            while let Some(job) = next {
                match job {
                    Job::Write(write) => group.push(write),
                    Job::Pause(act) => pause = Some(act),
                }
                // What waits behind a pause waits for it.
                next = if pause.is_none() && group.len() < GROUP_UNITS_MAX { queue.try_recv().ok() } else { None };
            }
            self.metrics.store_queue.set(queue.len() as i64);
            let began = Instant::now();
            let done = self.serve_counted(&mut group).and_then(|()| pause.map_or(Ok(()), |act| act()));
            if let Err(error) = done {
                tracing::error!(error = &error as &dyn std::error::Error, "the store can no longer make writes durable; it stops");
                return;
            }
            self.engine.give_way((began.elapsed() * GIVE_WAY_TIMES).min(GIVE_WAY_MAX));
        }
    }

    fn serve_counted(&mut self, group: &mut Vec<Write>) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let (began, units, leaves) = (Instant::now(), group.len(), self.tree.size());
        self.tell_unsynced(Some(began));
        let served = self.serve(group);
        self.tell_unsynced(None);
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics.commit_units.observe(units as f64);
        self.metrics.audit_entries.inc_by(self.tree.size() - leaves);
        served
    }

    fn serve(&mut self, group: &mut Vec<Write>) -> Result<(), StoreError> {
        let watch = self.watch.clone();
        let _call = watch.call(Call::Group)?;
        let mut touched = HashMap::new();
        let jobs: Vec<(Write, Result<(), StoreError>)> = group
            .drain(..)
            .map(|job| {
                let written = self.write_blocks(&job.unit, &mut touched);
                (job, written)
            })
            .collect();
        let synced = self.segments.sync(&touched);
        let mut applied = Vec::with_capacity(jobs.len());
        for (job, written) in jobs {
            let Write { unit, reply } = job;
            let outcome = written.and_then(|()| synced.as_ref().map_err(StoreError::again).copied()).and_then(|()| self.apply(unit));
            applied.push((reply, outcome));
        }
        let began = Instant::now();
        let durable = self.engine.sync();
        self.metrics.synced(began.elapsed());
        if durable.is_ok() {
            self.engine.anchor(self.units);
            self.progress.durable.send_replace(self.progress.applied.load(Ordering::SeqCst));
        }
        for (reply, outcome) in applied {
            let outcome = outcome.and_then(|committed| durable.as_ref().map(|()| committed).map_err(StoreError::again));
            // A caller that has gone away needs no answer; its unit stands.
            let _ = reply.send(outcome);
        }
        durable
    }

    fn tell_unsynced(&self, since: Option<Instant>) {
        *self.metrics.unsynced_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// A unit whose gate is closed already leaves no bytes behind, not even sealed ones.
    fn write_blocks(&self, unit: &Unit, touched: &mut HashMap<(ConnectionKey, u32), Arc<File>>) -> Result<(), StoreError> {
        for (owner, epoch) in &unit.fences {
            if self.fences.state(*owner)? != (GateState { epoch: *epoch, open: true }) {
                return Err(StoreError::GateClosed { owner: *owner });
            }
        }
        if !unit.blocks.is_empty() {
            self.disk.takes(unit.blocks.iter().map(|blocks| blocks.sealed.as_bytes().len() as u64).sum())?;
        }
        unit.blocks.iter().try_for_each(|blocks| self.segments.write(blocks, touched))
    }

    fn apply(&mut self, unit: Unit) -> Result<Committed, StoreError> {
        for (key, expected) in &unit.expectations {
            let present = self.engine.get(key)?;
            if present.as_deref() != expected.as_deref() {
                return Err(StoreError::Conflict { table: StoreError::unknown(key.first().copied().and_then(Table::of_tag)) });
            }
        }
        let cells = self.cells(&unit)?;
        let mut held: Vec<MutexGuard<'_, GateState>> = Vec::with_capacity(cells.len());
        for (_, cell) in &cells {
            held.push(fence::lock(cell));
        }
        for ((requirement, _), state) in cells.iter().zip(&held) {
            requirement.check(state)?;
        }
        let brings_rows = !(unit.rows.is_empty() && unit.follows.is_empty() && unit.numbered.is_empty() && unit.openings.is_empty());
        let mut rows = unit.rows;
        let mut tree = self.tree.clone();
        let first_leaf = append(&mut tree, &unit.leaves, &mut rows);
        for (leaf, follow) in unit.follows {
            rows.extend(follow(first_leaf + leaf as u64));
        }
        let numbered = unit.numbered.into_iter().filter_map(|make| make(self.units + 1));
        rows.extend(numbered.map(|(key, value)| (key, Some(value))));
        for (owner, epoch) in &unit.openings {
            let row = GateState { epoch: *epoch, open: true };
            rows.push((row::key_bytes::<GateState>(owner), Some(row::value_bytes(&row)?)));
        }
        let writes = !rows.is_empty();
        if writes {
            put(&mut rows, &(), &UnitsRow(self.units + 1));
        }
        // Counted before it can be read, so that nobody reads what is not counted.
        let number = self.progress.applied.fetch_add(1, Ordering::SeqCst) + 1;
        if brings_rows {
            self.progress.rows_applied.store(number, Ordering::SeqCst);
        }
        self.engine.apply(&rows)?;
        self.tree = tree;
        self.units += u64::from(writes);
        for ((requirement, _), state) in cells.iter().zip(&mut held) {
            requirement.settle(state);
        }
        Ok(Committed { first_leaf })
    }

    /// The gates of a unit, each once and in one order.
    fn cells(&self, unit: &Unit) -> Result<Vec<(Requirement, Cell)>, StoreError> {
        let open = unit.fences.iter().map(|(owner, epoch)| Requirement { owner: *owner, epoch: *epoch, opens: false });
        let opens = unit.openings.iter().map(|(owner, epoch)| Requirement { owner: *owner, epoch: *epoch, opens: true });
        let mut requirements: Vec<Requirement> = open.chain(opens).collect();
        requirements.sort_by_key(|requirement| requirement.owner);
        requirements.dedup_by_key(|requirement| requirement.owner);
        requirements.into_iter().map(|requirement| self.fences.cell(requirement.owner).map(|cell| (requirement, cell))).collect()
    }
}

#[derive(Clone, Copy)]
struct Requirement {
    owner: ConnectionKey,
    epoch: Epoch,
    opens: bool,
}

impl Requirement {
    fn check(&self, state: &GateState) -> Result<(), StoreError> {
        let holds = if self.opens { self.epoch > state.epoch && !state.open } else { state.open && state.epoch == self.epoch };
        if holds { Ok(()) } else { Err(StoreError::GateClosed { owner: self.owner }) }
    }

    fn settle(&self, state: &mut GateState) {
        if self.opens {
            *state = GateState { epoch: self.epoch, open: true };
        }
    }
}

/// The log's right edge, as its rows tell it.
fn load(engine: &Engine) -> Result<Frontier, StoreError> {
    let head = engine.get(&row::key_bytes::<AuditHead>(&()))?;
    let size = head.map(|value| row::decode::<AuditHead>(&value)).transpose()?.map_or(0, |head| head.size);
    Frontier::load(size, &mut |node: NodeId| {
        let value = engine.get(&row::key_bytes::<AuditNode>(&(node.level, node.index)))?;
        let value = value.ok_or(StoreError::Malformed { table: Table::AuditNodes.name() })?;
        Ok(row::decode::<AuditNode>(&value)?.0)
    })
}

/// The number of the last unit, which must not be behind the one that was made durable last.
fn units(engine: &Engine) -> Result<u64, StoreError> {
    let row = engine.get(&row::key_bytes::<UnitsRow>(&()))?;
    let has = row.map(|value| row::decode::<UnitsRow>(&value)).transpose()?.map_or(0, |row| row.0);
    match engine.anchored().filter(|had| *had > has) {
        Some(had) => Err(StoreError::RolledBack { path: engine.path().into(), has, had }),
        None => Ok(has),
    }
}

/// Adds leaves, the nodes that are complete with them and the new head to the rows; the index of the first leaf.
fn append(tree: &mut Frontier, leaves: &[Vec<u8>], rows: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) -> u64 {
    let first = tree.size();
    for leaf in leaves {
        put(rows, &tree.size(), &AuditLeaf(leaf.clone()));
        for (node, hash) in tree.push(merkle::leaf_hash(leaf)) {
            put(rows, &(node.level, node.index), &AuditNode(hash));
        }
    }
    if !leaves.is_empty() {
        put(rows, &(), &AuditHead { size: tree.size(), root: tree.root() });
    }
    first
}

/// Rows of plain numbers and hashes always serialise.
fn put<R: Row>(rows: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>, key: &R::Key, row: &R) {
    if let Ok(value) = row::value_bytes(row) {
        rows.push((row::key_bytes::<R>(key), Some(value)));
    }
}
