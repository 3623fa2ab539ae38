//! The policy, and receipts of consent.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::consent::Policy;
use crate::ids::ConsentId;

/// `GET /v1/policy`
pub async fn policy() -> Answer<&'static Policy> {
    Answer(Policy::current())
}

/// `GET /v1/consents/{id}/receipt`: the signed file, byte for byte.
pub async fn receipt(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<ConsentId>) -> Result<Response, Problem> {
    let bytes = api.services.consents.receipt(by.scope(), id).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
