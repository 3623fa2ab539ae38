//! Renewal of access tokens: one at a time per connection, durable before first use, never blindly repeated.
//!
//! Before a refresh token is sent, the credential is marked ([`Renewal`]), durably. So a lost answer is known as such even
//! after a crash: the old access token is tried first, and only when the application refuses that, the refresh token is
//! sent once more. If that is refused or lost too, the connection needs its customer.
//!
//! A renewal runs as a task of its own, so that a caller who goes away does not lose the answer for the others; the
//! permit ends it when the gate closes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::connection::credential::Renewal;
use crate::connection::credential::Tokens;
use crate::connection::gate::GateClosed;
use crate::connection::gate::Permit;
use crate::ids::ConnectionKey;
use crate::secret::Secret;
use crate::store::Epoch;

use super::AuthorizationError;
use super::call::Call;
use super::error::Cause;
use super::manifest_request::LIFETIME_DEFAULT;
use super::manifest_request::ManifestRequest;
use super::provider::Provider;
use super::revocation_endpoint;
use super::wire::Wire;

/// After a failure that changed nothing, no further attempt is made for this long by the same run.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A credential as a renewal needs it.
#[derive(Debug)]
pub struct Held {
    /// Changed by every write; compared by [`Keeper::replace`].
    pub generation: u64,
    /// The tokens; `None` when there are none yet (a grant of the client's own).
    pub tokens: Option<Tokens>,
    /// How far the refresh token has been used.
    pub renewal: Renewal,
}

/// A write to a credential.
#[derive(Debug)]
pub enum Change<'a> {
    /// The refresh token is about to be used, or was not after all.
    Renewal(Renewal),
    /// New tokens; the renewal is settled.
    Tokens(&'a Tokens),
}

/// Why a credential was not read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeeperError {
    /// The gate closed.
    #[error("the connection's gate is closed")]
    Closed,
    /// Another write came first.
    #[error("the credential has changed meanwhile")]
    Changed,
    /// The store or the vault failed.
    #[error("the credential cannot be kept")]
    Failed {
        /// Why.
        #[source]
        source: Cause,
    },
}

/// Where credentials are kept.
pub trait Keeper: Send + Sync {
    /// Reads the credential.
    ///
    /// # Errors
    /// [`KeeperError`].
    fn load<'a>(&'a self, permit: &'a Permit) -> BoxFuture<'a, Result<Held, KeeperError>>;

    /// Writes, if the generation is still this one and the permit's gate still open at its epoch. When it returns the
    /// change is durable; it answers the new generation.
    ///
    /// # Errors
    /// [`KeeperError`]; nothing is written then.
    fn replace<'a>(&'a self, permit: &'a Permit, generation: u64, change: Change<'a>) -> BoxFuture<'a, Result<u64, KeeperError>>;
}

/// How new tokens are had.
pub enum Source {
    /// The connector's authorization: a refresh token.
    Provider(Provider),
    /// The connector's authorization: a grant of the client's own.
    ClientCredentials(Provider),
    /// A manifest's own authenticator.
    Manifest(ManifestRequest),
}

impl Source {
    /// Whether a renewal spends a refresh token, so that it must not be repeated blindly.
    fn spends_refresh_token(&self) -> bool {
        match self {
            Source::Provider(_) => true,
            Source::ClientCredentials(_) => false,
            Source::Manifest(request) => request.plan.refresh_token_field.is_some(),
        }
    }

    /// The refresh token that a credential without tokens begins with.
    fn configured_refresh_token(&self) -> Option<&Secret<String>> {
        match self {
            Source::Provider(_) | Source::ClientCredentials(_) => None,
            Source::Manifest(request) => request.configured_refresh_token(),
        }
    }

    /// The tokens that a credential without tokens begins with.
    fn configured_tokens(&self) -> Option<Tokens> {
        match self {
            Source::Provider(_) | Source::ClientCredentials(_) => None,
            Source::Manifest(request) => request.configured_tokens(),
        }
    }

    fn provider(&self) -> Option<&Provider> {
        match self {
            Source::Provider(provider) | Source::ClientCredentials(provider) => Some(provider),
            Source::Manifest(_) => None,
        }
    }

    async fn ask(&self, refresh_token: Option<&Secret<String>>, call: &Call<'_>) -> Result<Tokens, AuthorizationError> {
        match (self, refresh_token) {
            (Source::Provider(provider), Some(token)) => provider.refresh(token, call).await,
            (Source::Provider(_), None) => {
                let why = "its access token is refused and it has no refresh token".to_owned();
                Err(AuthorizationError::NeedsReauthorization { owner: call.permit.owner(), why })
            }
            (Source::ClientCredentials(provider), _) => provider.client_credentials(call).await,
            (Source::Manifest(request), token) => {
                let owner = call.permit.owner();
                // Only an assertion can fail here: by the key of the configuration.
                let written = request.write(token, call.clock.now());
                let written = written.map_err(|source| AuthorizationError::Unusable { owner, source: Arc::new(source) })?;
                call.post(written, &request.names(), Some(LIFETIME_DEFAULT), &request.plan.refusal).await
            }
        }
    }
}

