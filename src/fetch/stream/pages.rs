//! The pages of one slice.

use serde_json::Value;

use crate::connector::component::pagination::ResetAction;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Slice;
use crate::connector::reading::Answer;
use crate::connector::reading::CHILD_RESPONSE;
use crate::connector::reading::Headers;
use crate::connector::reading::Injection;
use crate::connector::reading::PageSeen;
use crate::connector::reading::Pager;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Selection;
use crate::fetch::FetchError;
use crate::record::Exchange;

use super::PAGES_MAX;
use super::ask;
use super::ask::Answered;
use super::ask::Demand;
use super::source::Cut;
use super::source::Source;

/// How often a slice is paged anew without getting further before it counts as unreadable.
const RESETS_IN_PLACE_MAX: u32 = 2;

/// The pages of one slice, asked for one after another.
pub(super) struct Pages<'s, 'a> {
    source: &'s Source<'a>,
    cut: &'s Cut,
    pager: Pager<'a>,
    /// What is left of the slice, when it is paged anew.
    rest: Option<Slice>,
    /// The latest time of its records, and how many there were since it was last paged anew.
    latest: Option<DateTime>,
    observed: u64,
    /// How often it was paged anew without getting further.
    resets_in_place: u32,
    read: u64,
    done: bool,
}

/// A page: an answer, and the records in it.
pub(super) struct Page {
    pub answered: Answered,
    pub selection: Selection,
    /// No page comes after it.
    pub is_last: bool,
}

impl<'s, 'a> Pages<'s, 'a> {
    /// The slice before its first page.
    ///
    /// # Errors
    /// When the paginator cannot be evaluated.
    pub fn new(source: &'s Source<'a>, cut: &'s Cut) -> Result<Self, FetchError> {
        let pager = first_page(source)?;
        Ok(Pages { source, cut, pager, rest: None, latest: None, observed: 0, resets_in_place: 0, read: 0, done: false })
    }

    /// The next page; none after the last.
    ///
    /// # Errors
    /// When it cannot be had, or not be used.
    pub async fn next(&mut self) -> Result<Option<Page>, FetchError> {
        if self.done {
            return Ok(None);
        }
        let order = self.source.order;
        if self.read == PAGES_MAX {
            return Err(FetchError::TooManyPages { stream: order.stream.clone(), limit: PAGES_MAX });
        }
        let token = self.pager.token().cloned();
        let answered = match self.held() {
            Some(answered) => answered,
            None => {
                let injections = self.injections().map_err(|error| order.unreadable(error))?;
                let slice = self.rest.as_ref().unwrap_or(&self.cut.slice);
                let asked = ask::Page { slice, token: token.as_ref(), path: self.pager.path(), injections: &injections };
                let mut answered = self.source.asker.ask(&asked).await?;
                if !answered.ignored {
                    let decoded = self.source.selector.decoded(&answered.answer.body);
                    answered.answer.body = decoded.map_err(|source| unusable(&answered, source))?;
                }
                answered
            }
        };
        self.read += 1;
        if let Some(demand @ (Demand::ReducePageSize | Demand::SplitWindow)) = &answered.demand {
            let Exchange { method, url, status, .. } = answered.exchange;
            let reason = format!("the manifest's error handler wants {demand:?}, and the retriever does not say how");
            return Err(FetchError::Refused { method, url, status, reason });
        }
        let selection = self.select(&answered, token.as_ref()).map_err(|source| unusable(&answered, source))?;
        self.latest = self.latest.max(selection.times.iter().flatten().max().copied());
        self.observed += selection.kept_count as u64;
        let more = if self.is_to_reset(&answered) {
            self.reset()?;
            true
        } else {
            self.advance(&answered, &selection).map_err(|source| unusable(&answered, source))?
        };
        self.done = !more;
        Ok(Some(Page { answered, selection, is_last: !more }))
    }

    /// Whether the slice is to be paged anew, because the answer demands it or enough records were read.
    fn is_to_reset(&self, answered: &Answered) -> bool {
        let limits = self.source.retriever.pagination_reset.as_ref().and_then(|reset| reset.limits.as_ref());
        let limit = limits.and_then(|limits| limits.number_of_records).map(u64::from);
        answered.demand == Some(Demand::ResetPagination) || limit.is_some_and(|limit| self.observed >= limit)
    }

