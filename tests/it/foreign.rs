//! A foreign application with an API key, connected by a manifest's path alone: no `headgate.yaml`, so the strict defaults hold.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;
use serde_json::json;

use crate::support::house::TestHouse;
use crate::support::house::morning;
use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;

const KEY: &str = "key/4f:8a e1+%&";
const BASIC: &str = "{type: BasicHttpAuthenticator, username: \"{{ config['key'] }}\", password: \"\"}";
const IN_HEADER: &str = "{type: ApiKeyAuthenticator, api_token: \"Token {{ config['key'] }}\", header: X-Api-Key}";
const IN_QUERY: &str = "{type: ApiKeyAuthenticator, api_token: \"{{ config['key'] }}\", \
                        inject_into: {type: RequestOption, inject_into: request_parameter, field_name: api_key}}";
const BY_LINK: &str = "{type: DefaultPaginator, page_token_option: {type: RequestPath}, pagination_strategy: {type: CursorPagination, \
                       cursor_value: \"{{ headers['link']['next']['url'] }}\", stop_condition: \"{{ 'next' not in headers['link'] }}\"}}";
const BY_URL: &str = "{type: DefaultPaginator, page_token_option: {type: RequestPath}, pagination_strategy: {type: CursorPagination, \
                      cursor_value: \"{{ response['next'] }}\", stop_condition: \"{{ not response['next'] }}\"}}";
const BY_OFFSET: &str = "{type: DefaultPaginator, page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: offset}, \
                         page_size_option: {type: RequestOption, inject_into: request_parameter, field_name: limit}, \
                         pagination_strategy: {type: OffsetIncrement, page_size: 10}}";
const BY_CURSOR: &str = "{type: DefaultPaginator, page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: after}, \
                         pagination_strategy: {type: CursorPagination, cursor_value: \"{{ response['next'] }}\"}}";

/// A gateway and the application.
struct Foreign {
    house: TestHouse,
    server: Server,
    connection: String,
}

impl Foreign {
    /// Connects the application that `answer` is, one stream for each of `streams`: its name, which is its path, and paging.
    async fn connect(authenticator: &str, streams: &[(&str, &str)], answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let server = Server::start(answer).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("foreign-app.yaml");
        std::fs::write(&path, manifest(&server.url(), authenticator, streams)).unwrap();
        let configuration = format!("[egress]\nallow = [\"{}\"]\n", server.host());
        let house = TestHouse::open(folder, &configuration, morning()).await;
        let connected = house.connect(path.to_str().unwrap(), json!({"key": KEY})).await;
        assert_eq!(connected["state"], "active", "{connected}");
        let connection = connected["connection"].as_str().unwrap().to_owned();
        Self { house, server, connection }
    }

    async fn pull(&self) -> Vec<Value> {
        self.house.pull(&self.connection).await
    }

    /// Pulls; the one run's state, its new records and its error.
    async fn pull_one(&self) -> (String, u64, String) {
        told(&self.house.pull_one(&self.connection).await)
    }

    async fn ids(&self, stream: &str) -> Vec<u64> {
        let records = self.house.records(&self.connection, stream).await;
        let mut ids: Vec<u64> = records.iter().map(|record| record["data"]["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    }

    async fn state(&self) -> String {
        self.house.state(&self.connection).await
    }
}

fn told(run: &Value) -> (String, u64, String) {
    let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
    (text("state"), run["new"].as_u64().unwrap(), text("error"))
}

fn manifest(base: &str, authenticator: &str, streams: &[(&str, &str)]) -> String {
    let mut text =
        format!("version: 6.0.0\ntype: DeclarativeSource\ncheck: {{type: CheckStream, stream_names: [{}]}}\nstreams:\n", streams[0].0);
    for (name, paginator) in streams {
        let paginator = if paginator.is_empty() { String::new() } else { format!("\n      paginator: {paginator}") };
        text += &format!(
            "  - type: DeclarativeStream
    name: {name}
    primary_key: [id]
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: {base}/api
        path: /{name}
        http_method: GET
        authenticator: {authenticator}
        error_handler: {{type: DefaultErrorHandler, max_retries: 1}}
      record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: [items]}}}}{paginator}
    schema_loader: {{type: InlineSchemaLoader, schema: {{type: object}}}}
"
        );
    }
    text
}

