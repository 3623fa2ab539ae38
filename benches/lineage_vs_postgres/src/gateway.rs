//! The gateway: the real binary, fed and asked as any service would, through HTTP over TCP with keys of its tenants.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::graph::Graph;
use crate::graph::JOBS_A_GROUP;
use crate::graph::Job;
use crate::graph::TENANTS;
use crate::graph::dataset_name;
use crate::graph::tenant_name;
use crate::graph::tenant_of_connection;
use crate::names::Names;
use crate::question::Part;
use crate::question::Question;
use crate::question::Side;
use crate::question::tenant_of_job;
use crate::shop;

/// Pulls that go on at the same time, and threads that ask to.
const PULLING: usize = 4;
/// Derivations of one request.
const DERIVATIONS_A_BATCH: usize = 500;
/// Events of one request.
const EVENTS_A_BATCH: usize = 500;
/// How often a pull is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The most that an answer may be.
const ANSWER_MAX: u64 = 256 << 20;

/// A running `headgate serve`.
pub struct Gateway {
    child: Child,
    binary: PathBuf,
    data: PathBuf,
    address: String,
    keys: Vec<String>,
}

/// One caller, with a connection of its own that is kept alive.
pub struct Caller {
    agent: ureq::Agent,
    address: String,
    keys: Vec<String>,
    graph: Arc<Graph>,
    names: Arc<Names>,
}

impl Gateway {
    /// Starts a server on an empty directory that may reach the shop.
    pub fn start(binary: &Path, data: &Path, shop: SocketAddr) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        std::fs::write(data.join("headgate.toml"), format!("[egress]\nallow = [\"{shop}\"]\n"))?;
        let mut command = Command::new(binary);
        command.arg("--data").arg(data).args(["--json", "serve", "--listen", "127.0.0.1:0"]).env("HEADGATE_LOG", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("the server does not start")?;
        let address = said["address"].as_str().context("no address")?.to_owned();
        Ok(Gateway { child, binary: binary.into(), data: data.into(), address, keys: Vec::new() })
    }

    /// Connects every account of the shop, and makes a key for each tenant.
    pub fn connect(&mut self, graph: &Graph, shop: SocketAddr, names: &mut Names) -> anyhow::Result<()> {
        let connector = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("shop");
        let connector = connector.to_str().context("the folder's name is no text")?;
        for connection in 0..graph.records / graph.each() {
            let tenant = tenant_name(tenant_of_connection(connection));
            let config = json!({"base_url": shop::base_url(shop, connection), "api_key": "a key"});
            let words = ["connect", connector, "--tenant", &tenant, "--streams", "orders", "--accept-policy"];
            let consent = ["--person", "P", "--organisation", "O", "--config", "-"];
            let made = self.command(&[&words[..], &consent[..]].concat(), &config)?;
            names.connection(made["connection"].as_str().context("no connection")?.to_owned());
        }
        for tenant in 0..TENANTS {
            let words = ["keys", "create", "--role", "service", "--tenant", &tenant_name(tenant), "--purpose", "fulfilment"];
            let made = self.command(&words, &Value::Null)?;
            self.keys.push(made["key"].as_str().context("no key")?.to_owned());
        }
        Ok(())
    }

    /// A caller with a connection of its own.
    pub fn caller(&self, graph: &Arc<Graph>, names: &Arc<Names>) -> Caller {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let (address, keys) = (self.address.clone(), self.keys.clone());
        Caller { agent: config.into(), address, keys, graph: Arc::clone(graph), names: Arc::clone(names) }
    }

    /// Bytes of the directory on disk.
    pub fn bytes_on_disk(&self) -> anyhow::Result<u64> {
        let told = Command::new("du").args(["-s", "--block-size=1"]).arg(&self.data).output()?.stdout;
        let told = String::from_utf8(told)?;
        Ok(told.split_whitespace().next().context("du says nothing")?.parse()?)
    }

