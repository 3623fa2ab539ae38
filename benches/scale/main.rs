//! What keeping costs at size: pulls, memory, questions, an erasure, and starts, on the real binary and over real sockets.
//!
//! ```text
//! cargo bench --bench scale                     every part, 100,000 records in ten connections, 1,000 idle connections
//! cargo bench --bench scale -- pull start       only these parts
//! HEADGATE_BENCH_RECORDS=1000000 HEADGATE_BENCH_IDLE=10000 cargo bench --bench scale
//! ```
//!
//! It prints one line a figure and says what was asked; docs/MEASURED.md keeps what came out. Nothing here passes or fails.

mod gateway;
mod orders;
mod shop;

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

use anyhow::Context;
use axum::body::Body;
use axum::http::Request;
use futures_util::future::try_join_all;
use headgate::clock::Clock;
use headgate::config::Access;
use headgate::config::DataDirectory;
use headgate::config::MasterKeySource;
use headgate::config::Settings;
use headgate::gateway::House;
use headgate::ids::Entropy;
use serde_json::json;
use tower::ServiceExt;

use crate::gateway::Gateway;
use crate::gateway::Service;

/// The shop is connected this often, so that a business key has as many records.
const CONNECTIONS: usize = 10;
/// Questions of each kind.
const QUESTIONS: usize = 5_000;
/// Callers at the same time, where many ask.
const CALLERS: usize = 100;
/// Connections that are made at the same time, for the idle ones.
const CONNECTING: usize = 16;
/// How long idleness is watched.
const IDLE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_asked = |part: &str| asked.is_empty() || asked.iter().any(|one| one == part);
    let records = number("HEADGATE_BENCH_RECORDS", 100_000);
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let shop = shop::open(records / CONNECTIONS)?;
    gateway::prepare(&data, shop)?;
    let connections = pull(&data, shop, records).await?;
    let connections = connections.as_slice();
    if is_asked("questions") {
        questions(&data, connections, records / CONNECTIONS).await?;
    }
    if is_asked("start") {
        start(&data).await?;
    }
    if is_asked("erase") {
        erase(&data, &connections[CONNECTIONS / 2]).await?;
    }
    if is_asked("idle") {
        idle(folder.path(), shop, number("HEADGATE_BENCH_IDLE", 1_000)).await?;
    }
    Ok(())
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn say(what: &str, figure: &str) {
    println!("{what:<72} {figure}");
}

/// From an empty directory to the first record, then connection after connection; the connections' ids.
async fn pull(data: &Path, shop: SocketAddr, records: usize) -> anyhow::Result<Vec<String>> {
    let each = records / CONNECTIONS;
    let began = Instant::now();
    let gateway = Gateway::start(data)?;
    let listening = began.elapsed();
    let mut connections = vec![gateway.connect(shop).await?];
    let connected = began.elapsed();
    let pull = gateway.begin(&connections[0]).await?;
    gateway.wait(&pull, |run| run["pages"] != 0).await?;
    say(
        "first record stored after a start on an empty directory",
        &format!("{:?} ({listening:?} to listen, {:?} to connect)", began.elapsed(), connected - listening),
    );
    for number in 0..CONNECTIONS {
        if number > 0 {
            connections.push(gateway.connect(shop).await?);
        }
        let (began, before) = (Instant::now(), gateway.usage()?);
        let pull = if number > 0 { gateway.begin(&connections[number]).await? } else { pull.clone() };
        gateway.wait(&pull, |run| run["state"] == "complete").await?;
        let (seconds, after) = (began.elapsed().as_secs_f64(), gateway.usage()?);
        if number == 0 || number + 1 == CONNECTIONS {
            say(
                &format!("pull of {each} records as connection {} of {CONNECTIONS}", number + 1),
                &format!(
                    "{:.0} records/s, {:.2} CPU s per 100,000, {:.0} MiB resident, {:.0} at most",
                    each as f64 / seconds,
                    (after.cpu_s - before.cpu_s) / each as f64 * 1e5,
                    after.rss_mib,
                    after.rss_max_mib
                ),
            );
        }
    }
    let stats = gateway.get("/admin/store/stats").await?;
    say("the store then", &stats.to_string());
    gateway.stop()?;
    Ok(connections)
}

/// Origins and business keys, by one caller and by many, over HTTP and in process.
async fn questions(data: &Path, connections: &[String], orders: usize) -> anyhow::Result<()> {
    let mut gateway = Gateway::start(data)?;
    let service = gateway.service().await?;
    let mut origins = Vec::new();
    for connection in connections {
        let (page, _) = service.timed(&format!("/v1/records?connection={connection}&stream=orders&limit=500")).await?;
        let ids = page["items"].as_array().context("no records")?.iter().filter_map(|record| record["id"].as_str());
        origins.extend(ids.map(|id| format!("/v1/records/{id}/lineage")));
    }
    let keys: Vec<String> = (0..QUESTIONS)
        .map(|question| format!("/v1/lineage/keys/order_number/{}?tenant=bench", orders::order_number(question * 7919 % orders)))
        .collect();
    for (what, paths) in [("origin of a record", origins.clone()), ("a business key with 10 records", keys.clone())] {
        say(&format!("{what}, over HTTP, one caller"), &asked_by(&service, &paths, 1).await?);
        say(&format!("{what}, over HTTP, {CALLERS} callers"), &asked_by(&service, &paths, CALLERS).await?);
    }
    gateway.stop()?;
    in_process(data, &[("origin of a record", origins), ("a business key with 10 records", keys)]).await
}

