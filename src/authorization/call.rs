//! One token request: sent by a [`Wire`], settled into success, refusal and overload, and read.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oauth2::AccessToken;
use oauth2::AsyncHttpClient;
use oauth2::HttpRequest;
use oauth2::HttpResponse;
use oauth2::RefreshToken;
use oauth2::RequestTokenError;
use oauth2::Scope;
use oauth2::TokenResponse;
use oauth2::basic::BasicErrorResponse;
use oauth2::basic::BasicTokenType;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde_json::Map;
use serde_json::Value;

use crate::clock::Clock;
use crate::connection::credential::Tokens;
use crate::connection::gate::GateClosed;
use crate::connection::gate::Permit;
use crate::connector::reading::RefreshRefusal;
use crate::ids::ConnectionKey;
use crate::secret::Secret;

use super::AuthorizationError;
use super::tokens::AnswerNames;
use super::tokens::error_code;
use super::tokens::legible;
use super::tokens::object;
use super::wire::Wire;
use super::wire::WireAnswer;
use super::wire::WireError;
use super::wire::WireRequest;

/// One token request: by what, under which gate, at what time.
pub(super) struct Call<'a> {
    pub(super) wire: &'a dyn Wire,
    pub(super) permit: &'a Permit,
    pub(super) clock: &'a Clock,
}

/// What stops a call before the oauth2 crate reads the answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFault {
    #[error(transparent)]
    Wire(WireError),
    #[error("the token endpoint answered with status {status}")]
    Busy { status: u16, retry_after: Option<Duration> },
    #[error("the token endpoint refused with `{code}`")]
    Refused { status: u16, code: String },
}

impl Call<'_> {
    fn owner(&self) -> ConnectionKey {
        self.permit.owner()
    }

    /// Sends for the oauth2 crate, and settles every answer that is not a success.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, CallFault> {
        let unwritable = |source: Box<dyn Error + Send + Sync>| CallFault::Wire(WireError::NotSent { source });
        let (parts, body) = request.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), Secret::new(String::from_utf8_lossy(value.as_bytes()).into_owned())));
        let request = WireRequest {
            url: parts.uri.to_string().parse().map_err(|error| unwritable(Box::new(error)))?,
            headers: headers.collect(),
            body: Secret::new(body),
            hidden: Vec::new(),
        };
        let answer = settle(self.wire.post(request, self.permit).await)?;
        // Whatever success status and content type the application has: the body decides, and the crate wants 200 and JSON.
        let fields = object(answer.body.expose()).map(Value::Object);
        let body = fields.and_then(|fields| serde_json::to_vec(&fields).ok()).unwrap_or_default();
        Ok(HttpResponse::new(body))
    }

    /// Posts a request that the oauth2 crate cannot write, and reads the answer by `names`.
    pub(super) async fn post(
        &self,
        request: WireRequest,
        names: &AnswerNames,
        lifetime_default: Option<Duration>,
        refusal: &RefreshRefusal,
    ) -> Result<Tokens, AuthorizationError> {
        let outcome = self.wire.post(request, self.permit).await;
        if let Ok(answer) = &outcome
            && refusal.is_said_by(answer.status, answer.body.expose())
        {
            let why = format!("the token endpoint refuses its refresh token with status {}", answer.status);
            return Err(AuthorizationError::NeedsReauthorization { owner: self.owner(), why });
        }
        let answer = settle(outcome).map_err(|fault| self.settled(fault))?;
        Tokens::read(answer.body.expose(), names, lifetime_default, self.clock.now())
            .map_err(|what| AuthorizationError::OutcomeUnknown { owner: self.owner(), source: Arc::new(Unreadable(what)) })
    }

    pub(super) fn fault(&self, error: RequestTokenError<CallFault, BasicErrorResponse>) -> AuthorizationError {
        match error {
            RequestTokenError::Request(fault) => self.settled(fault),
            RequestTokenError::ServerResponse(answer) => {
                self.settled(CallFault::Refused { status: 400, code: legible(answer.error().as_ref()) })
            }
            // The crate's own texts may hold the body, so they go no further.
            RequestTokenError::Parse(..) => self.unreadable("the answer holds no access token"),
            RequestTokenError::Other(_) => self.unreadable("the answer is empty"),
        }
    }

    fn unreadable(&self, what: &'static str) -> AuthorizationError {
        AuthorizationError::OutcomeUnknown { owner: self.owner(), source: Arc::new(Unreadable(what)) }
    }

    fn settled(&self, fault: CallFault) -> AuthorizationError {
        let owner = self.owner();
        match fault {
            CallFault::Wire(WireError::NotSent { source }) => AuthorizationError::Unreachable { owner, source: source.into() },
            CallFault::Wire(WireError::Lost { source }) => AuthorizationError::OutcomeUnknown { owner, source: source.into() },
            CallFault::Wire(WireError::Closed) => AuthorizationError::Closed { source: GateClosed { owner } },
            CallFault::Busy { status, retry_after } => AuthorizationError::Busy { owner, status, retry_after },
            CallFault::Refused { status, code } => AuthorizationError::Refused { owner, status, code },
        }
    }
}

/// The oauth2 crate's HTTP client. A closure would do, but not one whose future is known to be `Send` for every lifetime.
impl<'c> AsyncHttpClient<'c> for Call<'_> {
    type Error = CallFault;
    type Future = BoxFuture<'c, Result<HttpResponse, CallFault>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.send(request).boxed()
    }
}

/// A success that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreadable(&'static str);

/// Tells success, refusal and overload apart, whatever the status says: some refuse with 200 and an `error` field.
fn settle(outcome: Result<WireAnswer, WireError>) -> Result<WireAnswer, CallFault> {
    let answer = outcome.map_err(CallFault::Wire)?;
    let code = error_code(answer.body.expose());
    match (answer.status, code) {
        (status @ (408 | 425 | 429 | 500..=599), _) => Err(CallFault::Busy { status, retry_after: answer.retry_after }),
        (status, Some(code)) => Err(CallFault::Refused { status, code }),
        (200..=299, None) => Ok(answer),
        (status, None) => Err(CallFault::Refused { status, code: "none given".into() }),
    }
}

/// A success, as the oauth2 crate sees it. The fields are read by [`Tokens::of`]; it is never written anywhere.
pub(super) struct Answer {
    fields: Map<String, Value>,
    access_token: AccessToken,
    token_type: BasicTokenType,
}

impl Answer {
    /// The tokens, issued now.
    pub(super) fn tokens(self, call: &Call<'_>) -> Result<Tokens, AuthorizationError> {
        Tokens::of(self.fields, &AnswerNames::default(), None, call.clock.now()).map_err(|what| call.unreadable(what))
    }
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        let access_token = fields.get("access_token").and_then(Value::as_str).map(|token| AccessToken::new(token.to_owned()));
        let access_token = access_token.ok_or_else(|| serde::de::Error::custom("no access token"))?;
        let token_type = fields.get("token_type").and_then(Value::as_str).unwrap_or("bearer").to_ascii_lowercase();
        let token_type = if token_type == "bearer" { BasicTokenType::Bearer } else { BasicTokenType::Extension(token_type) };
        Ok(Self { fields, access_token, token_type })
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("tokens are not written"))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}
