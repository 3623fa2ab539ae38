//! JSON Pointers (RFC 6901) into raw records, with `*` for every element of an array.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::record::scan::JsonError;
use crate::record::scan::Scanner;

/// Where values lie in a record, such as `/order_number` or `/line_items/*/sku`.
///
/// The segment `*` means every element of an array; of an object it means the member of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

/// A text that is no JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no JSON Pointer: write `/member/0/member`, with `~1` for a slash and `~0` for a tilde in a name")]
pub struct PointerError {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl Pointer {
    /// The pointer as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its steps, unescaped.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// The pointer of these steps.
    pub fn of_steps(steps: Vec<String>) -> Self {
        let text = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
        Self { text, steps }
    }

    /// Whether it can mean more than one value.
    pub fn is_many(&self) -> bool {
        self.steps.iter().any(|step| step == "*")
    }

    /// Where in `raw` the values lie that it means, in the order of the text. Of members with the same name the last
    /// counts, as for most readers of JSON.
    ///
    /// # Errors
    /// When `raw` is not one JSON value in UTF-8, or nests too deep.
    pub fn find(&self, raw: &[u8]) -> Result<Vec<Range<usize>>, JsonError> {
        let mut scanner = Scanner::new(raw)?;
        let mut found = Vec::new();
        walk(&mut scanner, raw, &self.steps, &mut found)?;
        scanner.finish()?;
        Ok(found)
    }
}

fn walk(scanner: &mut Scanner<'_>, raw: &[u8], steps: &[String], found: &mut Vec<Range<usize>>) -> Result<(), JsonError> {
    let Some((step, rest)) = steps.split_first() else {
        found.push(scanner.value()?);
        return Ok(());
    };
    match scanner.peek() {
        Some(b'{') => {
            let before = found.len();
            scanner.members(|scanner, name| {
                if !name.is(raw, step) {
                    return scanner.value().map(drop);
                }
                found.truncate(before);
                walk(scanner, raw, rest, found)
            })
        }
        Some(b'[') => {
            let wanted = (!step.starts_with('0') || step == "0").then(|| step.parse().ok()).flatten();
            scanner.elements(
                |scanner, index| {
                    if step == "*" || wanted == Some(index) { walk(scanner, raw, rest, found) } else { scanner.value().map(drop) }
                },
            )
        }
        _ => scanner.value().map(drop),
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let malformed = || PointerError { text: crate::ids::cut(text) };
        let steps = match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(unescape).collect::<Option<_>>().ok_or_else(malformed)?,
            None if text.is_empty() => Vec::new(),
            None => return Err(malformed()),
        };
        Ok(Self { text: text.to_owned(), steps })
    }
}

fn unescape(segment: &str) -> Option<String> {
    let stray = segment.replace("~0", "").replace("~1", "").contains('~');
    (!stray).then(|| segment.replace("~1", "/").replace("~0", "~"))
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, PointerError> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> String {
        pointer.text
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pointer finds what RFC 6901 says, and `*` every element.
    #[test]
    fn finds_values() {
        let raw = r#"{"a":1,"b":[{"s":"x"},{"s":"y"},{"t":0}],"m~n":2,"p/q":3,"":4,"*":5,"a\u0062":6,"d":7,"d":{"e":8}, "01":[9]}"#;
        let cases: [(&str, &[&str]); 16] = [
            ("", &[raw]),
            ("/a", &["1"]),
            ("/b/*/s", &[r#""x""#, r#""y""#]),
            ("/b/1/s", &[r#""y""#]),
            ("/b/01/s", &[]),
            ("/b/-", &[]),
            ("/b/2", &[r#"{"t":0}"#]),
            ("/m~0n", &["2"]),
            ("/p~1q", &["3"]),
            ("/", &["4"]),
            ("/*", &["5"]),
            ("/ab", &["6"]),
            ("/d", &[r#"{"e":8}"#]),
            ("/d/e", &["8"]),
            ("/a/b", &[]),
            ("/01/0", &["9"]),
        ];
        for (pointer, expected) in cases {
            let found = pointer.parse::<Pointer>().unwrap().find(raw.as_bytes()).unwrap();
            assert_eq!(found.into_iter().map(|range| &raw[range]).collect::<Vec<_>>(), expected, "{pointer}");
        }
        for text in ["a", "/~", "/~2", "#/a"] {
            assert!(text.parse::<Pointer>().is_err(), "{text}");
        }
    }
}
