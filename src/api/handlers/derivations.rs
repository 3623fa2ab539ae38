//! Derivations: what was made from records.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Json;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire::derivation::Order;

/// `POST /v1/derivations`
pub async fn create(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<Order>) -> Result<Response, Problem> {
    let derived = api.services.derivations.derive(&by, order).await?;
    Ok((StatusCode::CREATED, Answer(derived)).into_response())
}
