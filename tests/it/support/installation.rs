//! The real binary: a data directory of its own, commands on it, and a server that can be killed.

use std::fs;
use std::fs::OpenOptions;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use data_encoding::BASE64;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

/// The gateway's name at the sandbox's authorization server.
pub const CLIENT_ID: &str = "headgate";
/// The purpose for which everything here is read.
pub const PURPOSE: &str = "fulfilment";
/// The longest wait for anything that happens by itself.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The time between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A folder that holds a data directory, its master key beside it, a client secret and the server's log.
pub struct Installation {
    folder: TempDir,
    data: PathBuf,
    /// Given in the environment, where no place beside the data directory will do.
    master_key: Option<String>,
    /// The client secret that the sandbox knows.
    pub client_secret: String,
    /// What is logged, in `HEADGATE_LOG`'s language.
    pub log_filter: &'static str,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A running `headgate serve`.
pub struct Server {
    child: Child,
    pub address: String,
    /// An operator's API key.
    pub key: String,
    http: reqwest::Client,
}

/// An answer: its status and its JSON, or its text as a JSON string.
pub type Answer = Result<(u16, Value), reqwest::Error>;

impl Installation {
    /// An empty data directory whose configuration lets it reach the application at `egress`.
    pub fn new(egress: &str) -> Self {
        Self::within(&std::env::temp_dir(), egress)
    }

    /// As [`Installation::new`], all of it in a folder of that place.
    pub fn within(place: &Path, egress: &str) -> Self {
        let folder = tempfile::tempdir_in(place).unwrap();
        let data = folder.path().join("data");
        Self::at(folder, data, egress)
    }

    /// As [`Installation::new`], with the data directory on another disk, of which nothing is kept free.
    pub fn on(disk: &Path, egress: &str) -> Self {
        let mut installation = Self::at(tempfile::tempdir().unwrap(), disk.join("data"), egress);
        installation.master_key = Some(BASE64.encode(&[42; 32]));
        let configuration = installation.data().join("headgate.toml");
        let written = fs::read_to_string(&configuration).unwrap();
        fs::write(configuration, written + "\n[disk]\nlow_mib = 0\nfloor_mib = 0\n").unwrap();
        installation
    }

    /// A data directory that is there already, in `folder`.
    pub fn of(folder: TempDir, egress: &str) -> Self {
        let data = folder.path().join("data");
        Self::at(folder, data, egress)
    }

    fn at(folder: TempDir, data: PathBuf, egress: &str) -> Self {
        let client_secret = "client-secret-that-nobody-may-see".to_owned();
        let secret_file = folder.path().join("client.secret");
        fs::write(&secret_file, &client_secret).unwrap();
        let installation = Installation { folder, data, master_key: None, client_secret, log_filter: "info" };
        fs::create_dir_all(installation.data()).unwrap();
        installation.configure(&[egress.to_owned()]);
        installation
    }

    /// Lets the next process reach the applications at these addresses.
    pub fn configure(&self, egress: &[String]) {
        let secret_file = self.beside("client.secret");
        let config = format!(
            "[egress]\nallow = {egress:?}\n\n[connectors.sandbox]\nclient_id = \"{CLIENT_ID}\"\nclient_secret_file = {secret_file:?}\n"
        );
        fs::write(self.data().join("headgate.toml"), config).unwrap();
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// A path beside the data directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the servers have logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.beside("serve.log")).unwrap_or_default()
    }

