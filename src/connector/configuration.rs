//! What becomes of a configuration before anything is read with it: the manifest's migrations, transformations and validations.
//!
//! Source: the specification of airbyte-cdk and its configuration transformations and validators. Values of a configuration
//! are secrets: no message repeats one.

use serde_json::Value;

use crate::clock::Clock;
use crate::connector::component::records::ValueType;
use crate::connector::component::spec::ConfigAddFields;
use crate::connector::component::spec::ConfigRemapField;
use crate::connector::component::spec::ConfigRemoveFields;
use crate::connector::component::spec::ConfigTransformation;
use crate::connector::component::spec::ConfigValidator;
use crate::connector::component::spec::Spec;
use crate::connector::component::spec::ValidationStrategy;
use crate::connector::expression::ExpressionError;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::path::FieldPath;
use crate::connector::problem::Code;
use crate::connector::problem::Problem;

/// A configuration as it is kept, and as it is read with.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// After the migrations: what is kept in place of what was given.
    pub kept: Value,
    /// After the transformations too: what expressions see.
    pub used: Value,
}

/// Applies the migrations and transformations of a specification.
///
/// # Errors
/// What cannot be applied, as problems of the configuration.
pub fn normalized(spec: Option<&Spec>, given: Value, clock: &Clock) -> Result<Configuration, Vec<Problem>> {
    let Some(rules) = spec.and_then(|spec| spec.config_normalization_rules.as_ref()) else {
        return Ok(Configuration { kept: given.clone(), used: given });
    };
    let mut config = given;
    for migration in &rules.config_migrations {
        for transformation in &migration.transformations {
            transform(transformation, &mut config, clock)?;
        }
    }
    let kept = config.clone();
    for transformation in &rules.transformations {
        transform(transformation, &mut config, clock)?;
    }
    Ok(Configuration { kept, used: config })
}

/// What the validations of a specification have against a configuration that is used.
pub fn validated(spec: Option<&Spec>, used: &Value, clock: &Clock) -> Vec<Problem> {
    let rules = spec.and_then(|spec| spec.config_normalization_rules.as_ref());
    let validators = rules.into_iter().flat_map(|rules| &rules.validations);
    validators.flat_map(|validator| validate(validator, used, clock)).collect()
}

fn transform(transformation: &ConfigTransformation, config: &mut Value, clock: &Clock) -> Result<(), Vec<Problem>> {
    match transformation {
        ConfigTransformation::ConfigRemapField(remap) => self::remap(remap, config, clock),
        ConfigTransformation::ConfigAddFields(add) => self::add(add, config, clock),
        ConfigTransformation::ConfigRemoveFields(remove) => self::remove(remove, config, clock),
    }
    .map_err(|message| vec![problem(String::new(), message)])
}

