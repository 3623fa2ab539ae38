//! What stands around a node.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Query;
use crate::api::drawing::dot;
use crate::api::drawing::prov;
use crate::api::paging::foreign_token;
use crate::api::paging::untoken;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::GraphQuestion;
use crate::api::wire::lineage::KINDS;
use crate::clock::Timestamp;
use crate::ids::TenantId;

/// How far a graph goes where the caller does not say.
pub const DEPTH_DEFAULT: u32 = 3;
/// How far a graph may go.
pub const DEPTH_MAX: u32 = 20;
/// Nodes of one answer where the caller does not say, and at most.
const LIMIT_MAX: usize = 1000;

/// What is asked about a node.
#[derive(Debug, Deserialize)]
pub struct GraphQuery {
    node: String,
    direction: Option<String>,
    depth: Option<u32>,
    kinds: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    at: Option<Timestamp>,
    tenant: Option<TenantId>,
    format: Option<String>,
}

/// `GET /v1/lineage`
pub async fn graph(State(api): State<Arc<Api>>, by: Principal, Query(query): Query<GraphQuery>) -> Result<Response, Problem> {
    let format = query.format.clone().unwrap_or_else(|| "json".into());
    if !matches!(format.as_str(), "json" | "dot" | "prov-json") {
        return Err(refused("format", "use `json`, `dot` or `prov-json`".into()));
    }
    if let Some(tenant) = &query.tenant {
        by.must_see(tenant)?;
    }
    let graph = api.services.records.graph(&by, question(query)?).await?;
    let value = || serde_json::to_value(&graph).map_err(Problem::internal);
    Ok(match format.as_str() {
        "dot" => ([(header::CONTENT_TYPE, "text/vnd.graphviz")], dot::of(&value()?)).into_response(),
        "prov-json" => Answer(prov::of(&value()?)).into_response(),
        _ => Answer(graph).into_response(),
    })
}

fn question(query: GraphQuery) -> Result<GraphQuestion, Problem> {
    let direction = query.direction.unwrap_or_else(|| "both".into());
    if !matches!(direction.as_str(), "up" | "down" | "both") {
        return Err(refused("direction", "use `up`, `down` or `both`".into()));
    }
    let depth = query.depth.unwrap_or(DEPTH_DEFAULT);
    if depth > DEPTH_MAX {
        return Err(refused("depth", format!("use a number from 0 to {DEPTH_MAX}")));
    }
    let limit = query.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(refused("limit", format!("use a number from 1 to {LIMIT_MAX}")));
    }
    let kinds: Vec<String> = query.kinds.iter().flat_map(|kinds| kinds.split(',')).map(|kind| kind.trim().to_owned()).collect();
    if kinds.iter().any(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(refused("kinds", format!("name some of {}, with commas between them", KINDS.join(", "))));
    }
    let offset = match query.after.as_deref().map(untoken).transpose()? {
        Some(place) => u32::from_be_bytes(place.try_into().map_err(|_| foreign_token())?) as usize,
        None => 0,
    };
    Ok(GraphQuestion { node: query.node, direction, depth, kinds, limit, offset, at: query.at, tenant: query.tenant })
}

fn refused(name: &str, reason: String) -> Problem {
    Problem::BadParameter { name: name.into(), reason }
}