/// Records with the ids of a range, and the next page's token.
fn page(ids: std::ops::Range<u64>, next: Value) -> Reply {
    let items: Vec<Value> = ids.map(|id| json!({"id": id})).collect();
    Reply::json(&json!({"items": items, "next": next}))
}

fn is_ours(asked: &Asked) -> bool {
    let basic = format!("Basic {}", BASE64.encode(format!("{KEY}:").as_bytes()));
    asked.header("x-api-key") == Some(&format!("Token {KEY}"))
        || asked.parameter("api_key") == Some(KEY)
        || asked.header("authorization") == Some(&basic)
}

/// Goal: a key goes where the manifest says, and appears nowhere else: not in recorded addresses, errors, answers or files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_to_its_place_alone() {
    for authenticator in [IN_HEADER, IN_QUERY, BASIC] {
        let foreign = Foreign::connect(authenticator, &[("items", ""), ("gone", "")], |asked| match asked.path.as_str() {
            "/api/items" if is_ours(asked) => page(0..3, Value::Null),
            "/api/gone" => Reply::json(&json!({"error": {"message": format!("no such list for {KEY}")}})).status(404),
            _ => Reply::text(401, "{}"),
        })
        .await;
        let runs = foreign.pull().await;
        assert_eq!(
            (&runs.iter().find(|run| run["stream"] == "items").unwrap()["new"], foreign.state().await.as_str()),
            (&json!(3), "active"),
            "{runs:?}"
        );
        let failed = runs.iter().find(|run| run["stream"] == "gone").unwrap();
        assert!(failed["state"] == "failed" && failed["error"].as_str().unwrap().contains("404"), "{failed}");
        let records = foreign.house.records(&foreign.connection, "items").await;
        let url = records[0]["tag"]["page"]["url"].as_str().unwrap();
        assert_eq!(url, format!("{}/api/items{}", foreign.server.url(), if authenticator == IN_QUERY { "?api_key=***" } else { "" }));
        assert_eq!((&records[0]["kind"], &records[0]["tag"]["retention"]["class"]), (&Value::Null, &json!("default")));
        assert_eq!(records[0]["tag"]["retention"]["delete_after"], "2026-12-24T10:00:00Z");
        let entries = foreign.house.audit().await;
        let shown = foreign.house.have("GET", &format!("/v1/connections/{}", foreign.connection), None).await;
        let told = format!("{runs:?}{records:?}{entries:?}{shown}");
        let encoded: String = url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect();
        let based = BASE64.encode(format!("{KEY}:").as_bytes());
        for secret in [KEY, &encoded, &based] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
        let files = foreign.house.files_that_hold(&[KEY, &encoded, &based]);
        assert!(files.is_empty(), "{files:?}");
        foreign.house.close().await;
    }
}

