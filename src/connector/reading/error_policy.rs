//! What an answer means, and how long to wait before the next try.
//!
//! Source for the order of handlers and filters, the meaning of statuses and the waits: the error handlers of airbyte-cdk (LOWCODE.md
//! section 4.7).

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::error_handler::BackoffStrategy;
use crate::connector::component::error_handler::DefaultErrorHandler;
use crate::connector::component::error_handler::ErrorHandler;
use crate::connector::component::error_handler::FailureKind;
use crate::connector::component::error_handler::HttpResponseFilter;
use crate::connector::component::error_handler::ResponseAction;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Pattern;
use crate::connector::component::value::Scalar;
use crate::connector::expression::Scope;
use crate::connector::reading::Answer;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;

/// The tries after the first when the manifest does not say.
pub const RETRIES: u32 = 5;
/// The most tries after the first, whatever the manifest says.
pub const RETRIES_MAX: u32 = 50;
/// The longest that the tries of one request may take together.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(600);
/// The longest wait before one try.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Its records are read.
    Success,
    /// It counts as an empty page.
    Ignore,
    /// The request is sent again.
    Retry,
    /// The request is sent again when the application allows more.
    RateLimited,
    /// The stream fails.
    Fail,
}

/// What an answer means, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The meaning.
    pub meaning: Meaning,
    /// Whose failure it is, when it is one.
    pub failure: FailureKind,
    /// What people are told; nothing of the body, unless the manifest's own message quotes it.
    pub reason: String,
}

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

/// The error handlers of one stream.
#[derive(Debug)]
pub struct ErrorPolicy<'a> {
    handlers: Vec<&'a DefaultErrorHandler>,
    scope: Scope,
    compat: Compat,
}

impl<'a> ErrorPolicy<'a> {
    /// The policy of a requester. `scope` has `config`.
    pub fn new(handler: Option<&'a ErrorHandler>, scope: Scope, compat: Compat) -> Self {
        let mut handlers = Vec::new();
        if let Some(handler) = handler {
            flatten(handler, &mut handlers);
        }
        ErrorPolicy { handlers, scope, compat }
    }

    /// The tries after the first: the first handler's number.
    pub fn retries(&self) -> u32 {
        self.handlers.first().map_or(RETRIES, |handler| handler.max_retries).min(RETRIES_MAX)
    }

