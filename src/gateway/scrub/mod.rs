//! The scrub: everything that is kept is read again and held against our own digests.
//!
//! Bits rot below any engine, and sled 0.34 answers a rotten page with a hang more often than with an error (SLED.md). So a
//! scrub says at every step how far it is, and runs where it can be given up: in a child process when nobody serves
//! ([`child`]), on a thread of its own in a server ([`Scrubs`]). It changes nothing; it pages through ranges and holds a page
//! at a time. What is found is a [`Problem`] with a stable code, what exactly it is, and what to do.

pub mod child;
mod connections;
mod files;
mod limit;
mod pages;
mod rows;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use crate::audit::Log;
use crate::clock::Clock;
use crate::connection::Connections;
use crate::connection::gate::Gates;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::intake::Intake;
use crate::lineage::Reader;
use crate::store::Row;
use crate::store::SetAside;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::check;
use crate::telemetry::chain;
use crate::vault::Vault;

pub use self::limit::Limits;
pub use self::server::Scrubs;
pub use self::server::Status;

/// Rows read in one step.
const ROWS_AT_ONCE: usize = 500;
/// Pages read in one step: their rows are larger.
const PAGES_AT_ONCE: usize = 64;
/// Problems that are listed; further ones are counted.
const PROBLEMS_MAX: usize = 1000;
/// How often the place is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

const RESTORE: &str = "bring a backup back with `headgate store restore`";
const RESTORE_FILE: &str = "put this file back from a backup, or bring the whole backup back with `headgate store restore`";
const REPORT: &str = "look for others; if this is the only one, report it: it may be a mistake of headgate's";

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind: stable, `part.what`.
    pub code: String,
    /// What it is, and where.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What a scrub came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether nothing was found.
    pub ok: bool,
    /// What was found.
    pub problems: Vec<Problem>,
    /// How much was looked at, by what it is.
    pub checked: BTreeMap<String, u64>,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// The problems that speak against the engine's rows: they may be missing, or others than were written.
    pub fn of_the_engine(&self) -> impl Iterator<Item = &Problem> {
        let parts = ["engine.", "row.", "audit.", "record.", "page.", "key.", "stream."];
        self.problems.iter().filter(move |problem| parts.iter().any(|part| problem.code.starts_with(part)))
    }
}

/// Where a scrub is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What is being read.
    pub step: String,
    /// How many of it were read.
    pub done: u64,
}

/// Who hears of a scrub's progress.
pub trait Listener {
    /// It is here, and has checked so much. Told before each step, and every quarter of a second within.
    fn at(&mut self, place: &Place, checked: &BTreeMap<String, u64>);
    /// It has found something.
    fn found(&mut self, problem: &Problem);
    /// Whether it should go on.
    fn goes_on(&mut self) -> bool;
}

/// A listener that hears nothing.
pub struct Nobody;

impl Listener for Nobody {
    fn at(&mut self, _: &Place, _: &BTreeMap<String, u64>) {}

    fn found(&mut self, _: &Problem) {}

    fn goes_on(&mut self) -> bool {
        true
    }
}

/// How hard a scrub works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can: nobody else is there.
    Full,
    /// It rests as long as it has worked: at most half of one core, and half of the disk.
    Gentle,
}

/// Why a scrub does not go on: it was told to stop.
struct Halted;

/// What a scrub reads.
#[derive(Clone)]
pub struct Ground {
    store: Store,
    vault: Arc<Vault>,
    log: Log,
    connections: Connections,
    reader: Reader,
    intake: Intake,
}

impl Ground {
    /// Over a store and its keys.
    pub fn new(store: Store, vault: Arc<Vault>, clock: Clock, entropy: Entropy) -> Self {
        Ground {
            log: Log::new(store.clone(), vault.clone()),
            connections: Connections::new(store.clone(), vault.clone(), Gates::new(store.clone()), clock, entropy),
            reader: Reader::new(store.clone(), vault.clone()),
            intake: Intake::new(store.clone(), vault.clone()),
            store,
            vault,
        }
    }
}

/// A scrub under way.
struct Scrub<'a> {
    ground: &'a Ground,
    pace: Pace,
    listener: &'a mut dyn Listener,
    problems: Vec<Problem>,
    checked: BTreeMap<String, u64>,
    place: Place,
    told_at: Instant,
    worked_since: Instant,
}

