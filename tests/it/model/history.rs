//! One history: its acts, and what is looked at after each.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::act::Act;
use super::door::CONNECTORS;
use super::door::Gateway;
use super::door::TENANTS;
use super::link::Link;
use super::link::State;
use super::shop::Shop;
use crate::support::dice::Dice;

/// Connections of a history.
const LINKS_MAX: usize = 8;
/// Those that a history begins with.
const LINKS_AT_FIRST: usize = 3;

/// The gateway, the shops, and what must be so.
pub struct History {
    pub seed: u64,
    pub dice: Dice,
    pub gateway: Gateway,
    pub links: Vec<Link>,
    /// Shops that are not connected yet.
    pub shops: Vec<Shop>,
    /// A head of the audit log from before.
    pub checkpoint: String,
    pub tags: jsonschema::Validator,
    told: Vec<String>,
    begun: Instant,
}

impl History {
    /// Opens the shops and starts the gateway.
    pub async fn begin(seed: u64) -> Self {
        let mut shops = Vec::new();
        for number in 0..LINKS_MAX as u64 {
            shops.push(Shop::open(seed.wrapping_mul(100) + number).await);
        }
        let egress: Vec<String> = shops.iter().map(Shop::address).collect();
        let gateway = Gateway::create(&egress).await;
        let checkpoint = gateway.ask("/v1/audit/checkpoint").await.text;
        let schema = serde_json::from_str(include_str!("../../../schemas/tag.schema.json")).expect("JSON");
        let tags = jsonschema::validator_for(&schema).expect("a schema");
        History { seed, dice: Dice::of(seed), gateway, links: Vec::new(), shops, checkpoint, tags, told: Vec::new(), begun: Instant::now() }
    }

    /// Plays that many acts, and looks at everything at the end.
    pub async fn play(mut self, acts: u32) {
        for _ in 0..LINKS_AT_FIRST {
            self.connect().await;
        }
        for _ in 0..acts {
            self.step().await;
            self.watch().await;
        }
        self.tell("the end".into());
        for index in 0..self.links.len() {
            self.settle_pull(index).await;
            self.inspect(index).await;
        }
        self.stop().await;
        self.gateway.stop().await;
        self.gateway.verify_audit(&self.checkpoint).await;
        self.tell("all is well".into());
        if std::env::var_os("HEADGATE_MODEL_TRACE").is_some() {
            println!("--- seed {}", self.seed);
            self.told.iter().for_each(|act| println!("    {act}"));
        }
    }

    /// One act, by chance.
    async fn step(&mut self) {
        let index = self.some_link();
        match self.dice.roll(100) {
            0..8 => self.connect().await,
            8..36 => self.pull(index).await,
            36..48 => self.disturb(index).await,
            48..56 => self.revoke(index).await,
            56..63 => self.reconnect(index).await,
            63..69 => self.pause_or_resume(index).await,
            69..74 => self.erase(index).await,
            74..84 => self.crash(index).await,
            84..90 => self.hang_up(index).await,
            90..92 => self.stop().await,
            _ => self.advance(index),
        }
    }

    /// A connection, mostly one that has not ended.
    fn some_link(&mut self) -> usize {
        let all: Vec<usize> = (0..self.links.len()).collect();
        let alive: Vec<usize> = all.iter().copied().filter(|index| !self.links[*index].state.is_ended()).collect();
        let from = if alive.is_empty() || self.dice.chance(20) { all } else { alive };
        self.dice.one(&from)
    }

    /// Notes what is done, for whoever reads a failure.
    pub fn tell(&mut self, what: String) {
        self.told.push(format!("{:>8.3} s  {what}", self.begun.elapsed().as_secs_f64()));
    }

    /// The short name of a connection in what is told.
    pub fn name(&self, index: usize) -> String {
        let link = &self.links[index];
        format!("#{index} {} {} {:?}", link.id, link.tenant, link.state)
    }

    fn advance(&mut self, index: usize) {
        self.tell(format!("the shop of {} changes", self.name(index)));
        let link = &mut self.links[index];
        link.has_drifted |= link.pull.is_some();
        for _ in 0..2 {
            link.shop.advance();
        }
    }

