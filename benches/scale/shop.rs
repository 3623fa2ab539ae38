//! The shop that is pulled from: every page is rendered before the first is asked for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;

use crate::orders::render;

/// Orders of one page, as the manifest in `shop/` asks for them.
pub const PER_PAGE: usize = 250;

#[derive(serde::Deserialize)]
struct Asked {
    #[serde(default)]
    page: usize,
}

/// Serves `orders` orders on a thread of its own, until the process ends.
pub fn open(orders: usize) -> std::io::Result<SocketAddr> {
    let pages = Arc::new(pages(orders));
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        let router = Router::new().route("/orders", get(page)).with_state(pages);
        runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await })
    });
    Ok(address)
}

async fn page(State(pages): State<Arc<Vec<Bytes>>>, Query(asked): Query<Asked>) -> ([(axum::http::HeaderName, &'static str); 1], Bytes) {
    let page = pages.get(asked.page).cloned().unwrap_or_else(|| Bytes::from_static(b"{\"orders\":[]}"));
    ([(CONTENT_TYPE, "application/json")], page)
}

fn pages(orders: usize) -> Vec<Bytes> {
    let numbers: Vec<usize> = (0..orders).collect();
    numbers.chunks(PER_PAGE).map(|numbers| Bytes::from(render(numbers))).collect()
}
