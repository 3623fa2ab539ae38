//! A Shopify shop from its consent to its uninstalling, by the embedded connector.

use headgate::clock::Timestamp;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::json;

use crate::support::application::CLIENT_SECRET;
use crate::support::application::Seen;
use crate::support::application::Story;
use crate::support::application::run;
use crate::support::house::morning;
use crate::support::http::Reply;
use crate::support::http::Server;
use crate::support::shopify::SHOP;
use crate::support::shopify::Shopify;
use crate::support::shopify::too_many;

async fn begin() -> Story<Shopify> {
    let clock = morning();
    let config = json!({"shop": "acme-tools", "start_date": "2005-01-01T00:00:00Z"});
    Story::begin("shopify", &[SHOP], Shopify::open(&clock), config, clock).await
}

fn at<'a>(seen: &'a [Seen], path: &str) -> Vec<&'a Seen> {
    seen.iter().filter(|seen| seen.asked.path.ends_with(path)).collect()
}

/// Goal: consent, the whole of the shop page by page, each record with its kind and found by its keys across streams, then only
/// what changed. Method: pages of three behind opaque links, which the application refuses beside any other filter; a closed
/// order; fulfilments and refunds that are read from their orders; a change, a pull an hour later with a token of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_is_read_whole_and_then_by_its_changes() {
    let story = begin().await;
    let runs = story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status < 400), "{seen:#?}");
    let (orders, customers, products, transactions, fulfillments, refunds) = story.application.with(|shop| {
        let (orders, customers, products) = (shop.orders.clone(), shop.customers.clone(), shop.products.clone());
        (orders, customers, products, shop.transactions.clone(), shop.parts("fulfillments"), shop.parts("refunds"))
    });
    let api = |path: &str| format!("{SHOP}/admin/api/2026-07/{path}");
    let held = story.holds("orders", "order", "id", &api("orders.json?"), &orders).await;
    story.holds("customers", "customer", "id", &api("customers.json?"), &customers).await;
    story.holds("products", "product", "id", &api("products.json?"), &products).await;
    story.holds("transactions", "payment", "id", &api("orders/"), &transactions).await;
    // They say where they are from: the page of their orders.
    story.holds("fulfillments", "shipment", "id", &api("orders.json?"), &fulfillments).await;
    story.holds("refunds", "payment", "id", &api("orders.json?"), &refunds).await;
    assert!(!seen.iter().any(|seen| seen.asked.path.ends_with("/fulfillments.json") || seen.asked.path.ends_with("/refunds.json")));
    assert_eq!(run(&runs, "orders")["requests"], orders.len().div_ceil(3), "{runs:#?}");

    let view = held.iter().find(|record| record["data"]["name"] == "#2003").map(|record| &record["operational"]).unwrap();
    let expected = json!({"order_number": "#2003", "total": "20.00", "skus": ["BOLT-3"], "tracking_numbers": ["PN-0003"]});
    assert!(expected.as_object().unwrap().iter().all(|(field, value)| view[field] == *value), "{view}");
    assert_eq!(story.under("tracking_number", "pn 1003").await, ["orders", "fulfillments"].map(str::to_owned).into());
    assert_eq!(story.under("sku", "BOLT-3").await, ["orders", "fulfillments", "refunds", "products"].map(str::to_owned).into());
    let of_order = ["orders", "fulfillments", "refunds", "transactions"].map(str::to_owned).into();
    assert_eq!(story.under("order_id", "5000000000003").await, of_order);
    assert_eq!(story.under("order_number", "#2003").await, ["orders".to_owned()].into());

    // An hour later the token has ended, and one order has changed.
    story.house.pass(3_600);
    let changed = story.application.with(|shop| {
        let order = shop.orders.iter_mut().find(|order| order["name"] == "#2004").unwrap();
        order["fulfillment_status"] = "fulfilled".into();
        order["updated_at"] = "2026-11-24T05:30:00-05:00".into();
        order["fulfillments"][0]["status"] = "delivered".into();
        order["fulfillments"][0]["updated_at"] = "2026-11-24T05:30:00-05:00".into();
        order["id"].to_string()
    });
    let again = story.pull().await;
    let seen = story.application.take_seen();
    assert!(seen.iter().all(|seen| seen.status < 400), "{seen:#?}");
    assert_eq!(at(&seen, "/admin/oauth/access_token").len(), 1, "{seen:#?}");
    for (stream, changes) in [("orders", 1), ("fulfillments", 1), ("refunds", 0), ("transactions", 0), ("customers", 0), ("products", 0)] {
        let run = run(&again, stream);
        assert_eq!((&run["new"], &run["changed"]), (&json!(0), &json!(changes)), "{run}");
    }
    // What is asked for is a minute before the newest order of before, whatever the shop's offset.
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let asked: Vec<Timestamp> =
        at(&seen, "/orders.json").iter().filter_map(|seen| seen.asked.parameter("updated_at_min")).map(time).collect();
    let newest = orders.iter().map(|order| time(order["updated_at"].as_str().unwrap())).max().unwrap();
    let expected = newest - SignedDuration::from_mins(1);
    assert!(!asked.is_empty() && asked.iter().all(|asked| *asked == expected), "{asked:?} is not {expected}");
    let transactions = seen.iter().filter(|seen| seen.asked.path.ends_with("/transactions.json")).collect::<Vec<_>>();
    assert!(transactions.len() <= 2 && transactions.iter().any(|seen| seen.asked.path.contains(&changed)), "{transactions:#?}");

    let mut secrets = story.application.with(|shop| shop.issued.clone());
    secrets.push(CLIENT_SECRET.to_owned());
    story.keeps_secret(&secrets.iter().map(String::as_str).collect::<Vec<_>>()).await;
    story.house.close().await;
}

