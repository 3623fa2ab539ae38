//! The parts that a stream is cut into by its partition routers.
//!
//! Source: the partition routers of airbyte-cdk (LOWCODE.md section 4.9). What is here knows no requests: a router's parents are read
//! by `fetch`, which hands every record of theirs to [`ParentRule::partition`].

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::partition::GroupingPartitionRouter;
use crate::connector::component::partition::ListPartitionRouter;
use crate::connector::component::partition::ParentStreamConfig;
use crate::connector::component::partition::PartitionValues;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::path::FieldPath;
use crate::connector::reading::Compat;
use crate::connector::reading::Injection;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Target;
use crate::connector::reading::counts_as_empty;
use crate::record::Exchange;

/// The most values of one list, and of the routers that another one multiplies.
pub const PARTITIONS_MAX: usize = 100_000;
/// The name under which a part holds the part of its parent.
const PARENT_SLICE: &str = "parent_slice";
/// The name of the extra field that holds the child's first page.
pub const CHILD_RESPONSE: &str = "child_response";

/// One part of a stream.
#[derive(Debug, Clone)]
pub struct Partition {
    /// The keys that expressions see.
    pub keys: Map<String, Value>,
    /// More values of the parent's record; no part of the state's key.
    pub extra: Map<String, Value>,
    /// What goes into every request of the part.
    pub injections: Vec<Injection>,
    /// The state of the parents when the part was made, where it is kept.
    pub parent_state: Option<Arc<Value>>,
    /// The exchange that the parent's record came from, where the parent holds the child's first page.
    pub exchange: Option<Arc<Exchange>>,
    /// The keys as text, sorted: what tells one part from another.
    key: Arc<str>,
}

impl Partition {
    /// The stream as a whole.
    pub fn whole() -> Self {
        Self::new(Map::new(), Map::new(), Vec::new())
    }

    /// A part as a state names it.
    pub fn of_state(keys: &Map<String, Value>) -> Self {
        Self::new(keys.clone(), Map::new(), Vec::new())
    }

    fn new(keys: Map<String, Value>, extra: Map<String, Value>, injections: Vec<Injection>) -> Self {
        let key = sorted(&Value::Object(keys.clone())).to_string().into();
        Partition { keys, extra, injections, parent_state: None, exchange: None, key }
    }

    /// What tells it from another part: its keys as compact JSON, sorted.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The part when the parents are at a state.
    #[must_use]
    pub fn at(self, parent_state: Option<Arc<Value>>) -> Self {
        Partition { parent_state, ..self }
    }

    /// The part of a parent's record: the parents' state then, and the exchange that holds the part's first page, if it does.
    #[must_use]
    pub fn of_parent(self, parent_state: Option<Arc<Value>>, exchange: Option<Arc<Exchange>>) -> Self {
        Partition { parent_state, exchange, ..self }
    }

    /// The slice that expressions see when the part has no window of time.
    pub fn slice(&self) -> Slice {
        Slice { partition: self.keys.clone(), extra: self.extra.clone(), ..Slice::default() }
    }

    /// The part as it is recorded; nothing when the stream is not cut.
    pub fn recorded(&self) -> Option<Value> {
        (!self.keys.is_empty()).then(|| Value::Object(self.keys.clone()))
    }

    /// The part that two routers make together; where both name the same, the first counts.
    #[must_use]
    pub fn joined(&self, other: &Partition) -> Self {
        let over = |first: &Map<String, Value>, second: &Map<String, Value>| {
            let mut joined = second.clone();
            joined.extend(first.clone());
            joined
        };
        let mut injections = self.injections.clone();
        for injection in &other.injections {
            if !injections.iter().any(|known| known.target == injection.target) {
                injections.push(injection.clone());
            }
        }
        Self::new(over(&self.keys, &other.keys), over(&self.extra, &other.extra), injections)
    }
}

