//! Paths: into a JSON text, into a tree, to set and to remove. The input: the segments, with tabs between them, a new line, the JSON.

#![no_main]

use headgate::connector::path::FieldPath;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::json;

fuzz_target!(|input: &str| {
    let (written, text) = input.split_once('\n').unwrap_or(("a", input));
    let path = FieldPath::new(written.split('\t'));
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        let _ = path.extract_with(text.as_bytes(), &["id"]);
        return;
    };
    let body = text.as_bytes();
    if let Ok(found) = path.extract_with(body, &["id"]) {
        for record in &found.records {
            let read = serde_json::from_slice::<Value>(&body[record.range.clone()]);
            assert!(read.is_ok(), "{:?} of {text} is no JSON", record.range);
        }
    }
    for path in [path, FieldPath::parse(written)] {
        let _ = path.get(&value);
        let _ = path.values(&value);
        let mut changed = value.clone();
        if path.set(&mut changed, json!([1])).is_ok() {
            let _ = path.get(&changed);
        }
        path.remove(&mut changed);
    }
});
