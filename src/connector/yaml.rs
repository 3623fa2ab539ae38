//! YAML into a tree that knows its lines. The one place that names the YAML library.
//!
//! Manifests come from strangers, so every resource has a limit: see [`BYTES_MAX`] and its neighbours. Only `true` and `false` are
//! booleans; where a field wants one, `yes`, `no`, `on` and `off` are taken too, as the manifests' own tools (YAML 1.1) have it.

use std::fmt;
use std::rc::Rc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde_json::Number;
use serde_json::Value;
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

/// The largest text that is read, in bytes. The largest published manifest has 1.2 MB.
pub const BYTES_MAX: usize = 4 << 20;
/// How deep maps and lists may stand in each other. The deepest published manifest has 46 levels.
pub const DEPTH_MAX: usize = 64;
/// The number of maps, lists and scalars, aliases expanded.
pub const NODES_MAX: usize = 200_000;
/// The stack that reading needs at [`DEPTH_MAX`] in an unoptimised build, with room to spare, in bytes.
pub const STACK_BYTES: usize = 16 << 20;
/// The number of aliases (`*name`).
pub const ALIASES_MAX: usize = 2_000;

/// A value and where it stands.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// The line, from 1; 0 for values that stand nowhere.
    pub line: u32,
    /// The value.
    pub tree: Tree,
}

/// The members of a map in the order of the text.
pub type Members = IndexMap<Rc<str>, Member>;

/// One member of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The value. Shared, so that a reference used a thousand times is held once.
    pub node: Rc<Node>,
    /// The line of the key.
    pub line: u32,
    /// Whether the member was put here by `$parameters`, not written: then a component that has no such field ignores it.
    pub inherited: bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// `null`, `~`, or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Rc<str>),
    /// A list.
    List(Vec<Rc<Node>>),
    /// A map.
    Map(Members),
}

/// A text that is no YAML, or too much of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// The line, from 1; 0 when unknown.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// What a key that stands twice in one map means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// The later one counts, as the tools that manifests are written with have it.
    LastCounts,
    /// It is an error.
    Refused,
}

