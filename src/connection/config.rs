//! A configuration in two parts: what may be shown, and what is sealed with the credential.

use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

/// Takes the secret members out of a configuration: (the rest, the secrets). An empty path takes all of it.
pub fn split(mut config: Map<String, Value>, paths: &BTreeSet<Vec<String>>) -> (Map<String, Value>, Map<String, Value>) {
    let mut secrets = Map::new();
    for path in paths {
        match path.split_last() {
            None => return (Map::new(), config),
            Some((last, parents)) => take(&mut config, &mut secrets, parents, last),
        }
    }
    (config, secrets)
}

fn take(from: &mut Map<String, Value>, into: &mut Map<String, Value>, parents: &[String], name: &str) {
    match parents.split_first() {
        None => {
            if let Some(value) = from.shift_remove(name) {
                into.insert(name.to_owned(), value);
            }
        }
        Some((parent, rest)) => {
            let Some(Value::Object(inner)) = from.get_mut(parent) else { return };
            let mut taken = match into.get(parent) {
                Some(Value::Object(present)) => present.clone(),
                _ => Map::new(),
            };
            take(inner, &mut taken, rest, name);
            if !taken.is_empty() {
                into.insert(parent.clone(), Value::Object(taken));
            }
        }
    }
}

/// The configuration with its secret members in their places.
pub fn merged(mut config: Map<String, Value>, secrets: Map<String, Value>) -> Value {
    merge(&mut config, secrets);
    Value::Object(config)
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(present)), Value::Object(value)) => merge(present, value),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: secrets leave the shown part wholly, and both parts together are the configuration again.
    #[test]
    fn parts_join_again() {
        let config = json!({"base_url": "u", "credentials": {"token": "t", "kind": "oauth"}, "key": "k"});
        let paths = BTreeSet::from([vec!["credentials".to_owned(), "token".to_owned()], vec!["key".to_owned()], vec!["none".to_owned()]]);
        let (shown, secrets) = split(config.as_object().unwrap().clone(), &paths);
        assert_eq!(Value::Object(shown.clone()), json!({"base_url": "u", "credentials": {"kind": "oauth"}}));
        assert_eq!(Value::Object(secrets.clone()), json!({"credentials": {"token": "t"}, "key": "k"}));
        assert_eq!(merged(shown, secrets), config);
        let (shown, secrets) = split(config.as_object().unwrap().clone(), &BTreeSet::from([Vec::new()]));
        assert!(shown.is_empty());
        assert_eq!(Value::Object(secrets), config);
    }
}
