//! The authorization code flow with PKCE: a link goes out, a callback comes back once.
//!
//! **Invariant**: a callback leads to a token request only after its pending state has been found by the digest of a
//! 256-bit state, is younger than ten minutes, names the right issuer, and has been taken durably, so that no second
//! callback finds it.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::Map;
use serde_json::Value;
use url::Url;

use crate::clock;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::credential::Tokens;
use crate::connection::gate::Permit;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::secret::Secret;

use super::AuthorizationError;
use super::call::Call;
use super::error::Cause;
use super::provider::Provider;
use super::tokens::legible;
use super::wire::Wire;

/// How long a customer may take between the link and the callback.
pub const PENDING_MAX: SignedDuration = SignedDuration::from_secs(600);

/// What is remembered between the link and the callback, under the digest of its state. The verifier is kept sealed.
#[derive(Debug)]
pub struct Pending {
    /// Whose authorization.
    pub owner: ConnectionKey,
    /// The PKCE verifier (RFC 7636), unless the connector turns PKCE off.
    pub verifier: Option<Secret<String>>,
    /// The redirect URI that the link named; the exchange repeats it.
    pub redirect_uri: Url,
    /// When a callback comes too late.
    pub expires_at: Timestamp,
}

/// Where pending authorizations are kept.
pub trait PendingStore: Send + Sync {
    /// Reads one by the digest of its state; an expired one may be missing.
    ///
    /// # Errors
    /// When the store fails.
    fn find(&self, state: Digest) -> BoxFuture<'_, Result<Option<Pending>, Cause>>;

    /// Removes one, durably, and says whether this call was the one that did.
    ///
    /// # Errors
    /// When the store fails.
    fn take(&self, state: Digest) -> BoxFuture<'_, Result<bool, Cause>>;
}

/// A link for the customer, and what to keep before it is shown.
#[derive(Debug)]
pub struct Begun {
    /// Where the customer goes. It holds the state, so it is for the customer alone.
    pub authorize_url: Url,
    /// The key of [`Begun::pending`].
    pub state: Digest,
    /// What to keep under it.
    pub pending: Pending,
}

/// Makes a link. `redirect_uri` is `public_url` + `/oauth/callback`.
///
/// # Errors
/// [`AuthorizationError::Configuration`] when the application has no authorization endpoint.
pub fn begin(
    provider: &Provider,
    owner: ConnectionKey,
    redirect_uri: &Url,
    now: Timestamp,
    entropy: &Entropy,
) -> Result<Begun, AuthorizationError> {
    let state = random(entropy);
    let verifier = provider.pkce.then(|| random(entropy));
    let authorize_url = provider.authorization_url(redirect_uri, &state, verifier.as_ref())?;
    let expires_at = now.checked_add(PENDING_MAX).unwrap_or(Timestamp::MAX);
    let pending = Pending { owner, verifier, redirect_uri: redirect_uri.clone(), expires_at };
    Ok(Begun { authorize_url, state: Digest::of(state.expose().as_bytes()), pending })
}

/// 256 random bits as 43 characters of `A-Z a-z 0-9 - _`: a state, and a verifier as RFC 7636 section 4.1 advises.
fn random(entropy: &Entropy) -> Secret<String> {
    let bytes = Secret::new(entropy.bytes::<32>());
    Secret::new(BASE64URL_NOPAD.encode(bytes.expose()))
}

/// The parameters of a callback.
#[derive(Default)]
pub struct Callback {
    state: Option<Secret<String>>,
    code: Option<Secret<String>>,
    error: Option<String>,
    issuer: Option<String>,
    others: Vec<(String, String)>,
}

impl Callback {
    /// From the callback's query. A parameter that comes twice makes the callback one of no known state (RFC 6749
    /// section 3.1 forbids it).
    pub fn read(query: &str) -> Self {
        let mut read = Callback::default();
        let mut seen = std::collections::HashSet::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
            if !seen.insert(name.clone()) {
                return Callback::default();
            }
            match name.as_str() {
                "state" => read.state = Some(Secret::new(value)),
                "code" => read.code = Some(Secret::new(value)),
                "error" => read.error = Some(legible(&value)),
                "iss" => read.issuer = Some(value),
                _ => read.others.push((name, value)),
            }
        }
        read
    }

    fn digest(&self) -> Option<Digest> {
        self.state.as_ref().map(|state| Digest::of(state.expose().as_bytes()))
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("error", &self.error).field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Finds whose callback it is. Sends nothing, changes nothing.
///
/// # Errors
/// [`AuthorizationError::UnknownState`], and [`AuthorizationError::Denied`] when the application says so: then the link
/// stays good for another try until it expires.
pub async fn accept(store: &dyn PendingStore, callback: &Callback, now: Timestamp) -> Result<Pending, AuthorizationError> {
    let state = callback.digest().ok_or(AuthorizationError::UnknownState)?;
    let found = store.find(state).await.map_err(|source| keeping(ConnectionKey { tenant: 0, connection: 0 }, source))?;
    let pending = found.filter(|pending| !clock::is_over(pending.expires_at, PENDING_MAX, now)).ok_or(AuthorizationError::UnknownState)?;
    match &callback.error {
        Some(code) => Err(AuthorizationError::Denied { owner: pending.owner, code: code.clone() }),
        None => Ok(pending),
    }
}

/// What a callback has brought.
#[derive(Debug)]
pub struct Redeemed {
    /// The tokens, to be kept before anything else. When that fails, they are to be given back by
    /// [`super::revocation_endpoint::revoke`]: nobody else knows of them.
    pub tokens: Tokens,
    /// What belongs into the connection's config.
    pub config: Map<String, Value>,
}

/// Uses up the pending authorization and exchanges its code.
///
/// # Errors
/// [`AuthorizationError::Issuer`] and [`AuthorizationError::CodeMissing`] before anything is sent,
/// [`AuthorizationError::UnknownState`] when another callback was quicker, then those of the exchange. After a failed
/// exchange the customer has to begin anew: a code is good for one request, whatever became of it.
pub async fn redeem(
    store: &dyn PendingStore,
    provider: &Provider,
    callback: &Callback,
    pending: &Pending,
    wire: &dyn Wire,
    permit: &Permit,
    clock: &Clock,
) -> Result<Redeemed, AuthorizationError> {
    let owner = pending.owner;
    if let Some(expected) = provider.issuer.as_ref().filter(|expected| callback.issuer.as_ref() != Some(*expected)) {
        return Err(AuthorizationError::Issuer { owner, expected: expected.clone() });
    }
    let code = callback.code.as_ref().ok_or(AuthorizationError::CodeMissing { owner })?;
    let state = callback.digest().ok_or(AuthorizationError::UnknownState)?;
    if owner != permit.owner() || !store.take(state).await.map_err(|source| keeping(owner, source))? {
        return Err(AuthorizationError::UnknownState);
    }
    let call = Call { wire, permit, clock };
    let mut tokens = provider.exchange_code(code.expose(), &pending.redirect_uri, pending.verifier.as_ref(), &call).await?;
    if tokens.scopes.is_empty() {
        // RFC 6749 section 5.1: without a word about scopes, those that were asked for are granted.
        tokens.scopes.clone_from(&provider.scopes);
    }
    let value = |name: &str| callback.others.iter().find(|(other, _)| other == name).map(|(_, value)| Value::from(value.as_str()));
    let config = provider.redirect_params.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect();
    Ok(Redeemed { tokens, config })
}

fn keeping(owner: ConnectionKey, source: Cause) -> AuthorizationError {
    AuthorizationError::Keeping { owner, source }
}
