//! Reading a stream: slice by slice, page by page, each handed on before the next is asked for.
//!
//! The machines of [`crate::connector::reading`] say what to ask, what an answer means and what comes next; this drives
//! them over the one guarded client. A `Source` is a stream ready to be asked, with its parents; its `route`s make the parts that
//! it is cut into, and `Pages` are the pages of one slice. The state after a page travels with the page, so that both are written
//! as one.

mod access;
mod answers;
mod ask;
mod job;
mod pages;
mod properties;
mod route;
mod schema;
mod session;
mod source;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::connection::gate::Permit;
use crate::connector::definition::Connector;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::reading::Compat;
use crate::connector::reading::Opened;
use crate::connector::reading::ReadingError;
use crate::connector::reading::open;
use crate::fetch::FetchError;
use crate::fetch::budget::Budget;
use crate::fetch::client::Client;
use crate::fetch::client::Incoming;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::retry::Policy;
use crate::record::FetchedPage;
use crate::telemetry::activity::Activity;

pub use self::access::Access;
pub use self::schema::schema;
pub use self::session::ConnectionSessions;
pub use self::session::Sessions;

use self::job::Jobs;
use self::pages::Page;
use self::pages::Pages;
use self::source::Cut;
use self::source::Source;

/// Pages of one slice at most: a paging that never ends is an error, not a stream.
pub const PAGES_MAX: u64 = 1_000_000;

/// A state is written again when so much of it has changed: one part of this many. A state of many parts is not written for each.
const STATE_CHANGED_PART: usize = 16;

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

/// How a reading ended.
#[derive(Debug)]
pub struct Ended {
    /// The state, of what was read to its end; none of a stream that is read whole each time.
    pub state: Option<Value>,
    /// What ended the reading early, or kept a slice from being read.
    pub failure: Option<FetchError>,
}

/// Reads a stream to its end; pages are sent to `pages` in the order in which they were read.
///
/// A slice that fails does not keep the others from being read, unless the failure is one of the connection as a whole; the stream
/// has failed all the same. When the receiver of `pages` goes away, the reading ends.
pub async fn read(order: StreamOrder, pages: mpsc::Sender<FetchedPage>) -> Ended {
    let failed = |failure: FetchError| Ended { state: None, failure: Some(failure) };
    let connector = order.connector.clone();
    let scope = order.scope();
    let opened = match order.opened(&connector, &scope) {
        Ok(opened) => opened,
        Err(error) => return failed(error),
    };
    let wide = match connector.manifest.concurrency(&scope).map_err(ReadingError::expression("concurrency_level")) {
        Ok(wide) => wide,
        Err(error) => return failed(order.unreadable(error)),
    };
    let mut source = match Source::new(&order, opened.stream, scope.clone(), opened.state.as_ref()) {
        Ok(source) => source,
        Err(error) => return failed(error),
    };
    if source.selector.wants_schema() {
        match schema::schema_of(&order, opened.stream, &scope).await {
            Ok(schema) => source.selector = source.selector.with_schema(schema.as_ref()),
            Err(error) => return failed(error),
        }
    }
    let outlet = Outlet { pages, closed_since: 0 };
    let is_cut = order.is_cut(&connector);
    let wide = usize::try_from(wide).unwrap_or(1);
    let wide = if source.jobs.is_some() { wide.max(Jobs::width(&order, &source.scope)) } else { wide };
    let reading = Reading { order: &order, source: &source, is_cut, outlet: Mutex::new(outlet) };
    let failure = reading.run(wide).await;
    if failure.is_none() || order.compat == Compat::Strict {
        source.finish();
    }
    Ended { state: source.progress().state(), failure }
}

/// One reading under way.
struct Reading<'a> {
    order: &'a StreamOrder,
    source: &'a Source<'a>,
    /// Whether the parts of the stream tell its records apart.
    is_cut: bool,
    outlet: Mutex<Outlet>,
}

/// Where pages go. It is held while a state is taken and its page is sent, so that no state overtakes the pages that it speaks of.
struct Outlet {
    pages: mpsc::Sender<FetchedPage>,
    /// Slices that were closed since a state went out.
    closed_since: usize,
}

/// Nobody takes pages any more.
struct Nobody;

