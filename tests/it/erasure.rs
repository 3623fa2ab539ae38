//! An erasure is real (P4), judged by whoever has copies: everything but `keyring/` from before, everything from after, and
//! the master key open nothing. A crash between its steps resumes. What is kept is on the certificate.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use headgate::clock::Clock;
use headgate::ids::Entropy;
use headgate::ids::RecordId;
use headgate::lineage::Reader;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use headgate::store;
use headgate::store::Store;
use headgate::vault::MasterKey;
use headgate::vault::Vault;
use reqwest::Method;
use serde_json::Value;

use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::copy;
use crate::support::installation::text;

/// Two connections of two tenants that pulled the same shop; one of them is erased later, by itself or with its tenant.
struct Scene {
    sandbox: Sandbox,
    installation: Installation,
    /// The one that is erased.
    gone: String,
    /// The one that stays.
    stays: String,
    /// A record of each.
    records: [String; 2],
    /// What is erased.
    scope: Scope,
}

/// What an erasure covers.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Connection,
    Tenant,
}

impl Scene {
    /// Lives up to the moment before the erasure, and stops the server.
    async fn before(scope: Scope) -> Self {
        let sandbox = Sandbox::start(sandbox::Options { records: 60, ..Default::default() }).await.unwrap();
        let installation = Installation::new(&sandbox.address().to_string());
        let server = installation.serve(Some(&sandbox)).await;
        let client = server.client();
        let mut connections = Vec::new();
        let mut records = Vec::new();
        for tenant in ["acme", "globex"] {
            let connection = client.connect(tenant, &sandbox).await.unwrap();
            client.pull(&connection).await.unwrap();
            let found = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
            assert_eq!(found.len() as u64, sandbox.counts().total());
            records.push(text(&found[0], "id"));
            connections.push(connection);
        }
        assert_eq!(server.stop(), 0);
        let [gone, stays] = connections.try_into().unwrap();
        Scene { sandbox, installation, gone, stays, records: records.try_into().unwrap(), scope }
    }

    fn scope(&self) -> Value {
        match self.scope {
            Scope::Connection => serde_json::json!({"connection": self.gone}),
            Scope::Tenant => serde_json::json!({"tenant": "acme"}),
        }
    }

    /// Erases the scope with a certificate, and stops; the erasure.
    async fn erase(&self) -> Value {
        let server = self.installation.serve(Some(&self.sandbox)).await;
        let client = server.client();
        let asked = client.post("/v1/erasures", serde_json::json!({"scope": self.scope(), "revoke": true})).await.unwrap();
        let erasure = text(&asked, "id");
        client.post(&format!("/v1/erasures/{erasure}/approve"), serde_json::json!({})).await.unwrap();
        let complete = client.complete(&erasure).await.unwrap();
        assert_eq!(server.stop(), 0);
        complete
    }

    /// Starts the binary on the directory as it is now: the erased connection is erased, the other serves.
    async fn serves_the_rest(&self) {
        let server = self.installation.serve(Some(&self.sandbox)).await;
        let client = server.client();
        assert_eq!(client.state(&self.gone).await.unwrap(), "erased");
        nothing_opens(&client, &self.gone, &self.records[0]).await;
        let rest = client.all(&format!("/v1/records?connection={}", self.stays)).await.unwrap();
        assert_eq!(rest.len() as u64, self.sandbox.counts().total());
        let (status, record) = client.ask(Method::GET, &format!("/v1/records/{}", self.records[1]), None).await.unwrap();
        assert_eq!(status, 200, "{record}");
        assert_eq!(client.state(&self.stays).await.unwrap(), "active");
        let runs = client.pull(&self.stays).await.unwrap();
        assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
        let (status, answer) =
            client.ask(Method::POST, &format!("/v1/connections/{}/runs", self.gone), Some(serde_json::json!({}))).await.unwrap();
        assert_eq!(status, 409, "{answer}");
        if self.scope == Scope::Tenant {
            is_closed(&client, &self.sandbox).await;
        }
        assert_eq!(server.stop(), 0);
    }
}

