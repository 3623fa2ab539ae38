//! Reading a stream: partition by partition, window by window, page by page, each handed on before the next is asked for.
//!
//! The machines of [`crate::connector::reading`] say what to ask, what an answer means and what comes next; this drives
//! them over the one guarded client. The state after a page travels with the page, so that both are written as one.

mod access;
mod ask;
mod session;
mod state;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::connection::gate::Permit;
use crate::connector::component::requester::Requester;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Retriever;
use crate::connector::component::source::SimpleRetriever;
use crate::connector::definition::Connector;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::reading::Compat;
use crate::connector::reading::PageSeen;
use crate::connector::reading::Pager;
use crate::connector::reading::Partition;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Selection;
use crate::connector::reading::Selector;
use crate::connector::reading::TimeCursor;
use crate::connector::reading::Window;
use crate::fetch::FetchError;
use crate::fetch::budget::Budget;
use crate::fetch::client::Client;
use crate::fetch::client::Incoming;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::retry::Policy;
use crate::record::FetchedPage;
use crate::telemetry::activity::Activity;

pub use self::access::Access;
pub use self::session::ConnectionSessions;
pub use self::session::Sessions;

use self::ask::Answered;
use self::ask::Asker;
use self::state::StreamState;

/// Pages of one window at most: a paging that never ends is an error, not a stream.
pub const PAGES_MAX: u64 = 1_000_000;

/// What reading a stream needs.
pub struct StreamOrder {
    /// The connector.
    pub connector: Arc<Connector>,
    /// The stream's name.
    pub stream: String,
    /// The state of the last reading; none: from the beginning.
    pub state: Option<Value>,
    /// How faithful to the reference engine.
    pub compat: Compat,
    /// How requests are authorized, and the configuration.
    pub access: Access,
    /// The hosts of the connection.
    pub hosts: AllowedHosts,
    /// The application's budget.
    pub budget: Arc<Budget>,
    /// The client.
    pub client: Client,
    /// How often a request is tried where the manifest does not say.
    pub retries: Policy,
    /// The permit.
    pub permit: Permit,
    /// The clock.
    pub clock: Clock,
    /// Requests sent so far, for whoever shows how it goes.
    pub requests: Arc<AtomicU64>,
    /// Where requests, waits and pages are counted.
    pub activity: Arc<Activity>,
}

/// Reads a stream to its end; pages are sent to `pages` in the order in which they were read.
///
/// # Errors
/// What ended the reading early: a request that failed for good, a gate that closed, an expression without a value. When
/// the receiver of `pages` goes away, the reading ends without an error.
pub async fn read(order: StreamOrder, pages: mpsc::Sender<FetchedPage>) -> Result<(), FetchError> {
    let connector = order.connector.clone();
    let name = order.stream.clone();
    let failed = |source: ReadingError| FetchError::Reading { stream: name.clone(), source: Box::new(source) };
    let unknown = || FetchError::UnknownStream { stream: name.clone() };
    let stream = connector.stream(&order.stream).ok_or_else(unknown)?;
    let mut scope = Scope::new(order.clock.clone());
    scope.set("config", dynamic(order.access.config())).set_slice(&Slice::default());
    let Retriever::SimpleRetriever(retriever) = &stream.retriever;
    let routers = retriever.partition_router.as_deref().unwrap_or_default();
    let partitions = Partition::all(routers, &scope).map_err(failed)?;
    let state = StreamState::new(order.state.clone(), !routers.is_empty());
    let selector = Selector::new(stream, scope.clone(), order.compat).map_err(failed)?;
    let Requester::HttpRequester(requester) = &retriever.requester;
    let asker = Asker::new(&order, requester, &scope)?;
    let mut reading = Reading { asker, order: &order, stream, retriever, scope, selector, state, pages };
    for partition in &partitions {
        if !reading.partition(partition).await? {
            break;
        }
    }
    Ok(())
}

/// One reading under way.
struct Reading<'a> {
    order: &'a StreamOrder,
    stream: &'a DeclarativeStream,
    retriever: &'a SimpleRetriever,
    scope: Scope,
    asker: Asker<'a>,
    selector: Selector<'a>,
    state: StreamState,
    pages: mpsc::Sender<FetchedPage>,
}

/// A slice being read: a window of a partition, or the partition whole.
struct Cut<'a> {
    partition: &'a Partition,
    window: Option<&'a Window>,
    slice: Slice,
}

impl<'a> Reading<'a> {
    fn failed(&self) -> impl Fn(ReadingError) -> FetchError + use<> {
        let stream = self.order.stream.clone();
        move |source| FetchError::Reading { stream: stream.clone(), source: Box::new(source) }
    }

