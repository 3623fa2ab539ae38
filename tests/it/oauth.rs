//! An application with an authorization server of its own, connected by a manifest, a `headgate.yaml` and `headgate.toml` alone.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::support::house::TestHouse;
use crate::support::house::morning;
use crate::support::http::Reply;
use crate::support::oauth_server::CLIENT_ID;
use crate::support::oauth_server::CLIENT_SECRET;
use crate::support::oauth_server::ClientMethod;
use crate::support::oauth_server::Fault;
use crate::support::oauth_server::OAuthServer;
use crate::support::oauth_server::Options;
use crate::support::oauth_server::TokenPlace;
use crate::support::oauth_server::refusal;

/// A gateway, the application, and the folder with its connector.
struct Shop {
    house: TestHouse,
    server: OAuthServer,
    connector: PathBuf,
}

impl Shop {
    async fn open(options: Options) -> Self {
        Self::with_streams(options, &["orders".to_owned()]).await
    }

    async fn with_streams(options: Options, streams: &[String]) -> Self {
        let clock = morning();
        let (method, place) = (options.client, options.place);
        let server = OAuthServer::start(options, clock.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let connector = folder.path().join("shop");
        std::fs::create_dir(&connector).unwrap();
        std::fs::write(connector.join("manifest.yaml"), manifest(&server.server.url(), place, streams)).unwrap();
        std::fs::write(connector.join("headgate.yaml"), treatment(&server.server.url(), method, &streams[0])).unwrap();
        let secret = folder.path().join("client-secret");
        std::fs::write(&secret, format!("{CLIENT_SECRET}\n")).unwrap();
        let secret = if method == ClientMethod::Public { String::new() } else { format!("client_secret_file = {secret:?}\n") };
        let configuration =
            format!("[egress]\nallow = [\"{}\"]\n[connectors.shop]\nclient_id = \"{CLIENT_ID}\"\n{secret}", server.server.host());
        Self { house: TestHouse::open(folder, &configuration, clock).await, server, connector }
    }

    /// Begins to connect: the connection, and where its customer authorizes it.
    async fn begin(&self) -> (String, String) {
        let begun = self.house.connect(self.connector.to_str().unwrap(), json!({})).await;
        assert_eq!(begun["state"], "pending", "{begun}");
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        (text("connection"), text("authorize_url"))
    }

    /// Connects to the end.
    async fn connect(&self) -> String {
        let (connection, url) = self.begin().await;
        assert_eq!(self.callback(&self.server.consent(&url).await).await, StatusCode::OK);
        assert_eq!(self.house.state(&connection).await, "active");
        connection
    }

    async fn reconnect(&self, connection: &str) -> String {
        let begun = self.house.have("POST", &format!("/admin/connections/{connection}/reconnect"), None).await;
        assert_eq!(begun["connection"], connection);
        begun["authorize_url"].as_str().unwrap().to_owned()
    }

    async fn callback(&self, query: &str) -> StatusCode {
        self.house.visit(&format!("/oauth/callback?{query}")).await.0
    }

    fn refreshes(&self) -> usize {
        self.server.token_requests("refresh_token")
    }

    /// The access tokens that the API was shown, in their order.
    fn shown(&self) -> Vec<String> {
        let token = |asked: crate::support::http::Asked| asked.header("authorization").unwrap_or_default().replace("Bearer ", "");
        self.server.server.seen_at("/orders").into_iter().map(token).collect()
    }
}

fn manifest(base: &str, place: TokenPlace, streams: &[String]) -> String {
    let token = "\"{{ config['credentials']['access_token'] }}\"";
    let keyed = |into: &str, name: &str| {
        format!(
            "{{type: ApiKeyAuthenticator, api_token: {token}, inject_into: {{type: RequestOption, inject_into: {into}, field_name: {name}}}}}"
        )
    };
    let authenticator = match place {
        TokenPlace::Bearer => format!("{{type: BearerAuthenticator, api_token: {token}}}"),
        TokenPlace::Header(name) => keyed("header", name),
        TokenPlace::Parameter(name) => keyed("request_parameter", name),
    };
    let mut text = format!(
        "version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [{}]}}
definitions:
  retriever:
    type: SimpleRetriever
    requester:
      type: HttpRequester
      url_base: {base}
      path: /orders
      http_method: GET
      authenticator: {authenticator}
      request_parameters: {{shop: \"{{{{ config['shop_id'] }}}}\"}}
    record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: [orders]}}}}
streams:
",
        streams[0]
    );
    for stream in streams {
        text += &format!(
            "  - {{type: DeclarativeStream, name: {stream}, primary_key: [id], retriever: {{$ref: \"#/definitions/retriever\"}}, \
             schema_loader: {{type: InlineSchemaLoader, schema: {{type: object}}}}}}\n"
        );
    }
    text
}

