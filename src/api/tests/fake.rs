//! A house with nothing behind its doors: two tenants, a connection each, and a count of what was done.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::future::ready;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::api::idempotency::AnswerBook;
use crate::api::idempotency::AnswerName;
use crate::api::idempotency::KeptAnswer;
use crate::api::idempotency::UnderWay;
use crate::api::key::ApiKey;
use crate::api::key::KeyBook;
use crate::api::key::hash;
use crate::api::key::mint;
use crate::api::paging::List;
use crate::api::paging::PageOrder;
use crate::api::principal::Principal;
use crate::api::principal::Role;
use crate::api::problem::Problem;
use crate::api::services::*;
use crate::api::session::ConnectSession;
use crate::api::session::Handle;
use crate::api::session::SessionBook;
use crate::api::wire;
use crate::audit::Actor;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::digest::Digest;
use crate::ids::ArtifactId;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::ConsentId;
use crate::ids::Entropy;
use crate::ids::ErasureId;
use crate::ids::KeyId;
use crate::ids::PullId;
use crate::ids::RecordId;
use crate::ids::RunId;
use crate::ids::TenantId;
use crate::openlineage::Change;
use crate::openlineage::Event;
use crate::openlineage::Question;
use crate::telemetry::metrics::Metrics;

/// The house and what tests know of it.
pub struct House {
    pub api: Arc<Api>,
    pub fake: Arc<Fake>,
    pub own: ConnectionId,
    pub foreign: ConnectionId,
    pub run: RunId,
    pub record: RecordId,
    pub erasure: ErasureId,
    pub consent: ConsentId,
    pub key_ids: HashMap<&'static str, KeyId>,
    bearers: HashMap<&'static str, String>,
}

/// Every service at once.
pub struct Fake {
    connections: Vec<wire::connection::Connection>,
    run: wire::run::Run,
    record: RecordId,
    erasure: ErasureId,
    consent: ConsentId,
    keys: HashMap<KeyId, ApiKey>,
    answers: Mutex<HashMap<AnswerName, KeptAnswer>>,
    sessions: Mutex<Vec<ConnectSession>>,
    acts: AtomicUsize,
    runs_free: Mutex<Option<Arc<Semaphore>>>,
}

impl House {
    pub fn new() -> Self {
        let (entropy, now) = (Entropy::system(), Timestamp::from_second(1_795_000_000).expect("a time"));
        let (own, foreign) = (ConnectionId::new(now, &entropy), ConnectionId::new(now, &entropy));
        let (run, erasure, consent) = (RunId::new(now, &entropy), ErasureId::new(now, &entropy), ConsentId::new(now, &entropy));
        let record = RecordId { owner: ConnectionKey { tenant: 1, connection: 1 }, stream: 0, hash: [7; 16] };
        let (mut keys, mut key_ids, mut bearers) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (name, role) in
            [("service", Role::Service), ("customer", Role::Customer), ("operator", Role::Operator), ("revoked", Role::Operator)]
        {
            let id = KeyId::new(now, &entropy);
            let text = mint(id, &entropy);
            let tenant = (role != Role::Operator).then(|| tenant("acme"));
            let purposes = BTreeSet::from([Purpose::Support, Purpose::Legal]);
            let revoked_at = (name == "revoked").then_some(now);
            keys.insert(id, ApiKey { id, hash: hash(text.expose()), role, tenant, purposes, created_at: now, revoked_at });
            key_ids.insert(name, id);
            bearers.insert(name, format!("Bearer {}", text.expose()));
        }
        let fake = Arc::new(Fake {
            connections: vec![connection(own, "acme", consent, now), connection(foreign, "globex", ConsentId::new(now, &entropy), now)],
            run: a_run(run, PullId::new(now, &entropy), own, now),
            record,
            erasure,
            consent,
            keys,
            answers: Mutex::default(),
            sessions: Mutex::default(),
            acts: AtomicUsize::new(0),
            runs_free: Mutex::default(),
        });
        let services = Services {
            connections: fake.clone(),
            runs: fake.clone(),
            revocations: fake.clone(),
            records: fake.clone(),
            changes: fake.clone(),
            disclosures: fake.clone(),
            job_graph: fake.clone(),
            erasures: fake.clone(),
            derivations: fake.clone(),
            impact: fake.clone(),
            consents: fake.clone(),
            audit: fake.clone(),
            connectors: fake.clone(),
            copies: fake.clone(),
            tenants: fake.clone(),
            keyring: fake.clone(),
            ground: fake.clone(),
        };
        let api = Arc::new(Api {
            services,
            keys: fake.clone(),
            answers: fake.clone(),
            sessions: fake.clone(),
            under_way: UnderWay::default(),
            clock: Clock::manual(now),
            entropy,
            metrics: Arc::new(Metrics::new()),
            public_url: "https://gate.example".parse().expect("a URL"),
        });
        House { api, fake, own, foreign, run, record, erasure, consent, key_ids, bearers }
    }

