//! The values under which records are found again: business keys and personal keys, in one normal form each.

use crate::record::pointer::Pointer;
use crate::record::scan::JsonError;
use crate::record::scan::Scanner;

/// How many characters a key may have in normal form; what is longer is a text and not a key, and is not indexed.
pub const KEY_CHARS_MAX: usize = 256;

/// What a key names, which decides what may be left out of it without losing the difference between two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClass {
    /// An order number, SKU, tracking number: people leave out or add case, white space and dashes, so none counts.
    Business,
    /// An e-mail address, a name, a phone number: only case, white space around it and the length of white space in it
    /// do not count. Records are erased by such a key, so one must never mean two people.
    Personal,
}

impl KeyClass {
    /// The normal form of a value, or nothing when it is empty or too long to be a key.
    ///
    /// Numbers are keys by their text, so `1001` is found under `1001` and `"1001"`.
    pub fn normalise(self, value: &str) -> Option<String> {
        let lower = value.to_lowercase();
        let normal: String = match self {
            KeyClass::Business => lower.chars().filter(|&c| !c.is_whitespace() && !is_dash(c)).collect(),
            KeyClass::Personal => lower.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let length = normal.chars().count();
        (1..=KEY_CHARS_MAX).contains(&length).then_some(normal)
    }

    /// The normal forms of the strings and numbers at `pointer` in the record `raw`, each once, in their order. An array
    /// found there stands for its elements.
    ///
    /// # Errors
    /// When `raw` is not one JSON value in UTF-8, or nests too deep.
    pub fn values(self, raw: &[u8], pointer: &Pointer) -> Result<Vec<String>, JsonError> {
        let mut values = Vec::new();
        for range in pointer.find(raw)? {
            scalars(&raw[range], &mut |value| {
                if let Some(normal) = self.normalise(value).filter(|normal| !values.contains(normal)) {
                    values.push(normal);
                }
            })?;
        }
        Ok(values)
    }
}

/// Hyphen-minus, the dashes of Unicode's general punctuation, and the minus sign.
fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Calls `each` with a string or number, or with those that an array holds directly.
fn scalars(raw: &[u8], each: &mut impl FnMut(&str)) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(raw)?;
    if scanner.peek() == Some(b'[') { scanner.elements(|scanner, _| scalar(scanner, raw, each)) } else { scalar(&mut scanner, raw, each) }
}

fn scalar(scanner: &mut Scanner<'_>, raw: &[u8], each: &mut impl FnMut(&str)) -> Result<(), JsonError> {
    match scanner.peek() {
        Some(b'"') => {
            let text = scanner.string()?;
            each(&text.decode(raw));
        }
        Some(b'-' | b'0'..=b'9') => {
            let number = scanner.bare()?;
            each(&String::from_utf8_lossy(&raw[number]));
        }
        _ => {
            scanner.value()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ways to write one business key meet in one form; personal keys keep what tells people apart.
    #[test]
    fn normal_forms() {
        for same in ["1Z-999-AA1", "1z999aa1", " 1Z 999\u{2013}AA1\u{a0}", "1Z999AA-1"] {
            assert_eq!(KeyClass::Business.normalise(same).as_deref(), Some("1z999aa1"), "{same}");
        }
        assert_eq!(KeyClass::Personal.normalise(" Ann-Marie@Example.com").as_deref(), Some("ann-marie@example.com"));
        assert_eq!(KeyClass::Business.normalise(" - "), None);
        assert_eq!(KeyClass::Business.normalise(&"9".repeat(KEY_CHARS_MAX + 1)), None);
    }

    /// Strings and numbers are keys, each once; what is neither is not.
    #[test]
    fn values_of_a_record() {
        let raw =
            br#"{"n":1001,"items":[{"sku":"A-1"},{"sku":"a1"},{"sku":null},{"sku":"\u0042 2"},{"sku":{"x":1}}],"tags":["x",[1],2.50]}"#;
        let values = |pointer: &str| KeyClass::Business.values(raw, &pointer.parse().unwrap()).unwrap();
        assert_eq!(values("/n"), ["1001"]);
        assert_eq!(values("/items/*/sku"), ["a1", "b2"]);
        assert_eq!(values("/tags"), ["x", "2.50"]);
        assert!(values("/none").is_empty());
    }
}
