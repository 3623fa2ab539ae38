//! Where the records of an answer are, which of them count, and what they become.
//!
//! A record that no expression touches is never built as a tree: it stays a range of the body, and only its key and its time are
//! looked up in its text. Source for the order of the steps: the record selector of airbyte-cdk (LOWCODE.md section 4.6).

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use crate::connector::component::incremental::IncrementalSync;
use crate::connector::component::records::DownloadExtractor;
use crate::connector::component::records::Filter;
use crate::connector::component::records::Normalization;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Retriever;
use crate::connector::component::value::Expression;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::expression::lazy_json;
use crate::connector::path::PathError;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;
use crate::connector::reading::TimeCursor;
use crate::connector::reading::decode::Decoding;
use crate::connector::reading::extraction::Extraction;
use crate::connector::reading::transform::Changed;
use crate::connector::reading::transform::Changes;
use crate::connector::reading::transform::Draft;
use crate::connector::reading::transform::Schema;
use crate::record::FetchedRecord;
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
    /// How many of them the paginator counts: those that the filter kept, with the known ones of a feed.
    pub kept_count: usize,
    /// The time of the last record that the paginator counts.
    pub last_time: Option<DateTime>,
    /// How many the filter left out.
    pub filtered: u64,
    /// How many were no objects, and so no records.
    pub ignored: u64,
    /// How many added values were texts that became another type.
    pub coerced: u64,
    /// How many of those are part of the primary key.
    pub coerced_keys: u64,
    /// The last record, as emitted; null when there is none.
    pub last_record: minijinja::Value,
    /// What kept the records behind these from being taken, where the reference engine hands on those before a failure.
    pub failure: Option<ReadingError>,
}

/// The selection of one stream.
#[derive(Debug)]
pub struct Selector<'a> {
    compat: Compat,
    scope: Scope,
    decoding: Decoding,
    extraction: Extraction,
    filter: Option<&'a Expression>,
    filters_last: bool,
    changes: Changes<'a>,
    normalizes: bool,
    schema_is_elsewhere: bool,
    schema: Option<Schema>,
    primary_key: Vec<Place>,
    cursor: Option<Place>,
    /// The members of a record that are wanted of each, found in the same pass as the record.
    members: Vec<String>,
}

/// A field, for look-ups in texts and in drafts.
#[derive(Debug)]
struct Place {
    pointer: Pointer,
    names: Vec<String>,
    /// Which of the selector's members it is, when it is one of the record's own.
    member: Option<usize>,
}

/// A record on its way through the selection.
struct Candidate<'b> {
    body: &'b [u8],
    /// Its text.
    raw: Bytes,
    /// Where its wanted members lie in the body, when that is known.
    members: &'b [Option<Range<usize>>],
    /// What becomes of it, when something looks into it or changes it.
    draft: Option<Draft>,
}

/// What is known of a record that counts.
struct Passed {
    at: Option<DateTime>,
    transformations: Vec<String>,
    boundless: Vec<String>,
}

impl<'a> Selector<'a> {
    /// The selection of `stream`. `scope` has `config`.
    ///
    /// # Errors
    /// When a path cannot be evaluated.
    pub fn new(stream: &'a DeclarativeStream, scope: Scope, compat: Compat) -> Result<Self, ReadingError> {
        let declared = stream.retriever.record_selector();
        let (decoding, extraction) = match &stream.retriever {
            Retriever::SimpleRetriever(retriever) => {
                (Decoding::new(retriever.decoder.as_ref(), compat), Extraction::new(&declared.extractor, &scope)?)
            }
            Retriever::AsyncRetriever(retriever) => {
                let decoding = || Decoding::new(retriever.download_decoder.as_ref(), compat);
                match &retriever.download_extractor {
                    None => (decoding(), Extraction::whole()),
                    Some(DownloadExtractor::ResponseToFileExtractor(file)) => {
                        (Decoding::download(file.preserve_na_values, compat), Extraction::whole())
                    }
                    Some(DownloadExtractor::DpathExtractor(extractor)) => (decoding(), Extraction::of_path(extractor, &scope)?),
                    Some(DownloadExtractor::CombinedExtractor(combined)) => (decoding(), Extraction::of_several(combined, &scope)?),
                }
            }
        };
        let filter = declared.record_filter.as_ref().map(|Filter::RecordFilter(filter)| &filter.condition);
        let mut members = Vec::new();
        let mut by_time = false;
        let cursor = match &stream.incremental_sync {
            Some(IncrementalSync::DatetimeBasedCursor(cursor)) => {
                by_time = cursor.is_client_side_incremental;
                let field = cursor.cursor_field.text(&scope).map_err(ReadingError::expression("cursor_field"))?;
                Some(Place::new(&[field], &mut members)?)
            }
            Some(IncrementalSync::IncrementingCountCursor(_)) | None => None,
        };
        let mut place = |path: &Vec<String>| Place::new(path, &mut members);
        let primary_key = stream.primary_key.0.iter().map(&mut place).collect::<Result<_, _>>()?;
        let inline = super::schema::inline(stream);
        let selector = Selector {
            compat,
            decoding,
            extraction,
            // An empty condition is none.
            filter: filter.filter(|condition| condition.plain() != Some("")),
            filters_last: declared.transform_before_filtering.unwrap_or(by_time),
            changes: Changes::new(&stream.transformations, &stream.primary_key.0, &scope, compat)?,
            normalizes: declared.schema_normalization == Normalization::Default,
            schema: None,
            schema_is_elsewhere: inline.is_none(),
            primary_key,
            cursor,
            members,
            scope,
        };
        Ok(selector.with_schema(inline.as_deref()))
    }

