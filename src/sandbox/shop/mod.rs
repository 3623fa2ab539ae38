//! The shop behind the API: any number of records, made when they are asked for.
//!
//! A record is a pure function of seed, scale, index and the ticks so far (see [`life`]), so a million of them cost no
//! memory, and two sandboxes with the same options and clock show the same shop.

mod dice;
mod life;
mod record;

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use dice::Dice;
use life::Life;
use life::Mark;
use life::Marks;
use record::Address;
use record::Buyer;
use record::Customer;
use record::Fulfilment;
use record::Invoice;
use record::LineItem;
use record::Order;
use record::Product;
use record::Shipment;

/// The seconds over which the orders of the past are spread: 90 days.
const HISTORY_SECONDS: i64 = 90 * 86_400;
/// The fewest records that make a shop.
pub const RECORDS_MIN: u64 = 10;
/// One order in this many has a payment card number in its note, as happens in real shops.
const CARD_NOTE_EVERY: u64 = 40;
/// Card numbers that payment processors publish for tests; nobody's.
const TEST_CARDS: &[&str] = &["4111 1111 1111 1111", "5555 5555 5555 4444", "4242424242424242"];
/// One draft comes with this many products.
const PRODUCTS_PER_DRAFT: u64 = 25;
/// Tax in percent.
const TAX_PERCENT: u64 = 19;

/// A dataset of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Those who buy.
    Customers,
    /// Sales.
    Orders,
    /// Bills of paid orders.
    Invoices,
    /// Parcels of shipped orders.
    Shipments,
    /// Goods, drafts among them.
    Products,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 5] = [Stream::Customers, Stream::Orders, Stream::Invoices, Stream::Shipments, Stream::Products];

    /// The name in paths, scopes and answers.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Customers => "customers",
            Stream::Orders => "orders",
            Stream::Invoices => "invoices",
            Stream::Shipments => "shipments",
            Stream::Products => "products",
        }
    }

    /// The stream of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// The scope that reading it needs.
    pub fn scope(self) -> String {
        format!("read_{}", self.name())
    }

    /// The id of record 0: ids of different streams are told apart by their length of life, not by chance.
    fn first_id(self) -> u64 {
        match self {
            Stream::Customers => 700_001,
            Stream::Orders => 5_000_001,
            Stream::Invoices => 80_000_001,
            Stream::Shipments => 900_000_001,
            Stream::Products => 30_001,
        }
    }
}

/// How many records each stream has, drafts counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Customers.
    pub customers: u64,
    /// Orders.
    pub orders: u64,
    /// Invoices.
    pub invoices: u64,
    /// Shipments.
    pub shipments: u64,
    /// Products for sale.
    pub products: u64,
    /// Products not yet for sale; the connector's manifest leaves them out.
    pub drafts: u64,
}

impl Counts {
    /// All records but the drafts: what a pull through the connector brings.
    pub fn total(&self) -> u64 {
        self.customers + self.orders + self.invoices + self.shipments + self.products
    }
}

/// What one turn of the shop changed: every record is new or has a new `updated_at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Orders made.
    pub orders_created: u64,
    /// Orders paid for; each has a new invoice.
    pub orders_paid: u64,
    /// Orders shipped; each has a new shipment.
    pub orders_shipped: u64,
    /// Customers whose number of orders rose.
    pub customers: u64,
    /// Products whose stock fell.
    pub products: u64,
}

impl Change {
    /// The number of records that are new or changed, over all streams.
    pub fn records(&self) -> u64 {
        self.orders_created + 2 * (self.orders_paid + self.orders_shipped) + self.customers + self.products
    }
}

/// The shop at one moment.
#[derive(Debug, Clone)]
pub struct Shop {
    seed: u64,
    customers: u64,
    products: u64,
    life: Life,
}

impl Shop {
    /// A shop of `records` records (at least [`RECORDS_MIN`]), whose past ends at `opened`.
    pub fn new(seed: u64, records: u64, opened: Timestamp) -> Self {
        let records = records.max(RECORDS_MIN);
        let part = |percent: u64| (records * percent / 100).max(1);
        let (customers, products, paid, shipped) = (part(15), part(5), part(26), part(22));
        let marks = Marks { created: records - customers - products - paid - shipped, paid, shipped };
        let ends = opened.as_second();
        Self { seed, customers, products, life: Life::new(marks, ends - HISTORY_SECONDS, ends) }
    }

