//! The workers: one a transport. Each reads what is behind its position, tells it, and moves on when that is certain.

use std::time::Duration;

use crate::ids::TenantId;
use crate::outbox::Outbox;
use crate::outbox::endpoint::HttpEndpoint;
use crate::outbox::file::EventFile;
use crate::outbox::graph::OwnGraph;
use crate::outbox::row::EventRow;
use crate::outbox::row::PositionRow;
use crate::store::StoreError;
use crate::store::Unit;

/// Events that are read and told at once.
const BATCH: usize = 100;
/// The longest sleep of a worker that has nothing to tell.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From an event's arrival to the look at it: its unit is being applied, and others may follow.
const GATHER: Duration = Duration::from_millis(20);
/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(5);
/// How long an ending gateway goes on telling.
const END_WAIT_MAX: Duration = Duration::from_secs(5);

/// The key of an event: the place in the order of all.
pub(super) type Place = (u64, [u8; 4]);

/// An event that is to be told.
pub(super) struct Told {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run that it tells of, as OpenLineage writes it.
    pub run: uuid::Uuid,
    /// What it tells.
    pub event_type: String,
    /// The event as one line of JSON.
    pub json: Vec<u8>,
}

/// What came of telling some events, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many of them are done with: told, or refused for good.
    pub done: usize,
    /// How many of those were refused.
    pub refused: usize,
    /// How long to wait before the next is tried.
    pub wait: Option<Duration>,
}

/// Where events go.
pub(super) enum Transport {
    /// The tenants' own graphs.
    Graph(OwnGraph),
    /// A file.
    File(EventFile),
    /// An HTTP endpoint.
    Http(HttpEndpoint),
}

impl Transport {
    /// The byte under which its position is kept.
    pub(super) fn tag(&self) -> u8 {
        match self {
            Transport::Graph(_) => b'g',
            Transport::File(_) => b'f',
            Transport::Http(_) => b'h',
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Transport::Graph(_) => "graph",
            Transport::File(_) => "file",
            Transport::Http(_) => "http",
        }
    }

    async fn tell(&mut self, events: &[Told]) -> Progress {
        match self {
            Transport::Graph(graph) => graph.admit(events).await,
            Transport::File(file) => file.append(events),
            Transport::Http(endpoint) => endpoint.post(events).await,
        }
    }
}

impl Outbox {
    /// Tells what waits, until the end.
    pub(super) async fn tell(&self, mut transport: Transport) {
        let end = self.inner.end.clone();
        let mut last_round = None;
        loop {
            let (rest, is_idle) = match self.round(&mut transport).await {
                Ok(rest) => rest,
                Err(error) => {
                    let transport = transport.name();
                    tracing::error!(
                        transport,
                        error = &error as &dyn std::error::Error,
                        "OpenLineage events are not told; it is tried again"
                    );
                    (Some(STORE_WAIT), false)
                }
            };
            if end.is_cancelled() {
                // Once more for what came while the others ended; then whoever does not take it now gets it after the next start.
                let until = *last_round.get_or_insert_with(|| tokio::time::Instant::now() + END_WAIT_MAX);
                if is_idle || rest.is_some() || tokio::time::Instant::now() >= until {
                    return;
                }
                continue;
            }
            let sleep = match rest {
                Some(wait) => wait,
                None if is_idle => LOOK_EVERY,
                None => continue,
            };
            tokio::select! {
                () = end.cancelled() => {}
                () = tokio::time::sleep(sleep) => {}
                () = self.inner.arrived.notified(), if is_idle => tokio::time::sleep(GATHER).await,
            }
        }
    }

    /// Tells the next events; how long to wait before the next round, and whether nothing was there to tell.
    async fn round(&self, transport: &mut Transport) -> Result<(Option<Duration>, bool), StoreError> {
        let inner = &self.inner;
        let position = self.position(transport.tag()).await;
        let rows = inner.store.scan::<EventRow>(&[], position.as_ref(), BATCH)?;
        let Some((last, _)) = rows.last() else { return Ok((None, true)) };
        let last = *last;
        // Nobody hears of a run that a crash could still take back.
        inner.store.rows_seen_are_durable().await?;
        let (mut places, mut events, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for (place, row) in &rows {
            let keys = row.sealed_for.and_then(|number| inner.vault.tenant_keys(number).ok());
            match row.json(keys.as_deref()) {
                Some(json) => {
                    let (tenant, event_type) = (row.tenant.clone(), row.event_type.clone());
                    events.push(Told { tenant, run: uuid::Uuid::from_bytes(row.run), event_type, json });
                    places.push(*place);
                }
                // The tenant is erased: nobody reads this any more.
                None => unreadable.push(*place),
            }
        }
        let progress = if events.is_empty() { Progress::default() } else { transport.tell(&events).await };
        let done = progress.done.min(events.len());
        self.count(transport.name(), "told", done.saturating_sub(progress.refused));
        self.count(transport.name(), "refused", progress.refused);
        self.count(transport.name(), "repeated", usize::from(progress.wait.is_some()));
        // Unreadable ones behind the last that was told are met again; those at the end are done with.
        let reached = if done == events.len() { Some(last) } else { done.checked_sub(1).map(|index| places[index]) };
        if let Some(reached) = reached {
            self.count(transport.name(), "unreadable", unreadable.iter().filter(|place| **place <= reached).count());
            self.reach(transport.tag(), reached).await?;
        }
        Ok((progress.wait, false))
    }

    async fn position(&self, tag: u8) -> Option<Place> {
        self.inner.positions.lock().await.iter().find(|(known, _)| *known == tag).and_then(|(_, place)| *place)
    }

    /// Moves a transport's position, and removes what everyone has.
    async fn reach(&self, tag: u8, place: Place) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut positions = inner.positions.lock().await;
        let mut moved = positions.clone();
        moved.iter_mut().filter(|(known, _)| *known == tag).for_each(|(_, position)| *position = Some(place));
        let mut unit = Unit::default();
        unit.put(&tag, &PositionRow(place.0, place.1));
        let mut removed = 0;
        // A transport without a position has heard of nothing, and everything is kept for it.
        if let Some(everyone) = moved.iter().map(|(_, position)| *position).min().flatten() {
            let rows = inner.store.scan::<EventRow>(&[], None, 2 * BATCH)?;
            for (key, _) in rows.iter().filter(|(key, _)| *key <= everyone) {
                unit.remove::<EventRow>(key);
                removed += 1;
            }
        }
        inner.store.commit(unit).await?;
        inner.store.metrics().openlineage_waiting.dec_by(removed);
        *positions = moved;
        Ok(())
    }
}
