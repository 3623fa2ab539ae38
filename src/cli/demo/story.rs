//! The whole life of a connection, step by step. Each step says what it does, does it, and sees that it held.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::audit::KeySet;
use crate::audit::verify_file;
use crate::cli::demo::browser;
use crate::cli::failure::Failure;
use crate::cli::failure::Problem;
use crate::cli::lineage::origin;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::run;
use crate::cli::transport::Client;
use crate::cli::transport::Request;
use crate::sandbox::LoggedRequest;
use crate::sandbox::Purpose;
use crate::sandbox::Sandbox;

/// Whose shop the demo connects.
const TENANT: &str = "acme";

/// What the demo's records may be used for.
const PURPOSE: &str = "fulfilment";

/// How many turns the shop takes between the two pulls.
const TURNS: u32 = 3;

/// How many records a step looks through for one that suits it.
const LOOKED_AT: &str = "100";

/// The longest wait for the erasure's sweep.
const SWEEP_WAIT: Duration = Duration::from_secs(60);

/// The time between two looks at the erasure.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The demo while it runs.
pub struct Story<'a> {
    client: &'a Client,
    output: &'a mut Output,
    sandbox: &'a Sandbox,
    papers: Papers,
    step: u32,
}

/// Where the proof is written.
#[derive(Debug, Clone)]
pub struct Papers {
    /// The certificate of the erasure.
    pub certificate: PathBuf,
    /// The public keys that verify it.
    pub keys: PathBuf,
}

impl<'a> Story<'a> {
    /// A story that has not begun.
    pub fn new(client: &'a Client, output: &'a mut Output, sandbox: &'a Sandbox, papers: Papers) -> Self {
        Self { client, output, sandbox, papers, step: 0 }
    }

    /// Tells it to the end.
    ///
    /// # Errors
    /// Names the first step that did not hold.
    pub async fn tell(&mut self) -> Result<(), Failure> {
        let connection = self.connect().await?;
        self.pull_everything(&connection).await?;
        let record = self.show_an_origin(&connection).await?;
        let parcel = self.follow_a_parcel(&connection).await?;
        self.pull_the_changes(&connection).await?;
        let before = self.record(&record).await?;
        self.revoke(&connection).await?;
        self.still_answers(&record, &before).await?;
        let erasure = self.erase(&connection).await?;
        self.nothing_opens(&connection, &record, &parcel).await?;
        self.verify(&erasure).await
    }

    async fn connect(&mut self) -> Result<String, Failure> {
        self.begin("Acme connects its shop: a person accepts the policy, then authorizes the gateway on the shop's own page.")?;
        let policy = self.client.json(&Request::get(["v1", "policy"])).await?;
        let acknowledged: Vec<&Value> = policy["acknowledgements"].as_array().into_iter().flatten().map(|point| &point["id"]).collect();
        let body = json!({
            "connector": "sandbox",
            "tenant": TENANT,
            "config": {"base_url": self.sandbox.base_url()},
            "consent": {
                "person": "Ada of Acme",
                "organisation": "Acme Ltd",
                "policy_version": policy["version"],
                "purposes": [PURPOSE],
                "acknowledged": acknowledged,
            },
        });
        let begun = self.client.json(&Request::post(["v1", "connections"], body)).await?;
        let connection = text(&begun, "connection");
        self.hold(begun["state"] == "pending", "no token before the shop has agreed")?;
        browser::approve(&text(&begun, "authorize_url")).await?;
        let found = self.client.json(&Request::get(["v1", "connections", &connection])).await?;
        self.hold(found["state"] == "active", "the connection is active once the browser has come back")?;
        self.held(
            json!({"connection": connection}),
            &format!("{connection} is active; the consent is {}, recorded before any token was asked for.", text(&found, "consent")),
        )?;
        Ok(connection)
    }

    async fn pull_everything(&mut self, connection: &str) -> Result<(), Failure> {
        self.begin("The first pull reads everything, page by page, within the shop's rate limit.")?;
        let runs = self.pull(connection).await?;
        let (stored, expected) = (sum(&runs, "new"), self.sandbox.counts().total());
        self.hold(stored == expected, &format!("{stored} records are stored, and the shop has {expected}"))?;
        let (pages, requests) = (sum(&runs, "pages"), sum(&runs, "requests"));
        let words = format!("{stored} records in {pages} pages, {requests} requests. Each record carries its complete tag.");
        self.held(json!({"records": stored, "pages": pages, "requests": requests}), &words)
    }

