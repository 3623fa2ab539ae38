//! A template: compiled for a place, and evaluated over a record and a configuration. It ends, with a value or an error.

#![no_main]

use headgate::clock::Clock;
use headgate::connector::expression::Literals;
use headgate::connector::expression::Place;
use headgate::connector::expression::Scope;
use headgate::connector::expression::Template;
use headgate::connector::expression::dynamic;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|source: &str| {
    let Ok(template) = Template::compile(source, Place::AddField) else { return };
    let mut scope = Scope::new(Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time")));
    scope.set("config", dynamic(&json!({"a": "1", "b": [1, 2.5, null, true], "at": "2026-01-01T00:00:00Z", "n": 7})));
    scope.set("record", dynamic(&json!({"id": "35E876", "list": ["x", {"y": "z"}], "text": "häßlich, 'quoted'", "none": null})));
    let _ = template.text(&scope);
    let _ = template.truth(&scope);
    let _ = template.evaluate(&scope, Literals::Any);
    let _ = template.optional(&scope, Literals::TextAndLists);
});
