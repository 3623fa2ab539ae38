//! The call budget of a manifest: policies for kinds of requests, counted for each connection in this process, and corrected by what
//! the application's answers say is left.
//!
//! Source: the call rates of airbyte-cdk (LOWCODE.md section 4.11). governor counts cells that nobody can take away; here an answer
//! can, so the windows are of our own.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Map;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::clock::Clock;
use crate::connection::gate::Permit;
use crate::connector::component::budget::CallRatePolicy;
use crate::connector::component::budget::HTTPAPIBudget;
use crate::connector::component::budget::HttpRequestRegexMatcher;
use crate::connector::component::value::Count;
use crate::connector::component::value::IsoDuration;
use crate::connector::component::value::Pattern;
use crate::connector::expression::Scope;
use crate::connector::expression::python_text;
use crate::connector::reading::ReadingError;
use crate::fetch::FetchError;
use crate::fetch::wait::Cut;
use crate::fetch::wait::Waits;
use crate::fetch::wait::after;

use super::Options;
use super::locked;

/// A window's requests are remembered one by one up to this number; beyond it, those that are near each other as one.
const MARKS_MAX: usize = 4096;

/// A request as policies see it: its credentials are among its headers and parameters.
pub struct Call<'a> {
    /// The verb.
    pub method: &'a Method,
    /// The address with all its parameters.
    pub url: &'a Url,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The call budget of one connection.
#[derive(Debug)]
pub struct CallBudget {
    policies: Vec<Policy>,
    remaining_header: String,
    reset_header: String,
    spent_statuses: Vec<u32>,
}

#[derive(Debug)]
struct Policy {
    matchers: Vec<Matcher>,
    rate: Rate,
}

#[derive(Debug)]
enum Rate {
    Unlimited,
    Fixed { limit: u32, period: Duration, window: Mutex<Window> },
    Moving { limits: Vec<Limit>, marks: Mutex<VecDeque<Mark>> },
}

/// A fixed window: it begins with its first request.
#[derive(Debug, Default)]
struct Window {
    used: u32,
    end: Option<Instant>,
}

#[derive(Debug)]
struct Limit {
    requests: u32,
    interval: Duration,
}

/// Requests at a moment.
#[derive(Debug)]
struct Mark {
    at: Instant,
    weight: u32,
}

#[derive(Debug)]
struct Matcher {
    method: Option<String>,
    base: Option<String>,
    path: Option<Pattern>,
    parameters: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    weight: u32,
}

impl CallBudget {
    /// The budget that a manifest declares. `scope` has `config`.
    ///
    /// # Errors
    /// When a number cannot be evaluated, is none, or a request would count for more than its limit.
    pub fn new(budget: &HTTPAPIBudget, scope: &Scope) -> Result<Self, ReadingError> {
        Ok(CallBudget {
            policies: budget.policies.iter().map(|policy| Policy::new(policy, scope)).collect::<Result<_, _>>()?,
            remaining_header: budget.ratelimit_remaining_header.clone(),
            reset_header: budget.ratelimit_reset_header.clone(),
            spent_statuses: budget.status_codes_for_ratelimit_hit.clone(),
        })
    }

    /// Waits until a request may start, and counts it.
    ///
    /// # Errors
    /// [`FetchError::NotBefore`] for a wait beyond [`Options::wait_max`], [`FetchError::Closed`] when the gate closes meanwhile.
    pub(super) async fn acquire(&self, call: &Call<'_>, permit: &Permit, options: &Options, clock: &Clock) -> Result<(), FetchError> {
        let Some((policy, weight)) = self.policy(call) else { return Ok(()) };
        let deadline = Instant::now() + options.wait_max;
        loop {
            let Err(wait) = policy.rate.take(weight, options.waits) else { return Ok(()) };
            if Instant::now() + wait > deadline {
                let reason = "the manifest's call budget is spent".to_owned();
                return Err(FetchError::NotBefore { until: after(clock.now(), wait), reason });
            }
            let closed = |Cut| FetchError::Closed {
                method: call.method.to_string(),
                url: "a request that waits for the manifest's call budget".to_owned(),
                sent: false,
                source: None,
            };
            options.waits.pass(wait, permit).await.map_err(closed)?;
        }
    }

