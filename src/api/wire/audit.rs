//! The audit log: entries, proofs and the keys that verify them.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::anything;
use crate::api::wire::schema::array;
use crate::api::wire::schema::boolean;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::string;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, counted from 0.
    pub index: u64,
    /// Standard base64 of the hashed bytes.
    pub leaf: String,
    /// What the leaf says, decoded for reading; the leaf is what counts.
    pub entry: Value,
}

/// The schema of [`Entry`].
pub const ENTRY: Schema =
    Schema { name: "AuditEntry", make: || object(&[("index", integer()), ("leaf", string()), ("entry", anything())], &[]) };

/// The schema of a page of entries.
pub const ENTRIES: Schema = Schema { name: "AuditEntries", make: || list(&ENTRY) };

/// An inclusion proof (RFC 6962), hashes in standard base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The entry.
    pub leaf_index: u64,
    /// The size of the tree that it is proven in.
    pub tree_size: u64,
    /// The entry's leaf hash.
    pub leaf_hash: String,
    /// The path, from the leaf upwards.
    pub hashes: Vec<String>,
}

/// The schema of [`Proof`].
pub const PROOF: Schema = Schema {
    name: "InclusionProof",
    make: || {
        let members = [("leaf_index", integer()), ("tree_size", integer()), ("leaf_hash", string()), ("hashes", array(string()))];
        object(&members, &[])
    },
};

/// A consistency proof (RFC 6962), hashes in standard base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// The smaller size.
    pub from: u64,
    /// The larger size.
    pub to: u64,
    /// The proof.
    pub hashes: Vec<String>,
}

/// The schema of [`Consistency`].
pub const CONSISTENCY: Schema =
    Schema { name: "ConsistencyProof", make: || object(&[("from", integer()), ("to", integer()), ("hashes", array(string()))], &[]) };

/// What the log is to be checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct VerifyOrder {
    /// The text of a checkpoint that was kept elsewhere.
    pub checkpoint: Option<String>,
}

/// The schema of [`VerifyOrder`].
pub const VERIFY_ORDER: Schema = Schema { name: "VerifyOrder", make: || object(&[], &[("checkpoint", nullable(string()))]) };

/// How the check came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Whether nothing was found.
    pub ok: bool,
    /// What was found.
    pub problems: Vec<String>,
    /// The size of the tree that was checked.
    pub tree_size: u64,
}

/// The schema of [`Verification`].
pub const VERIFICATION: Schema =
    Schema { name: "Verification", make: || object(&[("ok", boolean()), ("problems", array(string())), ("tree_size", integer())], &[]) };

/// The keys that verify what Headgate signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicKeys {
    /// Ed25519 keys of statements as JWK (RFC 8037), retired ones included.
    pub keys: Vec<Value>,
    /// Verifier keys of checkpoints, as C2SP signed notes write them.
    pub vkeys: Vec<String>,
}

/// The schema of [`PublicKeys`].
pub const PUBLIC_KEYS: Schema =
    Schema { name: "PublicKeys", make: || object(&[("keys", array(anything())), ("vkeys", array(string()))], &[]) };