    async fn show_an_origin(&mut self, connection: &str) -> Result<String, Failure> {
        self.begin("One order, and exactly where it came from.")?;
        let orders = self.records(connection, "orders").await?;
        let order = orders.first().ok_or_else(|| self.broken("there is an order"))?;
        let record = text(order, "id");
        let found = self.client.json(&Request::get(["v1", "records", &record, "lineage"])).await?;
        let tag = &found["tag"];
        self.hold(tag["connection"] == *connection && tag["page"]["response_sha256"].is_string(), "its tag names connection and response")?;
        let shown = output::cell(order, "/data");
        let drawn = origin::branch(&found).drawn().replace('\n', "\n   ");
        self.held(json!({"record": record, "tag": tag}), &format!("{shown}\n\n   {drawn}"))?;
        Ok(record)
    }

    async fn follow_a_parcel(&mut self, connection: &str) -> Result<String, Failure> {
        self.begin("Everything known under one tracking number, across streams.")?;
        let shipments = self.records(connection, "shipments").await?;
        let number = shipments.iter().find_map(|shipment| shipment["data"]["tracking_number"].as_str());
        let number = number.ok_or_else(|| self.broken("there is a parcel"))?.to_owned();
        let found = self.under_key(&number).await?;
        let mut streams: Vec<String> = found.iter().map(|item| text(item, "stream")).collect();
        streams.sort();
        streams.dedup();
        self.hold(streams.len() > 1, &format!("`{number}` is found in more than one stream"))?;
        let words = format!("{number}: {} records, in {}.", found.len(), streams.join(" and "));
        self.held(json!({"tracking_number": number, "streams": streams}), &words)?;
        Ok(number)
    }

    async fn pull_the_changes(&mut self, connection: &str) -> Result<(), Failure> {
        self.begin("Meanwhile the shop sells, bills and ships. The second pull reads what changed, and nothing else is stored.")?;
        let before = self.sandbox.counts().total();
        let touched: u64 = (0..TURNS).map(|_| self.sandbox.advance().records()).sum();
        let made = self.sandbox.counts().total() - before;
        let runs = self.pull(connection).await?;
        let (new, changed) = (sum(&runs, "new"), sum(&runs, "changed"));
        self.hold(new == made, &format!("{new} new records are stored, and the shop made {made}"))?;
        self.hold(changed > 0 && new + changed <= touched, &format!("{changed} changed, of at most {touched} that were touched"))?;
        let unchanged = sum(&runs, "unchanged");
        let words = format!("{new} new and {changed} changed records arrived; {unchanged} were read again and made no new version.");
        self.held(json!({"new": new, "changed": changed, "unchanged": unchanged}), &words)
    }

    async fn revoke(&mut self, connection: &str) -> Result<(), Failure> {
        self.begin("Acme revokes. From the moment of the answer nothing is fetched.")?;
        let revoked = self.client.json(&Request::post(["v1", "connections", connection, "revoke"], json!({"reason": "demo"}))).await?;
        let last = self.sandbox.log().last().map_or(0, |request| request.number);
        self.hold(revoked["revoked"][0]["state"] == "revoked", "the connection is revoked")?;
        let refused = self.client.json(&Request::post(["v1", "connections", connection, "runs"], json!({}))).await;
        self.hold(is_status(&refused, &[409]), "the next pull is refused")?;
        let fetches = |request: &&LoggedRequest| request.number > last && matches!(request.purpose, Purpose::Data | Purpose::Token);
        let late = self.sandbox.log().iter().filter(fetches).count();
        self.hold(late == 0, &format!("the shop's own log shows {late} requests for data or tokens after the revocation"))?;
        let credential = output::shown(&revoked["revoked"][0]["credential"]);
        let words = format!(
            "The next pull is refused, and the shop's own log shows no request for data or a token after it. The credential: {credential}."
        );
        self.held(json!({"credential": credential, "requests_after": late}), &words)
    }

    async fn still_answers(&mut self, record: &str, before: &Value) -> Result<(), Failure> {
        self.begin("Revoking is not deleting: what was fetched before still answers, unchanged.")?;
        let after = self.record(record).await?;
        self.hold(after["data"] == before["data"] && after["tag"] == before["tag"], "the record is what it was")?;
        self.client.json(&Request::get(["v1", "records", record, "lineage"])).await?;
        let digest = output::shown(&after["tag"]["content_digest"]);
        self.held(json!({"record": record, "content_digest": digest}), &format!("{record} is what it was, content sha256 {digest}."))
    }

