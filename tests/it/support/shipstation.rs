//! ShipStation's API, version 1, as far as its connector uses it: a loopback server with that application's paging, Basic
//! authentication, rate limit and errors.
//!
//! The payloads are published samples under `HEADGATE_SHARED`, else those in `tests/fixtures/shipstation`. Facts about the
//! application are from its documentation; those marked (k) are general knowledge, not looked up.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use axum::Router;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use data_encoding::BASE64;
use jiff::ToSpan;
use jiff::civil::DateTime;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// The records on a page when the caller does not say (k).
const PAGE_SIZE_DEFAULT: usize = 100;

/// How the application behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The API key: the name in Basic authentication.
    pub key: String,
    /// The API secret: the password.
    pub secret: String,
    /// The most records on a page; a larger `pageSize` is read as this. The application documents 500.
    pub page_size_max: usize,
    /// The requests in a window; the application documents 40 for a pair of keys.
    pub requests_per_window: u32,
    /// The window's length; the application documents a minute.
    pub window: Duration,
    /// How often the payloads are repeated, each time with other ids and numbers, to fill several pages.
    pub copies: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            key: "key".into(),
            secret: "secret".into(),
            page_size_max: 500,
            requests_per_window: 40,
            window: Duration::from_secs(60),
            copies: 1,
        }
    }
}

/// A running application; it stops when this is dropped.
pub struct ShipStation {
    address: SocketAddr,
    app: Arc<App>,
    _stop: DropGuard,
}

/// One request, as the application saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The query's pairs, in their order.
    pub query: Vec<(String, String)>,
    /// The status of the answer.
    pub status: u16,
}

impl ShipStation {
    /// Loads the payloads and listens on a free port of the loopback address.
    pub async fn start(options: Options) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let lists = RESOURCES.map(|resource| resource.records(options.copies));
        let window = (Instant::now(), 0);
        let secret = Mutex::new(options.secret.clone());
        let app = Arc::new(App { options, lists, secret, window: Mutex::new(window), seen: Mutex::default() });
        let router = Router::new().fallback(serve).with_state(app.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await });
        Self { address, app, _stop: stop.drop_guard() }
    }

    /// What to write in place of `https://ssapi.shipstation.com`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The records of a list, as a complete pull must bring them.
    pub fn records(&self, resource: &str) -> &[Value] {
        let index = RESOURCES.iter().position(|known| known.name == resource).expect("a resource of this server");
        &self.app.lists[index]
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.app.seen).clone()
    }

    /// Another secret in the place of the old one, as when the customer regenerates it.
    pub fn regenerate_keys(&self) -> String {
        let mut secret = lock(&self.app.secret);
        secret.push_str("-regenerated");
        secret.clone()
    }
}

/// A list of the API.
struct Resource {
    name: &'static str,
    sample: &'static str,
    id: &'static str,
    /// Members that tell records apart for people; changed along with the id.
    numbers: &'static [&'static str],
    /// `sortBy` values with the member that each means; the first also names the filters (`modifyDateStart`, …).
    times: &'static [(&'static str, &'static str)],
}

const RESOURCES: [Resource; 5] = [
    Resource {
        name: "orders",
        sample: "LIST_ORDERS.json",
        id: "orderId",
        numbers: &["orderNumber", "orderKey"],
        times: &[("ModifyDate", "modifyDate"), ("CreateDate", "createDate"), ("OrderDate", "orderDate")],
    },
    Resource {
        name: "shipments",
        sample: "LIST_SHIPMENTS.json",
        id: "shipmentId",
        numbers: &["trackingNumber"],
        times: &[("CreateDate", "createDate"), ("ShipDate", "shipDate")],
    },
    Resource { name: "products", sample: "LIST_PRODUCTS.json", id: "productId", numbers: &["sku"], times: &[] },
    Resource {
        name: "fulfillments",
        sample: "LIST_FULFILLMENTS.json",
        id: "fulfillmentId",
        numbers: &["trackingNumber"],
        times: &[("CreateDate", "createDate"), ("ShipDate", "shipDate")],
    },
    Resource { name: "customers", sample: "LIST_CUSTOMERS.json", id: "customerId", numbers: &[], times: &[] },
];

