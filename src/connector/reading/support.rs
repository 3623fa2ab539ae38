//! Components and scopes for the tests of this folder.

use bytes::Bytes;
use serde_json::Value;

use crate::clock::Clock;
use crate::connector::component::reader::Accept;
use crate::connector::component::reader::Document;
use crate::connector::component::reader::Reader;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::manifest::propagation::propagate;
use crate::connector::reading::Answer;
use crate::connector::reading::Headers;
use crate::connector::yaml::Repeated;
use crate::connector::yaml::parse;

/// The time that tests call now.
pub(in crate::connector) const NOW: &str = "2026-11-24T10:00:00Z";

/// The component that `yaml` declares, as the member `field` of a component of type `around`.
pub(in crate::connector) fn component<T: Accept>(yaml: &str, around: &str, field: &str) -> T {
    let node = propagate(&parse(yaml, Repeated::Refused).unwrap(), around, field).unwrap();
    let mut reader = Reader::new(Document::Manifest);
    let component = T::accept(&node, &mut reader);
    component.unwrap_or_else(|| panic!("{:?}", reader.into_problems()))
}

/// A scope with a configuration.
pub(in crate::connector) fn scope(config: &Value) -> Scope {
    let mut scope = Scope::new(Clock::manual(NOW.parse().unwrap()));
    scope.set("config", dynamic(config));
    scope
}

/// An answer.
pub(in crate::connector) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Answer { status, headers: Headers::new(headers), body: Bytes::from(body.to_owned()), url: "https://a.example/v1/x".to_owned() }
}