    /// The header's value for a key.
    pub fn bearer(&self, name: &str) -> &str {
        &self.bearers[name]
    }

    pub fn pass_hours(&self, hours: i64) {
        self.api.clock.set(self.api.clock.now() + SignedDuration::from_hours(hours));
    }
}

impl Fake {
    /// How many acts were done.
    pub fn acts(&self) -> usize {
        self.acts.load(Ordering::SeqCst)
    }

    /// Makes pulls wait for a permit each.
    pub fn hold_runs(&self) -> Arc<Semaphore> {
        let free = Arc::new(Semaphore::new(0));
        *self.runs_free.lock().expect("a lock") = Some(free.clone());
        free
    }

    /// Everything that is kept of sessions and answers, as text.
    pub fn kept(&self) -> String {
        format!("{:?}{:?}", self.sessions.lock().expect("a lock"), self.answers.lock().expect("a lock"))
    }

    fn act<T>(&self, answer: T) -> T {
        self.acts.fetch_add(1, Ordering::SeqCst);
        answer
    }

    fn find(&self, scope: Scope<'_>, id: ConnectionId) -> Result<wire::connection::Connection, Problem> {
        let within = |connection: &&wire::connection::Connection| scope.is_none_or(|tenant| *tenant == connection.tenant);
        let found = self.connections.iter().filter(within).find(|connection| connection.id == id);
        found.cloned().ok_or_else(|| Problem::not_found("connection", &id.to_string()))
    }

    fn own(&self) -> &wire::connection::Connection {
        &self.connections[0]
    }

    fn an_erasure(&self, id: Option<ErasureId>) -> wire::erasure::Erasure {
        wire::erasure::Erasure {
            id,
            state: if id.is_some() { "requested" } else { "planned" }.into(),
            scope: json!({ "connection": self.own().id }),
            reason: None,
            counts: wire::erasure::Counts { records: 1, versions: 2 },
            impact: id.is_none().then(an_impact),
            plan: None,
            kept: vec![],
            certificate: None,
            requested_at: None,
            completed_at: None,
        }
    }

    fn a_disclosure(&self) -> wire::disclosure::Disclosure {
        let recipient =
            wire::disclosure::Recipient { name: "Carrier".into(), kind: "external".into(), category: None, region: Some("FR".into()) };
        wire::disclosure::Disclosure {
            id: crate::ids::DisclosureId::from_bytes([4; 16]),
            recipient,
            connection: Some(self.own().id),
            purpose: Some("shipping".into()),
            mechanism: "stated".into(),
            first_at: Timestamp::UNIX_EPOCH,
            last_at: Timestamp::UNIX_EPOCH,
            records: 1,
        }
    }

    fn a_record(&self, purpose: Option<Purpose>) -> wire::record::Record {
        let data = json!({ "purpose": purpose });
        wire::record::Record {
            id: self.record,
            version: 1,
            kind: Some("order".into()),
            data,
            operational: None,
            tag: self.a_tag(),
            deleted_at_source: None,
        }
    }

