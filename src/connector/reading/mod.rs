//! What one reading of a stream needs, as pure machines: [`Requests`] says what to ask, [`ErrorPolicy`] what an answer means, [`Selector`]
//! where its records are, [`Pager`] which page comes next, [`TimeCursor`] which windows of time are read and what was seen.
//!
//! `fetch` drives them: for every window of the cursor and every page, build a request, send it until the policy lets an answer
//! pass, select its records, and ask the pager. None of them does I/O, knows the time or waits.

use crate::connector::expression::ExpressionError;
use crate::connector::path::PathError;

mod answer;
mod cursor;
mod error_policy;
mod opening;
mod pager;
mod partition;
mod request;
mod selector;
#[cfg(test)]
pub(in crate::connector) mod support;
mod token;

pub use answer::Answer;
pub use answer::Headers;
pub use cursor::TimeCursor;
pub use cursor::Window;
pub use error_policy::ErrorPolicy;
pub use error_policy::Meaning;
pub use error_policy::Outcome;
pub use error_policy::RETRY_TIME_MAX;
pub use error_policy::Wait;
pub use opening::NO_CURSOR_STATE;
pub use opening::Opened;
pub use opening::migrated;
pub use opening::open;
pub use pager::Injection;
pub use pager::PageSeen;
pub use pager::Pager;
pub use pager::Target;
pub use partition::Partition;
pub use request::Body;
pub use request::PlacedSecret;
pub use request::RequestPlan;
pub use request::Requests;
pub use request::SecretPlace;
pub use selector::Selection;
pub use selector::Selector;
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
    /// The application leads in a circle.
    #[error(
        "the application gave the page token `{token}` a second time: its paging leads in a circle; correct the paginator, or tell the application's support"
    )]
    Circle {
        /// The token, cut short.
        token: String,
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
    fn expression(field: &'static str) -> impl FnOnce(ExpressionError) -> Self {
        move |source| ReadingError::Expression { field, source: Box::new(source) }
    }

    /// Turns a date's error into one of the field it stands in.
    fn date(field: &'static str) -> impl FnOnce(crate::connector::datetime::DateError) -> Self {
        move |source| ReadingError::Date { field, source }
    }
}
