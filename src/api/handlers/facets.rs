//! The schemas of Headgate's own OpenLineage facets: whoever reads an event may look them up, so they are behind no key.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::Api;
use crate::api::problem::Problem;
use crate::openlineage::emission::Producer;
use crate::openlineage::emission::own_schema;

/// The content type of a JSON Schema.
pub const CONTENT_TYPE: &str = "application/schema+json";

/// `GET /schemas/openlineage/{version}/{name}`
pub async fn schema(State(api): State<Arc<Api>>, Path((version, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let schema = own_schema(&Producer::new(&api.public_url), &version, &name);
    let schema = schema.ok_or_else(|| Problem::not_found("schema", &format!("{version}/{name}")))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], schema.to_string()).into_response())
}
