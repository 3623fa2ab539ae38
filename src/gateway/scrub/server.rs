//! A scrub beside a server's work: on a thread of its own, at a gentle pace, given up when it hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Ground;
use super::Limits;
use super::Listener;
use super::Pace;
use super::Place;
use super::Problem;
use super::Report;
use super::scrub;
use crate::store::watch::unwatched;

/// How often a scrub under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the end of a gateway waits for a scrub to take notice.
const END_WAIT_MAX: Duration = Duration::from_secs(5);

/// Where a server's scrub stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Status {
    /// There was none since the start.
    Never,
    /// It is under way.
    Running(Place),
    /// It has ended.
    Done {
        /// What it came to.
        report: Report,
    },
}

/// The scrubs of a server: one at a time.
#[derive(Clone)]
pub struct Scrubs {
    ground: Ground,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Counts scrubs: one that was given up, and moves again, has nothing to say any more.
    number: u64,
    running: Option<Running>,
    last: Option<Report>,
    closing: bool,
    thread: Option<JoinHandle<()>>,
}

struct Running {
    limits: Limits,
    place: Place,
    checked: BTreeMap<String, u64>,
    problems: Vec<Problem>,
    began: Instant,
    moved: Instant,
}

struct Ear {
    shared: Arc<Mutex<Shared>>,
    number: u64,
}

impl Scrubs {
    /// Over a gateway's parts.
    pub fn new(ground: Ground) -> Self {
        Scrubs { ground, shared: Arc::default() }
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        let shared = self.shared();
        match (&shared.running, &shared.last) {
            (Some(running), _) => Status::Running(running.place.clone()),
            (None, Some(report)) => Status::Done { report: report.clone() },
            (None, None) => Status::Never,
        }
    }

    /// Begins one, unless one is under way. `limit` takes the place of the limit by size.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(&self, limit: Option<Duration>) -> std::io::Result<Status> {
        let mut shared = self.shared();
        if shared.running.is_none() && !shared.closing {
            shared.number += 1;
            let now = Instant::now();
            let place = Place { step: "files".into(), done: 0 };
            let (checked, problems) = (BTreeMap::new(), Vec::new());
            let limits = Limits::of(self.ground.store.directory(), limit);
            let (ground, ear) = (self.ground.clone(), Ear { shared: self.shared.clone(), number: shared.number });
            shared.thread = Some(thread::Builder::new().name("headgate-scrub".into()).spawn(move || run(&ground, ear))?);
            shared.running = Some(Running { limits, place, checked, problems, began: now, moved: now });
            tokio::spawn(supervise(self.shared.clone(), shared.number));
        }
        drop(shared);
        Ok(self.status())
    }

    /// Halts the one under way, and waits for it unless it hangs.
    pub async fn close(&self) {
        let thread = {
            let mut shared = self.shared();
            shared.closing = true;
            shared.thread.take()
        };
        let deadline = Instant::now() + END_WAIT_MAX;
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY / 10).await;
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Listener for Ear {
    fn at(&mut self, place: &Place, checked: &BTreeMap<String, u64>) {
        let mut shared = lock(&self.shared);
        if let Some(running) = shared.of(self.number) {
            (running.place, running.checked, running.moved) = (place.clone(), checked.clone(), Instant::now());
        }
    }

    fn found(&mut self, problem: &Problem) {
        tracing::error!(problem.code = problem.code, problem.advice = problem.advice, "store check: {}", problem.what);
        if let Some(running) = lock(&self.shared).of(self.number) {
            running.problems.push(problem.clone());
        }
    }

    fn goes_on(&mut self) -> bool {
        let mut shared = lock(&self.shared);
        !shared.closing && shared.of(self.number).is_some()
    }
}

impl Shared {
    /// The scrub of this number, while it is under way.
    fn of(&mut self, number: u64) -> Option<&mut Running> {
        self.running.as_mut().filter(|_| self.number == number)
    }

    fn conclude(&mut self, number: u64, report: Report) {
        if self.of(number).is_some() {
            self.running = None;
            self.last = Some(report);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(ground: &Ground, mut ear: Ear) {
    // The watchdog leaves it alone: its own limit makes a hang a finding, and the server goes on.
    let report = unwatched(|| scrub(ground, Pace::Gentle, &mut ear));
    tracing::info!(check.ok = report.ok, check.problems = report.problems.len(), check.seconds = report.seconds, "the store was checked");
    lock(&ear.shared).conclude(ear.number, report);
}

/// Gives a scrub up that does not move or takes too long. Its thread stays behind: nothing ends a thread.
async fn supervise(shared: Arc<Mutex<Shared>>, number: u64) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut shared = lock(&shared);
        let ended = shared.thread.as_ref().is_some_and(JoinHandle::is_finished);
        let Some(running) = shared.of(number) else { return };
        let (whole, still) = (running.began.elapsed(), running.moved.elapsed());
        let problem = if ended {
            running.limits.broken(&running.place, "its thread has panicked")
        } else if whole >= running.limits.whole || still >= running.limits.step {
            running.limits.passed(whole >= running.limits.whole, &running.place)
        } else {
            continue;
        };
        tracing::error!(problem.code = problem.code, problem.advice = problem.advice, "store check: {}", problem.what);
        let mut problems = std::mem::take(&mut running.problems);
        problems.push(problem);
        let report = Report { ok: false, problems, checked: running.checked.clone(), seconds: whole.as_secs_f64() };
        shared.conclude(number, report);
    }
}
