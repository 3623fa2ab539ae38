//! Where the records of an answer are, which of them count, and what they become.
//!
//! A record that no expression touches is never built as a tree: it stays a range of the body, and only its key and its time are
//! looked up in its text. Source for the order of the steps: the record selector of airbyte-cdk (LOWCODE.md section 4.6).

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::records::AddFields;
use crate::connector::component::records::Extractor;
use crate::connector::component::records::Filter;
use crate::connector::component::records::RemoveFields;
use crate::connector::component::records::Selector as Declared;
use crate::connector::component::records::Transformation;
use crate::connector::component::records::ValueType;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Retriever;
use crate::connector::component::value::Expression;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::expression::lazy_json;
use crate::connector::path::FieldPath;
use crate::connector::path::PathError;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;
use crate::connector::reading::TimeCursor;
use crate::record::FetchedRecord;
use crate::record::JsonText;
use crate::record::Pointer;

/// The records of one answer.
#[derive(Debug)]
pub struct Selection {
    /// Those that count, in the order of the body.
    pub records: Vec<FetchedRecord>,
    /// The time that each of them tells, if the stream has a cursor and the time can be read.
    pub times: Vec<Option<DateTime>>,
    /// How many items were found.
    pub raw_count: usize,
    /// How many the filter left out.
    pub filtered: u64,
    /// How many were no objects, and so no records.
    pub ignored: u64,
    /// How many added values were texts that became another type.
    pub coerced: u64,
    /// The last record, as emitted; null when there is none.
    pub last_record: minijinja::Value,
}

/// The selection of one stream.
#[derive(Debug)]
pub struct Selector<'a> {
    compat: Compat,
    scope: Scope,
    path: FieldPath,
    filter: Option<&'a Expression>,
    filters_last: bool,
    changes: Vec<Change<'a>>,
    primary_key: Vec<Place>,
    cursor: Option<Place>,
    /// The members of a record that are wanted of each, found in the same pass as the record.
    members: Vec<String>,
}

/// A field, for look-ups in texts and in trees.
#[derive(Debug)]
struct Place {
    pointer: Pointer,
    text: String,
    /// Which of the selector's members it is, when it is one of the record's own.
    member: Option<usize>,
}

/// A record's text, and where its wanted members lie in the body.
#[derive(Clone, Copy)]
struct Text<'a> {
    body: &'a [u8],
    raw: &'a [u8],
    members: &'a [Option<Range<usize>>],
}

#[derive(Debug)]
enum Change<'a> {
    Add { fields: Vec<AddedField<'a>>, condition: Option<&'a Expression> },
    Remove { paths: Vec<FieldPath>, condition: Option<&'a Expression> },
}

#[derive(Debug)]
struct AddedField<'a> {
    path: FieldPath,
    names: Value,
    value: &'a Expression,
    literals: Literals,
}

impl<'a> Selector<'a> {
    /// The selection of `stream`. `scope` has `config`.
    ///
    /// # Errors
    /// When a path cannot be evaluated.
    pub fn new(stream: &'a DeclarativeStream, scope: Scope, compat: Compat) -> Result<Self, ReadingError> {
        let Retriever::SimpleRetriever(retriever) = &stream.retriever;
        let Declared::RecordSelector(declared) = &retriever.record_selector;
        let Extractor::DpathExtractor(extractor) = &declared.extractor;
        let filter = declared.record_filter.as_ref().map(|Filter::RecordFilter(filter)| &filter.condition);
        let changes = stream.transformations.iter().map(|transformation| match transformation {
            Transformation::AddFields(add) => Change::add(add, &scope),
            Transformation::RemoveFields(remove) => Ok(Change::remove(remove)),
        });
        let mut members = Vec::new();
        let cursor = match &stream.incremental_sync {
            Some(IncrementalSync::DatetimeBasedCursor(cursor)) => {
                let field = cursor.cursor_field.text(&scope).map_err(ReadingError::expression("cursor_field"))?;
                Some(Place::new(&[field], &mut members)?)
            }
            None => None,
        };
        let mut place = |path: &Vec<String>| Place::new(path, &mut members);
        let primary_key = stream.primary_key.0.iter().map(&mut place).collect::<Result<_, _>>()?;
        Ok(Selector {
            compat,
            path: FieldPath::new(segments(&extractor.field_path, &scope)?),
            filter,
            filters_last: declared.transform_before_filtering,
            changes: changes.collect::<Result<_, _>>()?,
            primary_key,
            cursor,
            members,
            scope,
        })
    }

