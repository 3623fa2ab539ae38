//! Pulls: which streams are read now, by whom, and how it went; and the schedule.
//!
//! A pull reads the streams of one connection, each as one run, under one permit. There is at most one pull of a
//! connection at a time. `run` and `revocation` meet only at the gate: a revocation does not know that there are runs, and
//! a run learns of it by its permit.

mod row;
mod schedule;
mod source;
mod stream;
mod telling;
mod whole;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Action;
use crate::audit::Actor;
use crate::authorization::AuthorizationError;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::Active;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::connection::DefinitionError;
use crate::connection::credential::CredentialError;
use crate::connection::gate::GateClosed;
use crate::connection::schedule::Schedule;
use crate::connector::reading::Compat;
use crate::fetch::FetchError;
use crate::fetch::grants::GrantsError;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::ids::PullId;
use crate::ids::RunId;
use crate::intake::Intake;
use crate::intake::IntakeError;
use crate::lineage::PullRow;
use crate::lineage::RunIdRow;
use crate::lineage::RunRow;
use crate::lineage::RunState;
use crate::outbox::Outbox;
use crate::store::StopReason;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::telemetry;
use crate::telemetry::activity::Counts;

pub use self::row::RunUnderWayRow;
pub use self::schedule::Scheduler;
pub use self::source::Sources;

use self::telling::Telling;

/// How a scrub reads runs under way back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<RunUnderWayRow>()]
}

