//! One run: a stream read page by page, each taken in while the next is asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::connection::Active;
use crate::connection::Connection;
use crate::connection::gate::GateClosed;
use crate::connection::gate::Permit;
use crate::fetch::stream;
use crate::fetch::stream::StreamOrder;
use crate::intake::StreamIntake;
use crate::lineage::RunRow;
use crate::lineage::RunState;
use crate::run::PullOrder;
use crate::run::Pulls;
use crate::run::RunError;
use crate::run::RunUnderWayRow;
use crate::run::telling::Telling;
use crate::run::told;
use crate::run::whole;
use crate::store::Unit;
use crate::telemetry::metrics::ConnectorLabels;

/// Pages that are read and not yet taken up by intake: one, so that reading waits when the store is slower.
const PAGES_AHEAD: usize = 1;

impl Pulls {
    /// Reads a stream to its end and writes how it went.
    pub(super) async fn read(
        &self,
        connection: Arc<Connection<Active>>,
        permit: Result<Permit, GateClosed>,
        run: RunRow,
        (order, telling): (&PullOrder, Option<&Telling>),
    ) -> Result<(), RunError> {
        let mut ended = run.clone();
        let before = telling.map(|_| self.before(&connection, &run.stream));
        let held = permit.clone();
        let outcome = self.take_in(&connection, permit, run, order, &mut ended).await;
        // Before the run reads as failed, so that nobody who sees that finds the connection open.
        // What an old credential came to says nothing of one that has taken its place.
        let is_current = held.is_ok_and(|permit| !permit.is_cancelled());
        let suspended = match outcome.as_ref().err().and_then(RunError::refusal).filter(|_| is_current) {
            Some(refusal) => self.suspend(&connection, refusal).await,
            None => Ok(()),
        };
        ended.ended_at = Some(self.inner.clock.now());
        ended.state = match &outcome {
            Ok(()) => RunState::Complete,
            Err(error) if error.is_stop() => RunState::Cancelled,
            Err(_) => RunState::Failed,
        };
        ended.error = outcome.as_ref().err().map(|error| told(error, &connection));
        let mut unit = Unit::default();
        unit.put(&(connection.key, ended.id.to_bytes()), &ended).remove::<RunUnderWayRow>(&ended.id.to_bytes());
        if let Some(telling) = telling {
            self.tell_ended(&mut unit, telling, &ended, connection.stream_number(&ended.stream), before.as_ref()).await;
        }
        self.inner.store.commit(unit).await?;
        self.count(&connection.connector.name, &ended);
        let (state, error) = (ended.state, ended.error.as_deref());
        tracing::info!(run.id = %ended.id, connection.id = %connection.id, stream = ended.stream, state = ?state, pages = ended.pages, new = ended.new, changed = ended.changed, error, "a run has ended");
        // Only now, so that a run ends whatever became of its connection.
        suspended.and(outcome)
    }

    /// Counts what a run brought.
    fn count(&self, connector: &str, run: &RunRow) {
        let metrics = &self.inner.sources.metrics;
        let labels = |outcome| ConnectorLabels { connector: connector.to_owned(), outcome };
        metrics.pages.get_or_create(&labels("stored")).inc_by(run.pages);
        let records = [
            ("new", run.new),
            ("changed", run.changed),
            ("unchanged", run.unchanged),
            ("deleted", run.deleted.unwrap_or_default()),
            ("filtered", run.filtered),
            ("ignored", run.ignored),
            ("coerced", run.coerced),
        ];
        for (outcome, number) in records {
            metrics.records.get_or_create(&labels(outcome)).inc_by(number);
        }
    }

    async fn take_in(
        &self,
        connection: &Arc<Connection<Active>>,
        permit: Result<Permit, GateClosed>,
        run: RunRow,
        order: &PullOrder,
        ended: &mut RunRow,
    ) -> Result<(), RunError> {
        let permit = permit?;
        let number = connection.stream_number(&run.stream).unwrap_or_default();
        let state = if order.full { None } else { self.inner.intake.cursor(connection.key, number)? };
        let connector = self.inner.sources.connector(connection, run.pull, order.compat, &permit).await?;
        let treatment = self.inner.sources.treatment(connection, &connector, &run.stream)?;
        let reading = self.inner.sources.open(connection, &connector, &run.stream, state, order.compat, permit.clone())?;
        let requests = reading.requests.clone();
        let activity = reading.activity.clone();
        let stream = run.stream.clone();
        let mut intake = self.inner.intake.stream(connection.clone(), permit, run, treatment, activity.clone())?;
        if whole::asks_for_everything(&connector, &stream) {
            intake.watch_deletions();
        }
        let mut received = 0;
        let read = self.pages(reading, &mut intake, &requests, &mut received).await;
        // What was accepted before a failure is durable all the same, and counts.
        let settled = intake.settle().await;
        if let Some(limit) = read.as_ref().err().and_then(RunError::limit) {
            activity.limited(limit);
        }
        *ended = intake.acknowledged(ended);
        activity.pages_dropped(received.saturating_sub(ended.pages));
        ended.requests = requests.load(Ordering::Relaxed);
        read.and(settled.map_err(RunError::from))
    }

    /// Reads and takes in side by side.
    async fn pages(&self, order: StreamOrder, intake: &mut StreamIntake, requests: &AtomicU64, received: &mut u64) -> Result<(), RunError> {
        let (sender, mut pages) = mpsc::channel(PAGES_AHEAD);
        let activity = order.activity.clone();
        let state = {
            let taking = async {
                while let Some(page) = pages.recv().await {
                    *received += 1;
                    activity.page_read();
                    intake.accept(page, requests.load(Ordering::Relaxed)).await?;
                }
                Ok::<(), RunError>(())
            };
            let reading = stream::read(order, sender);
            tokio::pin!(taking, reading);
            let (taken, ended) = tokio::select! {
                () = self.inner.stopping.cancelled() => return Err(RunError::Stopping),
                // Either every page is in and the reading has ended, or a page was refused: then the reading is of no use.
                taken = &mut taking => match taken {
                    Ok(()) => (Ok(()), reading.await),
                    Err(error) => return Err(error),
                },
                ended = &mut reading => (taking.await, ended),
            };
            taken?;
            ended.failure.map_or(Ok(ended.state), |failure| Err(RunError::from(failure)))?
        };
        match state {
            Some(state) => Ok(intake.reach(&state).await?),
            None => Ok(intake.tell_deletions(self.inner.clock.now()).await?),
        }
    }
}
