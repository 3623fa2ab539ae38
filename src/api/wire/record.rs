//! Records with their tags.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::anything;
use crate::api::wire::schema::array;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::reference;
use crate::api::wire::schema::string;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::RecordId;
use crate::ids::RunId;

/// One version of one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The record.
    pub id: RecordId,
    /// The version, counted from 1.
    pub version: u32,
    /// The operational kind; null where the stream declares none.
    pub kind: Option<String>,
    /// The record as the connector emitted it: as the application sent it, card numbers masked, transformations done.
    pub data: Value,
    /// The operational view of it; null where the stream has no mapping.
    pub operational: Option<Value>,
    /// Where it came from.
    pub tag: Value,
    /// Since when the application has it no more, as far as Headgate can know; null of an older version.
    pub deleted_at_source: Option<DeletedAtSource>,
}

/// That a run over the whole of a stream did not meet a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedAtSource {
    /// The run.
    pub run: RunId,
    /// When it had read the stream to its end.
    pub at: Timestamp,
}

/// The schema of [`DeletedAtSource`], or null.
pub fn deleted_at_source() -> Value {
    nullable(object(&[("run", id("run")), ("at", time())], &[]))
}

/// The schema of [`Record`].
pub const RECORD: Schema = Schema {
    name: "Record",
    make: || {
        let members = [
            ("id", id("rec")),
            ("version", integer()),
            ("kind", nullable(string())),
            ("data", anything()),
            ("operational", anything()),
            ("tag", reference(&TAG)),
            ("deleted_at_source", deleted_at_source()),
        ];
        object(&members, &[])
    },
};

/// The schema of a page of records.
pub const RECORDS: Schema = Schema { name: "Records", make: || list(&RECORD) };

/// The schema of a tag: every named key is there, and null where it is not known.
pub const TAG: Schema = Schema { name: "Tag", make: tag };

fn tag() -> Value {
    let page = [
        ("id", string()),
        ("method", string()),
        ("url", string()),
        ("status", integer()),
        ("attempt", integer()),
        ("requested_at", time()),
        ("received_at", time()),
        ("response_sha256", string()),
        ("bytes", integer()),
        ("request_id", nullable(string())),
    ];
    let members = [
        ("tenant", tenant()),
        ("connection", id("conn")),
        ("connector", object(&[("name", string()), ("digest", string())], &[])),
        ("stream", string()),
        ("kind", nullable(string())),
        ("primary_key", array(anything())),
        ("run", id("run")),
        ("page", object(&page, &[])),
        ("pointer", nullable(string())),
        ("partition", anything()),
        ("cursor", anything()),
        ("direction", one_of(&["pulled", "received", "pushed"])),
        ("transformations", array(anything())),
        ("masks", anything()),
        ("schema_digest", nullable(string())),
        ("content_digest", string()),
        ("consent", id("cons")),
        ("policy_version", string()),
        ("purposes", array(purpose())),
        ("retention", object(&[("class", string()), ("delete_after", nullable(time()))], &[])),
        ("previous", anything()),
    ];
    object(&members, &[])
}
