//! What a statement says: one type for each `predicateType`. Members are written in the order they have here.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::ids::ConnectionId;
use crate::ids::RecordId;
use crate::ids::TenantId;

/// What a statement is about, by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    /// Records were made unreadable.
    Erasure(Box<ErasureCertificate>),
    /// A connection's access was stopped.
    Revocation(RevocationReceipt),
    /// A customer agreed.
    Consent(ConsentReceipt),
}

impl Predicate {
    /// The type's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Predicate::Erasure(_) => ErasureCertificate::TYPE,
            Predicate::Revocation(_) => RevocationReceipt::TYPE,
            Predicate::Consent(_) => ConsentReceipt::TYPE,
        }
    }

    /// Whether it was made in a data directory for tests.
    pub fn is_test(&self) -> bool {
        match self {
            Predicate::Erasure(certificate) => certificate.test,
            Predicate::Revocation(receipt) => receipt.test,
            Predicate::Consent(receipt) => receipt.test,
        }
    }
}

/// The certificate of an erasure, issued when its sweep has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureCertificate {
    /// What was erased.
    pub scope: Scope,
    /// How much.
    pub counts: Counts,
    /// How many artifacts that were made from it and do not outlive it; the subject's root commits to them behind the records.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub artifacts: u64,
    /// The ids of the keys that were destroyed; with them everything that they sealed became unreadable.
    pub keys_destroyed: Vec<String>,
    /// When the keys were destroyed.
    pub started_at: Timestamp,
    /// When the sweep had ended.
    pub completed_at: Timestamp,
    /// What was kept, and why.
    pub kept: Vec<Kept>,
    /// Whether the data directory was one for tests.
    pub test: bool,
    /// The proof that the erasure stands in the audit log.
    pub audit: AuditProof,
}

impl ErasureCertificate {
    /// Its `predicateType`.
    pub const TYPE: &'static str = "urn:headgate:erasure:v1";
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What an act extends to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Scope {
    /// One stream of a connection.
    Stream {
        /// The connection.
        connection: ConnectionId,
        /// The stream's name.
        stream: String,
    },
    /// A whole connection.
    Connection {
        /// The connection.
        connection: ConnectionId,
    },
    /// Everything about one person within a tenant. The person's own datum is not repeated: the subject's digest commits to it.
    Subject {
        /// The tenant.
        tenant: TenantId,
        /// The kind of datum by which the person was named, such as `email`.
        subject_kind: String,
    },
    /// A whole tenant.
    Tenant {
        /// The tenant.
        tenant: TenantId,
    },
    /// One record.
    Record {
        /// The record.
        record: RecordId,
    },
}

/// How much was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Versions of records, the last ones included.
    pub versions: u64,
}

/// Something that an erasure left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What it is.
    pub what: String,
    /// Why it stays.
    pub reason: String,
    /// Until when, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The proof that an entry stands in the log that a checkpoint signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditProof {
    /// The entry's index.
    pub entry: u64,
    /// The bytes that are hashed, in base64.
    pub leaf: String,
    /// The signed note.
    pub checkpoint: String,
    /// From the leaf to the checkpoint's root.
    pub proof: InclusionProof,
}

/// An inclusion proof as `/v1/audit/proof` answers it; hashes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// The entry's index.
    pub leaf_index: u64,
    /// The size of the tree that the proof leads into.
    pub tree_size: u64,
    /// The RFC 6962 hash of the leaf.
    pub leaf_hash: String,
    /// The hashes beside the way up, lowest first.
    pub hashes: Vec<String>,
}

/// The receipt of a revocation, as it stood when it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationReceipt {
    /// The connection.
    pub connection: ConnectionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which application it read.
    pub connector: String,
    /// Why, in the words of whoever revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the gate was closed: no data or token request was started after.
    pub revoked_at: Timestamp,
    /// What has become of the credential.
    pub credential: CredentialFate,
    /// Whether the data directory was one for tests.
    pub test: bool,
}

impl RevocationReceipt {
    /// Its `predicateType`.
    pub const TYPE: &'static str = "urn:headgate:revocation:v1";
}

/// What became of a credential at a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialFate {
    /// There was none.
    None,
    /// Its key is destroyed; the application was not told.
    Destroyed,
    /// It is sealed for the revocation endpoint alone, until that answers or 24 hours are over.
    Revoking,
    /// The application has revoked it, and its key is destroyed.
    Revoked,
}

/// The receipt of a consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentReceipt {
    /// The connection.
    pub connection: ConnectionId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which application it reads.
    pub connector: String,
    /// Who agreed.
    pub person: String,
    /// For which organisation.
    pub organisation: String,
    /// To which version of the policy.
    pub policy_version: String,
    /// The digest of that version's text.
    pub policy_digest: Digest,
    /// For which purposes.
    pub purposes: Vec<String>,
    /// To which streams.
    pub streams: Vec<String>,
    /// The ids of what was acknowledged.
    pub acknowledged: Vec<String>,
    /// When.
    pub agreed_at: Timestamp,
    /// Whether the data directory was one for tests.
    pub test: bool,
}

impl ConsentReceipt {
    /// Its `predicateType`.
    pub const TYPE: &'static str = "urn:headgate:consent:v1";
}
