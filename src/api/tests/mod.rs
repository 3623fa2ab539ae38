//! The HTTP face, asked through its router: every row of the list is held to the same checks.

mod fake;
mod pages;
mod rows;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::Request;
use axum::http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use serde_json::json;
use tower::ServiceExt;

use crate::api::door::Door;
use crate::api::problem::Kind;
use crate::api::router;
use fake::House;

/// What came back.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts that it is a problem of that kind, in the shape that all problems have.
    #[track_caller]
    fn is(&self, kind: Kind) -> &Self {
        assert_eq!(self.status, kind.status(), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["type"], kind.uri());
        assert_eq!(body["title"], kind.title());
        assert_eq!(body["status"], kind.status().as_u16());
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        self
    }
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from(body.to_owned())).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole answer").to_bytes();
    Reply { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("text") }
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// A key that is revoked, altered, of another scheme or absent opens nothing, and all four are answered alike.
#[tokio::test]
async fn only_a_standing_key_opens() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let good = house.bearer("customer");
    let altered = format!("{}b", &good[..good.len() - 1]);
    let foreign = good.replace("Bearer", "Basic");
    let mut bodies = Vec::new();
    for value in [altered.as_str(), house.bearer("revoked"), &foreign, "Bearer ", "hg_"] {
        let reply = ask(&router, "GET", "/v1/connections", &[("authorization", value)], "").await;
        bodies.push(reply.is(Kind::Unauthenticated).text.clone());
        assert!(reply.header("www-authenticate").starts_with("Bearer"));
    }
    bodies.push(ask(&router, "GET", "/v1/connections", &[], "").await.is(Kind::Unauthenticated).text.clone());
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert_eq!(ask(&router, "GET", "/v1/connections", &[("authorization", good)], "").await.status, StatusCode::OK);
}

