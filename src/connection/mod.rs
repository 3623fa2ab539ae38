//! A connection's life, its gate and its credential.

pub mod gate;
