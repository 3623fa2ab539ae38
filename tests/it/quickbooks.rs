//! A company's books in QuickBooks Online, from consent to revocation, by the embedded connector.

use headgate::clock::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::support::application::CLIENT_SECRET;
use crate::support::application::Seen;
use crate::support::application::Story;
use crate::support::application::run;
use crate::support::house::morning;
use crate::support::quickbooks::ENTITIES;
use crate::support::quickbooks::PLACES;
use crate::support::quickbooks::QuickBooks;
use crate::support::quickbooks::REALM;
use crate::support::quickbooks::fault;
use crate::support::quickbooks::too_many;

/// The streams with their kinds, in the order of [`ENTITIES`]; one has none.
const STREAMS: [(&str, Option<&str>); 10] = [
    ("customers", Some("customer")),
    ("items", Some("product")),
    ("invoices", Some("invoice")),
    ("sales_receipts", Some("invoice")),
    ("credit_memos", Some("invoice")),
    ("payments", Some("payment")),
    ("refund_receipts", Some("payment")),
    ("vendors", None),
    ("bills", Some("invoice")),
    ("purchase_orders", Some("order")),
];

async fn begin() -> Story<QuickBooks> {
    let clock = morning();
    let config = json!({"start_date": "2026-01-01T00:00:00Z"});
    Story::begin("quickbooks", &PLACES, QuickBooks::open(&clock), config, clock).await
}

/// The records of an entity as they are kept: with the time of their change in a field of their own.
fn records(books: &QuickBooks, entity: &str) -> Vec<Value> {
    let mut records = books.entities[entity].clone();
    for record in &mut records {
        let time: Timestamp = record["MetaData"]["LastUpdatedTime"].as_str().unwrap().parse().unwrap();
        record["updated_at"] = time.to_string().into();
    }
    records
}

fn queries(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter_map(|seen| seen.asked.parameter("query")).collect()
}

/// Goal: the redirect names the company, the books are read to their last record, what is inactive too, and found by its keys; then
/// only what changed, by a token of the pair that came in the place of the first. Method: more invoices than one answer holds; an
/// invoice that changes; a pull after the access token's end; then the revocation, which is told to the application.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_are_read_whole_and_then_by_their_changes() {
    let story = begin().await;
    story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status < 400), "{seen:#?}");
    for (entity, (stream, kind)) in ENTITIES.iter().zip(STREAMS) {
        let expected = story.application.with(|books| records(books, entity));
        let Some(kind) = kind else {
            assert_eq!(story.house.records(&story.connection, stream).await.len(), expected.len());
            continue;
        };
        let from = format!("https://quickbooks.api.intuit.com/v3/company/{REALM}/query?");
        let held = story.holds(stream, kind, "Id", &from, &expected).await;
        if stream == "payments" {
            let view = &held.iter().find(|record| record["data"]["Id"] == "2").unwrap()["operational"];
            assert_eq!((&view["amount"], &view["reference"]), (&json!(20.0), &json!("ch_own2")), "{view}");
        }
    }
    assert_eq!(queries(&seen).iter().filter(|query| query.contains("from Invoice ")).count(), 2);
    assert!(queries(&seen).iter().any(|query| query.ends_with("orderby Id startposition 1001 maxresults 1000")), "{:#?}", queries(&seen));
    let streams = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(story.under("invoice_number", "I-1002").await, streams(&["invoices"]));
    assert_eq!(story.under("tracking_number", "1ZInvoice3").await, streams(&["invoices"]));
    assert_eq!(story.under("invoice_id", "3").await, streams(&["invoices", "payments"]));
    assert_eq!(story.under("sku", "BOLT-2").await, streams(&["items"]));

    story.house.pass(3_600);
    story.application.with(|books| {
        let invoice = &mut books.entities.get_mut("Invoice").unwrap()[6];
        invoice["Balance"] = json!(0.0);
        invoice["SyncToken"] = "1".into();
        invoice["MetaData"]["LastUpdatedTime"] = "2026-11-24T02:45:00-08:00".into();
    });
    let again = story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status < 400), "{seen:#?}");
    assert_eq!(seen.iter().filter(|seen| seen.asked.path == "/oauth2/v1/tokens/bearer").count(), 1, "one refresh for all streams");
    assert_eq!(queries(&seen).len(), ENTITIES.len());
    // A minute before the newest of before, which was at nine in the morning of California.
    let since = |query: &&str| query.contains(">= '2026-11-14T16:59:00Z'") || query.contains(">= '2026-11-13T16:59:00Z'");
    assert!(queries(&seen).iter().all(since), "{:#?}", queries(&seen));
    for (stream, _) in STREAMS {
        let run = run(&again, stream);
        let changes = usize::from(stream == "invoices");
        assert_eq!((&run["new"], &run["changed"]), (&json!(0), &json!(changes)), "{run}");
    }
    let mut secrets = story.application.with(|books| books.issued.clone());
    secrets.push(CLIENT_SECRET.to_owned());
    story.keeps_secret(&secrets.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let reason = Some(json!({"reason": "over"}));
    story.house.have("POST", &format!("/v1/connections/{}/revoke", story.connection), reason).await;
    let told = async {
        while story.application.with(|books| books.revoked.is_empty()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), told).await.expect("the application is told");
    assert_eq!(story.application.with(|books| books.revoked.clone()), secrets[secrets.len() - 2..secrets.len() - 1]);
    story.house.close().await;
}

/// Goal: a throttled company is waited for, a fault that comes as a success is none, and a customer who disconnects cuts off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_understood() {
    let story = begin().await;
    let path = format!("/v1/connections/{}/runs", story.connection);
    let items = || Some(json!({"streams": ["items"]}));
    story.application.take_seen();
    story.application.order("/query", too_many());
    let runs = story.house.ended(&story.house.have("POST", &path, items()).await).await;
    assert_eq!(runs[0]["state"], "complete", "{runs:#?}");
    let statuses: Vec<u16> = story.application.take_seen().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [429, 200]);

    story.application.order("/query", fault(200, "SystemFault", "10000", "An application error has occurred"));
    let runs = story.house.ended(&story.house.have("POST", &path, items()).await).await;
    let error = runs[0]["error"].as_str().unwrap_or_default();
    assert!(runs[0]["state"] == "failed" && error.contains("An application error has occurred"), "{runs:#?}");
    assert_eq!(story.house.state(&story.connection).await, "active");

    story.application.with(QuickBooks::disconnect);
    story.is_cut_off().await;
    story.house.close().await;
}
