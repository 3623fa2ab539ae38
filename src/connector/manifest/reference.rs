//! `$ref`: a map's `$ref` key, or any text that begins with `#/`, stands for another place of the document.
//!
//! Source: the reference resolver of airbyte-cdk (LOWCODE.md section 4.1). Every target is resolved once and shared, so the work
//! is linear in the document whatever the references do.

use std::collections::HashMap;
use std::collections::HashSet;
use std::rc::Rc;

use crate::connector::problem::Code;
use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

/// How deep the document may be once references are followed. The deepest published manifest has 46 levels.
pub const DEPTH_MAX: usize = 160;

/// The number of members that `$ref` keys copy into the maps that they stand in.
pub const COPIED_MAX: usize = 500_000;
/// The most references of one document that are told to be broken.
const BROKEN_MAX: usize = 200;

/// A reference that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Why.
    pub code: Code,
    /// The line of the reference.
    pub line: u32,
    /// The whole explanation.
    pub message: String,
}

/// The document with every reference followed; one that cannot be is null and told.
pub fn resolve(document: &Rc<Node>) -> (Rc<Node>, Vec<Broken>) {
    let mut resolver = Resolver { document, done: HashMap::new(), open: HashSet::new(), broken: Vec::new(), copied: 0 };
    let resolved = resolver.node(document, 0);
    (resolved, resolver.broken)
}

struct Resolver<'a> {
    document: &'a Rc<Node>,
    /// The targets that are resolved already.
    done: HashMap<Rc<str>, Rc<Node>>,
    /// The references being followed: meeting one again is a cycle.
    open: HashSet<Rc<str>>,
    broken: Vec<Broken>,
    /// The members that were copied into other maps.
    copied: usize,
}

impl Resolver<'_> {
    fn node(&mut self, node: &Rc<Node>, depth: usize) -> Rc<Node> {
        if depth > DEPTH_MAX {
            let message = format!("references lead deeper than {DEPTH_MAX} levels; flatten the definitions");
            return self.fail(Code::Expansion, node.line, message);
        }
        match &node.tree {
            Tree::Text(text) if text.starts_with("#/") => self.follow(text, node.line, depth),
            Tree::List(items) => {
                let items = items.iter().map(|item| self.node(item, depth + 1)).collect();
                Rc::new(Node { line: node.line, tree: Tree::List(items) })
            }
            Tree::Map(members) => self.map(members, node.line, depth),
            _ => Rc::clone(node),
        }
    }

    /// Own members win over those of the reference; there is no deep merge. A reference to something else replaces the map.
    fn map(&mut self, members: &Members, line: u32, depth: usize) -> Rc<Node> {
        let mut merged = Members::new();
        if let Some(reference) = members.get("$ref") {
            let target = self.node(&reference.node, depth + 1);
            match &target.tree {
                Tree::Map(base) => {
                    self.copied += base.len();
                    if self.copied > COPIED_MAX {
                        let message = format!("references copy more than {COPIED_MAX} members; refer less often to large maps");
                        return self.fail(Code::Expansion, line, message);
                    }
                    merged.clone_from(base);
                }
                _ => return target,
            }
        }
        for (key, member) in members.iter().filter(|(key, _)| key.as_ref() != "$ref") {
            let keep = key.as_ref() == "config_overrides";
            let node = if keep { Rc::clone(&member.node) } else { self.node(&member.node, depth + 1) };
            merged.insert(Rc::clone(key), Member { node, ..member.clone() });
        }
        Rc::new(Node { line, tree: Tree::Map(merged) })
    }

    fn follow(&mut self, reference: &Rc<str>, line: u32, depth: usize) -> Rc<Node> {
        if let Some(done) = self.done.get(reference) {
            return Rc::clone(done);
        }
        if !self.open.insert(Rc::clone(reference)) {
            let message = format!("`{reference}` leads back to itself; break the circle");
            return self.fail(Code::ReferenceCycle, line, message);
        }
        let resolved = match look_up(self.document, &reference[2..]) {
            Some(target) => self.node(&target, depth + 1),
            None => {
                let message = format!("`{reference}` points to nothing in this document");
                self.fail(Code::MissingReference, line, message)
            }
        };
        self.open.remove(reference);
        self.done.insert(Rc::clone(reference), Rc::clone(&resolved));
        resolved
    }

    fn fail(&mut self, code: Code, line: u32, message: String) -> Rc<Node> {
        if self.broken.len() < BROKEN_MAX {
            self.broken.push(Broken { code, line, message });
        }
        Node::null(line)
    }
}

