//! What an event tells about datasets: each is made and gets its facets, and what feeds it is noted.

use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use crate::openlineage::Event;
use crate::openlineage::NodeKind;
use crate::openlineage::OpenLineageError;
use crate::openlineage::admission::SOURCE_DEFAULT;
use crate::openlineage::draft::Draft;
use crate::openlineage::event::FullName;
use crate::openlineage::event::Mention;
use crate::openlineage::link::OWN;
use crate::openlineage::link::Told;

impl Draft<'_> {
    /// What an event tells about datasets, each of which is made and gets its facets.
    pub(super) fn tell(&mut self, event: &Event, job_facets: &Map<String, Value>, run: Option<u32>) -> Result<Told, OpenLineageError> {
        let mut told = Told::default();
        for mention in event.inputs.iter().flatten() {
            let node = self.mention(event, mention)?;
            told.inputs.insert(node);
            self.tell_dataset(event, &mut told, node, mention)?;
            if self.head(node)?.versions == 0 {
                self.version(node, None, |facets| facets.at = Some(event.time))?;
            }
            let version = self.head(node)?.versions;
            if let Some(run) = run {
                let part = self.change_run(run)?.inputs.entry(node).or_default();
                part.version = if part.version == 0 { version } else { part.version };
                merge(&mut part.facets, &mention.of_run);
            }
        }
        for mention in event.outputs.iter().flatten() {
            let node = self.mention(event, mention)?;
            told.outputs.insert(node);
            self.tell_dataset(event, &mut told, node, mention)?;
            if let Some(run) = run {
                self.output_version(event, node, run, &mention.of_run)?;
            } else if self.head(node)?.versions == 0 {
                self.version(node, None, |facets| facets.at = Some(event.time))?;
            }
        }
        if let Some(facet) = lineage_of(job_facets) {
            told.is_explicit = true;
            for entry in facet.get("entries").and_then(Value::as_array).into_iter().flatten() {
                let Some(target) = self.party(event, entry)? else { continue };
                let sources = self.sources(event, entry)?;
                if target != OWN
                    && let Some(fields) = entry.get("fields").and_then(Value::as_object)
                {
                    self.change_facets(target)?.fields = fields.clone();
                    let datasets = self.datasets_of(&sources)?;
                    self.columns(target, datasets)?;
                }
                told.explicit.entry(target).or_default().extend(sources);
            }
        }
        Ok(told)
    }

    /// A run makes one version of each of its outputs, which its later events complete.
    fn output_version(&mut self, event: &Event, node: u32, run: u32, of_run: &Map<String, Value>) -> Result<(), OpenLineageError> {
        let (id, known) = {
            let run = self.change_run(run)?;
            (run.id.clone(), run.outputs.get(&node).map(|part| part.version).filter(|version| *version > 0))
        };
        let version = self.version(node, known, |facets| (facets.by_run, facets.at) = (Some(id), Some(event.time)))?;
        let head = self.change(node)?;
        head.told_at = Some(head.told_at.map_or(event.time, |known| known.max(event.time)));
        let part = self.change_run(run)?.outputs.entry(node).or_default();
        part.version = version;
        merge(&mut part.facets, of_run);
        Ok(())
    }

    /// The dataset that is mentioned, with what the mention says of it.
    pub(super) fn mention(&mut self, event: &Event, mention: &Mention) -> Result<u32, OpenLineageError> {
        let node = self.node(NodeKind::Dataset, &mention.name.namespace, &mention.name.name, event.time)?;
        self.change(node)?.touch(event.time);
        self.merge(node, &mention.facets)?;
        let source = self.facets(node)?.text("dataSource", "name").unwrap_or(SOURCE_DEFAULT).to_owned();
        let uri = self.facets(node)?.text("dataSource", "uri").map(str::to_owned);
        let source = self.node(NodeKind::Source, "", &source, event.time)?;
        if let Some(uri) = uri
            && self.facets(source)?.declared.get("connectionUrl").and_then(Value::as_str) != Some(uri.as_str())
        {
            self.change_facets(source)?.declared.insert("connectionUrl".into(), uri.into());
            self.change(source)?.touch(event.time);
        }
        Ok(node)
    }

    /// What the facets of a mentioned dataset tell about where it comes from.
    pub(super) fn tell_dataset(&mut self, event: &Event, told: &mut Told, node: u32, mention: &Mention) -> Result<(), OpenLineageError> {
        let mut columns = BTreeSet::new();
        if let Some(facet) = mention.facets.get("columnLineage") {
            let inputs = facet.get("fields").and_then(Value::as_object).into_iter().flat_map(Map::values);
            let inputs = inputs.filter_map(|field| field.get("inputFields")?.as_array()).flatten();
            let whole = facet.get("dataset").and_then(Value::as_array).into_iter().flatten();
            for input in inputs.chain(whole) {
                if let Some(name) = full_name(input) {
                    columns.insert(self.node(NodeKind::Dataset, &name.namespace, &name.name, event.time)?);
                }
            }
            if told.outputs.contains(&node) && !columns.is_empty() {
                told.columns.insert(node, columns.clone());
            }
        }
        if let Some(facet) = lineage_of(&mention.facets) {
            told.is_explicit = true;
            let sources = self.sources(event, facet)?;
            columns.extend(self.datasets_of(&sources)?);
            told.explicit.entry(node).or_default().extend(sources);
        }
        if mention.facets.contains_key("columnLineage") || mention.facets.contains_key("lineage") {
            self.columns(node, columns)?;
        }
        Ok(())
    }

    /// The sources of an entry, its fields' included.
    fn sources(&mut self, event: &Event, entry: &Value) -> Result<BTreeSet<u32>, OpenLineageError> {
        let inputs = |value: &'_ Value| value.get("inputs").and_then(Value::as_array).cloned().unwrap_or_default();
        let fields = entry.get("fields").and_then(Value::as_object).into_iter().flat_map(Map::values).flat_map(inputs);
        let mut sources = BTreeSet::new();
        for source in inputs(entry).into_iter().chain(fields.collect::<Vec<_>>()) {
            sources.extend(self.party(event, &source)?);
        }
        Ok(sources)
    }

    /// A dataset or job that a lineage facet names; [`OWN`] for the event's own job.
    fn party(&mut self, event: &Event, value: &Value) -> Result<Option<u32>, OpenLineageError> {
        let kind = match value.get("type").and_then(Value::as_str) {
            Some("JOB") => NodeKind::Job,
            _ => NodeKind::Dataset,
        };
        match full_name(value) {
            Some(name) if kind == NodeKind::Job && event.job.as_ref().is_some_and(|(own, _)| *own == name) => Ok(Some(OWN)),
            Some(name) => self.node(kind, &name.namespace, &name.name, event.time).map(Some),
            None if kind == NodeKind::Job && value.get("name").is_none() && event.job.is_some() => Ok(Some(OWN)),
            None => Ok(None),
        }
    }

    fn datasets_of(&mut self, nodes: &BTreeSet<u32>) -> Result<BTreeSet<u32>, OpenLineageError> {
        let mut datasets = BTreeSet::new();
        for node in nodes.iter().filter(|node| **node != OWN) {
            if self.head(*node)?.kind == NodeKind::Dataset {
                datasets.insert(*node);
            }
        }
        Ok(datasets)
    }

    /// The jobs among the nodes of an explicit facet.
    pub(super) fn jobs_of(&mut self, told: &Told) -> Result<BTreeSet<u32>, OpenLineageError> {
        let mut jobs = BTreeSet::new();
        for node in told.explicit.iter().flat_map(|(target, sources)| sources.iter().chain([target])).filter(|node| **node != OWN) {
            if self.head(*node)?.kind == NodeKind::Job {
                jobs.insert(*node);
            }
        }
        Ok(jobs)
    }
}

fn full_name(value: &Value) -> Option<FullName> {
    let text = |member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
    Some(FullName { namespace: text("namespace")?, name: text("name")? })
}

/// The explicit lineage facet, unless it takes a former one back.
fn lineage_of(facets: &Map<String, Value>) -> Option<&Value> {
    facets.get("lineage").filter(|facet| facet.get("_deleted") != Some(&Value::Bool(true)))
}

/// Adds facets: one of the same name replaces the former whole, and `_deleted` removes it.
pub(super) fn merge(known: &mut Map<String, Value>, facets: &Map<String, Value>) {
    for (name, facet) in facets {
        if facet.get("_deleted") == Some(&Value::Bool(true)) {
            known.shift_remove(name);
        } else {
            known.insert(name.clone(), facet.clone());
        }
    }
}
