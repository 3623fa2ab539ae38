//! Where records came from, and what shares a business key.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::record::TAG;
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
use crate::ids::ConnectionId;
use crate::ids::RecordId;

/// The exact origin of one version of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The record.
    pub record: RecordId,
    /// The version.
    pub version: u32,
    /// Its tag.
    pub tag: Value,
    /// What it was made from.
    pub inputs: Vec<Value>,
    /// What was made from it.
    pub outputs: Vec<Value>,
}

/// The schema of [`Origin`].
pub const ORIGIN: Schema = Schema {
    name: "Origin",
    make: || {
        let members = [
            ("record", id("rec")),
            ("version", integer()),
            ("tag", reference(&TAG)),
            ("inputs", array(anything())),
            ("outputs", array(anything())),
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
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The id of what it stands for.
    pub id: String,
    /// `connector`, `consent`, `connection`, `run`, `page`, `record`.
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
        let nouns = ["connector", "consent", "connection", "run", "page", "record"];
        let node = object(&[("id", string()), ("type", one_of(&nouns)), ("facts", anything())], &[]);
        let edge = object(&[("from", string()), ("to", string())], &[]);
        object(&[("nodes", array(node)), ("edges", array(edge)), ("truncated", boolean())], &[])
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
        ];
        let mut page = list(&TAG);
        page["properties"]["items"] = array(object(&members, &[]));
        page
    },
};
