//! OAuth 2.0 and API keys: how a connection gets, renews and gives up its credential.
//!
//! ```text
//! code::begin ─> the customer's browser ─> code::accept ─> code::redeem ─┐
//!                                                                        ├─> tokens::Tokens ─> connection's credential
//! renewal::Renewer (single flight, durable before first use) ────────────┘
//! revocation_endpoint::revoke <─ the act of revocation, after the gate is closed
//! ```
//!
//! Requests go out through [`wire::Wire`], which `fetch` implements over the one guarded client; what is kept goes through
//! [`renewal::Keeper`] and [`code::PendingStore`]. So nothing here knows HTTP or the store.

mod call;
pub mod code;
pub mod error;
pub mod keeping;
pub mod manifest_request;
pub mod provider;
pub mod renewal;
pub mod revocation_endpoint;
pub mod tokens;
pub mod wire;

pub use error::AuthorizationError;
