//! One level of a JSON text at a time: where its members and elements lie, without building them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::record::scan::Scanner;

/// What a JSON text begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Array,
    Scalar,
}

/// The shape of the value that `text` begins with; what follows is not looked at.
pub(crate) fn shape(text: &[u8]) -> Shape {
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Shape::Object,
        Some(b'[') => Shape::Array,
        _ => Shape::Scalar,
    }
}

/// A member of an object: its key, and the range of its value.
pub(crate) type Member<'a> = (Cow<'a, str>, Range<usize>);

/// The members of the object in `text`: key, and range of the value within `text`. A repeated key keeps its first place and its
/// last value, as every JSON reader we know does.
///
/// # Errors
/// When `text` is no JSON object.
pub(crate) fn members(text: &[u8]) -> Result<Vec<Member<'_>>, serde_json::Error> {
    if let Some(members) = scanned(text) {
        return Ok(members);
    }
    // What the scanner refuses is read all the same, or refused in words: serde_json has no limit of depth for what is not built.
    let Members(found) = serde_json::from_slice(text)?;
    Ok(distinct(found.into_iter().map(|(key, value)| (key, range(text, value))).collect()))
}

/// The members of an object, by the scanner: no value is looked at twice.
fn scanned(text: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut scanner = Scanner::new(text).ok()?;
    if scanner.peek() != Some(b'{') {
        return None;
    }
    let mut found = Vec::with_capacity(MEMBERS_USUAL);
    let read = scanner.members(|scanner, name| {
        let value = scanner.value()?;
        found.push((name.decode(text), value));
        Ok(())
    });
    read.and_then(|()| scanner.finish()).ok()?;
    Some(distinct(found))
}

/// How many members an object has at most for it to be cheaper to compare their names than to remember them.
const MEMBERS_USUAL: usize = 16;

/// Of members with one name, the last value in the first place.
fn distinct(found: Vec<Member<'_>>) -> Vec<Member<'_>> {
    let repeats = |(at, (name, _)): (usize, &Member<'_>)| found[..at].iter().any(|(before, _)| before == name);
    if found.len() <= MEMBERS_USUAL && !found.iter().enumerate().any(repeats) {
        return found;
    }
    let mut members: Vec<Member<'_>> = Vec::with_capacity(found.len());
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(found.len());
    for (key, range) in found {
        match places.entry(key.clone()) {
            Entry::Occupied(known) => members[*known.get()].1 = range,
            Entry::Vacant(place) => {
                place.insert(members.len());
                members.push((key, range));
            }
        }
    }
    members
}

/// The ranges of the elements of the array in `text`.
///
/// # Errors
/// When `text` is no JSON array.
pub(crate) fn elements(text: &[u8]) -> Result<Vec<Range<usize>>, serde_json::Error> {
    let found: Vec<&RawValue> = serde_json::from_slice(text)?;
    Ok(found.into_iter().map(|value| range(text, value)).collect())
}

/// Where `value`, which borrows from `text`, lies in it.
fn range(text: &[u8], value: &RawValue) -> Range<usize> {
    let start = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + value.get().len()
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A key that borrows when it holds no escape; serde's own `Cow` never borrows as a map key.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}
