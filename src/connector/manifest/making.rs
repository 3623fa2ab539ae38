//! A manifest for one configuration: conditional streams are there or not, and dynamic streams are made.
//!
//! Source: how airbyte-cdk builds its streams, and its component resolvers. What it does over HTTP, `fetch` does before: here
//! the components are given.

use std::rc::Rc;

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::dynamic::ComponentMappingDefinition;
use crate::connector::component::dynamic::ComponentsResolver;
use crate::connector::component::dynamic::ConfigComponentsResolver;
use crate::connector::component::dynamic::DynamicDeclarativeStream;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Reader;
use crate::connector::component::records::ValueType;
use crate::connector::component::source::DeclarativeSource;
use crate::connector::component::source::DynamicEntry;
use crate::connector::component::source::Entry;
use crate::connector::component::source::MadeStream;
use crate::connector::component::source::Stream;
use crate::connector::component::source::each_apart;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::expression::json;
use crate::connector::manifest::filling::create;
use crate::connector::manifest::filling::replace;
use crate::connector::manifest::propagation::propagate_again;
use crate::connector::path::FieldPath;
use crate::connector::problem::Code;
#[cfg(test)]
use crate::connector::problem::Problem;
use crate::connector::yaml::Node;
use crate::connector::yaml::Repeated;
use crate::connector::yaml::Tree;
use crate::connector::yaml::parse;

/// The most streams that the dynamic streams of one manifest make.
pub const STREAMS_MADE_MAX: usize = 2_000;

/// What a manifest is read for.
#[derive(Debug, Clone)]
pub struct Making {
    /// Has `config`, and knows the time.
    pub scope: Scope,
    /// The components of each dynamic stream that come from the application, in the manifest's order; empty for the others.
    pub found: Vec<Vec<Component>>,
}

/// What a stream is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its values, as expressions see them in `components_values`.
    pub values: Value,
    /// The slice it was found in.
    pub slice: Map<String, Value>,
}

/// Makes `source` the source of one configuration. `document` is the tree that it was read from. Problems go to `reader`.
pub fn make(source: &mut DeclarativeSource, document: &Rc<Node>, making: &Making, reader: &mut Reader) {
    let entries = std::mem::take(&mut source.streams.0);
    for entry in entries {
        match entry {
            Entry::Conditional(conditional) => match conditional.condition.truth(&making.scope) {
                Ok(true) => source.streams.0.extend(conditional.streams.0),
                Ok(false) => {}
                Err(error) => reader.problem(Code::BadExpression, conditional.line, error.to_string()),
            },
            entry => source.streams.0.push(entry),
        }
    }
    let mut nodes = 0;
    let written = document.get("dynamic_streams").map_or(&[][..], |node| node.as_list().unwrap_or_default());
    for (index, entry) in source.dynamic_streams.0.iter().enumerate() {
        let (DynamicEntry::Make(definition), Some(node)) = (entry, written.get(index)) else { continue };
        let found = making.found.get(index).map(Vec::as_slice).unwrap_or_default();
        let made = reader.within(format!("dynamic_streams[{index}]"), |reader| {
            streams(definition, index, node, found, &making.scope, &mut nodes, reader)
        });
        source.streams.0.extend(made);
        if source.streams.0.len() > STREAMS_MADE_MAX + written.len() {
            break;
        }
    }
}

