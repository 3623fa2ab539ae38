//! How often an application may be asked: its declared budgets, and what its answers say.
//!
//! The ceiling is a governor limiter per rule, keyed by connection, tenant or application. Beside it stands a hold per
//! connection, fed by the headers of every answer. A wait that is longer than [`Options::wait_max`] is not spent in
//! process: it is answered as [`FetchError::NotBefore`], for the scheduler to keep.
//!
//! A limiter may not let more than `requests` through in *any* window of `seconds`, whereas a plain GCRA of that rate lets
//! nearly twice as many through in the window after a pause. So a tenth is the burst and the rest is spread evenly.

mod calls;
pub mod headers;

pub use calls::Call;
pub use calls::CallBudget;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::gate::Permit;
use crate::connector::treatment;
use crate::connector::treatment::BudgetScope;
use crate::digest::Digest;
use crate::ids::ConnectionKey;

use super::FetchError;
use super::wait::Cut;
use super::wait::PATIENCE_MAX;
use super::wait::Waits;
use super::wait::after;

/// At most `requests` in any `seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is counted for.
    pub per: BudgetScope,
    /// How many.
    pub requests: NonZeroU32,
    /// In which time.
    pub seconds: NonZeroU32,
}

/// The limits of waiting.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest wait for one request that is spent in process.
    pub wait_max: Duration,
    /// The longest wait that an application is believed.
    pub hold_max: Duration,
    /// How waits are spent.
    pub waits: Waits,
}

impl Default for Options {
    fn default() -> Self {
        Self { wait_max: Duration::from_secs(60), hold_max: PATIENCE_MAX, waits: Waits::Real }
    }
}

/// The budgets of all applications.
#[derive(Debug)]
pub struct Budgets {
    options: Options,
    clock: Clock,
    applications: Mutex<HashMap<String, Arc<Budget>>>,
}

/// The budget of one application: its limiters, and the holds on its connections.
#[derive(Debug)]
pub struct Budget {
    name: String,
    rules: Vec<Rule>,
    limiters: Vec<Limiter>,
    holds: Mutex<HashMap<ConnectionKey, Hold>>,
    calls: Mutex<HashMap<ConnectionKey, KeptCalls>>,
    options: Options,
    clock: Clock,
}

/// The call budget of a connection, and what it was made of.
#[derive(Debug)]
struct KeptCalls {
    made_of: Digest,
    budget: Arc<CallBudget>,
}

#[derive(Debug, Clone)]
struct Hold {
    until: Instant,
    /// The same moment by the clock: whichever comes first, so that a machine that slept does not wait on.
    at: Timestamp,
    reason: String,
}

#[derive(Debug)]
struct Limiter {
    per: BudgetScope,
    cells: RateLimiter<Subject, HashMapStateStore<Subject>, Ticks, NoOpMiddleware<Duration>>,
    /// Those who wait for the application's next cell stand in a line, so that nobody is overtaken for ever.
    line: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Subject {
    Connection(ConnectionKey),
    Tenant(u32),
    Application,
}

/// Tokio's clock as governor reads it, so that paused tests pass in no time.
#[derive(Debug, Clone)]
struct Ticks(Instant);

impl GovernorClock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Budgets {
    /// Without any application yet.
    pub fn new(options: Options, clock: Clock) -> Self {
        Self { options, clock, applications: Mutex::default() }
    }

    /// The budget of an application, shared by all who ask for it with the same rules; other rules begin anew.
    pub fn application(&self, name: &str, rules: &[Rule]) -> Arc<Budget> {
        let mut applications = locked(&self.applications);
        match applications.get(name) {
            Some(budget) if budget.rules == rules => Arc::clone(budget),
            _ => {
                let budget = Arc::new(Budget::new(name, rules, self.options.clone(), self.clock.clone()));
                applications.insert(name.to_owned(), Arc::clone(&budget));
                budget
            }
        }
    }