    /// A command line on this data directory, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.arg("--data").arg(self.data()).args(arguments);
        command.envs(self.master_key.iter().map(|key| ("HEADGATE_MASTER_KEY", key)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs a command that must succeed; its last line of JSON.
    pub fn result(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[&["--json"], arguments].concat());
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        serde_json::from_str(ended.stdout.lines().last().unwrap_or("null")).unwrap()
    }

    /// Starts a server and waits until it listens. The sandbox is told where its answers may go.
    pub async fn serve(&self, sandbox: Option<&Sandbox>) -> Server {
        self.serve_with(self.command(&[]), sandbox).await
    }

    /// [`Installation::serve`] with another beginning of the command line: a tracer's.
    pub async fn serve_with(&self, mut command: Command, sandbox: Option<&Sandbox>) -> Server {
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        self.serve_by(command, sandbox).await
    }

    /// [`Installation::serve`] by a command line of the caller's.
    pub async fn serve_by(&self, command: Command, sandbox: Option<&Sandbox>) -> Server {
        let (child, address) = self.begin(command);
        if let Some(sandbox) = sandbox {
            let redirect_uris = vec![format!("{address}/oauth/callback")];
            sandbox.register(sandbox::Client { id: CLIENT_ID.into(), secret: Some(self.client_secret.clone()), redirect_uris });
        }
        let key_file = self.beside("operator.key");
        let key = fs::read_to_string(&key_file).unwrap_or_else(|_| {
            let made = self.result(&["keys", "create", "--role", "operator", "--purpose", PURPOSE]);
            let key = made["key"].as_str().unwrap().to_owned();
            fs::write(&key_file, &key).unwrap();
            key
        });
        Server { child, address, key, http: http() }
    }
}

impl Installation {
    /// A server that nothing but the command line reaches, because its network is another one; it ends when this is dropped.
    pub fn serve_apart(&self, mut command: Command) -> Server {
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let (child, address) = self.begin(command);
        Server { child, address, key: String::new(), http: http() }
    }