/// Nothing new comes under the name of a tenant that is erased, whatever the store remembers of it.
async fn is_closed(client: &Client, sandbox: &Sandbox) {
    let policy = client.get("/v1/policy").await.unwrap();
    let acknowledged: Vec<&Value> = policy["acknowledgements"].as_array().unwrap().iter().map(|point| &point["id"]).collect();
    let consent = serde_json::json!({
        "person": "P", "organisation": "O", "policy_version": policy["version"], "purposes": ["fulfilment"], "acknowledged": acknowledged,
    });
    let order =
        serde_json::json!({"connector": "sandbox", "tenant": "acme", "config": {"base_url": sandbox.base_url()}, "consent": consent});
    let (status, answer) = client.ask(Method::POST, "/v1/connections", Some(order)).await.unwrap();
    assert!(status == 409 && text(&answer, "detail").contains("not used again"), "{status} {answer}");
}

/// No record and no list gives anything of an erased connection. Its lineage says that it was there, and no more.
async fn nothing_opens(client: &Client, connection: &str, record: &str) {
    let origin = client.get(&format!("/v1/records/{record}/lineage")).await.unwrap();
    assert!(origin["version"].is_null() && origin["tag"].is_null() && origin["inputs"] == serde_json::json!([]), "{origin}");
    assert_eq!(origin["tombstone"]["connection"], *connection, "{origin}");
    for path in [format!("/v1/records/{record}"), format!("/v1/records/{record}?version=1")] {
        let (status, answer) = client.ask(Method::GET, &path, None).await.unwrap();
        assert!(matches!(status, 404 | 410), "{path}: {status} {answer}");
    }
    let (status, list) = client.ask(Method::GET, &format!("/v1/records?connection={connection}"), None).await.unwrap();
    let empty = list["items"].as_array().is_some_and(Vec::is_empty);
    assert!(matches!(status, 404 | 410) || (status == 200 && empty), "{status} {list}");
}

/// Replaces a directory by a copy.
fn put_back(copied: &Path, directory: &Path) {
    fs::remove_dir_all(directory).unwrap();
    copy(copied, directory);
}

/// Goal: with every file of before but `keyring/`, every file of after, and the master key, nothing of the erased connection
/// opens: not through the binary, and not by hand with the vault on the old blocks.
#[tokio::test(flavor = "multi_thread")]
async fn copies_from_before_do_not_open() {
    copies_do_not_open(Scope::Connection).await;
}

/// The same of a tenant.
#[tokio::test(flavor = "multi_thread")]
async fn copies_from_before_a_tenants_end_do_not_open() {
    copies_do_not_open(Scope::Tenant).await;
}

async fn copies_do_not_open(scope: Scope) {
    let scene = Scene::before(scope).await;
    let data = scene.installation.data();
    let before = scene.installation.beside("before");
    copy(&data, &before);
    let erasure = scene.erase().await;
    let after = scene.installation.beside("after");
    copy(&data, &after);
    certificate_lists_what_is_kept(&scene, &erasure);

    // Everything from before, today's keyring: an old copy of the whole directory, or a restored backup.
    put_back(&before, &data);
    put_back(&after.join("keyring"), &data.join("keyring"));
    scene.serves_the_rest().await;

    // Everything from after, with the old segments beside it.
    put_back(&after, &data);
    copy(&before.join("segments"), &data.join("segments"));
    scene.serves_the_rest().await;

    // By hand: the old store and segments, today's keyring, the master key.
    put_back(&before, &data);
    put_back(&after.join("keyring"), &data.join("keyring"));
    by_hand(&scene);

    // A keyring of before that comes back loses again what the list of today names.
    put_back(&before, &data);
    fs::copy(after.join("keyring/destroyed"), data.join("keyring/destroyed")).unwrap();
    scene.serves_the_rest().await;
}

/// Opens vault, store and reader on the directory, and reads every row of the erased connection.
fn by_hand(scene: &Scene) {
    let data = scene.installation.data();
    let master = fs::read_to_string(scene.installation.beside("data.master.key")).unwrap();
    assert_eq!(BASE64.decode(master.trim().as_bytes()).unwrap().len(), 32);
    let vault = Arc::new(Vault::open(&data, &MasterKey::from_base64(&master).unwrap(), Entropy::system(), Clock::System).unwrap());
    let store = Store::open(&data, &store::Options::default()).unwrap();
    let reader = Reader::new(store.clone(), vault.clone());
    let [gone, stays] = scene.records.each_ref().map(|record| record.parse::<RecordId>().unwrap());
    assert!(reader.record(stays, None).unwrap().is_some(), "the other connection opens, so the means are right");
    assert!(reader.record(gone, None).is_err(), "a record opened");
    assert!(vault.connection(gone.owner).is_err() && vault.is_destroyed(gone.owner));
    assert!(vault.credential_open(gone.owner, 1, &[0; 64]).is_err());
    assert!(reader.records(gone.owner, None, None, 10).is_err(), "a list opened");
}

