//! One Shopify shop: its authorization server and its REST Admin API, as far as the connector uses them.
//!
//! Facts: paths, headers and payloads of Shopify's own API library (MIT), the provider table; those marked (k) are general
//! knowledge, not looked up.

use data_encoding::BASE64URL_NOPAD;
use headgate::clock::Clock;
use headgate::clock::Timestamp;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::json;

use crate::support::application::Application;
use crate::support::application::CLIENT_ID;
use crate::support::application::CLIENT_SECRET;
use crate::support::application::published;
use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::first;

/// The shop's address.
pub const SHOP: &str = "https://acme-tools.myshopify.com";
/// The version in every path.
const API: &str = "/admin/api/2026-07/";
/// The requests that the bucket holds.
const BUCKET: usize = 40;

/// A shop.
pub struct Shopify {
    clock: Clock,
    /// The most records on a page, whatever `limit` says.
    pub page_size: usize,
    /// The orders.
    pub orders: Vec<Value>,
    /// The customers.
    pub customers: Vec<Value>,
    /// The products.
    pub products: Vec<Value>,
    /// The transactions of all orders.
    pub transactions: Vec<Value>,
    /// Every code and token so far.
    pub issued: Vec<String>,
    access: Option<(String, Timestamp)>,
    refresh: Option<String>,
    /// What the next page's link names instead of the shop, once.
    pub link_base: Option<String>,
    bucket: usize,
}

impl Shopify {
    /// A shop with orders of its own, and those that Shopify publishes.
    pub fn open(clock: &Clock) -> Self {
        let list = |file: &str, member: &str| {
            published("shopify", file).map_or_else(Vec::new, |sample| sample["response"][member].as_array().unwrap().clone())
        };
        let mut orders = list("order-01-get.json", "orders");
        orders.extend(list("order-04-get.json", "orders"));
        orders.extend((2..=5).map(order));
        let mut transactions = list("transaction-01-get.json", "transactions");
        transactions.extend((2..=5).map(transaction));
        let mut customers = list("customer-01-get.json", "customers");
        customers.extend((2..=2).map(customer));
        let mut products = list("product-01-get.json", "products");
        products.extend((3..=3).map(product));
        Self {
            clock: clock.clone(),
            page_size: 3,
            orders,
            customers,
            products,
            transactions,
            issued: Vec::new(),
            access: None,
            refresh: None,
            link_base: None,
            bucket: 0,
        }
    }

    /// The fulfilments or refunds of all orders.
    pub fn parts(&self, member: &str) -> Vec<Value> {
        self.orders.iter().flat_map(|order| order[member].as_array().unwrap().clone()).collect()
    }

    /// The merchant uninstalls the app: every token is dead at once.
    pub fn uninstall(&mut self) {
        (self.access, self.refresh) = (None, None);
    }

    fn fresh(&mut self, kind: &str) -> String {
        let text = format!("{kind}_{:04}c0ffee", self.issued.len());
        self.issued.push(text.clone());
        text
    }

    /// The page of consent: scopes are joined by commas (k).
    fn authorize(&mut self, asked: &Asked) -> Reply {
        let scopes = asked.parameter("scope").unwrap_or_default();
        let redirect = asked.parameter("redirect_uri").unwrap_or_default();
        if asked.parameter("client_id") != Some(CLIENT_ID) || !scopes.split(',').any(|scope| scope == "read_orders") {
            return Reply::text(400, format!("Oauth error invalid_request: {:?}", asked.query));
        }
        let code = self.fresh("code");
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([("code", code.as_str()), ("hmac", "5bd1…"), ("host", "YWRtaW4"), ("shop", "elsewhere.example")]);
        query.extend_pairs([("state", asked.parameter("state").unwrap_or_default()), ("timestamp", "1795514400")]);
        Reply::text(302, "").header("Location", format!("{redirect}?{}", query.finish()))
    }

    /// Tokens that expire are for those who ask for them.
    fn token(&mut self, asked: &Asked) -> Reply {
        let form = asked.form();
        let get = |name: &str| first(&form, name);
        let expiring = asked.parameter("expiring").or(get("expiring")) == Some("1");
        let known = (get("client_id"), get("client_secret")) == (Some(CLIENT_ID), Some(CLIENT_SECRET));
        let granted = match get("grant_type") {
            Some("refresh_token") => self.refresh.is_some() && get("refresh_token") == self.refresh.as_deref(),
            _ => get("code").is_some_and(|code| code.starts_with("code_") && self.issued.iter().any(|issued| issued == code)),
        };
        if !(expiring && known && granted) {
            return Reply::json(&json!({"error": "invalid_grant", "error_description": "the grant is not known"})).status(400);
        }
        let (access, refresh) = (self.fresh("shpat"), self.fresh("shprt"));
        self.access = Some((access.clone(), self.clock.now() + SignedDuration::from_hours(1)));
        self.refresh = Some(refresh.clone());
        // There is no `token_type`.
        Reply::json(&json!({
            "access_token": access, "scope": "read_orders,read_customers,read_products", "expires_in": 3600,
            "refresh_token": refresh, "refresh_token_expires_in": 7_776_000,
        }))
    }

