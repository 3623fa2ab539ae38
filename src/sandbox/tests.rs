//! The sandbox as a caller sees it: over real sockets, with a client that does what it is told and follows nothing.

use std::collections::BTreeSet;
use std::sync::Once;

use reqwest::Response;
use reqwest::StatusCode;
use serde_json::Value;
use url::Url;

use super::*;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://127.0.0.1:8080/oauth/callback";

/// A caller with the secret of the confidential client.
struct Caller {
    sandbox: Sandbox,
    http: reqwest::Client,
}

struct Pair {
    access: String,
    refresh: String,
}

impl Caller {
    async fn new(options: Options) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let confidential = Client { id: "gateway".into(), secret: Some("s3cret".into()), redirect_uris: vec![REDIRECT.into()] };
        let public = Client { id: "desk app".into(), secret: None, redirect_uris: vec![REDIRECT.into()] };
        let sandbox = Sandbox::start(Options { clients: vec![confidential, public], ..options }).await.unwrap();
        Self { sandbox, http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.base_url())
    }

    async fn form(&self, path: &str, pairs: &[(&str, &str)]) -> Response {
        self.http.post(self.url(path)).form(pairs).send().await.unwrap()
    }

    /// Agrees on the consent page; returns the code.
    async fn code(&self, client: &str) -> String {
        let answer = self.form("/oauth/authorize", &consent(client, &[("decision", "approve")])).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let query = redirected(&answer);
        assert_eq!(query["state"], "xyz&=");
        assert_eq!(query["iss"], self.sandbox.base_url());
        query["code"].as_str().unwrap().to_owned()
    }

    async fn redeem(&self, code: &str) -> Response {
        let pairs = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)];
        self.http.post(self.url("/oauth/token")).basic_auth("gateway", Some("s3cret")).form(&pairs).send().await.unwrap()
    }

    async fn refresh(&self, token: &str) -> Result<Response, reqwest::Error> {
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "gateway"), ("client_secret", "s3cret")];
        self.http.post(self.url("/oauth/token")).form(&pairs).send().await
    }

    async fn connect(&self) -> Pair {
        pair(self.redeem(&self.code("gateway").await).await).await
    }

    async fn get(&self, token: &str, path: &str) -> Response {
        self.http.get(self.url(path)).bearer_auth(token).send().await.unwrap()
    }

    async fn json(&self, token: &str, path: &str) -> Value {
        let answer = self.get(token, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        json(answer).await
    }
}

fn consent<'a>(client: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("state", "xyz&="),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in more {
        pairs.retain(|(known, _)| known != name);
        pairs.push((name, value));
    }
    pairs
}

/// The query of the address that the answer sends on to.
fn redirected(answer: &Response) -> serde_json::Map<String, Value> {
    let target = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    assert!(target.as_str().starts_with(&format!("{REDIRECT}?")));
    target.query_pairs().map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect()
}

