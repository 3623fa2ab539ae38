//! Which id the gateway gave to which node.

use std::collections::HashMap;

use crate::question::Part;

/// Ids of the gateway and numbers of the graph, both ways.
#[derive(Default)]
pub struct Names {
    numbers: HashMap<String, i64>,
    /// By number; empty where nothing is known yet.
    ids: Vec<String>,
    connections: Vec<String>,
}

impl Names {
    /// Keeps the id of a node.
    pub fn learn(&mut self, number: i64, id: String) {
        let at = number as usize;
        if self.ids.len() <= at {
            self.ids.resize(at + 1, String::new());
        }
        self.numbers.insert(id.clone(), number);
        self.ids[at] = id;
    }

    /// Keeps the id of the next connection.
    pub fn connection(&mut self, id: String) {
        self.connections.push(id);
    }

    /// The ids of all connections.
    pub fn connections(&self) -> &[String] {
        &self.connections
    }

    /// How many nodes have an id.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The gateway's id of a node.
    pub fn id(&self, number: i64) -> &str {
        &self.ids[number as usize]
    }

    /// A part by the graph's number where it is one of the graph's nodes.
    pub fn number(&self, part: Part) -> Part {
        match part {
            Part::Text(text) => self.numbers.get(&text).copied().map_or(Part::Text(text), Part::Number),
            number => number,
        }
    }
}
