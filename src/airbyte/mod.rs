//! A source that speaks the Airbyte protocol on standard output, for those who have a client of it and no gateway.
//!
//! ```text
//! files ─> input ─> source (connector, client, tokens) ─> read ─> fetch::stream::read ─> pages ─> outlet ─> standard output
//! ```
//!
//! **Invariant**: nothing is kept. There is no data directory, no store and no key here: whoever starts a reading holds the
//! credential and what is read himself, so consent, revocation, lineage and erasure are his business too. That is why these
//! commands, alone of all, do not go through the HTTP face.
//!
//! **Invariant**: no secret of the configuration is written, but for the control message that hands a rotated token back to
//! the platform (`read`).
//!
//! Source for the messages: the protocol's own description (`airbyte_protocol.yaml`, version 2 of the per-stream state).

mod check;
mod data;
mod discover;
mod failure;
mod input;
mod message;
mod outlet;
mod read;
mod source;
mod tokens;

pub use failure::AirbyteError;
pub use input::Catalog;
pub use input::States;
pub use input::config;
pub use outlet::Outlet;
pub use outlet::OutletError;
pub use read::Ended;
pub use read::ReadError;
pub use source::Options;
pub use source::Source;
