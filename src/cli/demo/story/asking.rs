//! What can be asked: a record, its exact origin, and everything under one key.

use serde_json::Value;

use super::Connected;
use super::Shown;
use super::Story;
use super::text;
use crate::cli::demo::stage::PURPOSE;
use crate::cli::demo::stage::TENANT;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;

/// The members of a tag: every one is always there, and null where it is not known.
const TAG_MEMBERS: &[&str] = &[
    "tenant",
    "connection",
    "connector",
    "stream",
    "kind",
    "primary_key",
    "run",
    "page",
    "pointer",
    "partition",
    "cursor",
    "direction",
    "transformations",
    "masks",
    "schema_digest",
    "content_digest",
    "consent",
    "policy_version",
    "purposes",
    "retention",
    "previous",
];

/// What the request ids of the sandbox begin with; the number of the request in its log follows.
const REQUEST_ID_PREFIX: &str = "req_";

impl Story<'_, '_> {
    pub(super) async fn show_an_order(&mut self, connected: &Connected) -> Result<Shown, Failure> {
        self.narrator.begin("origin", "One order, and exactly where it came from.")?;
        let order = self.find_an_order(connected).await?;
        let (data, id) = (&order.record["data"], order.id.clone());
        let lines = data["line_items"].as_array().map_or(0, Vec::len);
        let at = |pointer: &str| text(data, pointer);
        let order_line = format!("{}, {}, {lines} lines, {} {}", at("/order_number"), at("/status"), at("/total"), at("/currency"));
        self.narrator.show(&[("order", order_line), ("note", at("/note"))])?;
        let origin = self.stage.service.json(&Request::get(["v1", "records", &id, "lineage"])).await?;
        let tag = &origin["tag"];
        self.narrator.equal("the tag in the lineage and in the record", tag.to_string(), order.record["tag"].to_string())?;
        let missing: Vec<&str> = TAG_MEMBERS.iter().filter(|name| tag.get(**name).is_none()).copied().collect();
        self.narrator.holds(missing.is_empty(), "the tag", "every member", || format!("no {}", missing.join(", no ")))?;
        for (what, seen, expected) in [
            ("its tenant", text(tag, "/tenant"), TENANT),
            ("its connection", text(tag, "/connection"), &connected.connection),
            ("its consent", text(tag, "/consent"), &connected.consent),
            ("its purposes", text(tag, "/purposes"), PURPOSE),
        ] {
            self.narrator.equal(what, seen.as_str(), expected)?;
        }
        self.find_in_the_shops_log(tag)?;
        self.narrator.say("It came this way:")?;
        self.narrator.show(&way(tag))?;
        self.narrator.say("The shop's own log has the same request under that number.")?;
        self.narrator.note("record", id);
        self.narrator.note("tag", tag.clone());
        self.narrator.held()?;
        Ok(order)
    }

    pub(super) async fn follow_a_parcel(&mut self, order: &Shown) -> Result<(), Failure> {
        let number = &order.tracking_number;
        self.narrator.begin("key", &format!("Everything known under one tracking number, {number}, across streams."))?;
        let found = self.under_tracking_number(number).await?;
        let mut streams: Vec<String> = found.iter().map(|item| text(item, "/stream")).collect();
        streams.sort();
        streams.dedup();
        let both = streams == ["orders", "shipments"];
        self.narrator.holds(both, "the streams that know the number", "orders, shipments", || streams.join(", "))?;
        let known = found.iter().any(|item| item["record"] == *order.id);
        self.narrator.holds(known, "the order from before", "to be among them", || format!("{} others", found.len()))?;
        for item in &found {
            let line = format!("{} version {}, stream {}", text(item, "/record"), text(item, "/version"), text(item, "/stream"));
            self.narrator.show(&[(text(item, "/kind").as_str(), line)])?;
        }
        self.narrator.say("One call, and a business key that no stream shares as its own id.")?;
        self.narrator.note("tracking_number", number.clone());
        self.narrator.note("streams", streams);
        self.narrator.held()
    }

