//! Disclosures: who received records.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::body::id;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::DisclosureFilter;
use crate::api::wire::disclosure::Disclosure;
use crate::api::wire::disclosure::Order;
use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::TenantId;

/// `POST /v1/disclosures`
pub async fn state(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<Order>) -> Result<Response, Problem> {
    let stated = api.services.disclosures.state(&by, order).await?;
    Ok((StatusCode::CREATED, Answer(stated)).into_response())
}

/// The filters of a list of disclosures.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    recipient: Option<String>,
    since: Option<Timestamp>,
    connection: Option<String>,
    tenant: Option<TenantId>,
}

/// `GET /v1/disclosures`
pub async fn list(
    State(api): State<Arc<Api>>,
    by: Principal,
    Query(query): Query<ListQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<List<Disclosure>>, Problem> {
    let tenant = by.tenant_asked_for(query.tenant)?;
    let connection = query.connection.as_deref().map(id::<ConnectionId>).transpose()?;
    let filter = DisclosureFilter { recipient: query.recipient, since: query.since, connection };
    api.services.disclosures.list(tenant, filter, page.order()?).await.map(Answer)
}
