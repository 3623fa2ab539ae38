//! SIGKILL at random moments of a connection's life. What an answer has said before must hold after the next start (P5), a
//! page is there wholly or not at all (P1), a revoked connection stays revoked (P2), and an erasure goes on to its end (P4).
//!
//! `HEADGATE_CRASH_CYCLES` sets how many kills there are, `HEADGATE_CRASH_SEED` repeats a run's choices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use headgate::sandbox;
use headgate::sandbox::Purpose;
use headgate::sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::support::dice::Dice;
use crate::support::dice::number;
use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::Server;
use crate::support::installation::text;

/// Kills in an ordinary test run.
const CYCLES_DEFAULT: u64 = 10;
/// Records in the shop: some pages for each stream.
const RECORDS: u64 = 500;
/// The members that a complete tag has.
const TAG_MEMBERS: [&str; 21] = [
    "tenant",
    "connection",
    "connector",
    "stream",
    "kind",
    "primary_key",
    "run",
    "page",
    "pointer",
    "partition",
    "cursor",
    "direction",
    "transformations",
    "masks",
    "schema_digest",
    "content_digest",
    "consent",
    "policy_version",
    "purposes",
    "retention",
    "previous",
];

/// The parts of a life, in their order. A cycle lives up to one of them in peace, and is killed in it or soon after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Connect,
    Pull,
    Renewal,
    Revoke,
    Erase,
}

const PARTS: [Part; 5] = [Part::Connect, Part::Pull, Part::Renewal, Part::Revoke, Part::Erase];

/// What answers have said of one connection. Everything in here was acknowledged.
#[derive(Debug, Default)]
struct Told {
    connection: Option<String>,
    active: bool,
    runs: BTreeMap<String, Value>,
    /// Whether its access token was ended: from then on a refresh token may be spent and its successor lost.
    renewing: bool,
    /// The revocation's answer, and the number of the shop's last request at that time.
    revoked: Option<(Value, u64)>,
    erasure: Option<String>,
    erasure_state: Option<String>,
    entries: BTreeMap<u64, Value>,
    checkpoint: Option<String>,
}

type Shared = Arc<Mutex<Told>>;

/// Goal: no kill loses or tears what was acknowledged. Method: live, kill, start again, compare with what was told.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let mut dice = Dice::seeded("HEADGATE_CRASH_SEED");
    let cycles = number("HEADGATE_CRASH_CYCLES").unwrap_or(CYCLES_DEFAULT);
    let sandbox = Arc::new(Sandbox::start(sandbox::Options { records: RECORDS, ..Default::default() }).await.unwrap());
    let installation = Installation::new(&sandbox.address().to_string());
    let mut usual: BTreeMap<Part, Duration> = BTreeMap::new();
    let mut lives: Vec<Told> = Vec::new();
    let mut server = installation.serve(Some(&sandbox)).await;
    for cycle in 0..cycles {
        let part = PARTS[(cycle % PARTS.len() as u64) as usize];
        let told = Shared::default();
        let client = server.client();
        for earlier in PARTS.into_iter().filter(|earlier| *earlier < part) {
            let began = Instant::now();
            live(earlier, &client, &sandbox, &told).await.unwrap();
            usual.insert(earlier, began.elapsed());
        }
        let window = usual.get(&part).copied().unwrap_or(Duration::from_millis(80));
        let delay = Duration::from_micros(dice.roll(window.as_micros() as u64 * 5 / 4));
        let living = tokio::spawn(live_on(part, client, sandbox.clone(), told.clone()));
        tokio::time::sleep(delay).await;
        server.kill();
        let outcome = living.await.unwrap();
        println!("cycle {cycle}: killed {delay:?} into {part:?}; {outcome}");
        server = installation.serve(Some(&sandbox)).await;
        let told = Arc::into_inner(told).unwrap().into_inner().unwrap();
        holds(&installation, &server, &sandbox, &told).await;
        lives.push(told);
    }
    settle(&installation, &server, &sandbox, &lives).await;
    assert_eq!(server.stop(), 0);
}