    async fn erase(&mut self, connection: &str) -> Result<String, Failure> {
        self.begin("Deleting is an act of its own: Acme asks for erasure, the operator approves, the keys are destroyed.")?;
        let body = json!({"scope": {"connection": connection}, "reason": "demo"});
        let requested = self.client.json(&Request::post(["v1", "erasures"], body)).await?;
        let erasure = text(&requested, "id");
        self.client.json(&Request::post(["v1", "erasures", &erasure, "approve"], json!({}))).await?;
        let deadline = Instant::now() + SWEEP_WAIT;
        let found = loop {
            let found = self.client.json(&Request::get(["v1", "erasures", &erasure])).await?;
            if found["state"] == "complete" || Instant::now() >= deadline {
                break found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        self.hold(found["state"] == "complete", "the erasure is complete")?;
        let records = output::shown(&found["counts"]["records"]);
        let versions = output::shown(&found["counts"]["versions"]);
        let words =
            format!("{erasure} is complete: {records} records in {versions} versions are unreadable, for whoever holds the disk, too.");
        self.held(json!({"erasure": erasure, "counts": found["counts"]}), &words)?;
        Ok(erasure)
    }

    async fn nothing_opens(&mut self, connection: &str, record: &str, tracking_number: &str) -> Result<(), Failure> {
        self.begin("Nothing opens any more.")?;
        let gone = [404, 410];
        let one = self.record(record).await;
        self.hold(is_status(&one, &gone), "the record is gone")?;
        let lineage = self.client.json(&Request::get(["v1", "records", record, "lineage"])).await;
        self.hold(is_status(&lineage, &gone), "its lineage is gone")?;
        let all = self.records(connection, "orders").await;
        self.hold(is_status(&all, &gone) || all.is_ok_and(|items| items.is_empty()), "its stream is empty")?;
        self.hold(self.under_key(tracking_number).await?.is_empty(), "the tracking number leads nowhere")?;
        self.held(json!({}), "The record, its lineage, its stream and the tracking number: none of them answers.")
    }

    async fn verify(&mut self, erasure: &str) -> Result<(), Failure> {
        self.begin("The certificate, verified with nothing but the file and the public keys.")?;
        let certificate = self.client.bytes(&Request::get(["v1", "erasures", erasure, "certificate"])).await?;
        let keys = self.client.bytes(&Request::get([".well-known", "headgate-keys"])).await?;
        write(&self.papers.certificate, &certificate)?;
        write(&self.papers.keys, &keys)?;
        let set = KeySet::parse(&keys).map_err(|error| self.broken(&error.to_string()))?;
        let verdict = verify_file(&certificate, Some(&set));
        let problems: Vec<String> = verdict.problems.iter().map(ToString::to_string).collect();
        self.hold(verdict.verified, &format!("the certificate verifies: {}", problems.join("; ")))?;
        let Papers { certificate, keys } = self.papers.clone();
        let words =
            format!("Verified. Try it yourself:\n   headgate certificate verify {} --key {}", certificate.display(), keys.display());
        self.held(json!({"certificate": certificate, "keys": keys}), &words)
    }

    async fn pull(&self, connection: &str) -> Result<Vec<Value>, Failure> {
        let started = self.client.json(&Request::post(["v1", "connections", connection, "runs"], json!({}))).await?;
        let runs = run::watch(self.client, self.output, &text(&started, "pull")).await?;
        match runs.iter().find(|run| run["state"] != "complete") {
            Some(run) => Err(self.broken(&format!("{} is {}: {}", text(run, "stream"), text(run, "state"), output::shown(&run["error"])))),
            None => Ok(runs),
        }
    }

    async fn record(&self, record: &str) -> Result<Value, Failure> {
        self.client.json(&Request::get(["v1", "records", record]).purpose(PURPOSE)?).await
    }

    async fn records(&self, connection: &str, stream: &str) -> Result<Vec<Value>, Failure> {
        let request = Request::get(["v1", "records"]).query("connection", connection).query("stream", stream).query("limit", LOOKED_AT);
        let list = self.client.json(&request.purpose(PURPOSE)?).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    async fn under_key(&self, tracking_number: &str) -> Result<Vec<Value>, Failure> {
        let request = Request::get(["v1", "lineage", "keys", "tracking_number", tracking_number]).query("tenant", TENANT);
        let list = self.client.json(&request).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    fn begin(&mut self, title: &str) -> Result<(), Failure> {
        self.step += 1;
        if self.output.is_json() { Ok(()) } else { self.output.line(&format!("\n{}. {title}", self.step)) }
    }

    /// Says that the step held, with what it found.
    fn held(&mut self, facts: Value, words: &str) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.object(&json!({"event": "step", "step": self.step, "held": true, "found": facts}));
        }
        self.output.line(&format!("   {words}"))
    }

    fn hold(&self, holds: bool, what: &str) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(self.broken(what)) }
    }

    fn broken(&self, what: &str) -> Failure {
        Failure::outcome(format!("step {} of the demo did not hold: {what}", self.step))
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

fn sum(runs: &[Value], counter: &str) -> u64 {
    runs.iter().filter_map(|run| run[counter].as_u64()).sum()
}

fn is_status<T>(answer: &Result<T, Failure>, statuses: &[u16]) -> bool {
    matches!(answer, Err(Failure::Problem(Problem { status, .. })) if statuses.contains(status))
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|source| Failure::FileAccess { path: path.into(), act: "written", source })
}
