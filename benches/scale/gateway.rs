//! The real binary, served from a directory of its own: started, stopped, asked, and looked at from outside.

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use tokio::time::Instant;

use anyhow::Context;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;

/// The time between two looks at a pull: the first ones follow each other faster.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running `headgate serve`.
pub struct Gateway {
    child: Child,
    address: String,
    http: reqwest::Client,
    local: reqwest::Client,
    key: Option<String>,
}

/// What the system says of the process.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// CPU seconds, user and system.
    pub cpu_s: f64,
    /// Resident memory in MiB, and the most that it ever was.
    pub rss_mib: f64,
    pub rss_max_mib: f64,
}

/// Writes the configuration that lets a gateway reach the shop.
pub fn prepare(data: &Path, shop: SocketAddr) -> anyhow::Result<()> {
    std::fs::create_dir_all(data)?;
    Ok(std::fs::write(data.join("headgate.toml"), format!("[egress]\nallow = [\"{shop}\"]\n"))?)
}

impl Gateway {
    /// Starts a server and waits until it listens.
    pub fn start(data: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.arg("--data").arg(data).args(["--json", "serve", "--listen", "127.0.0.1:0"]).env("HEADGATE_LOG", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("the server does not start")?;
        let address = said["address"].as_str().context("no address")?.to_owned();
        let http = reqwest::Client::builder().build()?;
        let local = reqwest::Client::builder().unix_socket(data.join("admin.sock")).build()?;
        Ok(Gateway { child, address, http, local, key: None })
    }

    /// A client of the public face with an operator's key, as another service would be.
    pub async fn service(&mut self) -> anyhow::Result<Service> {
        if self.key.is_none() {
            let made = self.post("/admin/keys", json!({"role": "operator", "purposes": ["fulfilment"]})).await?;
            self.key = Some(made["key"].as_str().context("no key")?.to_owned());
        }
        Ok(Service { http: self.http.clone(), address: self.address.clone(), key: self.key.clone().unwrap_or_default() })
    }

    /// What a local request answers.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        answer(self.local.get(format!("http://local{path}"))).await
    }

    /// What a local request with a body answers.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        answer(self.local.post(format!("http://local{path}")).json(&body)).await
    }

    /// Connects the shop; the connection's id.
    pub async fn connect(&self, shop: SocketAddr) -> anyhow::Result<String> {
        let policy = self.get("/v1/policy").await?;
        let ids: Vec<&Value> = policy["acknowledgements"].as_array().into_iter().flatten().map(|one| &one["id"]).collect();
        let connector = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/scale/shop");
        let made = self
            .post(
                "/v1/connections",
                json!({
                    "connector": connector, "tenant": "bench",
                    "config": {"base_url": format!("http://{shop}"), "api_key": "a key"},
                    "consent": {"person": "P", "organisation": "O", "policy_version": policy["version"], "purposes": ["fulfilment"], "acknowledged": ids},
                }),
            )
            .await?;
        Ok(made["connection"].as_str().context("no connection")?.to_owned())
    }

    /// Begins a pull; its id.
    pub async fn begin(&self, connection: &str) -> anyhow::Result<String> {
        let started = self.post(&format!("/v1/connections/{connection}/runs"), json!({})).await?;
        Ok(started["pull"].as_str().context("no pull")?.to_owned())
    }

    /// Waits until the one run of a pull is as `is` wants it.
    pub async fn wait(&self, pull: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let mut wait = LOOK_FIRST;
        loop {
            let runs = self.get(&format!("/v1/runs?pull={pull}")).await?;
            let run = &runs["items"][0];
            if run["state"] == "failed" {
                bail!("the pull failed: {}", run["error"]);
            }
            if is(run) {
                return Ok(run.clone());
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOK_EVERY);
        }
    }

    /// What the system says of the process.
    pub fn usage(&self) -> anyhow::Result<Use> {
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()));
        let (stat, status) = (of("stat")?, of("status")?);
        // Behind the command's name in parentheses: user and system time are the 12th and 13th field, in ticks of 10 ms.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default()
        };
        Ok(Use { cpu_s: ticks / 100.0, rss_mib: kib("VmRSS:") / 1024.0, rss_max_mib: kib("VmHWM:") / 1024.0 })
    }

    /// Ends it in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it as a power switch would.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another service, with a key of its own.
#[derive(Clone)]
pub struct Service {
    http: reqwest::Client,
    address: String,
    key: String,
}

impl Service {
    /// What a request answers, and how long that took.
    pub async fn timed(&self, path: &str) -> anyhow::Result<(Value, Duration)> {
        let began = Instant::now();
        let request = self.http.get(format!("{}{path}", self.address)).bearer_auth(&self.key).header("Headgate-Purpose", "fulfilment");
        Ok((answer(request).await?, began.elapsed()))
    }
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        bail!("{status}: {body}");
    }
    Ok(serde_json::from_str(&body)?)
}