/// An access token for one request.
pub struct Grant {
    token: Secret<String>,
    generation: u64,
    after_refusal: bool,
}

impl Grant {
    /// The access token. Where it goes is the manifest's business.
    pub fn token(&self) -> &Secret<String> {
        &self.token
    }

    /// The generation of the credential that it is part of.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grant(..)")
    }
}

/// The renewers of all connections; a connection without a run under way costs nothing.
#[derive(Clone)]
pub struct Renewers {
    keeper: Arc<dyn Keeper>,
    clock: Clock,
    pause: Duration,
    is_early: bool,
    slots: Arc<Mutex<HashMap<ConnectionKey, Weak<Slot>>>>,
}

/// What all callers of one connection share.
struct Slot {
    epoch: Epoch,
    turn: Arc<tokio::sync::Mutex<()>>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    held: Option<Arc<Held>>,
    /// How many renewals have ended, and how the last one did.
    ended: u64,
    failure: Option<(AuthorizationError, Instant)>,
}

/// Gives one connection its access tokens, for as long as its permit is good.
#[derive(Clone)]
pub struct Renewer {
    slot: Arc<Slot>,
    keeper: Arc<dyn Keeper>,
    source: Arc<Source>,
    wire: Arc<dyn Wire>,
    permit: Permit,
    clock: Clock,
    pause: Duration,
    is_early: bool,
}

impl Renewers {
    /// Over the place where credentials are kept.
    pub fn new(keeper: Arc<dyn Keeper>, clock: Clock) -> Self {
        Self { keeper, clock, pause: PAUSE_AFTER_FAILURE, is_early: true, slots: Arc::default() }
    }

    /// Without a pause after a failure, nor the one that the endpoint asks for: where waits are skipped.
    #[must_use]
    pub fn without_pause(self) -> Self {
        Self { pause: Duration::ZERO, ..self }
    }

    /// Without renewing a token before its end, as the reference engine does not.
    #[must_use]
    pub fn without_margin(self) -> Self {
        Self { is_early: false, ..self }
    }

    /// The renewer of the permit's connection. All that are alive at once share one flight.
    pub fn of(&self, permit: &Permit, source: Arc<Source>, wire: Arc<dyn Wire>) -> Renewer {
        let mut slots = locked(&self.slots);
        let present = slots.get(&permit.owner()).and_then(Weak::upgrade).filter(|slot| slot.epoch == permit.epoch());
        let slot = present.unwrap_or_else(|| {
            slots.retain(|_, slot| slot.strong_count() > 0);
            let slot = Arc::new(Slot { epoch: permit.epoch(), turn: Arc::default(), shared: Mutex::default() });
            slots.insert(permit.owner(), Arc::downgrade(&slot));
            slot
        });
        Renewer {
            slot,
            keeper: Arc::clone(&self.keeper),
            source,
            wire,
            permit: permit.clone(),
            clock: self.clock.clone(),
            pause: self.pause,
            is_early: self.is_early,
        }
    }
}

/// Why a renewal is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The token ends soon, or there is none.
    Due,
    /// The application refused it.
    Refused,
}

impl Renewer {
    /// A token for the next request, renewed if it is due.
    ///
    /// # Errors
    /// [`AuthorizationError`]; [`AuthorizationError::is_transient`] says whether the run may come back later.
    pub async fn token(&self) -> Result<Grant, AuthorizationError> {
        let (seen, held) = self.held().await?;
        if let Some(grant) = self.usable(&held) {
            return Ok(grant);
        }
        if let Err(error) = self.renew(seen, Reason::Due, held.generation).await {
            return self.fallback(error);
        }
        // Not judged again: an application that issues tokens without a lifetime would be asked for ever.
        let (_, held) = self.held().await?;
        with_access_token(&held).map(|tokens| granted(tokens, held.generation, false)).ok_or_else(|| self.lost("no token was issued"))
    }

    /// A token for the repetition of a request whose token was refused with 401: another caller's newer one, or a renewed
    /// one.
    ///
    /// # Errors
    /// [`AuthorizationError::NeedsReauthorization`] when that was a renewed token already, when there is nothing to renew
    /// by, or when the renewal is refused.
    pub async fn refused(&self, grant: &Grant) -> Result<Grant, AuthorizationError> {
        if grant.after_refusal {
            return Err(self.lost("a token is refused that was renewed just before"));
        }
        loop {
            let (seen, held) = self.held().await?;
            let renewed = with_access_token(&held).filter(|tokens| tokens.access_token.expose() != grant.token.expose());
            if let Some(tokens) = renewed {
                return Ok(granted(tokens, held.generation, true));
            }
            self.renew(seen, Reason::Refused, held.generation).await?;
        }
    }

