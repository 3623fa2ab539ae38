//! OpenLineage out: every run and every erasure is told to a file and to an endpoint, in order, whatever crashes; and whatever is told
//! follows OpenLineage's schemas and ours, and holds nothing of a record and no secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use headgate::clock::Clock;
use headgate::connector::definition::Connector;
use headgate::ids::ConnectionId;
use headgate::ids::ConsentId;
use headgate::ids::Entropy;
use headgate::ids::ErasureId;
use headgate::ids::PullId;
use headgate::ids::RunId;
use headgate::openlineage::emission::Beginning;
use headgate::openlineage::emission::Ending;
use headgate::openlineage::emission::Erased;
use headgate::openlineage::emission::ErasureRun;
use headgate::openlineage::emission::Producer;
use headgate::openlineage::emission::RunEvent;
use headgate::openlineage::emission::Sources;
use headgate::openlineage::emission::Stored;
use headgate::openlineage::emission::StreamRun;
use headgate::openlineage::emission::StreamShape;
use headgate::openlineage::emission::facets::HeadgateRateLimit;
use headgate::openlineage::emission::own_schema;
use headgate::openlineage::emission::own_schema_names;
use headgate::record::ConnectorRef;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::support::installation::Client;
use crate::support::installation::Installation;
use crate::support::installation::text;
use crate::support::openlineage::Schemas;
use crate::support::openlineage::Sink;

const SINK_KEY: &str = "key-of-the-lineage-endpoint";
/// The longest wait for an event.
const WAIT_MAX: Duration = Duration::from_secs(30);

fn producer() -> Producer {
    Producer::new(&"https://gate.example.com:8443/hg".parse().unwrap())
}

/// The connectors that come with Headgate.
fn connectors() -> Vec<Connector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors");
    let folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let load = |folder: std::path::PathBuf| {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        Connector::load(&name, &read("manifest.yaml").unwrap(), read("headgate.yaml").as_deref()).unwrap()
    };
    folders.map(load).collect()
}

fn read(event: &RunEvent) -> Value {
    serde_json::from_slice(&event.to_json().unwrap()).unwrap()
}

/// Both events of a run, and of an erasure, with these facts.
fn events(
    connector: &Connector,
    named: &str,
    stream: &str,
    config: &Value,
    error: Option<&str>,
    numbers: [u64; 4],
    covered: usize,
) -> Vec<Value> {
    let (producer, clock, entropy) = (producer(), Clock::System, Entropy::system());
    let now = clock.now();
    let connection = ConnectionId::new(now, &entropy);
    let tenant = "acme_1.eu".parse().unwrap();
    let streams = vec![stream.to_owned()];
    let source = Sources::of(connector, connection, config, &streams, &clock).stream(stream);
    let reference = ConnectorRef { name: named.to_owned(), digest: connector.digest };
    let (run, pull) = (RunId::new(now, &entropy), PullId::new(now, &entropy));
    let told = StreamRun {
        tenant: &tenant,
        connection,
        connector: &reference,
        application: connector.display_name(),
        stream,
        source: &source,
        run,
        pull,
    };
    let consent = ConsentId::new(now, &entropy);
    let beginning = Beginning {
        at: now,
        due: error.map(|_| now),
        full: error.is_some(),
        consent,
        scopes: vec!["read:all".into()],
        credential_generation: Some(3),
    };
    let shape = StreamShape::of(connector, stream);
    let [new, changed, unchanged, bytes] = numbers;
    let ending = Ending {
        at: now,
        stopped: unchanged % 2 == 1,
        error,
        shape: Some(&shape),
        stored: Stored { pages: 1, new, changed, unchanged, versions: new + changed, bytes, ..Stored::default() },
        spared: error.map(|_| HeadgateRateLimit { requests: new, retries: changed, waits: unchanged, waited_ms: bytes }),
    };
    let ended = told.ended(&producer, &ending);
    let mut events = vec![told.began(&producer, &beginning), ended.clone(), ended.without_large_facets()];
    let covered: Vec<_> = (0..covered).map(|index| (named.to_owned(), connection, format!("{stream}{index}"))).collect();
    let scope = error.map(|_| (named, connection));
    let erasure = ErasureRun { erasure: ErasureId::new(now, &entropy), tenant: &tenant, connection: scope, streams: &covered };
    let erased = Erased {
        at: now,
        records: new,
        versions: changed,
        keys_destroyed: 5,
        commitment: connector.digest.to_string(),
        log_entry: Some(unchanged),
    };
    events.push(erasure.began(&producer, now));
    events.extend(erasure.completed(&producer, &erased));
    events.iter().map(read).collect()
}

