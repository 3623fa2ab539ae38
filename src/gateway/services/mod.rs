//! What the API's handlers ask, answered by the rest of the house: one file a noun, and one where refusals become problems.

mod audit;
mod connecting;
mod connections;
mod connectors;
mod consents;
mod copies;
mod erasures;
mod graph;
mod ground;
mod keyring;
mod keys;
mod openlineage;
mod problems;
mod provenance;
mod records;
mod revocations;
mod runs;
mod shape;
mod tenants;
mod visible;

use std::path::PathBuf;
use std::sync::Arc;

use crate::api::services::Services;
use crate::audit::Log;
use crate::clock::Clock;
use crate::connect;
use crate::connection;
use crate::connection::Definitions;
use crate::copies as copying;
use crate::erasure;
use crate::gateway::scrub::Scrubs;
use crate::ids::Entropy;
use crate::lineage::Reader;
use crate::openlineage::Graph;
use crate::revocation;
use crate::run::Pulls;
use crate::run::Scheduler;
use crate::store::Store;
use crate::vault::Vault;

/// The parts of a gateway that its services stand on.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Its keyring.
    pub vault: Arc<Vault>,
    /// The registry.
    pub connections: connection::Connections,
    /// The connectors that can be connected.
    pub connectors: connection::Connectors,
    /// The graphs of the tenants' own jobs.
    pub graph: Graph,
    /// The definitions that connections were made with.
    pub definitions: Definitions,
    /// The act of connecting.
    pub connecting: connect::Connecting,
    /// Pulls.
    pub pulls: Pulls,
    /// The schedule.
    pub scheduler: Scheduler,
    /// Revocations.
    pub revocations: revocation::Revocations,
    /// Erasures.
    pub erasures: erasure::Erasures,
    /// Compactions and backups.
    pub copies: copying::Copies,
    /// The reader of records.
    pub reader: Reader,
    /// The audit log.
    pub log: Log,
    /// The scrubs.
    pub scrubs: Scrubs,
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    /// The data directory.
    pub data: PathBuf,
    /// Whether the data directory was made for tests.
    pub test: bool,
}

/// The services over a gateway's parts.
pub fn services(parts: &Parts) -> Services {
    let Parts { store, vault, connections, connectors, definitions, connecting, pulls, .. } = parts;
    let (revocations, log, clock) = (&parts.revocations, &parts.log, &parts.clock);
    let registry = || connections.clone();
    Services {
        connections: Arc::new(connections::Connections::new(
            store.clone(),
            registry(),
            connecting::Connecting::new(connecting.clone(), connectors.clone(), definitions.clone()),
            (pulls.clone(), parts.scheduler.clone(), revocations.clone()),
            clock.clone(),
        )),
        runs: Arc::new(runs::Runs::new(pulls.clone(), registry())),
        revocations: Arc::new(revocations::Revocations::new(revocations.clone(), registry(), connectors.clone())),
        records: Arc::new(records::Records::new(
            store.clone(),
            vault.clone(),
            (registry(), definitions.clone(), connectors.clone()),
            parts.reader.clone(),
            (log.clone(), clock.clone()),
        )),
        job_graph: Arc::new(openlineage::JobGraph::new(parts.graph.clone(), clock.clone())),
        erasures: Arc::new(erasures::Erasures::new(parts.erasures.clone(), revocations.clone(), registry())),
        consents: Arc::new(consents::Consents::new(registry(), vault.clone(), parts.test)),
        audit: Arc::new(audit::AuditLog::new(log.clone(), clock.clone())),
        connectors: Arc::new(connectors::Connectors::new(connectors.clone(), clock.clone())),
        copies: Arc::new(copies::Copies::new(parts.copies.clone())),
        tenants: Arc::new(tenants::Tenants::new(registry())),
        keyring: Arc::new(keyring::Keyring::new(vault.clone(), log.clone(), clock.clone(), (parts.data.clone(), parts.entropy.clone()))),
        ground: Arc::new(ground::Ground::new(store.clone(), vault.clone(), log.clone(), parts.scrubs.clone())),
    }
}
