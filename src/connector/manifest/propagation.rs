//! What a component inherits: its `type`, when its place implies one, and the `$parameters` of everything around it.
//!
//! Source: the component transformer of airbyte-cdk (LOWCODE.md section 4.1).

use std::rc::Rc;

use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

/// The number of nodes that one manifest may become when its references and parameters are written out. The largest published
/// manifest has 10,000.
pub const NODES_MAX: usize = 500_000;
/// How deep it may be then.
pub const DEPTH_MAX: usize = super::reference::DEPTH_MAX * 2;
/// The member under which a component's merged parameters are found.
pub const PARAMETERS: &str = "$parameters";

/// The type that a component has when it does not say, by the type around it and the field it stands in.
const IMPLIED: &[(&str, &str, &str)] = &[
    ("AddFields", "fields", "AddedFieldDefinition"),
    ("CompositeErrorHandler", "error_handlers", "DefaultErrorHandler"),
    ("ConditionalStreams", "streams", "DeclarativeStream"),
    ("ConfigComponentsResolver", "components_mapping", "ComponentMappingDefinition"),
    ("ConfigComponentsResolver", "stream_config", "StreamConfig"),
    ("CustomPartitionRouter", "parent_stream_configs", "ParentStreamConfig"),
    ("CursorPagination", "decoder", "JsonDecoder"),
    ("DatetimeBasedCursor", "end_datetime", "MinMaxDatetime"),
    ("DatetimeBasedCursor", "end_time_option", "RequestOption"),
    ("DatetimeBasedCursor", "start_datetime", "MinMaxDatetime"),
    ("DatetimeBasedCursor", "start_time_option", "RequestOption"),
    ("DeclarativeSource", "check", "CheckStream"),
    ("DeclarativeSource", "concurrency_level", "ConcurrencyLevel"),
    ("DeclarativeSource", "spec", "Spec"),
    ("DeclarativeSource", "streams", "DeclarativeStream"),
    ("DeclarativeStream", "retriever", "SimpleRetriever"),
    ("DeclarativeStream", "schema_loader", "JsonFileSchemaLoader"),
    ("DefaultErrorHandler", "response_filters", "HttpResponseFilter"),
    ("DefaultPaginator", "decoder", "JsonDecoder"),
    ("DefaultPaginator", "page_size_option", "RequestOption"),
    ("DpathExtractor", "decoder", "JsonDecoder"),
    ("DpathExtractor", "record_expander", "RecordExpander"),
    ("DynamicDeclarativeStream", "stream_template", "DeclarativeStream"),
    ("DynamicSchemaLoader", "retriever", "SimpleRetriever"),
    ("HttpComponentsResolver", "components_mapping", "ComponentMappingDefinition"),
    ("HttpComponentsResolver", "retriever", "SimpleRetriever"),
    ("HttpRequester", "error_handler", "DefaultErrorHandler"),
    ("ListPartitionRouter", "request_option", "RequestOption"),
    ("ParentStreamConfig", "request_option", "RequestOption"),
    ("ParentStreamConfig", "stream", "DeclarativeStream"),
    ("RecordExpander", "parent_fields", "ParentFieldPath"),
    ("RecordSelector", "extractor", "DpathExtractor"),
    ("RecordSelector", "record_filter", "RecordFilter"),
    ("SimpleRetriever", "paginator", "NoPagination"),
    ("SimpleRetriever", "record_selector", "RecordSelector"),
    ("SimpleRetriever", "requester", "HttpRequester"),
    ("StateDelegatingStream", "full_refresh_stream", "DeclarativeStream"),
    ("StateDelegatingStream", "incremental_stream", "DeclarativeStream"),
    ("SubstreamPartitionRouter", "parent_stream_configs", "ParentStreamConfig"),
];

/// The document grew beyond [`NODES_MAX`] or [`DEPTH_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("references and parameters write out to more than {NODES_MAX} values or {DEPTH_MAX} levels; use fewer")]
pub struct TooLarge;