    pub(super) async fn still_answers(&mut self, order: &Shown) -> Result<(), Failure> {
        self.narrator.begin("keep", "Stopping is not deleting: what was fetched before still answers, unchanged.")?;
        let after = self.record(&order.id).await?;
        self.narrator.equal("the order", after["data"].to_string(), order.record["data"].to_string())?;
        self.narrator.equal("its tag", after["tag"].to_string(), order.record["tag"].to_string())?;
        let origin = self.stage.service.json(&Request::get(["v1", "records", &order.id, "lineage"])).await?;
        self.narrator.equal("its lineage", origin["tag"].to_string(), order.record["tag"].to_string())?;
        let digest = text(&after, "/tag/content_digest");
        self.narrator.show(&[("record", order.id.clone()), ("content sha256", digest.clone())])?;
        self.narrator.say("The same order with the same digest, and its lineage as before.")?;
        self.narrator.note("content_digest", digest);
        self.narrator.held()
    }

    /// An order that was shipped and in whose note somebody wrote a card number.
    async fn find_an_order(&self, connected: &Connected) -> Result<Shown, Failure> {
        let mut after: Option<String> = None;
        let mut fallback = None;
        loop {
            let request = Request::get(["v1", "records"])
                .query("connection", &connected.connection)
                .query("stream", "orders")
                .query("limit", super::PAGE_ITEMS)
                .query_maybe("after", after.as_deref())
                .purpose(PURPOSE)?;
            let page = self.stage.service.json(&request).await?;
            for record in page["items"].as_array().into_iter().flatten() {
                let Some(order) = shipped(record) else { continue };
                if record["tag"]["masks"].as_array().is_some_and(|masks| !masks.is_empty()) {
                    return Ok(order);
                }
                fallback.get_or_insert(order);
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                let seen = if fallback.is_some() { "shipped orders without one" } else { "no shipped order" };
                return Err(Failure::outcome(format!("the orders: expected a shipped one with a masked card number, saw {seen}")));
            }
        }
    }

    /// Sees that the request in the tag is one that the shop has seen, for the same path and query.
    fn find_in_the_shops_log(&mut self, tag: &Value) -> Result<(), Failure> {
        let id = text(tag, "/page/request_id");
        let number = id.strip_prefix(REQUEST_ID_PREFIX).and_then(|digits| digits.parse().ok()).unwrap_or(0_u64);
        let log = self.stage.sandbox.log();
        let there =
            log.iter().find(|request| request.number == number).map(|request| format!("{}{}", self.stage.sandbox.base_url(), request.path));
        let here = text(tag, "/page/url");
        self.narrator.equal(&format!("the request `{id}` in the shop's own log"), there.unwrap_or_default(), here)
    }
}

/// The order as it is shown, if it has a parcel.
fn shipped(record: &Value) -> Option<Shown> {
    let data = &record["data"];
    let tracking_number = data.pointer("/fulfilments/0/tracking_number")?.as_str()?.to_owned();
    let email = data.pointer("/customer/email")?.as_str()?.to_owned();
    Some(Shown { id: text(record, "/id"), record: record.clone(), tracking_number, email })
}

/// The way of a record, from the request to the day it is deleted.
fn way(tag: &Value) -> [(&'static str, String); 12] {
    let at = |pointer: &str| text(tag, pointer);
    [
        ("request", format!("{} {}", at("/page/method"), at("/page/url"))),
        (
            "answer",
            format!(
                "status {}, attempt {}, {} bytes, received {}",
                at("/page/status"),
                at("/page/attempt"),
                at("/page/bytes"),
                at("/page/received_at")
            ),
        ),
        ("answer sha256", at("/page/response_sha256")),
        ("request id there", at("/page/request_id")),
        ("place in answer", at("/pointer")),
        ("run", at("/run")),
        ("connection", format!("{} of {}", at("/connection"), at("/tenant"))),
        ("consent", format!("{}, policy {}, for {}", at("/consent"), at("/policy_version"), at("/purposes"))),
        ("read by", format!("connector {}, sha256 {}", at("/connector/name"), at("/connector/digest"))),
        ("masked", masks(tag)),
        ("content sha256", at("/content_digest")),
        ("kept until", format!("{} (class {})", at("/retention/delete_after"), at("/retention/class"))),
    ]
}

/// What was masked, and where.
fn masks(tag: &Value) -> String {
    let masks = tag["masks"].as_array().map_or(&[][..], Vec::as_slice);
    let told: Vec<String> =
        masks.iter().map(|mask| format!("{} at {}", text(mask, "/reason").replace('_', " "), text(mask, "/pointer"))).collect();
    if told.is_empty() { "nothing".into() } else { output::plain(&told.join(", ")) }
}