    fn a_tag(&self) -> Value {
        json!({
            "tenant": "acme", "connection": self.own().id, "connector": { "name": "sandbox", "digest": "00" }, "stream": "orders",
            "kind": "order", "primary_key": ["7"], "run": self.run.id,
            "page": { "id": "page_a", "method": "GET", "url": "https://app.example/orders", "status": 200, "attempt": 1,
                "requested_at": "2026-11-24T10:00:00Z", "received_at": "2026-11-24T10:00:01Z", "response_sha256": "00", "bytes": 9,
                "request_id": null },
            "pointer": "/0", "partition": null, "cursor": null, "direction": "pulled", "transformations": [], "masks": [],
            "schema_digest": null, "content_digest": "00", "consent": self.consent, "policy_version": "1", "purposes": ["support"],
            "retention": { "class": "default", "delete_after": null }, "previous": null,
        })
    }
}

fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant")
}

fn connection(id: ConnectionId, owner: &str, consent: ConsentId, now: Timestamp) -> wire::connection::Connection {
    wire::connection::Connection {
        id,
        connector: "sandbox".into(),
        tenant: tenant(owner),
        state: "active".into(),
        streams: vec!["orders".into()],
        purposes: vec![Purpose::Support],
        schedule: Some(wire::connection::Schedule { every: "PT15M".into() }),
        created_at: now,
        consent,
        succeeds: None,
        since: now,
        why: None,
        next_pull_at: None,
        not_before: None,
        failures: 0,
        credential: wire::connection::Credential { state: "held".into(), generation: Some(1) },
        activity: None,
    }
}

fn a_run(id: RunId, pull: PullId, connection: ConnectionId, now: Timestamp) -> wire::run::Run {
    let (stream, state) = ("orders".into(), "running".into());
    let started_at = now;
    wire::run::Run {
        id,
        pull,
        connection,
        stream,
        state,
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
        error: None,
        started_at,
        ended_at: None,
    }
}

fn done<'a, T: Send + 'a>(answer: Result<T, Problem>) -> Reply<'a, T> {
    ready(answer).boxed()
}

fn envelope() -> Value {
    json!({ "payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": [] })
}

impl KeyBook for Fake {
    fn find(&self, id: KeyId) -> BoxFuture<'_, Result<Option<ApiKey>, Problem>> {
        done(Ok(self.keys.get(&id).cloned()))
    }

    fn insert(&self, _: ApiKey, _: Actor) -> BoxFuture<'_, Result<(), Problem>> {
        self.act(());
        done(Ok(()))
    }

    fn list(&self, _: Option<KeyId>, limit: usize) -> BoxFuture<'_, Result<Vec<ApiKey>, Problem>> {
        done(Ok(self.keys.values().take(limit).cloned().collect()))
    }

    fn revoke(&self, key: ApiKey, at: Timestamp, _: Actor) -> BoxFuture<'_, Result<ApiKey, Problem>> {
        done(Ok(self.act(ApiKey { revoked_at: Some(at), ..key })))
    }
}

impl AnswerBook for Fake {
    fn find(&self, name: AnswerName) -> BoxFuture<'_, Result<Option<KeptAnswer>, Problem>> {
        done(Ok(self.answers.lock().expect("a lock").get(&name).cloned()))
    }

    fn keep(&self, name: AnswerName, answer: KeptAnswer) -> BoxFuture<'_, Result<(), Problem>> {
        self.answers.lock().expect("a lock").insert(name, answer);
        done(Ok(()))
    }
}

