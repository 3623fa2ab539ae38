//! Connections: listed, made, changed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::ConnectionFilter;
use crate::api::wire::connection::Change;
use crate::api::wire::connection::ConnectOrder;
use crate::api::wire::connection::Connected;
use crate::api::wire::connection::Connection;
use crate::api::wire::connection::ReconnectOrder;
use crate::ids::ConnectionId;
use crate::ids::TenantId;

/// The filters of a list of connections.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    connector: Option<String>,
    state: Option<String>,
    tenant: Option<TenantId>,
}

/// `GET /v1/connections`
pub async fn list(
    State(api): State<Arc<Api>>,
    by: Principal,
    Query(query): Query<ListQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<List<Connection>>, Problem> {
    if let Some(tenant) = &query.tenant {
        by.must_see(tenant)?;
    }
    let filter = ConnectionFilter { connector: query.connector, state: query.state, tenant: query.tenant };
    api.services.connections.list(by.scope(), filter, page.order()?).await.map(Answer)
}

/// `GET /v1/connections/{id}`
pub async fn get(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<ConnectionId>) -> Result<Answer<Connection>, Problem> {
    api.services.connections.get(by.scope(), id).await.map(Answer)
}

/// `POST /v1/connections`
pub async fn connect(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<ConnectOrder>) -> Result<Response, Problem> {
    by.must_see(&order.tenant)?;
    let connected = api.services.connections.connect(&by, order).await?;
    Ok((StatusCode::CREATED, Answer(connected)).into_response())
}

/// `PATCH /v1/connections/{id}`
pub async fn change(
    State(api): State<Arc<Api>>,
    by: Principal,
    Id(id): Id<ConnectionId>,
    Json(change): Json<Change>,
) -> Result<Answer<Connection>, Problem> {
    api.services.connections.change(&by, id, change).await.map(Answer)
}

/// `POST /admin/connections/{id}/reconnect`
pub async fn reconnect(
    State(api): State<Arc<Api>>,
    by: Principal,
    Id(id): Id<ConnectionId>,
    Json(order): Json<ReconnectOrder>,
) -> Result<Answer<Connected>, Problem> {
    api.services.connections.reconnect(&by, id, order).await.map(Answer)
}
