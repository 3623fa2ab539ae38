//! What stands behind a record: the authority it came under, what each field is made of, and whether that still agrees.

use serde_json::Value;
use serde_json::json;
use url::Url;

use crate::api::problem::Problem;
use crate::api::services::OriginQuestion;
use crate::api::services::Scope;
use crate::api::wire::lineage::Application;
use crate::api::wire::lineage::AuditPosition;
use crate::api::wire::lineage::ContentCheck;
use crate::api::wire::lineage::Explanation;
use crate::api::wire::lineage::FieldExplanation;
use crate::api::wire::lineage::FieldOrigin;
use crate::api::wire::lineage::FieldSource;
use crate::api::wire::lineage::Origin;
use crate::api::wire::lineage::Provenance;
use crate::api::wire::lineage::StreamFields;
use crate::api::wire::lineage::Version;
use crate::connection::Connection;
use crate::connector::column::Column;
use crate::connector::column::Columns;
use crate::connector::column::Source;
use crate::connector::definition::Connector;
use crate::connector::definition::host_of;
use crate::disclosure::Recipient;
use crate::gateway::services::audit::proven_as;
use crate::gateway::services::records::Records;
use crate::gateway::services::shape;
use crate::gateway::services::visible;
use crate::ids::ConnectionId;
use crate::ids::RecordId;
use crate::lineage::Input;
use crate::lineage::KeptVersion;
use crate::lineage::Location;
use crate::lineage::RunRow;
use crate::lineage::StoredRecord;
use crate::record::Mapping;
use crate::record::Mask;
use crate::record::Pointer;

/// Versions that an origin lists.
const VERSIONS_MAX: usize = 16;
/// Artifacts that an origin lists; all are to be had by a walk down.
const OUTPUTS_MAX: usize = 100;

impl Records {
    /// The exact origin of a version of a record, the newest where none is named.
    pub(super) fn origin_of(&self, connection: &Connection, stored: &StoredRecord, question: OriginQuestion) -> Result<Origin, Problem> {
        let tag = shape::tag(stored)?;
        let of = |noun: &str, id: &Value| json!({ "type": noun, "id": id });
        let mut inputs = vec![of("page", &tag["page"]["id"])];
        if !tag["run"].is_null() {
            inputs.push(of("run", &tag["run"]));
        }
        inputs.extend([of("connection", &tag["connection"]), of("consent", &tag["consent"])]);
        let versions = self.reader.history(stored, VERSIONS_MAX)?;
        let outputs = self.outputs(stored.id, &versions)?;
        let source = Some(self.provenance(connection, stored, versions, question.proof)?);
        Ok(Origin { record: stored.id, version: Some(stored.facts.version), tag, inputs, outputs, source, tombstone: None })
    }

    /// What was made from a record, and who received which of its versions.
    pub(super) fn outputs(&self, id: RecordId, versions: &[KeptVersion]) -> Result<Vec<Value>, Problem> {
        let made = self.joined.derivations.of(Input::Record(id), OUTPUTS_MAX)?;
        let mut outputs: Vec<Value> = made.into_iter().map(|artifact| json!({ "type": "artifact", "id": artifact })).collect();
        let places: Vec<Location> = versions.iter().map(|kept| kept.location).collect();
        for received in self.joined.disclosures.of_record(id.owner, &places)? {
            let version = versions.iter().find(|kept| kept.location == received.version).map(|kept| kept.version);
            let Recipient { name, kind, category, region } = received.recipient;
            outputs.push(json!({
                "type": "recipient", "id": format!("recipient:{name}"), "kind": kind, "category": category, "region": region,
                "version": version, "purpose": received.purpose, "mechanism": received.mechanism, "first_at": received.first_at,
            }));
        }
        Ok(outputs)
    }

    fn provenance(
        &self,
        connection: &Connection,
        stored: &StoredRecord,
        versions: Vec<KeptVersion>,
        proof: bool,
    ) -> Result<Provenance, Problem> {
        let page = &stored.page;
        let definition = self.definition(stored);
        let consent = self.connections.consent(page.consent)?.map(|(_, consent)| {
            json!({
                "id": consent.id, "policy_version": consent.policy_version, "policy_digest": consent.policy_digest,
                "purposes": consent.purposes, "scopes": consent.scopes, "streams": consent.streams, "at": consent.at,
            })
        });
        let run = page.run.map(|run| self.store.get::<RunRow>(&(connection.key, run.to_bytes()))).transpose()?.flatten();
        let run = run.map(|run| {
            json!({
                "id": run.id, "pull": run.pull, "stream": run.stream, "state": run.state,
                "started_at": run.started_at, "ended_at": run.ended_at,
            })
        });
        let columns = definition.as_ref().map(|connector| connector.columns(&page.stream)).unwrap_or_default();
        let proven = page.entry.filter(|_| proof).map(|entry| self.log.inclusion(entry, None)).transpose()?;
        Ok(Provenance {
            application: Application {
                connector: page.connector.name.clone(),
                display_name: definition.map_or_else(|| page.connector.name.clone(), |connector| connector.display_name().to_owned()),
                account: Url::parse(&page.exchange.url).ok().map(|url| host_of(&url)),
            },
            consent: consent.unwrap_or_default(),
            credential: page.exchange.credential,
            run: run.unwrap_or_default(),
            fields: columns.fields.iter().map(|column| field_of(column, &columns, Some(stored))).collect(),
            versions: versions
                .into_iter()
                .map(|kept| Version { version: kept.version, page: kept.page.to_string(), received_at: kept.received_at })
                .collect(),
            audit: AuditPosition { entry: page.entry, proof: proven.map(proven_as) },
            deleted_at_source: shape::deleted_at_source(stored),
        })
    }

