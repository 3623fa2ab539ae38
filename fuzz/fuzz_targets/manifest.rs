//! A manifest's text: loader, references, parameters, components. It is read or refused with a reason, and what is read can be
//! made for a configuration.

#![no_main]

use headgate::clock::Clock;
use headgate::connector::definition::Connector;
use headgate::connector::definition::ConnectorError;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let clock = Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time"));
    let config = json!({"key": "k", "list": [{"name": "a"}, {"name": "b"}], "at": "2026-01-01"});
    match Connector::load("fuzzed", text, None) {
        Ok(connector) => {
            let _ = connector.take(config.clone(), &clock);
            let _ = connector.hosts(&config, &clock);
            let _ = connector.secret_paths();
            let _ = connector.made(&config, &clock, Vec::new());
        }
        Err(ConnectorError::Refused { problems, .. }) => assert!(!problems.is_empty()),
        Err(error) => panic!("{error}"),
    }
});
