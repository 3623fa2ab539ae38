//! The life of a connection's records without a network: pages taken in, told, kept through a revocation, erased, proven.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use headgate::audit;
use headgate::audit::Action;
use headgate::audit::Actor;
use headgate::clock::Clock;
use headgate::connection::Active;
use headgate::connection::Connection;
use headgate::connection::Connections;
use headgate::connection::NewConnection;
use headgate::connection::credential::Credential;
use headgate::connection::gate::Gates;
use headgate::consent::Acknowledgement;
use headgate::consent::Consent;
use headgate::consent::ConsentRequest;
use headgate::consent::Policy;
use headgate::consent::Purpose;
use headgate::digest::Digest;
use headgate::erasure::ErasureState;
use headgate::erasure::Erasures;
use headgate::erasure::Ground;
use headgate::ids::ConsentId;
use headgate::ids::Entropy;
use headgate::ids::PullId;
use headgate::ids::RunId;
use headgate::intake::Anchor;
use headgate::intake::Intake;
use headgate::intake::StreamTreatment;
use headgate::lineage::Reader;
use headgate::lineage::RunRow;
use headgate::lineage::RunState;
use headgate::openlineage::emission::Producer;
use headgate::outbox;
use headgate::outbox::Outbox;
use headgate::record::ConnectorRef;
use headgate::record::Exchange;
use headgate::record::FetchedPage;
use headgate::record::FetchedRecord;
use headgate::record::Kind;
use headgate::revocation::Revocations;
use headgate::revocation::Scope;
use headgate::revocation::Surrender;
use headgate::revocation::SurrenderFuture;
use headgate::secret::Secret;
use headgate::store::Options;
use headgate::store::StopReason;
use headgate::store::Store;
use headgate::telemetry::activity::Activity;
use headgate::telemetry::metrics::Metrics;
use headgate::vault::MasterKey;
use headgate::vault::Vault;

/// An application without a revocation endpoint.
struct NoEndpoint;

impl Surrender for NoEndpoint {
    fn prepare(&self, _: &Connection, _: &Credential) -> Option<Secret<Vec<u8>>> {
        None
    }

    fn carry_out<'a>(&'a self, _: &'a Secret<Vec<u8>>) -> SurrenderFuture<'a> {
        Box::pin(async { Ok(()) })
    }
}

struct House {
    store: Store,
    connections: Connections,
    intake: Intake,
    reader: Reader,
    revocations: Revocations,
    erasures: Erasures,
    log: audit::Log,
    clock: Clock,
    entropy: Entropy,
}

fn master() -> MasterKey {
    MasterKey::new(Secret::new([7; 32]))
}

fn open(directory: &Path) -> House {
    let (clock, entropy) = (Clock::System, Entropy::system());
    let vault = if directory.join("keyring").exists() {
        Vault::open(directory, &master(), entropy.clone(), clock.clone())
    } else {
        Vault::create(directory, &master(), entropy.clone(), clock.clone())
    };
    let vault = Arc::new(vault.unwrap());
    let store = Store::open(directory, &Options::default()).unwrap();
    let gates = Gates::new(store.clone());
    let connections = Connections::new(store.clone(), vault.clone(), gates, clock.clone(), entropy.clone());
    let intake = Intake::new(store.clone(), vault.clone());
    let log = audit::Log::new(store.clone(), vault.clone());
    let ground = (clock.clone(), entropy.clone(), true);
    let revocations = Revocations::new(store.clone(), vault.clone(), connections.clone(), Arc::new(NoEndpoint), ground);
    let producer = Producer::new(&"http://127.0.0.1".parse().unwrap());
    let outbox = Outbox::open(store.clone(), vault.clone(), producer, clock.clone(), outbox::Options::default()).unwrap();
    let ground = Ground { belongings: Arc::new(store.clone()), outbox, clock: clock.clone(), entropy: entropy.clone(), test: true };
    let erasures = Erasures::new(connections.clone(), intake.clone(), store.clone(), vault.clone(), log.clone(), ground);
    let reader = Reader::new(store.clone(), vault);
    House { store, connections, intake, reader, revocations, erasures, log, clock, entropy }
}

