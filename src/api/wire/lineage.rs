//! Where records came from, and what shares a business key.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::audit::PROOF;
use crate::api::wire::audit::Proof;
use crate::api::wire::record::DeletedAtSource;
use crate::api::wire::record::TAG;
use crate::api::wire::record::deleted_at_source;
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
use crate::api::wire::schema::string;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::ErasureId;
use crate::ids::RecordId;
use crate::ids::TenantId;

/// The exact origin of the newest version of a record; of an erased one its tombstone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The record.
    pub record: RecordId,
    /// The version; none of an erased record.
    pub version: Option<u32>,
    /// Its tag; null of an erased record.
    pub tag: Value,
    /// What it was made from: page, run, connection, consent.
    pub inputs: Vec<Value>,
    /// What was made from it, and who received it.
    pub outputs: Vec<Value>,
    /// All that stands behind the tag; none of an erased record.
    pub source: Option<Provenance>,
    /// That it was erased, of an erased record: where it came from and by which erasure it went.
    pub tombstone: Option<Tombstone>,
}

/// What is left of a record that was erased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Whose it was.
    pub tenant: TenantId,
    /// By which connection it came.
    pub connection: ConnectionId,
    /// From which connector.
    pub connector: String,
    /// From which application.
    pub application: String,
    /// In which stream.
    pub stream: Option<String>,
    /// When it was erased.
    pub erased_at: Timestamp,
    /// By which erasure; null when only the keyring tells of it.
    pub erasure: Option<ErasureId>,
    /// Where the certificate is, once it is made.
    pub certificate: Option<String>,
}

/// What stands behind a tag: the authority under which the record was asked for, and what was done to it since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The Connected Application: connector, display name, and the account's host as the request named it.
    pub application: Application,
    /// The consent: id, policy version, purposes, scopes, time.
    pub consent: Value,
    /// The generation of the credential that the request carried.
    pub credential: Option<u64>,
    /// The run, with its pull and times; null for what came without a run.
    pub run: Value,
    /// What each field of the operational view is made of.
    pub fields: Vec<FieldOrigin>,
    /// Its versions, newest first; at most sixteen.
    pub versions: Vec<Version>,
    /// The entry of the audit log under which the credential was unsealed for the run.
    pub audit: AuditPosition,
    /// Since when the application has the record no more.
    pub deleted_at_source: Option<DeletedAtSource>,
}

/// A Connected Application, as a record's origin names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The connector's name.
    pub connector: String,
    /// The application's name.
    pub display_name: String,
    /// The host that answered.
    pub account: Option<String>,
}

/// A field of the operational view and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldOrigin {
    /// The field's name in its kind.
    pub field: String,
    /// Where it is in the record as emitted.
    pub pointer: String,
    /// The fields of the received record that bear on it.
    pub sources: Vec<FieldSource>,
    /// Whether something in it was masked before it was stored: of one record, whether it was; of a stream, false.
    pub masked: bool,
}

/// A field of the received record that bears on one of the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldSource {
    /// Where it is in the received record; empty for the record as a whole.
    pub pointer: String,
    /// Where that is in the response; null where no one response is meant.
    pub in_response: Option<String>,
    /// `DIRECT` when the value comes from it, `INDIRECT` when it decides.
    #[serde(rename = "type")]
    pub kind: String,
    /// `IDENTITY`, `TRANSFORMATION`, `CONDITIONAL`, `FILTER`.
    pub subtype: String,
}

/// A version of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub version: u32,
    /// The page that brought it.
    pub page: String,
    /// When that was received.
    pub received_at: Timestamp,
}

/// Where the audit log tells of the authority that a record came under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditPosition {
    /// The entry's index; null for what came without a run.
    pub entry: Option<u64>,
    /// That it is in the log, as `GET /v1/audit/proof` answers, where it was asked for with `proof=true`.
    pub proof: Option<Proof>,
}

/// The column lineage of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFields {
    /// The connection.
    pub connection: ConnectionId,
    /// The stream.
    pub stream: String,
    /// The operational kind of its records.
    pub kind: Option<String>,
    /// Each field of the view.
    pub fields: Vec<FieldOrigin>,
    /// What decides whether there is a record at all.
    pub whole: Vec<FieldSource>,
}

/// A field of the operational view, derived anew from what is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The record.
    pub record: RecordId,
    /// The version.
    pub version: u32,
    /// Whether the stored record is the one whose digest was written down, and each field still comes out the same.
    pub agrees: bool,
    /// The stored record against its digest.
    pub content: ContentCheck,
    /// The response that it came in: id, method, URL, status, digest, time, and the record's pointer within it.
    pub response: Value,
    /// The connector that reads it, and whether a newer definition reads it otherwise.
    pub connector: Value,
    /// The manifest's transformations that changed it, by name.
    pub transformations: Vec<String>,
    /// Each field that was asked for.
    pub fields: Vec<FieldExplanation>,
}

/// A stored record against what was written down of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentCheck {
    /// The digest of the canonical form of what is stored.
    pub digest: String,
    /// Whether its keyed hash is the one in the record's row.
    pub agrees: bool,
}

/// A field derived anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldExplanation {
    /// What it is made of.
    #[serde(flatten)]
    pub origin: FieldOrigin,
    /// What the sources hold in the stored record, in their order.
    pub source_values: Vec<Value>,
    /// The value that follows.
    pub value: Value,
    /// Whether the connector's newest definition makes the same of the stored record.
    pub agrees: bool,
    /// The value under the connector's newest definition, where that is another one and gives another value.
    pub today: Option<Value>,
}

