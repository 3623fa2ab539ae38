//! Copies of the store, by the real binary: made anew while everything goes on, backed up, restored. Whatever was stopped or
//! erased stays so, and a kill at any moment leaves one store, whole.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use headgate::ids::ConnectionKey;
use headgate::ids::Entropy;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use headgate::store;
use headgate::store::Store;
use headgate::store::Table;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::support::installation::Client;
use crate::support::installation::Ended;
use crate::support::installation::Installation;
use crate::support::installation::binary;
use crate::support::installation::ended;
use crate::support::installation::files;
use crate::support::installation::text;

/// Kills in the short form of the test.
const CYCLES_DEFAULT: u64 = 8;
/// The longest that a revocation may take while the store is compacted, on a machine that others use as well.
const REVOKE_MAX: Duration = Duration::from_secs(3);

/// Two connections of two tenants that have pulled the same shop.
struct Scene {
    sandbox: Sandbox,
    installation: Installation,
    /// The one that something happens to.
    one: String,
    /// The one that stays as it is.
    other: String,
}

impl Scene {
    async fn new(records: u32) -> Self {
        let sandbox = Sandbox::start(sandbox::Options { records: records as _, ..Default::default() }).await.unwrap();
        let installation = Installation::new(&sandbox.address().to_string());
        let server = installation.serve(Some(&sandbox)).await;
        let client = server.client();
        let mut connections = Vec::new();
        for tenant in ["acme", "globex"] {
            let connection = client.connect(tenant, &sandbox).await.unwrap();
            client.pull(&connection).await.unwrap();
            connections.push(connection);
        }
        assert_eq!(server.stop(), 0);
        let [one, other] = connections.try_into().unwrap();
        Scene { sandbox, installation, one, other }
    }

    fn backup(&self, name: &str) -> (PathBuf, Value) {
        let to = self.installation.beside(name);
        let told = self.installation.result(&["store", "backup", to.to_str().unwrap()]);
        (to, told)
    }

    fn restore(&self, from: &Path) -> Value {
        let restored = self.installation.result(&["store", "restore", from.to_str().unwrap()]);
        let aside = PathBuf::from(restored["replaced"].as_str().unwrap());
        assert!(["store/db", "stops", "segments"].iter().all(|part| aside.join(part).exists()), "what was there is in {aside:?}");
        restored
    }

    /// The other connection has what the shop has, and pulls.
    async fn the_other_serves(&self, client: &Client) {
        assert_eq!(client.state(&self.other).await.unwrap(), "active");
        assert_eq!(records(client, &self.other).await.len() as u64, self.sandbox.counts().total());
        let runs = client.pull(&self.other).await.unwrap();
        assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
    }
}

/// Every record of a connection, by its id.
async fn records(client: &Client, connection: &str) -> BTreeMap<String, Value> {
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    records.into_iter().map(|record| (text(&record, "id"), json!([record["version"], record["data"]]))).collect()
}

/// Nothing of a connection is fetched any more, and it says so.
async fn stays(client: &Client, connection: &str, state: &str) {
    assert_eq!(client.state(connection).await.unwrap(), state);
    let (status, answer) = client.ask(Method::POST, &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await.unwrap();
    assert_eq!(status, 409, "{answer}");
}

async fn nothing_opens(client: &Client, connection: &str) {
    let (status, list) = client.ask(Method::GET, &format!("/v1/records?connection={connection}"), None).await.unwrap();
    let empty = list["items"].as_array().is_some_and(Vec::is_empty);
    assert!(matches!(status, 404 | 410) || (status == 200 && empty), "{status} {list}");
}

fn no_leftovers(data: &Path) {
    let names: BTreeSet<String> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let known = ["store.compact", "store.old", "store.backup", "restoring", "replacing.json", "replacing.json.draft"];
    assert!(!known.iter().any(|leftover| names.contains(*leftover)), "{names:?}");
}

fn holds_bytes(folder: &Path, needle: &[u8]) -> bool {
    files(folder).iter().any(|path| fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle))
}