    /// How many records there are now.
    pub fn counts(&self) -> Counts {
        let marks = self.life.marks();
        Counts {
            customers: self.customers,
            orders: marks.created,
            invoices: marks.paid,
            shipments: marks.shipped,
            products: self.products,
            drafts: self.products / PRODUCTS_PER_DRAFT,
        }
    }

    /// Lets some time pass: orders are made, paid and shipped, a customer and a product change, all at `now`.
    pub fn advance(&mut self, now: Timestamp) -> Change {
        let before = self.life.tick(now.as_second());
        let after = self.life.marks();
        Change {
            orders_created: after.created - before.created,
            orders_paid: after.paid - before.paid,
            orders_shipped: after.shipped - before.shipped,
            customers: 1,
            products: 1,
        }
    }

    /// The index of the record with that id.
    pub fn find(&self, stream: Stream, id: u64) -> Option<u64> {
        id.checked_sub(stream.first_id()).filter(|index| *index < self.length(stream))
    }

    /// The records changed from `since` to `until`, both included, as rising ranges of indices.
    pub fn select(&self, stream: Stream, since: Option<i64>, until: Option<i64>) -> Vec<Range<u64>> {
        let mut selected = Vec::new();
        for stretch in self.stretches(stream) {
            let start = first(&stretch, |index| since.is_none_or(|since| self.changed(stream, index) >= since));
            let end = first(&(start..stretch.end), |index| until.is_some_and(|until| self.changed(stream, index) > until));
            if start < end {
                selected.push(start..end);
            }
        }
        selected
    }

    /// Writes the record as JSON.
    ///
    /// # Errors
    /// Never for the records of this shop; the writer's error type asks for it.
    pub fn write(&self, stream: Stream, index: u64, body: &mut Vec<u8>) -> serde_json::Result<()> {
        match stream {
            Stream::Customers => serde_json::to_writer(body, &self.customer(index)),
            Stream::Orders => serde_json::to_writer(body, &self.order(index)),
            Stream::Invoices => serde_json::to_writer(body, &self.invoice(index)),
            Stream::Shipments => serde_json::to_writer(body, &self.shipment(index)),
            Stream::Products => serde_json::to_writer(body, &self.product(index)),
        }
    }

    fn length(&self, stream: Stream) -> u64 {
        let counts = self.counts();
        match stream {
            Stream::Customers => counts.customers,
            Stream::Orders => counts.orders,
            Stream::Invoices => counts.invoices,
            Stream::Shipments => counts.shipments,
            Stream::Products => counts.products + counts.drafts,
        }
    }

    /// When the record last changed.
    fn changed(&self, stream: Stream, index: u64) -> i64 {
        match stream {
            Stream::Customers => self.touched(index, self.customers),
            Stream::Products => self.touched(index, self.products),
            Stream::Invoices => self.life.passed(Mark::Paid, index),
            Stream::Shipments => self.life.passed(Mark::Shipped, index),
            Stream::Orders => self.life.passed(self.latest(index), index),
        }
    }

    fn touched(&self, index: u64, count: u64) -> i64 {
        let tick = (index < count).then(|| self.life.touched(index, count)).flatten();
        tick.unwrap_or_else(|| self.life.past(index, count + count / PRODUCTS_PER_DRAFT))
    }

    fn latest(&self, index: u64) -> Mark {
        let marks = self.life.marks();
        match index {
            _ if index < marks.shipped => Mark::Shipped,
            _ if index < marks.paid => Mark::Paid,
            _ => Mark::Created,
        }
    }

    /// Ranges, together the whole stream, within which the time of the last change never falls.
    fn stretches(&self, stream: Stream) -> Vec<Range<u64>> {
        match stream {
            Stream::Orders => self.life.stretches().map(|(stretch, _)| stretch).into(),
            Stream::Customers => self.life.rounds(self.customers).into(),
            Stream::Products => {
                let mut rounds = Vec::from(self.life.rounds(self.products));
                rounds.push(self.products..self.length(stream));
                rounds
            }
            Stream::Invoices | Stream::Shipments => std::iter::once(0..self.length(stream)).collect(),
        }
    }

