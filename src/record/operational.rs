//! The operational view: a record read as its kind, computed when it is asked for and never stored.

use serde_json::Value;

use crate::record::JsonError;
use crate::record::JsonText;
use crate::record::Pointer;

/// Which field of the operational kind is found where in the record (`mapping` in headgate.yaml).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    fields: Vec<(String, Pointer)>,
}

impl Mapping {
    /// The fields and where each is found, in the order to show them.
    pub fn new(fields: Vec<(String, Pointer)>) -> Self {
        Self { fields }
    }

    /// Whether it names no field, so that there is no view.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields and where each is found.
    pub fn fields(&self) -> &[(String, Pointer)] {
        &self.fields
    }

    /// Where `field` is found.
    pub fn pointer(&self, field: &str) -> Option<&Pointer> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, pointer)| pointer)
    }

    /// The view of the record `raw`: an object with every field. A field is what lies at its pointer, unchanged; null
    /// when nothing does; an array when the pointer means many.
    ///
    /// # Errors
    /// When `raw` is not one JSON value in UTF-8, or nests too deep.
    pub fn view(&self, raw: &[u8]) -> Result<JsonText, JsonError> {
        let mut view = String::from("{");
        for (index, (field, pointer)) in self.fields.iter().enumerate() {
            let found = pointer.find(raw)?;
            let texts: Vec<_> = found.into_iter().map(|range| String::from_utf8_lossy(&raw[range])).collect();
            let value = match &texts[..] {
                _ if pointer.is_many() => format!("[{}]", texts.join(",")),
                [one, ..] => one.to_string(),
                [] => "null".to_owned(),
            };
            let comma = if index > 0 { "," } else { "" };
            view.push_str(&format!("{comma}{}:{value}", Value::from(field.as_str())));
        }
        view.push('}');
        Ok(JsonText::written(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values stay as they are, number text included; what is missing is null; a wildcard makes an array.
    #[test]
    fn views_a_record() {
        let raw = br##"{"name":"#1001","total":"10.00","weight":1.50,"lines":[{"sku":"A"},{"sku":"B"}]}"##;
        let fields =
            [("order_number", "/name"), ("total", "/total"), ("weight", "/weight"), ("skus", "/lines/*/sku"), ("status", "/status")];
        let mapping = Mapping::new(fields.map(|(field, pointer)| (field.to_owned(), pointer.parse().unwrap())).to_vec());
        let expected = r##"{"order_number":"#1001","total":"10.00","weight":1.50,"skus":["A","B"],"status":null}"##;
        assert_eq!(mapping.view(raw).unwrap(), JsonText::parse(expected.to_owned()).unwrap());
        assert_eq!(mapping.pointer("skus").map(Pointer::as_str), Some("/lines/*/sku"));
    }
}
