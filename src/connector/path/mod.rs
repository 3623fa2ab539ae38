//! Paths into JSON, as declarative manifests have them: lists of segments, each a name, a position or a glob.
//!
//! The rules are those of the path library behind the reference engine (measured): a segment matches a key or a position's digits
//! as a shell pattern, negative digits count from a list's end, `**` stands for any number of segments, and one that is exactly
//! `*` makes an extraction take all matches where it otherwise takes one.

use serde_json::Map;
use serde_json::Value;

mod extract;
pub(crate) mod glob;
mod once;
pub(crate) mod raw;

pub use extract::Extracted;
pub use extract::Found;
pub(crate) use extract::falsy;

use glob::Segment;

/// The refusal of a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is no JSON.
    #[error("the body is no JSON: {detail}; it yields no records")]
    NotJson {
        /// What the parser found, and where.
        detail: String,
    },
    /// A pattern outside `*` matched more than one place.
    #[error("`{path}` matches more than one place; use a segment `*` to take all")]
    Ambiguous {
        /// The path, with slashes.
        path: String,
    },
    /// A value could not be set, because something on the way is no container.
    #[error("`{path}` cannot be set: `{at}` is {found}; set a field beside it instead")]
    Blocked {
        /// The path, with slashes.
        path: String,
        /// The segment in the way.
        at: String,
        /// What is there.
        found: &'static str,
    },
    /// A position beyond what a record may be grown to.
    #[error("`{path}` cannot be set: a list would grow beyond {max} elements")]
    TooLong {
        /// The path, with slashes.
        path: String,
        /// The most elements.
        max: usize,
    },
    /// A path without segments, where one is needed.
    #[error("an empty path names nothing to set; give at least one segment")]
    Empty,
}

/// The most elements to which setting a position may grow a list.
pub const LIST_ELEMENTS_MAX: usize = 10_000;

/// A path into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    segments: Vec<Segment>,
    /// Whether extraction takes all matches.
    all: bool,
}

/// One step of a place in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Position(usize),
}

