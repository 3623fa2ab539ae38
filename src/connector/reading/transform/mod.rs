//! What becomes of a record between its place in the body and its emission: filters apart, everything that changes it.
//!
//! A record that nothing changes is never built. One that is changed is a [`Draft`]: its members stay ranges of the text until a
//! change touches them. Each change says whether it changed anything, so that no copy has to be kept to find out.

use std::sync::OnceLock;

use serde_json::Value;

use crate::connector::component::records::AddFields;
use crate::connector::component::records::AddedFieldDefinition;
use crate::connector::component::records::Transformation;
use crate::connector::component::records::ValueType;
use crate::connector::component::value::Expression;
use crate::connector::expression::Evaluated;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::path::FieldPath;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;

mod draft;
mod flatten;
mod keys;
mod normalize;

pub(super) use draft::Draft;
pub(super) use draft::Written;
pub(super) use normalize::Schema;

use flatten::DpathFlatten;

/// The changes of a stream, their paths and constants evaluated.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    list: Vec<Change<'a>>,
    compat: Compat,
}

/// What the changes of one record did.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// The names of those that changed it, each once.
    pub names: Vec<String>,
    /// How many added values were texts that became another type.
    pub coerced: u64,
    /// How many of those are part of the primary key.
    pub coerced_keys: u64,
    /// The record's own members that are null because their value is a number that JSON lacks.
    pub boundless: Vec<String>,
}

#[derive(Debug)]
enum Change<'a> {
    Add { fields: Vec<AddedField<'a>>, condition: Option<&'a Expression> },
    Remove { paths: Vec<FieldPath>, condition: Option<&'a Expression> },
    KeysToLower,
    KeysToSnakeCase,
    KeysReplace { old: &'a Expression, new: &'a Expression },
    Flatten { lists: bool },
    DpathFlatten(DpathFlatten),
}

#[derive(Debug)]
struct AddedField<'a> {
    path: FieldPath,
    names: minijinja::Value,
    value: &'a Expression,
    literals: Literals,
    /// The value, when it is the same for every record.
    constant: Option<Value>,
    /// Whether its first evaluation gave the expression itself: the reference engine then takes it for plain text from there on.
    is_stuck: OnceLock<bool>,
    is_key: bool,
    /// The name, when it is a member of the record itself.
    own_member: Option<String>,
}

impl<'a> Changes<'a> {
    /// The changes that `transformations` declare. `scope` has `config`; `primary_key` says which coercions count as those of a key.
    ///
    /// # Errors
    /// When a path or a constant cannot be evaluated.
    pub fn new(
        transformations: &'a [Transformation],
        primary_key: &[Vec<String>],
        scope: &Scope,
        compat: Compat,
    ) -> Result<Self, ReadingError> {
        let change = |transformation: &'a Transformation| {
            Ok(match transformation {
                Transformation::AddFields(add) => Change::add(add, primary_key, scope)?,
                Transformation::RemoveFields(remove) => Change::Remove {
                    paths: remove.field_pointers.iter().map(|path| FieldPath::new(path.iter().cloned())).collect(),
                    condition: remove.condition.as_ref().filter(|condition| condition.plain() != Some("")),
                },
                Transformation::KeysToLower(_) => Change::KeysToLower,
                Transformation::KeysToSnakeCase(_) => Change::KeysToSnakeCase,
                Transformation::KeysReplace(replace) => Change::KeysReplace { old: &replace.old, new: &replace.new },
                Transformation::FlattenFields(flatten) => Change::Flatten { lists: flatten.flatten_lists },
                Transformation::DpathFlattenFields(flatten) => Change::DpathFlatten(DpathFlatten::new(flatten, scope)?),
            })
        };
        Ok(Changes { list: transformations.iter().map(change).collect::<Result<_, _>>()?, compat })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Makes every change, in order. `scope` has the slice.
    ///
    /// # Errors
    /// When an expression fails, or a path has something in its way.
    pub fn make(&self, draft: &mut Draft, scope: &mut Scope, changed: &mut Changed) -> Result<(), ReadingError> {
        for change in &self.list {
            let touched = match change {
                Change::Add { fields, condition } => self.add(fields, *condition, draft, scope, changed)?,
                Change::Remove { paths, condition: None } => paths.iter().filter(|path| draft.remove(path)).count() > 0,
                Change::Remove { paths, condition: Some(condition) } => remove_where(paths, condition, draft, scope)?,
                Change::KeysToLower => draft.rename(str::to_lowercase, None),
                Change::KeysToSnakeCase => draft.rename(keys::snake_case, Some(&|map| keys::renamed(map, &keys::snake_case))),
                Change::KeysReplace { old, new } => {
                    let (old, new) = with_record(draft, scope, |scope| Ok((text(old, scope, "old")?, text(new, scope, "new")?)))?;
                    let replace = |name: &str| name.replace(&old, &new);
                    draft.rename(replace, Some(&|map| keys::renamed(map, &replace)))
                }
                Change::Flatten { lists } => {
                    let record = draft.to_map();
                    let flat = flatten::flattened(&record, *lists);
                    let same = record == flat && record.keys().eq(flat.keys());
                    if !same {
                        draft.replace(Value::Object(flat));
                    }
                    !same
                }
                Change::DpathFlatten(flatten) => flatten.flatten(draft)?,
            };
            let name = change.name();
            if touched && !changed.names.iter().any(|known| known == name) {
                changed.names.push(name.to_owned());
            }
        }
        Ok(())
    }

