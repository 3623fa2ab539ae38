//! Values brought to the types of the stream's schema (`schema_normalization: Default`).
//!
//! The rules are those of the reference engine's type transformer (read in its source, measured): only `properties`, `items` and
//! local `$ref` are followed; a place is converted when its schema names exactly one type beside null; what cannot be converted stays
//! as it is; nothing is ever left out. The schema is compiled once. A record is looked at in its text, so one whose values have
//! their types already costs a scan and is not built.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Number;
use serde_json::Value;

use super::Draft;
use super::Written;
use crate::connector::expression::python_text;
use crate::connector::reading::Compat;
use crate::record::JsonError;
use crate::record::scan::Scanner;

/// How many `$ref` may follow one another at one place.
const REFERENCES_MAX: usize = 16;

/// How many digits an integer may have before a float cannot hold it exactly.
const EXACT_DIGITS: usize = 15;

/// The most digits that Python reads as an integer.
const INTEGER_DIGITS_MAX: usize = 4_300;

/// A compiled schema.
#[derive(Debug)]
pub(in crate::connector::reading) struct Schema {
    nodes: Vec<Node>,
    compat: Compat,
}

/// A place of the schema.
#[derive(Debug, Default)]
struct Node {
    /// The one type that values here are brought to.
    target: Option<Target>,
    nullable: bool,
    properties: HashMap<String, usize>,
    items: Option<usize>,
    /// The nodes that are followed below a value here: this one, and those that it refers to, in their order.
    layers: Vec<usize>,
    /// Whether anything below may be converted.
    deep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Text,
    Number,
    Integer,
    Boolean,
    /// A list; whether a scalar becomes one of one element.
    List {
        wraps: bool,
    },
}

/// The node of the schema as a whole.
const ROOT: usize = 0;

impl Schema {
    /// Compiles a schema; nothing when it can convert nothing.
    pub fn compile(schema: &Value, compat: Compat) -> Option<Self> {
        let mut compiler = Compiler { root: schema, nodes: Vec::new(), known: HashMap::new() };
        compiler.node(schema);
        compiler.nodes[ROOT].deep.then_some(Schema { nodes: compiler.nodes, compat })
    }

    /// Brings a record to its types, making a draft of it only when a value is not of its type. Whether that changed it.
    pub fn apply(&self, text: &Bytes, draft: &mut Option<Draft>) -> bool {
        let untouched = draft.as_ref().is_none_or(|draft| !draft.is_touched());
        if untouched && !self.may_change(text) {
            return false;
        }
        let draft = draft.get_or_insert_with(|| Draft::of(text.clone()));
        let [only] = *self.nodes[ROOT].layers else { return draft.tree(|record| self.below(ROOT, record)) };
        let properties = &self.nodes[only].properties;
        draft.revise(|name, value| {
            let node = *properties.get(name)?;
            let mut value = match value {
                Written::Value(value) => value.clone(),
                Written::Text(text) => {
                    let mut scanner = Scanner::new(text).ok()?;
                    if !self.changes(node, &mut scanner, text).ok()? {
                        return None;
                    }
                    serde_json::from_slice(text).ok()?
                }
            };
            self.normalize_at(node, &mut value).then_some(value)
        })
    }

    /// Whether anything in a record's text may have to change.
    fn may_change(&self, text: &[u8]) -> bool {
        // The text was scanned when the record was found; whatever is wrong with it was said there.
        Scanner::new(text).and_then(|mut scanner| self.changes(ROOT, &mut scanner, text)).unwrap_or(false)
    }

    /// Whether the value that the scanner stands at would be changed at `node`; true also where only the tree can tell.
    fn changes(&self, node: usize, scanner: &mut Scanner<'_>, text: &[u8]) -> Result<bool, JsonError> {
        let start = scanner.at();
        let place = &self.nodes[node];
        if self.keeps(place, &text[start..]) {
            return self.changes_below(place, scanner, text);
        }
        let range = scanner.value()?;
        let Ok(value) = serde_json::from_slice(&text[range]) else { return Ok(true) };
        Ok(convert(place, &value, self.compat).is_some())
    }

