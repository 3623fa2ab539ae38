//! Acts, and what their answers mean.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use super::door::Answer;
use super::door::Order;
use super::history::History;
use super::link::Link;
use super::link::Pull;
use super::link::State;
use super::stored::Stored;
use super::stored::text;

/// The streams of the connectors.
pub const STREAMS: [&str; 5] = ["customers", "orders", "invoices", "shipments", "products"];

const PULL_WAIT: Duration = Duration::from_secs(120);
const SWEEP_WAIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// What can be asked of the gateway in one request, and interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Nothing,
    Pull,
    Revoke,
    RevokeTenant,
    RevokeConnector,
    Pause,
    Resume,
    Reconnect,
    /// With `revoke`.
    RequestErasure,
    Approve,
}

impl History {
    /// The request of an act; none when there is nothing to ask.
    pub fn order(&self, act: Act, index: usize) -> Option<Order> {
        let link = &self.links[index];
        let id = &link.id;
        let post = |path: String, body: Value| Some(Order { method: Method::POST, path, body: Some(body) });
        let patch =
            |state| Some(Order { method: Method::PATCH, path: format!("/v1/connections/{id}"), body: Some(json!({"state": state})) });
        match act {
            Act::Nothing => None,
            Act::Pull => post(format!("/v1/connections/{id}/runs"), json!({})),
            Act::Revoke => post(format!("/v1/connections/{id}/revoke"), json!({"reason": "the model"})),
            Act::RevokeTenant => post("/v1/revocations".into(), json!({"scope": {"tenant": link.tenant}, "reason": "the model"})),
            Act::RevokeConnector => post("/v1/revocations".into(), json!({"scope": {"connector": link.connector}, "reason": "the model"})),
            Act::Pause => patch("paused"),
            Act::Resume => patch("active"),
            Act::Reconnect => post(format!("/admin/connections/{id}/reconnect"), json!({})),
            Act::RequestErasure => post("/v1/erasures".into(), json!({"scope": {"connection": id}, "reason": "the model", "revoke": true})),
            Act::Approve => link.erasure.as_ref().and_then(|erasure| post(format!("/v1/erasures/{erasure}/approve"), json!({}))),
        }
    }

    /// The connections that an act is about.
    fn touched(&self, act: Act, index: usize) -> Vec<usize> {
        let (tenant, connector) = (self.links[index].tenant, self.links[index].connector);
        let all = |matches: &dyn Fn(&Link) -> bool| (0..self.links.len()).filter(|index| matches(&self.links[*index])).collect();
        match act {
            Act::RevokeTenant => all(&|link| link.tenant == tenant),
            Act::RevokeConnector => all(&|link| link.connector == connector),
            _ => vec![index],
        }
    }

    /// Does an act and waits for its answer.
    async fn act(&mut self, act: Act, index: usize) -> Option<Answer> {
        let order = self.order(act, index)?;
        let answer = self.gateway.begin(order).await.expect("a request");
        assert!(answer.is_some(), "{act:?} of {} got no answer", self.name(index));
        self.note(act, index, answer.clone()).await;
        for index in self.touched(act, index) {
            let link = &mut self.links[index];
            if link.state == State::Revoked && link.held.is_none() {
                link.held = Some(Stored::of(&self.gateway, &link.id).await);
            }
        }
        answer
    }

    /// What an answer means for the connections; without one, what may have come of the act.
    pub async fn note(&mut self, act: Act, index: usize, answer: Option<Answer>) {
        let Some(answer) = answer else { return self.note_perhaps(act, index) };
        let state = self.links[index].state;
        let words = format!("{act:?} of {}: {} {}", self.name(index), answer.status, answer.text);
        assert!(answer.status < 500, "{words}");
        match act {
            Act::Nothing => {}
            Act::Revoke | Act::RevokeTenant | Act::RevokeConnector => {
                assert_eq!(answer.status, 200, "{words}");
                for index in self.touched(act, index) {
                    self.revoked(index);
                }
            }
            Act::Pull => self.note_pull(index, &answer, &words),
            Act::Pause if state == State::Active && answer.status == 200 => {
                let link = &mut self.links[index];
                link.is_cut_off();
                link.become_state(State::Paused);
            }
            Act::Pause => assert!(answer.status == 409 && (state != State::Active || self.links[index].excuse.is_some()), "{words}"),
            Act::Resume if state == State::Paused => {
                assert_eq!(answer.status, 200, "{words}");
                self.links[index].become_state(State::Active);
            }
            Act::Resume => {}
            Act::Reconnect if state.is_ended() => assert_eq!(answer.status, 409, "{words}"),
            Act::Reconnect => {
                assert_eq!(answer.status, 200, "{words}");
                self.links[index].authorize_url = Some(text(&answer.body, "authorize_url"));
            }
            Act::RequestErasure if state == State::Erased || self.links[index].erasure.is_some() => {
                assert_eq!(answer.status, 409, "{words}");
            }
            Act::RequestErasure => {
                assert_eq!(answer.status, 201, "{words}");
                self.links[index].erasure = Some(text(&answer.body, "id"));
                self.revoked(index);
            }
            Act::Approve if state == State::Revoked => {
                assert_eq!(answer.status, 200, "{words}");
                self.links[index].become_state(State::Erased);
            }
            Act::Approve => assert_eq!(answer.status, 409, "{words}"),
        }
    }

