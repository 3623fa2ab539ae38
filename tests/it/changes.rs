//! The change feed: whoever follows it from the beginning has exactly what the store has, and sees everything once and in order.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

use headgate::sandbox;
use headgate::sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;

use crate::support::dice::Dice;
use crate::support::dice::seed;
use crate::support::house::TestHouse;
use crate::support::house::morning;
use crate::support::http::Reply;
use crate::support::http::Server;
use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::PURPOSE;
use crate::support::installation::text;

/// Two streams of one shop: goods are listed whole each time, news from a cursor on.
const MANIFEST: &str = r#"
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [goods]}
definitions:
  retriever:
    type: SimpleRetriever
    requester: {type: HttpRequester, url_base: "BASE/{{ config['shop'] }}", path: goods, http_method: GET}
    record_selector: {type: RecordSelector, extractor: {type: DpathExtractor, field_path: [items]}}
    paginator:
      type: DefaultPaginator
      page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: offset}
      page_size_option: {type: RequestOption, inject_into: request_parameter, field_name: limit}
      pagination_strategy: {type: OffsetIncrement, page_size: 7}
streams:
  - {type: DeclarativeStream, name: goods, primary_key: [id], retriever: {$ref: "\#/definitions/retriever"}}
  - type: DeclarativeStream
    name: news
    primary_key: [id]
    retriever: {$ref: "\#/definitions/retriever"}
    incremental_sync: {type: DatetimeBasedCursor, cursor_field: at, datetime_format: "%Y-%m-%d", start_datetime: "2026-01-01"}
"#;

/// What a mirror holds: by record its connection, version and data.
#[derive(Default)]
struct Mirror {
    after: Option<String>,
    records: BTreeMap<String, (String, u64, Value)>,
    /// The last version that was told of each record, so that none is missed.
    told: HashMap<String, u64>,
    counts: BTreeMap<String, u64>,
}

impl Mirror {
    fn apply(&mut self, item: &Value) {
        let (record, change) = (text(item, "record"), text(item, "change"));
        *self.counts.entry(change.clone()).or_default() += 1;
        match change.as_str() {
            "created" | "changed" => {
                let version = item["version"].as_u64().unwrap();
                let before = self.told.insert(record.clone(), version).unwrap_or_default();
                assert_eq!((version, change == "created"), (before + 1, before == 0), "out of order: {item}");
                assert_eq!(item["previous"].as_u64().unwrap_or_default(), before);
                self.records.insert(record, (text(item, "connection"), version, item["data"].clone()));
            }
            "deleted" => assert!(self.records.remove(&record).is_some() && item["run"].is_string(), "never had: {item}"),
            "erased" => {
                assert!(item["erasure"].is_string());
                self.records.remove(&record);
            }
            other => panic!("{other}"),
        }
        self.after = Some(text(item, "position"));
    }

    /// Reads one part in process; whether there was something.
    async fn follow(&mut self, house: &TestHouse, limit: u64, wait: u64) -> bool {
        let after = self.after.as_ref().map_or(String::new(), |after| format!("&after={after}"));
        let part = house.have("GET", &format!("/v1/changes?tenant=acme&limit={limit}&wait={wait}{after}"), None).await;
        let items = part["items"].as_array().unwrap();
        assert!(items.len() as u64 <= limit);
        items.iter().for_each(|item| self.apply(item));
        self.after = Some(text(&part, "next"));
        !items.is_empty()
    }
}

type Shops = Arc<Mutex<BTreeMap<String, BTreeMap<u64, u64>>>>;