/// Goal: a backup that is made while a pull goes on is of one moment: what is restored from it has as many records as the
/// runs of that moment say, in the directory that it came from and in an empty one. No key is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_a_pull_is_of_one_moment() {
    let scene = Scene::new(400).await;
    let installation = &scene.installation;
    let server = installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let third = client.connect("initech", &scene.sandbox).await.unwrap();
    let pulling = tokio::spawn({
        let (client, third) = (client.clone(), third.clone());
        async move { client.pull(&third).await.unwrap() }
    });
    let path = format!("/v1/records?connection={third}&limit=1");
    client.settled(&path, |list| (!list["items"].as_array().unwrap().is_empty()).then_some(())).await.unwrap();
    let (backup, told) = tokio::task::block_in_place(|| scene.backup("monday"));
    println!("{told}");
    pulling.await.unwrap();
    let export = installation.beside("keyring.export");
    installation.result(&["keyring", "export", "--to", export.to_str().unwrap()]);
    assert_eq!(server.stop(), 0);
    no_leftovers(&installation.data());
    for key in files(&installation.data().join("keyring")).iter().filter(|path| !path.ends_with("destroyed")) {
        assert!(!holds_bytes(&backup, &fs::read(key).unwrap()), "{key:?} is in the backup");
    }

    let empty = installation.beside("empty");
    let list = installation.data().join("keyring/destroyed");
    fs::copy(installation.beside("data.master.key"), installation.beside("empty.master.key")).unwrap();
    let mut restore = binary();
    restore.arg("--json").arg("--data").arg(&empty).args(["store", "restore"]).arg(&backup);
    let refused = ended(&mut restore);
    assert!(refused.code == 1 && refused.stderr.contains("--keyring"), "{refused:?}");
    let half = ended(restore.arg("--keyring").arg(&export));
    assert_eq!(half.code, 2, "an export without a list is no keyring: {half:?}");
    let restored = ended(restore.arg("--destroyed").arg(&list));
    assert_eq!(restored.code, 0, "{restored:?}");
    scene.restore(&backup);

    let mut found = Vec::new();
    for data in [installation.data(), empty.clone()] {
        let mut command = binary();
        command.arg("--data").arg(&data);
        let server = installation.serve_with(command, Some(&scene.sandbox)).await;
        let client = server.client();
        scene.the_other_serves(&client).await;
        found.push(records(&client, &third).await);
        let runs = client.all(&format!("/v1/runs?connection={third}")).await.unwrap();
        let new: u64 = runs.iter().map(|run| run["new"].as_u64().unwrap()).sum();
        assert_eq!(found.last().unwrap().len() as u64, new, "{runs:?}");
        assert!(new > 0 && runs.iter().all(|run| run["state"] != "running"), "{runs:?}");
        assert_eq!(server.stop(), 0);
        no_leftovers(&data);
    }
    assert!(found[0] == found[1], "two restores of one backup differ");
}

/// Goal: a backup from before an erasure, restored after it, opens nothing of it, and the log says honestly that its end is
/// missing.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_since_a_backup_stays_erased() {
    let scene = Scene::new(60).await;
    let installation = &scene.installation;
    let (backup, _) = scene.backup("monday");
    let server = installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let erasure = client.erase(&scene.one).await.unwrap();
    client.complete(&erasure).await.unwrap();
    let checkpoint = installation.beside("checkpoint");
    fs::write(&checkpoint, client.get("/v1/audit/checkpoint").await.unwrap().as_str().unwrap()).unwrap();
    assert_eq!(server.stop(), 0);
    let restored = scene.restore(&backup);
    assert!(restored["rows_erased"].as_u64().unwrap() > 0 && restored["segment_files"].as_u64().unwrap() > 0, "{restored}");
    assert!(!installation.data().join("segments/1").exists(), "segment files of an erased connection");

    let server = installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    stays(&client, &scene.one, "erased").await;
    nothing_opens(&client, &scene.one).await;
    scene.the_other_serves(&client).await;
    let again = client.connect("acme", &scene.sandbox).await.unwrap();
    client.pull(&again).await.unwrap();
    assert_eq!(records(&client, &again).await.len() as u64, scene.sandbox.counts().total());
    assert_eq!(server.stop(), 0);
    let verified = installation.run(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let held_against = installation.run(&["audit", "verify", "--checkpoint", checkpoint.to_str().unwrap()]);
    assert_eq!(held_against.code, 1, "a checkpoint of a longer log: {held_against:?}");
    let entries = installation.run(&["--json", "audit", "tail", "--limit", "200"]).stdout;
    assert!(entries.contains("store restored"), "{entries}");
}