fn treatment(base: &str, method: ClientMethod, stream: &str) -> String {
    format!(
        "display_name: A shop
authorization:
  type: oauth2_code
  authorize_url: {base}/authorize
  token_url: {base}/token
  revoke_url: {base}/revoke
  issuer: https://login.shop.example
  pkce: true
  client_auth: {}
  scopes: [{{name: orders, text: Read your orders}}]
  access_token_path: [credentials, access_token]
  redirect_params: [shop_id]
hosts: [\"{}\"]
streams:
  {stream}: {{kind: order, mapping: {{order_number: /number}}, business_keys: {{order_number: /number}}}}
",
        method.word(),
        base.trim_start_matches("http://")
    )
}

/// Goal: the whole flow works for each way that a client authenticates, each place that a token goes and each way that a
/// lifetime is told, and nothing secret is kept in clear or answered. Method: consent, redirect with a parameter that becomes
/// configuration, pull, a token that ends, pull again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flow_works_in_every_shape() {
    let shapes = [
        (ClientMethod::Basic, TokenPlace::Bearer, json!(3_600), true),
        (ClientMethod::Post, TokenPlace::Header("x-shop-token"), json!("3600"), true),
        (ClientMethod::Public, TokenPlace::Parameter("access_token"), Value::Null, false),
    ];
    for (client, place, expires_in, rotates) in shapes {
        let shop = Shop::open(Options { client, place, expires_in, rotates, ..Options::usual() }).await;
        let (connection, url) = shop.begin().await;
        let consented = shop.house.audit().await;
        assert!(shop.server.server.seen().is_empty(), "a request before the customer has gone there");
        assert_eq!(consented.last().unwrap()["action"], "consent recorded", "{consented:?}");
        let (status, _) = shop.house.ask("POST", &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(shop.callback(&shop.server.consent(&url).await).await, StatusCode::OK);

        let first = shop.house.pull_one(&connection).await;
        assert_eq!((&first["state"], &first["new"], &first["requests"]), (&json!("complete"), &json!(3), &json!(1)), "{first}");
        let asked = shop.server.server.seen_at("/orders");
        assert_eq!(asked[0].parameter("shop"), Some("shop 42/ü"));
        shop.house.pass(3_600);
        let second = shop.house.pull_one(&connection).await;
        assert_eq!((&second["state"], &second["unchanged"]), (&json!("complete"), &json!(3)), "{client:?} {second}");
        assert_eq!((shop.server.token_requests("authorization_code"), shop.refreshes(), shop.server.reused()), (1, 1, 0));
        // Without a rotation the one refresh token goes on.
        shop.server.end_access_tokens();
        let third = shop.house.pull_one(&connection).await;
        assert_eq!((&third["state"], shop.refreshes()), (&json!("complete"), 2), "{third}");

        let mut told = format!("{:?}{first}{second}", shop.house.audit().await);
        for record in shop.house.records(&connection, "orders").await {
            let url = record["tag"]["page"]["url"].as_str().unwrap();
            assert_eq!(url.contains("access_token=***"), place == TokenPlace::Parameter("access_token"), "{url}");
            told += &record.to_string();
        }
        told += &shop.house.have("GET", &format!("/v1/connections/{connection}"), None).await.to_string();
        let mut secrets = shop.server.secrets();
        secrets.push(CLIENT_SECRET.to_owned());
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
        let files = shop.house.files_that_hold(&secrets);
        assert!(files.is_empty(), "{files:?}");
        shop.house.close().await;
    }
}

/// Goal: what a browser brings back leads to a token request only when it is the redirect of this one authorization.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_callback_is_redeemed() {
    let shop = Shop::open(Options::usual()).await;
    let (connection, url) = shop.begin().await;
    let good = shop.server.consent(&url).await;
    let state_at = good.find("state=").unwrap() + 6;
    let mut altered = good.clone();
    altered.replace_range(state_at..=state_at, if good[state_at..].starts_with('A') { "B" } else { "A" });
    let without = |name: &str| good.split('&').filter(|pair| !pair.starts_with(name)).collect::<Vec<_>>().join("&");
    let issuer = "iss=https%3A%2F%2Flogin.shop.example";
    assert!(good.contains(issuer), "{good}");
    let bad = [
        altered,
        without("state"),
        format!("{good}&state=again"),
        "state=&code=x".into(),
        String::new(),
        good.replace(issuer, "iss=https%3A%2F%2Fevil.example"),
        without("iss"),
    ];
    for query in bad {
        assert_eq!(shop.callback(&query).await, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!((shop.server.server.seen_at("/token").len(), shop.house.state(&connection).await.as_str()), (0, "pending"));

    // Refused by the customer, then too late, then once, then once too often.
    let (_, url) = shop.begin().await;
    let denied = shop.server.consent(&url).await.replace("code=", "error=access_denied&was=");
    assert_eq!(shop.callback(&denied).await, StatusCode::OK);
    assert_eq!(shop.house.state(&connection).await, "pending");
    let late = shop.server.consent(&shop.reconnect(&connection).await).await;
    shop.house.pass(600);
    assert_eq!(shop.callback(&late).await, StatusCode::BAD_REQUEST);
    assert_eq!(shop.server.server.seen_at("/token").len(), 0);
    let query = shop.server.consent(&shop.reconnect(&connection).await).await;
    shop.house.pass(59);
    assert_eq!(shop.callback(&query).await, StatusCode::OK);
    assert_eq!(shop.callback(&query).await, StatusCode::BAD_REQUEST);
    assert_eq!((shop.server.server.seen_at("/token").len(), shop.server.reused()), (1, 0));
    assert_eq!(shop.house.state(&connection).await, "active");
    shop.house.close().await;
}

/// Goal: a code's exchange that fails or whose answer is lost is not repeated; the connection stays pending and can be
/// authorized again at the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_exchange_leaves_the_connection_pending() {
    let shop = Shop::open(Options::usual()).await;
    let (connection, mut url) = shop.begin().await;
    let faults = [
        Fault::Done(Reply::lost),
        Fault::Done(Reply::torn),
        Fault::Answer(refusal(400, "invalid_grant")),
        Fault::Answer(refusal(401, "invalid_client")),
        Fault::Answer(Reply::text(503, "<h1>later</h1>")),
        Fault::Answer(Reply::text(200, "{\"token_type\": \"Bearer\"}")),
        Fault::Answer(Reply::text(200, "[]")),
        Fault::Answer(Reply::text(302, "").header("Location", "/elsewhere")),
    ];
    let count = faults.len();
    for fault in faults {
        let shown = format!("{fault:?}");
        shop.server.at_token([fault]);
        let query = shop.server.consent(&url).await;
        let status = shop.callback(&query).await;
        assert!(status == StatusCode::BAD_GATEWAY || status == StatusCode::BAD_REQUEST, "{status} {shown}");
        assert_eq!(shop.callback(&query).await, StatusCode::BAD_REQUEST, "{shown}");
        assert_eq!(shop.house.state(&connection).await, "pending");
        url = shop.reconnect(&connection).await;
    }
    assert_eq!(shop.server.server.seen_at("/token").len(), count);
    assert_eq!(shop.callback(&shop.server.consent(&url).await).await, StatusCode::OK);
    assert_eq!(shop.house.pull_one(&connection).await["state"], "complete");
    shop.house.close().await;
}

/// Goal: an access token is renewed at most min(60 s, a tenth of its lifetime) before its end, and once for everybody.
/// Method: 64 streams in one pull, 64 pulls asked for at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_in_time_and_once() {
    for (lifetime, early) in [(3_600, 60), (100, 10)] {
        let options = Options { lifetime_seconds: lifetime, expires_in: lifetime.into(), ..Options::usual() };
        let shop = Shop::open(options).await;
        let connection = shop.connect().await;
        shop.house.pass(lifetime - early - 1);
        shop.house.pull_one(&connection).await;
        assert_eq!(shop.refreshes(), 0, "{lifetime}");
        shop.house.pass(1);
        shop.house.pull_one(&connection).await;
        assert_eq!(shop.refreshes(), 1, "{lifetime}");
        shop.house.close().await;
    }
    let streams: Vec<String> = (0..64).map(|number| format!("orders_{number:02}")).collect();
    let shop = Shop::with_streams(Options::usual(), &streams).await;
    let connection = shop.connect().await;
    shop.server.at_token([Fault::Done(|reply| reply.after(Duration::from_millis(300)))]);
    shop.house.pass(7_200);
    let path = format!("/v1/connections/{connection}/runs");
    let asked = futures_util::future::join_all((0..64).map(|_| shop.house.ask("POST", &path, Some(json!({}))))).await;
    let started: Vec<&Value> = asked.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).map(|(_, pull)| pull).collect();
    assert!(asked.iter().all(|(status, _)| matches!(*status, StatusCode::ACCEPTED | StatusCode::CONFLICT)));
    assert_eq!(started.len(), 1);
    let runs = shop.house.ended(started[0]).await;
    assert!(runs.len() == 64 && runs.iter().all(|run| run["state"] == "complete" && run["new"] == 3), "{runs:?}");
    assert_eq!((shop.refreshes(), shop.server.reused()), (1, 0));
    shop.house.close().await;
}

