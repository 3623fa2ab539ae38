//! Access tokens that live as long as the process: what a manifest's OAuth authenticator asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

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
use crate::connector::reading::ReadingError;
use crate::connector::reading::TokenPlan;
use crate::fetch::client::Client;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::token_wire::TokenWire;
use crate::fetch::wait::Waits;
use crate::secret::Secret;

/// The access tokens of a reading. Streams whose authenticators ask for the same share one.
pub(super) struct AccessTokens {
    clock: Clock,
    waits: Waits,
    of: Mutex<HashMap<Vec<u8>, Renewers>>,
}

impl AccessTokens {
    pub fn new(clock: Clock, waits: Waits) -> Self {
        AccessTokens { clock, waits, of: Mutex::default() }
    }

    /// What gives the streams of `oauth` their tokens; nothing when it has no endpoint. `scope` has `config`.
    ///
    /// # Errors
    /// When the authenticator cannot be evaluated.
    pub fn renewer(
        &self,
        oauth: &OAuthAuthenticator,
        config: &Value,
        scope: &Scope,
        secrets: &[Secret<String>],
        client: &Client,
        permit: &Permit,
    ) -> Result<Option<Renewer>, ReadingError> {
        let Some(plan) = TokenPlan::new(oauth, config, scope)? else { return Ok(None) };
        let key = asked(&plan);
        let request = ManifestRequest { plan, hidden: secrets.iter().map(Secret::duplicate).collect() };
        let wire = Arc::new(TokenWire::new(client.clone(), AllowedHosts::of_urls([request.url()])));
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let renewers = of.entry(key).or_insert_with(|| {
            let renewers = Renewers::new(Arc::new(Memory::default()), self.clock.clone());
            if self.waits == Waits::Skipped { renewers.without_pause() } else { renewers }
        });
        Ok(Some(renewers.of(permit, Arc::new(Source::Manifest(request)), wire)))
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

/// A credential that is nowhere but here.
#[derive(Default)]
struct Memory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    generation: u64,
    tokens: Option<Tokens>,
    renewal: Renewal,
}

impl Keeper for Memory {
    fn load<'a>(&'a self, _: &'a Permit) -> BoxFuture<'a, Result<Held, KeeperError>> {
        async {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Held { generation: kept.generation, tokens: kept.tokens.as_ref().map(Tokens::duplicate), renewal: kept.renewal })
        }
        .boxed()
    }

    fn replace<'a>(&'a self, _: &'a Permit, generation: u64, change: Change<'a>) -> BoxFuture<'a, Result<u64, KeeperError>> {
        async move {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.generation != generation {
                return Err(KeeperError::Changed);
            }
            kept.generation += 1;
            match change {
                Change::Renewal(renewal) => kept.renewal = renewal,
                Change::Tokens(tokens) => {
                    kept.tokens = Some(tokens.duplicate());
                    kept.renewal = Renewal::Settled;
                }
            }
            Ok(kept.generation)
        }
        .boxed()
    }
}
