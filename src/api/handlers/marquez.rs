//! What Marquez' clients ask and write: each handler puts a request into a question or a change.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use url::form_urlencoded;
use uuid::Builder;

use crate::api::Api;
use crate::api::body;
use crate::api::body::Answer;
use crate::api::body::BODY_BYTES_MAX;
use crate::api::handlers::openlineage::Refusal;
use crate::api::handlers::openlineage::Tenant;
use crate::api::problem::Problem;
use crate::clock::Timestamp;
use crate::openlineage::Change;
use crate::openlineage::Counted;
use crate::openlineage::NodeKind;
use crate::openlineage::Part;
use crate::openlineage::Question;
use crate::openlineage::Search;
use crate::openlineage::moment;

/// Items where the caller names no limit, and the most, whatever limit is named.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// The farthest that a list is skipped.
const OFFSET_MAX: usize = 100_000;
/// How far a graph goes where the caller does not say, and at most.
const DEPTH_DEFAULT: usize = 20;
const DEPTH_MAX: usize = 100;

type Answered = Result<Answer<Value>, Refusal>;

/// A request about a tenant's graph: who asks is settled, what the query says is read as it is needed.
pub struct Asked {
    api: Arc<Api>,
    tenant: crate::ids::TenantId,
    query: Vec<(String, String)>,
}

impl FromRequestParts<Arc<Api>> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Api>) -> Result<Self, Refusal> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, state).await?;
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Ok(Asked { api: Arc::clone(state), tenant, query })
    }
}

/// The decoded parts of the path.
pub struct Names<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Path::<T>::from_request_parts(parts, state).await.map(|Path(names)| Names(names)).map_err(|_| Refusal(Problem::NoRoute))
    }
}

impl Asked {
    async fn answer(self, question: Question) -> Answered {
        Ok(Answer(self.api.services.job_graph.answer(&self.tenant, question).await?))
    }

    async fn change(self, change: Change) -> Answered {
        Ok(Answer(self.api.services.job_graph.change(&self.tenant, change).await?))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let reason = || "it is no whole number from 0 up; give one".to_owned();
        let number: u64 = text.parse().map_err(|_| Problem::BadParameter { name: name.into(), reason: reason() })?;
        Ok(usize::try_from(number).unwrap_or(max).min(max))
    }

    fn depth(&self) -> Result<u32, Problem> {
        Ok(u32::try_from(self.number("depth", DEPTH_DEFAULT, DEPTH_MAX)?).unwrap_or(u32::MAX))
    }

    fn part(&self) -> Result<Part, Problem> {
        Ok(Part { limit: self.number("limit", LIMIT_DEFAULT, LIMIT_MAX)?, offset: self.number("offset", 0, OFFSET_MAX)? })
    }

    /// Python writes its booleans with a capital.
    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let unreadable = |_| Problem::BadParameter { name: name.into(), reason: "it is no time of RFC 3339; give one".into() };
        moment(self.text(name).unwrap_or_default()).map_err(unreadable)
    }

    fn word(&self, name: &str, words: &[&str]) -> Result<Option<usize>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let place = words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let reason = || format!("use one of: {}", words.join(", "));
        place.map(Some).ok_or_else(|| Problem::BadParameter { name: name.into(), reason: reason() })
    }

    fn states(&self) -> Vec<String> {
        let all = self.query.iter().filter(|(name, _)| name == "lastRunStates").flat_map(|(_, value)| value.split(','));
        all.map(|state| state.trim().to_owned()).filter(|state| !state.is_empty()).collect()
    }
}

/// `GET /api/v1/lineage`
pub async fn lineage(asked: Asked) -> Answered {
    let (node, depth) = (asked.text("nodeId").unwrap_or_default().to_owned(), asked.depth()?);
    asked.answer(Question::Around(node, depth)).await
}