    /// The records of `body`. `cursor` says which are too old or too new, where the application cannot.
    ///
    /// # Errors
    /// When the body is no JSON, a path is ambiguous, or an expression fails.
    pub fn select(
        &self,
        body: &Bytes,
        slice: &Slice,
        token: Option<&Value>,
        cursor: Option<&TimeCursor<'_>>,
    ) -> Result<Selection, ReadingError> {
        let mut selection =
            Selection { records: Vec::new(), times: Vec::new(), raw_count: 0, filtered: 0, ignored: 0, coerced: 0, last_record: ().into() };
        let wanted: Vec<&str> = self.members.iter().map(String::as_str).collect();
        let found = match self.path.extract_with(body, &wanted) {
            Ok(found) => found,
            // The reference engine takes a body that is no JSON for an empty page.
            Err(PathError::NotJson { .. }) if self.compat == Compat::Strict || body.trim_ascii().is_empty() => return Ok(selection),
            Err(source) => return Err(ReadingError::Records { source }),
        };
        let mut scope = self.scope.clone();
        let token = token.map_or(Value::Null, |token| serde_json::json!({ "next_page_token": token }));
        scope.set_slice(slice).set("next_page_token", dynamic(&token));
        selection.raw_count = found.records.len();
        for (number, extracted) in found.records.into_iter().enumerate() {
            let raw = body.slice(extracted.range.clone());
            if raw.first() != Some(&b'{') {
                selection.ignored += 1;
                continue;
            }
            if !self.filters_last && !self.passes(&mut scope, || lazy_json(raw.clone()))? {
                selection.filtered += 1;
                continue;
            }
            let (emitted, transformations) = self.transformed(&raw, &mut scope, &mut selection.coerced)?;
            let value = || emitted.as_ref().map_or_else(|| lazy_json(raw.clone()), dynamic);
            if self.filters_last && !self.passes(&mut scope, value)? {
                selection.filtered += 1;
                continue;
            }
            let members = &found.fields[number * wanted.len()..][..wanted.len()];
            let text = Text { body, raw: &raw, members };
            let at = match (&self.cursor, cursor) {
                (Some(place), Some(cursor)) => place.find(text, emitted.as_ref()).and_then(|value| cursor.read_value(&value)),
                _ => None,
            };
            if cursor.is_some_and(|cursor| !cursor.admits(at)) {
                selection.filtered += 1;
                continue;
            }
            let primary_key = self.primary_key.iter().map(|place| place.find(text, emitted.as_ref()).unwrap_or_default()).collect();
            selection.times.push(at);
            selection.records.push(FetchedRecord {
                range: extracted.range,
                pointer: extracted.pointer,
                primary_key,
                emitted: emitted.as_ref().map(JsonText::of),
                transformations,
            });
        }
        if let Some(last) = selection.records.last() {
            selection.last_record = match &last.emitted {
                Some(emitted) => lazy_json(Bytes::copy_from_slice(emitted.as_str().as_bytes())),
                None => lazy_json(body.slice(last.range.clone())),
            };
        }
        Ok(selection)
    }

    fn passes(&self, scope: &mut Scope, record: impl FnOnce() -> minijinja::Value) -> Result<bool, ReadingError> {
        let Some(filter) = self.filter else { return Ok(true) };
        scope.set("record", record());
        filter.truth(scope).map_err(ReadingError::expression("record_filter"))
    }

    /// The record after every change, and the names of those that changed it; nothing when none did.
    fn transformed(&self, raw: &[u8], scope: &mut Scope, coerced: &mut u64) -> Result<(Option<Value>, Vec<String>), ReadingError> {
        if self.changes.is_empty() {
            return Ok((None, Vec::new()));
        }
        let not_json = |error: serde_json::Error| ReadingError::Records { source: PathError::NotJson { detail: error.to_string() } };
        let mut record: Value = serde_json::from_slice(raw).map_err(not_json)?;
        let mut names = Vec::new();
        for change in &self.changes {
            let before = record.clone();
            let name = match change {
                Change::Add { fields, condition } => {
                    add(fields, *condition, &mut record, scope, coerced)?;
                    "AddFields"
                }
                Change::Remove { paths, condition } => {
                    remove(paths, *condition, &mut record, scope)?;
                    "RemoveFields"
                }
            };
            if before != record && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Ok(if names.is_empty() { (None, names) } else { (Some(record), names) })
    }
}

impl<'a> Change<'a> {
    fn add(add: &'a AddFields, scope: &Scope) -> Result<Self, ReadingError> {
        let field = |field: &'a crate::connector::component::records::AddedFieldDefinition| -> Result<_, ReadingError> {
            let names = segments(&field.path, scope)?;
            let literals = match field.value_type {
                None => Literals::Any,
                Some(ValueType::Text) => Literals::Text,
                Some(ValueType::Number) => Literals::Number,
                Some(ValueType::Integer) => Literals::Integer,
                Some(ValueType::Boolean) => Literals::Boolean,
            };
            Ok(AddedField { names: Value::from(names.clone()), path: FieldPath::new(names), value: &field.value, literals })
        };
        let fields = add.fields.iter().map(field).collect::<Result<_, _>>()?;
        Ok(Change::Add { fields, condition: add.condition.as_ref() })
    }