/// One random life: shops that change, pulls, erasures, new connections, restarts of gateway and mirror.
async fn live(seed: u64) -> BTreeMap<String, u64> {
    let (mut dice, shops) = (Dice::of(seed), Shops::default());
    let served = Arc::clone(&shops);
    let server = Server::start(move |asked| {
        let shop = asked.path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        let number = |name| asked.parameter(name).and_then(|text| text.parse().ok());
        let (offset, limit) = (number("offset").unwrap_or(0), number("limit").unwrap_or(7));
        let shops = served.lock().unwrap();
        let goods = shops.get(&shop).into_iter().flatten().skip(offset).take(limit);
        Reply::json(&json!({"items": goods.map(|(id, value)| json!({"id": id, "value": value, "at": "2026-02-01"})).collect::<Vec<_>>()}))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.yaml");
    std::fs::write(&path, MANIFEST.replace("BASE", &server.url()).replace("\\#", "#")).unwrap();
    let mut house = TestHouse::open(folder, &format!("[egress]\nallow = [\"{}\"]\n", server.host()), morning()).await;
    let (mut mirror, mut living, mut made) = (Mirror::default(), Vec::<(String, String)>::new(), 0);
    for _ in 0..25 {
        match dice.roll(10) {
            0 | 1 if living.len() < 3 => {
                made += 1;
                let shop = format!("shop{made}");
                shops.lock().unwrap().insert(shop.clone(), (0..dice.roll(30)).map(|id| (id, 0)).collect());
                let connected = house.connect(path.to_str().unwrap(), json!({"shop": shop})).await;
                living.push((text(&connected, "connection"), shop));
            }
            2..=5 if !living.is_empty() => {
                let (connection, shop) = &living[dice.roll(living.len() as u64) as usize];
                for _ in 0..dice.roll(6) {
                    let (id, value) = (dice.roll(40), dice.roll(3));
                    let mut shops = shops.lock().unwrap();
                    let goods = shops.get_mut(shop).unwrap();
                    let _ = if dice.chance(40) { goods.remove(&id) } else { goods.insert(id, value) };
                }
                house.pass(1);
                let runs = house.pull(connection).await;
                assert!(runs.iter().all(|run| run["state"] == "complete"), "{runs:?}");
                let news = runs.iter().find(|run| run["stream"] == "news").unwrap();
                assert!(news["deleted"].is_null(), "a stream with a cursor cannot know");
            }
            6 if living.len() > 1 => {
                let (connection, _) = living.remove(dice.roll(living.len() as u64) as usize);
                let order = json!({"scope": {"connection": connection}, "revoke": true});
                let erasure = text(&house.have("POST", "/v1/erasures", Some(order)).await, "id");
                house.have("POST", &format!("/v1/erasures/{erasure}/approve"), Some(json!({}))).await;
                while house.have("GET", &format!("/v1/erasures/{erasure}"), None).await["state"] != "complete" {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            7 => house = house.reopen().await,
            _ => drop(mirror.follow(&house, 1 + dice.roll(20), 0).await),
        }
    }
    while mirror.follow(&house, 1 + dice.roll(50), 0).await {}
    let mut expected = BTreeMap::new();
    for (connection, _) in &living {
        for stream in ["goods", "news"] {
            let there = house.records(connection, stream).await.into_iter().filter(|record| record["deleted_at_source"].is_null());
            expected
                .extend(there.map(|record| {
                    (text(&record, "id"), (connection.clone(), record["version"].as_u64().unwrap(), record["data"].clone()))
                }));
        }
        let shop = living.iter().find(|(id, _)| id == connection).map(|(_, shop)| shops.lock().unwrap()[shop].len());
        let goods = expected.values().filter(|(of, _, _)| of == connection).count();
        assert!(goods == 0 || shop.is_some_and(|shop| goods >= shop), "{goods} of {shop:?}");
    }
    assert_eq!(mirror.records, expected, "HEADGATE_FEED_SEED={seed}");
    house.close().await;
    mirror.counts
}

/// Goal: a mirror built from the feed alone equals the store, whatever happens and however it is read. Method: random histories in
/// process; the seed is printed.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_exact() {
    let first = seed("HEADGATE_FEED_SEED");
    let mut counts = BTreeMap::new();
    for number in 0..6 {
        for (change, times) in live(first.wrapping_add(number)).await {
            *counts.entry(change).or_insert(0) += times;
        }
    }
    println!("{counts:?}");
    assert!(["created", "changed", "deleted", "erased"].iter().all(|change| counts.contains_key(*change)), "{counts:?}");
}

/// Goal: what the application has no more is told once, comes back as a version, and is never concluded from nothing.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_told_where_they_can_be_known() {
    let goods: Arc<Mutex<Vec<u64>>> = Arc::new(Mutex::new((0..20).collect()));
    let served = Arc::clone(&goods);
    let server = Server::start(move |asked| {
        let offset = asked.parameter("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
        let items: Vec<Value> =
            served.lock().unwrap().iter().skip(offset).take(7).map(|id| json!({"id": id, "at": "2026-02-01"})).collect();
        Reply::json(&json!({ "items": items }))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.yaml");
    std::fs::write(&path, MANIFEST.replace("BASE", &server.url()).replace("\\#", "#")).unwrap();
    let house = TestHouse::open(folder, &format!("[egress]\nallow = [\"{}\"]\n", server.host()), morning()).await;
    let connection = text(&house.connect(path.to_str().unwrap(), json!({"shop": "one"})).await, "connection");
    let mut deleted = Vec::new();
    for there in [(0..20).collect(), (0..18).collect(), (0..18).collect(), vec![], (0..19).collect::<Vec<u64>>()] {
        *goods.lock().unwrap() = there;
        house.pass(1);
        let runs = house.pull(&connection).await;
        let run = runs.iter().find(|run| run["stream"] == "goods").unwrap();
        deleted.push((run["deleted"].clone(), run["changed"].as_u64().unwrap()));
    }
    let told = |number: Option<u64>, changed| (json!(number), changed);
    assert_eq!(deleted, [told(None, 0), told(Some(2), 0), told(Some(0), 0), told(None, 0), told(Some(0), 1)]);
    let gone: Vec<Value> =
        house.records(&connection, "goods").await.into_iter().filter(|record| !record["deleted_at_source"].is_null()).collect();
    assert_eq!(gone.iter().map(|record| record["data"]["id"].as_u64().unwrap()).collect::<Vec<_>>(), [19]);
    let origin = house.have("GET", &format!("/v1/records/{}/lineage", text(&gone[0], "id")), None).await;
    assert_eq!(origin["source"]["deleted_at_source"], gone[0]["deleted_at_source"]);
    house.close().await;
}

/// A reader of events: what came, and where to go on.
#[derive(Default)]
struct Listener {
    items: Vec<Value>,
    last: Option<String>,
    problems: Vec<String>,
}

/// Takes events in until the connection ends.
async fn listen(client: &Client, heard: &Mutex<Listener>) -> Result<(), reqwest::Error> {
    let mut request = client.request(reqwest::Method::GET, "/v1/changes?limit=20").header("Accept", "text/event-stream");
    if let Some(last) = heard.lock().unwrap().last.clone() {
        request = request.header("Last-Event-ID", last);
    }
    let mut answer = request.send().await?.error_for_status()?;
    let mut text = String::new();
    while let Some(chunk) = answer.chunk().await? {
        text += &String::from_utf8_lossy(&chunk);
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let mut heard = heard.lock().unwrap();
            match (field("event: ").as_deref(), field("data: ")) {
                (Some("problem"), data) => heard.problems.push(data.unwrap_or_default()),
                (Some(kind), Some(data)) => {
                    let item: Value = serde_json::from_str(&data).unwrap();
                    assert_eq!(item["change"], kind);
                    assert_eq!(field("id: ").as_deref(), item["position"].as_str());
                    heard.last = field("id: ");
                    heard.items.push(item);
                }
                _ => {}
            }
            text = rest.to_owned();
        }
    }
    Ok(())
}

/// Goal: over a SIGKILL in the middle of a pull, events go on where they were: none is lost, none comes twice or out of order, and they are
/// what long poll tells from the beginning. A revoked key hears nothing more, and an end of the server ends the events at once. The
/// documentation's own mirror is exact too. Method: the real binary, a shop that changes.
#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_after_a_kill() {
    let sandbox = Sandbox::start(sandbox::Options { records: 150, ..Default::default() }).await.unwrap();
    let installation = Installation::new(&sandbox.address().to_string());
    let server = installation.serve(Some(&sandbox)).await;
    let connection = server.client().connect("acme", &sandbox).await.unwrap();
    let key = installation.result(&["keys", "create", "--role", "service", "--tenant", "acme", "--purpose", PURPOSE]);
    let heard = Arc::new(Mutex::new(Listener::default()));
    let listening = |client: Client| {
        let heard = Arc::clone(&heard);
        tokio::spawn(async move { listen(&client, &heard).await })
    };
    let secret = key["key"].as_str().unwrap();
    let first = listening(server.client().with_key(secret));
    server.client().begin_pull(&connection).await.unwrap();
    until(|| heard.lock().unwrap().items.len() >= 20).await;
    server.kill();
    assert!(first.await.unwrap().is_err(), "cut, not ended");
    let server = installation.serve(Some(&sandbox)).await;
    let client = server.client().with_key(secret);
    let second = listening(client.clone());
    client.pull(&connection).await.unwrap();
    sandbox.advance();
    client.pull(&connection).await.unwrap();

    let (mut told, mut after) = (Vec::new(), String::new());
    loop {
        let part = client.get(&format!("/v1/changes?limit=33&wait=0{after}")).await.unwrap();
        told.extend(part["items"].as_array().unwrap().iter().cloned());
        after = format!("&after={}", text(&part, "next"));
        if part["items"].as_array().unwrap().is_empty() {
            break;
        }
    }
    until(|| heard.lock().unwrap().items.len() >= told.len()).await;
    assert_eq!(heard.lock().unwrap().items, told);
    let mut mirror = Mirror::default();
    told.iter().for_each(|item| mirror.apply(item));
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    assert_eq!(mirror.records.len(), records.len());
    assert!(records.iter().all(|record| mirror.records[&text(record, "id")].2 == record["data"]));
    assert!(mirror.counts["changed"] > 0);
    by_feed_is_a_disclosure(&client, &text(&key, "id"), told.len()).await;
    the_documented_mirror_works(&installation, &server.address, secret, records.len());

    let waiting = tokio::spawn({
        let (client, after) = (client.clone(), after.clone());
        async move { client.get(&format!("/v1/changes?wait=30{after}")).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    sandbox.advance();
    let began = Instant::now();
    client.pull(&connection).await.unwrap();
    let woken = waiting.await.unwrap().unwrap();
    assert!(!woken["items"].as_array().unwrap().is_empty() && began.elapsed() < Duration::from_secs(20), "a change ends the waiting");
    let third = listening(server.client().with_key(another(&installation)["key"].as_str().unwrap()));
    installation.result(&["keys", "revoke", &text(&key, "id")]);
    sandbox.advance();
    let before = heard.lock().unwrap().items.len();
    server.client().pull(&connection).await.unwrap();
    second.await.unwrap().unwrap();
    let heard_since = heard.lock().unwrap().problems.len();
    assert_eq!(heard_since, 1, "the revoked key is told so; {before}");
    let began = Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(began.elapsed() < Duration::from_secs(4), "events end with the server: {:?}", began.elapsed());
    third.await.unwrap().unwrap();
}

fn another(installation: &Installation) -> Value {
    installation.result(&["keys", "create", "--role", "service", "--tenant", "acme", "--purpose", PURPOSE])
}

async fn by_feed_is_a_disclosure(client: &Client, key: &str, versions: usize) {
    let listed = client.all(&format!("/v1/disclosures?recipient={key}")).await.unwrap();
    let feed = listed.iter().find(|item| item["mechanism"] == "feed").unwrap();
    assert_eq!((&feed["records"], &feed["purpose"]), (&json!(versions), &json!(PURPOSE)), "each version counts once");
    let without = client.get("/v1/changes?data=false&limit=2").await.unwrap();
    assert!(without["items"][0]["data"].is_null() && without["items"][0]["tag"].is_null() && without["items"][0]["version"] == 1);
}

/// Runs the mirror that `docs/changes.md` shows, twice: the second time it goes on where it was.
fn the_documented_mirror_works(installation: &Installation, address: &str, key: &str, records: usize) {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3 to run the mirror of docs/changes.md with");
        return;
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/changes.md")).unwrap();
    let (_, block) = page.split_once("```python\n").unwrap();
    let script = installation.beside("mirror.py");
    std::fs::write(&script, block.split_once("```").unwrap().0).unwrap();
    for _ in 0..2 {
        let folder = script.parent().unwrap();
        let environment = [("HEADGATE_URL", address), ("HEADGATE_KEY", key), ("HEADGATE_PURPOSE", PURPOSE)];
        let ran = Command::new("python3").arg(&script).current_dir(folder).envs(environment).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("mirror.json")).unwrap()).unwrap();
        assert_eq!(kept["records"].as_object().unwrap().len(), records);
    }
}

async fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "it did not come to that");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
