//! Logs and metrics: one line per event, one registry for the process.
//!
//! A metric never carries the name of a tenant, and a log line never a secret, a body or personal data.

pub mod log;
pub mod metrics;
