//! What a record looks like.

use std::rc::Rc;

use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::records::Filter;
use crate::connector::component::records::Transformation;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::PrimaryKey;
use crate::connector::component::source::Retriever;
use crate::connector::component::value::Expression;
use crate::connector::yaml::Node;

family! {
    /// Where a stream's schema is.
    SchemaLoader { InlineSchemaLoader, JsonFileSchemaLoader, DynamicSchemaLoader }
}

component! {
    /// A JSON schema within the manifest.
    InlineSchemaLoader {
        /// The schema.
        schema: Value = Value::Object(serde_json::Map::new());
    }
}

component! {
    /// A JSON schema in a file beside the manifest, when the connector is a folder.
    JsonFileSchemaLoader {
        /// The file, within the folder; not said, `./schemas/` and the stream's name.
        file_path: Option<Expression> => FieldPath;
    }
}

component! {
    /// A JSON schema made of what the application tells about its fields, read with the stream's configuration.
    DynamicSchemaLoader {
        /// How that is read; its first record counts.
        retriever: SchemaStream;
        /// Which fields count; `record` is an object with one field and its schema.
        schema_filter: Option<Filter>;
        /// Changes made to the fields' schemas as to a record.
        schema_transformations: Vec<Transformation> = Vec::new();
        /// How the fields are told.
        schema_type_identifier: SchemaTypeIdentifier;
    }
}

component! {
    /// How an application tells the fields of its records.
    SchemaTypeIdentifier {
        /// Where the list of fields is in the record that is read; empty, the record itself.
        schema_pointer: Vec<Expression> => FieldPath = Vec::new();
        /// Where a field's name is.
        key_pointer: Vec<Expression> => FieldPath;
        /// Where a field's type is; not said, every field is a text.
        type_pointer: Vec<Expression> => FieldPath = Vec::new();
        /// What the application's types are called here; the first that fits counts.
        types_mapping: Vec<TypesMap> = Vec::new();
    }
}

component! {
    /// What one of an application's types is called here.
    TypesMap {
        /// The type here, two of them, or a list of a type.
        target_type: TargetType;
        /// The application's type; a list means that list.
        current_type: Value;
        /// Only where it is true.
        condition: Option<Expression> => SchemaType;
    }
}

/// The type of a field's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetType {
    /// One.
    One(String),
    /// Either of several.
    Either(Vec<String>),
    /// A type, and that of its elements.
    Complex(ComplexFieldType),
}

/// A type, and that of its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplexFieldType {
    /// The type.
    pub field_type: String,
    /// That of its elements, when it is a list.
    pub items: Option<Box<ComplexFieldType>>,
}

impl Accept for TargetType {
    const ACCEPTS: &'static str = "the name of a type, a list of two, or a map with `field_type` and perhaps `items`";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_some() {
            return ComplexFieldType::accept(node, reader).map(TargetType::Complex);
        }
        match node.as_list() {
            Some(_) => Vec::<String>::accept(node, reader).map(TargetType::Either),
            None => String::accept(node, reader).map(TargetType::One),
        }
    }
}

impl Accept for ComplexFieldType {
    const ACCEPTS: &'static str = "the name of a type, or a map with `field_type` and perhaps `items`";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_none() {
            return String::accept(node, reader).map(|field_type| ComplexFieldType { field_type, items: None });
        }
        let Some(field_type) = node.get("field_type") else { return reader.wrong_kind(node, Self::ACCEPTS) };
        let field_type = reader.within("field_type", |reader| String::accept(field_type, reader))?;
        let items = match node.get("items") {
            Some(items) => Some(Box::new(reader.within("items", |reader| ComplexFieldType::accept(items, reader))?)),
            None => None,
        };
        if items.is_some() && field_type != "array" {
            return reader.not_accepted(node, "`items` beside the `field_type` array only");
        }
        Some(ComplexFieldType { field_type, items })
    }
}

/// The name of the stream that tells a schema.
const SCHEMA_STREAM: &str = "dynamic_properties";

/// A stream of its own, which tells the schema of another.
#[derive(Debug)]
pub struct SchemaStream(pub Box<DeclarativeStream>);

impl Accept for SchemaStream {
    const ACCEPTS: &'static str = Retriever::ACCEPTS;

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let retriever = Retriever::accept(node, reader)?;
        Some(SchemaStream(Box::new(DeclarativeStream {
            name: SCHEMA_STREAM.to_owned(),
            retriever,
            primary_key: PrimaryKey::default(),
            incremental_sync: None,
            schema_loader: None,
            transformations: Vec::new(),
            state_migrations: Vec::new(),
            line: node.line,
        })))
    }
}
