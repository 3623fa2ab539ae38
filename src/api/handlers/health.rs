//! Whether Headgate lives, whether it can serve, and what it counts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::problem::Problem;
use crate::telemetry::metrics;

/// `GET /healthz`: the process answers.
pub async fn alive() -> Answer<Value> {
    Answer(json!({ "status": "ok" }))
}

/// `GET /readyz`: every part that requests need stands; 503 with the list where one does not.
pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    let parts = api.services.ground.readiness();
    let ready = parts.iter().all(|(_, ready)| *ready);
    let (status, word) = if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let parts: Vec<Value> = parts.iter().map(|(name, ready)| json!({ "name": name, "ready": ready })).collect();
    (status, Answer(json!({ "status": word, "parts": parts }))).into_response()
}

/// `GET /metrics`
pub async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let text = api.metrics.encode().map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
