//! What the stand-ins of real applications share: a socket that keeps what it answered, answers that a test orders in the place of
//! its own, the payloads that the application publishes, and the story of a connection that every connector's test plays.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use axum::http::StatusCode;
use data_encoding::BASE64;
use headgate::clock::Clock;
use serde_json::Value;
use serde_json::json;

use crate::support::house::TestHouse;
use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;

/// The client id that the gateway is registered with where there is OAuth.
pub const CLIENT_ID: &str = "headgate-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "client-s3cr3t/+=";

/// What an application answers.
pub trait Application: Send + 'static {
    /// The answer to a request.
    fn answer(&mut self, asked: &Asked) -> Reply;
}

/// A running application; it stops when this is dropped.
pub struct Running<A> {
    server: Server,
    state: Arc<Mutex<State<A>>>,
}

struct State<A> {
    application: A,
    seen: Vec<Seen>,
    ordered: VecDeque<(String, Reply)>,
}

/// A request, and the status of the answer.
#[derive(Clone)]
pub struct Seen {
    /// The request.
    pub asked: Asked,
    /// The status of its answer.
    pub status: u16,
}

impl<A: Application> Running<A> {
    /// Listens on a free port of the loopback address.
    pub async fn start(application: A) -> Self {
        let state = Arc::new(Mutex::new(State { application, seen: Vec::new(), ordered: VecDeque::new() }));
        let held = Arc::clone(&state);
        let server = Server::start(move |asked| {
            let mut state = lock(&held);
            let is_ordered = state.ordered.front().is_some_and(|(path, _)| asked.path.ends_with(path));
            let reply = match is_ordered.then(|| state.ordered.pop_front()).flatten() {
                Some((_, reply)) => reply,
                None => state.application.answer(asked),
            };
            state.seen.push(Seen { asked: asked.clone(), status: reply.code() });
            reply
        })
        .await;
        Self { server, state }
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Looks into the application, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut A) -> T) -> T {
        look(&mut lock(&self.state).application)
    }

    /// The next request whose path ends with `path` is answered with `reply`.
    pub fn order(&self, path: &str, reply: Reply) {
        lock(&self.state).ordered.push_back((path.to_owned(), reply));
    }

    /// Forgets the requests so far, and tells them.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.state).seen)
    }

    /// The customer's browser, sent to `authorize_url` at the application: the query that it brings back.
    pub async fn consent(&self, authorize_url: &str) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let public = url::Url::parse(authorize_url).unwrap();
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let here = format!("{}{}?{}", self.url(), public.path(), public.query().unwrap_or_default());
        let answer = browser.get(here).send().await.unwrap();
        let location = answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        let Some(location) = location else { panic!("no redirect: {}", answer.text().await.unwrap()) };
        location.split_once('?').unwrap().1.to_owned()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}: {}", self.asked.method, self.asked.path, self.asked.query, self.status)
    }
}

/// The value of an `Authorization` header of RFC 7617.
pub fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}").as_bytes()))
}

/// A payload that an application publishes; nothing, in words, where `HEADGATE_SHARED` has none.
pub fn published(provider: &str, file: &str) -> Option<Value> {
    let shared = std::env::var_os("HEADGATE_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("provider-samples").join(provider).join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is absent; the records of the tests' own stand alone", path.display());
        return None;
    };
    Some(serde_json::from_str(&text).expect("a sample in JSON"))
}

/// An application, a gateway in which it stands in for the real one, and a connection between the two.
pub struct Story<A> {
    /// The application.
    pub application: Running<A>,
    /// The gateway.
    pub house: TestHouse,
    /// The connection.
    pub connection: String,
}