    fn command(&self, words: &[&str], input: &Value) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.binary);
        command.arg("--data").arg(&self.data).arg("--json").args(words).env("HEADGATE_LOG", "error");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("no input")?.write_all(input.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("{words:?}: {text}");
        }
        Ok(serde_json::from_str(text.lines().last().context("no answer")?)?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Pulls every connection, some at the same time.
pub fn pull(gateway: &Gateway, graph: &Arc<Graph>, names: &Arc<Names>) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    many(PULLING, || {
        let caller = gateway.caller(graph, names);
        while let Some(id) = names.connections().get(next.fetch_add(1, Ordering::Relaxed)) {
            let tenant = tenant_of_connection(names.connections().iter().position(|other| other == id).unwrap_or_default());
            let started = caller.post(tenant, &format!("/v1/connections/{id}/runs"), &json!({}))?;
            let pull = started["pull"].as_str().context("no pull")?.to_owned();
            loop {
                let runs: Value = serde_json::from_str(&caller.get(tenant, &format!("/v1/runs?pull={pull}"))?)?;
                match runs["items"][0]["state"].as_str() {
                    Some("complete") => break,
                    Some("running") | None => std::thread::sleep(LOOK_EVERY),
                    Some(_) => bail!("a pull ended otherwise: {runs}"),
                }
            }
        }
        Ok(())
    })
}

/// Learns the ids of all records.
pub fn learn(gateway: &Gateway, graph: &Arc<Graph>, names: &mut Arc<Names>) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Item>,
        next: Option<String>,
    }
    #[derive(Deserialize)]
    struct Item {
        id: String,
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        id: i64,
    }
    let mut learnt = Vec::with_capacity(graph.records);
    let caller = gateway.caller(graph, names);
    for (connection, id) in names.connections().iter().enumerate() {
        let mut after = String::new();
        loop {
            let path = format!("/v1/records?connection={id}&stream=orders&limit=500{after}");
            let page: Page = serde_json::from_str(&caller.get(tenant_of_connection(connection), &path)?)?;
            learnt.extend(page.items.into_iter().map(|item| (item.data.id, item.id)));
            let Some(next) = page.next else { break };
            after = format!("&after={next}");
        }
    }
    drop(caller);
    let names = Arc::get_mut(names).context("the names are in use")?;
    learnt.into_iter().for_each(|(number, id)| names.learn(number, id));
    anyhow::ensure!(names.len() == graph.records, "the gateway has {} records instead of {}", names.len(), graph.records);
    Ok(())
}

/// Tells of every artifact and document, each tenant's in batches, artifacts first.
pub fn derive(gateway: &Gateway, graph: &Arc<Graph>, names: &mut Arc<Names>) -> anyhow::Result<Duration> {
    #[derive(Deserialize)]
    struct Told {
        artifacts: Vec<String>,
    }
    let mut spent = Duration::ZERO;
    for kind in ["profile", "report"] {
        for tenant in 0..TENANTS {
            let made: Vec<_> = graph.made.iter().filter(|made| made.tenant == tenant && made.kind == kind).collect();
            for batch in made.chunks(DERIVATIONS_A_BATCH) {
                let derivations = batch.iter().map(|made| {
                    let inputs: Vec<&str> = made.inputs.iter().map(|input| names.id(*input)).collect();
                    json!({"artifact": {"kind": made.kind, "name": made.name}, "need": made.need.name(), "inputs": inputs})
                });
                let body = json!({"derivations": derivations.collect::<Vec<_>>()});
                let caller = gateway.caller(graph, names);
                let began = Instant::now();
                let answer = caller.post(tenant, "/v1/derivations", &body)?;
                spent += began.elapsed();
                drop(caller);
                let Told { artifacts } = serde_json::from_value(answer)?;
                anyhow::ensure!(artifacts.len() == batch.len(), "{} artifacts are made of {} derivations", artifacts.len(), batch.len());
                let names = Arc::get_mut(names).context("the names are in use")?;
                batch.iter().zip(artifacts).for_each(|(made, id)| names.learn(made.number, id));
            }
        }
    }
    Ok(spent)
}

