//! The audit log, and the keys that verify what is signed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::body::Segments;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::problem::Problem;
use crate::api::wire::audit::Consistency;
use crate::api::wire::audit::Entry;
use crate::api::wire::audit::Proof;
use crate::api::wire::audit::PublicKeys;
use crate::api::wire::audit::Verification;
use crate::api::wire::audit::VerifyOrder;

/// `GET /v1/audit`
pub async fn list(State(api): State<Arc<Api>>, Query(page): Query<PageQuery>) -> Result<Answer<List<Entry>>, Problem> {
    api.services.audit.list(page.order()?).await.map(Answer)
}

/// `GET /v1/audit/entries/{index}`
pub async fn entry(State(api): State<Arc<Api>>, Segments(index): Segments<String>) -> Result<Answer<Entry>, Problem> {
    let number = index.parse().map_err(|_| Problem::not_found("audit entry", &index))?;
    api.services.audit.entry(number).await.map(Answer)
}

/// `GET /v1/audit/checkpoint`
pub async fn checkpoint(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let note = api.services.audit.checkpoint().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Which entry is to be proven.
#[derive(Debug, Deserialize)]
pub struct ProofQuery {
    entry: u64,
}

/// `GET /v1/audit/proof`
pub async fn proof(State(api): State<Arc<Api>>, Query(query): Query<ProofQuery>) -> Result<Answer<Proof>, Problem> {
    api.services.audit.proof(query.entry).await.map(Answer)
}

/// Which two sizes of the log are to be joined.
#[derive(Debug, Deserialize)]
pub struct ConsistencyQuery {
    from: u64,
    to: u64,
}

/// `GET /v1/audit/consistency`
pub async fn consistency(State(api): State<Arc<Api>>, Query(query): Query<ConsistencyQuery>) -> Result<Answer<Consistency>, Problem> {
    if query.from > query.to {
        return Err(Problem::BadParameter { name: "from".into(), reason: "it is larger than `to`; give the smaller size first".into() });
    }
    api.services.audit.consistency(query.from, query.to).await.map(Answer)
}

/// `POST /admin/audit/verify`
pub async fn verify(State(api): State<Arc<Api>>, Json(order): Json<VerifyOrder>) -> Result<Answer<Verification>, Problem> {
    api.services.audit.verify(order.checkpoint).await.map(Answer)
}

/// `GET /.well-known/headgate-keys`
pub async fn public_keys(State(api): State<Arc<Api>>) -> Result<Answer<PublicKeys>, Problem> {
    api.services.audit.public_keys().await.map(Answer)
}
