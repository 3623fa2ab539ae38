//! The shapes of the shop's records, as its API shows them.

use serde::Serialize;

/// One who buys.
#[derive(Debug, Serialize)]
pub struct Customer {
    pub id: u64,
    pub customer_number: String,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub email: String,
    pub phone: String,
    pub address: Address,
    pub orders_count: u64,
    pub accepts_marketing: bool,
    pub created_at: String,
    pub updated_at: String,
}

/// A postal address.
#[derive(Debug, Serialize)]
pub struct Address {
    pub name: String,
    pub line1: String,
    pub city: &'static str,
    pub region: &'static str,
    pub postal_code: &'static str,
    pub country: &'static str,
    pub phone: String,
}

/// Something for sale, or about to be: a draft is not for sale.
#[derive(Debug, Serialize)]
pub struct Product {
    pub id: u64,
    pub sku: String,
    pub title: String,
    pub description: String,
    pub status: &'static str,
    pub price: String,
    pub currency: &'static str,
    pub stock: u64,
    pub weight_grams: u64,
    pub created_at: String,
    pub updated_at: String,
}

/// A sale. About 1.1 KB of JSON.
#[derive(Debug, Serialize)]
pub struct Order {
    pub id: u64,
    pub order_number: String,
    pub status: &'static str,
    pub created_at: String,
    pub updated_at: String,
    pub paid_at: Option<String>,
    pub currency: &'static str,
    pub subtotal: String,
    pub tax: String,
    pub shipping_cost: String,
    pub total: String,
    pub invoice_number: Option<String>,
    pub customer: Buyer,
    pub shipping_address: Address,
    pub line_items: Vec<LineItem>,
    pub fulfilments: Vec<Fulfilment>,
    pub note: Option<String>,
}

/// The customer, as an order repeats them.
#[derive(Debug, Serialize)]
pub struct Buyer {
    pub id: u64,
    pub first_name: &'static str,
    pub last_name: &'static str,
    pub email: String,
    pub phone: String,
}

/// A product within an order.
#[derive(Debug, Serialize)]
pub struct LineItem {
    pub line: u64,
    pub sku: String,
    pub title: String,
    pub quantity: u64,
    pub unit_price: String,
}

/// A parcel, as an order shows it.
#[derive(Debug, Serialize)]
pub struct Fulfilment {
    pub shipment_id: u64,
    pub status: &'static str,
    pub carrier: &'static str,
    pub tracking_number: String,
    pub shipped_at: String,
}

/// What a paid order is billed with.
#[derive(Debug, Serialize)]
pub struct Invoice {
    pub id: u64,
    pub invoice_number: String,
    pub order_number: String,
    pub customer_id: u64,
    pub bill_to: Address,
    pub email: String,
    pub status: &'static str,
    pub currency: &'static str,
    pub net: String,
    pub tax: String,
    pub gross: String,
    pub issued_at: String,
    pub updated_at: String,
}

/// A parcel on its way.
#[derive(Debug, Serialize)]
pub struct Shipment {
    pub id: u64,
    pub tracking_number: String,
    pub order_number: String,
    pub carrier: &'static str,
    pub status: &'static str,
    pub ship_to: Address,
    pub skus: Vec<String>,
    pub weight_grams: u64,
    pub shipped_at: String,
    pub updated_at: String,
}
