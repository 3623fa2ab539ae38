//! The parts that a stream is cut into: from lists, from the records of its parents, in groups, from several routers.
//!
//! Parents are streams as any other, read slice by slice; every record of theirs becomes a part of the child as soon as its page is
//! read. Parts go through channels without room, so a parent is never read further than its children are.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Map;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::connector::component::partition::GroupingPartitionRouter;
use crate::connector::component::partition::ParentStreamConfig;
use crate::connector::component::partition::PartitionRouter;
use crate::connector::expression::Scope;
use crate::connector::reading::Grouping;
use crate::connector::reading::Opened;
use crate::connector::reading::ParentRule;
use crate::connector::reading::Partition;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Union;
use crate::connector::reading::list;
use crate::connector::reading::open;
use crate::connector::reading::within_limit;
use crate::fetch::FetchError;

use super::StreamOrder;
use super::pages::Pages;
use super::source::Cut;
use super::source::Source;

/// A router, ready to make parts.
pub(super) struct Route<'a> {
    order: &'a StreamOrder,
    kind: Kind<'a>,
}

enum Kind<'a> {
    List(Vec<Partition>),
    Parents(Vec<Parent<'a>>),
    Groups { router: &'a GroupingPartitionRouter, of: Box<Route<'a>> },
    Union { field: String, of: Vec<Route<'a>> },
}

struct Parent<'a> {
    source: Source<'a>,
    rule: ParentRule,
    /// Whether the child keeps the parent's state.
    is_kept: bool,
}

impl<'a> Route<'a> {
    /// The route of a router. `state` is the child's, which holds those of its parents.
    pub fn new(order: &'a StreamOrder, router: &'a PartitionRouter, scope: &Scope, state: Option<&Value>) -> Result<Self, FetchError> {
        let failed = |error| order.unreadable(error);
        let kind = match router {
            PartitionRouter::ListPartitionRouter(router) => Kind::List(list(router, scope, order.compat).map_err(failed)?),
            PartitionRouter::SubstreamPartitionRouter(router) => {
                let parents = router.parent_stream_configs.iter().map(|parent| Parent::new(order, parent, scope, state));
                Kind::Parents(parents.collect::<Result<_, _>>()?)
            }
            PartitionRouter::GroupingPartitionRouter(router) => {
                Kind::Groups { router, of: Box::new(Route::new(order, &router.underlying_partition_router, scope, state)?) }
            }
            PartitionRouter::UnionPartitionRouter(router) => {
                let field = router.partition_field.text(scope).map_err(ReadingError::expression("partition_field")).map_err(failed)?;
                let of = router.partition_routers.iter().map(|router| Route::new(order, router, scope, state));
                Kind::Union { field, of: of.collect::<Result<_, _>>()? }
            }
        };
        Ok(Route { order, kind })
    }

