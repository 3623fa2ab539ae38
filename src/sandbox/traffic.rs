//! What came in: the request log, and the window that limits the rate.

use std::collections::HashMap;
use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Duration;
use tokio::time::Instant;

/// The requests that the log keeps; older ones fall off.
pub const LOG_ENTRIES_MAX: usize = 100_000;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// The consent page, or the answer to it.
    Authorize,
    /// The token endpoint.
    Token,
    /// The revocation endpoint.
    Revoke,
    /// Records.
    Data,
    /// Anything else: metadata, the front page, paths that are not there.
    Other,
}

/// One request, as the sandbox saw it.
#[derive(Debug, Clone, Serialize)]
pub struct LoggedRequest {
    /// Rises by one with each request, from 1; also behind `req_` in the answer's `X-Request-Id`.
    pub number: u64,
    /// When its head had arrived.
    pub at: Timestamp,
    /// What it was for.
    pub purpose: Purpose,
    /// The verb.
    pub method: String,
    /// The path; with the query for data only, since the other queries hold secrets.
    pub path: String,
    /// The status of the answer; none while it is being made.
    pub status: Option<u16>,
    /// The grant whose token came along, if it was a good one.
    pub grant: Option<u64>,
}

/// The request log.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<LoggedRequest>,
    written: u64,
}

impl Log {
    /// Notes a request at its arrival; returns its number.
    pub fn arrived(&mut self, at: Timestamp, purpose: Purpose, method: &str, path: String) -> u64 {
        self.written += 1;
        if self.entries.len() == LOG_ENTRIES_MAX {
            self.entries.pop_front();
        }
        let method = method.to_owned();
        self.entries.push_back(LoggedRequest { number: self.written, at, purpose, method, path, status: None, grant: None });
        self.written
    }

    /// Notes whose request it was.
    pub fn recognised(&mut self, number: u64, grant: u64) {
        if let Some(entry) = self.entry(number) {
            entry.grant = Some(grant);
        }
    }

    /// Notes the answer.
    pub fn answered(&mut self, number: u64, status: u16) {
        if let Some(entry) = self.entry(number) {
            entry.status = Some(status);
        }
    }

    /// The requests after the one of that number, oldest first.
    pub fn since(&self, number: u64) -> Vec<LoggedRequest> {
        self.entries.iter().filter(|entry| entry.number > number).cloned().collect()
    }

    fn entry(&mut self, number: u64) -> Option<&mut LoggedRequest> {
        let oldest = self.entries.front()?.number;
        self.entries.get_mut(usize::try_from(number.checked_sub(oldest)?).ok()?)
    }
}

/// How many data requests a grant may make within a window; a window begins with the first request after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The requests in a window.
    pub requests: u32,
    /// The window's length.
    pub window: Duration,
}

impl Default for RateLimit {
    /// 400 requests in ten seconds.
    fn default() -> Self {
        Self { requests: 400, window: Duration::from_secs(10) }
    }
}

/// What the answer's headers tell of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests in a window.
    pub limit: u32,
    /// Requests left in this window.
    pub remaining: u32,
    /// Seconds until the window ends, rounded up, at least 1.
    pub reset_seconds: u64,
    /// Whether this request is within the limit.
    pub granted: bool,
}

/// The windows of all grants. In the runtime's time, since whoever is limited waits in it.
#[derive(Debug)]
pub struct Windows {
    limit: RateLimit,
    open: HashMap<u64, (Instant, u32)>,
}

impl Windows {
    /// No requests yet.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, open: HashMap::new() }
    }

    /// Counts a request of that grant; one beyond the limit is not counted.
    pub fn take(&mut self, grant: u64) -> Allowance {
        let now = Instant::now();
        let (ends, used) = self.open.entry(grant).or_insert((now + self.limit.window, 0));
        if now >= *ends {
            (*ends, *used) = (now + self.limit.window, 0);
        }
        let granted = *used < self.limit.requests;
        *used += u32::from(granted);
        let left = ends.duration_since(now);
        Allowance {
            limit: self.limit.requests,
            remaining: self.limit.requests - *used,
            reset_seconds: left.as_millis().div_ceil(1_000).try_into().unwrap_or(1).max(1),
            granted,
        }
    }
}
