//! The schema of a stream's records, as far as the manifest has it.

use std::borrow::Cow;

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::schema::SchemaLoader;
use crate::connector::component::source::DeclarativeStream;

/// The schema that the manifest declares for a stream's records; of several loaders, the properties of all, the first that names one
/// winning. Nothing when it declares none.
pub fn inline(stream: &DeclarativeStream) -> Option<Cow<'_, Value>> {
    let schema = |loader: &'_ SchemaLoader| {
        let SchemaLoader::InlineSchemaLoader(inline) = loader;
        inline.schema.clone()
    };
    match stream.schema_loader.as_deref()? {
        [] => None,
        [SchemaLoader::InlineSchemaLoader(inline)] => Some(Cow::Borrowed(&inline.schema)),
        several => Some(Cow::Owned(combined(several.iter().map(schema)))),
    }
}

/// The schemas put together as the reference engine does: an object whose properties are those of all, earlier ones winning.
pub fn combined(schemas: impl IntoIterator<Item = Value>) -> Value {
    let mut properties = Map::new();
    for schema in schemas {
        let Some(Value::Object(more)) = schema.get("properties").cloned() else { continue };
        // The later schema's names come first, as they do there.
        let earlier = std::mem::replace(&mut properties, more);
        properties.extend(earlier);
    }
    serde_json::json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": ["null", "object"],
        "properties": properties,
    })
}
