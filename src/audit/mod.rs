//! The audit log: entries, checkpoints, proofs, signed statements.

mod entry;

pub use entry::Action;
pub use entry::Actor;
pub use entry::Entry;
pub use entry::EntryError;
