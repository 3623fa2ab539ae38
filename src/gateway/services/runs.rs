//! Pulls and their runs.

use futures_util::FutureExt;

use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::services::RunFilter;
use crate::api::services::Scope;
use crate::api::wire::run as wire;
use crate::connection::Connections;
use crate::connector::reading::Compat;
use crate::gateway::services::problems;
use crate::gateway::services::problems::place;
use crate::gateway::services::visible;
use crate::ids::ConnectionId;
use crate::ids::RunId;
use crate::lineage::RunRow;
use crate::lineage::RunState;
use crate::run::KnownRun;
use crate::run::PullOrder;
use crate::run::Pulls;
use crate::run::RunError;
use crate::run::RunsOf;

/// [`services::Runs`] over the pulls.
pub struct Runs {
    pulls: Pulls,
    connections: Connections,
}

impl Runs {
    /// Over the pulls of a gateway.
    pub fn new(pulls: Pulls, connections: Connections) -> Self {
        Runs { pulls, connections }
    }
}

impl services::Runs for Runs {
    fn start<'a>(&'a self, by: &'a Principal, id: ConnectionId, order: wire::PullOrder) -> Reply<'a, wire::Pull> {
        async move {
            let connection = visible::connection(&self.connections, by.scope(), id)?;
            let wire::PullOrder { streams, full, compat } = order;
            let compat = match compat.as_deref() {
                Some("strict") => Compat::Strict,
                _ => Compat::Safe,
            };
            let order = PullOrder { streams: streams.unwrap_or_default(), full, compat, due: None };
            match self.pulls.start(id, order, by.actor()).await {
                Ok(pull) => {
                    let runs = pull.runs.into_iter().map(|run| shown(id, run)).collect();
                    Ok(wire::Pull { pull: pull.pull, runs })
                }
                Err(RunError::NotActive { .. } | RunError::Closed(_)) => {
                    // As it is now: the state that was read before may be the one before the stop.
                    Err(problems::gate_closed(&self.connections.by_key(connection.key)?.unwrap_or(connection)))
                }
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: Scope<'a>, filter: RunFilter, page: PageOrder) -> Reply<'a, List<wire::Run>> {
        async move {
            let wanted = filter.connection.map(|id| visible::connection(&self.connections, scope, id)).transpose()?;
            let of = match (filter.pull, &wanted) {
                (Some(pull), _) => RunsOf::Pull(pull),
                (None, Some(connection)) => RunsOf::Connection(connection.key),
                (None, None) => RunsOf::All,
            };
            let before: Option<[u8; 16]> = place(page.after.as_deref())?;
            let step = |before: Option<[u8; 16]>, limit| Ok(self.pulls.list(of, before.map(RunId::from_bytes), limit)?);
            let keep = |known: KnownRun| {
                let is_wanted = wanted.as_ref().is_none_or(|connection| connection.key == known.connection.key);
                Ok((is_wanted && visible::sees(scope, &known.connection)).then(|| shown(known.connection.id, known.run)))
            };
            let list = visible::page(page.limit, before, step, |known| known.run.id.to_bytes(), keep)?;
            match filter.pull {
                // A pull has a run from its beginning: one without is unknown, or another tenant's.
                Some(pull) if list.items.is_empty() && before.is_none() => Err(Problem::not_found("pull", &pull.to_string())),
                _ => Ok(list),
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, scope: Scope<'a>, id: RunId) -> Reply<'a, wire::Run> {
        async move {
            let known = self.pulls.find(id)?;
            let missing = || Problem::not_found("run", &id.to_string());
            if visible::sees(scope, &known.connection) { Ok(shown(known.connection.id, known.run)) } else { Err(missing()) }
        }
        .boxed()
    }
}

fn shown(connection: ConnectionId, run: RunRow) -> wire::Run {
    let state = match run.state {
        RunState::Running => "running",
        RunState::Complete => "complete",
        RunState::Failed => "failed",
        RunState::Cancelled => "cancelled",
    };
    wire::Run {
        id: run.id,
        pull: run.pull,
        connection,
        stream: run.stream,
        state: state.into(),
        pages: run.pages,
        requests: run.requests,
        new: run.new,
        changed: run.changed,
        unchanged: run.unchanged,
        deleted: run.deleted,
        filtered: run.filtered,
        ignored: run.ignored,
        coerced: run.coerced,
        coerced_keys: run.coerced_keys,
        error: run.error,
        started_at: run.started_at,
        ended_at: run.ended_at,
    }
}
