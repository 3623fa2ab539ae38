//! Python's tuples, and its lists and maps that can be changed in place.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use minijinja::Error;
use minijinja::ErrorKind;
use minijinja::State;
use minijinja::Value;
use minijinja::value::Enumerator;
use minijinja::value::Object;
use minijinja::value::ObjectRepr;
use minijinja::value::from_args;

/// A tuple: a list that prints with parentheses.
#[derive(Debug)]
pub(super) struct Tuple(pub(super) Vec<Value>);

impl Tuple {
    /// A tuple of a template's own values, as they are now.
    pub(super) fn new(items: Vec<Value>) -> Self {
        Tuple(items.into_iter().map(frozen).collect())
    }
}

impl Object for Tuple {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

/// A list literal of a template that changes lists. What is put into it is put in as it is then: a list cannot come to hold itself.
#[derive(Debug)]
pub(super) struct List(Mutex<Vec<Value>>);

impl List {
    pub(super) fn new(items: Vec<Value>) -> Self {
        List(Mutex::new(items.into_iter().map(frozen).collect()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Value>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let position = key.as_usize()?;
        self.with(|items| items.get(position).cloned())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.with(|items| items.clone()))
    }

    fn call_method(self: &Arc<Self>, _state: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "append" => {
                let (item,): (Value,) = from_args(args)?;
                let item = frozen(item);
                self.with(|items| items.push(item));
            }
            "extend" => {
                let (more,): (Value,) = from_args(args)?;
                let more: Vec<Value> = more.try_iter()?.map(frozen).collect();
                self.with(|items| items.extend(more));
            }
            "insert" => {
                let (position, item): (usize, Value) = from_args(args)?;
                let item = frozen(item);
                self.with(|items| items.insert(position.min(items.len()), item));
            }
            "pop" => {
                let () = from_args(args)?;
                return self.with(Vec::pop).ok_or_else(|| Error::new(ErrorKind::BadSerialization, "pop from an empty list"));
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}

/// A map literal of a template that changes maps.
#[derive(Debug)]
pub(super) struct Map(Mutex<Vec<(Value, Value)>>);

impl Map {
    pub(super) fn new(pairs: Vec<(Value, Value)>) -> Self {
        let map = Map(Mutex::new(Vec::with_capacity(pairs.len())));
        pairs.into_iter().for_each(|(key, value)| map.put(key, value));
        map
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<(Value, Value)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, key: Value, value: Value) {
        let (key, value) = (frozen(key), frozen(value));
        self.with(|pairs| match pairs.iter_mut().find(|(known, _)| *known == key) {
            Some((_, slot)) => *slot = value,
            None => pairs.push((key, value)),
        });
    }
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = frozen(key.clone());
        self.with(|pairs| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.with(|pairs| pairs.iter().map(|(key, _)| key.clone()).collect()))
    }

    fn call_method(self: &Arc<Self>, _state: &State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "update" => {
                let (more,): (Value,) = from_args(args)?;
                let pairs = more.as_object().and_then(|object| object.try_iter_pairs());
                let pairs: Vec<_> = pairs.into_iter().flatten().collect();
                pairs.into_iter().for_each(|(key, value)| self.put(key, value));
            }
            "pop" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let key = frozen(key);
                let found = self.with(|pairs| {
                    let position = pairs.iter().position(|(known, _)| *known == key)?;
                    Some(pairs.remove(position).1)
                });
                return found.or(default).ok_or_else(|| Error::new(ErrorKind::BadSerialization, "key not found"));
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        }
        Ok(Value::from(()))
    }
}

/// The value, no longer changeable. Made before a lock is taken: the value may be the list that is locked.
fn frozen(value: Value) -> Value {
    if let Some(list) = value.downcast_object_ref::<List>() {
        return Value::from(list.with(|items| items.clone()));
    }
    match value.downcast_object_ref::<Map>() {
        Some(map) => map.with(|pairs| pairs.iter().cloned().collect()),
        None => value,
    }
}
