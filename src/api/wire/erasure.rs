//! Erasures: making records unreadable, and proving it.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::api::wire::impact;
use crate::api::wire::impact::Impact;
use crate::api::wire::schema::Schema;
use crate::api::wire::schema::anything;
use crate::api::wire::schema::array;
use crate::api::wire::schema::boolean;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::reference;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ErasureId;

/// The states of an erasure; `planned` is what a dry run shows.
pub const STATES: &[&str] = &["planned", "requested", "approved", "unreadable", "complete", "refused"];

/// The schema of what is to be erased.
pub const SCOPE: Schema = Schema {
    name: "ErasureScope",
    make: || {
        let subject = object(&[("kind", short_text(64)), ("value", short_text(512))], &[]);
        json!({ "oneOf": [
            object(&[("connection", short_text(128))], &[("stream", short_text(256))]),
            object(&[("tenant", tenant())], &[("subject", subject)]),
            object(&[("record", short_text(128))], &[]),
        ] })
    },
};

/// An erasure, asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Order {
    /// What is to be erased.
    pub scope: Value,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// Also revokes what the scope holds whole.
    #[serde(default)]
    pub revoke: bool,
}

/// The schema of [`Order`].
pub const ORDER: Schema = Schema {
    name: "ErasureOrder",
    make: || object(&[("scope", reference(&SCOPE))], &[("reason", nullable(short_text(500))), ("revoke", boolean())]),
};

/// An erasure, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Erasure {
    /// Its id; null for a dry run.
    pub id: Option<ErasureId>,
    /// One of [`STATES`].
    pub state: String,
    /// What it covers.
    pub scope: Value,
    /// Why it was asked for.
    pub reason: Option<String>,
    /// How much it covers.
    pub counts: Counts,
    /// What it would touch, to the last record; null once it was asked for.
    pub impact: Option<Impact>,
    /// What was planned once nothing could be added any more; null before.
    pub plan: Option<Plan>,
    /// What stays, why and until when.
    pub kept: Vec<Value>,
    /// Where its certificate is, once it is complete.
    pub certificate: Option<String>,
    /// When it was asked for; null for a dry run.
    pub requested_at: Option<Timestamp>,
    /// When nothing of it opened any more and the last remains were swept.
    pub completed_at: Option<Timestamp>,
}

/// How much an erasure covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Versions of those records.
    pub versions: u64,
}

/// What was planned once nothing could be added any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Records.
    pub records: u64,
    /// Artifacts that die with them.
    pub dies: u64,
    /// Artifacts that outlive them.
    pub survives: u64,
    /// The root that the certificate signs.
    pub digest: String,
}

/// The schema of [`Erasure`].
pub const ERASURE: Schema = Schema {
    name: "Erasure",
    make: || {
        let counts = object(&[("records", integer()), ("versions", integer())], &[]);
        let plan = object(&[("records", integer()), ("dies", integer()), ("survives", integer()), ("digest", string())], &[]);
        let members = [
            ("id", nullable(id("eras"))),
            ("state", one_of(STATES)),
            ("scope", reference(&SCOPE)),
            ("reason", nullable(string())),
            ("counts", counts),
            ("impact", impact::maybe()),
            ("plan", nullable(plan)),
            ("kept", array(anything())),
            ("certificate", nullable(string())),
            ("requested_at", nullable(time())),
            ("completed_at", nullable(time())),
        ];
        object(&members, &[])
    },
};

/// The schema of a page of erasures.
pub const ERASURES: Schema = Schema { name: "Erasures", make: || list(&ERASURE) };
