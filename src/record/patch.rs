//! What the manifest's transformations changed, as a JSON Patch (RFC 6902) from the stored record to the emitted one.
//!
//! The operations used are `add`, `remove` and `replace`. Numbers are compared by their text, and the order of members
//! does not count. Arrays are compared by position behind their common beginning and before their common end: small
//! changes make small patches, and no change costs more than a replacement.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

/// A JSON Patch; in JSON an array of operations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patch {
    operations: Vec<Operation>,
}

/// One operation of a patch; `path` is a JSON Pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Operation {
    /// Adds a member, or an element before the one at that index.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// Removes a member or an element.
    Remove {
        /// Where.
        path: String,
    },
    /// Replaces a value.
    Replace {
        /// Where.
        path: String,
        /// By what.
        value: Value,
    },
}

/// A patch that does not fit the record, which only damage to the store can bring about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the patch names `{path}`, where the record has nothing to change; the stored record and its patch do not belong together")]
pub struct PatchError {
    /// The path of the operation that failed.
    pub path: String,
}

impl Patch {
    /// The patch that makes `emitted` of `raw`.
    pub fn between(raw: &Value, emitted: &Value) -> Self {
        let mut operations = Vec::new();
        compare(raw, emitted, "", &mut operations);
        Self { operations }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations, in the order to carry them out.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Makes the emitted record of the stored one.
    ///
    /// # Errors
    /// When an operation names a place that `raw` does not have.
    pub fn apply(&self, mut raw: Value) -> Result<Value, PatchError> {
        for operation in &self.operations {
            operation.apply(&mut raw).ok_or_else(|| PatchError { path: operation.path().to_owned() })?;
        }
        Ok(raw)
    }
}

impl Operation {
    /// The JSON Pointer of what it changes.
    pub fn path(&self) -> &str {
        match self {
            Operation::Add { path, .. } | Operation::Remove { path } | Operation::Replace { path, .. } => path,
        }
    }

    fn apply(&self, root: &mut Value) -> Option<()> {
        let (parent, last) = match self.path().rsplit_once('/') {
            Some((parent, last)) => (root.pointer_mut(parent)?, last.replace("~1", "/").replace("~0", "~")),
            None => {
                let (Operation::Add { value, .. } | Operation::Replace { value, .. }) = self else { return None };
                *root = value.clone();
                return Some(());
            }
        };
        match (self, parent) {
            (Operation::Add { value, .. }, Value::Object(members)) => drop(members.insert(last, value.clone())),
            (Operation::Add { value, .. }, Value::Array(elements)) => {
                let index = if last == "-" { elements.len() } else { last.parse().ok()? };
                if index > elements.len() {
                    return None;
                }
                elements.insert(index, value.clone());
            }
            (Operation::Remove { .. }, Value::Object(members)) => drop(members.shift_remove(&last)?),
            (Operation::Remove { .. }, Value::Array(elements)) => {
                let index = last.parse().ok().filter(|&index: &usize| index < elements.len())?;
                elements.remove(index);
            }
            (Operation::Replace { value, .. }, Value::Object(members)) => *members.get_mut(&last)? = value.clone(),
            (Operation::Replace { value, .. }, Value::Array(elements)) => *elements.get_mut(last.parse::<usize>().ok()?)? = value.clone(),
            _ => return None,
        }
        Some(())
    }
}

fn compare(from: &Value, to: &Value, path: &str, operations: &mut Vec<Operation>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(from), Value::Object(to)) => {
            for name in from.keys().filter(|name| !to.contains_key(*name)) {
                operations.push(Operation::Remove { path: member(path, name) });
            }
            for (name, value) in to {
                match from.get(name) {
                    Some(before) => compare(before, value, &member(path, name), operations),
                    None => operations.push(Operation::Add { path: member(path, name), value: value.clone() }),
                }
            }
        }
        (Value::Array(from), Value::Array(to)) => compare_elements(from, to, path, operations),
        _ => operations.push(Operation::Replace { path: path.to_owned(), value: to.clone() }),
    }
}

fn compare_elements(from: &[Value], to: &[Value], path: &str, operations: &mut Vec<Operation>) {
    let start = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from[start..], &to[start..]);
    let end = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from[..from.len() - end], &to[..to.len() - end]);
    let both = from.len().min(to.len());
    for (index, (before, after)) in from.iter().zip(to).enumerate() {
        compare(before, after, &format!("{path}/{}", start + index), operations);
    }
    for _ in both..from.len() {
        operations.push(Operation::Remove { path: format!("{path}/{}", start + both) });
    }
    for (index, value) in to.iter().enumerate().skip(both) {
        operations.push(Operation::Add { path: format!("{path}/{}", start + index), value: value.clone() });
    }
}

fn member(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::record::scrawl::value;

    proptest! {
        /// The patch between two values makes the one of the other, also after it was written and read.
        #[test]
        fn makes_the_emitted_record(raw in value(), emitted in value(), shared in value()) {
            let wrap = |inner| json!([{"a": shared, "b": inner}, shared]);
            for (raw, emitted) in [(raw.clone(), emitted.clone()), (wrap(raw), wrap(emitted))] {
                let text = serde_json::to_string(&Patch::between(&raw, &emitted)).unwrap();
                let patch: Patch = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(patch.is_empty(), raw == emitted);
                prop_assert_eq!(patch.apply(raw), Ok(emitted));
            }
        }

        /// A patch that belongs to another record fails or not, but never panics.
        #[test]
        fn total_on_foreign_records(raw in value(), emitted in value(), other in value()) {
            let _ = Patch::between(&raw, &emitted).apply(other);
        }
    }

    /// Small changes make small patches, in the standard's own form.
    #[test]
    fn small_changes_make_small_patches() {
        let raw = json!({"id": 1, "lines": [1, 2, 3, 4], "gone": null, "a/b": {"c": "x"}});
        let emitted = json!({"id": 1, "lines": [1, 3, 4], "a/b": {"c": "y"}, "new": [0]});
        let expected = json!([
            {"op": "remove", "path": "/gone"},
            {"op": "remove", "path": "/lines/1"},
            {"op": "replace", "path": "/a~1b/c", "value": "y"},
            {"op": "add", "path": "/new", "value": [0]},
        ]);
        assert_eq!(serde_json::to_value(Patch::between(&raw, &emitted)).unwrap(), expected);
    }
}
