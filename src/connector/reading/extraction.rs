//! Where the records of a body are: one path, a list within what it finds, or several of these together.
//!
//! Source: the extractors and the record expander of airbyte-cdk (read there).

use std::ops::Range;

use bytes::Bytes;
use serde_json::Map;
use serde_json::Value;

use super::ReadingError;
use super::transform::Draft;
use crate::connector::component::records::CombineMode;
use crate::connector::component::records::CombinedExtractor;
use crate::connector::component::records::DpathExtractor;
use crate::connector::component::records::Extractor;
use crate::connector::component::records::OnNoRecords;
use crate::connector::component::records::RecordExpander;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope;
use crate::connector::path::Extracted;
use crate::connector::path::FieldPath;
use crate::connector::path::PathError;
use crate::connector::path::falsy;
use crate::connector::reading::selector::segments;

/// Where the records of a stream are.
#[derive(Debug)]
pub(super) enum Extraction {
    Path { path: FieldPath, expander: Option<Expander> },
    Combined { parts: Vec<Extraction>, mode: CombineMode, skips_empty: bool },
}

/// What an extraction found.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub list: Vec<Item>,
    /// Item by item, where the wanted members lie in the body; empty when they are not known.
    pub fields: Vec<Option<Range<usize>>>,
    /// How many the reference engine counts: those left out for being empty as well.
    pub count: usize,
}

/// One record, or what stands where one should be.
#[derive(Debug)]
pub(super) struct Item {
    pub place: Extracted,
    /// What it is, when it carries something of the record around it.
    pub draft: Option<Draft>,
}

/// A list within each record.
#[derive(Debug)]
pub(super) struct Expander {
    path: FieldPath,
    remains: bool,
    fields: Vec<ParentField>,
    merges: bool,
    emits_parent: bool,
    truncation: Option<FieldPath>,
}

#[derive(Debug)]
struct ParentField {
    from: Vec<String>,
    to: FieldPath,
}

impl Extraction {
    /// The extraction that is declared.
    ///
    /// # Errors
    /// When a path cannot be evaluated, or must name one place and is a pattern.
    pub fn new(extractor: &Extractor, scope: &Scope) -> Result<Self, ReadingError> {
        match extractor {
            Extractor::DpathExtractor(extractor) => Self::of_path(extractor, scope),
            Extractor::CombinedExtractor(combined) => Self::of_several(combined, scope),
        }
    }

    /// As [`Extraction::new`], of one path.
    pub fn of_path(extractor: &DpathExtractor, scope: &Scope) -> Result<Self, ReadingError> {
        Ok(Extraction::Path {
            path: FieldPath::new(segments(&extractor.field_path, scope)?),
            expander: extractor.record_expander.as_ref().map(|expander| Expander::new(expander, scope)).transpose()?,
        })
    }

    /// As [`Extraction::new`], of several together.
    pub fn of_several(combined: &CombinedExtractor, scope: &Scope) -> Result<Self, ReadingError> {
        Ok(Extraction::Combined {
            parts: combined.extractors.iter().map(|part| Extraction::new(part, scope)).collect::<Result<_, _>>()?,
            mode: combined.mode,
            skips_empty: combined.skip_empty_records,
        })
    }

    /// The body itself.
    pub fn whole() -> Self {
        Extraction::Path { path: FieldPath::new(Vec::<String>::new()), expander: None }
    }

    /// The records of `body`, and where the members `wanted` of each lie.
    ///
    /// # Errors
    /// When the body is no JSON, a pattern outside `*` matches more than one place, or a parent's member cannot be written.
    pub fn find(&self, body: &Bytes, wanted: &[&str]) -> Result<Items, ReadingError> {
        let failed = |source| ReadingError::Records { source };
        match self {
            Extraction::Path { path, expander: None } => {
                let found = path.extract_with(body, wanted).map_err(failed)?;
                let list: Vec<Item> = found.records.into_iter().map(|place| Item { place, draft: None }).collect();
                Ok(Items { count: list.len(), list, fields: found.fields })
            }
            Extraction::Path { path, expander: Some(expander) } => {
                let mut list = Vec::new();
                for record in path.extract(body).map_err(failed)? {
                    expander.expand(body, record, &mut list).map_err(failed)?;
                }
                Ok(Items { count: list.len(), list, fields: Vec::new() })
            }
            Extraction::Combined { parts, mode, skips_empty } => {
                let mut all = Items::default();
                for part in parts {
                    let mut items = part.find(body, &[])?;
                    if *skips_empty {
                        items.list.retain(|item| item.draft.is_some() || !falsy(&body[item.place.range.clone()]));
                    }
                    match mode {
                        CombineMode::FirstMatch if items.list.is_empty() => {}
                        CombineMode::FirstMatch => return Ok(Items { fields: Vec::new(), ..items }),
                        CombineMode::Union => {
                            all.list.append(&mut items.list);
                            all.count += items.count;
                        }
                    }
                }
                Ok(all)
            }
        }
    }
}

