//! Stored records as the API shows them.

use serde_json::Value;

use crate::api::problem::Problem;
use crate::api::wire::record::DeletedAtSource;
use crate::api::wire::record::Record;
use crate::connection::Definitions;
use crate::lineage::StoredRecord;

/// A record with its tag and its operational view.
pub fn record(definitions: &Definitions, stored: &StoredRecord) -> Result<Record, Problem> {
    let data = stored.data()?;
    Ok(Record {
        id: stored.id,
        version: stored.facts.version,
        kind: stored.page.kind.map(|kind| kind.as_str().to_owned()),
        operational: operational(definitions, stored, &data)?,
        tag: tag(stored)?,
        deleted_at_source: deleted_at_source(stored),
        data,
    })
}

/// Since when the application has it no more.
pub fn deleted_at_source(stored: &StoredRecord) -> Option<DeletedAtSource> {
    stored.deleted.map(|deleted| DeletedAtSource { run: deleted.run, at: deleted.at })
}

/// The whole tag.
pub fn tag(stored: &StoredRecord) -> Result<Value, Problem> {
    serde_json::to_value(stored.tag()?).map_err(Problem::internal)
}

/// The view that the definition's mapping gives of the record: of the definition that read it, not of a later one. None
/// where it maps nothing, or is no longer to be had.
fn operational(definitions: &Definitions, stored: &StoredRecord, data: &Value) -> Result<Option<Value>, Problem> {
    let connector = match definitions.load(&stored.page.connector) {
        Ok(connector) => connector,
        Err(error) => {
            tracing::warn!(
                connector = stored.page.connector.name,
                error = &error as &dyn std::error::Error,
                "a record is shown without its operational view"
            );
            return Ok(None);
        }
    };
    let mapping = connector.treatment.stream(&stored.page.stream).map(|stream| stream.view());
    let Some(mapping) = mapping.filter(|mapping| !mapping.is_empty()) else { return Ok(None) };
    let view = if stored.patch.is_empty() {
        mapping.view(&stored.raw)
    } else {
        mapping.view(&serde_json::to_vec(data).map_err(Problem::internal)?)
    };
    view.map_err(Problem::internal)?.to_value().map(Some).map_err(Problem::internal)
}
