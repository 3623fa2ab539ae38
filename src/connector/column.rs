//! Column lineage: of which fields of the received record each field of the operational view is made.
//!
//! It is read off the definition, from the mapping back through the manifest's transformations, so it holds for every record
//! of a stream; what was masked in one of them is in that record's tag. The words are those of OpenLineage's column lineage
//! (facet 1-2-0): `DIRECT` with `IDENTITY` or `TRANSFORMATION`, `INDIRECT` with `FILTER` or `CONDITIONAL`.

use crate::connector::component::records::AddFields;
use crate::connector::component::records::Filter;
use crate::connector::component::records::Transformation;
use crate::connector::component::value::Expression;
use crate::connector::definition::Connector;
use crate::record::Pointer;

/// How a field of the received record bears on one of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearing {
    /// It is the value.
    Identity,
    /// The value is computed from it.
    Transformation,
    /// It decides whether the value is computed.
    Conditional,
    /// It decides whether there is a record.
    Filter,
}

impl Bearing {
    /// Whether the value itself comes from the field: `DIRECT` in OpenLineage's words, else `INDIRECT`.
    pub fn is_direct(self) -> bool {
        matches!(self, Bearing::Identity | Bearing::Transformation)
    }

    /// OpenLineage's word for the type.
    pub fn kind(self) -> &'static str {
        if self.is_direct() { "DIRECT" } else { "INDIRECT" }
    }

    /// OpenLineage's word for the subtype.
    pub fn subtype(self) -> &'static str {
        match self {
            Bearing::Identity => "IDENTITY",
            Bearing::Transformation => "TRANSFORMATION",
            Bearing::Conditional => "CONDITIONAL",
            Bearing::Filter => "FILTER",
        }
    }
}

/// A field of the received record that another depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// Where it is in the received record; the empty pointer is the record as a whole.
    pub pointer: Pointer,
    /// How it bears on the other.
    pub bearing: Bearing,
}

/// A field of the operational view and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The field's name in its kind.
    pub field: String,
    /// Where the mapping finds it in the emitted record.
    pub pointer: Pointer,
    /// The fields of the received record, those of the value first; none where the value comes from the configuration alone.
    pub sources: Vec<Source>,
}

/// The column lineage of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns {
    /// Each field of the view, in the mapping's order.
    pub fields: Vec<Column>,
    /// What decides whether there is a record at all: it bears on every field.
    pub whole: Vec<Source>,
}

impl Connector {
    /// The column lineage of the stream called `name`; empty where its treatment maps nothing.
    pub fn columns(&self, name: &str) -> Columns {
        let (Some(stream), Some(treatment)) = (self.stream(name), self.treatment.stream(name)) else { return Columns::default() };
        let trace = |pointer: &Pointer| {
            let mut sources = traced(&stream.transformations, pointer.steps(), Bearing::Identity);
            sources.sort_by(|a, b| (a.bearing, a.pointer.as_str()).cmp(&(b.bearing, b.pointer.as_str())));
            sources.dedup();
            sources
        };
        let mapping = treatment.view();
        let column =
            |(field, pointer): &(String, Pointer)| Column { field: field.clone(), pointer: pointer.clone(), sources: trace(pointer) };
        let filter = stream.retriever.record_selector().record_filter.as_ref();
        let whole = filter.map(|Filter::RecordFilter(filter)| read_by(&filter.condition, Bearing::Filter)).unwrap_or_default();
        Columns { fields: mapping.fields().iter().map(column).collect(), whole }
    }
}

/// What the value at `path` behind these transformations is made of.
fn traced(transformations: &[Transformation], path: &[String], bearing: Bearing) -> Vec<Source> {
    let Some((last, earlier)) = transformations.split_last() else {
        return vec![Source { pointer: Pointer::of_steps(path.to_vec()), bearing }];
    };
    match last {
        Transformation::AddFields(added) => through_added(added, earlier, path, bearing),
        Transformation::RemoveFields(_) => traced(earlier, path, bearing),
        // The names of members change with what is in them, or members change their places: any of the record's may be it.
        _ => vec![Source { pointer: Pointer::of_steps(Vec::new()), bearing: Bearing::Transformation }],
    }
}