impl SessionBook for Fake {
    fn insert(&self, session: ConnectSession, _: Actor, _: Timestamp) -> BoxFuture<'_, Result<(), Problem>> {
        self.sessions.lock().expect("a lock").push(session);
        done(Ok(()))
    }

    fn find(&self, handle: Handle) -> BoxFuture<'_, Result<Option<ConnectSession>, Problem>> {
        let sessions = self.sessions.lock().expect("a lock");
        let found = sessions.iter().find(|session| match handle {
            Handle::Link(hash) => session.link_hash == hash,
            Handle::Id(id) => session.id == id,
            Handle::Connection(id) => session.connection == Some(id),
        });
        done(Ok(found.cloned()))
    }

    fn replace(&self, expected: ConnectSession, new: ConnectSession) -> BoxFuture<'_, Result<bool, Problem>> {
        let mut sessions = self.sessions.lock().expect("a lock");
        let place = sessions.iter_mut().find(|session| **session == expected);
        done(Ok(place.map(|session| *session = new).is_some()))
    }
}

impl Connections for Fake {
    fn list<'a>(&'a self, scope: Scope<'a>, _: ConnectionFilter, page: PageOrder) -> Reply<'a, List<wire::connection::Connection>> {
        let skip = page.after.map_or(0, |place| usize::from(place[0]));
        let mine = self.connections.iter().filter(|connection| scope.is_none_or(|tenant| *tenant == connection.tenant));
        let items: Vec<_> = mine.clone().skip(skip).take(page.limit).cloned().collect();
        let end = skip + items.len();
        let next = (end < mine.count()).then(|| [u8::try_from(end).expect("few")]);
        done(Ok(List::new(items, next.as_ref().map(|place| &place[..]))))
    }

    fn get<'a>(&'a self, scope: Scope<'a>, id: ConnectionId) -> Reply<'a, wire::connection::Connection> {
        done(self.find(scope, id))
    }

    fn connect<'a>(&'a self, _: &'a Principal, _: wire::connection::ConnectOrder) -> Reply<'a, wire::connection::Connected> {
        let authorize_url = Some("https://app.example/authorize?state=s".into());
        done(Ok(self.act(wire::connection::Connected { connection: self.own().id, state: "pending".into(), authorize_url })))
    }

    fn change<'a>(&'a self, by: &'a Principal, id: ConnectionId, _: wire::connection::Change) -> Reply<'a, wire::connection::Connection> {
        done(self.find(by.scope(), id).map(|connection| self.act(connection)))
    }

    fn reconnect<'a>(
        &'a self,
        by: &'a Principal,
        id: ConnectionId,
        _: wire::connection::ReconnectOrder,
    ) -> Reply<'a, wire::connection::Connected> {
        let found = self.find(by.scope(), id).map(|found| self.act(found));
        done(found.map(|found| wire::connection::Connected { connection: id, state: found.state, authorize_url: None }))
    }

    fn pending<'a>(&'a self, state: &'a str) -> Reply<'a, Option<ConnectionId>> {
        done(Ok((state == "s").then(|| self.own().id)))
    }

    fn callback(&self, query: BTreeMap<String, String>) -> Reply<'_, CallbackOutcome> {
        let (connection, display_name) = (self.own().id, "Sandbox Shop".to_owned());
        done(match (query["state"].as_str(), query.get("error").cloned()) {
            ("s", None) => Ok(self.act(CallbackOutcome::Connected { connection, display_name })),
            ("s", Some(error)) => Ok(CallbackOutcome::Declined { connection, display_name, error }),
            _ => Err(Problem::Malformed { reason: "this state is not known".into() }),
        })
    }
}