    /// The credential, read once per run, and how many renewals had ended by then.
    async fn held(&self) -> Result<(u64, Arc<Held>), AuthorizationError> {
        if self.permit.is_cancelled() {
            return Err(self.closed());
        }
        {
            let shared = locked(&self.slot.shared);
            if let Some(held) = &shared.held {
                return Ok((shared.ended, Arc::clone(held)));
            }
        }
        let mut held = self.keeper.load(&self.permit).await.map_err(|error| self.keeping(error))?;
        if held.tokens.is_none() {
            held.tokens = self.source.configured_tokens();
        }
        let held = Arc::new(held);
        let mut shared = locked(&self.slot.shared);
        Ok((shared.ended, Arc::clone(shared.held.get_or_insert(held))))
    }

    /// The held token, if it is to be used without a renewal. While a refresh token's use is unsettled, the old access
    /// token is used even past its end: the application may know better.
    fn usable(&self, held: &Held) -> Option<Grant> {
        let tokens = with_access_token(held)?;
        let renewable = !self.source.spends_refresh_token() || tokens.refresh_token.is_some();
        let now = self.clock.now();
        let is_due = if self.is_early { tokens.is_due(now) } else { tokens.is_past(now) };
        let wanted = is_due && renewable && held.renewal == Renewal::Settled;
        (!wanted).then(|| granted(tokens, held.generation, false))
    }

    /// When a due renewal fails without harm, a token that has not ended yet is still good; when its outcome is unknown,
    /// the old one is tried.
    fn fallback(&self, error: AuthorizationError) -> Result<Grant, AuthorizationError> {
        let held = locked(&self.slot.shared).held.clone();
        let kept = held.as_deref().and_then(|held| Some((with_access_token(held)?, held.generation)));
        let unknown = matches!(error, AuthorizationError::OutcomeUnknown { .. });
        match kept {
            Some((tokens, generation)) if error.is_transient() && (unknown || !tokens.is_past(self.clock.now())) => {
                Ok(granted(tokens, generation, false))
            }
            _ => Err(error),
        }
    }

