//! Revocations: stopping, at once and for good.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::api::wire::connection;
use crate::api::wire::consent;
use crate::api::wire::impact::DerivedImpact;
use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::reference;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::tenant;
use crate::ids::ConnectionId;
use crate::ids::TenantId;

/// What is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of a connector, whoever's.
    Connector(String),
    /// Every connection of a tenant.
    Tenant(TenantId),
}

/// The schema of [`Scope`].
pub const SCOPE: Schema = Schema {
    name: "RevocationScope",
    make: || {
        json!({ "oneOf": [
            object(&[("connection", short_text(128))], &[]),
            object(&[("connector", short_text(128))], &[]),
            object(&[("tenant", tenant())], &[]),
        ] })
    },
};

/// A revocation, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// What is to be stopped.
    pub scope: Value,
    /// Why, in the caller's words.
    pub reason: Option<String>,
}

/// The schema of [`Order`].
pub const ORDER: Schema =
    Schema { name: "RevocationOrder", make: || object(&[("scope", reference(&SCOPE))], &[("reason", nullable(short_text(500)))]) };

/// Why one connection is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Reason {
    /// In the caller's words.
    pub reason: Option<String>,
}

/// The schema of [`Reason`].
pub const REASON: Schema = Schema { name: "RevocationReason", make: || object(&[], &[("reason", nullable(short_text(500)))]) };

/// What was stopped, or with `dry_run` what would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revoked {
    /// Each connection.
    pub revoked: Vec<RevokedConnection>,
}

/// One connection that was stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokedConnection {
    /// The connection.
    pub connection: ConnectionId,
    /// Its state after the act; with `dry_run` the present one.
    pub state: String,
    /// What became of the credential: `revoking`, `destroyed`, `none`; with `dry_run` `held`.
    pub credential: String,
    /// The signed receipt; null with `dry_run`.
    pub receipt: Option<Value>,
    /// With `dry_run` what it holds, which a revocation keeps and an erasure would take, and the pulls that would be cut short;
    /// else null.
    pub impact: Option<RevocationImpact>,
}

/// What a connection holds, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationImpact {
    /// Pulls that would be cut short.
    pub pulls_running: u32,
    /// Records, which stay.
    pub records: u64,
    /// Versions of those records.
    pub versions: u64,
    /// What was made from them, which stays, and what an erasure would do to it.
    pub derived: DerivedImpact,
}

/// The schema of [`Revoked`].
pub const REVOKED: Schema = Schema {
    name: "Revoked",
    make: || {
        let derived = object(&[("dies", integer()), ("survives", integer())], &[]);
        let impact = object(&[("pulls_running", integer()), ("records", integer()), ("versions", integer()), ("derived", derived)], &[]);
        let members = [
            ("connection", id("conn")),
            ("state", one_of(connection::STATES)),
            ("credential", one_of(&["held", "revoking", "destroyed", "none"])),
            ("receipt", nullable(reference(&consent::ENVELOPE))),
            ("impact", nullable(impact)),
        ];
        object(&[("revoked", array(object(&members, &[])))], &[])
    },
};