    /// Pages the slice anew: the whole of it, or what comes after its latest record.
    ///
    /// # Errors
    /// When that would ask for the same again.
    fn reset(&mut self) -> Result<(), FetchError> {
        let splits = self.source.retriever.pagination_reset.as_ref().is_some_and(|reset| reset.action == ResetAction::SplitUsingCursor);
        let rest = self.source.progress().rest(self.cut.window.as_ref(), self.latest.filter(|_| splits));
        let rest = rest.map(|interval| Slice { interval, ..self.cut.slice.clone() });
        let before = self.rest.as_ref().unwrap_or(&self.cut.slice);
        if rest.as_ref().is_none_or(|rest| rest.interval == before.interval) {
            self.resets_in_place += 1;
            // Without a time to go on from, a new paging is a second try.
            if splits || self.resets_in_place >= RESETS_IN_PLACE_MAX {
                return Err(FetchError::PagesAgain { stream: self.source.order.stream.clone() });
            }
        } else {
            self.resets_in_place = 0;
        }
        self.rest = rest.or(self.rest.take());
        self.observed = 0;
        self.pager = first_page(self.source)?;
        Ok(())
    }

    /// The first page, when the parent's record holds it.
    fn held(&self) -> Option<Answered> {
        let (page, exchange) = (self.cut.partition.extra.get(CHILD_RESPONSE)?, self.cut.partition.exchange.as_ref()?);
        let answer = Answer { status: 200, headers: Headers::default(), body: page.to_string().into(), url: exchange.url.clone() };
        (self.read == 0).then(|| Answered { answer, exchange: exchange.as_ref().clone(), ignored: false, demand: None })
    }

    /// What paginator, cursor and router add to the request.
    fn injections(&self) -> Result<Vec<Injection>, ReadingError> {
        let mut injections = self.pager.injections()?;
        let left_out = self.source.retriever.ignore_stream_slicer_parameters_on_paginated_requests && self.pager.path().is_some();
        if !left_out {
            injections.extend(self.cut.partition.injections.iter().cloned());
            let interval = self.rest.as_ref().map_or(&self.cut.slice.interval, |rest| &rest.interval);
            injections.extend(self.source.progress().injections(interval)?);
        }
        Ok(injections)
    }

    fn select(&self, answered: &Answered, token: Option<&Value>) -> Result<Selection, ReadingError> {
        let nothing = bytes::Bytes::new();
        let body = if answered.ignored { &nothing } else { &answered.answer.body };
        let progress = self.source.progress();
        progress.with(&self.cut.partition, |cursor| self.source.selector.select(body, &self.cut.slice, token, cursor))?
    }

    /// Goes on to the next page; false when there is none.
    fn advance(&mut self, answered: &Answered, selection: &Selection) -> Result<bool, ReadingError> {
        // An answer that the manifest ignores ends the slice: what would come after it is not known.
        if answered.ignored {
            return Ok(false);
        }
        let ends_feed = |cursor: Option<&crate::connector::reading::TimeCursor<'_>>| {
            selection.kept_count > 0 && cursor.is_some_and(|cursor| cursor.ends_feed(selection.last_time))
        };
        if self.source.progress().with(&self.cut.partition, ends_feed)? {
            return Ok(false);
        }
        self.pager.advance(&PageSeen {
            answer: &answered.answer,
            raw_count: selection.raw_count,
            kept_count: selection.kept_count,
            last_record: selection.last_record.clone(),
        })
    }
}

impl Page {
    /// The records as emitted; what is no JSON is left out.
    pub fn records(&self) -> impl Iterator<Item = Value> {
        let body = &self.answered.answer.body;
        self.selection.records.iter().filter_map(|record| match &record.emitted {
            Some(emitted) => serde_json::from_str(emitted.as_str()).ok(),
            None => serde_json::from_slice(&body[record.range.clone()]).ok(),
        })
    }
}

fn first_page<'a>(source: &Source<'a>) -> Result<Pager<'a>, FetchError> {
    let pager = Pager::new(source.retriever.paginator.as_ref(), source.scope.clone(), source.order.compat);
    pager.map_err(|error| source.order.unreadable(error))
}

fn unusable(answered: &Answered, source: ReadingError) -> FetchError {
    FetchError::Answer { method: answered.exchange.method.clone(), url: answered.exchange.url.clone(), source: Box::new(source) }
}
