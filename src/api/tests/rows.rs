//! Every row of the list, walked.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;

use crate::api::door::Door;
use crate::api::openapi::describe;
use crate::api::principal::Role;
use crate::api::problem::Kind;
use crate::api::route::Access;
use crate::api::route::Content;
use crate::api::route::Route;
use crate::api::route::Verb;
use crate::api::router;
use crate::api::routes;
use crate::api::tests::JSON;
use crate::api::tests::ask;
use crate::api::tests::fake::House;
use crate::api::wire::schema;

/// A path of the row with ids that lead to something, and the query that it cannot do without.
fn path_of(route: &Route, house: &House) -> String {
    let id = match route.path {
        path if path.starts_with("/v1/connections") || path.starts_with("/admin/connections") => house.own.to_string(),
        path if path.starts_with("/v1/runs") => house.run.to_string(),
        path if path.starts_with("/v1/records") => house.record.to_string(),
        path if path.starts_with("/v1/erasures") => house.erasure.to_string(),
        path if path.starts_with("/v1/consents") => house.consent.to_string(),
        path if path.starts_with("/admin/keys") => house.key_ids["customer"].to_string(),
        _ => "0".into(),
    };
    let path = route
        .path
        .replace("{id}", &id)
        .replace("{index}", "0")
        .replace("{token}", "none")
        .replace("{kind}", "tracking_number")
        .replace("{action}", "start");
    let name = if route.path.starts_with("/problems/") { "not-found" } else { "sandbox" };
    let path = path.replace("{value}", "1Z%2F9").replace("{name}", name);
    let value = |name: &str| match name {
        "connection" => house.own.to_string(),
        "node" => house.record.to_string(),
        _ => "0".into(),
    };
    let needed: Vec<String> =
        route.query.iter().filter(|parameter| parameter.required).map(|p| format!("{}={}", p.name, value(p.name))).collect();
    let names_tenant = |route: &Route| route.query.iter().any(|parameter| parameter.name == "tenant") && route.path != "/v1/connections";
    let tenant = if names_tenant(route) { vec!["tenant=acme".to_owned()] } else { vec![] };
    let query: Vec<String> = needed.into_iter().chain(tenant).collect();
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

/// A body that the row accepts.
fn body_of(route: &Route, house: &House) -> String {
    match route.body.map(|body| body.schema.name) {
        Some("ConnectSessionOrder") => r#"{"connector":"sandbox","tenant":"acme"}"#.into(),
        Some("ConnectOrder") => {
            r#"{"connector":"sandbox","tenant":"acme","consent":{"person":"P","organisation":"O","policy_version":"2026-11",
            "purposes":["support"],"acknowledged":["responsibility","authority","third_party_terms","accuracy","retention"]}}"#
                .into()
        }
        Some("RevocationOrder" | "ErasureOrder") => format!(r#"{{"scope":{{"connection":"{}"}}}}"#, house.own),
        Some("DisclosureOrder") => {
            format!(r#"{{"recipient":"Carrier","purpose":"shipping","connection":"{}","at":"2026-11-01T00:00:00Z"}}"#, house.own)
        }
        Some("DerivationOrder") => r#"{"artifact":{"name":"label"},"need":"all","inputs":["rec_1"]}"#.into(),
        Some("ConnectionChange") => r#"{"state":"paused","schedule":null}"#.into(),
        Some("KeyOrder") => r#"{"role":"service","tenant":"acme","purposes":["support"]}"#.into(),
        Some("LineageEvent") => r#"{"eventTime":"2026-11-24T10:00:00Z","job":{"namespace":"n","name":"j"}}"#.into(),
        Some("LineageEvents") => "[]".into(),
        Some("BackupOrder") => r#"{"to":"/backups/monday"}"#.into(),
        Some("KeyringExportOrder") => r#"{"to":"/backups/keyring.export"}"#.into(),
        _ => String::new(),
    }
}

/// Who reaches what: each role and nobody, at each row, on each door. Every good answer is as its schema says.
#[tokio::test]
async fn roles_reach_what_their_rows_say() {
    let house = House::new();
    let network = router(Arc::clone(&house.api), Door::Network);
    let local = router(Arc::clone(&house.api), Door::Local);
    for route in routes() {
        let (path, body, verb) = (path_of(route, &house), body_of(route, &house), route.verb.name());
        let at = format!("{verb} {}", route.path);
        let nobody = ask(&network, verb, &path, &[JSON], &body).await;
        match route.access {
            Access::Public => assert_ne!(nobody.status, StatusCode::UNAUTHORIZED, "{at}"),
            Access::Roles(_) => drop(nobody.is(Kind::Unauthenticated)),
            Access::Local => assert!(matches!(nobody.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED), "{at}"),
        }
        if let Access::Roles(roles) = route.access {
            for role in Role::ALL {
                let headers = [("authorization", house.bearer(role.name())), ("headgate-purpose", "support"), JSON];
                let reply = ask(&network, verb, &path, &headers, &body).await;
                match roles.contains(role) {
                    true => assert!(reply.status.is_success(), "{at} as {}: {}", role.name(), reply.text),
                    false => drop(reply.is(Kind::RoleRefused)),
                }
            }
        }
        if !matches!(route.access, Access::Public) {
            let reply = ask(&local, verb, &path, &[JSON], &body).await;
            assert!(reply.status.is_success(), "{at} locally: {}", reply.text);
            check_answer(route, reply.status, &reply.text);
        }
    }
}

fn check_answer(route: &Route, status: StatusCode, text: &str) {
    let at = format!("{} {} {status}", route.verb.name(), route.path);
    let answer = route.answers.iter().find(|answer| answer.status == status).unwrap_or_else(|| panic!("{at} is not in its row"));
    let Content::Json(shape) = answer.content else { return };
    let value: Value = serde_json::from_str(text).expect("JSON");
    let validator = jsonschema::validator_for(&schema::standalone(&shape)).expect("a schema");
    let faults: Vec<String> = validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{at}: {faults:?}");
}

/// At every row an unknown query parameter is refused, and nothing is done.
#[tokio::test]
async fn unknown_parameters_are_refused_everywhere() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Local);
    for route in routes().filter(|route| !route.any_query) {
        let path = path_of(route, &house);
        let separator = if path.contains('?') { '&' } else { '?' };
        let reply = ask(&router, route.verb.name(), &format!("{path}{separator}dryrun=true"), &[JSON], &body_of(route, &house)).await;
        reply.is(Kind::UnknownParameter);
    }
    assert_eq!(house.fake.acts(), 0);
}

