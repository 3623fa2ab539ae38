//! A rendered text that is read as a Python literal, as every type that may be asked for.

#![no_main]

use headgate::clock::Clock;
use headgate::connector::expression::Literals;
use headgate::connector::expression::Place;
use headgate::connector::expression::Scope;
use headgate::connector::expression::Template;
use headgate::connector::expression::dynamic;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let template = Template::compile("{{ record }}", Place::AddField).expect("a template");
    let mut scope = Scope::new(Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time")));
    scope.set("record", dynamic(&Value::from(text)));
    let kinds = [Literals::Any, Literals::TextAndLists, Literals::Text, Literals::Number, Literals::Integer, Literals::Boolean];
    for kind in kinds {
        let _ = template.evaluate(&scope, kind);
    }
    let _ = template.truth(&scope);
});