impl Runs for Fake {
    fn start<'a>(&'a self, by: &'a Principal, id: ConnectionId, _: wire::run::PullOrder) -> Reply<'a, wire::run::Pull> {
        let free = self.runs_free.lock().expect("a lock").clone();
        async move {
            self.find(by.scope(), id)?;
            if let Some(free) = free {
                free.acquire().await.expect("never closed").forget();
            }
            Ok(self.act(wire::run::Pull { pull: self.run.pull, runs: vec![self.run.clone()] }))
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: Scope<'a>, filter: RunFilter, _: PageOrder) -> Reply<'a, List<wire::run::Run>> {
        let found = filter.connection.map_or(Ok(()), |id| self.find(scope, id).map(drop));
        done(found.map(|()| List::new(vec![self.run.clone()], None)))
    }

    fn get<'a>(&'a self, _: Scope<'a>, _: RunId) -> Reply<'a, wire::run::Run> {
        done(Ok(self.run.clone()))
    }
}

impl Revocations for Fake {
    fn revoke<'a>(
        &'a self,
        by: &'a Principal,
        scope: wire::revocation::Scope,
        _: Option<String>,
        dry_run: bool,
    ) -> Reply<'a, wire::revocation::Revoked> {
        let found = match scope {
            wire::revocation::Scope::Connection(id) => self.find(by.scope(), id).map(drop),
            _ => Ok(()),
        };
        done(found.map(|()| {
            if !dry_run {
                self.act(());
            }
            let (state, credential) = ("revoked".into(), "revoking".into());
            let revoked = wire::revocation::RevokedConnection {
                connection: self.own().id,
                state,
                credential,
                receipt: Some(envelope()),
                impact: None,
            };
            wire::revocation::Revoked { revoked: vec![revoked] }
        }))
    }
}

impl Impact for Fake {
    fn of_connection<'a>(&'a self, scope: Scope<'a>, id: ConnectionId, _: bool) -> Reply<'a, wire::impact::ConnectionImpact> {
        let shown = |found: wire::connection::Connection| wire::impact::ConnectionImpact {
            connection: id,
            state: found.state,
            pulls_running: 0,
            impact: an_impact(),
        };
        done(self.find(scope, id).map(shown))
    }

    fn list<'a>(&'a self, scope: Scope<'a>, id: ConnectionId, _: ImpactQuestion) -> Reply<'a, wire::impact::Listed> {
        done(self.find(scope, id).map(|_| wire::impact::Listed { items: Vec::new(), next: None }))
    }
}

impl Derivations for Fake {
    fn derive<'a>(&'a self, _: &'a Principal, _: wire::derivation::Order) -> Reply<'a, wire::derivation::Answer> {
        done(Ok(wire::derivation::Answer::Many { artifacts: vec![ArtifactId { tenant: 1, hash: [7; 16] }] }))
    }
}

fn an_impact() -> wire::impact::Impact {
    wire::impact::Impact {
        records: 1,
        versions: 2,
        pages: 1,
        runs: 1,
        streams: Vec::new(),
        derived: wire::impact::DerivedImpact { dies: 1, survives: 0 },
        recipients: Vec::new(),
        exports: 0,
        holds: 0,
        downstream: Vec::new(),
        digest: None,
    }
}