    fn dice(&self, stream: Stream, index: u64) -> Dice {
        Dice::new(self.seed, stream.first_id(), index)
    }

    fn buyer(&self, index: u64) -> Buyer {
        let mut dice = self.dice(Stream::Customers, index);
        let (first_name, last_name) = (dice.pick(dice::FIRST_NAMES), dice.pick(dice::LAST_NAMES));
        let mailbox = format!("{first_name}.{last_name}.{index}").to_lowercase();
        Buyer {
            id: Stream::Customers.first_id() + index,
            first_name,
            last_name,
            email: format!("{mailbox}@example.com"),
            // 555-0100 to 555-0199 are set aside for fiction in the North American numbering plan.
            phone: format!("+1-{}-555-01{:02}", 201 + index % 700, dice.below(100)),
        }
    }

    fn address(&self, buyer: &Buyer, index: u64) -> Address {
        let mut dice = Dice::new(self.seed, 1, index);
        let city = usize::try_from(dice.below(dice::CITIES.len() as u64)).unwrap_or(0);
        let (city, region, postal_code, country) = dice::CITIES[city];
        Address {
            name: format!("{} {}", buyer.first_name, buyer.last_name),
            line1: format!("{} {}", 1 + dice.below(240), dice.pick(dice::STREETS)),
            city,
            region,
            postal_code,
            country,
            phone: buyer.phone.clone(),
        }
    }

    fn customer(&self, index: u64) -> Customer {
        let buyer = self.buyer(index);
        let address = self.address(&buyer, index);
        let mut dice = Dice::new(self.seed, 2, index);
        Customer {
            id: buyer.id,
            customer_number: format!("C-{}", 10_001 + index),
            first_name: buyer.first_name,
            last_name: buyer.last_name,
            email: buyer.email,
            phone: buyer.phone,
            address,
            orders_count: 1 + dice.below(9) + self.life.touches(index, self.customers),
            accepts_marketing: dice.below(3) == 0,
            created_at: text(self.life.past(0, 1) - 86_400),
            updated_at: text(self.changed(Stream::Customers, index)),
        }
    }

    fn product(&self, index: u64) -> Product {
        let mut dice = self.dice(Stream::Products, index);
        let title = format!("{} {}", dice.pick(dice::FINISHES), dice.pick(dice::GOODS));
        let live = index < self.products;
        let sold = if live { self.life.touches(index, self.products) } else { 0 };
        let (cents, weight_grams) = goods(&mut dice);
        Product {
            id: Stream::Products.first_id() + index,
            sku: sku(index),
            description: format!("{title}, made to order in small numbers; weighs {weight_grams} g with its packing."),
            title,
            status: if live { "active" } else { "draft" },
            price: money(cents),
            currency: "EUR",
            stock: (1_000 + dice.below(500)).saturating_sub(3 * sold),
            weight_grams,
            created_at: text(self.life.past(0, 1) - 86_400),
            updated_at: text(self.changed(Stream::Products, index)),
        }
    }

    /// The buyer's index and the lines of an order, each with its price in cents.
    fn basket(&self, index: u64) -> (u64, Vec<(LineItem, u64, u64)>) {
        let mut dice = self.dice(Stream::Orders, index);
        let buyer = dice.below(self.customers);
        let lines = 1 + dice.below(3);
        let items = (1..=lines).map(|line| {
            let product = dice.below(self.products);
            let mut of_product = self.dice(Stream::Products, product);
            let title = format!("{} {}", of_product.pick(dice::FINISHES), of_product.pick(dice::GOODS));
            let (cents, weight) = goods(&mut of_product);
            let quantity = 1 + dice.below(4);
            (LineItem { line, sku: sku(product), title, quantity, unit_price: money(cents) }, cents * quantity, weight * quantity)
        });
        let items = items.collect();
        (buyer, items)
    }