    /// Reads a partition; false when nobody takes pages any more.
    async fn partition(&mut self, partition: &Partition) -> Result<bool, FetchError> {
        let Some(sync) = &self.stream.incremental_sync else {
            let cut = Cut { partition, window: None, slice: partition.slice() };
            return self.cut(&cut, &mut None).await;
        };
        let before = self.state.of(partition);
        let now = self.order.clock.now();
        let cursor = TimeCursor::new(sync, self.scope.clone(), before.as_ref(), now, self.order.compat);
        let cursor = cursor.map_err(self.failed())?;
        let windows = cursor.windows().map_err(self.failed())?;
        let mut cursor = Some(cursor);
        for window in &windows {
            let mut slice = partition.slice();
            slice.interval.clone_from(&window.slice.interval);
            let cut = Cut { partition, window: Some(window), slice };
            if !self.cut(&cut, &mut cursor).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a slice page by page; false when nobody takes pages any more.
    async fn cut(&mut self, cut: &Cut<'_>, cursor: &mut Option<TimeCursor<'a>>) -> Result<bool, FetchError> {
        let failed = self.failed();
        let mut pager = Pager::new(self.retriever.paginator.as_ref(), self.scope.clone(), self.order.compat).map_err(&failed)?;
        if let (Some(cursor), Some(window)) = (cursor.as_mut(), cut.window) {
            cursor.open(window);
        }
        for number in 0.. {
            if number == PAGES_MAX {
                return Err(FetchError::TooManyPages { stream: self.order.stream.clone(), limit: PAGES_MAX });
            }
            let injections = self.injections(cut, cursor.as_ref(), &pager).map_err(&failed)?;
            let token = pager.token().cloned();
            let asked = ask::Page { slice: &cut.slice, token: token.as_ref(), path: pager.path(), injections: &injections };
            let answered = self.asker.ask(&asked).await?;
            let selection = self.select(&answered, cut, token.as_ref(), cursor.as_ref()).map_err(|source| unusable(&answered, source))?;
            let ended = note(&selection, cut, cursor);
            let seen = PageSeen {
                answer: &answered.answer,
                raw_count: selection.raw_count,
                kept_count: selection.records.len(),
                last_record: selection.last_record.clone(),
            };
            // An answer that the manifest ignores ends the slice: what would come after it is not known.
            let more = !answered.ignored && !ended && pager.advance(&seen).map_err(|source| unusable(&answered, source))?;
            let state = if more { None } else { self.closed(cut, cursor) };
            let page = self.page(answered, selection, cut, state);
            if self.pages.send(page).await.is_err() {
                return Ok(false);
            }
            if !more {
                break;
            }
        }
        Ok(true)
    }

    /// What paginator, cursor and router add to the request of a page.
    fn injections(
        &self,
        cut: &Cut<'_>,
        cursor: Option<&TimeCursor<'_>>,
        pager: &Pager<'_>,
    ) -> Result<Vec<crate::connector::reading::Injection>, ReadingError> {
        let mut injections = pager.injections()?;
        let left_out = self.retriever.ignore_stream_slicer_parameters_on_paginated_requests && pager.path().is_some();
        if !left_out {
            injections.extend(cut.partition.injections.iter().cloned());
            if let (Some(cursor), Some(window)) = (cursor, cut.window) {
                injections.extend(cursor.injections(window)?);
            }
        }
        Ok(injections)
    }

    fn select(
        &self,
        answered: &Answered,
        cut: &Cut<'_>,
        token: Option<&Value>,
        cursor: Option<&TimeCursor<'_>>,
    ) -> Result<Selection, ReadingError> {
        if answered.ignored {
            let none = bytes::Bytes::new();
            return self.selector.select(&none, &cut.slice, token, cursor);
        }
        self.selector.select(&answered.answer.body, &cut.slice, token, cursor)
    }

    /// The state when a slice has been read to its end.
    fn closed(&mut self, cut: &Cut<'_>, cursor: &mut Option<TimeCursor<'a>>) -> Option<Value> {
        let (cursor, window) = (cursor.as_mut()?, cut.window?);
        cursor.close(window);
        Some(self.state.set(cut.partition, cursor.state()))
    }

    fn page(&self, answered: Answered, selection: Selection, cut: &Cut<'_>, cursor: Option<Value>) -> FetchedPage {
        FetchedPage {
            stream: self.order.stream.clone(),
            exchange: answered.exchange,
            body: answered.answer.body,
            partition: cut.partition.recorded(),
            records: selection.records,
            filtered: selection.filtered,
            ignored: selection.ignored + u64::from(answered.ignored),
            cursor,
        }
    }
}

fn unusable(answered: &Answered, source: ReadingError) -> FetchError {
    FetchError::Answer { method: answered.exchange.method.clone(), url: answered.exchange.url.clone(), source: Box::new(source) }
}

/// Notes the times of a page's records; whether the page ends a feed that runs backwards in time.
fn note(selection: &Selection, cut: &Cut<'_>, cursor: &mut Option<TimeCursor<'_>>) -> bool {
    let (Some(cursor), Some(window)) = (cursor.as_mut(), cut.window) else { return false };
    for at in selection.times.iter().flatten() {
        cursor.observe(window, *at);
    }
    let last = selection.times.last().copied().flatten();
    cursor.is_data_feed && last.is_some_and(|at| cursor.is_known(at))
}

impl StreamOrder {
    fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how a request went, by the words of [`Metrics::application_requests`].
    fn count_outcome(&self, outcome: &Result<Incoming, FetchError>) {
        if let Some(limit) = outcome.as_ref().err().and_then(FetchError::limit) {
            self.activity.limited(limit);
        }
        let outcome = match outcome {
            Ok(incoming) if incoming.status == 429 => "limited",
            Ok(incoming) if incoming.status < 400 => "ok",
            Ok(incoming) if incoming.status < 500 => "refused",
            Err(FetchError::Closed { .. }) => "cut",
            Ok(_) | Err(_) => "failed",
        };
        self.activity.requested(outcome);
    }
}
