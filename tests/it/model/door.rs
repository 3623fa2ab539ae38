//! The gateway as a process of its own: started, asked, stopped, killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use headgate::audit::KeySet;
use reqwest::Client;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// The gateway's name at every shop.
pub const CLIENT_ID: &str = "headgate";
/// What proves it.
pub const CLIENT_SECRET: &str = "the-gateway's-secret";
/// Where the gateway says it is reached. It listens elsewhere after each start; the browser knows where.
pub const PUBLIC_URL: &str = "http://gateway.test";
/// The connectors: the built-in one under two names, with short pages and without a schedule.
pub const CONNECTORS: [&str; 2] = ["shop-a", "shop-b"];
/// Records on a page.
pub const PAGE_SIZE: &str = "page_size: 10";
/// Who there is.
pub const TENANTS: [&str; 3] = ["acme", "bell", "crew"];

const START_WAIT: Duration = Duration::from_secs(60);
const STOP_WAIT: Duration = Duration::from_secs(30);
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A gateway, or its data directory while it is down.
pub struct Gateway {
    home: TempDir,
    process: Option<Child>,
    local: Client,
    network: Client,
    address: String,
    customers: BTreeMap<&'static str, String>,
}

/// A request to the gateway.
#[derive(Debug, Clone)]
pub struct Order {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub text: String,
}

impl Gateway {
    /// Makes a data directory that may speak to these addresses, starts the gateway, and makes a key for each tenant.
    pub async fn create(egress: &[String]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        write_connectors(&home.path().join("connectors"));
        let data = home.path().join("data");
        fs::create_dir(&data).expect("a folder");
        fs::write(home.path().join("secret"), CLIENT_SECRET).expect("a file");
        let registered =
            CONNECTORS.map(|name| format!("[connectors.{name}]\nclient_id = \"{CLIENT_ID}\"\nclient_secret_file = \"../secret\"\n"));
        let config = format!(
            "public_url = \"{PUBLIC_URL}\"\nconnector_dirs = [\"../connectors\"]\n\n[egress]\nallow = {egress:?}\n\n{}",
            registered.join("\n")
        );
        fs::write(data.join("headgate.toml"), config).expect("a file");
        let client = || Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(ANSWER_WAIT);
        let local = client().unix_socket(data.join("admin.sock")).build().expect("a client");
        let network = client().build().expect("a client");
        let mut gateway = Gateway { home, process: None, local, network, address: String::new(), customers: BTreeMap::new() };
        gateway.start().await;
        for tenant in TENANTS {
            let order = json!({"role": "customer", "tenant": tenant, "purposes": ["fulfilment"]});
            let made = gateway.operator(Method::POST, "/admin/keys", Some(order)).await.expect("a running gateway");
            gateway.customers.insert(tenant, made.body["key"].as_str().expect("a key").to_owned());
        }
        gateway
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        let errors = fs::OpenOptions::new().create(true).append(true).open(self.home.path().join("errors")).expect("a file");
        command.arg("--data").arg(self.data()).stdin(Stdio::null()).stderr(errors).env("HEADGATE_LOG", "headgate=debug").kill_on_drop(true);
        command
    }

    /// Starts the gateway and waits until it listens.
    pub async fn start(&mut self) {
        let mut process =
            self.command().args(["serve", "--listen", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).spawn().expect("the binary");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let line = tokio::time::timeout(START_WAIT, lines.next_line()).await.expect("a gateway that starts in time").expect("a line");
        let line = line.unwrap_or_else(|| panic!("the gateway does not start:\n{}", self.last_words()));
        let event: Value = serde_json::from_str(&line).expect("JSON");
        self.address = event["address"].as_str().expect("an address").to_owned();
        self.process = Some(process);
    }

    /// SIGKILL: no goodbye.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.expect("a process to kill");
        }
    }

    /// SIGTERM, and the end that it asks for.
    pub async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = process.id().expect("a running process").to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        let status = tokio::time::timeout(STOP_WAIT, process.wait()).await.expect("a stop in time").expect("a status");
        assert!(status.success(), "a graceful stop ended with {status}:\n{}", self.last_words());
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks as the operator at this machine; none when the gateway went away meanwhile.
    pub async fn operator(&self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        send(self.local.request(method, format!("http://local{path}")), body).await
    }

    /// Asks as the operator, in a task of its own: whoever waits for it can go away, or see the gateway go.
    pub fn begin(&self, order: Order) -> JoinHandle<Option<Answer>> {
        tokio::spawn(send(self.local.request(order.method, format!("http://local{}", order.path)), order.body))
    }

    /// Asks as a tenant's own service.
    pub async fn customer(&self, tenant: &str, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let request = self.network.request(method, format!("{}{path}", self.address)).bearer_auth(&self.customers[tenant]);
        send(request, body).await
    }

    /// Asks as the operator, of a gateway that is up.
    pub async fn ask(&self, path: &str) -> Answer {
        let answer = self.operator(Method::GET, path, None).await;
        answer.unwrap_or_else(|| panic!("the gateway went away by itself:\n{}", self.last_words()))
    }

    /// All items of a list.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        let joint = if path.contains('?') { '&' } else { '?' };
        loop {
            let answer = self.ask(&format!("{path}{joint}limit=200{after}")).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            items.extend(answer.body["items"].as_array().expect("items").iter().cloned());
            match answer.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// The public keys.
    pub async fn keys(&self) -> KeySet {
        KeySet::parse(self.ask("/.well-known/headgate-keys").await.text.as_bytes()).expect("keys")
    }

    /// `audit verify` in a gateway that is down, against a checkpoint of before.
    pub async fn verify_audit(&self, checkpoint: &str) {
        let file = self.home.path().join("checkpoint");
        fs::write(&file, checkpoint).expect("a file");
        let command = self.command().args(["audit", "verify", "--json", "--checkpoint"]).arg(&file).output().await.expect("the binary");
        let words = String::from_utf8_lossy(&command.stdout);
        assert!(command.status.success(), "the audit log does not verify: {words}\n{}", self.last_words());
    }

    /// The end of what the gateway said on its standard error.
    pub fn last_words(&self) -> String {
        let all = fs::read_to_string(self.home.path().join("errors")).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

async fn send(request: reqwest::RequestBuilder, body: Option<Value>) -> Option<Answer> {
    let request = request.header("Headgate-Purpose", "fulfilment");
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    Some(Answer { status, body: serde_json::from_str(&text).unwrap_or_default(), text })
}

fn write_connectors(folder: &Path) {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/sandbox");
    let manifest = fs::read_to_string(built_in.join("manifest.yaml")).expect("the manifest").replace("page_size: 200", PAGE_SIZE);
    assert!(manifest.contains(PAGE_SIZE), "the manifest has other pages now");
    let treatment = fs::read_to_string(built_in.join("headgate.yaml")).expect("the treatment");
    assert!(treatment.contains("schedule:\n  every: PT15M\n"), "the schedule is written otherwise now");
    let treatment = treatment.replace("schedule:\n  every: PT15M\n", "");
    for name in CONNECTORS {
        fs::create_dir_all(folder.join(name)).expect("a folder");
        fs::write(folder.join(name).join("manifest.yaml"), &manifest).expect("a file");
        fs::write(folder.join(name).join("headgate.yaml"), &treatment).expect("a file");
    }
}
