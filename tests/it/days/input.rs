//! Bad input: what an operator writes wrong is refused by file, line and name, and leaves nothing behind.

use super::*;
use crate::support::outlet::connect;
use crate::support::outlet::manifest;
use crate::support::outlet::words;

/// A manifest or configuration that is wrong.
struct Fault {
    name: &'static str,
    manifest: String,
    config: Value,
    words: &'static [&'static str],
    /// Whether the manifest alone is at fault, so that a check of it finds the same.
    in_manifest: bool,
}

fn faults(base: &str) -> Vec<Fault> {
    let good = manifest(base);
    let altered = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let key = || json!({"key": KEY});
    let wrong = |name, manifest, words| Fault { name, manifest, config: key(), words, in_manifest: true };
    let given = |name, config, words| Fault { name, manifest: good.clone(), config, words, in_manifest: false };
    vec![
        wrong("broken YAML", altered("primary_key: [id]", "primary_key: [id"), &["manifest.yaml:8:"]),
        wrong("a tab", altered("    name: items", "\tname: items"), &["manifest.yaml:5:", "tab"]),
        wrong(
            "unknown component",
            altered("type: SimpleRetriever", "type: SimpleRetreiver"),
            &["manifest.yaml:15:", "SimpleRetreiver", "SimpleRetriever"],
        ),
        wrong(
            "a field that is not run",
            altered("type: SimpleRetriever", "type: SimpleRetriever\n      page_size_reduction: {type: PageSizeReduction}"),
            &["HG111", "page_size_reduction"],
        ),
        wrong("template typo", altered("response['next'] }}", "response['next'] }"), &["manifest.yaml:27:", "cursor_value"]),
        wrong("unknown name in a template", altered("config['key'] }}", "confg['key'] }}"), &["manifest.yaml:21:", "confg"]),
        wrong("unknown filter", altered("config['key'] }}", "config['key'] | uper }}"), &["manifest.yaml:21:", "uper"]),
        given("wrong type", json!({"key": 7}), &["/config/key", "string"]),
        given("missing member", json!({}), &["/config", "key", "required"]),
        given("member too many", json!({"key": KEY, "kee": 1}), &["kee"]),
        given("no object", json!([KEY]), &["faulty.json", "object"]),
    ]
}

/// Goal: bad input ends with exit code 2 and the place of the fault, connects nothing, and repeats no secret. Method: a table
/// of manifests and configurations, each wrong in one place, connected and checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_by_its_place() {
    let installation = Installation::new("127.0.0.1:9");
    let server = installation.serve(None).await;
    for fault in faults("http://127.0.0.1:9") {
        let (path, config) = (installation.beside("faulty.yaml"), installation.beside("faulty.json"));
        std::fs::write(&path, &fault.manifest).unwrap();
        std::fs::write(&config, fault.config.to_string()).unwrap();
        let connecting = installation.run(&words(&path, &config));
        assert_eq!(connecting.code, 2, "{}: {connecting:?}", fault.name);
        says(&connecting.stderr, fault.words, fault.name);
        let checked = installation.run(&["connectors", "check", path.to_str().unwrap()]);
        assert_eq!(checked.code, if fault.in_manifest { 2 } else { 0 }, "{}: {checked:?}", fault.name);
        if fault.in_manifest {
            says(&(checked.stderr + &checked.stdout), fault.words, fault.name);
        }
    }
    let no_file = installation.run(&words(&installation.beside("absent.yaml"), &installation.beside("faulty.json")));
    assert_eq!(no_file.code, 2, "{no_file:?}");
    says(&no_file.stderr, &["absent.yaml"], "no file");
    let client = server.client();
    assert_eq!(client.get("/v1/connections").await.unwrap()["items"], json!([]));

    // Over HTTP, a member is named by its pointer.
    let policy = client.get("/v1/policy").await.unwrap();
    let acknowledged: Vec<&Value> = policy["acknowledgements"].as_array().unwrap().iter().map(|point| &point["id"]).collect();
    let consent = json!({"person": "Ada", "organisation": "Acme", "policy_version": policy["version"], "purposes": ["fulfilment"], "acknowledged": acknowledged});
    let body = json!({"connector": "sandbox", "tenant": "acme", "config": {"base_url": 7}, "consent": consent});
    let (status, problem) = client.ask(Method::POST, "/v1/connections", Some(body)).await.unwrap();
    assert_eq!((status, &problem["type"]), (422, &json!("/problems/invalid-members")), "{problem}");
    says(&problem["errors"].to_string(), &["/config/base_url", "string"], "a wrong type");
    assert_eq!(server.stop(), 0);
}

