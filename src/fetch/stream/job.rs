//! An asynchronous job: created, polled until it is done, named its results, and deleted when they are read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connector::component::job::AsyncRetriever;
use crate::connector::component::requester::Requester;
use crate::connector::component::value::Count;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::reading::JobPlan;
use crate::connector::reading::JobStatus;
use crate::connector::reading::ReadingError;
use crate::connector::reading::answer_members;
use crate::fetch::FetchError;
use crate::fetch::wait::Cut;
use crate::fetch::wait::Waits;

use super::StreamOrder;
use super::ask::Answered;
use super::ask::Asker;
use super::ask::Page;

/// How often a job is created before its slice is given up.
const CREATIONS_MAX: u32 = 3;
/// The time between two questions for a job's status, and before a job is created again.
const POLL_PAUSE: Duration = Duration::from_secs(5);
/// How long a job may take where the manifest does not say, in minutes.
const TIMEOUT_MINUTES: u32 = 60;

/// The jobs of one stream.
pub(super) struct Jobs<'a> {
    order: &'a StreamOrder,
    plan: JobPlan,
    creation: Asker<'a>,
    polling: Asker<'a>,
    targets: Option<Asker<'a>>,
    abort: Option<Asker<'a>>,
    delete: Option<Asker<'a>>,
    /// How many jobs of the connection run at a time.
    slots: Arc<Semaphore>,
    timeout: Duration,
    pause_after_failure: Option<Duration>,
}

/// A job that is done.
pub(super) struct Done {
    /// The slice of each of its results, in order.
    pub results: VecDeque<Slice>,
    /// The answer that said so.
    pub said: Answered,
    /// The slice with the job's creation.
    created: Slice,
}

/// What became of one creation.
enum Outcome {
    Done(Box<Done>),
    Nothing,
    /// It may go better next time.
    Failed {
        reason: String,
        pause: Duration,
    },
}

