//! ShipStation's stand-in behaves as that application is documented to.

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Duration;

use crate::support::shipstation::Options;
use crate::support::shipstation::ShipStation;

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
    for (resource, id) in [("orders", "orderId"), ("shipments", "shipmentId"), ("products", "productId")] {
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
