//! Streams that are made of a template, one for every component that a resolver finds.

use std::rc::Rc;

use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::records::ValueType;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Stream;
use crate::connector::component::value::Expression;
use crate::connector::problem::Code;
use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

component! {
    /// A template, and where the components come from that each make a stream of it.
    DynamicDeclarativeStream {
        /// The stream before anything is filled in.
        stream_template: StreamTemplate;
        /// Where the components come from, and where they go in the template.
        components_resolver: ComponentsResolver;
        /// What it is called; without a name, `dynamic_stream_` and its position.
        name: String = String::new();
        /// Whether parameters of the template as a whole win over those of its parts.
        use_parent_parameters: bool = true;
    }
}

family! {
    /// Where the components come from that each make a stream.
    ComponentsResolver { HttpComponentsResolver, ConfigComponentsResolver, ParametrizedComponentsResolver }
}

component! {
    /// The records that the application answers with: asked for when a connection is made, and again before each reading.
    HttpComponentsResolver {
        /// How they are asked for.
        retriever: ComponentSource;
        /// Where their values go in the template.
        components_mapping: Vec<ComponentMappingDefinition>;
    }
}

component! {
    /// Items of the configuration; of several lists, every combination.
    ConfigComponentsResolver {
        /// Where they are.
        stream_config: Vec<StreamConfig>;
        /// Where their values go in the template.
        components_mapping: Vec<ComponentMappingDefinition>;
    }
}

component! {
    /// Items that the manifest itself lists.
    ParametrizedComponentsResolver {
        /// The items.
        stream_parameters: StreamParametersDefinition;
        /// Where their values go in the template.
        components_mapping: Vec<ComponentMappingDefinition>;
    }
}

component! {
    /// Where a list of items is in the configuration.
    StreamConfig {
        /// The path; what is no list stands for a list of one.
        configs_pointer: Vec<Expression> => FieldPath;
        /// Items that are there in any case.
        default_values: Vec<Value> = Vec::new();
    }
}

component! {
    /// Items that the manifest lists.
    StreamParametersDefinition {
        /// The items.
        list_of_parameters_for_stream: Vec<Value>;
    }
}

component! {
    /// One value that goes into a place of the template.
    ComponentMappingDefinition {
        /// The place; `*` and `**` stand for members and for any way down.
        field_path: Vec<Expression> => Components;
        /// The value.
        value: Expression => Components;
        /// The type it must have; without one, whatever the text reads as.
        value_type: Option<ValueType>;
        /// Whether the place is made when it is not there.
        create_or_update: bool = false;
        /// Where it is not true, nothing is written; for items of the configuration alone.
        condition: Option<Expression> => Components;
    }
}

/// The template as the manifest has it: a stream is read from it only when it is filled in. What is kept says for what the
/// streams made of it will be refused in any case.
#[derive(Debug, Default)]
pub struct StreamTemplate;

impl Accept for StreamTemplate {
    const ACCEPTS: &'static str = "a map of type DeclarativeStream";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_none() {
            return reader.wrong_kind(node, Self::ACCEPTS);
        }
        // What a mapping cannot mend is told now. The rest is judged when the template is filled in.
        let (_, problems) = reader.apart(|reader| Stream::accept(node, reader));
        let lasting: Vec<_> =
            problems.into_iter().filter(|problem| matches!(problem.code, Code::CustomCode | Code::UnknownComponent)).collect();
        reader.take_over(lasting);
        Some(StreamTemplate)
    }
}

/// A retriever that reads components, read as any stream is: under this name, through the same machines.
#[derive(Debug)]
pub struct ComponentSource(pub Box<DeclarativeStream>);

impl Accept for ComponentSource {
    const ACCEPTS: &'static str = "a map of type SimpleRetriever";

    fn accept(node: &Rc<Node>, reader: &mut Reader) -> Option<Self> {
        let member = |node: Rc<Node>| Member { line: node.line, node, inherited: false };
        let mut members = Members::new();
        let name = Rc::new(Node { line: node.line, tree: Tree::Text(SOURCE_NAME.into()) });
        members.insert("name".into(), member(name));
        members.insert("retriever".into(), member(Rc::clone(node)));
        let stream = Rc::new(Node { line: node.line, tree: Tree::Map(members) });
        Box::<DeclarativeStream>::accept(&stream, reader).map(ComponentSource)
    }
}

/// What the stream of components is called. No stream of a manifest is: a name that a manifest gives has letters.
pub const SOURCE_NAME: &str = "*";

impl DynamicDeclarativeStream {
    /// What it is called, when it is the one at `index`.
    pub fn known_as(&self, index: usize) -> String {
        if self.name.is_empty() { format!("dynamic_stream_{index}") } else { self.name.clone() }
    }

    /// Where its components' values go.
    pub fn mapping(&self) -> &[ComponentMappingDefinition] {
        match &self.components_resolver {
            ComponentsResolver::HttpComponentsResolver(resolver) => &resolver.components_mapping,
            ComponentsResolver::ConfigComponentsResolver(resolver) => &resolver.components_mapping,
            ComponentsResolver::ParametrizedComponentsResolver(resolver) => &resolver.components_mapping,
        }
    }

    /// The stream of its components, when they come from the application.
    pub fn source(&self) -> Option<&DeclarativeStream> {
        match &self.components_resolver {
            ComponentsResolver::HttpComponentsResolver(resolver) => Some(&resolver.retriever.0),
            ComponentsResolver::ConfigComponentsResolver(_) | ComponentsResolver::ParametrizedComponentsResolver(_) => None,
        }
    }
}
