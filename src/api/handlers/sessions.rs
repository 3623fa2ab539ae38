//! Connect sessions, opened by a backend for its customer.

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
use crate::api::session;
use crate::api::wire::session::Order;

/// `POST /v1/connect/sessions`
pub async fn open(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<Order>) -> Result<Response, Problem> {
    let opened = session::open(&api, &by, order).await?;
    Ok((StatusCode::CREATED, Answer(opened)).into_response())
}