fn through_added(added: &AddFields, earlier: &[Transformation], path: &[String], bearing: Bearing) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut is_replaced = false;
    for field in &added.fields {
        let steps: Option<Vec<&str>> = field.path.iter().map(Expression::plain).collect();
        // A path that is computed may be any.
        let meets = steps.as_ref().is_none_or(|steps| steps.iter().zip(path).all(|(step, part)| step == part));
        if !meets {
            continue;
        }
        is_replaced |= added.condition.is_none() && steps.as_ref().is_some_and(|steps| steps.len() <= path.len());
        for read in field.value.template().record_paths() {
            sources.extend(traced(earlier, read, Bearing::Transformation));
        }
        if let Some(condition) = &added.condition {
            sources.extend(condition.template().record_paths().iter().flat_map(|read| traced(earlier, read, Bearing::Conditional)));
        }
    }
    if !is_replaced {
        sources.extend(traced(earlier, path, bearing));
    }
    // What decides stays what decides, however the deciding value came about.
    for source in sources.iter_mut().filter(|_| !bearing.is_direct()) {
        source.bearing = bearing;
    }
    sources
}

/// What an expression reads of the record.
fn read_by(expression: &Expression, bearing: Bearing) -> Vec<Source> {
    let paths = expression.template().record_paths().iter();
    paths.map(|path| Source { pointer: Pointer::of_steps(path.clone()), bearing }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [orders]}
streams:
  - type: DeclarativeStream
    name: orders
    primary_key: [id]
    retriever:
      type: SimpleRetriever
      requester: {type: HttpRequester, url_base: "https://shop.example", path: /orders}
      record_selector:
        type: RecordSelector
        extractor: {type: DpathExtractor, field_path: []}
        record_filter: {type: RecordFilter, condition: "{{ record.status != 'draft' }}"}
    transformations:
      - type: AddFields
        fields:
          - {type: AddedFieldDefinition, path: [money, total], value: "{{ record.price * record['count'] }}"}
          - {type: AddedFieldDefinition, path: [shop], value: "{{ config.shop }}"}
      - type: AddFields
        condition: "{{ record.express }}"
        fields:
          - {type: AddedFieldDefinition, path: [total], value: "{{ record.money.total }}"}
spec:
  type: Spec
  connection_specification: {type: object, properties: {shop: {type: string}}}
"#;
    const TREATMENT: &str = r#"
display_name: Shop
authorization: {type: api_key}
hosts: [shop.example]
streams:
  orders:
    kind: order
    mapping: {order_number: /number, total: /total, currency: /money/currency, channel: /shop}
"#;

    /// A field is traced through two transformations, one of them conditional, to the fields of the received record; a constant
    /// has none; the filter bears on all.
    #[test]
    fn fields_are_traced_to_what_was_received() {
        let connector = Connector::load("shop", MANIFEST, Some(TREATMENT)).expect("it is accepted");
        let columns = connector.columns("orders");
        let told = |sources: &[Source]| -> Vec<String> {
            sources.iter().map(|source| format!("{} {}", source.bearing.subtype(), source.pointer.as_str())).collect()
        };
        let fields: Vec<_> = columns.fields.iter().map(|column| (column.field.as_str(), told(&column.sources))).collect();
        let expected = [
            ("order_number", vec!["IDENTITY /number".to_owned()]),
            (
                "total",
                vec![
                    "IDENTITY /total".into(),
                    "TRANSFORMATION /count".into(),
                    "TRANSFORMATION /price".into(),
                    "CONDITIONAL /express".into(),
                ],
            ),
            ("currency", vec!["IDENTITY /money/currency".into()]),
            ("channel", vec![]),
        ];
        assert_eq!(fields, expected);
        assert_eq!(told(&columns.whole), ["FILTER /status"]);
    }
}