    /// Whether values are brought to the types of a schema that is not, or not only, written in the manifest.
    pub fn wants_schema(&self) -> bool {
        self.normalizes && self.schema_is_elsewhere
    }

    /// With the schema of a stream whose schema is found elsewhere.
    pub fn with_schema(mut self, schema: Option<&Value>) -> Self {
        if let Some(schema) = schema.filter(|_| self.normalizes) {
            self.schema = Schema::compile(schema, self.compat);
        }
        self
    }

    /// The body that records are ranges of: the answer's own when it is JSON, else its decoded form. The pager reads it as well.
    ///
    /// # Errors
    /// When the body is not what the stream's decoder reads.
    pub fn decoded(&self, body: &Bytes) -> Result<Bytes, ReadingError> {
        self.decoding.decode(body).map_err(|source| ReadingError::Body { source })
    }

    /// The records of `body`, as [`Selector::decoded`] gave it. `cursor` says which are too old or too new, where the application cannot.
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
        let mut selection = Selection::default();
        let wanted: Vec<&str> = self.members.iter().map(String::as_str).collect();
        let found = match self.extraction.find(body, &wanted) {
            Ok(found) => found,
            // The reference engine takes a body that is no JSON for an empty page.
            Err(ReadingError::Records { source: PathError::NotJson { .. } })
                if self.compat == Compat::Strict || body.trim_ascii().is_empty() =>
            {
                return Ok(selection);
            }
            Err(error) => return Err(error),
        };
        let mut scope = self.scope.clone();
        let token = token.map_or(Value::Null, |token| serde_json::json!({ "next_page_token": token }));
        scope.set_slice(slice).set("next_page_token", dynamic(&token));
        selection.raw_count = found.count;
        selection.records.reserve(found.list.len());
        selection.times.reserve(found.list.len());
        for (number, item) in found.list.into_iter().enumerate() {
            let raw = body.slice(item.place.range.clone());
            if raw.first() != Some(&b'{') && item.draft.is_none() {
                selection.ignored += 1;
                continue;
            }
            let members = found.fields.get(number * wanted.len()..(number + 1) * wanted.len()).unwrap_or_default();
            let mut candidate = Candidate { body, raw, members, draft: item.draft };
            let passed = match self.passed(&mut candidate, cursor, &mut scope, &mut selection) {
                Ok(passed) => passed,
                Err(error) if self.compat == Compat::Strict => {
                    selection.failure = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some(Passed { at, transformations, boundless }) = passed else {
                selection.filtered += 1;
                continue;
            };
            selection.times.push(at);
            selection.records.push(FetchedRecord {
                range: item.place.range,
                pointer: item.place.pointer,
                primary_key: self.primary_key.iter().map(|place| place.find(&candidate).unwrap_or_default()).collect(),
                emitted: candidate.draft.filter(Draft::is_touched).map(|draft| draft.emitted()),
                transformations,
                boundless,
            });
        }
        if let Some(last) = selection.records.last().filter(|_| selection.last_record.is_none()) {
            selection.last_record = match &last.emitted {
                Some(emitted) => lazy_json(Bytes::copy_from_slice(emitted.as_str().as_bytes())),
                None => lazy_json(body.slice(last.range.clone())),
            };
        }
        Ok(selection)
    }

    /// Takes a record through filters and changes; nothing when it is left out.
    fn passed(
        &self,
        candidate: &mut Candidate<'_>,
        cursor: Option<&TimeCursor<'_>>,
        scope: &mut Scope,
        selection: &mut Selection,
    ) -> Result<Option<Passed>, ReadingError> {
        let mut changed = Changed::default();
        if candidate.draft.is_some() {
            changed.names.push("RecordExpander".to_owned());
        }
        // A data feed is cut off at the end of the page, whatever the order of filter and changes.
        let early = !self.filters_last && cursor.is_some_and(|cursor| !cursor.is_data_feed());
        if early && cursor.is_some_and(|cursor| !cursor.admits(self.time(candidate, Some(cursor)))) {
            return Ok(None);
        }
        if !self.filters_last && !self.passes(candidate, scope)? {
            return Ok(None);
        }
        if !self.changes.is_empty() {
            self.changes.make(candidate.draft(), scope, &mut changed)?;
        }
        if self.filters_last && !self.passes(candidate, scope)? {
            return Ok(None);
        }
        let mut at = self.time(candidate, cursor);
        if !early && cursor.is_some_and(|cursor| !cursor.admits(at)) {
            if cursor.is_some_and(TimeCursor::is_data_feed) {
                // What a feed repeats is not emitted, but says where the feed is.
                selection.kept_count += 1;
                selection.last_time = at;
                selection.last_record = candidate.draft().value();
            }
            return Ok(None);
        }
        selection.kept_count += 1;
        selection.last_time = at;
        selection.last_record = ().into();
        if let Some(schema) = &self.schema
            && schema.apply(&candidate.raw, &mut candidate.draft)
        {
            changed.names.push("SchemaNormalization".to_owned());
            at = self.time(candidate, cursor);
        }
        selection.coerced += changed.coerced;
        selection.coerced_keys += changed.coerced_keys;
        Ok(Some(Passed { at, transformations: changed.names, boundless: changed.boundless }))
    }

    fn time(&self, candidate: &Candidate<'_>, cursor: Option<&TimeCursor<'_>>) -> Option<DateTime> {
        cursor?.read_value(&self.cursor.as_ref()?.find(candidate)?)
    }

    fn passes(&self, candidate: &mut Candidate<'_>, scope: &mut Scope) -> Result<bool, ReadingError> {
        let Some(filter) = self.filter else { return Ok(true) };
        scope.set("record", candidate.draft().value());
        let passes = filter.truth(scope);
        // Let go of, so that changing the record needs no copy.
        scope.set("record", minijinja::Value::UNDEFINED);
        passes.map_err(ReadingError::expression("record_filter"))
    }
}

impl Candidate<'_> {
    fn draft(&mut self) -> &mut Draft {
        self.draft.get_or_insert_with(|| Draft::of(self.raw.clone()))
    }
}

