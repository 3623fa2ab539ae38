//! Power loss. A life is recorded by its system calls, then replayed on a disk that forgets what was not synced, cut at many
//! moments; what is left is opened by the real binary, and everything that had been acknowledged must be there.
//!
//! Where a kill (`crash`) leaves what the kernel has, a power loss leaves what the disk has. Runs where `strace` is installed.
//! `HEADGATE_POWER_CUTS` sets how many cuts there are, `HEADGATE_POWER_SEED` repeats their choices, and
//! `HEADGATE_POWER_FORGETS=store/db` plays a file that is never synced: the test must then fail.

mod disk;
mod trace;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use headgate::secret::DEBUGGABLE_VARIABLE;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::task::block_in_place;

use self::disk::Disk;
use self::trace::Act;
use self::trace::Done;
use crate::support::dice::Dice;
use crate::support::dice::number;
use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::binary;
use crate::support::installation::files;
use crate::support::installation::text;
use crate::support::outlet::Outlet;
use crate::support::outlet::item;

/// Cuts in an ordinary test run.
const CUTS_DEFAULT: u64 = 10;
/// Images that are looked at side by side.
const AT_ONCE: usize = 4;
/// Items on the shelves: some pages each.
const FIRST: u64 = 25;
const LATER: u64 = 45;
/// How far a connection's life is.
const STATES: [&str; 4] = ["pending", "active", "revoked", "erased"];
/// How far an erasure is.
const ERASURE_STATES: [&str; 4] = ["requested", "approved", "unreadable", "complete"];

/// What answers have said.
#[derive(Debug, Clone, Default)]
struct Told {
    key: Option<String>,
    connections: BTreeMap<String, Known>,
    entries: BTreeMap<u64, Value>,
    checkpoint: Option<String>,
    revoked: Option<Value>,
    erasure: Option<Value>,
}

/// What they have said of a connection.
#[derive(Debug, Clone, Default)]
struct Known {
    state: String,
    records: BTreeMap<String, Value>,
    runs: Vec<Value>,
}

/// A life and what was told at each of its marks.
struct Story {
    outlet: Arc<Outlet>,
    told: Vec<Told>,
    done: Vec<Done>,
    /// For each mark, the line of the trace at which its act was answered.
    answered: Vec<usize>,
}

/// Goal: what was acknowledged survives a power loss at any moment. Method: see above; half of the cuts are just behind an
/// answer, where the most is owed and the least has had time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_power_loss() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let mut dice = Dice::seeded("HEADGATE_POWER_SEED");
    let outlet = Outlet::start().await;
    let installation = Installation::new(&outlet.host());
    let before = files(&installation.data());
    let mut disk = Disk::new(&installation.data(), &before, std::env::var("HEADGATE_POWER_FORGETS").ok());
    let story = live(&installation, outlet).await;
    let mut cuts: Vec<usize> = (0..number("HEADGATE_POWER_CUTS").unwrap_or(CUTS_DEFAULT))
        .map(|cut| match cut % 2 {
            0 => story.answered[dice.roll(story.answered.len() as u64) as usize],
            _ => dice.roll(story.done.last().unwrap().line as u64) as usize,
        })
        .collect();
    cuts.sort_unstable();
    let story = Arc::new(story);
    let (mut looking, mut followed) = (JoinSet::new(), 0);
    for cut in cuts {
        while let Some(done) = story.done.get(followed).filter(|done| done.line <= cut) {
            disk.follow(done);
            followed += 1;
        }
        let folder = tempfile::tempdir().unwrap();
        disk.cut(&mut dice, &folder.path().join("data"));
        // The key is beside, on a disk of its own.
        std::fs::copy(installation.beside("data.master.key"), folder.path().join("data.master.key")).unwrap();
        let marks = story.answered.iter().filter(|line| **line <= cut).count();
        let (story, dropped) = (story.clone(), disk.dropped);
        looking.spawn(async move {
            println!("cut at line {cut}, behind {marks} acts; {dropped} writes and names lost so far");
            if let Some(keep) = std::env::var_os("HEADGATE_POWER_KEEP") {
                crate::support::installation::copy(folder.path(), &std::path::Path::new(&keep).join(cut.to_string()));
            }
            holds(&story, folder, marks).await;
        });
        if looking.len() >= AT_ONCE {
            looking.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(looked) = looking.join_next().await {
        looked.unwrap();
    }
    assert!(disk.dropped > 0, "no cut has lost anything");
}

/// Whoever lives, and what is told.
struct Life<'a> {
    installation: &'a Installation,
    client: Client,
    now: Told,
    told: Vec<Told>,
}