impl FieldPath {
    /// A path of the given segments; dots and slashes within a segment are part of a name.
    pub fn new<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        let segments: Vec<String> = segments.into_iter().map(Into::into).collect();
        FieldPath { all: segments.iter().any(|segment| segment == "*"), segments: segments.into_iter().map(Segment::new).collect() }
    }

    /// A path written as text, with slashes between its segments (`parent_key`, `cursor_path`).
    pub fn parse(text: &str) -> Self {
        Self::new(text.trim_start_matches('/').split('/'))
    }

    /// Whether it has no segment, and so means the value as a whole.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The segments as written.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(Segment::text)
    }

    /// The one value at the path.
    ///
    /// # Errors
    /// When a pattern matches more than one place.
    pub fn get<'v>(&self, value: &'v Value) -> Result<Option<&'v Value>, PathError> {
        if let Some(names) = self.names() {
            return Ok(names.into_iter().try_fold(value, |value, name| child(value, name)));
        }
        let mut found = self.values(value).into_iter();
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(PathError::Ambiguous { path: self.to_string() }),
            (first, None) => Ok(first),
        }
    }

    /// All values at the path.
    pub fn values<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        if self.segments.is_empty() {
            return vec![value];
        }
        self.places(value).iter().filter_map(|place| at(value, place)).collect()
    }

    /// Sets the value at the path, creating maps on the way, and lists where the next segment is a number.
    ///
    /// # Errors
    /// When something on the way is no container, or a list has no such position.
    pub fn set(&self, target: &mut Value, value: Value) -> Result<(), PathError> {
        let Some((last, way)) = self.segments.split_last() else { return Err(PathError::Empty) };
        let mut current = target;
        for (position, segment) in way.iter().enumerate() {
            let next = self.segments.get(position + 1).map_or("", Segment::text);
            let fresh = || if decimal(next) { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
            let slot = self.slot(current, segment.text())?;
            if slot.is_missing() {
                *slot.value = fresh();
            }
            current = slot.value;
        }
        *self.slot(current, last.text())?.value = value;
        Ok(())
    }

    /// The first segment, when it can mean one member of an object only.
    pub fn first_name(&self) -> Option<&str> {
        self.segments.first().and_then(Segment::name).filter(|name| !glob::is_position(name))
    }

    /// Removes what the path matches; a removed element in the middle of a list leaves null. Nothing to remove is no error, and said.
    pub fn remove(&self, target: &mut Value) -> bool {
        if let (Some(names), Value::Object(map)) = (self.names(), &mut *target)
            && let [name] = names.as_slice()
            && !glob::is_position(name)
        {
            return map.shift_remove(*name).is_some();
        }
        let places = self.places(target);
        places.iter().for_each(|place| remove_at(target, place));
        !places.is_empty()
    }

    /// Removes every list that the path matches, later ones first; what else it matches stays.
    pub fn remove_lists(&self, target: &mut Value) {
        for place in self.places(target).into_iter().rev() {
            if at(target, &place).is_some_and(Value::is_array) {
                // Unlike [`FieldPath::remove`], an element within a list goes, and nothing takes its place.
                take_out(target, &place);
            }
        }
    }

    /// Removes every scalar of `target`, at whatever place, for which `holds`.
    ///
    /// That the path plays no part is how the reference engine's path library treats a removal with a condition (read in its source).
    pub fn remove_where(&self, target: &mut Value, mut holds: impl FnMut(&Value) -> bool) -> bool {
        let mut removed = false;
        let everywhere = FieldPath::new(["**"]);
        for place in everywhere.places(target) {
            let selected = at(target, &place).is_some_and(|value| !value.is_object() && !value.is_array() && holds(value));
            if selected {
                remove_at(target, &place);
                removed = true;
            }
        }
        removed
    }

    /// The segments as names, when none is a pattern.
    fn names(&self) -> Option<Vec<&str>> {
        self.segments.iter().map(Segment::name).collect()
    }

    /// The places that match, parents before their children.
    fn places(&self, value: &Value) -> Vec<Vec<Step>> {
        let mut found = Vec::new();
        walk(value, &mut Vec::new(), &mut |path| {
            if self.matches(path) {
                found.push(path.iter().map(|(step, _)| step.clone()).collect());
            }
            self.may_match_below(path)
        });
        found
    }

    /// Whether the path of steps, each with its list's length, matches.
    fn matches(&self, path: &[(Step, usize)]) -> bool {
        let step = |segment: &Segment, (step, length): &(Step, usize)| match step {
            Step::Key(key) => segment.matches_key(key),
            Step::Position(position) => segment.matches_position(*position, *length),
        };
        let deep = self.segments.iter().position(Segment::is_deep);
        match deep {
            None => self.segments.len() == path.len() && self.segments.iter().zip(path).all(|(segment, at)| step(segment, at)),
            Some(deep) => {
                let (before, after) = (&self.segments[..deep], &self.segments[deep + 1..]);
                let Some(middle) = path.len().checked_sub(before.len() + after.len()) else { return false };
                before.iter().zip(path).all(|(segment, at)| step(segment, at))
                    && after.iter().zip(&path[before.len() + middle..]).all(|(segment, at)| step(segment, at))
            }
        }
    }

    /// Whether anything below the path of steps may match.
    fn may_match_below(&self, path: &[(Step, usize)]) -> bool {
        if self.segments.iter().any(Segment::is_deep) {
            return true;
        }
        path.len() < self.segments.len()
            && path.last().zip(self.segments.get(path.len().wrapping_sub(1))).is_none_or(|((step, length), segment)| match step {
                Step::Key(key) => segment.matches_key(key),
                Step::Position(position) => segment.matches_position(*position, *length),
            })
    }

    fn slot<'v>(&self, container: &'v mut Value, segment: &str) -> Result<Slot<'v>, PathError> {
        let blocked = |found| PathError::Blocked { path: self.to_string(), at: segment.to_owned(), found };
        match container {
            Value::Object(map) => {
                let missing = !map.contains_key(segment);
                Ok(Slot { value: map.entry(segment.to_owned()).or_insert(Value::Null), missing })
            }
            Value::Array(items) => {
                let position: i64 = segment.parse().map_err(|_| blocked("a list, which has positions only"))?;
                let position = if position < 0 { position + i64::try_from(items.len()).unwrap_or(i64::MAX) } else { position };
                let position = usize::try_from(position).map_err(|_| blocked("a list without that position"))?;
                if position >= LIST_ELEMENTS_MAX {
                    return Err(PathError::TooLong { path: self.to_string(), max: LIST_ELEMENTS_MAX });
                }
                let missing = position >= items.len();
                if missing {
                    items.resize(position + 1, Value::Null);
                }
                items.get_mut(position).map(|value| Slot { value, missing }).ok_or_else(|| blocked("a list without that position"))
            }
            Value::Null => Err(blocked("below null")),
            _ => Err(blocked("below a scalar")),
        }
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.segments().collect::<Vec<_>>().join("/"))
    }
}

