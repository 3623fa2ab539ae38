//! One page asked for: attempts until the manifest's error handlers let an answer pass.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Method;
use serde_json::Map;
use serde_json::Value;

use crate::authorization::renewal::Grant;
use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::authenticator::JwtAuthenticator;
use crate::connector::component::budget::ApiBudget;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::reading;
use crate::connector::reading::Answer;
use crate::connector::reading::Compat;
use crate::connector::reading::ErrorPolicy;
use crate::connector::reading::Headers;
use crate::connector::reading::Injection;
use crate::connector::reading::JwtPlan;
use crate::connector::reading::LegacyLogin;
use crate::connector::reading::Meaning;
use crate::connector::reading::ReadingError;
use crate::connector::reading::RequestPlan;
use crate::connector::reading::Requests;
use crate::connector::reading::SecretPlace;
use crate::connector::reading::Wait as Asked;
use crate::digest::Digest;
use crate::fetch::FetchError;
use crate::fetch::budget::Call;
use crate::fetch::budget::CallBudget;
use crate::fetch::client::Incoming;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::request::Body;
use crate::fetch::request::Patience;
use crate::fetch::request::Request;
use crate::fetch::request::Text;
use crate::fetch::retry::Attempt;
use crate::fetch::retry::Policy;
use crate::fetch::retry::attempts;
use crate::fetch::stream::StreamOrder;
use crate::fetch::stream::answers::Answers;
use crate::fetch::stream::session::LegacySession;
use crate::fetch::stream::session::Login;
use crate::fetch::stream::session::Session;
use crate::fetch::wait::patience;
use crate::ids::Entropy;
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
    /// What the manifest wants instead of the answer's records; only an asker that [heeds](Asker::heeding) demands gives one.
    pub demand: Option<Demand>,
}

/// What an error handler wants of whoever reads the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Demand {
    /// The slice is read from its first page on, or from where it was left.
    ResetPagination,
    /// The page is asked for again with fewer records.
    ReducePageSize,
    /// The window is cut into smaller ones.
    SplitWindow,
}

/// What one question has come to so far.
#[derive(Default)]
struct Tries {
    /// The wait before the next attempt.
    pause: Mutex<Option<Waiting>>,
    /// Whether the access token was renewed because the manifest wants it, and how that ended.
    renewed: Mutex<Option<bool>>,
}

/// Asks by one requester: for the pages of a stream, or for a login.
pub(super) struct Asker<'a> {
    order: &'a StreamOrder,
    requester: &'a HttpRequester,
    authenticator: Option<&'a Authenticator>,
    authority: Authority<'a>,
    policy: ErrorPolicy<'a>,
    retries: Policy,
    calls: Option<Arc<CallBudget>>,
    scope: Scope,
    /// Whether all that is sent counts as secret.
    is_login: bool,
    /// Whether the address is one that the application gave for a job's result.
    is_led: bool,
    /// The scope with the access token that was used last.
    granted: Mutex<Option<(Secret<String>, Scope)>>,
    heeds: bool,
    /// Whether its answers are kept for other streams that ask the same.
    keeps: bool,
}