/// Goal: whatever stopped something after the backup stands after its restore: a revoked connection over the live directory,
/// and with an older keyring and the newest list of destroyed keys; a revoked API key.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_since_a_backup_stays_stopped() {
    let scene = Scene::new(60).await;
    let installation = &scene.installation;
    let key = installation.result(&["keys", "create", "--role", "operator", "--purpose", "fulfilment"]);
    let (backup, _) = scene.backup("monday");
    let export = installation.beside("keyring.export");
    installation.result(&["keyring", "export", "--to", export.to_str().unwrap()]);
    let server = installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    client.post(&format!("/v1/connections/{}/revoke", scene.one), json!({})).await.unwrap();
    // The credential's key goes when the application has answered, or at once where nobody has to be asked.
    client.settled(&format!("/v1/connections/{}", scene.one), |found| (found["state"] == "revoked").then_some(())).await.unwrap();
    assert_eq!(server.stop(), 0);
    installation.result(&["keys", "revoke", key["id"].as_str().unwrap()]);

    let elsewhere = installation.beside("elsewhere");
    let list = installation.beside("destroyed.list");
    fs::copy(installation.data().join("keyring/destroyed"), &list).unwrap();
    fs::copy(installation.beside("data.master.key"), installation.beside("elsewhere.master.key")).unwrap();
    let mut restore = binary();
    restore.arg("--json").arg("--data").arg(&elsewhere).args(["store", "restore"]).arg(&backup);
    let restored = ended(restore.arg("--keyring").arg(&export).arg("--destroyed").arg(&list));
    assert_eq!(restored.code, 0, "{restored:?}");
    let restored = scene.restore(&backup);
    assert_eq!((&restored["stopped_since"], &restored["api_keys"]), (&json!(1), &json!("present")));

    for data in [installation.data(), elsewhere] {
        let mut command = binary();
        command.arg("--data").arg(&data);
        let server = installation.serve_with(command, Some(&scene.sandbox)).await;
        let client = server.client();
        stays(&client, &scene.one, "revoked").await;
        assert_eq!(records(&client, &scene.one).await.len() as u64, scene.sandbox.counts().total(), "a revocation keeps the data");
        scene.the_other_serves(&client).await;
        if data == installation.data() {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let asked = http.get(format!("{}/v1/connections", server.address)).bearer_auth(key["key"].as_str().unwrap());
            assert_eq!(asked.send().await.unwrap().status(), 401, "a key that was revoked after the backup");
        }
        assert_eq!(server.stop(), 0);
    }
}

/// Goal: a damaged backup is refused by name, and nothing has changed; a server in the way is named; what is no backup is.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_changes_nothing() {
    let scene = Scene::new(20).await;
    let installation = &scene.installation;
    let (backup, _) = scene.backup("monday");
    let again = installation.run(&["store", "backup", backup.to_str().unwrap()]);
    assert!(again.code == 1 && again.stderr.contains("not empty"), "{again:?}");
    let rows = backup.join("rows.zst");
    let whole = fs::read(&rows).unwrap();
    let refused = |fault: &str| {
        let refused: Ended = installation.run(&["store", "restore", backup.to_str().unwrap()]);
        assert!(refused.code == 1 && refused.stderr.contains(fault), "{refused:?}");
    };
    fs::write(&rows, &whole[..whole.len() / 2]).unwrap();
    refused("rows.zst");
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(&rows, altered).unwrap();
    refused("rows.zst");
    fs::write(&rows, whole).unwrap();
    let segment = files(&backup.join("segments")).remove(0);
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(10).unwrap();
    refused(".seg");
    let none = installation.run(&["store", "restore", installation.beside("nothing").to_str().unwrap()]);
    assert!(none.code == 1 && none.stderr.contains("no backup"), "{none:?}");
    no_leftovers(&installation.data());
    let server = installation.serve(Some(&scene.sandbox)).await;
    let held = installation.run(&["store", "restore", backup.to_str().unwrap()]);
    assert!(held.code == 1 && held.stderr.contains("serve"), "{held:?}");
    scene.the_other_serves(&server.client()).await;
    assert_eq!(server.stop(), 0);
}

