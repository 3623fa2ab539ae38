//! How the requests of a stream are authorized: by the configuration alone, or by an access token that is renewed.

use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;

use crate::authorization::renewal::Grant;
use crate::authorization::renewal::Renewer;
use crate::fetch::FetchError;
use crate::fetch::stream::session::ConnectionSessions;
use crate::secret::Secret;

/// The configuration with its secrets, and where access tokens come from.
pub struct Access {
    config: Value,
    secrets: Vec<Secret<String>>,
    renewer: Option<Renewer>,
    token_path: Vec<String>,
    sessions: Arc<ConnectionSessions>,
}

impl Access {
    /// A connection whose configuration holds all it needs. `secrets` are the values that no recorded URL may show.
    pub fn of_config(config: Value, secrets: Vec<Secret<String>>) -> Self {
        Access { config, secrets, renewer: None, token_path: Vec::new(), sessions: Arc::default() }
    }

    /// A connection whose logins are shared with others who read it.
    #[must_use]
    pub fn with_sessions(self, sessions: Arc<ConnectionSessions>) -> Self {
        Access { sessions, ..self }
    }

    /// A connection with tokens: the access token goes to `token_path` of the configuration, where the manifest looks for
    /// it, and to an OAuth authenticator of the manifest.
    #[must_use]
    pub fn with_tokens(mut self, renewer: Renewer, token_path: Vec<String>) -> Self {
        self.renewer = Some(renewer);
        self.token_path = token_path;
        self
    }

    /// The configuration without an access token.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The tokens of logins.
    pub(super) fn sessions(&self) -> &ConnectionSessions {
        &self.sessions
    }

    /// The values that no recorded URL may show, the access token's among them.
    pub(super) fn secrets(&self, grant: Option<&Grant>) -> Vec<Secret<String>> {
        let token = grant.map(|grant| grant.token().duplicate());
        self.secrets.iter().map(Secret::duplicate).chain(token).collect()
    }

    /// An access token for the next request, where there are tokens.
    pub(super) async fn grant(&self) -> Result<Option<Grant>, FetchError> {
        match &self.renewer {
            Some(renewer) => Ok(Some(renewer.token().await?)),
            None => Ok(None),
        }
    }

    /// A token in the place of one that the application refused with 401.
    pub(super) async fn refused(&self, grant: &Grant) -> Result<Option<Grant>, FetchError> {
        match &self.renewer {
            Some(renewer) => Ok(Some(renewer.refused(grant).await?)),
            None => Ok(None),
        }
    }

    /// The configuration with an access token in its place.
    pub(super) fn config_with(&self, grant: &Grant) -> Value {
        let mut config = self.config.clone();
        if let Some((last, parents)) = self.token_path.split_last() {
            let mut place = &mut config;
            for parent in parents {
                if !place.get(parent).is_some_and(Value::is_object) {
                    place[parent.as_str()] = Value::Object(Map::new());
                }
                place = &mut place[parent.as_str()];
            }
            place[last.as_str()] = grant.token().expose().as_str().into();
        }
        config
    }
}
