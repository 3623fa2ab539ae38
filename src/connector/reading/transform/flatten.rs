//! Nested members brought to the top.

use serde_json::Map;
use serde_json::Value;

use super::Draft;
use crate::connector::component::records::DpathFlattenFields;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope;
use crate::connector::path::FieldPath;
use crate::connector::reading::ReadingError;

/// Every scalar of a record at its top. A name stays as it is unless it is taken or came from below a list; then the names above it
/// go before, with dots. The order is that of the reference engine, which takes what it put aside last first (measured).
pub(super) fn flattened(record: &Map<String, Value>, lists: bool) -> Map<String, Value> {
    let mut flat = Map::new();
    let mut below_list = false;
    let mut aside: Vec<(&Value, String)> = Vec::new();
    put_aside(&mut aside, record, "_", &flat, below_list);
    while let Some((value, name)) = aside.pop() {
        match value {
            Value::Object(members) => put_aside(&mut aside, members, &name, &flat, below_list),
            Value::Array(items) if lists => {
                below_list |= !items.is_empty();
                aside.extend(items.iter().enumerate().map(|(position, item)| (item, format!("{name}.{position}"))));
            }
            scalar => {
                flat.insert(name, scalar.clone());
            }
        }
    }
    flat
}

fn put_aside<'v>(
    aside: &mut Vec<(&'v Value, String)>,
    members: &'v Map<String, Value>,
    above: &str,
    flat: &Map<String, Value>,
    below_list: bool,
) {
    for (name, value) in members {
        let long = below_list || flat.contains_key(name);
        aside.push((value, if long { format!("{above}.{name}") } else { name.clone() }));
    }
}

/// The members of a map at a path brought to the top.
#[derive(Debug)]
pub(super) struct DpathFlatten {
    path: FieldPath,
    /// Whether the path may match several places, of which the first counts.
    first_of_many: bool,
    delete: bool,
    replace: bool,
    prefix: String,
    suffix: String,
}

impl DpathFlatten {
    pub fn new(declared: &DpathFlattenFields, scope: &Scope) -> Result<Self, ReadingError> {
        let names = crate::connector::reading::selector::segments(&declared.field_path, scope)?;
        let affix = |expression: Option<&Expression>| {
            expression
                .map_or(Ok(String::new()), |expression| expression.text(scope))
                .map_err(ReadingError::expression("key_transformation"))
        };
        let keys = declared.key_transformation.as_ref();
        Ok(DpathFlatten {
            first_of_many: names.iter().any(|name| name == "*"),
            path: FieldPath::new(names),
            delete: declared.delete_origin_value,
            replace: declared.replace_record,
            prefix: affix(keys.and_then(|keys| keys.prefix.as_ref()))?,
            suffix: affix(keys.and_then(|keys| keys.suffix.as_ref()))?,
        })
    }

    /// Brings the members up, unless one of them has a name that the record has already. Whether that changed the record.
    pub fn flatten(&self, draft: &mut Draft) -> Result<bool, ReadingError> {
        let record = match self.path.first_name() {
            // Only the member that the path begins with is looked at.
            Some(first) => Value::Object(draft.member(first).into_iter().map(|value| (first.to_owned(), value)).collect()),
            None => Value::Object(draft.to_map()),
        };
        let found = if self.first_of_many {
            self.path.values(&record).into_iter().next()
        } else {
            self.path.get(&record).map_err(|source| ReadingError::Records { source })?
        };
        let Some(Value::Object(found)) = found else { return Ok(false) };
        let renamed = found.iter().map(|(name, value)| (format!("{}{name}{}", self.prefix, self.suffix), value.clone()));
        let found: Map<String, Value> = renamed.collect();
        if self.replace && !found.is_empty() {
            draft.replace(Value::Object(found));
            return Ok(true);
        }
        if found.keys().any(|name| draft.has_member(name)) {
            return Ok(false);
        }
        let removed = self.delete && draft.remove(&self.path);
        let added = found.into_iter().fold(false, |added, (name, value)| draft.set_member(&name, value) || added);
        Ok(removed || added)
    }
}
