//! Values that go into places of a template: the tree is copied along the way, and shared elsewhere.
//!
//! Source for what a place matches: the path library behind the reference engine (LOWCODE.md section 4.6).

use std::rc::Rc;

use crate::connector::path::LIST_ELEMENTS_MAX;
use crate::connector::path::glob::Segment;
use crate::connector::path::glob::position;
use crate::connector::yaml::Member;
use crate::connector::yaml::Members;
use crate::connector::yaml::Node;
use crate::connector::yaml::Tree;

/// A place that cannot be made: something on the way is neither a map nor a list, or a list would grow too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked;

/// Writes `value` to every place that `path` matches and that is there; how many there are.
pub fn replace(template: &Rc<Node>, path: &[String], value: &Rc<Node>) -> (Rc<Node>, usize) {
    let segments: Vec<Segment> = path.iter().cloned().map(Segment::new).collect();
    let mut walk = Walk { value, places: 0, steps: 0 };
    let replaced = walk.from(template, &segments);
    (replaced.unwrap_or_else(|| Rc::clone(template)), walk.places)
}

/// The most nodes that one replacement looks at; a path of several `**` looks at nodes more than once.
const STEPS_MAX: usize = 200_000;

struct Walk<'a> {
    value: &'a Rc<Node>,
    places: usize,
    steps: usize,
}

impl Walk<'_> {
    /// The tree with the value in it; nothing where no place matches.
    fn from(&mut self, node: &Rc<Node>, path: &[Segment]) -> Option<Rc<Node>> {
        let Some((first, rest)) = path.split_first() else {
            self.places += 1;
            return Some(Rc::clone(self.value));
        };
        self.steps += 1;
        // What has just been put here is not looked into: it might hold the place again, without end.
        if self.steps > STEPS_MAX || Rc::ptr_eq(node, self.value) {
            return None;
        }
        if !first.is_deep() {
            return self.below(node, first, rest);
        }
        // Any number of steps: none, and one and then any number again.
        let here = self.from(node, rest);
        if rest.is_empty() {
            return here;
        }
        let below = self.below(here.as_ref().unwrap_or(node), first, path);
        below.or(here)
    }

    /// One step down, where `first` leads; from there on it is `onward`.
    fn below(&mut self, node: &Rc<Node>, first: &Segment, onward: &[Segment]) -> Option<Rc<Node>> {
        match &node.tree {
            Tree::Map(members) => {
                let mut changed: Option<Members> = None;
                for (key, member) in members.iter().filter(|(key, _)| first.is_deep() || first.matches_key(key)) {
                    if let Some(node) = self.from(&member.node, onward) {
                        let member = Member { node, line: member.line, inherited: false };
                        changed.get_or_insert_with(|| members.clone()).insert(Rc::clone(key), member);
                    }
                }
                changed.map(|members| Rc::new(Node { line: node.line, tree: Tree::Map(members) }))
            }
            Tree::List(items) => {
                let mut changed: Option<Vec<Rc<Node>>> = None;
                for (at, item) in items.iter().enumerate().filter(|(at, _)| first.is_deep() || first.matches_position(*at, items.len())) {
                    if let Some(node) = self.from(item, onward) {
                        changed.get_or_insert_with(|| items.clone())[at] = node;
                    }
                }
                changed.map(|items| Rc::new(Node { line: node.line, tree: Tree::List(items) }))
            }
            _ => None,
        }
    }
}

/// Writes `value` to the one place that `path` names, making maps on the way, and lists where the next step is a number.
///
/// # Errors
/// [`Blocked`].
pub fn create(template: &Rc<Node>, path: &[String], value: &Rc<Node>) -> Result<Rc<Node>, Blocked> {
    let Some((first, rest)) = path.split_first() else { return Ok(Rc::clone(value)) };
    let fresh = || {
        let number = rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
        let tree = if number { Tree::List(Vec::new()) } else { Tree::Map(Members::new()) };
        Rc::new(Node { line: value.line, tree })
    };
    let tree = match &template.tree {
        Tree::Map(members) => {
            let inner = members.get(first.as_str()).map(|member| Rc::clone(&member.node)).unwrap_or_else(fresh);
            let mut members = members.clone();
            let member = Member { node: create(&inner, rest, value)?, line: value.line, inherited: false };
            members.insert(first.as_str().into(), member);
            Tree::Map(members)
        }
        Tree::List(items) => {
            let at = match position(first, items.len()) {
                Some(at) => at,
                None => first.parse::<usize>().ok().filter(|at| *at < LIST_ELEMENTS_MAX).ok_or(Blocked)?,
            };
            let inner = items.get(at).cloned().unwrap_or_else(fresh);
            let mut items = items.clone();
            items.resize_with(items.len().max(at + 1), || Node::null(value.line));
            items[at] = create(&inner, rest, value)?;
            Tree::List(items)
        }
        _ => return Err(Blocked),
    };
    Ok(Rc::new(Node { line: template.line, tree }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    fn replaced(at: &str) -> (Value, usize) {
        let template = Node::from_json(&json!({"name": "", "a": {"name": 1, "l": [{"name": 2}, 3]}}), 1);
        let (node, places) = replace(&template, &path(at), &Node::from_json(&json!("x"), 9));
        (node.to_json(), places)
    }

    /// What is there is replaced, at every place that matches; nothing is made.
    #[test]
    fn matching_places_are_replaced() {
        assert_eq!(replaced("name"), (json!({"name": "x", "a": {"name": 1, "l": [{"name": 2}, 3]}}), 1));
        assert_eq!(replaced("**/name"), (json!({"name": "x", "a": {"name": "x", "l": [{"name": "x"}, 3]}}), 3));
        assert_eq!(replaced("a/l/-1").0["a"]["l"][1], "x");
        assert_eq!(replaced("a/l/*/name").1, 1);
        let nested = Node::from_json(&json!({"name": 1}), 1);
        assert_eq!(replace(&nested, &path("**/name"), &nested).1, 0);
        let value = Node::from_json(&json!({"name": {"name": 1}}), 1);
        assert_eq!(replace(&nested, &path("**/**/name"), &value).0.to_json(), json!({"name": {"name": {"name": 1}}}));
        assert_eq!(replaced("a/none"), (json!({"name": "", "a": {"name": 1, "l": [{"name": 2}, 3]}}), 0));
    }

    /// A place that is not there is made, with lists where a step is a number; a scalar on the way is no container.
    #[test]
    fn places_are_made() {
        let template = Node::from_json(&json!({"a": {}, "s": 1}), 1);
        let value = Node::from_json(&json!([true]), 9);
        assert_eq!(create(&template, &path("a/b/1/c"), &value).unwrap().to_json(), json!({"a": {"b": [null, {"c": [true]}]}, "s": 1}));
        assert_eq!(create(&template, &path("s/x"), &value), Err(Blocked));
        assert_eq!(create(&template, &path("a/b/99999999999"), &value), Err(Blocked));
    }
}
