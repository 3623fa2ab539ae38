//! ShipStation's stand-in behaves as that application is documented to, and the embedded connector reads it whole.

use std::collections::BTreeSet;

use headgate::clock::Clock;
use headgate::clock::Timestamp;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::civil::DateTime;
use reqwest::StatusCode;
use serde_json::Value;
use serde_json::json;
use tokio::time::Duration;

use crate::support::command::Served;
use crate::support::command::headgate;
use crate::support::house::TestHouse;
use crate::support::house::morning;
use crate::support::house::search;
use crate::support::shipstation::Options;
use crate::support::shipstation::ShipStation;

/// The lists, with the kind of their records and the member that tells them apart.
const LISTS: [(&str, &str, &str); 5] = [
    ("orders", "order", "orderId"),
    ("shipments", "shipment", "shipmentId"),
    ("products", "product", "productId"),
    ("fulfillments", "shipment", "fulfillmentId"),
    ("customers", "customer", "customerId"),
];

struct Caller {
    application: ShipStation,
    http: reqwest::Client,
}

impl Caller {
    async fn new(options: Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { application: ShipStation::start(options).await, http: reqwest::Client::builder().build().unwrap() }
    }

    async fn ask(&self, path: &str, secret: &str) -> (StatusCode, reqwest::header::HeaderMap, Value) {
        let request = self.http.get(format!("{}{path}", self.application.base_url())).basic_auth("key", Some(secret));
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}

/// Pages hold every record once, in the order of the time that was asked for, and windows hold those within them.
#[tokio::test]
async fn pages_and_windows_are_complete() {
    let caller = Caller::new(Options { page_size_max: 2, copies: 3, requests_per_window: 1_000, ..Options::default() }).await;
    for (resource, _, id) in LISTS {
        let mut found = Vec::new();
        for page in 1.. {
            let (status, _, body) = caller.ask(&format!("/{resource}?page={page}&pageSize=500"), "secret").await;
            assert_eq!((status, &body["page"]), (StatusCode::OK, &Value::from(page)));
            found.extend(body[resource].as_array().unwrap().iter().map(|record| record[id].as_u64().unwrap()));
            if page >= body["pages"].as_u64().unwrap() {
                assert_eq!(body["total"], found.len());
                break;
            }
        }
        let mut expected: Vec<_> = caller.application.records(resource).iter().map(|record| record[id].as_u64().unwrap()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(found, expected, "{resource}");
    }
    let times: Vec<&str> = caller.application.records("orders").iter().map(|order| order["modifyDate"].as_str().unwrap()).collect();
    let edge = times[0].trim_end_matches('0');
    let (_, _, at) = caller.ask(&format!("/orders?modifyDateStart={edge}&modifyDateEnd={edge}"), "secret").await;
    assert_eq!(at["orders"][0]["modifyDate"], times[0]);
    let (_, _, before) = caller.ask("/orders?modifyDateEnd=2001-01-01 00:00:00", "secret").await;
    assert_eq!((&before["total"], &before["pages"]), (&Value::from(0), &Value::from(0)));
}

/// Wrong keys, wrong values, wrong paths and too many requests are told apart by status, headers and body.
#[tokio::test]
async fn refusals_have_their_shapes() {
    let caller = Caller::new(Options { requests_per_window: 4, window: Duration::from_secs(2), ..Options::default() }).await;
    let (status, _, body) = caller.ask("/orders", "wrong").await;
    assert!(status == StatusCode::UNAUTHORIZED && body["Message"].is_string());
    let (status, _, body) = caller.ask("/orders?page=none", "secret").await;
    assert!(status == StatusCode::BAD_REQUEST && body["ModelState"]["page"].is_array());
    assert_eq!(caller.ask("/carrots", "secret").await.0, StatusCode::NOT_FOUND);
    let (status, headers, _) = caller.ask("/orders", "secret").await;
    assert_eq!(
        (status, &headers["x-rate-limit-limit"], &headers["x-rate-limit-remaining"]),
        (StatusCode::OK, &"4".parse().unwrap(), &"0".parse().unwrap())
    );
    let (status, headers, _) = caller.ask("/orders", "secret").await;
    assert_eq!((status, &headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &headers["x-rate-limit-reset"]));
    let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert_eq!(caller.ask("/orders", "secret").await.0, StatusCode::OK);
    caller.application.regenerate_keys();
    assert_eq!(caller.ask("/orders", "secret").await.0, StatusCode::UNAUTHORIZED);
    let seen = caller.application.seen();
    assert_eq!(seen.iter().map(|seen| seen.status).collect::<Vec<_>>(), [401, 400, 404, 200, 429, 200, 401]);
    assert_eq!((seen[1].path.as_str(), seen[1].query[0].0.as_str()), ("/orders", "page"));
}

const KEY: &str = "f00dcafe5eedbeef";
const SECRET: &str = "a1b2:c3d4/e5f6+%";

fn options() -> Options {
    Options { key: KEY.into(), secret: SECRET.into(), ..Options::default() }
}

/// The configuration of a test directory that has `application` stand in for the real one.
fn rewritten(application: &ShipStation) -> String {
    format!("[connectors.shipstation.rewrite]\n\"https://ssapi.shipstation.com\" = \"{}\"\n", application.base_url())
}

fn config(start: Date) -> Value {
    json!({"api_key": KEY, "api_secret": SECRET, "start_date": format!("{start}T00:00:00Z")})
}

/// The day of the newest order.
fn last_day(application: &ShipStation) -> Date {
    let changed = |order: &Value| order["modifyDate"].as_str().unwrap().parse::<DateTime>().unwrap().date();
    application.records("orders").iter().map(changed).max().unwrap()
}

/// Goal: through the whole gateway the published payloads arrive as orders, parcels, products and customers, each once and exactly,
/// found by their business keys across streams; key and secret stand nowhere. Method: a served binary by a test clock, the
/// command line beside it, an API key over TCP; two windows of time whose edge lies between the parcels, several pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_connector_reads_it_whole() {
    let application = ShipStation::start(Options { page_size_max: 5, copies: 2, ..options() }).await;
    let folder = tempfile::tempdir().unwrap();
    let (data, clock) = (folder.path().join("data"), folder.path().join("clock"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("headgate.toml"), rewritten(&application)).unwrap();
    let day = last_day(&application);
    std::fs::write(&clock, format!("{}T00:00:00Z", day + 7.days())).unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, config(day - 365.days()).to_string()).unwrap();

    let served = Served::start(&data, &clock);
    let words = ["--tenant", "acme", "--accept-policy", "--person", "Ada", "--organisation", "Acme", "--config"];
    let connected = headgate(&data, &[&["connect", "shipstation"], &words[..], &[file.to_str().unwrap()]].concat());
    assert_eq!((connected.code, &connected.result()["state"]), (0, &json!("active")), "{}", connected.text);
    let connection = connected.result()["connection"].as_str().unwrap().to_owned();
    let pulled = headgate(&data, &["run", &connection]);
    assert_eq!(pulled.code, 0, "{}", pulled.text);

    let mut told = connected.text + &pulled.text;
    for (stream, kind, id) in LISTS.into_iter().filter(|(stream, ..)| *stream != "fulfillments") {
        let listed = headgate(&data, &["records", &connection, "--stream", stream, "--limit", "500"]);
        let records = listed.result()["items"].as_array().unwrap();
        let sorted = |mut values: Vec<Value>| {
            values.sort_by_key(|value| value[id].as_u64());
            values
        };
        let expected = sorted(application.records(stream).to_vec());
        assert_eq!(sorted(records.iter().map(|record| record["data"].clone()).collect()), expected, "{stream}");
        assert!(records.iter().all(|record| record["kind"] == kind && record["version"] == 1));
        let url = records[0]["tag"]["page"]["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("https://ssapi.shipstation.com/{stream}?")), "{url}");
        told += &listed.text;
    }
    let seen = application.seen();
    assert!(seen.iter().all(|seen| seen.status == 200), "{seen:?}");
    let windows = |path: &str, name: &str| {
        let of = seen.iter().filter(|seen| seen.path == path);
        of.flat_map(|seen| seen.query.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone())).collect::<BTreeSet<_>>()
    };
    let cut = |path: &str| (windows(path, "createDateStart").len(), windows(path, "createDateEnd").len());
    assert_eq!(cut("/shipments"), (2, 2), "{seen:?}");
    // An order that changes while the list is read keeps its place in it.
    assert_eq!((windows("/orders", "modifyDateStart").len(), windows("/orders", "modifyDateEnd").len()), (1, 0), "{seen:?}");
    assert_eq!(windows("/orders", "sortBy"), ["CreateDate".to_owned()].into());

    // Everything under one order number, and one record by each kind of key, over TCP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = headgate(&data, &["keys", "create", "--role", "service", "--tenant", "acme", "--purpose", "shipping"]);
    let bearer = made.result()["key"].as_str().unwrap().to_owned();
    let http = reqwest::Client::builder().build().unwrap();
    let find = async |kind: &str, value: &str| {
        let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let request = http.get(format!("{}/v1/lineage/keys/{kind}/{value}", served.address)).bearer_auth(&bearer);
        let answer = request.send().await.unwrap().text().await.unwrap();
        let found: Value = serde_json::from_str(&answer).unwrap();
        let items = found["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
        (items.iter().map(|item| item["stream"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), answer)
    };
    let order = application.records("orders")[0]["orderNumber"].as_str().unwrap().to_owned();
    let (streams, answer) = find("order_number", &order).await;
    assert_eq!(streams, ["orders", "shipments"].map(str::to_owned).into(), "{answer}");
    told += &answer;
    for (kind, stream, member) in [("tracking_number", "shipments", "trackingNumber"), ("sku", "products", "sku")] {
        for record in application.records(stream) {
            let (streams, answer) = find(kind, record[member].as_str().unwrap()).await;
            assert!(streams.contains(stream), "{kind} {record} {answer}");
            told += &answer;
        }
    }

    // An hour later nothing is new; what is read again is what may have been missed. Nothing pulls by itself meanwhile.
    let operator = headgate(&data, &["keys", "create", "--role", "operator"]).result()["key"].as_str().unwrap().to_owned();
    let request = http.patch(format!("{}/v1/connections/{connection}", served.address)).bearer_auth(operator);
    let unscheduled = request.json(&json!({"schedule": null})).send().await.unwrap();
    assert_eq!(unscheduled.status(), StatusCode::OK);
    std::fs::write(&clock, format!("{}T01:00:00Z", day + 7.days())).unwrap();
    let again = headgate(&data, &["run", &connection, "--stream", "orders"]);
    let run = &again.result()["runs"][0];
    assert_eq!((again.code, &run["new"], &run["changed"], &run["requests"]), (0, &json!(0), &json!(0), &json!(1)), "{}", again.text);

    told += &(again.text + &served.log());
    let based = data_encoding::BASE64.encode(format!("{KEY}:{SECRET}").as_bytes());
    let mut files = Vec::new();
    for secret in [KEY, SECRET, &based] {
        assert!(!told.contains(secret), "{secret} was told");
        search(&data, &[secret], &mut files);
    }
    assert!(files.is_empty(), "{files:?}");
}

/// Goal: what the application says of its rate is obeyed: an allowance that others have spent is waited for once, and one that
/// Headgate spends itself never leads to a refusal. Method: two requests in three seconds, both taken before the pull.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_rate_is_obeyed() {
    let limits = Options { requests_per_window: 2, window: Duration::from_secs(3), page_size_max: 1, copies: 2, ..options() };
    let application = ShipStation::start(limits).await;
    let house = TestHouse::open(tempfile::tempdir().unwrap(), &rewritten(&application), morning()).await;
    let connected = house.connect("shipstation", config(last_day(&application))).await;
    let connection = connected["connection"].as_str().unwrap();
    let http = reqwest::Client::builder().build().unwrap();
    for _ in 0..2 {
        let other = http.get(format!("{}/products", application.base_url())).basic_auth(KEY, Some(SECRET)).send().await.unwrap();
        assert_eq!(other.status(), StatusCode::OK);
    }
    let order = json!({"streams": ["products"]});
    let started = house.have("POST", &format!("/v1/connections/{connection}/runs"), Some(order)).await;
    let run = house.ended(&started).await.remove(0);
    let count = application.records("products").len();
    assert_eq!((&run["state"], &run["new"], &run["requests"]), (&json!("complete"), &json!(count), &json!(count + 1)), "{run}");
    let statuses: Vec<u16> = application.seen().iter().skip(2).map(|seen| seen.status).collect();
    assert!(statuses[0] == 429 && statuses[1..].iter().all(|status| *status == 200), "{statuses:?}");
    // Whoever asks why it was slow is told what it waited for.
    let shown = house.have("GET", &format!("/v1/connections/{connection}"), None).await;
    let activity = &shown["activity"];
    assert_eq!((&activity["requests"]["limited"], &activity["requests"]["ok"]), (&json!(1), &json!(count)), "{activity}");
    assert_eq!((&activity["retries"], &activity["waiting"]), (&json!(1), &json!([])), "{activity}");
    let waited = activity["waits"].as_array().unwrap().iter().find(|wait| wait["for"] == "budget").unwrap();
    assert!(waited["seconds"].as_f64().unwrap() > 1.0, "{activity}");
    assert_eq!((&activity["pages_stored"], &activity["pages_waiting"]), (&activity["pages_read"], &json!(0)), "{activity}");
    let (_, metrics) = house.visit("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains(r#"headgate_waits_total{connector="shipstation",outcome="budget"}"#), "{metrics}");
    assert!(metrics.contains("headgate_oldest_unsynced_seconds") && metrics.contains("headgate_bytes_per_record"), "{metrics}");
    house.close().await;
}

/// Goal: when the customer regenerates the keys, the connection says that it needs them, asks nothing more, and keeps what it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regenerated_keys_need_the_customer() {
    let application = ShipStation::start(options()).await;
    let day = last_day(&application);
    let clock = Clock::manual(format!("{}T00:00:00Z", day + 7.days()).parse::<Timestamp>().unwrap());
    let house = TestHouse::open(tempfile::tempdir().unwrap(), &rewritten(&application), clock).await;
    let connected = house.connect("shipstation", config(day - 30.days())).await;
    let connection = connected["connection"].as_str().unwrap();
    assert!(house.pull(connection).await.iter().all(|run| run["state"] == "complete"));
    let secret = application.regenerate_keys();
    let pull_orders = async || {
        let order = Some(json!({"streams": ["orders"]}));
        house.ended(&house.have("POST", &format!("/v1/connections/{connection}/runs"), order).await).await
    };
    let runs = pull_orders().await;
    assert!(runs.iter().any(|run| run["error"].as_str().is_some_and(|error| error.contains("401"))), "{runs:?}");
    assert_eq!(house.state(connection).await, "needs_reauthorization");
    let before = application.seen().len();
    let (status, _) = house.ask("POST", &format!("/v1/connections/{connection}/runs"), Some(json!({}))).await;
    assert_eq!((status.as_u16(), application.seen().len()), (409, before));
    for (stream, _, _) in LISTS.into_iter().filter(|(stream, ..)| *stream != "fulfillments") {
        assert_eq!(house.records(connection, stream).await.len(), application.records(stream).len(), "{stream}");
    }
    // A reconnect with the new secret opens the same connection; one that does not fit changes nothing.
    let path = format!("/admin/connections/{connection}/reconnect");
    let (status, _) = house.ask("POST", &path, Some(json!({"config": {"api_key": KEY}}))).await;
    assert_eq!((status.as_u16(), house.state(connection).await.as_str()), (422, "needs_reauthorization"));
    let mut renewed = config(day - 30.days());
    renewed["api_secret"] = secret.into();
    let (status, answer) = house.ask("POST", &path, Some(json!({"config": renewed}))).await;
    assert_eq!((status.as_u16(), &answer["connection"], &answer["state"]), (200, &json!(connection), &json!("active")));
    assert!(pull_orders().await.iter().all(|run| run["state"] == "complete"));
    house.close().await;
}

/// Goal: what was sent by other means than a label is read as a parcel too. The published samples are of another year than the
/// orders, so this is a test of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parcels_sent_by_other_means_are_read() {
    let application = ShipStation::start(options()).await;
    let sent = application.records("fulfillments");
    let day = sent.iter().map(|parcel| parcel["createDate"].as_str().unwrap().parse::<DateTime>().unwrap().date()).max().unwrap();
    let clock = Clock::manual(format!("{}T00:00:00Z", day + 7.days()).parse::<Timestamp>().unwrap());
    let house = TestHouse::open(tempfile::tempdir().unwrap(), &rewritten(&application), clock).await;
    let connected = house.connect("shipstation", config(day - 30.days())).await;
    let connection = connected["connection"].as_str().unwrap();
    let order = Some(json!({"streams": ["fulfillments"]}));
    let started = house.have("POST", &format!("/v1/connections/{connection}/runs"), order).await;
    assert_eq!(house.ended(&started).await[0]["state"], "complete");
    let records = house.records(connection, "fulfillments").await;
    assert!(records.len() == sent.len() && records.iter().all(|record| record["kind"] == "shipment" && sent.contains(&record["data"])));
    let number = sent[0]["trackingNumber"].as_str().unwrap();
    let found = house.have("GET", &format!("/v1/lineage/keys/tracking_number/{number}?tenant=acme"), None).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    house.close().await;
}
