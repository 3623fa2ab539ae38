//! A WooCommerce shop's REST API, version 3, as far as the connector uses it, behind a server that ends TLS for it: so the links in
//! its answers name a scheme and a host that are not those of the shop.
//!
//! Facts: WooCommerce's own repository (paging headers, filters, error shapes), the provider table; those marked (k) are general
//! knowledge, not looked up. All records are the tests' own.

use serde_json::Value;
use serde_json::json;

use crate::support::application::Application;
use crate::support::application::basic;
use crate::support::http::Asked;
use crate::support::http::Reply;

/// The shop's server.
pub const PLACE: &str = "https://tools.example";
/// The shop's address: a folder there.
pub const SHOP: &str = "https://tools.example/shop";
/// The host that the shop believes to be.
const BEHIND: &str = "http://10.0.0.7:8080";
/// Where the API begins.
const API: &str = "/shop/wp-json/wc/v3/";

/// A shop.
pub struct WooCommerce {
    /// The key and its secret that are good.
    pub keys: (String, String),
    /// The most records on a page, whatever `per_page` says; the application allows a hundred.
    pub page_size: usize,
    /// The orders.
    pub orders: Vec<Value>,
    /// The refunds by the number of their order.
    pub refunds: Vec<(u64, Value)>,
    /// The products.
    pub products: Vec<Value>,
    /// The variations by the number of their product.
    pub variations: Vec<(u64, Value)>,
    /// The customers.
    pub customers: Vec<Value>,
}

impl WooCommerce {
    /// A shop with five orders, of which the second has two refunds, and four products, of which the third comes in three variations.
    pub fn open(key: &str, secret: &str) -> Self {
        Self {
            keys: (key.to_owned(), secret.to_owned()),
            page_size: 2,
            orders: (1..=5).map(order).collect(),
            refunds: (1..=2).map(|number| (102, refund(number))).collect(),
            products: (1..=4).map(product).collect(),
            variations: (1..=3).map(|number| (203, variation(number))).collect(),
            customers: (1..=3).map(customer).collect(),
        }
    }

    fn resource(&self, asked: &Asked) -> Reply {
        let Some(path) = asked.path.strip_prefix(API) else {
            return error(404, "rest_no_route", "No route was found matching the URL and request method.");
        };
        match asked.header("authorization") {
            None => return error(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources."),
            Some(given) if given != basic(&self.keys.0, &self.keys.1) => {
                return error(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.");
            }
            Some(_) => {}
        }
        let owned = |rows: &[(u64, Value)], owner: &str| -> Vec<Value> {
            rows.iter().filter(|(of, _)| of.to_string() == owner).map(|(_, record)| record.clone()).collect()
        };
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["orders"] => self.list(asked, &self.orders),
            ["products"] => self.list(asked, &self.products),
            // Else users of the role `customer` alone are listed.
            ["customers"] if asked.parameter("role") == Some("all") => self.list(asked, &self.customers),
            ["customers"] => self.list(asked, &self.customers[..1]),
            ["orders", id, "refunds"] => self.list(asked, &owned(&self.refunds, id)),
            ["products", id, "variations"] => self.list(asked, &owned(&self.variations, id)),
            _ => error(404, "rest_no_route", "No route was found matching the URL and request method."),
        }
    }

    fn list(&self, asked: &Asked, records: &[Value]) -> Reply {
        let number = |name: &str, default| asked.parameter(name).map_or(Some(default), |text| text.parse::<usize>().ok());
        let (Some(page), Some(per_page @ 1..=100)) = (number("page", 1), number("per_page", 10)) else {
            return error(400, "rest_invalid_param", "Invalid parameter(s): page, per_page");
        };
        let mut listed: Vec<&Value> = records.iter().collect();
        if let Some(after) = asked.parameter("modified_after") {
            // Times are the shop's own unless they are said to be UTC; and the filter leaves its own second out (k).
            if asked.parameter("dates_are_gmt") != Some("true") {
                return error(400, "rest_invalid_param", "this shop is three hours away from UTC");
            }
            listed.retain(|record| record["date_modified_gmt"].as_str().unwrap() > after);
        }
        // Newest first, unless another order is asked for.
        if (asked.parameter("orderby"), asked.parameter("order")) != (Some("id"), Some("asc")) {
            listed.reverse();
        }
        let size = per_page.min(self.page_size);
        let (total, pages) = (listed.len(), listed.len().div_ceil(size));
        let shown: Vec<&Value> = listed.into_iter().skip((page - 1) * size).take(size).collect();
        let reply = Reply::json(&json!(shown)).header("X-WP-Total", total.to_string()).header("X-WP-TotalPages", pages.to_string());
        let link = |to: usize, rel: &str| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(asked.query.iter().filter(|(name, _)| name != "page"));
            query.append_pair("page", &to.to_string());
            format!("<{BEHIND}{}?{}>; rel=\"{rel}\"", asked.path, query.finish())
        };
        let mut links = Vec::new();
        links.extend((page > 1).then(|| link(page - 1, "prev")));
        links.extend((page < pages).then(|| link(page + 1, "next")));
        if links.is_empty() { reply } else { reply.header("Link", links.join(", ")) }
    }
}