    /// Does something to a shop or its tokens.
    async fn disturb(&mut self, index: usize) {
        let name = self.name(index);
        match self.dice.roll(10) {
            0..4 => {
                self.tell(format!("access tokens of {name} end"));
                self.links[index].shop.expire_access_tokens();
            }
            4..7 => {
                let link = &mut self.links[index];
                let lost = link.shop.break_down(&mut self.dice);
                link.is_troubled = true;
                if lost {
                    link.excuse = Some("answers of the token endpoint were lost");
                }
                self.tell(format!("the shop of {name} breaks; tokens lost: {lost}"));
            }
            7..9 => {
                let (data, token) = (self.dice.roll(80), self.dice.roll(300));
                self.tell(format!("the shop of {name} is slow: {data} ms, {token} ms for tokens"));
                self.links[index].shop.slow_down(data, token);
            }
            _ => {
                self.tell(format!("the customer of {name} ends the grant at the shop"));
                let link = &mut self.links[index];
                link.shop.end_grants();
                link.excuse = Some("its grant was ended");
                link.is_troubled = true;
            }
        }
    }

    /// Stops the gateway as an operator does, and starts it again.
    pub async fn stop(&mut self) {
        self.tell("the gateway is stopped and started".into());
        self.cut_off();
        self.gateway.stop().await;
        self.gateway.start().await;
        self.recover().await;
    }

    /// Kills the gateway, mostly in the middle of an act, and starts it again.
    async fn crash(&mut self, index: usize) {
        let act = self.any_act(index);
        // A pull takes longer than the other acts, and each is to be met in its middle.
        let wait = Duration::from_micros(self.dice.roll(if act == Act::Pull { 60_000 } else { 15_000 }));
        self.tell(format!("killed {wait:?} into: {act:?} of {}", self.name(index)));
        let order = self.order(act, index);
        let asked = order.map(|order| self.gateway.begin(order));
        tokio::time::sleep(wait).await;
        self.cut_off();
        self.gateway.kill().await;
        if let Some(asked) = asked {
            let answer = asked.await.expect("a request");
            self.note(act, index, answer).await;
        }
        self.gateway.start().await;
        self.recover().await;
        if self.dice.chance(40) {
            self.pull(index).await;
        }
    }

    /// A caller goes away in the middle of an act. The gateway stays, and what it makes of the act is whole or nothing.
    async fn hang_up(&mut self, index: usize) {
        let act = self.any_act(index);
        let wait = Duration::from_micros(self.dice.roll(20_000));
        self.tell(format!("hung up {wait:?} into: {act:?} of {}", self.name(index)));
        let Some(order) = self.order(act, index) else { return };
        let mut asked = self.gateway.begin(order);
        self.cut_off();
        let answer = match tokio::time::timeout(wait, &mut asked).await {
            Ok(answer) => answer.expect("a request"),
            Err(_) => {
                asked.abort();
                asked.await.ok().flatten()
            }
        };
        let is_answered = answer.is_some();
        self.note(act, index, answer).await;
        if !is_answered {
            // What goes on without its caller has this long to come to an end.
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.look_again().await;
        }
        if self.dice.chance(60) {
            self.pull(index).await;
        }
    }

    fn any_act(&mut self, index: usize) -> Act {
        match self.links[index].state {
            State::Paused => self.dice.one(&[Act::Resume, Act::Revoke, Act::Reconnect, Act::Nothing]),
            State::Revoked => self.dice.one(&[Act::RequestErasure, Act::Approve, Act::Approve, Act::Revoke]),
            State::Erased => Act::Nothing,
            _ if self.dice.chance(7) => self.dice.one(&[Act::RevokeTenant, Act::RevokeConnector]),
            _ => self.dice.one(&[
                Act::Pull,
                Act::Pull,
                Act::Pull,
                Act::Revoke,
                Act::Pause,
                Act::Pause,
                Act::RequestErasure,
                Act::Reconnect,
                Act::Nothing,
                Act::Nothing,
            ]),
        }
    }

    fn cut_off(&mut self) {
        self.links.iter_mut().for_each(Link::is_cut_off);
    }

    /// A tenant and a connector by chance.
    pub fn somebody(&mut self) -> (&'static str, &'static str) {
        (self.dice.one(&TENANTS), self.dice.one(&CONNECTORS))
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("--- HEADGATE_MODEL_SEED={} HEADGATE_MODEL_HISTORIES=1, broken by:", self.seed);
            self.told.iter().for_each(|act| println!("    {act}"));
            println!("--- the gateway's last words:\n{}\n---", self.gateway.last_words());
        }
    }
}