/// Goal: a full bucket is waited for, a shop that is frozen is not asked twice, and an app that was uninstalled is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_understood() {
    let story = begin().await;
    story.application.order("/products.json", too_many());
    let started = json!({"streams": ["products"]});
    let path = format!("/v1/connections/{}/runs", story.connection);
    let begun = story.house.have("POST", &path, Some(started.clone())).await;
    let runs = story.house.ended(&begun).await;
    assert_eq!(runs[0]["state"], "complete", "{runs:#?}");
    let statuses: Vec<u16> = at(&story.application.take_seen(), "/products.json").iter().map(|seen| seen.status).collect();
    assert!(statuses[0] == 429 && statuses[1..].iter().all(|status| *status == 200), "{statuses:?}");

    let frozen = Reply::json(&json!({"errors": "Unavailable Shop"})).status(402);
    story.application.order("/products.json", frozen);
    let begun = story.house.have("POST", &path, Some(started)).await;
    let runs = story.house.ended(&begun).await;
    let error = runs[0]["error"].as_str().unwrap_or_default();
    assert!(runs[0]["state"] == "failed" && error.contains("frozen"), "{runs:#?}");
    assert_eq!(at(&story.application.take_seen(), "/products.json").len(), 1);
    assert_eq!(story.house.state(&story.connection).await, "active");

    story.application.with(Shopify::uninstall);
    story.is_cut_off().await;
    story.house.close().await;
}

/// Goal: a link in an answer cannot lead the token to another host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_another_host_is_not_followed() {
    let story = begin().await;
    let elsewhere = Server::start(|_| Reply::json(&json!({"products": []}))).await;
    story.application.with(|shop| {
        shop.products.push(shop.products[0].clone());
        (shop.page_size, shop.link_base) = (1, Some(elsewhere.url()));
    });
    let path = format!("/v1/connections/{}/runs", story.connection);
    let begun = story.house.have("POST", &path, Some(json!({"streams": ["products"]}))).await;
    let runs: Vec<Value> = story.house.ended(&begun).await;
    assert_eq!(runs[0]["state"], "failed", "{runs:#?}");
    assert!(elsewhere.seen().is_empty());
    story.house.close().await;
}