    fn resource(&mut self, asked: &Asked) -> Reply {
        let Some(path) = asked.path.strip_prefix(API).and_then(|path| path.strip_suffix(".json")) else { return not_found() };
        let now = self.clock.now();
        let given = asked.header("x-shopify-access-token");
        if !self.access.as_ref().is_some_and(|(access, until)| given == Some(access) && now < *until) {
            let words = "[API] Invalid API key or access token (unrecognized login or wrong password)";
            return Reply::json(&json!({"errors": words})).status(401);
        }
        if let Some(id) = path.strip_prefix("orders/").and_then(|path| path.strip_suffix("/transactions")) {
            let id = id.parse::<u64>().ok();
            let of_order = self.transactions.iter().filter(|transaction| transaction["order_id"].as_u64() == id);
            let known = id.is_some() && self.orders.iter().any(|order| order["id"].as_u64() == id);
            return if known { Reply::json(&json!({"transactions": of_order.collect::<Vec<_>>()})) } else { not_found() };
        }
        match path {
            "orders" => self.list(asked, path, &self.orders.clone()),
            "customers" => self.list(asked, path, &self.customers.clone()),
            "products" => self.list(asked, path, &self.products.clone()),
            _ => not_found(),
        }
    }

    /// A page of a list by change and id; `page_info` holds where it goes on and the filters of the first page.
    fn list(&mut self, asked: &Asked, resource: &str, records: &[Value]) -> Reply {
        let allowed: &[&str] = match asked.parameter("page_info") {
            Some(_) => &["limit", "page_info", "fields"],
            None => &["limit", "fields", "order", "updated_at_min", if resource == "orders" { "status" } else { "limit" }],
        };
        if let Some((name, _)) = asked.query.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            return Reply::json(&json!({"errors": {name: "cannot be passed when page_info is present"}})).status(400);
        }
        let held = asked.parameter("page_info").map(|text| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap());
        let held: Value = held.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        let min = held["min"].as_str().or(asked.parameter("updated_at_min")).map(time);
        // Without a status only open orders are listed (k).
        let any = resource != "orders" || held["any"] == true || asked.parameter("status") == Some("any");
        let mut listed: Vec<&Value> = records
            .iter()
            .filter(|record| min.is_none_or(|min| time(record["updated_at"].as_str().unwrap()) >= min))
            .filter(|record| any || (record["closed_at"].is_null() && record["cancelled_at"].is_null()))
            .collect();
        listed.sort_by_key(|record| (time(record["updated_at"].as_str().unwrap()), record["id"].as_u64()));
        let after = held["after"].as_array().map(|after| (time(after[0].as_str().unwrap()), after[1].as_u64()));
        listed.retain(|record| after.is_none_or(|after| (time(record["updated_at"].as_str().unwrap()), record["id"].as_u64()) > after));
        let more = listed.len() > self.page_size;
        listed.truncate(self.page_size);
        let reply = Reply::json(&json!({resource: listed}));
        let Some(last) = listed.last().filter(|_| more) else { return reply };
        let held = json!({"after": [last["updated_at"], last["id"]], "min": min.map(|min| min.to_string()), "any": any});
        let page_info = BASE64URL_NOPAD.encode(held.to_string().as_bytes());
        let limit = asked.parameter("limit").unwrap_or("50");
        let base = self.link_base.take().unwrap_or_else(|| SHOP.to_owned());
        let link = |rel: &str| format!("<{base}{API}{resource}.json?limit={limit}&page_info={page_info}>; rel=\"{rel}\"");
        let links = if held["after"].is_null() { link("next") } else { format!("{}, {}", link("previous"), link("next")) };
        reply.header("Link", links)
    }
}