/// Tells of a run of each of these jobs by OpenLineage events.
pub fn tell_jobs(gateway: &Gateway, graph: &Arc<Graph>, names: &Arc<Names>, jobs: std::ops::Range<usize>) -> anyhow::Result<Duration> {
    let caller = gateway.caller(graph, names);
    let mut spent = Duration::ZERO;
    for tenant in 0..TENANTS {
        let jobs: Vec<usize> = jobs.clone().filter(|job| tenant_of_job(*job) == tenant).collect();
        for batch in jobs.chunks(EVENTS_A_BATCH) {
            let events = Value::Array(batch.iter().map(|job| event(&Job::new(*job))).collect());
            let began = Instant::now();
            let answer = caller.post(tenant, "/api/v1/lineage/batch", &events)?;
            spent += began.elapsed();
            let failed = answer["summary"]["failed"].as_u64().unwrap_or_default();
            anyhow::ensure!(failed == 0, "{failed} events are refused: {answer}");
        }
    }
    Ok(spent)
}

fn event(job: &Job) -> Value {
    let dataset = |dataset: usize| json!({"namespace": job.namespace(), "name": dataset_name(dataset), "facets": {}});
    json!({
        "eventType": "COMPLETE", "eventTime": "2026-11-24T10:00:00Z", "producer": "https://bench.example/jobs",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": job.run(), "facets": {}},
        "job": {"namespace": job.namespace(), "name": job.name(), "facets": {}},
        "inputs": job.reads.iter().map(|read| dataset(*read)).collect::<Vec<_>>(),
        "outputs": [dataset(job.writes)],
    })
}

impl Caller {
    fn get(&self, tenant: usize, path: &str) -> anyhow::Result<String> {
        let request = self.agent.get(format!("{}{path}", self.address));
        let request = request.header("Authorization", format!("Bearer {}", self.keys[tenant])).header("Headgate-Purpose", "fulfilment");
        read(request.call()?, path)
    }

    fn post(&self, tenant: usize, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.address));
        let request = request.header("Authorization", format!("Bearer {}", self.keys[tenant])).header("Content-Type", "application/json");
        let text = read(request.send(body.to_string())?, path)?;
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>, path: &str) -> anyhow::Result<String> {
    let text = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string()?;
    if !answer.status().is_success() {
        bail!("{path}: {}: {text}", answer.status());
    }
    Ok(text)
}

#[derive(Deserialize)]
struct Origin<'a> {
    #[serde(borrow)]
    tag: Tag<'a>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    page: Page<'a>,
    pointer: &'a str,
}

#[derive(Deserialize)]
struct Page<'a> {
    url: &'a str,
}

#[derive(Deserialize)]
struct Matches<'a> {
    #[serde(borrow)]
    items: Vec<Match<'a>>,
}

#[derive(Deserialize)]
struct Match<'a> {
    record: &'a str,
}

#[derive(Deserialize)]
struct Walked<'a> {
    #[serde(borrow)]
    nodes: Vec<Node<'a>>,
    truncated: bool,
}

#[derive(Deserialize)]
struct Node<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    noun: &'a str,
}

#[derive(Deserialize)]
struct Counts {
    records: i64,
    derived: Derived,
}

#[derive(Deserialize)]
struct Derived {
    dies: i64,
    survives: i64,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
}

#[derive(Deserialize)]
struct JobGraph<'a> {
    #[serde(borrow)]
    graph: Vec<JobNode<'a>>,
}

#[derive(Deserialize)]
struct JobNode<'a> {
    id: &'a str,
}

