//! The pages of one slice.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::Value;

use crate::connector::component::pagination::PaginationReset;
use crate::connector::component::pagination::ResetAction;
use crate::connector::component::source::Retriever;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Slice;
use crate::connector::expression::lazy_json;
use crate::connector::reading::Answer;
use crate::connector::reading::CHILD_RESPONSE;
use crate::connector::reading::Compat;
use crate::connector::reading::Headers;
use crate::connector::reading::Injection;
use crate::connector::reading::PageSeen;
use crate::connector::reading::Pager;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Selection;
use crate::fetch::FetchError;
use crate::record::Exchange;
use crate::record::JsonText;

use super::PAGES_MAX;
use super::ask;
use super::ask::Answered;
use super::ask::Demand;
use super::job::Done;
use super::job::Jobs;
use super::properties::Properties;
use super::source::Cut;
use super::source::Source;

/// How often a slice is paged anew without getting further before it counts as unreadable.
const RESETS_IN_PLACE_MAX: u32 = 2;

/// The pages of one slice, asked for one after another.
pub(super) struct Pages<'s, 'a> {
    source: &'s Source<'a>,
    cut: &'s Cut,
    pager: Pager<'a>,
    /// The job that makes the pages, once it is done.
    job: Option<Done>,
    /// What is asked for instead of the slice: what is left of it, when it is paged anew, or a result of its job.
    instead: Option<Slice>,
    /// The latest time of its records, and how many there were since it was last paged anew.
    latest: Option<DateTime>,
    observed: u64,
    /// How often it was paged anew without getting further.
    resets_in_place: u32,
    read: u64,
    /// Pages that are read already: those of the other requests that made the last one.
    read_ahead: VecDeque<Page>,
    /// What ends the slice early, once the pages before it are taken.
    failure: Option<FetchError>,
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
        Ok(Pages {
            pager: first_page(source)?,
            source,
            cut,
            job: None,
            instead: None,
            latest: None,
            observed: 0,
            resets_in_place: 0,
            read: 0,
            read_ahead: VecDeque::new(),
            failure: None,
            done: false,
        })
    }

    /// The next page; none after the last.
    ///
    /// # Errors
    /// When it cannot be had, or not be used.
    pub async fn next(&mut self) -> Result<Option<Page>, FetchError> {
        if let Some(page) = self.read_ahead.pop_front() {
            return Ok(Some(page));
        }
        if let Some(failure) = self.failure.take() {
            self.done = true;
            return Err(failure);
        }
        if self.done {
            return Ok(None);
        }
        let order = self.source.order;
        if self.read == PAGES_MAX {
            return Err(FetchError::TooManyPages { stream: order.stream.clone(), limit: PAGES_MAX });
        }
        if let Some(jobs) = &self.source.jobs
            && self.job.is_none()
        {
            let Some(mut job) = jobs.run(&self.cut.slice).await? else {
                self.done = true;
                return Ok(None);
            };
            self.instead = job.results.pop_front();
            if self.instead.is_none() {
                return self.empty(jobs, job).await.map(Some);
            }
            self.job = Some(job);
        }
        let mut pages = self.round().await?;
        self.read += 1;
        let failed = pages.iter_mut().find_map(|page| Some((page.selection.failure.take()?, &page.answered)));
        let gone_on = match failed {
            Some((source, answered)) => Err(unusable(answered, source)),
            None => self.go_on(&pages).await,
        };
        let more = match gone_on {
            // The reference engine hands records on before it looks at what comes after them.
            Err(failure) if order.compat == Compat::Strict => {
                self.failure = Some(failure);
                true
            }
            gone_on => gone_on?,
        };
        self.done = !more;
        if let Some(last) = pages.back_mut() {
            last.is_last = !more;
        }
        self.read_ahead = pages;
        Ok(self.read_ahead.pop_front())
    }

    /// The answers that make the next page: one, or one for each part of the properties.
    async fn round(&self) -> Result<VecDeque<Page>, FetchError> {
        let Some(properties) = &self.source.properties else { return Ok(VecDeque::from([self.page(None).await?])) };
        let mut pages = Vec::new();
        for chunk in properties.chunks().await? {
            pages.push(self.page(Some((properties, chunk))).await?);
        }
        properties.merge(&mut pages);
        Ok(pages.into())
    }

    /// A page as it was answered; of several properties, for these.
    async fn page(&self, properties: Option<(&Properties<'_>, &[String])>) -> Result<Page, FetchError> {
        let order = self.source.order;
        let token = self.pager.token().cloned();
        let mut answered = match self.held() {
            Some(answered) => answered,
            None => {
                let mut injections = self.injections().map_err(|error| order.unreadable(error))?;
                injections.extend(properties.and_then(|(properties, chunk)| properties.injection(chunk)));
                let slice = self.instead.as_ref().unwrap_or(&self.cut.slice);
                let slice = properties.map_or(Cow::Borrowed(slice), |(_, chunk)| Cow::Owned(Properties::slice(slice, chunk)));
                let asked = ask::Page { slice: &slice, token: token.as_ref(), path: self.pager.path(), injections: &injections };
                let mut answered = self.source.asker.ask(&asked).await?;
                if !answered.ignored {
                    let decoded = self.source.selector.decoded(&answered.answer.body);
                    answered.answer.body = decoded.map_err(|source| unusable(&answered, source))?;
                }
                answered
            }
        };
        if let Some(demand @ (Demand::ReducePageSize | Demand::SplitWindow)) =
            answered.demand.take_if(|demand| *demand != Demand::ResetPagination)
        {
            let Exchange { method, url, status, .. } = answered.exchange;
            let reason = format!("the manifest's error handler wants {demand:?}, and the retriever does not say how");
            return Err(FetchError::Refused { method, url, status, reason });
        }
        let selection = self.select(&answered, token.as_ref()).map_err(|source| unusable(&answered, source))?;
        Ok(Page { answered, selection, is_last: false })
    }

    /// Goes on to what comes after these answers; false when nothing does.
    async fn go_on(&mut self, pages: &VecDeque<Page>) -> Result<bool, FetchError> {
        let times = pages.iter().flat_map(|page| page.selection.times.iter().flatten());
        self.latest = self.latest.max(times.max().copied());
        self.observed += pages.iter().map(|page| page.selection.kept_count as u64).sum::<u64>();
        if self.is_to_reset(pages) {
            self.reset()?;
            return Ok(true);
        }
        Ok(self.advance(pages)? || self.next_result().await?)
    }

    /// Goes on to the job's next result; false when there is none, and the job is deleted.
    async fn next_result(&mut self) -> Result<bool, FetchError> {
        let (Some(jobs), Some(job)) = (&self.source.jobs, &mut self.job) else { return Ok(false) };
        self.instead = job.results.pop_front();
        if self.instead.is_none() {
            jobs.delete(job).await;
            return Ok(false);
        }
        self.pager = first_page(self.source)?;
        Ok(true)
    }

    /// The page of a job without results: the answer that said so, and no record.
    async fn empty(&mut self, jobs: &Jobs<'_>, mut job: Done) -> Result<Page, FetchError> {
        self.done = true;
        jobs.delete(&job).await;
        job.said.ignored = true;
        let selection = self.select(&job.said, None).map_err(|source| unusable(&job.said, source))?;
        job.said.ignored = false;
        Ok(Page { answered: job.said, selection, is_last: true })
    }

    fn pagination_reset(&self) -> Option<&PaginationReset> {
        match &self.source.stream.retriever {
            Retriever::SimpleRetriever(retriever) => retriever.pagination_reset.as_ref(),
            Retriever::AsyncRetriever(_) => None,
        }
    }

    /// Whether the slice is to be paged anew, because an answer demands it or enough records were read.
    fn is_to_reset(&self, pages: &VecDeque<Page>) -> bool {
        let limits = self.pagination_reset().and_then(|reset| reset.limits.as_ref());
        let limit = limits.and_then(|limits| limits.number_of_records).map(u64::from);
        let is_demanded = pages.iter().any(|page| page.answered.demand == Some(Demand::ResetPagination));
        is_demanded || limit.is_some_and(|limit| self.observed >= limit)
    }

    /// Pages the slice anew: the whole of it, or what comes after its latest record.
    ///
    /// # Errors
    /// When that would ask for the same again.
    fn reset(&mut self) -> Result<(), FetchError> {
        let splits = self.pagination_reset().is_some_and(|reset| reset.action == ResetAction::SplitUsingCursor);
        let rest = self.source.progress().rest(self.cut.window.as_ref(), self.latest.filter(|_| splits));
        let rest = rest.map(|interval| Slice { interval, ..self.cut.slice.clone() });
        let before = self.instead.as_ref().unwrap_or(&self.cut.slice);
        if rest.as_ref().is_none_or(|rest| rest.interval == before.interval) {
            self.resets_in_place += 1;
            // Without a time to go on from, a new paging is a second try.
            if splits || self.resets_in_place >= RESETS_IN_PLACE_MAX {
                return Err(FetchError::PagesAgain { stream: self.source.order.stream.clone() });
            }
        } else {
            self.resets_in_place = 0;
        }
        self.instead = rest.or(self.instead.take());
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
        let left_out = match &self.source.stream.retriever {
            Retriever::SimpleRetriever(retriever) => {
                retriever.ignore_stream_slicer_parameters_on_paginated_requests && self.pager.path().is_some()
            }
            // What a slice says was said to the job.
            Retriever::AsyncRetriever(_) => true,
        };
        if !left_out {
            injections.extend(self.cut.partition.injections.iter().cloned());
            let interval = self.instead.as_ref().map_or(&self.cut.slice.interval, |rest| &rest.interval);
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
    fn advance(&mut self, pages: &VecDeque<Page>) -> Result<bool, FetchError> {
        // Of several requests for one page, the last says what comes next.
        let Some(Page { answered, selection, .. }) = pages.back() else { return Ok(false) };
        // An answer that the manifest ignores ends the slice: what would come after it is not known.
        if answered.ignored {
            return Ok(false);
        }
        let last = pages.iter().rev().find(|page| !page.selection.records.is_empty());
        let seen = PageSeen {
            answer: &answered.answer,
            raw_count: selection.raw_count,
            kept_count: pages.iter().map(|page| page.selection.kept_count).sum(),
            last_record: last.map_or_else(|| selection.last_record.clone(), |page| page.selection.last_record.clone()),
        };
        self.step(selection, &seen).map_err(|source| unusable(answered, source))
    }

    fn step(&mut self, selection: &Selection, seen: &PageSeen<'_>) -> Result<bool, ReadingError> {
        let ends_feed = |cursor: Option<&crate::connector::reading::TimeCursor<'_>>| {
            selection.kept_count > 0 && cursor.is_some_and(|cursor| cursor.ends_feed(selection.last_time))
        };
        if self.source.progress().with(&self.cut.partition, ends_feed)? {
            return Ok(false);
        }
        self.pager.advance(seen)
    }
}

impl Page {
    /// Keeps the records that `keys` has no key for, as they are, and those with a key as `of` has them; those with an empty key are
    /// records of another page.
    pub fn keep(&mut self, keys: &[Option<String>], of: impl Fn(&str) -> Option<JsonText>) {
        let times = std::mem::take(&mut self.selection.times);
        let records = std::mem::take(&mut self.selection.records);
        for ((mut record, at), key) in records.into_iter().zip(times).zip(keys) {
            match key.as_deref() {
                Some("") => continue,
                Some(key) => {
                    record.emitted = of(key).or(record.emitted);
                    record.transformations.push("QueryProperties".to_owned());
                }
                None => {}
            }
            self.selection.records.push(record);
            self.selection.times.push(at);
        }
        self.selection.kept_count = self.selection.records.len();
        if let Some(emitted) = self.selection.records.last().and_then(|record| record.emitted.as_ref()) {
            self.selection.last_record = lazy_json(bytes::Bytes::copy_from_slice(emitted.as_str().as_bytes()));
        }
    }

    /// The records as emitted; what is no JSON is left out.
    pub fn records(&self) -> impl Iterator<Item = Value> {
        let body = &self.answered.answer.body;
        self.selection.records.iter().filter_map(|record| serde_json::from_slice(record.text(body)).ok())
    }
}

/// The paging before its first page.
fn first_page<'a>(source: &Source<'a>) -> Result<Pager<'a>, FetchError> {
    let pager = Pager::new(source.stream.retriever.paginator(), source.scope.clone(), source.order.compat);
    pager.map_err(|error| source.order.unreadable(error))
}

fn unusable(answered: &Answered, source: ReadingError) -> FetchError {
    FetchError::Answer { method: answered.exchange.method.clone(), url: answered.exchange.url.clone(), source: Box::new(source) }
}