/// The streams that one dynamic stream makes.
fn streams(
    definition: &DynamicDeclarativeStream,
    index: usize,
    node: &Rc<Node>,
    found: &[Component],
    scope: &Scope,
    nodes: &mut usize,
    reader: &mut Reader,
) -> Vec<Entry> {
    let line = definition.line;
    let Some(template) = node.get("stream_template") else { return Vec::new() };
    let components = match components(definition, found, scope) {
        Ok(components) => components,
        Err(error) => {
            reader.problem(Code::BadExpression, line, error.to_string());
            return Vec::new();
        }
    };
    if components.len() > STREAMS_MADE_MAX {
        let message = format!("makes {} streams; at most {STREAMS_MADE_MAX} are made", components.len());
        reader.problem(Code::Expansion, line, message);
        return Vec::new();
    }
    let mut scope = scope.clone();
    scope.set("stream_template_config", dynamic(&reader.value(template).unwrap_or_default()));
    let of = definition.known_as(index);
    let mut filled = Vec::with_capacity(components.len());
    for component in &components {
        scope.set("components_values", dynamic(&component.values));
        scope.set("stream_slice", dynamic(&Value::Object(component.slice.clone())));
        let Some(stream) = fill(definition, template, &scope, reader) else { continue };
        match propagate_again(&stream, definition.use_parent_parameters, *nodes) {
            Ok((stream, count)) => {
                *nodes = count;
                filled.push(stream);
            }
            Err(error) => {
                reader.problem(Code::Expansion, line, error.to_string());
                return Vec::new();
            }
        }
    }
    let list = Rc::new(Node { line, tree: Tree::List(filled) });
    let read = |item: &Rc<Node>, reader: &mut Reader| {
        Stream::accept(item, reader).map(|stream| Entry::Made(MadeStream { of: of.clone(), stream }))
    };
    each_apart(&list, &of, reader, read, Entry::Refused).unwrap_or_default()
}

/// The components of a dynamic stream, one for each stream to be made.
fn components(definition: &DynamicDeclarativeStream, found: &[Component], scope: &Scope) -> Result<Vec<Component>, ExpressionError> {
    let plain = |values: Value| Component { values, slice: Map::new() };
    Ok(match &definition.components_resolver {
        ComponentsResolver::HttpComponentsResolver(_) => found.to_vec(),
        ComponentsResolver::ParametrizedComponentsResolver(resolver) => {
            resolver.stream_parameters.list_of_parameters_for_stream.iter().cloned().map(plain).collect()
        }
        ComponentsResolver::ConfigComponentsResolver(resolver) => in_config(resolver, scope)?.into_iter().map(plain).collect(),
    })
}

/// Every combination of the items that the configuration holds; one more than may be made at most.
fn in_config(resolver: &ConfigComponentsResolver, scope: &Scope) -> Result<Vec<Value>, ExpressionError> {
    let config = scope.get("config").map(json).unwrap_or_default();
    let mut combinations = vec![Map::new()];
    for (at, place) in resolver.stream_config.iter().enumerate() {
        let path = place.configs_pointer.iter().map(|segment| segment.text(scope)).collect::<Result<Vec<_>, _>>()?;
        let mut items = match FieldPath::new(path).get(&config) {
            Ok(Some(Value::Array(items))) => items.clone(),
            Ok(Some(item)) => vec![item.clone()],
            Ok(None) | Err(_) => Vec::new(),
        };
        items.extend(place.default_values.iter().cloned());
        let mut joined = Vec::new();
        for combination in &combinations {
            for (number, item) in items.iter().enumerate().take(STREAMS_MADE_MAX + 1 - joined.len().min(STREAMS_MADE_MAX + 1)) {
                joined.push(merged(combination, at, number, item));
            }
        }
        combinations = joined;
    }
    Ok(combinations.into_iter().map(Value::Object).collect())
}

/// A map's members join the combination; what is no map does so as a pair of its position and itself, under a name of its own.
fn merged(combination: &Map<String, Value>, at: usize, number: usize, item: &Value) -> Map<String, Value> {
    let mut merged = combination.clone();
    match item {
        Value::Object(members) => merged.extend(members.clone()),
        item => drop(merged.entry(format!("source_config_{at}")).or_insert_with(|| serde_json::json!([number, item]))),
    }
    merged
}

/// The template with one component's values in it.
fn fill(definition: &DynamicDeclarativeStream, template: &Rc<Node>, scope: &Scope, reader: &mut Reader) -> Option<Rc<Node>> {
    let mut filled = Rc::clone(template);
    for mapping in definition.mapping() {
        match put(definition, mapping, &filled, scope) {
            Ok(next) => filled = next,
            Err(message) => {
                reader.within("components_mapping", |reader| reader.problem(Code::BadExpression, mapping.line, message));
                return None;
            }
        }
    }
    Some(filled)
}

