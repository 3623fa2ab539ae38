//! Records, their origin, and what shares a business key.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Id;
use crate::api::body::Query;
use crate::api::body::Segments;
use crate::api::body::id;
use crate::api::paging::List;
use crate::api::paging::PageQuery;
use crate::api::principal::Principal;
use crate::api::principal::StatedPurpose;
use crate::api::problem::Problem;
use crate::api::services::OriginQuestion;
use crate::api::services::RecordFilter;
use crate::api::wire::lineage::Explanation;
use crate::api::wire::lineage::KeyMatch;
use crate::api::wire::lineage::Origin;
use crate::api::wire::lineage::StreamFields;
use crate::api::wire::record::Record;
use crate::ids::RecordId;
use crate::ids::TenantId;

/// The filters of a list of records.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    connection: String,
    stream: Option<String>,
    kind: Option<String>,
}

/// `GET /v1/records`
pub async fn list(
    State(api): State<Arc<Api>>,
    by: Principal,
    StatedPurpose(purpose): StatedPurpose,
    Query(query): Query<ListQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<List<Record>>, Problem> {
    let filter = RecordFilter { connection: id(&query.connection)?, stream: query.stream, kind: query.kind };
    api.services.records.list(&by, purpose, filter, page.order()?).await.map(Answer)
}

/// Which version of a record.
#[derive(Debug, Deserialize)]
pub struct VersionQuery {
    version: Option<u32>,
}

/// `GET /v1/records/{id}`
pub async fn get(
    State(api): State<Arc<Api>>,
    by: Principal,
    StatedPurpose(purpose): StatedPurpose,
    Id(id): Id<RecordId>,
    Query(query): Query<VersionQuery>,
) -> Result<Answer<Record>, Problem> {
    api.services.records.get(&by, purpose, id, query.version).await.map(Answer)
}

/// Which origin of a record.
#[derive(Debug, Deserialize)]
pub struct OriginQuery {
    version: Option<u32>,
    proof: Option<bool>,
}

/// `GET /v1/records/{id}/lineage`
pub async fn origin(
    State(api): State<Arc<Api>>,
    by: Principal,
    Id(id): Id<RecordId>,
    Query(query): Query<OriginQuery>,
) -> Result<Answer<Origin>, Problem> {
    let question = OriginQuestion { version: query.version, proof: query.proof.unwrap_or_default() };
    api.services.records.origin(&by, id, question).await.map(Answer)
}

/// Which version and field of a record.
#[derive(Debug, Deserialize)]
pub struct ExplainQuery {
    version: Option<u32>,
    field: Option<String>,
}

/// `GET /v1/records/{id}/explain`
pub async fn explain(
    State(api): State<Arc<Api>>,
    by: Principal,
    StatedPurpose(purpose): StatedPurpose,
    Id(id): Id<RecordId>,
    Query(query): Query<ExplainQuery>,
) -> Result<Answer<Explanation>, Problem> {
    api.services.records.explain(&by, purpose, id, (query.version, query.field)).await.map(Answer)
}

/// Which stream of which connection.
#[derive(Debug, Deserialize)]
pub struct FieldsQuery {
    connection: String,
    stream: String,
}

/// `GET /v1/lineage/fields`
pub async fn fields(State(api): State<Arc<Api>>, by: Principal, Query(query): Query<FieldsQuery>) -> Result<Answer<StreamFields>, Problem> {
    api.services.records.fields(&by, id(&query.connection)?, query.stream).await.map(Answer)
}

/// Whose keys an operator asks about.
#[derive(Debug, Deserialize)]
pub struct KeyQuery {
    tenant: Option<TenantId>,
}

/// `GET /v1/lineage/keys/{kind}/{value}`
pub async fn by_key(
    State(api): State<Arc<Api>>,
    by: Principal,
    Segments((kind, value)): Segments<(String, String)>,
    Query(query): Query<KeyQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<List<KeyMatch>>, Problem> {
    let named = query.tenant.or_else(|| by.scope().cloned());
    let needed = || Problem::BadParameter { name: "tenant".into(), reason: "an operator names the tenant whose keys are meant".into() };
    let tenant = named.ok_or_else(needed)?;
    by.must_see(&tenant)?;
    api.services.records.by_key(&by, tenant, kind, value, page.order()?).await.map(Answer)
}
