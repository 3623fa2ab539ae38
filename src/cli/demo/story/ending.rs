//! The customer stops, then deletes, and keeps the proof.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use super::Connected;
use super::Shown;
use super::Story;
use super::items;
use super::pulling::Holding;
use super::refusal;
use super::text;
use crate::audit::verify_file;
use crate::cli::demo::narrator::grouped;
use crate::cli::demo::search::files;
use crate::cli::demo::search::search;
use crate::cli::demo::stage::PURPOSE;
use crate::cli::failure::Failure;
use crate::cli::transport::Request;
use crate::sandbox::LoggedRequest;
use crate::sandbox::Purpose;

/// How long the shop is watched after a revocation for requests that must not come.
const QUIET_WAIT: Duration = Duration::from_millis(500);

/// The longest wait for the credential to be destroyed: once the application has been told that its tokens end.
const GOODBYE_WAIT: Duration = Duration::from_secs(10);

/// The longest wait for an erasure to be complete.
const SWEEP_WAIT: Duration = Duration::from_secs(600);

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A byte within the signed part of a certificate, counted from the file's beginning.
const SIGNED_BYTE: usize = 120;

impl Story<'_, '_> {
    pub(super) async fn revoke(&mut self, connected: &Connected) -> Result<(), Failure> {
        self.narrator.begin("revoke", "Acme revokes. From the moment of the answer nothing is fetched any more.")?;
        let (customer, connection) = (&self.stage.customer, connected.connection.as_str());
        let reason = json!({"reason": "the demo ends"});
        let answer = customer.json(&Request::post(["v1", "connections", connection, "revoke"], reason)).await?;
        let last = self.stage.sandbox.log().last().map_or(0, |request| request.number);
        let revoked = &answer["revoked"][0];
        self.narrator.equal("the connection", text(revoked, "/state").as_str(), "revoked")?;
        let next = self.stage.service.json(&Request::post(["v1", "connections", connection, "runs"], json!({}))).await;
        self.narrator.equal("the next pull", refusal(&next).as_str(), "409")?;
        self.check_receipt(&revoked["receipt"]).await?;

        let again = self.gone_credential(connection).await?;
        self.narrator.equal("the credential, a little later", text(&again, "/credential").as_str(), "destroyed")?;
        self.narrator.equal("the receipt, asked for again", again["receipt"].to_string(), revoked["receipt"].to_string())?;
        self.narrator.equal("grants at the shop that still work", self.stage.sandbox.grants_alive(), 0)?;
        tokio::time::sleep(QUIET_WAIT).await;
        let log = self.stage.sandbox.log();
        let late: Vec<&LoggedRequest> = log.iter().filter(|request| request.number > last).collect();
        let forbidden = late.iter().filter(|request| request.purpose != Purpose::Revoke).map(|request| request.path.as_str());
        let forbidden = forbidden.collect::<Vec<_>>().join(", ");
        self.narrator.equal("requests for data or tokens in the shop's own log after the answer", forbidden.as_str(), "")?;
        self.narrator.show(&[
            ("state", text(revoked, "/state")),
            ("credential", format!("{}, a moment later {}", text(revoked, "/credential"), text(&again, "/credential"))),
            ("next pull", "refused, 409".into()),
            ("the shop's log", "after the answer no request for data or a token; its revocation endpoint alone was told".into()),
        ])?;
        self.narrator.say("The receipt is signed. The tokens are dead at the shop, and the gateway's copies of them destroyed.")?;
        self.narrator.note("credential", revoked["credential"].clone());
        self.narrator.note("revocation_calls_after", late.len());
        self.narrator.held()
    }

