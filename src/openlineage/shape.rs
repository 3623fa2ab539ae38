//! Nodes, versions and runs as Marquez' clients read them: every member is there, null where nothing is known.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::openlineage::Book;
use crate::openlineage::Head;
use crate::openlineage::NodeKind;
use crate::openlineage::OpenLineageError;
use crate::openlineage::admission::SOURCE_DEFAULT;
use crate::openlineage::head::Facets;
use crate::openlineage::run::Part;
use crate::openlineage::run::Run;

/// A field of a dataset that feeds another: its dataset's name and its own, and how it does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldSource {
    pub namespace: String,
    pub dataset: String,
    pub field: String,
    pub description: Option<String>,
    pub kind: Option<String>,
}

impl Book {
    /// A node of any kind, as its own route answers it.
    pub(super) fn shown(&self, node: u32, head: &Head) -> Result<Value, OpenLineageError> {
        let facets = self.facets(node, 0)?.unwrap_or_default();
        match head.kind {
            NodeKind::Dataset => Ok(self.dataset(node, head, &facets, head.versions)),
            NodeKind::Job => self.job(node, head, &facets, usize::MAX),
            NodeKind::Namespace => Ok(json!({
                "name": head.name, "createdAt": head.created_at, "updatedAt": head.updated_at,
                "ownerName": facets.declared.get("ownerName"), "description": facets.declared.get("description"), "isHidden": head.hidden,
            })),
            NodeKind::Source => Ok(json!({
                "type": facets.declared.get("type").cloned().unwrap_or_else(|| scheme(&facets)), "name": head.name,
                "createdAt": head.created_at, "updatedAt": head.updated_at,
                "connectionUrl": facets.declared.get("connectionUrl").cloned().unwrap_or_else(|| json!("")),
                "description": facets.declared.get("description"),
            })),
            NodeKind::Tag => Ok(json!({ "name": head.name, "description": facets.declared.get("description") })),
        }
    }

    /// A dataset as it is, or was at a version.
    pub(super) fn dataset(&self, node: u32, head: &Head, facets: &Facets, version: u32) -> Value {
        let declared = |member: &str| facets.declared.get(member).cloned();
        let columns: Vec<Value> = columns(facets)
            .into_iter()
            .map(
                |(name, inputs)| json!({ "name": name, "inputFields": inputs.iter().map(|input| source(input, None)).collect::<Vec<_>>() }),
            )
            .collect();
        json!({
            "id": { "namespace": head.namespace, "name": head.name },
            "type": declared("type").unwrap_or_else(|| json!(dataset_type(facets))),
            "name": head.name,
            "physicalName": declared("physicalName").unwrap_or_else(|| json!(head.name)),
            "createdAt": head.created_at,
            "updatedAt": head.updated_at,
            "namespace": head.namespace,
            "sourceName": facets.text("dataSource", "name").map(Value::from).or_else(|| declared("sourceName")).unwrap_or_else(|| json!(SOURCE_DEFAULT)),
            "fields": fields(facets),
            "tags": facets.tags,
            "lastModifiedAt": head.told_at,
            "lastLifecycleState": lifecycle(facets),
            "description": declared("description").or_else(|| documentation(facets)),
            "currentVersion": (version > 0).then(|| self.version_id(node, version).to_string()),
            "columnLineage": columns,
            "facets": facets.facets,
            "deleted": head.hidden,
        })
    }

    /// A version of a dataset.
    pub(super) fn dataset_version(&self, node: u32, head: &Head, version: u32) -> Result<Option<Value>, OpenLineageError> {
        let Some(facets) = self.facets(node, version)? else { return Ok(None) };
        let mut shown = self.dataset(node, head, &facets, head.versions);
        let id = self.version_id(node, version).to_string();
        shown["id"]["version"] = json!(id);
        shown["version"] = json!(id);
        shown["createdAt"] = json!(facets.at);
        shown["lifecycleState"] = json!(lifecycle(&facets));
        shown["currentSchemaVersion"] = Value::Null;
        shown["createdByRun"] = self.run_by_id(facets.by_run.as_deref())?;
        Ok(Some(shown))
    }