impl Records for Fake {
    fn list<'a>(
        &'a self,
        by: &'a Principal,
        purpose: Option<Purpose>,
        filter: RecordFilter,
        _: PageOrder,
    ) -> Reply<'a, List<wire::record::Record>> {
        done(self.find(by.scope(), filter.connection).map(|_| List::new(vec![self.a_record(purpose)], None)))
    }

    fn get<'a>(&'a self, _: &'a Principal, purpose: Option<Purpose>, _: RecordId, _: Option<u32>) -> Reply<'a, wire::record::Record> {
        done(Ok(self.a_record(purpose)))
    }

    fn origin<'a>(&'a self, _: &'a Principal, record: RecordId, _: OriginQuestion) -> Reply<'a, wire::lineage::Origin> {
        let (tag, inputs, outputs) = (self.a_tag(), vec![], vec![]);
        done(Ok(wire::lineage::Origin { record, version: Some(1), tag, inputs, outputs, source: None, tombstone: None }))
    }

    fn explain<'a>(
        &'a self,
        _: &'a Principal,
        _: Option<Purpose>,
        record: RecordId,
        _: (Option<u32>, Option<String>),
    ) -> Reply<'a, wire::lineage::Explanation> {
        let content = wire::lineage::ContentCheck { digest: "0".repeat(64), agrees: true };
        let (response, connector) = (json!({}), json!({}));
        let (fields, transformations) = (vec![], vec![]);
        done(Ok(wire::lineage::Explanation { record, version: 1, agrees: true, content, response, connector, transformations, fields }))
    }

    fn fields<'a>(&'a self, by: &'a Principal, connection: ConnectionId, stream: String) -> Reply<'a, wire::lineage::StreamFields> {
        let found = self.find(by.scope(), connection);
        done(found.map(|_| wire::lineage::StreamFields { connection, stream, kind: None, fields: vec![], whole: vec![] }))
    }

    fn graph<'a>(&'a self, _: &'a Principal, question: GraphQuestion) -> Reply<'a, wire::lineage::Graph> {
        let node = wire::lineage::Node { id: question.node, noun: "record".into(), facts: json!({}) };
        done(Ok(wire::lineage::Graph { nodes: vec![node], edges: vec![], truncated: false, next: None }))
    }

    fn by_key<'a>(
        &'a self,
        _: &'a Principal,
        _: TenantId,
        _: String,
        value: String,
        _: PageOrder,
    ) -> Reply<'a, List<wire::lineage::KeyMatch>> {
        assert_eq!(value, "1Z/9", "the value is decoded");
        let (stream, kind) = ("orders".into(), None);
        let found = wire::lineage::KeyMatch {
            record: self.record,
            version: 1,
            connection: self.own().id,
            stream,
            kind,
            tag: self.a_tag(),
            outputs: vec![],
        };
        done(Ok(List::new(vec![found], None)))
    }
}

impl Changes for Fake {
    fn next<'a>(&'a self, _: &'a Principal, _: Option<Purpose>, _: FeedQuestion) -> Reply<'a, List<wire::change::Change>> {
        done(Ok(List::new(vec![], Some(&[1]))))
    }
}

impl Disclosures for Fake {
    fn state<'a>(&'a self, by: &'a Principal, order: wire::disclosure::Order) -> Reply<'a, List<wire::disclosure::Disclosure>> {
        let found = order.connection.map_or(Ok(()), |id| self.find(by.scope(), id).map(drop));
        done(found.map(|()| self.act(List::new(vec![self.a_disclosure()], None))))
    }

    fn list<'a>(&'a self, _: TenantId, _: DisclosureFilter, _: PageOrder) -> Reply<'a, List<wire::disclosure::Disclosure>> {
        done(Ok(List::new(vec![self.a_disclosure()], None)))
    }
}

impl JobGraph for Fake {
    fn admit<'a>(&'a self, _: &'a TenantId, _: Vec<Event>) -> Reply<'a, ()> {
        ready(Ok(())).boxed()
    }

    fn answer<'a>(&'a self, _: &'a TenantId, question: Question) -> Reply<'a, Value> {
        let answer = if matches!(question, Question::Stats(..)) { json!([]) } else { json!({}) };
        ready(Ok(answer)).boxed()
    }

    fn change<'a>(&'a self, _: &'a TenantId, _: Change) -> Reply<'a, Value> {
        ready(Ok(json!({}))).boxed()
    }
}

impl Erasures for Fake {
    fn request<'a>(&'a self, by: &'a Principal, order: wire::erasure::Order, dry_run: bool) -> Reply<'a, wire::erasure::Erasure> {
        let id = order.scope["connection"].as_str().map(|text| text.parse().map_err(|_| Problem::not_found("connection", text)));
        let found = id.map_or(Ok(()), |id| self.find(by.scope(), id?).map(drop));
        done(found.map(|()| if dry_run { self.an_erasure(None) } else { self.act(self.an_erasure(Some(self.erasure))) }))
    }

