//! The keyring, for the local operator.

use std::sync::Arc;

use axum::extract::State;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Json;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire::keyring::ExportOrder;
use crate::api::wire::keyring::Exported;
use crate::api::wire::keyring::Rotated;
use crate::api::wire::keyring::RotationOrder;

/// `POST /admin/keyring/rotate`
pub async fn rotate(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<RotationOrder>) -> Result<Answer<Rotated>, Problem> {
    api.services.keyring.rotate(&by, order).await.map(Answer)
}

/// `POST /admin/keyring/export`
pub async fn export(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<ExportOrder>) -> Result<Answer<Exported>, Problem> {
    api.services.keyring.export(&by, order).await.map(Answer)
}
