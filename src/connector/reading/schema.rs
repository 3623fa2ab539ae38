//! The schema of a stream's records: within the manifest, in a file beside it, or told by the application.
//!
//! Source: the schema loaders of airbyte-cdk (read there, the dynamic one measured).

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Compat;
use super::ReadingError;
use super::selector::segments;
use super::transform::Changed;
use super::transform::Changes;
use super::transform::Draft;
use crate::connector::component::records::Filter;
use crate::connector::component::schema::ComplexFieldType;
use crate::connector::component::schema::DynamicSchemaLoader;
use crate::connector::component::schema::JsonFileSchemaLoader;
use crate::connector::component::schema::SchemaLoader;
use crate::connector::component::schema::TargetType;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::path::FieldPath;

/// One of the places where a stream's schema is.
#[derive(Debug)]
pub enum SchemaPart<'a> {
    /// It is at hand.
    Known(Cow<'a, Value>),
    /// The application tells it.
    Asked(&'a DynamicSchemaLoader),
}

/// The parts of a stream's schema. `file` reads a file beside the manifest; where a stream says nothing about its schema, a file with
/// its name may hold it. A file that is not there has no part in the schema.
///
/// # Errors
/// When a file's name cannot be evaluated.
pub fn schema_parts<'a>(
    stream: &'a DeclarativeStream,
    scope: &Scope,
    file: impl Fn(&str) -> Option<Value>,
) -> Result<Vec<SchemaPart<'a>>, ReadingError> {
    let usual = || file(&format!("./schemas/{}.json", stream.name)).map(|schema| SchemaPart::Known(Cow::Owned(schema)));
    let Some(loaders) = &stream.schema_loader else { return Ok(usual().into_iter().collect()) };
    let mut parts = Vec::with_capacity(loaders.len());
    for loader in loaders {
        match loader {
            SchemaLoader::InlineSchemaLoader(inline) => parts.push(SchemaPart::Known(Cow::Borrowed(&inline.schema))),
            SchemaLoader::DynamicSchemaLoader(loader) => parts.push(SchemaPart::Asked(loader)),
            SchemaLoader::JsonFileSchemaLoader(loader) => match named(loader, scope)? {
                Some(name) => parts.extend(file(&name).map(|schema| SchemaPart::Known(Cow::Owned(schema)))),
                None => parts.extend(usual()),
            },
        }
    }
    Ok(parts)
}

/// The file that a loader names.
fn named(loader: &JsonFileSchemaLoader, scope: &Scope) -> Result<Option<String>, ReadingError> {
    let path = loader.file_path.as_ref().map(|path| path.text(scope).map_err(ReadingError::expression("file_path"))).transpose()?;
    Ok(path.filter(|path| !path.is_empty()))
}

/// The schema when all of it is written in the manifest.
pub(super) fn inline(stream: &DeclarativeStream) -> Option<Cow<'_, Value>> {
    let loaders = stream.schema_loader.as_deref()?;
    let inline = loaders.iter().map(|loader| match loader {
        SchemaLoader::InlineSchemaLoader(inline) => Some(Cow::Borrowed(&inline.schema)),
        SchemaLoader::JsonFileSchemaLoader(_) | SchemaLoader::DynamicSchemaLoader(_) => None,
    });
    combined(inline.collect::<Option<Vec<_>>>()?)
}

/// Schemas put together: one as it is; of several an object whose properties are those of all, earlier ones winning.
pub fn combined<'a>(schemas: Vec<Cow<'a, Value>>) -> Option<Cow<'a, Value>> {
    if schemas.len() <= 1 {
        return schemas.into_iter().next();
    }
    let mut properties = Map::new();
    for schema in schemas {
        let Some(Value::Object(more)) = schema.get("properties").cloned() else { continue };
        // The later schema's names come first, as they do in the reference engine.
        let earlier = std::mem::replace(&mut properties, more);
        properties.extend(earlier);
    }
    let combined = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": ["null", "object"],
        "properties": properties,
    });
    Some(Cow::Owned(combined))
}

/// The schema of a stream from what its application told about the fields.
///
/// # Errors
/// When the record has no such list of fields, a field no name, or a type that the language does not have.
pub fn told_schema(loader: &DynamicSchemaLoader, record: Option<&Value>, scope: &Scope, compat: Compat) -> Result<Value, ReadingError> {
    let identifier = &loader.schema_type_identifier;
    let key = segments(&identifier.key_pointer, scope)?;
    let kind = segments(&identifier.type_pointer, scope)?;
    let pointer = FieldPath::new(segments(&identifier.schema_pointer, scope)?);
    let mut scope = scope.clone();
    let mut properties = Map::new();
    for field in fields(record, &pointer)? {
        let found = |path: &[String]| FieldPath::new(path.iter().cloned()).get(field).map_err(|source| ReadingError::Records { source });
        let Some(Value::String(name)) = found(&key)? else { return Err(wrong("key_pointer", field, "the name of a field, a text")) };
        let told = if kind.is_empty() { None } else { found(&kind)?.cloned() };
        let told = told.unwrap_or_else(|| Value::from("string"));
        scope.set("raw_schema", dynamic(field));
        let schema = match mapped(loader, &told, &scope)? {
            Some(target) => target_schema(target)?,
            None => told_type(&told)?,
        };
        properties.insert(name.clone(), schema);
    }
    let properties = transformed(loader, filtered(loader, properties, &mut scope)?, &mut scope, compat)?;
    Ok(json!({
        "$schema": "https://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": true,
        "properties": properties,
    }))
}

