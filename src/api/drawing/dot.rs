//! A graph in the DOT language.

use serde_json::Value;

/// The graph of an answer's `nodes` and `edges`.
pub fn of(graph: &Value) -> String {
    let mut text = String::from("digraph lineage {\n  rankdir=LR;\n  node [shape=box];\n");
    for node in graph["nodes"].as_array().into_iter().flatten() {
        let id = shown(&node["id"]);
        let facts = node["facts"].as_object().into_iter().flatten();
        let lines = facts.filter(|(_, fact)| !fact.is_null()).map(|(name, fact)| format!("\n{name} {}", shown(fact)));
        let label = format!("{} {id}{}", shown(&node["type"]), lines.collect::<String>());
        text.push_str(&format!("  {} [label={}];\n", quoted(&id), quoted(&label)));
    }
    for edge in graph["edges"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {} -> {};\n", quoted(&shown(&edge["from"])), quoted(&shown(&edge["to"]))));
    }
    text.push('}');
    text
}

/// A value as a line of a label: texts without quotes, nothing for null.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A double-quoted DOT string; what controls a terminal is left out.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|character| *character == '\n' || !character.is_control()).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Values of an application cannot leave their quotes.
    #[test]
    fn values_stay_in_their_quotes() {
        let graph = json!({"nodes": [{"id": "a\"]; x -> y", "type": "record", "facts": {"url": "http://h/?q=\\"}}], "edges": []});
        assert!(of(&graph).contains(r#""a\"]; x -> y" [label="record a\"]; x -> y\nurl http://h/?q=\\"];"#), "{}", of(&graph));
    }
}