    /// Whether a value that begins so is of its place's type already.
    fn keeps(&self, place: &Node, text: &[u8]) -> bool {
        let Some(target) = place.target else { return true };
        match (text.first(), target) {
            (Some(b'n'), Target::Number | Target::Integer) => true,
            (Some(b'n'), _) => place.nullable,
            (Some(b'"'), Target::Text) | (Some(b't' | b'f'), Target::Boolean) | (Some(b'['), Target::List { .. }) => true,
            (Some(b'{' | b'['), Target::Number | Target::Integer | Target::List { .. }) => true,
            (Some(b'-' | b'0'..=b'9'), Target::Number) => {
                self.compat == Compat::Safe
                    || text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count() <= EXACT_DIGITS
            }
            (Some(b'-' | b'0'..=b'9'), Target::Integer) => {
                let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'-');
                !end.is_some_and(|end| matches!(text[end], b'.' | b'e' | b'E'))
            }
            (Some(b'"'), Target::List { wraps }) => !wraps,
            _ => false,
        }
    }

    fn changes_below(&self, place: &Node, scanner: &mut Scanner<'_>, text: &[u8]) -> Result<bool, JsonError> {
        let container = matches!(scanner.peek(), Some(b'{' | b'['));
        if !place.deep || !container {
            return scanner.value().map(|_| false);
        }
        let [only] = *place.layers else { return scanner.value().map(|_| true) };
        let place = &self.nodes[only];
        let mut changes = false;
        if scanner.peek() == Some(b'{') {
            scanner.members(|scanner, name| {
                let found = if name.escaped {
                    place.properties.get(&*name.decode(text))
                } else {
                    std::str::from_utf8(&text[name.inner]).ok().and_then(|name| place.properties.get(name))
                };
                match found {
                    Some(below) if !changes => changes = self.changes(*below, scanner, text)?,
                    _ => {
                        scanner.value()?;
                    }
                }
                Ok(())
            })?;
        } else {
            scanner.elements(|scanner, _| {
                match place.items {
                    Some(below) if !changes => changes = self.changes(below, scanner, text)?,
                    _ => {
                        scanner.value()?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(changes)
    }

    /// Brings the value of a node to its type; whether that changed it.
    fn normalize_at(&self, node: usize, value: &mut Value) -> bool {
        let converted = convert(&self.nodes[node], value, self.compat);
        let changed = converted.is_some();
        if let Some(converted) = converted {
            *value = converted;
        }
        self.below(node, value) || changed
    }

    fn below(&self, node: usize, value: &mut Value) -> bool {
        let mut changed = false;
        if !self.nodes[node].deep {
            return false;
        }
        for place in self.nodes[node].layers.iter().map(|layer| &self.nodes[*layer]) {
            match value {
                Value::Object(members) if !place.properties.is_empty() => {
                    for (name, value) in members {
                        if let Some(below) = place.properties.get(name) {
                            changed |= self.normalize_at(*below, value);
                        }
                    }
                }
                Value::Array(items) => {
                    if let Some(below) = place.items {
                        for item in items {
                            changed |= self.normalize_at(below, item);
                        }
                    }
                }
                _ => {}
            }
        }
        changed
    }
}

/// Builds the nodes of a schema.
struct Compiler<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    /// The nodes of what was referred to, by pointer.
    known: HashMap<&'a str, usize>,
}

impl<'a> Compiler<'a> {
    /// Adds the node of `schema` and all below it; returns its number.
    fn node(&mut self, schema: &'a Value) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node { layers: vec![number], ..Node::default() });
        if let Value::Object(members) = schema {
            // A record itself is not converted.
            let (target, nullable) = if number == ROOT { (None, false) } else { target(schema) };
            self.nodes[number].target = target;
            self.nodes[number].nullable = nullable;
            // A schema within that names its own language is read by the plain rules of that language, which convert nothing.
            let foreign =
                number != ROOT && members.get("$schema").and_then(Value::as_str).is_some_and(|uri| uri.contains("json-schema.org"));
            for (keyword, value) in members.iter().filter(|_| !foreign) {
                self.keyword(number, keyword, value);
            }
        }
        number
    }

    fn keyword(&mut self, number: usize, keyword: &str, value: &'a Value) {
        match (keyword, value) {
            ("properties", Value::Object(properties)) => {
                for (name, schema) in properties {
                    let below = self.node(schema);
                    self.note_below(number, below);
                    self.nodes[number].properties.insert(name.clone(), below);
                }
            }
            ("items", Value::Object(_)) => {
                let below = self.node(value);
                self.note_below(number, below);
                self.nodes[number].items = Some(below);
            }
            ("$ref", Value::String(reference)) => {
                let Some(pointer) = reference.strip_prefix('#') else { return };
                let known = self.known.get(pointer).copied();
                let referred = known.or_else(|| {
                    if pointer.is_empty() {
                        return Some(ROOT);
                    }
                    let schema = self.root.pointer(pointer)?;
                    // Known before its inside is read, so that it may refer to itself.
                    self.known.insert(pointer, self.nodes.len());
                    Some(self.node(schema))
                });
                let Some(referred) = referred else { return };
                let layers: Vec<usize> = self.nodes[referred].layers.iter().copied().filter(|layer| *layer != number).collect();
                let own = &mut self.nodes[number];
                own.layers.extend(layers);
                own.layers.truncate(REFERENCES_MAX);
                // What is referred to may not be read to its end yet.
                own.deep = true;
            }
            _ => {}
        }
    }

    fn note_below(&mut self, number: usize, below: usize) {
        let below = &self.nodes[below];
        if below.target.is_some() || below.deep {
            self.nodes[number].deep = true;
        }
    }
}

/// The one type that a schema names beside null, and whether null is named.
fn target(schema: &Value) -> (Option<Target>, bool) {
    let Some(named) = schema.get("type") else { return (None, false) };
    let (name, nullable) = match named {
        Value::String(name) => (Some(name.as_str()), name == "null"),
        Value::Array(names) => {
            let mut others = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            let first = others.next();
            (first.filter(|_| others.next().is_none()), names.iter().any(|name| name == "null"))
        }
        _ => (None, false),
    };
    let target = match name {
        Some("string") => Some(Target::Text),
        Some("number") => Some(Target::Number),
        Some("integer") => Some(Target::Integer),
        Some("boolean") => Some(Target::Boolean),
        Some("array") => Some(Target::List { wraps: wraps(schema) }),
        _ => None,
    };
    (target, nullable)
}

/// Whether a scalar at a list's place becomes a list: where the elements' types are a list of scalars' types, or are not said. A single
/// type that is not in a list is not understood by the reference engine (read in its source), and wraps nothing.
fn wraps(schema: &Value) -> bool {
    match schema.get("items").map(|items| items.get("type")) {
        None | Some(None) => true,
        Some(Some(Value::Array(names))) => {
            names.iter().all(|name| matches!(name.as_str(), Some("string" | "number" | "integer" | "boolean" | "null")))
        }
        Some(Some(Value::String(name))) => name.is_empty(),
        Some(Some(_)) => false,
    }
}

/// The value brought to the type of its place; nothing when it stays as it is.
fn convert(place: &Node, value: &Value, compat: Compat) -> Option<Value> {
    if value.is_null() && place.nullable {
        return None;
    }
    match (place.target?, value) {
        (Target::Text, Value::String(_)) => None,
        (Target::Text, other) => Some(python_text(other).into()),
        (Target::Number, Value::String(text)) => read_float(text).map(float),
        (Target::Number, Value::Bool(flag)) => Some(float(f64::from(u8::from(*flag)))),
        (Target::Number, Value::Number(number)) => {
            let exact = compat == Compat::Safe || !is_integer(number) || number.as_str().len() <= EXACT_DIGITS;
            if exact { None } else { number.as_f64().map(float).filter(|float| float != value) }
        }
        (Target::Integer, Value::String(text)) => read_integer(text),
        (Target::Integer, Value::Bool(flag)) => Some(u8::from(*flag).into()),
        (Target::Integer, Value::Number(number)) if !is_integer(number) => {
            let whole = number.as_f64().filter(|number| number.is_finite())?.trunc();
            serde_json::from_str::<Number>(&format!("{:.0}", if whole == 0.0 { 0.0 } else { whole })).ok().map(Value::Number)
        }
        (Target::Boolean, Value::Bool(_)) => None,
        (Target::Boolean, Value::String(text)) => read_boolean(text).map(Value::Bool),
        (Target::Boolean, other) => Some(Value::Bool(holds(other))),
        (Target::List { wraps: true }, Value::Array(_) | Value::Object(_)) => None,
        (Target::List { wraps: true }, scalar) => Some(Value::Array(vec![scalar.clone()])),
        _ => None,
    }
}

fn is_integer(number: &Number) -> bool {
    !number.as_str().contains(['.', 'e', 'E'])
}

/// A float's JSON number; what JSON lacks is null.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// What Python counts as true.
fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

fn read_boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().trim() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `float(text)`: white space around and single underscores between digits are allowed.
fn read_float(text: &str) -> Option<f64> {
    without_underscores(text.trim())?.parse().ok()
}

/// `int(text)`, of any size.
fn read_integer(text: &str) -> Option<Value> {
    let text = without_underscores(text.trim())?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(&text)),
    };
    if digits.is_empty() || digits.len() > INTEGER_DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let sign = if digits == "0" { "" } else { sign };
    serde_json::from_str::<Number>(&format!("{sign}{digits}")).ok().map(Value::Number)
}

fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let allowed = |at: usize| digit(at.checked_sub(1)) && digit(Some(at + 1));
    bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || allowed(at)).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn normalized(schema: &Value, record: &str, compat: Compat) -> Option<Value> {
        let schema = Schema::compile(schema, compat)?;
        let mut draft = None;
        let changed = schema.apply(&Bytes::copy_from_slice(record.as_bytes()), &mut draft);
        changed.then(|| draft.map(|draft| draft.emitted().to_value().unwrap()).unwrap_or_default())
    }

    /// One value under a property of one type: what it becomes, or nothing when it stays (each was run in the reference engine).
    #[test]
    fn values_are_brought_to_their_type() {
        // The type, what becomes of some values, and values that stay.
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);
        let cases: &[Case] = &[
            (
                "string",
                &[
                    ("null", r#""None""#),
                    ("true", r#""True""#),
                    ("-3", r#""-3""#),
                    ("1.50", r#""1.5""#),
                    ("1e3", r#""1000.0""#),
                    ("1e20", r#""1e+20""#),
                    ("12345678901234567890", r#""12345678901234567890""#),
                    (r#"[1,"a",null]"#, r#""[1, 'a', None]""#),
                    (r#"{"a":1.0,"b":"it's","c":true}"#, r#""{'a': 1.0, 'b': \"it's\", 'c': True}""#),
                ],
                &[r#""""#, r#""x""#],
            ),
            (
                "number",
                &[
                    ("true", "1.0"),
                    (r#""-1.5""#, "-1.5"),
                    (r#"" 7 ""#, "7.0"),
                    (r#""1_000""#, "1000.0"),
                    (r#""1.""#, "1.0"),
                    (r#""nan""#, "null"),
                    (r#""-Infinity""#, "null"),
                ],
                &["null", "1.50", "3", "[]", "{}", r#""""#, r#""_1""#, r#""1__0""#, r#""0x1F""#, r#"".""#, r#""x""#],
            ),
            (
                "integer",
                &[
                    ("false", "0"),
                    ("1.50", "1"),
                    ("-2.7", "-2"),
                    ("-0.5", "0"),
                    ("1e3", "1000"),
                    (r#"" 7 ""#, "7"),
                    (r#""007""#, "7"),
                    (r#""-0""#, "0"),
                    (r#""+5""#, "5"),
                    (r#""123456789012345678901234567890""#, "123456789012345678901234567890"),
                ],
                &["null", "12345678901234567890", "[1]", r#""1.0""#, r#""1e3""#, r#""x""#],
            ),
            (
                "boolean",
                &[
                    ("null", "false"),
                    ("0", "false"),
                    ("-0.0", "false"),
                    ("2", "true"),
                    (r#"" Yes ""#, "true"),
                    (r#""off""#, "false"),
                    ("[]", "false"),
                    ("[0]", "true"),
                    ("{}", "false"),
                ],
                &["true", r#""2""#, r#""""#],
            ),
            ("array", &[("null", "[null]"), (r#""x""#, r#"["x"]"#), ("1.50", "[1.50]")], &["[]", "{}"]),
            ("object", &[], &["null", "1", "[]"]),
        ];
        for (kind, changed, kept) in cases {
            let schema = json!({"properties": {"k": {"type": kind}}});
            let nullable = json!({"properties": {"k": {"type": ["null", kind]}}});
            let record = |value: &str| format!(r#"{{"before": [1], "k": {value}}}"#);
            for (value, expected) in *changed {
                let expected: Option<Value> = serde_json::from_str(&record(expected)).ok();
                assert_eq!(normalized(&schema, &record(value), Compat::Safe), expected, "{kind} {value}");
                let expected = expected.filter(|_| *value != "null");
                assert_eq!(normalized(&nullable, &record(value), Compat::Safe), expected, "{kind} or null, {value}");
            }
            for value in *kept {
                assert_eq!(normalized(&schema, &record(value), Compat::Safe), None, "{kind} {value}");
            }
        }
    }

    /// Schemas of more than one level, and what is not followed (each was run in the reference engine).
    #[test]
    fn schemas_are_followed() {
        let text = json!({"type": "string"});
        let below = json!({"properties": {"b": text}});
        for (schema, record, expected) in [
            (json!({"properties": {"a": {"type": ["string", "integer", "null"]}}}), r#"{"a":1.5}"#, None),
            (json!({"properties": {"a": {"type": "array", "items": text}}}), r#"{"a":5}"#, None),
            (
                json!({"properties": {"a": {"type": "array", "items": {"type": ["string", "null"]}}}}),
                r#"{"a":5}"#,
                Some(json!({"a": ["5"]})),
            ),
            (json!({"properties": {"a": {"type": "array", "items": {"type": ["object"]}}}}), r#"{"a":5}"#, None),
            (
                json!({"properties": {"a": {"type": ["array", "null"], "items": {"type": ["integer", "null"]}}}}),
                r#"{"a":["1","x",null,1.5]}"#,
                Some(json!({"a": [1, "x", null, 1]})),
            ),
            (json!({"properties": {"a": below}}), r#"{"a":{"b":5,"c":5}}"#, Some(json!({"a": {"b": "5", "c": 5}}))),
            (json!({"properties": {"a": {"anyOf": [text]}}}), r#"{"a":5}"#, None),
            (json!({"properties": {"a": {"$ref": "#/d/x"}}, "d": {"x": below}}), r#"{"a":{"b":5}}"#, Some(json!({"a": {"b": "5"}}))),
            (json!({"properties": {"a": {"$ref": "#/d/x"}}, "d": {"x": text}}), r#"{"a":5}"#, None),
            (json!({"$ref": "#/d/x", "d": {"x": below}}), r#"{"b":5}"#, Some(json!({"b": "5"}))),
            (
                json!({"properties": {"b": text, "a": {"$ref": "#"}}}),
                r#"{"b":1,"a":{"b":2,"a":{"b":3}}}"#,
                Some(json!({"b": "1", "a": {"b": "2", "a": {"b": "3"}}})),
            ),
            (
                json!({"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"b": text}}}}),
                r#"{"a":{"b":5}}"#,
                None,
            ),
            (
                json!({"properties": {"a": {"type": "string", "properties": {"b": text}}}}),
                r#"{"a":{"b":5}}"#,
                Some(json!({"a": "{'b': 5}"})),
            ),
            (json!({"additionalProperties": text}), r#"{"a":5}"#, None),
            (json!({"type": "string", "properties": {"a": {"type": []}}}), r#"{"a":5}"#, None),
        ] {
            assert_eq!(normalized(&schema, record, Compat::Safe), expected, "{schema} {record}");
        }
    }

    /// An integer that a float cannot hold stays what it is; the reference engine rounds it.
    #[test]
    fn large_integers_are_not_rounded() {
        let schema = json!({"properties": {"k": {"type": "number"}}});
        let large = r#"{"k":9007199254740993}"#;
        assert_eq!(normalized(&schema, large, Compat::Safe), None);
        assert_eq!(normalized(&schema, large, Compat::Strict), Some(json!({"k": 9007199254740992.0})));
        assert_eq!(normalized(&schema, r#"{"k":900719925474099}"#, Compat::Strict), None);
    }
}
