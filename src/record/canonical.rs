//! The canonical form of a record and its digest: what decides whether a version is new.
//!
//! The form drops white space, sorts the members of every object by the code points of their names, and writes every
//! string with the shortest escapes (RFC 8259 section 7: only quote, backslash and control characters are escaped).
//! The text of numbers is kept, so `1.0` and `1` differ: no rounding can hide a change. Members with the same name keep
//! their order, because it decides which of them a reader sees.

use std::cmp::Ordering;

use crate::digest::Digest;
use crate::record::scan::JsonError;
use crate::record::scan::Scanner;
use crate::record::scan::Text;
use crate::record::scan::code_points;

/// The digest of the canonical form of the JSON value `raw`.
///
/// # Errors
/// When `raw` is not one JSON value in UTF-8, or nests too deep.
pub fn content_digest(raw: &[u8]) -> Result<Digest, JsonError> {
    canonical_form(raw).map(|form| Digest::of(&form))
}

/// The canonical form of the JSON value `raw`.
///
/// # Errors
/// When `raw` is not one JSON value in UTF-8, or nests too deep.
pub fn canonical_form(raw: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut scanner = Scanner::new(raw)?;
    let mut writer = Writer { raw, out: Vec::with_capacity(raw.len()), members: Vec::new(), sorted: Vec::new() };
    writer.value(&mut scanner)?;
    scanner.finish()?;
    Ok(writer.out)
}

/// Writes the form in one pass; an object whose members came unsorted is put in order when its end is reached.
struct Writer<'a> {
    raw: &'a [u8],
    out: Vec<u8>,
    /// The members of the objects that are open, innermost last.
    members: Vec<Member>,
    /// Where members are put in order before they replace what was written.
    sorted: Vec<u8>,
}

/// A member as written: `out[start..end]` is `"name":value`, and `name_end` is where its name's closing quote stands.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
    /// The first bytes of the name, which decide most comparisons.
    head: u64,
    /// Whether an escape is in the name as written, so that its bytes do not have the order of its code points.
    escaped: bool,
}

impl Writer<'_> {
    fn value(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        match scanner.peek() {
            Some(b'{') => self.object(scanner),
            Some(b'[') => self.array(scanner),
            Some(b'"') => {
                let text = scanner.string()?;
                self.string(&text);
                Ok(())
            }
            _ => {
                let bare = scanner.bare()?;
                self.out.extend_from_slice(&self.raw[bare]);
                Ok(())
            }
        }
    }

    fn array(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.out.push(b'[');
        scanner.elements(|scanner, index| {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(scanner)
        })?;
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.out.push(b'{');
        let first = self.members.len();
        scanner.members(|scanner, name| {
            if self.members.len() > first {
                self.out.push(b',');
            }
            let start = self.out.len();
            self.string(&name);
            let name_end = self.out.len() - 1;
            self.out.push(b':');
            self.value(scanner)?;
            self.members.push(Member::new(&self.out, start, name_end));
            Ok(())
        })?;
        self.sort(first);
        self.members.truncate(first);
        self.out.push(b'}');
        Ok(())
    }

    /// Puts the members from `first` on, which end what is written, in the order of their names.
    fn sort(&mut self, first: usize) {
        let (out, members) = (&mut self.out, &mut self.members[first..]);
        if members.is_sorted_by(|a, b| a.compare(b, out).is_le()) {
            return;
        }
        let start = members[0].start;
        members.sort_by(|a, b| a.compare(b, out));
        self.sorted.clear();
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                self.sorted.push(b',');
            }
            self.sorted.extend_from_slice(&out[member.start..member.end]);
        }
        out.truncate(start);
        out.extend_from_slice(&self.sorted);
    }

    fn string(&mut self, text: &Text) {
        self.out.push(b'"');
        let inner = &self.raw[text.inner.clone()];
        if text.escaped {
            code_points(inner).for_each(|point| push(&mut self.out, point));
        } else {
            self.out.extend_from_slice(inner);
        }
        self.out.push(b'"');
    }
}

