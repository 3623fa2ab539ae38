//! Stripe's API as far as its connector uses it: lists from the newest to the oldest, objects by id, events that keep 30 days.
//!
//! Objects are those of Stripe's published fixtures (MIT) and some of the tests' own. What is marked (k) is general knowledge of
//! that API, not looked up.

use std::collections::BTreeMap;

use headgate::clock::Clock;
use serde_json::Value;
use serde_json::json;

use crate::support::application::Application;
use crate::support::application::published;
use crate::support::http::Asked;
use crate::support::http::Reply;

/// Where the application is.
pub const PLACE: &str = "https://api.stripe.com";
/// The lists, and what an object of each is called.
pub const RESOURCES: [(&str, &str); 10] = [
    ("customers", "customer"),
    ("products", "product"),
    ("prices", "price"),
    ("payment_intents", "payment_intent"),
    ("charges", "charge"),
    ("refunds", "refund"),
    ("disputes", "dispute"),
    ("invoices", "invoice"),
    ("payouts", "payout"),
    ("balance_transactions", "balance_transaction"),
];
/// The time of the first object of the tests' own: 20 November 2026.
const FIRST: i64 = 1_795_132_800;
/// How long events are kept.
const EVENTS_SECONDS: i64 = 30 * 86_400;

/// An account.
pub struct Stripe {
    clock: Clock,
    /// The key that is good.
    pub key: String,
    /// The most objects on a page, whatever `limit` says.
    pub page_size: usize,
    objects: BTreeMap<&'static str, Vec<Value>>,
    events: Vec<Value>,
}

impl Stripe {
    /// An account with three objects of every kind, and the one that Stripe publishes.
    pub fn open(key: &str, clock: &Clock) -> Self {
        let mut objects = BTreeMap::new();
        for (resource, kind) in RESOURCES {
            let mut list: Vec<Value> = published("stripe", &format!("{kind}.json")).into_iter().collect();
            list.extend((1..=3).map(|number| object(kind, number)));
            objects.insert(resource, list);
        }
        Self { clock: clock.clone(), key: key.to_owned(), page_size: 2, objects, events: Vec::new() }
    }

    /// The objects of a list.
    pub fn objects(&self, resource: &str) -> &[Value] {
        &self.objects[resource]
    }

    /// Changes an object, and tells it by an event; no `patch` deletes it.
    pub fn change(&mut self, resource: &str, number: u64, event: &str, patch: Option<Value>) {
        let now = self.clock.now().as_second();
        let kind = RESOURCES.iter().find(|(known, _)| *known == resource).unwrap().1;
        let id = object(kind, number)["id"].clone();
        let list = self.objects.get_mut(resource).unwrap();
        let held = list.iter_mut().find(|object| object["id"] == id).unwrap();
        match patch {
            Some(Value::Object(patch)) => held.as_object_mut().unwrap().extend(patch),
            _ => *held = json!({"id": id, "object": kind, "deleted": true}),
        }
        let number = self.events.len();
        // An event holds the object as it was then, which may be old by the time that it is read.
        let object = json!({"id": id, "object": kind, "then": true});
        self.events
            .push(json!({"id": format!("evt_{number}"), "object": "event", "created": now, "type": event, "data": {"object": object}}));
    }

    fn resource(&self, asked: &Asked) -> Reply {
        if asked.header("authorization") != Some(&format!("Bearer {}", self.key)) {
            return error(401, "invalid_request_error", None, "Invalid API Key provided: rk_live_****");
        }
        if asked.header("stripe-version").is_none() || asked.header("stripe-account") == Some("") {
            return error(400, "invalid_request_error", None, "Invalid Stripe API version or account.");
        }
        let Some(path) = asked.path.strip_prefix("/v1/") else { return unknown_url(asked) };
        match path.split_once('/') {
            None if path == "events" => {
                let oldest = self.clock.now().as_second() - EVENTS_SECONDS;
                let wanted = asked.parameter("type").unwrap_or("*");
                let of = |event: &&Value| {
                    let named = event["type"].as_str().unwrap();
                    let fits = wanted.strip_suffix('*').map_or(named == wanted, |start| named.starts_with(start));
                    fits && event["created"].as_i64().unwrap() >= oldest
                };
                self.list(asked, self.events.iter().filter(of).collect())
            }
            None => match self.objects.get(path) {
                // What was deleted is in no list.
                Some(objects) => self.list(asked, objects.iter().filter(|object| object["deleted"] != true).collect()),
                None => unknown_url(asked),
            },
            Some((resource, id)) => {
                let found = self.objects.get(resource).and_then(|objects| objects.iter().find(|object| object["id"] == id));
                let missing = || error(404, "invalid_request_error", Some("resource_missing"), &format!("No such object: '{id}'"));
                found.map_or_else(missing, Reply::json)
            }
        }
    }