/// The parts of a list: one for every value; an empty value is not put into requests. `scope` has `config`.
///
/// # Errors
/// When an expression fails, gives no list, or gives more than `PARTITIONS_MAX` values.
pub fn list(router: &ListPartitionRouter, scope: &Scope, compat: Compat) -> Result<Vec<Partition>, ReadingError> {
    let mut scope = scope.clone();
    scope.set_slice(&Slice::default());
    let values = match &router.values {
        PartitionValues::List(values) => values.clone(),
        PartitionValues::Expression(expression) => match expression.value(&scope).map_err(ReadingError::expression("values"))? {
            Value::Array(values) => values,
            // A configuration without the list.
            Value::String(text) if text.is_empty() => Vec::new(),
            // The reference engine takes the letters of a text.
            Value::String(text) if compat == Compat::Strict => text.chars().map(|letter| letter.to_string().into()).collect(),
            other => return Err(ReadingError::Value { field: "values", found: crate::ids::cut(&other.to_string()), needs: "a list" }),
        },
    };
    within_limit(values.len())?;
    let key = router.cursor_field.text(&scope).map_err(ReadingError::expression("cursor_field"))?;
    let target = router.request_option.as_ref().map(|option| Target::of(option, &scope)).transpose()?;
    Ok(values
        .into_iter()
        .map(|value| Partition::new(Map::from_iter([(key.clone(), value.clone())]), Map::new(), injected(target.as_ref(), &value)))
        .collect())
}

/// Refuses a router whose parts are too many to be multiplied.
///
/// # Errors
/// When there are more than `PARTITIONS_MAX`.
pub fn within_limit(parts: usize) -> Result<(), ReadingError> {
    if parts <= PARTITIONS_MAX {
        return Ok(());
    }
    Err(ReadingError::Value { field: "partition_router", found: format!("{parts} parts"), needs: "at most 100000" })
}

/// How a record of a parent becomes a part of its child.
#[derive(Debug)]
pub struct ParentRule {
    key: FieldPath,
    field: String,
    extra: Vec<(String, FieldPath)>,
    target: Option<Target>,
    /// Where the child's first page is, if the parent holds it.
    child_page: Option<FieldPath>,
}

impl ParentRule {
    /// The rule of a parent. `scope` has `config`.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn new(parent: &ParentStreamConfig, scope: &Scope) -> Result<Self, ReadingError> {
        let mut scope = scope.clone();
        scope.set_slice(&Slice::default());
        let steps = |steps: &[crate::connector::component::value::Expression], field| {
            let texts = steps.iter().map(|step| step.text(&scope)).collect::<Result<Vec<_>, _>>();
            texts.map_err(ReadingError::expression(field))
        };
        let extra =
            parent.extra_fields.iter().map(|path| steps(&path.0, "extra_fields").map(|steps| (steps.join("."), FieldPath::new(steps))));
        let child_page = steps(&parent.lazy_read_pointer, "lazy_read_pointer")?;
        Ok(ParentRule {
            key: FieldPath::parse(&parent.parent_key.text(&scope).map_err(ReadingError::expression("parent_key"))?),
            field: parent.partition_field.text(&scope).map_err(ReadingError::expression("partition_field"))?,
            extra: extra.collect::<Result<_, _>>()?,
            target: parent.request_option.as_ref().map(|option| Target::of(option, &scope)).transpose()?,
            child_page: (!child_page.is_empty()).then(|| FieldPath::new(child_page)),
        })
    }

    /// Whether the parent's records hold the child's first page.
    pub fn holds_pages(&self) -> bool {
        self.child_page.is_some()
    }

    /// The part that a record makes, read in the part `parent` of its own stream; nothing when it has no value at the key.
    ///
    /// # Errors
    /// When a path has a pattern that matches more than once.
    pub fn partition(&self, record: &Value, parent: &Partition) -> Result<Option<Partition>, ReadingError> {
        let failed = |source| ReadingError::Records { source };
        let Some(value) = self.key.get(record).map_err(failed)?.filter(|value| !value.is_null()) else { return Ok(None) };
        let keys = Map::from_iter([(self.field.clone(), value.clone()), (PARENT_SLICE.to_owned(), Value::Object(parent.keys.clone()))]);
        let mut extra = Map::new();
        if let Some(path) = &self.child_page {
            let page = path.get(record).map_err(failed)?.cloned().unwrap_or_else(|| Value::Array(Vec::new()));
            extra.insert(CHILD_RESPONSE.to_owned(), page);
        }
        for (name, path) in &self.extra {
            extra.insert(name.clone(), path.get(record).map_err(failed)?.cloned().unwrap_or_default());
        }
        Ok(Some(Partition::new(keys, extra, injected(self.target.as_ref(), value))))
    }
}

/// Joins parts to groups of a size.
#[derive(Debug)]
pub struct Grouping {
    size: usize,
    /// The values that were taken, when each is taken once only.
    seen: Option<HashSet<String>>,
    group: Vec<Partition>,
}

