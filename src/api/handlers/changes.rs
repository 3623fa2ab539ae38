//! The change feed: in parts, with long poll, or as Server-Sent Events.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::response::Sse;
use axum::response::sse::Event;
use futures_util::Stream;
use futures_util::stream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::api::body::Answer;
use crate::api::body::Query;
use crate::api::body::id;
use crate::api::paging::PageQuery;
use crate::api::paging::untoken;
use crate::api::principal::Principal;
use crate::api::principal::Proof;
use crate::api::principal::StatedPurpose;
use crate::api::problem::Problem;
use crate::api::serve::Stopping;
use crate::api::services::FeedQuestion;
use crate::api::wire::change::Change;
use crate::consent::Purpose;
use crate::ids::ConnectionId;
use crate::ids::TenantId;

/// The longest that a part of the feed is waited for, in seconds.
pub const WAIT_SECONDS_MAX: u64 = 60;

/// How often a comment shows that a stream of events is alive, and the key is looked at again.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What of the feed.
#[derive(Debug, Deserialize)]
pub struct FeedQuery {
    wait: Option<u64>,
    connection: Option<String>,
    stream: Option<String>,
    data: Option<bool>,
    tenant: Option<TenantId>,
}

/// `GET /v1/changes`
pub async fn feed(
    State(api): State<Arc<Api>>,
    by: Principal,
    StatedPurpose(purpose): StatedPurpose,
    Query(query): Query<FeedQuery>,
    Query(page): Query<PageQuery>,
    stopping: Option<Extension<Stopping>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = query.wait.unwrap_or_default();
    if wait > WAIT_SECONDS_MAX {
        let reason = format!("it is {wait}; use a number of seconds from 0 to {WAIT_SECONDS_MAX}");
        return Err(Problem::BadParameter { name: "wait".into(), reason });
    }
    let mut question = FeedQuestion {
        tenant: by.tenant_asked_for(query.tenant)?,
        connection: query.connection.as_deref().map(id::<ConnectionId>).transpose()?,
        stream: query.stream,
        data: query.data.unwrap_or(true),
        page: page.order()?,
        wait: Duration::from_secs(wait),
        stop: stopping.map_or_else(CancellationToken::new, |Extension(Stopping(stop))| stop),
    };
    if !wants_events(&headers) {
        let part = api.services.changes.next(&by, purpose, question).await?;
        must_stand(&api, &by).await?;
        return Ok(Answer(part).into_response());
    }
    if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        question.page.after = Some(untoken(last)?);
    }
    // What is wrong with the question is told as a problem, not as an event.
    question.wait = Duration::ZERO;
    let first = api.services.changes.next(&by, purpose, question.clone()).await?;
    must_stand(&api, &by).await?;
    question.wait = HEARTBEAT;
    question.page.after = first.next.as_deref().map(untoken).transpose()?;
    let course = Course { api, by, purpose, question, ready: first.items.into_iter(), is_over: false };
    Ok(Sse::new(events(course)).into_response())
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|part| part.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
}

/// A key that was revoked while something was waited for receives nothing more.
async fn must_stand(api: &Api, by: &Principal) -> Result<(), Problem> {
    let Proof::Key(key) = by.proof else { return Ok(()) };
    match api.keys.find(key).await? {
        Some(key) if key.revoked_at.is_none() => Ok(()),
        _ => Err(Problem::Unauthenticated),
    }
}

/// A stream of events under way: one part of the feed in memory, asked for when the one before has been taken.
struct Course {
    api: Arc<Api>,
    by: Principal,
    purpose: Option<Purpose>,
    question: FeedQuestion,
    ready: std::vec::IntoIter<Change>,
    is_over: bool,
}

/// The events of a course. It ends when the door closes, when the key is revoked, and when the feed cannot be read; a client goes on with
/// the id of the last event.
fn events(course: Course) -> impl Stream<Item = Result<Event, serde_json::Error>> {
    stream::unfold(course, |mut course| async move {
        loop {
            if let Some(change) = course.ready.next() {
                let text = serde_json::to_string(&change);
                let event = text.map(|text| Event::default().id(&change.position).event(&change.change).data(text));
                return Some((event, course));
            }
            if course.is_over || course.question.stop.is_cancelled() {
                return None;
            }
            match course.more().await {
                Ok(true) => {}
                Ok(false) => return Some((Ok(Event::default().comment("")), course)),
                Err(problem) => {
                    course.is_over = true;
                    return Some((Ok(Event::default().event("problem").data(problem.to_string())), course));
                }
            }
        }
    })
}

impl Course {
    /// Asks for the next part; whether there is something in it.
    async fn more(&mut self) -> Result<bool, Problem> {
        let part = self.api.services.changes.next(&self.by, self.purpose, self.question.clone()).await?;
        must_stand(&self.api, &self.by).await?;
        self.question.page.after = part.next.as_deref().map(untoken).transpose()?;
        self.ready = part.items.into_iter();
        Ok(self.ready.len() > 0)
    }
}
