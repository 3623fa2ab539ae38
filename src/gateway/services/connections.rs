//! Connections: shown and changed; [`Connecting`] makes them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::CallbackOutcome;
use crate::api::services::ConnectionFilter;
use crate::api::services::Reply;
use crate::api::services::Scope;
use crate::api::wire::connection as wire;
use crate::audit::Action;
use crate::audit::CredentialFate;
use crate::clock::Clock;
use crate::connection::Active;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::Connections as Registry;
use crate::connection::State;
use crate::connection::schedule::interval_seconds;
use crate::connection::schedule::interval_text;
use crate::gateway::services::connecting::Connecting;
use crate::gateway::services::problems::gate_closed;
use crate::gateway::services::problems::place;
use crate::gateway::services::visible;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::revocation::Revocations;
use crate::run::Pulls;
use crate::run::Scheduler;
use crate::store::StopReason;
use crate::telemetry::activity::Counts;

/// [`services::Connections`] over the registry.
pub struct Connections {
    registry: Registry,
    connecting: Connecting,
    pulls: Pulls,
    scheduler: Scheduler,
    revocations: Revocations,
    clock: Clock,
}

impl Connections {
    /// Over a registry and whoever connects.
    pub fn new(
        registry: Registry,
        connecting: Connecting,
        (pulls, scheduler, revocations): (Pulls, Scheduler, Revocations),
        clock: Clock,
    ) -> Self {
        Connections { registry, connecting, pulls, scheduler, revocations, clock }
    }

    fn shown(&self, connection: &Connection) -> Result<wire::Connection, Problem> {
        let now = self.clock.now();
        let schedule = self.registry.schedule(connection.key)?;
        let every = schedule.as_ref().and_then(|schedule| schedule.every_seconds);
        let pulls_by_itself = every.is_some() && matches!(connection.state, State::Active(_));
        let why = match &connection.state {
            State::NeedsReauthorization(refused) => Some(refused.why.clone()),
            _ => None,
        };
        Ok(wire::Connection {
            id: connection.id,
            connector: connection.connector.name.clone(),
            tenant: connection.tenant.clone(),
            state: connection.state.to_string(),
            streams: connection.streams.clone(),
            purposes: connection.purposes.clone(),
            schedule: every.map(|seconds| wire::Schedule { every: interval_text(seconds) }),
            created_at: connection.created_at,
            consent: connection.consent,
            succeeds: connection.succeeds,
            since: connection.since(),
            why,
            next_pull_at: schedule.as_ref().filter(|_| pulls_by_itself).map(|schedule| schedule.next(now)),
            not_before: schedule.as_ref().and_then(|schedule| schedule.patience(now)),
            failures: schedule.as_ref().map_or(0, |schedule| schedule.failures),
            credential: self.credential(connection.key)?,
            activity: self.pulls.activity(connection.key).as_ref().map(activity),
        })
    }

    /// What stands of a credential, without unsealing it.
    fn credential(&self, key: ConnectionKey) -> Result<wire::Credential, Problem> {
        let generation = self.registry.credentials().generation(key).map_err(ConnectionError::from)?;
        let state = match (generation, self.revocations.fate(key)?) {
            (Some(_), _) => "held",
            (None, CredentialFate::Revoking) => "revoking",
            (None, _) => "destroyed",
        };
        Ok(wire::Credential { state: state.into(), generation })
    }

    /// Pauses or resumes. What is so already stays so: the caller has what it wants.
    async fn set_state(&self, by: &Principal, connection: Connection, state: wire::ChangedState) -> Result<(), Problem> {
        match (&connection.state, state) {
            (State::Active(_), wire::ChangedState::Active) | (State::Paused(_), wire::ChangedState::Paused) => {}
            (State::Active(_), wire::ChangedState::Paused) => {
                let paused = |active: Connection<Active>, at| active.pause(at).into();
                self.registry.suspend(connection.id, StopReason::Paused, by.actor(), paused).await?;
            }
            (State::Paused(_), wire::ChangedState::Active) => {
                self.registry.activate(connection, Action::ConnectionResumed, by.actor(), |_| Ok(())).await?;
                self.scheduler.changed();
            }
            _ => return Err(gate_closed(&connection)),
        }
        Ok(())
    }
}