fn remap(remap: &ConfigRemapField, config: &mut Value, clock: &Clock) -> Result<(), String> {
    let scope = scope(config, clock);
    let path = remap.field_path.iter().map(|segment| segment.text(&scope)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let map = remap.map.value(&scope, Literals::Any).map_err(failed)?;
    let mut place = config;
    for segment in &path {
        match place.get_mut(segment) {
            Some(inner) => place = inner,
            None => return Ok(()),
        }
    }
    let key = match &*place {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Ok(()),
    };
    if let Some(new) = map.get(&key) {
        *place = new.clone();
    }
    Ok(())
}

fn add(add: &ConfigAddFields, config: &mut Value, clock: &Clock) -> Result<(), String> {
    for field in &add.fields {
        let mut scope = scope(config, clock);
        let path = field.path.iter().map(|segment| segment.text(&scope)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let value = field.value.noting(&scope, ValueType::literals(field.value_type)).map_err(failed)?.value;
        if let Some(condition) = &add.condition {
            scope.set("value", dynamic(&value)).set("path", dynamic(&Value::from(path.clone())));
            if !condition.truth(&scope).map_err(failed)? {
                continue;
            }
        }
        FieldPath::new(path).set(config, value).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn remove(remove: &ConfigRemoveFields, config: &mut Value, clock: &Clock) -> Result<(), String> {
    if let Some(condition) = &remove.condition
        && !condition.truth(&scope(config, clock)).map_err(failed)?
    {
        return Ok(());
    }
    for path in &remove.field_pointers {
        FieldPath::new(path.iter().cloned()).remove(config);
    }
    Ok(())
}

fn validate(validator: &ConfigValidator, config: &Value, clock: &Clock) -> Vec<Problem> {
    match validator {
        ConfigValidator::PredicateValidator(predicate) => fits(&predicate.validation_strategy, &predicate.value, ""),
        ConfigValidator::DpathValidator(at) => {
            // The reference engine gives the path's expressions an empty configuration.
            let scope = scope(&Value::Object(serde_json::Map::new()), clock);
            let path = match at.field_path.iter().map(|segment| segment.text(&scope)).collect::<Result<Vec<_>, _>>() {
                Ok(path) => path,
                Err(error) => return vec![problem(String::new(), failed(error))],
            };
            let pointer = format!("/{}", path.join("/"));
            let path = FieldPath::new(path);
            path.values(config).into_iter().flat_map(|value| fits(&at.validation_strategy, value, &pointer)).collect()
        }
    }
}

/// What a strategy has against a value. A text is read as JSON first.
fn fits(strategy: &ValidationStrategy, value: &Value, pointer: &str) -> Vec<Problem> {
    let ValidationStrategy::ValidateAdheresToSchema(adheres) = strategy;
    let told = |message: String| vec![problem(pointer.to_owned(), message)];
    let read = |value: &Value| value.as_str().map_or_else(|| Ok(value.clone()), serde_json::from_str::<Value>);
    let Ok(value) = read(value) else { return told("is a text that is no JSON; give JSON".to_owned()) };
    let Ok(schema) = read(&adheres.base_schema) else {
        return told("is checked against a schema that is no JSON; mend the manifest".to_owned());
    };
    match crate::connector::definition::validator(&schema) {
        Ok(validator) => validator
            .iter_errors(&value)
            .take(crate::connector::definition::CONFIG_PROBLEMS_MAX)
            .map(|error| problem(format!("{pointer}{}", error.instance_path()), error.masked().to_string()))
            .collect(),
        Err(message) => told(format!("is checked against what {message}; mend the manifest")),
    }
}

fn scope(config: &Value, clock: &Clock) -> Scope {
    let mut scope = Scope::new(clock.clone());
    scope.set("config", dynamic(config));
    scope
}

fn failed(error: ExpressionError) -> String {
    format!("cannot be brought into the form that the connector reads: {error}")
}

fn problem(path: String, message: String) -> Problem {
    Problem { code: Code::Configuration, file: "config", line: 0, path, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::component;

    fn spec(rules: &str) -> Spec {
        component(&format!("connection_specification: {{type: object}}\nconfig_normalization_rules: {rules}"), "DeclarativeSource", "spec")
    }

    /// Migrations change what is kept, transformations what is used; each sees what those before it did.
    #[test]
    fn rules_are_applied_in_order() {
        let spec = spec(
            "
  config_migrations:
    - transformations:
        - {type: ConfigAddFields, condition: \"{{ 'key' in config }}\", fields: [{path: [auth, key], value: \"{{ config['key'] }}\", value_type: string}]}
        - {type: ConfigRemoveFields, condition: \"{{ 'auth' in config }}\", field_pointers: [[key]]}
  transformations:
    - {type: ConfigRemapField, field_path: [auth, region], map: {eu: europe, 1: one}}
    - {type: ConfigAddFields, fields: [{path: [double], value: \"{{ 2 * 2 }}\"}]}",
        );
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let check = |given: Value| normalized(Some(&spec), given, &clock).unwrap();
        let configuration = check(json!({"key": "007", "auth": {"region": "eu"}}));
        assert_eq!(configuration.kept, json!({"auth": {"region": "eu", "key": "007"}}));
        assert_eq!(configuration.used, json!({"auth": {"region": "europe", "key": "007"}, "double": 4}));
        assert_eq!(check(configuration.kept.clone()), configuration, "what is kept is not migrated again");
    }

    /// Values at a path fit a schema, as JSON when they are texts; a path that leads nowhere holds. No value is repeated.
    #[test]
    fn validations_hold() {
        let spec = spec(
            "{validations: [{type: DpathValidator, field_path: [reports, '*'], validation_strategy: {type: ValidateAdheresToSchema, base_schema: {type: object, required: [name]}}}]}",
        );
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().unwrap());
        let check = |config: Value| validated(Some(&spec), &config, &clock);
        assert_eq!(check(json!({})), []);
        assert_eq!(check(json!({"reports": [{"name": 1}, "{\"name\": 2}"]})), []);
        let problems = check(json!({"reports": [{"hunter2": 1}, "hunter2"]}));
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().all(|problem| problem.path == "/reports/*" && !problem.message.contains("hunter2")), "{problems:?}");
    }
}