    /// Forgets whoever could be asked again by now: an idle connection costs nothing. For the scheduler, now and then.
    pub fn sweep(&self) {
        for budget in locked(&self.applications).values() {
            budget.sweep();
        }
    }
}

impl Budget {
    fn new(name: &str, rules: &[Rule], options: Options, clock: Clock) -> Self {
        let mut limiters = rules.iter().map(|rule| Limiter::new(*rule)).collect::<Vec<_>>();
        // The narrowest first: who waits for his own allowance has not taken anyone else's.
        limiters.sort_by_key(|limiter| match limiter.per {
            BudgetScope::Connection => 0,
            BudgetScope::Tenant => 1,
            BudgetScope::Application => 2,
        });
        Self { name: name.to_owned(), rules: rules.to_vec(), limiters, holds: Mutex::default(), calls: Mutex::default(), options, clock }
    }

    /// The call budget of a connection's manifest, shared by all who read it; what it is made of decides whether it begins anew.
    ///
    /// # Errors
    /// What `make` fails with.
    pub fn calls<E>(
        &self,
        key: ConnectionKey,
        made_of: Digest,
        make: impl FnOnce() -> Result<CallBudget, E>,
    ) -> Result<Arc<CallBudget>, E> {
        let mut calls = locked(&self.calls);
        if let Some(kept) = calls.get(&key).filter(|kept| kept.made_of == made_of) {
            return Ok(Arc::clone(&kept.budget));
        }
        let budget = Arc::new(make()?);
        calls.insert(key, KeptCalls { made_of, budget: Arc::clone(&budget) });
        Ok(budget)
    }

    /// Waits until a request has room in the manifest's call budget.
    ///
    /// # Errors
    /// As [`Budget::acquire`].
    pub async fn acquire_call(&self, calls: &CallBudget, call: &Call<'_>, permit: &Permit) -> Result<(), FetchError> {
        calls.acquire(call, permit, &self.options, &self.clock).await
    }

    /// Takes into the manifest's call budget what an answer says is left.
    pub fn observe_call(&self, calls: &CallBudget, call: &Call<'_>, status: u16, headers: &reqwest::header::HeaderMap) {
        calls.observe(call, status, headers, &self.clock);
    }

    /// Waits until one request may start.
    ///
    /// # Errors
    /// [`FetchError::NotBefore`] for a wait that is too long, [`FetchError::Closed`] when the gate closes meanwhile.
    pub async fn acquire(&self, permit: &Permit) -> Result<(), FetchError> {
        let deadline = Instant::now() + self.options.wait_max;
        for limiter in &self.limiters {
            self.pass_hold(permit, deadline).await?;
            self.pass_limiter(limiter, permit, deadline).await?;
        }
        self.pass_hold(permit, deadline).await
    }

    /// Reads an answer's headers; answers the wait they ask for.
    pub fn observe(&self, key: ConnectionKey, status: u16, headers: &reqwest::header::HeaderMap) -> Option<Duration> {
        let wait = headers::read(status, headers, self.clock.now())?;
        self.hold(key, wait.time, &format!("{} asks for it ({})", self.name, wait.header));
        Some(wait.time)
    }

    /// Lets no request of a connection start for some time: what a body says (`THROTTLED`), or what the scheduler kept.
    pub fn hold(&self, key: ConnectionKey, wait: Duration, reason: &str) {
        let wait = wait.min(self.options.hold_max);
        let (until, at) = (Instant::now() + wait, after(self.clock.now(), wait));
        let mut holds = locked(&self.holds);
        match holds.get_mut(&key) {
            Some(hold) if hold.until >= until => {}
            _ => drop(holds.insert(key, Hold { until, at, reason: reason.to_owned() })),
        }
    }

    async fn pass_hold(&self, permit: &Permit, deadline: Instant) -> Result<(), FetchError> {
        while let Some((hold, left)) = self.held(permit.owner()) {
            if self.options.waits == Waits::Skipped {
                locked(&self.holds).remove(&permit.owner());
            } else if hold.until > deadline {
                return Err(FetchError::NotBefore { until: hold.at, reason: hold.reason });
            }
            self.pause(left, permit).await?;
        }
        Ok(())
    }

    fn held(&self, key: ConnectionKey) -> Option<(Hold, Duration)> {
        let mut holds = locked(&self.holds);
        let hold = holds.get(&key)?.clone();
        let left = hold.until.saturating_duration_since(Instant::now());
        if left.is_zero() || hold.at <= self.clock.now() {
            holds.remove(&key);
            return None;
        }
        Some((hold, left))
    }

