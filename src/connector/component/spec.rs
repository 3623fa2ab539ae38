//! What a configuration holds, and what becomes of it before anything is read with it.

use serde_json::Value;

use crate::connector::component::component;
use crate::connector::component::family;
use crate::connector::component::records::AddedFieldDefinition;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;

component! {
    /// What a configuration holds.
    Spec {
        /// A JSON schema for the configuration; `airbyte_secret` marks what is sealed.
        connection_specification: Value;
        /// Where people read about the application.
        documentation_url: Option<String>;
        /// How the original platform authorizes, told to clients of the protocol as it is; Headgate's own treatment says how Headgate does.
        advanced_auth: Option<Value>;
        /// What becomes of a configuration before it is used.
        config_normalization_rules: Option<ConfigNormalizationRules>;
    }
}

component! {
    /// What becomes of a configuration before it is used: migrations, then transformations, then validations.
    ConfigNormalizationRules {
        /// Bring a configuration of an older version of the connector up to date; the result is kept.
        config_migrations: Vec<ConfigMigration> = Vec::new();
        /// Change the configuration for the reading alone.
        transformations: Vec<ConfigTransformation> = Vec::new();
        /// What must hold of it then.
        validations: Vec<ConfigValidator> = Vec::new();
    }
}

component! {
    /// Changes that bring a configuration of an older version up to date.
    ConfigMigration {
        /// The changes, in order.
        transformations: Vec<ConfigTransformation> = Vec::new();
        /// What they are for, in words.
        description: Option<String>;
    }
}

family! {
    /// A change of the configuration.
    ConfigTransformation { ConfigRemapField, ConfigAddFields, ConfigRemoveFields }
}

component! {
    /// Replaces a field's value by the one that a map has for it.
    ConfigRemapField {
        /// New values by old ones: a map, or a text that becomes one.
        map: Nested;
        /// The field.
        field_path: Vec<Expression>;
    }
}

component! {
    /// Writes values into the configuration.
    ConfigAddFields {
        /// What is written, in order; later fields see the earlier ones.
        fields: Vec<AddedFieldDefinition>;
        /// Where it is not true, nothing is written.
        condition: Option<Expression> => AddFieldCondition;
    }
}

component! {
    /// Takes values out of the configuration.
    ConfigRemoveFields {
        /// Their paths.
        field_pointers: Vec<Vec<String>>;
        /// Only when it is true.
        condition: Option<Expression>;
    }
}

family! {
    /// What must hold of a configuration.
    ConfigValidator { DpathValidator, PredicateValidator }
}

component! {
    /// What must hold of the values at a path of the configuration; a path that leads nowhere holds.
    DpathValidator {
        /// The path; `*` stands for every member.
        field_path: Vec<Expression>;
        /// What must hold.
        validation_strategy: ValidationStrategy;
    }
}

component! {
    /// What must hold of a value that the manifest names.
    PredicateValidator {
        /// The value.
        value: Value;
        /// What must hold.
        validation_strategy: ValidationStrategy;
    }
}

family! {
    /// What must hold of a value.
    ValidationStrategy { ValidateAdheresToSchema }
}

component! {
    /// The value, or the JSON in it when it is a text, fits a JSON schema.
    ValidateAdheresToSchema {
        /// The schema: a map, or a text that holds one.
        base_schema: Value;
    }
}
