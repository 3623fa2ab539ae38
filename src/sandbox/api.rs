//! The shop's API: lists and single records, for a Bearer token with the right scope.

use std::sync::Arc;

use axum::Extension;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use super::App;
use super::RequestNumber;
use super::answer;
use super::faults;
use super::page::Page;
use super::page::PageQuery;
use super::shop::Shop;
use super::shop::Stream;
use super::traffic::Allowance;

/// About the size of one record in JSON, to size the buffer of an answer.
const RECORD_BYTES: usize = 1_200;

/// `GET /v1/{stream}`.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(number): Extension<RequestNumber>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    serve(&app, number, &stream, &headers, |stream| {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let shop = app.shop();
        match PageQuery::read(stream, app.page_size_max, pairs) {
            Ok(query) => page(stream, &shop, &query.find(stream, &shop)),
            Err(error) => failure(StatusCode::BAD_REQUEST, "invalid_request", &error.to_string()),
        }
    })
    .await
}

/// `GET /v1/{stream}/{id}`.
pub async fn one(
    State(app): State<Arc<App>>,
    Extension(number): Extension<RequestNumber>,
    Path((stream, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    serve(&app, number, &stream, &headers, |stream| {
        let shop = app.shop();
        let Some(index) = id.parse().ok().and_then(|id| shop.find(stream, id)) else { return absent() };
        let mut body = Vec::new();
        match shop.write(stream, index, &mut body) {
            Ok(()) => json_body(body),
            Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the record could not be written"),
        }
    })
    .await
}

/// What comes before any answer: the token, the rate, the faults.
async fn serve(
    app: &App,
    RequestNumber(number): RequestNumber,
    stream: &str,
    headers: &HeaderMap,
    respond: impl FnOnce(Stream) -> Response,
) -> Response {
    let delay = app.faults().delay_ms;
    if delay > 0 {
        tokio::time::sleep(tokio::time::Duration::from_millis(delay)).await;
    }
    if faults::due(&mut app.faults().drop) {
        return faults::lost();
    }
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(access) = bearer.and_then(|token| app.grants().access(token, app.clock.now())) else {
        return unauthorized(bearer.is_some());
    };
    app.log().recognised(number, access.grant);
    let allowance = app.windows().take(access.grant);
    let response = if !allowance.granted || faults::due(&mut app.faults().limit) {
        limited(allowance)
    } else if faults::due(&mut app.faults().fail) {
        failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a fault was asked for")
    } else {
        match Stream::named(stream) {
            None => absent(),
            Some(stream) if !access.scopes.contains(&stream.scope()) => forbidden(&stream.scope()),
            Some(stream) => respond(stream),
        }
    };
    let response = with_allowance(response, allowance);
    let cut = response.status() == StatusCode::OK && faults::due(&mut app.faults().cut);
    if cut { faults::halved(response).await } else { response }
}

fn page(stream: Stream, shop: &Shop, page: &Page) -> Response {
    let count: u64 = page.indices.iter().map(|range| range.end - range.start).sum();
    let mut body = Vec::with_capacity(RECORD_BYTES * usize::try_from(count).unwrap_or(0) + 200);
    body.extend_from_slice(format!("{{\"{}\":[", stream.name()).as_bytes());
    for (position, index) in page.indices.iter().cloned().flatten().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        if shop.write(stream, index, &mut body).is_err() {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a record could not be written");
        }
    }
    let cursor = page.next_cursor.as_deref().map_or(Value::Null, Value::from);
    body.extend_from_slice(format!("],\"total\":{},\"has_more\":{},\"next_cursor\":{cursor}}}", page.total, page.has_more).as_bytes());
    json_body(body)
}

fn json_body(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// An error in the shape of this API.
pub fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    answer(status, &json!({"error": {"code": code, "message": message}}))
}

/// What is answered for paths and records that are not there.
pub fn absent() -> Response {
    failure(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
}

/// RFC 6750, 3: without a token no error code, with a bad one `invalid_token`.
fn unauthorized(token_came: bool) -> Response {
    let (code, challenge) = if token_came {
        ("invalid_token", "Bearer realm=\"sandbox\", error=\"invalid_token\", error_description=\"expired, revoked or unknown\"")
    } else {
        ("missing_token", "Bearer realm=\"sandbox\"")
    };
    let mut response = failure(StatusCode::UNAUTHORIZED, code, "send a good access token as Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn forbidden(scope: &str) -> Response {
    let mut response = failure(StatusCode::FORBIDDEN, "insufficient_scope", &format!("the token lacks `{scope}`"));
    let challenge = format!("Bearer realm=\"sandbox\", error=\"insufficient_scope\", scope=\"{scope}\"");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn limited(allowance: Allowance) -> Response {
    let mut response = failure(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests; wait as Retry-After says");
    // A 429 that a fault asked for comes within an open window, whose end says nothing: one second then.
    let seconds = if allowance.granted { 1 } else { allowance.reset_seconds };
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn with_allowance(mut response: Response, allowance: Allowance) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(allowance.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(allowance.remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(allowance.reset_seconds));
    response
}
