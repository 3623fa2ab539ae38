//! Events in the tenant's own graph, beside those of the company's other jobs: a run of Headgate is found there like any other.

use std::time::Duration;

use crate::openlineage::Event;
use crate::openlineage::Graph;
use crate::openlineage::OpenLineageError;
use crate::outbox::delivery::Progress;
use crate::outbox::delivery::Told;
use crate::vault::VaultError;

/// The wait after the store failed.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// The graphs of all tenants.
pub(super) struct OwnGraph(pub(super) Graph);

impl OwnGraph {
    /// Admits events: those of one tenant that follow each other at once. One that comes twice changes nothing there.
    pub(super) async fn admit(&self, events: &[Told]) -> Progress {
        let mut progress = Progress::default();
        for of_one in events.chunk_by(|one, next| one.tenant == next.tenant) {
            // What we built is read back; nothing is left out.
            let read: Vec<Event> = of_one.iter().filter_map(|event| Event::read(&event.json).ok()).collect();
            match self.0.admit(&of_one[0].tenant, &read).await {
                Ok(_) => {}
                // An erased tenant has no graph any more, and what is told of its erasure goes elsewhere alone.
                Err(OpenLineageError::Tenant(_) | OpenLineageError::Vault(VaultError::Destroyed { .. })) => {
                    progress.refused += of_one.len()
                }
                Err(error) => {
                    tracing::error!(tenant = %of_one[0].tenant, error = &error as &dyn std::error::Error, "runs are not in the tenant's graph yet; it is tried again");
                    progress.wait = Some(RETRY_EVERY);
                    return progress;
                }
            }
            progress.done += of_one.len();
        }
        progress
    }
}