impl Side for Caller {
    fn ask(&mut self, question: &Question) -> anyhow::Result<Vec<Part>> {
        let tenant = question.tenant(&self.graph);
        let id = |node: i64| self.names.id(node);
        let part = |text: &str| Part::Text(text.to_owned());
        match question {
            Question::Origin(record) => {
                let text = self.get(tenant, &format!("/v1/records/{}/lineage", id(*record as i64)))?;
                let Origin { tag } = serde_json::from_str(&text)?;
                Ok(vec![part(tag.page.url), part(tag.pointer)])
            }
            Question::Key(record) => {
                let text = self.get(tenant, &format!("/v1/lineage/keys/order_number/{}", self.graph.order_number(*record)))?;
                let matches: Matches<'_> = serde_json::from_str(&text)?;
                Ok(matches.items.iter().map(|one| part(one.record)).collect())
            }
            Question::Descendants(node) => self.walk(tenant, *node, "down"),
            Question::Ancestors(node) => self.walk(tenant, *node, "up"),
            Question::ImpactCounts(connection) => self.counts(tenant, *connection),
            Question::ImpactList(connection) => self.list(tenant, *connection),
            Question::Jobs(job) => {
                let job = Job::new(*job);
                let text =
                    self.get(tenant, &format!("/api/v1/lineage?nodeId=job:{}:{}&depth={JOBS_A_GROUP}", job.namespace(), job.name()))?;
                let told: JobGraph<'_> = serde_json::from_str(&text)?;
                Ok(told.graph.iter().map(|node| part(node.id)).collect())
            }
        }
    }
}

impl Caller {
    fn walk(&self, tenant: usize, node: i64, direction: &str) -> anyhow::Result<Vec<Part>> {
        let text = self.get(tenant, &format!("/v1/lineage?node={}&direction={direction}&depth=20&limit=1000", self.names.id(node)))?;
        let told: Walked<'_> = serde_json::from_str(&text)?;
        anyhow::ensure!(!told.truncated, "the graph is cut short");
        // What stands above records (pages, runs, connections) is columns in PostgreSQL's answer.
        let nodes = told.nodes.iter().filter(|node| matches!(node.noun, "record" | "artifact" | "derivation"));
        Ok(nodes.map(|node| Part::Text(node.id.to_owned())).collect())
    }

    /// Without the digest of what an erasure would remove: PostgreSQL makes none, and it reads every record's row.
    fn counts(&self, tenant: usize, connection: usize) -> anyhow::Result<Vec<Part>> {
        let text = self.get(tenant, &format!("/v1/connections/{}/impact?digest=false", self.names.connections()[connection]))?;
        let Counts { records, derived } = serde_json::from_str(&text)?;
        Ok(vec![Part::counts([records, derived.dies, derived.survives])])
    }

    /// Three questions, as a client that wants all must ask.
    fn list(&self, tenant: usize, connection: usize) -> anyhow::Result<Vec<Part>> {
        let mut all = Vec::new();
        for list in ["records", "dies", "survives"] {
            all.extend(self.listed(tenant, connection, list)?);
        }
        Ok(all)
    }

    fn listed(&self, tenant: usize, connection: usize, list: &str) -> anyhow::Result<Vec<Part>> {
        let path = format!("/v1/connections/{}/impact?list={list}&limit=10000", self.names.connections()[connection]);
        let mut all = Vec::new();
        let mut text = self.get(tenant, &path)?;
        loop {
            let Listed { items, next } = serde_json::from_str(&text)?;
            all.extend(items.iter().map(|item| Part::Text(item.id.to_owned())));
            let Some(next) = next else { return Ok(all) };
            text = self.get(tenant, &format!("{path}&after={next}"))?;
        }
    }

    /// That the gateway tells apart what dies and what survives, as the graph does; PostgreSQL is not asked.
    pub fn must_tell_apart(&self, connection: usize) -> anyhow::Result<()> {
        let impact = self.graph.impact(connection);
        for (list, expected) in [("records", impact.own), ("dies", impact.dies), ("survives", impact.survives)] {
            let told = self.listed(tenant_of_connection(connection), connection, list)?;
            let told: BTreeSet<Part> = told.into_iter().map(|part| self.names.number(part)).collect();
            let expected: BTreeSet<Part> = expected.into_iter().map(Part::Number).collect();
            let wrong: Vec<&Part> = told.symmetric_difference(&expected).take(5).collect();
            anyhow::ensure!(
                wrong.is_empty(),
                "{list} of connection {connection}: {} instead of {}, as {wrong:?}",
                told.len(),
                expected.len()
            );
        }
        Ok(())
    }
}

/// The same work by some threads; the first failure of any of them.
pub fn many(threads: usize, work: impl Fn() -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        started.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })
}
