//! The HTTP face over a whole gateway and a real application: what one tenant connects, reads, stops and erases, and what
//! another may not even know of.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use headgate::audit;
use headgate::clock::Clock;
use headgate::config::Access;
use headgate::config::Config;
use headgate::config::ConnectorConfig;
use headgate::config::DataDirectory;
use headgate::config::Settings;
use headgate::gateway::Gateway;
use headgate::gateway::House;
use headgate::ids::Entropy;
use headgate::sandbox;
use headgate::sandbox::Sandbox;
use headgate::secret::Secret;
use headgate::vault::MasterKey;
use http_body_util::BodyExt;
use serde_json::Value;
use serde_json::json;
use tower::ServiceExt;

const PUBLIC_URL: &str = "http://gate.example";
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer: its status, and its body as JSON where it is some.
struct Answer {
    status: u16,
    body: Value,
    text: String,
}

impl Answer {
    #[track_caller]
    fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }
}

/// One way into the gateway, with what every request of it carries.
#[derive(Clone)]
struct Caller {
    router: Router,
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(body)).await
    }

    /// Asks until the answer's member at `pointer` is `value`.
    async fn wait(&self, path: &str, pointer: &str, value: &str) -> Value {
        let began = tokio::time::Instant::now();
        loop {
            let answer = self.get(path).await.is(200);
            if answer.pointer(pointer).and_then(Value::as_str) == Some(value) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{path} did not come to {value}: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Stage {
    gateway: Gateway,
    sandbox: Sandbox,
    local: Caller,
}

impl Stage {
    async fn open(directory: &Path) -> Self {
        let redirect_uris = vec![format!("{PUBLIC_URL}/oauth/callback")];
        let client = sandbox::Client { id: "gate".into(), secret: Some("s3cret".into()), redirect_uris };
        let options = sandbox::Options { records: 120, clients: vec![client], ..Default::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let data = DataDirectory::at(&directory.join("data")).unwrap();
        let Access::Held(held) = data.access("test", true, Clock::System.now()).unwrap() else { panic!("someone holds it") };
        let registered =
            ConnectorConfig { client_id: Some("gate".into()), client_secret: Some(Secret::new("s3cret".into())), ..Default::default() };
        let config = Config {
            egress_allow: vec![sandbox.address().to_string()],
            connectors: [("sandbox".to_owned(), registered)].into(),
            ..Default::default()
        };
        let settings = Settings {
            directory: held,
            config,
            public_url: PUBLIC_URL.parse().unwrap(),
            master_key: MasterKey::new(Secret::new([7; 32])),
            clock: Clock::System,
            entropy: Entropy::system(),
        };
        let gateway = Gateway::open(settings).await.unwrap();
        let local = Caller { router: gateway.local(), headers: Vec::new() };
        Stage { gateway, sandbox, local }
    }

    /// A customer of a tenant, with a key of its own.
    async fn customer(&self, tenant: &str) -> Caller {
        let order = json!({ "role": "customer", "tenant": tenant, "purposes": ["fulfilment", "analytics"] });
        let key = self.local.post("/admin/keys", order).await.is(201);
        let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
        let headers = vec![("authorization", bearer), ("headgate-purpose", "fulfilment".into())];
        Caller { router: self.gateway.public(), headers }
    }

    fn order(&self, tenant: &str) -> Value {
        let policy = headgate::consent::Policy::current();
        let acknowledged: Vec<&str> = policy.acknowledgements.iter().map(|statement| statement.id.as_str()).collect();
        json!({
            "connector": "sandbox", "tenant": tenant, "config": { "base_url": self.sandbox.base_url() },
            "consent": { "person": "Ada", "organisation": "Acme", "policy_version": policy.version, "acknowledged": acknowledged },
        })
    }

    /// The customer says yes at the application; where it is sent back to, behind the public URL.
    async fn approve(&self, authorize_url: &str) -> String {
        let (_, query) = authorize_url.split_once('?').unwrap();
        let address = format!("{}/oauth/authorize", self.sandbox.base_url());
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let form = http.post(address).header("content-type", "application/x-www-form-urlencoded");
        let answer = form.body(format!("{query}&decision=approve")).send().await.unwrap();
        let back = answer.headers()["location"].to_str().unwrap();
        back.strip_prefix(PUBLIC_URL).unwrap().to_owned()
    }

    async fn connect(&self, customer: &Caller, tenant: &str) -> String {
        let connected = customer.post("/v1/connections", self.order(tenant)).await.is(201);
        assert_eq!(connected["state"], "pending");
        let back = self.approve(connected["authorize_url"].as_str().unwrap()).await;
        let stranger = Caller { router: self.gateway.public(), headers: Vec::new() };
        assert_eq!(stranger.get(&back).await.status, 200);
        assert_eq!(stranger.get(&back).await.status, 400, "a link is good once");
        connected["connection"].as_str().unwrap().to_owned()
    }

    async fn pull(&self, customer: &Caller, connection: &str) -> Value {
        let pull = customer.post(&format!("/v1/connections/{connection}/runs"), json!({})).await.is(202);
        for run in pull["runs"].as_array().unwrap() {
            customer.wait(&format!("/v1/runs/{}", run["id"].as_str().unwrap()), "/state", "complete").await;
        }
        pull
    }

    async fn last_entry(&self) -> Value {
        let mut entries = self.local.get("/v1/audit?limit=500").await.is(200);
        entries["items"].as_array_mut().unwrap().pop().unwrap()["entry"].take()
    }
}

/// Goal: the life of one connection over HTTP, read exactly and audited, with everything kept through a revocation and
/// nothing left by an erasure but its proofs. Method: the sandbox behind, both doors in front.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lives_and_ends_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage::open(directory.path()).await;
    let acme = stage.customer("acme").await;
    let connection = stage.connect(&acme, "acme").await;
    let shown = acme.get(&format!("/v1/connections/{connection}")).await.is(200);
    assert_eq!(
        (shown["state"].as_str(), &shown["purposes"], &shown["schedule"]["every"]),
        (Some("active"), &json!(["fulfilment"]), &json!("PT15M"))
    );
    stage.pull(&acme, &connection).await;

    reads_are_whole_and_audited(&stage, &acme, &connection).await;
    let record = origins_are_exact(&acme, &connection).await;
    other_tenants_are_strangers(&stage, &connection, &record).await;
    stops_and_erases(&stage, &acme, &connection, &record, &shown).await;

    let verdict = stage.local.post("/admin/audit/verify", json!({})).await.is(200);
    assert_eq!((&verdict["ok"], &verdict["problems"]), (&json!(true), &json!([])));
    stage.gateway.close().await;
}

/// Page by page every record is told once; a reading stands in the log before it is answered; only an agreed purpose reads.
async fn reads_are_whole_and_audited(stage: &Stage, acme: &Caller, connection: &str) {
    let impact = acme.get(&format!("/v1/connections/{connection}/impact")).await.is(200);
    for stream in impact["streams"].as_array().unwrap() {
        let (name, expected) = (stream["stream"].as_str().unwrap(), stream["records"].as_u64().unwrap());
        let (mut ids, mut after) = (std::collections::BTreeSet::new(), String::new());
        loop {
            let page = acme.get(&format!("/v1/records?connection={connection}&stream={name}&limit=7{after}")).await.is(200);
            let items = page["items"].as_array().unwrap();
            let entry = stage.last_entry().await;
            assert_eq!((&entry["action"], entry["count"].as_u64()), (&json!("records read"), Some(items.len() as u64)));
            assert!(entry["commitment"].is_string() && entry["purpose"] == "fulfilment");
            ids.extend(items.iter().map(|item| item["id"].to_string()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(ids.len() as u64, expected, "{name}");
    }
    let invoices = acme.get(&format!("/v1/records?connection={connection}&kind=invoice&limit=3")).await.is(200);
    assert!(
        invoices["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["kind"] == "invoice" && item["operational"]["net"] == item["data"]["net"])
    );
    let mut analyst = acme.clone();
    analyst.headers[1].1 = "analytics".into();
    assert_eq!(analyst.get(&format!("/v1/records?connection={connection}")).await.is(403)["type"], "/problems/purpose-not-agreed");
    assert_eq!(acme.get(&format!("/v1/records?connection={connection}&stream=nothing")).await.status, 404);
    assert_eq!(stage.local.get(&format!("/v1/records?connection={connection}&limit=1")).await.status, 200);
}

/// A record tells its page, run and consent; the graph leads up to them and down again; its business key leads to it.
async fn origins_are_exact(acme: &Caller, connection: &str) -> String {
    let orders = acme.get(&format!("/v1/records?connection={connection}&stream=orders&limit=1")).await.is(200);
    let order = &orders["items"][0];
    let id = order["id"].as_str().unwrap();
    assert_eq!(acme.get(&format!("/v1/records/{id}")).await.is(200), *order);
    let origin = acme.get(&format!("/v1/records/{id}/lineage")).await.is(200);
    assert_eq!(origin["tag"], order["tag"]);
    let (page, run) = (order["tag"]["page"]["id"].as_str().unwrap(), order["tag"]["run"].as_str().unwrap());
    let up = acme.get(&format!("/v1/lineage?node={id}&direction=up&depth=4")).await.is(200);
    let nodes: Vec<&str> = up["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_str()).collect();
    assert_eq!(nodes, [id, page, run, connection, order["tag"]["consent"].as_str().unwrap(), "sandbox"]);
    assert_eq!(acme.get(&format!("/v1/lineage?node={id}&depth=0")).await.is(200)["edges"], json!([]));
    let down = acme.get(&format!("/v1/lineage?node={page}&direction=down&depth=1")).await.is(200);
    assert!(down["nodes"].as_array().unwrap().iter().any(|node| node["id"] == id), "{down}");

    let number = order["data"]["order_number"].as_str().unwrap().to_lowercase();
    let mut found = acme.get(&format!("/v1/lineage/keys/order_number/{}?limit=1", number.replace('#', "%23"))).await.is(200);
    let mut kinds = Vec::new();
    while let Some(next) = found["next"].as_str().map(str::to_owned) {
        kinds.push(found["items"][0]["stream"].clone());
        found = acme.get(&format!("/v1/lineage/keys/order_number/{}?limit=1&after={next}", number.replace('#', "%23"))).await.is(200);
    }
    kinds.push(found["items"][0]["stream"].clone());
    assert!(kinds.contains(&json!("orders")), "{kinds:?}");
    id.to_owned()
}

/// Whatever names something of another tenant is answered as if there were no such thing.
async fn other_tenants_are_strangers(stage: &Stage, connection: &str, record: &str) {
    let globex = stage.customer("globex").await;
    let unknown = ["conn_00000000000000000000000000000000", "rec_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];
    for path in
        ["/v1/connections/ID", "/v1/connections/ID/impact", "/v1/records?connection=ID", "/v1/runs?connection=ID", "/v1/lineage?node=ID"]
    {
        let foreign = globex.get(&path.replace("ID", connection)).await;
        let none = globex.get(&path.replace("ID", unknown[0])).await;
        assert_eq!((foreign.status, foreign.text.replace(connection, "ID")), (404, none.text.replace(unknown[0], "ID")), "{path}");
    }
    for path in ["/v1/records/ID", "/v1/records/ID/lineage", "/v1/lineage?node=ID"] {
        let foreign = globex.get(&path.replace("ID", record)).await;
        let none = globex.get(&path.replace("ID", unknown[1])).await;
        assert_eq!((foreign.status, foreign.text.replace(record, "ID")), (404, none.text.replace(unknown[1], "ID")), "{path}");
    }
    for (path, body) in [
        (format!("/v1/connections/{connection}/revoke"), json!({})),
        (format!("/v1/connections/{connection}/runs"), json!({})),
        ("/v1/erasures".into(), json!({ "scope": { "connection": connection }, "revoke": true })),
        ("/v1/erasures".into(), json!({ "scope": { "record": record } })),
        ("/v1/revocations".into(), json!({ "scope": { "tenant": "acme" } })),
    ] {
        assert_eq!(globex.post(&path, body).await.status, 404, "{path}");
    }
    for path in ["/v1/connections", "/v1/runs", "/v1/erasures"] {
        assert_eq!(globex.get(path).await.is(200)["items"], json!([]), "{path}");
    }
}

/// A revocation keeps the records and ends the pulls; an erasure ends the records and keeps the proofs.
async fn stops_and_erases(stage: &Stage, acme: &Caller, connection: &str, record: &str, shown: &Value) {
    let scope = json!({ "scope": { "connection": connection } });
    let path = format!("/v1/connections/{connection}");
    assert_eq!(acme.post("/v1/erasures", scope.clone()).await.is(409)["type"], "/problems/not-revoked");
    let planned = acme.post("/v1/erasures?dry_run=true", scope.clone()).await.is(200);
    let stopped = acme.post(&format!("{path}/revoke"), json!({ "reason": "done" })).await.is(200);
    assert_eq!(stopped["revoked"][0]["state"], "revoked");
    let again = acme.post(&format!("{path}/revoke"), json!({})).await.is(200);
    assert_eq!(again["revoked"][0]["receipt"], stopped["revoked"][0]["receipt"]);
    assert_eq!(acme.post(&format!("{path}/runs"), json!({})).await.is(409)["state"], "revoked");
    assert_eq!(stage.local.ask("PATCH", &path, Some(json!({ "state": "active" }))).await.status, 409);
    assert_eq!(acme.get(&format!("/v1/records/{record}")).await.status, 200);

    let erasure = acme.post("/v1/erasures", scope).await.is(201);
    assert_eq!((&erasure["state"], &erasure["counts"]), (&json!("requested"), &planned["counts"]));
    let place = format!("/v1/erasures/{}", erasure["id"].as_str().unwrap());
    assert_eq!(acme.get(&format!("{place}/certificate")).await.status, 409);
    stage.local.post(&format!("{place}/approve"), json!({})).await.is(200);
    assert_eq!(acme.get(&format!("/v1/records/{record}")).await.status, 404);
    assert_eq!(acme.get(&format!("/v1/records?connection={connection}")).await.is(200)["items"], json!([]));
    let complete = acme.wait(&place, "/state", "complete").await;
    assert_eq!(complete["counts"], planned["counts"]);
    assert_eq!(acme.get(&path).await.is(200)["state"], "erased");

    let keys = stage.local.get("/.well-known/headgate-keys").await;
    let keys = audit::KeySet::parse(keys.text.as_bytes()).unwrap();
    let receipt = format!("/v1/consents/{}/receipt", shown["consent"].as_str().unwrap());
    for path in [complete["certificate"].as_str().unwrap(), &receipt] {
        let (file, again) = (acme.get(path).await, acme.get(path).await);
        assert_eq!(file.text, again.text);
        let verdict = audit::verify_file(file.text.as_bytes(), Some(&keys));
        assert!(verdict.verified, "{path}: {verdict:?}");
    }
}
