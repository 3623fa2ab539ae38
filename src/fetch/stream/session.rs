//! The tokens of logins: had once, shared by all streams of a connection that log in alike, had anew when they end or are refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use crate::clock::Timestamp;
use crate::connection::gate::Permit;
use crate::connector::component::authenticator::SessionTokenAuthenticator;
use crate::connector::component::requester::Requester;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::python_text;
use crate::connector::path::FieldPath;
use crate::connector::reading::Compat;
use crate::connector::reading::LegacyLogin;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Requests;
use crate::digest::Digest;
use crate::fetch::FetchError;
use crate::fetch::client::Incoming;
use crate::fetch::request::Body;
use crate::fetch::request::Request;
use crate::fetch::stream::StreamOrder;
use crate::ids::ConnectionKey;
use crate::secret::Secret;

use super::answers::Answers;
use super::ask::Asker;
use super::ask::Page;

/// How long a token of the older kind of authenticator is good: a day.
const LEGACY_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// The sessions of all connections; a connection that nobody reads costs nothing. Clones share them.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<ConnectionKey, Present>>>);

/// The sessions of a connection that is read now, and the permit whose epoch they belong to.
struct Present {
    permit: Permit,
    sessions: Weak<ConnectionSessions>,
}

/// What all who read one connection share: the sessions, by what they log in with, answers, and the room for jobs.
#[derive(Debug, Default)]
pub struct ConnectionSessions {
    sessions: Mutex<HashMap<Digest, Arc<Session>>>,
    answers: Answers,
    /// Room for asynchronous jobs.
    job_slots: OnceLock<Arc<Semaphore>>,
}

/// One login's token, and whose turn it is to get a new one.
#[derive(Debug, Default)]
pub(super) struct Session {
    kept: tokio::sync::Mutex<Option<Kept>>,
}

/// A token that a login gave.
#[derive(Debug)]
struct Kept {
    token: Secret<String>,
    /// The first moment at which it is taken to be no good.
    until: Option<Timestamp>,
}

impl Sessions {
    /// The sessions of the permit's connection, shared by all who read it now.
    pub fn of(&self, permit: &Permit) -> Arc<ConnectionSessions> {
        let mut connections = locked(&self.0);
        let present = connections.get(&permit.owner()).filter(|present| present.permit.epoch() == permit.epoch());
        if let Some(present) = present.and_then(|present| present.sessions.upgrade()) {
            return present;
        }
        connections.retain(|_, present| present.sessions.strong_count() > 0);
        let fresh = Arc::default();
        connections.insert(permit.owner(), Present { permit: permit.clone(), sessions: Arc::downgrade(&fresh) });
        fresh
    }
}

impl ConnectionSessions {
    fn session(&self, key: Digest) -> Arc<Session> {
        Arc::clone(locked(&self.sessions).entry(key).or_default())
    }

    /// The answers that several streams ask for.
    pub(super) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Room for as many asynchronous jobs of the connection as may run at a time.
    pub(super) fn job_slots(&self, limit: u32) -> Arc<Semaphore> {
        let limit = usize::try_from(limit).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        Arc::clone(self.job_slots.get_or_init(|| Arc::new(Semaphore::new(limit))))
    }
}

impl Session {
    /// Forgets a token that the application refused, unless it is another one by now.
    pub async fn refused(&self, token: &Secret<String>) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token.expose() == token.expose()) {
            *kept = None;
        }
    }

    /// The token that is kept, while it is good.
    fn good(kept: &Option<Kept>, now: Timestamp) -> Option<Secret<String>> {
        let kept = kept.as_ref().filter(|kept| kept.until.is_none_or(|until| now < until))?;
        Some(kept.token.duplicate())
    }
}

/// The login of a `SessionTokenAuthenticator`.
pub(super) struct Login<'a> {
    order: &'a StreamOrder,
    authenticator: &'a SessionTokenAuthenticator,
    asker: Asker<'a>,
    session: Arc<Session>,
}

impl<'a> Login<'a> {
    pub fn new(order: &'a StreamOrder, authenticator: &'a SessionTokenAuthenticator, scope: &Scope) -> Result<Self, FetchError> {
        let Requester::HttpRequester(requester) = &authenticator.login_requester;
        // Streams that log in by the same words share the session; what an authenticator adds to the login is the connection's own.
        let plan = Requests::new(requester, None, scope.clone(), order.compat).plan(&Slice::default(), None, None, &[], None);
        let plan = plan.map_err(|source| reading(order, source))?;
        let path = &authenticator.session_token_path;
        let words = format!("{} {} {:?} {:?} {path:?} {}", plan.method, plan.url, plan.headers, plan.body, authenticator.line);
        let session = order.access.sessions().session(Digest::of(words.as_bytes()));
        Ok(Login { order, authenticator, asker: Asker::of_login(order, requester, scope)?, session })
    }

