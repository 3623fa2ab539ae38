//! The shop that the gateway pulls from: a loopback server with one account a connection.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;

use crate::graph::Graph;
use crate::graph::PER_PAGE;

/// What is answered past the last page.
const NOTHING: &str = "{\"orders\":[]}";

/// Pages, rendered before the first is asked for, so that the rendering is on nobody's account.
struct Shop {
    pages: Vec<Bytes>,
    pages_each: usize,
}

/// Serves on a thread of its own, until the process ends.
pub fn open(graph: &Graph) -> std::io::Result<SocketAddr> {
    let connections = graph.records / graph.each();
    let pages = (0..connections).flat_map(|connection| pages(graph, connection)).collect();
    let shop = Arc::new(Shop { pages, pages_each: graph.pages_each() });
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        let router = Router::new().fallback(answer).with_state(shop);
        runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await })
    });
    Ok(address)
}

/// `/accounts/{connection}/orders?page=N`
async fn answer(State(shop): State<Arc<Shop>>, request: Request) -> ([(HeaderName, &'static str); 1], Bytes) {
    let connection = request.uri().path().split('/').nth(2).and_then(|text| text.parse::<usize>().ok());
    let asked = request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("page=")?.parse::<usize>().ok());
    let page = asked.unwrap_or(0);
    let page = connection.filter(|_| page < shop.pages_each).and_then(|connection| shop.pages.get(connection * shop.pages_each + page));
    ([(CONTENT_TYPE, "application/json")], page.cloned().unwrap_or_else(|| Bytes::from_static(NOTHING.as_bytes())))
}

/// Where an account's orders are.
pub fn base_url(shop: SocketAddr, connection: usize) -> String {
    format!("http://{shop}/accounts/{connection}")
}

fn pages(graph: &Graph, connection: usize) -> Vec<Bytes> {
    let records: Vec<usize> = (connection * graph.each()..(connection + 1) * graph.each()).collect();
    let page = |records: &[usize]| {
        let mut page = String::from("{\"orders\":[");
        for (index, record) in records.iter().enumerate() {
            if index > 0 {
                page.push(',');
            }
            order(&mut page, graph, *record);
        }
        Bytes::from(page + "]}")
    };
    records.chunks(PER_PAGE).map(page).collect()
}

/// An order of about 1 KB, always the same for a number; its id is the number of the record.
pub fn order(page: &mut String, graph: &Graph, number: usize) {
    let mut dice = fastrand::Rng::with_seed(number as u64);
    let order_number = graph.order_number(number);
    let _ = write!(page, r#"{{"id":{number},"order_number":"{order_number}","#);
    let (month, day, hour, minute) = (dice.u8(1..13), dice.u8(1..29), dice.u8(..24), dice.u8(..60));
    let _ = write!(page, r#""placed_at":"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z","#);
    let state = ["open", "paid", "sent", "returned"][dice.usize(..4)];
    let (total, tax) = (dice.u32(500..90_000), dice.u32(100..9_000));
    let _ = write!(
        page,
        r#""state":"{state}","currency":"EUR","total":"{}.{:02}","tax":"{}.{:02}","#,
        total / 100,
        total % 100,
        tax / 100,
        tax % 100
    );
    for role in ["buyer", "recipient", "payer"] {
        let city = dice.usize(..5);
        let _ = write!(
            page,
            r#""{role}":{{"name":"Person {}","street":"{} Harbour Street","city":"{}","postcode":"{:05}","country":"{}","mail":"p{}@post.example"}},"#,
            dice.u32(..50_000),
            dice.u32(1..300),
            ["Leeds", "Graz", "Porto", "Turku", "Brest"][city],
            dice.u32(..99_999),
            ["GB", "AT", "PT", "FI", "FR"][city],
            dice.u32(..70_000)
        );
    }
    page.push_str("\"lines\":[");
    for line in 0..dice.usize(2..=4) {
        let comma = if line > 0 { "," } else { "" };
        let (sku, model, quantity, price) = (dice.u32(..20_000), dice.u32(..400), dice.u32(1..5), dice.u32(100..30_000));
        let _ = write!(page, r#"{comma}{{"sku":"AB-{sku:05}","title":"Garden chair, folding, model {model}","quantity":{quantity},"#);
        let _ = write!(page, r#""price":"{}.{:02}","rate":0.2}}"#, price / 100, price % 100);
    }
    let carrier = ["North Post", "Blue Van", "Rail Parcel"][dice.usize(..3)];
    let _ = write!(page, r#"],"shipment":{{"carrier":"{carrier}","reference":"TR{:012}","#, dice.u64(..999_999_999_999));
    page.push_str(r#""events":["collected","sorted","on the road"]},"remarks":null,"channel":"web","gift":false}"#);
}
