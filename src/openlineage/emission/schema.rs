//! What a stream's records look like, and which stored field comes from which field of the source.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::connector::component::records::Transformation;
use crate::connector::definition::Connector;
use crate::openlineage::emission::event::DatasetName;
use crate::openlineage::emission::facets::ColumnLineage;
use crate::openlineage::emission::facets::DatasetSchema;
use crate::openlineage::emission::facets::DatasetTags;
use crate::openlineage::emission::facets::Field;
use crate::openlineage::emission::facets::Tag;
use crate::record::Pointer;

/// How deep fields are told.
const DEPTH_MAX: usize = 8;
/// How many fields of one stream are told.
const FIELDS_MAX: usize = 2000;
/// The field of a stored dataset that holds the operational view.
pub const OPERATIONAL: &str = "operational";
/// What an item of a list is called.
const ELEMENT: &str = "_element";

/// What is known of a stream's fields.
#[derive(Debug)]
pub struct StreamShape<'a> {
    fields: Vec<Field>,
    added: Vec<String>,
    mapping: &'a [(String, Pointer)],
    personal: &'a [Pointer],
}

impl<'a> StreamShape<'a> {
    /// Of a stream, as its connector declares it.
    pub fn of(connector: &'a Connector, stream: &str) -> Self {
        let mut left = FIELDS_MAX;
        let fields = connector.schema(stream).map(|schema| fields(&schema, 0, &mut left)).unwrap_or_default();
        let treatment = connector.treatment.stream(stream);
        StreamShape {
            fields,
            added: connector.stream(stream).map(|stream| added(&stream.transformations)).unwrap_or_default(),
            mapping: treatment.map(|treatment| treatment.mapping.0.as_slice()).unwrap_or_default(),
            personal: treatment.map(|treatment| treatment.personal.as_slice()).unwrap_or_default(),
        }
    }

    /// The fields at the source: those that no transformation adds.
    pub fn source(&self) -> Option<DatasetSchema> {
        let fields: Vec<Field> = self.fields.iter().filter(|field| !self.added.contains(&field.name)).cloned().collect();
        (!fields.is_empty()).then_some(DatasetSchema { fields })
    }

    /// The fields as they are stored: the record's own, and the operational view.
    pub fn stored(&self) -> Option<DatasetSchema> {
        let mut fields = self.fields.clone();
        if !self.mapping.is_empty() {
            let view = (1..).zip(self.mapping).map(|(position, (name, pointer))| Field {
                name: name.clone(),
                r#type: pointer.is_many().then(|| "array".to_owned()),
                description: Some(format!("What lies at {} of the record", pointer.as_str())),
                ordinal_position: position,
                fields: Vec::new(),
            });
            fields.push(Field {
                name: OPERATIONAL.to_owned(),
                r#type: Some("object".to_owned()),
                description: Some("The operational view of the record".to_owned()),
                ordinal_position: fields.len() as u64 + 1,
                fields: view.collect(),
            });
        }
        (!fields.is_empty()).then_some(DatasetSchema { fields })
    }

    /// Which field of `source` each stored field is: a record's own fields stay as they are, and a field of the operational view is
    /// what lies at its pointer. A field that a transformation adds comes from no single field and is not told.
    pub fn lineage(&self, source: &DatasetName) -> Option<ColumnLineage> {
        let from = |field: &str| {
            json!({"inputFields": [{
                "namespace": source.namespace, "name": source.name, "field": field,
                "transformations": [{"type": "DIRECT", "subtype": "IDENTITY", "description": "unchanged, but for card numbers, which are masked", "masking": false}],
            }]})
        };
        let own = self.fields.iter().filter(|field| !self.added.contains(&field.name)).map(|field| (field.name.clone(), from(&field.name)));
        let mapped = self.mapping.iter().filter(|(_, pointer)| !self.is_added(pointer));
        let view = mapped.map(|(name, pointer)| (format!("{OPERATIONAL}.{name}"), from(&dotted(pointer))));
        let fields: Map<String, Value> = own.chain(view).collect();
        (!fields.is_empty()).then_some(ColumnLineage { fields })
    }

    /// Which fields hold personal data.
    pub fn personal(&self) -> Option<DatasetTags> {
        let tag = |pointer: &Pointer| Tag { key: "personal", value: "true".to_owned(), source: "HEADGATE", field: Some(dotted(pointer)) };
        let tags: Vec<Tag> = self.personal.iter().map(tag).collect();
        (!tags.is_empty()).then_some(DatasetTags { tags })
    }

    fn is_added(&self, pointer: &Pointer) -> bool {
        let first = dotted(pointer);
        self.added.iter().any(|added| first.split('.').next() == Some(added))
    }
}

/// The first members of paths that transformations write, where they are known before a record is.
fn added(transformations: &[Transformation]) -> Vec<String> {
    let paths = transformations.iter().flat_map(|transformation| match transformation {
        Transformation::AddFields(add) => add.fields.iter().filter(|field| field.path.len() == 1).collect(),
        _ => Vec::new(),
    });
    paths.filter_map(|field| field.path.first()?.plain().map(str::to_owned)).collect()
}

/// A pointer as the name of a field: in dots, an item of a list by the name that it has in a schema.
fn dotted(pointer: &Pointer) -> String {
    let steps = pointer.as_str().split('/').skip(1).map(|step| match step {
        "*" => ELEMENT.to_owned(),
        step => step.replace("~1", "/").replace("~0", "~"),
    });
    steps.collect::<Vec<_>>().join(".")
}

/// The fields of an object's schema.
fn fields(schema: &Value, depth: usize, left: &mut usize) -> Vec<Field> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|_| depth < DEPTH_MAX) else { return Vec::new() };
    let mut told = Vec::new();
    for (position, (name, property)) in (1..).zip(properties) {
        if *left == 0 {
            break;
        }
        *left -= 1;
        told.push(field(name, property, position, depth, left));
    }
    told
}

fn field(name: &str, schema: &Value, position: u64, depth: usize, left: &mut usize) -> Field {
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array());
    let is_null = |schema: &&Value| type_of(schema).as_deref() == Some("null");
    let chosen = alternatives.and_then(|among| among.iter().find(|one| !is_null(one))).unwrap_or(schema);
    let inner = match chosen.get("items") {
        Some(items) if items.is_object() && *left > 0 && depth + 1 < DEPTH_MAX => {
            *left -= 1;
            vec![field(ELEMENT, items, 1, depth + 1, left)]
        }
        _ => fields(chosen, depth + 1, left),
    };
    let description = schema.get("description").and_then(Value::as_str).map(str::to_owned);
    Field { name: name.to_owned(), r#type: type_of(chosen), description, ordinal_position: position, fields: inner }
}

/// The type that a schema names, leaving out that a value may be null.
fn type_of(schema: &Value) -> Option<String> {
    match schema.get("type")? {
        Value::String(one) => Some(one.clone()),
        Value::Array(several) => {
            let named: Vec<&str> = several.iter().filter_map(Value::as_str).collect();
            named.iter().find(|name| **name != "null").or(named.first()).map(|name| (*name).to_owned())
        }
        _ => None,
    }
}
