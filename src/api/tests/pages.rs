//! The customer's pages, as a browser meets them.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use serde_json::json;

use crate::api::door::Door;
use crate::api::router;
use crate::api::tests::JSON;
use crate::api::tests::Reply;
use crate::api::tests::ask;
use crate::api::tests::fake::House;
use crate::consent::Policy;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A form that connects.
const GOOD: &str = "person=Ann&organisation=Acme&policy_version=2026-11&acknowledge=responsibility&acknowledge=authority\
    &acknowledge=third_party_terms&acknowledge=accuracy&acknowledge=retention&streams=orders&config.key=hunter2";

/// The path of a new link.
async fn link(house: &House, router: &Router) -> String {
    let body = json!({ "connector": "sandbox", "tenant": "acme", "return_url": "https://shop.example/back" }).to_string();
    let reply = ask(router, "POST", "/v1/connect/sessions", &[("authorization", house.bearer("service")), JSON], &body).await;
    reply.json()["url"].as_str().expect("a link").trim_start_matches("https://gate.example").to_owned()
}

fn cookie(reply: &Reply) -> String {
    reply.header("set-cookie").split(';').next().expect("a cookie").to_owned()
}

/// A link opens once: the first GET swaps it for a cookie and leads to a page without the token.
#[tokio::test]
async fn a_link_opens_once_in_one_browser() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let path = link(&house, &router).await;
    let token = path.trim_start_matches("/connect/");
    assert!(!house.fake.kept().contains(token), "the token is kept as a hash alone");
    assert_eq!(ask(&router, "HEAD", &path, &[], "").await.status, StatusCode::OK, "a preview opens nothing");
    assert_eq!(ask(&router, "POST", &path, &[FORM], GOOD).await.status, StatusCode::GONE, "nothing is sent before it is opened");

    let opened = ask(&router, "GET", &path, &[], "").await;
    assert_eq!(opened.status, StatusCode::SEE_OTHER);
    let set = opened.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    let page_path = opened.header("location");
    assert!(!page_path.contains(token) && page_path.starts_with("/connect/sess_"), "{page_path}");
    let cookie = cookie(&opened);
    assert!(!house.fake.kept().contains(cookie.split('=').nth(1).expect("a value")), "the cookie is kept as a hash alone");

    let page = ask(&router, "GET", page_path, &[("cookie", &format!("other=1; {cookie}"))], "").await;
    assert_eq!(page.status, StatusCode::OK);
    for word in ["Sandbox Shop", "orders", "Everything you sold", "Read your orders", "support", Policy::current().acknowledgements[1].text, "name=\"config.key\""] {
        assert!(page.text.contains(word), "{word} is not on the page");
    }
    assert_eq!(page.text.matches("name=\"acknowledge\"").count(), 5);
    assert!(page.header("content-security-policy").contains("form-action 'self' https://app.example;"));
    assert_eq!(ask(&router, "GET", &path, &[("cookie", &cookie)], "").await.header("location"), page_path, "the same browser finds back");

    assert_eq!(ask(&router, "GET", &path, &[], "").await.status, StatusCode::GONE);
    assert_eq!(ask(&router, "GET", page_path, &[], "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&router, "POST", page_path, &[FORM], GOOD).await.status, StatusCode::NOT_FOUND);
    house.pass_hours(2);
    assert_eq!(ask(&router, "GET", page_path, &[("cookie", &cookie)], "").await.status, StatusCode::NOT_FOUND, "its time is over");
    assert_eq!(house.fake.acts(), 0);
}

/// A form with faults comes back with each of them and without the secret; corrected, it leads to the application, once.
#[tokio::test]
async fn a_form_is_corrected_on_its_page() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let path = link(&house, &router).await;
    let opened = ask(&router, "GET", &path, &[], "").await;
    let (page, cookie) = (opened.header("location").to_owned(), cookie(&opened));
    let headers = [FORM, ("cookie", cookie.as_str())];
    let bad = GOOD.replace("acknowledge=accuracy&", "").replace("person=Ann", "person=").replace("policy_version=2026-11", "policy_version=0");
    let reply = ask(&router, "POST", &page, &headers, &bad.replace("streams=orders", "streams=secrets")).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    for word in ["role=\"alert\"", "#person", "#policy_version", "#acknowledge", "#streams", "value=\"Acme\""] {
        assert!(reply.text.contains(word), "{word}: {}", reply.text);
    }
    assert!(!reply.text.contains("hunter2"), "a secret is not shown again");
    assert_eq!(house.fake.acts(), 0);

    let sent = ask(&router, "POST", &page, &headers, GOOD).await;
    assert_eq!((sent.status, sent.header("location")), (StatusCode::SEE_OTHER, "https://app.example/authorize?state=s"), "{}", sent.text);
    let again = ask(&router, "POST", &page, &headers, GOOD).await;
    assert!(again.status == StatusCode::OK && again.text.contains("https://shop.example/back"), "{}", again.text);
    assert_eq!(house.fake.acts(), 1, "a second click makes no second connection");
}

/// The application's redirect completes a link's connection in the browser that opened the link, and in no other.
#[tokio::test]
async fn a_redirect_counts_in_its_own_browser() {
    let house = House::new();
    let router = router(Arc::clone(&house.api), Door::Network);
    let path = link(&house, &router).await;
    let opened = ask(&router, "GET", &path, &[], "").await;
    let (page, cookie) = (opened.header("location").to_owned(), cookie(&opened));
    ask(&router, "POST", &page, &[FORM, ("cookie", &cookie)], GOOD).await;
    let before = house.fake.acts();
    let lured = ask(&router, "GET", "/oauth/callback?state=s&code=c&shop=any", &[], "").await;
    assert_eq!(lured.status, StatusCode::BAD_REQUEST);
    assert_eq!(house.fake.acts(), before, "no token was asked for");
    for query in ["", "state=unknown&code=c", "state=s&state=s&code=c"] {
        let reply = ask(&router, "GET", &format!("/oauth/callback?{query}"), &[("cookie", &cookie)], "").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let reply = ask(&router, "GET", "/oauth/callback?state=s&code=c", &[("cookie", &cookie)], "").await;
    assert!(reply.status == StatusCode::OK && reply.text.contains("https://shop.example/back"), "{}", reply.text);
    let declined = ask(&router, "GET", "/oauth/callback?state=s&error=access_denied", &[("cookie", &cookie)], "").await;
    assert!(declined.status == StatusCode::OK && declined.text.contains("access_denied"), "{}", declined.text);
}
