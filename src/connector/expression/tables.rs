//! The reference engine's own results for expressions (`../shared/conformance/tables`), row by row.

use serde_json::Value;

use super::ExpressionError;
use super::Literals;
use super::Place;
use super::Scope;
use super::Slice;
use super::Template;
use super::dynamic;
use crate::clock::Clock;
use crate::connector::tables::report;
use crate::connector::tables::rows;
use crate::connector::tables::same;

fn scope(config: &Value) -> Scope {
    let mut scope = Scope::new(Clock::manual("2025-07-01T00:00:00Z".parse().expect("a time")));
    scope.set("config", dynamic(config)).set("parameters", dynamic(&serde_json::json!({})));
    scope
}

/// What a table writes for values that JSON lacks, as this engine gives them.
fn plain(value: &Value) -> Value {
    let object = match value {
        Value::Array(items) => return items.iter().map(plain).collect(),
        Value::Object(object) => object,
        _ => return value.clone(),
    };
    match object.iter().next().filter(|_| object.len() == 1) {
        Some((key, _)) if key == "$float" || key == "$ellipsis" || key == "$complex" => Value::Null,
        Some((key, items)) if key == "$tuple" || key == "$set" => plain(items),
        Some((key, text)) if key == "$bytes" || key == "$datetime" || key == "$date" => text.clone(),
        _ => {
            let key = |key: &str| key.strip_prefix('$').unwrap_or(key).to_owned();
            Value::Object(object.iter().map(|(name, value)| (key(name), plain(value))).collect())
        }
    }
}

/// Compares an outcome with an expectation of a table.
fn compare(what: &str, expected: &Value, actual: Result<Value, ExpressionError>) -> Result<(), String> {
    match (expected.get("error"), actual) {
        (Some(_), Err(_)) => Ok(()),
        (None, Ok(value)) if same(&value, &plain(&expected["value"])) => Ok(()),
        (_, actual) => Err(format!("{what} should be {expected}, and gave {actual:?}")),
    }
}

fn mapping(template: &Template, scope: &Scope, literals: Literals) -> Result<Value, ExpressionError> {
    let entry = template.optional(scope, literals)?;
    Ok(Value::Object(entry.into_iter().map(|value| ("k".to_owned(), value)).collect()))
}

fn use_of(row: &Value) -> Result<(), String> {
    let field = row["field"].as_str().unwrap_or_default();
    let place = match field {
        "RecordFilter.condition" => Place::RecordFilter,
        "AddedFieldDefinition.value" => Place::AddField,
        "HttpResponseFilter.predicate" => Place::ErrorPredicate,
        "HttpResponseFilter.error_message" => Place::ErrorMessage,
        _ if field.starts_with("CursorPagination") => Place::Paginator,
        _ if field.starts_with("HttpRequester") => Place::Request,
        _ if field.starts_with("ApiKey") => Place::Authenticator,
        _ => Place::Cursor,
    };
    let mut scope = scope(&row["config"]);
    scope.set("parameters", dynamic(&row["parameters"]));
    let context = row["context"].as_object().cloned().unwrap_or_default();
    let extra: Vec<&str> = context.keys().map(String::as_str).collect();
    for (name, value) in &context {
        if name == "stream_slice" {
            // The table's slices have all keys in the partition, even one called `extra_fields`, which then cannot be seen.
            let slice = Slice { partition: value.as_object().cloned().unwrap_or_default(), ..Slice::default() };
            scope.set_slice(&slice);
        } else {
            scope.set(name, super::lazy_json(value.to_string().into()));
        }
    }
    let text = row["template"].as_str().unwrap_or_default();
    let what = format!("{text:?} with {} and {}", row["config"], row["context"]);
    let template = Template::compile_with(text, place, &extra);
    let run = |evaluate: &dyn Fn(&Template) -> Result<Value, ExpressionError>| template.as_ref().map_err(Clone::clone).and_then(evaluate);
    match row["use"].as_str() {
        Some("boolean") => compare(&what, &row["result"], run(&|template| template.truth(&scope).map(Value::from))),
        Some("string") => compare(&what, &row["result"], run(&|template| template.evaluate(&scope, Literals::Any))),
        _ => {
            let result = &row["result"];
            let cases = [("any_literal", Literals::Any), ("text_and_lists", Literals::TextAndLists)];
            cases.into_iter().filter(|(key, _)| result.get(key).is_some()).try_for_each(|(key, literals)| {
                let mut expected = result[key].clone();
                if let Some(map) = expected.get_mut("value").and_then(Value::as_object_mut) {
                    map.retain(|_, value| !value.is_null());
                    // Infinity is null in JSON, and dropped as such.
                    map.retain(|_, value| value.get("$float").is_none());
                }
                compare(&what, &expected, run(&|template| mapping(template, &scope, literals)))
            })
        }
    }
}

