//! A record on its way from the body to what is emitted: its members, each still a range of the body or a value of its own.
//!
//! Most changes add, replace or remove a member, and those are made here without building the record: what is not touched is copied
//! as it was written when the record is emitted. Changes that need the record as a tree get one, and leave its members behind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;
use minijinja::value::Enumerator;
use minijinja::value::Object;
use serde_json::Map;
use serde_json::Value;

use crate::connector::expression::dynamic;
use crate::connector::expression::lazy_json;
use crate::connector::path::FieldPath;
use crate::connector::path::PathError;
use crate::record::JsonText;
use crate::record::scan::Scanner;
use crate::record::scan::Text;

/// A record that may be changed. Expressions look at it through [`Draft::value`].
#[derive(Debug, Clone)]
pub(in crate::connector::reading) struct Draft(Arc<Members>);

/// The members of a record.
#[derive(Debug, Clone)]
struct Members {
    /// The record's text.
    text: Bytes,
    /// Found when first asked for.
    list: OnceLock<Vec<Member>>,
    touched: bool,
}

#[derive(Debug, Clone)]
struct Member {
    name: Name,
    value: Slot,
}

#[derive(Debug, Clone)]
enum Name {
    Written(Text),
    Own(String),
}

#[derive(Debug, Clone)]
enum Slot {
    /// As written, at this range of the record's text.
    Written(Range<usize>),
    Own(Value),
}

impl Draft {
    /// The record whose text is `text`, an object.
    pub fn of(text: Bytes) -> Self {
        Draft(Arc::new(Members { text, list: OnceLock::new(), touched: false }))
    }

    /// The record as expressions see it. It must be let go of before the record is changed, or the change has to copy.
    pub fn value(&self) -> minijinja::Value {
        minijinja::Value::from_dyn_object(Arc::clone(&self.0))
    }

    /// Whether anything was changed.
    pub fn is_touched(&self) -> bool {
        self.0.touched
    }

    /// The record as text: what was not touched is copied as it was written.
    pub fn emitted(&self) -> JsonText {
        let text = String::from_utf8_lossy(&self.0.text);
        let mut out = String::with_capacity(text.len() + 64);
        for member in self.0.list() {
            out.push(if out.is_empty() { '{' } else { ',' });
            match &member.name {
                Name::Written(name) => out.push_str(&text[name.inner.start - 1..name.inner.end + 1]),
                Name::Own(name) => out.push_str(&Value::from(name.as_str()).to_string()),
            }
            out.push(':');
            match &member.value {
                Slot::Written(range) => out.push_str(&text[range.clone()]),
                // Writing to a String cannot fail.
                Slot::Own(value) => out.push_str(&value.to_string()),
            }
        }
        out.push_str(if out.is_empty() { "{}" } else { "}" });
        JsonText::written(out)
    }

    /// The value of a member.
    pub fn member(&self, name: &str) -> Option<Value> {
        self.0.find(name).map(|member| self.0.json(&member.value).into_owned())
    }

    /// Whether there is a member of that name.
    pub fn has_member(&self, name: &str) -> bool {
        self.0.find(name).is_some()
    }

    /// Gives a member a value, in place of the one it had; whether that changed the record.
    pub fn set_member(&mut self, name: &str, value: Value) -> bool {
        if self.0.find(name).is_some_and(|member| *self.0.json(&member.value) == value) {
            return false;
        }
        let mut value = Some(value);
        self.change(|text, list| {
            // The first member of that name takes the value; a repetition would hide it.
            list.retain_mut(|member| {
                if !member.name.is(text, name) {
                    return true;
                }
                value.take().map(|value| member.value = Slot::Own(value)).is_some()
            });
            list.extend(value.map(|value| Member { name: Name::Own(name.to_owned()), value: Slot::Own(value) }));
        });
        true
    }

    /// Takes a member out; whether it was there.
    pub fn remove_member(&mut self, name: &str) -> bool {
        if self.0.find(name).is_none() {
            return false;
        }
        self.change(|text, list| list.retain(|member| !member.name.is(text, name)));
        true
    }

    /// Sets the value at a path; whether that changed the record.
    ///
    /// # Errors
    /// As [`FieldPath::set`].
    pub fn set(&mut self, path: &FieldPath, value: Value) -> Result<bool, PathError> {
        let Some(first) = path.segments().next() else { return Err(PathError::Empty) };
        if path.segments().nth(1).is_none() {
            return Ok(self.set_member(first, value));
        }
        // Only the member that the path begins with can change.
        self.within(first, |holder| path.set(holder, value))
    }

