//! What would go, what goes, and what is left: artifacts made from records, the plan that a dry run shows, the certificate that
//! signs that very set, and the tombstones that still answer.

use data_encoding::BASE64;
use headgate::ids::RecordId;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::support::house::search;
use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::text;

/// A name that is personal: nothing may keep it once what it needs is erased.
const CANARY: &str = "parcel label of Clementine Canary";

fn derivation(name: &str, need: &str, inputs: &[&str]) -> Value {
    json!({"artifact": {"name": name, "kind": "document"}, "need": need, "inputs": inputs, "job": "labels.nightly"})
}

/// The ids of an impact's list, page by page.
async fn listed(client: &Client, connection: &str, list: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/connections/{connection}/impact?list={list}&names=true&limit={limit}{after}")).await.unwrap();
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= limit);
        items.extend(found.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return items,
        }
    }
}

fn ids(items: &[Value]) -> Vec<&str> {
    let mut ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The statement of a certificate, which verifies.
fn certified(installation: &Installation, erasure: &str) -> Value {
    let (file, keys) = (installation.beside("certificate.json"), installation.beside("keys.json"));
    let certificate = installation.run(&["certificate", "show", erasure]).stdout;
    std::fs::write(&file, &certificate).unwrap();
    std::fs::write(&keys, installation.run(&["keys", "public"]).stdout).unwrap();
    let verified = installation.run(&["certificate", "verify", file.to_str().unwrap(), "--key", keys.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let envelope: Value = serde_json::from_str(&certificate).unwrap();
    serde_json::from_slice(&BASE64.decode(envelope["payload"].as_str().unwrap().as_bytes()).unwrap()).unwrap()
}

/// Goal: the dry run's digest is what the certificate signs, what it lists is what goes, and what outlives it says what it lost;
/// through a kill in the middle of the sweep. Method: three connections of two tenants, artifacts of two levels, two erasures.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_planned_is_what_goes() {
    let sandbox = Sandbox::start(sandbox::Options { records: 60, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let mut records: Vec<Vec<String>> = Vec::new();
    let mut connections = Vec::new();
    for tenant in ["acme", "acme", "globex"] {
        let connection = client.connect(tenant, &sandbox).await.unwrap();
        client.pull(&connection).await.unwrap();
        let found = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
        records.push(found.iter().map(|record| text(record, "id")).collect());
        connections.push(connection);
    }
    let total = sandbox.counts().total();
    let [x, y, z] = [0, 1, 2].map(|index: usize| (connections[index].as_str(), &records[index]));

    // Two levels: what needs all of x dies with it, and so does what needs that; what has another input outlives it.
    let label = text(&client.post("/v1/derivations", derivation(CANARY, "all", &[&x.1[0], &x.1[1]])).await.unwrap(), "artifact");
    let many = json!({"derivations": [
        derivation("summary", "any", &[&x.1[0], &y.1[0]]),
        derivation("report", "all", &[&label, &y.1[1]]),
        derivation("invoice", "all", &[&y.1[2]]),
    ]});
    let made = client.post("/v1/derivations", many.clone()).await.unwrap();
    let [summary, report, invoice] = [0, 1, 2].map(|index: usize| made["artifacts"][index].as_str().unwrap().to_owned());
    let book = client.post("/v1/derivations", derivation("book", "any", &[&label, &summary])).await.unwrap();
    let book = text(&book, "artifact");
    assert_eq!(client.post("/v1/derivations", many).await.unwrap(), made, "told again, the same");

    // What may not be seen is not there; what cannot be is refused in plain words.
    let foreign = text(&installation.result(&["keys", "create", "--role", "service", "--tenant", "globex"]), "key");
    let stranger = client.with_key(&foreign);
    let nobody = RecordId { hash: [7; 16], ..x.1[0].parse().unwrap() }.to_string();
    for (asked, body, status) in [
        (&stranger, derivation("theft", "all", &[&x.1[0]]), 404),
        (&stranger, derivation("theft", "all", &[&label]), 404),
        (&client, derivation("ghost", "all", &[&nobody]), 404),
        (&client, derivation("ghost", "all", &["art_x"]), 404),
        (&client, derivation("mixture", "all", &[&x.1[0], &z.1[0]]), 422),
        (&client, derivation(CANARY, "any", &[&report]), 422),
        (&client, derivation("nothing", "all", &[]), 422),
    ] {
        let (found, answer) = asked.ask(Method::POST, "/v1/derivations", Some(body)).await.unwrap();
        assert_eq!(found, status, "{answer}");
    }

    // Counted, listed, and planned: by three doors the same.
    let impact = client.get(&format!("/v1/connections/{}/impact", x.0)).await.unwrap();
    assert_eq!(impact["derived"], json!({"dies": 2, "survives": 2}), "{impact}");
    assert_eq!((&impact["records"], &impact["exports"], &impact["holds"]), (&json!(total), &json!(0), &json!(0)));
    let digest = impact["digest"].as_str().unwrap().to_owned();
    let dies = listed(&client, x.0, "dies", 1).await;
    let mut expected = [label.as_str(), &report];
    expected.sort_unstable();
    assert_eq!(ids(&dies), expected);
    assert!(dies.iter().any(|item| item["name"] == CANARY && item["kind"] == "document"));
    assert_eq!(listed(&client, x.0, "survives", 100).await.len(), 2);
    let own = listed(&client, x.0, "records", 7).await;
    let mut all: Vec<&str> = x.1.iter().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(ids(&own), all);
    assert_eq!(stranger.ask(Method::GET, &format!("/v1/connections/{}/impact", x.0), None).await.unwrap().0, 404);
    let planned = installation.result(&["erase", x.0, "--dry-run", "--json"]);
    assert_eq!(planned["impact"]["digest"], *digest);
    let told = installation.run(&["erase", x.0, "--dry-run"]).stdout;
    assert!(told.contains("2 artifacts") && told.contains(&digest), "{told}");
    let told = installation.run(&["revoke", x.0, "--dry-run"]).stdout;
    assert!(told.contains("kept") && told.contains(&total.to_string()), "{told}");

    // Killed at once after the approval: the sweep goes on where it was, to the same root.
    let erasure = client.erase(x.0).await.unwrap();
    server.kill();
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let stranger = client.with_key(&foreign);
    let complete = client.complete(&erasure).await.unwrap();
    assert_eq!(complete["plan"], json!({"records": total, "dies": 2, "survives": 2, "digest": digest}));
    let statement = certified(&installation, &erasure);
    assert_eq!(statement["subject"][0]["digest"]["sha256"], *digest);
    assert_eq!((&statement["predicate"]["artifacts"], &statement["predicate"]["counts"]["records"]), (&json!(2), &json!(total)));
    assert!(!installation.log().contains("another set than was planned"));

    // What is left says where it was from, under which certificate it went, and nothing else.
    let origin = client.get(&format!("/v1/records/{}/lineage", x.1[0])).await.unwrap();
    let tombstone = &origin["tombstone"];
    assert_eq!((&tombstone["connection"], &tombstone["erasure"], &tombstone["tenant"]), (&json!(x.0), &json!(erasure), &json!("acme")));
    client.get(tombstone["certificate"].as_str().unwrap()).await.unwrap();
    for (asked, id) in [(&client, &nobody), (&stranger, &x.1[0])] {
        assert_eq!(asked.ask(Method::GET, &format!("/v1/records/{id}/lineage"), None).await.unwrap().0, 404);
    }
    let (status, _) = client.ask(Method::POST, "/v1/derivations", Some(derivation("late", "all", &[&x.1[0]]))).await.unwrap();
    assert_eq!(status, 404, "an erased record is no input");
    let (status, _) = client.ask(Method::POST, "/v1/derivations", Some(derivation("late", "all", &[&label]))).await.unwrap();
    assert_eq!(status, 409, "nor is what died with it");
    let mut found = Vec::new();
    search(&installation.data(), &["Clementine", "labels.nightly"], &mut found);
    assert!(found.is_empty(), "{found:?}");

    // The survivors live by what is left, and die with it; what died can be made again from what is there.
    let again = client.post("/v1/derivations", derivation(CANARY, "all", &[&y.1[3]])).await.unwrap();
    assert_eq!(text(&again, "artifact"), label);
    let dies = listed(&client, y.0, "dies", 100).await;
    let mut expected = [label.as_str(), &summary, &book, &invoice];
    expected.sort_unstable();
    assert_eq!(ids(&dies), expected);

    // The tenant: all that is left of it, by the same way.
    let order = json!({"scope": {"tenant": "acme"}, "revoke": true});
    let planned = client.post("/v1/erasures?dry_run=true", order.clone()).await.unwrap();
    assert_eq!(planned["impact"]["derived"], json!({"dies": 4, "survives": 0}));
    let erasure = text(&client.post("/v1/erasures", order).await.unwrap(), "id");
    client.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await.unwrap();
    server.kill();
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    client.complete(&erasure).await.unwrap();
    let statement = certified(&installation, &erasure);
    assert_eq!(statement["subject"][0]["digest"]["sha256"], planned["impact"]["digest"]);
    assert_eq!((&statement["predicate"]["artifacts"], &statement["predicate"]["counts"]["records"]), (&json!(4), &json!(total)));
    let origin = client.get(&format!("/v1/records/{}/lineage", y.1[0])).await.unwrap();
    assert_eq!(origin["tombstone"]["erasure"], json!(erasure));
    assert!(!installation.log().contains("another set than was planned"));
    assert_eq!(installation.run(&["audit", "verify"]).code, 0);
    assert_eq!(server.stop(), 0);
}
