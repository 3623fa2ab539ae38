//! The handlers: each takes what its row promises, asks one service, and answers.

pub mod admin;
pub mod audit;
pub mod changes;
pub mod connections;
pub mod consents;
pub mod copies;
pub mod derivations;
pub mod disclosures;
pub mod erasures;
pub mod facets;
pub mod graph;
pub mod health;
pub mod impact;
pub mod keyring;
pub mod keys;
pub mod marquez;
pub mod openlineage;
pub mod records;
pub mod revocations;
pub mod runs;
pub mod sessions;
pub mod tenants;
