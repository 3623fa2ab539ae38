//! The reference engine's own results (`../shared/conformance/tables`) against this engine's, row by row.

use std::path::PathBuf;

use serde_json::Value;

use super::datetime::Format;
use super::path::FieldPath;

/// The rows of a table; nothing, with a line printed, where the shared folder is absent.
pub(super) fn rows(table: &str) -> Option<Vec<Value>> {
    let shared =
        std::env::var_os("HEADGATE_SHARED").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("conformance/tables").join(table);
    match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).expect("a table is a JSON list")),
        Err(_) => {
            println!("skipped: {table} is not in the shared folder; set HEADGATE_SHARED");
            None
        }
    }
}

/// Prints how many rows of a table hold, and the ones that do not; fails when fewer than `least` do.
pub(super) fn report(table: &str, results: Vec<Result<(), String>>, least: usize) {
    let (total, held) = (results.len(), results.iter().filter(|result| result.is_ok()).count());
    for line in results.into_iter().filter_map(Result::err) {
        println!("  {line}");
    }
    println!("{table}: {held} of {total} rows as the reference has them");
    assert!(held >= least, "{table}: {held} of {total} rows hold, and {least} did before");
}

/// Whether two JSON values are equal, numbers by value.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

fn path(segments: &Value) -> FieldPath {
    FieldPath::new(segments.as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// Compares an outcome with what a row expects under `key`.
fn compare(row: &Value, expected: &Value, actual: Result<Value, String>) -> Result<(), String> {
    match (expected.get("error"), actual) {
        (Some(_), Err(_)) => Ok(()),
        (None, Ok(value)) if same(&value, &expected["value"]) => Ok(()),
        (_, actual) => Err(format!("{row} gave {actual:?}")),
    }
}

#[test]
fn paths() {
    let Some(rows) = rows("paths.json") else { return };
    let results = rows.iter().map(|row| {
        if let Some(segments) = row.get("extract") {
            let body = row["body"].to_string();
            let found = path(segments).extract(body.as_bytes()).map_err(|error| error.to_string());
            let records = found.and_then(|records| {
                let whole: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
                let read = |record: &super::path::Extracted| {
                    let value: Value = serde_json::from_str(&body[record.range.clone()]).expect("a record is JSON");
                    assert_eq!(whole.pointer(&record.pointer), Some(&value), "the pointer names the record");
                    value
                };
                Ok(Value::Array(records.iter().map(read).collect()))
            });
            // The table's bodies have lost their order of keys, and so the order of matches: compare as a multiset.
            let mut expected = row["records"].clone();
            let sorted = |records: &mut Value| records.as_array_mut().map(|records| records.sort_by_key(Value::to_string));
            expected.get_mut("value").map(sorted);
            return compare(
                row,
                &expected,
                records.map(|mut records| {
                    sorted(&mut records);
                    records
                }),
            );
        }
        let mut record = row["record"].clone();
        let outcome = match row.get("add") {
            Some(segments) => path(segments).set(&mut record, row["value"].clone()).map_err(|error| error.to_string()),
            None => {
                path(&row["remove"]).remove(&mut record);
                Ok(())
            }
        };
        compare(row, &row["after"], outcome.map(|()| record))
    });
    report("paths.json", results.collect(), 545);
}

#[test]
fn datetimes() {
    let Some(rows) = rows("datetimes.json") else { return };
    let results = rows.iter().map(|row| {
        let format = Format::new(row["format"].as_str().unwrap_or_default());
        let iso = |text: &str| super::datetime::DateTime::parse_iso(text).map_err(|error| error.to_string());
        if let Some(text) = row.get("parse").and_then(Value::as_str) {
            return match (row["datetime"].as_str(), format.read(text)) {
                (Some(expected), Ok(date)) if iso(expected) == Ok(date) => Ok(()),
                (None, Err(_)) => Ok(()),
                (_, actual) => Err(format!("{row} gave {actual:?}")),
            };
        }
        let date = iso(row["datetime"].as_str().unwrap_or_default());
        compare(row, &row["text"], date.map(|date| Value::from(format.write(&date))))
    });
    report("datetimes.json", results.collect(), 718);
}