    /// What an answer means. The first handler decides that lets it pass, ignores it or tries again; or else the last.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn outcome(&self, answer: &Answer) -> Result<Outcome, ReadingError> {
        let mut outcome = default_outcome(answer);
        for handler in &self.handlers {
            outcome = match self.filtered(handler, answer)? {
                Some(filtered) => filtered,
                None => default_outcome(answer),
            };
            if matches!(outcome.meaning, Meaning::Success | Meaning::Ignore | Meaning::Retry) {
                break;
            }
        }
        Ok(outcome)
    }

    /// The wait before the next try. `tries` counts those made, from 1; without an answer the request failed on its way.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn wait(&self, tries: u32, answer: Option<&Answer>, now: Timestamp) -> Result<Wait, ReadingError> {
        for strategy in self.handlers.iter().flat_map(|handler| &handler.backoff_strategies) {
            match self.strategy_wait(strategy, tries, answer, now)? {
                // The reference engine sleeps one second more than a strategy says.
                Some(Wait::For(wait)) if !wait.is_zero() => return Ok(Wait::For((wait + Duration::from_secs(1)).min(WAIT_MAX))),
                Some(Wait::TooLong { asked }) => return Ok(Wait::TooLong { asked }),
                _ => {}
            }
        }
        if let (Compat::Safe, Some(wait)) = (self.compat, answer.and_then(|answer| retry_after(answer, now))) {
            return Ok(Wait::For(wait.min(WAIT_MAX)));
        }
        if self.compat == Compat::Safe {
            return Ok(Wait::Unsaid);
        }
        let doublings = tries.saturating_sub(1).min(10);
        Ok(Wait::For(Duration::from_secs(1 << doublings)))
    }

    fn filtered(&self, handler: &DefaultErrorHandler, answer: &Answer) -> Result<Option<Outcome>, ReadingError> {
        for filter in &handler.response_filters {
            if self.matches(filter, answer)? {
                let default = default_outcome(answer);
                let meaning = filter.action.map_or(default.meaning, Meaning::from);
                let reason = match &filter.error_message {
                    Some(message) => self.message(message, answer)?,
                    None => default.reason,
                };
                return Ok(Some(Outcome { meaning, failure: filter.failure_type.unwrap_or(default.failure), reason }));
            }
        }
        Ok(None)
    }

    /// Any of the three conditions is enough.
    fn matches(&self, filter: &HttpResponseFilter, answer: &Answer) -> Result<bool, ReadingError> {
        if filter.http_codes.contains(&u32::from(answer.status)) {
            return Ok(true);
        }
        if let Some(predicate) = &filter.predicate {
            // A predicate sees no configuration.
            let mut scope = self.answer_scope(answer);
            scope.set("config", ().into());
            if predicate.truth(&scope).map_err(ReadingError::expression("predicate"))? {
                return Ok(true);
            }
        }
        let Some(part) = &filter.error_message_contains else { return Ok(false) };
        let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        Ok(error_text(&body).is_some_and(|text| text.contains(part.as_str())))
    }

    fn message(&self, message: &Expression, answer: &Answer) -> Result<String, ReadingError> {
        message.text(&self.answer_scope(answer)).map_err(ReadingError::expression("error_message"))
    }

    fn answer_scope(&self, answer: &Answer) -> Scope {
        let mut scope = self.scope.clone();
        scope.set("response", answer.response()).set("headers", answer.headers.value());
        scope
    }

    fn strategy_wait(
        &self,
        strategy: &BackoffStrategy,
        tries: u32,
        answer: Option<&Answer>,
        now: Timestamp,
    ) -> Result<Option<Wait>, ReadingError> {
        Ok(match strategy {
            BackoffStrategy::ConstantBackoffStrategy(constant) => {
                seconds(self.number(&constant.backoff_time_in_seconds, "backoff_time_in_seconds")?)
            }
            BackoffStrategy::ExponentialBackoffStrategy(exponential) => {
                let factor = self.number(&exponential.factor, "factor")?;
                seconds(factor * f64::from(1_u32 << tries.min(20)))
            }
            BackoffStrategy::WaitTimeFromHeader(header) => {
                let found = self.header(answer, &header.header, header.regex.as_ref())?;
                match (found, header.max_waiting_time_in_seconds) {
                    (Some(asked), Some(most)) if most > 0.0 && asked >= most => Some(Wait::TooLong { asked: duration(asked) }),
                    (found, _) => found.and_then(seconds),
                }
            }
            BackoffStrategy::WaitUntilTimeFromHeader(header) => {
                let least = header.min_wait.as_ref().map(|least| self.number(least, "min_wait")).transpose()?.filter(|least| *least != 0.0);
                let until = self.header(answer, &header.header, header.regex.as_ref())?.filter(|until| *until != 0.0);
                let wait = until.map(|until| until - now.as_millisecond() as f64 / 1000.0);
                match (wait, least) {
                    (Some(wait), Some(least)) => seconds(wait.max(least)),
                    (Some(wait), None) => seconds(wait),
                    (None, least) => least.and_then(seconds),
                }
            }
        })
    }

    fn number(&self, scalar: &Scalar, field: &'static str) -> Result<f64, ReadingError> {
        let value = scalar.value(&self.scope).map_err(ReadingError::expression(field))?;
        let wrong = || ReadingError::Value { field, found: crate::ids::cut(&value.to_string()), needs: "a number of seconds" };
        value.as_f64().ok_or_else(wrong)
    }

    /// The number in a header: all of it, or what the pattern finds at its beginning.
    fn header(&self, answer: Option<&Answer>, name: &Expression, pattern: Option<&Pattern>) -> Result<Option<f64>, ReadingError> {
        let Some(answer) = answer else { return Ok(None) };
        let name = name.text(&self.scope).map_err(ReadingError::expression("header"))?;
        let Some(value) = answer.headers.get(&name) else { return Ok(None) };
        let number = match pattern {
            Some(Pattern(regex)) => regex.find(&value).filter(|found| found.start() == 0).map(|found| found.as_str().to_owned()),
            None => Some(value),
        };
        Ok(number.and_then(|number| number.trim().parse::<f64>().ok()).filter(|number| number.is_finite()))
    }
}

impl From<ResponseAction> for Meaning {
    fn from(action: ResponseAction) -> Self {
        match action {
            ResponseAction::Success => Meaning::Success,
            ResponseAction::Fail => Meaning::Fail,
            ResponseAction::Retry => Meaning::Retry,
            ResponseAction::Ignore => Meaning::Ignore,
            ResponseAction::RateLimited => Meaning::RateLimited,
        }
    }
}

fn flatten<'a>(handler: &'a ErrorHandler, into: &mut Vec<&'a DefaultErrorHandler>) {
    match handler {
        ErrorHandler::DefaultErrorHandler(handler) => into.push(handler),
        ErrorHandler::CompositeErrorHandler(composite) => composite.error_handlers.iter().for_each(|handler| flatten(handler, into)),
    }
}

/// The meaning of a status when no filter says otherwise; what to do about it is said where it is told. Statuses that are not listed are tried again, odd as that is for some.
fn default_outcome(answer: &Answer) -> Outcome {
    use FailureKind::Config;
    use FailureKind::System;
    use FailureKind::Transient;
    let (meaning, failure, what) = match answer.status {
        200..=399 => (Meaning::Success, System, "the request was answered"),
        400 => (Meaning::Fail, System, "the application calls the request malformed"),
        401 => (Meaning::Fail, Config, "the application does not know the credential"),
        403 => (Meaning::Fail, Config, "the application forbids it"),
        404 => (Meaning::Fail, System, "the application has nothing at this address"),
        405 => (Meaning::Fail, System, "the application does not take this verb"),
        408 => (Meaning::Retry, Transient, "the application waited too long for the request"),
        429 => (Meaning::RateLimited, Transient, "the application allows no more requests for now"),
        500..=599 => (Meaning::Retry, Transient, "the application failed"),
        _ => (Meaning::Retry, System, "the application refused the request"),
    };
    Outcome { meaning, failure, reason: what.to_owned() }
}

