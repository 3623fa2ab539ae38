//! A graph of lineage in other notations than our own JSON.

pub mod dot;
pub mod prov;