impl Reading<'_> {
    /// Reads up to `wide` slices at a time; the first failure, if there is one.
    async fn run(&self, wide: usize) -> Option<FetchError> {
        let (cuts, mut next) = mpsc::channel(1);
        let making = self.source.slices(cuts);
        let reading = async {
            let mut failure = None;
            let mut under_way = FuturesUnordered::new();
            let mut more = true;
            loop {
                tokio::select! {
                    cut = next.recv(), if more && under_way.len() < wide => match cut {
                        Some(cut) => under_way.push(self.slice(cut)),
                        None => more = false,
                    },
                    Some(read) = under_way.next() => match read {
                        Ok(Ok(())) => {}
                        Ok(Err(Nobody)) => return failure,
                        Err(error) => {
                            let ends = error.ends_stream() || (self.order.compat == Compat::Safe && error.concerns_connection());
                            failure.get_or_insert(error);
                            if ends {
                                return failure;
                            }
                        }
                    },
                    else => return failure,
                }
            }
        };
        tokio::pin!(making, reading);
        let mut made = None;
        loop {
            tokio::select! {
                failure = &mut reading => return failure.or(made.and_then(Result::err)),
                outcome = &mut making, if made.is_none() => made = Some(outcome),
            }
        }
    }

    /// Reads a slice page by page.
    async fn slice(&self, cut: Cut) -> Result<Result<(), Nobody>, FetchError> {
        let mut pages = Pages::new(self.source, &cut)?;
        self.source.progress().begin(&cut.partition, cut.window.as_ref());
        while let Some(page) = pages.next().await? {
            self.source.observe(&cut, &page);
            let mut outlet = self.outlet.lock().await;
            let state = if page.is_last { self.closed(&cut, &mut outlet) } else { None };
            if outlet.pages.send(self.page(page, &cut, state)).await.is_err() {
                return Ok(Err(Nobody));
            }
        }
        Ok(Ok(()))
    }

    /// Notes that a slice was read to its end; the state, when enough of it has changed.
    fn closed(&self, cut: &Cut, outlet: &mut Outlet) -> Option<Value> {
        let mut progress = self.source.progress();
        progress.close(&cut.partition, cut.window.as_ref());
        outlet.closed_since += 1;
        if outlet.closed_since * STATE_CHANGED_PART < progress.size() {
            return None;
        }
        outlet.closed_since = 0;
        progress.state()
    }

    fn page(&self, page: Page, cut: &Cut, cursor: Option<Value>) -> FetchedPage {
        FetchedPage {
            stream: self.order.stream.clone(),
            exchange: page.answered.exchange,
            body: page.answered.answer.body,
            partition: self.is_cut.then(|| cut.partition.recorded()).flatten(),
            records: page.selection.records,
            filtered: page.selection.filtered,
            ignored: page.selection.ignored + u64::from(page.answered.ignored),
            coerced: page.selection.coerced,
            coerced_keys: page.selection.coerced_keys,
            cursor,
        }
    }
}

impl StreamOrder {
    /// What expressions see of the connection, with a slice that says nothing.
    fn scope(&self) -> Scope {
        let mut scope = Scope::new(self.clock.clone());
        scope.set("config", dynamic(self.access.config())).set_slice(&Slice::default());
        scope
    }

    /// The stream in the way that its state asks for. A stream of components has one way.
    fn opened<'c>(&self, connector: &'c Connector, scope: &Scope) -> Result<Opened<'c>, FetchError> {
        match (connector.manifest.named(&self.stream), connector.manifest.stream(&self.stream)) {
            (Some(stream), _) => open(stream, self.state.clone(), scope, self.clock.now()).map_err(|error| self.unreadable(error)),
            (None, Some(stream)) => Ok(Opened { stream, state: None }),
            (None, None) => Err(FetchError::UnknownStream { stream: self.stream.clone() }),
        }
    }

    /// Whether the parts of the stream tell its records apart. Not so when it is cut in one of its ways alone: then both ways give the
    /// same records, and the primary key is enough.
    fn is_cut(&self, connector: &Connector) -> bool {
        connector
            .manifest
            .named(&self.stream)
            .is_none_or(|stream| stream.ways().into_iter().all(|way| !way.retriever.partition_routers().is_empty()))
    }

    fn unreadable(&self, source: ReadingError) -> FetchError {
        FetchError::Reading { stream: self.stream.clone(), source: Box::new(source) }
    }

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
