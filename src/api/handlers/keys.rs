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
use crate::api::key;
use crate::api::key::ApiKey;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::paging::foreign_token;
use crate::api::principal::Principal;
use crate::api::principal::Role;
use crate::api::problem::Problem;
use crate::api::wire::key::Key;
use crate::api::wire::key::KeyOrder;
use crate::api::wire::key::NewKey;
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
    if let Some(tenant) = &order.tenant {
        api.services.tenants.must_be_open(tenant).await?;
    }
    let now = api.clock.now();
    let id = KeyId::new(now, &api.entropy);
    let text = key::mint(id, &api.entropy);
    let KeyOrder { role, tenant, purposes } = order;
    let (hash, shown) = (key::hash(text.expose()), (tenant.clone(), purposes.clone()));
    api.keys.insert(ApiKey { id, hash, role, tenant, purposes, created_at: now, revoked_at: None }, by.actor()).await?;
    let (tenant, purposes) = shown;
    Ok((StatusCode::CREATED, Answer(NewKey { id, role, tenant, purposes, key: text.expose().clone() })).into_response())
}

/// `GET /admin/keys`
pub async fn list(State(api): State<Arc<Api>>, Query(page): Query<PageQuery>) -> Result<Answer<List<Key>>, Problem> {
    let order = page.order()?;
    let after = order.after.map(|place| place.try_into().map(KeyId::from_bytes).map_err(|_| foreign_token())).transpose()?;
    let mut keys = api.keys.list(after, order.limit + 1).await?;
    let more = keys.len() > order.limit;
    keys.truncate(order.limit);
    let end = keys.last().filter(|_| more).map(|key| key.id.to_bytes());
    let items = keys.into_iter().map(Key::from).collect();
    Ok(Answer(List::new(items, end.as_ref().map(|place| &place[..]))))
}

/// `DELETE /admin/keys/{id}`: a second time changes nothing.
pub async fn revoke(State(api): State<Arc<Api>>, by: Principal, Id(id): Id<KeyId>) -> Result<Answer<Key>, Problem> {
    let key = api.keys.find(id).await?.ok_or_else(|| Problem::not_found("key", &id.to_string()))?;
    if key.revoked_at.is_some() {
        return Ok(Answer(key.into()));
    }
    Ok(Answer(api.keys.revoke(key, api.clock.now(), by.actor()).await?.into()))
}