    /// Takes in what an answer says is left.
    pub(super) fn observe(&self, call: &Call<'_>, status: u16, headers: &HeaderMap, clock: &Clock) {
        let Some((policy, _)) = self.policy(call) else { return };
        let number =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).and_then(|value| value.trim().parse::<i64>().ok());
        let spent = || self.spent_statuses.contains(&status.into()).then_some(0);
        let left = number(&self.remaining_header).or_else(spent).map(|left| u32::try_from(left.max(0)).unwrap_or(u32::MAX));
        let reset = number(&self.reset_header).map(|at| {
            let wait = at.saturating_sub(clock.now().as_second());
            Instant::now() + Duration::from_secs(u64::try_from(wait).unwrap_or(0)).min(super::PATIENCE_MAX)
        });
        policy.rate.correct(left, reset);
    }

    /// The first policy that matches, and for how much the request counts.
    fn policy(&self, call: &Call<'_>) -> Option<(&Policy, u32)> {
        self.policies.iter().find_map(|policy| match policy.matchers.iter().find(|matcher| matcher.matches(call)) {
            Some(matcher) => Some((policy, matcher.weight)),
            None if policy.matchers.is_empty() => Some((policy, 1)),
            None => None,
        })
    }
}

impl Policy {
    fn new(policy: &CallRatePolicy, scope: &Scope) -> Result<Self, ReadingError> {
        let (matchers, rate, smallest) = match policy {
            CallRatePolicy::UnlimitedCallRatePolicy(unlimited) => (&unlimited.matchers, Rate::Unlimited, u32::MAX),
            CallRatePolicy::FixedWindowCallRatePolicy(fixed) => {
                let rate = Rate::Fixed { limit: fixed.call_limit, period: duration(&fixed.period), window: Mutex::default() };
                (&fixed.matchers, rate, fixed.call_limit)
            }
            CallRatePolicy::MovingWindowCallRatePolicy(moving) => {
                let mut limits = Vec::new();
                for rate in &moving.rates {
                    limits.push(Limit { requests: count(&rate.limit, "limit", scope)?, interval: duration(&rate.interval) });
                }
                let smallest = limits.iter().map(|limit| limit.requests).min().unwrap_or(u32::MAX);
                (&moving.matchers, Rate::Moving { limits, marks: Mutex::default() }, smallest)
            }
        };
        let matchers = matchers.iter().map(|matcher| Matcher::new(matcher, scope)).collect::<Result<Vec<_>, _>>()?;
        if let Some(heavy) = matchers.iter().find(|matcher| matcher.weight > smallest) {
            return Err(ReadingError::Value {
                field: "weight",
                found: heavy.weight.to_string(),
                needs: "a number within the policy's limit",
            });
        }
        if smallest == 0 {
            return Err(ReadingError::Value { field: "call_limit", found: "0".to_owned(), needs: "one request at least" });
        }
        Ok(Policy { matchers, rate })
    }
}

