//! Logs: lines on standard error, so that standard output stays the result's own.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that names what is logged, in `tracing`'s filter language (`headgate=debug`).
pub const FILTER_VARIABLE: &str = "HEADGATE_LOG";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal.
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

/// Starts the process's log; `default_filter` holds where [`FILTER_VARIABLE`] is unset or unreadable.
///
/// A second call changes nothing: the first subscriber stays.
pub fn start(format: Format, default_filter: &str) {
    let (filter, refused) = match std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty()) {
        None => (EnvFilter::new(default_filter), None),
        Some(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(default_filter), Some(error)),
        },
    };
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    let started = match format {
        Format::Text => lines.with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Some(error) = refused {
        tracing::error!(%error, "{FILTER_VARIABLE} is no filter, so {default_filter} holds; write it like headgate=debug");
    }
    if started.is_err() {
        tracing::debug!("the log was already started; its first settings stay");
    }
}
