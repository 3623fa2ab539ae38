//! Tenants, for the local operator.

use std::sync::Arc;

use axum::extract::State;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Query;
use crate::api::body::Segments;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::problem::Problem;
use crate::api::wire::tenant::Tenant;

/// `GET /admin/tenants`
pub async fn list(State(api): State<Arc<Api>>, Query(page): Query<PageQuery>) -> Result<Answer<List<Tenant>>, Problem> {
    api.services.tenants.list(page.order()?).await.map(Answer)
}

/// `GET /admin/tenants/{name}`
pub async fn get(State(api): State<Arc<Api>>, Segments(name): Segments<String>) -> Result<Answer<Tenant>, Problem> {
    let tenant = name.parse().map_err(|_| Problem::not_found("tenant", &name))?;
    api.services.tenants.get(&tenant).await.map(Answer)
}
