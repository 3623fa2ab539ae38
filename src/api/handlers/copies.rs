//! Compactions and backups, for the local operator.

use std::sync::Arc;

use axum::extract::State;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Json;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire::copies::BackedUp;
use crate::api::wire::copies::BackupOrder;
use crate::api::wire::copies::Compacted;
use crate::api::wire::copies::CopyUnderWay;

/// `POST /admin/store/compact`
pub async fn compact(State(api): State<Arc<Api>>, by: Principal) -> Result<Answer<Compacted>, Problem> {
    api.services.copies.compact(&by).await.map(Answer)
}

/// `POST /admin/store/backup`
pub async fn backup(State(api): State<Arc<Api>>, by: Principal, Json(order): Json<BackupOrder>) -> Result<Answer<BackedUp>, Problem> {
    api.services.copies.backup(&by, order).await.map(Answer)
}

/// `GET /admin/store/copy`
pub async fn under_way(State(api): State<Arc<Api>>) -> Result<Answer<CopyUnderWay>, Problem> {
    Ok(Answer(api.services.copies.under_way()))
}