    fn approve<'a>(&'a self, _: &'a Principal, id: ErasureId) -> Reply<'a, wire::erasure::Erasure> {
        done(Ok(self.act(self.an_erasure(Some(id)))))
    }

    fn list<'a>(&'a self, _: Scope<'a>, _: PageOrder) -> Reply<'a, List<wire::erasure::Erasure>> {
        done(Ok(List::new(vec![self.an_erasure(Some(self.erasure))], None)))
    }

    fn get<'a>(&'a self, _: Scope<'a>, id: ErasureId) -> Reply<'a, wire::erasure::Erasure> {
        done(Ok(self.an_erasure(Some(id))))
    }

    fn certificate<'a>(&'a self, _: Scope<'a>, _: ErasureId) -> Reply<'a, Vec<u8>> {
        done(Ok(envelope().to_string().into_bytes()))
    }
}

impl Consents for Fake {
    fn receipt<'a>(&'a self, _: Scope<'a>, _: ConsentId) -> Reply<'a, Vec<u8>> {
        done(Ok(envelope().to_string().into_bytes()))
    }
}

impl AuditLog for Fake {
    fn list(&self, _: PageOrder) -> Reply<'_, List<wire::audit::Entry>> {
        done(Ok(List::new(vec![wire::audit::Entry { index: 0, leaf: "AA==".into(), entry: json!({}) }], None)))
    }

    fn entry(&self, index: u64) -> Reply<'_, wire::audit::Entry> {
        done(Ok(wire::audit::Entry { index, leaf: "AA==".into(), entry: json!({}) }))
    }

    fn checkpoint(&self) -> Reply<'_, String> {
        done(Ok("gate.example\n0\n\n".into()))
    }

    fn proof(&self, leaf_index: u64) -> Reply<'_, wire::audit::Proof> {
        done(Ok(wire::audit::Proof { leaf_index, tree_size: 1, leaf_hash: "AA==".into(), hashes: vec![] }))
    }

    fn consistency(&self, from: u64, to: u64) -> Reply<'_, wire::audit::Consistency> {
        done(Ok(wire::audit::Consistency { from, to, hashes: vec![] }))
    }

    fn verify(&self, _: Option<String>) -> Reply<'_, wire::audit::Verification> {
        done(Ok(wire::audit::Verification { ok: true, problems: vec![], tree_size: 1 }))
    }

    fn public_keys(&self) -> Reply<'_, wire::audit::PublicKeys> {
        done(Ok(wire::audit::PublicKeys { keys: vec![], vkeys: vec![] }))
    }
}

impl Connectors for Fake {
    fn list(&self, _: PageOrder) -> Reply<'_, List<wire::connector::Connector>> {
        async { Ok(List::new(vec![Connectors::get(self, "sandbox").await?], None)) }.boxed()
    }

    fn get<'a>(&'a self, name: &'a str) -> Reply<'a, wire::connector::Connector> {
        async move {
            match name {
                "sandbox" => Ok(wire::connector::Connector {
                    name: name.into(),
                    display_name: "Sandbox Shop".into(),
                    digest: "00".into(),
                    state: "enabled".into(),
                    authorization: "oauth2_code".into(),
                    streams: vec!["orders".into()],
                    refused: Vec::new(),
                    scopes: vec![wire::connector::Scope { name: "orders:read".into(), text: "Read your orders".into() }],
                    purposes: vec![Purpose::Support],
                    hosts: vec!["app.example".into()],
                    spec: json!({}),
                }),
                "panic" => panic!("hunter2"),
                "fail" => Err(Problem::internal("hunter2 is the password")),
                _ => Err(Problem::not_found("connector", name)),
            }
        }
        .boxed()
    }

    fn set_enabled<'a>(&'a self, _: &'a Principal, name: &'a str, _: bool) -> Reply<'a, wire::connector::Connector> {
        async move { Connectors::get(self, name).await.map(|connector| self.act(connector)) }.boxed()
    }

    fn notice<'a>(&'a self, _: &'a str) -> Reply<'a, Notice> {
        let key = json!({ "type": "string", "title": "API key", "airbyte_secret": true });
        done(Ok(Notice {
            display_name: "Sandbox Shop".into(),
            streams: vec![("orders".into(), "Everything you sold".into())],
            scopes: vec![("orders:read".into(), "Read your orders".into())],
            purposes: vec![Purpose::Support],
            retention: "30 days after it was read".into(),
            spec: json!({ "type": "object", "required": ["key"], "properties": { "key": key } }),
            authorize_origin: Some("https://app.example".into()),
        }))
    }
}

