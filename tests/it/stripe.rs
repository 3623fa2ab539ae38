//! An account of Stripe's, read by its lists first and by its events then, by the embedded connector.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::support::application::Seen;
use crate::support::application::Story;
use crate::support::application::run;
use crate::support::house::morning;
use crate::support::stripe::PLACE;
use crate::support::stripe::RESOURCES;
use crate::support::stripe::Stripe;
use crate::support::stripe::too_many;

const KEY: &str = "rk_live_c4n4ry51OwnK3y";

async fn begin() -> Story<Stripe> {
    let clock = morning();
    let config = json!({"api_key": KEY, "start_date": "2009-01-01T00:00:00Z"});
    Story::begin("stripe", &[PLACE], Stripe::open(KEY, &clock), config, clock).await
}

/// The kind that each stream is read as.
fn kind(stream: &str) -> &'static str {
    match stream {
        "customers" => "customer",
        "products" | "prices" => "product",
        "disputes" => "ticket",
        "invoices" => "invoice",
        _ => "payment",
    }
}

/// The objects of a list as records: with the time of their change, without the secret of a payment.
fn records(account: &Stripe, resource: &str) -> Vec<Value> {
    let mut objects = account.objects(resource).to_vec();
    for object in objects.iter_mut().filter(|_| resource != "balance_transactions") {
        let object = object.as_object_mut().unwrap();
        object.remove("client_secret");
        let created = object["created"].clone();
        object.insert("changed_at".to_owned(), created);
    }
    objects
}

/// How often each path was asked for.
fn counts(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    seen.iter().for_each(|seen| *counts.entry(seen.asked.path.clone()).or_default() += 1);
    counts
}

/// Goal: the first pull reads the lists page by page; the next asks for events, and once for each object that they name, so that a
/// change of an old object is seen, however late its event is read. Method: pages of two, so that lists go on behind their last
/// id; an invoice that changes twice, a refund told by the charge, a dispute that must not be taken for a charge, a customer who
/// is deleted; then a pull in which nothing has happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_read_by_lists_and_then_by_events() {
    let story = begin().await;
    story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status == 200), "{seen:#?}");
    assert!(seen.iter().all(|seen| seen.asked.header("stripe-version") == Some("2024-06-20")));
    for (resource, _) in RESOURCES {
        let (expected, listed) = story.application.with(|account| (records(account, resource), account.objects(resource).len()));
        let held = story.holds(resource, kind(resource), "id", &format!("{PLACE}/v1/{resource}?"), &expected).await;
        assert_eq!(counts(&seen)[&format!("/v1/{resource}")], listed.div_ceil(2), "{resource}");
        if resource == "invoices" {
            let view = &held.iter().find(|record| record["data"]["number"] == "ACME-0002").unwrap()["operational"];
            assert_eq!((&view["total"], &view["order_number"]), (&json!(2_000), &json!("#2002")), "{view}");
        }
    }
    let streams = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(story.under("order_id", "#2002").await, streams(&["payment_intents", "charges", "invoices"]));
    assert_eq!(
        story.under("charge_id", "ch_own2").await,
        streams(&["payment_intents", "charges", "refunds", "disputes", "balance_transactions"])
    );
    assert_eq!(story.under("invoice_number", "acme 0002").await, streams(&["invoices"]));
    assert_eq!(story.under("sku", "BOLT-1").await, streams(&["products", "prices"]));

    story.house.pass(600);
    story.application.with(|account| {
        account.change("invoices", 1, "invoice.finalized", Some(json!({"status": "open"})));
        account.change("invoices", 1, "invoice.paid", Some(json!({"status": "paid", "amount_paid": 2_000})));
        account.change("charges", 2, "charge.refunded", Some(json!({"refunded": true, "amount_refunded": 2_000})));
        account.change("disputes", 3, "charge.dispute.closed", Some(json!({"status": "won"})));
        account.change("customers", 3, "customer.deleted", None);
    });
    story.house.pass(600);
    let again = story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status == 200), "{seen:#?}");
    let changed = ["/v1/charges/ch_own2", "/v1/customers/cus_own3", "/v1/disputes/dp_own3", "/v1/invoices/in_own1"];
    let asked = counts(&seen);
    let objects: Vec<&String> = asked.keys().filter(|path| path.matches('/').count() > 2).collect();
    assert_eq!(objects, changed, "{asked:?}");
    assert!(changed.iter().all(|path| asked[*path] == 1), "{asked:?}");
    assert_eq!(asked.keys().filter(|path| path.matches('/').count() == 2).collect::<Vec<_>>(), ["/v1/balance_transactions", "/v1/events"]);
    for (resource, _) in RESOURCES {
        let changes = usize::from(["charges", "customers", "disputes", "invoices"].contains(&resource));
        let run = run(&again, resource);
        assert_eq!((&run["new"], &run["changed"]), (&json!(0), &json!(changes)), "{run}");
    }
    let invoices = story.house.records(&story.connection, "invoices").await;
    let paid = invoices.iter().find(|record| record["data"]["id"] == "in_own1").unwrap();
    assert_eq!((&paid["data"]["status"], &paid["version"]), (&json!("paid"), &json!(2)), "{paid}");
    let customers = story.house.records(&story.connection, "customers").await;
    assert!(customers.iter().any(|record| record["data"]["id"] == "cus_own3" && record["data"]["deleted"] == true), "{customers:#?}");

    // What is asked again of the last minute is known.
    story.house.pass(600);
    for run in story.pull().await {
        assert_eq!((&run["new"], &run["changed"]), (&json!(0), &json!(0)), "{run}");
    }
    assert!(story.application.take_seen().iter().all(|seen| seen.status == 200));
    story.keeps_secret(&[KEY, "_secret_canary"]).await;
    story.house.close().await;
}

/// Goal: a rate that is too high is waited out; events that are gone lead back to the list; a key that was deleted cuts off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_understood() {
    let story = begin().await;
    story.application.order("/v1/payouts", too_many());
    let path = format!("/v1/connections/{}/runs", story.connection);
    let payouts = || Some(json!({"streams": ["payouts"]}));
    let runs = story.house.ended(&story.house.have("POST", &path, payouts()).await).await;
    assert_eq!(runs[0]["state"], "complete", "{runs:#?}");
    let statuses: Vec<u16> = story.application.take_seen().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses[..2], [429, 200]);

    // Forty days later the events since the last pull are not all there.
    story.house.pass(40 * 86_400);
    let runs = story.house.ended(&story.house.have("POST", &path, payouts()).await).await;
    assert_eq!(runs[0]["state"], "complete", "{runs:#?}");
    assert!(story.application.take_seen().iter().all(|seen| seen.asked.path == "/v1/payouts"));

    story.application.with(|account| account.key = "another".to_owned());
    story.is_cut_off().await;
    story.house.close().await;
}
