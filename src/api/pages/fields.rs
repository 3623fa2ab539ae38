//! The fields of a connector's configuration: from its JSON Schema to a form, and from the form back to JSON.

use maud::Markup;
use maud::html;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

/// How deep objects within objects become fields; deeper ones are asked for as JSON.
pub const DEPTH_MAX: usize = 4;

/// The most fields of a form.
pub const FIELDS_MAX: usize = 100;

/// What the names of configuration fields begin with.
pub const PREFIX: &str = "config.";

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The members that lead to it.
    pub path: Vec<String>,
    /// What it is called.
    pub label: String,
    /// What it means.
    pub hint: String,
    /// What it takes.
    pub kind: Kind,
    /// Whether it must be filled in.
    pub required: bool,
    /// What it holds when left alone.
    pub default: Option<String>,
}

/// What a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A line of text.
    Text,
    /// A line of text that is not shown.
    Secret,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// One of these.
    Choice(Vec<String>),
    /// What the form has no field for: written as JSON.
    Json,
    /// Not asked for: always this value.
    Fixed(Value),
}

/// A field that was filled in wrongly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// The field's name in the form.
    pub name: String,
    /// What to do.
    pub message: String,
}

impl Field {
    /// Its name in the form.
    pub fn name(&self) -> String {
        format!("{PREFIX}{}", self.path.join("."))
    }

    /// The field in the form; a secret's value is never shown again.
    pub fn markup(&self, value: Option<&str>, fault: Option<&str>) -> Markup {
        let name = self.name();
        let value = value.or(self.default.as_deref()).unwrap_or_default();
        let described = format!("{name}-hint");
        let invalid = fault.map(|_| "true");
        html! {
            label for=(name) { (self.label) @if !self.required { " (optional)" } }
            @match &self.kind {
                Kind::Secret => input type="password" id=(name) name=(name) required[self.required] autocomplete="off" aria-describedby=(described) aria-invalid=[invalid];
                Kind::Choice(words) => select id=(name) name=(name) required[self.required] aria-describedby=(described) aria-invalid=[invalid] {
                    @if !self.required { option value="" { "—" } }
                    @for word in words { option value=(word) selected[word == value] { (word) } }
                },
                Kind::Boolean => select id=(name) name=(name) aria-describedby=(described) aria-invalid=[invalid] {
                    @if !self.required { option value="" { "—" } }
                    option value="true" selected[value == "true"] { "yes" }
                    option value="false" selected[value == "false"] { "no" }
                },
                Kind::Json => textarea id=(name) name=(name) rows="4" required[self.required] aria-describedby=(described) aria-invalid=[invalid] { (value) },
                Kind::Text | Kind::Integer | Kind::Number | Kind::Fixed(_) => {
                    input type="text" id=(name) name=(name) value=(value) required[self.required] autocomplete="off" aria-describedby=(described) aria-invalid=[invalid];
                }
            }
            div class="hint" id=(described) {
                (self.hint)
                @if self.kind == Kind::Json { " Written as JSON." }
                @if let Some(fault) = fault { strong { " " (fault) } }
            }
        }
    }

    /// The JSON of what was filled in; none where it was left empty.
    fn read(&self, text: &str) -> Result<Option<Value>, &'static str> {
        if let Kind::Fixed(value) = &self.kind {
            return Ok(Some(value.clone()));
        }
        if text.is_empty() {
            return if self.required { Err("Fill this in.") } else { Ok(None) };
        }
        let value = match &self.kind {
            Kind::Integer => text.trim().parse::<i64>().ok().map(Value::from).ok_or("Use a whole number.")?,
            Kind::Number => text.trim().parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number).ok_or("Use a number.")?,
            Kind::Boolean => text.parse::<bool>().map(Value::Bool).map_err(|_| "Choose yes or no.")?,
            Kind::Choice(words) if !words.iter().any(|word| word == text) => return Err("Choose one of the list."),
            Kind::Json => serde_json::from_str(text).map_err(|_| "This is no JSON; correct it.")?,
            _ => Value::String(text.to_owned()),
        };
        Ok(Some(value))
    }
}

/// The fields that a specification asks for, in its order.
pub fn fields(spec: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    collect(spec, &[], true, &mut found);
    found.truncate(FIELDS_MAX);
    found
}

