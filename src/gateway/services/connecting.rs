//! Connecting: an order, a new authorization, an application's redirect.

use std::collections::BTreeMap;

use url::form_urlencoded::Serializer;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services::CallbackOutcome;
use crate::api::wire::connection as wire;
use crate::audit::Actor;
use crate::authorization::AuthorizationError;
use crate::connect;
use crate::connect::ConnectError;
use crate::connect::Outcome;
use crate::connection::Connection;
use crate::connection::Connectors;
use crate::connection::Definitions;
use crate::ids::ConnectionId;

/// The act of connecting, in the API's words.
pub struct Connecting {
    connecting: connect::Connecting,
    connectors: Connectors,
    definitions: Definitions,
}

impl Connecting {
    /// Over the act and the connectors that can be connected.
    pub fn new(connecting: connect::Connecting, connectors: Connectors, definitions: Definitions) -> Self {
        Connecting { connecting, connectors, definitions }
    }

    /// Connects. Only the operator at the machine may name a connector by the path of its files.
    pub async fn connect(&self, by: &Principal, order: wire::ConnectOrder) -> Result<wire::Connected, Problem> {
        let wire::ConnectOrder { connector, tenant, config, consent, streams } = order;
        let connector = self.connectors.to_connect(&connector, by.is_local())?;
        let order = connect::ConnectOrder { connector, tenant, config, consent, streams: streams.unwrap_or_default() };
        Ok(shown(self.connecting.connect(order, by.actor()).await?))
    }

    /// Begins a new authorization.
    pub async fn reconnect(&self, by: &Principal, id: ConnectionId, order: wire::ReconnectOrder) -> Result<wire::Connected, Problem> {
        Ok(shown(self.connecting.reconnect(id, order.config, by.actor()).await?))
    }

    /// Whose authorization waits for this state.
    pub async fn pending(&self, state: &str) -> Result<Option<ConnectionId>, Problem> {
        let query = Serializer::new(String::new()).append_pair("state", state).finish();
        match self.connecting.pending(&query).await {
            Ok(connection) => Ok(Some(connection.id)),
            Err(ConnectError::Authorization(AuthorizationError::UnknownState)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a redirect up. It comes without a key: its state proves whose it is, and the log names Headgate as who acted.
    pub async fn callback(&self, query: BTreeMap<String, String>) -> Result<CallbackOutcome, Problem> {
        let query = Serializer::new(String::new()).extend_pairs(query).finish();
        match self.connecting.callback(&query, Actor::System).await? {
            Outcome::Connected(connection) => {
                Ok(CallbackOutcome::Connected { connection: connection.id, display_name: self.display_name(&connection) })
            }
            Outcome::Declined { connection, code } => {
                let display_name = self.display_name(&connection);
                Ok(CallbackOutcome::Declined { connection: connection.id, display_name, error: code })
            }
        }
    }

    /// What people call the application; the connector's name when its definition is not to be had.
    fn display_name(&self, connection: &Connection) -> String {
        let definition = self.definitions.load(&connection.connector);
        definition.map_or_else(|_| connection.connector.name.clone(), |connector| connector.display_name().to_owned())
    }
}

fn shown(connected: connect::Connected) -> wire::Connected {
    let connect::Connected { connection, authorize_url } = connected;
    wire::Connected { connection: connection.id, state: connection.state.to_string(), authorize_url: authorize_url.map(String::from) }
}
