//! Paths into JSON.

pub(crate) mod raw;