    /// A job, with at most `runs` of its latest runs.
    pub(super) fn job(&self, node: u32, head: &Head, facets: &Facets, runs: usize) -> Result<Value, OpenLineageError> {
        let (inputs, outputs) = head.datasets();
        let latest: Vec<Value> = head.latest.iter().take(runs).map(|number| self.run_shown(*number)).collect::<Result<_, _>>()?;
        let latest: Vec<Value> = latest.into_iter().filter(|run| !run.is_null()).collect();
        let parent = facets.parent.as_deref();
        let simple = parent.and_then(|parent| head.name.strip_prefix(parent)?.strip_prefix('.')).unwrap_or(&head.name);
        let links: Vec<Value> = head
            .links
            .iter()
            .map(|link| {
                Ok(json!({
                    "inputs": self.names(&link.inputs)?, "outputs": self.names(&link.outputs)?,
                }))
            })
            .collect::<Result<_, OpenLineageError>>()?;
        Ok(json!({
            "id": { "namespace": head.namespace, "name": head.name },
            "type": facets.declared.get("type").cloned().unwrap_or_else(|| json!(job_type(facets))),
            "name": head.name,
            "simpleName": simple,
            "parentJobName": parent,
            "parentJobUuid": Value::Null,
            "createdAt": head.created_at,
            "updatedAt": head.updated_at,
            "namespace": head.namespace,
            "inputs": self.names(&inputs)?,
            "outputs": self.names(&outputs)?,
            "location": location(facets),
            "description": facets.declared.get("description").cloned().or_else(|| documentation(facets)),
            "latestRun": latest.first(),
            "latestRuns": latest,
            "tags": facets.tags,
            "facets": facets.facets,
            "currentVersion": (head.versions > 0).then(|| self.version_id(node, head.versions).to_string()),
            "labels": [],
            "links": links,
        }))
    }

    /// A version of a job.
    pub(super) fn job_version(&self, node: u32, head: &Head, version: u32) -> Result<Option<Value>, OpenLineageError> {
        let Some(facets) = self.facets(node, version)? else { return Ok(None) };
        let id = self.version_id(node, version).to_string();
        Ok(Some(json!({
            "id": { "namespace": head.namespace, "name": head.name, "version": id },
            "name": head.name,
            "namespace": head.namespace,
            "version": id,
            "createdAt": facets.at,
            "location": location(&facets),
            "inputs": self.names(&facets.inputs)?,
            "outputs": self.names(&facets.outputs)?,
            "latestRun": self.run_by_id(facets.by_run.as_deref())?,
        })))
    }

    fn run_by_id(&self, id: Option<&str>) -> Result<Value, OpenLineageError> {
        let number = id.and_then(|id| id.parse().ok()).map(|id| self.run_number(id)).transpose()?.flatten();
        number.map_or(Ok(Value::Null), |number| self.run_shown(number))
    }

    /// A run; null for a number that has none.
    pub(super) fn run_shown(&self, number: u32) -> Result<Value, OpenLineageError> {
        let Some(run) = self.run(number)? else { return Ok(Value::Null) };
        let job = if run.job > 0 { Some(self.head(run.job)?) } else { None };
        let version = job.as_ref().filter(|_| run.job_version > 0).map(
            |job| json!({ "namespace": job.namespace, "name": job.name, "version": self.version_id(run.job, run.job_version).to_string() }),
        );
        Ok(json!({
            "id": run.id,
            "createdAt": run.created_at,
            "updatedAt": run.updated_at,
            "nominalStartTime": run.nominal("nominalStartTime"),
            "nominalEndTime": run.nominal("nominalEndTime"),
            "state": run.state.word(),
            "startedAt": run.started_at,
            "endedAt": run.ended_at,
            "durationMs": run.duration_ms(),
            "args": run.args,
            "jobVersion": version,
            "jobName": job.as_ref().map(|job| &job.name),
            "namespace": job.as_ref().map(|job| &job.namespace),
            "inputDatasetVersions": self.parts(&run.inputs)?,
            "outputDatasetVersions": self.parts(&run.outputs)?,
            "facets": run.facets,
        }))
    }

    fn parts(&self, parts: &BTreeMap<u32, Part>) -> Result<Vec<Value>, OpenLineageError> {
        let shown = |(node, part): (&u32, &Part)| {
            let head = self.head(*node)?;
            let version = (part.version > 0).then(|| self.version_id(*node, part.version).to_string());
            let id = json!({ "namespace": head.namespace, "name": head.name, "version": version });
            Ok(json!({ "datasetVersionId": id, "facets": part.facets }))
        };
        parts.iter().map(shown).collect()
    }

    /// Upstream of a run: its datasets' versions and the runs that made them.
    pub(super) fn run_upstream(&self, run: &Run) -> Result<(Value, Vec<String>), OpenLineageError> {
        let job = if run.job > 0 { Some(self.head(run.job)?) } else { None };
        let (mut inputs, mut makers) = (Vec::new(), Vec::new());
        for (node, part) in &run.inputs {
            let head = self.head(*node)?;
            let maker = if part.version > 0 { self.facets(*node, part.version)?.and_then(|facets| facets.by_run) } else { None };
            let version = (part.version > 0).then(|| self.version_id(*node, part.version).to_string());
            inputs.push(json!({ "namespace": head.namespace, "name": head.name, "version": version, "producedByRunId": maker }));
            makers.extend(maker);
        }
        let shown = json!({
            "job": job.map(|job| json!({ "namespace": job.namespace, "name": job.name })),
            "run": { "id": run.id, "start": run.started_at, "end": run.ended_at, "status": run.state.word() },
            "inputs": inputs,
        });
        Ok((shown, makers))
    }