    fn order(&self, index: u64) -> Order {
        let (buyer_index, items) = self.basket(index);
        let buyer = self.buyer(buyer_index);
        let marks = self.life.marks();
        let (paid, shipped) = (index < marks.paid, index < marks.shipped);
        let subtotal: u64 = items.iter().map(|(_, cents, _)| cents).sum();
        let tax = subtotal * TAX_PERCENT / 100;
        let shipping = if subtotal > 10_000 { 0 } else { 495 };
        Order {
            id: Stream::Orders.first_id() + index,
            order_number: order_number(index),
            status: match self.latest(index) {
                Mark::Created => "open",
                Mark::Paid => "paid",
                Mark::Shipped => "shipped",
            },
            created_at: text(self.life.passed(Mark::Created, index)),
            updated_at: text(self.changed(Stream::Orders, index)),
            paid_at: paid.then(|| text(self.life.passed(Mark::Paid, index))),
            currency: "EUR",
            subtotal: money(subtotal),
            tax: money(tax),
            shipping_cost: money(shipping),
            total: money(subtotal + tax + shipping),
            invoice_number: paid.then(|| invoice_number(index)),
            shipping_address: self.address(&buyer, buyer_index),
            customer: buyer,
            line_items: items.into_iter().map(|(item, _, _)| item).collect(),
            fulfilments: if shipped { vec![self.fulfilment(index)] } else { Vec::new() },
            note: self.note(index),
        }
    }

    fn note(&self, index: u64) -> Option<String> {
        let mut dice = Dice::new(self.seed, 3, index);
        if index % CARD_NOTE_EVERY == 1 {
            return Some(format!("Customer gave card {} on the phone, please charge it.", dice.pick(TEST_CARDS)));
        }
        (dice.below(3) > 0).then(|| dice.pick(dice::NOTES).to_owned())
    }

    fn fulfilment(&self, index: u64) -> Fulfilment {
        Fulfilment {
            shipment_id: Stream::Shipments.first_id() + index,
            status: "shipped",
            carrier: self.dice(Stream::Shipments, index).pick(dice::CARRIERS),
            tracking_number: tracking_number(index),
            shipped_at: text(self.life.passed(Mark::Shipped, index)),
        }
    }

    fn invoice(&self, index: u64) -> Invoice {
        let (buyer_index, items) = self.basket(index);
        let buyer = self.buyer(buyer_index);
        let net: u64 = items.iter().map(|(_, cents, _)| cents).sum();
        let tax = net * TAX_PERCENT / 100;
        let issued_at = text(self.life.passed(Mark::Paid, index));
        Invoice {
            id: Stream::Invoices.first_id() + index,
            invoice_number: invoice_number(index),
            order_number: order_number(index),
            customer_id: buyer.id,
            bill_to: self.address(&buyer, buyer_index),
            email: buyer.email,
            status: "paid",
            currency: "EUR",
            net: money(net),
            tax: money(tax),
            gross: money(net + tax),
            updated_at: issued_at.clone(),
            issued_at,
        }
    }

    fn shipment(&self, index: u64) -> Shipment {
        let (buyer_index, items) = self.basket(index);
        let buyer = self.buyer(buyer_index);
        let Fulfilment { carrier, tracking_number, shipped_at, .. } = self.fulfilment(index);
        Shipment {
            id: Stream::Shipments.first_id() + index,
            tracking_number,
            order_number: order_number(index),
            carrier,
            status: "in_transit",
            ship_to: self.address(&buyer, buyer_index),
            weight_grams: items.iter().map(|(_, _, grams)| grams).sum(),
            skus: items.into_iter().map(|(item, _, _)| item.sku).collect(),
            updated_at: shipped_at.clone(),
            shipped_at,
        }
    }
}

/// The first index of the range for which `past` holds, which must not cease to hold later; the range's end if none.
fn first(range: &Range<u64>, past: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if past(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Price in cents and weight in grams: the next two throws of a product's die.
fn goods(dice: &mut Dice) -> (u64, u64) {
    (490 + dice.below(9_500), 80 + dice.below(4_000))
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn sku(product: u64) -> String {
    format!("SKU-{:05}", product + 1)
}

fn order_number(order: u64) -> String {
    format!("SO-{}", 100_001 + order)
}

fn invoice_number(order: u64) -> String {
    format!("INV-{}", 500_001 + order)
}

/// Letters on both sides and nine digits: not to be taken for a card number.
fn tracking_number(order: u64) -> String {
    format!("SBX{:09}NL", 120_000_001 + order)
}

fn text(second: i64) -> String {
    Timestamp::from_second(second).unwrap_or_default().to_string()
}
