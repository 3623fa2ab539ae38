//! Between JSON and the engine's values, without loss: integers of any size stay exact, and a body is read only where it is asked.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;
use minijinja::Value;
use minijinja::value::Enumerator;
use minijinja::value::Object;
use minijinja::value::ObjectRepr;
use minijinja::value::ValueKind;
use serde_json::Number;

use crate::connector::path::raw;

/// The engine's value of a JSON value.
pub fn dynamic(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => number_value(number.as_str()),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(dynamic).collect::<Vec<_>>().into(),
        serde_json::Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), dynamic(value))).collect(),
    }
}

/// The JSON value of an engine's value. What JSON lacks becomes what the reference engine writes: not a number and infinity are
/// null, dates are text.
pub fn json(value: &Value) -> serde_json::Value {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None | ValueKind::Invalid => serde_json::Value::Null,
        ValueKind::Bool => serde_json::Value::Bool(value.is_true()),
        ValueKind::Number => number_json(value),
        ValueKind::String => serde_json::Value::from(value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => match value.downcast_object_ref::<Lazy>() {
            Some(lazy) => lazy.json(),
            None => value.try_iter().map(|items| items.map(|item| json(&item)).collect()).unwrap_or_default(),
        },
        ValueKind::Map => match value.downcast_object_ref::<Lazy>() {
            Some(lazy) => lazy.json(),
            None => map_json(value),
        },
        _ => match value.downcast_object_ref::<BigInt>() {
            Some(big) => integer_json(&big.0),
            None => serde_json::Value::from(super::python::text(value)),
        },
    }
}

/// A value over the JSON text in `body`, parsed only where it is looked at. A text that is no JSON is an empty map, as the
/// language has it.
pub fn lazy_json(body: Bytes) -> Value {
    let all = 0..body.len();
    lazy(&body, all)
}

/// An integer too large for the engine: it can be printed, compared with itself and passed on.
#[derive(Debug)]
pub(super) struct BigInt(pub(super) String);

