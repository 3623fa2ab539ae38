//! Records found in a body, as byte ranges: neither the body nor a record is built as a tree.

use std::ops::Range;

use super::FieldPath;
use super::PathError;
use super::glob;
use super::glob::Segment;
use super::once::Pass;
use super::raw;
use super::raw::Shape;

/// One record of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// Where the record's text lies in the body.
    pub range: Range<usize>,
    /// The record's JSON Pointer (RFC 6901).
    pub pointer: String,
}

/// The records of a body, and the fields that were wanted of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The records, in the order of the body.
    pub records: Vec<Extracted>,
    /// Record by record, where the value of each wanted field lies in the body.
    pub fields: Vec<Option<Range<usize>>>,
}

impl FieldPath {
    /// As [`FieldPath::extract`], with the members `fields` of each record; in one pass when the path is of plain names.
    ///
    /// # Errors
    /// As [`FieldPath::extract`].
    pub fn extract_with(&self, body: &[u8], fields: &[&str]) -> Result<Found, PathError> {
        let plain = |segment: &Segment| segment.name().is_some_and(|name| !glob::is_position(name));
        if self.segments.iter().all(plain) {
            let names: Vec<&str> = self.segments().collect();
            // What the pass refuses, the general way refuses too, or reads: it has no limit of depth.
            if let Ok(found) = Pass::over(body, &names, fields) {
                return Ok(found);
            }
        }
        let records = self.extract(body)?;
        let mut found = Found { fields: Vec::with_capacity(records.len() * fields.len()), records };
        for record in &found.records {
            let text = &body[record.range.clone()];
            let members = if raw::shape(text) == Shape::Object { raw::members(text).map_err(not_json)? } else { Vec::new() };
            let lies = |range: &Range<usize>| record.range.start + range.start..record.range.start + range.end;
            let value = |field: &&str| members.iter().find(|(name, _)| name == field).map(|(_, range)| lies(range));
            found.fields.extend(fields.iter().map(value));
        }
        Ok(found)
    }

    /// The records of a JSON body at this path. The elements of a top-level list are bodies of their own, as the reference engine
    /// decodes them; a list at the path yields its elements, another value itself unless it is empty, zero, false or null.
    ///
    /// # Errors
    /// When the body is no JSON, or a pattern outside `*` matches more than one place.
    pub fn extract(&self, body: &[u8]) -> Result<Vec<Extracted>, PathError> {
        let root = trimmed(body, 0..body.len());
        let mut records = Vec::new();
        match raw::shape(body) {
            Shape::Array => {
                for (position, element) in elements(body, root)?.into_iter().enumerate() {
                    self.extract_one(body, Extracted { range: element, pointer: format!("/{position}") }, &mut records)?;
                }
            }
            _ => {
                let value: &serde_json::value::RawValue = serde_json::from_slice(body).map_err(not_json)?;
                let whole = Extracted { range: root, pointer: String::new() };
                debug_assert_eq!(value.get().len(), whole.range.len());
                self.extract_one(body, whole, &mut records)?;
            }
        }
        Ok(records)
    }

    /// The elements of every list at this path below `record`, which lies in `body`.
    ///
    /// # Errors
    /// When the record is no JSON.
    pub fn elements_within(&self, body: &[u8], record: &Extracted) -> Result<Vec<Extracted>, PathError> {
        let mut found = Vec::new();
        find(body, record.clone(), &self.segments, &mut found)?;
        let mut items = Vec::new();
        for list in found.into_iter().filter(|found| raw::shape(&body[found.range.clone()]) == Shape::Array) {
            let elements = elements(body, list.range)?.into_iter().enumerate();
            items.extend(elements.map(|(position, range)| Extracted { range, pointer: format!("{}/{position}", list.pointer) }));
        }
        Ok(items)
    }

    fn extract_one(&self, body: &[u8], whole: Extracted, records: &mut Vec<Extracted>) -> Result<(), PathError> {
        let mut found = Vec::new();
        find(body, whole, &self.segments, &mut found)?;
        if self.all {
            records.extend(found);
            return Ok(());
        }
        if found.len() > 1 {
            return Err(PathError::Ambiguous { path: self.to_string() });
        }
        let Some(one) = found.pop() else { return Ok(()) };
        match raw::shape(&body[one.range.clone()]) {
            Shape::Array => {
                for (position, range) in elements(body, one.range)?.into_iter().enumerate() {
                    records.push(Extracted { range, pointer: format!("{}/{position}", one.pointer) });
                }
            }
            _ if falsy(&body[one.range.clone()]) => {}
            _ => records.push(one),
        }
        Ok(())
    }
}

/// Collects what `segments` match below `from`.
fn find(body: &[u8], from: Extracted, segments: &[Segment], found: &mut Vec<Extracted>) -> Result<(), PathError> {
    let Some((segment, rest)) = segments.split_first() else {
        found.push(from);
        return Ok(());
    };
    if segment.is_deep() && !rest.is_empty() {
        // `**` also stands for no segment at all.
        find(body, from.clone(), rest, found)?;
    }
    let text = &body[from.range.clone()];
    let offset = from.range.start;
    match raw::shape(text) {
        Shape::Object => {
            for (key, range) in raw::members(text).map_err(not_json)? {
                let place = || Extracted {
                    range: range.start + offset..range.end + offset,
                    pointer: format!("{}/{}", from.pointer, key.replace('~', "~0").replace('/', "~1")),
                };
                descend(body, segment, rest, segments, segment.matches_key(&key), place, found)?;
            }
        }
        Shape::Array => {
            let ranges = elements(body, from.range.clone())?;
            if let Some(position) = segment.name().and_then(|name| glob::position(name, ranges.len())) {
                let place = Extracted { range: ranges[position].clone(), pointer: format!("{}/{position}", from.pointer) };
                return find(body, place, rest, found);
            }
            for (position, range) in ranges.iter().enumerate() {
                let place = || Extracted { range: range.clone(), pointer: format!("{}/{position}", from.pointer) };
                descend(body, segment, rest, segments, segment.matches_position(position, ranges.len()), place, found)?;
            }
        }
        Shape::Scalar => {}
    }
    Ok(())
}