#[test]
fn expressions() {
    let Some(rows) = rows("expressions.json") else { return };
    report("expressions.json", rows.iter().map(use_of).collect(), 874);
}

#[test]
fn provoked() {
    let Some(rows) = rows("provoked.json") else { return };
    let results = rows.iter().map(|row| {
        let text = row["template"].as_str().unwrap_or_default();
        let scope = scope(&row["config"]);
        let template = Template::compile(text, Place::Spec);
        let run =
            |evaluate: &dyn Fn(&Template) -> Result<Value, ExpressionError>| template.as_ref().map_err(Clone::clone).and_then(evaluate);
        compare(text, &row["string"], run(&|template| template.evaluate(&scope, Literals::Any)))?;
        compare(text, &row["boolean"], run(&|template| template.truth(&scope).map(Value::from)))?;
        compare(text, &row["mapping"], run(&|template| mapping(template, &scope, Literals::Any)))
    });
    report("provoked.json", results.collect(), 119);
}

#[test]
fn coercions() {
    let Some(rows) = rows("coercions.json") else { return };
    let results = rows.iter().map(|row| {
        let value = row.get("text").or(row.get("json")).unwrap_or(&Value::Null);
        let scope = scope(&serde_json::json!({ "v": value }));
        let run = |text: &str, literals| Template::compile(text, Place::Spec).and_then(|template| template.evaluate(&scope, literals));
        let cases = [
            ("eval", "{{ config.v }}", Literals::Any),
            ("add_field", "{{ config.v }}", Literals::Any),
            ("add_field_bool", "{{ config.v }}", Literals::Boolean),
            ("add_field_float", "{{ config.v }}", Literals::Number),
            ("add_field_int", "{{ config.v }}", Literals::Integer),
            ("add_field_str", "{{ config.v }}", Literals::Text),
            ("text_only", "{{ config.v }}", Literals::Text),
            ("string_filter", "{{ config.v | string }}", Literals::Any),
            ("embedded", "x{{ config.v }}y", Literals::Any),
            ("tojson", "{{ config.v | tojson }}", Literals::Any),
        ];
        for (key, text, literals) in cases {
            if let Some(expected) = row.get(key) {
                // The table evaluates mappings' way, where empty text is null.
                let actual = run(text, literals).map(|value| if value == "" && expected["value"].is_null() { Value::Null } else { value });
                compare(&format!("{key} of {value}"), expected, actual)?;
            }
        }
        let truth = Template::compile("{{ config.v }}", Place::Spec).and_then(|template| template.truth(&scope));
        compare(&format!("truth of {value}"), &row["boolean"], truth.map(Value::from))
    });
    report("coercions.json", results.collect(), 144);
}

/// Goal: the expressions of published manifests compile. The place is not known here, so every name that any place has is allowed;
/// what is refused must be a part of the language that is not implemented.
#[test]
fn published_expressions_compile() {
    let shared = std::env::var_os("HEADGATE_SHARED").unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    let Ok(cases) = std::fs::read_dir(std::path::Path::new(&shared).join("conformance/cases")) else {
        println!("skipped: no conformance cases in the shared folder; set HEADGATE_SHARED");
        return;
    };
    let names = ["stream_slice", "stream_partition", "stream_interval", "next_page_token", "response", "headers", "last_record"];
    let more = ["last_page_size", "record", "value", "path", "property", "session_token", "creation_response", "polling_response"];
    let rest = ["download_target", "components_values", "stream_template_config", "refresh_token", "client_id", "client_secret"];
    let extra: Vec<&str> = names.into_iter().chain(more).chain(rest).collect();
    let (mut compiled, mut refused) = (0, Vec::new());
    let mut cases: Vec<_> = cases.flatten().collect();
    cases.sort_by_key(std::fs::DirEntry::file_name);
    // One in twelve: reading YAML takes most of the time. All 251 compiled when this was written.
    for case in cases.iter().step_by(12) {
        let Ok(text) = std::fs::read_to_string(case.path().join("manifest.yaml")) else { continue };
        let Ok(manifest) = serde_saphyr::from_str::<Value>(&text) else { continue };
        let mut open = vec![&manifest];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(map) => open.extend(map.iter().filter(|(key, _)| *key != "description").map(|(_, value)| value)),
                Value::String(text) => match Template::compile_with(text, Place::Spec, &extra) {
                    Ok(_) => compiled += 1,
                    Err(error) => refused.push(format!("{}: {error}", case.file_name().display())),
                },
                _ => {}
            }
        }
    }
    refused.iter().for_each(|line| println!("  {line}"));
    println!("{compiled} texts of published manifests compile, {} are refused", refused.len());
    assert!(refused.is_empty(), "{refused:#?}");
}