/// Goal: when a refresh's answer is lost, the old access token is tried first, the refresh token once more at most, and then
/// the connection needs its customer: data and id stay, a reconnect opens it again. Method: the answer is lost whole or torn,
/// before the end of the old token and after it, with a restart between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_refresh_is_not_repeated_blindly() {
    for lose in [Reply::lost as fn(Reply) -> Reply, Reply::torn] {
        let mut shop = Shop::open(Options::usual()).await;
        let connection = shop.connect().await;
        shop.house.pull_one(&connection).await;
        shop.house.pass(3_550);
        shop.server.at_token([Fault::Done(lose)]);
        let early = shop.house.pull_one(&connection).await;
        assert_eq!((&early["state"], shop.refreshes()), (&json!("complete"), 1), "{early}");
        let tokens = shop.shown();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");

        shop.house = shop.house.reopen().await;
        let again = shop.house.pull_one(&connection).await;
        assert_eq!((&again["state"], shop.refreshes()), (&json!("complete"), 1), "the old token is still good: {again}");
        shop.house.pass(50);
        let late = shop.house.pull_one(&connection).await;
        assert_eq!((&late["state"], shop.refreshes()), (&json!("failed"), 2), "{late}");
        assert!(late["error"].as_str().unwrap().contains("invalid_grant"), "{late}");
        assert_eq!(shop.house.state(&connection).await, "needs_reauthorization");
        let (status, _) = shop.house.ask("POST", &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await;
        assert_eq!((status, shop.refreshes()), (StatusCode::CONFLICT, 2));
        assert_eq!(shop.house.records(&connection, "orders").await.len(), 3);

        shop.house = shop.house.reopen().await;
        assert_eq!(shop.house.state(&connection).await, "needs_reauthorization");
        let url = shop.reconnect(&connection).await;
        assert_eq!(shop.callback(&shop.server.consent(&url).await).await, StatusCode::OK);
        let reopened = shop.house.pull_one(&connection).await;
        assert_eq!((&reopened["state"], &reopened["unchanged"]), (&json!("complete"), &json!(3)), "{reopened}");
        shop.house.close().await;
    }
}

