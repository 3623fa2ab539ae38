//! What stands before every handler: who asks, whether they may, whether the request is as its row says.
//!
//! The order is fixed: key, role, query, purpose, body, idempotency. A stranger learns nothing about a route but that it
//! needs a key.

use std::sync::Arc;
use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http_body_util::BodyExt;
use jsonschema::Validator;
use url::form_urlencoded;

use crate::api::Api;
use crate::api::body;
use crate::api::idempotency;
use crate::api::key;
use crate::api::principal::Principal;
use crate::api::principal::StatedPurpose;
use crate::api::problem::Problem;
use crate::api::route;
use crate::api::route::Access;
use crate::api::route::Parameter;
use crate::api::route::Route;
use crate::api::wire::schema;
use crate::ids::cut;

/// The header that states what payload is read for.
pub const PURPOSE_HEADER: &str = "headgate-purpose";

/// Where requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The network: every request proves itself with a key.
    Network,
    /// The socket in the data directory, or this very process: the operator, and the routes under `/admin/`.
    Local,
}

impl Door {
    /// Whether the row is served here.
    pub fn serves(self, route: &Route) -> bool {
        self == Door::Local || route.access != Access::Local
    }
}

/// A route, as one door serves it.
pub struct Doorway {
    api: Arc<Api>,
    route: &'static Route,
    door: Door,
    /// Compiled for the first body: most processes see few routes.
    schema: OnceLock<Validator>,
}

impl Doorway {
    /// Prepares the row for serving.
    pub fn new(api: Arc<Api>, route: &'static Route, door: Door) -> Arc<Self> {
        Arc::new(Doorway { api, route, door, schema: OnceLock::new() })
    }

    /// The schema of the row's body.
    ///
    /// # Panics
    /// When it is none: the schemas are part of the program, and a test sends every row a body.
    fn schema(&self, body: route::Body) -> &Validator {
        let compile = || jsonschema::validator_for(&schema::standalone(&body.schema)).expect("a schema of the program's own compiles");
        self.schema.get_or_init(compile)
    }
}

/// Lets a request through to its handler, or says why not.
///
/// # Errors
/// Every problem that [`Route::all_problems`] derives from the row's columns.
pub async fn pass(State(doorway): State<Arc<Doorway>>, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let principal = identify(&doorway, &parts.headers).await?;
    if principal.is_some() && !doorway.route.stops && !doorway.api.services.ground.writes() {
        let source = "the store no longer takes writes; restart the process".into();
        return Err(Problem::Unavailable { what: "the audit log", source });
    }
    check_query(doorway.route, parts.uri.query())?;
    if let Some(principal) = &principal {
        if doorway.route.reads_payload {
            parts.extensions.insert(stated_purpose(principal, &parts.headers)?);
        }
        parts.extensions.insert(Arc::clone(principal));
    }
    match principal {
        Some(principal) if doorway.route.acts() => act(doorway, principal, parts, body, next).await,
        None if doorway.route.acts() => finish(tokio::spawn(next.run(Request::from_parts(parts, body)))).await,
        _ => Ok(next.run(Request::from_parts(parts, body)).await),
    }
}

/// Who asks; nobody on a public route.
async fn identify(doorway: &Doorway, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Problem> {
    let roles = match doorway.route.access {
        Access::Public => return Ok(None),
        _ if doorway.door == Door::Local => return Ok(Some(Arc::new(Principal::local()))),
        Access::Local => return Err(Problem::NoRoute),
        Access::Roles(roles) => roles,
    };
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(Problem::Unauthenticated)?;
    let (scheme, text) = value.split_once(' ').ok_or(Problem::Unauthenticated)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::Unauthenticated);
    }
    let principal = key::authenticate(&*doorway.api.keys, text.trim()).await?;
    if !roles.contains(&principal.role) {
        let needed = roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
        return Err(Problem::RoleRefused { role: principal.role.name(), needed });
    }
    Ok(Some(Arc::new(principal)))
}

