//! The schedule: connections pull by themselves, each at its interval, with jitter, back-off and what applications ask for.
//!
//! One task holds the times of all scheduled connections in a heap: a connection that waits costs its entry there. Times
//! are kept in the store, so that a restart neither forgets a wait nor pulls everything at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::audit::Actor;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::connection::State;
use crate::connection::schedule::Schedule;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::run::PullOrder;
use crate::run::Pulls;
use crate::run::RunError;
use crate::store::Store;
use crate::store::Unit;

/// The longest sleep of the scheduler: a clock that is moved is noticed within this time.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Pulls that the scheduler starts at once at most; the rest is due at the next turn.
const STARTS_PER_TURN: usize = 16;
/// Schedules read from the store in one step.
const LOAD_STEP: usize = 1000;
/// Jitter is up to this part of the interval, so that connections made together do not pull together for ever.
const JITTER_PART: u64 = 10;

/// Starts pulls when they are due.
#[derive(Clone)]
pub struct Scheduler {
    pulls: Pulls,
    store: Store,
    connections: Connections,
    clock: Clock,
    entropy: Entropy,
    changed: Arc<Notify>,
}

impl Scheduler {
    /// Over the pulls of a gateway.
    pub fn new(pulls: Pulls, store: Store, connections: Connections, clock: Clock, entropy: Entropy) -> Self {
        Scheduler { pulls, store, connections, clock, entropy, changed: Arc::default() }
    }

    /// Says that a schedule was set, changed or ended.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Runs until it is told to end.
    pub async fn run(&self, end: CancellationToken) {
        let mut due = BinaryHeap::new();
        let (mut reload, mut latest) = (true, self.clock.now());
        loop {
            // A clock that is set back leaves times in the heap that it would not come to for as long as it was wrong.
            let now = self.clock.now();
            reload |= now < latest;
            latest = now;
            if reload {
                match self.load() {
                    Ok(loaded) => (due, reload) = (loaded, false),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "the schedules cannot be read; it is tried again")
                    }
                }
            }
            for _ in 0..STARTS_PER_TURN {
                let Some(Reverse((at, owner))) = due.peek().copied() else { break };
                if at > self.clock.now() {
                    break;
                }
                due.pop();
                if let Some(next) = self.start(owner).await {
                    due.push(Reverse((next, owner)));
                }
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = self.changed.notified() => reload = true,
                () = tokio::time::sleep(SLEEP_MAX) => {}
            }
        }
    }

    fn load(&self) -> Result<BinaryHeap<Reverse<(Timestamp, ConnectionKey)>>, RunError> {
        let (mut due, mut after) = (BinaryHeap::new(), None);
        loop {
            let rows = self.store.scan::<Schedule>(&[], after.as_ref(), LOAD_STEP)?;
            let Some((last, _)) = rows.last() else { return Ok(due) };
            after = Some(*last);
            let (now, scheduled) = (self.clock.now(), rows.into_iter().filter(|(_, schedule)| schedule.every_seconds.is_some()));
            due.extend(scheduled.map(|(owner, schedule)| Reverse((schedule.next(now), owner))));
        }
    }

    /// Starts a pull that is due, and says when the connection is due again; nothing when it no longer has a schedule.
    async fn start(&self, owner: ConnectionKey) -> Option<Timestamp> {
        let schedule = self.store.get::<Schedule>(&owner).ok()??;
        let every = schedule.every_seconds?;
        let now = self.clock.now();
        if schedule.next(now) > now {
            return Some(schedule.next(now));
        }
        let connection = self.connections.by_key(owner).ok()??;
        let next = later(now, every + self.entropy.below(every / JITTER_PART + 1));
        match connection.state {
            State::Active(_) => {}
            // A paused connection or one that waits for its customer keeps its schedule and is looked at again.
            State::Pending | State::Paused(_) | State::NeedsReauthorization(_) => return Some(next),
            State::Revoked(_) | State::Erased(_) => return None,
        }
        match self.pulls.start(connection.id, PullOrder { due: Some(schedule.next(now)), ..PullOrder::default() }, Actor::System).await {
            Ok(_) | Err(RunError::UnderWay { .. } | RunError::NotActive { .. }) => {}
            Err(RunError::NotBefore { until, .. }) => return Some(until),
            Err(error) => {
                tracing::warn!(connection.id = %connection.id, error = &error as &dyn std::error::Error, "a scheduled pull did not start")
            }
        }
        Some(next)
    }
}

/// Keeps how a pull went: the next time it is due, later after failures, and what the application asked for.
pub(super) async fn settle(
    connections: &Connections,
    store: &Store,
    owner: ConnectionKey,
    now: Timestamp,
    failed: bool,
    not_before: Option<Timestamp>,
) -> Result<(), RunError> {
    let before = connections.schedule(owner)?;
    if before.is_none() && not_before.is_none() {
        return Ok(());
    }
    let schedule = before.clone().unwrap_or_else(|| super::unscheduled(now));
    let failures = if failed { schedule.failures.saturating_add(1) } else { 0 };
    let mut settled = Schedule { not_before, failures, ..schedule };
    settled.due = later(now, settled.wait_seconds());
    let permit = connections.gates().state(owner).map_err(ConnectionError::from)?;
    let mut unit = Unit::default();
    // A revocation removes the schedule; a pull that ends behind it must not bring it back.
    unit.fence(owner, permit.epoch).expect(&owner, before.as_ref()).put(&owner, &settled);
    match store.commit(unit).await {
        Ok(_) | Err(crate::store::StoreError::GateClosed { .. } | crate::store::StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn later(now: Timestamp, seconds: u64) -> Timestamp {
    let distance = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    now.checked_add(distance).unwrap_or(Timestamp::MAX)
}
