//! How the tokens of a connector are had: its endpoints, this gateway's registration there, and the wire between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use crate::authorization::AuthorizationError;
use crate::authorization::manifest_request::ManifestRequest;
use crate::authorization::provider::Provider;
use crate::authorization::renewal::Renewer;
use crate::authorization::renewal::Renewers;
use crate::authorization::renewal::Source;
use crate::authorization::wire::Wire;
use crate::clock::Clock;
use crate::connection::gate::Permit;
use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::authenticator::OAuthAuthenticator;
use crate::connector::component::requester::HttpRequester;
use crate::connector::definition::Connector;
use crate::connector::definition::ConnectorError;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::reading::ReadingError;
use crate::connector::reading::TokenPlan;
use crate::connector::reading::chosen;
use crate::connector::treatment::AuthorizationKind;
use crate::fetch::client::Client;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::egress::EgressError;
use crate::fetch::egress::Rewrites;
use crate::fetch::stream::ConnectionSessions;
use crate::fetch::stream::Sessions;
use crate::fetch::token_wire::TokenWire;
use crate::secret::Secret;

/// Why the tokens of a connector cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    /// The operator has not registered this gateway at the application.
    #[error(
        "connector `{connector}` has no client_id; register Headgate at the application and set [connectors.{connector}] client_id in headgate.toml"
    )]
    NotRegistered {
        /// The connector.
        connector: String,
    },
    /// An address cannot be rendered.
    #[error("the connector's authorization cannot be used")]
    Connector(#[from] ConnectorError),
    /// A host is none.
    #[error("the connector's hosts cannot be used")]
    Hosts(#[from] EgressError),
    /// The manifest's own authenticator cannot be evaluated.
    #[error("the manifest's authenticator cannot be used")]
    Manifest(#[from] ReadingError),
    /// The authorization cannot be used.
    #[error("the authorization cannot be used")]
    Authorization(#[from] AuthorizationError),
}

/// What the operator registered for one connector.
#[derive(Debug, Default)]
pub struct Registration {
    /// The client id.
    pub client_id: Option<String>,
    /// The client secret, if there is one.
    pub client_secret: Option<Secret<String>>,
    /// Where a test directory sends its requests instead.
    pub rewrites: Arc<Rewrites>,
}

/// The grants of all connectors. Clones share them.
#[derive(Clone)]
pub struct Grants {
    client: Client,
    renewers: Renewers,
    sessions: Sessions,
    registrations: Arc<BTreeMap<String, Registration>>,
    clock: Clock,
}

impl Grants {
    /// Over the one client, the place where credentials are kept, and what the operator registered.
    pub fn new(client: Client, renewers: Renewers, registrations: BTreeMap<String, Registration>, clock: Clock) -> Self {
        Grants { client, renewers, sessions: Sessions::default(), registrations: Arc::new(registrations), clock }
    }

    /// Whether connections of this connector are authorized by their customer at the application.
    pub fn needs_customer(connector: &Connector) -> bool {
        connector.treatment.authorization.as_ref().is_some_and(|authorization| authorization.r#type == AuthorizationKind::OAuth2Code)
    }

    /// The hosts that a connection may reach.
    ///
    /// # Errors
    /// When an address cannot be rendered, or a host is none.
    pub fn hosts(&self, connector: &Connector, config: &Value) -> Result<AllowedHosts, GrantsError> {
        let hosts = AllowedHosts::parse(connector.hosts(config, &self.clock)?)?;
        Ok(hosts.rewritten(self.rewrites(connector)))
    }

    /// The tokens of a connection's logins, shared by all who read it now.
    pub fn sessions(&self, permit: &Permit) -> Arc<ConnectionSessions> {
        self.sessions.of(permit)
    }

    fn rewrites(&self, connector: &Connector) -> Arc<Rewrites> {
        self.registrations.get(&connector.name).map(|registration| registration.rewrites.clone()).unwrap_or_default()
    }

    /// The application's endpoints with this gateway's registration; none when the treatment has no OAuth authorization.
    ///
    /// # Errors
    /// When an address is missing or cannot be rendered, or the gateway is not registered there.
    pub fn provider(&self, connector: &Connector, config: &Value) -> Result<Option<Provider>, GrantsError> {
        let Some(authorization) = &connector.treatment.authorization else { return Ok(None) };
        if !matches!(authorization.r#type, AuthorizationKind::OAuth2Code | AuthorizationKind::OAuth2Client) {
            return Ok(None);
        }
        let registration = self.registrations.get(&connector.name);
        let client_id = registration.and_then(|registration| registration.client_id.clone());
        let client_id = client_id.ok_or_else(|| GrantsError::NotRegistered { connector: connector.name.clone() })?;
        let client_secret = registration.and_then(|registration| registration.client_secret.as_ref()).map(Secret::duplicate);
        let mut scope = Scope::new(self.clock.clone());
        scope.set("config", dynamic(config));
        Ok(Some(Provider::from_treatment(authorization, &scope, Some(client_id), client_secret)?))
    }

    /// The wire to token and revocation endpoints: their hosts and no others.
    pub fn wire<'a>(&self, connector: &Connector, urls: impl IntoIterator<Item = &'a Url>) -> Arc<dyn Wire> {
        let hosts = AllowedHosts::of_urls(urls).rewritten(self.rewrites(connector));
        Arc::new(TokenWire::new(self.client.clone(), hosts))
    }

    /// What gives a connection its access tokens; none when its configuration is all it needs. `config` has its secrets.
    ///
    /// # Errors
    /// As [`Grants::provider`].
    pub fn renewer(
        &self,
        connector: &Connector,
        config: &Value,
        secrets: &[Secret<String>],
        permit: &Permit,
    ) -> Result<Option<Renewer>, GrantsError> {
        if let Some(provider) = self.provider(connector, config)? {
            let wire = self.wire(connector, provider.request_urls());
            let source = if Self::needs_customer(connector) { Source::Provider(provider) } else { Source::ClientCredentials(provider) };
            return Ok(Some(self.renewers.of(permit, Arc::new(source), wire)));
        }
        let Some(oauth) = own_authenticator(connector.requesters(), config) else { return Ok(None) };
        let mut scope = Scope::new(self.clock.clone());
        scope.set("config", dynamic(config));
        let Some(plan) = TokenPlan::new(oauth, config, &scope)? else { return Ok(None) };
        let request = ManifestRequest { plan, hidden: secrets.iter().map(Secret::duplicate).collect() };
        let wire = self.wire(connector, [request.url()]);
        Ok(Some(self.renewers.of(permit, Arc::new(Source::Manifest(request)), wire)))
    }
}

/// The OAuth authenticator that a configuration chooses among those of requesters and their logins, if there is one.
pub fn own_authenticator<'c>(requesters: impl Iterator<Item = &'c HttpRequester>, config: &Value) -> Option<&'c OAuthAuthenticator> {
    let mut found = None;
    for requester in requesters {
        requester.with_logins(&mut |requester| {
            let own = requester.authenticator.as_ref().and_then(|authenticator| chosen(authenticator, config).ok());
            if let Some(Authenticator::OAuthAuthenticator(oauth)) = own {
                found.get_or_insert(oauth.as_ref());
            }
        });
    }
    found
}