    pub(super) async fn erase(&mut self, connected: &Connected, held: Holding) -> Result<String, Failure> {
        self.narrator
            .begin("erase", "Deleting is an act of its own: Acme asks for it, the operator approves, and the keys are destroyed.")?;
        let order = json!({"scope": {"connection": connected.connection}, "reason": "the demo ends"});
        let requested = self.stage.customer.json(&Request::post(["v1", "erasures"], order)).await?;
        let erasure = text(&requested, "/id");
        self.narrator.equal("the erasure, asked for", text(&requested, "/state").as_str(), "requested")?;
        let early = self.stage.customer.json(&Request::post(["v1", "erasures", &erasure, "approve"], json!({}))).await;
        self.narrator.equal("an approval by the customer alone", refusal(&early).as_str(), "403")?;
        self.stage.operator.json(&Request::post(["v1", "erasures", &erasure, "approve"], json!({}))).await?;
        let done = self.complete(&erasure).await?;
        self.narrator.equal("the erasure", text(&done, "/state").as_str(), "complete")?;
        self.narrator.equal("records erased", done["counts"]["records"].as_u64().unwrap_or(0), held.records)?;
        self.narrator.equal("versions erased", done["counts"]["versions"].as_u64().unwrap_or(0), held.versions)?;
        let found = self.stage.customer.json(&Request::get(["v1", "connections", &connected.connection])).await?;
        self.narrator.equal("the connection", text(&found, "/state").as_str(), "erased")?;
        self.narrator.show(&[
            ("erasure", erasure.clone()),
            ("unreadable", format!("{} records in {} versions", grouped(held.records), grouped(held.versions))),
        ])?;
        for kept in kept(&done["kept"]) {
            self.narrator.show(&[("kept", kept)])?;
        }
        self.narrator.note("erasure", erasure.clone());
        self.narrator.note("counts", done["counts"].clone());
        self.narrator.held()?;
        Ok(erasure)
    }

    pub(super) async fn nothing_opens(&mut self, connected: &Connected, order: &Shown, files: &[PathBuf]) -> Result<(), Failure> {
        self.narrator.begin("gone", "Nothing opens any more: neither for those who ask, nor for those who take the disk.")?;
        let service = &self.stage.service;
        let one = self.record(&order.id).await;
        let lineage = service.json(&Request::get(["v1", "records", &order.id, "lineage"])).await;
        let list = Request::get(["v1", "records"]).query("connection", &connected.connection).query("stream", "orders").purpose(PURPOSE)?;
        let list = items(service, &list).await;
        let seen = refusal(&one);
        self.narrator.holds(seen == "404" || seen == "410", "the order", "404 or 410", || seen.clone())?;
        let lineage = lineage?;
        self.narrator.equal("the tag in its lineage", lineage["tag"].to_string(), "null".to_owned())?;
        let of = lineage["tombstone"]["connection"].as_str().unwrap_or_default();
        self.narrator.equal("the connection in its tombstone", of, connected.connection.as_str())?;
        let empty = list.as_ref().is_ok_and(Vec::is_empty) || ["404", "410"].contains(&refusal(&list).as_str());
        self.narrator.holds(empty, "the stream of orders", "no record", || {
            list.map_or_else(|failure| failure.told(), |items| format!("{} records", items.len()))
        })?;
        let mut under = self.under_tracking_number(&order.tracking_number).await?;
        under.retain(|item| item["connection"] == *connected.connection);
        self.narrator.equal("records under the tracking number", under.len(), 0)?;
        self.narrator.say(
            "The order, its stream and the tracking number: none of them answers. Its lineage says by which erasure it went, and no more.",
        )?;

        let left: Vec<String> =
            self.segment_files()?.iter().filter(|file| files.contains(file)).map(|file| file.display().to_string()).collect();
        self.narrator.holds(!files.is_empty(), "segment files of the connection before the erasure", "one at least", || "none")?;
        self.narrator.equal("segment files of the connection after it", left.join(", ").as_str(), "")?;
        let mut planted = vec![order.email.clone(), order.tracking_number.clone()];
        planted.extend(self.stage.secrets.iter().map(|secret| secret.expose().clone()));
        let found = search(&self.stage.data, &planted)?;
        let hits: Vec<String> = found.hits.iter().map(|file| file.display().to_string()).collect();
        self.narrator.equal("files that hold a value of the order or a key in plain", hits.join(", ").as_str(), "")?;
        self.narrator.say(&format!(
            "The connection's segment files ({}) are unlinked. {} bytes in {} files were searched for the customer's address, the tracking \
             number and every key of this demo: none is there.",
            files.len(),
            grouped(found.bytes),
            found.files
        ))?;
        self.narrator.note("files_searched", found.files);
        self.narrator.note("bytes_searched", found.bytes);
        self.narrator.held()
    }

