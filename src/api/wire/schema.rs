//! A small vocabulary for JSON Schema (draft 2020-12), and the list of every named schema.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::api::wire;
use crate::consent::Purpose;

/// A named schema: a row of `components/schemas`.
#[derive(Clone, Copy)]
pub struct Schema {
    /// Its name in the document.
    pub name: &'static str,
    /// Makes its text.
    pub make: fn() -> Value,
}

/// Every named schema. One that a route uses and that is not here has no row in the document, and a test fails.
pub const ALL: &[Schema] = &[
    PROBLEM,
    STATUS,
    OPEN_OBJECT,
    wire::audit::ENTRY,
    wire::audit::ENTRIES,
    wire::audit::PROOF,
    wire::audit::CONSISTENCY,
    wire::audit::VERIFY_ORDER,
    wire::audit::VERIFICATION,
    wire::audit::PUBLIC_KEYS,
    wire::change::FEED,
    wire::connection::CONNECTION,
    wire::connection::CONNECTIONS,
    wire::connection::CONNECT_ORDER,
    wire::connection::RECONNECT_ORDER,
    wire::connection::CONNECTED,
    wire::connection::CHANGE,
    wire::connector::CONNECTOR,
    wire::connector::CONNECTORS,
    wire::consent::CONSENT,
    wire::consent::POLICY,
    wire::consent::ENVELOPE,
    wire::derivation::ORDER,
    wire::derivation::ANSWER,
    wire::disclosure::DISCLOSURE,
    wire::disclosure::DISCLOSURES,
    wire::disclosure::ORDER,
    wire::erasure::SCOPE,
    wire::erasure::ORDER,
    wire::erasure::ERASURE,
    wire::erasure::ERASURES,
    wire::impact::IMPACT,
    wire::impact::CONNECTION_IMPACT,
    wire::key::KEY,
    wire::key::KEYS,
    wire::key::KEY_ORDER,
    wire::key::NEW_KEY,
    wire::copies::COMPACTED,
    wire::copies::BACKUP_ORDER,
    wire::copies::BACKED_UP,
    wire::copies::COPY_UNDER_WAY,
    wire::keyring::EXPORT_ORDER,
    wire::keyring::EXPORTED,
    wire::keyring::ROTATION_ORDER,
    wire::keyring::ROTATED,
    wire::lineage::ORIGIN,
    wire::lineage::EXPLANATION,
    wire::lineage::STREAM_FIELDS,
    wire::lineage::GRAPH,
    wire::lineage::KEY_MATCHES,
    wire::openlineage::EVENT,
    wire::openlineage::EVENTS,
    wire::openlineage::BATCH,
    wire::openlineage::INTERVALS,
    wire::record::RECORD,
    wire::record::RECORDS,
    wire::record::TAG,
    wire::store::CHECK_ORDER,
    wire::revocation::SCOPE,
    wire::revocation::ORDER,
    wire::revocation::REASON,
    wire::revocation::REVOKED,
    wire::run::RUN,
    wire::run::RUNS,
    wire::run::PULL,
    wire::run::PULL_ORDER,
    wire::session::ORDER,
    wire::session::OPENED,
    wire::tenant::TENANT,
    wire::tenant::TENANTS,
];

/// A refusal, as RFC 9457 shapes it.
pub const PROBLEM: Schema = Schema {
    name: "Problem",
    make: || {
        let fault = object(&[("pointer", string()), ("code", string()), ("message", string())], &[]);
        let required = [("type", string()), ("title", string()), ("status", integer()), ("detail", string())];
        let mut schema = object(&required, &[("errors", array(fault))]);
        schema["additionalProperties"] = json!(true);
        schema
    },
};

/// Whether something is well.
pub const STATUS: Schema = Schema {
    name: "Status",
    make: || {
        let part = object(&[("name", string()), ("ready", boolean())], &[]);
        object(&[("status", string())], &[("parts", array(part))])
    },
};

/// An object whose members are listed elsewhere, or differ.
pub const OPEN_OBJECT: Schema = Schema { name: "Object", make: || json!({ "type": "object" }) };

/// An object with exactly these members.
pub fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

/// A page of a list.
pub fn list(item: &Schema) -> Value {
    object(&[("items", array(reference(item))), ("next", nullable(string()))], &[])
}

/// A pointer to a named schema.
pub fn reference(schema: &Schema) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", schema.name) })
}

/// A text.
pub fn string() -> Value {
    json!({ "type": "string" })
}

/// A text of 1 to `characters_max` characters.
pub fn short_text(characters_max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": characters_max })
}

/// An id with that prefix.
pub fn id(prefix: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{prefix}_[0-9a-z]+$") })
}

/// A tenant's slug.
pub fn tenant() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" })
}

/// An RFC 3339 time.
pub fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// One of these words.
pub fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// One of the eight purposes.
pub fn purpose() -> Value {
    one_of(&Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect::<Vec<_>>())
}

/// A list of `items`.
pub fn array(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// A whole number, not negative.
pub fn integer() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// A number of seconds or of bytes.
pub fn number() -> Value {
    json!({ "type": "number", "minimum": 0 })
}

/// Counts by name.
pub fn counts() -> Value {
    json!({ "type": "object", "additionalProperties": integer() })
}

/// True or false.
pub fn boolean() -> Value {
    json!({ "type": "boolean" })
}

/// Any JSON.
pub fn anything() -> Value {
    json!(true)
}

/// The same, or null.
pub fn nullable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// A schema that stands alone: a reference, and every named schema for it to point into.
pub fn standalone(schema: &Schema) -> Value {
    let mut document = reference(schema);
    document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    document["components"] = json!({ "schemas": components() });
    document
}

/// Every named schema, by name.
pub fn components() -> Map<String, Value> {
    ALL.iter().map(|schema| (schema.name.to_owned(), (schema.make)())).collect()
}