/// Fills in types and parameters from `node` downwards.
///
/// # Errors
/// When the result is too large.
pub fn propagate(node: &Rc<Node>, around: &str, field: &str) -> Result<Rc<Node>, TooLarge> {
    Propagation { nodes: 0, outer_wins: false }.component(node, around, field, &Members::new(), 0)
}

/// Does so a second time, for a stream that was made of a template: `outer_wins` lets the parameters of the whole win over those
/// of its parts, so that what was filled in reaches them. The number of nodes is given back, and counts from `nodes` on.
///
/// # Errors
/// When the result, with what was there before, is too large.
pub fn propagate_again(node: &Rc<Node>, outer_wins: bool, nodes: usize) -> Result<(Rc<Node>, usize), TooLarge> {
    let mut propagation = Propagation { nodes, outer_wins };
    let node = propagation.component(node, "DynamicDeclarativeStream", "stream_template", &Members::new(), 0)?;
    Ok((node, propagation.nodes))
}

struct Propagation {
    nodes: usize,
    outer_wins: bool,
}

impl Propagation {
    fn component(&mut self, node: &Rc<Node>, around: &str, field: &str, inherited: &Members, depth: usize) -> Result<Rc<Node>, TooLarge> {
        let Some(own) = node.as_map() else { return Ok(Rc::clone(node)) };
        self.count(own.len() + 1, depth)?;
        let mut members = own.clone();
        if !members.contains_key("type")
            && !members.contains_key("class_name")
            && let Some((_, _, implied)) = IMPLIED.iter().find(|(a, f, _)| *a == around && *f == field)
        {
            let node = Rc::new(Node { line: node.line, tree: Tree::Text((*implied).into()) });
            members.insert("type".into(), Member { node, line: 0, inherited: false });
        }
        if is_schema(&members) {
            return Ok(Rc::new(Node { line: node.line, tree: Tree::Map(members) }));
        }
        let Some(kind) = members.get("type").map(|member| member.node.as_text().unwrap_or_default().to_owned()) else {
            return self.plain_map(node, members, field, inherited, depth);
        };
        let mut parameters = inherited.clone();
        if let Some(Tree::Map(nearer)) = members.shift_remove(PARAMETERS).map(|member| member.node.tree.clone()) {
            for (key, member) in nearer {
                if !self.outer_wins || !parameters.contains_key(&key) {
                    parameters.insert(key, member);
                }
            }
        }
        self.count(parameters.len(), depth)?;
        for (key, parameter) in &parameters {
            if members.get(key).is_none_or(|member| member.node.is_falsy()) {
                members.insert(Rc::clone(key), Member { inherited: true, ..parameter.clone() });
            }
        }
        for (key, member) in &mut members {
            self.member(&kind, key, member, &mut parameters, depth)?;
        }
        if !parameters.is_empty() {
            let node = Rc::new(Node { line: node.line, tree: Tree::Map(parameters) });
            members.insert(PARAMETERS.into(), Member { node, line: 0, inherited: true });
        }
        Ok(Rc::new(Node { line: node.line, tree: Tree::Map(members) }))
    }

    /// One field of a component. The parameter of the same name is put aside meanwhile: it would contain itself.
    fn member(&mut self, kind: &str, key: &Rc<str>, member: &mut Member, parameters: &mut Members, depth: usize) -> Result<(), TooLarge> {
        if !matches!(member.node.tree, Tree::Map(_) | Tree::List(_)) {
            return Ok(());
        }
        let aside = parameters.shift_remove(key);
        member.node = match &member.node.tree {
            Tree::List(items) => {
                let items = items.iter().map(|item| self.component(item, kind, key, parameters, depth + 1)).collect::<Result<_, _>>()?;
                Rc::new(Node { line: member.node.line, tree: Tree::List(items) })
            }
            _ => self.component(&member.node, kind, key, parameters, depth + 1)?,
        };
        if let Some(aside) = aside.filter(|aside| !aside.node.is_falsy()) {
            parameters.insert(Rc::clone(key), aside);
        }
        Ok(())
    }

