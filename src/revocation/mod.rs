//! Stopping a connection, at once and for good.
