//! What must be so of one connection.

use std::collections::BTreeMap;

use headgate::clock::Clock;
use headgate::clock::Timestamp;
use serde_json::Value;

use super::shop::Shop;
use super::stored::Stored;

/// The states of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Pending,
    Active,
    Paused,
    NeedsReauthorization,
    Revoked,
    Erased,
}

impl State {
    pub fn named(name: &str) -> Self {
        match name {
            "pending" => State::Pending,
            "active" => State::Active,
            "paused" => State::Paused,
            "needs_reauthorization" => State::NeedsReauthorization,
            "revoked" => State::Revoked,
            "erased" => State::Erased,
            other => panic!("`{other}` is no state"),
        }
    }

    /// Final, whatever comes.
    pub fn is_ended(self) -> bool {
        matches!(self, State::Revoked | State::Erased)
    }
}

/// A pull that was answered with 202.
#[derive(Debug, Clone)]
pub struct Pull {
    pub id: String,
    /// What the application had when it began.
    pub expected: BTreeMap<String, u64>,
}

/// One connection: what the gateway has said of it, and what follows.
pub struct Link {
    pub id: String,
    pub tenant: &'static str,
    pub connector: &'static str,
    pub consent: String,
    pub shop: Shop,
    /// The state that was last answered.
    pub state: State,
    /// What an act that got no answer may have made of it.
    pub perhaps: Option<State>,
    /// Why it may need its customer: something that was done to it, not by the gateway's fault.
    pub excuse: Option<&'static str>,
    /// Whether its shop was broken since its last complete pull, so that a pull may fail.
    pub is_troubled: bool,
    /// Since when nothing may be asked of its shop.
    pub quiet_since: Option<Timestamp>,
    /// Where its customer can still authorize it.
    pub authorize_url: Option<String>,
    pub pull: Option<Pull>,
    /// Its shop changed during a pull: pages shift then, and a record may be missed until it changes again.
    pub has_drifted: bool,
    /// The newest answer about each run.
    pub runs: BTreeMap<String, Value>,
    /// What was stored when it was revoked: from then on exactly that.
    pub held: Option<Stored>,
    pub erasure: Option<String>,
}

impl Link {
    pub fn new(id: String, tenant: &'static str, connector: &'static str, consent: String, shop: Shop) -> Self {
        Link {
            id,
            tenant,
            connector,
            consent,
            shop,
            state: State::Pending,
            perhaps: None,
            excuse: None,
            is_troubled: false,
            quiet_since: Some(now()),
            authorize_url: None,
            pull: None,
            has_drifted: false,
            runs: BTreeMap::new(),
            held: None,
            erasure: None,
        }
    }

    /// Notes a state that was answered.
    pub fn become_state(&mut self, state: State) {
        if state != self.state {
            self.quiet_since = (state != State::Active).then(now);
        }
        (self.state, self.perhaps) = (state, None);
    }

    /// Notes that the gateway is cut off in what it does: a renewal whose answer is lost by that may cost the grant.
    pub fn is_cut_off(&mut self) {
        let recent = now().as_millisecond() - 3_000;
        let tokens = self.shop.token_requests();
        if tokens.last().is_some_and(|request| request.status.is_none() || request.at.as_millisecond() > recent) {
            self.excuse = Some("a renewal was cut off");
        }
        self.is_troubled = true;
    }

    /// Whether the gateway may say that it is in this state.
    pub fn may_be(&self, state: State) -> bool {
        let is_excused = self.excuse.is_some() && state == State::NeedsReauthorization;
        let was_open = self.state == State::Active || self.perhaps == Some(State::Active);
        state == self.state || Some(state) == self.perhaps || (is_excused && was_open)
    }
}

/// The time, in the clock that the shops have too.
pub fn now() -> Timestamp {
    Clock::System.now()
}
