//! Records as comma-separated values (RFC 4180).

use std::collections::HashSet;

use serde_json::Map;
use serde_json::Value;

/// The columns that every record has, and where they stand in it.
const FIXED: [(&str, &str); 4] = [("record", "/id"), ("version", "/version"), ("kind", "/kind"), ("received_at", "/tag/page/received_at")];

/// The heading of the last column: fields that the first page's records did not have, as one JSON object, so that nothing is
/// lost although the columns are decided before the last record is seen.
const OTHER: &str = "other_fields";

/// The columns of one stream's table.
pub struct Csv {
    fields: Vec<String>,
}

impl Csv {
    /// A column for each field of the first records' data, in the order in which the fields first appear.
    pub fn with_columns_of(items: &[Value]) -> Self {
        let mut seen = HashSet::new();
        let names = items.iter().filter_map(|item| item["data"].as_object()).flat_map(Map::keys);
        Csv { fields: names.filter(|name| seen.insert(name.as_str())).cloned().collect() }
    }

    /// The first line.
    pub fn heading(&self) -> String {
        let fixed = FIXED.iter().map(|(name, _)| (*name).to_owned());
        line(fixed.chain(self.fields.iter().map(|field| format!("data.{field}"))).chain([OTHER.to_owned()]))
    }

    /// One record's line.
    pub fn row(&self, item: &Value) -> String {
        let fixed = FIXED.iter().map(|(_, pointer)| item.pointer(pointer).map_or_else(String::new, value));
        let data = &item["data"];
        let fields = self.fields.iter().map(|field| data.get(field).map_or_else(String::new, value));
        let others: Map<String, Value> = data
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !self.fields.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let other = if others.is_empty() { String::new() } else { Value::Object(others).to_string() };
        line(fixed.chain(fields).chain([other]))
    }
}

/// Text as it is, everything else as JSON, nothing for null.
fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let mut line = cells.map(quoted).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

fn quoted(cell: String) -> String {
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Every field of every record is in the output, also one that turns up after the columns were decided.
    #[test]
    fn no_field_is_lost() {
        let first =
            json!({"id": "rec_a", "version": 1, "kind": "order", "data": {"id": 1, "note": "a, \"b\"\nc", "lines": [{"sku": "x"}]}});
        let later = json!({"id": "rec_b", "version": 2, "kind": "order", "data": {"id": 12345678901234567890u64, "gift": true}});
        let csv = Csv::with_columns_of(std::slice::from_ref(&first));
        assert_eq!(csv.heading(), "record,version,kind,received_at,data.id,data.note,data.lines,other_fields\r\n");
        assert_eq!(csv.row(&first), "rec_a,1,order,,1,\"a, \"\"b\"\"\nc\",\"[{\"\"sku\"\":\"\"x\"\"}]\",\r\n");
        assert_eq!(csv.row(&later), "rec_b,2,order,,12345678901234567890,,,\"{\"\"gift\"\":true}\"\r\n");
    }
}