/// Another tenant's id, an unknown id and a text that is no id are answered with one body, but for the id.
#[tokio::test]
async fn strangers_ids_are_unknown_ids() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let key = [("authorization", house.bearer("customer")), ("headgate-purpose", "support")];
    let (foreign, unknown) = (house.foreign.to_string(), "conn_00000000000000000000000000000000");
    let posts = [key[0], key[1], JSON];
    for (method, path, headers, body) in [
        ("GET", "/v1/connections/ID", &key[..], ""),
        ("GET", "/v1/connections/ID/impact", &key[..], ""),
        ("POST", "/v1/connections/ID/runs", &key[..], ""),
        ("POST", "/v1/connections/ID/revoke", &key[..], ""),
        ("GET", "/v1/runs?connection=ID", &key[..], ""),
        ("GET", "/v1/records?connection=ID", &key[..], ""),
        ("POST", "/v1/revocations", &posts[..], r#"{"scope":{"connection":"ID"}}"#),
        ("POST", "/v1/erasures", &posts[..], r#"{"scope":{"connection":"ID"}}"#),
    ] {
        let mut bodies = Vec::new();
        for id in [foreign.as_str(), unknown, "nonsense"] {
            let reply = ask(&router, method, &path.replace("ID", id), headers, &body.replace("ID", id)).await;
            bodies.push(reply.is(Kind::NotFound).text.replace(id, "ID"));
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{method} {path}: {bodies:?}");
    }
    let other = ask(&router, "POST", "/v1/revocations", &posts, r#"{"scope":{"tenant":"globex"}}"#).await;
    let nobody = ask(&router, "POST", "/v1/revocations", &posts, r#"{"scope":{"tenant":"nobody"}}"#).await;
    assert_eq!(other.is(Kind::NotFound).text.replace("globex", "nobody"), nobody.is(Kind::NotFound).text);
    ask(&router, "POST", "/v1/revocations", &posts, r#"{"scope":{"connector":"sandbox"}}"#).await.is(Kind::RoleRefused);
    assert_eq!(house.fake.acts(), 0, "none of it did anything");
}

/// Payload is read for a stated purpose of the key; the local operator may state any, or none.
#[tokio::test]
async fn payload_needs_a_purpose() {
    let house = House::new();
    let network = router(Arc::clone(&house.api), Door::Network);
    let path = format!("/v1/records?connection={}", house.own);
    let key = ("authorization", house.bearer("customer"));
    ask(&network, "GET", &path, &[key], "").await.is(Kind::PurposeMissing);
    for purpose in ["analytics", "sale", ""] {
        ask(&network, "GET", &path, &[key, ("headgate-purpose", purpose)], "").await.is(Kind::PurposeRefused);
    }
    let reply = ask(&network, "GET", &path, &[key, ("headgate-purpose", "support")], "").await;
    assert_eq!(reply.json()["items"][0]["data"]["purpose"], "support");
    let local = router(Arc::clone(&house.api), Door::Local);
    assert_eq!(ask(&local, "GET", &path, &[], "").await.status, StatusCode::OK);
    assert_eq!(ask(&local, "GET", &path, &[("headgate-purpose", "legal")], "").await.status, StatusCode::OK);
}

/// Under one idempotency key an act is done once; other requests under it are refused, other keys and callers are not.
#[tokio::test]
async fn an_act_under_a_key_is_done_once() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let path = format!("/v1/connections/{}/revoke", house.own);
    let (key, idempotency) = (("authorization", house.bearer("customer")), ("idempotency-key", "k-1"));
    let first = ask(&router, "POST", &path, &[key, idempotency], "").await;
    let again = ask(&router, "POST", &path, &[key, idempotency], "").await;
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("false", "true"));
    assert_eq!(house.fake.acts(), 1);
    ask(&router, "POST", &path, &[key, idempotency, JSON], r#"{"reason":"other"}"#).await.is(Kind::IdempotencyMismatch);
    ask(&router, "POST", &format!("{path}?dry_run=true"), &[key, idempotency], "").await.is(Kind::IdempotencyMismatch);
    ask(&router, "POST", &path, &[key, ("idempotency-key", "")], "").await.is(Kind::Malformed);
    let operator = ("authorization", house.bearer("operator"));
    assert_eq!(ask(&router, "POST", &path, &[operator, idempotency], "").await.status, StatusCode::OK);
    assert_eq!(house.fake.acts(), 2, "another caller's key is another key");
    house.pass_hours(25);
    assert_eq!(ask(&router, "POST", &path, &[key, idempotency], "").await.header("idempotency-replayed"), "false");
    assert_eq!(house.fake.acts(), 3, "after a day the key is free again");
}

/// A second request under a key while the first is under way is told to wait, and the act goes on when the caller leaves.
#[tokio::test]
async fn an_act_under_way_is_not_begun_twice() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let path = format!("/v1/connections/{}/runs", house.own);
    let headers = [("authorization", house.bearer("customer")), ("idempotency-key", "k-1")];
    let release = house.fake.hold_runs();
    let first = tokio::time::timeout(tokio::time::Duration::from_millis(50), ask(&router, "POST", &path, &headers, "")).await;
    assert!(first.is_err(), "the first caller hung up");
    ask(&router, "POST", &path, &headers, "").await.is(Kind::IdempotencyUnderWay);
    ask(&router, "POST", &path, &[headers[0], headers[1], JSON], r#"{"full":true}"#).await.is(Kind::IdempotencyMismatch);
    release.add_permits(1);
    let mut answer = ask(&router, "POST", &path, &headers, "").await;
    while answer.status == StatusCode::CONFLICT {
        tokio::task::yield_now().await;
        answer = ask(&router, "POST", &path, &headers, "").await;
    }
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (StatusCode::ACCEPTED, "true"));
    assert_eq!(house.fake.acts(), 1);
}

/// A refused request did nothing, so it may be tried again under its key; a link is a secret, so it is not repeated.
#[tokio::test]
async fn refusals_and_secrets_are_not_kept() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let headers = [("authorization", house.bearer("service")), ("idempotency-key", "k-2"), JSON];
    let order = |connector: &str| json!({ "connector": connector, "tenant": "acme", "purposes": ["support"] }).to_string();
    ask(&router, "POST", "/v1/connect/sessions", &headers, &order("nothing")).await.is(Kind::NotFound);
    let first = ask(&router, "POST", "/v1/connect/sessions", &headers, &order("sandbox")).await;
    assert!(first.json()["url"].as_str().is_some_and(|url| url.starts_with("https://gate.example/connect/")), "{}", first.text);
    let again = ask(&router, "POST", "/v1/connect/sessions", &headers, &order("sandbox")).await;
    assert_eq!((again.status, again.json()["url"].clone()), (first.status, Value::Null));
    assert_eq!(again.json()["expires_at"], first.json()["expires_at"]);
}

/// Bodies are refused for their type, their syntax, their size, or each of their members; never with the values in them.
#[tokio::test]
async fn bodies_are_refused_in_plain_words() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let key = ("authorization", house.bearer("customer"));
    let post = |headers: Vec<(&'static str, String)>, body: String| {
        let router = router.clone();
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ask(&router, "POST", "/v1/connections", &headers, &body).await
        }
    };
    let key = (key.0, key.1.to_owned());
    let json_type = |kind: &str| ("content-type", kind.to_owned());
    post(vec![key.clone()], "{}".into()).await.is(Kind::UnsupportedMediaType);
    post(vec![key.clone(), json_type("text/plain")], "{}".into()).await.is(Kind::UnsupportedMediaType);
    post(vec![key.clone(), json_type("application/json; charset=utf-8")], "{\"a\":".into()).await.is(Kind::Malformed);
    post(vec![key.clone(), json_type("application/json")], " ".repeat(2 * 1024 * 1024)).await.is(Kind::TooLarge);
    let body = json!({ "connector": "sandbox", "tenant": "ACME!", "config": { "key": "hunter2" }, "extra": "hunter2",
        "consent": { "person": "", "organisation": "hunter2", "policy_version": 7, "purposes": ["sale-hunter2"], "acknowledged": [] } });
    let reply = post(vec![key, json_type("application/json")], body.to_string()).await;
    reply.is(Kind::InvalidMembers);
    let faults = reply.json()["errors"].clone();
    let pointers: Vec<&str> = faults.as_array().into_iter().flatten().filter_map(|fault| fault["pointer"].as_str()).collect();
    for pointer in ["/tenant", "/consent/person", "/consent/policy_version", "/consent/purposes/0", "/consent/acknowledged", ""] {
        assert!(pointers.contains(&pointer), "{pointer} is not among {pointers:?}");
    }
    assert!(!reply.text.contains("hunter2") && !reply.text.contains("ACME!"), "{}", reply.text);
    assert_eq!(house.fake.acts(), 0);
}

