//! What is told of runs elsewhere: the facts of a pull, gathered once, and an event for each beginning and end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::connection::Active;
use crate::connection::Connection;
use crate::connector::definition::Connector;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::TenantId;
use crate::lineage::RunRow;
use crate::lineage::RunState;
use crate::lineage::StreamRow;
use crate::openlineage::emission::Beginning;
use crate::openlineage::emission::Ending;
use crate::openlineage::emission::Sources;
use crate::openlineage::emission::Stored;
use crate::openlineage::emission::StreamRun;
use crate::openlineage::emission::StreamShape;
use crate::openlineage::emission::facets::HeadgateRateLimit;
use crate::outbox::Outbox;
use crate::record::ConnectorRef;
use crate::run::Pulls;
use crate::store::Unit;
use crate::telemetry::activity::Counts;

/// What is told of every run of a pull.
pub(super) struct Telling {
    tenant: TenantId,
    owner: ConnectionKey,
    connection: ConnectionId,
    reference: ConnectorRef,
    connector: Option<Arc<Connector>>,
    sources: Sources,
}

/// How a connection stood before a run, so that what the run added can be told.
pub(super) struct Before {
    bytes: u64,
    spared: Counts,
}

impl Pulls {
    /// Gathers what is told of a connection's runs; nothing when nobody is told. What cannot be had is left out: a pull never fails
    /// because it cannot be told in full.
    pub(super) fn telling<S>(&self, connection: &Connection<S>) -> Option<Arc<Telling>> {
        let inner = &self.inner;
        if !inner.outbox.is_kept() {
            return None;
        }
        let connector = inner.sources.definitions.load(&connection.connector).ok();
        let sources = match (&connector, inner.connections.config(connection.key)) {
            (Some(connector), Ok(config)) => {
                let config = Value::Object(config);
                let used = connector.used_config(config.clone(), &inner.clock).unwrap_or(config);
                Sources::of(connector, connection.id, &used, &connection.streams, &inner.clock)
            }
            _ => Sources::unknown(&connection.connector.name, connection.id),
        };
        let (tenant, reference) = (connection.tenant.clone(), connection.connector.clone());
        Some(Arc::new(Telling { tenant, owner: connection.key, connection: connection.id, reference, connector, sources }))
    }

    /// Adds that runs have begun to the unit that begins them.
    pub(super) fn tell_began(
        &self,
        unit: &mut Unit,
        telling: &Telling,
        connection: &Connection<Active>,
        runs: &[RunRow],
        how: (bool, Option<Timestamp>),
    ) {
        let connections = &self.inner.connections;
        let scopes = connections.consent(connection.consent).ok().flatten().map(|(_, consent)| consent.scopes).unwrap_or_default();
        let credential_generation = connections.credentials().generation(connection.key).ok().flatten();
        let (full, due) = how;
        for run in runs {
            let scopes = scopes.clone();
            let beginning = Beginning { at: run.started_at, due, full, consent: connection.consent, scopes, credential_generation };
            let outbox = &self.inner.outbox;
            telling.put(outbox, unit, run, |told| told.began(outbox.producer(), &beginning));
        }
    }

    /// How a stream stands before a run.
    pub(super) fn before(&self, connection: &Connection<Active>, stream: &str) -> Before {
        let counts = self.stored(connection.key, connection.stream_number(stream));
        Before { bytes: counts.bytes, spared: self.activity(connection.key).unwrap_or_default() }
    }

    fn stored(&self, owner: ConnectionKey, stream: Option<u16>) -> StreamRow {
        let row = stream.and_then(|stream| self.inner.store.get::<StreamRow>(&(owner, stream)).ok().flatten());
        row.unwrap_or_default()
    }

    /// Adds that a run has ended to the unit that ends it. Without `before`, a crash has interrupted it.
    pub(super) async fn tell_ended(&self, unit: &mut Unit, telling: &Telling, run: &RunRow, stream: Option<u16>, before: Option<&Before>) {
        let counts = self.stored(telling.owner, stream);
        // As the pull has made it, where its streams depend on the configuration.
        let made = self.inner.sources.made.lock().await.get(&telling.owner).filter(|(of, _)| *of == run.pull).map(|(_, made)| made.clone());
        let connector = made.or_else(|| telling.connector.clone());
        let shape = connector.as_deref().map(|connector| StreamShape::of(connector, &run.stream));
        let spared = before.map(|before| spared(run, &before.spared, &self.activity(telling.owner).unwrap_or_default()));
        let ending = Ending {
            at: run.ended_at.unwrap_or(run.started_at),
            stopped: run.state == RunState::Cancelled,
            error: run.error.as_deref(),
            shape: shape.as_ref(),
            stored: Stored {
                pages: run.pages,
                new: run.new,
                changed: run.changed,
                unchanged: run.unchanged,
                filtered: run.filtered,
                masked: run.masked,
                versions: counts.versions,
                bytes: before.map_or(0, |before| counts.bytes.saturating_sub(before.bytes)),
            },
            spared,
        };
        let outbox = &self.inner.outbox;
        telling.put(outbox, unit, run, |told| told.ended(outbox.producer(), &ending));
    }
}

impl Telling {
    fn put(
        &self,
        outbox: &Outbox,
        unit: &mut Unit,
        run: &RunRow,
        event: impl FnOnce(&StreamRun<'_>) -> crate::openlineage::emission::RunEvent,
    ) {
        let source = self.sources.stream(&run.stream);
        let told = StreamRun {
            tenant: &self.tenant,
            connection: self.connection,
            connector: &self.reference,
            application: self.connector.as_ref().map_or(self.reference.name.as_str(), |connector| connector.display_name()),
            stream: &run.stream,
            source: &source,
            run: run.id,
            pull: run.pull,
        };
        outbox.put(unit, (&self.tenant, self.owner.tenant), run.id.to_bytes(), event(&told));
    }
}

/// How the application was spared between two looks.
fn spared(run: &RunRow, before: &Counts, after: &Counts) -> HeadgateRateLimit {
    let total =
        |counts: &Counts| counts.waits.values().fold((0, Duration::ZERO), |(number, time), (more, longer)| (number + more, time + *longer));
    let ((waits_before, time_before), (waits_after, time_after)) = (total(before), total(after));
    HeadgateRateLimit {
        requests: run.requests,
        retries: after.retries.saturating_sub(before.retries),
        waits: waits_after.saturating_sub(waits_before),
        waited_ms: u64::try_from(time_after.saturating_sub(time_before).as_millis()).unwrap_or(u64::MAX),
    }
}