    /// A map without a type is no component; but components may stand in it.
    fn plain_map(
        &mut self,
        node: &Rc<Node>,
        mut members: Members,
        field: &str,
        inherited: &Members,
        depth: usize,
    ) -> Result<Rc<Node>, TooLarge> {
        let holds_component =
            |member: &Member| member.node.as_map().is_some() && member.node.get("type").is_some_and(|node| !node.is_falsy());
        if !members.values().any(holds_component) {
            return Ok(Rc::clone(node));
        }
        for (key, member) in members.iter_mut().filter(|(_, member)| holds_component(member)) {
            let mut parameters = inherited.clone();
            parameters.shift_remove(key);
            member.node = self.component(&member.node, field, key, &parameters, depth + 1)?;
        }
        Ok(Rc::new(Node { line: node.line, tree: Tree::Map(members) }))
    }

    fn count(&mut self, nodes: usize, depth: usize) -> Result<(), TooLarge> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX { Err(TooLarge) } else { Ok(()) }
    }
}

/// Whether a map is a JSON schema, by the only sign there is.
fn is_schema(members: &Members) -> bool {
    members.get("type").is_some_and(|member| match &member.node.tree {
        Tree::Text(text) => text.as_ref() == "object",
        // A component's type is a text: a list is a union of a schema's types, a map a property that is called `type`.
        Tree::List(_) | Tree::Map(_) => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::connector::yaml::Repeated;
    use crate::connector::yaml::parse;
    use crate::connector::yaml::with_stack;

    fn check(text: &str) -> Value {
        with_stack(|| propagate(&parse(text, Repeated::LastCounts).unwrap(), "DeclarativeSource", "streams").unwrap().to_json())
    }

    /// Missing types come from the place, all the way down, and not into schemas or plain maps.
    #[test]
    fn types_are_implied() {
        let value = check(
            "retriever: {requester: {request_headers: {a: b}}, record_selector: {extractor: {}}}\nschema_loader: {type: InlineSchemaLoader, schema: {type: object, properties: {retriever: {}}}}\n",
        );
        assert_eq!(value["type"], "DeclarativeStream");
        assert_eq!(value["retriever"]["requester"], json!({"request_headers": {"a": "b"}, "type": "HttpRequester"}));
        assert_eq!(value["retriever"]["record_selector"]["extractor"]["type"], "DpathExtractor");
        assert_eq!(value["schema_loader"]["schema"]["properties"], json!({"retriever": {}}));
    }

    /// Parameters flow down, the nearer wins, a written field wins unless it is empty, and a parameter is put aside within the
    /// field of its name.
    #[test]
    fn parameters_flow_down() {
        let value =
            check("$parameters: {name: n, path: /p, size: 1}\nname: ''\nretriever:\n  requester: {path: /own, $parameters: {size: 2}}\n");
        assert_eq!(value["name"], "n");
        assert_eq!(value["path"], "/p");
        let requester = &value["retriever"]["requester"];
        assert_eq!((&requester["path"], &requester["size"]), (&json!("/own"), &json!(2)));
        assert_eq!(requester["$parameters"], json!({"name": "n", "path": "/p", "size": 2}));
    }

    /// A document that grows without end is refused in bounded time.
    #[test]
    fn growth_is_bounded() {
        let bomb: String =
            (0..40).map(|n| format!("a{n}: {{type: X, l: '#/a{0}', r: '#/a{0}'}}\n", n + 1)).collect::<String>() + "a40: x\n";
        let result = with_stack(|| {
            let (resolved, _) = super::super::reference::resolve(&parse(&bomb, Repeated::LastCounts).unwrap());
            propagate(resolved.get("a0").unwrap(), "", "").is_err()
        });
        assert!(result);
    }
}