impl House {
    async fn connect(&self, tenant: &str) -> Arc<Connection<Active>> {
        let policy = Policy::current();
        let request = ConsentRequest {
            person: "Ada".into(),
            organisation: "Acme".into(),
            policy_version: policy.version.into(),
            purposes: vec![Purpose::Fulfilment],
            acknowledged: Acknowledgement::ALL.iter().map(|statement| statement.as_str().to_owned()).collect(),
        };
        let now = self.clock.now();
        let streams = vec!["orders".to_owned()];
        let consent = Consent::record(request, streams.clone(), Vec::new(), ConsentId::new(now, &self.entropy), now).unwrap();
        let new = NewConnection {
            tenant: tenant.parse().unwrap(),
            connector: ConnectorRef { name: "shop".into(), digest: Digest::of(b"shop") },
            streams,
            purposes: consent.purposes.clone(),
            consent,
            config: Default::default(),
            secrets: Default::default(),
            every_seconds: None,
        };
        let pending = self.connections.create(new, Actor::Local).await.unwrap();
        let active = self.connections.activate(pending, Action::ConnectionActivated, Actor::Local, |_| Ok(())).await.unwrap();
        Arc::new(active)
    }

    /// Takes one page of orders in and settles; the run's row.
    async fn take_in(&self, connection: &Arc<Connection<Active>>, records: &[String]) -> RunRow {
        let now = self.clock.now();
        let run = RunRow {
            id: RunId::new(now, &self.entropy),
            pull: PullId::new(now, &self.entropy),
            stream: "orders".into(),
            state: RunState::Running,
            pages: 0,
            requests: 0,
            new: 0,
            changed: 0,
            unchanged: 0,
            deleted: None,
            filtered: 0,
            ignored: 0,
            coerced: 0,
            coerced_keys: 0,
            masked: 0,
            credential: 1,
            entry: None,
            error: None,
            started_at: now,
            ended_at: None,
        };
        let treatment = StreamTreatment {
            kind: Some(Kind::Order),
            business_keys: vec![("order_number".into(), "/number".parse().unwrap())],
            retention_class: "default".into(),
            retention_days: 30,
            retention_anchor: Anchor::Received,
            schema_digest: None,
            policy_version: "2026-11".into(),
        };
        let permit = connection.permit(self.connections.gates()).unwrap();
        let activity = Arc::new(Activity::new("shop", Arc::new(Metrics::new())));
        let mut stream = self.intake.stream(connection.clone(), permit, run.clone(), treatment, activity).unwrap();
        stream.accept(page(records, now), 1).await.unwrap();
        stream.settle().await.unwrap();
        stream.acknowledged(&run)
    }
}

fn page(records: &[String], now: headgate::clock::Timestamp) -> FetchedPage {
    let mut body = String::from("[");
    let mut fetched = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let start = body.len();
        body.push_str(record);
        let value: serde_json::Value = serde_json::from_str(record).unwrap();
        fetched.push(FetchedRecord {
            range: start..body.len(),
            pointer: format!("/{index}"),
            primary_key: vec![value["id"].clone()],
            emitted: None,
            transformations: Vec::new(),
            boundless: Vec::new(),
        });
        body.push(',');
    }
    body.pop();
    body.push(']');
    FetchedPage {
        stream: "orders".into(),
        exchange: Exchange {
            method: "GET".into(),
            url: "https://shop.example/orders?page=1".into(),
            status: 200,
            attempt: 1,
            requested_at: now,
            received_at: now,
            response_sha256: Digest::of(body.as_bytes()),
            bytes: body.len() as u64,
            request_id: None,
            credential: None,
        },
        body: Bytes::from(body),
        partition: None,
        records: fetched,
        filtered: 1,
        ignored: 2,
        coerced: 3,
        coerced_keys: 1,
        cursor: Some(serde_json::json!({"updated_at": "2026-11-24"})),
    }
}