    async fn pass_limiter(&self, limiter: &Limiter, permit: &Permit, deadline: Instant) -> Result<(), FetchError> {
        let too_long = |wait| {
            let reason = format!("the budget of {} per {} is spent", self.name, limiter.per.as_str());
            FetchError::NotBefore { until: after(self.clock.now(), wait), reason }
        };
        let _turn = match limiter.per {
            BudgetScope::Application => tokio::select! {
                biased;
                () = permit.cancelled() => return Err(self.closed()),
                turn = tokio::time::timeout_at(deadline, limiter.line.lock()) => Some(turn.map_err(|_| too_long(self.options.wait_max))?),
            },
            BudgetScope::Connection | BudgetScope::Tenant => None,
        };
        let subject = Subject::of(limiter.per, permit.owner());
        while let Err(refusal) = limiter.cells.check_key(&subject) {
            let wait = refusal.wait_time_from(limiter.cells.clock().now());
            if self.options.waits == Waits::Skipped {
                return Ok(());
            }
            if Instant::now() + wait > deadline {
                return Err(too_long(wait));
            }
            self.pause(wait, permit).await?;
        }
        Ok(())
    }

    async fn pause(&self, time: Duration, permit: &Permit) -> Result<(), FetchError> {
        self.options.waits.pass(time, permit).await.map_err(|Cut| self.closed())
    }

    fn closed(&self) -> FetchError {
        FetchError::Closed { method: "a request to".into(), url: self.name.clone(), sent: false, source: None }
    }

    fn sweep(&self) {
        for limiter in &self.limiters {
            limiter.cells.retain_recent();
            limiter.cells.shrink_to_fit();
        }
        let mut holds = locked(&self.holds);
        let now = Instant::now();
        holds.retain(|_, hold| hold.until > now);
        holds.shrink_to_fit();
    }
}

impl Limiter {
    fn new(rule: Rule) -> Self {
        let burst = NonZeroU32::new(rule.requests.get().div_ceil(10)).unwrap_or(NonZeroU32::MIN);
        let spread = (rule.requests.get() - burst.get()).max(1);
        let period = (Duration::from_secs(rule.seconds.get().into()) / spread).max(Duration::from_nanos(1));
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst);
        Self { per: rule.per, cells: RateLimiter::hashmap_with_clock(quota, Ticks(Instant::now())), line: tokio::sync::Mutex::default() }
    }
}

impl From<&treatment::Budget> for Rule {
    fn from(budget: &treatment::Budget) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self { per: budget.per, requests: at_least_one(budget.requests), seconds: at_least_one(budget.seconds) }
    }
}

impl Subject {
    fn of(per: BudgetScope, key: ConnectionKey) -> Self {
        match per {
            BudgetScope::Connection => Subject::Connection(key),
            BudgetScope::Tenant => Subject::Tenant(key.tenant),
            BudgetScope::Application => Subject::Application,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::connection::test_gate::TestGates;

    const SLOW: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };
    const QUICK: ConnectionKey = ConnectionKey { tenant: 1, connection: 2 };

    fn rule(per: BudgetScope, requests: u32, seconds: u32) -> Rule {
        let number = |number| NonZeroU32::new(number).expect("not zero");
        Rule { per, requests: number(requests), seconds: number(seconds) }
    }

    fn budget(rules: &[Rule]) -> Arc<Budget> {
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time"));
        Budgets::new(Options::default(), clock).application("shop", rules)
    }

    static GATES: LazyLock<TestGates> = LazyLock::new(|| TestGates::open(&[SLOW, QUICK]));

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// In no window of `seconds` do more than `requests` start, and the budget is used to at least 80 %.
        #[test]
        fn no_window_holds_more_than_the_budget(requests in 1_u32..60, seconds in 1_u32..20, pause_ms in 0_u64..30_000) {
            paused().block_on(async {
                let budget = budget(&[rule(BudgetScope::Connection, requests, seconds)]);
                let permit = GATES.permit(SLOW);
                let mut starts = Vec::new();
                for number in 0..requests * 3 {
                    if number == requests {
                        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    }
                    budget.acquire(&permit).await.expect("a cell");
                    starts.push(Instant::now());
                }
                let window = Duration::from_secs(seconds.into());
                for (index, start) in starts.iter().enumerate() {
                    // A millisecond less: tokio's timers have that grain.
                    let inside = starts[index..].iter().filter(|other| **other - *start < window - Duration::from_millis(1)).count();
                    prop_assert!(inside <= requests as usize, "{} in {:?}", inside, window);
                }
                if requests >= 20 {
                    let spent = starts[requests as usize - 1] - starts[0];
                    prop_assert!(spent <= window + window / 4 + Duration::from_millis(u64::from(requests) * 2), "{:?}", spent);
                }
                Ok(())
            })?;
        }
    }