/// Goal: what cannot be reached, or may not be, is told by name, and other connections do not notice. Method: addresses that
/// nobody has, that nobody may have, and an application that goes away for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn addresses_that_lead_nowhere_are_told() {
    let (mut ground, server) = opened(Outlet::start().await, "").await;
    let before = ground.good_day("shelf").await;
    ground.outlet.fill("shelf", AFTER);
    ground.outlet.close();
    let (run, ended) = ground.pull(&before.connection);
    assert_eq!((ended.code, &run["state"], &run["new"]), (1, &json!("failed"), &json!(0)), "{ended:?}");
    println!("{}", run["error"]);
    says(run["error"].as_str().unwrap(), &["2 attempts", "found no server", "/shelf/items", "Connection refused"], "gone");

    for (name, base, words) in [
        ("private", "https://10.1.2.3", &["was not sent", "10.1.2.3", "private", "[egress]"][..]),
        ("metadata", "https://169.254.169.254", &["was not sent", "169.254.169.254", "metadata", "[egress]"][..]),
        ("this-machine", "https://127.0.0.1", &["was not sent", "127.0.0.1", "loopback", "[egress]"][..]),
        ("plain", "http://93.184.215.14", &["was not sent", "93.184.215.14", "plain http"][..]),
        ("nobody", "https://nobody.invalid", &["found no server", "https://nobody.invalid/items", "name", "2 attempts"][..]),
    ] {
        let path = ground.installation.beside(&format!("{name}.yaml"));
        std::fs::write(&path, manifest(base)).unwrap();
        let connection = block_in_place(|| connect(&ground.installation, &path));
        let (run, ended) = ground.pull(&connection);
        assert_eq!((ended.code, &run["state"]), (1, &json!("failed")), "{ended:?}");
        println!("{}", run["error"]);
        says(run["error"].as_str().unwrap(), words, name);
        assert_eq!(ground.client.state(&connection).await.unwrap(), "active");
    }
    ground.nothing_is_lost(&before).await;
    ground.outlet.open().await;
    ground.a_pull_brings_the_rest("shelf", &before).await;
    assert_eq!(server.stop(), 0);
}

/// Goal: a second process, a wrong key and a missing keyring are told, change nothing, and all is there when they are put
/// right. `keyring` has every such fault; here it is what stays that is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_owners_that_do_not_fit_lose_nothing() {
    let (ground, server) = opened(Outlet::start().await, "").await;
    let before = ground.good_day("shelf").await;
    let refused = |arguments: &[&str], words: &[&str]| {
        let ended = block_in_place(|| ground.installation.run(arguments));
        assert_eq!(ended.code, 1, "{arguments:?}: {ended:?}");
        says(&ended.stderr, words, arguments[0]);
    };
    refused(&["serve", "--listen", "127.0.0.1:0"], &["held by", "headgate serve", "end that process"]);
    ground.nothing_is_lost(&before).await;
    assert_eq!(server.stop(), 0);

    let other = ground.installation.beside("other.key");
    std::fs::write(&other, BASE64.encode(&[7; 32])).unwrap();
    refused(&["--master-key-file", other.to_str().unwrap(), "run", &before.connection], &["master key", "not the one"]);
    let (keyring, away) = (ground.installation.data().join("keyring"), ground.installation.beside("away"));
    std::fs::rename(&keyring, &away).unwrap();
    refused(&["run", &before.connection], &["keyring", "missing", "put back"]);
    std::fs::rename(&away, &keyring).unwrap();

    ground.outlet.fill("shelf", AFTER);
    let server = serve(&ground.installation).await;
    let ground = Ground { client: server.client(), ..ground };
    ground.a_pull_brings_the_rest("shelf", &before).await;
    assert_eq!(server.stop(), 0);
}