fn activity(counts: &Counts) -> wire::Activity {
    let named = |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let waits = counts.waits.iter().map(|(wait, (times, total))| wire::Waited {
        r#for: wait.name().to_owned(),
        times: *times,
        seconds: thousandths(*total),
    });
    let waiting =
        counts.waiting.iter().map(|(wait, since)| wire::Waiting { r#for: wait.name().to_owned(), seconds: thousandths(since.elapsed()) });
    wire::Activity {
        requests: named(&counts.requests),
        retries: counts.retries,
        waits: waits.collect(),
        waiting: waiting.collect(),
        limits: named(&counts.limits),
        pages_read: counts.pages_read,
        pages_stored: counts.pages_stored,
        pages_waiting: counts.pages_waiting(),
        pages_dropped: counts.pages_dropped,
    }
}

fn thousandths(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

impl services::Connections for Connections {
    fn list<'a>(&'a self, scope: Scope<'a>, filter: ConnectionFilter, page: PageOrder) -> Reply<'a, List<wire::Connection>> {
        async move {
            // The handler has held a named tenant against the scope; the narrower of the two is what is meant.
            let tenant = filter.tenant.as_ref().or(scope);
            let number = tenant.map(|tenant| self.registry.tenant(tenant)).transpose()?;
            if number == Some(None) {
                return Ok(List::new(Vec::new(), None));
            }
            let after: Option<ConnectionKey> = place(page.after.as_deref())?;
            let step = |after, limit| Ok(self.registry.list(number.flatten(), after, limit)?);
            let is_asked_for = |connection: &Connection| {
                filter.connector.as_ref().is_none_or(|name| *name == connection.connector.name)
                    && filter.state.as_ref().is_none_or(|state| state == connection.state.name())
            };
            let keep = |connection: Connection| is_asked_for(&connection).then(|| self.shown(&connection)).transpose();
            visible::page(page.limit, after, step, |connection| connection.key, keep)
        }
        .boxed()
    }

    fn get<'a>(&'a self, scope: Scope<'a>, id: ConnectionId) -> Reply<'a, wire::Connection> {
        async move { self.shown(&visible::connection(&self.registry, scope, id)?) }.boxed()
    }

    fn connect<'a>(&'a self, by: &'a Principal, order: wire::ConnectOrder) -> Reply<'a, wire::Connected> {
        async move {
            let connected = self.connecting.connect(by, order).await?;
            self.scheduler.changed();
            Ok(connected)
        }
        .boxed()
    }

    fn change<'a>(&'a self, by: &'a Principal, id: ConnectionId, change: wire::Change) -> Reply<'a, wire::Connection> {
        async move {
            let connection = visible::connection(&self.registry, by.scope(), id)?;
            let every =
                change.schedule.map(|schedule| schedule.map(|schedule| interval_seconds(&schedule.every)).transpose()).transpose()?;
            if let Some(every) = every {
                if matches!(connection.state, State::Revoked(_) | State::Erased(_)) {
                    return Err(gate_closed(&connection));
                }
                self.registry.set_schedule(&connection, every, by.actor()).await?;
                self.scheduler.changed();
            }
            if let Some(state) = change.state {
                self.set_state(by, connection, state).await?;
            }
            self.shown(&visible::connection(&self.registry, by.scope(), id)?)
        }
        .boxed()
    }

    fn reconnect<'a>(&'a self, by: &'a Principal, id: ConnectionId, order: wire::ReconnectOrder) -> Reply<'a, wire::Connected> {
        async move {
            let connection = visible::connection(&self.registry, by.scope(), id)?;
            if matches!(connection.state, State::Revoked(_) | State::Erased(_)) {
                return Err(gate_closed(&connection));
            }
            self.connecting.reconnect(by, connection.id, order).await
        }
        .boxed()
    }

    fn pending<'a>(&'a self, state: &'a str) -> Reply<'a, Option<ConnectionId>> {
        self.connecting.pending(state).boxed()
    }

    fn callback(&self, query: BTreeMap<String, String>) -> Reply<'_, CallbackOutcome> {
        async move {
            let outcome = self.connecting.callback(query).await?;
            self.scheduler.changed();
            Ok(outcome)
        }
        .boxed()
    }
}