impl Resource {
    /// The payload's records, repeated. Samples were made anonymous by giving different records one id, which would make
    /// them versions of one record: a second record with an id gets another one.
    fn records(&self, copies: usize) -> Vec<Value> {
        let text = std::fs::read_to_string(samples().join(self.sample)).expect("a readable sample");
        let payload: Value = serde_json::from_str(&text).expect("a sample in JSON");
        let once = payload[self.name].as_array().expect("a list of records");
        let mut ids = BTreeSet::new();
        let mut records = Vec::new();
        for copy in 0..copies {
            for record in once {
                let mut record = record.clone();
                let original = record[self.id].as_u64().expect("a numeric id");
                let mut id = original + 1_000_000_000 * copy as u64;
                while !ids.insert(id) {
                    id += 1;
                }
                if id != original {
                    record[self.id] = id.into();
                    let suffix = format!("-{}", records.len());
                    for number in self.numbers {
                        let text = record[*number].as_str().expect("a text").to_owned();
                        record[*number] = (text + &suffix).into();
                    }
                }
                for (_, member) in self.times {
                    delay(&mut record[*member], copy);
                }
                records.push(record);
            }
        }
        records
    }
}

/// Moves a time by an hour for each copy, in the application's own format; the first copy stays as it is.
fn delay(member: &mut Value, copy: usize) {
    let time: Option<DateTime> = member.as_str().and_then(|text| text.parse().ok());
    if let Some(time) = time.filter(|_| copy > 0) {
        let hours = i64::try_from(copy).expect("few copies");
        let later = time.checked_add(hours.hours()).expect("a time within range");
        *member = format!("{}0", later.strftime("%Y-%m-%dT%H:%M:%S.%6f")).into();
    }
}

/// The published samples, or the fixtures in their place.
fn samples() -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("HEADGATE_SHARED").map_or_else(|| crate_root.join("../shared"), PathBuf::from);
    let published = shared.join("provider-samples/shipstation-v1");
    if published.is_dir() {
        return published;
    }
    println!("skipped: {} is absent; ShipStation serves the fixtures instead", published.display());
    crate_root.join("tests/fixtures/shipstation")
}

struct App {
    options: Options,
    lists: [Vec<Value>; 5],
    /// The API secret that is good now.
    secret: Mutex<String>,
    /// When the window began, and the requests in it.
    window: Mutex<(Instant, u32)>,
    seen: Mutex<Vec<Seen>>,
}

/// An answer before the rate headers are on it.
type Answer = (StatusCode, Value);

async fn serve(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap, Query(query): Query<Vec<(String, String)>>) -> Response {
    let (status, mut answer) = app.limited(|| app.answer(uri.path(), &query, &headers));
    if status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    }
    lock(&app.seen).push(Seen { path: uri.path().to_owned(), query, status: status.as_u16() });
    answer
}