impl Expander {
    fn new(expander: &RecordExpander, scope: &Scope) -> Result<Self, ReadingError> {
        let one_place = |path: &[Expression], field| {
            let names = segments(path, scope)?;
            match names.iter().find(|name| name.contains(['*', '?', '['])) {
                None if !names.is_empty() => Ok(names),
                found => Err(ReadingError::Value {
                    field,
                    found: found.map(|name| crate::ids::cut(name)).unwrap_or_default(),
                    needs: "a path that names one place",
                }),
            }
        };
        let fields = expander.parent_fields.iter().map(|field| {
            Ok(ParentField {
                from: one_place(&field.parent_path, "parent_path")?,
                to: FieldPath::new(one_place(&field.record_path, "record_path")?),
            })
        });
        let indicator = &expander.truncation_indicator_path;
        Ok(Expander {
            path: FieldPath::new(segments(&expander.expand_records_from_field, scope)?),
            remains: expander.remain_original_record,
            fields: fields.collect::<Result<_, _>>()?,
            merges: expander.merge_parent,
            emits_parent: expander.on_no_records == OnNoRecords::EmitParent,
            truncation: if indicator.is_empty() { None } else { Some(FieldPath::new(one_place(indicator, "truncation_indicator_path")?)) },
        })
    }

    /// Adds the elements of the record's list; the record itself when it has no list that could be looked for.
    fn expand(&self, body: &Bytes, record: Extracted, list: &mut Vec<Item>) -> Result<(), PathError> {
        if body.get(record.range.start) != Some(&b'{') || self.path.is_empty() {
            list.push(Item { place: record, draft: None });
            return Ok(());
        }
        let elements = self.path.elements_within(body, &record)?;
        let carries = self.remains || self.merges || !self.fields.is_empty();
        let parent = if carries || self.truncation.is_some() {
            Some(serde_json::from_slice(&body[record.range.clone()]).map_err(|error| PathError::NotJson { detail: error.to_string() })?)
        } else {
            None
        };
        if let (Some(indicator), Some(parent)) = (&self.truncation, &parent)
            && indicator.get(parent)?.is_some_and(|value| !falsy(value.to_string().as_bytes()))
        {
            tracing::warn!(record = record.pointer, list = %self.path, "the list is not complete, and only the elements in it are read");
        }
        if elements.is_empty() && self.emits_parent {
            list.push(Item { place: record, draft: None });
            return Ok(());
        }
        let Some(parent) = parent.filter(|_| carries) else {
            list.extend(elements.into_iter().map(|place| Item { place, draft: None }));
            return Ok(());
        };
        let base = self.merges.then(|| {
            let mut base = parent.clone();
            self.path.remove_lists(&mut base);
            base
        });
        for place in elements {
            let draft = self.carried(body.slice(place.range.clone()), &parent, base.as_ref())?;
            list.push(Item { place, draft: Some(draft) });
        }
        Ok(())
    }

    /// An element with what it carries of the record around it: merged below it, then copied over it, then whole.
    fn carried(&self, element: Bytes, parent: &Value, base: Option<&Value>) -> Result<Draft, PathError> {
        let not_json = |error: serde_json::Error| PathError::NotJson { detail: error.to_string() };
        let is_map = element.first() == Some(&b'{');
        let mut draft = if is_map { Draft::of(element.clone()) } else { Draft::of(Bytes::from_static(b"{}")) };
        if let Some(base) = base {
            let mut merged = base.as_object().cloned().unwrap_or_default();
            let own = if is_map { draft.to_map() } else { Map::new() };
            merged.extend(own);
            draft.replace(Value::Object(merged));
        }
        if !is_map {
            draft.set_member("value", serde_json::from_slice(&element).map_err(not_json)?);
        }
        for field in &self.fields {
            draft.set(&field.to, looked_up(parent, &field.from).cloned().unwrap_or_default())?;
        }
        if self.remains {
            draft.set_member("original_record", parent.clone());
        }
        Ok(draft)
    }
}

/// The value at a path of names and positions; unlike for the path library, a name may be a number.
fn looked_up<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => {
            let position: i64 = step.trim().parse().ok()?;
            let position = if position < 0 { position + i64::try_from(items.len()).ok()? } else { position };
            items.get(usize::try_from(position).ok()?)
        }
        _ => None,
    })
}
