//! Logs and metrics: one line per event, one registry for the process.
//!
//! A metric never carries the name of a tenant, and a log line never a secret, a body or personal data.

pub mod activity;
pub mod log;
pub mod metrics;

/// An error with its causes, outermost first: for the one place where it is handled.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let part = source.to_string();
        // A transparent error repeats its cause's words.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = source.source();
    }
    text
}
