//! What an answer means.
//!
//! Source for the order of handlers and filters and the meaning of statuses: the error handlers of airbyte-cdk (LOWCODE.md
//! section 4.7).

use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::component::error_handler::DefaultErrorHandler;
use crate::connector::component::error_handler::ErrorHandler;
use crate::connector::component::error_handler::FailureKind;
use crate::connector::component::error_handler::HttpResponseFilter;
use crate::connector::component::error_handler::ResponseAction;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope;
use crate::connector::reading::Answer;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;
use crate::connector::reading::backoff;
use crate::connector::reading::backoff::Failed;
use crate::connector::reading::backoff::WAIT_MAX;
use crate::connector::reading::backoff::Wait;
use crate::ids::Entropy;

/// The tries after the first when the manifest does not say.
pub const RETRIES: u32 = 5;
/// The most tries after the first, whatever the manifest says.
pub const RETRIES_MAX: u32 = 50;
/// The longest that the tries of one request may take together.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(600);
/// Refusals that may pass: the request was slow, in the way of another, or too early.
const REFUSALS_THAT_PASS: [u16; 5] = [408, 409, 423, 425, 429];

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
    /// The access token is renewed, once, and the request is sent again.
    Renew,
    /// The slice is read from its first page on, or from where it was left.
    ResetPagination,
    /// The page is asked for again with fewer records.
    ReducePageSize,
    /// The window is cut into smaller ones.
    SplitWindow,
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
    ///
    /// # Errors
    /// When its expression fails.
    pub fn retries(&self) -> Result<u32, ReadingError> {
        let Some(number) = self.handlers.first().and_then(|handler| handler.max_retries.as_ref()) else { return Ok(RETRIES) };
        // An expression without a value leaves the number as it is without the field.
        let number = number.number(&self.scope).map_err(ReadingError::expression("max_retries"))?;
        Ok(number.unwrap_or(RETRIES).min(RETRIES_MAX))
    }

    /// What an answer means. The first handler decides that lets it pass, ignores it or tries again; or else the last.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn outcome(&self, answer: &Answer) -> Result<Outcome, ReadingError> {
        let mut outcome = self.by_status(answer);
        for handler in &self.handlers {
            outcome = match self.filtered(handler, answer)? {
                Some(filtered) => filtered,
                None => self.by_status(answer),
            };
            if !matches!(outcome.meaning, Meaning::Fail | Meaning::RateLimited | Meaning::Renew) {
                break;
            }
        }
        Ok(outcome)
    }

    /// What an answer means by its status alone. The reference engine tries every refusal again that it does not know.
    fn by_status(&self, answer: &Answer) -> Outcome {
        let outcome = default_outcome(answer);
        let is_final = matches!(answer.status, 400..=499) && !REFUSALS_THAT_PASS.contains(&answer.status);
        match outcome.meaning {
            Meaning::Retry if self.compat == Compat::Safe && is_final => Outcome { meaning: Meaning::Fail, ..outcome },
            _ => outcome,
        }
    }

    /// The wait before the next try. `tries` counts those made, from 1; without an answer the request failed on its way.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn wait(&self, tries: u32, answer: Option<&Answer>, now: Timestamp, entropy: &Entropy) -> Result<Wait, ReadingError> {
        let failed = Failed { tries, answer, now, entropy };
        for strategy in self.handlers.iter().flat_map(|handler| &handler.backoff_strategies) {
            match backoff::wait(strategy, &self.scope, &failed)? {
                // The reference engine sleeps one second more than a strategy says.
                Some(Wait::For(wait)) if !wait.is_zero() => return Ok(Wait::For((wait + Duration::from_secs(1)).min(WAIT_MAX))),
                Some(Wait::TooLong { asked }) => return Ok(Wait::TooLong { asked }),
                _ => {}
            }
        }
        if self.compat == Compat::Safe {
            let asked = answer.and_then(|answer| backoff::retry_after(answer, now));
            return Ok(asked.map_or(Wait::Unsaid, |wait| Wait::For(wait.min(WAIT_MAX))));
        }
        let doublings = tries.saturating_sub(1).min(10);
        Ok(Wait::For(Duration::from_secs(1 << doublings)))
    }

    fn filtered(&self, handler: &DefaultErrorHandler, answer: &Answer) -> Result<Option<Outcome>, ReadingError> {
        for filter in &handler.response_filters {
            // In the reference engine a filter without an action matches nothing.
            if filter.action.is_none() && self.compat == Compat::Strict {
                continue;
            }
            if self.matches(filter, answer)? {
                let default = self.by_status(answer);
                let meaning = filter.action.map_or(default.meaning, Meaning::from);
                let message = filter.error_message.as_ref().map(|message| self.message(message, answer)).transpose()?;
                let reason = message.filter(|message| !message.is_empty()).unwrap_or(default.reason);
                let failure = filter.failure_type.filter(|_| meaning == Meaning::Fail).unwrap_or(default.failure);
                return Ok(Some(Outcome { meaning, failure, reason }));
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
        let text = match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) => error_text(&body),
            // What is no JSON is the error text itself.
            Err(_) => std::str::from_utf8(&answer.body).ok().map(str::to_owned),
        };
        Ok(!part.is_empty() && text.is_some_and(|text| text.contains(part.as_str())))
    }

    fn message(&self, message: &Expression, answer: &Answer) -> Result<String, ReadingError> {
        message.text(&self.answer_scope(answer)).map_err(ReadingError::expression("error_message"))
    }

    fn answer_scope(&self, answer: &Answer) -> Scope {
        let mut scope = self.scope.clone();
        scope.set("response", answer.response()).set("headers", answer.headers.value()).set("request_url", answer.url.as_str().into());
        scope
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
            ResponseAction::RefreshTokenThenRetry => Meaning::Renew,
            ResponseAction::ResetPagination => Meaning::ResetPagination,
            ResponseAction::ReducePageSize => Meaning::ReducePageSize,
            ResponseAction::SplitRequestWindow => Meaning::SplitWindow,
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
        Value::Number(number) => number.as_f64() == Some(0.0),
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
    use crate::connector::reading::support::answer;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn outcome(yaml: &str, status: u16, body: &str) -> (Meaning, String) {
        let handler: ErrorHandler = component(yaml, "HttpRequester", "error_handler");
        let policy = ErrorPolicy::new(Some(&handler), scope(&json!({"shop": "blue"})), Compat::Safe);
        let outcome = policy.outcome(&answer(status, &[("X-Why", "because")], body)).unwrap();
        (outcome.meaning, outcome.reason)
    }

    /// Without filters the status decides; odd ones are tried again.
    #[test]
    fn statuses_have_meanings() {
        let policy = ErrorPolicy::new(None, scope(&json!({})), Compat::Safe);
        for (statuses, meaning) in [
            (&[200, 201, 204, 304][..], Meaning::Success),
            (&[400, 401, 403, 404, 405], Meaning::Fail),
            (&[408, 500, 501, 503, 409], Meaning::Retry),
            (&[402, 410, 422], Meaning::Fail),
            (&[429], Meaning::RateLimited),
        ] {
            for status in statuses {
                assert_eq!(policy.outcome(&answer(*status, &[], "")).unwrap().meaning, meaning, "{status}");
            }
        }
        assert_eq!(policy.retries().unwrap(), RETRIES);
        let strict = ErrorPolicy::new(None, scope(&json!({})), Compat::Strict);
        for status in [402, 409, 410, 422, 501] {
            assert_eq!(strict.outcome(&answer(status, &[], "")).unwrap().meaning, Meaning::Retry, "{status}");
        }
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
        let texts = "{response_filters: [{error_message_contains: quota, action: RATE_LIMITED}, {error_message_contains: ''},
            {predicate: \"{{ 'v9' in request_url }}\", action: REDUCE_PAGE_SIZE}]}";
        assert_eq!(outcome(texts, 400, "over quota").0, Meaning::RateLimited, "a text is its own message");
        assert_eq!(outcome(texts, 400, r#"{"message": 0, "errors": [{"msg": "quota"}, 5, {"detail": ["x"]}]}"#).0, Meaning::RateLimited);
        assert_eq!(outcome(texts, 400, r#"{"other": "quota"}"#).0, Meaning::Fail);
    }

    /// A filter without an action is dead in the reference engine; here it gives the status its message.
    #[test]
    fn a_filter_without_an_action_tells_why() {
        let handler: ErrorHandler =
            component("{response_filters: [{http_codes: [403], error_message: no plan}]}", "HttpRequester", "error_handler");
        let told = |compat| ErrorPolicy::new(Some(&handler), scope(&json!({})), compat).outcome(&answer(403, &[], "")).unwrap();
        assert_eq!((told(Compat::Safe).meaning, told(Compat::Safe).reason.as_str()), (Meaning::Fail, "no plan"));
        assert_eq!((told(Compat::Strict).meaning, told(Compat::Strict).reason.as_str()), (Meaning::Fail, "the application forbids it"));
    }

    /// The number of tries may come from the configuration.
    #[test]
    fn tries_are_configured() {
        let retries = |number: &str| {
            let handler: ErrorHandler = component(&format!("{{max_retries: {number}}}"), "HttpRequester", "error_handler");
            ErrorPolicy::new(Some(&handler), scope(&json!({"n": "7"})), Compat::Safe).retries().ok()
        };
        assert_eq!(retries("0"), Some(0));
        assert_eq!(retries("\"{{ config['n'] }}\""), Some(7));
        assert_eq!(retries("\"{{ config['none'] }}\""), Some(RETRIES));
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
        assert_eq!(ErrorPolicy::new(Some(&handler), scope(&json!({})), Compat::Safe).retries().unwrap(), 2);
    }
}
