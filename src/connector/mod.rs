//! Definitions of how to read an application, and the pure machines that follow them. Nothing here does I/O, except that a
//! connector may be loaded from a path.

pub mod catalogue;
pub mod column;
pub mod component;
pub mod configuration;
pub mod datetime;
pub mod definition;
pub mod expression;
pub mod manifest;
mod number;
pub mod path;
pub mod problem;
pub mod reading;
#[cfg(test)]
mod tables;
pub mod treatment;
pub mod yaml;