/// `GET /api/v1/runlineage/upstream`
pub async fn upstream(asked: Asked) -> Answered {
    let (run, depth) = (asked.text("runId").unwrap_or_default().to_owned(), asked.depth()?);
    asked.answer(Question::Upstream(run, depth)).await
}

/// `GET /api/v1/column-lineage`
pub async fn columns(asked: Asked) -> Answered {
    let (node, depth) = (asked.text("nodeId").unwrap_or_default().to_owned(), asked.depth()?);
    let downstream = asked.flag("withDownstream");
    asked.answer(Question::Columns(node, depth, downstream)).await
}

/// `GET /api/v1/events` and `GET /api/v1/events/lineage`
pub async fn events(asked: Asked) -> Answered {
    events_in(asked, None).await
}

/// `GET /api/v1/events/{namespace}`
pub async fn events_of(asked: Asked, Names(namespace): Names<String>) -> Answered {
    events_in(asked, Some(namespace)).await
}

async fn events_in(asked: Asked, namespace: Option<String>) -> Answered {
    let (before, after, part) = (asked.time("before")?, asked.time("after")?, asked.part()?);
    let newest_first = asked.word("sortDirection", &["desc", "asc"])? != Some(1);
    asked.answer(Question::Events(namespace, before, after, newest_first, part)).await
}

/// `GET /api/v1/namespaces`
pub async fn namespaces(asked: Asked) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::All(NodeKind::Namespace, part)).await
}

/// `GET /api/v1/sources`
pub async fn sources(asked: Asked) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::All(NodeKind::Source, part)).await
}

/// `GET /api/v1/tags`
pub async fn tags(asked: Asked) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::All(NodeKind::Tag, part)).await
}

/// `GET /api/v1/namespaces/{namespace}`
pub async fn namespace(asked: Asked, Names(name): Names<String>) -> Answered {
    asked.answer(Question::One(NodeKind::Namespace, String::new(), name)).await
}

/// `GET /api/v1/sources/{source}`
pub async fn source(asked: Asked, Names(name): Names<String>) -> Answered {
    asked.answer(Question::One(NodeKind::Source, String::new(), name)).await
}

/// `GET /api/v1/tags/{tag}`
pub async fn tag(asked: Asked, Names(name): Names<String>) -> Answered {
    asked.answer(Question::One(NodeKind::Tag, String::new(), name)).await
}

/// `GET /api/v1/namespaces/{namespace}/datasets`
pub async fn datasets(asked: Asked, Names(namespace): Names<String>) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::Of(NodeKind::Dataset, Some(namespace), Vec::new(), part)).await
}

/// `GET /api/v1/jobs`
pub async fn all_jobs(asked: Asked) -> Answered {
    let (states, part) = (asked.states(), asked.part()?);
    asked.answer(Question::Of(NodeKind::Job, None, states, part)).await
}

/// `GET /api/v1/namespaces/{namespace}/jobs`
pub async fn jobs(asked: Asked, Names(namespace): Names<String>) -> Answered {
    let (states, part) = (asked.states(), asked.part()?);
    asked.answer(Question::Of(NodeKind::Job, Some(namespace), states, part)).await
}

/// `GET …/datasets/{dataset}`
pub async fn dataset(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    asked.answer(Question::One(NodeKind::Dataset, namespace, name)).await
}

/// `GET …/jobs/{job}`
pub async fn job(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    asked.answer(Question::One(NodeKind::Job, namespace, name)).await
}

/// `GET …/datasets/{dataset}/versions`
pub async fn dataset_versions(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::Versions(NodeKind::Dataset, namespace, name, part)).await
}

/// `GET …/jobs/{job}/versions`
pub async fn job_versions(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::Versions(NodeKind::Job, namespace, name, part)).await
}

/// `GET …/datasets/{dataset}/versions/{version}`
pub async fn dataset_version(asked: Asked, Names((namespace, name, version)): Names<(String, String, String)>) -> Answered {
    asked.answer(Question::Version(NodeKind::Dataset, namespace, name, version)).await
}

