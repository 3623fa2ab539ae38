//! The audit log: entries, checkpoints, proofs, signed statements.
