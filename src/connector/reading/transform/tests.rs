//! The changes of records, against facts: each result was had by running the reference engine's own class.

use bytes::Bytes;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::reading::support::component;
use crate::connector::reading::support::scope;

/// The record after the transformations that `yaml` lists, as text; nothing when they changed nothing.
fn changed_with(yaml: &str, record: &str, compat: Compat) -> Result<(Option<String>, Changed), ReadingError> {
    let yaml = format!(
        "name: s\nretriever: {{requester: {{url: 'https://a.example'}}, record_selector: {{extractor: {{field_path: []}}}}}}\ntransformations: [{yaml}]"
    );
    let stream: DeclarativeStream = component(&yaml, "DeclarativeSource", "streams");
    let mut scope = scope(&json!({"p": "p_"}));
    scope.set_slice(&Default::default());
    let changes = Changes::new(&stream.transformations, &[vec!["id".to_owned()]], &scope, compat)?;
    let mut draft = Draft::of(Bytes::copy_from_slice(record.as_bytes()));
    let mut changed = Changed::default();
    changes.make(&mut draft, &mut scope, &mut changed)?;
    assert_eq!(draft.is_touched(), !changed.names.is_empty(), "{yaml}");
    Ok((draft.is_touched().then(|| draft.emitted().as_str().to_owned()), changed))
}

fn check(yaml: &str, record: &str, expected: Option<&str>) {
    let (text, _) = changed_with(yaml, record, Compat::Strict).unwrap();
    assert_eq!(text.as_deref(), expected, "{yaml} {record}");
    // The order of members counts.
    let keys = |text: &str| serde_json::from_str::<Value>(text).unwrap().to_string();
    assert_eq!(text.as_deref().map(keys), expected.map(keys));
}

