//! Which properties of a record the application is asked for, and in how many requests.

use std::rc::Rc;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;
use crate::connector::component::value::choice;
use crate::connector::manifest::propagation::propagate;
use crate::connector::problem::Code;
use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

component! {
    /// The properties that the application is asked for. Expressions see those of a request as `query_properties`.
    QueryProperties {
        /// The properties, written or found at the application.
        property_list: PropertyList;
        /// Properties that every request asks for.
        always_include_properties: Vec<String> = Vec::new();
        /// How they are spread over several requests; without it one request asks for all.
        property_chunking: Option<PropertyChunking>;
    } refused { property_selector }
}

/// Properties as written, or where they are found.
#[derive(Debug)]
pub enum PropertyList {
    /// As written.
    Written(Vec<String>),
    /// Found at the application.
    Found(Box<PropertiesFromEndpoint>),
}

impl Accept for PropertyList {
    const ACCEPTS: &'static str = "a list of names, or a map of type PropertiesFromEndpoint";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        match &node.tree {
            Tree::Map(_) => Box::<PropertiesFromEndpoint>::accept(node, reader).map(PropertyList::Found),
            _ => Vec::<String>::accept(node, reader).map(PropertyList::Written),
        }
    }
}

component! {
    /// Properties that the application itself names.
    PropertiesFromEndpoint {
        /// Where the name is in each record that is read.
        property_field_path: Vec<Expression> => FieldPath;
        /// How those records are read.
        retriever: PropertyStream;
    }
}

/// The records that name properties, as a stream of its own.
#[derive(Debug)]
pub struct PropertyStream(pub Box<DeclarativeStream>);

impl Accept for PropertyStream {
    const ACCEPTS: &'static str = "a map of type SimpleRetriever";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let text = |text: &str| Rc::new(Node { line: node.line, tree: Tree::Text(text.into()) });
        let member = |node: Rc<Node>| Member { line: node.line, node, inherited: false };
        let members: Members =
            [("type", member(text("DeclarativeStream"))), ("name", member(text("properties"))), ("retriever", member(Rc::clone(node)))]
                .into_iter()
                .map(|(name, member)| (name.into(), member))
                .collect();
        let stream = Rc::new(Node { line: node.line, tree: Tree::Map(members) });
        // What the retriever inherits is in it already; only the stream around it is new.
        let stream = propagate(&stream, "DeclarativeSource", "streams").ok()?;
        Box::<DeclarativeStream>::accept(&stream, reader).map(PropertyStream)
    }
}

component! {
    /// How properties are spread over several requests.
    PropertyChunking {
        /// What is counted.
        property_limit_type: PropertyLimit;
        /// The most in one request; without it one request asks for all.
        property_limit: Option<u32>;
        /// How the records of several requests become one; by their `id` when it is left out.
        record_merge_strategy: Option<RecordMergeStrategy>;
    }
}

choice! {
    /// What is counted of properties.
    PropertyLimit { Characters = "characters", Count = "property_count" }
}

family! {
    /// How the records of several requests become one.
    RecordMergeStrategy { GroupByKeyMergeStrategy }
}

component! {
    /// Records with the same key become one.
    GroupByKeyMergeStrategy {
        /// The member, or the members, that tell records apart.
        key: Vec<String>;
    }
}

/// Query parameters: a map or a text that becomes one, and at most one member of it that stands for properties.
#[derive(Debug)]
pub struct RequestParameters {
    /// What is written.
    pub values: Nested,
    /// The parameter that names properties.
    pub properties: Option<(String, Box<QueryProperties>)>,
}

impl Accept for RequestParameters {
    const ACCEPTS: &'static str = Nested::ACCEPTS;

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let Tree::Map(members) = &node.tree else {
            return Nested::accept(node, reader).map(|values| RequestParameters { values, properties: None });
        };
        let is_properties = |member: &Member| member.node.type_name() == Some("QueryProperties");
        let named: Vec<_> = members.iter().filter(|(_, member)| is_properties(member)).collect();
        if named.len() > 1 {
            reader.problem(Code::Conflict, node.line, "two parameters are QueryProperties; keep one".to_owned());
            return None;
        }
        let properties = match named.first() {
            None => None,
            Some((name, member)) => {
                let read = reader.within(name.to_string(), |reader| Box::<QueryProperties>::accept(&member.node, reader))?;
                Some((name.to_string(), read))
            }
        };
        let rest: Members =
            members.iter().filter(|(_, member)| !is_properties(member)).map(|(name, member)| (Rc::clone(name), member.clone())).collect();
        let rest = Rc::new(Node { line: node.line, tree: Tree::Map(rest) });
        Nested::accept(&rest, reader).map(|values| RequestParameters { values, properties })
    }
}
