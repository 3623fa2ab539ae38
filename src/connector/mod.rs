//! The language of connectors: manifests, their components and expressions, and how to treat what they read. Pure.

pub mod datetime;
pub mod expression;
mod number;
pub mod path;
#[cfg(test)]
mod tables;
