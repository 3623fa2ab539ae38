//! What the API's handlers ask, answered by the rest of the house: one file a noun, and one where refusals become problems.

mod audit;
mod changes;
mod connecting;
mod connections;
mod connectors;
mod consents;
mod copies;
mod derivations;
mod disclosures;
mod erasures;
mod graph;
mod ground;
mod impact;
mod keyring;
mod keys;
mod openlineage;
mod problems;
mod provenance;
mod reach;
mod reading;
mod records;
mod revocations;
mod runs;
mod shape;
mod tenants;
mod tombstones;
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
use crate::disclosure;
use crate::erasure;
use crate::gateway::scrub::Scrubs;
use crate::ids::Entropy;
use crate::lineage::Derivations;
use crate::lineage::Reader;
use crate::openlineage::Graph;
use crate::openlineage::emission::Producer;
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
    /// How what is stored is named there.
    pub producer: Producer,
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
    /// Who received records.
    pub disclosures: disclosure::Disclosures,
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
    let derivations = Derivations::new(store.clone(), vault.clone());
    let joined = records::Joined {
        derivations: derivations.clone(),
        disclosures: parts.disclosures.clone(),
        graph: parts.graph.clone(),
        producer: parts.producer.clone(),
    };
    let impact = impact::Impact::new(
        store.clone(),
        registry(),
        (parts.erasures.clone(), derivations.clone()),
        pulls.clone(),
        Arc::new(reach::Joining::new(joined.clone(), registry())),
    );
    let readings = reading::Readings::new(vault.clone(), parts.disclosures.clone(), clock.clone());
    Services {
        connections: Arc::new(connections::Connections::new(
            registry(),
            connecting::Connecting::new(connecting.clone(), connectors.clone(), definitions.clone()),
            (pulls.clone(), parts.scheduler.clone(), revocations.clone()),
            clock.clone(),
        )),
        runs: Arc::new(runs::Runs::new(pulls.clone(), registry())),
        revocations: Arc::new(revocations::Revocations::new(revocations.clone(), registry(), connectors.clone(), impact.clone())),
        records: Arc::new(records::Records::new(
            store.clone(),
            readings.clone(),
            (registry(), definitions.clone(), connectors.clone()),
            (parts.reader.clone(), joined),
            (log.clone(), clock.clone()),
        )),
        erasures: Arc::new(erasures::Erasures::new(parts.erasures.clone(), revocations.clone(), registry(), impact.clone())),
        derivations: Arc::new(derivations::Derivations::new(derivations, registry(), clock.clone())),
        impact: Arc::new(impact),
        disclosures: Arc::new(disclosures::Disclosures::new(
            store.clone(),
            registry(),
            parts.disclosures.clone(),
            readings.clone(),
            clock.clone(),
        )),
        changes: Arc::new(changes::Changes::new(
            store.clone(),
            (registry(), definitions.clone()),
            parts.reader.clone(),
            readings.clone(),
            (log.clone(), clock.clone()),
        )),
        job_graph: Arc::new(openlineage::JobGraph::new(parts.graph.clone(), clock.clone())),
        consents: Arc::new(consents::Consents::new(registry(), vault.clone(), parts.test)),
        audit: Arc::new(audit::AuditLog::new(log.clone(), clock.clone())),
        connectors: Arc::new(connectors::Connectors::new(connectors.clone(), clock.clone())),
        copies: Arc::new(copies::Copies::new(parts.copies.clone())),
        tenants: Arc::new(tenants::Tenants::new(registry())),
        keyring: Arc::new(keyring::Keyring::new(vault.clone(), log.clone(), clock.clone(), (parts.data.clone(), parts.entropy.clone()))),
        ground: Arc::new(ground::Ground::new(store.clone(), vault.clone(), log.clone(), parts.scrubs.clone())),
    }
}