/// A page of a list leads to the next, and a token that was made up leads nowhere.
#[tokio::test]
async fn lists_come_in_pages() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Local);
    let first = ask(&router, "GET", "/v1/connections?limit=1", &[], "").await.json();
    let next = first["next"].as_str().expect("a second page");
    let second = ask(&router, "GET", &format!("/v1/connections?limit=1&after={next}"), &[], "").await.json();
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    assert_eq!(second["next"], Value::Null);
    for query in ["limit=0", "limit=501", "limit=x", "after=x", "limit=1&limit=2"] {
        ask(&router, "GET", &format!("/v1/connections?{query}"), &[], "").await.is(Kind::BadParameter);
    }
}

/// What fails inside stays inside, a panic too, and the process goes on.
#[tokio::test]
async fn inner_failures_stay_inside() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Local);
    for name in ["panic", "fail"] {
        let reply = ask(&router, "GET", &format!("/admin/connectors/{name}"), &[], "").await;
        reply.is(Kind::Internal);
        assert!(!reply.text.contains("hunter2"), "{}", reply.text);
        assert!(reply.header("x-request-id").starts_with("req_"));
    }
    ask(&router, "POST", "/admin/connectors/panic/enable", &[], "").await.is(Kind::Internal);
    assert_eq!(ask(&router, "GET", "/healthz", &[], "").await.status, StatusCode::OK);
}
