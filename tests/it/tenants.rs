//! The end of a tenant over HTTP and on the command line: everything of it at once, nothing of anyone else, and nothing new
//! under its name. What copies open afterwards is judged in `erasure`.

use data_encoding::BASE64;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::Server;
use crate::support::installation::text;

/// A client with a key of its own.
fn with_key(server: &Server, key: &Value) -> Client {
    server.client().with_key(&text(key, "key"))
}

async fn refused(client: &Client, path: &str, body: Value, status: u16) -> Value {
    let (found, answer) = client.ask(Method::POST, path, Some(body)).await.unwrap();
    assert_eq!(found, status, "{path}: {answer}");
    answer
}

/// Goal: who may ask for what, what is revoked and refused on the way, what is gone and what stays at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_erased_whole_and_alone() {
    let sandbox = Sandbox::start(sandbox::Options { records: 60, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let operator = server.client();
    let mut connections = Vec::new();
    for tenant in ["acme", "acme", "globex"] {
        let connection = operator.connect(tenant, &sandbox).await.unwrap();
        operator.pull(&connection).await.unwrap();
        connections.push(connection);
    }
    let keys = ["acme", "globex"]
        .map(|tenant| installation.result(&["keys", "create", "--role", "customer", "--tenant", tenant, "--purpose", "fulfilment"]));
    let [customer, stranger] = keys.each_ref().map(|key| with_key(&server, key));
    let link = customer.post("/v1/connect/sessions", json!({"connector": "sandbox", "tenant": "acme"})).await.unwrap();
    let link = text(&link, "url");

    // Another tenant's is no other than one that there is not.
    let order = |tenant: &str, revoke: bool| json!({"scope": {"tenant": tenant}, "revoke": revoke});
    let foreign = refused(&stranger, "/v1/erasures", order("acme", true), 404).await.to_string();
    let unknown = refused(&stranger, "/v1/erasures", order("nobody", true), 404).await.to_string();
    assert_eq!(foreign.replace("acme", "nobody"), unknown);
    refused(&operator, "/v1/erasures", order("nobody", true), 404).await;

    // Told first, and refused while something of it still fetches.
    let planned = customer.post("/v1/erasures?dry_run=true", order("acme", false)).await.unwrap();
    let total = sandbox.counts().total();
    assert_eq!((planned["state"].as_str(), planned["counts"]["records"].as_u64()), (Some("planned"), Some(2 * total)));
    let kept = planned["kept"].to_string();
    for word in ["person", "API keys", "tenants", "audit"] {
        assert!(kept.contains(word), "`{word}` is not in {kept}");
    }
    let told = refused(&customer, "/v1/erasures", order("acme", false), 409).await;
    assert_eq!(told["type"], "/problems/not-revoked");
    assert_eq!(operator.state(&connections[0]).await.unwrap(), "active");

    let asked = customer.post("/v1/erasures", order("acme", true)).await.unwrap();
    let erasure = text(&asked, "id");
    assert_eq!(asked["scope"], json!({"tenant": "acme"}));
    for connection in &connections[..2] {
        assert_eq!(operator.state(connection).await.unwrap(), "revoked");
        refused(&operator, "/v1/erasures", json!({"scope": {"connection": connection}}), 409).await;
    }
    refused(&customer, &format!("/v1/erasures/{erasure}/approve"), json!({}), 403).await;
    assert_eq!(stranger.ask(Method::GET, &format!("/v1/erasures/{erasure}"), None).await.unwrap().0, 404);

    // Until an operator approves it is a wish: what is connected meanwhile has to be revoked as well.
    let late = operator.connect("acme", &sandbox).await.unwrap();
    let told = refused(&operator, &format!("/v1/erasures/{erasure}/approve"), json!({}), 409).await;
    assert!(told["detail"].as_str().unwrap().contains(&late), "{told}");
    installation.result(&["revoke", "--tenant", "acme"]);
    let approved = operator.post(&format!("/v1/erasures/{erasure}/approve"), json!({})).await.unwrap();
    assert_eq!(approved["state"], "unreadable");

    // Nothing opens, nothing new comes, and the others notice nothing.
    for connection in connections[..2].iter().chain([&late]) {
        assert_eq!(operator.state(connection).await.unwrap(), "erased");
        let (status, list) = operator.ask(Method::GET, &format!("/v1/records?connection={connection}"), None).await.unwrap();
        assert!(status == 404 || list["items"].as_array().is_some_and(Vec::is_empty), "{status} {list}");
    }
    let told = refused(&operator, "/v1/connect/sessions", json!({"connector": "sandbox", "tenant": "acme"}), 409).await;
    assert!(told["detail"].as_str().unwrap().contains("not used again"), "{told}");
    assert_eq!(installation.run(&["keys", "create", "--role", "service", "--tenant", "acme"]).code, 1);
    let complete = operator.complete(&erasure).await.unwrap();
    assert_eq!(complete["counts"]["records"], 2 * total);
    assert_eq!(customer.ask(Method::GET, "/v1/connections", None).await.unwrap().0, 401, "its key is refused");
    let path = reqwest::Url::parse(&link).unwrap().path().to_owned();
    assert_eq!(operator.ask(Method::GET, &path, None).await.unwrap().0, 404, "its link leads nowhere");
    let rest = stranger.all(&format!("/v1/records?connection={}", connections[2])).await.unwrap();
    assert_eq!(rest.len() as u64, total);
    assert!(operator.pull(&connections[2]).await.unwrap().iter().all(|run| run["state"] == "complete"));
    assert!(!installation.data().join("segments/1").exists() && installation.data().join("segments/2").exists());

    let tenant = installation.result(&["tenants", "show", "acme"]);
    assert_eq!((&tenant["state"], &tenant["erasure"], &tenant["connections"]), (&json!("erased"), &json!(erasure), &json!(3)));
    let listed = installation.result(&["tenants", "list"]);
    assert_eq!(listed["items"][1]["state"], "active", "{listed}");
    refused(&operator, "/v1/erasures", order("acme", true), 409).await;
    certificate_is_the_tenants(&installation, &erasure, &complete);
    assert_eq!(installation.run(&["audit", "verify"]).code, 0);
    assert_eq!(server.stop(), 0);
}

fn certificate_is_the_tenants(installation: &Installation, erasure: &str, complete: &Value) {
    let (file, keys) = (installation.beside("certificate.json"), installation.beside("keys.json"));
    let certificate = installation.run(&["certificate", "show", erasure]).stdout;
    std::fs::write(&file, &certificate).unwrap();
    std::fs::write(&keys, installation.run(&["keys", "public"]).stdout).unwrap();
    let verified = installation.run(&["certificate", "verify", file.to_str().unwrap(), "--key", keys.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let envelope: Value = serde_json::from_str(&certificate).unwrap();
    let statement: Value = serde_json::from_slice(&BASE64.decode(envelope["payload"].as_str().unwrap().as_bytes()).unwrap()).unwrap();
    let predicate = &statement["predicate"];
    assert_eq!((&predicate["scope"], &predicate["counts"]), (&json!({"tenant": "acme"}), &complete["counts"]));
    let destroyed = predicate["keys_destroyed"].to_string();
    // Three connections, and what is the tenant's own: the graph of its runs.
    assert!(destroyed.contains("\"tenant/") && destroyed.matches("\"connection/").count() == 3 + 1, "{destroyed}");
}

/// The command: told, asked for, approved and awaited in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_erased_by_one_command() {
    let sandbox = Sandbox::start(sandbox::Options { records: 20, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &sandbox).await.unwrap();
    client.pull(&connection).await.unwrap();
    assert_eq!(server.stop(), 0);
    let planned = installation.result(&["erase", "--tenant", "acme", "--dry-run"]);
    assert_eq!(planned["counts"]["records"], sandbox.counts().total());
    let unrevoked = installation.run(&["erase", "--tenant", "acme", "--yes"]);
    assert!(unrevoked.code == 1 && unrevoked.stderr.contains("not revoked"), "{}", unrevoked.stderr);
    let erased = installation.result(&["erase", "--tenant", "acme", "--revoke", "--yes"]);
    assert_eq!(erased["state"], "complete");
    assert_eq!(installation.result(&["connections", "show", &connection])["state"], "erased");
    assert_eq!(installation.run(&["erase", "--tenant", "acme", &connection]).code, 2);
    assert_eq!(installation.run(&["erase", "--tenant", "nobody", "--yes"]).code, 1);
}