fn put(
    definition: &DynamicDeclarativeStream,
    mapping: &ComponentMappingDefinition,
    template: &Rc<Node>,
    scope: &Scope,
) -> Result<Rc<Node>, String> {
    let failed = |error: ExpressionError| error.to_string();
    if let Some(condition) = &mapping.condition
        && !condition.truth(scope).map_err(failed)?
    {
        return Ok(Rc::clone(template));
    }
    let value = mapping.value.noting(scope, ValueType::literals(mapping.value_type)).map_err(failed)?.value;
    let path = mapping.field_path.iter().map(|segment| segment.text(scope)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let (text_stays, creates) = match &definition.components_resolver {
        ComponentsResolver::HttpComponentsResolver(_) => (true, false),
        ComponentsResolver::ConfigComponentsResolver(_) => (mapping.value_type == Some(ValueType::Text), mapping.create_or_update),
        ComponentsResolver::ParametrizedComponentsResolver(_) => (false, mapping.create_or_update),
    };
    let value = match &value {
        Value::String(text) if !text_stays => read_yaml(text, mapping.line),
        value => Node::from_json(value, mapping.line),
    };
    let (replaced, places) = replace(template, &path, &value);
    if places > 0 || !creates || value.is_falsy() {
        return Ok(replaced);
    }
    create(template, &path, &value).map_err(|_| format!("`{}` cannot be made in the template", path.join("/")))
}

/// What a text reads as; itself when it is no YAML.
fn read_yaml(text: &str, line: u32) -> Rc<Node> {
    let tree = match text {
        // The words that YAML 1.1 has beside `true` and `false`.
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Tree::Bool(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Tree::Bool(false),
        _ => match parse(text, Repeated::LastCounts) {
            Ok(node) => return Node::from_json(&node.to_json(), line),
            Err(_) => Tree::Text(text.into()),
        },
    };
    Rc::new(Node { line, tree })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Clock;
    use crate::connector::manifest::Manifest;
    use crate::connector::manifest::read;
    use crate::connector::manifest::read_for;
    use crate::connector::yaml::with_stack;

    const HEAD: &str = "version: 7.0.0\ncheck: {type: CheckDynamicStream, stream_count: 2}\n";

    fn template(members: &str) -> String {
        format!(
            "{{type: DeclarativeStream, name: '', primary_key: [], $parameters: {{name: none}}, retriever: {{requester: {{url: 'https://a.example/', path: \"/{{{{ parameters['name'] }}}}\"}}, record_selector: {{extractor: {{field_path: []}}}}}}{members}}}"
        )
    }

    fn made<T: Send>(dynamic_streams: &str, found: Vec<Component>, ask: impl FnOnce(Result<Manifest, Vec<Problem>>) -> T + Send) -> T {
        let text = format!("{HEAD}dynamic_streams:\n{dynamic_streams}");
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let config = json!({"tables": [{"table": "t1"}, {"table": "t2"}], "kinds": ["x", "y"]});
        with_stack(move || {
            read(&text).unwrap();
            let mut scope = Scope::new(clock);
            scope.set("config", dynamic(&config));
            ask(read_for(&text, Some(&Making { scope, found: vec![found] })))
        })
    }

    fn names(manifest: Result<Manifest, Vec<Problem>>) -> Vec<String> {
        manifest.unwrap().source.declared().map(|stream| stream.name.clone()).collect()
    }

    /// One stream for each component that the application answered with: its values stand in their places, and reach the
    /// parts as parameters.
    #[test]
    fn streams_are_made_of_answers() {
        let yaml = format!(
            "  - type: DynamicDeclarativeStream
    name: tables
    stream_template: {}
    components_resolver:
      type: HttpComponentsResolver
      retriever: {{requester: {{url: 'https://a.example/tables'}}, record_selector: {{extractor: {{field_path: []}}}}}}
      components_mapping:
        - {{field_path: [name], value: \"{{{{ components_values['name'] }}}}_{{{{ stream_slice['base'] }}}}\"}}
        - {{field_path: [$parameters, name], value: \"{{{{ components_values['name'] }}}}\"}}
        - {{field_path: ['**', http_method], value: POST}}
        - {{field_path: [primary_key], value: \"{{{{ [components_values['key']] }}}}\"}}",
            template("")
        );
        let component =
            |name: &str| Component { values: json!({"name": name, "key": "id"}), slice: Map::from_iter([("base".into(), json!("b"))]) };
        let url = made(&yaml, vec![component("one"), component("two")], |manifest| {
            let source = manifest.unwrap().source;
            let names: Vec<_> = source.declared().map(|stream| (stream.name.clone(), stream.primary_key.0.clone())).collect();
            assert_eq!(names, [("one_b".to_owned(), vec![vec!["id".to_owned()]]), ("two_b".to_owned(), vec![vec!["id".to_owned()]])]);
            assert_eq!(source.checked().len(), 2);
            assert_eq!(source.component_sources().collect::<Vec<_>>(), [(0, "*0".to_owned())]);
            assert!(source.stream("*0").is_some() && source.stream("*1").is_none());
            let crate::connector::component::source::Retriever::SimpleRetriever(retriever) = &source.stream("two_b").unwrap().retriever
            else {
                panic!()
            };
            let crate::connector::component::requester::Requester::HttpRequester(requester) = &retriever.requester;
            requester.path.as_ref().unwrap().text(&Scope::new(Clock::manual("2026-11-24T10:00:00Z".parse().unwrap()))).unwrap()
        });
        assert_eq!(url, "/two");
        assert_eq!(made(&yaml, vec![component("one"), component("one")], |manifest| manifest.err().unwrap()[0].code), Code::BadName);
    }

    /// Every combination of what the configuration lists makes a stream; texts are read as YAML, and places are made where asked for.
    #[test]
    fn streams_are_made_of_the_configuration() {
        let yaml = format!(
            "  - stream_template: {}
    type: DynamicDeclarativeStream
    components_resolver:
      type: ConfigComponentsResolver
      stream_config: [{{configs_pointer: [tables]}}, {{configs_pointer: [kinds]}}]
      components_mapping:
        - {{field_path: [name], value: \"{{{{ components_values['table'] }}}}{{{{ components_values['source_config_1'][1] }}}}\"}}
        - {{field_path: [transformations], create_or_update: true, condition: \"{{{{ components_values['table'] == 't2' }}}}\", value: '[{{type: RemoveFields, field_pointers: [[a]]}}]'}}",
            template("")
        );
        assert_eq!(made(&yaml, Vec::new(), names), ["t1x", "t1y", "t2x", "t2y"]);
        let changes = made(&yaml, Vec::new(), |manifest| {
            manifest.unwrap().source.declared().map(|stream| stream.transformations.len()).collect::<Vec<_>>()
        });
        assert_eq!(changes, [0, 0, 1, 1]);
    }

    /// What a made stream needs and is not run refuses that stream, what is wrong in it the making, with the template's line.
    #[test]
    fn made_streams_are_judged() {
        let yaml = |value: &str| {
            format!(
                "  - type: DynamicDeclarativeStream
    stream_template: {}
    components_resolver:
      type: ParametrizedComponentsResolver
      stream_parameters: {{list_of_parameters_for_stream: [{{name: a, type: RemoveFields}}, {{name: b, type: {value}}}]}}
      components_mapping:
        - {{field_path: [name], value: \"{{{{ components_values['name'] }}}}\"}}
        - {{field_path: [transformations, 0, type], value: \"{{{{ components_values['type'] }}}}\"}}",
                template(", transformations: [{type: RemoveFields, field_pointers: [[a]]}]")
            )
        };
        let refused = made(&yaml("FlyAway"), Vec::new(), |manifest| {
            let source = manifest.unwrap().source;
            (source.declared().count(), source.refused().map(|stream| stream.name.clone()).collect::<Vec<_>>())
        });
        assert_eq!(refused, (1, vec!["b".to_owned()]));
        let problems = made(&yaml("AddFields"), Vec::new(), |manifest| manifest.err().unwrap());
        assert_eq!((problems[0].code, problems[0].line), (Code::MissingField, 5), "{problems:?}");
    }

    /// Streams under a condition are there or not.
    #[test]
    fn conditions_decide() {
        let stream = |name: &str| template("").replace("name: ''", &format!("name: {name}"));
        let yaml = format!(
            "  []\nstreams:\n  - {}\n  - {{type: ConditionalStreams, condition: \"{{{{ config['kinds'] | length == 2 }}}}\", streams: [{}]}}\n  - {{type: ConditionalStreams, condition: \"{{{{ config['none'] }}}}\", streams: [{}]}}",
            stream("a"),
            stream("b"),
            stream("b")
        );
        assert_eq!(made(&yaml, Vec::new(), names), ["a", "b"]);
    }
}
