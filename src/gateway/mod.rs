//! Composition: one data directory opened, its services joined.

pub mod services;
