//! What must stay inside stays inside: secrets and personal values are planted, and looked for in every file of the data
//! directory, in the log at its most talkative, in every answer, in metrics and in messages (P6, P12, P4).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use headgate::clock::Clock;
use headgate::config::Access;
use headgate::config::DataDirectory;
use headgate::config::MasterKeySource;
use headgate::config::Settings;
use headgate::connection::Connections;
use headgate::connection::gate::Gates;
use headgate::ids::Entropy;
use headgate::intake::Intake;
use headgate::lineage::Reader;
use headgate::secret::Secret;
use headgate::store::Store;
use headgate::vault::Vault;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::files;
use crate::support::installation::text;

/// The customer's API key at the application.
const API_KEY: &str = "canary-api-key-6f1d0b7a";
/// The name, address and telephone number of a person in the application's records.
const PERSONAL: [&str; 3] = ["Zephyrine Quackenbush", "zephyrine@canary.example", "+31 6 5550 1234"];
/// Card numbers as they come: with spaces, bare, and as a number.
const CARDS: [&str; 3] = ["4111 1111 1111 1111", "5555555555554444", "378282246310005"];

/// Everything at its most talkative but the engine, which logs megabytes of page numbers.
const LOG_FILTER: &str = "trace,sled=info";

/// An application that hands out planted tokens and records, and repeats in its errors whatever it was sent.
#[derive(Default)]
struct Parrot {
    /// Codes and tokens that it has given, verifiers and client secrets that it was given.
    planted: Mutex<BTreeSet<String>>,
}

