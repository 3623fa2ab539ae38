//! OpenLineage events coming in, as its clients send them: often compressed, sometimes twice.

use std::io::Read;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::json;
use serde_json::value::RawValue;

use crate::api::Api;
use crate::api::body;
use crate::api::body::Answer;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::ids::TenantId;
use crate::openlineage::Event;
use crate::openlineage::EventFault;

/// The longest body, before it is inflated and after.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// The header in which an operator names the tenant.
pub const TENANT_HEADER: &str = "headgate-tenant";
/// The tenant of an operator who names none.
const TENANT_DEFAULT: &str = "default";

/// A refusal that Marquez' clients can show: a problem that also has a `code` and a `message`.
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = self.0.body();
        body["code"] = json!(self.0.kind().status().as_u16());
        body["message"] = json!(self.0.to_string());
        let (parts, _) = self.0.into_response().into_parts();
        Response::from_parts(parts, body.to_string().into())
    }
}

/// Whose graph is meant: the key's tenant, or the one that an operator names.
pub struct Tenant(pub TenantId);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let by = Principal::from_request_parts(parts, state).await?;
        let named = parts.headers.get(TENANT_HEADER).map(|value| value.to_str().unwrap_or_default().trim().to_owned());
        let Some(text) = named.filter(|text| !text.is_empty()) else {
            let default = || TENANT_DEFAULT.parse().map_err(Problem::internal);
            return Ok(Tenant(by.scope().cloned().map_or_else(default, Ok)?));
        };
        let unreadable = |error: crate::ids::TenantError| Problem::Malformed { reason: format!("header `Headgate-Tenant`: {error}") };
        let tenant: TenantId = text.parse().map_err(unreadable)?;
        by.must_see(&tenant)?;
        Ok(Tenant(tenant))
    }
}

/// `POST /api/v1/lineage`
pub async fn take(State(api): State<Arc<Api>>, Tenant(tenant): Tenant, request: Request) -> Result<StatusCode, Refusal> {
    let text = text(request).await?;
    let event = read(move || Event::read(&text)).await?.map_err(refused)?;
    api.services.job_graph.admit(&tenant, vec![event]).await?;
    Ok(StatusCode::CREATED)
}

/// `POST /api/v1/lineage/batch`
pub async fn take_batch(State(api): State<Arc<Api>>, Tenant(tenant): Tenant, request: Request) -> Result<Response, Refusal> {
    let text = text(request).await?;
    let events = read(move || {
        let texts: Vec<Box<RawValue>> = serde_json::from_slice(&text)?;
        Ok(texts.into_iter().map(|text| Event::read(text.get().as_bytes())).collect::<Vec<_>>())
    });
    let events = events.await?.map_err(|error: serde_json::Error| Problem::Malformed {
        reason: format!("the body is no JSON array of events: line {}, column {}; send one", error.line(), error.column()),
    })?;
    let (received, mut good, mut failed) = (events.len(), Vec::new(), Vec::new());
    for (index, event) in events.into_iter().enumerate() {
        match event {
            Ok(event) => good.push(event),
            Err(fault) => failed.push(json!({ "index": index, "reason": fault.to_string(), "retriable": false })),
        }
    }
    api.services.job_graph.admit(&tenant, good).await?;
    if failed.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let summary = json!({
        "received": received, "successful": received - failed.len(), "failed": failed.len(), "retriable": 0, "non_retriable": failed.len(),
    });
    Ok(Answer(json!({ "status": "partial_success", "summary": summary, "failed_events": failed })).into_response())
}

/// Reads events where it holds nobody up.
async fn read<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)
}

fn refused(fault: EventFault) -> Problem {
    Problem::Malformed { reason: fault.to_string() }
}

/// The text of a body, inflated.
async fn text(request: Request) -> Result<Vec<u8>, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(body, BODY_BYTES_MAX).await?;
    match encoding(&parts.headers).as_str() {
        "" | "identity" => Ok(bytes.to_vec()),
        "gzip" | "x-gzip" => read(move || inflate(&bytes)).await?,
        other => Err(Problem::UnsupportedEncoding { encoding: crate::ids::cut(other) }),
    }
}

fn encoding(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("unreadable").trim());
    values.collect::<Vec<_>>().join(", ").to_ascii_lowercase()
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    let limit = BODY_BYTES_MAX as u64 + 1;
    let unreadable = |_| Problem::Malformed { reason: "the body is no gzip, or breaks off; compress it again".into() };
    flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() > BODY_BYTES_MAX { Err(Problem::TooLarge { limit_bytes: BODY_BYTES_MAX }) } else { Ok(text) }
}
