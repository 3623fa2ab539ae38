//! Pulls and runs.

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
use crate::api::body::id;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::RunFilter;
use crate::api::wire::run::PullOrder;
use crate::api::wire::run::Run;
use crate::ids::ConnectionId;
use crate::ids::PullId;
use crate::ids::RunId;

/// The filters of a list of runs.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    pull: Option<String>,
    connection: Option<String>,
}

/// `POST /v1/connections/{id}/runs`
pub async fn start(
    State(api): State<Arc<Api>>,
    by: Principal,
    Id(id): Id<ConnectionId>,
    Json(order): Json<PullOrder>,
) -> Result<Response, Problem> {
    let pull = api.services.runs.start(&by, id, order).await?;
    Ok((StatusCode::ACCEPTED, Answer(pull)).into_response())
}

/// `GET /v1/runs`
pub async fn list(
    State(api): State<Arc<Api>>,
    by: Principal,
    Query(query): Query<ListQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<List<Run>>, Problem> {
    let filter = RunFilter {
        pull: query.pull.as_deref().map(id::<PullId>).transpose()?,
        connection: query.connection.as_deref().map(id::<ConnectionId>).transpose()?,
    };
    api.services.runs.list(by.scope(), filter, page.order()?).await.map(Answer)
}

/// `GET /v1/runs/{id}`
pub async fn get(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<RunId>) -> Result<Answer<Run>, Problem> {
    api.services.runs.get(by.scope(), id).await.map(Answer)
}