impl App {
    /// Counts the request, and adds the headers that the application documents for every answer.
    fn limited(&self, answer: impl FnOnce() -> Answer) -> (StatusCode, Response) {
        let Options { requests_per_window, window, .. } = self.options;
        let now = Instant::now();
        let (remaining, reset_seconds) = {
            let mut open = lock(&self.window);
            if now >= open.0 + window {
                *open = (now, 0);
            }
            open.1 += 1;
            let left = (open.0 + window).duration_since(now);
            (requests_per_window.checked_sub(open.1), left.as_millis().div_ceil(1_000))
        };
        let reset = HeaderValue::from_str(&reset_seconds.to_string()).expect("digits");
        // The body of a 429 and its Retry-After: (k).
        let (status, body) =
            remaining.map_or_else(|| (StatusCode::TOO_MANY_REQUESTS, json!({"message": "Too Many Requests"})), |_| answer());
        let mut response = (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-rate-limit-limit"), HeaderValue::from(requests_per_window));
        headers.insert(HeaderName::from_static("x-rate-limit-remaining"), HeaderValue::from(remaining.unwrap_or(0)));
        headers.insert(HeaderName::from_static("x-rate-limit-reset"), reset.clone());
        if remaining.is_none() {
            headers.insert(header::RETRY_AFTER, reset);
        }
        (status, response)
    }

    fn answer(&self, path: &str, query: &[(String, String)], headers: &HeaderMap) -> Answer {
        let (key, secret) = (&self.options.key, lock(&self.secret).clone());
        let wanted = format!("Basic {}", BASE64.encode(format!("{key}:{secret}").as_bytes()));
        let given = headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == wanted.as_bytes());
        if !given {
            // The body is that of the framework that the application runs on (k).
            return (StatusCode::UNAUTHORIZED, json!({"Message": "Authorization has been denied for this request."}));
        }
        let found = RESOURCES.iter().zip(&self.lists).find(|(resource, _)| path.strip_prefix('/') == Some(resource.name));
        let Some((resource, records)) = found else {
            let message = format!("No HTTP resource was found that matches the request URI '{path}'.");
            return (StatusCode::NOT_FOUND, json!({"Message": message}));
        };
        match Listing::read(resource, self.options.page_size_max, query) {
            Ok(listing) => (StatusCode::OK, listing.of(resource, records)),
            Err(name) => {
                let state = json!({name: ["The value is not valid."]});
                (StatusCode::BAD_REQUEST, json!({"Message": "The request is invalid.", "ModelState": state}))
            }
        }
    }
}

/// What a list is asked for.
struct Listing {
    page: usize,
    size: usize,
    /// Bounds on members that hold times; both included (k).
    bounds: Vec<(&'static str, Option<DateTime>, Option<DateTime>)>,
    sort_by: Option<&'static str>,
    descending: bool,
    with_items: bool,
}

impl Listing {
    /// Reads a query; the name of a parameter whose value is not valid. Unknown ones are ignored (k).
    fn read(resource: &Resource, size_max: usize, query: &[(String, String)]) -> Result<Self, &'static str> {
        let get = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let number = |name: &'static str, default: usize| {
            get(name).map_or(Ok(default), |text| text.parse().ok().filter(|number| *number > 0).ok_or(name))
        };
        let time = |name: &str, member| get(name).map(|text| text.parse::<DateTime>().map_err(|_| member)).transpose();
        let mut bounds = Vec::new();
        for (_, member) in resource.times {
            bounds.push((*member, time(&format!("{member}Start"), *member)?, time(&format!("{member}End"), *member)?));
        }
        let sort_by = match get("sortBy") {
            None => resource.times.first().map(|(_, member)| *member),
            Some(text) => Some(resource.times.iter().find(|(name, _)| *name == text).ok_or("sortBy")?.1),
        };
        Ok(Self {
            page: number("page", 1)?,
            size: number("pageSize", PAGE_SIZE_DEFAULT)?.min(size_max),
            bounds,
            sort_by,
            descending: get("sortDir") == Some("DESC"),
            with_items: get("includeShipmentItems") == Some("true"),
        })
    }

    fn of(&self, resource: &Resource, records: &[Value]) -> Value {
        let time = |record: &Value, member: &str| record[member].as_str().and_then(|text| text.parse::<DateTime>().ok());
        let within = |record: &&Value| {
            self.bounds.iter().all(|(member, start, end)| {
                let at = time(record, member);
                start.is_none_or(|start| at.is_some_and(|at| start <= at)) && end.is_none_or(|end| at.is_some_and(|at| at <= end))
            })
        };
        let mut records: Vec<Value> = records.iter().filter(within).cloned().collect();
        if let Some(member) = self.sort_by {
            records.sort_by_key(|record| time(record, member));
        }
        if self.descending {
            records.reverse();
        }
        let total = records.len();
        let mut page: Vec<Value> = records.into_iter().skip((self.page - 1).saturating_mul(self.size)).take(self.size).collect();
        if !self.with_items {
            page.iter_mut().filter_map(|record| record.get_mut("shipmentItems")).for_each(|items| *items = Value::Null);
        }
        json!({resource.name: page, "total": total, "page": self.page, "pages": total.div_ceil(self.size)})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test thread has failed under this lock")
}
