//! API keys, made and revoked by the local operator.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::body::Json;
use crate::api::body::Query;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::principal::Role;
use crate::api::problem::Problem;
use crate::api::wire::key::Key;
use crate::api::wire::key::KeyOrder;
use crate::ids::KeyId;

/// `POST /admin/keys`
pub async fn create(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<KeyOrder>) -> Result<Response, Problem> {
    match (order.role, &order.tenant) {
        (Role::Service | Role::Customer, None) => {
            let message = format!("a {} key speaks for one tenant; name it", order.role.name());
            return Err(Problem::member("/tenant", "required", message));
        }
        (Role::Operator, Some(_)) => {
            return Err(Problem::member("/tenant", "unexpected", "an operator key speaks for every tenant; name none"));
        }
        _ => {}
    }
    let key = api.services.keys.create(&by, order).await?;
    Ok((StatusCode::CREATED, Answer(key)).into_response())
}

/// `GET /admin/keys`
pub async fn list(State(api): State<Arc<Api>>, Query(page): Query<PageQuery>) -> Result<Answer<List<Key>>, Problem> {
    api.services.keys.list(page.order()?).await.map(Answer)
}

/// `DELETE /admin/keys/{id}`
pub async fn revoke(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<KeyId>) -> Result<Answer<Key>, Problem> {
    api.services.keys.revoke(&by, id).await.map(Answer)
}