    /// Removes what a path matches; whether anything was there.
    pub fn remove(&mut self, path: &FieldPath) -> bool {
        match path.first_name() {
            Some(first) if path.segments().nth(1).is_none() => self.remove_member(first),
            Some(first) if self.0.find(first).is_none() => false,
            Some(first) => self.within(first, |holder| Ok(path.remove(holder))).unwrap_or(false),
            None => self.tree(|record| path.remove(record)),
        }
    }

    /// Changes the record through a tree that holds one member only; whether that changed it.
    fn within<T>(&mut self, name: &str, work: impl FnOnce(&mut Value) -> Result<T, PathError>) -> Result<bool, PathError> {
        let before = self.member(name);
        let mut holder = Value::Object(before.clone().into_iter().map(|value| (name.to_owned(), value)).collect());
        work(&mut holder)?;
        let after = holder.as_object_mut().and_then(|holder| holder.shift_remove(name));
        Ok(match after {
            after if after == before => false,
            Some(after) => self.set_member(name, after),
            None => self.remove_member(name),
        })
    }

    /// Changes the record as a tree; `work` says whether it did.
    pub fn tree(&mut self, work: impl FnOnce(&mut Value) -> bool) -> bool {
        let mut record = Value::Object(self.to_map());
        let changed = work(&mut record);
        if changed {
            self.replace(record);
        }
        changed
    }

    /// Takes a tree for the record; what is no object changes nothing.
    pub fn replace(&mut self, record: Value) {
        let Value::Object(record) = record else { return };
        self.change(|_, list| {
            *list = record.into_iter().map(|(name, value)| Member { name: Name::Own(name), value: Slot::Own(value) }).collect();
        });
    }

    /// The record as a map.
    pub fn to_map(&self) -> Map<String, Value> {
        self.0.to_map()
    }

    /// Calls `work` with every member's name, and its value as a tree or as its text; what it returns takes the value's place.
    pub fn revise(&mut self, mut work: impl FnMut(&str, Written<'_>) -> Option<Value>) -> bool {
        let text = self.0.text.clone();
        let mut revised = Vec::new();
        for (position, member) in self.0.list().iter().enumerate() {
            let value = match &member.value {
                Slot::Written(range) => Written::Text(&text[range.clone()]),
                Slot::Own(value) => Written::Value(value),
            };
            if let Some(value) = work(&member.name.read(&text), value) {
                revised.push((position, value));
            }
        }
        if revised.is_empty() {
            return false;
        }
        self.change(|_, list| {
            for (position, value) in revised {
                list[position].value = Slot::Own(value);
            }
        });
        true
    }

    /// Gives members other names, and maps within them other contents; of members that get the same name the later value stays, in the
    /// earlier place. Whether anything changed.
    pub fn rename(&mut self, name: impl Fn(&str) -> String, inside: Option<&dyn Fn(Value) -> Value>) -> bool {
        let mut renamed: Vec<Member> = Vec::with_capacity(self.0.list().len());
        let mut places: HashMap<String, usize> = HashMap::with_capacity(self.0.list().len());
        let mut changed = false;
        for member in self.0.list() {
            let before = member.name.read(&self.0.text);
            let after = name(&before);
            let value = inside.and_then(|inside| self.inner(&member.value, inside));
            changed |= value.is_some() || after != *before;
            let kept = if after == *before { member.name.clone() } else { Name::Own(after.clone()) };
            let member = Member { name: kept, value: value.unwrap_or_else(|| member.value.clone()) };
            match places.entry(after) {
                Entry::Occupied(known) => renamed[*known.get()].value = member.value,
                Entry::Vacant(place) => {
                    place.insert(renamed.len());
                    renamed.push(member);
                }
            }
        }
        if changed {
            self.change(|_, list| *list = renamed);
        }
        changed
    }

    /// A map within the record, made anew when that changes it.
    fn inner(&self, slot: &Slot, inside: &dyn Fn(Value) -> Value) -> Option<Slot> {
        let map = match slot {
            Slot::Written(range) => self.0.text.get(range.start) == Some(&b'{'),
            Slot::Own(value) => value.is_object(),
        };
        let before = if map { self.0.json(slot) } else { return None };
        let after = inside((*before).clone());
        // As texts: the order of names counts, which a map's own comparison leaves out.
        let (before, text) = (before.to_string(), after.to_string());
        (before != text).then_some(Slot::Own(after))
    }

    /// Changes the members.
    fn change(&mut self, work: impl FnOnce(&[u8], &mut Vec<Member>)) {
        let members = Arc::make_mut(&mut self.0);
        let mut list = members.list.take().unwrap_or_else(|| members.scan());
        work(&members.text, &mut list);
        members.list = OnceLock::from(list);
        members.touched = true;
    }
}

/// A member's value.
pub(in crate::connector::reading) enum Written<'a> {
    /// As written.
    Text(&'a [u8]),
    /// As a tree.
    Value(&'a Value),
}

impl Members {
    fn list(&self) -> &[Member] {
        self.list.get_or_init(|| self.scan())
    }

    fn scan(&self) -> Vec<Member> {
        let mut list = Vec::with_capacity(32);
        let Ok(mut scanner) = Scanner::new(&self.text) else { return list };
        if scanner.peek() == Some(b'{') {
            // The text was scanned when the record was found in its body; whatever is wrong with it was said there.
            let _ = scanner.members(|scanner, name| {
                let value = Slot::Written(scanner.value()?);
                list.push(Member { name: Name::Written(name), value });
                Ok(())
            });
        }
        list
    }

    /// The member called `name`; of several the last, as for most readers of JSON.
    fn find(&self, name: &str) -> Option<&Member> {
        self.list().iter().rev().find(|member| member.name.is(&self.text, name))
    }

    fn json<'v>(&self, slot: &'v Slot) -> Cow<'v, Value> {
        match slot {
            Slot::Written(range) => Cow::Owned(serde_json::from_slice(&self.text[range.clone()]).unwrap_or_default()),
            Slot::Own(value) => Cow::Borrowed(value),
        }
    }

