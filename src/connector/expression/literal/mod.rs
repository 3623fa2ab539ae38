//! Python's literals: what `ast.literal_eval` accepts, and nothing else.
//!
//! The language reads the text of every rendered expression as a Python literal, and keeps the text when it is none. So this
//! reader decides whether `35E876` stays an identifier or becomes infinity; it follows CPython's tokenizer.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::json;
use super::python;
use crate::connector::number;

mod token;

/// How deep literals may nest; CPython's own limit is of this order.
pub(super) const DEPTH_MAX: usize = 90;

/// A Python literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    /// Decimal digits with a sign when negative, of any length.
    Integer(String),
    Float(f64),
    /// A complex number; only its presence matters.
    Complex,
    Text(String),
    /// Bytes, which JSON lacks.
    Bytes(Vec<u8>),
    Ellipsis,
    List(Vec<Literal>),
    Tuple(Vec<Literal>),
    Set(Vec<Literal>),
    Map(Vec<(Literal, Literal)>),
}

impl Literal {
    /// Reads `text` as one literal; nothing when it is none.
    pub(super) fn read(text: &str) -> Option<Literal> {
        let text = text.trim_start_matches([' ', '\t']);
        // Most rendered texts are identifiers, paths and dates: they are told apart by their first byte.
        let first = *text.as_bytes().first()?;
        if !(first.is_ascii_digit() || b"+-.'\"([{#\n\r\x0c\\NTFbBuUrRs".contains(&first)) {
            return None;
        }
        if text.contains('\0') {
            return None;
        }
        let mut reader = Reader { text: text.as_bytes(), at: 0, nested: 0, depth: 0 };
        reader.lines();
        let value = reader.expression_list()?;
        reader.lines();
        (reader.at == reader.text.len()).then_some(value)
    }

