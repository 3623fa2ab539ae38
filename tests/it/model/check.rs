//! What is held against the gateway's answers and the shops' logs.

use std::time::Duration;

use headgate::audit::verify_file;
use headgate::ids::RecordId;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use super::door::TENANTS;
use super::history::History;
use super::link::Link;
use super::link::State;
use super::link::now;
use super::stored::Stored;
use super::stored::counter;
use super::stored::sums_of_runs;
use super::stored::text;

/// A request whose first byte was sent before a stop was answered may be seen by the shop a little later.
const ON_ITS_WAY: Duration = Duration::from_millis(700);
/// How many such there can be: two streams are read at a time, and one renewal.
const ON_ITS_WAY_MAX: usize = 3;
/// How long runs that were stopped have for writing so.
const UNWIND_WAIT: Duration = Duration::from_secs(10);
/// Records of a connection whose lineage is asked for, and whose older versions are looked at.
const SAMPLES: usize = 4;

impl History {
    /// After every act: the logs, the states, and whether tenants see each other.
    pub async fn watch(&mut self) {
        for index in 0..self.links.len() {
            self.look_at_state(index).await;
            assert_quiet(&self.links[index]);
        }
        let index = usize::try_from(self.dice.roll(self.links.len() as u64)).unwrap_or(0);
        self.assert_strangers(index).await;
    }

    /// The state must be the one that was answered last, or one that the acts without an answer allow.
    pub async fn look_at_state(&mut self, index: usize) {
        let shown = self.gateway.ask(&format!("/v1/connections/{}", self.links[index].id)).await;
        assert_eq!(shown.status, 200, "{}", shown.text);
        let state = State::named(&text(&shown.body, "state"));
        let link = &mut self.links[index];
        assert!(
            link.may_be(state),
            "{} is {state:?}; it was answered to be {:?}, perhaps {:?}, excuse {:?}",
            link.id,
            link.state,
            link.perhaps,
            link.excuse
        );
        let perhaps = link.perhaps;
        if state != link.state {
            link.become_state(state);
            link.perhaps = perhaps.filter(|perhaps| *perhaps != state);
        }
        if link.state == State::Active && link.excuse.is_none() {
            assert!(link.shop.grants_alive() > 0, "{}: a refresh token was used twice, or its grant was given back", link.id);
        }
    }

    /// After a call that nobody waited for: what has come of it is final now.
    pub async fn look_again(&mut self) {
        for index in 0..self.links.len() {
            self.look_at_state(index).await;
            self.links[index].perhaps = None;
            self.find_erasure(index).await;
        }
    }

