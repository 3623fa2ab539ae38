//! The graphs of tenants' own jobs, as the API asks them.

use futures_util::FutureExt;
use serde_json::Value;

use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::clock::Clock;
use crate::gateway::services::visible;
use crate::ids::TenantId;
use crate::openlineage::Change;
use crate::openlineage::Event;
use crate::openlineage::Graph;
use crate::openlineage::OpenLineageError;
use crate::openlineage::Question;

/// [`services::JobGraph`] over the graphs.
pub struct JobGraph {
    graph: Graph,
    clock: Clock,
}

impl JobGraph {
    /// Over the graphs.
    pub fn new(graph: Graph, clock: Clock) -> Self {
        JobGraph { graph, clock }
    }
}

impl services::JobGraph for JobGraph {
    fn admit<'a>(&'a self, tenant: &'a TenantId, events: Vec<Event>) -> Reply<'a, ()> {
        async move {
            self.graph.admit(tenant, &events).await?;
            Ok(())
        }
        .boxed()
    }

    fn answer<'a>(&'a self, tenant: &'a TenantId, question: Question) -> Reply<'a, Value> {
        async move {
            let (book, now) = (self.graph.book(tenant)?, self.clock.now());
            match book {
                Some(book) => visible::blocking(move || Ok(book.answer(&question, now)?)).await,
                None => Ok(question.answer_of_nothing(now)?),
            }
        }
        .boxed()
    }

    fn change<'a>(&'a self, tenant: &'a TenantId, change: Change) -> Reply<'a, Value> {
        async move { Ok(self.graph.change(tenant, change).await?) }.boxed()
    }
}

impl From<OpenLineageError> for Problem {
    fn from(error: OpenLineageError) -> Self {
        match error {
            OpenLineageError::Unknown { noun, name } => Problem::not_found(noun, &name),
            OpenLineageError::Malformed { .. } => Problem::Malformed { reason: error.to_string() },
            OpenLineageError::Damaged { .. } => Problem::internal(error),
            OpenLineageError::Tenant(error) => error.into(),
            OpenLineageError::Store(error) => error.into(),
            OpenLineageError::Vault(error) => error.into(),
        }
    }
}
