//! JSON kept as the text it came in: a value in an answer, a string in the store.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One JSON value as compact text.
///
/// In JSON it stands as the value itself; in the store (postcard) as a string, because `serde_json::Value` asks a format
/// to describe itself and postcard does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonText(String);

impl JsonText {
    /// The text of `value`.
    pub fn of(value: &Value) -> Self {
        Self(value.to_string())
    }

    /// Takes a text that is one JSON value.
    ///
    /// # Errors
    /// When `text` is not exactly one JSON value.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(&text)?;
        Ok(Self(text))
    }

    /// Takes a text that code of this crate has just written.
    pub(crate) fn written(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value.
    ///
    /// # Errors
    /// When the stored text is not JSON, which only damage to the store can bring about.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl Serialize for JsonText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Box::<RawValue>::deserialize(deserializer).map(|raw| Self(raw.get().to_owned()))
        } else {
            String::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In JSON the value itself, with its number text; in postcard a string.
    #[test]
    fn stands_as_value_and_as_text() {
        let text = JsonText::parse(r#"{"total":1.10,"id":null}"#.into()).unwrap();
        assert_eq!(serde_json::to_string(&[&text]).unwrap(), r#"[{"total":1.10,"id":null}]"#);
        assert_eq!(serde_json::from_str::<JsonText>(text.as_str()).unwrap(), text);
        assert_eq!(postcard::from_bytes::<JsonText>(&postcard::to_stdvec(&text).unwrap()).unwrap(), text);
        assert!(JsonText::parse("{} {}".into()).is_err());
    }
}