/// Names are changed where the reference engine changes them: lists are not entered, nor maps where only the top is meant.
#[test]
fn names_are_changed() {
    check("{type: KeysToLower}", r#"{"Ab":{"Cd":1},"x":1}"#, Some(r#"{"ab":{"Cd":1},"x":1}"#));
    check("{type: KeysToLower}", r#"{"ab":1}"#, None);
    check("{type: KeysToSnakeCase}", r#"{"Ab":{"Cd":[{"Ef":1}],"Gh":{"Ij":1}}}"#, Some(r#"{"ab":{"cd":[{"Ef":1}],"gh":{"ij":1}}}"#));
    check("{type: KeysReplace, old: o, new: '0'}", r#"{"foo":{"oo":[{"o":1}]}}"#, Some(r#"{"f00":{"00":[{"o":1}]}}"#));
    check("{type: KeysReplace, old: '', new: '-'}", r#"{"ab":1}"#, Some(r#"{"-a-b-":1}"#));
    check("{type: KeysReplace, old: \"{{ record['k'] }}\", new: _}", r#"{"k":"a","ab":1,"b":1}"#, Some(r#"{"k":"a","_b":1,"b":1}"#));
    check("{type: KeysReplace, old: a, new: b}", r#"{"a":1,"x":3,"b":2}"#, Some(r#"{"b":2,"x":3}"#));
}

/// Nested members come to the top in the reference engine's order and with its names.
#[test]
fn records_are_flattened() {
    let all = "{type: FlattenFields}";
    check(all, r#"{"a":1,"b":{"c":2,"d":{"a":3}},"e":[1,{"f":2}],"g":[],"h":{}}"#, Some(r#"{"e.1.f":2,"e.0":1,"b.d.a":3,"b.c":2,"a":1}"#));
    check(
        "{type: FlattenFields, flatten_lists: false}",
        r#"{"a":1,"b":{"c":2},"e":[1,{"f":2}]}"#,
        Some(r#"{"e":[1,{"f":2}],"c":2,"a":1}"#),
    );
    check(all, r#"{"b":{"a":1},"a":2}"#, Some(r#"{"a":2,"b.a":1}"#));
    check(all, r#"{"a":2,"b":{"a":1}}"#, Some(r#"{"a":2}"#));
    check(all, r#"{"x":[{"a":1},{"a":2}],"y":{"a":3}}"#, Some(r#"{"a":3,"x.1.a":2,"x.0.a":1}"#));
    check(all, r#"{"a.b":1,"a":{"b":2}}"#, Some(r#"{"b":2,"a.b":1}"#));
    check(all, r#"{"a":1}"#, None);
}

/// The members of one map come to the top, unless a name is taken.
#[test]
fn maps_are_brought_up() {
    let flatten = |more: &str| format!("{{type: DpathFlattenFields, field_path: [a]{more}}}");
    let record = r#"{"id":1,"a":{"b":1,"c":{"d":2}}}"#;
    check(&flatten(""), record, Some(r#"{"id":1,"a":{"b":1,"c":{"d":2}},"b":1,"c":{"d":2}}"#));
    check(&flatten(", delete_origin_value: true"), record, Some(r#"{"id":1,"b":1,"c":{"d":2}}"#));
    check(&flatten(", replace_record: true"), record, Some(r#"{"b":1,"c":{"d":2}}"#));
    let keys = |keys: &str| format!(", replace_record: true, key_transformation: {{type: KeyTransformation, {keys}}}");
    check(&flatten(&keys("prefix: \"{{ config['p'] }}\", suffix: _s")), record, Some(r#"{"p_b_s":1,"p_c_s":{"d":2}}"#));
    check(&flatten(""), r#"{"id":1,"a":{"id":2}}"#, None);
    check(&flatten(", delete_origin_value: true"), r#"{"id":1,"a":{"a":2}}"#, None);
    check(&flatten(", delete_origin_value: true"), r#"{"id":1,"a":{}}"#, Some(r#"{"id":1}"#));
    check(&flatten(", replace_record: true"), r#"{"id":1,"a":{}}"#, None);
    check(&flatten(""), r#"{"id":1,"a":[1]}"#, None);
    let many = "{type: DpathFlattenFields, field_path: [a, '*'], delete_origin_value: true}";
    check(many, r#"{"id":1,"a":{"x":{"q":1},"y":{"w":2}}}"#, Some(r#"{"id":1,"a":{},"q":1}"#));
    let pattern = "{type: DpathFlattenFields, field_path: ['a*']}";
    check(pattern, r#"{"id":1,"ab":{"x":1}}"#, Some(r#"{"id":1,"ab":{"x":1},"x":1}"#));
    assert!(changed_with(pattern, r#"{"ab":{"x":1},"ac":{"y":1}}"#, Compat::Strict).is_err());
}

/// Where the reference engine makes numbers of identifiers, `compat: safe` keeps a record's own types, and coercions are counted.
#[test]
fn identifiers_keep_their_type() {
    let add = |name: &str, value: &str, kind: &str| format!("{{type: AddFields, fields: [{{path: [{name}], value: \"{value}\"{kind}}}]}}");
    let record = r#"{"code":"35E876","n":"12","list":"[1]"}"#;
    let added = |yaml: &str, compat| {
        let (text, changed) = changed_with(yaml, record, compat).unwrap();
        let record: Value = serde_json::from_str(&text.unwrap()).unwrap();
        (record["new"].clone(), record["id"].clone(), changed.coerced, changed.coerced_keys)
    };
    let null = Value::Null;
    for (value, kind, strict, safe) in [
        ("{{ record['code'] }}", "", json!(null), json!("35E876")),
        ("{{ record.n }}", "", json!(12), json!("12")),
        ("{{ record.list }}", "", json!([1]), json!("[1]")),
        ("{{ record.n }}", ", value_type: integer", json!(12), json!(12)),
        ("{{ record.n }}", ", value_type: string", json!("12"), json!("12")),
        ("{{ record.n | int }}", "", json!(12), json!(12)),
        ("{{ 7 | string }}", "", json!("7"), json!("7")),
        ("{{ record.n }}0", "", json!(120), json!(120)),
        ("12", "", json!(12), json!(12)),
    ] {
        assert_eq!(added(&add("new", value, kind), Compat::Strict).0, strict, "strict {value}{kind}");
        assert_eq!(added(&add("new", value, kind), Compat::Safe).0, safe, "safe {value}{kind}");
    }
    assert_eq!(added(&add("id", "{{ record.n }}", ""), Compat::Strict), (null.clone(), json!(12), 1, 1));
    assert_eq!(added(&add("id", "{{ record.n }}", ""), Compat::Safe), (null, json!("12"), 0, 0));
}

/// An expression whose first evaluation gave its own text is plain text from there on, in the reference engine.
#[test]
fn expressions_that_got_stuck_go_on() {
    let yaml = "name: s\nretriever: {requester: {url: 'https://a.example'}, record_selector: {extractor: {field_path: []}}}\n\
        transformations: [{type: AddFields, fields: [{path: [year], value: \"{{ format_datetime(record['at'], '%Y', '%d.%m.%Y') }}\"}]}]";
    let stream: DeclarativeStream = component(yaml, "DeclarativeSource", "streams");
    let source = "{{ format_datetime(record['at'], '%Y', '%d.%m.%Y') }}";
    for (compat, expected) in [(Compat::Strict, json!(source)), (Compat::Safe, json!("2026"))] {
        let mut scope = scope(&json!({}));
        scope.set_slice(&Default::default());
        let changes = Changes::new(&stream.transformations, &[], &scope, compat).unwrap();
        let mut year = |record: &str| {
            let mut draft = Draft::of(Bytes::copy_from_slice(record.as_bytes()));
            changes.make(&mut draft, &mut scope, &mut Changed::default()).unwrap();
            serde_json::from_str::<Value>(draft.emitted().as_str()).unwrap()["year"].clone()
        };
        assert_eq!(year("{}"), json!(source), "{compat:?}");
        assert_eq!(year(r#"{"at":"24.11.2026"}"#), expected, "{compat:?}");
    }
}
