//! Lines and branches.

use std::collections::BTreeMap;
use std::collections::HashSet;

use serde_json::Value;
use serde_json::json;

use crate::cli::output;

/// One line, and what hangs from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    text: String,
    children: Vec<Branch>,
}

impl Branch {
    /// A line from which nothing hangs yet.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), children: Vec::new() }
    }

    /// With one more line below.
    pub fn with(mut self, child: Branch) -> Self {
        self.children.push(child);
        self
    }

    /// With all of these below.
    pub fn with_all(mut self, children: impl IntoIterator<Item = Branch>) -> Self {
        self.children.extend(children);
        self
    }

    /// The drawing, without a line end at its end.
    pub fn drawn(&self) -> String {
        let mut drawing = self.text.clone();
        self.draw_children("", &mut drawing);
        drawing
    }

    fn draw_children(&self, indent: &str, drawing: &mut String) {
        for (at, child) in self.children.iter().enumerate() {
            let is_last = at + 1 == self.children.len();
            let (fork, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            drawing.push_str(&format!("\n{indent}{fork}{}", child.text));
            child.draw_children(&format!("{indent}{below}"), drawing);
        }
    }
}

/// A graph drawn from one of its nodes, which is told once and never again below itself.
pub fn around(graph: &Value, node: &str) -> Branch {
    let mut neighbours: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for edge in graph["edges"].as_array().into_iter().flatten() {
        if let (Some(from), Some(to)) = (edge["from"].as_str(), edge["to"].as_str()) {
            neighbours.entry(from).or_default().push(("to ", to));
            neighbours.entry(to).or_default().push(("from ", from));
        }
    }
    let nodes = graph["nodes"].as_array().into_iter().flatten();
    let nouns = nodes.filter_map(|node| Some((node["id"].as_str()?, node["type"].as_str()?))).collect();
    let mut seen = HashSet::from([node]);
    branch_of("", node, &neighbours, &nouns, &mut seen)
}

fn branch_of<'a>(
    way: &str,
    node: &'a str,
    neighbours: &BTreeMap<&'a str, Vec<(&'a str, &'a str)>>,
    nouns: &BTreeMap<&str, &str>,
    seen: &mut HashSet<&'a str>,
) -> Branch {
    let noun = nouns.get(node).copied().unwrap_or_default();
    let named = format!("{way}{noun} {}", output::plain(node));
    let next: Vec<_> = neighbours.get(node).into_iter().flatten().filter(|(_, other)| seen.insert(other)).copied().collect();
    Branch::new(named.trim_start()).with_all(next.into_iter().map(|(way, other)| branch_of(way, other, neighbours, nouns, seen)))
}

/// The records that carry a business key, stream by stream.
pub fn of_key(key: &str, items: &[Value]) -> Branch {
    let mut streams: BTreeMap<(String, String), Vec<Branch>> = BTreeMap::new();
    for item in items {
        let line = format!(
            "{} version {} {}, received {}",
            output::shown(&item["record"]),
            output::shown(&item["version"]),
            output::shown(&item["kind"]),
            output::shown(&item["tag"]["page"]["received_at"])
        );
        let stream = (output::shown(&item["connection"]), output::shown(&item["stream"]));
        streams.entry(stream).or_default().push(Branch::new(line));
    }
    let heading = format!("{}: {} records in {} streams", output::plain(key), items.len(), streams.len());
    let streams =
        streams.into_iter().map(|((connection, stream), records)| Branch::new(format!("{stream} of {connection}")).with_all(records));
    Branch::new(heading).with_all(streams)
}

/// The same as a graph: the key, and each record that carries it.
pub fn key_graph(key: &str, items: &[Value]) -> Value {
    let records = items.iter().map(|item| json!({"id": item["record"], "type": item["stream"], "facts": {}}));
    let edges: Vec<Value> = items.iter().map(|item| json!({"from": item["record"], "to": key})).collect();
    let nodes: Vec<Value> = [json!({"id": key, "type": "key", "facts": {}})].into_iter().chain(records).collect();
    json!({"nodes": nodes, "edges": edges})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Branches are drawn with their forks, and a circle in the graph ends.
    #[test]
    fn branches_are_drawn_and_circles_end() {
        let graph = json!({
            "nodes": [{"id": "rec_a", "type": "record"}, {"id": "run_b", "type": "run"}, {"id": "page_c", "type": "page"}],
            "edges": [{"from": "run_b", "to": "page_c"}, {"from": "page_c", "to": "rec_a"}, {"from": "rec_a", "to": "run_b"}],
        });
        let drawing = around(&graph, "rec_a").drawn();
        assert_eq!(drawing, "record rec_a\n├─ from page page_c\n└─ to run run_b");
        let nested = Branch::new("a").with(Branch::new("b").with(Branch::new("c"))).with(Branch::new("d"));
        assert_eq!(nested.drawn(), "a\n├─ b\n│  └─ c\n└─ d");
    }
}
