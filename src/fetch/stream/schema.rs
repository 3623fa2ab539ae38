//! The schema of a stream, asked of the application where the manifest says so.

use serde_json::Value;
use tokio::sync::mpsc;

use super::StreamOrder;
use super::pages::Pages;
use super::source::Source;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::expression::Scope;
use crate::connector::reading::SchemaPart;
use crate::connector::reading::combined;
use crate::connector::reading::schema_parts;
use crate::connector::reading::told_schema;
use crate::fetch::FetchError;

/// The schema of the stream's records; nothing when neither the connector's files nor the application have one.
///
/// # Errors
/// When the application is to be asked and does not answer, or with something that tells no fields.
pub async fn schema(order: &StreamOrder) -> Result<Option<Value>, FetchError> {
    let unknown = || FetchError::UnknownStream { stream: order.stream.clone() };
    let stream = order.connector.stream(&order.stream).ok_or_else(unknown)?;
    schema_of(order, stream, &order.scope()).await
}

/// As [`schema`], with the scope of a reading under way.
pub(super) async fn schema_of(order: &StreamOrder, stream: &DeclarativeStream, scope: &Scope) -> Result<Option<Value>, FetchError> {
    let parts = schema_parts(stream, scope, |path| order.connector.schema_file(path)).map_err(|error| order.unreadable(error))?;
    let mut schemas = Vec::with_capacity(parts.len());
    for part in parts {
        schemas.push(match part {
            SchemaPart::Known(schema) => schema,
            SchemaPart::Asked(loader) => {
                let record = first_record(order, &loader.retriever.0, scope).await?;
                let told = told_schema(loader, record.as_ref(), scope, order.compat);
                std::borrow::Cow::Owned(told.map_err(|error| order.unreadable(error))?)
            }
        });
    }
    Ok(combined(schemas).map(std::borrow::Cow::into_owned))
}

/// The first record of a stream; reading ends with it.
async fn first_record(order: &StreamOrder, stream: &DeclarativeStream, scope: &Scope) -> Result<Option<Value>, FetchError> {
    let source = Source::new(order, stream, scope.clone(), None)?;
    let (slices, mut next) = mpsc::channel(1);
    let reading = async {
        while let Some(cut) = next.recv().await {
            let mut pages = Pages::new(&source, &cut)?;
            source.progress().begin(&cut.partition, cut.window.as_ref());
            while let Some(page) = pages.next().await? {
                if let Some(record) = page.records().next() {
                    return Ok(Some(record));
                }
            }
        }
        Ok(None)
    };
    let making = source.slices(slices);
    tokio::pin!(making, reading);
    tokio::select! {
        biased;
        found = &mut reading => found,
        made = &mut making => match made {
            Ok(()) => reading.await,
            Err(error) => Err(error),
        },
    }
}
