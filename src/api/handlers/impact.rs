//! Impact: what stopping or erasing a connection would touch, counted or listed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Deserialize;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::body::Query;
use crate::api::paging::untoken;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::ImpactList;
use crate::api::services::ImpactQuestion;
use crate::ids::ConnectionId;

/// The most items of one page.
pub const ITEMS_MAX: usize = 10_000;

/// Items of a page where the caller does not say.
const ITEMS_DEFAULT: usize = 1000;

/// What is asked.
#[derive(Debug, Deserialize)]
pub struct ImpactQuery {
    list: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    names: Option<bool>,
    digest: Option<bool>,
}

/// `GET /v1/connections/{id}/impact`
pub async fn impact(
    State(api): State<Arc<Api>>,
    by: Principal,
    Id(id): Id<ConnectionId>,
    Query(query): Query<ImpactQuery>,
) -> Result<Response, Problem> {
    let Some(list) = query.list else {
        if let Some(name) = [("limit", query.limit.is_some()), ("after", query.after.is_some()), ("names", query.names.is_some())]
            .iter()
            .find_map(|(name, is_given)| is_given.then_some(*name))
        {
            return Err(Problem::BadParameter { name: name.into(), reason: "it belongs to `list`; say what is to be listed".into() });
        }
        return api
            .services
            .impact
            .of_connection(by.scope(), id, query.digest.unwrap_or(true))
            .await
            .map(Answer)
            .map(IntoResponse::into_response);
    };
    let list = match list.as_str() {
        "records" => ImpactList::Records,
        "dies" => ImpactList::Dies,
        "survives" => ImpactList::Survives,
        _ => return Err(Problem::BadParameter { name: "list".into(), reason: "use `records`, `dies` or `survives`".into() }),
    };
    let limit = query.limit.unwrap_or(ITEMS_DEFAULT);
    if !(1..=ITEMS_MAX).contains(&limit) {
        return Err(Problem::BadParameter { name: "limit".into(), reason: format!("it is {limit}; use a number from 1 to {ITEMS_MAX}") });
    }
    let after = query.after.as_deref().map(untoken).transpose()?;
    let question = ImpactQuestion { list, limit, after, with_names: query.names.unwrap_or(false) };
    api.services.impact.list(by.scope(), id, question).await.map(Answer).map(IntoResponse::into_response)
}