/// Goal: a server that does not rotate takes the second try; a second answer that is lost as well ends it there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_more_try_may_work() {
    for (losses, state) in [(1, "active"), (2, "needs_reauthorization")] {
        let shop = Shop::open(Options { rotates: false, ..Options::usual() }).await;
        let connection = shop.connect().await;
        shop.house.pass(4_000);
        shop.server.at_token(vec![Fault::Done(Reply::lost); losses]);
        let run = shop.house.pull_one(&connection).await;
        assert_eq!((shop.house.state(&connection).await.as_str(), shop.refreshes()), (state, 2), "{run}");
        assert_eq!(run["state"] == "complete", losses == 1, "{run}");
        shop.house.close().await;
    }
}

/// Goal: only a definitive refusal of the customer's authorization changes the state. Overload, faults of the server and
/// faults of our own registration do not, in whatever shape they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_definitive_refusal_changes_the_state() {
    let shop = Shop::open(Options::usual()).await;
    let connection = shop.connect().await;
    let harmless = [
        Reply::text(500, "{\"error\": \"server_error\"}"),
        Reply::text(503, "<html>down</html>").header("Retry-After", "1"),
        Reply::text(502, ""),
        refusal(429, "slow_down").header("Retry-After", "1"),
        refusal(401, "invalid_client"),
        refusal(400, "unauthorized_client"),
        Reply::text(404, "{}"),
        Reply::text(301, "").header("Location", "http://127.0.0.1:1/"),
    ];
    for reply in harmless {
        let shown = format!("{reply:?}");
        shop.house.pass(4_000);
        shop.server.at_token([Fault::Answer(reply)]);
        let run = shop.house.pull_one(&connection).await;
        assert_eq!(shop.house.state(&connection).await, "active", "{shown} {run}");
        // Either the same pull got over it, or the next one does.
        shop.house.pass(10);
        if run["state"] != "complete" {
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            assert_eq!(shop.house.pull_one(&connection).await["state"], "complete", "{shown}");
        }
    }
    assert_eq!(shop.server.reused(), 0);
    for refused in [
        refusal(400, "invalid_grant"),
        refusal(401, "invalid_grant"),
        refusal(200, "invalid_grant"),
        Reply::text(400, "error=invalid_grant&error_description=gone").header("Content-Type", "application/x-www-form-urlencoded"),
        Reply::text(400, "{\"error\": {\"type\": \"invalid_grant\", \"message\": \"gone\"}}"),
    ] {
        let shown = format!("{refused:?}");
        shop.house.pass(4_000);
        let before = shop.refreshes();
        shop.server.at_token([Fault::Answer(refused)]);
        let run = shop.house.pull_one(&connection).await;
        assert_eq!((&run["state"], shop.refreshes() - before), (&json!("failed"), 1), "{shown} {run}");
        assert_eq!(shop.house.state(&connection).await, "needs_reauthorization", "{shown}");
        let url = shop.reconnect(&connection).await;
        assert_eq!(shop.callback(&shop.server.consent(&url).await).await, StatusCode::OK);
    }
    // The customer removes the authorization: the API says so first, then the token endpoint.
    shop.server.end_authorizations();
    assert_eq!(shop.house.pull_one(&connection).await["state"], "failed");
    assert_eq!(shop.house.state(&connection).await, "needs_reauthorization");
    let url = shop.reconnect(&connection).await;
    assert_eq!(shop.callback(&shop.server.consent(&url).await).await, StatusCode::OK);
    // The API refuses a token that was renewed just before: nothing is left to try.
    shop.server.at_orders([Fault::Answer(refusal(401, "invalid_token")), Fault::Answer(refusal(401, "invalid_token"))]);
    let before = shop.refreshes();
    assert_eq!(shop.house.pull_one(&connection).await["state"], "failed");
    assert_eq!((shop.house.state(&connection).await.as_str(), shop.refreshes() - before), ("needs_reauthorization", 1));
    shop.house.close().await;
}