/// What gives the credential of a request that the configuration does not hold.
enum Authority<'a> {
    /// Nothing: the configuration does.
    Config,
    /// The connection's tokens.
    Tokens,
    /// A login.
    Login(Box<Login<'a>>),
    /// A login of the older kind.
    Legacy(LegacySession<'a>),
    /// A signature.
    Signature(&'a JwtAuthenticator),
}

/// What a request is authorized with.
struct Credential {
    /// The connection's access token.
    grant: Option<Grant>,
    /// What the authenticator places into the request.
    secret: Option<Secret<String>>,
}

impl<'a> Asker<'a> {
    /// # Errors
    /// When the configuration chooses no authenticator.
    pub fn new(order: &'a StreamOrder, requester: &'a HttpRequester, scope: &Scope) -> Result<Self, FetchError> {
        let failed = |source| FetchError::Reading { stream: order.stream.clone(), source: Box::new(source) };
        let policy = ErrorPolicy::new(requester.error_handler.as_ref(), scope.clone(), order.compat);
        let retries =
            Policy { attempts_max: policy.retries().map_err(failed)? + 1, elapsed_max: reading::RETRY_TIME_MAX, ..order.retries.clone() };
        let authenticator = requester.authenticator.as_ref().map(|authenticator| reading::chosen(authenticator, order.access.config()));
        let authenticator = authenticator.transpose().map_err(failed)?;
        let authority = match authenticator {
            Some(Authenticator::OAuthAuthenticator(_)) => Authority::Tokens,
            Some(Authenticator::SessionTokenAuthenticator(session)) => Authority::Login(Box::new(Login::new(order, session, scope)?)),
            Some(Authenticator::LegacySessionTokenAuthenticator(legacy)) => {
                let base = requester.url.as_ref().or(requester.url_base.as_ref());
                Authority::Legacy(LegacySession::new(order, LegacyLogin::new(legacy, base, scope).map_err(failed)?))
            }
            Some(Authenticator::JwtAuthenticator(jwt)) => Authority::Signature(jwt),
            _ => Authority::Config,
        };
        Ok(Asker {
            order,
            requester,
            authenticator,
            authority,
            policy,
            retries,
            calls: calls(order, scope).map_err(failed)?,
            scope: scope.clone(),
            is_login: false,
            is_led: [&requester.url, &requester.url_base].into_iter().flatten().any(of_an_answer),
            granted: Mutex::new(None),
            heeds: false,
            keeps: requester.use_cache,
        })
    }

    /// The same, for a caller who does what error handlers demand of the reading; others get an error.
    pub fn heeding(self) -> Self {
        Asker { heeds: true, ..self }
    }

    /// The same, for a stream that others have for a parent: it is asked once for all of them.
    pub fn keeping(self) -> Self {
        Asker { keeps: true, ..self }
    }

    /// As [`Asker::new`], for a login.
    pub fn of_login(order: &'a StreamOrder, requester: &'a HttpRequester, scope: &Scope) -> Result<Self, FetchError> {
        Ok(Asker { is_login: true, ..Self::new(order, requester, scope)? })
    }

    /// Asks until an answer passes.
    pub async fn ask(&self, page: &Page<'_>) -> Result<Answered, FetchError> {
        let order = self.order;
        let tries = Tries::default();
        attempts(&self.retries, &order.clock, &order.permit, |number| self.attempt(page, number, &tries)).await
    }

    /// As [`Asker::ask`], for a login that a request waits for: an asker may stand within another.
    pub fn ask_boxed<'s>(&'s self, page: &'s Page<'_>) -> BoxFuture<'s, Result<Answered, FetchError>> {
        Box::pin(self.ask(page))
    }

    /// One attempt. Everything that must be fresh is taken here: the token, the budget's cell, the permit's epoch.
    async fn attempt(&self, page: &Page<'_>, number: u32, tries: &Tries) -> Attempt<Answered> {
        if tries.pause.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            self.order.activity.retried();
        }
        let mut credential = match self.credential().await {
            Ok(credential) => credential,
            Err(error) if error.is_transient() => return self.again(number, error, None, tries),
            Err(error) => return Attempt::Failed(error),
        };
        let mut outcome = self.send(page, &credential).await;
        if matches!(&outcome, Ok(incoming) if incoming.status == 401) && self.order.compat == Compat::Safe {
            outcome = self.after_refusal(page, &mut credential, outcome).await;
        }
        match outcome {
            Ok(incoming) => self.judge(incoming, &credential, number, tries).await,
            Err(error) if error.is_transient() => self.again(number, error, None, tries),
            Err(error) => Attempt::Failed(error),
        }
    }

    /// What the next request is authorized with.
    async fn credential(&self) -> Result<Credential, FetchError> {
        let waiting = self.order.activity.waiting(Wait::Token);
        let grant = self.order.access.grant().await?;
        let secret = match &self.authority {
            Authority::Config => None,
            Authority::Tokens => grant.as_ref().map(|grant| grant.token().duplicate()),
            Authority::Login(login) => Some(login.token().await?),
            Authority::Legacy(legacy) => Some(legacy.token().await?),
            Authority::Signature(jwt) => {
                let plan = JwtPlan::new(jwt, &self.scope_with(grant.as_ref())).map_err(|source| self.failed(source))?;
                Some(plan.sign(self.order.clock.now(), &Entropy::system()).map_err(|source| self.failed(source))?)
            }
        };
        drop(waiting);
        Ok(Credential { grant, secret })
    }

    /// The one repetition that a refused credential causes, with a new one. A second refusal of a token says that the connection
    /// needs its customer.
    async fn after_refusal(
        &self,
        page: &Page<'_>,
        credential: &mut Credential,
        refusal: Result<Incoming, FetchError>,
    ) -> Result<Incoming, FetchError> {
        if let (Some(session), Some(token)) = (self.session(), &credential.secret) {
            session.refused(token).await;
            return self.send(page, &self.credential().await?).await;
        }
        let Some(grant) = &credential.grant else { return refusal };
        let renewed = self.order.access.refused(grant).await?;
        let secret = renewed.as_ref().map(|grant| grant.token().duplicate()).filter(|_| matches!(self.authority, Authority::Tokens));
        *credential = Credential { grant: renewed, secret };
        let again = self.send(page, credential).await?;
        if let (401, Some(renewed)) = (again.status, &credential.grant) {
            self.order.access.refused(renewed).await?;
        }
        Ok(again)
    }

    async fn send(&self, page: &Page<'_>, credential: &Credential) -> Result<Incoming, FetchError> {
        let order = self.order;
        let scope = self.scope_with(credential.grant.as_ref());
        let requests = Requests::new(self.requester, self.authenticator, scope, order.compat);
        let plan = requests.plan(page.slice, page.token, page.path.as_deref(), page.injections, credential.secret.as_ref());
        let mut hidden = order.access.secrets(credential.grant.as_ref());
        hidden.extend(credential.secret.as_ref().map(Secret::duplicate));
        let plan = plan.map_err(|source| self.failed(source))?;
        let is_led = self.is_led && plan.secrets.is_empty();
        let mut request = request(plan, hidden, &order.hosts, self.is_login)?;
        request.patience = self.patience();
        let mut hosts = order.hosts.clone();
        // Results lie where the application says, as long as no secret goes there. The guard judges the address all the same.
        if is_led && !request.stands_in(&request.url) {
            hosts = hosts.and(&AllowedHosts::of_urls([&request.url]));
            (request.hidden, request.credential_hosts) = (Vec::new(), None);
        }
        // A gate that is closed says so where requests are sent.
        let key = if self.keeps && !order.permit.is_cancelled() { Answers::key(&request) } else { None };
        let answers = order.access.sessions().answers();
        if let Some(answer) = key.as_ref().and_then(|key| answers.find(key)) {
            return Ok(answer);
        }
        let waiting = order.activity.waiting(Wait::Budget);
        let counted = self.calls.as_ref().map(|calls| (calls, request.sent_url(), request.header_map(true).unwrap_or_default()));
        if let Some((calls, url, headers)) = &counted {
            order.budget.acquire_call(calls, &Call { method: &request.method, url, headers }, &order.permit).await?;
        }
        order.budget.acquire(&order.permit).await?;
        drop(waiting);
        order.count_request();
        let outcome = order.client.send(&request, &hosts, &order.permit).await;
        order.count_outcome(&outcome);
        let answer = outcome?;
        if let Some((calls, url, headers)) = &counted {
            order.budget.observe_call(calls, &Call { method: &request.method, url, headers }, answer.status, &answer.headers);
        }
        order.budget.observe(order.permit.owner(), answer.status, &answer.headers);
        if let Some(key) = key {
            answers.keep(key, &answer);
        }
        Ok(answer)
    }

    /// How long the manifest waits, for the connection and for the answer together.
    fn patience(&self) -> Patience {
        let seconds = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let (connect, read) = (seconds(self.requester.connect_timeout_in_seconds), seconds(self.requester.read_timeout_in_seconds));
        Patience { answer: read.map(|read| read + connect.unwrap_or_default()), idle: read }
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

    fn session(&self) -> Option<&Session> {
        match &self.authority {
            Authority::Login(login) => Some(login.session()),
            Authority::Legacy(legacy) => Some(legacy.session()),
            Authority::Config | Authority::Tokens | Authority::Signature(_) => None,
        }
    }

    /// What the manifest's handlers make of an answer.
    async fn judge(&self, incoming: Incoming, credential: &Credential, number: u32, tries: &Tries) -> Attempt<Answered> {
        let exchange = exchange(&incoming, number, credential.grant.as_ref().map(Grant::generation));
        let pairs = incoming.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let url = exchange.url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let answer = Answer { status: incoming.status, headers: Headers::new(pairs), body: incoming.body.clone(), url };
        let outcome = match self.policy.outcome(&answer) {
            Ok(outcome) => outcome,
            Err(source) => return Attempt::Failed(self.failed(source)),
        };
        // In the reference engine it is the status that decides whether an answer that passes has records.
        let is_empty = answer.status >= 400 && (outcome.meaning == Meaning::Ignore || self.order.compat == Compat::Strict);
        let refused = |reason: String| FetchError::Refused {
            method: exchange.method.clone(),
            url: exchange.url.clone(),
            status: exchange.status,
            reason,
        };
        let demand = match outcome.meaning {
            Meaning::Success | Meaning::Ignore => return Attempt::Done(Answered { answer, exchange, ignored: is_empty, demand: None }),
            Meaning::Retry | Meaning::RateLimited => return self.again(number, incoming.refusal(), Some(&answer), tries),
            Meaning::Renew => {
                return match self.renew(credential, tries).await {
                    Ok(true) => self.again(number, incoming.refusal(), Some(&answer), tries),
                    Ok(false) => Attempt::Failed(refused("the application refuses the renewed access token as well".to_owned())),
                    Err(error) => Attempt::Failed(error),
                };
            }
            Meaning::Fail => return Attempt::Failed(refused(outcome.reason)),
            Meaning::ResetPagination => Demand::ResetPagination,
            Meaning::ReducePageSize => Demand::ReducePageSize,
            Meaning::SplitWindow => Demand::SplitWindow,
        };
        if self.heeds {
            return Attempt::Done(Answered { answer, exchange, ignored: true, demand: Some(demand) });
        }
        let reason = format!("{}; the manifest's error handler wants {demand:?}, which this requester has no use for", outcome.reason);
        Attempt::Failed(refused(reason))
    }

    /// Renews the credential because the manifest wants it, once for one question; false when that was done already.
    async fn renew(&self, credential: &Credential, tries: &Tries) -> Result<bool, FetchError> {
        if tries.renewed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(false);
        }
        if let (Some(session), Some(token)) = (self.session(), &credential.secret) {
            session.refused(token).await;
            return Ok(true);
        }
        let Some(grant) = &credential.grant else { return Ok(true) };
        let renewed = match self.order.access.refused(grant).await {
            Ok(_) => true,
            Err(error) if error.is_transient() => false,
            Err(error) => return Err(error),
        };
        *tries.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(renewed);
        Ok(true)
    }

    /// Another attempt, after the wait that the manifest or the application asks for; else on the schedule of retries.
    fn again<T>(&self, number: u32, cause: FetchError, answer: Option<&Answer>, tries: &Tries) -> Attempt<T> {
        let asked = match self.policy.wait(number, answer, self.order.clock.now(), &Entropy::system()) {
            Ok(asked) => asked,
            Err(source) => return Attempt::Failed(self.failed(source)),
        };
        *tries.pause.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.order.activity.waiting(Wait::Retry));
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