    /// A token for the next request.
    pub async fn token(&self) -> Result<Secret<String>, FetchError> {
        let now = self.order.clock.now();
        let mut kept = self.session.kept.lock().await;
        if let Some(token) = Session::good(&kept, now) {
            return Ok(token);
        }
        let token = self.log_in().await?;
        let until = match &self.authenticator.expiration_duration {
            Some(lifetime) => {
                let end =
                    DateTime::utc(now).plus(&lifetime.0).map_err(|source| ReadingError::Date { field: "expiration_duration", source });
                Some(end.map_err(|source| reading(self.order, source))?.timestamp())
            }
            // The reference engine logs in before every request; one that is refused causes a new login here.
            None if self.order.compat == Compat::Strict => return Ok(token),
            None => None,
        };
        *kept = Some(Kept { token: token.duplicate(), until });
        Ok(token)
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    async fn log_in(&self) -> Result<Secret<String>, FetchError> {
        let slice = Slice::default();
        let page = Page { slice: &slice, token: None, path: None, injections: &[] };
        let answered = self.asker.ask_boxed(&page).await?;
        let path = &self.authenticator.session_token_path;
        let body: Value = serde_json::from_slice(&answered.answer.body).unwrap_or_default();
        let found = FieldPath::new(path.iter().cloned()).get(&body).map_err(|source| ReadingError::Records { source });
        let found = found.map_err(|source| reading(self.order, source))?;
        let token = found.filter(|token| !token.is_null() && !answered.ignored).map(|token| Secret::new(python_text(token)));
        token.ok_or_else(|| FetchError::Answer {
            method: answered.exchange.method.clone(),
            url: answered.exchange.url.clone(),
            source: Box::new(ReadingError::NoSessionToken { path: path.join(".") }),
        })
    }
}

/// The session of a `LegacySessionTokenAuthenticator`.
pub(super) struct LegacySession<'a> {
    order: &'a StreamOrder,
    login: LegacyLogin,
    session: Arc<Session>,
}

impl<'a> LegacySession<'a> {
    pub fn new(order: &'a StreamOrder, login: LegacyLogin) -> Self {
        let token = login.token.as_ref().map(|token| token.expose().as_str());
        let credentials = login.credentials.as_ref().map(|(name, password)| (name.expose(), password.expose()));
        let words = format!("{} {} {} {token:?} {credentials:?}", login.header, login.validate_url, login.login_url);
        let session = order.access.sessions().session(Digest::of(words.as_bytes()));
        LegacySession { order, login, session }
    }

    /// The configuration's token while it is good, else one that name and password buy.
    pub async fn token(&self) -> Result<Secret<String>, FetchError> {
        let now = self.order.clock.now();
        let mut kept = self.session.kept.lock().await;
        if let Some(token) = Session::good(&kept, now) {
            return Ok(token);
        }
        let token = match &self.login.token {
            Some(token) if self.is_good(token).await? => token.duplicate(),
            _ => self.log_in().await?,
        };
        *kept = Some(Kept { token: token.duplicate(), until: now.checked_add(LEGACY_LIFETIME).ok() });
        Ok(token)
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    async fn is_good(&self, token: &Secret<String>) -> Result<bool, FetchError> {
        let request = Request::new(Method::GET, self.url(&self.login.validate_url)?);
        let request = request.with_header(&self.login.header, token.duplicate());
        let answer = self.send(request).await?;
        match answer.status {
            401 => Ok(false),
            _ if answer.is_success() => Ok(true),
            _ => Err(answer.refusal()),
        }
    }

    async fn log_in(&self) -> Result<Secret<String>, FetchError> {
        let Some((name, password)) = &self.login.credentials else { return Err(reading(self.order, ReadingError::NoLogin)) };
        let body = serde_json::json!({ "username": name.expose(), "password": password.expose() });
        let mut request = Request::new(Method::POST, self.url(&self.login.login_url)?);
        request.body = Body::Bytes { content_type: "application/json".into(), bytes: body.to_string().into(), secret: true };
        let answer = self.send(request).await?;
        if !answer.is_success() {
            return Err(answer.refusal());
        }
        let key = &self.login.response_key;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = body.get(key).filter(|token| !token.is_null()).map(|token| Secret::new(python_text(token)));
        token.ok_or_else(|| FetchError::Answer {
            method: answer.method.clone(),
            url: answer.url_recorded.clone(),
            source: Box::new(ReadingError::NoSessionToken { path: key.clone() }),
        })
    }

    async fn send(&self, mut request: Request) -> Result<Incoming, FetchError> {
        let order = self.order;
        request.credential_hosts = Some(order.hosts.clone());
        request.hidden = order.access.secrets(None);
        order.budget.acquire(&order.permit).await?;
        order.count_request();
        let outcome = order.client.send(&request, &order.hosts, &order.permit).await;
        order.count_outcome(&outcome);
        outcome
    }

    fn url(&self, text: &str) -> Result<Url, FetchError> {
        Url::parse(text).map_err(|_| reading(self.order, ReadingError::Address { text: crate::ids::cut(text) }))
    }
}

fn reading(order: &StreamOrder, source: ReadingError) -> FetchError {
    FetchError::Reading { stream: order.stream.clone(), source: Box::new(source) }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
