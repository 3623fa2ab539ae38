//! Column lineage: from a field to the fields that it comes from, and to those that come from it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::openlineage::Book;
use crate::openlineage::Head;
use crate::openlineage::NodeKind;
use crate::openlineage::OpenLineageError;
use crate::openlineage::Stop;
use crate::openlineage::question::NODES_MAX;
use crate::openlineage::rows::List;
use crate::openlineage::shape;
use crate::openlineage::shape::FieldSource;

/// A field: the number of its dataset, and its name.
type Field = (u32, String);

/// What a dataset says of its columns.
struct Said {
    head: Arc<Head>,
    columns: BTreeMap<String, Vec<FieldSource>>,
    types: HashMap<String, Value>,
}

struct Walk<'a> {
    book: &'a Book,
    said: HashMap<u32, Rc<Said>>,
    /// From the field that feeds to the one that is fed.
    edges: BTreeSet<(Field, Field)>,
    placed: BTreeMap<Field, ()>,
}

impl Book {
    pub(super) fn column_graph(&self, id: &str, depth: u32, downstream: bool) -> Result<Value, OpenLineageError> {
        let stop = self.resolve(id)?;
        if let (Stop::Node(_, Some(_)) | Stop::Field(_, _, Some(_)), true) = (&stop, downstream) {
            return Err(OpenLineageError::Malformed { text: crate::ids::cut(id), expected: "a node without a version to ask downstream" });
        }
        let mut walk = Walk { book: self, said: HashMap::new(), edges: BTreeSet::new(), placed: BTreeMap::new() };
        let starts = match stop {
            Stop::Field(node, field, _) => {
                if !walk.said(node)?.types.contains_key(&field) && !walk.said(node)?.columns.contains_key(&field) {
                    return Err(OpenLineageError::Unknown { noun: "field", name: id.to_owned() });
                }
                vec![(node, field)]
            }
            Stop::Node(node, _) => {
                let head = self.head(node)?;
                let datasets = if head.kind == NodeKind::Job { head.datasets().1 } else { vec![node] };
                let mut starts = Vec::new();
                for dataset in datasets {
                    let said = walk.said(dataset)?;
                    let names: BTreeSet<String> = said.columns.keys().chain(said.types.keys()).cloned().collect();
                    starts.extend(names.into_iter().map(|name| (dataset, name)));
                }
                starts
            }
            Stop::Run(_) => return Err(OpenLineageError::Malformed { text: crate::ids::cut(id), expected: "a dataset, a field or a job" }),
        };
        walk.go(&starts, depth, false)?;
        if downstream {
            walk.go(&starts, depth, true)?;
        }
        walk.shown()
    }
}

impl Walk<'_> {
    fn go(&mut self, starts: &[Field], depth: u32, down: bool) -> Result<(), OpenLineageError> {
        let mut seen: BTreeSet<Field> = starts.iter().cloned().collect();
        let mut ahead: VecDeque<(Field, u32)> = starts.iter().cloned().map(|field| (field, 0)).collect();
        while let Some((field, steps)) = ahead.pop_front() {
            self.placed.insert(field.clone(), ());
            if steps == depth || self.placed.len() >= NODES_MAX {
                continue;
            }
            let next = if down { self.fed_by(&field)? } else { self.sources_of(&field)? };
            for other in next {
                let edge = if down { (field.clone(), other.clone()) } else { (other.clone(), field.clone()) };
                self.edges.insert(edge);
                if seen.insert(other.clone()) {
                    ahead.push_back((other, steps + 1));
                }
            }
        }
        Ok(())
    }

    fn sources_of(&mut self, (node, field): &Field) -> Result<Vec<Field>, OpenLineageError> {
        let said = self.said(*node)?;
        let mut fields = Vec::new();
        for input in said.columns.get(field).into_iter().flatten() {
            if let Some(node) = self.book.node(NodeKind::Dataset, &input.namespace, &input.dataset)? {
                fields.push((node, input.field.clone()));
            }
        }
        Ok(fields)
    }

    fn fed_by(&mut self, (node, field): &Field) -> Result<Vec<Field>, OpenLineageError> {
        let head = self.said(*node)?;
        let mut fields = Vec::new();
        for (_, other) in self.book.list(*node, List::ColumnsTo, None, NODES_MAX)? {
            let Ok(other) = u32::try_from(other) else { continue };
            for (name, inputs) in &self.said(other)?.columns {
                let is_it = |input: &FieldSource| {
                    input.field == *field && input.dataset == head.head.name && input.namespace == head.head.namespace
                };
                if inputs.iter().any(is_it) {
                    fields.push((other, name.clone()));
                }
            }
        }
        Ok(fields)
    }

    fn said(&mut self, node: u32) -> Result<Rc<Said>, OpenLineageError> {
        if let Some(said) = self.said.get(&node) {
            return Ok(said.clone());
        }
        let facets = self.book.facets(node, 0)?.unwrap_or_default();
        let fields = shape::fields(&facets);
        let types = fields.into_iter().filter_map(|field| Some((field["name"].as_str()?.to_owned(), field["type"].clone()))).collect();
        let said = Rc::new(Said { head: self.book.head(node)?, columns: shape::columns(&facets), types });
        self.said.insert(node, said.clone());
        Ok(said)
    }

    fn shown(mut self) -> Result<Value, OpenLineageError> {
        let placed: Vec<Field> = self.placed.keys().cloned().collect();
        let mut nodes = Vec::new();
        for (node, field) in &placed {
            let said = self.said(*node)?;
            let version = |head: &Head, node| (head.versions > 0).then(|| self.book.version_id(node, head.versions).to_string());
            let inputs = said.columns.get(field).cloned().unwrap_or_default();
            let first = inputs.first();
            let data = json!({
                "namespace": said.head.namespace, "dataset": said.head.name, "datasetVersion": version(&said.head, *node), "field": field,
                "fieldType": said.types.get(field), "transformationDescription": first.and_then(|input| input.description.clone()),
                "transformationType": first.and_then(|input| input.kind.clone()),
                "inputFields": inputs.iter().map(|input| shape::source(input, None)).collect::<Vec<_>>(),
            });
            nodes.push((field_id(&said.head, field), (*node, field.clone()), data));
        }
        let ids: HashMap<&Field, &String> = nodes.iter().map(|(id, field, _)| (field, id)).collect();
        let edges: Vec<(&String, &String)> = self.edges.iter().filter_map(|(from, to)| Some((*ids.get(from)?, *ids.get(to)?))).collect();
        let edge = |(from, to): &(&String, &String)| json!({ "origin": from, "destination": to });
        let mut graph: Vec<(&String, Value)> = nodes
            .iter()
            .map(|(id, _, data)| {
                let into: Vec<Value> = edges.iter().filter(|(_, to)| *to == id).map(edge).collect();
                let out: Vec<Value> = edges.iter().filter(|(from, _)| *from == id).map(edge).collect();
                (id, json!({ "id": id, "type": "DATASET_FIELD", "data": data, "inEdges": into, "outEdges": out }))
            })
            .collect();
        graph.sort_by_key(|(id, _)| *id);
        Ok(json!({ "graph": graph.into_iter().map(|(_, node)| node).collect::<Vec<_>>() }))
    }
}

fn field_id(head: &Head, field: &str) -> String {
    format!("datasetField:{}:{}:{field}", head.namespace, head.name)
}