impl Life<'_> {
    /// What was told by now is owed from here on.
    async fn mark(&mut self) {
        let number = self.told.len();
        self.told.push(self.now.clone());
        self.client.ask(Method::GET, &format!("/mark/{number}"), None).await.unwrap();
    }

    async fn connect(&mut self, outlet: &Outlet, shelf: &'static str) -> String {
        let connection = block_in_place(|| outlet.connect(self.installation, shelf));
        self.now.connections.insert(connection.clone(), Known { state: "active".into(), ..Known::default() });
        self.mark().await;
        connection
    }

    async fn pull(&mut self, connection: &str) {
        let runs = self.client.pull(connection).await.unwrap();
        assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
        let records = records(&self.client, connection).await;
        let known = self.now.connections.get_mut(connection).unwrap();
        known.runs.extend(runs);
        known.records = records;
        self.mark().await;
    }

    async fn look_at_the_log(&mut self) {
        let entries = self.client.all("/v1/audit").await.unwrap();
        self.now.entries = entries.into_iter().map(|entry| (entry["index"].as_u64().unwrap(), entry["leaf"].clone())).collect();
        self.now.checkpoint = Some(self.client.get("/v1/audit/checkpoint").await.unwrap().as_str().unwrap().to_owned());
        self.mark().await;
    }

    async fn stop(&mut self, connection: &str) {
        let answer = self.client.post(&format!("/v1/connections/{connection}/revoke"), json!({})).await.unwrap();
        self.now.revoked = Some(answer["revoked"][0].clone());
        self.now.connections.get_mut(connection).unwrap().state = "revoked".into();
        self.mark().await;
    }

    async fn erase(&mut self, connection: &str) {
        let asked = self.client.post("/v1/erasures", json!({"scope": {"connection": connection}})).await.unwrap();
        let path = format!("/v1/erasures/{}", text(&asked, "id"));
        self.now.erasure = Some(asked);
        self.mark().await;
        self.now.erasure = Some(self.client.post(&format!("{path}/approve"), json!({})).await.unwrap());
        self.mark().await;
        let complete = self.client.settled(&path, |found| (found["state"] == "complete").then(|| found.clone())).await.unwrap();
        self.now.erasure = Some(complete);
        let known = self.now.connections.get_mut(connection).unwrap();
        known.state = "erased".into();
        known.records.clear();
        self.mark().await;
    }
}

/// Lives under the eyes of a tracer.
async fn live(installation: &Installation, outlet: Outlet) -> Story {
    let trace = installation.beside("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-y", "-xx", "-s", trace::TEXT_BYTES, "-e", trace::CALLS, "-o"]).arg(&trace);
    strace.env(DEBUGGABLE_VARIABLE, "1");
    strace.arg(binary().get_program()).arg("--data").arg(installation.data());
    let server = installation.serve_with(strace, None).await;
    let now = Told { key: Some(server.key.clone()), ..Told::default() };
    let mut life = Life { installation, client: server.client(), now, told: Vec::new() };
    life.mark().await;
    outlet.fill("one", FIRST);
    let one = life.connect(&outlet, "one").await;
    life.pull(&one).await;
    outlet.fill("two", FIRST);
    let two = life.connect(&outlet, "two").await;
    outlet.fill("one", LATER);
    life.pull(&one).await;
    life.pull(&two).await;
    life.look_at_the_log().await;
    life.stop(&one).await;
    life.erase(&one).await;
    outlet.fill("two", LATER);
    life.pull(&two).await;
    life.look_at_the_log().await;
    let lock: Value = serde_json::from_slice(&std::fs::read(installation.data().join("lock")).unwrap()).unwrap();
    assert!(Command::new("kill").arg(lock["pid"].to_string()).status().unwrap().success());
    server.ended();

    let done = trace::read(&std::fs::read_to_string(&trace).unwrap());
    let mut answered = vec![0; life.told.len()];
    let mut last = 0;
    for Done { line, act } in &done {
        match act {
            Act::Answer => last = *line,
            Act::Mark { number } => answered[*number] = last,
            _ => {}
        }
    }
    assert!(answered.is_sorted() && answered[0] > 0, "{answered:?}");
    Story { outlet: Arc::new(outlet), told: life.told, done, answered }
}

async fn records(client: &Client, connection: &str) -> BTreeMap<String, Value> {
    let found = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    found.into_iter().map(|record| (text(&record, "id"), record)).collect()
}

/// Opens what a cut has left, and compares it with what was told by then.
async fn holds(story: &Story, folder: TempDir, marks: usize) {
    let nothing = Told::default();
    let told = marks.checked_sub(1).map_or(&nothing, |last| &story.told[last]);
    let installation = Installation::of(folder, &story.outlet.host());
    let server = installation.serve(None).await;
    let client = server.client();
    if let Some(key) = &told.key {
        let (status, answer) = client.with_key(key).ask(Method::GET, "/v1/connections", None).await.unwrap();
        assert_eq!(status, 200, "a key that was given is refused: {answer}");
    }
    log_is_whole(&installation, &client, told).await;
    if let Some(erasure) = &told.erasure {
        erasure_goes_on(&installation, &client, erasure).await;
    }
    for (connection, known) in &told.connections {
        connection_holds(&client, connection, known).await;
    }
    // What was not told may be there or not, but whole.
    for connection in client.all("/v1/connections").await.unwrap() {
        is_whole(story, &client, &text(&connection, "id")).await;
    }
    log_is_whole(&installation, &client, told).await;
    assert_eq!(server.stop(), 0);
}