/// Made once: it is all of OpenLineage.
static SCHEMAS: LazyLock<Option<Schemas>> = LazyLock::new(|| Schemas::of(&producer()));

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Goal: no event that can be built is one that a strict reader refuses. Method: a stream of every connector that comes with
    /// Headgate, with names, errors and numbers of chance, against the published schemas with every format checked.
    #[test]
    fn every_event_follows_the_schemas(
        named in "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,20}",
        odd in ".{1,20}",
        account in "[a-z0-9-]{1,12}",
        error in proptest::option::of(".{0,200}"),
        numbers in proptest::array::uniform4(0..u64::from(u32::MAX)),
        covered in prop_oneof![0..4_usize, 99..103_usize],
        picked in any::<prop::sample::Index>(),
    ) {
        let Some(schemas) = SCHEMAS.as_ref() else { return Ok(()) };
        let config = json!({"shop": account, "shop_url": format!("https://{account}.example"), "base_url": "http://127.0.0.1:9999", "realmId": "123"});
        for connector in connectors() {
            let known: Vec<&str> = connector.treatment.streams.0.iter().map(|(name, _)| name.as_str()).collect();
            for stream in [picked.get(&known), odd.as_str()] {
                for event in events(&connector, &named, stream, &config, error.as_deref(), numbers, covered) {
                    let faults = schemas.faults(&event);
                    prop_assert!(faults.is_empty(), "{}.{stream}: {faults:#?}\n{event:#}", connector.name);
                }
            }
        }
    }
}

/// Our schemas are schemas, each example follows its own, and each says that nothing else may stand in a facet.
#[test]
fn our_schemas_hold_their_examples() {
    for name in own_schema_names() {
        let schema = own_schema(&producer(), "1-0-0", &format!("{name}.json")).unwrap();
        assert_eq!(schema["$id"], format!("https://gate.example.com:8443/hg/schemas/openlineage/1-0-0/{name}.json"));
        jsonschema::meta::validate(&schema).unwrap();
        let facet = &schema["$defs"][name];
        assert_eq!(facet["additionalProperties"], false);
        let validator = jsonschema::options().should_validate_formats(true).build(facet).unwrap();
        for example in facet["examples"].as_array().unwrap() {
            validator.validate(example).unwrap();
            let mut stranger = example.clone();
            stranger["token"] = json!("secret");
            assert!(!validator.is_valid(&stranger), "{name} is not closed");
        }
    }
}

/// What tells the runs of a stream apart from each other, and how each went: (event type, job's name without the ids).
fn told(event: &Value) -> (String, String) {
    let name = text(&event["job"], "name");
    let parts: Vec<&str> = name.split('.').filter(|part| !part.starts_with("conn_")).collect();
    (text(event, "eventType"), parts.join("."))
}

/// Each run begins before it ends, and does both once; events that came twice are left out.
fn runs(events: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut runs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let known = runs.entry(text(&event["run"], "runId")).or_default();
        let event_type = text(event, "eventType");
        if !known.contains(&event_type) {
            known.push(event_type);
        }
    }
    for (run, types) in &runs {
        assert!(types.len() == 2 && types[0] == "START", "{run}: {types:?}");
    }
    runs
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: it does not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A shop, a gateway that tells a file and an endpoint, and both.
struct Scene {
    sandbox: Sandbox,
    installation: Installation,
    sink: Sink,
}

impl Scene {
    async fn new(busy: usize) -> Self {
        let sandbox = Sandbox::start(sandbox::Options { records: 40, ..Default::default() }).await.unwrap();
        let installation = Installation::new(&sandbox.address().to_string());
        let sink = Sink::start(busy).await;
        fs::write(installation.beside("lineage.key"), SINK_KEY).unwrap();
        let configuration = installation.data().join("headgate.toml");
        let section = format!(
            "\n[openlineage]\nfile = {:?}\nurl = {:?}\napi_key_file = {:?}\n",
            installation.beside("events.ndjson"),
            sink.url,
            installation.beside("lineage.key")
        );
        fs::write(&configuration, fs::read_to_string(&configuration).unwrap() + &section).unwrap();
        Scene { sandbox, installation, sink }
    }

    fn written(&self) -> Vec<Value> {
        lines(&self.installation.beside("events.ndjson"))
    }
}