/// At every path another method is answered 405 with what is allowed, and an unknown path 404; both as problems.
#[tokio::test]
async fn wrong_methods_and_paths_are_problems() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    for route in routes().filter(|route| route.access != Access::Local) {
        let path = path_of(route, &house);
        let reply = ask(&router, "TRACE", &path, &[], "").await;
        reply.is(Kind::MethodNotAllowed);
        let allow: Vec<&str> = reply.header("allow").split(", ").collect();
        assert!(allow.contains(&route.verb.name()), "{} allows {allow:?}", route.path);
    }
    for path in ["/", "/v1", "/v1/connections/", "/admin/keys", "/v2/records", "/problems"] {
        let reply = ask(&router, "GET", path, &[], "").await;
        reply.is(Kind::NoRoute);
        assert_eq!((reply.header("x-content-type-options"), reply.header("cache-control")), ("nosniff", "no-store"));
    }
}

/// The schema of every body compiles: a server compiles one only for its first body.
#[test]
fn every_body_has_a_schema() {
    for body in routes().filter_map(|route| route.body) {
        assert!(jsonschema::validator_for(&schema::standalone(&body.schema)).is_ok(), "{}", body.schema.name);
    }
}

/// The description lists every row with a 2xx and a 4xx, and every pointer in it leads somewhere.
#[test]
fn the_description_lists_every_row() {
    let document = describe(routes());
    let mut ids = BTreeSet::new();
    for route in routes() {
        let operation = &document["paths"][route.path.replace("{*", "{")][route.verb.name().to_ascii_lowercase()];
        let statuses: Vec<&String> = operation["responses"].as_object().expect("responses").keys().collect();
        for class in ["2", "4"] {
            assert!(statuses.iter().any(|status| status.starts_with(class)), "{} {} has no {class}xx", route.verb.name(), route.path);
        }
        assert!(ids.insert(operation["operationId"].to_string()), "{} is named twice", operation["operationId"]);
        assert!(route.verb == Verb::Get || route.access == Access::Public || statuses.iter().any(|status| *status == "422"));
    }
    let text = document.to_string();
    for pointer in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = pointer.split('"').next().expect("a name");
        assert!(!document["components"]["schemas"][name].is_null(), "{name} is nowhere");
    }
    for shape in schema::ALL {
        jsonschema::meta::validate(&(shape.make)()).unwrap_or_else(|error| panic!("{}: {error}", shape.name));
        assert_eq!(schema::ALL.iter().filter(|other| other.name == shape.name).count(), 1, "{} stands twice", shape.name);
    }
}

/// The description, its page and the pages of the problems answer without a key, and lead nowhere else.
#[tokio::test]
async fn the_pages_need_no_key() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let described = ask(&router, "GET", "/openapi.json", &[], "").await.json();
    assert_eq!(described, describe(routes()));
    let docs = ask(&router, "GET", "/docs", &[], "").await;
    for route in routes() {
        assert!(docs.text.contains(route.path), "{} is not on the page", route.path);
    }
    assert!(docs.header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(!docs.text.contains("<script") && !docs.text.contains("src=") && !docs.text.contains("//"), "the page loads nothing");
    for kind in Kind::ALL {
        let page = ask(&router, "GET", &kind.uri(), &[], "").await;
        assert!(page.status == StatusCode::OK && page.text.contains("What to do"), "{}", kind.uri());
    }
    ask(&router, "GET", "/problems/none", &[], "").await.is(Kind::NotFound);
    let metrics = ask(&router, "GET", "/metrics", &[], "").await;
    assert!(metrics.text.contains(r#"headgate_answers_total{method="GET",route="/docs",status="200"} 1"#), "{}", metrics.text);
    assert!(!metrics.text.contains("acme"));
}
