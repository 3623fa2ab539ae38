//! Connections: one customer's authorization of one connector.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::api::wire::consent;
use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::counts;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::number;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::reference;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::consent::ConsentRequest;
use crate::consent::Purpose;
use crate::ids::ConnectionId;
use crate::ids::ConsentId;
use crate::ids::TenantId;

/// The states of a connection.
pub const STATES: &[&str] = &["pending", "active", "paused", "needs_reauthorization", "revoked", "erased"];

/// A connection, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its id, for good.
    pub id: ConnectionId,
    /// The connector's name.
    pub connector: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// One of [`STATES`].
    pub state: String,
    /// The streams that the customer chose.
    pub streams: Vec<String>,
    /// What the data may be used for.
    pub purposes: Vec<Purpose>,
    /// How often it pulls by itself; null for never.
    pub schedule: Option<Schedule>,
    /// When the consent was recorded.
    pub created_at: Timestamp,
    /// The consent it rests on.
    pub consent: ConsentId,
    /// The revoked connection that it follows.
    pub succeeds: Option<ConnectionId>,
    /// Since when it is in its state.
    pub since: Timestamp,
    /// What the application said, when it no longer accepts the credential.
    pub why: Option<String>,
    /// When it pulls by itself next; null when it does not.
    pub next_pull_at: Option<Timestamp>,
    /// The application asked not to be read before this time.
    pub not_before: Option<Timestamp>,
    /// Pulls that have failed in a row: each doubles the wait before the next.
    pub failures: u32,
    /// What stands of its credential; never a part of it.
    pub credential: Credential,
    /// What happened to its requests and pages since the process began; null when it was not pulled since.
    pub activity: Option<Activity>,
}

/// What happened to a connection's requests and pages since the process began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Requests by how they went: `ok`, `limited` (429), `refused`, `failed`, `cut` (by a stop).
    pub requests: BTreeMap<String, u64>,
    /// Attempts that repeated a failed one.
    pub retries: u64,
    /// What was waited for, how often, and for how long together.
    pub waits: Vec<Waited>,
    /// What is waited for now, and for how long already.
    pub waiting: Vec<Waiting>,
    /// Named limits that were reached, and how often.
    pub limits: BTreeMap<String, u64>,
    /// Pages read from the application.
    pub pages_read: u64,
    /// Pages that are durable.
    pub pages_stored: u64,
    /// Pages that are on their way between the two.
    pub pages_waiting: u64,
    /// Pages that were read and not stored, above all because the connection was stopped meanwhile.
    pub pages_dropped: u64,
}

/// Waits that are over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    /// `budget`, `retry`, `token` or `store`.
    pub r#for: String,
    /// How often.
    pub times: u64,
    /// How long, together.
    pub seconds: f64,
}

/// A wait under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// As [`Waited::for`].
    pub r#for: String,
    /// For how long already.
    pub seconds: f64,
}

/// What stands of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// One of [`CREDENTIAL_STATES`].
    pub state: String,
    /// Rises with each replacement: a renewal, a new authorization.
    pub generation: Option<u64>,
}

/// What may stand of a credential: it is kept, it waits for the application's revocation endpoint, it is gone.
pub const CREDENTIAL_STATES: &[&str] = &["held", "revoking", "destroyed"];

/// How often a connection pulls by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// ISO 8601 duration, at least `PT1M`.
    pub every: String,
}

/// The schema of [`Connection`].
pub const CONNECTION: Schema = Schema {
    name: "Connection",
    make: || {
        let members = [
            ("id", id("conn")),
            ("connector", string()),
            ("tenant", tenant()),
            ("state", one_of(STATES)),
            ("streams", array(string())),
            ("purposes", array(purpose())),
            ("schedule", nullable(schedule())),
            ("created_at", time()),
            ("consent", id("cons")),
            ("succeeds", nullable(id("conn"))),
            ("since", time()),
            ("why", nullable(string())),
            ("next_pull_at", nullable(time())),
            ("not_before", nullable(time())),
            ("failures", integer()),
            ("credential", object(&[("state", one_of(CREDENTIAL_STATES)), ("generation", nullable(integer()))], &[])),
            ("activity", nullable(activity())),
        ];
        object(&members, &[])
    },
};

fn activity() -> Value {
    let waited = object(&[("for", string()), ("times", integer()), ("seconds", number())], &[]);
    let members = [
        ("requests", counts()),
        ("retries", integer()),
        ("waits", array(waited)),
        ("waiting", array(object(&[("for", string()), ("seconds", number())], &[]))),
        ("limits", counts()),
        ("pages_read", integer()),
        ("pages_stored", integer()),
        ("pages_waiting", integer()),
        ("pages_dropped", integer()),
    ];
    object(&members, &[])
}

/// The schema of a page of connections.
pub const CONNECTIONS: Schema = Schema { name: "Connections", make: || list(&CONNECTION) };

/// What connecting needs.
#[derive(Debug, Clone, Deserialize)]
pub struct ConnectOrder {
    /// The connector's name; from a local principal also an absolute path.
    pub connector: String,
    /// For whom.
    pub tenant: TenantId,
    /// What the manifest's spec asks for. May hold secrets: not to be logged.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// What the customer agreed to.
    pub consent: ConsentRequest,
    /// The streams to read; every one when absent.
    pub streams: Option<Vec<String>>,
}

/// The schema of [`ConnectOrder`].
pub const CONNECT_ORDER: Schema = Schema {
    name: "ConnectOrder",
    make: || {
        let required = [("connector", short_text(4096)), ("tenant", tenant()), ("consent", reference(&consent::CONSENT))];
        object(&required, &[("config", serde_json::json!({ "type": "object" })), ("streams", array(short_text(256)))])
    },
};

/// What a new authorization needs.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ReconnectOrder {
    /// Another configuration, whole, for a connection that is authorized by its configuration alone. May hold secrets: not
    /// to be logged.
    pub config: Option<Map<String, Value>>,
}

/// The schema of [`ReconnectOrder`].
pub const RECONNECT_ORDER: Schema =
    Schema { name: "ReconnectOrder", make: || object(&[], &[("config", serde_json::json!({ "type": "object" }))]) };

/// What connecting came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    /// The connection.
    pub connection: ConnectionId,
    /// Its state: `pending` while the customer has still to authorize it at the application.
    pub state: String,
    /// Where the customer authorizes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
}

/// The schema of [`Connected`].
pub const CONNECTED: Schema =
    Schema { name: "Connected", make: || object(&[("connection", id("conn")), ("state", one_of(STATES))], &[("authorize_url", string())]) };

/// A change to a connection. An absent member stays as it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Change {
    /// `paused` or `active`.
    pub state: Option<ChangedState>,
    /// A new schedule; null for none.
    #[serde(default, deserialize_with = "present")]
    pub schedule: Option<Option<Schedule>>,
}

/// The states that an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedState {
    /// Pulls nothing until it is resumed.
    Paused,
    /// Pulls again.
    Active,
}

/// The schema of [`Change`].
pub const CHANGE: Schema = Schema {
    name: "ConnectionChange",
    make: || object(&[], &[("state", one_of(&["paused", "active"])), ("schedule", nullable(schedule()))]),
};

/// Tells an absent member (`None`) from one that is null (`Some(None)`).
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Schedule>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn schedule() -> Value {
    object(&[("every", short_text(32))], &[])
}