    /// The JSON value; what JSON lacks is null, or text for bytes.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Literal::None | Literal::Complex | Literal::Ellipsis => serde_json::Value::Null,
            Literal::Bool(flag) => serde_json::Value::Bool(*flag),
            Literal::Integer(digits) => json::integer_json(digits),
            Literal::Float(number) => serde_json::Number::from_f64(*number).map_or(serde_json::Value::Null, serde_json::Value::Number),
            Literal::Text(text) => serde_json::Value::from(text.as_str()),
            Literal::Bytes(_) => serde_json::Value::from(self.text()),
            Literal::List(items) | Literal::Tuple(items) | Literal::Set(items) => items.iter().map(Literal::json).collect(),
            Literal::Map(pairs) => {
                let mut map = serde_json::Map::new();
                for (key, value) in pairs {
                    map.insert(key.text(), value.json());
                }
                serde_json::Value::Object(map)
            }
        }
    }

    /// `str()` of the literal.
    pub(super) fn text(&self) -> String {
        match self {
            Literal::Text(text) => text.clone(),
            other => {
                let mut out = String::new();
                other.write(&mut out);
                out
            }
        }
    }

    /// Whether a condition with this result holds: everything but the values and texts that the language lists as false.
    pub(super) fn holds(&self) -> bool {
        match self {
            Literal::None => false,
            Literal::Bool(flag) => *flag,
            Literal::Integer(digits) => digits.bytes().any(|byte| matches!(byte, b'1'..=b'9')),
            Literal::Float(number) => *number != 0.0,
            Literal::Text(text) => holds(text),
            Literal::List(items) | Literal::Tuple(items) | Literal::Set(items) => !items.is_empty(),
            Literal::Map(pairs) => !pairs.is_empty(),
            Literal::Complex | Literal::Bytes(_) | Literal::Ellipsis => true,
        }
    }

    fn write(&self, out: &mut String) {
        let sequence = |out: &mut String, items: &[Literal]| {
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push_str(", ");
                }
                item.write(out);
            }
        };
        match self {
            Literal::None => out.push_str("None"),
            Literal::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
            Literal::Integer(digits) => out.push_str(digits),
            Literal::Float(number) => number::write_float(out, *number),
            Literal::Complex => out.push_str("0j"),
            Literal::Text(text) => python::write_quoted(out, text),
            Literal::Bytes(bytes) => {
                out.push('b');
                python::write_quoted(out, &bytes.escape_ascii().to_string());
            }
            Literal::Ellipsis => out.push_str("Ellipsis"),
            Literal::List(items) => {
                out.push('[');
                sequence(out, items);
                out.push(']');
            }
            Literal::Tuple(items) => {
                out.push('(');
                sequence(out, items);
                out.push_str(if items.len() == 1 { ",)" } else { ")" });
            }
            Literal::Set(items) if items.is_empty() => out.push_str("set()"),
            Literal::Set(items) => {
                out.push('{');
                sequence(out, items);
                out.push('}');
            }
            Literal::Map(pairs) => {
                out.push('{');
                for (position, (key, value)) in pairs.iter().enumerate() {
                    if position > 0 {
                        out.push_str(", ");
                    }
                    key.write(out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Whether a text counts as true in a condition.
pub(super) fn holds(text: &str) -> bool {
    !matches!(text, "False" | "false" | "{}" | "[]" | "()" | "" | "0" | "0.0")
}

/// Whether a value of the engine, rendered, counts as true in a condition; nothing when its text must be read first.
pub(super) fn value_holds(value: &Value) -> Option<bool> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Some(false),
        ValueKind::Bool | ValueKind::Number => Some(value.is_true()),
        ValueKind::Map | ValueKind::Seq => value.len().map(|length| length > 0),
        _ => None,
    }
}

/// Reads from bytes of UTF-8; `at` stands on a character's first byte whenever a token ends.
pub(super) struct Reader<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    /// Open brackets: inside them line ends are spaces.
    nested: usize,
    depth: usize,
}

impl Reader<'_> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips what the tokenizer skips between tokens.
    pub(super) fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\x0c' => self.at += 1,
                b'\n' | b'\r' if self.nested > 0 => self.at += 1,
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                b'\\' if self.text.get(self.at + 1) == Some(&b'\n') && self.at + 2 < self.text.len() => self.at += 2,
                _ => break,
            }
        }
    }

    /// Skips empty lines, where a statement may begin or has ended.
    fn lines(&mut self) {
        loop {
            self.space();
            match self.peek() {
                Some(b'\n' | b'\r') => self.at += 1,
                _ => break,
            }
        }
    }

    /// An expression, or several with commas, which are a tuple.
    fn expression_list(&mut self) -> Option<Literal> {
        let first = self.expression()?;
        self.space();
        if self.peek() != Some(b',') {
            return Some(first);
        }
        let mut items = vec![first];
        while self.take(b',') {
            self.space();
            if matches!(self.peek(), None | Some(b'\n' | b'\r' | b')')) {
                break;
            }
            items.push(self.expression()?);
            self.space();
        }
        Some(Literal::Tuple(items))
    }

    fn expression(&mut self) -> Option<Literal> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let value = self.sum();
        self.depth -= 1;
        value
    }

    /// A signed number, or a complex number as the sum of its parts, or any other literal.
    fn sum(&mut self) -> Option<Literal> {
        self.space();
        let left = self.signed()?;
        self.space();
        if !matches!(self.peek(), Some(b'+' | b'-')) {
            return Some(left);
        }
        if !matches!(left, Literal::Integer(_) | Literal::Float(_)) {
            return None;
        }
        self.at += 1;
        self.space();
        let right = self.atom()?;
        self.space();
        (right == Literal::Complex && !matches!(self.peek(), Some(b'+' | b'-'))).then_some(Literal::Complex)
    }

    fn signed(&mut self) -> Option<Literal> {
        let sign = match self.peek() {
            Some(sign @ (b'+' | b'-')) => sign,
            _ => return self.atom(),
        };
        self.at += 1;
        self.space();
        // Python allows one sign: `--1` is the negation of an expression, not of a number.
        let number = self.atom()?;
        match (number, sign) {
            (Literal::Integer(digits), b'-') if digits == "0" => Some(Literal::Integer(digits)),
            (Literal::Integer(digits), b'-') => match digits.strip_prefix('-') {
                Some(digits) => Some(Literal::Integer(digits.to_owned())),
                None => Some(Literal::Integer(format!("-{digits}"))),
            },
            (Literal::Float(number), b'-') => Some(Literal::Float(-number)),
            (number @ (Literal::Integer(_) | Literal::Float(_) | Literal::Complex), _) => Some(number),
            _ => None,
        }
    }

    fn atom(&mut self) -> Option<Literal> {
        match self.peek()? {
            b'0'..=b'9' => self.number(),
            b'.' if self.text[self.at..].starts_with(b"...") => {
                self.at += 3;
                Some(Literal::Ellipsis)
            }
            b'.' => self.number(),
            b'(' => self.parenthesis(),
            b'[' => {
                let items = self.bracketed(b'[', b']')?;
                Some(Literal::List(items))
            }
            b'{' => self.braced(),
            b'\'' | b'"' => self.texts(),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => self.word(),
            _ => None,
        }
    }

    /// A name that is a literal, or a string with a prefix.
    fn word(&mut self) -> Option<Literal> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80));
        let word = &rest[..length.unwrap_or(rest.len())];
        if matches!(rest.get(word.len()), Some(b'\'' | b'"')) {
            return self.texts();
        }
        let value = match word {
            b"None" => Literal::None,
            b"True" => Literal::Bool(true),
            b"False" => Literal::Bool(false),
            b"set" => {
                self.at += word.len();
                self.space();
                let open = self.take(b'(');
                self.nested += 1;
                self.space();
                self.nested -= 1;
                return (open && self.take(b')')).then_some(Literal::Set(Vec::new()));
            }
            _ => return None,
        };
        self.at += word.len();
        Some(value)
    }

    fn parenthesis(&mut self) -> Option<Literal> {
        self.at += 1;
        self.nested += 1;
        self.space();
        let value = if self.peek() == Some(b')') { Literal::Tuple(Vec::new()) } else { self.expression_list()? };
        self.space();
        self.nested -= 1;
        self.take(b')').then_some(value)
    }

    fn bracketed(&mut self, open: u8, close: u8) -> Option<Vec<Literal>> {
        if !self.take(open) {
            return None;
        }
        self.nested += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            if self.take(close) {
                break;
            }
            items.push(self.expression()?);
            self.space();
            if !self.take(b',') && self.peek() != Some(close) {
                return None;
            }
        }
        self.nested -= 1;
        Some(items)
    }

    fn braced(&mut self) -> Option<Literal> {
        self.at += 1;
        self.nested += 1;
        self.space();
        if self.take(b'}') {
            self.nested -= 1;
            return Some(Literal::Map(Vec::new()));
        }
        let (mut items, mut pairs): (Vec<Literal>, Vec<(Literal, Literal)>) = (Vec::new(), Vec::new());
        loop {
            self.space();
            if self.take(b'}') {
                break;
            }
            let key = self.expression()?;
            if !key.hashable() {
                return None;
            }
            self.space();
            if self.take(b':') {
                let value = self.expression()?;
                match pairs.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, slot)) => *slot = value,
                    None => pairs.push((key, value)),
                }
            } else if !items.contains(&key) {
                items.push(key);
            }
            if !items.is_empty() && !pairs.is_empty() {
                return None;
            }
            self.space();
            if !self.take(b',') && self.peek() != Some(b'}') {
                return None;
            }
        }
        self.nested -= 1;
        Some(if pairs.is_empty() { Literal::Set(items) } else { Literal::Map(pairs) })
    }
}