impl Object for BigInt {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of a number's JSON text.
pub(super) fn number_value(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    if let Ok(number) = text.parse::<i128>() {
        return Value::from(number);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Value::from_object(BigInt(text.to_owned()));
    }
    Value::from(text.parse::<f64>().unwrap_or(f64::NAN))
}

fn number_json(value: &Value) -> serde_json::Value {
    if let Some(number) = value.as_i64().filter(|_| value.is_integer()) {
        return serde_json::Value::from(number);
    }
    if value.is_integer() {
        return integer_json(&value.to_string());
    }
    f64::try_from(value.clone()).ok().and_then(Number::from_f64).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

/// The exact JSON number of an integer's digits.
pub(super) fn integer_json(digits: &str) -> serde_json::Value {
    serde_json::from_str::<Number>(digits).map_or(serde_json::Value::Null, serde_json::Value::Number)
}

fn map_json(value: &Value) -> serde_json::Value {
    let mut map = serde_json::Map::new();
    if let Some(pairs) = value.as_object().and_then(|object| object.try_iter_pairs()) {
        for (key, value) in pairs {
            map.insert(super::python::text(&key), json(&value));
        }
    }
    serde_json::Value::Object(map)
}

/// An object or array in a JSON text.
#[derive(Debug)]
pub(super) struct Lazy {
    body: Bytes,
    range: Range<usize>,
    index: OnceLock<Index>,
}

#[derive(Debug)]
enum Index {
    Members(Vec<(Value, Range<usize>)>),
    Elements(Vec<Range<usize>>),
}

/// Whether a value is a container of a JSON text.
pub(super) fn is_lazy(value: &Value) -> bool {
    value.downcast_object_ref::<Lazy>().is_some()
}

/// The value in `range` of `body`: scalars at once, the rest when asked.
fn lazy(body: &Bytes, range: Range<usize>) -> Value {
    let text = &body[range.clone()];
    match raw::shape(text) {
        raw::Shape::Scalar => match serde_json::from_slice::<serde_json::Value>(text) {
            Ok(scalar) => dynamic(&scalar),
            Err(_) => Value::from_iter(std::iter::empty::<(String, Value)>()),
        },
        raw::Shape::Object | raw::Shape::Array => Value::from_object(Lazy { body: body.clone(), range, index: OnceLock::new() }),
    }
}

impl Lazy {
    fn text(&self) -> &[u8] {
        &self.body[self.range.clone()]
    }

    fn index(&self) -> &Index {
        let shift = |range: Range<usize>| range.start + self.range.start..range.end + self.range.start;
        self.index.get_or_init(|| match raw::shape(self.text()) {
            raw::Shape::Array => Index::Elements(raw::elements(self.text()).unwrap_or_default().into_iter().map(shift).collect()),
            _ => Index::Members(
                raw::members(self.text()).unwrap_or_default().into_iter().map(|(key, range)| (Value::from(&*key), shift(range))).collect(),
            ),
        })
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.text()).unwrap_or_else(|_| serde_json::Value::Object(serde_json::Map::new()))
    }
}

impl Object for Lazy {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match raw::shape(self.text()) {
            raw::Shape::Array if matches!(self.index(), Index::Elements(_)) => ObjectRepr::Seq,
            _ => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.index() {
            Index::Members(_) => self.get_value_by_str(key.as_str()?),
            Index::Elements(ranges) => {
                let position = key.as_i64()?;
                let position = if position < 0 { position.checked_add(ranges.len() as i64)? } else { position };
                ranges.get(usize::try_from(position).ok()?).map(|range| lazy(&self.body, range.clone()))
            }
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match self.index() {
            Index::Members(members) => {
                members.iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, range)| lazy(&self.body, range.clone()))
            }
            Index::Elements(_) => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.index() {
            Index::Members(members) => Enumerator::Values(members.iter().map(|(key, _)| key.clone()).collect()),
            Index::Elements(ranges) => Enumerator::Seq(ranges.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::expression::python;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let number = |text: String| serde_json::from_str(&text).expect("a number");
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            "-?[1-9][0-9]{30,60}".prop_map(number),
            "-?[1-9]\\.[1-9]".prop_map(number),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::vec(("[a-c\"\\\\é]{0,3}", inner), 0..5).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Goal: JSON passes through the engine's values unchanged, read at once or when asked, and looks the same either way.
        #[test]
        fn json_survives(value in values()) {
            let text = value.to_string();
            let (eager, lazy) = (dynamic(&value), lazy_json(Bytes::from(text)));
            prop_assert_eq!(&json(&eager), &value);
            prop_assert_eq!(&json(&lazy), &value);
            prop_assert_eq!(python::text(&eager), python::text(&lazy));
            prop_assert_eq!(eager.is_true(), lazy.is_true());
            prop_assert_eq!(eager.len(), lazy.len());
        }
    }

    /// Goal: what is no JSON is an empty map, at any depth, and never a panic.
    #[test]
    fn what_is_no_json_is_empty() {
        for text in ["", "{", "[1,", "<html>", "{\"a\": tru}", "nul"] {
            let value = lazy_json(Bytes::from_static(text.as_bytes()));
            assert_eq!((value.len().unwrap_or_default(), value.is_true()), (0, false), "{text}");
        }
    }

    /// Goal: looking at one member does not read its neighbours. A neighbour that cannot be a value shows it.
    #[test]
    fn only_what_is_asked_is_parsed() {
        let value = lazy_json(Bytes::from_static(br#"{"next_cursor": "n", "records": [{"a": 1e99999}, {"a": 2}]}"#));
        assert_eq!(value.get_attr("next_cursor").expect("a member").as_str(), Some("n"));
        let records = value.get_attr("records").expect("a member");
        assert_eq!(records.len(), Some(2));
        assert_eq!(records.get_item_by_index(1).and_then(|record| record.get_attr("a")).expect("a member").as_i64(), Some(2));
    }
}
