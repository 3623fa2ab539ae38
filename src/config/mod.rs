//! The gateway's own configuration.
