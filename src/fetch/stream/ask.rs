//! One page asked for: attempts until the manifest's error handlers let an answer pass.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::Map;
use serde_json::Value;

use crate::authorization::renewal::Grant;
use crate::connector::component::requester::Requester;
use crate::connector::component::source::SimpleRetriever;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::reading;
use crate::connector::reading::Answer;
use crate::connector::reading::ErrorPolicy;
use crate::connector::reading::Headers;
use crate::connector::reading::Injection;
use crate::connector::reading::Meaning;
use crate::connector::reading::ReadingError;
use crate::connector::reading::RequestPlan;
use crate::connector::reading::Requests;
use crate::connector::reading::SecretPlace;
use crate::connector::reading::Wait as Asked;
use crate::fetch::FetchError;
use crate::fetch::client::Incoming;
use crate::fetch::request::Body;
use crate::fetch::request::Request;
use crate::fetch::request::Text;
use crate::fetch::retry::Attempt;
use crate::fetch::retry::Policy;
use crate::fetch::retry::attempts;
use crate::fetch::stream::StreamOrder;
use crate::fetch::wait::patience;
use crate::record::Exchange;
use crate::secret::Secret;
use crate::telemetry::activity::Wait;
use crate::telemetry::activity::Waiting;

/// What a page is asked by.
pub(super) struct Page<'p> {
    pub slice: &'p Slice,
    pub token: Option<&'p Value>,
    pub path: Option<String>,
    pub injections: &'p [Injection],
}

/// An answer that passed.
pub(super) struct Answered {
    pub answer: Answer,
    pub exchange: Exchange,
    /// The manifest lets it count as an empty page.
    pub ignored: bool,
}

/// Asks for the pages of one stream.
pub(super) struct Asker<'a> {
    order: &'a StreamOrder,
    requester: &'a Requester,
    policy: ErrorPolicy<'a>,
    retries: Policy,
    scope: Scope,
    /// The scope with the access token that was used last.
    granted: Mutex<Option<(Secret<String>, Scope)>>,
    /// The wait before the next attempt.
    pause: Mutex<Option<Waiting>>,
}

impl<'a> Asker<'a> {
    pub fn new(order: &'a StreamOrder, retriever: &'a SimpleRetriever, scope: &Scope) -> Self {
        let Requester::HttpRequester(http) = &retriever.requester;
        let policy = ErrorPolicy::new(http.error_handler.as_ref(), scope.clone(), order.compat);
        let retries = Policy { attempts_max: policy.retries() + 1, elapsed_max: reading::RETRY_TIME_MAX, ..order.retries.clone() };
        Asker {
            order,
            requester: &retriever.requester,
            policy,
            retries,
            scope: scope.clone(),
            granted: Mutex::new(None),
            pause: Mutex::new(None),
        }
    }

    /// Asks until an answer passes.
    pub async fn ask(&self, page: &Page<'_>) -> Result<Answered, FetchError> {
        let order = self.order;
        attempts(&self.retries, &order.clock, &order.permit, |number| self.attempt(page, number)).await
    }

