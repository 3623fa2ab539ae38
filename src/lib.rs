//! Headgate stands between a company's Connected Applications and its own services.
//!
//! ```text
//! connector -> authorization -> fetch -> intake (tag + seal) -> store -> query (api, cli)
//!              revocation and erasure cut across: they close, they never fetch
//! ```
//!
//! Modules stand on floors and import only from lower ones; `tests/it/architecture.rs` holds the table.
//!
//! | floor | modules |
//! |---|---|
//! | 7 doors | [`cli`], [`gateway`], [`config`] |
//! | 6 HTTP, and the Airbyte protocol | [`api`], [`airbyte`] |
//! | 5 acts | [`connect`], [`run`], [`revocation`], [`erasure`], [`copies`] |
//! | 4 movement | [`authorization`], [`fetch`], [`intake`] |
//! | 3 nouns with a life | [`connection`], [`lineage`], [`openlineage`] |
//! | 3 nouns with a life | [`connection`], [`lineage`], [`disclosure`] |
//! | 2 keeping | [`store`], [`vault`], [`audit`] |
//! | 1 language, pure | [`connector`], [`record`], [`consent`] |
//! | 0 ground | [`ids`], [`clock`], [`secret`], [`digest`], [`telemetry`], [`merkle`] |
//! | beside | [`sandbox`] |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod airbyte;
pub mod api;
pub mod audit;
pub mod authorization;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod connection;
pub mod connector;
pub mod consent;
pub mod copies;
pub mod digest;
pub mod disclosure;
pub mod erasure;
pub mod fetch;
pub mod gateway;
pub mod ids;
pub mod intake;
pub mod lineage;
pub mod merkle;
pub mod openlineage;
pub mod record;
pub mod revocation;
pub mod run;
pub mod sandbox;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod vault;