async fn json(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn pair(answer: Response) -> Pair {
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let body = json(answer).await;
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    Pair { access: text("access_token"), refresh: text("refresh_token") }
}

async fn assert_error(answer: Response, status: u16, code: &str) {
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(json(answer).await["error"], code);
}

/// The whole flow, then the same code again: refused, and the tokens of the first use are dead.
#[tokio::test]
async fn a_code_brings_tokens_once() {
    let caller = Caller::new(Options::default()).await;
    let page = caller.http.get(caller.url("/oauth/authorize")).query(&consent("gateway", &[])).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("read_orders"));

    let code = caller.code("gateway").await;
    let first = pair(caller.redeem(&code).await).await;
    caller.json(&first.access, "/v1/orders?limit=1").await;
    assert_error(caller.redeem(&code).await, 400, "invalid_grant").await;
    let dead = caller.get(&first.access, "/v1/orders").await;
    assert_eq!(dead.status(), StatusCode::UNAUTHORIZED);
    assert!(dead.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    assert_error(caller.refresh(&first.refresh).await.unwrap(), 400, "invalid_grant").await;

    // A public client proves itself by PKCE alone; its id goes into the form.
    let code = caller.code("desk app").await;
    let mut pairs = vec![("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", REDIRECT), ("client_id", "desk app")];
    pairs.push(("code_verifier", VERIFIER));
    pair(caller.form("/oauth/token", &pairs).await).await;
    assert_eq!(caller.sandbox.grants_alive(), 1);
}

/// Requests that RFC 9700 wants refused: unknown redirect URIs on the spot, the rest at the redirect URI.
#[tokio::test]
async fn odd_requests_for_consent_are_refused() {
    let caller = Caller::new(Options::default()).await;
    let shown = [("redirect_uri", "http://127.0.0.1:8080/oauth/callback/"), ("client_id", "stranger")];
    for odd in shown {
        let answer = caller.form("/oauth/authorize", &consent("gateway", &[odd, ("decision", "approve")])).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{odd:?}");
        assert!(answer.headers().get("location").is_none());
    }
    let told = [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("scope", "read_orders write_orders"), "invalid_scope"),
        (("decision", "deny"), "access_denied"),
    ];
    for (odd, error) in told {
        let answer = caller.form("/oauth/authorize", &consent("gateway", &[("decision", "approve"), odd])).await;
        let query = redirected(&answer);
        assert_eq!(query["error"], error, "{odd:?}");
        assert!(query.contains_key("iss") && query["state"] == "xyz&=" && !query.contains_key("code"));
    }
    let wrong = caller.http.post(caller.url("/oauth/token")).basic_auth("gateway", Some("wrong")).form(&[("grant_type", "x")]);
    let wrong = wrong.send().await.unwrap();
    assert!(wrong.headers().contains_key("www-authenticate"));
    assert_error(wrong, 401, "invalid_client").await;
}

/// Refresh tokens rotate; an old one, sent again, ends the grant. So does a lost answer followed by a blind retry.
#[tokio::test]
async fn a_refresh_token_used_twice_ends_the_grant() {
    let caller = Caller::new(Options::default()).await;
    let first = caller.connect().await;
    let second = pair(caller.refresh(&first.refresh).await.unwrap()).await;
    assert_ne!(first.refresh, second.refresh);
    caller.json(&first.access, "/v1/orders").await;
    caller.json(&second.access, "/v1/orders").await;
    assert_error(caller.refresh(&first.refresh).await.unwrap(), 400, "invalid_grant").await;
    assert_eq!(caller.get(&second.access, "/v1/orders").await.status(), StatusCode::UNAUTHORIZED);
    assert_error(caller.refresh(&second.refresh).await.unwrap(), 400, "invalid_grant").await;

    let third = caller.connect().await;
    caller.sandbox.set_faults(Faults { token_lose: 1, ..Faults::default() });
    assert!(caller.refresh(&third.refresh).await.is_err(), "no answer comes");
    assert_eq!(caller.sandbox.grants_alive(), 1, "the exchange was carried out");
    assert_error(caller.refresh(&third.refresh).await.unwrap(), 400, "invalid_grant").await;
    assert_eq!(caller.sandbox.grants_alive(), 0);
}

