//! What a record looks like.

use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::family;

family! {
    /// Where a stream's schema is.
    SchemaLoader { InlineSchemaLoader }
}

component! {
    /// A JSON schema within the manifest.
    InlineSchemaLoader {
        /// The schema.
        schema: Value = Value::Object(serde_json::Map::new());
    }
}
