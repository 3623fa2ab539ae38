//! An application with lists of items that a test fills and breaks: shelves, each read by a manifest of its own. A list comes
//! newest first, so whoever took the newest as proof of having all would lose the rest when a later page fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use super::http::Asked;
use super::http::Reply;
use super::http::Server;
use super::installation::Installation;

/// The key that every shelf wants in `X-Api-Key`.
pub const KEY: &str = "outlet-key-8c1f02d9";
/// Items on a page.
pub const PAGE: u64 = 10;
/// When the first item was changed; each further one a minute later.
const FIRST: &str = "2026-11-02T00:00:00Z";

/// What a broken shelf answers.
pub type Fault = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// The application.
pub struct Outlet {
    server: Option<Server>,
    port: u16,
    shelves: Shelves,
}

type Shelves = Arc<Mutex<BTreeMap<String, Shelf>>>;

#[derive(Default)]
struct Shelf {
    items: u64,
    fault: Option<Fault>,
}

impl Outlet {
    /// Opens with empty shelves.
    pub async fn start() -> Self {
        let mut outlet = Outlet { server: None, port: 0, shelves: Shelves::default() };
        outlet.open().await;
        outlet
    }

    /// Opens again, at the same address.
    pub async fn open(&mut self) {
        let shelves = self.shelves.clone();
        let server = Server::start_at(self.port, move |asked| answer(&lock(&shelves), asked)).await;
        self.port = server.port();
        self.server = Some(server);
    }

    /// Nobody listens any more.
    pub fn close(&mut self) {
        self.server = None;
    }

    /// Its host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts that many items on a shelf in place of what was there, in their order of time.
    pub fn fill(&self, shelf: &str, items: u64) {
        lock(&self.shelves).entry(shelf.to_owned()).or_default().items = items;
    }

    /// Lets a shelf answer wrongly from its second page on, or rightly again.
    pub fn breaks(&self, shelf: &str, fault: Option<Fault>) {
        lock(&self.shelves).entry(shelf.to_owned()).or_default().fault = fault;
    }

    /// The requests for a shelf so far.
    pub fn seen(&self, shelf: &str) -> Vec<Asked> {
        self.server.as_ref().map(|server| server.seen_at(&format!("/{shelf}/items"))).unwrap_or_default()
    }

    /// A manifest for a shelf, in a file.
    pub fn manifest(&self, installation: &Installation, shelf: &str) -> PathBuf {
        let path = installation.beside(&format!("{shelf}.yaml"));
        std::fs::write(&path, manifest(&format!("http://{}/{shelf}", self.host()))).unwrap();
        path
    }

    /// Connects a shelf, by the real command; the connection's id.
    pub fn connect(&self, installation: &Installation, shelf: &str) -> String {
        connect(installation, &self.manifest(installation, shelf))
    }
}

/// Connects what a manifest reads, by the real command; the connection's id.
pub fn connect(installation: &Installation, manifest: &Path) -> String {
    let config = manifest.with_extension("config.json");
    std::fs::write(&config, json!({"key": KEY}).to_string()).unwrap();
    let made = installation.result(&words(manifest, &config));
    assert_eq!(made["state"], "active", "{made}");
    made["connection"].as_str().unwrap().to_owned()
}

/// The command line that connects a manifest.
pub fn words<'a>(manifest: &'a Path, config: &'a Path) -> Vec<&'a str> {
    let mut words = vec!["connect", manifest.to_str().unwrap(), "--tenant", "acme", "--accept-policy", "--person", "Ada"];
    words.extend(["--organisation", "Acme", "--config", config.to_str().unwrap()]);
    words
}

/// An item, as the application has it.
pub fn item(number: u64) -> Value {
    let first: Timestamp = FIRST.parse().unwrap();
    let at = first + SignedDuration::from_mins(i64::try_from(number).unwrap());
    json!({"id": number, "name": format!("item {number}"), "updated_at": at.to_string()})
}

/// One stream, read since the last time that was seen, page by page.
pub fn manifest(base: &str) -> String {
    format!(
        r#"version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [items]}}
streams:
  - type: DeclarativeStream
    name: items
    primary_key: [id]
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: updated_at
      datetime_format: "%Y-%m-%dT%H:%M:%SZ"
      start_datetime: "2026-11-01T00:00:00Z"
      start_time_option: {{type: RequestOption, inject_into: request_parameter, field_name: since}}
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: {base}
        path: /items
        http_method: GET
        authenticator: {{type: ApiKeyAuthenticator, api_token: "{{{{ config['key'] }}}}", header: X-Api-Key}}
        error_handler: {{type: DefaultErrorHandler, max_retries: 1}}
      record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: [items]}}}}
      paginator:
        type: DefaultPaginator
        page_token_option: {{type: RequestOption, inject_into: request_parameter, field_name: after}}
        pagination_strategy: {{type: CursorPagination, cursor_value: "{{{{ response['next'] }}}}"}}
    schema_loader: {{type: InlineSchemaLoader, schema: {{type: object}}}}
spec:
  type: Spec
  connection_specification:
    type: object
    required: [key]
    additionalProperties: false
    properties:
      key: {{type: string, airbyte_secret: true}}
"#
    )
}

fn answer(shelves: &BTreeMap<String, Shelf>, asked: &Asked) -> Reply {
    let name = asked.path.strip_suffix("/items").and_then(|path| path.strip_prefix('/'));
    let Some(shelf) = name.and_then(|name| shelves.get(name)) else { return Reply::text(404, "{}") };
    if asked.header("x-api-key") != Some(KEY) {
        return Reply::text(401, "{}");
    }
    let token: Option<u64> = asked.parameter("after").and_then(|text| text.parse().ok());
    if let (Some(fault), Some(_)) = (&shelf.fault, token) {
        return fault(asked);
    }
    let since = asked.parameter("since").unwrap_or_default();
    let newer = |item: &Value| item["updated_at"].as_str().unwrap() >= since;
    let end = token.unwrap_or(shelf.items).min(shelf.items);
    let page: Vec<Value> = (0..end).rev().map(item).take_while(newer).take(PAGE as usize).collect();
    let next = if page.len() < PAGE as usize { Value::Null } else { json!((end - PAGE).to_string()) };
    Reply::json(&json!({"items": page, "next": next}))
}

fn lock(shelves: &Shelves) -> MutexGuard<'_, BTreeMap<String, Shelf>> {
    shelves.lock().expect("no test has failed under this lock")
}