/// Whether an address is made of what the application answered about a job.
fn of_an_answer(address: &Expression) -> bool {
    ["creation_response", "polling_response", "download_target"].iter().any(|name| address.template().uses(name))
}

/// The manifest's call budget, shared by all that reads the connection: it begins anew with another manifest or configuration.
fn calls(order: &StreamOrder, scope: &Scope) -> Result<Option<Arc<CallBudget>>, ReadingError> {
    let Some(ApiBudget::HTTPAPIBudget(budget)) = &order.connector.manifest.api_budget else { return Ok(None) };
    let made_of = Digest::of(format!("{} {}", order.connector.digest, order.access.config()).as_bytes());
    order.budget.calls(order.permit.owner(), made_of, || CallBudget::new(budget, scope)).map(Some)
}

/// An exchange as it is recorded.
fn exchange(incoming: &Incoming, attempt: u32, credential: Option<u64>) -> Exchange {
    Exchange {
        method: incoming.method.clone(),
        url: incoming.url_recorded.clone(),
        status: incoming.status,
        attempt,
        requested_at: incoming.requested_at,
        received_at: incoming.received_at,
        response_sha256: incoming.sha256,
        bytes: incoming.body.len() as u64,
        request_id: incoming.request_id.clone(),
        credential,
    }
}

/// The request of a plan, its secrets in their places; of a login, all of the body is one.
fn request(plan: RequestPlan, hidden: Vec<Secret<String>>, hosts: &AllowedHosts, is_login: bool) -> Result<Request, FetchError> {
    let method = Method::from_bytes(plan.method.as_bytes()).unwrap_or(Method::GET);
    let mut request = Request { hidden, credential_hosts: Some(hosts.clone()), ..Request::new(method, plan.url) };
    request.headers.extend(plan.headers.into_iter().map(|(name, value)| (name, Text::Plain(value))));
    let mut body = match plan.body {
        reading::Body::Empty => Body::Empty,
        reading::Body::Form(fields) => {
            let text = |value| if is_login { Text::Secret(Secret::new(value)) } else { Text::Plain(value) };
            Body::Form(fields.into_iter().map(|(name, value)| (name, text(value))).collect())
        }
        reading::Body::Text(text) => Body::Bytes { content_type: String::new(), bytes: text.into(), secret: is_login },
        reading::Body::Json(value) => json_body(&value, is_login),
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
