//! After a start: everything that was told is there, and what was interrupted goes on.

use std::collections::BTreeMap;

use headgate::sandbox;
use headgate::sandbox::Purpose;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::crash::act::Life;
use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::text;
use crate::support::proof;

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

/// Entries of the log that are looked at again after one kill.
const ENTRIES_AGAIN: usize = 3;

/// One life after a kill. What is found to have happened without an answer counts as told from here on.
pub async fn holds(installation: &Installation, client: &Client, life: &Life) {
    let Some(connection) = life.connection() else { return };
    let (entries, runs) = {
        let told = life.told();
        (told.entries.iter().rev().take(ENTRIES_AGAIN).map(|(index, leaf)| (*index, leaf.clone())).collect(), told.runs.clone())
    };
    runs_and_entries_hold(client, &connection, entries, runs).await;
    let state = client.state(&connection).await.unwrap();
    if matches!(state.as_str(), "revoked" | "erased") && life.told().erasure.is_none() {
        find_erasure(client, life, &connection).await;
    }
    let (revoked, erasing, renewing, active) = {
        let told = life.told();
        (told.revoked.is_some(), told.erasure_state.clone(), told.renewing, told.active)
    };
    match (state.as_str(), revoked, &erasing) {
        ("pending", false, None) => assert!(!active, "an active connection is pending again"),
        ("active", false, None) => life.told().active = true,
        // The new refresh token went down with the process, and the old one was spent: only the customer can help.
        ("needs_reauthorization", false, None) if renewing => {
            let begun = installation.result(&["connections", "reconnect", &connection]);
            client.approve(begun["authorize_url"].as_str().unwrap()).await.unwrap();
        }
        ("revoked", ..) => stays_revoked(client, &connection, life).await,
        ("erased", _, Some(_)) => {}
        _ => panic!("{connection} is {state} after {:?}", life.told()),
    }
    if state == "erased" || erasing.is_some() {
        goes_on(client, life, &connection).await;
    } else {
        is_whole(client, &connection).await;
    }
}

async fn runs_and_entries_hold(client: &Client, connection: &str, entries: Vec<(u64, Value)>, runs: BTreeMap<String, Value>) {
    for (index, leaf) in entries {
        assert_eq!(client.get(&format!("/v1/audit/entries/{index}")).await.unwrap()["leaf"], leaf, "audit entry {index}");
    }
    let found = client.all(&format!("/v1/runs?connection={connection}")).await.unwrap();
    let found: BTreeMap<String, Value> = found.into_iter().map(|run| (text(&run, "id"), run)).collect();
    for (id, seen) in runs {
        let run = &found[&id];
        for counter in ["pages", "requests", "new", "changed", "unchanged", "filtered"] {
            assert!(run[counter].as_u64() >= seen[counter].as_u64(), "{counter} went back: {seen} -> {run}");
        }
        assert!(run["state"] != "running" && (seen["state"] == "running" || seen["state"] == run["state"]), "{seen} -> {run}");
    }
}

/// An erasure that was asked for, and never answered.
async fn find_erasure(client: &Client, life: &Life, connection: &str) {
    let erasures = client.all("/v1/erasures").await.unwrap();
    let mine = |erasure: &&Value| erasure["scope"]["connection"] == connection || erasure["scope"]["tenant"] == life.tenant;
    if let Some(erasure) = erasures.iter().find(mine) {
        let mut told = life.told();
        told.erasure = Some(text(erasure, "id"));
        told.erasure_state = Some("requested".into());
    }
}