    /// After a start: what was answered before holds, and what was interrupted says so.
    pub async fn recover(&mut self) {
        self.look_again().await;
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            link.pull = None;
            let runs = self.gateway.items(&format!("/v1/runs?connection={}", link.id)).await;
            for run in &runs {
                let before = link.runs.get(&text(run, "id"));
                assert_ne!(run["state"], "running", "{}: after a start nothing is under way: {run}", link.id);
                if before.is_some_and(|before| before["state"] == "running") && run["state"] == "failed" {
                    assert!(run["error"].is_string(), "{run}");
                }
            }
            assert_grown(link, &runs);
        }
        if self.dice.chance(50) {
            let index = usize::try_from(self.dice.roll(self.links.len() as u64)).unwrap_or(0);
            self.inspect(index).await;
        }
    }

    /// The erasure of a connection, when the answer that named it was lost.
    async fn find_erasure(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.erasure.is_none() && link.state.is_ended() {
            let erasures = self.gateway.items("/v1/erasures").await;
            let own = erasures.iter().find(|erasure| erasure["scope"]["connection"] == *link.id);
            link.erasure = own.map(|erasure| text(erasure, "id"));
        }
    }

    /// Everything that is stored of a connection: complete tags, lineage, counters, and after a revocation nothing new.
    pub async fn inspect(&mut self, index: usize) {
        if self.links[index].state == State::Erased {
            self.wait_for_certificate(index).await;
            self.assert_gone(index).await;
            return self.assert_certificate(index).await;
        }
        if self.links[index].pull.is_some() && !self.links[index].state.is_ended() {
            return;
        }
        let runs = self.runs_at_rest(index).await;
        let link = &mut self.links[index];
        assert_grown(link, &runs);
        let stored = Stored::of(&self.gateway, &link.id).await;
        assert_eq!(stored.sums(), sums_of_runs(runs.iter()), "{}: records and versions against the counters of its runs", link.id);
        for (number, (id, record)) in stored.records().enumerate() {
            assert_tag(&self.tags, link, &runs, id, record);
            if number < SAMPLES || record["version"] != 1 {
                let origin = self.gateway.ask(&format!("/v1/records/{id}/lineage")).await;
                assert_eq!((origin.status, &origin.body["tag"]), (200, &record["tag"]), "the lineage of {id}");
            }
            if record["version"] != 1 && number < 10 * SAMPLES {
                let first = self.gateway.ask(&format!("/v1/records/{id}?version=1")).await;
                assert_eq!(first.status, 200, "{}", first.text);
                assert_tag(&self.tags, link, &runs, id, &first.body);
            }
        }
        if link.state == State::Revoked {
            match &link.held {
                Some(held) => held.assert_equal(&stored, &format!("{} after its revocation", link.id)),
                None => link.held = Some(stored),
            }
        }
    }

    /// The runs of a connection once none is under way.
    async fn runs_at_rest(&self, index: usize) -> Vec<Value> {
        let deadline = Instant::now() + UNWIND_WAIT;
        loop {
            let runs = self.gateway.items(&format!("/v1/runs?connection={}", self.links[index].id)).await;
            if runs.iter().all(|run| run["state"] != "running") {
                return runs;
            }
            assert!(Instant::now() < deadline, "{}: runs go on without a pull: {runs:?}", self.links[index].id);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// After an erasure has been approved nothing of it answers.
    pub async fn assert_gone(&mut self, index: usize) {
        let link = &self.links[index];
        let list = self.gateway.ask(&format!("/v1/records?connection={}", link.id)).await;
        let is_empty = list.body["items"].as_array().is_some_and(Vec::is_empty);
        assert!([404, 410].contains(&list.status) || (list.status == 200 && is_empty), "records of an erased connection: {}", list.text);
        let Some(held) = &link.held else { return };
        for (id, record) in held.records().take(SAMPLES) {
            let origin = self.gateway.ask(&format!("/v1/records/{id}/lineage")).await;
            assert_eq!((origin.status, &origin.body["tag"]), (200, &Value::Null), "the tombstone of {id}: {}", origin.text);
            assert_eq!(origin.body["tombstone"]["connection"], *link.id, "{}", origin.text);
            let read = self.gateway.ask(&format!("/v1/records/{id}")).await;
            assert!([404, 410].contains(&read.status), "{id} of an erased connection: {} {}", read.status, read.text);
            let graph = self.gateway.ask(&format!("/v1/lineage?node={id}")).await;
            let facts = &graph.body["nodes"][0]["facts"];
            assert!(graph.status == 200 && facts["erasure"].is_string() && facts["version"].is_null(), "{id}: {}", graph.text);
            assert!(!graph.text.contains("page_"), "the page of an erased record is told: {}", graph.text);
            if let Some(number) = record["data"]["order_number"].as_str() {
                let found = self.gateway.items(&format!("/v1/lineage/keys/order_number/{number}?tenant={}", link.tenant)).await;
                assert!(found.iter().all(|item| item["connection"] != *link.id), "a key leads to an erased record: {found:?}");
            }
        }
    }

    /// The certificate verifies and says how much there was.
    async fn assert_certificate(&mut self, index: usize) {
        let link = &self.links[index];
        let erasure = link.erasure.as_ref().expect("an erased connection has an erasure");
        let file = self.gateway.ask(&format!("/v1/erasures/{erasure}/certificate")).await;
        assert_eq!(file.status, 200, "{}", file.text);
        let verdict = verify_file(file.text.as_bytes(), Some(&self.gateway.keys().await));
        assert!(verdict.verified, "{verdict:?}");
        if let Some(held) = &link.held {
            let (sums, shown) = (held.sums(), self.gateway.ask(&format!("/v1/erasures/{erasure}")).await.body);
            assert_eq!(shown["counts"], json!({"records": sums.records, "versions": sums.versions}), "the counts of {erasure}");
        }
    }

    /// What is one tenant's does not exist for another: every id answers as an unknown one.
    async fn assert_strangers(&mut self, index: usize) {
        let link = &self.links[index];
        let stranger = TENANTS.into_iter().find(|tenant| *tenant != link.tenant).expect("another tenant");
        let nobody = "0123456789abcdef0123456789abcdef";
        let mut ids = vec![(link.id.clone(), format!("conn_{nobody}")), (link.consent.clone(), format!("cons_{nobody}"))];
        let runs = self.gateway.items(&format!("/v1/runs?connection={}", link.id)).await;
        ids.extend(runs.first().map(|run| (text(run, "id"), format!("run_{nobody}"))));
        ids.extend(runs.first().map(|run| (text(run, "pull"), format!("pull_{nobody}"))));
        ids.extend(link.erasure.clone().map(|erasure| (erasure, format!("eras_{nobody}"))));
        let records = self.gateway.ask(&format!("/v1/records?connection={}&limit=1", link.id)).await.body;
        if let Some(record) = records["items"].as_array().and_then(|items| items.first()) {
            let id = text(record, "id");
            let known: RecordId = id.parse().expect("an id");
            ids.push((id, RecordId { hash: [7; 16], ..known }.to_string()));
        }
        for (id, unknown) in ids {
            for (method, path, body) in doors(&id) {
                let asked = self.gateway.customer(stranger, method.clone(), &path, body.clone()).await.expect("an answer");
                let unknown_path = path.replace(&id, &unknown);
                let unknown_body = body.map(|body| serde_json::from_str(&body.to_string().replace(&id, &unknown)).expect("JSON"));
                let nobody = self.gateway.customer(stranger, method, &unknown_path, unknown_body).await.expect("an answer");
                assert_eq!(asked.status, 404, "{path} for {stranger}: {}", asked.text);
                assert_eq!(asked.text.replace(&id, &unknown), nobody.text, "{path} for {stranger} tells that it exists");
            }
        }
    }
}

/// The doors behind which something of an id could be.
fn doors(id: &str) -> Vec<(Method, String, Option<Value>)> {
    let get = |path: String| (Method::GET, path, None);
    let post = |path: String, body: Value| (Method::POST, path, Some(body));
    match id.split('_').next().expect("a prefix") {
        "conn" => vec![
            get(format!("/v1/connections/{id}")),
            get(format!("/v1/connections/{id}/impact")),
            get(format!("/v1/records?connection={id}")),
            get(format!("/v1/runs?connection={id}")),
            get(format!("/v1/lineage?node={id}")),
            post(format!("/v1/connections/{id}/runs"), json!({})),
            post(format!("/v1/connections/{id}/revoke"), json!({})),
            post("/v1/revocations".into(), json!({"scope": {"connection": id}})),
            post("/v1/erasures".into(), json!({"scope": {"connection": id}, "revoke": true})),
        ],
        "cons" => vec![get(format!("/v1/consents/{id}/receipt"))],
        "run" => vec![get(format!("/v1/runs/{id}")), get(format!("/v1/lineage?node={id}"))],
        "pull" => vec![get(format!("/v1/runs?pull={id}"))],
        "eras" => vec![get(format!("/v1/erasures/{id}")), get(format!("/v1/erasures/{id}/certificate"))],
        _ => vec![get(format!("/v1/records/{id}")), get(format!("/v1/records/{id}/lineage")), get(format!("/v1/lineage?node={id}"))],
    }
}

/// The shop's own log: once a stop was answered, nothing starts.
fn assert_quiet(link: &Link) {
    let Some(since) = link.quiet_since else { return };
    let after: Vec<_> = link.shop.fetches().into_iter().filter(|request| request.at > since).collect();
    let late = after.iter().filter(|request| request.at.duration_since(since).unsigned_abs() > ON_ITS_WAY).count();
    assert!(
        late == 0 && after.len() <= ON_ITS_WAY_MAX,
        "{} is {:?} since {since} (now {}), and its shop was asked: {after:#?}",
        link.id,
        link.state,
        now()
    );
}

/// Runs only grow, and an ended one stays as it is.
fn assert_grown(link: &mut Link, runs: &[Value]) {
    for run in runs {
        let id = text(run, "id");
        if let Some(before) = link.runs.get(&id) {
            for name in ["pages", "new", "changed", "unchanged", "filtered"] {
                assert!(counter(run, name) >= counter(before, name), "{name} of an acknowledged run fell: {before} {run}");
            }
            assert!(before["state"] == "running" || before == run, "an ended run has changed: {before} {run}");
        }
        link.runs.insert(id, run.clone());
    }
}

/// A version carries its whole tag, and the tag is of this connection.
fn assert_tag(schema: &jsonschema::Validator, link: &Link, runs: &[Value], id: &str, record: &Value) {
    let tag = &record["tag"];
    if let Err(error) = schema.validate(tag) {
        panic!("the tag of {id}: {error}: {tag}");
    }
    let own = (&tag["tenant"], &tag["connection"], &tag["connector"]["name"], &tag["consent"]);
    assert_eq!(own, (&json!(link.tenant), &json!(link.id), &json!(link.connector), &json!(link.consent)), "the tag of {id}");
    assert!(runs.iter().any(|run| run["id"] == tag["run"] && run["stream"] == tag["stream"]), "{id} comes from an unknown run: {tag}");
    let previous = record["version"].as_u64().and_then(|version| version.checked_sub(1)).filter(|previous| *previous > 0);
    assert_eq!(tag["previous"], json!(previous), "{id}");
}