    /// One attempt. Everything that must be fresh is taken here: the token, the budget's cell, the permit's epoch.
    async fn attempt(&self, page: &Page<'_>, number: u32) -> Attempt<Answered> {
        if self.pause.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.order.activity.retried();
        }
        let waiting = self.order.activity.waiting(Wait::Token);
        let granted = self.order.access.grant().await;
        drop(waiting);
        let grant = match granted {
            Ok(grant) => grant,
            Err(error) if error.is_transient() => return self.again(number, error, None),
            Err(error) => return Attempt::Failed(error),
        };
        let mut outcome = self.send(page, grant.as_ref()).await;
        if let (Ok(incoming), Some(grant)) = (&outcome, &grant)
            && incoming.status == 401
        {
            // The one renewal that a refusal causes; a second refusal says that the connection needs its customer.
            outcome = match self.order.access.refused(grant).await {
                Ok(renewed) => match self.send(page, renewed.as_ref()).await {
                    Ok(incoming) if incoming.status == 401 => match &renewed {
                        Some(renewed) => self.order.access.refused(renewed).await.and(Ok(incoming)),
                        None => Ok(incoming),
                    },
                    other => other,
                },
                Err(error) => Err(error),
            };
        }
        match outcome {
            Ok(incoming) => self.judge(incoming, number),
            Err(error) if error.is_transient() => self.again(number, error, None),
            Err(error) => Attempt::Failed(error),
        }
    }

    async fn send(&self, page: &Page<'_>, grant: Option<&Grant>) -> Result<Incoming, FetchError> {
        let order = self.order;
        let scope = self.scope_with(grant);
        let requests = Requests::new(self.requester, scope);
        let token = grant.map(Grant::token);
        let plan = requests.plan(page.slice, page.token, page.path.as_deref(), page.injections, token);
        let request = request(plan.map_err(|source| self.failed(source))?, order.access.secrets(grant), &order.hosts)?;
        let waiting = order.activity.waiting(Wait::Budget);
        order.budget.acquire(&order.permit).await?;
        drop(waiting);
        order.count_request();
        let outcome = order.client.send(&request, &order.hosts, &order.permit).await;
        order.count_outcome(&outcome);
        let answer = outcome?;
        order.budget.observe(order.permit.owner(), answer.status, &answer.headers);
        Ok(answer)
    }

    /// The scope whose configuration holds the token, made anew only when the token is another one.
    fn scope_with(&self, grant: Option<&Grant>) -> Scope {
        let Some(grant) = grant else { return self.scope.clone() };
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*granted {
            Some((token, scope)) if token.expose() == grant.token().expose() => scope.clone(),
            _ => {
                let mut scope = self.scope.clone();
                scope.set("config", dynamic(&self.order.access.config_with(grant)));
                *granted = Some((grant.token().duplicate(), scope.clone()));
                scope
            }
        }
    }

    /// What the manifest's handlers make of an answer.
    fn judge(&self, incoming: Incoming, number: u32) -> Attempt<Answered> {
        let exchange = Exchange {
            method: incoming.method.clone(),
            url: incoming.url_recorded.clone(),
            status: incoming.status,
            attempt: number,
            requested_at: incoming.requested_at,
            received_at: incoming.received_at,
            response_sha256: incoming.sha256,
            bytes: incoming.body.len() as u64,
            request_id: incoming.request_id.clone(),
        };
        let pairs = incoming.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let answer = Answer { status: incoming.status, headers: Headers::new(pairs), body: incoming.body.clone() };
        let outcome = match self.policy.outcome(&answer) {
            Ok(outcome) => outcome,
            Err(source) => return Attempt::Failed(self.failed(source)),
        };
        match outcome.meaning {
            Meaning::Success => Attempt::Done(Answered { answer, exchange, ignored: false }),
            Meaning::Ignore => Attempt::Done(Answered { answer, exchange, ignored: true }),
            Meaning::Retry | Meaning::RateLimited => self.again(number, incoming.refusal(), Some(&answer)),
            Meaning::Fail => Attempt::Failed(FetchError::Refused {
                method: exchange.method,
                url: exchange.url,
                status: exchange.status,
                reason: outcome.reason,
            }),
        }
    }

    /// Another attempt, after the wait that the manifest or the application asks for; else on the schedule of retries.
    fn again<T>(&self, number: u32, cause: FetchError, answer: Option<&Answer>) -> Attempt<T> {
        let asked = match self.policy.wait(number, answer, self.order.clock.now()) {
            Ok(asked) => asked,
            Err(source) => return Attempt::Failed(self.failed(source)),
        };
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.order.activity.waiting(Wait::Retry));
        match asked {
            Asked::Unsaid => Attempt::Again { cause, wait: None },
            Asked::For(wait) => Attempt::Again { cause, wait: Some(wait) },
            Asked::TooLong { asked } => Attempt::Failed(FetchError::NotBefore {
                until: patience(self.order.clock.now(), asked.max(Duration::from_secs(1))),
                reason: format!("{cause}; the application asks for more patience than the manifest allows"),
            }),
        }
    }

    fn failed(&self, source: ReadingError) -> FetchError {
        FetchError::Reading { stream: self.order.stream.clone(), source: Box::new(source) }
    }
}

/// The request of a plan, its secrets in their places.
fn request(plan: RequestPlan, hidden: Vec<Secret<String>>, hosts: &crate::fetch::egress::AllowedHosts) -> Result<Request, FetchError> {
    let method = Method::from_bytes(plan.method.as_bytes()).unwrap_or(Method::GET);
    let mut request = Request { hidden, credential_hosts: Some(hosts.clone()), ..Request::new(method, plan.url) };
    request.headers.extend(plan.headers.into_iter().map(|(name, value)| (name, Text::Plain(value))));
    let mut body = match plan.body {
        reading::Body::Empty => Body::Empty,
        reading::Body::Form(fields) => Body::Form(fields.into_iter().map(|(name, value)| (name, Text::Plain(value))).collect()),
        reading::Body::Text(text) => Body::Bytes { content_type: "text/plain; charset=utf-8".into(), bytes: text.into(), secret: false },
        reading::Body::Json(value) => json_body(&value, false),
    };
    let mut json = None;
    for secret in plan.secrets {
        match secret.place {
            SecretPlace::Header(name) => request.headers.push((name, Text::Secret(secret.value))),
            SecretPlace::Parameter(name) => request.query.push((name, Text::Secret(secret.value))),
            SecretPlace::Form(name) => match &mut body {
                Body::Form(fields) => fields.push((name, Text::Secret(secret.value))),
                _ => body = Body::Form(vec![(name, Text::Secret(secret.value))]),
            },
            SecretPlace::Json(path) => {
                let whole = json.get_or_insert_with(|| match &body {
                    Body::Bytes { bytes, .. } => serde_json::from_slice(bytes).unwrap_or_default(),
                    Body::Empty | Body::Form(_) => Value::Object(Map::new()),
                });
                set(whole, &path, secret.value.expose().as_str().into());
            }
        }
    }
    if let Some(whole) = json {
        body = json_body(&whole, true);
    }
    request.body = body;
    Ok(request)
}

fn json_body(value: &Value, secret: bool) -> Body {
    Body::Bytes { content_type: "application/json".into(), bytes: Bytes::from(value.to_string()), secret }
}

/// Puts a value at a path of an object, making the objects on the way.
fn set(whole: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = whole;
    for parent in parents.iter().chain(std::iter::once(last)) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[parent.as_str()];
    }
    *place = value;
}