impl Default for Selection {
    fn default() -> Self {
        Selection {
            records: Vec::new(),
            times: Vec::new(),
            raw_count: 0,
            kept_count: 0,
            last_time: None,
            filtered: 0,
            ignored: 0,
            coerced: 0,
            coerced_keys: 0,
            last_record: ().into(),
            failure: None,
        }
    }
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
        Ok(Place { pointer: text.parse().map_err(wrong)?, names: path.to_vec(), member })
    }

    /// The value in the record as it is now.
    fn find(&self, candidate: &Candidate<'_>) -> Option<Value> {
        if let Some(draft) = candidate.draft.as_ref().filter(|draft| draft.is_touched()) {
            let (first, rest) = self.names.split_first()?;
            let member = draft.member(first)?;
            return rest.iter().try_fold(&member, |value, name| value.get(name)).cloned();
        }
        if let Some(known) = self.member.and_then(|member| candidate.members.get(member)) {
            return serde_json::from_slice(&candidate.body[known.clone()?]).ok();
        }
        let found = self.pointer.find(&candidate.raw).ok()?.into_iter().next()?;
        serde_json::from_slice(&candidate.raw[found]).ok()
    }
}

/// The text of every segment of a path.
pub(super) fn segments(path: &[Expression], scope: &Scope) -> Result<Vec<String>, ReadingError> {
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

    /// Elements of a list within a record are the records: ranges of the body as long as they carry nothing of what is around them
    /// (each was run in the reference engine).
    #[test]
    fn lists_are_expanded() {
        let body = r#"{"data": [{"id": 7, "n": {"x": 1}, "lines": [{"id": 1, "x": 5}, 3]}, {"id": 8, "lines": []}]}"#;
        let expand = |more: &str| {
            let expander = format!("{{type: RecordExpander, expand_records_from_field: [lines]{more}}}");
            let selection = select(&format!("{{extractor: {{field_path: [data], record_expander: {expander}}}}}"), "", body);
            let text = |number: usize| match &selection.records[number].emitted {
                Some(text) => text.to_value().unwrap(),
                None => serde_json::from_str(&body[selection.records[number].range.clone()]).unwrap(),
            };
            let records = Value::from((0..selection.records.len()).map(text).collect::<Vec<_>>());
            (records, selection.raw_count, selection.ignored, selection.records[0].pointer.clone())
        };
        let first = "/data/0/lines/0".to_owned();
        assert_eq!(expand(""), (json!([{"id": 1, "x": 5}]), 2, 1, first.clone()));
        let parent = json!({"id": 8, "lines": []});
        assert_eq!(expand(", on_no_records: emit_parent"), (json!([{"id": 1, "x": 5}, parent]), 3, 1, first.clone()));
        let whole = json!({"id": 7, "n": {"x": 1}, "lines": [{"id": 1, "x": 5}, 3]});
        let remaining = json!([{"id": 1, "x": 5, "original_record": whole}, {"value": 3, "original_record": whole}]);
        assert_eq!(expand(", remain_original_record: true"), (remaining, 2, 0, first.clone()));
        let merged = json!([{"id": 1, "n": {"x": 1}, "x": 5}, {"id": 7, "n": {"x": 1}, "value": 3}]);
        assert_eq!(expand(", merge_parent: true"), (merged, 2, 0, first.clone()));
        let fields = ", parent_fields: [{parent_path: [n, x], record_path: [of, n]}, {parent_path: [none], record_path: [none]}]";
        let carried = json!([{"id": 1, "x": 5, "of": {"n": 1}, "none": null}, {"value": 3, "of": {"n": 1}, "none": null}]);
        assert_eq!(expand(fields), (carried, 2, 0, first));
    }

    /// Several extractors give their records one after another, or the first that has any; what is empty may be left out, and counts.
    #[test]
    fn extractors_are_combined() {
        let body = r#"{"a": [{"id": 1}, null, {}], "b": [{"id": 2}], "c": [null]}"#;
        let ids = |mode: &str, paths: &[&str]| {
            let parts: Vec<String> = paths.iter().map(|path| format!("{{type: DpathExtractor, field_path: [{path}]}}")).collect();
            let selector = format!("{{extractor: {{type: CombinedExtractor, extractors: [{}]{mode}}}}}", parts.join(", "));
            let selection = select(&selector, "", body);
            let ids: Vec<Value> = selection.records.iter().map(|record| record.primary_key[0].clone()).collect();
            (Value::from(ids), selection.raw_count)
        };
        assert_eq!(ids("", &["a", "b"]), (json!([1, null, 2]), 4));
        assert_eq!(ids(", skip_empty_records: true", &["a", "b"]), (json!([1, 2]), 4));
        assert_eq!(ids(", mode: first_match", &["none", "b", "a"]), (json!([2]), 1));
        assert_eq!(ids(", mode: first_match, skip_empty_records: true", &["c", "a"]), (json!([1]), 3));
    }

    /// Null, a missing member and the text `False` are false (each was run in the reference engine), and looking changes nothing.
    #[test]
    fn filters_look_only() {
        let filter = "{extractor: {field_path: [data]}, record_filter: {condition: \"{{ record['kept'] }}\"}}";
        let body = r#"{"data": [{"id": 1, "kept": null}, {"id": 2, "kept": "x"}, {"id": 3, "kept": "False"}, {"id": 4}]}"#;
        for compat in [Compat::Strict, Compat::Safe] {
            let kept = select_with(filter, "", body, compat).unwrap();
            assert_eq!((kept.records.len(), &kept.records[0].emitted, kept.records[0].transformations.len()), (1, &None, 0));
        }
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
        let body = r#"{"data": [{"id": 1, "code": "123"}, {"id": 2, "code": "x"}]}"#;
        let selection = select_with(DATA, members, body, Compat::Strict).unwrap();
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
