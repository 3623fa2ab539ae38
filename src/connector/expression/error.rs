//! What can be wrong with an expression, when it is compiled and when it is evaluated.

use std::sync::Arc;

/// The refusal of an expression.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExpressionError {
    /// The text is no expression.
    #[error("`{template}` cannot be read as an expression: {detail}")]
    Syntax {
        /// The template.
        template: String,
        /// What the parser found.
        detail: String,
    },
    /// The template is too long.
    #[error("an expression of {bytes} bytes is longer than the {max} that are accepted; split it")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is accepted.
        max: usize,
    },
    /// A name that does not exist in this place.
    #[error("`{name}` in `{template}` is not known in {place}; the names there are {accepted}")]
    Undeclared {
        /// The name.
        name: String,
        /// The template.
        template: String,
        /// The place, in words.
        place: &'static str,
        /// The accepted names, with commas.
        accepted: String,
    },
    /// The state of a stream is not readable from expressions.
    #[error("`stream_state` in `{template}` is not supported by the language; use `stream_interval` or `stream_slice`")]
    StreamState {
        /// The template.
        template: String,
    },
    /// A part of the language that Headgate does not have.
    #[error("the {kind} `{name}` in `{template}` is not implemented")]
    Unsupported {
        /// Filter, test, function, method, statement or call.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The template.
        template: String,
    },
    /// A name that the place declares was not given a value: an error of the caller.
    #[error("`{name}` in `{template}` was given no value")]
    Unset {
        /// The name.
        name: String,
        /// The template.
        template: String,
    },
    /// Something was asked of a value that is not there.
    #[error("`{template}` asks for something of a value that is missing")]
    Undefined {
        /// The template.
        template: String,
    },
    /// The evaluation failed.
    #[error("`{template}` cannot be evaluated: {detail}")]
    Failed {
        /// The template.
        template: String,
        /// What went wrong.
        detail: String,
        /// The engine's words.
        source: Arc<minijinja::Error>,
    },
}
