//! What OpenLineage's clients send, and what a batch came to. The rest is as Marquez has it.

use serde_json::json;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::boolean;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::string;

/// An event. Read leniently, so that no more is required than that it is an object.
pub const EVENT: Schema = Schema { name: "LineageEvent", make: || json!({ "type": "object" }) };

/// A batch.
pub const EVENTS: Schema = Schema { name: "LineageEvents", make: || array(json!({ "type": "object" })) };

/// What a batch came to when some of it is not in the graph.
pub const BATCH: Schema = Schema {
    name: "LineageBatch",
    make: || {
        let counts = ["received", "successful", "failed", "retriable", "non_retriable"].map(|name| (name, integer()));
        let failed = object(&[("index", integer()), ("reason", string()), ("retriable", boolean())], &[]);
        let status = one_of(&["success", "partial_success"]);
        object(&[("status", status), ("summary", object(&counts, &[])), ("failed_events", array(failed))], &[])
    },
};

/// Counts over time.
pub const INTERVALS: Schema = Schema { name: "Intervals", make: || array(json!({ "type": "object" })) };