fn certificate_lists_what_is_kept(scene: &Scene, erasure: &Value) {
    let id = text(erasure, "id");
    let envelope: Value = serde_json::from_str(&scene.installation.run(&["certificate", "show", &id]).stdout).unwrap();
    let statement: Value = serde_json::from_slice(&BASE64.decode(envelope["payload"].as_str().unwrap().as_bytes()).unwrap()).unwrap();
    let kept = statement["predicate"]["kept"].as_array().unwrap();
    let told = Value::from(kept.clone()).to_string();
    for subject in ["audit", "consent", "ciphertext"] {
        assert!(told.contains(subject), "`{subject}` is kept and not on the certificate: {told}");
    }
    assert_eq!(statement["predicate"]["counts"], erasure["counts"]);
    assert!(!statement["predicate"]["keys_destroyed"].as_array().unwrap().is_empty());
}

/// Goal: a crash between any two steps goes on at the next start. Method: directories put together as the crash would have left
/// them: keys destroyed and nothing told in the store; keys listed and not yet wiped; swept in part.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_resumes_between_its_steps() {
    resumes(Scope::Connection).await;
}

/// The same of a tenant.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_erasure_resumes_between_its_steps() {
    resumes(Scope::Tenant).await;
}

async fn resumes(scope: Scope) {
    let scene = Scene::before(scope).await;
    let data = scene.installation.data();
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let body = serde_json::json!({"scope": scene.scope(), "revoke": true});
    let erasure = text(&client.post("/v1/erasures", body).await.unwrap(), "id");
    assert_eq!(server.stop(), 0);
    let requested = scene.installation.beside("requested");
    copy(&data, &requested);
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    server.client().post(&format!("/v1/erasures/{erasure}/approve"), serde_json::json!({})).await.unwrap();
    server.client().complete(&erasure).await.unwrap();
    assert_eq!(server.stop(), 0);
    let complete = scene.installation.beside("complete");
    copy(&data, &complete);

    // The list of destroyed keys has it, the key files are still there: the first step of the destruction.
    put_back(&requested, &data);
    fs::copy(complete.join("keyring/destroyed"), data.join("keyring/destroyed")).unwrap();
    goes_on(&scene, &erasure).await;
    // The keys are gone, the store knows of a request and no more.
    put_back(&requested, &data);
    put_back(&complete.join("keyring"), &data.join("keyring"));
    goes_on(&scene, &erasure).await;
    // A keyring and a list of before the erasure, beside a store that knows of it: destroyed again.
    put_back(&complete, &data);
    put_back(&requested.join("keyring"), &data.join("keyring"));
    scene.serves_the_rest().await;
    assert!(!data.join("keyring/connections/1-1").exists());
    // The store is done, and segment files came back.
    put_back(&complete, &data);
    copy(&requested.join("segments"), &data.join("segments"));
    scene.serves_the_rest().await;
}

/// The request can be approved (what its keys were is known), and completes with a certificate that verifies.
async fn goes_on(scene: &Scene, erasure: &str) {
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    assert_eq!(client.state(&scene.gone).await.unwrap(), "erased");
    let found = client.get(&format!("/v1/erasures/{erasure}")).await.unwrap();
    if found["state"] == "requested" {
        client.post(&format!("/v1/erasures/{erasure}/approve"), serde_json::json!({})).await.unwrap();
    }
    client.complete(erasure).await.unwrap();
    nothing_opens(&client, &scene.gone, &scene.records[0]).await;
    let (file, keys) = (scene.installation.beside("certificate.json"), scene.installation.beside("keys.json"));
    fs::write(&file, scene.installation.run(&["certificate", "show", erasure]).stdout).unwrap();
    fs::write(&keys, scene.installation.run(&["keys", "public"]).stdout).unwrap();
    let verified = scene.installation.run(&["certificate", "verify", file.to_str().unwrap(), "--key", keys.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert_eq!(server.stop(), 0);
}
