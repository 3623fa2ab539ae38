//! The pages of one slice.

use serde_json::Value;

use crate::connector::reading::Answer;
use crate::connector::reading::CHILD_RESPONSE;
use crate::connector::reading::Headers;
use crate::connector::reading::Injection;
use crate::connector::reading::PageSeen;
use crate::connector::reading::Pager;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Selection;
use crate::fetch::FetchError;

use super::PAGES_MAX;
use super::ask;
use super::ask::Answered;
use super::source::Cut;
use super::source::Source;

/// The pages of one slice, asked for one after another.
pub(super) struct Pages<'s, 'a> {
    source: &'s Source<'a>,
    cut: &'s Cut,
    pager: Pager<'a>,
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
        let pager = Pager::new(source.retriever.paginator.as_ref(), source.scope.clone(), source.order.compat);
        let pager = pager.map_err(|error| source.order.unreadable(error))?;
        Ok(Pages { source, cut, pager, read: 0, done: false })
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
                let slice = &self.cut.slice;
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
        let selection = self.select(&answered, token.as_ref()).map_err(|source| unusable(&answered, source))?;
        let more = self.advance(&answered, &selection).map_err(|source| unusable(&answered, source))?;
        self.done = !more;
        Ok(Some(Page { answered, selection, is_last: !more }))
    }

    /// The first page, when the parent's record holds it.
    fn held(&self) -> Option<Answered> {
        let (page, exchange) = (self.cut.partition.extra.get(CHILD_RESPONSE)?, self.cut.partition.exchange.as_ref()?);
        let answer = Answer { status: 200, headers: Headers::default(), body: page.to_string().into() };
        (self.read == 0).then(|| Answered { answer, exchange: exchange.as_ref().clone(), ignored: false })
    }

    /// What paginator, cursor and router add to the request.
    fn injections(&self) -> Result<Vec<Injection>, ReadingError> {
        let mut injections = self.pager.injections()?;
        let left_out = self.source.retriever.ignore_stream_slicer_parameters_on_paginated_requests && self.pager.path().is_some();
        if !left_out {
            injections.extend(self.cut.injections.iter().cloned());
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

fn unusable(answered: &Answered, source: ReadingError) -> FetchError {
    FetchError::Answer { method: answered.exchange.method.clone(), url: answered.exchange.url.clone(), source: Box::new(source) }
}