/// Goal: every legal way to lead to the next page is followed to its end, and each record arrives once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_followed_to_the_end() {
    let streams = [("links", BY_LINK), ("urls", BY_URL), ("offsets", BY_OFFSET), ("cursors", BY_CURSOR), ("gaps", BY_CURSOR), ("none", "")];
    let foreign = Foreign::connect(IN_HEADER, &streams, |asked| {
        if !is_ours(asked) {
            return Reply::text(401, "{}");
        }
        let number = |name: &str| asked.parameter(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let base = format!("http://{}", asked.header("host").unwrap());
        let at = number("at");
        let lead = |path: &str| format!("{base}/api/{path}?at={}&odd=a%2Fb%20c", at + 1);
        match asked.path.as_str() {
            "/api/links" if at < 4 => {
                let link = format!("<{base}/api/links?at=0>; rel=\"first\" , <{}>;title=\"a, b\";rel=\"next\"", lead("links"));
                page(at * 10..at * 10 + 10, Value::Null).header("LINK", link)
            }
            "/api/urls" if at < 4 => page(at * 10..at * 10 + 10, lead("urls").into()),
            "/api/links" | "/api/urls" => page(40..45, Value::Null),
            "/api/offsets" => {
                let from = number("offset");
                page(from.min(45)..(from + number("limit")).min(45), Value::Null)
            }
            // Numbers and texts are both tokens; the last page is empty, one in the middle too.
            "/api/cursors" => match number("after") {
                0 => page(0..10, 7.into()),
                7 => page(10..20, "8".into()),
                8 => page(0..0, "9".into()),
                9 => page(20..45, "".into()),
                _ => Reply::text(400, "{}"),
            },
            "/api/gaps" => Reply::json(&json!({"items": [{"id": 1}, null, 7, "x", [], {"id": 2}], "next": null})),
            _ => Reply::json(&json!({"other": true})),
        }
    })
    .await;
    let runs = foreign.pull().await;
    assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
    for stream in ["links", "urls", "offsets", "cursors"] {
        assert_eq!(foreign.ids(stream).await, (0..45).collect::<Vec<_>>(), "{stream}");
    }
    assert_eq!((foreign.ids("gaps").await, foreign.ids("none").await), (vec![1, 2], vec![]));
    assert!(
        foreign.server.seen().iter().all(|asked| asked.query.iter().filter(|(name, _)| name == "odd").all(|(_, value)| value == "a/b c"))
    );
    foreign.house.close().await;
}

/// Goal: paging and redirects that lead to another host, or in a circle, end there with an error that says so; what came
/// before is kept, and the other host hears nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_led_astray() {
    let stranger = Server::start(|_| page(0..1, Value::Null)).await;
    let elsewhere = stranger.url();
    let streams = [
        ("urls", BY_URL),
        ("links", BY_LINK),
        ("circles", BY_CURSOR),
        ("redirects", ""),
        ("moved", ""),
        ("loops", ""),
        ("metadata", BY_URL),
    ];
    let foreign = Foreign::connect(IN_QUERY, &streams, move |asked| match asked.path.as_str() {
        "/api/urls" => page(0..2, format!("{elsewhere}/api/urls?at=1").into()),
        "/api/links" => page(0..2, Value::Null).header("Link", format!("<{elsewhere}/api/links?at=1>; rel=next")),
        "/api/metadata" => page(0..2, "http://169.254.169.254/latest/meta-data".into()),
        "/api/circles" => {
            let next = if asked.parameter("after") == Some("a") { "b" } else { "a" };
            page(0..2, next.into())
        }
        "/api/redirects" => Reply::text(302, "").header("Location", format!("{elsewhere}/api/redirects?api_key=x")),
        "/api/moved" => Reply::text(307, "").header("Location", "/api/there"),
        "/api/loops" => Reply::text(301, "").header("Location", "/api/loops"),
        "/api/there" => page(0..2, Value::Null),
        _ => Reply::text(404, ""),
    })
    .await;
    let runs = foreign.pull().await;
    for run in &runs {
        let (state, new, error) = told(run);
        let words: &[&str] = match run["stream"].as_str().unwrap() {
            "urls" | "links" | "redirects" | "metadata" => &["host"],
            "circles" => &["circle"],
            "loops" => &["redirects_max"],
            _ => &[],
        };
        assert_eq!(state == "failed", !words.is_empty(), "{run}");
        assert!(words.iter().all(|word| error.contains(word)), "{run}");
        assert!(!error.contains(KEY) && matches!(run["stream"].as_str().unwrap(), "redirects" | "loops") == (new == 0), "{run}");
    }
    assert!(stranger.seen().is_empty(), "{:?}", stranger.seen());
    assert_eq!(foreign.state().await, "active");
    foreign.house.close().await;
}

