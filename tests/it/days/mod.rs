//! Bad input and bad days: whatever the application, the machine or the operator does wrong has an error that says what
//! happened, to what, and what to do; nothing that was stored is lost; and when the fault is gone, a pull brings the rest.
//!
//! Each test here is a table of days, or one day that needs a machine of its own, against the real binary.

mod clock;
mod input;
mod machine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::task::block_in_place;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server as Stranger;
use crate::support::installation::Client;
use crate::support::installation::Ended;
use crate::support::installation::Installation;
use crate::support::installation::Server;
use crate::support::outlet::Fault;
use crate::support::outlet::KEY;
use crate::support::outlet::Outlet;
use crate::support::outlet::PAGE;
use crate::support::outlet::item;

/// Items on a shelf before a fault, and after it.
const BEFORE: u64 = 10;
const AFTER: u64 = 35;
/// The limits that a day's test waits for.
const LIMITS: &str = "\n[fetch]\nanswer_timeout = \"PT1S\"\nidle_timeout = \"PT1S\"\ntotal_timeout = \"PT2S\"\n";
/// The beginning of a gzip file (RFC 1952), and 64 KiB of spaces as deflate blocks (RFC 1951), which may be repeated.
const GZIP: [u8; 10] = [31, 139, 8, 0, 0, 0, 0, 0, 0, 3];
const SPACES: &str = "7MGBAAAAAIAglf0pF6kKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAagAAAP//";

/// What makes a bad day good again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Nothing but the end of the fault.
    None,
    /// A reconnect by the operator: the gate is closed until then.
    Reconnect,
    /// A day later.
    Patience,
}

/// A day on which the application misbehaves from the second page on.
struct Day {
    name: &'static str,
    fault: Fault,
    /// What the run's error names.
    words: &'static [&'static str],
    remedy: Remedy,
    /// Requests that the bad pull makes, the good first page included.
    requests: u64,
}

fn day(name: &'static str, fault: impl Fn(&Asked) -> Reply + Send + Sync + 'static, requests: u64, words: &'static [&'static str]) -> Day {
    Day { name, fault: Arc::new(fault), words, remedy: Remedy::None, requests }
}

fn days(stranger: &str) -> Vec<Day> {
    let elsewhere = format!("{stranger}/items");
    let bomb = [GZIP.to_vec(), BASE64.decode(SPACES.as_bytes()).unwrap().repeat(2000)].concat();
    let refused = |status: u16| move |_: &Asked| Reply::text(status, "{\"error\": \"no\"}");
    let needing = |remedy, day| Day { remedy, ..day };
    vec![
        needing(Remedy::Reconnect, day("401", refused(401), 2, &["401", "reconnect"])),
        needing(Remedy::Reconnect, day("403", refused(403), 2, &["403", "scopes"])),
        day("404", refused(404), 2, &["404", "path"]),
        day("429-for-ever", refused(429), 3, &["429", "2 attempts", "budget", "next run"]),
        needing(
            Remedy::Patience,
            day("retry-after-a-day", |_| Reply::text(429, "").header("Retry-After", "86400"), 2, &["429", "2026-11-25T10:00:00Z"]),
        ),
        day("500", refused(500), 3, &["500", "2 attempts", "next run", "support"]),
        day("not-json", |_| Reply::text(200, "<!doctype html>"), 2, &["/not-json/items", "no JSON", "extractor"]),
        day("truncated", |_| Reply::text(200, vec![b' '; 1000]).torn(), 3, &["lost its connection", "2 attempts"]),
        day("no-answer", |_| Reply::default().lost(), 3, &["lost its connection", "2 attempts"]),
        day("100-mb", |_| Reply::text(200, vec![b' '; 1 << 20]).repeated(100), 2, &["33554432 bytes of body", "body_bytes_max"]),
        day(
            "gzip-bomb",
            move |_| Reply::text(200, bomb.clone()).header("Content-Encoding", "gzip"),
            2,
            &["33554432 bytes of body", "body_bytes_max"],
        ),
        day(
            "endless-paging",
            |asked| page_that_leads_to(asked.parameter("after").unwrap()),
            2,
            &["/endless-paging/items", "circle", "paginator"],
        ),
        day("redirect-loop", |asked| Reply::text(302, "").header("Location", format!("{}?after=1", asked.path)), 2, &["redirects_max"]),
        day("redirect-elsewhere", move |_| Reply::text(302, "").header("Location", elsewhere.clone()), 2, &["host"]),
        day(
            "slow-drip",
            |_| Reply::text(200, vec![b' '; 1000]).dripping(Duration::from_millis(50)),
            3,
            &["total_timeout", "2 s", "[fetch]"],
        ),
        day("silence", |_| Reply::text(200, "{}").after(Duration::from_secs(20)), 3, &["answer_timeout", "1 s", "[fetch]"]),
    ]
}