/// The schema of [`Origin`].
pub const ORIGIN: Schema = Schema {
    name: "Origin",
    make: || {
        let members = [
            ("record", id("rec")),
            ("version", nullable(integer())),
            ("tag", nullable(reference(&TAG))),
            ("inputs", array(anything())),
            ("outputs", array(anything())),
            ("source", nullable(provenance())),
            ("tombstone", nullable(tombstone())),
        ];
        object(&members, &[])
    },
};

fn tombstone() -> Value {
    let members = [
        ("tenant", tenant()),
        ("connection", id("conn")),
        ("connector", string()),
        ("application", string()),
        ("stream", nullable(string())),
        ("erased_at", time()),
        ("erasure", nullable(id("eras"))),
        ("certificate", nullable(string())),
    ];
    object(&members, &[])
}

fn provenance() -> Value {
    let application = object(&[("connector", string()), ("display_name", string()), ("account", nullable(string()))], &[]);
    let version = object(&[("version", integer()), ("page", string()), ("received_at", time())], &[]);
    let members = [
        ("application", application),
        ("consent", anything()),
        ("credential", nullable(integer())),
        ("run", anything()),
        ("fields", array(field(&[]))),
        ("versions", array(version)),
        ("audit", object(&[("entry", nullable(integer())), ("proof", nullable(reference(&PROOF)))], &[])),
        ("deleted_at_source", deleted_at_source()),
    ];
    object(&members, &[])
}

fn source() -> Value {
    let kinds = one_of(&["DIRECT", "INDIRECT"]);
    let subtypes = one_of(&["IDENTITY", "TRANSFORMATION", "CONDITIONAL", "FILTER"]);
    object(&[("pointer", string()), ("in_response", nullable(string())), ("type", kinds), ("subtype", subtypes)], &[])
}

fn field(more: &[(&'static str, Value)]) -> Value {
    let members = [("field", string()), ("pointer", string()), ("sources", array(source())), ("masked", boolean())];
    let all: Vec<_> = members.into_iter().chain(more.iter().cloned()).collect();
    object(&all, &[])
}

/// The schema of [`StreamFields`].
pub const STREAM_FIELDS: Schema = Schema {
    name: "StreamFields",
    make: || {
        let members = [
            ("connection", id("conn")),
            ("stream", string()),
            ("kind", nullable(string())),
            ("fields", array(field(&[]))),
            ("whole", array(source())),
        ];
        object(&members, &[])
    },
};

/// The schema of [`Explanation`].
pub const EXPLANATION: Schema = Schema {
    name: "Explanation",
    make: || {
        let more = [("source_values", array(anything())), ("value", anything()), ("agrees", boolean()), ("today", nullable(anything()))];
        let members = [
            ("record", id("rec")),
            ("version", integer()),
            ("agrees", boolean()),
            ("content", object(&[("digest", string()), ("agrees", boolean())], &[])),
            ("response", anything()),
            ("connector", anything()),
            ("transformations", array(string())),
            ("fields", array(field(&more))),
        ];
        object(&members, &[])
    },
};

/// What stands around a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The nodes, the one asked for first.
    pub nodes: Vec<Node>,
    /// From what to what.
    pub edges: Vec<Edge>,
    /// Whether there is more around the node than is told.
    pub truncated: bool,
    /// Where the rest begins, where it is to be had.
    pub next: Option<String>,
}

/// The kinds of nodes.
pub const KINDS: [&str; 10] = ["record", "page", "run", "connection", "consent", "connector", "artifact", "recipient", "dataset", "job"];

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The id of what it stands for.
    pub id: String,
    /// One of [`KINDS`].
    #[serde(rename = "type")]
    pub noun: String,
    /// What is known of it; never payload.
    pub facts: Value,
}

/// An edge, in the direction of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Where the data was.
    pub from: String,
    /// Where it went.
    pub to: String,
}

/// The schema of [`Graph`].
pub const GRAPH: Schema = Schema {
    name: "Graph",
    make: || {
        let node = object(&[("id", string()), ("type", one_of(&KINDS)), ("facts", anything())], &[]);
        let edge = object(&[("from", string()), ("to", string())], &[]);
        object(&[("nodes", array(node)), ("edges", array(edge)), ("truncated", boolean()), ("next", nullable(string()))], &[])
    },
};

/// A record that carries a business key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyMatch {
    /// The record.
    pub record: RecordId,
    /// Its newest version that carries the key.
    pub version: u32,
    /// Whose connection it came by.
    pub connection: ConnectionId,
    /// The stream.
    pub stream: String,
    /// The operational kind.
    pub kind: Option<String>,
    /// The tag of that version.
    pub tag: Value,
    /// What was made from the record, and who received it.
    pub outputs: Vec<Value>,
}

/// The schema of a page of [`KeyMatch`].
pub const KEY_MATCHES: Schema = Schema {
    name: "KeyMatches",
    make: || {
        let members = [
            ("record", id("rec")),
            ("version", integer()),
            ("connection", id("conn")),
            ("stream", string()),
            ("kind", nullable(string())),
            ("tag", reference(&TAG)),
            ("outputs", array(anything())),
        ];
        let mut page = list(&TAG);
        page["properties"]["items"] = array(object(&members, &[]));
        page
    },
};