/// Goal: a compaction under a server that reads, pulls and revokes: everything is answered, a revocation at once, and nothing
/// is lost. What an erasure has removed is on the disk before and gone after.
#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_goes_on_beside_everything_else() {
    let scene = Scene::new(300).await;
    let installation = &scene.installation;
    let sealed = {
        let store = Store::open(&installation.data(), &store::Options::default()).unwrap();
        store.raw_below(Table::Configs, &ConnectionKey { tenant: 1, connection: 1 }.to_bytes(), 1).unwrap().remove(0).1
    };
    let server = installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let erasure = client.erase(&scene.one).await.unwrap();
    client.complete(&erasure).await.unwrap();
    let before = records(&client, &scene.other).await;
    let third = client.connect("initech", &scene.sandbox).await.unwrap();
    assert!(holds_bytes(&installation.data().join("store"), &sealed), "the erased row is no longer there to be found");

    let mut compacting = installation.command(&["--json", "store", "compact"]);
    let compacting = compacting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pulling = tokio::spawn({
        let (client, third) = (client.clone(), third.clone());
        async move { client.pull(&third).await.unwrap() }
    });
    assert!(records(&client, &scene.other).await == before);
    let began = Instant::now();
    client.post(&format!("/v1/connections/{}/revoke", scene.other), json!({})).await.unwrap();
    let revoked_in = began.elapsed();
    let output = tokio::task::block_in_place(|| compacting.wait_with_output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("revoked in {revoked_in:?}; {told}");
    assert!(revoked_in < REVOKE_MAX, "a revocation took {revoked_in:?} beside {told}");
    pulling.await.unwrap();

    let again = installation.result(&["store", "compact"]);
    assert!(again["pause_ms"].as_f64().unwrap() < 2000.0, "{again}");
    assert!(!holds_bytes(&installation.data(), &sealed), "the erased row is still on the disk");
    for turn in 0..2 {
        stays(&client, &scene.other, "revoked").await;
        stays(&client, &scene.one, "erased").await;
        assert!(records(&client, &scene.other).await == before, "turn {turn}");
        assert_eq!(records(&client, &third).await.len() as u64, scene.sandbox.counts().total());
        let runs = client.pull(&third).await.unwrap();
        assert!(runs.iter().all(|run| run["state"] == "complete" && run["new"] == 0), "{runs:?}");
    }
    assert_eq!(server.stop(), 0);
    no_leftovers(&installation.data());
    let offline = installation.result(&["store", "compact"]);
    assert!(offline["after"]["bytes"].as_u64().unwrap() > 0, "{offline}");
    let server = installation.serve(Some(&scene.sandbox)).await;
    assert!(records(&server.client(), &scene.other).await == before);
    assert_eq!(server.stop(), 0);
    let verified = installation.run(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Compacts as the command does, without the time that a process takes to start; nothing when the server went away.
async fn compact_by_socket(socket: PathBuf) -> Option<Value> {
    let client = reqwest::Client::builder().unix_socket(socket).no_proxy().build().unwrap();
    let answer = client.post("http://headgate.local/admin/store/compact").send().await.ok()?;
    answer.json().await.ok()
}

/// Goal: a SIGKILL at any moment of a compaction leaves one whole store and no leftover after the next start.
/// `HEADGATE_COMPACT_CYCLES` kills more often, `HEADGATE_COMPACT_SEED` repeats.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_compaction_leaves_one_store() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let mut seed = number("HEADGATE_COMPACT_SEED").unwrap_or_else(|| u64::from_be_bytes(Entropy::system().bytes()));
    println!("HEADGATE_COMPACT_SEED={seed}");
    let cycles = number("HEADGATE_COMPACT_CYCLES").unwrap_or(CYCLES_DEFAULT);
    let scene = Scene::new(200).await;
    let installation = &scene.installation;
    let server = installation.serve(Some(&scene.sandbox)).await;
    let expected = records(&server.client(), &scene.one).await;
    assert_eq!(server.stop(), 0);
    let began = Instant::now();
    installation.result(&["store", "compact"]);
    let mut usual = began.elapsed();
    for cycle in 0..cycles {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = ((seed >> 33) % 120) as u32;
        let server = installation.serve(Some(&scene.sandbox)).await;
        server.client().begin_pull(&scene.other).await.unwrap();
        let compacting = tokio::spawn(compact_by_socket(installation.data().join("admin.sock")));
        let delay = usual * part / 100;
        tokio::time::sleep(delay).await;
        server.kill();
        let ended = compacting.await.unwrap();
        // So that the kills fall into it, however fast the machine is.
        usual = if ended.is_some() { delay } else { usual.max(delay) };
        let copying = installation.data().join("store.compact").exists();
        println!("cycle {cycle}: killed {delay:?} into a compaction; ended: {}, two stores: {copying}", ended.is_some());

        let server = installation.serve(Some(&scene.sandbox)).await;
        no_leftovers(&installation.data());
        assert!(records(&server.client(), &scene.one).await == expected, "cycle {cycle}");
        assert_eq!(server.stop(), 0);
        let verified = installation.run(&["audit", "verify"]);
        assert_eq!(verified.code, 0, "cycle {cycle}: {verified:?}");
    }
}
