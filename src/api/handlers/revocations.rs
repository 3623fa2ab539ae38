//! Revocations: of one connection, of a tenant, of a connector.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::body::id;
use crate::api::principal::Principal;
use crate::api::principal::Role;
use crate::api::problem::Problem;
use crate::api::wire::revocation::Order;
use crate::api::wire::revocation::Reason;
use crate::api::wire::revocation::Revoked;
use crate::api::wire::revocation::Scope;
use crate::ids::ConnectionId;

/// Whether the act is only to be described.
#[derive(Debug, Deserialize)]
pub struct DryRunQuery {
    dry_run: Option<bool>,
}

impl DryRunQuery {
    /// Whether nothing is to be done.
    pub fn dry_run(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }
}

/// `POST /v1/connections/{id}/revoke`
pub async fn revoke(
    State(api): State<Arc<Api>>,
    by: Principal,
    Id(id): Id<ConnectionId>,
    Query(query): Query<DryRunQuery>,
    Json(body): Json<Reason>,
) -> Result<Answer<Revoked>, Problem> {
    api.services.revocations.revoke(&by, Scope::Connection(id), body.reason, query.dry_run()).await.map(Answer)
}

/// `POST /v1/revocations`
pub async fn create(
    State(api): State<Arc<Api>>,
    by: Principal,
    Query(query): Query<DryRunQuery>,
    Json(order): Json<Order>,
) -> Result<Answer<Revoked>, Problem> {
    let scope = match scope_of(&order.scope)? {
        Scope::Connector(_) if by.role != Role::Operator => {
            return Err(Problem::RoleRefused { role: by.role.name(), needed: "operator".into() });
        }
        Scope::Tenant(tenant) => {
            by.must_see(&tenant)?;
            Scope::Tenant(tenant)
        }
        other => other,
    };
    api.services.revocations.revoke(&by, scope, order.reason, query.dry_run()).await.map(Answer)
}

/// Reads the scope. An id that is none is not found, as an unknown one is.
fn scope_of(value: &Value) -> Result<Scope, Problem> {
    if let Some(text) = value.get("connection").and_then(Value::as_str) {
        return id(text).map(Scope::Connection);
    }
    read(value)
}

/// Reads a member that its schema has let through.
fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    T::deserialize(value).map_err(|_| Problem::member("/scope", "unreadable", "names nothing that can be revoked"))
}