async fn asked_by(service: &Service, paths: &[String], callers: usize) -> anyhow::Result<String> {
    let began = Instant::now();
    let each = QUESTIONS / callers;
    let caller = |number: usize| async move {
        let mut times = Vec::with_capacity(each);
        for question in 0..each {
            times.push(service.timed(&paths[(number * each + question * 31) % paths.len()]).await?.1);
        }
        anyhow::Ok(times)
    };
    let times: Vec<Duration> = try_join_all((0..callers).map(caller)).await?.concat();
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    Ok(format!("{}, {rate:.0} a second", percentiles(times)))
}

/// The same questions put to the router of a gateway in this process.
async fn in_process(data: &Path, kinds: &[(&str, Vec<String>)]) -> anyhow::Result<()> {
    let clock = Clock::System;
    let Access::Held(held) = DataDirectory::at(data)?.access("bench", false, clock.now())? else { anyhow::bail!("the directory is held") };
    let settings = Settings::gather(held, None, &MasterKeySource::Beside, clock, Entropy::system(), &mut |_| {})?;
    let gateway = headgate::gateway::Gateway::open(settings).await?;
    let router = gateway.local();
    for (what, paths) in kinds {
        let mut times = Vec::with_capacity(QUESTIONS);
        for question in 0..QUESTIONS {
            let request = Request::get(&paths[question * 31 % paths.len()]).header("Headgate-Purpose", "fulfilment");
            let request = request.body(Body::empty())?;
            let began = Instant::now();
            let answer = router.clone().oneshot(request).await?;
            times.push(began.elapsed());
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
        }
        say(&format!("{what}, in process"), &percentiles(times));
    }
    gateway.close().await;
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    format!("p50 {:?}, p99 {:?}", at(0.5), at(0.99))
}

/// From the command to the address, after an end in order and after SIGKILL.
async fn start(data: &Path) -> anyhow::Result<()> {
    for (how, kill) in [("an end in order", false), ("SIGKILL", true)] {
        let gateway = Gateway::start(data)?;
        if kill {
            gateway.kill()?
        } else {
            gateway.stop()?
        };
        let began = Instant::now();
        let gateway = Gateway::start(data)?;
        say(&format!("open after {how}"), &format!("{:?}, {:.0} MiB resident", began.elapsed(), gateway.usage()?.rss_mib));
        gateway.stop()?;
    }
    Ok(())
}

/// Until nothing of a connection opens, and until nothing of it is there.
async fn erase(data: &Path, connection: &str) -> anyhow::Result<()> {
    let gateway = Gateway::start(data)?;
    let asked = gateway.post("/v1/erasures", json!({"scope": {"connection": connection}, "reason": "bench", "revoke": true})).await?;
    let id = asked["id"].as_str().context("no erasure")?;
    let began = Instant::now();
    gateway.post(&format!("/v1/erasures/{id}/approve"), json!({})).await?;
    let unreadable = began.elapsed();
    let done = loop {
        let erasure = gateway.get(&format!("/v1/erasures/{id}")).await?;
        if erasure["state"] == "complete" {
            break erasure;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let what = format!("erase {} records of that store", done["counts"]["records"]);
    say(&what, &format!("{unreadable:?} until nothing opens, {:?} until swept and certified", began.elapsed()));
    gateway.stop()
}

/// Memory and work of connections that do nothing.
async fn idle(folder: &Path, shop: SocketAddr, connections: usize) -> anyhow::Result<()> {
    let data: PathBuf = folder.join("idle");
    gateway::prepare(&data, shop)?;
    let gateway = Gateway::start(&data)?;
    let began = Instant::now();
    let some = |count: usize| {
        let gateway = &gateway;
        async move {
            for _ in 0..count {
                gateway.connect(shop).await?;
            }
            anyhow::Ok(())
        }
    };
    try_join_all((0..CONNECTING).map(|_| some(connections / CONNECTING))).await?;
    let made = began.elapsed();
    let before = gateway.usage()?;
    tokio::time::sleep(IDLE).await;
    let after = gateway.usage()?;
    say(
        &format!("{connections} idle connections"),
        &format!("{:.0} MiB resident, {:.2} CPU s in {IDLE:?}; made in {made:?}", after.rss_mib, after.cpu_s - before.cpu_s),
    );
    gateway.stop()
}
