//! A graph as PROV-JSON (W3C member submission of 24 April 2013), in the terms of PROV-DM.
//!
//! Data is an entity, what handles it an activity, whoever answers for it an agent. An erased record is invalidated by its
//! erasure.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// Where the terms of our own are.
const NAMESPACE: &str = "urn:headgate:";

/// The graph of an answer's `nodes` and `edges`.
pub fn of(graph: &Value) -> Value {
    let mut document = Document::default();
    let nodes = || graph["nodes"].as_array().into_iter().flatten();
    let noun_of = |id: &Value| nodes().find(|node| node["id"] == *id).and_then(|node| node["type"].as_str()).unwrap_or_default();
    for node in nodes() {
        document.node(node);
    }
    for edge in graph["edges"].as_array().into_iter().flatten() {
        let (from, to) = (edge["from"].as_str().unwrap_or_default(), edge["to"].as_str().unwrap_or_default());
        document.edge((noun_of(&edge["from"]), from), (noun_of(&edge["to"]), to));
    }
    let mut all = Map::from_iter([("prefix".to_owned(), json!({ "headgate": NAMESPACE, "xsd": "http://www.w3.org/2001/XMLSchema#" }))]);
    all.extend(document.parts);
    Value::Object(all)
}

/// What PROV takes a kind of node for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Entity,
    Activity,
    Agent,
}

impl Class {
    fn of(noun: &str) -> Self {
        match noun {
            "run" | "job" => Class::Activity,
            "connection" | "connector" | "recipient" => Class::Agent,
            _ => Class::Entity,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Class::Entity => "entity",
            Class::Activity => "activity",
            Class::Agent => "agent",
        }
    }
}

#[derive(Default)]
struct Document {
    parts: Map<String, Value>,
    relations: usize,
}

impl Document {
    fn node(&mut self, node: &Value) {
        let (id, noun) = (node["id"].as_str().unwrap_or_default(), node["type"].as_str().unwrap_or_default());
        let mut attributes = Map::from_iter([("prov:type".to_owned(), json!(format!("headgate:{noun}")))]);
        for (name, fact) in node["facts"].as_object().into_iter().flatten().filter(|(_, fact)| !fact.is_null()) {
            let is_plain = fact.is_string() || fact.is_number() || fact.is_boolean();
            attributes.insert(format!("headgate:{name}"), if is_plain { fact.clone() } else { fact.to_string().into() });
        }
        self.part(Class::of(noun).name(), qualified(id), Value::Object(attributes));
        if let Some(erasure) = node["facts"]["erasure"].as_str() {
            let at = &node["facts"]["erased_at"];
            self.part("activity", qualified(erasure), json!({ "prov:type": "headgate:erasure" }));
            self.relation(
                "wasInvalidatedBy",
                json!({ "prov:entity": qualified(id), "prov:activity": qualified(erasure), "prov:time": at }),
            );
        }
    }

    /// An edge goes with the data; PROV's relations mostly go against it.
    fn edge(&mut self, (from_noun, from): (&str, &str), (to_noun, to): (&str, &str)) {
        let (from, to) = (qualified(from), qualified(to));
        match (Class::of(from_noun), Class::of(to_noun)) {
            (Class::Entity, Class::Entity) => {
                self.relation("wasDerivedFrom", json!({ "prov:generatedEntity": to, "prov:usedEntity": from }));
            }
            (Class::Activity, Class::Entity) => self.relation("wasGeneratedBy", json!({ "prov:entity": to, "prov:activity": from })),
            (Class::Entity, Class::Activity) => self.relation("used", json!({ "prov:activity": to, "prov:entity": from })),
            (Class::Agent, Class::Activity) => self.relation("wasAssociatedWith", json!({ "prov:activity": to, "prov:agent": from })),
            (Class::Agent, Class::Entity) => self.relation("wasAttributedTo", json!({ "prov:entity": to, "prov:agent": from })),
            _ => self.relation("wasInfluencedBy", json!({ "prov:influencee": to, "prov:influencer": from })),
        }
    }

    fn relation(&mut self, kind: &str, members: Value) {
        self.relations += 1;
        self.part(kind, format!("_:r{}", self.relations), members);
    }

    fn part(&mut self, kind: &str, id: String, value: Value) {
        let part = self.parts.entry(kind).or_insert_with(|| json!({}));
        part[id] = value;
    }
}

/// A qualified name: what its local part may not hold is percent-encoded.
fn qualified(id: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("headgate:{}", encoded.replace('+', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind of edge gets its relation, in PROV's direction, and an erased record is invalidated.
    #[test]
    fn edges_are_relations() {
        let graph = json!({
            "nodes": [
                {"id": "conn_1", "type": "connection", "facts": {"state": "active"}},
                {"id": "run_1", "type": "run", "facts": {}},
                {"id": "page_1", "type": "page", "facts": {"status": 200, "nothing": null}},
                {"id": "rec_1", "type": "record", "facts": {"erased_at": "2026-11-24T00:00:00Z", "erasure": "eras_1"}},
                {"id": "recipient:a b", "type": "recipient", "facts": {}},
            ],
            "edges": [
                {"from": "conn_1", "to": "run_1"}, {"from": "run_1", "to": "page_1"}, {"from": "page_1", "to": "rec_1"},
                {"from": "rec_1", "to": "recipient:a b"},
            ],
        });
        let prov = of(&graph);
        assert_eq!(prov["agent"]["headgate:conn_1"]["headgate:state"], "active");
        assert_eq!(prov["entity"]["headgate:page_1"], json!({"prov:type": "headgate:page", "headgate:status": 200}));
        let one = |kind: &str| prov[kind].as_object().and_then(|all| all.values().next()).cloned().unwrap_or_default();
        assert_eq!(one("wasAssociatedWith"), json!({"prov:activity": "headgate:run_1", "prov:agent": "headgate:conn_1"}));
        assert_eq!(one("wasGeneratedBy"), json!({"prov:entity": "headgate:page_1", "prov:activity": "headgate:run_1"}));
        assert_eq!(one("wasDerivedFrom"), json!({"prov:generatedEntity": "headgate:rec_1", "prov:usedEntity": "headgate:page_1"}));
        assert_eq!(one("wasInfluencedBy"), json!({"prov:influencee": "headgate:recipient%3Aa%20b", "prov:influencer": "headgate:rec_1"}));
        assert_eq!(one("wasInvalidatedBy")["prov:activity"], "headgate:eras_1");
    }
}