impl Application for Shopify {
    fn answer(&mut self, asked: &Asked) -> Reply {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/admin/oauth/authorize") => self.authorize(asked),
            ("POST", "/admin/oauth/access_token") => self.token(asked),
            ("GET", _) => {
                // The bucket never gets full here: it would lose two a second.
                self.bucket = (self.bucket + 1).min(BUCKET / 2);
                let fill = format!("{}/{BUCKET}", self.bucket);
                self.resource(asked).header("X-Shopify-Shop-Api-Call-Limit", fill).header("X-Shopify-API-Version", "2026-07")
            }
            _ => not_found(),
        }
    }
}

/// The refusal of a full bucket; the wait is in seconds, with a fraction.
pub fn too_many() -> Reply {
    let words = "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service.";
    let fill = format!("{BUCKET}/{BUCKET}");
    Reply::json(&json!({"errors": words})).status(429).header("Retry-After", "1.0").header("X-Shopify-Shop-Api-Call-Limit", fill)
}

fn not_found() -> Reply {
    Reply::json(&json!({"errors": "Not Found"})).status(404)
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|_| panic!("{text} is no time"))
}

fn order(number: u64) -> Value {
    let id = 5_000_000_000_000 + number;
    let at = format!("2026-11-{:02}T10:00:00-05:00", 10 + number);
    json!({
        "id": id, "admin_graphql_api_id": format!("gid://shopify/Order/{id}"), "name": format!("#20{number:02}"),
        "order_number": 2_000 + number, "email": format!("buyer{number}@shop.example"), "phone": null, "note": null, "tags": "",
        "currency": "EUR", "subtotal_price": "20.00", "total_discounts": "0.00", "total_tax": "3.19", "total_price": "20.00",
        "financial_status": "paid", "fulfillment_status": if number == 5 { "fulfilled" } else { "partial" }, "created_at": at,
        "updated_at": at, "cancelled_at": null,
        // One of them is closed.
        "closed_at": if number == 2 { Value::from(at.as_str()) } else { Value::Null },
        "customer": {"id": 7_000 + number, "email": format!("buyer{number}@shop.example"), "first_name": "Bea"},
        "shipping_address": {"name": "Bea Buyer", "city": "Bergen", "country": "Norway"},
        "line_items": [{"id": id + 1, "sku": format!("BOLT-{number}"), "title": "Bolt", "quantity": 2, "price": "10.00"}],
        "fulfillments": [{
            "id": id + 2, "order_id": id, "name": format!("#20{number:02}.1"), "status": "success", "created_at": at, "updated_at": at,
            "tracking_company": "PostNord", "tracking_number": format!("PN-000{number}"),
            "tracking_numbers": [format!("PN-000{number}"), format!("PN-100{number}")],
            "line_items": [{"id": id + 1, "sku": format!("BOLT-{number}"), "quantity": 1}],
        }],
        "refunds": if number == 3 {
            json!([{"id": id + 3, "order_id": id, "created_at": at, "processed_at": at, "note": "bent", "restock": true,
                "refund_line_items": [{"quantity": 1, "line_item": {"sku": "BOLT-3"}}], "transactions": []}])
        } else {
            json!([])
        },
    })
}

fn transaction(number: u64) -> Value {
    json!({
        "id": 6_000_000_000_000 + number, "order_id": 5_000_000_000_000 + number, "parent_id": null, "kind": "sale", "status": "success",
        "gateway": "shopify_payments", "amount": "20.00", "currency": "EUR", "authorization": format!("ch_{number}"),
        "created_at": format!("2026-11-{:02}T10:00:01-05:00", 10 + number), "processed_at": null,
    })
}

fn customer(number: u64) -> Value {
    json!({
        "id": 7_000 + number, "email": format!("buyer{number}@shop.example"), "first_name": "Bea", "last_name": "Buyer", "phone": null,
        "state": "enabled", "orders_count": 1, "total_spent": "20.00", "currency": "EUR", "tags": "",
        "default_address": {"city": "Bergen", "country": "Norway"}, "created_at": "2026-11-01T00:00:00Z",
        "updated_at": format!("2026-11-{:02}T00:00:00+01:00", 10 + number),
    })
}

fn product(number: u64) -> Value {
    json!({
        "id": 8_000 + number, "title": format!("Bolt {number}"), "body_html": "<b>Bolt</b>", "vendor": "Acme", "product_type": "Bolts",
        "handle": format!("bolt-{number}"), "status": "active", "tags": "steel", "created_at": "2026-10-01T00:00:00-04:00",
        "updated_at": format!("2026-10-{:02}T00:00:00-04:00", 10 + number),
        "variants": [{"id": 9_000 + number, "product_id": 8_000 + number, "sku": format!("BOLT-{number}"), "price": "10.00"}],
    })
}
