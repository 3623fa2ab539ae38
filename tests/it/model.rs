//! Random histories of connections against a model: the real binary, real sockets, real kills.
//!
//! A history is a run of acts on a few tenants' connections: connect, pull (whole, or left running while the next acts
//! happen), revoke, expire tokens, break the application, reconnect, pause, resume, erase, kill the gateway in the middle
//! of any of these. Every connection has an application of its own, so that the application's log is the connection's log.
//! After each act the gateway's answers and the applications' logs are held against what [`link::Link`] says must be so.
//!
//! `HEADGATE_MODEL_SEED` is the seed of the first history, each further one has the next; `HEADGATE_MODEL_HISTORIES` is
//! their number. A failure prints the seed of its history and what was done. The acts are the same each time a seed is
//! played; how they meet with what the gateway does at that moment is not. `HEADGATE_MODEL_TRACE` also tells the acts of
//! histories that held.

mod act;
mod check;
mod door;
mod history;
mod link;
mod shop;
mod stored;

use std::str::FromStr;

use futures_util::StreamExt;

use self::history::History;

/// Histories of one test, when nobody says otherwise: a few seconds.
const HISTORIES_DEFAULT: u64 = 3;
/// Acts of one history.
const ACTS: u32 = 24;
/// Histories that are played at the same time.
const AT_ONCE: usize = 2;

#[test]
fn histories_keep_the_promises() {
    let seed: u64 = setting("HEADGATE_MODEL_SEED", 1);
    let histories: u64 = setting("HEADGATE_MODEL_HISTORIES", HISTORIES_DEFAULT);
    println!("model: {histories} histories from HEADGATE_MODEL_SEED={seed}");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    let failed = runtime.block_on(async {
        let played = futures_util::stream::iter(seed..seed + histories).map(|seed| async move {
            let history = tokio::spawn(async move { History::begin(seed).await.play(ACTS).await });
            (seed, history.await.is_err())
        });
        played.buffer_unordered(AT_ONCE).filter_map(|(seed, failed)| async move { failed.then_some(seed) }).collect::<Vec<u64>>().await
    });
    assert!(failed.is_empty(), "broken histories: {failed:?}; play one with HEADGATE_MODEL_SEED=… HEADGATE_MODEL_HISTORIES=1");
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}