    fn remove(remove: &'a RemoveFields) -> Self {
        let paths = remove.field_pointers.iter().map(|path| FieldPath::new(path.iter().cloned())).collect();
        Change::Remove { paths, condition: remove.condition.as_ref() }
    }
}

/// Writes the fields in order; each sees those before it.
fn add(
    fields: &[AddedField<'_>],
    condition: Option<&Expression>,
    record: &mut Value,
    scope: &mut Scope,
    coerced: &mut u64,
) -> Result<(), ReadingError> {
    for field in fields {
        scope.set("record", dynamic(record));
        let evaluated = field.value.noting(scope, field.literals).map_err(ReadingError::expression("value"))?;
        if let Some(condition) = condition {
            let mut scope = scope.clone();
            scope.set("value", dynamic(&evaluated.value)).set("path", dynamic(&field.names));
            if !condition.truth(&scope).map_err(ReadingError::expression("condition"))? {
                continue;
            }
        }
        *coerced += u64::from(evaluated.coerced);
        field.path.set(record, evaluated.value).map_err(|source| ReadingError::Records { source })?;
    }
    Ok(())
}

fn remove(paths: &[FieldPath], condition: Option<&Expression>, record: &mut Value, scope: &Scope) -> Result<(), ReadingError> {
    for path in paths {
        let Some(condition) = condition else {
            path.remove(record);
            continue;
        };
        let mut failed = None;
        path.remove_where(record, |property| {
            let mut scope = scope.clone();
            scope.set("property", dynamic(property));
            condition.truth(&scope).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        });
        if let Some(source) = failed {
            return Err(ReadingError::expression("condition")(source));
        }
    }
    Ok(())
}

impl Place {
    /// A place, whose member is added to those that are wanted.
    fn new(path: &[String], members: &mut Vec<String>) -> Result<Self, ReadingError> {
        let text: String = path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
        let wrong = |_| ReadingError::Value { field: "primary_key", found: crate::ids::cut(&text), needs: "a field's name" };
        let member = match path {
            [name] => {
                let known = members.iter().position(|member| member == name);
                Some(known.unwrap_or_else(|| {
                    members.push(name.clone());
                    members.len() - 1
                }))
            }
            _ => None,
        };
        Ok(Place { pointer: text.parse().map_err(wrong)?, text: text.clone(), member })
    }

    /// The value in the emitted record, or else in the text.
    fn find(&self, text: Text<'_>, emitted: Option<&Value>) -> Option<Value> {
        match (emitted, self.member) {
            (Some(emitted), _) => emitted.pointer(&self.text).cloned(),
            (None, Some(member)) => serde_json::from_slice(&text.body[text.members[member].clone()?]).ok(),
            (None, None) => {
                let found = self.pointer.find(text.raw).ok()?.into_iter().next()?;
                serde_json::from_slice(&text.raw[found]).ok()
            }
        }
    }
}

fn segments(path: &[Expression], scope: &Scope) -> Result<Vec<String>, ReadingError> {
    path.iter().map(|segment| segment.text(scope)).collect::<Result<_, _>>().map_err(ReadingError::expression("field_path"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::NOW;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn stream(selector: &str, members: &str) -> DeclarativeStream {
        let yaml = format!(
            "name: s\nretriever: {{requester: {{url: 'https://a.example'}}, record_selector: {selector}}}\nprimary_key: [id]\n{members}"
        );
        component(&yaml, "DeclarativeSource", "streams")
    }

    fn select_with(selector: &str, members: &str, body: &str, compat: Compat) -> Result<Selection, ReadingError> {
        let stream = stream(selector, members);
        let config = json!({"least": 2});
        let selector = Selector::new(&stream, scope(&config), compat)?;
        let cursor = stream.incremental_sync.as_ref();
        let cursor = cursor.map(|sync| TimeCursor::new(sync, scope(&config), None, NOW.parse().unwrap(), compat)).transpose()?;
        selector.select(&Bytes::from(body.to_owned()), &Slice::default(), None, cursor.as_ref())
    }

    fn select(selector: &str, members: &str, body: &str) -> Selection {
        select_with(selector, members, body, Compat::Safe).unwrap()
    }

    fn emitted(selection: &Selection, number: usize) -> Option<Value> {
        selection.records[number].emitted.as_ref().map(|text| text.to_value().unwrap())
    }

    const DATA: &str = "{extractor: {field_path: [data]}}";

    /// Untouched records stay ranges of the body, with pointer and key; what is no object is counted and left out.
    #[test]
    fn records_are_ranges() {
        let body = r#"{"data": [{"id": 7, "n": 1.50}, 5, {}, {"id": "x"}]}"#;
        let selection = select(DATA, "", body);
        let texts: Vec<&str> = selection.records.iter().map(|record| &body[record.range.clone()]).collect();
        assert_eq!(texts, [r#"{"id": 7, "n": 1.50}"#, "{}", r#"{"id": "x"}"#]);
        assert_eq!(selection.records.iter().map(|record| record.pointer.as_str()).collect::<Vec<_>>(), ["/data/0", "/data/2", "/data/3"]);
        assert_eq!(
            selection.records.iter().map(|record| record.primary_key.clone()).collect::<Vec<_>>(),
            [vec![json!(7)], vec![json!(null)], vec![json!("x")]]
        );
        assert!(selection.records.iter().all(|record| record.emitted.is_none() && record.transformations.is_empty()));
        assert_eq!((selection.raw_count, selection.ignored, selection.filtered), (4, 1, 0));
    }

    /// The filter comes before the changes, or after them when the manifest says so.
    #[test]
    fn filter_and_changes_have_an_order() {
        let body = r#"{"data": [{"id": 1}, {"id": 2}, {"id": 3}]}"#;
        let add = "transformations: [{type: AddFields, fields: [{path: [kept], value: \"{{ record['id'] >= config['least'] }}\"}]}]";
        let filter = "extractor: {field_path: [data]}, record_filter: {condition: \"{{ record['kept'] }}\"}";
        assert_eq!(select(&format!("{{{filter}}}"), add, body).filtered, 3);
        let after = select(&format!("{{{filter}, transform_before_filtering: true}}"), add, body);
        assert_eq!((after.filtered, after.records.len()), (1, 2));
        assert_eq!(emitted(&after, 0), Some(json!({"id": 2, "kept": true})));
    }

    /// Added fields see those before them, a change that changes nothing leaves the record as it is, and types are as asked.
    #[test]
    fn changes_are_made() {
        let members = "transformations:
  - {type: RemoveFields, field_pointers: [[secret], [none]]}
  - {type: AddFields, fields: [{path: [a, b], value: \"{{ record['id'] }}\"}, {path: [c], value: \"{{ record['a']['b'] }}0\", value_type: string}]}
  - {type: RemoveFields, field_pointers: [[none]]}";
        let selection = select(DATA, members, r#"{"data": [{"id": 7, "secret": 1}]}"#);
        assert_eq!(emitted(&selection, 0), Some(json!({"id": 7, "a": {"b": 7}, "c": "70"})));
        assert_eq!(selection.records[0].transformations, ["RemoveFields", "AddFields"]);
        let nothing = select(DATA, "transformations: [{type: RemoveFields, field_pointers: [[none]]}]", r#"{"data": [{"id": 7}]}"#);
        assert_eq!((&nothing.records[0].emitted, nothing.records[0].transformations.len()), (&None, 0));
    }

    /// An identifier that reads as a number becomes one, and is counted.
    #[test]
    fn coercions_are_counted() {
        let members = "transformations: [{type: AddFields, fields: [{path: [ref], value: \"{{ record['code'] }}\"}]}]";
        let selection = select(DATA, members, r#"{"data": [{"id": 1, "code": "123"}, {"id": 2, "code": "x"}]}"#);
        assert_eq!((selection.coerced, emitted(&selection, 0)), (1, Some(json!({"id": 1, "code": "123", "ref": 123}))));
    }

    /// Times of records are read; where the application cannot filter, records before the start are left out.
    #[test]
    fn times_are_read() {
        let sync = "incremental_sync: {type: DatetimeBasedCursor, cursor_field: at, datetime_format: '%Y-%m-%d', start_datetime: '2026-11-02', is_client_side_incremental: true}";
        let selection = select(DATA, sync, r#"{"data": [{"id": 1, "at": "2026-11-01"}, {"id": 2, "at": "2026-11-02"}, {"id": 3}]}"#);
        assert_eq!((selection.filtered, selection.times.len()), (1, 2));
        assert_eq!(selection.times.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    }

    /// A body that is no JSON fails the page; the reference engine takes it for an empty one. An empty body is an empty page.
    #[test]
    fn bad_bodies_are_no_empty_pages() {
        assert!(matches!(select_with(DATA, "", "<html>", Compat::Safe), Err(ReadingError::Records { .. })));
        assert_eq!(select_with(DATA, "", "<html>", Compat::Strict).unwrap().raw_count, 0);
        assert_eq!(select_with(DATA, "", " \n", Compat::Safe).unwrap().raw_count, 0);
        let whole = select("{extractor: {field_path: []}}", "", r#"[{"id": 1}, {"id": 2}]"#);
        assert_eq!(whole.records.len(), 2);
    }
}
