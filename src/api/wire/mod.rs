//! The shapes of bodies: what each noun looks like as JSON, and the JSON Schema that says so.
//!
//! A shape and its schema stand together. Bodies of requests are checked against the very schema that `/openapi.json`
//! shows; tests check answers against theirs.

pub mod audit;
pub mod change;
pub mod connection;
pub mod connector;
pub mod consent;
pub mod copies;
pub mod derivation;
pub mod disclosure;
pub mod erasure;
pub mod impact;
pub mod key;
pub mod keyring;
pub mod lineage;
pub mod openlineage;
pub mod record;
pub mod revocation;
pub mod run;
pub mod schema;
pub mod session;
pub mod store;
pub mod tenant;
