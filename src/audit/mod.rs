//! The audit log: entries, checkpoints, proofs, signed statements.
//!
//! - [`Entry`] is one leaf: who did what, when, to what; no payload, no secret, no name of a person.
//! - [`Checkpoint`] is the signed head of the log (C2SP tlog-checkpoint), and nothing else.
//! - [`Statement`] is what Headgate signs for others to keep: the certificate of an erasure and the receipts of
//!   revocations and consents, as in-toto statements in DSSE envelopes.
//! - [`verify_file`] checks such a file with a key file alone: it needs neither the service nor its store.
//!
//! A log that is rewritten whole cannot be told from an honest one by itself: checkpoints have to leave the machine.

mod entry;
mod inspection;
mod keyset;
mod log;
mod note;
mod predicate;
mod statement;
mod verify;

pub use entry::Action;
pub use entry::Actor;
pub use entry::Entry;
pub use entry::EntryError;
pub use inspection::Fault;
pub use inspection::Inspection;
pub use keyset::Jwk;
pub use keyset::KeySet;
pub use keyset::KeySetError;
pub use keyset::key_id;
pub use log::AuditError;
pub use log::ConsistencyProof;
pub use log::ListedEntry;
pub use log::Log;
pub use log::row_checks;
pub use note::Checkpoint;
pub use note::NoteError;
pub use note::NoteKey;
pub use predicate::AuditProof;
pub use predicate::ConsentReceipt;
pub use predicate::Counts;
pub use predicate::CredentialFate;
pub use predicate::ErasureCertificate;
pub use predicate::InclusionProof;
pub use predicate::Kept;
pub use predicate::Predicate;
pub use predicate::RevocationReceipt;
pub use predicate::Scope;
pub use statement::Statement;
pub use statement::StatementError;
pub use statement::Subject;
pub use verify::Problem;
pub use verify::Verdict;
pub use verify::verify_file;