impl<A: Application> Story<A> {
    /// Connects; with OAuth to the end of the authorization. `places` are the public addresses that the application stands in for.
    pub async fn begin(connector: &str, places: &[&str], application: A, config: Value, clock: Clock) -> Self {
        let application = Running::start(application).await;
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("client-secret");
        std::fs::write(&secret, CLIENT_SECRET).unwrap();
        let mut words = format!("[connectors.{connector}]\nclient_id = \"{CLIENT_ID}\"\nclient_secret_file = {secret:?}\n");
        words += &format!("[connectors.{connector}.rewrite]\n");
        for place in places {
            words += &format!("\"{place}\" = \"{}\"\n", application.url());
        }
        let house = TestHouse::open(folder, &words, clock).await;
        let connected = house.connect(connector, config).await;
        let connection = connected["connection"].as_str().unwrap().to_owned();
        let story = Self { application, house, connection };
        if let Some(url) = connected["authorize_url"].as_str() {
            story.authorize(url).await;
        }
        assert_eq!(story.house.state(&story.connection).await, "active", "{connected}");
        story
    }

    /// Goes to the application's page of consent and back.
    pub async fn authorize(&self, url: &str) {
        let query = self.application.consent(url).await;
        let (status, page) = self.house.visit(&format!("/oauth/callback?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
    }

    /// Pulls; every run, each of which was completed.
    pub async fn pull(&self) -> Vec<Value> {
        let runs = self.house.pull(&self.connection).await;
        assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:#?}");
        runs
    }

    /// The records of a stream are `expected` by their member `id`, each once, of one kind, read from `url`.
    pub async fn holds(&self, stream: &str, kind: &str, id: &str, url: &str, expected: &[Value]) -> Vec<Value> {
        let records = self.house.records(&self.connection, stream).await;
        let sorted = |mut values: Vec<Value>| {
            values.sort_by_key(|value| value[id].to_string());
            values
        };
        let data = sorted(records.iter().map(|record| record["data"].clone()).collect());
        assert_eq!(data, sorted(expected.to_vec()), "{stream}");
        for record in &records {
            assert_eq!(record["kind"], kind, "{stream}");
            let from = record["tag"]["page"]["url"].as_str().unwrap();
            assert!(from.starts_with(url), "{stream} is read from {from}");
        }
        records
    }

    /// The streams that hold a record under a business key.
    pub async fn under(&self, kind: &str, value: &str) -> BTreeSet<String> {
        let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20");
        let found = self.house.have("GET", &format!("/v1/lineage/keys/{kind}/{value}?tenant=acme"), None).await;
        found["items"].as_array().unwrap().iter().map(|item| item["stream"].as_str().unwrap().to_owned()).collect()
    }

    /// A pull that the application refuses for good: the connection needs its customer, and nothing more is asked.
    pub async fn is_cut_off(&self) {
        let runs = self.house.pull(&self.connection).await;
        assert!(runs.iter().any(|run| run["state"] == "failed"), "{runs:#?}");
        assert_eq!(self.house.state(&self.connection).await, "needs_reauthorization", "{runs:#?}");
        self.application.take_seen();
        let (status, _) = self.house.ask("POST", &format!("/v1/connections/{}/runs", self.connection), Some(json!({}))).await;
        assert_eq!((status, self.application.take_seen().len()), (StatusCode::CONFLICT, 0));
    }

    /// Nothing of these texts stands in a file of the gateway, or in what it tells of the connection.
    pub async fn keeps_secret(&self, secrets: &[&str]) {
        let files = self.house.files_that_hold(secrets);
        assert!(files.is_empty(), "{files:?}");
        let told = self.house.have("GET", &format!("/v1/connections/{}", self.connection), None).await.to_string();
        let told = told + &format!("{:?}", self.house.audit().await);
        assert!(secrets.iter().all(|secret| !told.contains(secret)), "{told}");
    }
}

/// The run of a stream.
pub fn run<'a>(runs: &'a [Value], stream: &str) -> &'a Value {
    runs.iter().find(|run| run["stream"] == stream).unwrap_or_else(|| panic!("no run of {stream}: {runs:#?}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test thread has failed under this lock")
}