/// Goes on below one child: behind the segment when it matches, and with the same segments when that is `**`.
fn descend(
    body: &[u8],
    segment: &Segment,
    rest: &[Segment],
    segments: &[Segment],
    matched: bool,
    place: impl Fn() -> Extracted,
    found: &mut Vec<Extracted>,
) -> Result<(), PathError> {
    if segment.is_deep() {
        if rest.is_empty() {
            found.push(place());
        }
        return find(body, place(), segments, found);
    }
    if matched { find(body, place(), rest, found) } else { Ok(()) }
}

fn elements(body: &[u8], range: Range<usize>) -> Result<Vec<Range<usize>>, PathError> {
    let offset = range.start;
    let found = raw::elements(&body[range]).map_err(not_json)?;
    Ok(found.into_iter().map(|range| range.start + offset..range.end + offset).collect())
}

fn not_json(error: serde_json::Error) -> PathError {
    PathError::NotJson { detail: error.to_string() }
}

/// The range without white space around it.
fn trimmed(body: &[u8], range: Range<usize>) -> Range<usize> {
    let text = &body[range.clone()];
    let before = text.len() - text.trim_ascii_start().len();
    range.start + before..range.start + before + text.trim_ascii().len()
}

/// Whether a JSON text is one that Python counts as false.
pub(crate) fn falsy(text: &[u8]) -> bool {
    match text.first() {
        Some(b'n' | b'f') | None => true,
        Some(b'"') => text.len() == 2,
        Some(b'{' | b'[') => text[1..text.len() - 1].trim_ascii().is_empty(),
        Some(b'-' | b'0'..=b'9') => {
            let mantissa = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
            mantissa.copied().all(|byte| matches!(byte, b'0' | b'-' | b'.'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), Just(Value::from(0)), Just(Value::from("x")), any::<u8>().prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[abA~/0]{0,2}", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Goal: ranges and pointers name what the path finds in the built tree. Method: the same path over both, white space added.
        #[test]
        fn ranges_are_what_the_tree_holds(
            value in values().prop_filter("a list's elements are bodies of their own", |value| !value.is_array()),
            path in prop::collection::vec("[ab]|\\*|[ab]\\*|-?[0-2]|\\?", 0..4),
        ) {
            let body = format!("\n {} ", serde_json::to_string_pretty(&value).expect("JSON"));
            let path = FieldPath::new(path);
            let Ok(found) = path.extract(body.as_bytes()) else {
                prop_assert!(path.get(&value).is_err());
                return Ok(());
            };
            let expected: Vec<&Value> = match path.values(&value).as_slice() {
                found if path.all => found.to_vec(),
                [Value::Array(items)] => items.iter().collect(),
                [one] if one.is_null() || **one == 0 || **one == Value::Object(Default::default()) => Vec::new(),
                found => found.to_vec(),
            };
            prop_assert_eq!(found.len(), expected.len());
            for (record, expected) in found.iter().zip(expected) {
                let text = &body[record.range.clone()];
                prop_assert_eq!(text.trim(), text);
                prop_assert_eq!(&serde_json::from_str::<Value>(text).expect("JSON"), expected);
                prop_assert_eq!(value.pointer(&record.pointer), Some(expected));
            }
        }

        /// Goal: one pass finds what the general way finds, fields included. Method: both over the same text, members repeated.
        #[test]
        fn one_pass_finds_the_same(
            value in values(),
            path in prop::collection::vec("[abA/]{1,2}", 0..3),
            repeated in any::<bool>(),
        ) {
            let text = serde_json::to_string_pretty(&value).expect("JSON");
            let body = if repeated { format!("{{\"a\": 1, \"a\": {text}, \"\\u0061b\": [{text}], \"b\": 3}}") } else { text };
            let general = FieldPath::new(path.iter().cloned()).extract(body.as_bytes()).expect("names are never ambiguous");
            let found = FieldPath::new(path).extract_with(body.as_bytes(), &["a", "b"]).expect("it is JSON");
            prop_assert_eq!(found.fields.len(), 2 * found.records.len());
            for (record, fields) in found.records.iter().zip(found.fields.chunks(2)) {
                let record: Value = serde_json::from_str(&body[record.range.clone()]).expect("JSON");
                for (name, field) in ["a", "b"].iter().zip(fields) {
                    let field = field.clone().map(|range| serde_json::from_str::<Value>(&body[range]).expect("JSON"));
                    prop_assert_eq!(field.as_ref(), record.get(*name));
                }
            }
            prop_assert_eq!(found.records, general);
        }

        /// Goal: no body makes extraction panic.
        #[test]
        fn any_body(body in prop_oneof![any::<Vec<u8>>(), "[\\[\\]{}:,\"a0-9 ]{0,30}".prop_map(String::into_bytes)]) {
            for path in [&["*"][..], &["a"], &["**"], &["**", "a"], &[]] {
                let _ = FieldPath::new(path.iter().copied()).extract(&body);
            }
        }
    }
}