/// Refuses parameters that the row does not name, and those given twice.
fn check_query(route: &Route, query: Option<&str>) -> Result<(), Problem> {
    if route.any_query {
        return Ok(());
    }
    let mut seen: Vec<&Parameter> = Vec::new();
    for (name, _) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(parameter) = route.query.iter().find(|parameter| parameter.name == name) else {
            let known = match route.query {
                [] => "none".to_owned(),
                query => query.iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", "),
            };
            return Err(Problem::UnknownParameter { name: cut(&name), known });
        };
        if !parameter.repeats && seen.iter().any(|other| other.name == parameter.name) {
            return Err(Problem::BadParameter { name: parameter.name.into(), reason: "it is given twice; give it once".into() });
        }
        seen.push(parameter);
    }
    let missing = route.query.iter().find(|parameter| parameter.required && !seen.iter().any(|other| other.name == parameter.name));
    match missing {
        Some(parameter) => Err(Problem::BadParameter { name: parameter.name.into(), reason: format!("it is needed: {}", parameter.text) }),
        None => Ok(()),
    }
}

/// The purpose in the header, held against the principal's own.
fn stated_purpose(principal: &Principal, headers: &HeaderMap) -> Result<StatedPurpose, Problem> {
    let Some(value) = headers.get(PURPOSE_HEADER) else {
        let missing = || Problem::PurposeMissing { allowed: principal.purposes.to_string() };
        return if principal.is_local() { Ok(StatedPurpose(None)) } else { Err(missing()) };
    };
    let text = value.to_str().unwrap_or_default().trim();
    match text.parse() {
        Ok(purpose) if principal.purposes.allow(purpose) => Ok(StatedPurpose(Some(purpose))),
        _ => Err(Problem::PurposeRefused { purpose: cut(text), allowed: principal.purposes.to_string() }),
    }
}

/// Reads and checks the body, then does the act in a task of its own: once begun it ends and its answer is kept, even when
/// the caller hangs up.
async fn act(doorway: Arc<Doorway>, principal: Arc<Principal>, parts: Parts, body: Body, next: Next) -> Result<Response, Problem> {
    let limit = doorway.route.body.map_or(body::BODY_BYTES_MAX, |body| body.bytes_max);
    let bytes = body::read(body, limit).await?;
    match doorway.route.body {
        Some(body) if body.raw => {}
        Some(body) if !(body.optional && bytes.is_empty()) => body::check(&parts.headers, &bytes, doorway.schema(body))?,
        None if !bytes.is_empty() && bytes.trim_ascii() != b"{}" => {
            return Err(Problem::member("", "unexpected", "this route takes no body; send none"));
        }
        _ => {}
    }
    let Some(name) = idempotency::name(doorway.route, &principal, &parts.headers)? else {
        return finish(tokio::spawn(next.run(Request::from_parts(parts, Body::from(bytes))))).await;
    };
    let request = idempotency::request_digest(parts.uri.path(), parts.uri.query(), &bytes);
    let turn = doorway.api.under_way.take(name, request)?;
    if let Some(response) = idempotency::replay(&*doorway.api.answers, name, request, doorway.api.clock.now()).await? {
        return Ok(response);
    }
    let done = tokio::spawn(async move {
        let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
        let (mut head, body) = response.into_parts();
        let whole = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return Problem::internal(error).into_response(),
        };
        let kept = idempotency::keep(&*doorway.api.answers, name, request, doorway.route, (head.status, &whole), doorway.api.clock.now());
        if let Err(problem) = kept.await {
            // The act is done and the caller must learn of it; only a repeat will not find this answer.
            tracing::error!(route = doorway.route.path, "an answer could not be kept for its idempotency key: {problem}");
        }
        idempotency::mark_fresh(&mut head.headers);
        drop(turn);
        Response::from_parts(head, Body::from(whole))
    });
    finish(done).await
}

/// Waits for an act; a panic inside it is a fault of Headgate's own.
async fn finish(done: tokio::task::JoinHandle<Response>) -> Result<Response, Problem> {
    done.await.map_err(Problem::internal)
}