    /// Writes the fields in order; each sees those before it.
    fn add(
        &self,
        fields: &[AddedField<'_>],
        condition: Option<&Expression>,
        draft: &mut Draft,
        scope: &mut Scope,
        changed: &mut Changed,
    ) -> Result<bool, ReadingError> {
        let mut touched = false;
        for field in fields {
            if let (Some(constant), None) = (&field.constant, condition) {
                touched |= draft.set(&field.path, constant.clone()).map_err(|source| ReadingError::Records { source })?;
                continue;
            }
            let evaluated = with_record(draft, scope, |scope| {
                let evaluated = self.evaluate(field, scope)?;
                let Some(condition) = condition else { return Ok(Some(evaluated)) };
                scope.set("value", dynamic(&evaluated.value)).set("path", field.names.clone());
                let holds = condition.truth(scope).map_err(ReadingError::expression("condition"))?;
                Ok(holds.then_some(evaluated))
            })?;
            let Some(evaluated) = evaluated else { continue };
            changed.coerced += u64::from(evaluated.coerced);
            changed.coerced_keys += u64::from(evaluated.coerced && field.is_key);
            if evaluated.boundless {
                changed.boundless.extend(field.own_member.clone());
            }
            touched |= draft.set(&field.path, evaluated.value).map_err(|source| ReadingError::Records { source })?;
        }
        Ok(touched)
    }

    /// The value of a field: read as a literal, unless a text that an expression gave is to stay one.
    fn evaluate(&self, field: &AddedField<'_>, scope: &Scope) -> Result<Evaluated, ReadingError> {
        let source = field.value.template().source();
        if self.compat == Compat::Strict && field.is_stuck.get() == Some(&true) {
            return Ok(Evaluated::of(source.into()));
        }
        let evaluated = match (self.compat, field.literals) {
            (Compat::Safe, Literals::Any) => field.value.keeping(scope),
            (_, literals) => field.value.noting(scope, literals),
        };
        let evaluated = evaluated.map_err(ReadingError::expression("value"))?;
        field.is_stuck.get_or_init(|| evaluated.value.as_str() == Some(source));
        Ok(evaluated)
    }
}

impl<'a> Change<'a> {
    fn add(add: &'a AddFields, primary_key: &[Vec<String>], scope: &Scope) -> Result<Self, ReadingError> {
        let field = |field: &'a AddedFieldDefinition| -> Result<_, ReadingError> {
            let names = super::selector::segments(&field.path, scope)?;
            let literals = match field.value_type {
                None => Literals::Any,
                Some(ValueType::Text) => Literals::Text,
                Some(ValueType::Number) => Literals::Number,
                Some(ValueType::Integer) => Literals::Integer,
                Some(ValueType::Boolean) => Literals::Boolean,
            };
            let constant = match field.value.plain() {
                Some(_) => Some(field.value.noting(scope, literals).map_err(ReadingError::expression("value"))?.value),
                None => None,
            };
            Ok(AddedField {
                names: dynamic(&Value::from(names.clone())),
                own_member: names.first().filter(|_| names.len() == 1).cloned(),
                is_key: primary_key.iter().any(|path| path.starts_with(&names)),
                path: FieldPath::new(names),
                value: &field.value,
                literals,
                constant,
                is_stuck: OnceLock::new(),
            })
        };
        let fields = add.fields.iter().map(field).collect::<Result<_, _>>()?;
        Ok(Change::Add { fields, condition: add.condition.as_ref().filter(|condition| condition.plain() != Some("")) })
    }

    fn name(&self) -> &'static str {
        match self {
            Change::Add { .. } => "AddFields",
            Change::Remove { .. } => "RemoveFields",
            Change::KeysToLower => "KeysToLower",
            Change::KeysToSnakeCase => "KeysToSnakeCase",
            Change::KeysReplace { .. } => "KeysReplace",
            Change::Flatten { .. } => "FlattenFields",
            Change::DpathFlatten(_) => "DpathFlattenFields",
        }
    }
}

/// Does something with `record` in the scope, and lets go of the record, so that changing it needs no copy.
fn with_record<T>(draft: &Draft, scope: &mut Scope, work: impl FnOnce(&mut Scope) -> Result<T, ReadingError>) -> Result<T, ReadingError> {
    scope.set("record", draft.value());
    let done = work(scope);
    scope.set("record", minijinja::Value::UNDEFINED);
    done
}

fn text(expression: &Expression, scope: &Scope, field: &'static str) -> Result<String, ReadingError> {
    expression.text(scope).map_err(ReadingError::expression(field))
}

/// Removes every scalar for which the condition holds, once for each path: the path itself plays no part (see `FieldPath::remove_where`).
fn remove_where(paths: &[FieldPath], condition: &Expression, draft: &mut Draft, scope: &Scope) -> Result<bool, ReadingError> {
    let mut failed = None;
    let mut scope = scope.clone();
    let mut touched = false;
    for path in paths {
        touched |= draft.tree(|record| {
            path.remove_where(record, |property| {
                scope.set("property", dynamic(property));
                condition.truth(&scope).unwrap_or_else(|error| {
                    failed.get_or_insert(error);
                    false
                })
            })
        });
    }
    failed.map_or(Ok(touched), |source| Err(ReadingError::expression("condition")(source)))
}

#[cfg(test)]
mod tests;