/// Everything that nobody but the customer and the gateway may know.
async fn secrets(scene: &Scene, client: &Client, connection: &str) -> Vec<String> {
    let records = client.all(&format!("/v1/records?connection={connection}")).await.unwrap();
    let mut secrets = vec![scene.installation.client_secret.clone(), SINK_KEY.to_owned(), "Grace".to_owned()];
    for record in records.iter().take(30) {
        let (_, whole) = client.ask(reqwest::Method::GET, &format!("/v1/records/{}", text(record, "id")), None).await.unwrap();
        let values = whole["data"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
        // Short words such as a currency stand everywhere.
        secrets.extend(values.filter(|value| value.len() > 9).map(str::to_owned));
    }
    secrets
}

/// Goal: what happens is told, in order, strictly, and with nothing that it must not hold. Method: a pull that works, one that the
/// application refuses, a revocation and an erasure; an endpoint that is busy at first, and refuses one kind of event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_and_every_erasure_is_told() {
    let scene = Scene::new(1).await;
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &scene.sandbox).await.unwrap();
    assert!(client.pull(&connection).await.unwrap().iter().all(|run| run["state"] == "complete"));
    let secrets = secrets(&scene, &client, &connection).await;
    assert!(secrets.len() > 30, "{}", secrets.len());
    scene.sandbox.end_grants();
    assert!(client.pull(&connection).await.unwrap().iter().any(|run| run["state"] == "failed"));
    scene.sink.refuse("FAIL");
    let erasure = client.erase(&connection).await.unwrap();
    client.complete(&erasure).await.unwrap();
    let is_last = |event: &Value| told(event) == ("COMPLETE".into(), "sandbox.delete".into());
    until("the file", || scene.written().last().is_some_and(is_last)).await;
    until("the endpoint", || scene.sink.taken().last().is_some_and(is_last)).await;

    let (written, arrived) = (scene.written(), scene.sink.arrived());
    let known = runs(&written);
    assert_eq!(known.values().filter(|types| types[1] == "COMPLETE").count(), 5 + 1, "{known:?}");
    assert!(known.values().any(|types| types[1] == "FAIL"), "{known:?}");
    assert!(arrived.iter().all(|arrived| arrived.encoding == "gzip" && arrived.authorization == format!("Bearer {SINK_KEY}")));
    // The first was put off by a second, and came again before anything else did.
    assert_eq!((arrived[0].status, &arrived[0].event), (503, &arrived[1].event));
    assert!(arrived[1].at - arrived[0].at >= Duration::from_secs(1));
    let mut heard: Vec<Value> = arrived.iter().filter(|arrived| arrived.status != 503).map(|arrived| arrived.event.clone()).collect();
    heard.dedup();
    assert_eq!(heard, written, "both hear the same in the same order");

    let texts: Vec<String> = written.iter().map(Value::to_string).collect();
    for secret in secrets {
        let holder = texts.iter().find(|text| text.contains(&secret));
        assert!(holder.is_none(), "`{secret}` is told: {}", holder.unwrap());
    }
    let address: url::Url = client.address.parse().unwrap();
    if let Some(schemas) = Schemas::of(&Producer::new(&address)) {
        for event in &written {
            assert_eq!(schemas.faults(event), Vec::<String>::new(), "{event:#}");
        }
    }
    let own = "headgate_openlineage_events_total{transport=\"graph\",outcome=\"told\"}";
    let in_graph = format!("{own} {}", written.len());
    client.settled("/metrics", |text| text.as_str().unwrap_or_default().contains(&in_graph).then_some(())).await.unwrap();
    says_what_happened(&written, scene.sandbox.counts().total());
    serves_the_schemas(&written, &client).await;
    assert_eq!(server.stop(), 0);
}

