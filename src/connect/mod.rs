//! The act of connecting: consent first, then the application's word, then an open gate.
//!
//! **Invariant**: no token request is made for a connection whose consent is not durable.

mod surrender;

use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;
use url::Url;

use crate::audit::Action;
use crate::audit::Actor;
use crate::authorization::AuthorizationError;
use crate::authorization::code;
use crate::authorization::code::Callback;
use crate::authorization::code::Pending;
use crate::authorization::code::Redeemed;
use crate::authorization::keeping::Authorizations;
use crate::authorization::revocation_endpoint;
use crate::clock::Clock;
use crate::connection::Active;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::connection::ConnectorsError;
use crate::connection::DefinitionError;
use crate::connection::Definitions;
use crate::connection::NewConnection;
use crate::connection::State;
use crate::connection::credential::Credential;
use crate::connection::credential::CredentialError;
use crate::connection::gate::GateClosed;
use crate::connection::merged;
use crate::connection::split;
use crate::connector::definition::Connector;
use crate::connector::definition::ConnectorError;
use crate::connector::problem::Problem;
use crate::consent::Consent;
use crate::consent::ConsentError;
use crate::consent::ConsentRequest;
use crate::consent::Purpose;
use crate::fetch::grants::Grants;
use crate::fetch::grants::GrantsError;
use crate::ids::ConnectionId;
use crate::ids::ConsentId;
use crate::ids::Entropy;
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;

pub use self::surrender::Surrenders;

/// The redirect URI behind the public URL.
const CALLBACK_PATH: &str = "/oauth/callback";

