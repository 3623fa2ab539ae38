//! The change feed.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::record::TAG;
use crate::api::wire::schema::Schema;
use crate::api::wire::schema::anything;
use crate::api::wire::schema::array;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::reference;
use crate::api::wire::schema::string;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::ErasureId;
use crate::ids::RecordId;
use crate::ids::RunId;

/// What may happen to a record.
pub const CHANGES: &[&str] = &["created", "changed", "deleted", "erased"];

/// Something that happened to one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The place behind it: an `after` that goes on with the next.
    pub position: String,
    /// One of [`CHANGES`].
    pub change: String,
    /// The record.
    pub record: RecordId,
    /// The version that came; null where none did.
    pub version: Option<u32>,
    /// The version before it.
    pub previous: Option<u32>,
    /// Whose connection it came by.
    pub connection: ConnectionId,
    /// Its stream.
    pub stream: String,
    /// The operational kind of a version.
    pub kind: Option<String>,
    /// When the version was received, the record was missed, or its rows were removed.
    pub at: Timestamp,
    /// The record as the connector emitted it.
    pub data: Option<Value>,
    /// The operational view of it.
    pub operational: Option<Value>,
    /// Where it came from.
    pub tag: Option<Value>,
    /// The run that did not meet a deleted record.
    pub run: Option<RunId>,
    /// The erasure of an erased one.
    pub erasure: Option<ErasureId>,
}

/// The schema of a part of the feed. `next` is always there.
pub const FEED: Schema = Schema {
    name: "Changes",
    make: || {
        let members = [
            ("position", string()),
            ("change", one_of(CHANGES)),
            ("record", id("rec")),
            ("version", nullable(integer())),
            ("previous", nullable(integer())),
            ("connection", id("conn")),
            ("stream", string()),
            ("kind", nullable(string())),
            ("at", time()),
            ("data", anything()),
            ("operational", anything()),
            ("tag", nullable(reference(&TAG))),
            ("run", nullable(id("run"))),
            ("erasure", nullable(id("eras"))),
        ];
        object(&[("items", array(object(&members, &[]))), ("next", string())], &[])
    },
};
