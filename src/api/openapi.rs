//! The OpenAPI 3.1 description, made from the list of routes.

use std::collections::BTreeMap;

use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::api::body::Answer;
use crate::api::door::PURPOSE_HEADER;
use crate::api::problem;
use crate::api::problem::Kind;
use crate::api::route::Access;
use crate::api::route::Content;
use crate::api::route::Route;
use crate::api::routes;
use crate::api::wire::schema;

/// `GET /openapi.json`
pub async fn document() -> Response {
    let mut response = Answer(describe(routes())).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, axum::http::HeaderValue::from_static("public, max-age=300"));
    response
}

/// Describes `routes`: every operation with its parameters, body, 2xx answers and problems.
pub fn describe<'a>(routes: impl Iterator<Item = &'a Route>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let item = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        item[route.verb.name().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headgate",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": "Lists answer `{items, next}`; refusals are `application/problem+json`, and their `type` names a page here. \
                Routes under /admin/ answer on the socket in the data directory alone.",
        },
        "paths": paths,
        "components": {
            "schemas": schema::components(),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "An API key, hg_…" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    match route.access {
        Access::Public => operation["security"] = json!([]),
        Access::Roles(roles) => {
            operation["security"] = json!([{ "key": [] }]);
            operation["x-headgate-roles"] = roles.iter().map(|role| json!(role.name())).collect();
        }
        Access::Local => {
            operation["security"] = json!([]);
            operation["x-headgate-local"] = json!(true);
        }
    }
    if let Some(body) = route.body {
        let content = json!({ "application/json": { "schema": schema::reference(&body.schema) } });
        operation["requestBody"] = json!({ "required": !body.optional, "content": content });
    }
    operation
}

/// `GET /v1/connections/{id}/impact` is `get_v1_connections_id_impact`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut id = route.verb.name().to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path_parameters().map(|name| json!({ "name": name, "in": "path", "required": true, "schema": schema::string() }));
    let in_query = route.query.iter().map(|parameter| {
        let kind = match parameter.name {
            "limit" | "offset" | "depth" | "version" | "entry" | "from" | "to" => schema::integer(),
            "dry_run" => schema::boolean(),
            _ => schema::string(),
        };
        json!({ "name": parameter.name, "in": "query", "required": parameter.required, "description": parameter.text, "schema": kind })
    });
    let mut parameters: Vec<Value> = in_path.chain(in_query).collect();
    if route.reads_payload {
        let text = "What the payload is read for: one of the key's purposes";
        let schema = schema::purpose();
        parameters.push(json!({ "name": PURPOSE_HEADER, "in": "header", "required": true, "description": text, "schema": schema }));
    }
    if route.is_idempotent() {
        let text = "Within 24 hours the same request under the same key is answered, not done, again";
        let schema = schema::short_text(255);
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "required": false, "description": text, "schema": schema }));
    }
    parameters
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for answer in route.answers {
        let mut response = json!({ "description": answer.text });
        match answer.content {
            Content::Json(schema) => response["content"] = json!({ "application/json": { "schema": schema::reference(&schema) } }),
            Content::Text(kind) => response["content"] = json!({ kind: { "schema": schema::string() } }),
            Content::Empty => {}
        }
        responses.insert(answer.status.as_u16().to_string(), response);
    }
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in route.all_problems() {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    for (status, kinds) in by_status {
        let text = kinds.iter().map(|kind| format!("{} ({})", kind.title(), kind.uri())).collect::<Vec<_>>().join("; ");
        let content = json!({ problem::CONTENT_TYPE: { "schema": schema::reference(&schema::PROBLEM) } });
        responses.insert(status.to_string(), json!({ "description": text, "content": content }));
    }
    Value::Object(responses)
}
