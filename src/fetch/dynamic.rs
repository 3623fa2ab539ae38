//! Which streams a connection has: where a manifest makes streams of what the application answers, the application is asked.
//!
//! The components are read as any stream is, through [`crate::fetch::stream::read`]: with the connection's permit, hosts, budget and retries.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::connector::definition::Connector;
use crate::connector::manifest::making::Component;
use crate::connector::manifest::making::STREAMS_MADE_MAX;
use crate::fetch::FetchError;
use crate::fetch::stream::StreamOrder;
use crate::fetch::stream::read;
use crate::record::FetchedPage;

/// Pages of components that are read ahead of being looked at.
const PAGES_AHEAD: usize = 1;

/// The connector with the streams of one configuration; itself where those do not depend on it. `config` is what expressions see;
/// `open` says how a stream of the connector is read, as it does for every reading.
///
/// # Errors
/// What keeps the components from being read, or streams from being made of them.
pub async fn connector_for<E: From<FetchError>>(
    connector: &Arc<Connector>,
    config: &Value,
    clock: &Clock,
    mut open: impl FnMut(&Arc<Connector>, &str) -> Result<StreamOrder, E>,
) -> Result<Arc<Connector>, E> {
    if !connector.manifest.depends_on_config() {
        return Ok(Arc::clone(connector));
    }
    let mut found = vec![Vec::new(); connector.manifest.dynamic_streams.0.len()];
    for (index, source) in connector.manifest.component_sources() {
        found[index] = components(open(connector, &source)?).await?;
    }
    let (connector, config, clock) = (Arc::clone(connector), config.clone(), clock.clone());
    let made = tokio::task::spawn_blocking(move || connector.made(&config, &clock, found)).await;
    let made = made.map_err(|_| FetchError::Streams { source: None })?;
    Ok(Arc::new(made.map_err(|source| FetchError::Streams { source: Some(Box::new(source)) })?))
}

/// Reads the components of one dynamic stream to their end.
async fn components(order: StreamOrder) -> Result<Vec<Component>, FetchError> {
    let stream = order.stream.clone();
    let (sender, mut pages) = mpsc::channel(PAGES_AHEAD);
    let taking = async move {
        let mut found = Vec::new();
        while let Some(page) = pages.recv().await {
            take(&page, &mut found);
            if found.len() > STREAMS_MADE_MAX {
                // The receiver goes away, and the reading ends at its next page.
                return Err(FetchError::TooManyStreams { stream, limit: STREAMS_MADE_MAX });
            }
        }
        Ok(found)
    };
    let (ended, taken) = tokio::join!(Box::pin(read(order, sender)), taking);
    ended.failure.map_or(taken, Err)
}

fn take(page: &FetchedPage, found: &mut Vec<Component>) {
    let slice = page.partition.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    for record in &page.records {
        let values = serde_json::from_slice(record.text(&page.body));
        // A record's range is JSON: it was found by parsing.
        found.extend(values.ok().map(|values| Component { values, slice: slice.clone() }));
    }
}