/// Goal: what cannot be read fails its page with an error that says what, where and what to do; pages before it are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_page_fails_and_the_good_ones_stay() {
    let squeezed = BASE64.decode(SQUEEZED.as_bytes()).unwrap();
    let streams = [
        ("html", BY_CURSOR),
        ("torn", BY_CURSOR),
        ("half", BY_CURSOR),
        ("huge", BY_CURSOR),
        ("brotli", BY_CURSOR),
        ("broken", BY_CURSOR),
        ("deep", BY_CURSOR),
        ("gzip", ""),
    ];
    let foreign = Foreign::connect(BASIC, &streams, move |asked| {
        if asked.path == "/api/gzip" {
            return Reply::text(200, squeezed.clone()).header("Content-Encoding", "gzip");
        }
        if asked.parameter("after").is_none() {
            return page(0..5, "two".into());
        }
        match asked.path.as_str() {
            "/api/html" => Reply::text(200, "<!doctype html><p>Please sign in").header("Content-Type", "text/html"),
            "/api/torn" => page(0..99, Value::Null).torn(),
            "/api/half" => Reply::text(200, "{\"items\": [{\"id\": 7}, {\"id\": "),
            "/api/huge" => Reply::text(200, vec![b' '; 33 * 1024 * 1024]),
            "/api/brotli" => page(0..9, Value::Null).header("Content-Encoding", "br"),
            "/api/deep" => Reply::text(200, format!("{{\"items\": {}", "[".repeat(200_000))),
            _ => Reply::text(200, &b"{\"items\": [{\"id\": \"\xff\xfe\"}]}"[..]),
        }
    })
    .await;
    let runs = foreign.pull().await;
    for run in &runs {
        let (state, new, error) = told(run);
        let word = match run["stream"].as_str().unwrap() {
            "gzip" => {
                assert_eq!((state.as_str(), new), ("complete", 40), "{run}");
                continue;
            }
            "huge" => "33554432 bytes of body",
            "brotli" => "br",
            "torn" => "/api/torn",
            _ => "JSON",
        };
        assert_eq!((state.as_str(), new), ("failed", 5), "{run}");
        assert!(error.contains(word) && !error.contains("doctype"), "{run}");
    }
    let record = foreign.house.records(&foreign.connection, "gzip").await.remove(0);
    assert_eq!(record["tag"]["page"]["bytes"], 1281);
    foreign.house.close().await;
}

/// Goal: refusals are told apart. What may pass is tried again and changes nothing; a key that is refused everywhere closes the
/// gate until somebody reconnects, whichever stream says so first; a right that one stream lacks does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_apart() {
    let good = |asked: &Asked| if asked.path == "/api/items" { Some(page(0..1, Value::Null)) } else { None };
    for (status, requests, state) in [(403, 1, "active"), (404, 1, "active"), (422, 1, "active"), (500, 2, "active"), (503, 2, "active")] {
        let foreign = Foreign::connect(IN_HEADER, &[("items", ""), ("other", "")], move |asked| {
            good(asked).unwrap_or_else(|| Reply::text(status, "{}"))
        })
        .await;
        let runs = foreign.pull().await;
        let other = runs.iter().find(|run| run["stream"] == "other").unwrap();
        let (run_state, _, error) = told(other);
        assert!(run_state == "failed" && error.contains(&status.to_string()), "{other}");
        assert_eq!((&other["requests"], foreign.state().await.as_str()), (&json!(requests), state), "{status}");
        assert_eq!(foreign.ids("items").await, [0]);
        foreign.house.close().await;
    }
    for status in [401, 403] {
        let foreign = Foreign::connect(IN_HEADER, &[("items", ""), ("other", "")], move |asked| match asked.path.as_str() {
            "/api/items" => Reply::text(status, "{}"),
            // Ends last, and with an error that says nothing of the key.
            _ if status == 401 => Reply::text(404, "{}").after(Duration::from_millis(300)),
            _ => Reply::text(status, "{}"),
        })
        .await;
        foreign.pull().await;
        assert_eq!(foreign.state().await, "needs_reauthorization", "{status}");
        let before = foreign.server.seen().len();
        let path = format!("/v1/connections/{}/runs", foreign.connection);
        assert_eq!(foreign.house.ask("POST", &path, Some(json!({}))).await.0, 409);
        assert_eq!(foreign.server.seen().len(), before);
        let again = foreign.house.have("POST", &format!("/admin/connections/{}/reconnect", foreign.connection), None).await;
        assert_eq!(again, json!({"connection": foreign.connection, "state": "active"}));
        foreign.house.close().await;
    }
}

