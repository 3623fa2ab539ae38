//! How long to wait before a request is sent again.
//!
//! Source for the waits: the backoff strategies of airbyte-cdk (LOWCODE.md section 4.7).

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::error_handler::BackoffStrategy;
use crate::connector::component::error_handler::HeaderPattern;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Scalar;
use crate::connector::expression::Scope;
use crate::connector::reading::Answer;
use crate::connector::reading::ReadingError;
use crate::ids::Entropy;

/// The longest wait before one try.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long to wait before the next try.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// So long.
    For(Duration),
    /// Neither manifest nor application says: the caller's own schedule.
    Unsaid,
    /// The application asks for more patience than the manifest allows: the stream fails.
    TooLong {
        /// What the application asked for.
        asked: Duration,
    },
}

/// A try that failed.
pub(super) struct Failed<'a> {
    /// The tries made, from 1.
    pub tries: u32,
    /// The answer; without one the request failed on its way.
    pub answer: Option<&'a Answer>,
    /// When.
    pub now: Timestamp,
    /// For jitter.
    pub entropy: &'a Entropy,
}

/// The wait that a strategy asks for; none when it does not know one.
pub(super) fn wait(strategy: &BackoffStrategy, scope: &Scope, failed: &Failed<'_>) -> Result<Option<Wait>, ReadingError> {
    let number = |scalar: &Scalar, field| number(scalar, scope, field);
    let header = |name: &Expression, pattern: &Option<HeaderPattern>| header(failed.answer, name, pattern.as_ref(), scope);
    let most = |most: &Option<Scalar>| most.as_ref().map(|most| number(most, "max_waiting_time_in_seconds")).transpose();
    Ok(match strategy {
        BackoffStrategy::ConstantBackoffStrategy(constant) => {
            let wait = number(&constant.backoff_time_in_seconds, "backoff_time_in_seconds")?;
            seconds(jittered(wait, constant.jitter_range_in_seconds, failed.entropy))
        }
        BackoffStrategy::ExponentialBackoffStrategy(exponential) => {
            let wait = number(&exponential.factor, "factor")? * f64::from(1_u32 << failed.tries.min(20));
            seconds(jittered(wait, exponential.jitter_range_in_seconds, failed.entropy))
        }
        BackoffStrategy::WaitTimeFromHeader(from) => {
            let most = most(&from.max_waiting_time_in_seconds)?;
            header(&from.header, &from.regex)?.and_then(|wait| if wait == 0.0 { None } else { capped(wait, most) })
        }
        BackoffStrategy::WaitUntilTimeFromHeader(until) => {
            let most = most(&until.max_waiting_time_in_seconds)?;
            let least = until.min_wait.as_ref().map(|least| number(least, "min_wait")).transpose()?.filter(|least| *least != 0.0);
            let at = header(&until.header, &until.regex)?.filter(|at| *at != 0.0);
            let wait = at.map(|at| at - failed.now.as_millisecond() as f64 / 1000.0);
            match (wait, least) {
                (Some(wait), Some(least)) => capped(wait.max(least), most),
                (Some(wait), None) if wait < 0.0 => None,
                (Some(wait), None) => capped(wait, most),
                (None, least) => least.and_then(|least| capped(least, most)),
            }
        }
        BackoffStrategy::WaitTimeFromResponse(from) => {
            let most = most(&from.max_waiting_time_in_seconds)?;
            let Some(answer) = failed.answer else { return Ok(None) };
            let mut scope = scope.clone();
            scope.set("response", answer.response()).set("headers", answer.headers.value()).set("request_url", ().into());
            // An answer of another shape says nothing: the next strategy decides.
            let found = from.wait_time_in_seconds.value(&scope).ok().and_then(|value| match value {
                Value::String(text) => text.trim().parse().ok(),
                value => value.as_f64(),
            });
            found.filter(|wait: &f64| wait.is_finite() && *wait > 0.0).and_then(|wait| capped(wait, most))
        }
    })
}

/// The wait that a Retry-After header names, in seconds or as a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let value = answer.headers.get("retry-after")?;
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(Duration::from_millis(u64::try_from(until.as_millisecond() - now.as_millisecond()).unwrap_or(0)))
}

fn number(scalar: &Scalar, scope: &Scope, field: &'static str) -> Result<f64, ReadingError> {
    let value = scalar.value(scope).map_err(ReadingError::expression(field))?;
    let number = match &value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    let wrong = || ReadingError::Value { field, found: crate::ids::cut(&value.to_string()), needs: "a number of seconds" };
    number.filter(|number: &f64| number.is_finite()).ok_or_else(wrong)
}

/// The number in a header: what the pattern finds at its beginning, or all of it.
fn header(answer: Option<&Answer>, name: &Expression, pattern: Option<&HeaderPattern>, scope: &Scope) -> Result<Option<f64>, ReadingError> {
    let Some(answer) = answer else { return Ok(None) };
    let name = name.text(scope).map_err(ReadingError::expression("header"))?;
    let Some(value) = answer.headers.get(&name) else { return Ok(None) };
    let found = pattern.map(|pattern| pattern.find(&value, scope)).transpose().map_err(ReadingError::expression("regex"))?.flatten();
    let number = found.unwrap_or(value);
    Ok(number.trim().parse::<f64>().ok().filter(|number| number.is_finite()))
}

