//! What one reading of a stream needs, as pure machines: [`Requests`] says what to ask, [`ErrorPolicy`] what an answer means, [`Selector`]
//! where its records are, [`Pager`] which page comes next, [`TimeCursor`] which windows of time are read and what was seen.
//!
//! `fetch` drives them: for every window of the cursor and every page, build a request, send it until the policy lets an answer
//! pass, select its records, and ask the pager. None of them does I/O, knows the time or waits.

use crate::connector::expression::ExpressionError;
use crate::connector::path::PathError;

mod answer;
mod backoff;
mod credential;
mod cursor;
pub mod decode;
mod error_policy;
mod extraction;
mod job;
mod jwt;
mod opening;
mod pager;
mod partition;
pub mod properties;
mod request;
mod schema;
mod selector;
#[cfg(test)]
pub(in crate::connector) mod support;
mod token;
mod transform;

pub use answer::Answer;
pub use answer::Headers;
pub use backoff::Wait;
pub use credential::LegacyLogin;
pub use credential::chosen;
pub use cursor::Progress;
pub use cursor::TimeCursor;
pub use cursor::Window;
pub use error_policy::ErrorPolicy;
pub use error_policy::Meaning;
pub use error_policy::Outcome;
pub use error_policy::RETRY_TIME_MAX;
pub use job::JobPlan;
pub use job::JobStatus;
pub use job::answer_members;
pub use jwt::JwtPlan;
pub use opening::NO_CURSOR_STATE;
pub use opening::Opened;
pub use opening::migrated;
pub use opening::open;
pub use pager::Injection;
pub use pager::PageSeen;
pub use pager::Pager;
pub use pager::Target;
pub use partition::CHILD_RESPONSE;
pub use partition::Grouping;
pub use partition::ParentRule;
pub use partition::Partition;
pub use partition::Union;
pub use partition::list;
pub use partition::within_limit;
pub use request::Body;
pub use request::PlacedSecret;
pub use request::RequestPlan;
pub use request::Requests;
pub use request::SecretPlace;
pub use schema::SchemaPart;
pub use schema::combined;
pub use schema::schema_parts;
pub use schema::told_schema;
pub use selector::Selection;
pub use selector::Selector;
pub use token::GivenToken;
pub use token::RefreshRefusal;
pub use token::TokenNames;
pub use token::TokenPlan;

/// Whether a reading reproduces the reference engine's mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compat {
    /// Exactly as the reference engine, also where that loses data.
    Strict,
    /// As the reference engine, but right where it is wrong: a cursor that repeats is an error, a body that is no JSON is a failed page,
    /// a cursor value beyond its window does not move the state past the window, `Retry-After` is obeyed without being named.
    #[default]
    Safe,
}

/// Why a stream cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// An expression could not be evaluated.
    #[error("`{field}` cannot be evaluated; check the configuration and connectors' manifest")]
    Expression {
        /// The field of the manifest.
        field: &'static str,
        /// Why.
        source: Box<ExpressionError>,
    },
    /// A value that an expression gave is not of the needed kind.
    #[error("`{field}` is `{found}`, but needs {needs}; check the configuration")]
    Value {
        /// The field of the manifest.
        field: &'static str,
        /// What it is, cut short.
        found: String,
        /// What it has to be.
        needs: &'static str,
    },
    /// Two parts of the manifest say the same parameter, header or field.
    #[error("the {part} `{name}` is set twice in one request; set it in one place of the manifest")]
    Duplicate {
        /// The part of the request.
        part: &'static str,
        /// The name.
        name: String,
    },
    /// The address is none.
    #[error("the request's address `{text}` is no absolute http or https address; check the configuration")]
    Address {
        /// What it rendered to, cut short.
        text: String,
    },
    /// An access token is needed and there is none.
    #[error("the stream needs an access token, and the connection has none; reconnect it")]
    NoAccessToken,
    /// A job has a status that the manifest gives no meaning.
    #[error("the job's status is `{status}`, which `status_mapping` gives no meaning; add it there")]
    JobStatus {
        /// The status, cut short.
        status: String,
    },
    /// The configuration chooses no authenticator.
    #[error("the configuration's `{path}` is {found}, but chooses one of {accepted}; check the configuration")]
    Choice {
        /// The path of the member that chooses.
        path: String,
        /// What it is, cut short.
        found: String,
        /// What it may be.
        accepted: String,
    },
    /// A login's answer holds no token.
    #[error("the login's answer holds no session token at `{path}`; check `session_token_path`, and the credentials")]
    NoSessionToken {
        /// Where it was looked for.
        path: String,
    },
    /// The configuration has neither a good session token, nor name and password for a login.
    #[error("the session token of the configuration is refused, and it has no name and password for a login; give either")]
    NoLogin,
    /// A token cannot be signed.
    #[error("the token cannot be signed with {algorithm}: {why}; check the configuration's key")]
    Signing {
        /// The algorithm.
        algorithm: &'static str,
        /// What is wrong with the key, without any of it.
        why: &'static str,
    },
    /// The application leads in a circle.
    #[error(
        "the application gave the page token `{token}` a second time: its paging leads in a circle; correct the paginator, or tell the application's support"
    )]
    Circle {
        /// The token, cut short.
        token: String,
    },
    /// A body is not what the decoder reads.
    #[error("the answer cannot be decoded; look whether the application answers so everywhere, else correct the manifest's decoder")]
    Body {
        /// Why.
        source: decode::DecodeError,
    },
    /// A body is no JSON, or its records cannot be found.
    #[error("no records can be found in it; look whether the application answers so everywhere, else correct the manifest's extractor")]
    Records {
        /// Why.
        source: PathError,
    },
    /// A date, duration or format cannot be read.
    #[error("`{field}` cannot be read")]
    Date {
        /// The field of the manifest.
        field: &'static str,
        /// Why.
        source: crate::connector::datetime::DateError,
    },
}

impl ReadingError {
    /// Turns an expression's error into one of the field it stands in.
    pub(crate) fn expression(field: &'static str) -> impl FnOnce(ExpressionError) -> Self {
        move |source| ReadingError::Expression { field, source: Box::new(source) }
    }

    /// Turns a date's error into one of the field it stands in.
    fn date(field: &'static str) -> impl FnOnce(crate::connector::datetime::DateError) -> Self {
        move |source| ReadingError::Date { field, source }
    }
}

/// Whether a value counts as empty in Python.
fn counts_as_empty(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