fn fields<'v>(record: Option<&'v Value>, pointer: &FieldPath) -> Result<&'v [Value], ReadingError> {
    let Some(record) = record else { return Ok(&[]) };
    match pointer.get(record).map_err(|source| ReadingError::Records { source })? {
        Some(Value::Array(fields)) => Ok(fields),
        other => Err(wrong("schema_pointer", other.unwrap_or(&Value::Null), "a list of fields in the record that tells them")),
    }
}

/// The first mapping that fits a type.
fn mapped<'a>(loader: &'a DynamicSchemaLoader, told: &Value, scope: &Scope) -> Result<Option<&'a TargetType>, ReadingError> {
    for map in &loader.schema_type_identifier.types_mapping {
        let holds = |condition: &Expression| condition.truth(scope).map_err(ReadingError::expression("condition"));
        if map.current_type == *told && map.condition.as_ref().map_or(Ok(true), holds)? {
            return Ok(Some(&map.target_type));
        }
    }
    Ok(None)
}

fn told_type(told: &Value) -> Result<Value, ReadingError> {
    match told {
        Value::String(name) => type_schema(name),
        Value::Array(names) => match names.as_slice() {
            [Value::String(first), Value::String(second)] => Ok(json!({ "oneOf": [type_schema(first)?, type_schema(second)?] })),
            _ => Err(wrong("type_pointer", told, "the name of a type, or a list of two")),
        },
        _ => Err(wrong("type_pointer", told, "the name of a type, or a list of two")),
    }
}

fn target_schema(target: &TargetType) -> Result<Value, ReadingError> {
    match target {
        TargetType::One(name) => type_schema(name),
        TargetType::Either(names) => told_type(&Value::from(names.clone())),
        TargetType::Complex(complex) => complex_schema(complex),
    }
}

fn complex_schema(complex: &ComplexFieldType) -> Result<Value, ReadingError> {
    let mut schema = type_schema(&complex.field_type)?;
    if let Some(items) = &complex.items {
        schema["items"] = complex_schema(items)?;
    }
    Ok(schema)
}

/// The schema of a type of the protocol.
fn type_schema(name: &str) -> Result<Value, ReadingError> {
    let formatted = |format: &str| json!({ "type": ["null", "string"], "format": format });
    Ok(match name {
        "string" | "boolean" | "integer" | "number" | "array" | "object" => json!({ "type": ["null", name] }),
        "date" => formatted("date"),
        "timestamp_with_timezone" => formatted("date-time"),
        "timestamp_without_timezone" => json!({ "type": ["null", "string"], "format": "date-time", "airbyte_type": name }),
        "time_with_timezone" | "time_without_timezone" => json!({ "type": ["null", "string"], "format": "time", "airbyte_type": name }),
        _ => {
            let needs = "a type of the protocol, such as string, number or timestamp_with_timezone; map it in types_mapping";
            return Err(wrong("type", &Value::from(name), needs));
        }
    })
}

fn filtered(loader: &DynamicSchemaLoader, properties: Map<String, Value>, scope: &mut Scope) -> Result<Map<String, Value>, ReadingError> {
    let Some(Filter::RecordFilter(filter)) = &loader.schema_filter else { return Ok(properties) };
    if filter.condition.plain() == Some("") {
        return Ok(properties);
    }
    scope.set_slice(&Slice::default()).set("next_page_token", minijinja::Value::from(()));
    let mut kept = Map::new();
    for (name, schema) in properties {
        scope.set("record", dynamic(&json!({ &name: schema })));
        if filter.condition.truth(scope).map_err(ReadingError::expression("schema_filter"))? {
            kept.insert(name, schema);
        }
    }
    Ok(kept)
}

fn transformed(
    loader: &DynamicSchemaLoader,
    properties: Map<String, Value>,
    scope: &mut Scope,
    compat: Compat,
) -> Result<Value, ReadingError> {
    let properties = Value::Object(properties);
    if loader.schema_transformations.is_empty() {
        return Ok(properties);
    }
    let changes = Changes::new(&loader.schema_transformations, &[], scope, compat)?;
    let mut draft = Draft::of(Bytes::from(properties.to_string()));
    scope.set_slice(&Slice::default());
    changes.make(&mut draft, scope, &mut Changed::default())?;
    Ok(Value::Object(draft.to_map()))
}

