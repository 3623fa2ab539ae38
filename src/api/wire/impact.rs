//! Impact: what stopping or erasing would touch.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::api::wire::connection::STATES;
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
use crate::ids::ConnectionId;

/// What an erasure of a connection or a tenant would touch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// Records, from counters.
    pub records: u64,
    /// Versions of those records.
    pub versions: u64,
    /// Stored pages.
    pub pages: u64,
    /// Runs that are on record; they stay, without payload.
    pub runs: u64,
    /// How much is stored, by stream.
    pub streams: Vec<StreamImpact>,
    /// What was made from the records.
    pub derived: DerivedImpact,
    /// Who has received any of it.
    pub recipients: Vec<Value>,
    /// Exports that hold any of it.
    pub exports: u64,
    /// Holds that stop an erasure.
    pub holds: u64,
    /// Datasets and jobs of the company's own that are fed by it.
    pub downstream: Vec<Value>,
    /// The root over exactly the records and artifacts that an erasure would remove: what its certificate would sign. Null
    /// where it was not asked for.
    pub digest: Option<String>,
}

/// What was made from the records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedImpact {
    /// Artifacts that hold no more without them.
    pub dies: u64,
    /// Artifacts that lose an input and outlive it.
    pub survives: u64,
}

/// What is stored of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamImpact {
    /// The connection.
    pub connection: ConnectionId,
    /// The stream.
    pub stream: String,
    /// Records, erased ones excluded.
    pub records: u64,
    /// Versions of those records.
    pub versions: u64,
}

/// What stopping or erasing a connection would touch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionImpact {
    /// The connection.
    pub connection: ConnectionId,
    /// Its state.
    pub state: String,
    /// Pulls that a revocation would cut short.
    pub pulls_running: u32,
    /// The rest.
    #[serde(flatten)]
    pub impact: Impact,
}

/// One page of what an impact counts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Each.
    pub items: Vec<Item>,
    /// The `after` of the next page; null on the last.
    pub next: Option<String>,
}

/// One record or artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// A record's stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<std::sync::Arc<str>>,
    /// An artifact's name, where names were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An artifact's kind, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The schema of [`Impact`].
pub const IMPACT: Schema = Schema { name: "Impact", make: || object(&members(), &[]) };

/// The schema of [`ConnectionImpact`], or of [`Listed`] where a list was asked for.
pub const CONNECTION_IMPACT: Schema = Schema {
    name: "ConnectionImpact",
    make: || {
        let own = [("connection", id("conn")), ("state", one_of(STATES)), ("pulls_running", integer())];
        let counted = object(&[&own[..], &members()].concat(), &[]);
        let item = object(&[("id", string())], &[("stream", string()), ("name", string()), ("kind", string())]);
        json!({ "oneOf": [counted, object(&[("items", array(item)), ("next", nullable(string()))], &[])] })
    },
};

/// The schema of an [`Impact`] that may be absent.
pub fn maybe() -> Value {
    nullable(reference(&IMPACT))
}

fn members() -> [(&'static str, Value); 11] {
    let stream = object(&[("connection", id("conn")), ("stream", string()), ("records", integer()), ("versions", integer())], &[]);
    [
        ("records", integer()),
        ("versions", integer()),
        ("pages", integer()),
        ("runs", integer()),
        ("streams", array(stream)),
        ("derived", object(&[("dies", integer()), ("survives", integer())], &[])),
        ("recipients", array(anything())),
        ("exports", integer()),
        ("holds", integer()),
        ("downstream", array(anything())),
        ("digest", nullable(string())),
    ]
}