    /// Waits for the renewal under way, or makes one. Returns when the held credential has changed, or why not.
    async fn renew(&self, seen: u64, reason: Reason, generation: u64) -> Result<(), AuthorizationError> {
        let turn = tokio::select! {
            biased;
            () = self.permit.cancelled() => return Err(self.closed()),
            turn = Arc::clone(&self.slot.turn).lock_owned() => turn,
        };
        {
            let shared = locked(&self.slot.shared);
            let failed = shared.failure.as_ref().filter(|(_, until)| shared.ended != seen || Instant::now() < *until);
            if let Some((error, _)) = failed {
                return Err(error.clone());
            }
            if shared.held.as_ref().is_none_or(|held| held.generation != generation) {
                return Ok(());
            }
        }
        let flight = self.clone();
        tokio::spawn(flight.fly(turn, reason)).await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// The one renewal. Holds the turn to its end, whoever waits. What is held is published at its end only: a caller who
    /// comes meanwhile must wait, not take a mark for a lost answer.
    async fn fly(self, turn: OwnedMutexGuard<()>, reason: Reason) -> Result<(), AuthorizationError> {
        let held = locked(&self.slot.shared).held.clone();
        let (held, outcome) = match held {
            Some(held) => self.attempt(held, reason).await,
            None => (None, Err(self.closed())),
        };
        let mut shared = locked(&self.slot.shared);
        shared.ended += 1;
        shared.held = held;
        shared.failure = outcome.as_ref().err().map(|error| {
            let pause = match error {
                AuthorizationError::Busy { retry_after: Some(asked), .. } if !self.pause.is_zero() => (*asked).max(self.pause),
                _ => self.pause,
            };
            (error.clone(), Instant::now() + pause)
        });
        drop(shared);
        drop(turn);
        outcome
    }

    /// Marks, asks and keeps. Answers what is held afterwards; `None` when that must be read anew.
    async fn attempt(&self, held: Arc<Held>, reason: Reason) -> (Option<Arc<Held>>, Result<(), AuthorizationError>) {
        let mut generation = held.generation;
        let kept = held.tokens.as_ref().and_then(|tokens| tokens.refresh_token.as_ref());
        let refresh_token = kept.or_else(|| self.source.configured_refresh_token());
        // Without an old access token there is nothing to try first.
        let reason = if with_access_token(&held).is_some() { reason } else { Reason::Refused };
        let spends = self.source.spends_refresh_token() && refresh_token.is_some();
        let mut renewal = held.renewal;
        if spends {
            renewal = match (held.renewal, reason) {
                (Renewal::Settled, _) => Renewal::Unknown,
                (Renewal::Unknown, Reason::Refused) => Renewal::TriedAgain,
                (Renewal::Unknown | Renewal::TriedAgain, Reason::Due) => return (Some(held), Ok(())),
                (Renewal::TriedAgain, Reason::Refused) => {
                    let lost = self.lost("two uses of its refresh token have had no answer, and its access token is refused");
                    return (Some(held), Err(lost));
                }
            };
            generation = match self.mark(generation, renewal).await {
                Ok(generation) => generation,
                Err(error) => return (None, Err(error)),
            };
        }
        let call = Call { wire: &*self.wire, permit: &self.permit, clock: &self.clock };
        let error = match self.source.ask(refresh_token, &call).await {
            Ok(tokens) => return self.keep(&held, generation, tokens).await,
            Err(error) => error,
        };
        // Only these leave the refresh token unused for certain, or used without effect: the mark goes back.
        use AuthorizationError::{Busy, NeedsReauthorization, Refused, Unreachable};
        if spends && matches!(error, Unreachable { .. } | Busy { .. } | Refused { .. } | NeedsReauthorization { .. }) {
            renewal = held.renewal;
            generation = match self.mark(generation, renewal).await {
                Ok(generation) => generation,
                Err(error) => return (None, Err(error)),
            };
        }
        let tokens = held.tokens.as_ref().map(Tokens::duplicate);
        (Some(Arc::new(Held { generation, tokens, renewal })), Err(self.judged(error)))
    }

    async fn mark(&self, generation: u64, renewal: Renewal) -> Result<u64, AuthorizationError> {
        let marked = self.keeper.replace(&self.permit, generation, Change::Renewal(renewal)).await;
        marked.map_err(|error| self.keeping(error))
    }

    /// Makes new tokens durable. Tokens that may not be kept are revoked at the application: nobody else knows of them.
    async fn keep(&self, old: &Held, generation: u64, tokens: Tokens) -> (Option<Arc<Held>>, Result<(), AuthorizationError>) {
        let tokens = match &old.tokens {
            Some(old) => tokens.succeeding(old),
            None => tokens,
        };
        match self.keeper.replace(&self.permit, generation, Change::Tokens(&tokens)).await {
            Ok(generation) => (Some(Arc::new(Held { generation, tokens: Some(tokens), renewal: Renewal::Settled })), Ok(())),
            Err(error) => {
                if let Some(provider) = self.source.provider().filter(|provider| provider.revoke_url.is_some()) {
                    let revoked = revocation_endpoint::revoke(provider, &tokens, &*self.wire).await;
                    tracing::warn!(
                        connection = %self.permit.owner(),
                        revoked = revoked.is_ok(),
                        "renewed tokens could not be kept and were given back to the application"
                    );
                }
                (None, Err(self.keeping(error)))
            }
        }
    }

    /// A refusal by the token endpoint: of the customer's authorization, or of our registration. RFC 6749 section 5.2 has
    /// codes for the second, and a status such as 404 or a redirect says that this is no token endpoint at all.
    fn judged(&self, error: AuthorizationError) -> AuthorizationError {
        match error {
            AuthorizationError::Refused { code, status: status @ (200 | 400 | 401 | 403), .. }
                if !REGISTRATION_FAULTS.contains(&code.as_str()) =>
            {
                self.lost(&format!("the token endpoint answered `{code}`, status {status}"))
            }
            other => other,
        }
    }

    fn lost(&self, why: &str) -> AuthorizationError {
        AuthorizationError::NeedsReauthorization { owner: self.permit.owner(), why: why.to_owned() }
    }

    fn closed(&self) -> AuthorizationError {
        AuthorizationError::Closed { source: GateClosed { owner: self.permit.owner() } }
    }

    fn keeping(&self, error: KeeperError) -> AuthorizationError {
        match error {
            KeeperError::Closed => self.closed(),
            other => AuthorizationError::Keeping { owner: self.permit.owner(), source: Arc::new(other) },
        }
    }
}

/// Error codes of RFC 6749 section 5.2 that are not about the customer's authorization.
const REGISTRATION_FAULTS: [&str; 5] =
    ["invalid_client", "invalid_request", "invalid_scope", "unsupported_grant_type", "unauthorized_client"];

/// The tokens, if there is an access token among them.
fn with_access_token(held: &Held) -> Option<&Tokens> {
    held.tokens.as_ref().filter(|tokens| !tokens.access_token.expose().is_empty())
}

fn granted(tokens: &Tokens, generation: u64, after_refusal: bool) -> Grant {
    Grant { token: tokens.access_token.duplicate(), generation, after_refusal }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