/// Access tokens end by the clock; revoking a refresh token ends everything, and the log shows nothing after it.
#[tokio::test]
async fn revoked_and_expired_tokens_open_nothing() {
    let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
    let caller = Caller::new(Options { clock: clock.clone(), access_token_seconds: 60, ..Options::default() }).await;
    let first = caller.connect().await;
    clock.set("2026-11-24T10:01:00Z".parse().unwrap());
    assert_eq!(caller.get(&first.access, "/v1/orders").await.status(), StatusCode::UNAUTHORIZED);
    let second = pair(caller.refresh(&first.refresh).await.unwrap()).await;
    caller.json(&second.access, "/v1/orders").await;
    assert_eq!(caller.http.get(caller.url("/v1/orders")).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    let revocation = [("token", second.refresh.as_str()), ("client_id", "gateway"), ("client_secret", "s3cret")];
    caller.sandbox.set_faults(Faults { revoke_fail: 1, ..Faults::default() });
    assert_eq!(caller.form("/oauth/revoke", &revocation).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(caller.form("/oauth/revoke", &revocation).await.status(), StatusCode::OK);
    assert_eq!(caller.get(&second.access, "/v1/orders").await.status(), StatusCode::UNAUTHORIZED);

    let log = caller.sandbox.log();
    let revoked = log.iter().rposition(|entry| entry.purpose == Purpose::Revoke && entry.status == Some(200)).unwrap();
    assert!(log[revoked + 1..].iter().all(|entry| entry.grant.is_none()), "no request with a good token after it");
    assert!(log.iter().any(|entry| entry.grant == Some(1) && entry.path == "/v1/orders"));
    let shown = json(caller.http.get(caller.url("/_log")).send().await.unwrap()).await;
    assert_eq!(shown["items"].as_array().unwrap().len(), log.len());
    let text = shown.to_string();
    assert!(!text.contains(&second.refresh) && !text.contains("xyz"));
}

/// All records, by each way of paging: complete, without doubles, and the same bytes.
#[tokio::test]
async fn every_record_comes_once() {
    let caller = Caller::new(Options { records: 1_500, ..Options::default() }).await;
    let token = caller.connect().await.access;
    let mut found = 0;
    for stream in ["customers", "orders", "invoices", "shipments", "products"] {
        let mut ways: Vec<Vec<Value>> = Vec::new();
        for way in ["per_page=90&page=1", "limit=90&offset=0", "limit=90"] {
            let (mut records, mut query) = (Vec::new(), way.to_owned());
            for turn in 1.. {
                let page = caller.json(&token, &format!("/v1/{stream}?{query}")).await;
                records.extend(page[stream].as_array().unwrap().iter().cloned());
                if page["has_more"] == false {
                    break;
                }
                query = match way {
                    "limit=90" => format!("limit=90&cursor={}", page["next_cursor"].as_str().unwrap()),
                    "limit=90&offset=0" => format!("limit=90&offset={}", turn * 90),
                    _ => format!("per_page=90&page={}", turn + 1),
                };
            }
            ways.push(records);
        }
        assert!(ways[0] == ways[1] && ways[1] == ways[2], "{stream}");
        let ids: BTreeSet<u64> = ways[0].iter().map(|record| record["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), ways[0].len());
        found += ways[0].iter().filter(|record| record["status"] != "draft").count();
    }
    assert_eq!(found, 1_500);
}

/// One order can be followed through all streams, looks like a real shop's, and some notes hold a card number.
#[tokio::test]
async fn keys_are_shared_across_streams() {
    let caller = Caller::new(Options::default()).await;
    let token = caller.connect().await.access;
    let orders = caller.json(&token, "/v1/orders?limit=250").await;
    let orders = orders["orders"].as_array().unwrap();
    let mean = orders.iter().map(|order| order.to_string().len()).sum::<usize>() / orders.len();
    assert!((800..1_400).contains(&mean), "{mean} bytes in the mean");
    assert!(orders.iter().any(|order| order["note"].as_str().is_some_and(|note| note.contains("4111 1111 1111 1111"))));

    let order = orders.iter().find(|order| order["status"] == "shipped").unwrap();
    let invoices = caller.json(&token, "/v1/invoices?limit=250").await;
    let invoice = invoices["invoices"].as_array().unwrap().iter().find(|item| item["invoice_number"] == order["invoice_number"]);
    assert_eq!(invoice.unwrap()["order_number"], order["order_number"]);
    let shipment = caller.json(&token, &format!("/v1/shipments/{}", order["fulfilments"][0]["shipment_id"])).await;
    assert_eq!(shipment["tracking_number"], order["fulfilments"][0]["tracking_number"]);
    assert_eq!(shipment["order_number"], order["order_number"]);
    let customer = caller.json(&token, &format!("/v1/customers/{}", order["customer"]["id"])).await;
    assert_eq!(customer["email"], order["customer"]["email"]);
    let products = caller.json(&token, "/v1/products?limit=250").await;
    let product = products["products"].as_array().unwrap().iter().find(|item| item["sku"] == order["line_items"][0]["sku"]).unwrap();
    assert_eq!(product["title"], order["line_items"][0]["title"]);
}

/// Past the limit comes 429 with the seconds to wait, and after them the window is open again.
#[tokio::test]
async fn too_many_requests_are_told_to_wait() {
    let rate_limit = RateLimit { requests: 3, window: Duration::from_millis(900) };
    let caller = Caller::new(Options { rate_limit, ..Options::default() }).await;
    let token = caller.connect().await.access;
    for remaining in ["2", "1", "0"] {
        let answer = caller.get(&token, "/v1/products?limit=1").await;
        assert_eq!((answer.status(), answer.headers()["x-ratelimit-remaining"].to_str().unwrap()), (StatusCode::OK, remaining));
    }
    let answer = caller.get(&token, "/v1/products").await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("retry-after"), header("x-ratelimit-limit"), header("x-ratelimit-reset")), ("1".into(), "3".into(), "1".into()));
    assert!(header("x-request-id").starts_with("req_"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    caller.json(&token, "/v1/products").await;
}

/// After a change, the filter brings exactly the changed records; the clock changes the shop as well.
#[tokio::test]
async fn only_changes_come_after_a_change() {
    let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
    let options = Options { clock: clock.clone(), change_every_seconds: Some(3_600), access_token_seconds: 86_400, ..Options::default() };
    let caller = Caller::new(options).await;
    let token = caller.connect().await.access;
    let changed = async |since: &str| {
        let mut total = 0;
        for stream in ["customers", "orders", "invoices", "shipments", "products"] {
            let page = caller.json(&token, &format!("/v1/{stream}?per_page=250&updated_since={since}")).await;
            assert!(page[stream].as_array().unwrap().iter().all(|record| record["updated_at"].as_str().unwrap() >= since));
            total += page["total"].as_u64().unwrap();
        }
        total
    };
    assert_eq!(changed("2026-11-24T10:00:01Z").await, 0);
    clock.set("2026-11-24T10:30:00Z".parse().unwrap());
    let change = caller.sandbox.advance();
    assert!(change.orders_created > 0 && change.orders_paid > 0 && change.orders_shipped > 0);
    assert_eq!(changed("2026-11-24T10:00:01Z").await, change.records());
    assert_eq!(caller.sandbox.counts().total(), 2_000 + change.orders_created + change.orders_paid + change.orders_shipped);
    clock.set("2026-11-24T12:00:00Z".parse().unwrap());
    assert_eq!(changed("2026-11-24T10:00:01Z").await, 3 * change.records(), "two more by the clock");
    assert_eq!(changed("2026-11-24T12:00:00Z").await, change.records());
}

/// Each fault happens as often as it was asked for, and then no more.
#[tokio::test]
async fn faults_happen_on_demand() {
    let caller = Caller::new(Options::default()).await;
    let token = caller.connect().await.access;
    let ask = || caller.http.get(caller.url("/v1/orders?limit=100")).bearer_auth(&token).send();
    let faults = r#"{"fail":1,"limit":1,"cut":1,"drop":1}"#;
    let set = caller.http.put(caller.url("/_faults")).body(faults).send().await.unwrap();
    assert_eq!(set.status(), StatusCode::OK);
    assert!(ask().await.is_err(), "the connection closes");
    let limited = ask().await.unwrap();
    assert_eq!((limited.status(), &limited.headers()["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from_static("1")));
    assert_eq!(ask().await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    let cut = ask().await.unwrap();
    assert_eq!(cut.status(), StatusCode::OK);
    assert!(cut.bytes().await.is_err(), "the body stops in the middle");
    assert_eq!(caller.sandbox.faults(), Faults::default());
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    assert_eq!(caller.get(&token, "/v1/orders/1").await.status(), StatusCode::NOT_FOUND);
    caller.sandbox.shutdown().await;
}