impl Tenants for Fake {
    fn list(&self, _: PageOrder) -> Reply<'_, List<wire::tenant::Tenant>> {
        done(Ok(List::new(vec![a_tenant()], None)))
    }

    fn get<'a>(&'a self, _: &'a TenantId) -> Reply<'a, wire::tenant::Tenant> {
        done(Ok(a_tenant()))
    }

    fn must_be_open<'a>(&'a self, _: &'a TenantId) -> Reply<'a, ()> {
        done(Ok(()))
    }
}

fn a_tenant() -> wire::tenant::Tenant {
    let (tenant, state) = (tenant("acme"), "active".into());
    wire::tenant::Tenant { tenant, state, created_at: Timestamp::UNIX_EPOCH, connections: 1, erasure: None }
}

impl Keyring for Fake {
    fn rotate<'a>(&'a self, _: &'a Principal, _: wire::keyring::RotationOrder) -> Reply<'a, wire::keyring::Rotated> {
        done(Ok(wire::keyring::Rotated { rotated_at: Timestamp::UNIX_EPOCH, master_key_file: None, old_key_wiped: false }))
    }

    fn export<'a>(&'a self, _: &'a Principal, order: wire::keyring::ExportOrder) -> Reply<'a, wire::keyring::Exported> {
        let file = order.to.display().to_string();
        let at = Timestamp::UNIX_EPOCH;
        done(Ok(wire::keyring::Exported { file, made_at: at, expires_at: at, keys: 3, destroyed: 0, bytes: 500 }))
    }
}

impl Copies for Fake {
    fn compact<'a>(&'a self, _: &'a Principal) -> Reply<'a, wire::copies::Compacted> {
        done(Ok(wire::copies::Compacted {
            before: wire::copies::Bytes { bytes: 9 },
            after: wire::copies::Bytes { bytes: 4 },
            rows: 3,
            digest: Digest::of(b"rows"),
            segments_trimmed: 0,
            pause_ms: 1.5,
            seconds: 0.5,
        }))
    }

    fn backup<'a>(&'a self, _: &'a Principal, order: wire::copies::BackupOrder) -> Reply<'a, wire::copies::BackedUp> {
        done(Ok(wire::copies::BackedUp {
            backup: order.to.display().to_string(),
            made_at: Timestamp::UNIX_EPOCH,
            digest: Digest::of(b"backup"),
            rows: 3,
            audit_entries: 1,
            segment_files: 1,
            segments_erased: 0,
            bytes: 9,
            pause_ms: 1.5,
            seconds: 0.5,
        }))
    }

    fn under_way(&self) -> wire::copies::CopyUnderWay {
        wire::copies::CopyUnderWay::default()
    }
}

impl Ground for Fake {
    fn stats(&self) -> Reply<'_, Value> {
        done(Ok(json!({ "rows": 0 })))
    }

    fn begin_check(&self, limit: Option<std::time::Duration>) -> Reply<'_, Value> {
        done(Ok(json!({ "state": "running", "limit": limit.map(|limit| limit.as_secs()) })))
    }

    fn check(&self) -> Reply<'_, Value> {
        done(Ok(json!({ "state": "never" })))
    }

    fn writes(&self) -> bool {
        true
    }

    fn readiness(&self) -> Vec<(&'static str, bool)> {
        vec![("store", true)]
    }
}