/// Tries the whole rest of the path as one key, then its first segment: so keys that hold a `/` are found.
fn look_up(document: &Rc<Node>, path: &str) -> Option<Rc<Node>> {
    let mut node = document;
    let mut rest = path;
    loop {
        if let Some(member) = node.as_map().and_then(|members| members.get(rest)) {
            return Some(Rc::clone(&member.node));
        }
        let (head, tail) = rest.split_once('/').map_or((rest, None), |(head, tail)| (head, Some(tail)));
        node = match &node.tree {
            Tree::Map(members) => &members.get(head)?.node,
            Tree::List(items) => items.get(head.parse::<usize>().ok()?)?,
            _ => return None,
        };
        match tail {
            Some(tail) if !tail.is_empty() => rest = tail,
            _ => return Some(Rc::clone(node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::connector::yaml::Repeated;
    use crate::connector::yaml::parse;
    use crate::connector::yaml::with_stack;

    fn check(text: &str) -> (Value, Vec<(Code, u32)>) {
        with_stack(|| {
            let (node, broken) = resolve(&parse(text, Repeated::LastCounts).unwrap());
            (node.to_json(), broken.iter().map(|broken| (broken.code, broken.line)).collect())
        })
    }

    /// References merge shallowly, replace what is no map, index lists, and find keys with a slash in them.
    #[test]
    fn references_are_followed() {
        let text = "definitions:\n  a: {x: {p: 1}, y: 2}\n  b/c: 9\n  list: [7, {z: 8}]\n  word: hello\n\
                    one: {$ref: '#/definitions/a', x: {q: 3}}\n\
                    two: '#/definitions/list/1/z'\n\
                    five: '#/definitions/b/c'\n\
                    three: {$ref: '#/definitions/word', ignored: 1}\n\
                    four: {config_overrides: '#/definitions/word'}\n";
        let (value, broken) = check(text);
        assert_eq!(value["one"], json!({"x": {"q": 3}, "y": 2}));
        assert_eq!((&value["two"], &value["three"]), (&json!(8), &json!("hello")));
        assert_eq!(value["five"], 9);
        assert_eq!(value["four"], json!({"config_overrides": "#/definitions/word"}));
        assert_eq!(broken, []);
    }

    /// Everything that cannot be followed is told, with its line, and the rest is still resolved.
    #[test]
    fn broken_references_are_told_together() {
        let text = "a: '#/b'\nb: {c: '#/a'}\nd: '#/none'\ne: '#/f'\nf: 1\n";
        let (value, broken) = check(text);
        assert!(broken.contains(&(Code::ReferenceCycle, 1)), "{broken:?}");
        assert!(broken.contains(&(Code::MissingReference, 3)), "{broken:?}");
        assert_eq!(value["e"], json!(1));
    }

    /// Chains and bombs of references end in bounded time.
    #[test]
    fn hostile_references_end() {
        let chain: String = (0..5000).map(|n| format!("a{n}: {{x: '#/a{}'}}\n", n + 1)).collect();
        assert_eq!(check(&chain).1[0].0, Code::Expansion);
        let bomb: String =
            (0..60).map(|n| format!("a{n}: ['#/a{0}', '#/a{0}', '#/a{0}', '#/a{0}']\n", n + 1)).collect::<String>() + "a60: x\n";
        let broken = with_stack(|| resolve(&parse(&bomb, Repeated::LastCounts).unwrap()).1);
        assert_eq!(broken, []);
    }
}