/// A place to write, and whether it was made for that.
struct Slot<'v> {
    value: &'v mut Value,
    missing: bool,
}

impl Slot<'_> {
    fn is_missing(&self) -> bool {
        self.missing
    }
}

fn decimal(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

fn child<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) if !glob::is_position(name) => map.get(name),
        Value::Array(items) => items.get(glob::position(name, items.len())?),
        _ => None,
    }
}

fn at<'v>(value: &'v Value, place: &[Step]) -> Option<&'v Value> {
    place.iter().try_fold(value, |value, step| match (value, step) {
        (Value::Object(map), Step::Key(key)) => map.get(key),
        (Value::Array(items), Step::Position(position)) => items.get(*position),
        _ => None,
    })
}

fn remove_at(target: &mut Value, place: &[Step]) {
    let Some((parent, last)) = parent_of(target, place) else { return };
    match (parent, last) {
        (Value::Object(map), Step::Key(key)) => drop(map.shift_remove(key)),
        (Value::Array(items), Step::Position(position)) if position + 1 == items.len() => drop(items.pop()),
        (Value::Array(items), Step::Position(position)) => {
            if let Some(item) = items.get_mut(*position) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

fn take_out(target: &mut Value, place: &[Step]) {
    match parent_of(target, place) {
        Some((Value::Object(map), Step::Key(key))) => drop(map.shift_remove(key)),
        Some((Value::Array(items), Step::Position(position))) if *position < items.len() => drop(items.remove(*position)),
        _ => {}
    }
}

/// What the last step of a place is a step of, and that step.
fn parent_of<'v, 'p>(target: &'v mut Value, place: &'p [Step]) -> Option<(&'v mut Value, &'p Step)> {
    let (last, way) = place.split_last()?;
    let parent = way.iter().try_fold(target, |value, step| match (value, step) {
        (Value::Object(map), Step::Key(key)) => map.get_mut(key),
        (Value::Array(items), Step::Position(position)) => items.get_mut(*position),
        _ => None,
    })?;
    Some((parent, last))
}

/// Visits every place below `value`, parents first; `visit` tells whether to go below.
fn walk(value: &Value, path: &mut Vec<(Step, usize)>, visit: &mut impl FnMut(&[(Step, usize)]) -> bool) {
    let mut step = |step: Step, length: usize, value: &Value| {
        path.push((step, length));
        if visit(path) {
            walk(value, path, visit);
        }
        path.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| step(Step::Key(key.clone()), map.len(), value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(position, value)| step(Step::Position(position), items.len(), value));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Goal: a position that a manifest asks for cannot make a record grow without bound.
    #[test]
    fn setting_a_far_position_is_refused() {
        let mut record = json!({ "a": [] });
        let refused = FieldPath::new(["a", "999999999"]).set(&mut record, json!(1));
        assert!(matches!(refused, Err(PathError::TooLong { .. })), "{refused:?}");
        assert_eq!(record, json!({ "a": [] }));
    }

    /// Goal: removal with a condition takes scalars wherever they are, as the reference engine does.
    #[test]
    fn removal_with_a_condition() {
        let mut record = json!({ "a": "", "b": { "c": "", "d": 1 }, "e": ["", 2, ""] });
        FieldPath::new(["a"]).remove_where(&mut record, |value| value == "");
        assert_eq!(record, json!({ "b": { "d": 1 }, "e": [null, 2] }));
    }
}
