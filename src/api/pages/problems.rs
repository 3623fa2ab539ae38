//! The page of a kind of problem: what its `type` leads to.

use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::body::Segments;
use crate::api::pages::Page;
use crate::api::pages::prose::prose;
use crate::api::problem::Kind;
use crate::api::problem::Problem;

/// `GET /problems/{name}`
pub async fn page(Segments(name): Segments<String>) -> Result<Response, Problem> {
    let kind = Kind::named(&name).ok_or_else(|| Problem::not_found("problem", &name))?;
    Ok(Page::new(kind.title(), prose(kind.page(), 1)).into_response())
}
