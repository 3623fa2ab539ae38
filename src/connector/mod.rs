//! The language of connectors: manifests, their components and expressions, and how to treat what they read. Pure.

pub mod datetime;
pub mod expression;
pub mod path;