    /// One connection that waits delays no other, of the same application or of another.
    #[tokio::test(start_paused = true)]
    async fn waits_are_ones_own() {
        let budget = budget(&[rule(BudgetScope::Connection, 1, 30), rule(BudgetScope::Application, 1000, 1)]);
        let (slow, quick) = (GATES.permit(SLOW), GATES.permit(QUICK));
        budget.acquire(&slow).await.expect("the first");
        budget.hold(slow.owner(), Duration::from_secs(20), "asked");
        let started = Instant::now();
        let (_, at) = tokio::join!(budget.acquire(&slow), async {
            budget.acquire(&quick).await.expect("another's");
            Instant::now()
        });
        assert!(at - started < Duration::from_millis(10) && started.elapsed() >= Duration::from_secs(29), "{:?}", started.elapsed());
    }

    /// A short wait is spent, a long one is handed to the scheduler with its time, a closed gate ends either.
    #[tokio::test(start_paused = true)]
    async fn long_waits_are_handed_over() {
        let budget = budget(&[]);
        let gates = TestGates::open(&[SLOW]);
        let permit = gates.permit(SLOW);
        let headers = |wait: &str| HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, wait.parse().expect("a value"))]);
        assert_eq!(budget.observe(permit.owner(), 429, &headers("5")), Some(Duration::from_secs(5)));
        let started = Instant::now();
        budget.acquire(&permit).await.expect("after five seconds");
        assert_eq!(started.elapsed().as_secs(), 5);
        budget.observe(permit.owner(), 429, &headers("3600"));
        let refused = budget.acquire(&permit).await.expect_err("an hour");
        assert_eq!(refused.not_before(), Some("2026-11-24T11:00:00Z".parse().expect("a time")), "{refused}");
        budget.observe(permit.owner(), 429, &headers("999999999"));
        let refused = budget.acquire(&permit).await.expect_err("thirty years");
        assert_eq!(refused.not_before(), Some("2026-11-25T10:00:00Z".parse().expect("a time")), "no more than hold_max");
        gates.close(SLOW).await;
        let other = Budget::new("other", &[], Options::default(), budget.clock.clone());
        other.hold(permit.owner(), Duration::from_secs(30), "asked");
        assert!(matches!(other.acquire(&permit).await, Err(FetchError::Closed { .. })));
    }

    /// A frozen clock makes waits return at once; swept budgets hold nobody who is idle.
    #[tokio::test(start_paused = true)]
    async fn idle_connections_cost_nothing() {
        let options = Options { waits: Waits::Skipped, ..Options::default() };
        let budgets = Budgets::new(options, Clock::manual(crate::clock::Timestamp::UNIX_EPOCH));
        let budget = budgets.application("shop", &[rule(BudgetScope::Connection, 1, 1000)]);
        let started = Instant::now();
        budget.hold(SLOW, Duration::from_secs(5), "asked");
        for _ in 0..3 {
            budget.acquire(&GATES.permit(SLOW)).await.expect("at once");
        }
        assert!(started.elapsed() < Duration::from_secs(1));
        for connection in 0..100 {
            let owner = ConnectionKey { tenant: 2, connection };
            budget.hold(owner, Duration::from_secs(5), "asked");
            assert!(budget.limiters[0].cells.check_key(&Subject::Connection(owner)).is_ok());
        }
        assert_eq!(budget.limiters[0].cells.len(), 101);
        tokio::time::sleep(Duration::from_secs(3000)).await;
        budgets.sweep();
        assert_eq!((budget.limiters[0].cells.len(), locked(&budget.holds).len()), (0, 0));
    }
}
