//! The command line, by the real binary: without a server and with one, for people and for scripts, well-formed and not.

use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use headgate::sandbox;
use headgate::sandbox::Client;
use headgate::sandbox::Faults;
use headgate::sandbox::Purpose;
use headgate::sandbox::RateLimit;
use headgate::sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::time::Instant;

const SECRET: &str = "a client secret that no output may hold";
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECT: &str = "connect sandbox --tenant acme --config CONFIG --accept-policy --person Ada --organisation Acme";

/// A data directory with a configuration, and the application that it knows.
struct Place {
    folder: tempfile::TempDir,
    sandbox: Sandbox,
}

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    results: String,
    messages: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ended = Self { code: output.status.code(), results: text(output.stdout), messages: text(output.stderr) };
        assert!(!ended.results.contains(SECRET) && !ended.messages.contains(SECRET), "{ended:?}");
        ended
    }

    #[track_caller]
    fn is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The last line of standard output: with --json the result.
    #[track_caller]
    fn result(&self) -> Value {
        let last = self.results.lines().last().unwrap_or_else(|| panic!("no result: {self:?}"));
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
    }
}

/// A command that still runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time").unwrap();
        serde_json::from_str(&line.expect("a line")).unwrap()
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    async fn ended(mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("an end in time").unwrap()
    }
}