/// The configuration that was filled in, and what is wrong with it. Empty fields are left out, so that defaults hold.
pub fn configuration(fields: &[Field], filled: &[(String, String)]) -> (Map<String, Value>, Vec<FieldFault>) {
    let mut config = Map::new();
    let mut faults = Vec::new();
    for field in fields {
        let name = field.name();
        let text = filled.iter().find(|(key, _)| *key == name).map_or("", |(_, text)| text.as_str());
        match field.read(text) {
            Ok(Some(value)) => place(&mut config, &field.path, value),
            Ok(None) => {}
            Err(message) => faults.push(FieldFault { name, message: message.into() }),
        }
    }
    let known = |key: &String| fields.iter().any(|field| field.name() == *key);
    let unknown = filled.iter().filter(|(key, _)| key.starts_with(PREFIX) && !known(key));
    faults.extend(unknown.map(|(key, _)| FieldFault { name: key.clone(), message: "This connector has no such field.".into() }));
    (config, faults)
}

fn collect(schema: &Value, path: &[String], required_here: bool, found: &mut Vec<Field>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in properties {
        if property.get("airbyte_hidden") == Some(&Value::Bool(true)) {
            continue;
        }
        let mut path = path.to_vec();
        path.push(name.clone());
        let required = required_here && required.contains(&name.as_str());
        let plain_object = kind_word(property) == "object" && property.get("properties").is_some() && property.get("oneOf").is_none();
        if plain_object && path.len() < DEPTH_MAX {
            collect(property, &path, required, found);
        } else {
            found.push(field(path, property, required));
        }
    }
}

fn field(path: Vec<String>, property: &Value, required: bool) -> Field {
    let text = |member: &str| property.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let label = Some(text("title")).filter(|title| !title.is_empty()).unwrap_or_else(|| path.join(" "));
    let words = property.get("enum").and_then(Value::as_array);
    let kind = match (property.get("const"), words, kind_word(property)) {
        (Some(value), _, _) => Kind::Fixed(value.clone()),
        (_, Some(words), "string" | "") => Kind::Choice(words.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        (_, _, "string") if property.get("airbyte_secret") == Some(&Value::Bool(true)) => Kind::Secret,
        (_, _, "string") => Kind::Text,
        (_, _, "integer") => Kind::Integer,
        (_, _, "number") => Kind::Number,
        (_, _, "boolean") => Kind::Boolean,
        _ => Kind::Json,
    };
    let default = match property.get("default") {
        None | Some(Value::Null) => None,
        Some(_) if kind == Kind::Secret => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    Field { hint: text("description"), label, path, kind, required, default }
}

/// The type's word; of `["null", "string"]` the one that is not null.
fn kind_word(property: &Value) -> &str {
    match property.get("type") {
        Some(Value::String(word)) => word,
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).find(|word| *word != "null").unwrap_or_default(),
        _ => "",
    }
}

fn place(config: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            config.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = config.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                place(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A form gives back the JSON that its specification asks for, and names every field that it cannot read.
    #[test]
    fn forms_become_configurations() {
        let spec = json!({ "type": "object", "required": ["shop", "auth"], "properties": {
            "shop": { "type": "string", "title": "Shop" },
            "size": { "type": ["null", "integer"], "default": 50 },
            "region": { "type": "string", "enum": ["eu", "us"] },
            "auth": { "type": "object", "required": ["key"], "properties": {
                "kind": { "type": "string", "const": "api_key" },
                "key": { "type": "string", "airbyte_secret": true, "default": "never shown" },
            } },
            "extra": { "oneOf": [] },
        } });
        let fields = fields(&spec);
        assert_eq!(
            fields.iter().map(Field::name).collect::<Vec<_>>(),
            ["config.shop", "config.size", "config.region", "config.auth.kind", "config.auth.key", "config.extra"]
        );
        let filled = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let good =
            filled(&[("config.shop", "a"), ("config.size", "7"), ("config.auth.key", "s"), ("config.extra", "[1]"), ("person", "P")]);
        let (config, faults) = configuration(&fields, &good);
        assert_eq!(faults, []);
        assert_eq!(Value::Object(config), json!({ "shop": "a", "size": 7, "auth": { "kind": "api_key", "key": "s" }, "extra": [1] }));
        let (_, faults) = configuration(&fields, &filled(&[("config.size", "x"), ("config.region", "mars"), ("config.other", "1")]));
        let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names, ["config.shop", "config.size", "config.region", "config.auth.key", "config.other"]);
        assert!(!fields[4].markup(Some("hunter2"), None).into_string().contains("hunter2"), "a secret is not shown again");
    }
}
