//! Connectors and the store, for the local operator.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::body::Segments;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire::connector::Connector;
use crate::api::wire::store::CheckOrder;

/// `GET /admin/connectors`
pub async fn connectors(State(api): State<Arc<Api>>, Query(page): Query<PageQuery>) -> Result<Answer<List<Connector>>, Problem> {
    api.services.connectors.list(page.order()?).await.map(Answer)
}

/// `GET /admin/connectors/{name}`
pub async fn connector(State(api): State<Arc<Api>>, Segments(name): Segments<String>) -> Result<Answer<Connector>, Problem> {
    api.services.connectors.get(&name).await.map(Answer)
}

/// `POST /admin/connectors/{name}/disable`
pub async fn disable(State(api): State<Arc<Api>>, by: Principal, Segments(name): Segments<String>) -> Result<Answer<Connector>, Problem> {
    api.services.connectors.set_enabled(&by, &name, false).await.map(Answer)
}

/// `POST /admin/connectors/{name}/enable`
pub async fn enable(State(api): State<Arc<Api>>, by: Principal, Segments(name): Segments<String>) -> Result<Answer<Connector>, Problem> {
    api.services.connectors.set_enabled(&by, &name, true).await.map(Answer)
}

/// `POST /admin/store/check`
pub async fn begin_check(State(api): State<Arc<Api>>, Json(order): Json<CheckOrder>) -> Result<Answer<Value>, Problem> {
    api.services.ground.begin_check(order.time_limit.map(Duration::from_secs)).await.map(Answer)
}

/// `GET /admin/store/check`
pub async fn check(State(api): State<Arc<Api>>) -> Result<Answer<Value>, Problem> {
    api.services.ground.check().await.map(Answer)
}

/// `GET /admin/store/stats`
pub async fn store_stats(State(api): State<Arc<Api>>) -> Result<Answer<Value>, Problem> {
    api.services.ground.stats().await.map(Answer)
}
