//! What is asked of an application, how it is authorized, what its answers mean, and how often it is asked: through the real binary,
//! against a server that plays the application.

use std::collections::HashMap;
use std::process::Command;
use std::process::Output;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::IntoResponse;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

/// A request as the application saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    /// Path and query.
    target: String,
    headers: HashMap<String, String>,
    body: String,
    at: Instant,
}

/// What the application answers: status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, String);

/// Decides by the request, and by how many came before it.
type Play = Arc<dyn Fn(&Seen, usize) -> Answer + Send + Sync>;

#[derive(Clone)]
struct Application {
    seen: Arc<Mutex<Vec<Seen>>>,
    play: Play,
    base: String,
}

impl Application {
    async fn start(play: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let application = Application { seen: Arc::default(), play: Arc::new(play), base };
        let router = axum::Router::new().fallback(answer).with_state(application.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        application
    }

    /// What was asked, as `METHOD target`.
    fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(application): State<Application>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let target = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = Seen { method: method.to_string(), target, headers, body: String::from_utf8_lossy(&body).into_owned(), at: Instant::now() };
    let before = {
        let mut all = application.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let (status, headers, body) = (application.play)(&seen, before);
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

/// What a reading came to.
struct Read {
    records: Vec<Value>,
    /// Standard output and standard error.
    text: String,
    is_complete: bool,
}

/// Reads the stream `a` of a manifest.
async fn read(manifest: &str, config: Value, more: &[&str]) -> Read {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let catalog = json!({"streams": [{"stream": {"name": "a", "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
        "sync_mode": "full_refresh", "destination_sync_mode": "append"}]});
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["airbyte", "read", "--allow-loopback", "--manifest-path"]).arg(file("manifest.yaml", manifest.to_owned()));
    command.arg("--config").arg(file("config.json", config.to_string())).arg("--catalog").arg(file("catalog.json", catalog.to_string()));
    command.args(more);
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let messages: Vec<Value> = String::from_utf8_lossy(&stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let records = messages.iter().filter_map(|message| message.pointer("/record/data").cloned()).collect();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Read { records, text, is_complete: status.success() }
}

/// A time that stands still, so that waits are not spent.
const STILL: [&str; 2] = ["--now", "2026-11-24T10:00:00Z"];

/// A manifest with one stream: a requester's members behind its address, and members of the source.
fn manifest(base: &str, requester: &str, source: &str) -> String {
    format!(
        "version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [a]}}
{source}
streams:
  - type: DeclarativeStream
    name: a
    retriever:
      requester:
        type: HttpRequester
        url_base: '{base}/v1'
        path: items
{requester}
      record_selector: {{extractor: {{field_path: []}}}}
"
    )
}

fn ok(body: Value) -> Answer {
    (200, Vec::new(), body.to_string())
}

/// Strict logs in before every request where a session has no end; safe keeps it until it is refused, and asks once more then.
/// Neither shows what it logs in with.
#[tokio::test]
async fn sessions_are_kept_or_not() {
    let login = |base: &str| {
        format!(
            "        authenticator:
          type: SelectiveAuthenticator
          authenticator_selection_path: [auth, kind]
          authenticators:
            none: {{type: NoAuth}}
            session:
              type: SessionTokenAuthenticator
              login_requester:
                type: HttpRequester
                url_base: '{base}'
                path: login
                http_method: POST
                request_body_json: {{user: \"{{{{ config['user'] }}}}\", password: \"{{{{ config['password'] }}}}\"}}
              session_token_path: [data, token]
              request_authentication: {{type: ApiKey, inject_into: {{type: RequestOption, inject_into: header, field_name: X-Session}}, api_token: \"Token {{{{ session_token }}}}\"}}"
        )
    };
    let config = json!({"auth": {"kind": "session"}, "user": "u", "password": "hunter22"});
    let (login_once, first, second) = ("POST /login", "GET /v1/items", "GET /v1/items?p=2");
    let strict = [login_once, first, login_once, second];
    let safe = [login_once, first, second, login_once, second];
    for (compat, expected) in [("strict", strict.as_slice()), ("safe", safe.as_slice())] {
        let application = Application::start(|seen, before| match seen.target.as_str() {
            "/login" => ok(json!({"data": {"token": format!("t{before}")}})),
            // The first token is taken back after one page.
            _ if seen.headers.get("x-session").is_some_and(|token| token == "Token t0") && before > 1 => (401, vec![], "{}".into()),
            "/v1/items" => ok(json!([{"id": 1, "next": true}])),
            _ => ok(json!([])),
        })
        .await;
        let paginator = "      paginator: {type: DefaultPaginator, page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: p}, pagination_strategy: {type: PageIncrement, start_from_page: 1}}\n";
        let yaml = manifest(&application.base, &login(&application.base), "")
            .replace("      record_selector", &format!("{paginator}      record_selector"));
        let read = read(&yaml, config.clone(), &["--compat", compat]).await;
        assert!(read.is_complete && read.records.len() == 1, "{compat}: {}", read.text);
        assert_eq!(application.asked(), expected, "{compat}");
        assert!(!read.text.contains("hunter22"));
        let first = &application.seen()[0];
        assert_eq!(serde_json::from_str::<Value>(&first.body).unwrap(), json!({"user": "u", "password": "hunter22"}));
    }
    let application = Application::start(|_, _| ok(json!([{"id": 1}]))).await;
    let other = read(&manifest(&application.base, &login(&application.base), ""), json!({"auth": {"kind": "other"}}), &[]).await;
    assert!(!other.is_complete && other.text.contains("none, session"), "{}", other.text);
    assert!(application.asked().is_empty());
}

/// The older kind tries the configuration's token, and logs in when that is refused.
#[tokio::test]
async fn older_sessions_are_validated() {
    let application = Application::start(|seen, _| match (seen.target.as_str(), seen.headers.get("x-s").map(String::as_str)) {
        ("/v1/me", Some("good")) => ok(json!({})),
        ("/v1/me", _) => (401, vec![], String::new()),
        ("/v1/session", _) => ok(json!({"id": "fresh"})),
        (_, Some("fresh" | "good")) => ok(json!([{"id": 1}])),
        _ => (403, vec![], String::new()),
    })
    .await;
    let yaml = manifest(
        &application.base,
        "        authenticator: {type: LegacySessionTokenAuthenticator, header: X-S, login_url: /session, validate_session_url: /me, session_token_response_key: id,
          session_token: \"{{ config['token'] }}\", username: \"{{ config['user'] }}\", password: \"{{ config['password'] }}\"}",
        "",
    );
    let good = read(&yaml, json!({"token": "good"}), &[]).await;
    assert!(good.is_complete, "{}", good.text);
    let old = read(&yaml, json!({"token": "old", "user": "u", "password": "p"}), &[]).await;
    assert!(old.is_complete, "{}", old.text);
    let none = read(&yaml, json!({"token": "old"}), &[]).await;
    assert!(!none.is_complete, "{}", none.text);
    let expected = ["GET /v1/me", "GET /v1/items", "GET /v1/me", "POST /v1/session", "GET /v1/items", "GET /v1/me"];
    assert_eq!(application.asked(), expected);
}

/// A token is signed for every request; an assertion buys an access token.
#[tokio::test]
async fn tokens_are_signed() {
    let application = Application::start(|seen, _| match seen.target.as_str() {
        "/token" => ok(json!({"nested": {"access": "bought"}, "expires_in": "60"})),
        _ => ok(json!([{"id": 1}])),
    })
    .await;
    let jwt =
        "{type: JwtAuthenticator, algorithm: HS256, secret_key: \"{{ config['key'] }}\", header_prefix: Bearer, jwt_payload: {iss: me}}";
    let read_with = |authenticator: String| {
        let yaml = manifest(&application.base, &format!("        authenticator: {authenticator}"), "");
        async move { read(&yaml, json!({"key": "a key of at least so many bytes"}), &STILL).await }
    };
    let signed = read_with(jwt.to_owned()).await;
    assert!(signed.is_complete, "{}", signed.text);
    let oauth = format!(
        "{{type: OAuthAuthenticator, token_refresh_endpoint: '{}/token', access_token_name: access, use_profile_assertion: true, profile_assertion: {}}}",
        application.base,
        jwt.replace(", header_prefix: Bearer", "")
    );
    let bought = read_with(oauth).await;
    assert!(bought.is_complete, "{}", bought.text);
    let seen = application.seen();
    let token = seen[0].headers["authorization"].strip_prefix("Bearer ").unwrap();
    assert_eq!(token.split('.').count(), 3);
    let form: HashMap<String, String> = url::form_urlencoded::parse(seen[1].body.as_bytes()).into_owned().collect();
    assert_eq!((form["grant_type"].as_str(), form["assertion"].as_str()), ("urn:ietf:params:oauth:grant-type:jwt-bearer", token));
    assert_eq!((form.len(), seen[2].headers["authorization"].as_str()), (2, "Bearer bought"));
}

/// What answers mean is the manifest's to say: wait as the body says, ignore, renew the token once, fail with a message.
#[tokio::test]
async fn answers_mean_what_the_manifest_says() {
    let application = Application::start(|seen, before| match (seen.target.as_str(), before) {
        ("/token", before) => ok(json!({"access_token": format!("t{before}"), "expires_in": 3600})),
        (_, 1) => (400, vec![], json!({"error": {"message": "quota", "wait": 30}}).to_string()),
        (_, 2) => (401, vec![], "{}".into()),
        (_, 4) => ok(json!([{"id": 1}])),
        _ => (418, vec![], json!({"why": "tea"}).to_string()),
    })
    .await;
    let errors = "        error_handler:
          type: CompositeErrorHandler
          error_handlers:
            - type: DefaultErrorHandler
              max_retries: \"{{ config['tries'] }}\"
              response_filters:
                - {error_message_contains: quota, action: RATE_LIMITED}
                - {http_codes: [401], action: REFRESH_TOKEN_THEN_RETRY}
                - {predicate: \"{{ response['why'] == 'tea' and 'items' in request_url }}\", action: FAIL, error_message: \"no {{ response['why'] }} for {{ config['who'] }}\"}
              backoff_strategies:
                - {type: WaitTimeFromResponse, wait_time_in_seconds: \"{{ response['error']['wait'] }}\"}
                - {type: ConstantBackoffStrategy, backoff_time_in_seconds: 2, jitter_range_in_seconds: 1}";
    let oauth = format!(
        "        authenticator: {{type: OAuthAuthenticator, token_refresh_endpoint: '{}/token', client_id: i, client_secret: s, grant_type: client_credentials}}\n",
        application.base
    );
    let yaml = manifest(&application.base, &format!("{oauth}{errors}"), "");
    let config = json!({"tries": 4, "who": "you"});
    let first = read(&yaml, config.clone(), &STILL).await;
    assert!(first.is_complete && first.records == [json!({"id": 1})], "{}", first.text);
    let tokens = |seen: &[Seen]| seen.iter().filter_map(|seen| seen.headers.get("authorization").cloned()).collect::<Vec<_>>();
    assert_eq!(tokens(&application.seen()), ["Bearer t0", "Bearer t0", "Bearer t3"]);
    let second = read(&yaml, config, &STILL).await;
    assert!(!second.is_complete && second.text.contains("no tea for you"), "{}", second.text);
}

/// The manifest's budget holds in any stretch of time, and what an answer says is left corrects it.
#[tokio::test]
async fn budgets_are_kept() {
    let application = Application::start(|seen, before| {
        let left = if before == 5 { vec![("x-left", "0".to_owned())] } else { vec![] };
        let more = if seen.target.contains("p=7") { json!([]) } else { json!([{"id": before}]) };
        (200, left, more.to_string())
    })
    .await;
    let budget = "api_budget:
  type: HTTPAPIBudget
  ratelimit_remaining_header: X-Left
  policies:
    - type: MovingWindowCallRatePolicy
      rates: [{type: Rate, limit: \"{{ config['rate'] }}\", interval: PT0.6S}]
      matchers: [{method: GET, url_path_pattern: '/items$'}]";
    let paginator = "      paginator: {type: DefaultPaginator, page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: p}, pagination_strategy: {type: PageIncrement, start_from_page: 1}}\n";
    let yaml = manifest(&application.base, "", budget).replace("      record_selector", &format!("{paginator}      record_selector"));
    let read_all = read(&yaml, json!({"rate": 3}), &[]).await;
    assert!(read_all.is_complete && read_all.records.len() == 6, "{}", read_all.text);
    let starts: Vec<Duration> = application.seen().iter().map(|seen| seen.at - application.seen()[0].at).collect();
    // Three at once, then three in the next window; the sixth answer says that none is left, which is so already.
    assert!(starts[2] < Duration::from_millis(400) && starts[3] > Duration::from_millis(550), "{starts:?}");
    assert!(starts[5] < Duration::from_millis(1100) && starts[6] > Duration::from_millis(1150), "{starts:?}");
    let still = read(&yaml, json!({"rate": 1}), &STILL).await;
    assert!(still.is_complete, "counted, not slept: {}", still.text);
}

/// A job is polled until it is done, created again when it fails, and its results are read page by page, then deleted.
#[tokio::test]
async fn jobs_are_run() {
    let application = Application::start(|seen, before| match (seen.method.as_str(), seen.target.split('?').next().unwrap_or_default()) {
        ("POST", "/jobs") => ok(json!({"id": format!("j{before}"), "kind": seen.body})),
        ("GET", "/jobs/j0") => ok(json!({"status": "broken"})),
        ("GET", path) if path.starts_with("/jobs/") => {
            let base = format!("http://{}", seen.headers["host"]);
            match before % 3 {
                0 => ok(json!({"status": "done", "files": [format!("{base}/files/1"), format!("{base}/files/2")]})),
                _ => ok(json!({"status": "working"})),
            }
        }
        ("GET", "/files/1") if seen.target.contains("page=1") => (200, vec![], "id,note\n3,NA\n".into()),
        ("GET", "/files/1") => (200, vec![("x-more", "1".into())], "id,note\n1,a\n2,\n".into()),
        ("GET", "/files/2") => (200, vec![], "id,note\n4,\"b,c\"\n".into()),
        ("DELETE" | "POST", _) => ok(json!({})),
        _ => (404, vec![], String::new()),
    })
    .await;
    let base = &application.base;
    let yaml = format!(
        "version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [a]}}
max_concurrent_async_job_count: \"{{{{ config['jobs'] }}}}\"
streams:
  - type: DeclarativeStream
    name: a
    transformations: [{{type: AddFields, fields: [{{path: [part], value: \"{{{{ stream_partition['part'] }}}}\"}}]}}]
    retriever:
      type: AsyncRetriever
      status_mapping: {{running: [working], completed: [done], failed: [broken], timeout: [late]}}
      status_extractor: {{type: DpathExtractor, field_path: [status]}}
      download_target_extractor: {{type: DpathExtractor, field_path: [files]}}
      download_extractor: {{type: ResponseToFileExtractor}}
      creation_requester: {{type: HttpRequester, url_base: '{base}', path: jobs, http_method: POST, request_body_json: {{part: \"{{{{ stream_partition['part'] }}}}\"}}}}
      polling_requester: {{type: HttpRequester, url_base: '{base}', path: \"jobs/{{{{ creation_response['id'] }}}}\"}}
      download_requester: {{type: HttpRequester, url: \"{{{{ download_target }}}}\"}}
      download_paginator: {{type: DefaultPaginator, page_token_option: {{type: RequestOption, inject_into: request_parameter, field_name: page}},
        pagination_strategy: {{type: CursorPagination, cursor_value: \"{{{{ headers.get('x-more') }}}}\", stop_condition: \"{{{{ not headers.get('x-more') }}}}\"}}}}
      delete_requester: {{type: HttpRequester, url_base: '{base}', path: \"gone/{{{{ creation_response['id'] }}}}\", http_method: POST}}
      partition_router: {{type: ListPartitionRouter, cursor_field: part, values: [x]}}
      record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: []}}, record_filter: {{type: RecordFilter, condition: \"{{{{ record['id'] != '4' }}}}\"}}}}
"
    );
    let read = read(&yaml, json!({"jobs": 2}), &STILL).await;
    let expected = [json!({"id": "1", "note": "a", "part": "x"}), json!({"id": "2", "part": "x"}), json!({"id": "3", "part": "x"})];
    assert!(read.is_complete, "{}\n{:?}", read.text, application.asked());
    assert_eq!(read.records, expected, "{:?}", application.asked());
    let asked = application.asked();
    assert_eq!(asked.iter().filter(|asked| *asked == "POST /jobs").count(), 2, "{asked:?}");
    assert_eq!(asked[asked.len() - 4..asked.len() - 1], ["GET /files/1", "GET /files/1?page=1", "GET /files/2"]);
    assert_eq!(asked.last().unwrap(), "POST /gone/j2");
    assert_eq!(application.seen()[0].body, r#"{"part":"x"}"#);
}

/// Properties are found once, spread over requests, and the records of these become one.
#[tokio::test]
async fn properties_are_asked_for() {
    let application = Application::start(|seen, _| {
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(seen.target.split_once('?').map_or(&[], |(_, query)| query.as_bytes())).into_owned().collect();
        match seen.target.split('?').next().unwrap_or_default() {
            "/v1/names" => ok(json!([{"p": {"name": "a"}}, {"p": {"name": "b"}}, {"p": {"name": "c"}}])),
            _ => match query["props"].as_str() {
                "id,a,b" => ok(json!([{"id": 1, "own": {"a": 1, "b": 2}}, {"id": 2, "own": {"a": 3}}])),
                "id,c" => ok(json!([{"id": 2, "own": {"c": 4}}, {"id": 3, "own": {}}, {"own": {"c": 5}}])),
                other => (400, vec![], format!("{other}?")),
            },
        }
    })
    .await;
    let parameters = format!(
        "        request_parameters:
          fixed: '1'
          props:
            type: QueryProperties
            always_include_properties: [id]
            property_list:
              type: PropertiesFromEndpoint
              property_field_path: [p, name]
              retriever:
                type: SimpleRetriever
                requester: {{type: HttpRequester, url_base: '{}/v1', path: names}}
                record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: []}}}}
            property_chunking: {{type: PropertyChunking, property_limit_type: property_count, property_limit: 2}}",
        application.base
    );
    let read = read(&manifest(&application.base, &parameters, ""), json!({}), &STILL).await;
    assert!(read.is_complete, "{}", read.text);
    let mut records = read.records;
    records.sort_by_key(ToString::to_string);
    let mut expected = vec![
        json!({"id": 1, "own": {"a": 1, "b": 2}}),
        json!({"id": 2, "own": {"a": 3, "c": 4}}),
        json!({"id": 3, "own": {}}),
        json!({"own": {"c": 5}}),
    ];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(records, expected);
    assert_eq!(application.asked(), ["GET /v1/names", "GET /v1/items?fixed=1&props=id%2Ca%2Cb", "GET /v1/items?fixed=1&props=id%2Cc"]);
}

/// An answer that refuses and is called a success has records, but not for the reference engine.
#[tokio::test]
async fn successes_are_read() {
    let application = Application::start(|_, _| (404, vec![], json!([{"id": 1}]).to_string())).await;
    let errors = "        error_handler: {type: DefaultErrorHandler, response_filters: [{http_codes: [404], action: SUCCESS}]}";
    for (compat, number) in [("strict", 0), ("safe", 1)] {
        let read = read(&manifest(&application.base, errors, ""), json!({}), &["--compat", compat]).await;
        assert!(read.is_complete && read.records.len() == number, "{compat}: {}", read.text);
    }
}

/// The result of a job is fetched from wherever the application says it is, but a credential goes to the connection's hosts alone.
#[tokio::test]
async fn results_elsewhere_get_no_credential() {
    let elsewhere = Application::start(|_, _| ok(json!([{"id": 1}]))).await;
    let there = format!("{}/result?signature=x", elsewhere.base);
    let application = Application::start(move |seen, _| match seen.method.as_str() {
        "POST" => ok(json!({"id": 1})),
        _ => ok(json!({"status": "done", "url": there})),
    })
    .await;
    let yaml = |authenticator: &str| {
        let base = &application.base;
        format!(
            "version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [a]}}
streams:
  - type: DeclarativeStream
    name: a
    retriever:
      type: AsyncRetriever
      status_mapping: {{running: [working], completed: [done], failed: [broken], timeout: [late]}}
      status_extractor: {{type: DpathExtractor, field_path: [status]}}
      download_target_extractor: {{type: DpathExtractor, field_path: [url]}}
      creation_requester: {{type: HttpRequester, url_base: '{base}', path: jobs, http_method: POST}}
      polling_requester: {{type: HttpRequester, url_base: '{base}', path: jobs/1}}
      download_requester: {{type: HttpRequester, url: \"{{{{ download_target }}}}\"{authenticator}}}
      record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: []}}}}
"
        )
    };
    let config = json!({"key": "hunter22"});
    let bare = read(&yaml(""), config.clone(), &STILL).await;
    assert!(bare.is_complete && bare.records.len() == 1, "{}", bare.text);
    let before = elsewhere.asked().len();
    let bearer = ", authenticator: {type: BearerAuthenticator, api_token: \"{{ config['key'] }}\"}";
    let refused = read(&yaml(bearer), config, &STILL).await;
    assert!(!refused.is_complete, "{}", refused.text);
    assert_eq!(elsewhere.asked().len(), before);
}
