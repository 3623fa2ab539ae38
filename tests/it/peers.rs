//! A manifest that was written for another runtime, connected unmodified, by its path, through the real binary.

use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use crate::support::command::Said;
use crate::support::command::headgate;
use crate::support::house::search;
use crate::support::mock_provider::MockProvider;

const TOKEN: &str = "peers-token-3f1c9a";
const STREAMS: [&str; 3] = ["orders", "orders_cursor", "orders_incremental"];

/// The manifest, if the shared material is there.
fn manifest() -> Option<PathBuf> {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("HEADGATE_SHARED").map_or_else(|| crate_root.join("../shared"), PathBuf::from);
    let path = shared.join("bench/peers/airbyte_manifest.yaml");
    if !path.is_file() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

fn connect(data: &Path, manifest: &Path, config: &Value) -> Said {
    let file = data.with_extension("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let words = ["--tenant", "acme", "--accept-policy", "--person", "Ada", "--organisation", "Acme", "--config"];
    let mut arguments = vec!["connect", manifest.to_str().unwrap()];
    arguments.extend(words);
    arguments.push(file.to_str().unwrap());
    headgate(data, &arguments)
}

/// The counters of each stream's run, in [`STREAMS`]' order: new, changed, unchanged.
fn counts(said: &Said) -> [[u64; 3]; 3] {
    assert_eq!(said.code, 0, "{}", said.text);
    let runs = said.result()["runs"].as_array().unwrap();
    STREAMS.map(|stream| {
        let run = runs.iter().find(|run| run["stream"] == stream).unwrap();
        ["new", "changed", "unchanged"].map(|counter| run[counter].as_u64().unwrap())
    })
}

fn data_of(said: &Said) -> Vec<Value> {
    assert_eq!(said.code, 0, "{}", said.text);
    let mut data: Vec<Value> = said.result()["items"].as_array().unwrap().iter().map(|record| record["data"].clone()).collect();
    data.sort_by_key(|order| order["id"].as_u64());
    data
}

/// Goal: every stream of the benchmark's manifest arrives whole and exact: page numbers, cursor, windows of a day. A second
/// pull brings what changed and nothing else. Method: 250 orders over ten days, with page and list ends that do and do not
/// coincide; configuration values as texts and as numbers; the token is looked for in every file, line and answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifest_of_the_benchmark_runs_unmodified() {
    let Some(manifest) = manifest() else { return };
    let provider = MockProvider::start(250, TOKEN).await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("headgate.toml"), format!("[egress]\nallow = [\"{}\"]\n", provider.server.host())).unwrap();

    let mut all = String::new();
    let numbers = provider.config(250, 25);
    let mut texts = provider.config(240, 25);
    texts["num_workers"] = "2".into();
    for (config, total) in [(numbers, 250), (texts, 240)] {
        let connected = connect(&data, &manifest, &config);
        assert_eq!((connected.code, &connected.result()["state"]), (0, &json!("active")), "{}", connected.text);
        let connection = connected.result()["connection"].as_str().unwrap().to_owned();

        let before = provider.server.seen().len();
        let first = headgate(&data, &["run", &connection]);
        assert_eq!(counts(&first), [[total, 0, 0]; 3]);
        let seen = provider.server.seen().split_off(before);
        assert_eq!(seen.iter().filter(|asked| asked.parameter("limit").is_some()).count(), total.div_ceil(25) as usize);
        assert_eq!(seen.iter().filter(|asked| asked.parameter("updated_since").is_some()).count() as u64, total.div_ceil(24));
        let by_number =
            |asked: &&crate::support::http::Asked| asked.parameter("per_page").is_some() && asked.parameter("updated_since").is_none();
        // A full page may be the last one, so one more is asked for.
        assert_eq!(seen.iter().filter(by_number).count() as u64, total / 25 + 1);
        for stream in STREAMS {
            let records = headgate(&data, &["records", &connection, "--stream", stream, "--limit", "500"]);
            assert_eq!(data_of(&records), provider.orders()[..total as usize], "{stream}");
            all += &records.text;
        }

        provider.change(total as usize - 1);
        provider.change(3);
        let second = headgate(&data, &["run", &connection]);
        // The third stream reads on from the last time it has seen, so it meets the last order alone.
        assert_eq!(counts(&second), [[0, 2, total - 2], [0, 2, total - 2], [0, 1, 0]]);
        let third = headgate(&data, &["run", &connection, "--full"]);
        assert_eq!(counts(&third), [[0, 0, total], [0, 0, total], [0, 1, total - 1]]);
        all += &(connected.text + &first.text + &second.text + &third.text);
        provider.restore();
    }
    assert!(!all.contains(TOKEN));
    let mut found = Vec::new();
    search(&data, &[TOKEN], &mut found);
    assert!(found.is_empty(), "{found:?}");
}

/// Goal: a configuration that does not fit the manifest's specification is refused by name, exit 2, and connects nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_refused() {
    let Some(manifest) = manifest() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (config, named) in
        [(json!({"api_key": TOKEN}), "base_url"), (json!({"base_url": "http://127.0.0.1:1", "per_page": TOKEN}), "per_page")]
    {
        let said = connect(&data, &manifest, &config);
        assert!(said.code == 2 && said.text.contains(named) && !said.text.contains(TOKEN), "{} {}", said.code, said.text);
    }
    let listed = headgate(&data, &["connections", "list"]);
    assert_eq!(listed.result()["items"], json!([]), "{}", listed.text);
}
