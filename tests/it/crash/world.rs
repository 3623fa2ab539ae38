//! A data directory, the lives in it, and the kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headgate::sandbox;
use headgate::sandbox::Sandbox;
use tokio::time::Instant;

use crate::crash::act::ACTS;
use crate::crash::act::Act;
use crate::crash::act::Killed;
use crate::crash::act::Life;
use crate::crash::act::operate;
use crate::crash::check;
use crate::support::dice::Dice;
use crate::support::installation::CLIENT_ID;
use crate::support::installation::Installation;
use crate::support::installation::Server;

/// Records in a shop: some pages for each stream.
const RECORDS: u64 = 60;
/// The first guess of how long an act takes.
const USUAL_FIRST: Duration = Duration::from_millis(100);
/// How much longer an act is taken to last each time that the kill came first, and the most.
const GROWTH: f64 = 1.25;
const USUAL_MAX: Duration = Duration::from_secs(1);
/// Of so many kills, one is followed by a look at the whole: the log, and a pull to its end.
const LOOK_EVERY: u64 = 20;

pub struct World {
    name: u64,
    dice: Dice,
    installation: Installation,
    lives: Vec<Arc<Life>>,
    /// The life whose connection comes next: its shop is in the configuration already.
    next: Arc<Life>,
    usual: BTreeMap<Act, Duration>,
    /// The signed head of the log, as it was told last.
    checkpoint: Option<String>,
    master: String,
}

impl World {
    pub async fn begin(name: u64, seed: u64) -> Self {
        let next = Arc::new(new_life(0).await);
        let memory = Some(Path::new("/dev/shm")).filter(|path| path.is_dir()).map_or_else(std::env::temp_dir, Path::to_owned);
        let mut installation = Installation::within(&memory, &next.sandbox.address().to_string());
        installation.log_filter = "warn";
        World {
            name,
            dice: Dice::of(seed),
            installation,
            lives: Vec::new(),
            next,
            usual: BTreeMap::new(),
            checkpoint: None,
            master: String::new(),
        }
    }

    /// Acts and is killed, so many times; then everything is looked at.
    pub async fn live_and_die(mut self, kills: u64) {
        let mut server = self.start().await;
        self.master = fs::read_to_string(self.master_file()).unwrap();
        for kill in 0..kills {
            let (act, life) = self.choose().await;
            let (outcome, delay) = self.act_and_kill(act, &life, server).await;
            println!("world {}, kill {kill}: {delay:?} into {act:?} of {}; {outcome:?}", self.name, life.tenant);
            server = self.start().await;
            self.one_master_key(act, &outcome);
            let client = server.client();
            check::holds(&self.installation, &client, &life).await;
            if kill % LOOK_EVERY == LOOK_EVERY - 1 {
                check::log_is_whole(&self.installation, self.checkpoint.as_deref());
                self.checkpoint = client.get("/v1/audit/checkpoint").await.unwrap().as_str().map(str::to_owned);
                if life.suits(Act::Pull) {
                    check::pulls_exactly(&client, &life).await;
                }
            }
        }
        let client = server.client();
        for life in &self.lives {
            check::nothing_was_asked_for_after(&client, life).await;
            if life.suits(Act::Pull) {
                check::pulls_exactly(&client, life).await;
            }
        }
        check::log_is_whole(&self.installation, self.checkpoint.as_deref());
        assert_eq!(server.stop(), 0);
    }

    /// Starts a server that reaches every shop, and tells each shop where its customers come back to.
    async fn start(&self) -> Server {
        let lives = || self.lives.iter().chain([&self.next]);
        self.installation.configure(&lives().map(|life| life.sandbox.address().to_string()).collect::<Vec<_>>());
        let server = self.installation.serve(None).await;
        for life in lives() {
            let redirect_uris = vec![format!("{}/oauth/callback", server.address)];
            let secret = Some(self.installation.client_secret.clone());
            life.sandbox.register(sandbox::Client { id: CLIENT_ID.into(), secret, redirect_uris });
        }
        server
    }

    /// An act, and a life that it suits; where there is none, another life begins.
    async fn choose(&mut self) -> (Act, Arc<Life>) {
        let mut roll = self.dice.roll(ACTS.iter().map(|(_, weight)| weight).sum());
        let chosen = ACTS.iter().find(|(_, weight)| {
            let here = roll < *weight;
            roll = roll.saturating_sub(*weight);
            here
        });
        let act = chosen.map_or(Act::Connect, |(act, _)| *act);
        let suitable: Vec<_> = self.lives.iter().filter(|life| life.suits(act)).cloned().collect();
        let which = self.dice.roll(suitable.len() as u64) as usize;
        match (act, suitable.get(which), self.lives.last()) {
            (Act::Rotate | Act::Compact, _, Some(last)) => (act, last.clone()),
            (_, Some(life), _) => (act, life.clone()),
            _ => {
                let fresh = Arc::new(new_life(self.lives.len() + 1).await);
                self.lives.push(std::mem::replace(&mut self.next, fresh));
                (Act::Connect, self.lives[self.lives.len() - 1].clone())
            }
        }
    }

    /// Kills the server at a random moment of the act, or a little after its end.
    async fn act_and_kill(&mut self, act: Act, life: &Arc<Life>, server: Server) -> (Result<Duration, Killed>, Duration) {
        let usual = self.usual.get(&act).copied().unwrap_or(USUAL_FIRST);
        let delay = Duration::from_micros(self.dice.roll(usual.as_micros() as u64 * 5 / 4));
        let (client, life, data) = (server.client(), life.clone(), self.installation.data());
        let living = tokio::spawn(async move {
            let began = Instant::now();
            match act {
                Act::Rotate => operate(&data, "/admin/keyring/rotate").await?,
                Act::Compact => operate(&data, "/admin/store/compact").await?,
                _ => life.carry_out(act, &client).await?,
            }
            Ok(began.elapsed())
        });
        tokio::time::sleep(delay).await;
        server.kill();
        let outcome: Result<Duration, Killed> = living.await.unwrap();
        // One that did not end is given more, so that its end is seen now and then, however busy the machine is.
        self.usual.insert(act, outcome.as_ref().map_or(usual.mul_f64(GROWTH).min(USUAL_MAX), |took| *took));
        (outcome, delay)
    }

    /// Whoever started last has settled which of two key files opens the directory; an answered rotation made a new one.
    fn one_master_key(&mut self, act: Act, outcome: &Result<Duration, Killed>) {
        let master = fs::read_to_string(self.master_file()).unwrap();
        for left in ["data.master.key.new", "data.master.key.old", "data/keyring/next.part", "data/keyring/next", "data/keyring/old"] {
            assert!(!self.installation.beside(left).exists(), "{left} is left after {act:?}");
        }
        let (rotated, changed) = (act == Act::Rotate && outcome.is_ok(), master != self.master);
        assert!(changed || !rotated, "an answered rotation is undone");
        assert!(!changed || act == Act::Rotate, "another master key after {act:?}");
        self.master = master;
    }

    fn master_file(&self) -> std::path::PathBuf {
        self.installation.beside("data.master.key")
    }
}

async fn new_life(number: usize) -> Life {
    let sandbox = Sandbox::start(sandbox::Options { records: RECORDS, ..Default::default() }).await.unwrap();
    Life::new(format!("tenant-{number}"), sandbox)
}
