//! What happened to the requests and pages of one connection since the process began: for whoever asks why it is slow.
//!
//! `/metrics` tells the same by connector and never by connection, because it is readable without a key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::metrics::ConnectorLabels;
use crate::telemetry::metrics::Metrics;

/// A wait shorter than this is none.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// A cell of the application's budget, or the end of a time in which it asked not to be read.
    Budget,
    /// The next attempt of a request that failed.
    Retry,
    /// A token that is being renewed.
    Token,
    /// The store: pages are read faster than they are made durable.
    Store,
}

impl Wait {
    /// The wait as it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Wait::Budget => "budget",
            Wait::Retry => "retry",
            Wait::Token => "token",
            Wait::Store => "store",
        }
    }
}

/// The counts of a connection.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests by how they went: the outcomes of [`Metrics::application_requests`].
    pub requests: BTreeMap<&'static str, u64>,
    /// Attempts that repeated one that had failed.
    pub retries: u64,
    /// Waits by what was waited for: how many, and for how long together.
    pub waits: BTreeMap<Wait, (u64, Duration)>,
    /// Waits under way, and since when.
    pub waiting: Vec<(Wait, Instant)>,
    /// Named limits that were reached, and how often.
    pub limits: BTreeMap<&'static str, u64>,
    /// Pages read from the application.
    pub pages_read: u64,
    /// Pages that are durable.
    pub pages_stored: u64,
    /// Pages that were read and not stored: above all because the connection was stopped meanwhile.
    pub pages_dropped: u64,
}

impl Counts {
    /// Pages that are read and neither durable nor dropped.
    pub fn pages_waiting(&self) -> u64 {
        self.pages_read.saturating_sub(self.pages_stored + self.pages_dropped)
    }
}

/// Counts what happens to one connection, and adds it to the metrics of its connector.
pub struct Activity {
    connector: String,
    metrics: Arc<Metrics>,
    counts: Mutex<Counts>,
}

impl Activity {
    /// Nothing has happened yet.
    pub fn new(connector: &str, metrics: Arc<Metrics>) -> Self {
        Activity { connector: connector.to_owned(), metrics, counts: Mutex::default() }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.locked().clone()
    }

    /// A request was sent, and went this way.
    pub fn requested(&self, outcome: &'static str) {
        self.metrics.application_requests.get_or_create(&self.labels(outcome)).inc();
        *self.locked().requests.entry(outcome).or_default() += 1;
    }

    /// An attempt repeats one that failed.
    pub fn retried(&self) {
        self.metrics.retries.get_or_create(&self.labels("repeated")).inc();
        self.locked().retries += 1;
    }

    /// A named limit was reached.
    pub fn limited(&self, limit: &'static str) {
        self.metrics.limits.get_or_create(&self.labels(limit)).inc();
        *self.locked().limits.entry(limit).or_default() += 1;
    }

    /// A page was read.
    pub fn page_read(&self) {
        self.locked().pages_read += 1;
    }

    /// A page is durable.
    pub fn page_stored(&self) {
        self.locked().pages_stored += 1;
    }

    /// Pages of a run that has ended were read and are not stored.
    pub fn pages_dropped(&self, dropped: u64) {
        self.locked().pages_dropped += dropped;
        if dropped > 0 {
            self.metrics.pages.get_or_create(&self.labels("dropped")).inc_by(dropped);
        }
    }

    /// A wait that ends when the answer is dropped.
    pub fn waiting(self: &Arc<Self>, wait: Wait) -> Waiting {
        let since = Instant::now();
        self.locked().waiting.push((wait, since));
        Waiting { activity: self.clone(), wait, since }
    }

    fn locked(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self, outcome: &'static str) -> ConnectorLabels {
        ConnectorLabels { connector: self.connector.clone(), outcome }
    }
}

/// A wait under way.
#[must_use = "the wait ends when this is dropped"]
pub struct Waiting {
    activity: Arc<Activity>,
    wait: Wait,
    since: Instant,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        let mut counts = self.activity.locked();
        if let Some(place) = counts.waiting.iter().position(|waiting| *waiting == (self.wait, self.since)) {
            counts.waiting.swap_remove(place);
        }
        if waited < WAIT_MIN {
            return;
        }
        let (times, total) = counts.waits.entry(self.wait).or_default();
        *times += 1;
        *total += waited;
        drop(counts);
        let labels = self.activity.labels(self.wait.name());
        self.activity.metrics.waits.get_or_create(&labels).inc();
        self.activity.metrics.wait_seconds.get_or_create(&labels).inc_by(waited.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait is seen while it lasts and counted when it has; one of no time is not. Pages are on their way until
    /// they are stored or dropped.
    #[tokio::test(start_paused = true)]
    async fn waits_and_drops_are_counted() {
        let metrics = Arc::new(Metrics::new());
        let activity = Arc::new(Activity::new("shop", metrics.clone()));
        drop(activity.waiting(Wait::Budget));
        let waiting = activity.waiting(Wait::Retry);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(activity.counts().waiting.len(), 1);
        drop(waiting);
        let counts = activity.counts();
        assert_eq!(counts.waits.into_iter().collect::<Vec<_>>(), [(Wait::Retry, (1, Duration::from_secs(3)))]);
        assert!(counts.waiting.is_empty());
        (0..3).for_each(|_| activity.page_read());
        activity.page_stored();
        assert_eq!(activity.counts().pages_waiting(), 2);
        activity.pages_dropped(2);
        assert_eq!((activity.counts().pages_waiting(), activity.counts().pages_dropped), (0, 2));
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"headgate_pages_total{connector="shop",outcome="dropped"} 2"#), "{text}");
        assert!(text.contains(r#"headgate_wait_seconds_total{connector="shop",outcome="retry"} 3.0"#), "{text}");
    }
}