impl Member {
    /// The member that ends what is written.
    fn new(out: &[u8], start: usize, name_end: usize) -> Self {
        let name = &out[start + 1..name_end];
        let mut head = [0; 8];
        let length = name.len().min(head.len());
        head[..length].copy_from_slice(&name[..length]);
        Self { start, name_end, end: out.len(), head: u64::from_be_bytes(head), escaped: name.contains(&b'\\') }
    }

    fn name<'a>(&self, out: &'a [u8]) -> &'a [u8] {
        &out[self.start + 1..self.name_end]
    }

    /// By the code points of the names. The bytes of UTF-8 have that order already; a written escape has not.
    fn compare(&self, other: &Self, out: &[u8]) -> Ordering {
        let (a, b) = (self.name(out), other.name(out));
        if self.escaped || other.escaped { code_points(a).cmp(code_points(b)) } else { self.head.cmp(&other.head).then_with(|| a.cmp(b)) }
    }
}

fn push(out: &mut Vec<u8>, point: u32) {
    let short = match point {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        0x22 => b'"',
        0x5c => b'\\',
        _ => 0,
    };
    match char::from_u32(point).filter(|&plain| plain >= ' ') {
        _ if short != 0 => out.extend_from_slice(&[b'\\', short]),
        Some(plain) => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend_from_slice(format!("\\u{point:04x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::record::scrawl::scrawl;
    use crate::record::scrawl::value;

    /// The form by way of a tree.
    fn reference(value: &Value) -> String {
        match value {
            Value::Array(elements) => format!("[{}]", elements.iter().map(reference).collect::<Vec<_>>().join(",")),
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|(a, _), (b, _)| a.chars().cmp(b.chars()));
                let members = members.iter().map(|(name, member)| format!("{}:{}", Value::from(name.as_str()), reference(member)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            scalar => scalar.to_string(),
        }
    }

    proptest! {
        /// However a value is written, its form is the reference's; so order, white space and escapes never change the
        /// digest.
        #[test]
        fn form_is_the_values_own(value in value(), seed: u64) {
            let form = canonical_form(scrawl(&value, seed).as_bytes()).unwrap();
            prop_assert_eq!(String::from_utf8(form).unwrap(), reference(&value));
        }

        /// Two values have one digest only when they are equal.
        #[test]
        fn any_change_shows(a in value(), b in value(), seed: u64) {
            let digest = |value| content_digest(scrawl(value, seed).as_bytes()).unwrap();
            prop_assert_eq!(digest(&a) == digest(&b), a == b);
        }

        /// Bytes that are no JSON are refused, as `serde_json` refuses them, and never a panic.
        #[test]
        fn total_on_any_bytes(value in value(), seed: u64, at: prop::sample::Index, byte: u8) {
            let mut raw = scrawl(&value, seed).into_bytes();
            let at = at.index(raw.len());
            raw[at] = byte;
            let read = serde_json::from_slice::<&serde_json::value::RawValue>(&raw);
            prop_assert_eq!(canonical_form(&raw).is_ok(), read.is_ok());
        }
    }

    /// Number text counts, the order of equal names counts, and a lone surrogate stays the escape it was.
    #[test]
    fn fine_print() {
        let form = |raw: &str| String::from_utf8(canonical_form(raw.as_bytes()).unwrap()).unwrap();
        assert_eq!(form("[1.0, 1, 1e0, -0]"), "[1.0,1,1e0,-0]");
        assert_eq!(form(r#"{"b":1,"a":2,"a":1}"#), r#"{"a":2,"a":1,"b":1}"#);
        assert_eq!(
            form(r#"{"\uD800":1, "\uE000":2, "\ud800\udc00":3, "\n":4}"#),
            "{\"\\n\":4,\"\\ud800\":1,\"\u{e000}\":2,\"\u{10000}\":3}"
        );
    }
}