    /// A page, newest first.
    fn list(&self, asked: &Asked, mut objects: Vec<&Value>) -> Reply {
        objects.reverse();
        objects.sort_by_key(|object| std::cmp::Reverse(object["created"].as_i64()));
        if let Some(least) = asked.parameter("created[gte]") {
            let Ok(least) = least.parse::<i64>() else { return error(400, "invalid_request_error", None, "Invalid integer: created[gte]") };
            objects.retain(|object| object["created"].as_i64().unwrap() >= least);
        }
        if let Some(after) = asked.parameter("starting_after") {
            let Some(at) = objects.iter().position(|object| object["id"] == after) else {
                return error(400, "invalid_request_error", Some("resource_missing"), "No such object: starting_after");
            };
            objects.drain(..=at);
        }
        let Some(limit) = asked.parameter("limit").unwrap_or("10").parse().ok().filter(|limit| (1..=100).contains(limit)) else {
            return error(400, "invalid_request_error", None, "Invalid integer: limit");
        };
        let size = self.page_size.min(limit);
        let has_more = objects.len() > size;
        objects.truncate(size);
        Reply::json(&json!({"object": "list", "url": asked.path, "has_more": has_more, "data": objects}))
    }
}

impl Application for Stripe {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let version = asked.header("stripe-version").unwrap_or("2020-01-01").to_owned();
        self.resource(asked).header("Request-Id", "req_4Xb0").header("Stripe-Version", version)
    }
}

/// The refusal of too many requests; the header that gives the reason is (k), as is the one that names the wait.
pub fn too_many() -> Reply {
    error(429, "invalid_request_error", Some("rate_limit"), "Request rate limit exceeded.")
        .header("Stripe-Rate-Limited-Reason", "global-rate")
        .header("Retry-After", "1")
}

fn unknown_url(asked: &Asked) -> Reply {
    error(404, "invalid_request_error", None, &format!("Unrecognized request URL ({}: {}).", asked.method, asked.path))
}

/// Stripe's error object.
fn error(status: u16, kind: &str, code: Option<&str>, message: &str) -> Reply {
    let mut error = json!({"type": kind, "message": message, "request_log_url": "https://dashboard.stripe.com/logs/req_4Xb0"});
    if let Some(code) = code {
        error["code"] = code.into();
        error["doc_url"] = format!("https://stripe.com/docs/error-codes/{code}").into();
    }
    Reply::json(&json!({"error": error})).status(status)
}

/// An object of the tests' own, an hour after the one before.
fn object(kind: &str, number: u64) -> Value {
    let id = |prefix: &str| format!("{prefix}_own{number}");
    let created = FIRST + 3_600 * i64::try_from(number).unwrap();
    let mut object = match kind {
        "customer" => json!({"id": id("cus"), "name": "Bea Buyer", "email": format!("buyer{number}@shop.example"), "phone": null}),
        "product" => {
            json!({"id": id("prod"), "name": format!("Bolt {number}"), "active": true, "metadata": {"sku": format!("BOLT-{number}")}})
        }
        "price" => {
            json!({"id": id("price"), "product": id("prod"), "unit_amount": 1_000, "currency": "eur", "lookup_key": format!("BOLT-{number}")})
        }
        "payment_intent" => json!({
            "id": id("pi"), "amount": 2_000, "currency": "eur", "status": "succeeded", "latest_charge": id("ch"), "customer": id("cus"),
            "client_secret": format!("pi_own{number}_secret_canary"), "metadata": {"order_id": format!("#20{number:02}")},
        }),
        "charge" => json!({
            "id": id("ch"), "amount": 2_000, "amount_refunded": 0, "currency": "eur", "status": "succeeded", "paid": true, "refunded": false,
            "payment_intent": id("pi"), "customer": id("cus"), "receipt_number": format!("1234-000{number}"),
            "billing_details": {"name": "Bea Buyer", "email": format!("buyer{number}@shop.example")},
            "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242"}},
            "metadata": {"order_id": format!("#20{number:02}")},
        }),
        "refund" => {
            json!({"id": id("re"), "amount": 500, "currency": "eur", "charge": id("ch"), "payment_intent": id("pi"), "status": "succeeded"})
        }
        "dispute" => {
            json!({"id": id("dp"), "amount": 2_000, "currency": "eur", "charge": id("ch"), "status": "needs_response", "reason": "general"})
        }
        "invoice" => json!({
            "id": id("in"), "number": format!("ACME-000{number}"), "status": "open", "currency": "eur", "customer": id("cus"),
            "customer_email": format!("buyer{number}@shop.example"), "total": 2_000, "amount_due": 2_000, "amount_paid": 0,
            "payment_intent": id("pi"), "metadata": {"order_id": format!("#20{number:02}")},
        }),
        "payout" => {
            json!({"id": id("po"), "amount": 5_000, "currency": "eur", "status": "paid", "type": "bank_account", "arrival_date": created})
        }
        _ => {
            json!({"id": id("txn"), "amount": 2_000, "fee": 88, "net": 1_912, "currency": "eur", "status": "pending", "type": "charge", "source": id("ch")})
        }
    };
    object["object"] = kind.into();
    object["created"] = created.into();
    object
}