impl<'a> Jobs<'a> {
    /// # Errors
    /// When an expression of the configuration fails.
    pub fn new(order: &'a StreamOrder, retriever: &'a AsyncRetriever, scope: &Scope) -> Result<Self, FetchError> {
        let failed = |error| order.unreadable(error);
        let asker = |Requester::HttpRequester(requester): &'a Requester| Asker::new(order, requester, scope);
        let optional = |requester: &'a Option<Requester>| requester.as_ref().map(asker).transpose();
        let number = |count: &Option<Count>, field| {
            let number = count.as_ref().map(|count| count.number(scope)).transpose();
            number.map(Option::flatten).map_err(ReadingError::expression(field)).map_err(failed)
        };
        let minutes = number(&retriever.polling_job_timeout, "polling_job_timeout")?.filter(|minutes| *minutes > 0);
        let pause = number(&retriever.failed_retry_wait_time_in_seconds, "failed_retry_wait_time_in_seconds")?;
        let limit = number(&order.connector.manifest.max_concurrent_async_job_count, "max_concurrent_async_job_count")?;
        Ok(Jobs {
            order,
            plan: JobPlan::new(retriever, scope, order.compat).map_err(failed)?,
            creation: asker(&retriever.creation_requester)?,
            polling: asker(&retriever.polling_requester)?,
            targets: optional(&retriever.download_target_requester)?,
            abort: optional(&retriever.abort_requester)?,
            delete: optional(&retriever.delete_requester)?,
            slots: order.access.sessions().job_slots(limit.unwrap_or(1).max(1)),
            timeout: Duration::from_secs(u64::from(minutes.unwrap_or(TIMEOUT_MINUTES)) * 60),
            pause_after_failure: pause.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }

    /// How many run at a time, at most.
    pub fn width(order: &StreamOrder, scope: &Scope) -> usize {
        let limit = order.connector.manifest.max_concurrent_async_job_count.as_ref();
        let limit = limit.and_then(|limit| limit.number(scope).ok().flatten()).unwrap_or(1);
        usize::try_from(limit).unwrap_or(1).max(1)
    }

    /// Runs the job of a slice; none when there is nothing to read.
    ///
    /// # Errors
    /// When it cannot be created or asked for, or has failed as often as it may.
    pub async fn run(&self, slice: &Slice) -> Result<Option<Done>, FetchError> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let mut last = String::new();
        for creation in 1..=CREATIONS_MAX {
            match self.create_and_poll(slice).await? {
                Outcome::Done(done) => return Ok(Some(*done)),
                Outcome::Nothing => return Ok(None),
                Outcome::Failed { reason, pause } => {
                    last = reason;
                    if creation < CREATIONS_MAX {
                        self.pass(pause).await?;
                    }
                }
            }
        }
        Err(FetchError::Job { stream: self.order.stream.clone(), attempts: CREATIONS_MAX, reason: last })
    }

    /// Deletes a job whose results are read. That it stays is no failure of the stream.
    pub async fn delete(&self, done: &Done) {
        if let Some(delete) = &self.delete
            && let Err(error) = ask(delete, &done.created).await
        {
            tracing::warn!(stream = self.order.stream, %error, "a job that was read could not be deleted");
        }
    }

    async fn create_and_poll(&self, slice: &Slice) -> Result<Outcome, FetchError> {
        let created = match ask(&self.creation, slice).await {
            Ok(created) if !created.ignored => created,
            Ok(created) => return Ok(failed(format!("its creation was answered with {}", created.exchange.status))),
            Err(error) if error.concerns_connection() => return Err(error),
            Err(error) => return Ok(failed(format!("it could not be created: {error}"))),
        };
        let with_creation = with(slice, "creation_response", answer_members(&created.answer, &created.exchange.method));
        let began = Instant::now();
        let mut counted = Duration::ZERO;
        loop {
            let said = ask(&self.polling, &with_creation).await?;
            let unusable = |source| FetchError::Answer {
                method: said.exchange.method.clone(),
                url: said.exchange.url.clone(),
                source: Box::new(source),
            };
            match self.plan.status(&said.answer.body).map_err(unusable)? {
                JobStatus::Completed => return self.results(with_creation, said).await.map(|done| Outcome::Done(Box::new(done))),
                JobStatus::Skipped => return Ok(Outcome::Nothing),
                JobStatus::Failed => {
                    let pause = self.pause_after_failure.unwrap_or(POLL_PAUSE);
                    return Ok(Outcome::Failed { reason: "the application says that it failed".to_owned(), pause });
                }
                JobStatus::TimedOut => {
                    self.abort(&with_creation).await;
                    return Ok(failed("the application says that it took too long".to_owned()));
                }
                JobStatus::Running => {}
            }
            // Where waits are not spent, their time counts all the same.
            let taken = if self.order.retries.waits == Waits::Skipped { counted } else { began.elapsed() };
            if taken >= self.timeout {
                self.abort(&with_creation).await;
                return Ok(failed(format!("it took longer than {} s", self.timeout.as_secs())));
            }
            self.pass(POLL_PAUSE).await?;
            counted += POLL_PAUSE;
        }
    }

    /// The results of a job that is done.
    async fn results(&self, created: Slice, said: Answered) -> Result<Done, FetchError> {
        let polled = answer_members(&said.answer, &said.exchange.method);
        let named = match &self.targets {
            None => None,
            Some(targets) => {
                let slice = with(&Slice::default(), "polling_response", polled.clone());
                Some(ask(targets, &slice).await?)
            }
        };
        let body = named.as_ref().map_or(&said.answer.body, |named| &named.answer.body);
        let targets = self.plan.targets(body).map_err(|source| self.order.unreadable(source))?;
        let of_result = |target| with(&with(&created, "download_target", target), "polling_response", polled.clone());
        Ok(Done { results: targets.into_iter().map(of_result).collect(), said, created })
    }

    /// Ends a job that takes too long. That it goes on is no failure of the stream.
    async fn abort(&self, created: &Slice) {
        if let Some(abort) = &self.abort
            && let Err(error) = ask(abort, created).await
        {
            tracing::warn!(stream = self.order.stream, %error, "a job that took too long could not be aborted");
        }
    }

    async fn pass(&self, time: Duration) -> Result<(), FetchError> {
        let closed =
            |Cut| FetchError::Closed { method: "the job of".to_owned(), url: self.order.stream.clone(), sent: false, source: None };
        self.order.retries.waits.pass(time, &self.order.permit).await.map_err(closed)
    }
}

async fn ask(asker: &Asker<'_>, slice: &Slice) -> Result<Answered, FetchError> {
    asker.ask(&Page { slice, token: None, path: None, injections: &[] }).await
}

fn failed(reason: String) -> Outcome {
    Outcome::Failed { reason, pause: POLL_PAUSE }
}

/// A slice with one more name for expressions.
fn with(slice: &Slice, name: &str, value: Value) -> Slice {
    let mut slice = slice.clone();
    slice.extra.insert(name.to_owned(), value);
    slice
}