/// `GET …/jobs/{job}/versions/{version}`
pub async fn job_version(asked: Asked, Names((namespace, name, version)): Names<(String, String, String)>) -> Answered {
    asked.answer(Question::Version(NodeKind::Job, namespace, name, version)).await
}

/// `GET …/jobs/{job}/runs`
pub async fn runs(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    let part = asked.part()?;
    asked.answer(Question::Runs(namespace, name, part)).await
}

/// `GET /api/v1/jobs/runs/{run}`
pub async fn run(asked: Asked, Names(id): Names<String>) -> Answered {
    asked.answer(Question::Run(id)).await
}

/// `GET /api/v1/jobs/runs/{run}/facets`
pub async fn run_facets(asked: Asked, Names(id): Names<String>) -> Answered {
    let of_job = asked.word("type", &["run", "job"])? == Some(1);
    asked.answer(Question::RunFacets(id, of_job)).await
}

/// `GET /api/v1/search`
pub async fn search(asked: Asked) -> Answered {
    let kind = asked.word("filter", &["DATASET", "JOB"])?.map(|place| [NodeKind::Dataset, NodeKind::Job][place]);
    let search = Search {
        text: asked.text("q").unwrap_or_default().to_owned(),
        kind,
        namespace: asked.text("namespace").map(str::to_owned),
        before: asked.time("before")?,
        after: asked.time("after")?,
        by_update: asked.word("sort", &["NAME", "UPDATED_AT"])? == Some(1),
        limit: asked.number("limit", LIMIT_DEFAULT, LIMIT_MAX)?,
    };
    asked.answer(Question::Search(search)).await
}

/// `GET /api/v2beta/search/…`
pub async fn no_hits(_: Asked) -> Answered {
    Ok(Answer(json!({ "hits": [], "highlights": [] })))
}

/// `GET /api/v1/stats/lineage-events`
pub async fn stats_events(asked: Asked) -> Answered {
    stats(asked, Counted::Events).await
}

/// `GET /api/v1/stats/jobs`
pub async fn stats_jobs(asked: Asked) -> Answered {
    stats(asked, Counted::Jobs).await
}

/// `GET /api/v1/stats/datasets`
pub async fn stats_datasets(asked: Asked) -> Answered {
    stats(asked, Counted::Datasets).await
}

/// `GET /api/v1/stats/sources`
pub async fn stats_sources(asked: Asked) -> Answered {
    stats(asked, Counted::Sources).await
}

async fn stats(asked: Asked, counted: Counted) -> Answered {
    let weekly = asked.word("period", &["DAY", "WEEK"])? == Some(1);
    asked.answer(Question::Stats(counted, weekly)).await
}

/// `PUT /api/v1/namespaces/{namespace}`
pub async fn put_namespace(asked: Asked, Names(name): Names<String>, request: Request) -> Answered {
    let said = said(request).await?;
    asked.change(Change::Declare(NodeKind::Namespace, String::new(), name, said)).await
}

/// `PUT /api/v1/sources/{source}`
pub async fn put_source(asked: Asked, Names(name): Names<String>, request: Request) -> Answered {
    let said = said(request).await?;
    asked.change(Change::Declare(NodeKind::Source, String::new(), name, said)).await
}

/// `PUT /api/v1/tags/{tag}`
pub async fn put_tag(asked: Asked, Names(name): Names<String>, request: Request) -> Answered {
    let said = said(request).await?;
    asked.change(Change::Declare(NodeKind::Tag, String::new(), name, said)).await
}

/// `PUT …/datasets/{dataset}`
pub async fn put_dataset(asked: Asked, Names((namespace, name)): Names<(String, String)>, request: Request) -> Answered {
    let said = said(request).await?;
    asked.change(Change::Declare(NodeKind::Dataset, namespace, name, said)).await
}

/// `PUT …/jobs/{job}`
pub async fn put_job(asked: Asked, Names((namespace, name)): Names<(String, String)>, request: Request) -> Answered {
    let said = said(request).await?;
    asked.change(Change::Declare(NodeKind::Job, namespace, name, said)).await
}