async fn log_is_whole(installation: &Installation, client: &Client, told: &Told) {
    for (index, leaf) in &told.entries {
        assert_eq!(client.get(&format!("/v1/audit/entries/{index}")).await.unwrap()["leaf"], *leaf, "audit entry {index}");
    }
    let mut arguments = vec!["audit", "verify"];
    let file = installation.beside("checkpoint");
    if let Some(note) = &told.checkpoint {
        std::fs::write(&file, note).unwrap();
        arguments.extend(["--checkpoint", file.to_str().unwrap()]);
    }
    let verified = block_in_place(|| installation.run(&arguments));
    assert_eq!(verified.code, 0, "{verified:?}");
}

async fn connection_holds(client: &Client, connection: &str, known: &Known) {
    let state = client.state(connection).await.unwrap();
    assert!(place(&STATES, &state) >= place(&STATES, &known.state), "{connection} was {} and is {state}", known.state);
    for run in &known.runs {
        let found = client.get(&format!("/v1/runs/{}", text(run, "id"))).await.unwrap();
        assert_eq!(found, *run);
    }
    for (id, record) in known.records.iter().filter(|_| state != "erased") {
        let found = client.get(&format!("/v1/records/{id}?version={}", record["version"])).await.unwrap();
        assert_eq!((&found["data"], &found["tag"]), (&record["data"], &record["tag"]), "{id} of {connection}");
    }
}

/// An erasure never goes back, goes on to its end, and its certificate verifies.
async fn erasure_goes_on(installation: &Installation, client: &Client, told: &Value) {
    let id = text(told, "id");
    let path = format!("/v1/erasures/{id}");
    let found = client.get(&path).await.unwrap();
    assert!(place(&ERASURE_STATES, &text(&found, "state")) >= place(&ERASURE_STATES, &text(told, "state")), "{told} -> {found}");
    if found["state"] == "requested" {
        client.post(&format!("{path}/approve"), json!({})).await.unwrap();
    }
    client.complete(&id).await.unwrap();
    let (file, keys) = (installation.beside("certificate.json"), installation.beside("keys.json"));
    std::fs::write(&file, block_in_place(|| installation.run(&["certificate", "show", &id])).stdout).unwrap();
    std::fs::write(&keys, block_in_place(|| installation.run(&["keys", "public"])).stdout).unwrap();
    let words = ["certificate", "verify", file.to_str().unwrap(), "--key", keys.to_str().unwrap()];
    let verified = block_in_place(|| installation.run(&words));
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Counters and records agree, nothing of what is stopped or erased moves, and what is active pulls what there is, each once.
async fn is_whole(story: &Story, client: &Client, connection: &str) {
    let found = client.get(&format!("/v1/connections/{connection}")).await.unwrap();
    let (state, shelf) = (text(&found, "state"), text(&found, "connector"));
    let path = format!("/v1/connections/{connection}/runs");
    let asked = story.outlet.seen(&shelf).len();
    match state.as_str() {
        "active" => {
            let runs = client.pull(connection).await.unwrap();
            assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
            let mut records: Vec<Value> = records(client, connection).await.into_values().collect();
            assert!(records.iter().all(|record| record["version"] == 1), "{connection} has a second version");
            records.sort_by_key(|record| record["data"]["id"].as_u64());
            let data: Vec<Value> = records.into_iter().map(|record| record["data"].clone()).collect();
            assert_eq!(data, (0..LATER).map(item).collect::<Vec<_>>(), "{connection}");
        }
        "revoked" | "erased" => {
            let (status, problem) = client.ask(Method::POST, &path, Some(json!({}))).await.unwrap();
            assert_eq!((status, story.outlet.seen(&shelf).len() - asked), (409, 0), "{problem}");
        }
        // A connection by key is active in the unit that follows the one that makes it.
        "pending" => {}
        other => panic!("{connection} is {other}"),
    }
    let (_, records) = client.ask(Method::GET, &format!("/v1/records?connection={connection}&limit=500"), None).await.unwrap();
    let count = records["items"].as_array().map_or(0, Vec::len) as u64;
    let runs = client.all(&format!("/v1/runs?connection={connection}")).await.unwrap();
    let counted: u64 = runs.iter().map(|run| run["new"].as_u64().unwrap()).sum();
    assert_eq!(count, if state == "erased" { 0 } else { counted }, "records of {connection}, which is {state}");
}

fn place(order: &[&str], state: &str) -> usize {
    order.iter().position(|known| *known == state).unwrap_or_else(|| panic!("`{state}` is none of {order:?}"))
}
