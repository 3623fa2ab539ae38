//! Disclosures: who received records.

use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::DisclosureId;
use crate::ids::RecordId;

/// How records are handed over.
pub const MECHANISMS: &[&str] = &["api", "export", "feed", "stated"];

/// Whoever receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The name: an API key's id, `operator (local)`, or as a service named it.
    pub name: String,
    /// `api_key`, `operator` or `external`.
    pub kind: String,
    /// What it is, in the words of whoever named it.
    pub category: Option<String>,
    /// Where it is.
    pub region: Option<String>,
}

/// That a recipient received records of a connection, for a purpose and in a way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disclosure {
    /// Its id.
    pub id: DisclosureId,
    /// Who.
    pub recipient: Recipient,
    /// Of which connection; it may be erased since.
    pub connection: Option<ConnectionId>,
    /// For what.
    pub purpose: Option<String>,
    /// How: one of [`MECHANISMS`].
    pub mechanism: String,
    /// When the first record was handed over.
    pub first_at: Timestamp,
    /// When the last was.
    pub last_at: Timestamp,
    /// How many versions of records, each counted once.
    pub records: u64,
}

/// The schema of [`Disclosure`].
pub const DISCLOSURE: Schema = Schema {
    name: "Disclosure",
    make: || {
        let recipient = [
            ("name", string()),
            ("kind", one_of(&["api_key", "operator", "external"])),
            ("category", nullable(string())),
            ("region", nullable(string())),
        ];
        let members = [
            ("id", id("disc")),
            ("recipient", object(&recipient, &[])),
            ("connection", nullable(id("conn"))),
            ("purpose", nullable(purpose())),
            ("mechanism", one_of(MECHANISMS)),
            ("first_at", time()),
            ("last_at", time()),
            ("records", integer()),
        ];
        object(&members, &[])
    },
};

/// The schema of a page of disclosures.
pub const DISCLOSURES: Schema = Schema { name: "Disclosures", make: || list(&DISCLOSURE) };

/// A disclosure that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Order {
    /// Who received.
    pub recipient: String,
    /// What that is: `carrier`, `processor`, `authority`.
    pub category: Option<String>,
    /// Where that is.
    pub region: Option<String>,
    /// For what.
    pub purpose: String,
    /// How; `stated` when absent.
    pub mechanism: Option<String>,
    /// These records, in their newest versions.
    pub records: Option<Vec<RecordId>>,
    /// Or every record of this connection,
    pub connection: Option<ConnectionId>,
    /// of this stream alone.
    pub stream: Option<String>,
    /// When; now when absent.
    pub at: Option<Timestamp>,
}

/// The schema of [`Order`].
pub const ORDER: Schema = Schema {
    name: "DisclosureOrder",
    make: || {
        let required = [("recipient", short_text(256)), ("purpose", purpose())];
        let mut records = array(id("rec"));
        records["minItems"] = json!(1);
        let optional = [
            ("category", nullable(short_text(64))),
            ("region", nullable(short_text(64))),
            ("mechanism", one_of(MECHANISMS)),
            ("records", records),
            ("connection", id("conn")),
            ("stream", short_text(256)),
            ("at", nullable(time())),
        ];
        object(&required, &optional)
    },
};