/// Goal: when a connection is revoked while its refresh is under way, the pair that comes late is neither kept nor used, and the
/// application is told. Method: the server holds its answer back for a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_comes_after_a_revocation_is_never_used() {
    let shop = Shop::open(Options::usual()).await;
    let connection = shop.connect().await;
    shop.house.pull_one(&connection).await;
    let known = shop.server.secrets();
    shop.house.pass(4_000);
    shop.server.at_token([Fault::Done(|reply| reply.after(Duration::from_secs(1)))]);
    let started = shop.house.have("POST", &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await;
    while shop.refreshes() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = shop.server.server.seen_at("/orders").len();
    let revoked = shop.house.have("POST", &format!("/v1/connections/{connection}/revoke"), Some(json!({"reason": "over"}))).await;
    assert_eq!(revoked["revoked"][0]["state"], "revoked", "{revoked}");
    let runs = shop.house.ended(&started).await;
    assert_eq!(runs[0]["state"], "cancelled", "{runs:?}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((shop.server.server.seen_at("/orders").len(), shop.refreshes()), (before, 1));
    let given_up = shop.server.server.seen_at("/revoke");
    assert!(!given_up.is_empty() && given_up.iter().all(|asked| known.contains(&asked.form()[0].1)), "{given_up:?}");
    assert_eq!(shop.house.records(&connection, "orders").await.len(), 3);
    let secrets = shop.server.secrets();
    assert!(shop.house.files_that_hold(&secrets.iter().map(String::as_str).collect::<Vec<_>>()).is_empty());
    // A late redirect of the customer finds nothing to open.
    let (status, _) = shop.house.ask("POST", &format!("/admin/connections/{connection}/reconnect"), None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    shop.house.close().await;
}

/// Goal: a redirect that arrives after the connection was revoked opens nothing, and its code is not even exchanged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_connection_is_not_authorized_late() {
    let shop = Shop::open(Options::usual()).await;
    let (connection, url) = shop.begin().await;
    let query = shop.server.consent(&url).await;
    shop.house.have("POST", &format!("/v1/connections/{connection}/revoke"), None).await;
    let status = shop.callback(&query).await;
    assert!(status.is_client_error(), "{status}");
    assert_eq!((shop.house.state(&connection).await.as_str(), shop.server.server.seen_at("/token").len()), ("revoked", 0));
    shop.house.close().await;
}