fn page_that_leads_to(token: &str) -> Reply {
    Reply::json(&json!({"items": [item(0)], "next": token}))
}

/// What was told of a connection before its bad day.
struct Before {
    connection: String,
    records: BTreeMap<String, Value>,
}

/// A gateway, and whoever asks it.
struct Ground {
    installation: Installation,
    client: Client,
    outlet: Outlet,
}

impl Ground {
    /// Connects a shelf and pulls it once.
    async fn good_day(&self, shelf: &str) -> Before {
        self.outlet.fill(shelf, BEFORE);
        let connection = block_in_place(|| self.outlet.connect(&self.installation, shelf));
        let runs = self.client.pull(&connection).await.unwrap();
        assert_eq!((&runs[0]["state"], &runs[0]["new"]), (&json!("complete"), &json!(BEFORE)), "{runs:?}");
        let records = records(&self.client, &connection).await;
        assert_eq!(records.len() as u64, BEFORE);
        Before { connection, records }
    }

    /// Pulls by the command line; the one run, and what was told.
    fn pull(&self, connection: &str) -> (Value, Ended) {
        let ended = block_in_place(|| self.installation.run(&["--json", "run", connection]));
        let result: Value = serde_json::from_str(ended.stdout.lines().last().unwrap_or("null")).unwrap();
        (result["runs"][0].clone(), ended)
    }

    /// What was stored is as it was, and answers lineage.
    async fn nothing_is_lost(&self, before: &Before) {
        let now = records(&self.client, &before.connection).await;
        for (id, record) in &before.records {
            assert_eq!(now.get(id), Some(record), "{id} of {}", before.connection);
            let lineage = self.client.get(&format!("/v1/records/{id}/lineage")).await.unwrap();
            assert_eq!(lineage["tag"]["run"], record["tag"]["run"], "{lineage}");
        }
    }

    /// When the fault is gone, a pull brings all that is there, each once.
    async fn a_pull_brings_the_rest(&self, shelf: &str, before: &Before) {
        self.outlet.breaks(shelf, None);
        let runs = self.client.pull(&before.connection).await.unwrap();
        assert_eq!(runs[0]["state"], "complete", "{shelf}: {runs:?}");
        let mut found: Vec<Value> = records(&self.client, &before.connection).await.into_values().collect();
        found.sort_by_key(|record| record["data"]["id"].as_u64());
        let expected: Vec<Value> = (0..AFTER).map(item).collect();
        assert_eq!(found.iter().map(|record| record["data"].clone()).collect::<Vec<_>>(), expected, "{shelf}");
        assert!(found.iter().all(|record| record["version"] == 1), "{shelf}");
        self.nothing_is_lost(before).await;
    }
}

async fn records(client: &Client, connection: &str) -> BTreeMap<String, Value> {
    let found = client.all(&format!("/v1/records?connection={connection}&stream=items")).await.unwrap();
    found.into_iter().map(|record| (record["id"].as_str().unwrap().to_owned(), record)).collect()
}

fn says(text: &str, words: &[&str], name: &str) {
    for word in words {
        assert!(text.contains(word), "{name}: `{word}` is not in: {text}");
    }
    assert!(!text.contains(KEY) && !text.contains("panicked"), "{name}: {text}");
}

