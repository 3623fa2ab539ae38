//! Access tokens that live as long as the process: what a manifest's OAuth authenticator asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::airbyte::Options;
use crate::airbyte::Outlet;
use crate::airbyte::message;
use crate::airbyte::source::Config;
use crate::authorization::error::Cause;
use crate::authorization::manifest_request::ManifestRequest;
use crate::authorization::renewal::Change;
use crate::authorization::renewal::Held;
use crate::authorization::renewal::Keeper;
use crate::authorization::renewal::KeeperError;
use crate::authorization::renewal::Renewer;
use crate::authorization::renewal::Renewers;
use crate::authorization::renewal::Source;
use crate::clock::Clock;
use crate::connection::credential::Renewal;
use crate::connection::credential::Tokens;
use crate::connection::gate::Permit;
use crate::connector::component::authenticator::OAuthAuthenticator;
use crate::connector::expression::Scope;
use crate::connector::path::FieldPath;
use crate::connector::reading::Compat;
use crate::connector::reading::ReadingError;
use crate::connector::reading::TokenPlan;
use crate::fetch::client::Client;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::token_wire::TokenWire;
use crate::fetch::wait::Waits;
use crate::secret::Secret;

/// The access tokens of a reading. Streams whose authenticators ask for the same share one.
pub(super) struct AccessTokens {
    compat: Compat,
    clock: Clock,
    waits: Waits,
    outlet: Outlet,
    /// The configuration with every token that was renewed, once one was.
    written_back: Arc<Mutex<Option<Value>>>,
    of: Mutex<HashMap<Vec<u8>, Renewers>>,
}

impl AccessTokens {
    /// Tokens that are handed back go to `outlet`.
    pub fn new(options: &Options, waits: Waits, outlet: Outlet) -> Self {
        let (compat, clock) = (options.compat, options.clock.clone());
        AccessTokens { compat, clock, waits, outlet, written_back: Arc::default(), of: Mutex::default() }
    }

    /// What gives the streams of `oauth` their tokens; nothing when it has no endpoint. `scope` has `config`.
    ///
    /// # Errors
    /// When the authenticator cannot be evaluated.
    pub fn renewer(
        &self,
        oauth: &OAuthAuthenticator,
        config: &Config,
        scope: &Scope,
        client: &Client,
        permit: &Permit,
    ) -> Result<Option<Renewer>, ReadingError> {
        let Some(plan) = TokenPlan::new(oauth, &config.value, scope)? else { return Ok(None) };
        let key = asked(&plan);
        let request = ManifestRequest { plan, hidden: config.secrets.iter().map(Secret::duplicate).collect() };
        let wire = Arc::new(TokenWire::new(client.clone(), AllowedHosts::of_urls([request.url()])));
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let renewers = of.entry(key).or_insert_with(|| self.renewers(oauth, &config.kept));
        Ok(Some(renewers.of(permit, Arc::new(Source::Manifest(request)), wire)))
    }

    fn renewers(&self, oauth: &OAuthAuthenticator, kept: &Value) -> Renewers {
        let write_back = oauth.refresh_token_updater.as_ref().map(|updater| WriteBack {
            access_token: FieldPath::new(updater.access_token_config_path.iter().cloned()),
            refresh_token: FieldPath::new(updater.refresh_token_config_path.iter().cloned()),
            expiry_date: FieldPath::new(updater.token_expiry_date_config_path.iter().cloned()),
            before: kept.clone(),
            written_back: self.written_back.clone(),
            clock: self.clock.clone(),
            outlet: self.outlet.clone(),
        });
        let renewers = Renewers::new(Arc::new(Memory { kept: Mutex::default(), write_back }), self.clock.clone());
        let renewers = if self.waits == Waits::Skipped { renewers.without_pause() } else { renewers };
        if self.compat == Compat::Strict { renewers.without_margin() } else { renewers }
    }
}

/// What a token request asks, told apart from others. It is not printed.
fn asked(plan: &TokenPlan) -> Vec<u8> {
    let mut key = plan.url.as_str().as_bytes().to_vec();
    for (name, value) in plan.headers.iter().chain(&plan.form) {
        for part in [name, value.expose()] {
            key.push(0);
            key.extend_from_slice(part.as_bytes());
        }
    }
    crate::digest::Digest::of(&key).to_bytes().to_vec()
}

/// How renewed tokens are handed back: in the configuration, in a message to whoever keeps it. A refresh token may be good for one
/// use only, and nobody but he has the next one then.
struct WriteBack {
    access_token: FieldPath,
    refresh_token: FieldPath,
    expiry_date: FieldPath,
    before: Value,
    written_back: Arc<Mutex<Option<Value>>>,
    clock: Clock,
    outlet: Outlet,
}

impl WriteBack {
    fn tokens(&self, tokens: &Tokens) -> Result<(), KeeperError> {
        let failed = |source: Cause| KeeperError::Failed { source };
        let mut written_back = self.written_back.lock().unwrap_or_else(PoisonError::into_inner);
        let config = written_back.get_or_insert_with(|| self.before.clone());
        let refresh_token = tokens.refresh_token.as_ref().map(|token| (&self.refresh_token, token.expose().clone()));
        // As the reference engine writes it, which reads it again.
        let expiry_date = tokens.expires_at.map(|end| (&self.expiry_date, end.strftime("%Y-%m-%dT%H:%M:%S%.f+00:00").to_string()));
        let access_token = Some((&self.access_token, tokens.access_token.expose().clone()));
        for (path, text) in [access_token, refresh_token, expiry_date].into_iter().flatten() {
            path.set(config, text.into()).map_err(|error| failed(Arc::new(error)))?;
        }
        self.outlet.message(&message::control(config, self.clock.now())).map_err(|error| failed(Arc::new(error)))
    }
}

/// A credential that is nowhere but here, and with the client if the manifest wants that.
struct Memory {
    kept: Mutex<Kept>,
    write_back: Option<WriteBack>,
}

#[derive(Default)]
struct Kept {
    generation: u64,
    tokens: Option<Tokens>,
    renewal: Renewal,
}

impl Keeper for Memory {
    fn load<'a>(&'a self, _: &'a Permit) -> BoxFuture<'a, Result<Held, KeeperError>> {
        async {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Held { generation: kept.generation, tokens: kept.tokens.as_ref().map(Tokens::duplicate), renewal: kept.renewal })
        }
        .boxed()
    }

    fn replace<'a>(&'a self, _: &'a Permit, generation: u64, change: Change<'a>) -> BoxFuture<'a, Result<u64, KeeperError>> {
        async move {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.generation != generation {
                return Err(KeeperError::Changed);
            }
            kept.generation += 1;
            match change {
                Change::Renewal(renewal) => kept.renewal = renewal,
                Change::Tokens(tokens) => {
                    if let Some(write_back) = &self.write_back {
                        write_back.tokens(tokens)?;
                    }
                    kept.tokens = Some(tokens.duplicate());
                    kept.renewal = Renewal::Settled;
                }
            }
            Ok(kept.generation)
        }
        .boxed()
    }
}