/// Reads everything. When the listener halts it, the report is of what was read by then, and says so.
pub fn scrub(ground: &Ground, pace: Pace, listener: &mut dyn Listener) -> Report {
    let began = Instant::now();
    let place = Place { step: String::new(), done: 0 };
    let mut scrub =
        Scrub { ground, pace, listener, problems: Vec::new(), checked: BTreeMap::new(), place, told_at: began, worked_since: began };
    if scrub.everything().is_err() {
        let what = format!("it was halted while it read {}", scrub.place.step);
        scrub.problem("check.halted", what, "run it again");
    }
    let Scrub { problems, checked, .. } = scrub;
    Report { ok: problems.is_empty(), problems, checked, seconds: (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0 }
}

impl Scrub<'_> {
    /// Files and sealed blocks first: what an engine that hangs would keep from being found.
    fn everything(&mut self) -> Result<(), Halted> {
        self.files()?;
        self.stops()?;
        self.each_connection(Self::segments_of)?;
        self.rows()?;
        self.audit_log()?;
        self.each_connection(Self::connection)?;
        self.keyring()
    }

    /// Begins a step.
    fn begin(&mut self, step: impl Into<String>) {
        self.place = Place { step: step.into(), done: 0 };
        self.tell();
    }

    fn tell(&mut self) {
        self.listener.at(&self.place, &self.checked);
        self.told_at = Instant::now();
    }

    /// Goes on by so many: counts them, tells the place now and then, rests when the pace is gentle.
    fn advance(&mut self, counted: &str, by: u64) -> Result<(), Halted> {
        self.place.done += by;
        match self.checked.get_mut(counted) {
            Some(count) => *count += by,
            None => drop(self.checked.insert(counted.to_owned(), by)),
        }
        if self.told_at.elapsed() >= TELL_EVERY {
            self.tell();
        }
        if self.pace == Pace::Gentle {
            std::thread::sleep(self.worked_since.elapsed().min(TELL_EVERY));
            self.worked_since = Instant::now();
        }
        if self.listener.goes_on() { Ok(()) } else { Err(Halted) }
    }

    fn problem(&mut self, code: &str, what: String, advice: &str) {
        let problem = Problem { code: code.into(), what, advice: advice.into() };
        if self.problems.len() < PROBLEMS_MAX {
            self.listener.found(&problem);
            self.problems.push(problem);
        } else {
            *self.checked.entry("problems not listed".into()).or_default() += 1;
        }
    }

    /// A read of the engine that failed.
    fn engine_failed(&mut self, reading: &str, error: &StoreError) {
        self.problem("engine.unreadable", format!("{reading} cannot be read: {}", chain(error)), RESTORE);
    }

    /// The rows of a kind that begin with a prefix, some behind `after`, which moves on; no more when it is empty. Rows that do not
    /// read back are passed over: the walk over all tables names them.
    fn some<R: Row>(&mut self, prefix: &[u8], after: &mut Option<Vec<u8>>, limit: usize) -> Vec<(R::Key, R)> {
        loop {
            let raw = match self.ground.store.raw_rows(R::TABLE, prefix, after.as_deref(), limit) {
                Ok(raw) => raw,
                Err(error) => {
                    self.engine_failed(R::TABLE.name(), &error);
                    return Vec::new();
                }
            };
            let Some((last, _)) = raw.last() else { return Vec::new() };
            *after = Some(last.clone());
            let rows: Vec<_> = raw.iter().filter_map(|raw| check::read::<R>(raw).ok()).collect();
            if !rows.is_empty() {
                return rows;
            }
        }
    }

    /// Does something for each connection.
    fn each_connection(&mut self, what: fn(&mut Self, ConnectionKey) -> Result<(), Halted>) -> Result<(), Halted> {
        let mut after = None;
        loop {
            let connections = self.some::<crate::connection::Connection>(&[], &mut after, ROWS_AT_ONCE);
            if connections.is_empty() {
                return Ok(());
            }
            for (owner, _) in connections {
                what(self, owner)?;
            }
        }
    }
}

/// Tells, once each, of the damaged snapshots that the store was opened without, now that a scrub has read everything; and writes
/// down that it is verified, unless something speaks against the engine's rows. Whether nothing does.
pub fn settle_snapshots(ground: &Ground, report: &Report, clock: &Clock) -> bool {
    let against = report.of_the_engine().count();
    let aside = ground.store.set_aside().unwrap_or_default();
    let unsettled: Vec<_> = aside.into_iter().filter(|aside| !aside.verified).collect();
    for SetAside { folder, cause, .. } in &unsettled {
        let (rows, versions) = (report.checked.get("rows"), report.checked.get("versions"));
        if against == 0 {
            tracing::warn!(
                snapshot.cause = cause,
                snapshot.set_aside = %folder.display(),
                check.rows = rows,
                check.versions = versions,
                check.seconds = report.seconds,
                "the store's snapshot was damaged; it is set aside, the store was opened from its log, and everything in it is verified"
            );
        } else {
            tracing::error!(
                snapshot.cause = cause,
                snapshot.set_aside = %folder.display(),
                check.problems = against,
                "the store's snapshot was damaged, and without it the store does not verify; see `headgate store check`, and bring a \
                 backup back with `headgate store restore`"
            );
        }
    }
    if against == 0
        && !unsettled.is_empty()
        && let Err(error) = ground.store.note_verified(clock.now())
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "that the store is verified is not written down; the next start verifies again"
        );
    }
    against == 0
}
