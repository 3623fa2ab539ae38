//! Waiting that ends when the gate closes, and that a frozen clock makes return at once.

use std::time::Duration;

use jiff::SignedDuration;

use crate::clock::Timestamp;
use crate::connection::gate::Permit;
use crate::connection::schedule::PATIENCE_SECONDS_MAX;

/// How waits are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waits {
    /// Asleep.
    #[default]
    Real,
    /// Not at all: for `--now`, where time stands still.
    Skipped,
}

/// The gate closed during a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl Waits {
    /// Waits, holding nothing but a timer.
    ///
    /// # Errors
    /// [`Cut`] as soon as the permit is cancelled.
    pub async fn pass(self, time: Duration, permit: &Permit) -> Result<(), Cut> {
        let time = if self == Waits::Skipped { Duration::ZERO } else { time };
        tokio::select! {
            biased;
            () = permit.cancelled() => Err(Cut),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

/// The longest wait that an application is believed.
pub const PATIENCE_MAX: Duration = Duration::from_secs(PATIENCE_SECONDS_MAX as u64);

/// When an application that asks for patience may be asked again.
pub fn patience(now: Timestamp, asked: Duration) -> Timestamp {
    after(now, asked.min(PATIENCE_MAX))
}

/// `now` and a wait together; the end of time when that is past it.
pub fn after(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}