    /// The definition that read a record, if it is still to be had.
    fn definition(&self, stored: &StoredRecord) -> Option<std::sync::Arc<Connector>> {
        self.definitions.load(&stored.page.connector).ok()
    }

    /// The column lineage of a connection's stream.
    pub(super) fn stream_fields(&self, scope: Scope<'_>, connection: ConnectionId, stream: &str) -> Result<StreamFields, Problem> {
        let found = visible::connection(&self.connections, scope, connection)?;
        found.stream_number(stream).ok_or_else(|| Problem::not_found("stream", stream))?;
        let connector = self.definitions.load(&found.connector).map_err(Problem::internal)?;
        let columns = connector.columns(stream);
        Ok(StreamFields {
            connection,
            stream: stream.to_owned(),
            kind: connector.treatment.stream(stream).and_then(|stream| stream.kind).map(|kind| kind.as_str().to_owned()),
            fields: columns.fields.iter().map(|column| field_of(column, &columns, None)).collect(),
            whole: columns.whole.iter().map(|source| source_of(source, None)).collect(),
        })
    }

    /// Derives the operational view, or one field of it, anew from the stored record: by the definition that read it, as reads answer
    /// it, and by the connector's newest, which tells whether it still agrees. The stored record is compared with the keyed digest in
    /// its row.
    pub(super) fn explained(&self, stored: &StoredRecord, field: Option<&str>) -> Result<Explanation, Problem> {
        let connector = self.definitions.load(&stored.page.connector).map_err(Problem::internal)?;
        let columns = connector.columns(&stored.page.stream);
        if let Some(field) = field.filter(|field| !columns.fields.iter().any(|column| column.field == *field)) {
            return Err(Problem::not_found("field", field));
        }
        let derived = shape::record(&self.definitions, stored)?.operational.unwrap_or_default();
        let emitted = serde_json::to_vec(&stored.data()?).map_err(Problem::internal)?;
        let newest = self.connectors.find(&connector.name).ok().filter(|newest| newest.digest != connector.digest);
        let mapped = newest.as_ref().and_then(|newest| newest.treatment.stream(&stored.page.stream)).map(|stream| stream.view());
        let viewed = |mapping: Mapping| mapping.view(&emitted).map_err(Problem::internal)?.to_value().map_err(Problem::internal);
        let today = mapped.map(viewed).transpose()?;
        let mut fields = Vec::new();
        for column in columns.fields.iter().filter(|column| field.is_none_or(|field| field == column.field)) {
            let value = derived.get(&column.field).cloned().unwrap_or_default();
            // A field that the newest definition does not map any more reads null there.
            let newer = today.as_ref().map(|view| view.get(&column.field).cloned().unwrap_or_default()).filter(|newer| *newer != value);
            let source_values = column.sources.iter().map(|source| values(&source.pointer, &stored.raw)).collect::<Result<_, _>>()?;
            fields.push(FieldExplanation {
                origin: field_of(column, &columns, Some(stored)),
                source_values,
                agrees: newer.is_none(),
                today: newer,
                value,
            });
        }
        let content = ContentCheck { digest: stored.content_digest()?.to_string(), agrees: self.reader.content_agrees(stored)? };
        let tag = shape::tag(stored)?;
        let mut response = tag["page"].clone();
        response["pointer"] = stored.facts.pointer.clone().into();
        Ok(Explanation {
            record: stored.id,
            version: stored.facts.version,
            agrees: content.agrees && fields.iter().all(|field| field.agrees),
            content,
            response,
            connector: json!({
                "name": connector.name, "digest": connector.digest, "newest_digest": newest.map(|newest| newest.digest),
            }),
            transformations: stored.facts.transformations.clone(),
            fields,
        })
    }
}

/// A field's column, and of one record where it is in the response and whether something in it was masked.
fn field_of(column: &Column, columns: &Columns, stored: Option<&StoredRecord>) -> FieldOrigin {
    let masks: &[Mask] = stored.map_or(&[], |stored| &stored.facts.masks);
    let all = || column.sources.iter().chain(&columns.whole);
    let is_masked = |source: &Source| masks.iter().any(|mask| concerns(&mask.pointer, &source.pointer));
    FieldOrigin {
        field: column.field.clone(),
        pointer: column.pointer.as_str().to_owned(),
        sources: all().map(|source| source_of(source, stored)).collect(),
        masked: column.sources.iter().any(is_masked),
    }
}

fn source_of(source: &Source, stored: Option<&StoredRecord>) -> FieldSource {
    FieldSource {
        pointer: source.pointer.as_str().to_owned(),
        in_response: stored.map(|stored| format!("{}{}", stored.facts.pointer, source.pointer.as_str())),
        kind: source.bearing.kind().to_owned(),
        subtype: source.bearing.subtype().to_owned(),
    }
}

/// Whether a mask lies at, within or around what a pointer means.
fn concerns(mask: &str, pointer: &Pointer) -> bool {
    let steps = mask.split('/').skip(1);
    steps.zip(pointer.steps()).all(|(masked, step)| step == "*" || masked.replace("~1", "/").replace("~0", "~") == *step)
}

/// What lies at a pointer, as the view shows it: one value, null, or an array where it means many.
fn values(pointer: &Pointer, record: &[u8]) -> Result<Value, Problem> {
    let found = pointer.find(record).map_err(Problem::internal)?;
    let mut values = found.into_iter().map(|range| serde_json::from_slice::<Value>(&record[range]).map_err(Problem::internal));
    if pointer.is_many() {
        return values.collect::<Result<Vec<_>, _>>().map(Value::Array);
    }
    values.next().transpose().map(Option::unwrap_or_default)
}