/// Why nothing was connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The consent is incomplete, or names another policy.
    #[error("the consent is not recorded")]
    Consent(#[from] ConsentError),
    /// The configuration does not fit the connector.
    #[error("the configuration does not fit the connector: {}", .problems.iter().map(|problem| format!("{} {}", problem.path, problem.message).trim().to_owned()).collect::<Vec<_>>().join("; "))]
    Config {
        /// Everything that is wrong, without a value.
        problems: Vec<Problem>,
    },
    /// A stream that the connector does not have.
    #[error("connector `{connector}` has no stream `{stream}`; it has {streams}")]
    UnknownStream {
        /// The connector.
        connector: String,
        /// What was asked for.
        stream: String,
        /// What there is.
        streams: String,
    },
    /// Streams that only the application knows, and none of them is named.
    #[error(
        "`{connector}` makes streams of what the application answers, which it is asked for only after the consent; name the streams to connect (`headgate airbyte discover` lists them)"
    )]
    UnnamedStreams {
        /// The connector.
        connector: String,
    },
    /// A stream that needs what is not run here.
    #[error("stream `{stream}` of connector `{connector}` cannot be connected: {reason}; `headgate connectors show` tells all reasons")]
    RefusedStream {
        /// The connector.
        connector: String,
        /// What was asked for.
        stream: String,
        /// The first reason.
        reason: String,
    },
    /// A configuration was given for what its customer authorizes at the application.
    #[error("connections of `{connector}` are authorized by their customer at the application; reconnect without a configuration")]
    NotByConfig {
        /// The connector.
        connector: String,
    },
    /// The connection cannot be authorized again.
    #[error("connection {connection} is {state} and cannot be authorized again; connect anew")]
    Ended {
        /// Which.
        connection: ConnectionId,
        /// Its state.
        state: &'static str,
    },
    /// The connector is not to be had.
    #[error("the connector is not to be had")]
    Connectors(#[from] ConnectorsError),
    /// The connector cannot be used with this configuration.
    #[error("the connector cannot be used with this configuration")]
    Connector(#[from] ConnectorError),
    /// The connection's definition is not to be had.
    #[error("the connector is not to be had")]
    Definition(#[from] DefinitionError),
    /// The application's endpoints cannot be used.
    #[error("the application cannot be asked")]
    Grants(#[from] GrantsError),
    /// The application did not authorize.
    #[error("the connection is not authorized")]
    Authorization(#[from] AuthorizationError),
    /// The connection was stopped meanwhile.
    #[error("the connection was stopped meanwhile")]
    Closed(#[from] GateClosed),
    /// The connection could not be made, found or moved.
    #[error("the connection is not to be had")]
    Connection(#[from] ConnectionError),
    /// The store failed.
    #[error("the authorization is not kept")]
    Store(#[from] StoreError),
}

/// What connecting needs.
pub struct ConnectOrder {
    /// The connector.
    pub connector: Arc<Connector>,
    /// For whom.
    pub tenant: TenantId,
    /// What the manifest's specification asks for, secrets included.
    pub config: Map<String, Value>,
    /// What the customer agreed to.
    pub consent: ConsentRequest,
    /// The streams; every one when none is named.
    pub streams: Vec<String>,
}

/// What connecting came to.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub connection: Connection,
    /// Where its customer authorizes it, when that is still to be done. The link is good for ten minutes, once.
    pub authorize_url: Option<Url>,
}

/// What an application's redirect came to.
#[derive(Debug)]
pub enum Outcome {
    /// The connection is open.
    Connected(Box<Connection>),
    /// The application or its user said no; the connection stays as it was.
    Declined {
        /// The connection.
        connection: Box<Connection>,
        /// The application's error code.
        code: String,
    },
}

/// Connects. Clones share it.
#[derive(Clone)]
pub struct Connecting {
    store: Store,
    connections: Connections,
    definitions: Definitions,
    grants: Grants,
    pending: Authorizations,
    redirect_uri: Url,
    clock: Clock,
    entropy: Entropy,
}

/// What [`Connecting`] is made of.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The connections.
    pub connections: Connections,
    /// Their definitions.
    pub definitions: Definitions,
    /// How tokens are had.
    pub grants: Grants,
    /// The authorizations under way.
    pub pending: Authorizations,
    /// How the gateway is reached from outside.
    pub public_url: Url,
    /// The clock.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
}

impl Connecting {
    /// Joins the parts.
    pub fn new(parts: Parts) -> Self {
        let mut redirect_uri = parts.public_url;
        let path = format!("{}{CALLBACK_PATH}", redirect_uri.path().trim_end_matches('/'));
        redirect_uri.set_path(&path);
        Connecting {
            store: parts.store,
            connections: parts.connections,
            definitions: parts.definitions,
            grants: parts.grants,
            pending: parts.pending,
            redirect_uri,
            clock: parts.clock,
            entropy: parts.entropy,
        }
    }

    /// Records the consent and makes the connection; opens it at once, or says where the customer authorizes it.
    ///
    /// # Errors
    /// When the consent, the configuration or the connector's authorization is not in order: nothing is made then.
    pub async fn connect(&self, order: ConnectOrder, actor: Actor) -> Result<Connected, ConnectError> {
        let ConnectOrder { connector, tenant, config, mut consent, streams } = order;
        let taken = connector.take(Value::Object(config), &self.clock).map_err(|problems| ConnectError::Config { problems })?;
        let streams = chosen(&connector, streams, &taken.used, &self.clock)?;
        // Everything that could refuse later does so before anything is made.
        self.grants.hosts(&connector, &taken.used)?;
        self.grants.provider(&connector, &taken.used)?;
        let config = members(taken.kept);
        if consent.purposes.is_empty() {
            consent.purposes = default_purposes(&connector);
        }
        let scopes = connector.treatment.authorization.iter().flat_map(|authorization| &authorization.scopes);
        let scopes = scopes.map(|scope| scope.name.clone()).collect();
        let now = self.clock.now();
        let consent = Consent::record(consent, streams.clone(), scopes, ConsentId::new(now, &self.entropy), now)?;
        let mut unit = Unit::default();
        let reference = self.definitions.keep(&mut unit, &connector)?;
        self.store.commit(unit).await?;
        let (config, secrets) = split(config, &connector.secret_paths());
        let new = NewConnection {
            tenant,
            connector: reference,
            streams,
            purposes: consent.purposes.clone(),
            consent,
            config,
            secrets,
            every_seconds: connector.treatment.schedule.as_ref().map(|schedule| schedule.every.0.as_secs().unsigned_abs()),
        };
        let connection = self.connections.create(new, actor.clone()).await?;
        if Grants::needs_customer(&connector) {
            let authorize_url = Some(self.begin(&connection, &connector).await?);
            return Ok(Connected { connection, authorize_url });
        }
        let open = self.connections.activate(connection, Action::ConnectionActivated, actor, |_| Ok(())).await?;
        Ok(Connected { connection: open.into(), authorize_url: None })
    }

    /// Begins a new authorization of a connection that exists; or opens it with another configuration, where that is all
    /// it is authorized by.
    ///
    /// # Errors
    /// [`ConnectError::Ended`] when it is revoked or erased.
    pub async fn reconnect(&self, id: ConnectionId, config: Option<Map<String, Value>>, actor: Actor) -> Result<Connected, ConnectError> {
        let connection = self.connections.find(id)?;
        if let State::Revoked(_) | State::Erased(_) = connection.state {
            return Err(ConnectError::Ended { connection: id, state: connection.state.name() });
        }
        let connector = self.definitions.load(&connection.connector)?;
        if Grants::needs_customer(&connector) {
            if config.is_some() {
                return Err(ConnectError::NotByConfig { connector: connector.name.clone() });
            }
            let authorize_url = Some(self.begin(&connection, &connector).await?);
            return Ok(Connected { connection, authorize_url });
        }
        if let (State::Active(_), None) = (&connection.state, &config) {
            return Ok(Connected { connection, authorize_url: None });
        }
        let open = match config {
            Some(config) => self.reconfigure(connection, &connector, config, actor).await?,
            None => self.connections.activate(connection, Action::ConnectionReconnected, actor, |_| Ok(())).await?,
        };
        Ok(Connected { connection: open.into(), authorize_url: None })
    }

    /// Opens a connection with another configuration, such as a new API key; what used the old one is stopped first.
    async fn reconfigure(
        &self,
        connection: Connection,
        connector: &Connector,
        config: Map<String, Value>,
        actor: Actor,
    ) -> Result<Connection<Active>, ConnectError> {
        let taken = connector.take(Value::Object(config), &self.clock).map_err(|problems| ConnectError::Config { problems })?;
        self.grants.hosts(connector, &taken.used)?;
        let (config, secrets) = split(members(taken.kept), &connector.secret_paths());
        let (key, credentials) = (connection.key, self.connections.credentials());
        let generation = credentials.load(key).map_err(ConnectionError::from)?.generation;
        let credential = Credential { generation, ..Credential::of_config(&secrets) };
        let also = |unit: &mut Unit| {
            credentials.put(unit, key, &credential)?;
            self.connections.put_config(unit, key, &config)
        };
        Ok(self.connections.reopen(connection, Action::ConnectionReconnected, actor, also).await?)
    }

    /// Makes a link; what it needs is durable before it is shown.
    async fn begin(&self, connection: &Connection, connector: &Connector) -> Result<Url, ConnectError> {
        let config = connector.used_config(self.whole_config(connection)?, &self.clock)?;
        let unregistered = || GrantsError::NotRegistered { connector: connector.name.clone() };
        let provider = self.grants.provider(connector, &config)?.ok_or_else(unregistered)?;
        let begun = code::begin(&provider, connection.key, &self.redirect_uri, self.clock.now(), &self.entropy)?;
        let kept = self.pending.keep(&begun).await;
        kept.map_err(|source| AuthorizationError::Keeping { owner: connection.key, source })?;
        Ok(begun.authorize_url)
    }

    fn whole_config(&self, connection: &Connection) -> Result<Value, ConnectError> {
        let config = self.connections.config(connection.key)?;
        let credential = self.connections.credentials().load(connection.key).map_err(ConnectionError::from)?;
        Ok(merged(config, credential.config_members()))
    }

    /// The connection that a callback's `state` belongs to; the state stays good.
    ///
    /// # Errors
    /// [`AuthorizationError::UnknownState`].
    pub async fn pending(&self, query: &str) -> Result<Connection, ConnectError> {
        let callback = Callback::read(query);
        let owner = match code::accept(&self.pending, &callback, self.clock.now()).await {
            Ok(pending) => pending.owner,
            Err(AuthorizationError::Denied { owner, .. }) => owner,
            Err(error) => return Err(error.into()),
        };
        self.connections.by_key(owner)?.ok_or_else(|| AuthorizationError::UnknownState.into())
    }

    /// Takes up an application's redirect: exchanges the code, keeps the tokens and opens the gate, in that order.
    ///
    /// # Errors
    /// [`AuthorizationError::UnknownState`] without any request; what kept the code from being exchanged.
    pub async fn callback(&self, query: &str, actor: Actor) -> Result<Outcome, ConnectError> {
        let callback = Callback::read(query);
        let pending = match code::accept(&self.pending, &callback, self.clock.now()).await {
            Ok(pending) => pending,
            Err(AuthorizationError::Denied { owner, code }) => {
                let connection = self.connections.by_key(owner)?.ok_or(AuthorizationError::UnknownState)?;
                return Ok(Outcome::Declined { connection: Box::new(connection), code });
            }
            Err(error) => return Err(error.into()),
        };
        let connection = self.connections.by_key(pending.owner)?.ok_or(AuthorizationError::UnknownState)?;
        if let State::Revoked(_) | State::Erased(_) = connection.state {
            return Err(ConnectError::Ended { connection: connection.id, state: connection.state.name() });
        }
        let connection = self.redeem(connection, &callback, &pending, actor).await?;
        Ok(Outcome::Connected(Box::new(connection)))
    }

    async fn redeem(
        &self,
        connection: Connection,
        callback: &Callback,
        pending: &Pending,
        actor: Actor,
    ) -> Result<Connection, ConnectError> {
        let connector = self.definitions.load(&connection.connector)?;
        let config = self.whole_config(&connection)?;
        let unregistered = || GrantsError::NotRegistered { connector: connector.name.clone() };
        let provider = self.grants.provider(&connector, &config)?.ok_or_else(unregistered)?;
        let wire = self.grants.wire(&connector, provider.request_urls());
        let permit = self.connections.gates().permit_to_authorize(connection.key)?;
        let redeemed = code::redeem(&self.pending, &provider, callback, pending, wire.as_ref(), &permit, &self.clock).await?;
        match self.open(connection, redeemed, actor).await {
            Ok(connection) => Ok(connection),
            Err((error, redeemed)) => {
                // Nobody else knows of these tokens: what cannot be kept is given back.
                if let Err(failure) = revocation_endpoint::revoke(&provider, &redeemed.tokens, wire.as_ref()).await {
                    tracing::warn!(error = &failure as &dyn std::error::Error, "tokens that could not be kept are not given back");
                }
                Err(error)
            }
        }
    }

    /// Keeps the tokens and opens the gate in one unit. An active connection that is authorized again gets a new epoch.
    async fn open(&self, connection: Connection, redeemed: Redeemed, actor: Actor) -> Result<Connection, (ConnectError, Redeemed)> {
        let action = match connection.state {
            State::Pending => Action::ConnectionActivated,
            _ => Action::ConnectionReconnected,
        };
        let opened = async {
            let (key, credentials) = (connection.key, self.connections.credentials());
            let mut credential = credentials.load(key).map_err(ConnectionError::from)?;
            let mut config = self.connections.config(key)?;
            config.extend(redeemed.config.clone());
            credential.tokens = Some(redeemed.tokens.duplicate());
            credential.renewal = Default::default();
            let also = |unit: &mut Unit| {
                credentials.put(unit, key, &credential)?;
                self.connections.put_config(unit, key, &config)
            };
            Ok::<_, ConnectError>(self.connections.reopen(connection, action, actor, also).await?)
        };
        opened.await.map(Connection::from).map_err(|error| (error, redeemed))
    }
}

/// The streams of a connection, in the manifest's order. Streams that the application itself names are made when it is asked, which
/// needs a consent: so a connection to them names them, and they are in its consent.
fn chosen(connector: &Connector, wanted: Vec<String>, config: &Value, clock: &Clock) -> Result<Vec<String>, ConnectError> {
    let made;
    let present = match connector.manifest.depends_on_config() {
        true => {
            made = connector.made(config, clock, Vec::new())?;
            &made
        }
        false => connector,
    };
    let names: Vec<String> = present.manifest.declared().map(|stream| stream.name.clone()).collect();
    if let Some(refused) = present.manifest.refused().find(|stream| wanted.contains(&stream.name)) {
        let reason = refused.problems.first().map(ToString::to_string).unwrap_or_default();
        return Err(ConnectError::RefusedStream { connector: connector.name.clone(), stream: refused.name.clone(), reason });
    }
    let asks = connector.manifest.component_sources().next().is_some();
    if asks && wanted.is_empty() {
        return Err(ConnectError::UnnamedStreams { connector: connector.name.clone() });
    }
    if let Some(stream) = wanted.iter().find(|stream| !names.contains(stream) && !asks) {
        let (connector, stream, streams) = (connector.name.clone(), crate::ids::cut(stream), names.join(", "));
        return Err(ConnectError::UnknownStream { connector, stream, streams });
    }
    let unmade: Vec<String> = wanted.iter().filter(|stream| !names.contains(stream)).cloned().collect();
    Ok(names.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)).chain(unmade).collect())
}

fn members(config: Value) -> Map<String, Value> {
    if let Value::Object(members) = config { members } else { Map::new() }
}

/// The purposes of a connection whose order names none.
fn default_purposes(connector: &Connector) -> Vec<Purpose> {
    let declared = connector.treatment.purposes.clone();
    if declared.is_empty() { vec![Purpose::Fulfilment] } else { declared }
}

impl From<CredentialError> for ConnectError {
    fn from(error: CredentialError) -> Self {
        ConnectError::Connection(error.into())
    }
}