/// Lives from one part to the end; how far it came.
async fn live_on(from: Part, client: Client, sandbox: Arc<Sandbox>, told: Shared) -> String {
    for part in PARTS.into_iter().filter(|part| *part >= from) {
        if let Err(error) = live(part, &client, &sandbox, &told).await {
            return format!("{part:?} broke off: {}", error.without_url());
        }
    }
    "the life had ended".into()
}

async fn live(part: Part, client: &Client, sandbox: &Sandbox, told: &Shared) -> Result<(), reqwest::Error> {
    match part {
        Part::Connect => {
            let (connection, page) = client.begin("acme", sandbox.base_url()).await?;
            told.lock().unwrap().connection = Some(connection.clone());
            client.approve(&page).await?;
            told.lock().unwrap().active = client.state(&connection).await? == "active";
        }
        Part::Pull => pull(client, told).await?,
        Part::Renewal => {
            sandbox.advance();
            told.lock().unwrap().renewing = true;
            sandbox.expire_access_tokens();
            pull(client, told).await?;
        }
        Part::Revoke => {
            let connection = known(told);
            let answer = client.post(&format!("/v1/connections/{connection}/revoke"), json!({})).await?;
            let last = sandbox.log().last().map_or(0, |request| request.number);
            told.lock().unwrap().revoked = Some((answer["revoked"][0].clone(), last));
        }
        Part::Erase => {
            let connection = known(told);
            let asked = client.post("/v1/erasures", json!({"scope": {"connection": connection}})).await?;
            let erasure = text(&asked, "id");
            let note_state = |state: &Value| told.lock().unwrap().erasure_state = Some(text(state, "state"));
            told.lock().unwrap().erasure = Some(erasure.clone());
            note_state(&asked);
            note_state(&client.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await?);
            let path = format!("/v1/erasures/{erasure}");
            client
                .settled(&path, |found| {
                    note_state(found);
                    (found["state"] == "complete").then_some(())
                })
                .await?;
        }
    }
    let note = client.get("/v1/audit/checkpoint").await?;
    told.lock().unwrap().checkpoint = Some(note.as_str().unwrap().to_owned());
    Ok(())
}

fn known(told: &Shared) -> String {
    told.lock().unwrap().connection.clone().unwrap()
}

/// Pulls, and notes every counter and every audit entry that is shown meanwhile.
async fn pull(client: &Client, told: &Shared) -> Result<(), reqwest::Error> {
    let path = format!("/v1/runs?pull={}", client.begin_pull(&known(told)).await?);
    loop {
        let runs = client.get(&path).await?["items"].as_array().unwrap().clone();
        let under_way = runs.iter().any(|run| run["state"] == "running");
        told.lock().unwrap().runs.extend(runs.into_iter().map(|run| (text(&run, "id"), run)));
        if !under_way {
            return Ok(());
        }
        for entry in client.get("/v1/audit?limit=5").await?["items"].as_array().unwrap() {
            told.lock().unwrap().entries.insert(entry["index"].as_u64().unwrap(), entry["leaf"].clone());
        }
    }
}