impl Parrot {
    async fn start() -> (Arc<Self>, SocketAddr) {
        let parrot = Arc::new(Parrot::default());
        let router = Router::new()
            .route("/v1/customers", get(people))
            .route("/v1/{stream}", get(broken))
            .route("/oauth/token", post(token))
            .route("/oauth/revoke", post(async |body: Bytes| (StatusCode::BAD_REQUEST, body)))
            .route("/people", get(people))
            .route("/{what}", get(broken))
            .with_state(parrot.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (parrot, address)
    }

    fn plant(&self, kind: &str) -> String {
        let mut planted = self.planted.lock().unwrap();
        let value = format!("canary-{kind}-{:04}-9c41e2", planted.len());
        planted.insert(value.clone());
        value
    }
}

async fn people(State(parrot): State<Arc<Parrot>>, uri: Uri) -> Response {
    let Some(_) = uri.query() else { return broken(State(parrot), Path("people".into()), HeaderMap::new(), uri).await };
    let [name, email, phone] = PERSONAL;
    let (first_name, last_name) = name.split_once(' ').unwrap();
    let person = json!({
        "id": 1, "customer_number": "C-1", "first_name": first_name, "last_name": last_name, "name": name, "email": email,
        "phone": phone, "updated_at": "2026-11-01T00:00:00Z", "note": format!("{} or {}", CARDS[0], CARDS[1]),
        "card": CARDS[2].parse::<u64>().unwrap(),
    });
    answer(StatusCode::OK, &json!({"customers": [person], "people": [person]}))
}

/// Repeats credentials and personal values in an error, as careless applications do.
async fn broken(State(_): State<Arc<Parrot>>, Path(what): Path<String>, headers: HeaderMap, uri: Uri) -> Response {
    let text = format!("{what} failed for {PERSONAL:?} {CARDS:?}: you sent {:?} to {uri}", headers.get("authorization"));
    answer(StatusCode::BAD_REQUEST, &json!({"error": text, "message": text, "errors": [text]}))
}

async fn token(State(parrot): State<Arc<Parrot>>, form: axum::Form<Vec<(String, String)>>) -> Response {
    for (name, value) in &form.0 {
        if matches!(name.as_str(), "code_verifier" | "client_secret") {
            parrot.planted.lock().unwrap().insert(value.clone());
        }
    }
    let (access, refresh) = (parrot.plant("access"), parrot.plant("refresh"));
    answer(StatusCode::OK, &json!({"access_token": access, "token_type": "Bearer", "expires_in": 1, "refresh_token": refresh}))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(axum::http::header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A manifest without a headgate.yaml that sends its API key in the query, of all places.
fn manifest() -> String {
    let stream = |name: &str| {
        format!(
            r#"
  - type: DeclarativeStream
    name: {name}
    primary_key: [id]
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: "{{{{ config['base_url'] }}}}"
        path: /{name}
        http_method: GET
        authenticator:
          type: ApiKeyAuthenticator
          api_token: "{{{{ config['api_key'] }}}}"
          inject_into: {{type: RequestOption, inject_into: request_parameter, field_name: api_key}}
      record_selector:
        type: RecordSelector
        extractor: {{type: DpathExtractor, field_path: [{name}]}}
    schema_loader:
      type: InlineSchemaLoader
      schema: {{type: object, additionalProperties: true, properties: {{}}}}"#
        )
    };
    format!(
        r"version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [people]}}
streams:{}{}
spec:
  type: Spec
  connection_specification:
    type: object
    required: [base_url, api_key]
    additionalProperties: true
    properties:
      base_url: {{type: string}}
      api_key: {{type: string, airbyte_secret: true}}
",
        stream("people"),
        stream("broken")
    )
}

/// Every answer to every GET that the description of the API lists, errors included, as one text. `known` has the values of
/// path parameters, by the part of the path before them and their name.
async fn answers(client: &Client, known: &BTreeMap<&str, Vec<String>>, queries: &[String]) -> String {
    let document = client.get("/openapi.json").await.unwrap();
    let mut paths = vec!["/metrics".to_owned(), format!("/oauth/callback?code={API_KEY}&state=unknown")];
    paths.extend_from_slice(queries);
    for (path, operations) in document["paths"].as_object().unwrap() {
        // What only this machine is told is looked at by its commands.
        if operations.get("get").is_none() || path.starts_with("/admin/") {
            continue;
        }
        let Some((before, rest)) = path.split_once('{') else {
            paths.push(path.clone());
            continue;
        };
        let (_, after) = rest.split_once('}').unwrap();
        let values = known.get(before).unwrap_or_else(|| panic!("no value is known for {path}: say one, so that its answers are searched"));
        paths.extend(values.iter().map(|value| format!("{before}{value}{}", after.split('{').next().unwrap())));
    }
    let mut told = String::new();
    for path in paths {
        let (status, answer) = client.ask(Method::GET, &path, None).await.unwrap();
        told.push_str(&format!("\n{path}: {status} {answer}"));
    }
    told
}

/// What is known of a life: the values of every path parameter.
async fn known_of(client: &Client, connections: &[String], erasures: &[String]) -> (BTreeMap<&'static str, Vec<String>>, Vec<String>) {
    let ids = |items: Vec<Value>| items.iter().map(|item| text(item, "id")).collect::<Vec<_>>();
    let (mut records, mut consents, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    for connection in connections {
        consents.push(text(&client.get(&format!("/v1/connections/{connection}")).await.unwrap(), "consent"));
        if let (200, found) = client.ask(Method::GET, &format!("/v1/records?connection={connection}"), None).await.unwrap() {
            records.extend(ids(found["items"].as_array().unwrap().clone()));
        }
        queries.extend(["runs?connection", "lineage?node", "records?connection"].map(|query| format!("/v1/{query}={connection}")));
    }
    queries.push("/v1/lineage/keys/customer_number/C-1?tenant=acme".into());
    queries.push("/v1/audit?limit=500".into());
    queries.push("/v1/audit/proof?entry=0".into());
    let entries = client.all("/v1/audit").await.unwrap();
    let known = BTreeMap::from([
        ("/v1/connections/", connections.to_vec()),
        ("/v1/runs/", ids(client.all("/v1/runs").await.unwrap())),
        ("/v1/records/", records),
        ("/v1/lineage/keys/", vec!["customer_number/C-1?tenant=acme".to_owned()]),
        ("/v1/erasures/", erasures.to_vec()),
        ("/v1/consents/", consents),
        ("/v1/audit/entries/", entries.iter().map(|entry| entry["index"].to_string()).collect()),
        ("/connect/", vec!["unknown".to_owned()]),
        ("/problems/", vec!["gate-closed".to_owned()]),
        // The operator's own tenant has no jobs; what is told of the runs of others is searched by the tests of `emission`.
        ("/api/v1/events/", vec!["unknown".to_owned()]),
        ("/api/v1/namespaces/", vec!["unknown".to_owned()]),
        ("/api/v1/sources/", vec!["unknown".to_owned()]),
        ("/api/v1/jobs/runs/", vec!["unknown".to_owned()]),
        ("/api/v1/tags/", vec!["unknown".to_owned()]),
        // Without the file's name: a schema is part of the program, and tells of nobody.
        ("/schemas/openlineage/", vec!["1-0-0".to_owned()]),
    ]);
    (known, queries)
}

/// What an operator on this machine is told beyond the network's routes.
fn operators_answers(installation: &Installation, connections: &[String]) -> String {
    let mut told = String::new();
    let mut commands: Vec<Vec<&str>> = [
        &["connectors", "list"][..],
        &["keys", "list"],
        &["store", "stats"],
        &["store", "check"],
        &["audit", "tail"],
        &["connections", "list"],
    ]
    .map(<[&str]>::to_vec)
    .into();
    commands.extend(connections.iter().map(|connection| vec!["connections", "show", connection]));
    for name in ["sandbox", "parrot"] {
        commands.push(vec!["connectors", "show", name]);
    }
    for command in commands {
        let ended = installation.run(&command);
        told.push_str(&format!("\n{command:?}: {} {} {}", ended.code, ended.stdout, ended.stderr));
    }
    told
}

/// What is sealed and is not a credential, opened with the keys: configurations, saved states, facts and records.
async fn opened(installation: &Installation) -> Vec<(String, String)> {
    let clock = Clock::System;
    let directory = DataDirectory::at(&installation.data()).unwrap();
    let Access::Held(held) = directory.access("test", false, clock.now()).unwrap() else { panic!("the directory is held") };
    let settings = Settings::gather(held, None, &MasterKeySource::Beside, clock.clone(), Entropy::system(), &mut |_| {}).unwrap();
    let vault = Arc::new(Vault::open(&installation.data(), &settings.master_key, Entropy::system(), clock.clone()).unwrap());
    let store = Store::open(&installation.data(), &headgate::store::Options::default()).unwrap();
    let connections = Connections::new(store.clone(), vault.clone(), Gates::new(store.clone()), clock.clone(), Entropy::system());
    let (intake, reader) = (Intake::new(store.clone(), vault.clone()), Reader::new(store.clone(), vault.clone()));
    let mut found = Vec::new();
    for connection in connections.list(None, None, 500).unwrap() {
        let (owner, id) = (connection.key, connection.id);
        found.push((format!("the configuration of {id}"), format!("{:?}", connections.config(owner).unwrap())));
        for (number, stream) in (0..).zip(&connection.streams) {
            found.push((format!("the state of {stream} of {id}"), format!("{:?}", intake.cursor(owner, number).unwrap())));
        }
        for record in reader.records(owner, None, None, 500).unwrap().items {
            let raw = String::from_utf8_lossy(&record.raw).into_owned();
            found.push((format!("a record of {id}"), format!("{raw} {:?}", record)));
        }
    }
    found
}

/// Fails with the place where one of the values stands.
fn absent<'a>(values: impl IntoIterator<Item = &'a str>, place: &str, bytes: &[u8]) {
    // As text, because the search for text is compiled to be fast, even in a test.
    let plain: String = bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\0' }).collect();
    for value in values {
        let around = plain.find(value).map(|at| &plain[at.saturating_sub(200)..(at + 80).min(plain.len())]);
        assert!(around.is_none(), "`{value}` stands in {place}: …{}…", around.unwrap_or_default());
    }
}

fn in_no_file(values: &[&str], installation: &Installation) {
    for file in files(&installation.data()) {
        absent(values.iter().copied(), &format!("{file:?}"), &std::fs::read(&file).unwrap());
    }
    absent(values.iter().copied(), "the log", installation.log().as_bytes());
}

/// Goal: nothing planted comes out where it must not. Method: plant through an OAuth and an API-key connection of an application
/// that repeats what it hears, with the log at its most talkative; search bytes.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_stay_inside_and_personal_values_stay_sealed() {
    let (parrot, address) = Parrot::start().await;
    let mut installation = Installation::new(&address.to_string());
    installation.log_filter = LOG_FILTER;
    let server = installation.serve(None).await;
    let (client, key) = (server.client(), server.key.clone());

    // OAuth, with this test as the browser: the parrot has no page of its own.
    let (shop, page) = client.begin("acme", &format!("http://{address}")).await.unwrap();
    let asked: std::collections::BTreeMap<String, String> = reqwest::Url::parse(&page).unwrap().query_pairs().into_owned().collect();
    let (state, code) = (asked["state"].clone(), parrot.plant("code"));
    let back = format!("/oauth/callback?code={code}&state={state}&iss=http%3A%2F%2F{address}");
    let (status, answer) = client.ask(Method::GET, &back, None).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    // An API key, through a manifest alone.
    let (path, config) = (installation.beside("parrot.yaml"), installation.beside("config.json"));
    std::fs::write(&path, manifest()).unwrap();
    std::fs::write(&config, json!({"base_url": format!("http://{address}"), "api_key": API_KEY}).to_string()).unwrap();
    let words = ["--accept-policy", "--person", "Ada", "--organisation", "Acme", "--config", config.to_str().unwrap()];
    let made = installation.result(&[&["connect", path.to_str().unwrap(), "--tenant", "acme"], words.as_slice()].concat());
    let connections = [shop, text(&made, "connection")];

    let mut told = String::new();
    for connection in &connections {
        // Twice, so that the token, which lives a second, is renewed.
        for _ in 0..2 {
            let runs = client.pull(connection).await.unwrap();
            assert!(runs.iter().any(|run| run["state"] == "complete" && run["pages"] == 1), "{runs:?}");
            assert!(runs.iter().any(|run| run["state"] == "failed"), "{runs:?}");
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        }
        let ended = installation.run(&["run", connection]);
        told.push_str(&ended.stdout);
        told.push_str(&ended.stderr);
        let stream = if connection == &connections[0] { "customers" } else { "people" };
        let records = installation.run(&["records", connection, "--stream", stream, "--format", "ndjson"]);
        assert!(records.stdout.contains(PERSONAL[1]), "the record is there before the erasure: {records:?}");
    }
    let link = client.post("/v1/connect/sessions", json!({"connector": "sandbox", "tenant": "acme"})).await.unwrap();
    let token = text(&link, "url").rsplit('/').next().unwrap().to_owned();
    let (status, _) = client.ask(Method::GET, &format!("/connect/{token}"), None).await.unwrap();
    assert!(status < 400, "the link answered {status}");
    let (known, queries) = known_of(&client, &connections, &[]).await;
    told.push_str(&answers(&client, &known, &queries).await);
    told.push_str(&operators_answers(&installation, &connections));
    assert!(known["/v1/records/"].len() >= 2, "{known:?}");

    let master_key = std::fs::read_to_string(installation.beside("data.master.key")).unwrap().trim().to_owned();
    let planted = parrot.planted.lock().unwrap().clone();
    assert!(planted.iter().filter(|value| value.contains("-refresh-")).count() > 1, "the token was renewed: {planted:?}");
    let mut secrets: Vec<&str> = planted.iter().map(String::as_str).collect();
    secrets.extend([API_KEY, installation.client_secret.as_str(), key.as_str(), master_key.as_str(), state.as_str(), token.as_str()]);
    // The document's own test of an unknown state gives the API key as a code; it must not come back either.
    absent(secrets.iter().copied().chain(CARDS), "an answer", told.replace(&format!("code={API_KEY}&"), "").as_bytes());
    in_no_file(&[secrets.as_slice(), &CARDS, &PERSONAL, &["Zephyrine", "Quackenbush"]].concat(), &installation);

    // With the keys, everything that is sealed and is no credential is searched too.
    assert_eq!(server.stop(), 0);
    let sealed = opened(&installation).await;
    assert!(sealed.iter().any(|(_, plain)| plain.contains(PERSONAL[1])), "what was sealed is opened: {sealed:?}");
    for (place, plain) in &sealed {
        absent(secrets.iter().copied().chain(CARDS), place, plain.as_bytes());
    }
    let server = installation.serve(None).await;
    let client = server.client();

    let mut erasures = Vec::new();
    for connection in &connections {
        let erasure = client.erase(connection).await.unwrap();
        client.complete(&erasure).await.unwrap();
        erasures.push(erasure);
    }
    let (after, queries) = known_of(&client, &connections, &erasures).await;
    // Also by the ids of records that are gone.
    let known = known.into_iter().chain(after.into_iter().filter(|(path, _)| *path != "/v1/records/")).collect();
    let told = answers(&client, &known, &queries).await + &operators_answers(&installation, &connections);
    absent(secrets.iter().copied(), "an answer after the erasure", told.replace(&format!("code={API_KEY}&"), "").as_bytes());
    absent(PERSONAL.into_iter().chain(["Zephyrine", "C-1\""]).chain(CARDS), "an answer after the erasure", told.as_bytes());
    assert_eq!(server.stop(), 0);
    let all = [secrets.as_slice(), &CARDS, &PERSONAL].concat();
    in_no_file(&all, &installation);
    // A compaction reads and writes everything once more.
    installation.result(&["store", "compact"]);
    in_no_file(&all, &installation);
}

/// Goal: a panic tells nothing that is secret. Method: what a failed assumption about a secret says, as every panic hook reads
/// it; the process has no hook of its own.
#[test]
fn a_panic_tells_no_secret() {
    let key = || Secret::new(API_KEY.to_owned());
    let said = |panics: fn(Secret<String>)| {
        let payload = std::panic::catch_unwind(|| panics(key())).expect_err("it panics");
        payload.downcast_ref::<String>().cloned().expect("a message")
    };
    for message in [said(|secret| Some(secret).map_or(Ok(()), Err).unwrap()), said(|secret| panic!("{secret:?}"))] {
        assert!(!message.contains(API_KEY), "{message}");
    }
}

/// Goal: no core file of a running gateway exists, and no other program of its user reads its memory. Method: the kernel is
/// asked for a core file in every way that a user has, and the process killed by a signal that makes one.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_closed() {
    let (_, address) = Parrot::start().await;
    let installation = Installation::new(&address.to_string());
    let folder = installation.beside("cores");
    std::fs::create_dir(&folder).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited; cd \"$0\" && exec \"$@\""]).arg(&folder);
    shell.arg(installation.command(&[]).get_program()).args(installation.command(&[]).get_args());
    let server = installation.serve_with(shell, None).await;
    let process = std::path::Path::new("/proc").join(server.pid().to_string());
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    for secret in ["mem", "environ", "maps"] {
        let path = process.join(secret);
        assert!(!opens(&path), "{path:?} is open to the gateway's user");
    }
    assert!(opens(std::path::Path::new("/proc/self/environ")), "the look itself works");
    assert!(server.signalled("ABRT").contains("signal"), "it ends by the signal");
    assert!(files(&folder).is_empty(), "{:?}", files(&folder));
}

/// Whether a program of this user, without root's rights, can open a file.
fn opens(path: &std::path::Path) -> bool {
    let mut look = Command::new("setpriv");
    look.args(["--bounding-set", "-all", "--inh-caps", "-all", "--"]);
    if look.arg("true").output().is_err() {
        // Not root then, or without the tool: this process itself looks.
        return std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut [0]).map(drop)).is_ok();
    }
    let mut look = Command::new("setpriv");
    look.args(["--bounding-set", "-all", "--inh-caps", "-all", "--", "head", "-c", "1"]).arg(path);
    look.output().unwrap().status.success()
}
