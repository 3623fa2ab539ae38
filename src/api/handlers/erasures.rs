//! Erasures and their certificates.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::handlers::revocations::DryRunQuery;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire::erasure::Erasure;
use crate::api::wire::erasure::Order;
use crate::ids::ErasureId;

/// `POST /v1/erasures`: 201 with the request, 200 with what a dry run would cover.
pub async fn request(
    State(api): State<Arc<Api>>,
    by: Principal,
    Query(query): Query<DryRunQuery>,
    Json(order): Json<Order>,
) -> Result<Response, Problem> {
    let dry_run = query.dry_run();
    let erasure = api.services.erasures.request(&by, order, dry_run).await?;
    let status = if dry_run { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Answer(erasure)).into_response())
}

/// `POST /v1/erasures/{id}/approve`
pub async fn approve(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<ErasureId>) -> Result<Answer<Erasure>, Problem> {
    api.services.erasures.approve(&by, id).await.map(Answer)
}

/// `GET /v1/erasures`
pub async fn list(State(api): State<Arc<Api>>, by: Principal, Query(page): Query<PageQuery>) -> Result<Answer<List<Erasure>>, Problem> {
    api.services.erasures.list(by.scope(), page.order()?).await.map(Answer)
}

/// `GET /v1/erasures/{id}`
pub async fn get(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<ErasureId>) -> Result<Answer<Erasure>, Problem> {
    api.services.erasures.get(by.scope(), id).await.map(Answer)
}

/// `GET /v1/erasures/{id}/certificate`: the signed file, byte for byte.
pub async fn certificate(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<ErasureId>) -> Result<Response, Problem> {
    let bytes = api.services.erasures.certificate(by.scope(), id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
