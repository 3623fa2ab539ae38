//! The care that the store's engine needs: damage is found, named and survived, and nothing of it hangs.
//!
//! `HEADGATE_CARE_FLIPS` sets how many bits are flipped in the engine's file, `HEADGATE_CARE_SEED` repeats a run's choices.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use headgate::sandbox;
use headgate::sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;
use tokio::time::Duration;
use tokio::time::Instant;

use crate::support::dice::Dice;
use crate::support::house::TestHouse;
use crate::support::house::morning;
use crate::support::http::Reply;
use crate::support::http::Server;
use crate::support::installation::Ended;
use crate::support::installation::Installation;
use crate::support::installation::binary;
use crate::support::installation::copy;
use crate::support::installation::ended;
use crate::support::installation::files;

/// Bits flipped in the engine's file in an ordinary test run. Each may cost a whole time limit.
const FLIPS_DEFAULT: u64 = 2;
/// The limit that checks of a damaged engine get, in seconds; a check of the healthy one takes less than one.
const LIMIT_SECONDS: u64 = 5;
/// What starting and ending the processes may add to a limit.
const SLACK: Duration = Duration::from_secs(10);

/// An installation that has lived: three connections, one of them revoked, one erased. Stopped cleanly.
async fn lived(records: u64) -> (Sandbox, Installation, String) {
    let sandbox = Sandbox::start(sandbox::Options { records, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let kept = client.connect("acme", &sandbox).await.unwrap();
    client.pull(&kept).await.unwrap();
    let revoked = client.connect("acme", &sandbox).await.unwrap();
    client.pull(&revoked).await.unwrap();
    client.post(&format!("/v1/connections/{revoked}/revoke"), json!({})).await.unwrap();
    let erased = client.connect("other", &sandbox).await.unwrap();
    client.pull(&erased).await.unwrap();
    let erasure = client.erase(&erased).await.unwrap();
    client.complete(&erasure).await.unwrap();
    assert_eq!(server.stop(), 0);
    (sandbox, installation, kept)
}

/// Runs a command on a copy of the data directory, with its master key.
fn on(installation: &Installation, data: &Path, arguments: &[&str]) -> Ended {
    let mut key = installation.data().into_os_string();
    key.push(".master.key");
    ended(binary().arg("--data").arg(data).arg("--master-key-file").arg(key).args(arguments))
}

/// Checks a store, by the command; its report, which has to agree with the exit code.
fn checked(installation: &Installation, data: &Path) -> Value {
    let began = Instant::now();
    let ended = on(installation, data, &["--json", "store", "check", "--time-limit", &LIMIT_SECONDS.to_string()]);
    assert!(began.elapsed() < Duration::from_secs(LIMIT_SECONDS) + SLACK, "it took {:?}", began.elapsed());
    let report: Value = serde_json::from_str(ended.stdout.lines().last().unwrap_or("null")).unwrap();
    assert_eq!(ended.code, i32::from(report["ok"] != true), "{report} {}", ended.stderr);
    for problem in report["problems"].as_array().unwrap_or_else(|| panic!("{report} {}", ended.stderr)) {
        for member in ["code", "what", "advice"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
    report
}

/// Whether a problem of this kind tells of this.
fn tells(report: &Value, code: &str, what: &str) -> bool {
    let problems = report["problems"].as_array().unwrap();
    problems.iter().any(|problem| problem["code"] == code && problem["what"].as_str().unwrap().contains(what))
}

fn snapshot(data: &Path) -> PathBuf {
    let found = files(&data.join("store")).into_iter();
    found.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).unwrap()
}

fn segment_files(data: &Path) -> Vec<PathBuf> {
    files(&data.join("segments"))
}

fn flip(path: &Path, bit: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

/// Goal: a healthy store is whole, with a server and without; whatever happens to its files is found and named, and the check
/// changes nothing. Method: copies of one store, each damaged in one way.
#[tokio::test(flavor = "multi_thread")]
async fn damage_to_files_is_found_and_named() {
    let (sandbox, installation, _) = lived(120).await;
    let mut dice = Dice::seeded("HEADGATE_CARE_SEED");
    let healthy = checked(&installation, &installation.data());
    assert_eq!(healthy["problems"], json!([]), "{healthy}");
    let count = |what: &str| healthy["checked"][what].as_u64().unwrap_or(0);
    assert!(count("pages") > 0 && count("blocks") >= count("pages") && count("versions") > 0, "{healthy}");
    assert!(count("rows") > count("records") && count("audit entries") > 0 && count("business keys") > 0, "{healthy}");
    assert!(count("stops") >= 2 && count("keys") > 0 && count("connections") == 3, "{healthy}");
    let server = installation.serve(Some(&sandbox)).await;
    let served = installation.result(&["store", "check"]);
    assert_eq!((&served["ok"], &served["checked"]["versions"]), (&json!(true), &healthy["checked"]["versions"]), "{served}");
    assert_eq!(server.stop(), 0);

    let damaged = installation.beside("damaged");
    let case = |name: &str, damage: &mut dyn FnMut(&Path) -> String, code: &str| {
        let _ = fs::remove_dir_all(&damaged);
        copy(&installation.data(), &damaged);
        let what = damage(&damaged);
        let report = checked(&installation, &damaged);
        assert!(tells(&report, code, &what), "{name}: no {code} of {what} in {report}");
    };
    for _ in 0..3 {
        let mut damage = |data: &Path| {
            let segments = segment_files(data);
            let path = &segments[dice.roll(segments.len() as u64) as usize];
            flip(path, dice.roll(fs::metadata(path).unwrap().len() * 8));
            path.display().to_string()
        };
        case("a flipped bit of a segment", &mut damage, "block.damaged");
    }
    let segment = |data: &Path| segment_files(data).remove(0);
    case(
        "a removed segment",
        &mut |data| {
            fs::remove_file(segment(data)).unwrap();
            segment_name(&segment_files(&installation.data())[0])
        },
        "segment.missing",
    );
    let truncate = &mut |data: &Path| {
        let path = segment(data);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        path.display().to_string()
    };
    case("a truncated segment", truncate, "segment.truncated");
    let put = |data: &Path, name: &str| {
        fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
        fs::write(data.join(name), "x").unwrap();
        name.to_owned()
    };
    case("a stray blob", &mut |data| put(data, "store/blobs/17"), "blobs.present");
    case("a stray file", &mut |data| put(data, "segments/1/notes.txt"), "file.stray");
    case("segments of nobody", &mut |data| put(data, "segments/1/99/0.seg").replace("/0.seg", ""), "file.stray");
    case(
        "a stop that was damaged",
        &mut |data| {
            flip(&data.join("stops"), 8 * 20);
            "entry 0".into()
        },
        "stops.damaged",
    );
    let keys = &mut |data: &Path| {
        fs::remove_file(files(&data.join("keyring/connections")).remove(0)).unwrap();
        "connection".to_owned()
    };
    case("a lost key", keys, "keyring.missing");
}

/// `1/2/0.seg`, wherever it lies.
fn segment_name(path: &Path) -> String {
    path.iter().skip(path.iter().count() - 3).collect::<PathBuf>().display().to_string()
}

/// Goal: whatever happens to the engine's file, a check ends within its limit, and a store that it calls whole has lost nothing.
/// Method: bits at random places, of a store that sled opens by its log alone and of one that has a snapshot; then half the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_engine_hangs_nobody() {
    let (_sandbox, installation, _) = lived(200).await;
    let mut dice = Dice::seeded("HEADGATE_CARE_SEED");
    let flips = std::env::var("HEADGATE_CARE_FLIPS").ok().and_then(|flips| flips.parse().ok()).unwrap_or(FLIPS_DEFAULT);
    let (by_log, by_snapshot) = (installation.data(), installation.beside("reopened"));
    copy(&by_log, &by_snapshot);
    let healthy = checked(&installation, &by_snapshot);
    assert_eq!(healthy["ok"], true, "{healthy}");
    let damaged = installation.beside("damaged");
    let mut found = 0;
    for number in 0..flips {
        let from = if number % 2 == 0 { &by_log } else { &by_snapshot };
        let _ = fs::remove_dir_all(&damaged);
        copy(from, &damaged);
        let db = damaged.join("store/db");
        // Behind what was written the engine fills its last segment with one byte.
        let bytes = fs::read(&db).unwrap();
        let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == bytes[bytes.len() - 1]).count();
        let bit = dice.roll(used as u64 * 8);
        flip(&db, bit);
        let report = checked(&installation, &damaged);
        let codes: Vec<&Value> = report["problems"].as_array().unwrap().iter().map(|problem| &problem["code"]).collect();
        println!("bit {bit} of {}: {codes:?}", used * 8);
        if report["ok"] == true {
            for counted in ["rows", "versions", "records", "audit entries", "business keys"] {
                assert_eq!(report["checked"][counted], healthy["checked"][counted], "bit {bit}: {report}");
            }
        } else {
            found += 1;
        }
    }
    println!("{found} of {flips} flips were found");
    let _ = fs::remove_dir_all(&damaged);
    copy(&by_log, &damaged);
    let db = damaged.join("store/db");
    let length = fs::metadata(&db).unwrap().len();
    let file = fs::File::options().write(true).open(&db).unwrap();
    file.write_all_at(&vec![0x5a; (length / 2) as usize], length / 8).unwrap();
    let report = checked(&installation, &damaged);
    assert!(tells(&report, "engine.lost", "has lost its end"), "{report}");
    // And nothing is served from it.
    let served = on(&installation, &damaged, &["store", "stats"]);
    assert!(served.code == 1 && served.stderr.contains("has lost its end"), "{}", served.stderr);
}

/// Goal: a check that is killed leaves no process behind that holds the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_killed_lets_go() {
    let (_sandbox, installation, _) = lived(60).await;
    for wait in [10, 60, 150] {
        let mut parent = installation.command(&["store", "check"]).stdin(std::process::Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        parent.kill().unwrap();
        parent.wait().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let report = checked(&installation, &installation.data());
        assert_eq!(report["problems"], json!([]), "{report}");
    }
}

/// Goal: a store whose snapshot is damaged is opened, verified, told of and whole. Method: the real server.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_costs_nothing() {
    let (sandbox, installation, kept) = lived(60).await;
    let server = installation.serve(Some(&sandbox)).await;
    let before = server.client().all(&format!("/v1/records?connection={kept}")).await.unwrap();
    server.kill();
    let snap = snapshot(&installation.data());
    let bytes = fs::read(&snap).unwrap();
    for (number, damage) in [bytes[..bytes.len() / 2].to_vec(), bytes.iter().map(|byte| byte ^ 1).collect()].into_iter().enumerate() {
        fs::write(snapshot(&installation.data()), &damage).unwrap();
        let server = installation.serve(Some(&sandbox)).await;
        let after = server.client().all(&format!("/v1/records?connection={kept}")).await.unwrap();
        assert_eq!(after.len(), before.len());
        assert!(after.iter().all(|record| before.contains(record)));
        let told = installation.log().matches("everything in it is verified").count();
        assert_eq!(told, number + 1, "{}", installation.log());
        let snapshots = installation.result(&["store", "stats"])["snapshots"].as_array().unwrap().clone();
        assert_eq!(snapshots.len(), number + 1, "{snapshots:?}");
        let aside = snapshots.last().unwrap();
        assert_eq!(aside["state"], "verified");
        let kept_aside = files(Path::new(aside["set_aside"].as_str().unwrap()));
        assert!(kept_aside.iter().any(|path| fs::read(path).unwrap() == damage), "{kept_aside:?}");
        assert_eq!(server.stop(), 0);
    }
}

/// Goal: below the floor pages are refused in plain words, and stops and erasures go on. Method: a floor above every disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_page_and_every_stop() {
    let sandbox = Sandbox::start(sandbox::Options { records: 20, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let config = installation.data().join("headgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[disk]\nlow_mib = 4000000000\nfloor_mib = 4000000000\n")).unwrap();
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &sandbox).await.unwrap();
    let runs = client.pull(&connection).await.unwrap();
    for run in &runs {
        let error = run["error"].as_str().unwrap_or_default();
        assert!(run["state"] == "failed" && error.contains("the disk is full") && error.contains("MiB"), "{run}");
    }
    let stats = installation.result(&["store", "stats"]);
    assert_eq!((&stats["disk"], &stats["records"]), (&json!("full"), &json!(0)), "{stats}");
    assert!(installation.log().contains("the disk is nearly full"), "{}", installation.log());
    let metrics = client.get("/metrics").await.unwrap();
    assert!(metrics.as_str().unwrap().contains("headgate_disk_free_bytes "), "{metrics}");
    client.post(&format!("/v1/connections/{connection}/revoke"), json!({})).await.unwrap();
    let erasure = client.erase(&connection).await.unwrap();
    client.complete(&erasure).await.unwrap();
    // With room again the same directory takes pages.
    assert_eq!(server.stop(), 0);
    fs::write(&config, text).unwrap();
    let server = installation.serve(Some(&sandbox)).await;
    let connection = server.client().connect("acme", &sandbox).await.unwrap();
    assert!(server.client().pull(&connection).await.unwrap().iter().all(|run| run["state"] == "complete"));
    assert_eq!(server.stop(), 0);
}