/// The events of the story say what it was.
fn says_what_happened(events: &[Value], records: u64) {
    let find = |wanted: (&str, &str)| {
        let found = events.iter().find(|event| told(event) == (wanted.0.to_owned(), wanted.1.to_owned()));
        found.unwrap_or_else(|| panic!("no {wanted:?}"))
    };
    let complete = find(("COMPLETE", "sandbox.orders.sync"));
    let (input, output) = (&complete["inputs"][0], &complete["outputs"][0]);
    assert!(text(input, "namespace").starts_with("http://127.0.0.1:") && input["name"] == "orders", "{input}");
    assert_eq!(output["namespace"], "headgate://127.0.0.1/acme");
    let lineage = &output["facets"]["columnLineage"]["fields"];
    assert_eq!(lineage["operational.skus"]["inputFields"][0]["field"], "line_items._element.sku");
    let stored = |event: &&Value| event["eventType"] == "COMPLETE" && event["outputs"][0]["outputFacets"]["outputStatistics"].is_object();
    let counts =
        events.iter().filter(stored).map(|event| event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), records);
    let failed = events.iter().find(|event| event["eventType"] == "FAIL").unwrap();
    assert!(failed["run"]["facets"]["errorMessage"]["message"].as_str().is_some_and(|message| message.len() > 10), "{failed}");
    let erased = find(("COMPLETE", "sandbox.delete"));
    assert_eq!(erased["run"]["facets"]["headgate_erasure"]["records"], records);
    let dropped = erased["outputs"].as_array().unwrap();
    assert!(dropped.len() == 5 && dropped.iter().all(|output| output["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "DROP"));
    assert!(dropped.iter().any(|gone| gone["name"] == output["name"]), "an erasure drops what a run wrote");
}

/// Every schema of ours that an event names is served to whoever asks, under the name that it has itself.
async fn serves_the_schemas(events: &[Value], client: &Client) {
    let facets = |event: &Value| {
        let of_outputs = event["outputs"].as_array().into_iter().flatten().map(|output| output["outputFacets"].clone());
        of_outputs.chain([event["run"]["facets"].clone()]).collect::<Vec<_>>()
    };
    let all: Vec<Value> = events.iter().flat_map(facets).collect();
    let urls = all.iter().filter_map(Value::as_object).flatten().map(|(_, facet)| text(facet, "_schemaURL"));
    let own: std::collections::BTreeSet<String> = urls.filter(|url| url.starts_with(&client.address)).collect();
    assert_eq!(own.len(), 4, "{own:?}");
    for url in own {
        let (whole, fragment) = url.split_once('#').unwrap();
        let answer = client.with_key("none").ask(reqwest::Method::GET, whole.strip_prefix(&client.address).unwrap(), None).await.unwrap();
        assert_eq!((answer.0, answer.1["$id"].as_str()), (200, Some(whole)));
        assert!(answer.1.pointer(fragment).is_some_and(Value::is_object), "{fragment}");
    }
    let (status, _) = client.ask(reqwest::Method::GET, "/schemas/openlineage/9-9-9/HeadgateErasureRunFacet.json", None).await.unwrap();
    assert_eq!(status, 404);
}

/// Goal: a run that ended is told, whatever happens before it could be. Method: an endpoint that is away while a pull runs, SIGKILL, and a
/// torn line at the file's end as a crash leaves one; everything is there after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_told_before_a_crash_is_told_after_it() {
    let scene = Scene::new(0).await;
    scene.sink.set_down(true);
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let connection = client.connect("acme", &scene.sandbox).await.unwrap();
    client.pull(&connection).await.unwrap();
    let (_, metrics) = client.ask(reqwest::Method::GET, "/metrics", None).await.unwrap();
    assert!(metrics.as_str().unwrap().contains("headgate_openlineage_waiting 10"), "{metrics}");
    server.kill();
    assert!(scene.sink.taken().is_empty());
    let path = scene.installation.beside("events.ndjson");
    fs::write(&path, fs::read_to_string(&path).unwrap_or_default() + "{\"eventTime\":\"20").unwrap();
    scene.sink.set_down(false);
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    until("the endpoint", || scene.sink.taken().len() >= 10).await;
    let client = server.client();
    client.pull(&connection).await.unwrap();
    // An ending gateway tells what its last runs came to.
    assert_eq!(server.stop(), 0);
    for events in [scene.sink.taken(), scene.written()] {
        let known = runs(&events);
        assert!(known.len() == 10 && known.values().all(|types| types[1] == "COMPLETE"), "{known:?}");
    }
    a_tenants_end_is_told(&scene).await;
}

/// An erasure of a tenant is told although the key of its events is destroyed; afterwards nothing waits, for its graph neither.
async fn a_tenants_end_is_told(scene: &Scene) {
    let server = scene.installation.serve(Some(&scene.sandbox)).await;
    let client = server.client();
    let asked = client.post("/v1/erasures", json!({"scope": {"tenant": "acme"}, "revoke": true})).await.unwrap();
    client.post(&format!("/v1/erasures/{}/approve", text(&asked, "id")), json!({})).await.unwrap();
    client.complete(&text(&asked, "id")).await.unwrap();
    let is_last =
        |event: &Value| told(event) == ("COMPLETE".into(), "tenant.delete".into()) && event["outputs"].as_array().unwrap().len() == 5;
    until("the file", || scene.written().last().is_some_and(is_last)).await;
    until("the endpoint", || scene.sink.taken().last().is_some_and(is_last)).await;
    let empty = |text: &Value| text.as_str().unwrap_or_default().contains("headgate_openlineage_waiting 0").then_some(());
    client.settled("/metrics", empty).await.unwrap();
    assert_eq!(server.stop(), 0);
}