/// Streams of one pull that are read at the same time.
const STREAMS_AT_ONCE: usize = 2;
/// How long a graceful end waits for pulls that were told to stop.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a pull did not start, or a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such run.
    #[error("there is no run {id}")]
    Unknown {
        /// What was asked for.
        id: RunId,
    },
    /// The connection does not fetch.
    #[error("connection {connection} is {state}; only an active one is pulled")]
    NotActive {
        /// Which.
        connection: ConnectionId,
        /// Its state.
        state: &'static str,
    },
    /// The gate was closed after the connection's state was read.
    #[error("the connection was stopped")]
    Closed(#[from] GateClosed),
    /// A pull of the connection is under way.
    #[error("pull {pull} of connection {connection} is under way; wait for it, or look at it with /v1/runs?pull={pull}")]
    UnderWay {
        /// Which.
        connection: ConnectionId,
        /// The other pull.
        pull: PullId,
    },
    /// A stream that the consent does not name.
    #[error("stream `{stream}` is not one of connection {connection}; it has {streams}")]
    UnknownStream {
        /// Which.
        connection: ConnectionId,
        /// What was asked for.
        stream: String,
        /// What there is.
        streams: String,
    },
    /// The application asked for patience.
    #[error("the application of connection {connection} asked to wait until {until}; pull again after that")]
    NotBefore {
        /// Which.
        connection: ConnectionId,
        /// Until when.
        until: Timestamp,
    },
    /// The process is ending.
    #[error("the gateway is stopping and starts no further pull")]
    Stopping,
    /// The connection could not be read or moved.
    #[error("the connection is not to be had")]
    Connection(#[from] ConnectionError),
    /// The connector could not be read.
    #[error("the connector is not to be had")]
    Definition(#[from] DefinitionError),
    /// The credential could not be read.
    #[error("the credential is not to be had")]
    Credential(#[from] CredentialError),
    /// The application's endpoints or hosts cannot be used.
    #[error("the application cannot be asked")]
    Grants(#[from] GrantsError),
    /// The application could not be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A page could not be taken in.
    #[error("a page was not taken in")]
    Intake(#[from] IntakeError),
    /// The store failed.
    #[error("the run is not recorded")]
    Store(#[from] StoreError),
}

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOrder {
    /// These streams alone; none: every stream of the connection.
    pub streams: Vec<String>,
    /// Reads everything again, whatever the saved state says.
    pub full: bool,
    /// How faithful to the reference engine.
    pub compat: Compat,
    /// When the schedule wanted it, if that orders it.
    pub due: Option<Timestamp>,
}

/// A pull that has started: its runs as they stand.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Its id.
    pub pull: PullId,
    /// One a stream.
    pub runs: Vec<RunRow>,
}

/// A run with the connection it belongs to.
#[derive(Debug, Clone)]
pub struct KnownRun {
    /// The connection.
    pub connection: Connection,
    /// The run.
    pub run: RunRow,
}

/// All pulls. Clones share them.
#[derive(Clone)]
pub struct Pulls {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    connections: Connections,
    intake: Intake,
    sources: Sources,
    outbox: Outbox,
    clock: Clock,
    entropy: Entropy,
    under_way: Mutex<HashMap<ConnectionKey, Place>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// One pull on its way through its streams.
struct Course {
    connection: Arc<Connection<Active>>,
    order: PullOrder,
    pull: PullId,
    runs: Vec<RunRow>,
    telling: Option<Arc<Telling>>,
}

impl Pulls {
    /// What happened to a connection since the process began; nothing when it was not pulled since.
    pub fn activity(&self, owner: ConnectionKey) -> Option<Counts> {
        self.inner.sources.activity_of(owner).map(|activity| activity.counts())
    }

    /// Over the connections of a store.
    pub fn new(
        store: Store,
        connections: Connections,
        intake: Intake,
        sources: Sources,
        outbox: Outbox,
        ambient: (Clock, Entropy),
    ) -> Self {
        let (clock, entropy) = ambient;
        let inner = Inner {
            store,
            connections,
            intake,
            sources,
            outbox,
            clock,
            entropy,
            under_way: Mutex::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        };
        Pulls { inner: Arc::new(inner) }
    }

    /// Starts a pull; it goes on by itself, and its runs tell how it goes.
    ///
    /// # Errors
    /// When the connection is not active, a pull of it is under way, or the application asked for patience.
    pub async fn start(&self, id: ConnectionId, order: PullOrder, actor: Actor) -> Result<Pull, RunError> {
        let inner = &self.inner;
        if inner.stopping.is_cancelled() {
            return Err(RunError::Stopping);
        }
        let connection = inner.connections.find(id)?;
        self.settled(connection.key).await?;
        let connection = inner.connections.find(id)?;
        let state = connection.state.name();
        let active = Arc::new(connection.active().map_err(|_| RunError::NotActive { connection: id, state })?);
        let streams = chosen(&active, &order.streams)?;
        if let Some(until) = inner.connections.schedule(active.key)?.and_then(|schedule| schedule.patience(inner.clock.now())) {
            return Err(RunError::NotBefore { connection: id, until });
        }
        let now = inner.clock.now();
        let pull = PullId::new(now, &inner.entropy);
        let claim = self.claim(&active, pull)?;
        let credential = inner.connections.credentials().generation(active.key)?.unwrap_or_default();
        let started = |stream| row::started(pull, stream, credential, now, &inner.entropy);
        let mut runs: Vec<RunRow> = streams.into_iter().map(started).collect();
        let mut unit = Unit::default();
        for run in &runs {
            let run_id = run.id.to_bytes();
            unit.put(&(active.key, run_id), run).put(&run_id, &RunIdRow(active.key));
            unit.put(&(pull.to_bytes(), run_id), &PullRow(active.key)).put(&run_id, &RunUnderWayRow(active.key));
        }
        let telling = self.telling(&active);
        if let Some(telling) = &telling {
            self.tell_began(&mut unit, telling, &active, &runs, (order.full, order.due));
        }
        let mut entry = crate::connection::entry(Action::PullStarted, &actor, &active, now);
        entry.object = Some(pull.to_string());
        let mut unsealed = crate::connection::entry(Action::CredentialUnsealed, &actor, &active, now);
        unsealed.object = Some(pull.to_string());
        unsealed.count = Some(credential);
        unit.audit(entry.to_leaf()).audit(unsealed.to_leaf());
        // The pull's start is the unit's first leaf, the unsealing its second: every page of the runs names that.
        let unsealed = inner.store.commit(unit).await?.first_leaf + 1;
        runs.iter_mut().for_each(|run| run.entry = Some(unsealed));
        let course = Course { connection: active, order, pull, runs: runs.clone(), telling };
        let pulls = self.clone();
        inner.tasks.spawn(async move {
            pulls.course(course).await;
            drop(claim);
        });
        Ok(Pull { pull, runs })
    }

    /// Waits for a pull whose runs have all ended and that is still being settled: who has seen them end may pull again.
    async fn settled(&self, owner: ConnectionKey) -> Result<(), RunError> {
        let place = self.inner.under_way.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
        let Some(Place { pull, ended }) = place else { return Ok(()) };
        let runs = self.list(RunsOf::Pull(pull), None, usize::MAX)?;
        if !runs.is_empty() && runs.iter().all(|known| known.run.state != RunState::Running) {
            ended.cancelled().await;
        }
        Ok(())
    }

    /// At most one pull of a connection at a time.
    fn claim(&self, connection: &Connection<Active>, pull: PullId) -> Result<Claim, RunError> {
        let mut under_way = self.inner.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.get(&connection.key) {
            Some(other) => Err(RunError::UnderWay { connection: connection.id, pull: other.pull }),
            None => {
                let place = Place { pull, ended: CancellationToken::new() };
                under_way.insert(connection.key, place);
                self.inner.sources.metrics.pulls_running.inc();
                Ok(Claim { inner: self.inner.clone(), owner: connection.key })
            }
        }
    }

    /// Reads the streams of a pull, a few at once, and settles the schedule by how it went.
    async fn course(&self, course: Course) {
        let Course { connection, order, pull, runs, telling } = course;
        let permit = connection.permit(self.inner.connections.gates());
        // Held until the last stream is read, so that streams which are read one after another share it too.
        let _shared = permit.as_ref().ok().map(|permit| self.inner.sources.grants.sessions(permit));
        let (mut failures, order) = (Vec::new(), Arc::new(order));
        let mut readings = runs.into_iter().map(|run| {
            let (pulls, connection, permit) = (self.clone(), connection.clone(), permit.clone());
            let (order, telling) = (order.clone(), telling.clone());
            async move { pulls.read(connection, permit, run, (&order, telling.as_deref())).await }
        });
        let mut group = JoinSet::new();
        readings.by_ref().take(STREAMS_AT_ONCE).for_each(|reading| drop(group.spawn(reading)));
        while let Some(outcome) = group.join_next().await {
            match outcome {
                Ok(read) => failures.extend(read.err()),
                Err(error) => tracing::error!(pull = %pull, %error, "a run ended by a panic; it reads as interrupted after the next start"),
            }
            readings.next().into_iter().for_each(|reading| drop(group.spawn(reading)));
        }
        // What an old credential came to says nothing of one that has taken its place.
        let is_current = permit.is_ok_and(|permit| !permit.is_cancelled());
        let settled = if is_current { self.settle(&connection, &failures).await } else { Ok(()) };
        if let Err(error) = settled {
            tracing::error!(pull = %pull, connection = %connection.id, error = &error as &dyn std::error::Error, "how a pull went is not kept for the schedule");
        }
    }

    /// What a pull's outcome means for the connection: its back-off, its `not_before`, or that it needs the customer.
    async fn settle(&self, connection: &Connection<Active>, failures: &[RunError]) -> Result<(), RunError> {
        if let Some(refusal) = needs_reauthorization(failures, connection.streams.len()) {
            return self.suspend(connection, refusal).await;
        }
        let not_before = failures.iter().filter_map(RunError::not_before).max();
        let failed = failures.iter().any(|failure| !failure.is_stop());
        let (connections, now) = (&self.inner.connections, self.inner.clock.now());
        schedule::settle(connections, &self.inner.store, connection.key, now, failed, not_before).await
    }

    /// Closes the gate of a connection that needs its customer.
    async fn suspend(&self, connection: &Connection<Active>, refusal: &FetchError) -> Result<(), RunError> {
        let why = told(refusal, connection);
        let next = |active: Connection<Active>, at| active.needs_reauthorization(at, why.clone()).into();
        loop {
            match self.inner.connections.suspend(connection.id, StopReason::NeedsReauthorization, Actor::System, &next).await {
                // Stopped by someone else meanwhile: that stands.
                Ok(_) | Err(ConnectionError::State { .. }) => return Ok(()),
                // Another stream of the pull was refused at the same moment: looked at anew, it is stopped already.
                Err(ConnectionError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A run, with its connection.
    ///
    /// # Errors
    /// [`RunError::Unknown`].
    pub fn find(&self, id: RunId) -> Result<KnownRun, RunError> {
        let unknown = RunError::Unknown { id };
        let Some(RunIdRow(owner)) = self.inner.store.get::<RunIdRow>(&id.to_bytes())? else { return Err(unknown) };
        self.known(owner, id)?.ok_or(unknown)
    }

    fn known(&self, owner: ConnectionKey, id: RunId) -> Result<Option<KnownRun>, RunError> {
        let run = self.inner.store.get::<RunRow>(&(owner, id.to_bytes()))?;
        let connection = self.inner.connections.by_key(owner)?;
        Ok(connection.zip(run).map(|(connection, run)| KnownRun { connection, run }))
    }

    /// At most `limit` runs behind `before`, newest first: of one connection, of one pull, or of all.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self, of: RunsOf, before: Option<RunId>, limit: usize) -> Result<Vec<KnownRun>, RunError> {
        let store = &self.inner.store;
        let found: Vec<(ConnectionKey, RunId)> = match of {
            RunsOf::Connection(owner) => {
                let before = before.map(|id| (owner, id.to_bytes()));
                let rows = store.scan_back::<RunRow>(&owner.to_bytes(), before.as_ref(), limit)?;
                rows.into_iter().map(|((owner, id), _)| (owner, RunId::from_bytes(id))).collect()
            }
            RunsOf::Pull(pull) => {
                let before = before.map(|id| (pull.to_bytes(), id.to_bytes()));
                let rows = store.scan_back::<PullRow>(&pull.to_bytes(), before.as_ref(), limit)?;
                rows.into_iter().map(|((_, id), row)| (row.0, RunId::from_bytes(id))).collect()
            }
            RunsOf::All => {
                let rows = store.scan_back::<RunIdRow>(&[], before.map(RunId::to_bytes).as_ref(), limit)?;
                rows.into_iter().map(|(id, row)| (row.0, RunId::from_bytes(id))).collect()
            }
        };
        found.into_iter().filter_map(|(owner, id)| self.known(owner, id).transpose()).collect()
    }

    /// Whether a pull of the connection is under way.
    pub fn is_under_way(&self, owner: ConnectionKey) -> bool {
        self.inner.under_way.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&owner)
    }

    /// Marks as failed what a crash interrupted. Called at start, before anything is pulled.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self) -> Result<(), RunError> {
        let store = &self.inner.store;
        let now = self.inner.clock.now();
        let mut unit = Unit::default();
        for (id, RunUnderWayRow(owner)) in store.scan::<RunUnderWayRow>(&[], None, usize::MAX)? {
            if let Some(mut run) = store.get::<RunRow>(&(owner, id))? {
                run.state = RunState::Failed;
                run.error = Some("interrupted".into());
                run.ended_at = Some(now);
                unit.put(&(owner, id), &run);
                let connection = self.inner.connections.by_key(owner)?;
                if let Some((connection, telling)) = connection.and_then(|found| self.telling(&found).map(|telling| (found, telling))) {
                    self.tell_ended(&mut unit, &telling, &run, connection.stream_number(&run.stream), None).await;
                }
            }
            unit.remove::<RunUnderWayRow>(&id);
        }
        store.commit(unit).await?;
        Ok(())
    }

    /// Starts no further pull, ends those under way at their next page, and waits for them.
    pub async fn close(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(STOP_WAIT_MAX, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!("pulls are still under way after {STOP_WAIT_MAX:?}; what they had reported is durable");
        }
    }
}

/// Which runs a list holds.
#[derive(Debug, Clone, Copy)]
pub enum RunsOf {
    /// Of one connection.
    Connection(ConnectionKey),
    /// Of one pull.
    Pull(PullId),
    /// All.
    All,
}

/// A pull under way.
#[derive(Clone)]
struct Place {
    pull: PullId,
    /// Cancelled when the pull has ended and is settled.
    ended: CancellationToken,
}

/// The place of a pull among those under way; free again when dropped.
struct Claim {
    inner: Arc<Inner>,
    owner: ConnectionKey,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(place) = self.inner.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.owner) {
            place.ended.cancel();
        }
        self.inner.sources.metrics.pulls_running.dec();
    }
}

impl RunError {
    /// What the application said, when it refuses the credential itself.
    fn refusal(&self) -> Option<&FetchError> {
        match self {
            RunError::Fetch(error) if error.needs_reauthorization() => Some(error),
            _ => None,
        }
    }

    /// Until when the application wants to be left alone.
    pub fn not_before(&self) -> Option<Timestamp> {
        match self {
            RunError::Fetch(error) => error.not_before(),
            _ => None,
        }
    }

    /// The named limit that ended it, if it was one.
    fn limit(&self) -> Option<&'static str> {
        match self {
            RunError::Fetch(error) => error.limit(),
            _ => None,
        }
    }

    /// Whether the run was stopped rather than failed.
    fn is_stop(&self) -> bool {
        matches!(
            self,
            RunError::Closed(_)
                | RunError::Stopping
                | RunError::Fetch(FetchError::Closed { .. } | FetchError::Authorization { source: AuthorizationError::Closed { .. } })
                | RunError::Intake(IntakeError::Store(StoreError::GateClosed { .. }))
        )
    }
}

/// What the application said, when only the customer can help: a credential that it refuses, or an account that it forbids
/// as a whole: every one of its `streams`. One stream that is forbidden is a missing permission, not a lost connection.
fn needs_reauthorization(failures: &[RunError], streams: usize) -> Option<&FetchError> {
    let fetches = || failures.iter().filter_map(|failure| if let RunError::Fetch(error) = failure { Some(error) } else { None });
    let refused = fetches().find(|error| error.needs_reauthorization());
    let forbidden = || fetches().filter(|error| error.is_forbidden()).count() == streams;
    refused.or_else(|| fetches().next().filter(|_| forbidden()))
}

/// An error with its causes, as it is kept and shown: what lies below knows a connection by the numbers of its storage key,
/// and outside it has its id.
fn told(error: &dyn std::error::Error, connection: &Connection<Active>) -> String {
    let (number, id) = (format!("connection {}", connection.key), format!("connection {}", connection.id));
    telemetry::chain(error).replace(&number, &id)
}

/// The streams of a pull, in the order of the consent.
fn chosen(connection: &Connection<Active>, wanted: &[String]) -> Result<Vec<String>, RunError> {
    if let Some(stream) = wanted.iter().find(|stream| !connection.streams.contains(stream)) {
        let streams = connection.streams.join(", ");
        return Err(RunError::UnknownStream { connection: connection.id, stream: crate::ids::cut(stream), streams });
    }
    let is_wanted = |stream: &&String| wanted.is_empty() || wanted.contains(stream);
    Ok(connection.streams.iter().filter(is_wanted).cloned().collect())
}

/// The schedule row with which a connection begins, so that [`Schedule`] stays private to those who know it.
pub(crate) fn unscheduled(now: Timestamp) -> Schedule {
    Schedule { every_seconds: None, due: now, not_before: None, failures: 0 }
}