    fn note_perhaps(&mut self, act: Act, index: usize) {
        for index in self.touched(act, index) {
            let link = &mut self.links[index];
            link.perhaps = match (act, link.state) {
                (_, State::Erased) => None,
                (Act::Revoke | Act::RevokeTenant | Act::RevokeConnector | Act::RequestErasure, _) => Some(State::Revoked),
                (Act::Pause, State::Active) => Some(State::Paused),
                (Act::Resume, State::Paused) => Some(State::Active),
                (Act::Approve, State::Revoked) => Some(State::Erased),
                _ => None,
            };
        }
    }

    fn note_pull(&mut self, index: usize, answer: &Answer, words: &str) {
        let link = &mut self.links[index];
        if answer.status == 202 {
            assert_eq!(link.state, State::Active, "{words}");
            let expected = STREAMS.map(|stream| (stream.to_owned(), link.shop.count(stream)));
            link.pull = Some(Pull { id: text(&answer.body, "pull"), expected: BTreeMap::from(expected) });
            return;
        }
        assert_eq!(answer.status, 409, "{words}");
        let is_patient = answer.text.contains("asked to wait") || answer.text.contains("under way");
        let is_open = link.state == State::Active && link.perhaps.is_none() && link.excuse.is_none();
        assert!(is_patient || !is_open, "an active connection is not pulled: {words}");
    }

    /// A revocation was answered: from here on nothing is fetched, and what is stored stays what it is.
    fn revoked(&mut self, index: usize) {
        let link = &mut self.links[index];
        if !link.state.is_ended() {
            link.become_state(State::Revoked);
        }
    }

    /// A tenant connects: with the shop's page, or without ever going there.
    pub async fn connect(&mut self) {
        let Some(shop) = self.shops.pop() else { return };
        let (tenant, connector) = self.somebody();
        let policy = self.gateway.ask("/v1/policy").await.body;
        let points = policy["acknowledgements"].as_array().expect("a list");
        let order = json!({
            "connector": connector,
            "tenant": tenant,
            "config": {"base_url": shop.base_url()},
            "consent": {
                "person": "Ada",
                "organisation": tenant,
                "policy_version": policy["version"],
                "purposes": ["fulfilment"],
                "acknowledged": points.iter().map(|point| &point["id"]).collect::<Vec<_>>(),
            },
        });
        let made = self.gateway.customer(tenant, Method::POST, "/v1/connections", Some(order)).await.expect("an answer");
        assert_eq!(made.status, 201, "{}", made.text);
        let id = text(&made.body, "connection");
        let shown = self.gateway.ask(&format!("/v1/connections/{id}")).await.body;
        // Slow enough that a pull is still under way when the next acts come.
        shop.slow_down(5 + self.dice.roll(40), self.dice.roll(100));
        let mut link = Link::new(id, tenant, connector, text(&shown, "consent"), shop);
        link.authorize_url = Some(text(&made.body, "authorize_url"));
        self.links.push(link);
        let index = self.links.len() - 1;
        self.tell(format!("connected {} through {connector}", self.name(index)));
        if self.dice.chance(90) {
            self.authorize(index).await;
        }
    }

    /// The customer goes through the shop's page.
    async fn authorize(&mut self, index: usize) {
        let decision = if self.dice.chance(93) { "approve" } else { "deny" };
        self.tell(format!("{} at the shop of {}", decision, self.name(index)));
        let link = &mut self.links[index];
        let Some(url) = link.authorize_url.take() else { return };
        // While it is authorized anew the shop is asked for tokens, and what is active loses its old ones.
        if !link.state.is_ended() {
            link.shop.mend();
            link.shop.slow_down(5 + self.dice.roll(40), self.dice.roll(100));
            link.quiet_since = None;
        }
        let status = link.shop.decide(&url, decision, self.gateway.address()).await;
        let is_open = status == Some(200) && decision == "approve";
        if link.state.is_ended() {
            assert!(!is_open, "a connection that has ended was authorized: {} {status:?}", link.id);
        } else if is_open {
            link.become_state(State::Active);
            link.excuse = None;
            link.is_troubled = true;
        } else {
            assert!(decision == "deny", "the callback of {} answered {status:?}", link.id);
            link.quiet_since = (link.state != State::Active).then(super::link::now);
        }
    }

    pub async fn reconnect(&mut self, index: usize) {
        self.tell(format!("reconnect {}", self.name(index)));
        if self.links[index].authorize_url.is_none() || self.dice.chance(50) {
            self.act(Act::Reconnect, index).await;
        }
        if self.dice.chance(85) {
            self.authorize(index).await;
        }
    }

