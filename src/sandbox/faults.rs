//! Misbehaviour on demand, so that tests can ask what a caller does about it.

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Duration;

/// How long the first half of a halved body has for leaving.
const FIRST_HALF: Duration = Duration::from_millis(20);

/// What the sandbox does wrong from now on. Each number counts down to zero as its fault happens; `delay_ms` stays.
///
/// Set with [`Sandbox::set_faults`](super::Sandbox::set_faults), or with `PUT /_faults` and these members as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Data requests that fail with 500.
    pub fail: u32,
    /// Data requests that are answered 429 with `Retry-After: 1`, whatever the window says.
    pub limit: u32,
    /// Data answers whose body stops in the middle.
    pub cut: u32,
    /// Data requests whose connection is closed without an answer.
    pub drop: u32,
    /// Token requests that fail with 503, before anything has changed.
    pub token_fail: u32,
    /// Token requests that are carried out and then get no answer: the new tokens exist, and the caller never sees them.
    pub token_lose: u32,
    /// Revocation requests that fail with 503, before anything has changed.
    pub revoke_fail: u32,
    /// The milliseconds that every data request waits before it is carried out.
    pub delay_ms: u64,
    /// The milliseconds that every token request waits before it is carried out.
    pub token_delay_ms: u64,
}

/// Whether a fault is due; if so, one less is due after it.
pub fn due(count: &mut u32) -> bool {
    let due = *count > 0;
    *count = count.saturating_sub(1);
    due
}

/// An answer that never begins: the connection closes instead.
pub fn lost() -> Response {
    // hyper asks for the body before it sends the head, and closes the connection when the body fails.
    Body::from_stream(stream::once(async { Err::<Bytes, _>(Gone) })).into_response()
}

/// The same answer with a body that stops in the middle, though its `Content-Length` promises the whole.
pub async fn halved(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = whole.slice(..whole.len() / 2);
    let end = async {
        // Time for the first half to leave, so that the caller sees a body that stops and not a missing answer.
        tokio::time::sleep(FIRST_HALF).await;
        Err(Gone)
    };
    let halves = stream::once(async { Ok(half) }).chain(stream::once(end));
    Response::from_parts(parts, Body::from_stream(halves))
}

#[derive(Debug, thiserror::Error)]
#[error("the answer was lost on purpose")]
struct Gone;