impl Application for WooCommerce {
    fn answer(&mut self, asked: &Asked) -> Reply {
        self.resource(asked)
    }
}

/// The refusal of a server before the shop.
pub fn too_many() -> Reply {
    Reply::text(429, "<html><title>429 Too Many Requests</title></html>").header("Retry-After", "1").header("Content-Type", "text/html")
}

/// The API's error.
fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(&json!({"code": code, "message": message, "data": {"status": status}})).status(status)
}

fn order(number: u64) -> Value {
    let id = 100 + number;
    let at = format!("2026-11-{:02}T08:00:00", 10 + number);
    json!({
        "id": id, "number": format!("W-{id}"), "order_key": format!("wc_order_canary{number}"), "created_via": "checkout", "status": "processing",
        "currency": "NOK", "discount_total": "0.00", "shipping_total": "5.00", "total_tax": "2.00", "total": "25.00", "customer_id": 300 + number,
        "customer_ip_address": "198.51.100.7", "customer_note": "", "transaction_id": format!("ch_own{number}"),
        "billing": {"first_name": "Bea", "last_name": "Buyer", "email": format!("buyer{number}@shop.example"), "phone": "+47 555 0100"},
        "shipping": {"first_name": "Bea", "last_name": "Buyer", "address_1": "Kai 1", "city": "Bergen", "postcode": "5003", "country": "NO"},
        "date_created": at, "date_created_gmt": at, "date_modified": at, "date_modified_gmt": at, "date_paid_gmt": null,
        "line_items": [{"id": id * 10, "product_id": 203, "variation_id": 401, "sku": "NUT-M1", "name": "Nut", "quantity": 2, "total": "20.00"}],
        "refunds": if number == 2 { json!([{"id": 501, "reason": "", "total": "-5.00"}, {"id": 502, "reason": "", "total": "-5.00"}]) } else { json!([]) },
        "meta_data": [
            {"id": 1, "key": "_wc_order_attribution_source_type", "value": "typein"},
            {"id": 2, "key": "_wc_shipment_tracking_items", "value": [{"tracking_provider": "postnord", "tracking_number": format!("PN 77{number}")}]},
        ],
    })
}

fn refund(number: u64) -> Value {
    json!({
        "id": 500 + number, "date_created_gmt": format!("2026-11-13T08:0{number}:00"), "amount": "5.00", "reason": "scratched",
        "refunded_payment": true, "line_items": [{"id": 9, "product_id": 203, "sku": "NUT-M1", "quantity": -1, "total": "-5.00"}],
    })
}

fn product(number: u64) -> Value {
    let at = format!("2026-10-{:02}T08:00:00", 10 + number);
    json!({
        "id": 200 + number, "name": format!("Nut {number}"), "sku": format!("NUT-{number}"), "type": if number == 3 { "variable" } else { "simple" },
        "status": "publish", "description": "<p>Nut</p>", "price": "10.00", "stock_quantity": 7, "weight": "0.1",
        "variations": if number == 3 { json!([401, 402, 403]) } else { json!([]) }, "date_created_gmt": at, "date_modified_gmt": at,
    })
}

fn variation(number: u64) -> Value {
    json!({
        "id": 400 + number, "sku": format!("NUT-M{number}"), "status": "publish", "description": "", "price": "10.00", "stock_quantity": 2,
        "weight": "", "attributes": [{"name": "Size", "option": format!("M{number}")}], "date_created_gmt": "2026-10-13T08:00:00",
        "date_modified_gmt": "2026-10-13T08:00:00",
    })
}

fn customer(number: u64) -> Value {
    json!({
        "id": 300 + number, "email": format!("buyer{number}@shop.example"), "username": format!("buyer{number}"), "first_name": "Bea",
        "last_name": "Buyer", "role": "customer", "billing": {"company": "", "city": "Bergen", "country": "NO", "phone": "+47 555 0100"},
        "shipping": {}, "avatar_url": "https://avatars.example/1", "date_created_gmt": "2026-10-01T08:00:00", "date_modified_gmt": null,
    })
}
