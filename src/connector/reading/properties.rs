//! How properties are spread over requests, and how the records of these become one.
//!
//! Source: the query properties of airbyte-cdk (read there).

use serde_json::Map;
use serde_json::Value;

use crate::connector::component::properties::PropertyChunking;
use crate::connector::component::properties::PropertyLimit;
use crate::connector::component::properties::QueryProperties;
use crate::connector::component::properties::RecordMergeStrategy;
use crate::connector::expression::python_text;

/// What stands between two properties in a request takes so many characters when it is encoded.
const SEPARATOR_CHARACTERS: usize = 3;
/// The key of records when the manifest names none.
const KEY: &str = "id";

/// The properties of each request, of all that there are.
pub fn chunks(query: &QueryProperties, properties: &[String]) -> Vec<Vec<String>> {
    let always = &query.always_include_properties;
    let Some(chunking) = &query.property_chunking else { return vec![[always, properties].concat()] };
    let Some(limit) = chunking.property_limit.filter(|limit| *limit > 0) else { return vec![[properties, always].concat()] };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut chunks = Vec::new();
    let (mut chunk, mut taken) = (always.clone(), 0);
    for property in properties {
        let size = match chunking.property_limit_type {
            PropertyLimit::Characters => property.chars().count() + SEPARATOR_CHARACTERS,
            PropertyLimit::Count => 1,
        };
        // One that is too large for any request stands alone, behind a request for nothing if it is the first.
        if taken + size > limit {
            chunks.push(std::mem::replace(&mut chunk, always.clone()));
            taken = 0;
        }
        chunk.push(property.clone());
        taken += size;
    }
    chunks.push(chunk);
    chunks
}

/// What tells a record from others, so that those of several requests become one; none when it has no such member.
pub fn merge_key(chunking: &PropertyChunking, record: &Value) -> Option<String> {
    let by_id = [KEY.to_owned()];
    let keys = match &chunking.record_merge_strategy {
        Some(RecordMergeStrategy::GroupByKeyMergeStrategy(strategy)) => strategy.key.as_slice(),
        None => &by_id,
    };
    let values = keys.iter().map(|key| record.get(key).filter(|value| !super::counts_as_empty(value)).map(python_text));
    values.collect::<Option<Vec<_>>>().map(|values| values.join(","))
}

/// Puts the members of a record into another; maps within them are put together as well.
pub fn merge(into: &mut Map<String, Value>, record: Map<String, Value>) {
    for (name, value) in record {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::component;

    fn query(members: &str) -> QueryProperties {
        component(&format!("{{type: QueryProperties, property_list: [], {members}}}"), "HttpRequester", "query_properties")
    }

    /// Requests are as large as they may be; what every request asks for does not count (measured).
    #[test]
    fn properties_are_spread() {
        let names: Vec<String> = ["one", "three", "eleven", "x"].map(str::to_owned).to_vec();
        let check = |members: &str| chunks(&query(members), &names).iter().map(|chunk| chunk.join(",")).collect::<Vec<_>>();
        assert_eq!(check("always_include_properties: [id]"), ["id,one,three,eleven,x"]);
        let limited =
            |limit: &str| check(&format!("always_include_properties: [id], property_chunking: {{type: PropertyChunking, {limit}}}"));
        assert_eq!(limited("property_limit_type: property_count"), ["one,three,eleven,x,id"]);
        assert_eq!(limited("property_limit_type: property_count, property_limit: 2"), ["id,one,three", "id,eleven,x"]);
        assert_eq!(limited("property_limit_type: characters, property_limit: 13"), ["id,one", "id,three", "id,eleven,x"]);
        assert_eq!(
            limited("property_limit_type: characters, property_limit: 5"),
            ["id", "id,one", "id,three", "id,eleven", "id,x"][..].to_vec()
        );
    }

    /// Records are one by their keys, and maps in them are put together.
    #[test]
    fn records_become_one() {
        let chunking =
            |members: &str| query(&format!("property_chunking: {{type: PropertyChunking, property_limit_type: characters{members}}}"));
        let key = |members: &str, record: Value| merge_key(chunking(members).property_chunking.as_ref().unwrap(), &record);
        assert_eq!(key("", json!({"id": 5})), Some("5".into()));
        assert_eq!(key("", json!({"id": ""})), None);
        let two = ", record_merge_strategy: {type: GroupByKeyMergeStrategy, key: [a, b]}";
        assert_eq!((key(two, json!({"a": "x", "b": "y"})), key(two, json!({"a": "x"}))), (Some("x,y".into()), None));
        let mut whole = json!({"id": 1, "p": {"a": 1}, "q": {"a": 1}});
        let Value::Object(more) = json!({"p": {"b": 2}, "q": 7, "r": 1}) else { panic!() };
        merge(whole.as_object_mut().unwrap(), more);
        assert_eq!(whole, json!({"id": 1, "p": {"a": 1, "b": 2}, "q": 7, "r": 1}));
    }
}
