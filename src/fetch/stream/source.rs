//! A stream ready to be asked: its requests, its selection, its progress, and the routes that cut it into parts.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::connector::component::partition::PartitionRouter;
use crate::connector::component::requester::Requester;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Retriever;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::reading::Partition;
use crate::connector::reading::Progress;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Selector;
use crate::connector::reading::Window;
use crate::fetch::FetchError;

use super::StreamOrder;
use super::ask::Asker;
use super::job::Jobs;
use super::pages::Page;
use super::properties::Properties;
use super::route::Route;
use super::route::state_of;

/// A stream ready to be asked.
pub(super) struct Source<'a> {
    pub order: &'a StreamOrder,
    pub stream: &'a DeclarativeStream,
    pub scope: Scope,
    /// What asks for its pages.
    pub asker: Asker<'a>,
    /// The properties that are asked for, where a page takes several requests.
    pub properties: Option<Properties<'a>>,
    /// What makes its pages, where that takes jobs.
    pub jobs: Option<Jobs<'a>>,
    pub selector: Selector<'a>,
    routes: Vec<Route<'a>>,
    /// Locked for moments only, never while anything is waited for.
    progress: Mutex<Progress<'a>>,
}

/// A slice of a stream: a window of a part, or the part as a whole.
#[derive(Debug)]
pub(super) struct Cut {
    pub partition: Arc<Partition>,
    pub window: Option<Window>,
    /// What expressions see of it.
    pub slice: Slice,
}

impl<'a> Source<'a> {
    /// The stream at the state of its last reading, with its parents at the states that this one holds of them.
    pub fn new(order: &'a StreamOrder, stream: &'a DeclarativeStream, scope: Scope, state: Option<&Value>) -> Result<Self, FetchError> {
        let routers = stream.retriever.partition_routers();
        let routes = routers.iter().map(|router| Route::new(order, router, &scope, state)).collect::<Result<Vec<_>, _>>()?;
        let groups = matches!(routers, [PartitionRouter::GroupingPartitionRouter(_)]);
        let sync = stream.incremental_sync.as_ref();
        let progress = Progress::new(sync, scope.clone(), state, (!routers.is_empty(), groups), order.clock.now(), order.compat);
        let failed = |error| order.unreadable(error);
        let (Requester::HttpRequester(requester), jobs) = match &stream.retriever {
            Retriever::SimpleRetriever(retriever) => (&retriever.requester, None),
            Retriever::AsyncRetriever(retriever) => (&retriever.download_requester, Some(Jobs::new(order, retriever, &scope)?)),
        };
        let asker = Asker::new(order, requester, &scope)?;
        Ok(Source {
            properties: Properties::new(order, requester, &scope)?,
            asker: if jobs.is_some() { asker } else { asker.heeding() },
            jobs,
            selector: Selector::new(stream, scope.clone(), order.compat).map_err(failed)?,
            routes,
            progress: Mutex::new(progress.map_err(failed)?),
            order,
            stream,
            scope,
        })
    }

    /// The same, as a parent of others.
    pub fn of_parent(self) -> Self {
        Source { asker: self.asker.keeping(), ..self }
    }

    /// What has been read of it.
    pub fn progress(&self) -> MutexGuard<'_, Progress<'a>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends its slices, in order.
    ///
    /// # Errors
    /// When a parent cannot be read, or a slice cannot be made. What was sent before holds.
    pub fn slices<'s>(&'s self, out: mpsc::Sender<Cut>) -> BoxFuture<'s, Result<(), FetchError>> {
        Box::pin(async move {
            let (parts, mut next) = mpsc::channel(1);
            let making = self.parts(parts);
            let cutting = async move {
                while let Some(part) = next.recv().await {
                    for cut in self.cuts(part).map_err(|source| self.order.unreadable(source))? {
                        if out.send(cut).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                Ok(())
            };
            let (made, cut) = tokio::join!(making, cutting);
            made.and(cut)
        })
    }

    /// The slices of a part.
    fn cuts(&self, part: Partition) -> Result<Vec<Cut>, ReadingError> {
        let part = Arc::new(part);
        let mut progress = self.progress();
        let windows = progress.windows(&part)?;
        let cut = |window: Option<Window>| {
            let slice = Slice { interval: progress.interval(window.as_ref()), ..part.slice() };
            Cut { partition: part.clone(), window, slice }
        };
        Ok(windows.into_iter().map(cut).collect())
    }

    /// Sends the parts that its routers make: one when there is none, all combinations of several.
    async fn parts(&self, out: mpsc::Sender<Partition>) -> Result<(), FetchError> {
        match self.routes.as_slice() {
            [] => {
                let _ = out.send(Partition::whole()).await;
                Ok(())
            }
            [route] => route.parts(out).await,
            [first, others @ ..] => {
                let mut rest = vec![Partition::whole()];
                for route in others {
                    let parts = route.all().await?;
                    rest = rest.iter().flat_map(|left| parts.iter().map(|right| left.joined(right))).collect();
                    crate::connector::reading::within_limit(rest.len()).map_err(|source| self.order.unreadable(source))?;
                }
                let (parts, mut next) = mpsc::channel::<Partition>(1);
                let joining = async move {
                    while let Some(left) = next.recv().await {
                        for right in &rest {
                            if out.send(left.joined(right)).await.is_err() {
                                return;
                            }
                        }
                    }
                };
                let (made, ()) = tokio::join!(first.parts(parts), joining);
                made
            }
        }
    }

    /// Notes the records of a page.
    pub fn observe(&self, cut: &Cut, page: &Page) {
        let mut progress = self.progress();
        for at in page.selection.times.iter().flatten() {
            progress.observe(&cut.partition, cut.window.as_ref(), *at);
        }
        if let Some(field) = progress.counted_field().map(str::to_owned) {
            for record in page.records() {
                if let Some(number) = record.get(&field) {
                    progress.count(number);
                }
            }
        }
    }

    /// Ends its reading: every slice has been made.
    pub fn finish(&self) {
        let parents = match self.routes.as_slice() {
            [route] => route.state(),
            _ => None,
        };
        self.progress().finish(parents, self.order.clock.now());
    }

    /// The state as a child keeps it.
    pub fn state(&self) -> Value {
        self.progress().state().unwrap_or_else(state_of::read_whole)
    }
}
