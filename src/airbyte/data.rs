//! The data of a record, written on one line.

use memchr::memmem;
use serde_json::Value;

use crate::connector::reading::Compat;
use crate::record::FetchedPage;
use crate::record::FetchedRecord;

/// Writes the data of the records of one page.
pub(super) struct Data<'p> {
    page: &'p FetchedPage,
    compat: Compat,
    /// Whether the body holds a line end, which would tear a message.
    has_lines: bool,
    /// Whether it holds the word `null` at all.
    has_null: bool,
}

impl<'p> Data<'p> {
    /// Looks through the page once, so that most records need no look.
    pub fn new(page: &'p FetchedPage, compat: Compat) -> Self {
        let body = &page.body[..];
        let has_null = compat == Compat::Strict && memmem::find(body, b"null").is_some();
        Data { page, compat, has_lines: memchr::memchr2(b'\n', b'\r', body).is_some(), has_null }
    }

    /// Appends the data of a record to `line`.
    pub fn write(&self, record: &FetchedRecord, line: &mut Vec<u8>) {
        let start = line.len();
        let text = record.text(&self.page.body);
        let may_hold_null = if record.emitted.is_some() { self.compat == Compat::Strict } else { self.has_null };
        if may_hold_null && memmem::find(text, b"null").is_some() {
            // The reference engine leaves out what is null, of the record itself alone; a number that JSON lacks is none to it.
            let kept: Vec<String> = record.boundless.iter().map(|name| Value::from(name.as_str()).to_string()).collect();
            copy_without_nulls(text, &kept, line);
        } else {
            line.extend_from_slice(text);
        }
        if self.has_lines {
            // In JSON a line end stands between tokens only.
            line[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        }
    }
}

/// Copies the JSON object in `raw` without its own members that are null, but for those whose names, as JSON, are in `kept`. `raw`
/// was read as JSON before.
fn copy_without_nulls(raw: &[u8], kept: &[String], line: &mut Vec<u8>) {
    let start = line.len();
    let (mut depth, mut at, mut member) = (0_usize, 0, 0);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => at += string_length(&raw[at..]) - 1,
            b'{' | b'[' => {
                depth += 1;
                if depth == 1 {
                    member = at + 1;
                }
            }
            b',' if depth == 1 => {
                copy_member(&raw[member..at], kept, start, line);
                member = at + 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    copy_member(&raw[member..at], kept, start, line);
                    break;
                }
            }
            _ => {}
        }
        at += 1;
    }
    line.extend_from_slice(if line.len() == start { b"{}" } else { b"}" });
}

/// Copies a member, unless it is null or there is none.
fn copy_member(member: &[u8], kept: &[String], start: usize, line: &mut Vec<u8>) {
    let member = member.trim_ascii();
    let name = member.strip_suffix(b"null").and_then(|before| before.trim_ascii_end().strip_suffix(b":"));
    let is_null = name.is_some_and(|name| !kept.iter().any(|kept| kept.as_bytes() == name.trim_ascii_end()));
    if !member.is_empty() && !is_null {
        line.push(if line.len() == start { b'{' } else { b',' });
        line.extend_from_slice(member);
    }
}

/// Strings up to this length are read byte by byte, which is faster than to begin a search; most are shorter.
const SHORT_BYTES: usize = 24;

/// The length of the string that `text` begins with, quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while at < SHORT_BYTES {
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn copied(raw: &str) -> Value {
        let mut line = Vec::new();
        copy_without_nulls(raw.as_bytes(), &["\"kept\"".to_owned()], &mut line);
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{raw}: {error}"))
    }

    /// Only the record's own nulls go, wherever they stand; words and texts that look like them stay.
    #[test]
    fn own_nulls_are_left_out() {
        for (raw, expected) in [
            (r#"{"a":null}"#, json!({})),
            (r#"{ }"#, json!({})),
            ("{ \"a\" : null , \"b\":1,\n\"c\":null\r\n}", json!({"b": 1})),
            (r#"{"a":{"b":null,"c":[null]},"d":null}"#, json!({"a": {"b": null, "c": [null]}})),
            (r#"{"a":"null","b\",":"x:null","null":null}"#, json!({"a": "null", "b\",": "x:null"})),
            (r#"{"kept":null,"a":null}"#, json!({"kept": null})),
            (r#"{"a":"\\","b":null,"c":"\"}"}"#, json!({"a": "\\", "c": "\"}"})),
        ] {
            assert_eq!(copied(raw), expected, "{raw}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".*", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The copy is the value without its own nulls, however it was written.
        #[test]
        fn a_copy_is_the_value(members in proptest::collection::btree_map(".*", any_json(), 0..6), pretty: bool) {
            let value = Value::Object(members.into_iter().collect());
            let raw = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut expected = value;
            expected.as_object_mut().unwrap().retain(|_, member| !member.is_null());
            prop_assert_eq!(copied(&raw), expected);
        }
    }
}
