//! Random JSON for properties: values, and the many texts that one value can be written as.

use proptest::collection::hash_map;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// Any value up to four levels deep, with names and strings that need escapes and numbers of any text.
pub(super) fn value() -> impl Strategy<Value = Value> {
    let number = r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(|text| serde_json::from_str(&text).unwrap()),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            hash_map(text(), inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,3}", "[a-z0-9 /~*.-]{0,20}", "\\PC{0,8}", "[\u{0}-\u{24}\\\\\u{7f}\u{e000}\u{10000}]{0,4}"]
}

/// Writes `value` with members in any order, white space anywhere and characters escaped at will, as `seed` decides.
pub(super) fn scrawl(value: &Value, seed: u64) -> String {
    let mut hand = Hand { state: seed | 1, out: String::new() };
    hand.value(value);
    hand.out
}

struct Hand {
    state: u64,
    out: String,
}

impl Hand {
    /// xorshift64 (Marsaglia, 2003).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % bound
    }

    fn space(&mut self) {
        for _ in 0..self.below(3) {
            let space = [' ', '\t', '\n', '\r'][self.below(4)];
            self.out.push(space);
        }
    }

    fn token(&mut self, token: &str) {
        self.space();
        self.out.push_str(token);
        self.space();
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(elements) => {
                self.token("[");
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        self.token(",");
                    }
                    self.value(element);
                }
                self.token("]");
            }
            Value::Object(members) => {
                self.token("{");
                let mut left: Vec<_> = members.iter().collect();
                while !left.is_empty() {
                    let next = self.below(left.len());
                    let (name, member) = left.swap_remove(next);
                    self.string(name);
                    self.token(":");
                    self.value(member);
                    if !left.is_empty() {
                        self.token(",");
                    }
                }
                self.token("}");
            }
            bare => self.token(&bare.to_string()),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            let short = match c {
                '"' | '\\' | '/' => Some(c),
                '\n' => Some('n'),
                '\t' => Some('t'),
                '\r' => Some('r'),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                _ => None,
            };
            let must = c < ' ' || c == '"' || c == '\\';
            match (self.below(8), short) {
                (0..4, Some(short)) => self.out.extend(['\\', short]),
                (7, _) => self.units(c),
                (_, Some(short)) if must => self.out.extend(['\\', short]),
                _ if must => self.units(c),
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn units(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let text = if self.below(2) == 0 { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
            self.out.push_str(&text);
        }
    }
}
