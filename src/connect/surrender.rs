//! Giving credentials up at the application, as revocation asks for it.

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::authorization::revocation_endpoint;
use crate::clock::Timestamp;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::Definitions;
use crate::connection::credential::Credential;
use crate::connection::credential::Tokens;
use crate::connection::merged;
use crate::fetch::grants::Grants;
use crate::record::ConnectorRef;
use crate::revocation::Surrender;
use crate::revocation::SurrenderError;
use crate::revocation::SurrenderFuture;
use crate::secret::Secret;

/// Gives up OAuth tokens at the connector's revocation endpoint (RFC 7009).
#[derive(Clone)]
pub struct Surrenders {
    connections: Connections,
    definitions: Definitions,
    grants: Grants,
}

/// What the endpoint will need, sealed while it waits. The configuration is there for the endpoint's address.
#[derive(Serialize, Deserialize)]
struct Prepared {
    connector: String,
    digest: [u8; 32],
    config: String,
    access_token: String,
    refresh_token: Option<String>,
    at: Timestamp,
}

impl Surrenders {
    /// Over the definitions of connections and the operator's registrations.
    pub fn new(connections: Connections, definitions: Definitions, grants: Grants) -> Self {
        Surrenders { connections, definitions, grants }
    }

    async fn revoke(&self, prepared: &Secret<Vec<u8>>) -> Result<(), SurrenderError> {
        let refused = |why: String| SurrenderError::Refused { why };
        let prepared: Prepared = postcard::from_bytes(prepared.expose()).map_err(|_| refused("what was kept for it is damaged".into()))?;
        let reference = ConnectorRef { name: prepared.connector, digest: crate::digest::Digest::from_bytes(prepared.digest) };
        let connector = self.definitions.load(&reference).map_err(|error| refused(crate::telemetry::chain(&error)))?;
        let config: Value = serde_json::from_str(&prepared.config).unwrap_or_default();
        let provider = self.grants.provider(&connector, &config).map_err(|error| refused(crate::telemetry::chain(&error)))?;
        let Some(provider) = provider else { return Ok(()) };
        let wire = self.grants.wire(&connector, &provider.revoke_url);
        let tokens = Tokens {
            access_token: Secret::new(prepared.access_token),
            refresh_token: prepared.refresh_token.map(Secret::new),
            expires_at: None,
            issued_at: prepared.at,
            token_type: String::new(),
            scopes: Vec::new(),
            extra: Secret::new(String::new()),
        };
        let revoked = revocation_endpoint::revoke(&provider, &tokens, wire.as_ref()).await;
        revoked.map_err(|error| refused(crate::telemetry::chain(&error)))
    }
}

impl Surrender for Surrenders {
    fn prepare(&self, connection: &Connection, credential: &Credential) -> Option<Secret<Vec<u8>>> {
        let tokens = credential.tokens.as_ref()?;
        let connector = self.definitions.load(&connection.connector).ok()?;
        // Without its secrets: the endpoint's address is rendered from what may be shown.
        let config = merged(self.connections.config(connection.key).ok()?, Default::default());
        let provider = self.grants.provider(&connector, &config).ok()??;
        provider.revoke_url.as_ref()?;
        let prepared = Prepared {
            connector: connection.connector.name.clone(),
            digest: connection.connector.digest.to_bytes(),
            config: config.to_string(),
            access_token: tokens.access_token.expose().clone(),
            refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose().clone()),
            at: tokens.issued_at,
        };
        postcard::to_stdvec(&prepared).ok().map(Secret::new)
    }

    fn carry_out<'a>(&'a self, prepared: &'a Secret<Vec<u8>>) -> SurrenderFuture<'a> {
        Box::pin(self.revoke(prepared))
    }
}