impl Place {
    async fn new(options: sandbox::Options) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("data")).unwrap();
        std::fs::write(at("secret"), SECRET).unwrap();
        std::fs::write(at("config.json"), json!({"base_url": sandbox.base_url()}).to_string()).unwrap();
        let configuration = format!(
            "listen = \"127.0.0.1:0\"\n[egress]\nallow = [\"{}\"]\n[connectors.sandbox]\nclient_id = \"hg\"\nclient_secret_file = \"../secret\"\n",
            sandbox.address()
        );
        std::fs::write(at("data/headgate.toml"), configuration).unwrap();
        Self { folder, sandbox }
    }

    async fn small() -> Self {
        Self::new(sandbox::Options { records: 120, ..sandbox::Options::default() }).await
    }

    /// The command of `line`: its words, `CONFIG` for the connection's configuration.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.current_dir(self.folder.path()).env_remove("HEADGATE_LOG").env_remove("HEADGATE_CONFIG").env_remove("HEADGATE_MASTER_KEY");
        command.args(line.split_whitespace().map(|word| if word == "CONFIG" { "config.json" } else { word }));
        command.args(["--data", "data"]).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, line: &str) -> Ended {
        ended(self.command(line)).await
    }

    /// The result of a command that succeeds.
    #[track_caller]
    fn json(&self, line: &str) -> impl Future<Output = Value> {
        let command = self.command(&format!("--json {line}"));
        async move { ended(command).await.is(0).result() }
    }

    /// What a person is told by a command that succeeds: never JSON.
    async fn told(&self, line: &str) -> String {
        let ended = self.run(line).await.is(0);
        assert!(!ended.results.contains("{\""), "JSON for a person: {}", ended.results);
        ended.results
    }

    fn start(&self, line: &str) -> Running {
        let mut command = self.command(&format!("--json {line}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// A server, and where it listens.
    async fn serve(&self, options: &str) -> (Running, String) {
        let mut server = self.start(&format!("serve {options}"));
        let listening = server.line().await;
        assert_eq!(listening["event"], "listening");
        (server, listening["address"].as_str().unwrap().to_owned())
    }

    /// The customer at the application's own page: says yes, and follows the redirect.
    async fn approve(&self, begun: &Value) {
        let page = url::Url::parse(begun["authorize_url"].as_str().expect("a page")).unwrap();
        let mut form: Vec<(String, String)> = page.query_pairs().into_owned().collect();
        let redirect = form.iter().find(|(name, _)| name == "redirect_uri").unwrap().1.clone();
        self.sandbox.register(Client { id: "hg".into(), secret: Some(SECRET.into()), redirect_uris: vec![redirect] });
        form.push(("decision".into(), "approve".into()));
        let browser = browser();
        let mut target = page.clone();
        target.set_query(None);
        let answer = browser.post(target).form(&form).send().await.unwrap();
        let back = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(browser.get(back).send().await.unwrap().status().is_success());
    }

    /// Connects without a server: the command listens for the browser itself. The connection's id.
    async fn connect(&self) -> String {
        let mut connecting = self.start(CONNECT);
        let begun = connecting.line().await;
        assert_eq!(begun["state"], "pending");
        self.approve(&begun).await;
        let last = connecting.line().await;
        assert_eq!((&last["connection"], last["state"].as_str()), (&begun["connection"], Some("active")));
        assert!(connecting.ended().await.success());
        begun["connection"].as_str().unwrap().to_owned()
    }

    fn data_requests(&self) -> usize {
        self.sandbox.log().iter().filter(|request| request.purpose == Purpose::Data).count()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
}

/// A client that follows no redirect by itself.
fn browser() -> reqwest::Client {
    // A second call is told that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

async fn ended(mut command: Command) -> Ended {
    Ended::of(tokio::time::timeout(PATIENCE, command.output()).await.expect("an end in time").unwrap())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Goal: the whole life with nothing but commands: each opens the store itself, ends with the endpoint's shape, and tells a
/// person words.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lives_by_commands_alone() {
    let place = Place::small().await;
    let connection = place.connect().await;
    let shown = place.json(&format!("connections show {connection}")).await;
    assert_eq!(place.json("connections list").await, json!({"items": [shown], "next": null}));
    assert_eq!((shown["state"].as_str(), shown["credential"]["state"].as_str()), (Some("active"), Some("held")));

    let pulled = place.json(&format!("run {connection}")).await;
    let runs = pulled["runs"].as_array().unwrap();
    assert!(pulled["pull"].as_str().unwrap().starts_with("pull_") && runs.len() == 5, "{pulled}");
    assert_eq!(runs.iter().map(|run| run["new"].as_u64().unwrap()).sum::<u64>(), place.sandbox.counts().total());
    let told = place.told(&format!("connections show {connection}")).await;
    for word in ["next pull at", "generation", "LAST RUNS", "shipments", "complete"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let refused = place.run(&format!("run {connection} --stream nothing")).await.is(1);
    assert!(refused.results.is_empty() && refused.messages.contains("it has customers"), "{refused:?}");

    let record = records(&place, &connection).await;
    lineage(&place, &connection, &record).await;
    stop_and_erase(&place, &connection, &record).await;
    the_log(&place).await;
    assert!(place.told("store stats").await.contains("audit leaves"));
}

/// Records in every format, for the purposes agreed to; the id of an order.
async fn records(place: &Place, connection: &str) -> String {
    let list = place.json(&format!("records {connection} --stream orders --limit 2")).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(list["next"].is_string() && list["items"][0]["tag"]["connection"] == connection, "{list}");
    let lines = place.run(&format!("records {connection} --stream orders --format ndjson")).await.is(0);
    let first: Value = serde_json::from_str(lines.results.lines().next().unwrap()).unwrap();
    assert_eq!(first, list["items"][0]);
    let csv = place.run(&format!("records {connection} --stream orders --limit 3 --format csv")).await.is(0);
    assert!(csv.results.starts_with("record,version,kind,") && csv.results.lines().count() == 4, "{csv:?}");
    let table = place.run(&format!("records {connection} --stream orders --limit 1")).await.is(0);
    assert!(table.results.contains("RECORD") && table.messages.contains("there are more"), "{table:?}");
    place.run(&format!("records {connection} --stream orders --purpose support")).await.is(1);
    place.run(&format!("records {connection} --stream orders --purpose gossip")).await.is(2);
    place.run(&format!("records {connection} --stream orders --json --format csv")).await.is(2);
    place.run(&format!("records {connection} --stream nothing")).await.is(1);
    first["id"].as_str().unwrap().to_owned()
}

/// Lineage of one record, around it and under a key: tree, JSON and DOT.
async fn lineage(place: &Place, connection: &str, record: &str) {
    let origin = place.json(&format!("lineage {record}")).await;
    assert_eq!((origin["record"].as_str(), origin["tag"]["connection"].as_str()), (Some(record), Some(connection)));
    let tree = place.told(&format!("lineage {record}")).await;
    assert!(tree.contains(origin["tag"]["page"]["response_sha256"].as_str().unwrap()) && !tree.contains("made from"), "{tree}");
    assert!(place.told(&format!("lineage {record} --format dot")).await.starts_with("digraph"));
    let graph = place.json(&format!("lineage {record} --depth 2 --direction up")).await;
    assert_eq!((graph["nodes"].as_array().unwrap().len(), graph["edges"].as_array().unwrap().len()), (3, 2));
    assert!(place.told(&format!("lineage {record} --depth 1")).await.contains("from page page_"));

    let parcel = place.json(&format!("records {connection} --stream shipments --limit 1")).await;
    let key = format!("tracking_number={}", parcel["items"][0]["data"]["tracking_number"].as_str().unwrap());
    let found = place.json(&format!("lineage --key {key} --tenant acme")).await;
    let streams: Vec<&str> = found["items"].as_array().unwrap().iter().map(|item| item["stream"].as_str().unwrap()).collect();
    assert!(streams.contains(&"orders") && streams.contains(&"shipments"), "{streams:?}");
    assert!(place.told(&format!("lineage --key {key} --tenant acme")).await.contains("2 records in 2 streams"));
    place.run(&format!("lineage --key {key}")).await.is(2);
    place.run("lineage --key tracking_number --tenant acme").await.is(2);
}

/// Revoked with a receipt, then erased in two steps, with a certificate that verifies offline.
async fn stop_and_erase(place: &Place, connection: &str, record: &str) {
    let refused = place.run(&format!("erase {connection} --yes")).await.is(1);
    assert!(refused.messages.contains("revoke it first"), "{refused:?}");
    let planned = place.json(&format!("revoke {connection} --dry-run")).await;
    assert_eq!((planned["revoked"][0]["state"].as_str(), &planned["revoked"][0]["receipt"]), (Some("active"), &Value::Null));
    let revoked = place.json(&format!("revoke {connection} --reason enough --wait")).await;
    assert_eq!(
        (revoked["revoked"][0]["state"].as_str(), revoked["revoked"][0]["credential"].as_str()),
        (Some("revoked"), Some("destroyed"))
    );
    assert_eq!(place.sandbox.grants_alive(), 0, "the application was told");
    let again = place.json("revoke --tenant acme").await;
    assert!(again["revoked"].as_array().is_some_and(|list| list.iter().all(|one| one["receipt"] == revoked["revoked"][0]["receipt"])));
    for refused in ["run", "connections resume", "connections reconnect"] {
        assert!(place.run(&format!("{refused} {connection}")).await.is(1).messages.contains("final"), "{refused}");
    }
    place.json(&format!("lineage {record}")).await;

    let planned = place.json(&format!("erase {connection} --dry-run")).await;
    assert_eq!((planned["state"].as_str(), &planned["counts"]["records"]), (Some("planned"), &json!(place.sandbox.counts().total())));
    let requested = place.run(&format!("erase {connection} --json")).await.is(0);
    let erasure = requested.result()["id"].as_str().unwrap().to_owned();
    assert!(
        requested.result()["state"] == "requested" && requested.messages.contains(&format!("erase approve {erasure}")),
        "{requested:?}"
    );
    place.run(&format!("certificate show {erasure}")).await.is(1);
    assert_eq!(place.json(&format!("erase approve {erasure}")).await["state"], "complete");
    place.run(&format!("erase approve {erasure}")).await.is(1);
    let listed = place.json("erase list").await;
    assert_eq!(listed["items"][0], place.json(&format!("erase show {erasure}")).await);
    assert!(place.told(&format!("erase show {erasure}")).await.contains("complete"));
    let tombstone = place.told(&format!("lineage {record}")).await;
    assert!(tombstone.contains("came from") && tombstone.contains(&erasure), "{tombstone}");
    assert_eq!(place.json(&format!("connections show {connection}")).await["state"], "erased");

    let certificate = place.run(&format!("certificate show {erasure}")).await.is(0).results;
    place.write("certificate.json", &certificate);
    place.write("keys.json", &place.run("keys public").await.is(0).results);
    let verdict = place.json("certificate verify certificate.json --key keys.json").await;
    assert_eq!((&verdict["verified"], verdict["subject"]["name"].as_str()), (&json!(true), Some(erasure.as_str())));
    let untrusted = place.run("certificate verify certificate.json").await.is(1);
    assert!(untrusted.messages.contains("signer not trusted"), "{untrusted:?}");
    place.write("altered.json", &certificate.replacen("\"payload\":\"", "\"payload\":\"e30", 1));
    assert_ne!(place.run("certificate verify altered.json --key keys.json").await.code, Some(0));
    place.run("certificate verify config.json --key keys.json").await.is(2);
    place.run("certificate verify certificate.json --key config.json").await.is(2);
}

/// The log is read, verified against a kept checkpoint, and proves its entries.
async fn the_log(place: &Place) {
    let tail = place.json("audit tail --limit 3").await;
    let last = tail["items"][2].clone();
    assert_eq!(tail["items"].as_array().unwrap().len(), 3);
    assert!(place.told("audit tail").await.contains("ACTION"));
    let proof = place.json(&format!("audit prove {}", last["index"])).await;
    assert_eq!(
        proof.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(),
        ["leaf_index", "tree_size", "leaf_hash", "hashes"]
    );
    place.run("audit prove 1000000").await.is(1);
    let note = place.run("audit checkpoint").await.is(0).results;
    place.write("checkpoint", &note);
    assert_eq!(place.json("audit verify --checkpoint checkpoint").await["ok"], true);
    let size = note.lines().nth(1).unwrap();
    place.write("other", &note.replacen(&format!("\n{size}\n"), "\n1\n", 1));
    let found = place.run("audit verify --checkpoint other --json").await.is(1);
    assert_eq!(found.result()["ok"], false);
    place.write("junk", "no checkpoint");
    place.run("audit verify --checkpoint junk").await.is(2);
    place.run("audit verify --checkpoint absent").await.is(2);
}

/// Goal: with a server the same commands go through its socket: the same results, and what only the holder may do is refused.
/// A pull that a command watches outlives the command; a stop of the server ends within seconds and keeps what it reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_answers_the_commands() {
    let place = Place::new(sandbox::Options { records: 1_200, ..sandbox::Options::default() }).await;
    let (server, address) = place.serve("").await;
    let begun = place.json(CONNECT).await;
    let connection = begun["connection"].as_str().unwrap();
    place.approve(&begun).await;
    let shown = place.json(&format!("connections show {connection}")).await;
    assert_eq!(shown["state"], "active");
    let key = place.json("keys create --role operator").await;
    let browser = browser();
    let get = async |path: &str, key: &Value| {
        let answer = browser.get(format!("{address}{path}")).bearer_auth(key["key"].as_str().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    assert_eq!(get(&format!("/v1/connections/{connection}"), &key).await, (200, shown));
    for held in ["serve", "demo --once"] {
        assert!(place.run(held).await.is(1).messages.contains("headgate serve"), "{held}");
    }

    // Authorized anew while it is open: the command waits for nothing, the server for the browser.
    let again = place.json(&format!("connections reconnect {connection}")).await;
    assert_eq!((&again["connection"], again["state"].as_str()), (&begun["connection"], Some("active")));
    place.approve(&again).await;

    let pulled = place.json(&format!("run {connection}")).await;
    let run = &pulled["runs"][0];
    assert_eq!(get(&format!("/v1/runs/{}", run["id"].as_str().unwrap()), &key).await, (200, run.clone()));
    let revoked = place.json(&format!("keys revoke {}", key["id"].as_str().unwrap())).await;
    assert!(revoked["revoked_at"].is_string() && revoked.get("key").is_none(), "{revoked}");
    assert_eq!(get("/v1/connections", &key).await.0, 401);

    place.sandbox.set_faults(Faults { delay_ms: 300, ..Faults::default() });
    let watching = place.start(&format!("run {connection} --full"));
    let before = place.data_requests();
    until("the pull asks", async || place.data_requests() > before).await;
    watching.signal("-INT");
    assert_eq!(watching.ended().await.code(), Some(1));
    let busy = place.run(&format!("run {connection}")).await.is(1);
    assert!(busy.messages.contains("is under way"), "{busy:?}");
    let told_to_end = Instant::now();
    server.signal("-TERM");
    assert!(server.ended().await.success());
    assert!(told_to_end.elapsed() < Duration::from_secs(10), "{:?}", told_to_end.elapsed());

    place.sandbox.set_faults(Faults::default());
    let ended = place.told(&format!("connections show {connection}")).await;
    assert!(ended.contains("cancelled") && !ended.contains("running"), "{ended}");
    let whole = place.json(&format!("run {connection} --full")).await;
    let new: u64 = whole["runs"].as_array().unwrap().iter().map(|run| run["new"].as_u64().unwrap()).sum();
    assert_eq!(new, 0, "what the first pull reported was kept");
}

/// Goal: while a command holds the store, another goes through it; Ctrl-C ends the holder's pull at a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_command_answers_others() {
    let place = Place::small().await;
    let connection = place.connect().await;
    place.sandbox.set_faults(Faults { delay_ms: 1_500, ..Faults::default() });
    let pulling = place.start(&format!("run {connection}"));
    until("the pull asks", async || place.data_requests() > 0).await;
    assert_eq!(place.json("connections list").await["items"][0]["id"], connection.as_str());
    pulling.signal("-INT");
    assert_eq!(pulling.ended().await.code(), Some(1));
    place.sandbox.set_faults(Faults::default());

    // The application no longer knows the grant: the run fails, says so with the connection's own id, and a reconnect mends it.
    place.sandbox.end_grants();
    let failed = place.run(&format!("run {connection}")).await.is(1);
    assert!(failed.results.contains(&format!("connection {connection} needs to be authorized again")), "{failed:?}");
    let shown = place.json(&format!("connections show {connection}")).await;
    assert!(shown["state"] == "needs_reauthorization" && shown["why"].is_string(), "{shown}");
    place.run(&format!("run {connection}")).await.is(1);
    let generation = async || place.json(&format!("connections show {connection}")).await["credential"]["generation"].as_u64().unwrap();
    for state in ["needs_reauthorization", "active"] {
        let before = generation().await;
        let mut reconnecting = place.start(&format!("connections reconnect {connection}"));
        let begun = reconnecting.line().await;
        assert_eq!((&begun["connection"], &begun["state"]), (&json!(connection), &json!(state)));
        place.approve(&begun).await;
        assert_eq!(reconnecting.line().await["state"], "active");
        assert!(reconnecting.ended().await.success());
        assert!(generation().await > before, "the command waited for its own authorization");
    }
    place.json(&format!("run {connection}")).await;

    assert_eq!(place.json("connectors disable sandbox").await["state"], "disabled");
    let refused = place.run(CONNECT).await.is(1);
    assert!(refused.messages.contains("connectors enable sandbox"), "{refused:?}");
    assert_eq!(place.json("connectors enable sandbox").await["state"], "enabled");
    assert_eq!(place.json(&format!("connections pause {connection}")).await["state"], "paused");
    assert!(place.run(&format!("run {connection}")).await.is(1).messages.contains("resume it first"));
    assert_eq!(place.json(&format!("connections resume {connection}")).await["state"], "active");
    let erased = place.json(&format!("erase {connection} --revoke --yes")).await;
    assert_eq!((erased["state"].as_str(), place.json("erase list").await["items"][0].clone()), (Some("complete"), erased.clone()));
}

/// Goal: what is malformed ends with 2, what is refused with 1; the reason is on standard error, and nothing is on standard
/// output that could be taken for a result.
#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_malformed_from_refused() {
    let place = Place::small().await;
    // A server that holds the store makes each command short.
    let _server = place.serve("").await;
    place.write("number.json", "{\"base_url\": 5}");
    place.write("broken.json", "{\"base_url\": ");
    let connect = "--tenant acme --accept-policy --person Ada --organisation Acme";
    let cases = [
        ("frobnicate".to_owned(), 2, "unrecognized"),
        ("run".into(), 2, "CONNECTION"),
        ("run conn_1".into(), 1, "no connection"),
        ("records conn_1 --stream orders".into(), 1, "no connection"),
        ("lineage rec_1".into(), 1, "no record"),
        ("lineage rec_1 --key order_number=1 --tenant acme".into(), 2, "cannot be used with"),
        ("connections show conn_1".into(), 1, "no connection"),
        ("connectors show nothing".into(), 1, "no connector"),
        ("revoke".into(), 2, "--connector"),
        ("revoke --connector nothing".into(), 1, "no connector"),
        ("revoke conn_1 --tenant acme".into(), 2, "cannot be used with"),
        ("erase conn_1 --yes --dry-run".into(), 2, "cannot be used with"),
        ("erase show eras_1".into(), 1, "no erasure"),
        ("keys create --role service".into(), 2, "--tenant"),
        ("keys create --role emperor".into(), 2, "operator"),
        ("keys revoke key_1".into(), 1, "no key"),
        ("audit tail --limit 0".into(), 2, "1..=1000"),
        (format!("connect nothing {connect}"), 1, "no connector"),
        (format!("connect ./nothing.yaml {connect}"), 2, "cannot be read"),
        (format!("connect sandbox {connect}"), 2, "base_url"),
        (format!("connect sandbox {connect} --config number.json"), 2, "/config/base_url"),
        (format!("connect sandbox {connect} --config broken.json"), 2, "no JSON"),
        (format!("connect sandbox {connect} --config absent.json"), 2, "cannot be read"),
        (format!("connect sandbox {connect} --config CONFIG --streams orders,nothing"), 2, "no stream `nothing`"),
        (format!("connect sandbox {connect} --config CONFIG --purpose gossip"), 2, "fulfilment"),
        ("connect sandbox --tenant acme --config CONFIG --person Ada --organisation Acme".into(), 2, "--accept-policy"),
    ];
    for (line, code, reason) in cases {
        let ended = place.run(&line).await;
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
        assert!(ended.results.is_empty() && ended.messages.contains(reason), "{line}: {ended:?}");
    }
    assert_eq!(place.json("connections list").await, json!({"items": [], "next": null}));
}

/// Goal: `connectors check` lists every problem with code, file, line and what is accepted, and needs no store.
#[tokio::test(flavor = "multi_thread")]
async fn a_connector_is_checked_whole() {
    let place = Place::small().await;
    let manifest = "version: 6.0.0\ntype: DeclarativeSource\ncheck:\n  type: CheckStream\n  stream_names: [a]\nstreams:\n  - type: DeclarativeStream\n    name: a\n    retriever:\n      type: SimpleRetriever\n      requester: {type: Courier}\n      record_selector:\n        type: RecordSelector\n        extractor: {type: DpathExtractor, field_path: []}\n";
    std::fs::create_dir(place.folder.path().join("shop")).unwrap();
    place.write("shop/manifest.yaml", manifest);
    place.write("shop/headgate.yaml", "display_name: Shop\nhosts: [shop.example]\nschedule:\n  every: PT1S\nsurprise: 1\n");
    let checked = place.run("connectors check shop --json").await.is(2);
    let verdict = checked.result();
    let problems: Vec<_> = verdict["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["file"].as_str().unwrap(), problem["line"].as_u64().unwrap()))
        .collect();
    assert_eq!((&verdict["ok"], problems), (&json!(false), vec![("manifest.yaml", 11), ("headgate.yaml", 4), ("headgate.yaml", 5)]));
    let told = place.run("connectors check shop").await.is(2).results;
    for words in ["manifest.yaml:11: HG110", "accepted: HttpRequester", "at least PT1M", "`surprise`"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let refused = place.run("connect ./shop --tenant acme --accept-policy --person Ada --organisation Acme").await.is(2);
    assert!(refused.messages.contains("HG110") && refused.messages.contains("PT1M"), "{refused:?}");
    assert!(place.run("connectors check nowhere").await.is(2).results.starts_with("HG401: "));
    place.write("data/headgate.toml", "");
    assert_eq!(
        std::fs::read_dir(place.folder.path().join("data")).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() == "store").count(),
        1
    );
    let listed = place.json("connectors list").await;
    let names: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|connector| connector["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"sandbox"), "{names:?}");
    assert!(place.told("connectors show sandbox").await.contains("base_url (needed)"));
}

/// Goal: where the key and the configuration come from, and what a directory remembers of how it was made.
#[tokio::test(flavor = "multi_thread")]
async fn keys_and_configuration_come_from_where_they_are_named() {
    let place = Place::small().await;
    let (right, wrong) = ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let with = |line: &str, name: &str, value: &str| {
        let mut command = place.command(line);
        command.env(name, value);
        ended(command)
    };
    with("connections list", "HEADGATE_MASTER_KEY", right).await.is(0);
    assert!(!place.folder.path().join("data.master.key").exists(), "a key that is given is not written down");
    let lost = place.run("connections list").await.is(1);
    assert!(lost.messages.contains("master key"), "{lost:?}");
    assert_eq!(with("connections list", "HEADGATE_MASTER_KEY", wrong).await.code, Some(1));
    with("connections list", "HEADGATE_MASTER_KEY", "not base64").await.is(2);
    place.write("key", right);
    place.run("connections list --master-key-file key").await.is(0);
    place.run("--master-key-file absent connections list").await.is(2);
    let mut command = place.command("connections list");
    command.args(["--master-key-command", "cat key"]);
    ended(command).await.is(0);

    place.write("other.toml", "listen = 5\nsurprise = 1\n");
    let refused = with("connections list --master-key-file key", "HEADGATE_CONFIG", "other.toml").await.is(2);
    assert!(refused.messages.contains("line "), "{refused:?}");
    with("connections list --master-key-file key", "HEADGATE_CONFIG", "absent.toml").await.is(2);
    let real = place.run("connections list --test --master-key-file key").await.is(1);
    assert!(real.messages.contains("created without --test"), "{real:?}");
    let clock = place.run("serve --test-clock key --master-key-file key").await.is(1);
    assert!(clock.messages.contains("--test"), "{clock:?}");
    let rewriting = "[connectors.sandbox.rewrite]\n\"https://api.example.com\" = \"http://127.0.0.1:9\"\n";
    place.write("other.toml", rewriting);
    with("connections list --master-key-file key", "HEADGATE_CONFIG", "other.toml").await.is(2);

    let quiet = place.run("connections list --master-key-file key").await.is(0);
    assert_eq!(quiet.messages, "");
    let loud = with("connections list --master-key-file key --json", "HEADGATE_LOG", "headgate=debug").await.is(0);
    assert!(loud.messages.lines().count() > 0 && loud.messages.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{loud:?}");
    let refused = with("connections list --master-key-file key", "HEADGATE_LOG", "((").await.is(0);
    assert!(refused.messages.contains("HEADGATE_LOG") && !refused.messages.contains('\u{1b}'), "{refused:?}");
}

/// Goal: a connection pulls by itself at its interval, not while it is paused, and not before the application's own time, also
/// after a restart. Time is a file.
#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_is_kept_across_a_restart() {
    let rate_limit = RateLimit { requests: 12, window: Duration::from_secs(3_600) };
    let place = Place::new(sandbox::Options { records: 60, rate_limit, ..sandbox::Options::default() }).await;
    let at = |time: &str| place.write("clock", &format!("2030-01-01T{time}Z"));
    at("10:00:00");
    let (server, address) = place.serve("--test --test-clock clock").await;
    let begun = place.json(CONNECT).await;
    let connection = begun["connection"].as_str().unwrap();
    place.approve(&begun).await;
    let key = place.json("keys create --role operator").await;
    let browser = browser();
    let patch = async |schedule: Value| {
        let request = browser.patch(format!("{address}/v1/connections/{connection}")).bearer_auth(key["key"].as_str().unwrap());
        let request = request.header("content-type", "application/json").body(json!({"schedule": schedule}).to_string());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(patch(json!({"every": "PT59S"})).await, 422);
    assert_eq!(patch(json!({"every": "PT1M"})).await, 200);
    let shown = place.json(&format!("connections show {connection}")).await;
    assert_eq!((shown["schedule"]["every"].as_str(), shown["next_pull_at"].as_str()), (Some("PT1M"), Some("2030-01-01T10:01:00Z")));
    assert_eq!(place.data_requests(), 0, "nothing is pulled before its time");

    at("10:01:01");
    until("the first pull", async || place.data_requests() >= 5).await;
    let is_settled = async |at: &str| place.json(&format!("connections show {connection}")).await["next_pull_at"] == at;
    until("it has settled", async || is_settled("2030-01-01T10:02:01Z").await).await;
    place.json(&format!("connections pause {connection}")).await;
    at("10:10:00");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(place.data_requests(), 5, "a paused connection asks for nothing");

    // The second pull is within the application's limit, the third is not: it says for how long it wants to be left alone.
    place.json(&format!("connections resume {connection}")).await;
    at("10:20:00");
    until("the second pull", async || place.data_requests() >= 10).await;
    until("it has settled", async || is_settled("2030-01-01T10:21:00Z").await).await;
    at("10:30:00");
    let waits = async || place.json(&format!("connections show {connection}")).await["not_before"].is_string();
    until("the application asks for patience", waits).await;
    let shown = place.json(&format!("connections show {connection}")).await;
    assert_eq!(shown["failures"], 1);
    let asked = place.data_requests();
    server.signal("-TERM");
    assert!(server.ended().await.success());

    at("10:50:00");
    let (server, _) = place.serve("--test-clock clock").await;
    let refused = place.run(&format!("run {connection}")).await.is(1);
    assert!(refused.messages.contains("wait"), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(place.data_requests(), asked, "the application is left alone");
    at("23:30:00");
    until("it is asked again after that", async || place.data_requests() > asked).await;
    server.signal("-TERM");
    assert!(server.ended().await.success());
}
