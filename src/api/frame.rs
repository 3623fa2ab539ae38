//! What stands around every answer: a request id, one line in the log, counts, time limits and the headers of safety.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::MatchedPath;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use data_encoding::HEXLOWER;
use futures_util::FutureExt;
use tokio::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::api::Api;
use crate::api::handlers::changes::WAIT_SECONDS_MAX;
use crate::api::problem::Problem;
use crate::telemetry::metrics::AnswerLabels;

/// The header that names a request, in the answer and in the log.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// How long an answer may take.
pub const ANSWER_SECONDS_MAX: u64 = 60;

/// The routes that copy the whole store, which takes as long as it is large. Only the local operator has them, and going away
/// ends them.
const LASTING: [&str; 2] = ["/admin/store/compact", "/admin/store/backup"];
/// How long their answers may take.
const LASTING_SECONDS_MAX: u64 = 24 * 3600;

/// The route that waits when it is asked to.
const FEED: &str = "/v1/changes";

/// Serves one request within the frame.
///
/// The log line has the route's template and not the path, nor the query: a path may hold a link token.
pub async fn serve(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = format!("req_{}", HEXLOWER.encode(&api.entropy.bytes::<12>()));
    let method = request.method().as_str().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let begun = Instant::now();
    let seconds_max = match route.as_str() {
        route if LASTING.contains(&route) => LASTING_SECONDS_MAX,
        // It may wait for something to happen, and answers then.
        FEED => ANSWER_SECONDS_MAX + WAIT_SECONDS_MAX,
        _ => ANSWER_SECONDS_MAX,
    };
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match timeout(Duration::from_secs(seconds_max), work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::internal("the handler panicked").into_response(),
        Err(_) => Problem::AnswerTimeout { seconds: seconds_max }.into_response(),
    };
    dress(&mut response, &id);
    let (status, seconds) = (response.status().as_u16(), begun.elapsed().as_secs_f64());
    tracing::info!(request.id = id, method, route, status, seconds, "answered {method} {route} with {status}");
    api.metrics.answers.get_or_create(&AnswerLabels { method: counted(method), route, status }).inc();
    api.metrics.answer_seconds.observe(seconds);
    response
}

/// Adds the headers that every answer has. A page sets its own content policy; all else needs none of a browser's powers.
fn dress(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID_HEADER, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"));
}

/// A method as a label: a made-up one must not make a new series.
fn counted(method: String) -> String {
    match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
        _ => "other".to_owned(),
    }
}