    pub async fn pause_or_resume(&mut self, index: usize) {
        let act = if self.links[index].state == State::Paused { Act::Resume } else { Act::Pause };
        self.tell(format!("{act:?} {}", self.name(index)));
        self.act(act, index).await;
    }

    /// Pulls, and waits for the end or not.
    pub async fn pull(&mut self, index: usize) {
        let is_whole = self.dice.chance(50);
        self.tell(format!("pull {}, whole: {is_whole}", self.name(index)));
        if is_whole {
            self.settle_pull(index).await;
            if self.dice.chance(60) {
                self.links[index].shop.mend();
            }
        }
        self.act(Act::Pull, index).await;
        if is_whole {
            self.settle_pull(index).await;
            self.inspect(index).await;
        }
    }

    /// Waits for the end of the pull under way, and looks how it went.
    pub async fn settle_pull(&mut self, index: usize) {
        let Some(pull) = self.links[index].pull.take() else { return };
        let deadline = Instant::now() + PULL_WAIT;
        let runs = loop {
            let runs = self.gateway.items(&format!("/v1/runs?pull={}", pull.id)).await;
            if runs.iter().all(|run| run["state"] != "running") {
                break runs;
            }
            assert!(Instant::now() < deadline, "{} does not end: {runs:?}", pull.id);
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let is_complete = runs.iter().all(|run| run["state"] == "complete");
        self.look_at_state(index).await;
        let link = &mut self.links[index];
        if is_complete {
            link.is_troubled = link.shop.is_broken();
            if !link.has_drifted && link.state != State::Erased {
                let stored = Stored::of(&self.gateway, &link.id).await;
                for (stream, expected) in &pull.expected {
                    let count = stored.count(stream);
                    assert!(
                        count >= *expected,
                        "{}: {stream}: {count} records are stored after a complete pull, the shop had {expected}",
                        link.id
                    );
                }
            }
        } else {
            let is_stopped = link.state != State::Active;
            assert!(link.is_troubled || is_stopped || link.excuse.is_some(), "{}: a pull of a sound shop failed: {runs:?}", link.id);
        }
    }

    /// Revokes the connection, its tenant or its connector, often while a pull has just begun.
    pub async fn revoke(&mut self, index: usize) {
        let act = if self.dice.chance(12) { self.dice.one(&[Act::RevokeTenant, Act::RevokeConnector]) } else { Act::Revoke };
        if self.dice.chance(60) && self.links[index].state == State::Active {
            if self.dice.chance(50) {
                self.links[index].shop.expire_access_tokens();
            }
            self.act(Act::Pull, index).await;
            tokio::time::sleep(Duration::from_millis(self.dice.roll(400))).await;
        }
        self.tell(format!("{act:?} {}", self.name(index)));
        if self.dice.chance(20) {
            let path = format!("/v1/connections/{}/revoke?dry_run=true", self.links[index].id);
            let planned = self.gateway.operator(Method::POST, &path, Some(json!({}))).await.expect("an answer");
            assert_eq!(planned.status, 200, "{}", planned.text);
            self.look_at_state(index).await;
        }
        let first = self.act(act, index).await;
        if act == Act::Revoke && self.dice.chance(30) {
            let again = self.act(act, index).await;
            let receipt = |answer: Option<Answer>| answer.map(|answer| answer.body["revoked"][0]["receipt"].clone());
            assert_eq!(receipt(first), receipt(again), "the receipt of {} is another one the second time", self.links[index].id);
        }
        if self.dice.chance(40) && self.links[index].authorize_url.is_some() {
            self.authorize(index).await;
        }
    }

    /// Erases; waits for the end of the sweep or not.
    pub async fn erase(&mut self, index: usize) {
        if self.links[index].state == State::Erased {
            return;
        }
        self.tell(format!("erase {}", self.name(index)));
        if self.links[index].state != State::Revoked {
            // Without `revoke` it is refused, and nothing has happened.
            let order = json!({"scope": {"connection": self.links[index].id}, "reason": "the model"});
            let answer = self.gateway.operator(Method::POST, "/v1/erasures", Some(order)).await.expect("an answer");
            assert_eq!(answer.status, 409, "{}", answer.text);
        }
        if self.links[index].erasure.is_none() {
            self.act(Act::RequestErasure, index).await;
        }
        if self.dice.chance(40) {
            self.settle_pull(index).await;
            self.inspect(index).await;
        }
        if self.dice.chance(80) {
            self.act(Act::Approve, index).await;
            self.assert_gone(index).await;
            if self.dice.chance(60) {
                self.wait_for_certificate(index).await;
            }
        }
    }

    /// Waits until an erasure is complete.
    pub async fn wait_for_certificate(&mut self, index: usize) {
        let Some(erasure) = self.links[index].erasure.clone() else { return };
        let deadline = Instant::now() + SWEEP_WAIT;
        loop {
            let found = self.gateway.ask(&format!("/v1/erasures/{erasure}")).await;
            assert_eq!(found.status, 200, "{}", found.text);
            if found.body["state"] == "complete" {
                return;
            }
            assert!(Instant::now() < deadline, "{erasure} does not end: {}", found.text);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