impl Grouping {
    /// No part yet.
    pub fn new(router: &GroupingPartitionRouter) -> Self {
        let size = usize::try_from(router.group_size).unwrap_or(1).max(1);
        Grouping { size, seen: router.deduplicate.then(HashSet::new), group: Vec::new() }
    }

    /// Takes a part in; a group when it is full.
    ///
    /// # Errors
    /// When the part has not exactly one value.
    pub fn take(&mut self, part: Partition) -> Result<Option<Partition>, ReadingError> {
        let mut values = part.keys.iter().filter(|(name, _)| *name != PARENT_SLICE);
        let (Some((_, value)), None) = (values.next(), values.next()) else {
            let found = crate::ids::cut(&part.key);
            return Err(ReadingError::Value { field: "underlying_partition_router", found, needs: "parts with one value each" });
        };
        if let Some(seen) = &mut self.seen
            && !seen.insert(value.to_string())
        {
            return Ok(None);
        }
        self.group.push(part);
        Ok(if self.group.len() == self.size { self.rest() } else { None })
    }

    /// The group that is not full, if there is one.
    pub fn rest(&mut self) -> Option<Partition> {
        let group = std::mem::take(&mut self.group);
        let lists = |of: fn(&Partition) -> &Map<String, Value>| -> Map<String, Value> {
            let names: Vec<&String> = group.iter().flat_map(|part| of(part).keys()).collect();
            let list = |name: &String| Value::Array(group.iter().map(|part| of(part).get(name).cloned().unwrap_or_default()).collect());
            names.into_iter().map(|name| (name.clone(), list(name))).collect()
        };
        let last = group.last()?;
        let parent_state = last.parent_state.clone();
        Some(Partition { parent_state, ..Partition::new(lists(|part| &part.keys), lists(|part| &part.extra), Vec::new()) })
    }
}

/// Takes the parts of several routers, each value once.
#[derive(Debug)]
pub struct Union {
    field: String,
    seen: HashSet<String>,
}

impl Union {
    /// No part yet; `field` is the name of the value.
    pub fn new(field: String) -> Self {
        Union { field, seen: HashSet::new() }
    }

    /// The part with its value alone, the rest of its keys as extra fields; nothing when the value is known already.
    ///
    /// # Errors
    /// When the part has no value of that name.
    pub fn take(&mut self, part: Partition) -> Result<Option<Partition>, ReadingError> {
        let Some(value) = part.keys.get(&self.field).cloned() else {
            let found = crate::ids::cut(&part.key);
            return Err(ReadingError::Value { field: "partition_routers", found, needs: "the union's partition_field in every part" });
        };
        if !self.seen.insert(value.to_string()) {
            return Ok(None);
        }
        let mut extra = part.extra;
        extra.extend(part.keys.into_iter().filter(|(name, _)| *name != self.field));
        let keys = Map::from_iter([(self.field.clone(), value)]);
        Ok(Some(Partition { parent_state: part.parent_state, ..Partition::new(keys, extra, Vec::new()) }))
    }
}

fn injected(target: Option<&Target>, value: &Value) -> Vec<Injection> {
    target
        .filter(|_| !counts_as_empty(value))
        .map(|target| Injection { target: target.clone(), value: value.clone() })
        .into_iter()
        .collect()
}