async fn stays_revoked(client: &Client, connection: &str, life: &Life) {
    let (status, answer) = client.ask(Method::POST, &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await.unwrap();
    assert_eq!(status, 409, "{answer}");
    let before = life.told().revoked.take();
    life.revoke(client).await.unwrap();
    if let Some((receipt, last)) = before {
        let again = life.told().revoked.replace((receipt.clone(), last)).unwrap().0;
        assert_eq!(receipt["receipt"], again["receipt"], "the receipt of a revocation");
    }
}

/// A connection that was active pulls to its end, and has what the shop has; one whose renewal was interrupted may turn out
/// to need the customer.
pub async fn pulls_exactly(client: &Client, life: &Life) {
    let connection = life.connection().unwrap();
    let mut runs = client.pull(&connection).await.unwrap();
    if life.told().renewing && is_lost(client, &connection, &runs).await {
        return;
    }
    runs.retain(|run| run["state"] != "complete");
    assert!(runs.is_empty(), "{runs:?}");
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    assert_eq!(records.len() as u64, life.sandbox.counts().total(), "records of {connection}");
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

/// Records, tags and counters agree: the counters of the runs say how many records and versions there are.
async fn is_whole(client: &Client, connection: &str) {
    // On a slow machine the schedule's first pull may have begun: both are read again until nothing has moved in between.
    let runs_of = format!("/v1/runs?connection={connection}");
    let (runs, records) = loop {
        let before = client.all(&runs_of).await.unwrap();
        let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
        if client.all(&runs_of).await.unwrap() == before {
            break (before, records);
        }
    };
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

/// An erasure never goes back, completes, and its certificate is signed; nothing of it opens.
async fn goes_on(client: &Client, life: &Life, connection: &str) {
    let erasure = life.told().erasure.clone().unwrap();
    let order = ["requested", "approved", "unreadable", "complete"];
    let place = |state: &str| order.iter().position(|known| *known == state).unwrap();
    let found = client.get(&format!("/v1/erasures/{erasure}")).await.unwrap();
    let told = life.told().erasure_state.clone().unwrap_or_else(|| "requested".into());
    assert!(place(&text(&found, "state")) >= place(&told), "{found} after {told}");
    if found["state"] == "requested" {
        client.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await.unwrap();
    }
    let complete = client.complete(&erasure).await.unwrap();
    life.told().erasure_state = Some("complete".into());
    let envelope = client.get(&format!("/v1/erasures/{erasure}/certificate")).await.unwrap();
    let keys = client.get("/.well-known/headgate-keys").await.unwrap();
    let statement = proof::statement(&envelope, &keys["keys"]).expect("the certificate is signed");
    assert_eq!((&statement["predicate"]["scope"], &statement["predicate"]["counts"]), (&complete["scope"], &complete["counts"]));

    assert_eq!(client.state(connection).await.unwrap(), "erased");
    let (status, list) = client.ask(Method::GET, &format!("/v1/records?connection={connection}"), None).await.unwrap();
    assert!(status != 200 || list["items"].as_array().is_some_and(Vec::is_empty), "records of an erased connection: {list}");
    let record = life.told().record.clone();
    if let Some(record) = record {
        let (status, answer) = client.ask(Method::GET, &format!("/v1/records/{record}"), None).await.unwrap();
        assert!(matches!(status, 404 | 410), "{status} {answer}");
    }
    if complete["scope"]["tenant"].is_string() {
        let order = json!({"connector": "sandbox", "tenant": life.tenant});
        let (status, answer) = client.ask(Method::POST, "/v1/connect/sessions", Some(order)).await.unwrap();
        assert_eq!(status, 409, "the tenant is erased: {answer}");
    }
}

/// Nothing of a revoked connection was asked for after its revocation was answered.
pub async fn nothing_was_asked_for_after(client: &Client, life: &Life) {
    let Some(connection) = life.connection() else { return };
    let told = life.told().revoked.clone();
    let Some((_, last)) = told else { return };
    let state = client.state(&connection).await.unwrap();
    assert!(matches!(state.as_str(), "revoked" | "erased"), "{connection} is {state}");
    let data = |request: &&sandbox::LoggedRequest| request.purpose == Purpose::Data && request.number > last;
    let log = life.sandbox.log();
    let later = log.iter().find(data);
    assert!(later.is_none(), "{connection} was revoked, and asked: {later:?}");
}

/// The log as a whole is what it was, and goes on from a checkpoint that was kept.
pub fn log_is_whole(installation: &Installation, checkpoint: Option<&str>) {
    let file = installation.beside("checkpoint");
    let mut arguments = vec!["audit", "verify"];
    if let Some(note) = checkpoint {
        std::fs::write(&file, note).unwrap();
        arguments.extend(["--checkpoint", file.to_str().unwrap()]);
    }
    let verified = installation.run(&arguments);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}