impl Literal {
    fn hashable(&self) -> bool {
        match self {
            Literal::List(_) | Literal::Set(_) | Literal::Map(_) => false,
            Literal::Tuple(items) => items.iter().all(Literal::hashable),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Literal;
    use proptest::prelude::*;

    fn literals() -> impl Strategy<Value = Literal> {
        let leaf = prop_oneof![
            Just(Literal::None),
            any::<bool>().prop_map(Literal::Bool),
            any::<i128>().prop_map(|number| Literal::Integer(number.to_string())),
            proptest::num::f64::NORMAL.prop_map(Literal::Float),
            any::<String>().prop_map(|text| Literal::Text(text.replace('\0', ""))),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Literal::List),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Literal::Tuple),
                prop::collection::btree_map("[a-z'\"\\\\é]{0,6}", inner, 0..4)
                    .prop_map(|map| Literal::Map(map.into_iter().map(|(key, value)| (Literal::Text(key), value)).collect())),
            ]
        })
    }

    proptest! {
        /// Goal: what is written as Python writes it reads back as itself.
        #[test]
        fn written_literals_read_back(literal in literals()) {
            let mut text = String::new();
            literal.write(&mut text);
            prop_assert_eq!(Literal::read(&text), Some(literal), "{}", text);
        }

        /// Goal: no text whatever makes the reader panic. Texts of the reader's own characters go deepest.
        #[test]
        fn any_text_is_read_or_not(text in prop_oneof![any::<String>(), "[-+0-9a-fxobjeE_.'\"\\\\rbuNTU{}()\\[\\]:, \n#]{0,40}"]) {
            let _ = Literal::read(&text).map(|literal| literal.json());
        }
    }

    /// Goal: nesting is refused before it can exhaust the stack.
    #[test]
    fn deep_nesting_is_no_literal() {
        for open in ["[", "(", "{", "{1:", "-(", "- "] {
            assert_eq!(Literal::read(&open.repeat(100_000)), None);
        }
        assert!(Literal::read(&("[".repeat(50) + &"]".repeat(50))).is_some());
    }

    /// Goal: identifiers that look like literals are what CPython says they are.
    #[test]
    fn identifiers() {
        assert_eq!(Literal::read("35E87645934406417"), Some(Literal::Float(f64::INFINITY)));
        assert_eq!(Literal::read("12345678901234567J"), Some(Literal::Complex));
        assert_eq!(Literal::read("0x1F"), Some(Literal::Integer("31".into())));
        assert_eq!(
            Literal::read("0xffffffffffffffffffffffffffffffffff").map(|l| l.text()).as_deref(),
            Some("87112285931760246646623899502532662132735")
        );
        for text in ["00123", "1__0", "_1", "1_", "0x", "1e", "true", "a", "1 2", "5b", "2025-06-10", "1.2.3", "'a", "b'é'", "{[]}", "--1"]
        {
            assert_eq!(Literal::read(text).filter(|literal| *literal != Literal::Complex), None, "{text}");
        }
    }
}
