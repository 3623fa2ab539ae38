//! The doors for whoever runs the sandbox: its log, its faults, its time. They need no token, and are not logged.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::App;
use super::answer;
use super::api;
use super::faults::Faults;
use super::grants::Client;

/// What `GET /_log` may be asked.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Only requests with a higher number.
    #[serde(default)]
    after: u64,
}

/// `GET /_log?after=N`: `{"items":[…]}`, see [`LoggedRequest`](super::LoggedRequest).
pub async fn log(State(app): State<Arc<App>>, Query(query): Query<LogQuery>) -> Response {
    answer(StatusCode::OK, &json!({"items": app.log().since(query.after)}))
}

/// `POST /_advance`: lets the shop change once; see [`Change`](super::Change).
pub async fn advance(State(app): State<Arc<App>>) -> Response {
    answer(StatusCode::OK, &json!(app.advance()))
}

/// `GET /_counts`: how many records there are; see [`Counts`](super::Counts).
pub async fn counts(State(app): State<Arc<App>>) -> Response {
    answer(StatusCode::OK, &json!(app.shop().counts()))
}

/// `GET /_faults`.
pub async fn faults(State(app): State<Arc<App>>) -> Response {
    answer(StatusCode::OK, &json!(*app.faults()))
}

/// `PUT /_faults`: replaces all of them; see [`Faults`].
pub async fn set_faults(State(app): State<Arc<App>>, body: Bytes) -> Response {
    read(&body, |faults: Faults| *app.faults() = faults)
}

/// `PUT /_clients`: registers a client; see [`Client`].
pub async fn register(State(app): State<Arc<App>>, body: Bytes) -> Response {
    read(&body, |client: Client| app.grants().register(client))
}

/// `POST /_end_grants`: ends every grant, as when a customer removes the client in the application's own settings.
pub async fn end_grants(State(app): State<Arc<App>>) -> Response {
    app.grants().end_all();
    answer(StatusCode::OK, &json!({}))
}

fn read<T: DeserializeOwned>(body: &[u8], act: impl FnOnce(T)) -> Response {
    match serde_json::from_slice(body) {
        Ok(value) => {
            act(value);
            answer(StatusCode::OK, &json!({}))
        }
        Err(error) => api::failure(StatusCode::BAD_REQUEST, "invalid_request", &error.to_string()),
    }
}