/// A gateway by a clock in a file, with short limits.
async fn opened(outlet: Outlet, more: &str) -> (Ground, Server) {
    let installation = Installation::new(&outlet.host());
    let configuration = installation.data().join("headgate.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, text + LIMITS + more).unwrap();
    set_clock(&installation, "2026-11-24T10:00:00Z");
    let server = serve(&installation).await;
    (Ground { installation, client: server.client(), outlet }, server)
}

fn set_clock(installation: &Installation, at: &str) {
    // Beside and renamed, so that no reader meets half a time.
    let (draft, clock) = (installation.beside("clock.draft"), installation.beside("clock"));
    std::fs::write(&draft, at).unwrap();
    std::fs::rename(draft, clock).unwrap();
}

async fn serve(installation: &Installation) -> Server {
    let mut command = installation.command(&["--test"]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--test-clock"]).arg(installation.beside("clock"));
    installation.serve_by(command, None).await
}

/// Goal: no misbehaviour of an application costs a record, moves a cursor past what is stored, or leaves a connection in a
/// wrong state; each has its own words. Method: every day on a shelf of its own, several at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn an_applications_bad_days_are_told_and_lose_nothing() {
    let stranger = Stranger::start(|_| Reply::json(&json!({"items": [], "next": null}))).await;
    let days = days(&stranger.url());
    let (ground, server) = opened(Outlet::start().await, "").await;
    let ground = Arc::new(ground);
    let mut living = JoinSet::new();
    for day in days {
        let ground = ground.clone();
        living.spawn(async move {
            let before = live(&ground, &day).await;
            (day, before)
        });
    }
    // All of them live their day, so that every fault is told at once.
    let (mut lived, mut failed) = (Vec::new(), 0);
    while let Some(outcome) = living.join_next().await {
        outcome.map_or_else(|_| failed += 1, |day| lived.push(day));
    }
    assert_eq!(failed, 0, "days that went otherwise, see above; the log ends: {}", tail(&ground.installation.log()));
    assert!(stranger.seen().is_empty(), "another host heard of it: {:?}", stranger.seen());
    set_clock(&ground.installation, "2026-11-25T10:00:01Z");
    for (day, before) in lived.iter().filter(|(day, _)| day.remedy == Remedy::Patience) {
        ground.a_pull_brings_the_rest(day.name, before).await;
    }
    let verified = block_in_place(|| ground.installation.run(&["audit", "verify"]));
    assert_eq!(verified.code, 0, "{verified:?}");
    assert_eq!(server.stop(), 0);
}

fn tail(log: &str) -> &str {
    let start = log.len().saturating_sub(4000);
    log.get(start..).unwrap_or(log)
}

async fn live(ground: &Ground, day: &Day) -> Before {
    let name = day.name;
    let before = ground.good_day(name).await;
    let asked = ground.outlet.seen(name).len() as u64;
    ground.outlet.fill(name, AFTER);
    ground.outlet.breaks(name, Some(day.fault.clone()));
    let (run, ended) = ground.pull(&before.connection);
    assert_eq!(
        (ended.code, &run["state"], &run["new"], &run["pages"]),
        (1, &json!("failed"), &json!(PAGE), &json!(1)),
        "{name}: {ended:?}"
    );
    let error = run["error"].as_str().unwrap();
    println!("{name}: {error}");
    says(error, day.words, name);
    says(&ended.stderr, &["items failed"], name);
    assert_eq!(run["requests"], json!(day.requests), "{name}: {run}");
    if !name.starts_with("redirect-loop") {
        assert_eq!(ground.outlet.seen(name).len() as u64 - asked, day.requests, "{name}");
    }
    ground.nothing_is_lost(&before).await;
    let path = format!("/v1/connections/{}/runs", before.connection);
    let state = ground.client.state(&before.connection).await.unwrap();
    match day.remedy {
        Remedy::None => {
            assert_eq!(state, "active", "{name}");
            ground.a_pull_brings_the_rest(name, &before).await;
        }
        Remedy::Reconnect => {
            assert_eq!(state, "needs_reauthorization", "{name}");
            let (status, problem) = ground.client.ask(Method::POST, &path, Some(json!({}))).await.unwrap();
            assert_eq!((status, &problem["type"]), (409, &json!("/problems/gate-closed")), "{name}: {problem}");
            block_in_place(|| ground.installation.result(&["connections", "reconnect", &before.connection]));
            ground.a_pull_brings_the_rest(name, &before).await;
        }
        Remedy::Patience => {
            assert_eq!(state, "active", "{name}");
            let (status, problem) = ground.client.ask(Method::POST, &path, Some(json!({}))).await.unwrap();
            assert_eq!((status, &problem["type"]), (409, &json!("/problems/state-conflict")), "{name}: {problem}");
            says(problem["detail"].as_str().unwrap(), &["2026-11-25T10:00:00Z"], name);
        }
    }
    before
}
