//! A WooCommerce shop, read by the embedded connector.

use serde_json::Value;
use serde_json::json;

use crate::support::application::Seen;
use crate::support::application::Story;
use crate::support::application::basic;
use crate::support::application::run;
use crate::support::house::TestHouse;
use crate::support::house::morning;
use crate::support::woocommerce::PLACE;
use crate::support::woocommerce::SHOP;
use crate::support::woocommerce::WooCommerce;
use crate::support::woocommerce::too_many;

const KEY: &str = "ck_0ddba11c4n4ry";
const SECRET: &str = "cs_5eedbeefc4n4ry";

fn config() -> Value {
    json!({"shop_url": SHOP, "consumer_key": KEY, "consumer_secret": SECRET, "start_date": "2026-01-01T00:00:00Z"})
}

async fn begin() -> Story<WooCommerce> {
    Story::begin("woocommerce", &[PLACE], WooCommerce::open(KEY, SECRET), config(), morning()).await
}

fn at<'a>(seen: &'a [Seen], path: &str) -> Vec<&'a Seen> {
    seen.iter().filter(|seen| seen.asked.path.ends_with(path)).collect()
}

/// Rows as records: with what their owner adds.
fn owned(rows: &[(u64, Value)], field: &str, number: Option<&str>) -> Vec<Value> {
    let add = |(owner, record): &(u64, Value)| {
        let mut record = record.clone();
        record[field] = (*owner).into();
        if let Some(number) = number {
            record["order_number"] = number.into();
        }
        record
    };
    rows.iter().map(add).collect()
}

/// Goal: the whole shop page by page, refunds and variations of the orders and products that have any, found by their keys; then
/// only what changed; and the keys go to the shop alone. Method: pages of two, with links that name another scheme and host; a
/// shop in a folder of its server; an order that changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_is_read_whole_and_then_by_its_changes() {
    let story = begin().await;
    let runs = story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status == 200), "{seen:#?}");
    let (orders, products, customers, refunds, variations) = story.application.with(|shop| {
        let refunds = owned(&shop.refunds, "order_id", Some("W-102"));
        (shop.orders.clone(), shop.products.clone(), shop.customers.clone(), refunds, owned(&shop.variations, "product_id", None))
    });
    let api = |path: &str| format!("{SHOP}/wp-json/wc/v3/{path}");
    let held = story.holds("orders", "order", "id", &api("orders?"), &orders).await;
    story.holds("products", "product", "id", &api("products?"), &products).await;
    story.holds("customers", "customer", "id", &api("customers?"), &customers).await;
    story.holds("refunds", "payment", "id", &api("orders/102/refunds?"), &refunds).await;
    story.holds("variations", "product", "id", &api("products/203/variations?"), &variations).await;
    assert_eq!((&run(&runs, "orders")["requests"], at(&seen, "/refunds").len(), at(&seen, "/variations").len()), (&json!(3), 1, 2));

    let view = held.iter().find(|record| record["data"]["number"] == "W-103").map(|record| &record["operational"]).unwrap();
    let expected = json!({"order_number": "W-103", "total": "25.00", "skus": ["NUT-M1"], "tracking_numbers": ["PN 773"]});
    assert!(expected.as_object().unwrap().iter().all(|(field, value)| view[field] == *value), "{view}");
    let streams = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(story.under("tracking_number", "pn-773").await, streams(&["orders"]));
    assert_eq!(story.under("order_number", "W-103").await, streams(&["orders"]));
    assert_eq!(story.under("sku", "NUT-M1").await, streams(&["orders", "refunds", "variations"]));
    assert_eq!(story.under("payment_reference", "ch_own4").await, streams(&["orders"]));

    story.house.pass(3_600);
    story.application.with(|shop| {
        shop.orders[1]["status"] = "completed".into();
        shop.orders[1]["date_modified_gmt"] = "2026-11-24T10:30:00".into();
        // In the same second as the newest of before: the filter leaves that second out.
        shop.orders[0]["status"] = "cancelled".into();
        shop.orders[0]["date_modified_gmt"] = "2026-11-15T08:00:00".into();
    });
    let again = story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status == 200), "{seen:#?}");
    for (stream, changes) in [("orders", 2), ("refunds", 0), ("products", 0), ("variations", 0), ("customers", 0)] {
        let run = run(&again, stream);
        assert_eq!((&run["new"], &run["changed"]), (&json!(0), &json!(changes)), "{run}");
    }
    let asked: Vec<&str> = at(&seen, "/orders").iter().filter_map(|seen| seen.asked.parameter("modified_after")).collect();
    assert!(asked.len() >= 2 && asked.iter().all(|asked| *asked == "2026-11-15T07:59:00"), "{asked:?}");
    story.keeps_secret(&[KEY, SECRET, &basic(KEY, SECRET)[6..]]).await;
    story.house.close().await;
}

/// Goal: a server that is asked too often is left alone for a while, an address without the API says so, and keys that were
/// deleted cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_understood() {
    let story = begin().await;
    story.application.order("/products", too_many());
    let path = format!("/v1/connections/{}/runs", story.connection);
    let only = |stream: &str| Some(json!({"streams": [stream]}));
    let runs = story.house.ended(&story.house.have("POST", &path, only("products")).await).await;
    assert_eq!(runs[0]["state"], "complete", "{runs:#?}");
    let statuses: Vec<u16> = story.application.take_seen().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [429, 200, 200]);

    story.application.with(|shop| shop.keys.1 = "another".to_owned());
    story.is_cut_off().await;
    story.house.close().await;
}

/// Goal: an address that is no shop's is refused before anything is kept: by plain http, with a user name, with a query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_judged() {
    let house = TestHouse::open(tempfile::tempdir().unwrap(), "", morning()).await;
    for address in
        ["http://tools.example", "https://tools.example@elsewhere.example", "https://tools.example/?x=", "https://tools.example/../a b"]
    {
        let mut config = config();
        config["shop_url"] = address.into();
        let (status, answer) = house.try_connect("woocommerce", config).await;
        assert_eq!(status.as_u16(), 422, "{address}: {answer}");
    }
    house.close().await;
}