impl Rate {
    /// Counts a request; the wait when there is no room for it. Where waits are skipped it is counted in any case.
    fn take(&self, weight: u32, waits: Waits) -> Result<(), Duration> {
        let now = Instant::now();
        match self {
            Rate::Unlimited => Ok(()),
            Rate::Fixed { limit, period, window } => {
                let mut window = locked(window);
                window.turn(now, *period);
                let end = *window.end.get_or_insert(now + *period);
                if window.used.saturating_add(weight) > *limit && waits == Waits::Real {
                    return Err((end - now).max(Duration::from_millis(1)));
                }
                window.used = window.used.saturating_add(weight);
                Ok(())
            }
            Rate::Moving { limits, marks } => {
                let mut marks = locked(marks);
                let longest = limits.iter().map(|limit| limit.interval).max().unwrap_or_default();
                while marks.front().is_some_and(|mark| mark.at + longest <= now) {
                    marks.pop_front();
                }
                let wait = limits.iter().filter_map(|limit| limit.wait(&marks, weight, now)).max();
                match wait.filter(|_| waits == Waits::Real) {
                    Some(wait) => Err(wait),
                    None => {
                        mark(&mut marks, weight, now, longest);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Takes in what the application says is left: never more than was counted here.
    fn correct(&self, left: Option<u32>, reset: Option<Instant>) {
        let now = Instant::now();
        match self {
            Rate::Unlimited => {}
            Rate::Fixed { limit, period, window } => {
                let mut window = locked(window);
                window.turn(now, *period);
                if let Some(left) = left {
                    window.used = window.used.max(limit.saturating_sub(left));
                }
                if let Some(reset) = reset {
                    window.end = Some(reset);
                }
            }
            // A window that moves has no end to be told; only that nothing is left is taken in.
            Rate::Moving { limits, marks } if left == Some(0) && reset.is_none() => {
                let mut marks = locked(marks);
                let longest = limits.iter().map(|limit| limit.interval).max().unwrap_or_default();
                let room = limits.iter().map(|limit| limit.requests.saturating_sub(used(&marks, limit.interval, now))).min().unwrap_or(0);
                if room > 0 {
                    mark(&mut marks, room, now, longest);
                }
            }
            Rate::Moving { .. } => {}
        }
    }
}

impl Window {
    /// Begins anew when the window is over.
    fn turn(&mut self, now: Instant, period: Duration) {
        if let Some(end) = self.end.filter(|end| now > *end) {
            let periods = if period.is_zero() { 1 } else { (now - end).as_nanos() / period.as_nanos() + 1 };
            self.end = Some(end + period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX)));
            self.used = 0;
        }
    }
}

impl Limit {
    /// The wait until `weight` more fit into the interval; none when they do.
    fn wait(&self, marks: &VecDeque<Mark>, weight: u32, now: Instant) -> Option<Duration> {
        let mut over = used(marks, self.interval, now).saturating_add(weight).checked_sub(self.requests).filter(|over| *over > 0)?;
        for mark in marks.iter().filter(|mark| mark.at + self.interval > now) {
            over = over.saturating_sub(mark.weight);
            if over == 0 {
                return Some((mark.at + self.interval - now).max(Duration::from_millis(1)));
            }
        }
        Some(self.interval)
    }
}

/// The requests of the last `interval`.
fn used(marks: &VecDeque<Mark>, interval: Duration, now: Instant) -> u32 {
    marks.iter().rev().take_while(|mark| mark.at + interval > now).fold(0, |sum, mark| sum.saturating_add(mark.weight))
}

fn mark(marks: &mut VecDeque<Mark>, weight: u32, now: Instant, longest: Duration) {
    // Those put together count from the last of them on: rather too long than too short.
    let near = longest / u32::try_from(MARKS_MAX).unwrap_or(u32::MAX);
    match marks.back_mut().filter(|last| now - last.at < near) {
        Some(last) => {
            last.at = now;
            last.weight = last.weight.saturating_add(weight);
        }
        None => marks.push_back(Mark { at: now, weight }),
    }
}

impl Matcher {
    fn new(matcher: &HttpRequestRegexMatcher, scope: &Scope) -> Result<Self, ReadingError> {
        let texts = |map: &Map<String, Value>| map.iter().map(|(name, value)| (name.clone(), python_text(value))).collect();
        Ok(Matcher {
            method: matcher.method.as_ref().map(|method| method.to_ascii_uppercase()),
            base: matcher.url_base.as_ref().map(|base| base.trim_end_matches('/').to_owned()),
            path: matcher.url_path_pattern.clone(),
            parameters: texts(&matcher.params),
            headers: texts(&matcher.headers),
            weight: match &matcher.weight {
                Some(weight) => count(weight, "weight", scope)?,
                None => 1,
            },
        })
    }

    fn matches(&self, call: &Call<'_>) -> bool {
        let base = || call.url.origin().ascii_serialization();
        let parameter = |(name, value): &(String, String)| {
            // Of a name that is there several times the last counts; an empty value is none.
            let found = call.url.query_pairs().filter(|(known, value)| known == name && !value.is_empty()).last();
            found.is_some_and(|(_, found)| found == *value)
        };
        let header = |(name, value): &(String, String)| call.headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes());
        self.method.as_deref().is_none_or(|method| method == call.method.as_str())
            && self.base.as_ref().is_none_or(|own| *own == base())
            && self.path.as_ref().is_none_or(|Pattern(regex)| regex.is_match(call.url.path().trim_end_matches('/')))
            && self.parameters.iter().all(parameter)
            && self.headers.iter().all(header)
    }
}

/// A number of requests, one at least.
fn count(count: &Count, field: &'static str, scope: &Scope) -> Result<u32, ReadingError> {
    let number = count.number(scope).map_err(|source| ReadingError::Expression { field, source: Box::new(source) })?;
    let wrong = || ReadingError::Value { field, found: "none".to_owned(), needs: "a whole number from 1 on" };
    number.filter(|number| *number > 0).ok_or_else(wrong)
}

/// The length of a duration; a month is taken as 30 days.
fn duration(duration: &IsoDuration) -> Duration {
    const MONTH_MICROS: i64 = 30 * 24 * 3600 * 1_000_000;
    let micros = duration.0.micros.saturating_add(duration.0.months.saturating_mul(MONTH_MICROS));
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;
    use serde_json::json;

    use super::*;
    use crate::connection::test_gate::TestGates;
    use crate::connector::component::budget::ApiBudget;
    use crate::connector::component::reader::Accept;
    use crate::connector::component::reader::Document;
    use crate::connector::component::reader::Reader;
    use crate::connector::expression::dynamic;
    use crate::connector::yaml::Repeated;
    use crate::connector::yaml::parse;
    use crate::ids::ConnectionKey;

    const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };

    fn clock() -> Clock {
        Clock::manual("2026-11-24T10:00:00Z".parse().unwrap())
    }

    fn budget(yaml: &str) -> Result<CallBudget, ReadingError> {
        let mut reader = Reader::new(Document::Manifest);
        let read = ApiBudget::accept(&parse(yaml, Repeated::Refused).unwrap(), &mut reader);
        let Some(ApiBudget::HTTPAPIBudget(budget)) = read else { panic!("{:?}", reader.into_problems()) };
        let mut scope = Scope::new(clock());
        scope.set("config", dynamic(&json!({"rate": "3", "none": ""})));
        CallBudget::new(&budget, &scope)
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    /// The seconds at which each of `paths` was let through, in turn.
    async fn starts(budget: &CallBudget, paths: &[&str], options: &Options) -> Vec<u64> {
        let gates = TestGates::open(&[OWNER]);
        let permit = gates.permit(OWNER);
        let started = Instant::now();
        let mut seconds = Vec::new();
        for path in paths {
            let url = Url::parse(&format!("https://a.example:8443{path}")).unwrap();
            let call = Call { method: &Method::GET, url: &url, headers: &headers(&[("x-kind", "light")]) };
            if budget.acquire(&call, &permit, options, &clock()).await.is_err() {
                seconds.push(u64::MAX);
                continue;
            }
            seconds.push((started.elapsed() + Duration::from_millis(500)).as_secs());
        }
        seconds
    }

    const MOVING: &str = "{type: HTTPAPIBudget, policies: [{type: MovingWindowCallRatePolicy, matchers: [],
        rates: [{type: Rate, limit: 2, interval: PT1S}, {type: Rate, limit: \"{{ config['rate'] }}\", interval: PT10S}]}]}";

    /// All rates of a moving window hold; a fixed window begins with its first request and anew at its end.
    #[tokio::test(start_paused = true)]
    async fn windows_fill_up() {
        let options = Options::default();
        assert_eq!(starts(&budget(MOVING).unwrap(), &["/"; 7], &options).await, [0, 0, 1, 10, 10, 11, 20]);
        let fixed = "{type: HTTPAPIBudget, policies: [{type: FixedWindowCallRatePolicy, period: PT20S, call_limit: 2, matchers: []}]}";
        assert_eq!(starts(&budget(fixed).unwrap(), &["/"; 5], &options).await, [0, 0, 20, 20, 40]);
        let hourly = "{type: HTTPAPIBudget, policies: [{type: FixedWindowCallRatePolicy, period: PT1H, call_limit: 1, matchers: []}]}";
        assert_eq!(starts(&budget(hourly).unwrap(), &["/"; 2], &options).await, [0, u64::MAX], "a long wait is handed over");
        let skipped = Options { waits: Waits::Skipped, ..options };
        assert_eq!(starts(&budget(hourly).unwrap(), &["/"; 3], &skipped).await, [0, 0, 0], "counted, not slept");
    }

    /// The first policy that matches counts a request, for as much as its matcher says; what matches none is free.
    #[tokio::test(start_paused = true)]
    async fn requests_are_matched() {
        let yaml = "{type: HTTPAPIBudget, policies: [
            {type: UnlimitedCallRatePolicy, matchers: [{params: {free: 1}, url_base: 'https://a.example:8443/'}]},
            {type: FixedWindowCallRatePolicy, period: PT10S, call_limit: 4, matchers: [
                {url_path_pattern: '^/heavy$', weight: \"{{ config['rate'] }}\"}, {method: get, url_path_pattern: '/light', headers: {X-Kind: light}}]}]}";
        let budget = budget(yaml).unwrap();
        let paths = ["/heavy/", "/light/x", "/other", "/light?free=1", "/light", "/heavy", "/light"];
        assert_eq!(starts(&budget, &paths, &Options::default()).await, [0, 0, 0, 0, 10, 10, 20]);
        let refused = |policy: &str| self::budget(&format!("{{type: HTTPAPIBudget, policies: [{policy}]}}")).is_err();
        assert!(refused("{type: FixedWindowCallRatePolicy, period: PT1S, call_limit: 2, matchers: [{weight: 3}]}"));
        assert!(refused("{type: MovingWindowCallRatePolicy, matchers: [], rates: [{limit: \"{{ config['none'] }}\", interval: PT1S}]}"));
    }

    /// Answers correct the count: what is left, that nothing is, and when the window ends.
    #[tokio::test(start_paused = true)]
    async fn answers_correct_the_count() {
        let url = Url::parse("https://a.example/").unwrap();
        let none = HeaderMap::new();
        let call = Call { method: &Method::GET, url: &url, headers: &none };
        let fixed = "{type: HTTPAPIBudget, ratelimit_remaining_header: X-Left, ratelimit_reset_header: X-Reset, status_codes_for_ratelimit_hit: [420],
            policies: [{type: FixedWindowCallRatePolicy, period: PT10S, call_limit: 5, matchers: []}]}";
        let budget = budget(fixed).unwrap();
        let reset = (clock().now().as_second() + 7).to_string();
        budget.observe(&call, 200, &headers(&[("x-left", "1"), ("x-reset", &reset)]), &clock());
        budget.observe(&call, 200, &headers(&[("x-left", "4")]), &clock());
        assert_eq!(starts(&budget, &["/"; 2], &Options::default()).await, [0, 7], "more than is counted is not believed");
        budget.observe(&call, 420, &none, &clock());
        assert_eq!(starts(&budget, &["/"], &Options::default()).await, [10]);
        let moving = self::budget(MOVING).unwrap();
        moving.observe(&call, 429, &none, &clock());
        assert_eq!(starts(&moving, &["/"], &Options::default()).await, [1]);
    }
}