/// Goal: large records lie in segment files, whatever their size, and the engine's rows stay small: nothing is ever in a file
/// that it does not sync. Method: an application whose records are of 5 MB and less, twice, with changes.
#[tokio::test(flavor = "multi_thread")]
async fn large_records_lie_in_segments() {
    let round = Arc::new(AtomicU64::new(0));
    let asked = round.clone();
    let server = Server::start(move |_| {
        let round = asked.load(Ordering::SeqCst);
        let item = |(id, bytes): (u64, usize)| json!({"id": id, "round": round, "text": noise(id + round * 100, bytes)});
        let sizes = [5_000_000, 1_200_000, 300_000, 100_000, 50_000, 10];
        Reply::json(&json!({"items": (0..).zip(sizes).map(item).collect::<Vec<_>>()}))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    let manifest = format!(
        "version: 6.0.0\ntype: DeclarativeSource\ncheck: {{type: CheckStream, stream_names: [items]}}\nstreams:\n  - type: DeclarativeStream\n    \
         name: items\n    primary_key: [id]\n    retriever:\n      type: SimpleRetriever\n      requester: {{type: HttpRequester, url_base: {}, path: \
         /items}}\n      record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: [items]}}}}\n    schema_loader: \
         {{type: InlineSchemaLoader, schema: {{type: object}}}}\n",
        server.url()
    );
    fs::write(&path, manifest).unwrap();
    let house = TestHouse::open(folder, &format!("[egress]\nallow = [\"{}\"]\n", server.host()), morning()).await;
    let connected = house.connect(path.to_str().unwrap(), json!({})).await;
    let connection = connected["connection"].as_str().unwrap();
    let blobs = house.data().join("store/blobs");
    for number in 0..2 {
        round.store(number, Ordering::SeqCst);
        let run = house.pull_one(connection).await;
        assert_eq!(run["state"], "complete", "{run}");
        assert!(files(&blobs).is_empty(), "{:?}", files(&blobs));
        let records = house.records(connection, "items").await;
        assert_eq!(records.len(), 6);
        for record in &records {
            let (id, text) = (record["data"]["id"].as_u64().unwrap(), record["data"]["text"].as_str().unwrap());
            assert!(record["data"]["round"] == number && text == noise(id + number * 100, text.len()), "record {id} differs");
        }
    }
    let stats = house.have("GET", "/admin/store/stats", None).await;
    // Noise of sixteen letters halves at best.
    assert!(stats["segment_bytes"].as_u64().unwrap() > 6_000_000, "{stats}");
    assert!(stats["engine_bytes"].as_u64().unwrap() < 4_000_000, "{stats}");
    house.close().await;
}

/// Letters that do not compress to nothing.
fn noise(seed: u64, bytes: usize) -> String {
    let mut dice = Dice::of(seed);
    (0..bytes).map(|_| char::from(b'a' + dice.roll(16) as u8)).collect()
}