    /// Sends its parts, in order.
    ///
    /// # Errors
    /// When a parent cannot be read, or gives what makes no part. What was sent before holds.
    pub fn parts<'s>(&'s self, out: mpsc::Sender<Partition>) -> BoxFuture<'s, Result<(), FetchError>> {
        Box::pin(async move {
            match &self.kind {
                Kind::List(parts) => {
                    for part in parts {
                        if out.send(part.clone()).await.is_err() {
                            break;
                        }
                    }
                    Ok(())
                }
                Kind::Parents(parents) => {
                    for parent in parents {
                        parent.parts(self, &out).await?;
                    }
                    Ok(())
                }
                Kind::Groups { router, of } => {
                    let mut grouping = Grouping::new(router);
                    self.through(of, &out, |part| grouping.take(part)).await?;
                    if let Some(rest) = grouping.rest() {
                        let _ = out.send(rest).await;
                    }
                    Ok(())
                }
                Kind::Union { field, of } => {
                    let mut union = Union::new(field.clone());
                    for route in of {
                        self.through(route, &out, |part| union.take(part)).await?;
                    }
                    Ok(())
                }
            }
        })
    }

    /// Sends what `change` makes of the parts of another route.
    async fn through(
        &self,
        of: &Route<'a>,
        out: &mpsc::Sender<Partition>,
        mut change: impl FnMut(Partition) -> Result<Option<Partition>, ReadingError>,
    ) -> Result<(), FetchError> {
        let (parts, mut next) = mpsc::channel(1);
        let change = &mut change;
        // The receiver goes with this block, so that an error ends the making as well.
        let changing = async move {
            while let Some(part) = next.recv().await {
                let Some(changed) = change(part).map_err(|source| self.order.unreadable(source))? else { continue };
                if out.send(changed).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let (made, changed) = tokio::join!(of.parts(parts), changing);
        changed.and(made)
    }

    /// All of its parts.
    ///
    /// # Errors
    /// As [`Route::parts`], and when there are too many.
    pub async fn all(&self) -> Result<Vec<Partition>, FetchError> {
        let (parts, mut next) = mpsc::channel(1);
        let collecting = async move {
            let mut all = Vec::new();
            while let Some(part) = next.recv().await {
                all.push(part);
                within_limit(all.len()).map_err(|source| self.order.unreadable(source))?;
            }
            Ok::<_, FetchError>(all)
        };
        let (made, all) = tokio::join!(self.parts(parts), collecting);
        let all = all?;
        made.map(|()| all)
    }

    /// The state of its parents, as the child keeps it; none when there can be none.
    pub fn state(&self) -> Option<Arc<Value>> {
        match &self.kind {
            Kind::List(_) => None,
            Kind::Parents(parents) => {
                let kept = parents.iter().filter(|parent| parent.is_kept);
                let states = kept.map(|parent| (parent.source.stream.name.clone(), parent.source.state()));
                Some(Arc::new(Value::Object(states.collect())))
            }
            Kind::Groups { of, .. } => of.state(),
            Kind::Union { of, .. } => {
                let mut joined = Map::new();
                for state in of.iter().filter_map(Route::state) {
                    joined.extend(state.as_object().cloned().unwrap_or_default());
                }
                Some(Arc::new(Value::Object(joined)))
            }
        }
    }
}

impl<'a> Parent<'a> {
    fn new(order: &'a StreamOrder, parent: &'a ParentStreamConfig, scope: &Scope, state: Option<&Value>) -> Result<Self, FetchError> {
        let failed = |error| order.unreadable(error);
        let is_kept = parent.incremental_dependency;
        let own = if is_kept { state_of::parent(state, parent.stream.declared(), scope).map_err(failed)? } else { None };
        let Opened { stream, state: own } = open(&parent.stream, own, scope, order.clock.now()).map_err(failed)?;
        Ok(Parent {
            source: Source::new(order, stream, scope.clone(), own.as_ref())?.of_parent(),
            rule: ParentRule::new(parent, scope).map_err(failed)?,
            is_kept,
        })
    }

    /// Sends a part for every record of the parent.
    async fn parts(&self, route: &Route<'a>, out: &mpsc::Sender<Partition>) -> Result<(), FetchError> {
        let (slices, mut next) = mpsc::channel(1);
        let reading = async move {
            let mut state = route.state();
            let mut following = next.recv().await;
            while let Some(cut) = following.take() {
                // A part is sent when the one after it is known: the last of a slice belongs to the state after the slice.
                let mut held: Option<Partition> = None;
                let mut has_records = false;
                let mut pages = Pages::new(&self.source, &cut)?;
                self.source.progress().begin(&cut.partition, cut.window.as_ref());
                while let Some(page) = pages.next().await? {
                    self.source.observe(&cut, &page);
                    let exchange = self.rule.holds_pages().then(|| Arc::new(page.answered.exchange.clone()));
                    for record in page.records() {
                        has_records = true;
                        let part = self.rule.partition(&record, &cut.partition).map_err(|source| route.order.unreadable(source))?;
                        let part = part.map(|part| part.of_parent(state.clone(), exchange.clone()));
                        if let Some(before) = std::mem::replace(&mut held, part)
                            && out.send(before).await.is_err()
                        {
                            return Ok(());
                        }
                    }
                }
                following = next.recv().await;
                if has_records {
                    state = self.closed(route, &cut, following.is_none());
                }
                if let Some(last) = held
                    && out.send(last.at(state.clone())).await.is_err()
                {
                    return Ok(());
                }
            }
            Ok(())
        };
        let (made, read) = tokio::join!(self.source.slices(slices), reading);
        read.and(made)
    }

    /// Notes that a slice of the parent was read to its end; the state of all parents afterwards.
    fn closed(&self, route: &Route<'a>, cut: &Cut, is_last: bool) -> Option<Arc<Value>> {
        self.source.progress().close(&cut.partition, cut.window.as_ref());
        if is_last {
            self.source.finish();
        }
        route.state()
    }
}

/// The states of parents within those of their children.
pub(super) mod state_of {
    use serde_json::Map;
    use serde_json::Value;

    use crate::connector::component::incremental::IncrementalSync;
    use crate::connector::component::source::DeclarativeStream;
    use crate::connector::expression::Scope;
    use crate::connector::reading::NO_CURSOR_STATE;
    use crate::connector::reading::ReadingError;

    /// The state of a stream that is read whole each time.
    pub fn read_whole() -> Value {
        Value::Object(Map::from_iter([(NO_CURSOR_STATE.to_owned(), true.into())]))
    }

    /// The state of a parent: what the child holds of it; else the state that all parts of the child share; else, when the child was
    /// not cut before, its one time.
    pub fn parent(child: Option<&Value>, parent: &DeclarativeStream, scope: &Scope) -> Result<Option<Value>, ReadingError> {
        let Some(child) = child.and_then(Value::as_object) else { return Ok(None) };
        if let Some(own) = child.get("parent_state").and_then(|states| states.get(&parent.name)) {
            return Ok(Some(own.clone()));
        }
        if let Some(shared) = child.get("state") {
            return Ok(Some(shared.clone()));
        }
        let mut values = child.iter().filter(|(name, _)| *name != NO_CURSOR_STATE).map(|(_, value)| value);
        let (Some(value @ (Value::String(_) | Value::Number(_))), None) = (values.next(), values.next()) else { return Ok(None) };
        let field = match &parent.incremental_sync {
            Some(IncrementalSync::DatetimeBasedCursor(cursor)) => &cursor.cursor_field,
            Some(IncrementalSync::IncrementingCountCursor(cursor)) => &cursor.cursor_field,
            None => return Ok(None),
        };
        let field = field.text(scope).map_err(ReadingError::expression("cursor_field"))?;
        Ok(Some(Value::Object(Map::from_iter([(field, value.clone())]))))
    }
}