/// After the start: everything that was told is there, and what was interrupted goes on.
async fn holds(installation: &Installation, server: &Server, sandbox: &Sandbox, told: &Told) {
    let client = server.client();
    for (index, leaf) in &told.entries {
        assert_eq!(client.get(&format!("/v1/audit/entries/{index}")).await.unwrap()["leaf"], *leaf, "audit entry {index}");
    }
    log_is_whole(installation, told.checkpoint.as_deref());
    let Some(connection) = told.connection.clone() else { return };
    for (id, seen) in &told.runs {
        let run = client.get(&format!("/v1/runs/{id}")).await.unwrap();
        for counter in ["pages", "requests", "new", "changed", "unchanged", "filtered"] {
            assert!(run[counter].as_u64() >= seen[counter].as_u64(), "{counter} went back: {seen} -> {run}");
        }
        assert!(run["state"] != "running" && (seen["state"] == "running" || seen["state"] == run["state"]), "{seen} -> {run}");
    }
    let state = client.state(&connection).await.unwrap();
    match (state.as_str(), &told.revoked, &told.erasure_state) {
        ("pending", None, None) => assert!(!told.active, "an active connection is pending again"),
        ("active", None, None) => pulls_exactly(&client, sandbox, &connection, told.renewing).await,
        // The new refresh token went down with the process, and the old one was spent: only the customer can help.
        ("needs_reauthorization", None, None) if told.renewing => {
            let begun = installation.result(&["connections", "reconnect", &connection]);
            client.approve(begun["authorize_url"].as_str().unwrap()).await.unwrap();
            pulls_exactly(&client, sandbox, &connection, false).await;
        }
        ("revoked", ..) => stays_revoked(&client, &connection).await,
        ("erased", _, Some(_)) => {}
        _ => panic!("{connection} is {state} after {told:?}"),
    }
    if state != "erased" {
        is_whole(&client, &connection).await;
    }
    if let Some((receipt, _)) = &told.revoked {
        let (_, again) = client.ask(Method::POST, &format!("/v1/connections/{connection}/revoke"), None).await.unwrap();
        assert!(state == "erased" || again["revoked"][0]["receipt"] == receipt["receipt"], "{receipt} -> {again}");
    }
    if told.erasure.is_some() {
        goes_on(installation, &client, told).await;
    }
}

/// A connection that was active pulls to its end, and has what the shop has; one whose renewal was interrupted may turn out
/// to need the customer.
async fn pulls_exactly(client: &Client, sandbox: &Sandbox, connection: &str, renewing: bool) {
    let mut runs = client.pull(connection).await.unwrap();
    if renewing && is_lost(client, connection, &runs).await {
        return;
    }
    runs.retain(|run| run["state"] != "complete");
    assert!(runs.is_empty(), "{runs:?}");
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    assert_eq!(records.len() as u64, sandbox.counts().total(), "records of {connection}");
}

/// Whether the application has refused the refresh token. The runs tell so a moment before the connection does.
async fn is_lost(client: &Client, connection: &str, runs: &[Value]) -> bool {
    let refused = |run: &Value| run["error"].as_str().is_some_and(|error| error.contains("needs to be authorized again"));
    if !runs.iter().any(refused) {
        return false;
    }
    let path = format!("/v1/connections/{connection}");
    client.settled(&path, |found| (found["state"] == "needs_reauthorization").then_some(true)).await.unwrap()
}