    /// Starts a server, and reads where it listens.
    fn begin(&self, mut command: Command) -> (Child, String) {
        let log = OpenOptions::new().create(true).append(true).open(self.beside("serve.log")).unwrap();
        command.arg("--json").env("HEADGATE_LOG", self.log_filter);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the server does not start: {}", self.log()));
        (child, started["address"].as_str().unwrap().to_owned())
    }
}

/// The binary under test, with nothing of this process's environment that it would read.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.env_remove("HEADGATE_MASTER_KEY").env_remove("HEADGATE_CONFIG").env_remove("HEADGATE_LOG").env_remove("HEADGATE_DEBUGGABLE");
    command
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(WAIT_MAX).build().unwrap()
}

impl Server {
    /// A handle for requests, which outlives the process.
    pub fn client(&self) -> Client {
        Client { address: self.address.clone(), key: self.key.clone(), http: self.http.clone() }
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for a process that something else ends.
    pub fn ended(mut self) {
        self.child.wait().unwrap();
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A signal by its name, and how the process ended.
    pub fn signalled(mut self, name: &str) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
        self.child.wait().unwrap().to_string()
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Server {
    /// A failed test leaves no server behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests to a server, as the operator. A request to a server that was killed is an error.
#[derive(Clone)]
pub struct Client {
    pub address: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    /// The same server, asked with another API key.
    pub fn with_key(&self, key: &str) -> Self {
        Client { key: key.to_owned(), ..self.clone() }
    }

    /// A request with the key and a purpose, to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address)).bearer_auth(&self.key).header("Headgate-Purpose", PURPOSE)
    }

    /// Sends a request.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A GET that must be answered 200.
    pub async fn get(&self, path: &str) -> Result<Value, reqwest::Error> {
        let (status, body) = self.ask(Method::GET, path, None).await?;
        assert_eq!(status, 200, "{path}: {body}");
        Ok(body)
    }

    /// A POST that must be answered with a success.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, reqwest::Error> {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await?;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        Ok(answer)
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>, reqwest::Error> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let mut page = self.get(&format!("{path}{joint}limit=500{after}")).await?;
            items.append(page["items"].as_array_mut().unwrap());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Records a consent and begins a connection to the sandbox: its id, and the page to visit.
    pub async fn begin(&self, tenant: &str, sandbox: &str) -> Result<(String, String), reqwest::Error> {
        let policy = self.get("/v1/policy").await?;
        let acknowledged: Vec<&Value> = policy["acknowledgements"].as_array().unwrap().iter().map(|point| &point["id"]).collect();
        let consent = json!({
            "person": "Grace Consenter", "organisation": "Consenting Works", "policy_version": policy["version"],
            "purposes": [PURPOSE], "acknowledged": acknowledged,
        });
        let body = json!({"connector": "sandbox", "tenant": tenant, "config": {"base_url": sandbox}, "consent": consent});
        let begun = self.post("/v1/connections", body).await?;
        Ok((text(&begun, "connection"), text(&begun, "authorize_url")))
    }

    /// The customer's browser: says yes at the application, and follows it back.
    pub async fn approve(&self, authorize_url: &str) -> Result<(), reqwest::Error> {
        let mut page = reqwest::Url::parse(authorize_url).unwrap();
        let mut form: Vec<(String, String)> = page.query_pairs().into_owned().collect();
        form.push(("decision".into(), "approve".into()));
        page.set_query(None);
        let answer = self.http.post(page).form(&form).send().await?;
        let back = answer.headers()[reqwest::header::LOCATION].to_str().unwrap().to_owned();
        let arrived = self.http.get(back).send().await?;
        assert!(arrived.status().as_u16() < 400, "the callback answered {}", arrived.status());
        Ok(())
    }

    /// Connects the sandbox for a tenant, to the end; the connection's id.
    pub async fn connect(&self, tenant: &str, sandbox: &Sandbox) -> Result<String, reqwest::Error> {
        let (connection, page) = self.begin(tenant, sandbox.base_url()).await?;
        self.approve(&page).await?;
        Ok(connection)
    }

    /// The state of a connection.
    pub async fn state(&self, connection: &str) -> Result<String, reqwest::Error> {
        Ok(text(&self.get(&format!("/v1/connections/{connection}")).await?, "state"))
    }

    /// Begins a pull, after the one that the schedule may have begun; the pull's id.
    pub async fn begin_pull(&self, connection: &str) -> Result<String, reqwest::Error> {
        loop {
            let (status, answer) = self.ask(Method::POST, &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await?;
            match status {
                202 => return Ok(text(&answer, "pull")),
                409 if answer["type"] == "/problems/pull-under-way" => tokio::time::sleep(LOOK_EVERY).await,
                _ => panic!("a pull of {connection} was refused: {status} {answer}"),
            }
        }
    }

    /// Pulls a connection, and waits until its runs have ended.
    pub async fn pull(&self, connection: &str) -> Result<Vec<Value>, reqwest::Error> {
        let pull = self.begin_pull(connection).await?;
        self.settled(&format!("/v1/runs?pull={pull}"), |list| {
            let runs = list["items"].as_array().unwrap();
            runs.iter().all(|run| run["state"] != "running").then(|| runs.clone())
        })
        .await
    }

    /// Asks for an erasure and approves it; the erasure's id.
    pub async fn erase(&self, connection: &str) -> Result<String, reqwest::Error> {
        let asked = self.post("/v1/erasures", json!({"scope": {"connection": connection}, "reason": "test", "revoke": true})).await?;
        let erasure = text(&asked, "id");
        self.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await?;
        Ok(erasure)
    }

    /// Waits until an erasure is complete.
    pub async fn complete(&self, erasure: &str) -> Result<Value, reqwest::Error> {
        self.settled(&format!("/v1/erasures/{erasure}"), |found| (found["state"] == "complete").then(|| found.clone())).await
    }

    /// Asks until the answer is what is waited for.
    pub async fn settled<T>(&self, path: &str, look: impl Fn(&Value) -> Option<T>) -> Result<T, reqwest::Error> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let found = self.get(path).await?;
            if let Some(settled) = look(&found) {
                return Ok(settled);
            }
            assert!(Instant::now() < deadline, "{path} does not settle: {found}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A member that is text.
pub fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("`{member}` is no text in {value}")).to_owned()
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if entry.is_file() {
            found.push(entry);
        }
    }
    found
}

/// Copies a folder with all below it, sockets left out.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}
