//! Orders in a list that pages by number and by cursor and filters by half-open windows of time, in the shapes that the
//! benchmark's mock provider answers with: order `i` is changed an hour after order `i - 1`, from the start of 2026.

use std::sync::Arc;
use std::sync::Mutex;

use headgate::clock::Timestamp;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::json;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;

/// When order 0 was changed.
pub const FIRST: &str = "2026-01-01T00:00:00Z";
/// The seconds between two orders.
const STEP_SECONDS: i64 = 3_600;
/// The most records on a page.
const PAGE_MAX: usize = 1_000;

/// A running application.
pub struct MockProvider {
    /// The socket, and what it has seen.
    pub server: Server,
    orders: Arc<Mutex<Vec<Value>>>,
    token: String,
}

impl MockProvider {
    /// Starts with so many orders; every request needs `token` as Bearer.
    pub async fn start(count: usize, token: &str) -> Self {
        let orders = Arc::new(Mutex::new((0..count).map(order).collect::<Vec<_>>()));
        let (held, wanted) = (Arc::clone(&orders), format!("Bearer {token}"));
        let server = Server::start(move |asked| {
            if asked.header("authorization") != Some(&wanted) {
                return Reply::json(&json!({"error": "unauthorized"})).status(401);
            }
            if asked.path != "/orders" {
                return Reply::json(&json!({"error": "not found"})).status(404);
            }
            Reply::json(&page(asked, &held.lock().unwrap()))
        })
        .await;
        Self { server, orders, token: token.to_owned() }
    }

    /// The orders, as a complete pull must bring them.
    pub fn orders(&self) -> Vec<Value> {
        self.orders.lock().unwrap().clone()
    }

    /// Changes an order, without moving its time.
    pub fn change(&self, index: usize) {
        self.orders.lock().unwrap()[index]["financial_status"] = "refunded".into();
    }

    /// Takes every change back.
    pub fn restore(&self) {
        for (index, held) in self.orders.lock().unwrap().iter_mut().enumerate() {
            *held = order(index);
        }
    }

    /// The configuration that the benchmark's manifest asks for.
    pub fn config(&self, total: usize, per_page: usize) -> Value {
        let end = FIRST.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(STEP_SECONDS * i64::try_from(total).unwrap());
        json!({
            "base_url": self.server.url(), "api_key": self.token, "total": total.to_string(), "per_page": per_page,
            "num_workers": 2, "start_date": FIRST, "end_date": end.to_string(),
        })
    }
}

fn order(index: usize) -> Value {
    let at = FIRST.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(STEP_SECONDS * i64::try_from(index).unwrap());
    json!({
        "id": 5_000_000_000_u64 + index as u64, "order_number": format!("HG-{:07}", index + 1), "updated_at": at.to_string(),
        "financial_status": "paid", "total_price": "12.50", "customer": {"id": index % 7, "email": format!("c{index}@shop.example")},
        "line_items": [{"sku": format!("SKU-{index:05}"), "quantity": 1, "tax_rate": 0.19}], "fulfillments": [], "note": null,
    })
}

fn page(asked: &Asked, orders: &[Value]) -> Value {
    let number = |name: &str| asked.parameter(name).and_then(|text| text.parse::<usize>().ok());
    let index = |name: &str| {
        let at = asked.parameter(name)?.parse::<Timestamp>().ok()?;
        Some(orders.partition_point(|order| order["updated_at"].as_str().unwrap().parse::<Timestamp>().unwrap() < at))
    };
    let total = number("total").unwrap_or(orders.len()).min(orders.len());
    let low = index("updated_since").unwrap_or(0).min(total);
    let high = index("updated_before").unwrap_or(total).min(total).max(low);
    let per_page = number("per_page").or(number("limit")).unwrap_or(100).clamp(1, PAGE_MAX);
    let from = match number("cursor") {
        Some(cursor) => cursor.max(low),
        None => low + (number("page").unwrap_or(1).max(1) - 1) * per_page,
    };
    let from = from.min(high);
    let to = (from + per_page).min(high);
    let next = (to < high).then(|| to.to_string());
    json!({"data": orders[from..to], "has_more": next.is_some(), "next_cursor": next})
}