/// `DELETE /api/v1/namespaces/{namespace}`
pub async fn hide_namespace(asked: Asked, Names(name): Names<String>) -> Answered {
    asked.change(Change::Hide(NodeKind::Namespace, String::new(), name)).await
}

/// `DELETE …/datasets/{dataset}`
pub async fn hide_dataset(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    asked.change(Change::Hide(NodeKind::Dataset, namespace, name)).await
}

/// `DELETE …/jobs/{job}`
pub async fn hide_job(asked: Asked, Names((namespace, name)): Names<(String, String)>) -> Answered {
    asked.change(Change::Hide(NodeKind::Job, namespace, name)).await
}

/// `POST …/datasets/{dataset}/tags/{tag}`
pub async fn tag_dataset(asked: Asked, Names((namespace, name, word)): Names<(String, String, String)>) -> Answered {
    asked.change(Change::Word { kind: NodeKind::Dataset, namespace, name, field: None, word, given: true }).await
}

/// `DELETE …/datasets/{dataset}/tags/{tag}`
pub async fn untag_dataset(asked: Asked, Names((namespace, name, word)): Names<(String, String, String)>) -> Answered {
    asked.change(Change::Word { kind: NodeKind::Dataset, namespace, name, field: None, word, given: false }).await
}

/// `POST …/fields/{field}/tags/{tag}`
pub async fn tag_field(asked: Asked, Names((namespace, name, field, word)): Names<(String, String, String, String)>) -> Answered {
    asked.change(Change::Word { kind: NodeKind::Dataset, namespace, name, field: Some(field), word, given: true }).await
}

/// `DELETE …/fields/{field}/tags/{tag}`
pub async fn untag_field(asked: Asked, Names((namespace, name, field, word)): Names<(String, String, String, String)>) -> Answered {
    asked.change(Change::Word { kind: NodeKind::Dataset, namespace, name, field: Some(field), word, given: false }).await
}

/// `POST …/jobs/{job}/tags/{tag}`
pub async fn tag_job(asked: Asked, Names((namespace, name, word)): Names<(String, String, String)>) -> Answered {
    asked.change(Change::Word { kind: NodeKind::Job, namespace, name, field: None, word, given: true }).await
}

/// `DELETE …/jobs/{job}/tags/{tag}`
pub async fn untag_job(asked: Asked, Names((namespace, name, word)): Names<(String, String, String)>) -> Answered {
    asked.change(Change::Word { kind: NodeKind::Job, namespace, name, field: None, word, given: false }).await
}

/// `POST …/jobs/{job}/runs`
pub async fn begin_run(asked: Asked, Names((namespace, name)): Names<(String, String)>, request: Request) -> Result<Response, Refusal> {
    let said = said(request).await?;
    let now = u64::try_from(asked.api.clock.now().as_millisecond()).unwrap_or_default();
    let id = Builder::from_unix_timestamp_millis(now, &asked.api.entropy.bytes()).into_uuid();
    let answer = asked.change(Change::Begin(namespace, name, said, id)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// `POST /api/v1/jobs/runs/{run}/{action}`
pub async fn mark_run(asked: Asked, Names((id, action)): Names<(String, String)>) -> Answered {
    if !matches!(action.as_str(), "start" | "complete" | "fail" | "abort") {
        return Err(Refusal(Problem::NoRoute));
    }
    let at = asked.time("at")?;
    asked.change(Change::Mark(id, action, at)).await
}

/// A body that is an object, or nothing at all.
async fn said(request: Request) -> Result<Map<String, Value>, Problem> {
    let bytes = body::read(request.into_body(), BODY_BYTES_MAX).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let malformed = || Problem::Malformed { reason: "the body is no JSON object; send one".into() };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(said)) => Ok(said),
        Ok(Value::Null) => Ok(Map::new()),
        _ => Err(malformed()),
    }
}