/// Somewhere between the wait and twice the range beyond it.
fn jittered(wait: f64, range: Option<f64>, entropy: &Entropy) -> f64 {
    const STEPS: u64 = 1 << 20;
    wait + range.unwrap_or(0.0) * 2.0 * (entropy.below(STEPS) as f64 / STEPS as f64)
}

/// The wait, unless it reaches what the manifest allows.
fn capped(wait: f64, most: Option<f64>) -> Option<Wait> {
    match most {
        Some(most) if wait >= most => Some(Wait::TooLong { asked: duration(wait) }),
        _ => seconds(wait),
    }
}

fn seconds(seconds: f64) -> Option<Wait> {
    (seconds > 0.0).then(|| Wait::For(duration(seconds)))
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(WAIT_MAX.as_secs_f64())).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::error_handler::ErrorHandler;
    use crate::connector::reading::Compat;
    use crate::connector::reading::ErrorPolicy;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::answer;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn wait(yaml: &str, tries: u32, headers: &[(&str, &str)], compat: Compat) -> Option<f64> {
        let handler: ErrorHandler = component(yaml, "HttpRequester", "error_handler");
        let policy = ErrorPolicy::new(Some(&handler), scope(&json!({"wait": 7})), compat);
        match policy.wait(tries, Some(&answer(429, headers, "")), NOW.parse().unwrap(), &Entropy::system()).unwrap() {
            Wait::For(wait) => Some(wait.as_secs_f64()),
            Wait::Unsaid | Wait::TooLong { .. } => None,
        }
    }

    /// The first strategy that knows a wait decides, one second is added, and without one the wait doubles.
    #[test]
    fn waits_follow_strategies() {
        let check = |strategies: &str, tries, headers: &[(&str, &str)]| {
            wait(&format!("{{backoff_strategies: [{strategies}]}}"), tries, headers, Compat::Safe)
        };
        assert_eq!(check("{type: ConstantBackoffStrategy, backoff_time_in_seconds: \"{{ config['wait'] }}\"}", 1, &[]), Some(8.0));
        assert_eq!(
            (1..4).map(|tries| check("{type: ExponentialBackoffStrategy, factor: 3}", tries, &[]).unwrap()).collect::<Vec<_>>(),
            [7.0, 13.0, 25.0]
        );
        let header = "{type: WaitTimeFromHeader, header: X-Reset, regex: '[0-9]+', max_waiting_time_in_seconds: 60}";
        assert_eq!(check(header, 1, &[("x-reset", "30s")]), Some(31.0));
        assert_eq!(check(header, 1, &[("x-reset", "61")]), None);
        assert_eq!(check(header, 3, &[("x-reset", "soon")]), None, "nobody says how long");
        assert_eq!(
            check("{type: WaitTimeFromHeader, header: X-Reset, regex: 'x(\\d+)'}", 1, &[("x-reset", "12")]),
            Some(13.0),
            "no match: all"
        );
        let own =
            "{type: WaitTimeFromHeader, header: X-Reset, regex: \"[0-{{ config['wait'] }}]+\", max_waiting_time_in_seconds: \"{{ 0 }}\"}";
        assert_eq!(check(own, 1, &[("x-reset", "0")]), None, "a wait of nothing is no wait");
        assert_eq!(check(own, 1, &[("x-reset", "57s")]), None, "none is allowed");
        let body = "{type: WaitTimeFromResponse, wait_time_in_seconds: \"{{ response['in'] or headers['x-in'] }}\"}";
        assert_eq!(check(body, 1, &[("x-in", "4")]), Some(5.0));
        assert_eq!(check(&format!("{body}, {{type: ConstantBackoffStrategy, backoff_time_in_seconds: 2}}"), 1, &[]), Some(3.0));
        let jitter = check("{type: ConstantBackoffStrategy, backoff_time_in_seconds: 2, jitter_range_in_seconds: 3}", 1, &[]).unwrap();
        assert!((3.0..=9.0).contains(&jitter), "{jitter}");
        let until = "{type: WaitUntilTimeFromHeader, header: X-At, min_wait: 5}";
        assert_eq!(check(until, 1, &[("x-at", "1795514420")]), Some(21.0));
        assert_eq!(check(until, 1, &[("x-at", "1")]), Some(6.0));
        assert_eq!(check(&format!("{header}, {until}"), 1, &[]), Some(6.0));
        let doubled = |tries| wait("{}", tries, &[], Compat::Strict).unwrap();
        assert_eq!((1..5).map(doubled).collect::<Vec<_>>(), [1.0, 2.0, 4.0, 8.0]);
    }

    /// `Retry-After` is obeyed unnamed, in seconds and as a date; the reference engine knows neither.
    #[test]
    fn retry_after_is_obeyed() {
        assert_eq!(wait("{}", 1, &[("Retry-After", "42")], Compat::Safe), Some(42.0));
        assert_eq!(wait("{}", 1, &[("Retry-After", "Tue, 24 Nov 2026 10:01:00 GMT")], Compat::Safe), Some(60.0));
        assert_eq!(wait("{}", 1, &[("Retry-After", "whenever")], Compat::Safe), None);
        assert_eq!(wait("{}", 1, &[("Retry-After", "42")], Compat::Strict), Some(1.0));
        assert_eq!(wait("{}", 1, &[("Retry-After", "4000000000")], Compat::Safe), Some(WAIT_MAX.as_secs_f64()));
    }
}