fn order(id: u32, note: &str) -> String {
    format!(r#"{{"id": {id}, "number": "SO-{id}", "note": "{note}"}}"#)
}

/// Goal: what is taken in is told exactly, versions included, also after a reopen; the same page twice makes nothing new; a
/// revocation changes none of it; an erasure leaves nothing that opens and a certificate that verifies offline.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_lives_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path());
    let connection = house.connect("acme").await;
    let neighbour = house.connect("globex").await;
    let orders: Vec<String> = (1..=100).map(|id| order(id, "4111 1111 1111 1111")).collect();
    let run = house.take_in(&connection, &orders).await;
    assert_eq!((run.new, run.changed, run.unchanged, run.masked), (100, 0, 0, 100));
    assert_eq!((run.filtered, run.ignored, run.coerced, run.coerced_keys), (1, 2, 3, 1));
    house.take_in(&neighbour, &orders).await;
    let again = house.take_in(&connection, &orders).await;
    assert_eq!((again.new, again.changed, again.unchanged), (0, 0, 100));
    let changed = house.take_in(&connection, &[order(7, "changed"), order(7, "changed twice in one page")]).await;
    assert_eq!((changed.new, changed.changed), (0, 2));

    house.store.settle().await.unwrap();
    drop(house);
    let house = open(directory.path());
    let listed = house.reader.records(connection.key, Some(0), None, 1000).unwrap();
    assert_eq!(listed.items.len(), 100);
    let found = house.reader.by_key(connection.key, "order_number", "so7", None, 10).unwrap();
    assert_eq!(found.len(), 1);
    let newest = house.reader.record(found[0], None).unwrap().unwrap();
    assert_eq!(newest.data().unwrap()["note"], "changed twice in one page");
    assert_eq!(newest.tag().unwrap().previous, Some(2));
    assert_eq!((newest.page.filtered, newest.page.ignored, newest.page.coerced, newest.page.coerced_keys), (1, 2, 3, 1));
    let first = house.reader.record(found[0], Some(1)).unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&first.raw).contains("4111 1111"));
    assert_eq!(first.tag().unwrap().masks.len(), 1);
    assert!(house.reader.record(found[0], Some(4)).unwrap().is_none());

    let scope = Scope::Connection(connection.id);
    let stopped = house.revocations.revoke(&scope, Some("done".into()), &Actor::Local).await.unwrap();
    assert!(connection.permit(house.connections.gates()).is_err());
    let repeated = house.revocations.revoke(&scope, None, &Actor::Local).await.unwrap();
    assert_eq!(repeated[0].receipt, stopped[0].receipt);
    let kept = house.reader.record(found[0], None).unwrap().unwrap();
    assert_eq!(kept.tag().unwrap().content_digest, newest.tag().unwrap().content_digest);

    let asked = house.erasures.request(house.erasures.plan(connection.id).unwrap(), None, Actor::Local).await.unwrap();
    assert_eq!((asked.counts.records, asked.counts.versions), (100, 102));
    house.erasures.approve(asked.id, Actor::Local).await.unwrap();
    assert!(house.reader.record(found[0], None).is_err(), "a record opened after its keys were destroyed");
    house.erasures.close().await;
    let erasure = house.erasures.find(asked.id).unwrap();
    assert_eq!((erasure.state, erasure.counts.records, erasure.counts.versions), (ErasureState::Complete, 100, 102));
    assert!(house.reader.record(found[0], None).unwrap().is_none());
    assert_eq!(house.reader.records(neighbour.key, None, None, 1000).unwrap().items.len(), 100);
    let certificate = erasure.certificate.unwrap();
    let verdict = audit::verify_file(certificate.as_bytes(), Some(&house.log.key_set().unwrap()));
    assert!(verdict.verified, "{verdict:?}");
    assert!(house.log.inspect(None).unwrap().problems.is_empty());
}

/// Goal: a crash between the stop of a pause and the row that says so leaves no connection that is active and cannot be pulled.
/// Method: the stop alone, then a new start.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_cut_short_reads_as_paused_and_resumes() {
    let directory = tempfile::tempdir().unwrap();
    let key = {
        let house = open(directory.path());
        let connection = house.connect("acme").await;
        house.connections.gates().close(&[connection.key], StopReason::Paused, house.clock.now()).await.unwrap();
        connection.key
    };
    let house = open(directory.path());
    let found = house.connections.by_key(key).unwrap().unwrap();
    assert_eq!(found.state.name(), "paused");
    let active = house.connections.activate(found, Action::ConnectionResumed, Actor::System, |_| Ok(())).await.unwrap();
    assert!(active.permit(house.connections.gates()).is_ok());
    assert_eq!(house.connections.by_key(key).unwrap().unwrap().state.name(), "active");
}