    fn to_map(&self) -> Map<String, Value> {
        self.list().iter().map(|member| (member.name.read(&self.text).into_owned(), self.json(&member.value).into_owned())).collect()
    }
}

impl Name {
    fn is(&self, text: &[u8], name: &str) -> bool {
        match self {
            Name::Written(written) => written.is(text, name),
            Name::Own(own) => own == name,
        }
    }

    fn read<'a>(&'a self, text: &'a [u8]) -> Cow<'a, str> {
        match self {
            Name::Written(written) => written.decode(text),
            Name::Own(own) => Cow::Borrowed(own),
        }
    }
}

impl Object for Members {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<minijinja::Value> {
        self.find(key).map(|member| match &member.value {
            Slot::Written(range) => lazy_json(self.text.slice(range.clone())),
            Slot::Own(value) => dynamic(value),
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut known = HashSet::new();
        let names = self.list().iter().map(|member| member.name.read(&self.text));
        Enumerator::Values(names.filter(|name| known.insert(name.clone())).map(|name| minijinja::Value::from(&*name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn draft(text: &str) -> Draft {
        Draft::of(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Untouched members keep their text, and a repeated name is one member.
    #[test]
    fn what_is_not_touched_is_copied() {
        let mut record = draft(r#"{ "n": 1.50, "a\u0062": {"x" : [1 ]}, "twice": 1, "twice": 2 }"#);
        assert!(!record.set_member("ab", json!({"x": [1]})) && !record.is_touched());
        assert!(record.set_member("twice", json!(3)) && record.set_member("new \"", json!(null)) && record.remove_member("n"));
        assert_eq!(record.emitted().as_str(), r#"{"a\u0062":{"x" : [1 ]},"twice":3,"new \"":null}"#);
        assert!(record.remove_member("ab") && record.remove_member("twice") && record.remove_member("new \""));
        assert_eq!(record.emitted().as_str(), "{}");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from), "[a\\\\\"]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[ab01\"]{1,2}", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Goal: changes made in the text are the changes made in a tree. Method: the same random changes to both.
        #[test]
        fn splicing_is_what_a_tree_does(
            record in values().prop_filter("an object", Value::is_object),
            changes in prop::collection::vec((prop::collection::vec("[ab]|\\*|[01]|a\\*", 1..4), prop::option::of(values())), 0..6),
        ) {
            let (mut draft, mut tree) = (draft(&serde_json::to_string_pretty(&record).unwrap()), record);
            for (path, value) in changes {
                let path = FieldPath::new(path);
                let before = tree.clone();
                let changed = match value {
                    Some(value) => {
                        let mut after = tree.clone();
                        let there = path.set(&mut after, value.clone());
                        let here = draft.set(&path, value);
                        prop_assert_eq!(here.is_ok(), there.is_ok());
                        if there.is_ok() {
                            tree = after;
                        }
                        here.unwrap_or(false)
                    }
                    None => {
                        path.remove(&mut tree);
                        draft.remove(&path)
                    }
                };
                prop_assert!(changed || before == tree);
                prop_assert_eq!(Value::Object(draft.to_map()), tree.clone());
                prop_assert_eq!(&draft.emitted().to_value().unwrap(), &tree);
                prop_assert_eq!(crate::connector::expression::json(&draft.value()), tree.clone());
            }
        }
    }
}