/// The value with the keys of all its maps sorted.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            names.into_iter().map(|name| (name.clone(), sorted(&members[name]))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::partition::PartitionRouter;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn parts(yaml: &str) -> Result<Vec<Partition>, ReadingError> {
        parts_in(yaml, Compat::Safe)
    }

    fn parts_in(yaml: &str, compat: Compat) -> Result<Vec<Partition>, ReadingError> {
        match component(yaml, "SimpleRetriever", "partition_router") {
            PartitionRouter::ListPartitionRouter(router) => {
                list(&router, &scope(&json!({"ids": [1, 2, 1], "wrong": 7, "text": "ab"})), compat)
            }
            other => panic!("{other:?}"),
        }
    }

    fn recorded(parts: impl IntoIterator<Item = Partition>) -> Vec<Value> {
        parts.into_iter().map(|part| part.recorded().unwrap_or_default()).collect()
    }

    const IDS: &str = "{type: ListPartitionRouter, cursor_field: id, values: \"{{ config['ids'] }}\", request_option: {inject_into: request_parameter, field_name: id}}";

    fn rule(yaml: &str) -> ParentRule {
        let router = format!(
            "{{type: SubstreamPartitionRouter, parent_stream_configs: [{{stream: {{name: p, retriever: {{requester: {{url: 'https://a.example'}}, record_selector: {{extractor: {{field_path: []}}}}}}}}, {yaml}}}]}}"
        );
        match component(&router, "SimpleRetriever", "partition_router") {
            PartitionRouter::SubstreamPartitionRouter(router) => {
                ParentRule::new(&router.parent_stream_configs[0], &scope(&json!({}))).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Lists are written or evaluated, and parts of two routers join with the first one's names before the second's.
    #[test]
    fn lists_make_parts() {
        let ids = parts(IDS).unwrap();
        assert_eq!(recorded(ids.clone()), [json!({"id": 1}), json!({"id": 2}), json!({"id": 1})]);
        assert_eq!((ids[0].injections.len(), ids[0].key().as_ref()), (1, r#"{"id":1}"#));
        let kinds = parts("{type: ListPartitionRouter, cursor_field: kind, values: [b, '']}").unwrap();
        assert_eq!(ids[0].joined(&kinds[0]).key().as_ref(), r#"{"id":1,"kind":"b"}"#);
        assert_eq!(ids[0].joined(&ids[1]).recorded(), Some(json!({"id": 1})));
        assert!(parts("{type: ListPartitionRouter, cursor_field: id, values: \"{{ config['wrong'] }}\"}").is_err());
    }

    /// A text is no list; the reference engine takes its letters. An empty one has no parts.
    #[test]
    fn texts_are_no_lists() {
        let of = |name: &str, compat| parts_in(&IDS.replace("'ids'", &format!("'{name}'")), compat);
        assert_eq!(recorded(of("text", Compat::Strict).unwrap()), [json!({"id": "a"}), json!({"id": "b"})]);
        assert!(of("text", Compat::Safe).is_err() && of("none", Compat::Safe).unwrap().is_empty());
    }

    /// A record makes a part by the value at the parent's key; without one, or with null, it makes none. An empty value is not sent.
    #[test]
    fn records_of_parents_make_parts() {
        let rule = rule(
            "parent_key: account/id, partition_field: account, extra_fields: [[account, name], [none]], request_option: {inject_into: request_parameter, field_name: a, type: RequestOption}",
        );
        let parent = Partition::new(Map::from_iter([("region".to_owned(), json!("eu"))]), Map::new(), Vec::new());
        let part = rule.partition(&json!({"account": {"id": 7, "name": "n"}}), &parent).unwrap().unwrap();
        assert_eq!(part.key().as_ref(), r#"{"account":7,"parent_slice":{"region":"eu"}}"#);
        assert_eq!(Value::Object(part.extra.clone()), json!({"account.name": "n", "none": null}));
        assert_eq!(part.injections.len(), 1);
        assert!(rule.partition(&json!({"account": {"id": 0}}), &parent).unwrap().unwrap().injections.is_empty());
        assert!(rule.partition(&json!({"account": {"id": null}}), &parent).unwrap().is_none());
        assert!(rule.partition(&json!({"account": 1}), &parent).unwrap().is_none());
    }

    /// Groups are full but for the last, and hold lists; a value counts once.
    #[test]
    fn parts_are_grouped() {
        let router = format!("{{type: GroupingPartitionRouter, group_size: 2, underlying_partition_router: {IDS}}}");
        let PartitionRouter::GroupingPartitionRouter(router) = component(&router, "SimpleRetriever", "partition_router") else { panic!() };
        let mut grouping = Grouping::new(&router);
        let mut groups: Vec<Partition> = parts(IDS).unwrap().into_iter().filter_map(|part| grouping.take(part).unwrap()).collect();
        groups.extend(grouping.rest());
        assert_eq!(recorded(groups), [json!({"id": [1, 2]})]);
    }

    /// A union has every value once, under one name, and moves the other keys away.
    #[test]
    fn parts_are_united() {
        let mut union = Union::new("id".to_owned());
        let parent = rule("parent_key: id, partition_field: id").partition(&json!({"id": 3}), &Partition::whole()).unwrap();
        let all = parts(IDS).unwrap().into_iter().chain(parent).filter_map(|part| union.take(part).unwrap());
        assert_eq!(recorded(all), [json!({"id": 1}), json!({"id": 2}), json!({"id": 3})]);
        let other = parts("{type: ListPartitionRouter, cursor_field: kind, values: [b]}").unwrap().remove(0);
        assert!(union.take(other).is_err());
    }
}
