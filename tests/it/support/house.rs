//! A whole gateway in this process, on a data directory of its own: the routers that sockets would serve, and a clock that a
//! test moves.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::StatusCode;
use data_encoding::BASE64;
use headgate::clock::Clock;
use headgate::config::Access;
use headgate::config::DataDirectory;
use headgate::config::MasterKeySource;
use headgate::config::Settings;
use headgate::gateway::Gateway;
use headgate::gateway::House;
use headgate::ids::Entropy;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt;

/// When [`morning`]'s clock begins.
pub const MORNING: &str = "2026-11-24T10:00:00Z";

/// The longest that a pull of these tests may take.
const PULL_MAX: Duration = Duration::from_secs(60);

/// An open gateway.
pub struct TestHouse {
    gateway: Gateway,
    local: Router,
    public: Router,
    folder: TempDir,
    clock: Clock,
}

impl TestHouse {
    /// Opens a new test directory whose `headgate.toml` is `configuration`.
    pub async fn open(folder: TempDir, configuration: &str, clock: Clock) -> Self {
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("headgate.toml"), configuration).unwrap();
        Self::at(folder, clock).await
    }

    async fn at(folder: TempDir, clock: Clock) -> Self {
        let directory = DataDirectory::at(&folder.path().join("data")).unwrap();
        let Access::Held(held) = directory.access("test", true, clock.now()).unwrap() else { panic!("the directory is held") };
        let settings = Settings::gather(held, None, &MasterKeySource::Beside, clock.clone(), Entropy::system(), &mut |_| {}).unwrap();
        let gateway = Gateway::open(settings).await.unwrap();
        Self { local: gateway.local(), public: gateway.public(), gateway, folder, clock }
    }

    /// Ends the gateway and opens its directory again.
    pub async fn reopen(self) -> Self {
        let Self { gateway, local, public, folder, clock } = self;
        drop((local, public));
        gateway.close().await;
        drop(gateway);
        Self::at(folder, clock).await
    }

    /// Moves the clock.
    pub fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now() + SignedDuration::from_secs(seconds));
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Asks as the local operator; the answer's JSON, or its text.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("Headgate-Purpose", "fulfilment");
        let request = match body {
            Some(body) => request.header("Content-Type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        send(&self.local, request.unwrap()).await
    }

    /// As [`TestHouse::ask`], where the answer is known to be 2xx.
    pub async fn have(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// The router behind the operator's socket.
    pub fn local_door(&self) -> Router {
        self.local.clone()
    }

    /// The router behind the network's.
    pub fn public_door(&self) -> Router {
        self.public.clone()
    }

    /// What a browser gets.
    pub async fn visit(&self, path: &str) -> (StatusCode, Value) {
        send(&self.public, Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Connects for tenant `acme`, consenting to everything.
    pub async fn connect(&self, connector: &str, config: Value) -> Value {
        let (status, answer) = self.try_connect(connector, config).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer
    }

    /// As [`TestHouse::connect`], whatever comes of it.
    pub async fn try_connect(&self, connector: &str, config: Value) -> (StatusCode, Value) {
        let policy = self.have("GET", "/v1/policy", None).await;
        let acknowledged: Vec<&Value> = policy["acknowledgements"].as_array().unwrap().iter().map(|point| &point["id"]).collect();
        let consent = json!({
            "person": "Ada", "organisation": "Acme", "policy_version": policy["version"],
            "purposes": ["fulfilment"], "acknowledged": acknowledged,
        });
        let body = json!({"connector": connector, "tenant": "acme", "config": config, "consent": consent});
        self.ask("POST", "/v1/connections", Some(body)).await
    }

    /// Pulls, and waits for the end of every run.
    pub async fn pull(&self, connection: &str) -> Vec<Value> {
        let started = self.have("POST", &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await;
        self.ended(&started).await
    }

    /// The runs of a pull, once the pull has ended.
    pub async fn ended(&self, started: &Value) -> Vec<Value> {
        let path = format!("/v1/runs?pull={}&limit=500", started["pull"].as_str().unwrap());
        let connection = started["runs"][0]["connection"].as_str().unwrap();
        let ended = async {
            loop {
                let runs = self.have("GET", &path, None).await["items"].as_array().unwrap().clone();
                let impact = self.have("GET", &format!("/v1/connections/{connection}/impact"), None).await;
                if runs.iter().all(|run| run["state"] != "running") && impact["pulls_running"] == 0 {
                    return runs;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PULL_MAX, ended).await.expect("a pull that ends")
    }

    /// Pulls a connection with one stream; its run.
    pub async fn pull_one(&self, connection: &str) -> Value {
        let runs = self.pull(connection).await;
        assert_eq!(runs.len(), 1);
        runs.into_iter().next().unwrap()
    }

    /// The newest versions of a stream's records.
    pub async fn records(&self, connection: &str, stream: &str) -> Vec<Value> {
        let (mut records, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.have("GET", &format!("/v1/records?connection={connection}&stream={stream}&limit=500{after}"), None).await;
            records.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next"].as_str() else { return records };
            after = format!("&after={next}");
        }
    }

    /// The state of a connection.
    pub async fn state(&self, connection: &str) -> String {
        let found = self.have("GET", &format!("/v1/connections/{connection}"), None).await;
        found["state"].as_str().unwrap().to_owned()
    }

    /// The audit log's entries, oldest first.
    pub async fn audit(&self) -> Vec<Value> {
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.have("GET", &format!("/v1/audit?limit=500{after}"), None).await;
            let leaf = |entry: &Value| serde_json::from_slice(&BASE64.decode(entry["leaf"].as_str().unwrap().as_bytes()).unwrap()).unwrap();
            entries.extend(page["items"].as_array().unwrap().iter().map(leaf));
            let Some(next) = page["next"].as_str() else { return entries };
            after = format!("&after={next}");
        }
    }

    /// The files of the data directory that hold one of these texts in clear.
    pub fn files_that_hold(&self, texts: &[&str]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        search(&self.data(), texts, &mut found);
        found
    }

    /// Ends the gateway.
    pub async fn close(self) {
        self.gateway.close().await;
    }
}

/// Collects the files below `folder` that hold one of `texts`.
pub fn search(folder: &Path, texts: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            search(&path, texts, found);
        } else if let Ok(bytes) = std::fs::read(&path)
            && texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        {
            found.push(path);
        }
    }
}

/// A clock that stands at [`MORNING`].
pub fn morning() -> Clock {
    Clock::manual(MORNING.parse().unwrap())
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
}