async fn stays_revoked(client: &Client, connection: &str) {
    let (status, answer) = client.ask(Method::POST, &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await.unwrap();
    assert_eq!(status, 409, "{answer}");
}

/// Records, tags and counters agree: the counters of the runs say how many records and versions there are.
async fn is_whole(client: &Client, connection: &str) {
    let runs = client.all(&format!("/v1/runs?connection={connection}")).await.unwrap();
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for run in &runs {
        let (records, versions) = counted.entry(text(run, "stream")).or_default();
        *records += run["new"].as_u64().unwrap();
        *versions += run["new"].as_u64().unwrap() + run["changed"].as_u64().unwrap();
    }
    let mut found: BTreeMap<String, (u64, u64)> = counted.keys().map(|stream| (stream.clone(), (0, 0))).collect();
    for record in &records {
        let tag = &record["tag"];
        let missing: Vec<_> = TAG_MEMBERS.iter().filter(|member| tag.get(**member).is_none()).collect();
        assert!(missing.is_empty() && tag["page"]["response_sha256"].is_string(), "{missing:?} missing from {tag}");
        assert!(runs.iter().any(|run| run["id"] == tag["run"]), "a record of no run: {tag}");
        let (records, versions) = found.entry(text(tag, "stream")).or_default();
        *records += 1;
        *versions += record["version"].as_u64().unwrap();
    }
    assert_eq!(found, counted, "records and versions of {connection} by stream");
}

/// An erasure never goes back, completes, and its certificate verifies.
async fn goes_on(installation: &Installation, client: &Client, told: &Told) {
    let erasure = told.erasure.clone().unwrap();
    let order = ["requested", "approved", "unreadable", "complete"];
    let place = |state: &str| order.iter().position(|known| *known == state).unwrap();
    let found = client.get(&format!("/v1/erasures/{erasure}")).await.unwrap();
    assert!(place(&text(&found, "state")) >= place(told.erasure_state.as_deref().unwrap_or("requested")), "{found} after {told:?}");
    if found["state"] == "requested" {
        client.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await.unwrap();
    }
    client.complete(&erasure).await.unwrap();
    let certificate = installation.run(&["certificate", "show", &erasure]).stdout;
    let (file, keys) = (installation.beside("certificate.json"), installation.beside("keys.json"));
    std::fs::write(&file, certificate).unwrap();
    std::fs::write(&keys, installation.run(&["keys", "public"]).stdout).unwrap();
    let verified = installation.run(&["certificate", "verify", file.to_str().unwrap(), "--key", keys.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let connection = told.connection.as_deref().unwrap();
    let (status, _) = client.ask(Method::GET, &format!("/v1/records?connection={connection}"), None).await.unwrap();
    let left = if status == 200 { client.all(&format!("/v1/records?connection={connection}")).await.unwrap().len() } else { 0 };
    assert_eq!(left, 0, "records of an erased connection");
}

fn log_is_whole(installation: &Installation, checkpoint: Option<&str>) {
    let file = installation.beside("checkpoint");
    let mut arguments = vec!["audit", "verify"];
    if let Some(note) = checkpoint {
        std::fs::write(&file, note).unwrap();
        arguments.extend(["--checkpoint", file.to_str().unwrap()]);
    }
    let verified = installation.run(&arguments);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}

/// At the end: nothing of a revoked connection was asked for after its revocation was answered, and what is active has
/// exactly the data of a connection that nothing ever interrupted.
async fn settle(installation: &Installation, server: &Server, sandbox: &Sandbox, lives: &[Told]) {
    let client = server.client();
    let control = client.connect("control", sandbox).await.unwrap();
    client.pull(&control).await.unwrap();
    let expected = contents(&client, &control).await;
    let log = sandbox.log();
    for told in lives {
        let Some(connection) = &told.connection else { continue };
        let state = client.state(connection).await.unwrap();
        if state == "active" {
            let runs = client.pull(connection).await.unwrap();
            if !(told.renewing && is_lost(&client, connection, &runs).await) {
                assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
                assert!(contents(&client, connection).await == expected, "{connection} differs from {control}");
            }
        }
        if let Some((_, last)) = told.revoked {
            assert!(matches!(state.as_str(), "revoked" | "erased"), "{connection} is {state}");
            // A life is alone with the shop, so its grant is the one of the last data before its revocation.
            let data = |request: &&sandbox::LoggedRequest| request.purpose == Purpose::Data && request.grant.is_some();
            let grant = log.iter().rev().filter(data).find(|request| request.number <= last).and_then(|request| request.grant);
            let later = log.iter().filter(data).find(|request| request.number > last && request.grant == grant);
            assert!(later.is_none(), "{connection} was revoked, and asked: {later:?}");
        }
    }
    log_is_whole(installation, None);
}

/// Stream and application's key of each record, with its data.
async fn contents(client: &Client, connection: &str) -> BTreeMap<String, Value> {
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    let key = |record: &Value| format!("{} {}", record["tag"]["stream"], record["tag"]["primary_key"]);
    records.into_iter().map(|record| (key(&record), record["data"].clone())).collect()
}