/// Goal: an application that asks for a day's patience gets it, across a restart, and not a moment more. Method: the clock is
/// moved; both spellings of the header.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_patience_is_kept() {
    for (status, header) in [(429, "86400"), (503, "Wed, 25 Nov 2026 10:00:00 GMT")] {
        let calls = std::sync::atomic::AtomicU64::new(0);
        let mut foreign =
            Foreign::connect(IN_HEADER, &[("items", "")], move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Reply::text(status, "").header("Retry-After", header),
                _ => page(0..2, Value::Null),
            })
            .await;
        let (state, _, error) = foreign.pull_one().await;
        assert!(state == "failed" && error.contains("2026-11-25T10:00:00Z"), "{error}");
        let shown = foreign.house.have("GET", &format!("/v1/connections/{}", foreign.connection), None).await;
        assert_eq!(shown["activity"]["limits"], json!({"patience": 1}));
        let path = format!("/v1/connections/{}/runs", foreign.connection);
        for restart in [false, true] {
            if restart {
                foreign.house = foreign.house.reopen().await;
            }
            foreign.house.pass(43_199);
            let (status, problem) = foreign.house.ask("POST", &path, Some(json!({}))).await;
            assert!(status == 409 && problem["detail"].as_str().unwrap().contains("2026-11-25T10:00:00Z"), "{status} {problem}");
        }
        assert_eq!(foreign.server.seen().len(), 1);
        foreign.house.pass(2);
        assert_eq!(foreign.pull_one().await, ("complete".to_owned(), 2, String::new()));
        foreign.house.close().await;
    }
    // Without a restart, what the process remembers ends with the clock too.
    let calls = std::sync::atomic::AtomicU64::new(0);
    let foreign = Foreign::connect(IN_HEADER, &[("items", "")], move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::text(429, "").header("Retry-After", "86400"),
        _ => page(0..2, Value::Null),
    })
    .await;
    foreign.pull_one().await;
    foreign.house.pass(86_400);
    assert_eq!(foreign.pull_one().await, ("complete".to_owned(), 2, String::new()));
    foreign.house.close().await;
}

/// Goal: whoever sees a pull's runs end may act on it at once: the next pull starts, and a refused key shows in the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_seen_is_an_end() {
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_refused = refused.clone();
    let foreign = Foreign::connect(IN_HEADER, &[("items", ""), ("other", "")], move |_| {
        if is_refused.load(std::sync::atomic::Ordering::SeqCst) { Reply::text(401, "{}") } else { page(0..1, Value::Null) }
    })
    .await;
    let path = format!("/v1/connections/{}/runs", foreign.connection);
    for round in 0..10 {
        refused.store(round == 9, std::sync::atomic::Ordering::SeqCst);
        let started = foreign.house.have("POST", &path, Some(json!({}))).await;
        let runs = format!("/v1/runs?pull={}", started["pull"].as_str().unwrap());
        while foreign.house.have("GET", &runs, None).await["items"].as_array().unwrap().iter().any(|run| run["state"] == "running") {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(foreign.state().await, "needs_reauthorization");
    foreign.house.close().await;
}

/// Forty records, squeezed by gzip.
const SQUEEZED: &str = "H4sIAAAAAAACA4XTrQ7CYAxG4Vv5Uj1B3/J/K2RuFRNAyIZh2b0zgSQ9qk2Oe9IuNs55n+zabouNwzZ3XbPHc85tten1zvzkYGvXftnrrDpHnfd1PtT5WOdTnc91vgALsYGbA5yDnAOdg50DnoOeA5+Dn8BPdHfgJ/AT+An8BH4CP4GfwC/AL8Av6HHBL8AvwC/AL8AvwC/++/XrFwaZT+gBBQAA";