fn wrong(field: &'static str, found: &Value, needs: &'static str) -> ReadingError {
    ReadingError::Value { field, found: crate::ids::cut(&found.to_string()), needs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn stream(loaders: &str) -> DeclarativeStream {
        let yaml = format!(
            "name: s\nretriever: {{requester: {{url: 'https://a.example'}}, record_selector: {{extractor: {{field_path: []}}}}}}\nschema_loader: {loaders}"
        );
        component(&yaml, "DeclarativeSource", "streams")
    }

    fn told(more: &str, record: &Value) -> Result<Value, ReadingError> {
        let retriever = "{requester: {url: 'https://a.example'}, record_selector: {extractor: {field_path: []}}}";
        let stream = stream(&format!("{{type: DynamicSchemaLoader, retriever: {retriever}, {more}}}"));
        let Some([SchemaLoader::DynamicSchemaLoader(loader)]) = stream.schema_loader.as_deref() else { panic!() };
        told_schema(loader, Some(record), &scope(&json!({"hidden": "b"})), Compat::Strict).map(|mut schema| schema["properties"].take())
    }

    /// Fields become properties; types are mapped, by condition too; both filters and changes apply (each was run in the reference engine).
    #[test]
    fn fields_are_told() {
        let record = json!({"fields": [
            {"name": "a", "type": "text"}, {"name": "b", "type": "integer"}, {"name": "C", "type": ["x", "y"]},
            {"name": "d", "type": "list", "of": "number"}, {"name": "e"}, {"name": "f", "type": ["string", "number"]},
        ]});
        let maps = "[{target_type: string, current_type: text}, {target_type: [string, integer], current_type: [x, y]},
            {target_type: {field_type: array, items: {field_type: array, items: number}}, current_type: list, condition: \"{{ raw_schema.of == 'number' }}\"}]";
        let identifier = format!(
            "schema_type_identifier: {{schema_pointer: [fields], key_pointer: [name], type_pointer: [type], types_mapping: {maps}}}"
        );
        let nullable = |name: &str| json!({"type": ["null", name]});
        let all = json!({
            "a": nullable("string"),
            "b": nullable("integer"),
            "C": {"oneOf": [nullable("string"), nullable("integer")]},
            "d": {"type": ["null", "array"], "items": {"type": ["null", "array"], "items": nullable("number")}},
            "e": nullable("string"),
            "f": {"oneOf": [nullable("string"), nullable("number")]},
        });
        assert_eq!(told(&identifier, &record).unwrap(), all);
        let more = "schema_filter: {type: RecordFilter, condition: \"{{ config['hidden'] not in record }}\"}, schema_transformations: [{type: KeysToLower}]";
        let kept: Vec<String> = told(&format!("{identifier}, {more}"), &record).unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(kept, ["a", "c", "d", "e", "f"]);
        for (wrong, word) in [
            (json!({"fields": [{"name": 1}]}), "key_pointer"),
            (json!({"fields": [{"name": "a", "type": "odd"}]}), "types_mapping"),
            (json!({"fields": {}}), "schema_pointer"),
        ] {
            let message = told(&identifier, &wrong).expect_err(word).to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    /// Several loaders make one schema, the first that names a property winning; files count when they are there.
    #[test]
    fn loaders_are_combined() {
        let file = |name: &str| (name == "./schemas/s.json").then(|| json!({"properties": {"a": 1, "b": 1}}));
        let schema = |loaders: &str| {
            let stream = stream(loaders);
            let parts = schema_parts(&stream, &scope(&json!({})), file).unwrap();
            let known = parts.into_iter().map(|part| match part {
                SchemaPart::Known(schema) => Cow::Owned(schema.into_owned()),
                SchemaPart::Asked(_) => panic!("nobody is asked"),
            });
            combined(known.collect()).map(Cow::into_owned)
        };
        let inline = "{type: InlineSchemaLoader, schema: {properties: {b: 2, c: 2}}}";
        assert_eq!(schema(inline), Some(json!({"properties": {"b": 2, "c": 2}})));
        assert_eq!(schema("{type: JsonFileSchemaLoader}"), Some(json!({"properties": {"a": 1, "b": 1}})));
        assert_eq!(schema("{type: JsonFileSchemaLoader, file_path: './schemas/none.json'}"), None);
        let both = schema(&format!(
            "[{inline}, {{type: JsonFileSchemaLoader, file_path: \"./schemas/{{{{ parameters['name'] or 's' }}}}.json\"}}]"
        ));
        assert_eq!(both.map(|mut both| both["properties"].take()), Some(json!({"a": 1, "b": 2, "c": 2})));
    }
}