    fn names(&self, nodes: &[u32]) -> Result<Vec<Value>, OpenLineageError> {
        let name = |node: &u32| self.head(*node).map(|head| json!({ "namespace": head.namespace, "name": head.name }));
        nodes.iter().map(name).collect()
    }
}

/// Where the columns of a dataset come from: by its explicit facet, or else by its column lineage.
pub(super) fn columns(facets: &Facets) -> BTreeMap<String, Vec<FieldSource>> {
    let own = facets.facets.get("lineage").and_then(|facet| facet.get("fields")?.as_object());
    let of_job = Some(&facets.fields).filter(|fields| !fields.is_empty());
    let explicit = own.or(of_job).map(|fields| (fields, "inputs"));
    let derived =
        facets.facets.get("columnLineage").and_then(|facet| facet.get("fields")?.as_object()).map(|fields| (fields, "inputFields"));
    let Some((fields, member)) = explicit.or(derived) else { return BTreeMap::new() };
    let mut columns = BTreeMap::new();
    for (name, field) in fields {
        let inputs = field.get(member).and_then(Value::as_array).into_iter().flatten();
        let text = |value: &Value, member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
        let inputs = inputs.filter_map(|input| {
            let how = input.get("transformations").and_then(|how| how.get(0));
            Some(FieldSource {
                namespace: text(input, "namespace")?,
                dataset: text(input, "name")?,
                field: text(input, "field")?,
                description: how.and_then(|how| text(how, "description")).or_else(|| text(field, "transformationDescription")),
                kind: how.and_then(|how| text(how, "subtype").or_else(|| text(how, "type"))).or_else(|| text(field, "transformationType")),
            })
        });
        columns.insert(name.clone(), inputs.collect());
    }
    columns
}

/// A field that feeds another.
pub(super) fn source(input: &FieldSource, version: Option<&str>) -> Value {
    json!({
        "namespace": input.namespace, "dataset": input.dataset, "datasetVersion": version, "field": input.field,
        "transformationDescription": input.description, "transformationType": input.kind,
    })
}

/// The fields of a dataset: as its schema facet has them, or as somebody declared them.
pub(super) fn fields(facets: &Facets) -> Vec<Value> {
    let told = facets.facets.get("schema").and_then(|schema| schema.get("fields")?.as_array());
    let fields = told.or_else(|| facets.declared.get("fields")?.as_array()).into_iter().flatten();
    let shown = |field: &Value| {
        let name = field.get("name")?.as_str()?;
        let tags = facets.field_tags.get(name).cloned().unwrap_or_default();
        Some(json!({ "name": name, "type": field.get("type"), "tags": tags, "description": field.get("description") }))
    };
    fields.filter_map(shown).collect()
}

fn lifecycle(facets: &Facets) -> Option<String> {
    facets.text("lifecycleStateChange", "lifecycleStateChange").map(str::to_ascii_uppercase)
}

fn documentation(facets: &Facets) -> Option<Value> {
    facets.text("documentation", "description").map(Value::from)
}

fn location(facets: &Facets) -> Option<Value> {
    facets.text("sourceCodeLocation", "url").map(Value::from).or_else(|| facets.declared.get("location").cloned())
}

/// What the UI tests for literally.
fn dataset_type(facets: &Facets) -> &'static str {
    match facets.text("datasetType", "datasetType").map(str::to_ascii_uppercase).as_deref() {
        Some("STREAM" | "TOPIC") => "STREAM",
        _ => "DB_TABLE",
    }
}

fn job_type(facets: &Facets) -> &'static str {
    match facets.text("jobType", "processingType").map(str::to_ascii_uppercase).as_deref() {
        Some("STREAMING" | "STREAM") => "STREAM",
        Some("SERVICE") => "SERVICE",
        _ => "BATCH",
    }
}

/// The kind of a source that nobody has declared: the scheme of its address.
fn scheme(facets: &Facets) -> Value {
    let url = facets.declared.get("connectionUrl").and_then(Value::as_str);
    json!(url.and_then(|url| url.split_once(':')).map_or("", |(scheme, _)| scheme).to_ascii_uppercase())
}

/// An object of which every member is text, as parameters are kept.
pub(super) fn texts(value: Option<&Value>) -> Map<String, Value> {
    let object = value.and_then(Value::as_object);
    object
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| json!(value.to_string()), Value::from)))
        .collect()
}
