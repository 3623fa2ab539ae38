//! Attempts: backoff's schedule behind a loop of our own.
//!
//! Only `ExponentialBackoff::next_backoff` is used. The loop counts attempts, caps what a server asks for, waits under the
//! permit, and calls the closure anew for each attempt: whatever must be fresh (the permit's epoch, the budget's cell, the
//! credential) belongs inside of it.

use std::future::Future;
use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::connection::gate::Permit;

use super::FetchError;
use super::wait::Cut;
use super::wait::Waits;
use super::wait::patience;

/// How often and how patiently a request is tried.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Attempts, the first included.
    pub attempts_max: u32,
    /// The first wait, before randomization.
    pub initial_interval: Duration,
    /// What each further wait is multiplied by.
    pub multiplier: f64,
    /// How far a wait may differ from its value, as a fraction of it.
    pub randomization: f64,
    /// The longest wait of the schedule.
    pub interval_max: Duration,
    /// The time in which the last attempt must start.
    pub elapsed_max: Duration,
    /// The longest wait asked for by a server that is spent in process.
    pub server_wait_max: Duration,
    /// How waits are spent.
    pub waits: Waits,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            initial_interval: Duration::from_millis(500),
            multiplier: 2.0,
            randomization: 0.5,
            interval_max: Duration::from_secs(60),
            elapsed_max: Duration::from_secs(300),
            server_wait_max: Duration::from_secs(60),
            waits: Waits::Real,
        }
    }
}

/// What came of one attempt.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// It may succeed later.
    Again {
        /// Why it did not now.
        cause: FetchError,
        /// The wait that the server or the manifest asks for; `None`: the schedule's.
        wait: Option<Duration>,
    },
    /// It will not succeed.
    Failed(FetchError),
}

/// Makes attempts until one is done. `attempt` is called with the attempt's number, from 1, just before it is made.
///
/// # Errors
/// What [`Attempt::Failed`] holds; [`FetchError::NotBefore`] when the next attempt is not due within the policy's limits
/// because a server asked for a wait; [`FetchError::GaveUp`] when the attempts or the time are used up;
/// [`FetchError::Closed`] when the gate closes during a wait.
pub async fn attempts<T, F, A>(policy: &Policy, clock: &Clock, permit: &Permit, mut attempt: F) -> Result<T, FetchError>
where
    F: FnMut(u32) -> A,
    A: Future<Output = Attempt<T>>,
{
    let mut schedule = ExponentialBackoffBuilder::new()
        .with_initial_interval(policy.initial_interval)
        .with_multiplier(policy.multiplier)
        .with_randomization_factor(policy.randomization)
        .with_max_interval(policy.interval_max)
        .with_max_elapsed_time(None)
        .build();
    let deadline = Instant::now() + policy.elapsed_max;
    let mut number = 1;
    loop {
        let (cause, asked) = match attempt(number).await {
            Attempt::Done(value) => return Ok(value),
            Attempt::Failed(error) => return Err(error),
            Attempt::Again { cause, wait } => (cause, wait),
        };
        let wait = asked.or_else(|| schedule.next_backoff()).unwrap_or(policy.interval_max);
        let last = number >= policy.attempts_max || (policy.waits == Waits::Real && Instant::now() + wait > deadline);
        match asked {
            Some(asked) if last || (policy.waits == Waits::Real && asked > policy.server_wait_max) => {
                let reason = format!("{cause} (attempt {number} of {})", policy.attempts_max);
                return Err(FetchError::NotBefore { until: patience(clock.now(), asked), reason });
            }
            _ if last => return Err(FetchError::GaveUp { attempts: number, source: Box::new(cause) }),
            _ => {}
        }
        tracing::debug!(connection = %permit.owner(), attempt = number, wait_ms = wait.as_millis(), "an attempt failed and is repeated");
        policy.waits.pass(wait, permit).await.map_err(|Cut| stopped(&cause))?;
        number += 1;
    }
}

fn stopped(cause: &FetchError) -> FetchError {
    FetchError::Closed { method: "the next attempt after:".into(), url: cause.to_string(), sent: false, source: None }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::connection::test_gate::TestGates;
    use crate::ids::ConnectionKey;

    const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };

    fn fault(status: u16) -> FetchError {
        FetchError::Status { method: "GET".into(), url: "https://api.example.com/".into(), status, request_id: None }
    }

    fn clock() -> Clock {
        Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time"))
    }

    async fn run(policy: &Policy, faults: &[(u16, Option<u64>)]) -> (Result<u32, FetchError>, Vec<Duration>) {
        let gates = TestGates::open(&[OWNER]);
        let permit = gates.permit(OWNER);
        let times = RefCell::new(Vec::new());
        let started = Instant::now();
        let outcome = attempts(policy, &clock(), &permit, |number| {
            times.borrow_mut().push(started.elapsed());
            let fault_now = faults.get(number as usize - 1).copied();
            async move {
                match fault_now {
                    Some((status, wait)) => Attempt::Again { cause: fault(status), wait: wait.map(Duration::from_secs) },
                    None => Attempt::Done(number),
                }
            }
        })
        .await;
        (outcome, times.into_inner())
    }

    /// Waits grow by the schedule within their randomization, a server's wait takes the place of one, attempts are counted.
    #[tokio::test(start_paused = true)]
    async fn attempts_follow_the_schedule() {
        let policy = Policy { randomization: 0.0, ..Policy::default() };
        let (outcome, times) = run(&policy, &[(503, None), (429, Some(7)), (503, None)]).await;
        assert_eq!(outcome.expect("the fourth"), 4);
        let waits = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect::<Vec<_>>();
        assert!(waits[0].abs_diff(500) < 5 && waits[1].abs_diff(7000) < 5 && waits[2].abs_diff(1000) < 5, "{waits:?}");
    }

    /// An application that always refuses ends the attempts by number, by time, or by handing its wait over.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_for_ever() {
        let (by_number, times) = run(&Policy::default(), &[(503, None); 50]).await;
        assert!(matches!(by_number, Err(FetchError::GaveUp { attempts: 5, .. })) && times.len() == 5);
        let endless = Policy { attempts_max: u32::MAX, ..Policy::default() };
        let (by_time, times) = run(&endless, &[(503, None); 500]).await;
        assert!(matches!(by_time, Err(FetchError::GaveUp { .. })) && times.last().is_some_and(|last| *last <= Duration::from_secs(300)));
        let (for_ever, times) = run(&endless, &[(429, Some(1)); 500]).await;
        assert!(for_ever.is_err_and(|error| error.not_before().is_some()) && times.len() <= 301);
        let (for_a_day, times) = run(&endless, &[(429, Some(86_400)); 5]).await;
        let until = for_a_day.expect_err("a day").not_before();
        assert_eq!((until, times.len()), (Some("2026-11-25T10:00:00Z".parse().expect("a time")), 1));
    }

    /// A closed gate ends the wait at once.
    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_ends_the_wait() {
        let gates = TestGates::open(&[OWNER]);
        let permit = gates.permit(OWNER);
        let started = Instant::now();
        let policy = Policy { initial_interval: Duration::from_secs(50), ..Policy::default() };
        let clock = clock();
        let tries = attempts::<(), _, _>(&policy, &clock, &permit, |_| async { Attempt::Again { cause: fault(503), wait: None } });
        let (outcome, ()) = tokio::join!(tries, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            gates.close(OWNER).await;
        });
        assert!(matches!(outcome, Err(FetchError::Closed { .. })) && started.elapsed() < Duration::from_millis(1250));
    }
}
