//! Pulls and their runs.

use serde::Deserialize;
use serde::Serialize;

use crate::api::wire::schema::Schema;
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
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::PullId;
use crate::ids::RunId;

/// The states of a run.
pub const STATES: &[&str] = &["running", "complete", "failed", "cancelled"];

/// One attempt to read one stream. Its counters count durable pages only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The pull it belongs to.
    pub pull: PullId,
    /// The connection.
    pub connection: ConnectionId,
    /// The stream.
    pub stream: String,
    /// One of [`STATES`].
    pub state: String,
    /// Pages stored.
    pub pages: u64,
    /// Requests sent, repeats included.
    pub requests: u64,
    /// Records seen for the first time.
    pub new: u64,
    /// Records with another content than before.
    pub changed: u64,
    /// Records as they were.
    pub unchanged: u64,
    /// Records that the application has no more; null where the run could not know, because it did not read the whole of the stream.
    pub deleted: Option<u64>,
    /// Records that the manifest's filter left out.
    pub filtered: u64,
    /// Items that were no records, and answers that the manifest ignores.
    pub ignored: u64,
    /// Values added by the manifest that were texts and became another type.
    pub coerced: u64,
    /// Those of them that are part of the primary key.
    pub coerced_keys: u64,
    /// Why it failed, and what to do.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// The schema of [`Run`].
pub const RUN: Schema = Schema {
    name: "Run",
    make: || {
        let members = [
            ("id", id("run")),
            ("pull", id("pull")),
            ("connection", id("conn")),
            ("stream", string()),
            ("state", one_of(STATES)),
            ("pages", integer()),
            ("requests", integer()),
            ("new", integer()),
            ("changed", integer()),
            ("unchanged", integer()),
            ("deleted", nullable(integer())),
            ("filtered", integer()),
            ("ignored", integer()),
            ("coerced", integer()),
            ("coerced_keys", integer()),
            ("error", nullable(string())),
            ("started_at", time()),
            ("ended_at", nullable(time())),
        ];
        object(&members, &[])
    },
};

/// The schema of a page of runs.
pub const RUNS: Schema = Schema { name: "Runs", make: || list(&RUN) };

/// The runs that were started together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// The pull.
    pub pull: PullId,
    /// Its runs, one a stream.
    pub runs: Vec<Run>,
}

/// The schema of [`Pull`].
pub const PULL: Schema = Schema { name: "Pull", make: || object(&[("pull", id("pull")), ("runs", array(reference(&RUN)))], &[]) };

/// What to pull. Absent members: every chosen stream, from where its state stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PullOrder {
    /// These streams alone.
    pub streams: Option<Vec<String>>,
    /// Reads everything again, whatever the state says.
    #[serde(default)]
    pub full: bool,
    /// How faithful to the manifest's dialect: `strict` or `safe`.
    pub compat: Option<String>,
}

/// The schema of [`PullOrder`].
pub const PULL_ORDER: Schema = Schema {
    name: "PullOrder",
    make: || {
        let optional = [("streams", array(short_text(256))), ("full", boolean()), ("compat", one_of(&["strict", "safe"]))];
        object(&[], &optional)
    },
};
