//! Logs and metrics: one line per event, one registry for the process.