/// Reads one YAML document.
///
/// To be called on a thread with [`STACK_BYTES`] of stack, see [`with_stack`].
///
/// # Errors
/// When the text is no YAML or passes a limit.
pub fn parse(text: &str, repeated: Repeated) -> Result<Rc<Node>, YamlError> {
    if text.len() > BYTES_MAX {
        return Err(YamlError { line: 0, message: format!("the text has {} bytes; at most {BYTES_MAX} are read", text.len()) });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: NODES_MAX * 3,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_documents: 1,
            max_total_scalar_bytes: BYTES_MAX * 2,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        duplicate_keys: match repeated {
            Repeated::LastCounts => DuplicateKeyPolicy::LastWins,
            Repeated::Refused => DuplicateKeyPolicy::Error,
        },
        strict_booleans: true,
        emit_comments: false,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map(Rc::new).map_err(|error| YamlError {
        line: error.location().map_or(0, |location| line(location.line())),
        message: first_line(&error.to_string()),
    })
}

/// Runs `work` on a thread of its own with [`STACK_BYTES`] of stack, and waits for it: the trees are walked recursively, and
/// the caller's stack may be small.
///
/// # Panics
/// When `work` does, or when the operating system has no thread to give.
pub fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("connector-load".into()).stack_size(STACK_BYTES);
        let joined = thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join);
        match joined.expect("the operating system gives a thread") {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Node {
    /// A null that stands on `line`.
    pub fn null(line: u32) -> Rc<Self> {
        Rc::new(Node { line, tree: Tree::Null })
    }

    /// The JSON value, all of it standing on `line`.
    pub fn from_json(value: &Value, line: u32) -> Rc<Self> {
        let tree = match value {
            Value::Null => Tree::Null,
            Value::Bool(value) => Tree::Bool(*value),
            Value::Number(number) => Tree::Number(number.clone()),
            Value::String(text) => Tree::Text(text.as_str().into()),
            Value::Array(items) => Tree::List(items.iter().map(|item| Node::from_json(item, line)).collect()),
            Value::Object(members) => {
                let member = |value| Member { node: Node::from_json(value, line), line, inherited: false };
                Tree::Map(members.iter().map(|(key, value)| (key.as_str().into(), member(value))).collect())
            }
        };
        Rc::new(Node { line, tree })
    }

    /// The members, when this is a map.
    pub fn as_map(&self) -> Option<&Members> {
        if let Tree::Map(members) = &self.tree { Some(members) } else { None }
    }

    /// The items, when this is a list.
    pub fn as_list(&self) -> Option<&[Rc<Node>]> {
        if let Tree::List(items) = &self.tree { Some(items) } else { None }
    }

    /// The text, when this is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Tree::Text(text) = &self.tree { Some(text) } else { None }
    }

    /// A map's member that is not null.
    pub fn get(&self, key: &str) -> Option<&Rc<Node>> {
        self.as_map()?.get(key).map(|member| &member.node).filter(|node| node.tree != Tree::Null)
    }

    /// The component type that a map names.
    pub fn type_name(&self) -> Option<&str> {
        self.get("type")?.as_text()
    }

    /// Whether the value counts as empty: null, false, zero, or without content.
    pub fn is_falsy(&self) -> bool {
        match &self.tree {
            Tree::Null => true,
            Tree::Bool(value) => !value,
            Tree::Number(number) => number.as_f64() == Some(0.0),
            Tree::Text(text) => text.is_empty(),
            Tree::List(items) => items.is_empty(),
            Tree::Map(members) => members.is_empty(),
        }
    }

    /// The value as JSON, without the lines.
    pub fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Null => Value::Null,
            Tree::Bool(value) => Value::Bool(*value),
            Tree::Number(number) => Value::Number(number.clone()),
            Tree::Text(text) => Value::String(text.to_string()),
            Tree::List(items) => Value::Array(items.iter().map(|item| item.to_json()).collect()),
            Tree::Map(members) => Value::Object(members.iter().map(|(key, member)| (key.to_string(), member.node.to_json())).collect()),
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.tree {
            Tree::Null => "null",
            Tree::Bool(_) => "a boolean",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "a text",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a map",
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.to_json(), self.line)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Node { line: line(spanned.referenced.line()), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> de::Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.into()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Node>()? {
            items.push(Rc::new(item));
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members = Members::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node = Rc::new(access.next_value::<Node>()?);
            let member = Member { node, line: line(key.referenced.line()), inherited: false };
            members.insert(key.value.into(), member);
        }
        Ok(Tree::Map(members))
    }
}

fn line(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Lines of keys and values are those of the text; scalars have their kinds.
    #[test]
    fn a_tree_knows_its_lines() {
        let tree = parse("# head\na: 1\nb:\n  - yes\n  - \"yes\"\n  - 1.5\n  - ~\n  - {c: d, \"200\": 0x10}\n200: x\n", Repeated::Refused)
            .unwrap();
        assert_eq!(tree.to_json(), json!({"a": 1, "b": ["yes", "yes", 1.5, null, {"c": "d", "200": 16}], "200": "x"}));
        let members = tree.as_map().unwrap();
        assert_eq!((members["a"].line, members["b"].line, members["200"].line), (2, 3, 9));
        assert_eq!(members["b"].node.as_list().unwrap()[4].line, 8);
    }

    /// Hostile texts end with an error, in bounded time and memory.
    #[test]
    fn limits_hold() {
        let bomb = (1..30).fold(String::from("a0: &a0 [x, x]\n"), |text, n| {
            text + &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)
        });
        let deep = "[".repeat(100_000);
        let indented: String = (0..400).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        let wide = "- a\n".repeat(NODES_MAX + 1);
        let large = "a".repeat(BYTES_MAX + 1);
        for (name, text) in [("aliases", bomb), ("deep", deep), ("indented", indented), ("wide", wide), ("large", large)] {
            assert!(with_stack(|| parse(&text, Repeated::Refused).is_err()), "{name} was read");
        }
        assert_eq!(parse("a: 1\na: 2\n", Repeated::Refused).unwrap_err().line, 2);
        assert_eq!(parse("a: 1\na: 2\n", Repeated::LastCounts).unwrap().to_json(), json!({"a": 2}));
        assert!(parse("a: 1\n---\nb: 2\n", Repeated::Refused).is_err(), "two documents");
    }

    proptest! {
        /// No text makes the reader panic.
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n&*!%@|>\\[\\]{}:,#'\"-]{0,200}") {
            let _ = parse(&text, Repeated::Refused).is_ok();
        }
    }
}