    pub(super) async fn certify(&mut self, erasure: &str) -> Result<(), Failure> {
        self.narrator.begin("certificate", "The certificate, verified with nothing but the file and the gateway's public keys.")?;
        let certificate = self.stage.customer.bytes(&Request::get(["v1", "erasures", erasure, "certificate"])).await?;
        let (key_file, keys) = self.public_keys().await?;
        write(&self.stage.certificate, &certificate)?;
        write(&self.stage.keys, &key_file)?;
        let file = std::fs::read(&self.stage.certificate).map_err(|source| Failure::FileAccess {
            path: self.stage.certificate.clone(),
            act: "read",
            source,
        })?;
        let verdict = verify_file(&file, Some(&keys));
        let problems = || verdict.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.narrator.holds(verdict.verified, "the certificate", "to verify", problems)?;
        let subject = verdict.subject.as_ref().map(|subject| subject.name.clone()).unwrap_or_default();
        self.narrator.equal("its subject", subject.as_str(), erasure)?;
        self.narrator.holds(!verify_file(&file, None).verified, "the same file without a key", "not to verify", || "verified")?;
        let mut altered = file.clone();
        if let Some(byte) = altered.get_mut(SIGNED_BYTE) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
        self.narrator.holds(
            !verify_file(&altered, Some(&keys)).verified,
            "the file with one byte changed",
            "not to verify",
            || "verified",
        )?;

        let predicate = super::connecting::statement(&file)?["predicate"].take();
        let destroyed = predicate["keys_destroyed"].as_array().map_or(0, Vec::len);
        let (certificate, keys) = (self.stage.certificate.display(), self.stage.keys.display());
        self.narrator.show(&[
            ("certificate", certificate.to_string()),
            ("keys", keys.to_string()),
            (
                "says",
                format!(
                    "{} records, {} versions, {destroyed} keys destroyed",
                    text(&predicate, "/counts/records"),
                    text(&predicate, "/counts/versions")
                ),
            ),
            ("proved by", format!("entry {} of the audit log, under a signed checkpoint", text(&predicate, "/audit/entry"))),
            ("verdict", "verified; not without the key, and not with one byte changed".into()),
            ("check it with", format!("headgate certificate verify {certificate} --key {keys}")),
        ])?;
        self.narrator.note("certificate", self.stage.certificate.display().to_string());
        self.narrator.note("keys", self.stage.keys.display().to_string());
        self.narrator.held()
    }

    /// The files in which sealed records are kept, for all connections.
    pub(super) fn segment_files(&self) -> Result<Vec<PathBuf>, Failure> {
        files(&self.stage.data.join("segments"))
    }

    async fn check_receipt(&mut self, receipt: &Value) -> Result<(), Failure> {
        // The file is the envelope on one line: compact, members in their order, one newline.
        let file = format!("{receipt}\n");
        let (_, keys) = self.public_keys().await?;
        let verdict = verify_file(file.as_bytes(), Some(&keys));
        let problems = || verdict.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.narrator.holds(verdict.verified, "the revocation's receipt", "a true signature", problems)
    }

    /// Asks again what was revoked, until the credential is destroyed or for as long as that may take.
    async fn gone_credential(&self, connection: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + GOODBYE_WAIT;
        loop {
            let request = Request::post(["v1", "connections", connection, "revoke"], json!({}));
            let mut answer = self.stage.customer.json(&request).await?;
            let revoked = answer["revoked"][0].take();
            if revoked["credential"] == "destroyed" || Instant::now() >= deadline {
                return Ok(revoked);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until an erasure is complete, or for as long as a sweep may take.
    async fn complete(&self, erasure: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + SWEEP_WAIT;
        loop {
            let found = self.stage.customer.json(&Request::get(["v1", "erasures", erasure])).await?;
            if found["state"] == "complete" || found["state"] == "refused" || Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What an erasure leaves, gathered by the reason.
fn kept(list: &Value) -> Vec<String> {
    let mut reasons: IndexMap<String, Vec<String>> = IndexMap::new();
    for kept in list.as_array().into_iter().flatten() {
        reasons.entry(text(kept, "/reason")).or_default().push(text(kept, "/what"));
    }
    reasons.into_iter().map(|(reason, what)| format!("{}: {reason}", what.join(", "))).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|source| Failure::FileAccess { path: path.into(), act: "written", source })
}