/// The wait that a Retry-After header names, in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let value = answer.headers.get("retry-after")?;
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    Some(Duration::from_millis(u64::try_from(until.as_millisecond() - now.as_millisecond()).unwrap_or(0)))
}

fn seconds(seconds: f64) -> Option<Wait> {
    (seconds > 0.0).then(|| Wait::For(duration(seconds)))
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(WAIT_MAX.as_secs_f64())).unwrap_or(Duration::ZERO)
}

/// The members under which applications put what went wrong, in the order they are looked for.
const ERROR_MEMBERS: &[&str] =
    &["message", "messages", "error", "errors", "failures", "failure", "detail", "err", "error_message", "msg", "reason", "status_message"];

/// The error text in a body, wherever it usually is.
fn error_text(body: &Value) -> Option<String> {
    match body {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(error_text).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => ERROR_MEMBERS.iter().filter_map(|name| map.get(*name)).find(|value| !is_empty(value)).and_then(error_text),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::answer;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn outcome(yaml: &str, status: u16, body: &str) -> (Meaning, String) {
        let handler: ErrorHandler = component(yaml, "HttpRequester", "error_handler");
        let policy = ErrorPolicy::new(Some(&handler), scope(&json!({"shop": "blue"})), Compat::Safe);
        let outcome = policy.outcome(&answer(status, &[("X-Why", "because")], body)).unwrap();
        (outcome.meaning, outcome.reason)
    }

    fn wait(yaml: &str, tries: u32, headers: &[(&str, &str)], compat: Compat) -> Option<f64> {
        let handler: ErrorHandler = component(yaml, "HttpRequester", "error_handler");
        let policy = ErrorPolicy::new(Some(&handler), scope(&json!({"wait": 7})), compat);
        match policy.wait(tries, Some(&answer(429, headers, "")), NOW.parse().unwrap()).unwrap() {
            Wait::For(wait) => Some(wait.as_secs_f64()),
            Wait::Unsaid | Wait::TooLong { .. } => None,
        }
    }

    /// Without filters the status decides; odd ones are tried again.
    #[test]
    fn statuses_have_meanings() {
        let policy = ErrorPolicy::new(None, scope(&json!({})), Compat::Safe);
        for (statuses, meaning) in [
            (&[200, 201, 204, 304][..], Meaning::Success),
            (&[400, 401, 403, 404, 405], Meaning::Fail),
            (&[408, 500, 501, 503, 402, 409, 422], Meaning::Retry),
            (&[429], Meaning::RateLimited),
        ] {
            for status in statuses {
                assert_eq!(policy.outcome(&answer(*status, &[], "")).unwrap().meaning, meaning, "{status}");
            }
        }
        assert_eq!(policy.retries(), RETRIES);
    }

    /// Filters come before success, on every answer; any of their conditions is enough, and the first that matches decides.
    #[test]
    fn filters_decide_first() {
        let filters = "{response_filters: [
            {predicate: \"{{ response['ok'] == false }}\", action: FAIL, error_message: \"{{ config['shop'] }}: {{ response['why'] }} {{ headers['x-why'] }}\"},
            {http_codes: [404], action: IGNORE},
            {error_message_contains: 'no access', action: IGNORE, http_codes: [418]},
            {http_codes: [409], failure_type: transient_error}]}";
        assert_eq!(outcome(filters, 200, r#"{"ok": false, "why": "closed"}"#), (Meaning::Fail, "blue: closed because".into()));
        assert_eq!(outcome(filters, 200, r#"{"ok": true}"#).0, Meaning::Success);
        assert_eq!(outcome(filters, 404, "").0, Meaning::Ignore);
        assert_eq!(outcome(filters, 403, r#"{"errors": [{"message": "you have no access here"}]}"#).0, Meaning::Ignore);
        assert_eq!(outcome(filters, 403, "not json").0, Meaning::Fail);
        assert_eq!(outcome(filters, 409, "").0, Meaning::Retry);
    }

    /// Of several handlers the first decides that passes, ignores or tries again; a failure or a limit does not stop the search.
    #[test]
    fn handlers_are_searched() {
        let composite = "{type: CompositeErrorHandler, error_handlers: [
            {response_filters: [{http_codes: [403], action: FAIL}], max_retries: 2},
            {response_filters: [{http_codes: [403, 500], action: IGNORE}], max_retries: 9}]}";
        assert_eq!(outcome(composite, 403, "").0, Meaning::Ignore);
        assert_eq!(outcome(composite, 500, "").0, Meaning::Retry, "the first handler's default hides the second's filter");
        assert_eq!(outcome(composite, 429, "").0, Meaning::RateLimited);
        let handler: ErrorHandler = component(composite, "HttpRequester", "error_handler");
        assert_eq!(ErrorPolicy::new(Some(&handler), scope(&json!({})), Compat::Safe).retries(), 2);
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
