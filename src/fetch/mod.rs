//! Movement inward: guarded requests, budgets, retries, and the reading of a stream into pages. Never writes.
//!
//! ```text
//! retry::attempts ─ each attempt anew ─> budget::Budgets::acquire ─> client::Client::send ─> egress::Egress ─> socket
//!                                                    ^ Budgets::observe <─ Incoming ┘
//! ```
//!
//! **Invariant**: there is one HTTP client in the program, it is private to [`client`], and every request through it holds
//! an `InFlight` of the connection's gate (the one exception is named [`client::Client::send_to_revocation_endpoint`]).

pub mod address;
pub mod budget;
pub mod client;
pub mod dynamic;
pub mod egress;
mod error;
pub mod grants;
pub mod request;
pub mod retry;
pub mod stream;
pub mod token_wire;
pub mod wait;

pub use error::FetchError;

#[cfg(test)]
mod tests;
