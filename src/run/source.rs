//! What a run reads from: the connection's definition, configuration and credential, joined for one stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use serde_json::Value;

use crate::clock::Clock;
use crate::connection::Active;
use crate::connection::Connection;
use crate::connection::Connections;
use crate::connection::DefinitionError;
use crate::connection::Definitions;
use crate::connection::gate::Permit;
use crate::connector::component::incremental::IncrementalSync;
use crate::connector::definition::Connector;
use crate::connector::reading::Compat;
use crate::connector::treatment;
use crate::digest::Digest;
use crate::fetch::budget::Budgets;
use crate::fetch::budget::Rule;
use crate::fetch::client::Client;
use crate::fetch::dynamic::connector_for;
use crate::fetch::grants::Grants;
use crate::fetch::retry::Policy;
use crate::fetch::stream::Access;
use crate::fetch::stream::StreamOrder;
use crate::ids::ConnectionKey;
use crate::ids::PullId;
use crate::intake::Anchor;
use crate::intake::StreamTreatment;
use crate::run::RunError;
use crate::secret::Secret;
use crate::secret::add_texts;
use crate::telemetry::activity::Activity;
use crate::telemetry::metrics::Metrics;

/// The connectors whose streams were made for a pull, each connection's latest.
pub type Made = HashMap<ConnectionKey, (PullId, Arc<Connector>)>;

/// Joins what a run reads from. Clones share it.
#[derive(Clone)]
pub struct Sources {
    /// The connections.
    pub connections: Connections,
    /// Their definitions.
    pub definitions: Definitions,
    /// How tokens are had.
    pub grants: Grants,
    /// The budgets of all applications.
    pub budgets: Arc<Budgets>,
    /// The one client.
    pub client: Client,
    /// How often a request is tried.
    pub retries: Policy,
    /// The clock.
    pub clock: Clock,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// What happened to each connection that was pulled since the process began.
    pub activities: Arc<Mutex<HashMap<ConnectionKey, Arc<Activity>>>>,
    /// What was made of dynamic streams for the latest pull of each connection.
    pub made: Arc<tokio::sync::Mutex<Made>>,
}

impl Sources {
    /// The connector as a pull of a connection reads it: where the streams depend on the configuration, or on what the application
    /// answers, they are made once for each pull.
    ///
    /// # Errors
    /// When the definition or the credential cannot be read, or the streams cannot be made.
    pub async fn connector(
        &self,
        connection: &Connection<Active>,
        pull: PullId,
        compat: Compat,
        permit: &Permit,
    ) -> Result<Arc<Connector>, RunError> {
        let connector = self.definitions.load(&connection.connector)?;
        if !connector.manifest.depends_on_config() {
            return Ok(connector);
        }
        let mut made = self.made.lock().await;
        if let Some((of, connector)) = made.get(&connection.key)
            && *of == pull
        {
            return Ok(connector.clone());
        }
        let (config, _) = self.config(connection, &connector)?;
        let open = |connector: &Arc<Connector>, stream: &str| self.open(connection, connector, stream, None, compat, permit.clone());
        let connector = connector_for(&connector, &config, &self.clock, open).await?;
        made.insert(connection.key, (pull, connector.clone()));
        Ok(connector)
    }

    /// The configuration that expressions see, and the secrets in it.
    fn config(&self, connection: &Connection<Active>, connector: &Connector) -> Result<(Value, Vec<Secret<String>>), RunError> {
        let credential = self.connections.credentials().load(connection.key)?;
        let secrets = credential.config_members();
        let mut hidden = Vec::new();
        secrets.values().for_each(|value| add_texts(value, &mut hidden));
        let kept = crate::connection::merged(self.connections.config(connection.key)?, secrets);
        Ok((connector.used_config(kept, &self.clock).map_err(DefinitionError::from)?, hidden))
    }

    /// How intake treats a stream of `connector`.
    ///
    /// # Errors
    /// When the consent cannot be read.
    pub fn treatment(&self, connection: &Connection<Active>, connector: &Connector, stream: &str) -> Result<StreamTreatment, RunError> {
        let treated = connector.treatment.streams.0.iter().find(|(name, _)| name == stream).map(|(_, treated)| treated);
        let keys = treated.map(|treated| treated.business_keys.0.clone()).unwrap_or_default();
        let retention = &connector.treatment.retention;
        let consent = self.connections.consent(connection.consent)?;
        Ok(StreamTreatment {
            kind: treated.and_then(|treated| treated.kind),
            business_keys: keys,
            retention_class: retention.class.clone(),
            retention_days: retention.days,
            retention_anchor: anchor(connector, stream, &retention.anchor),
            schema_digest: connector.schema(stream).map(|schema| Digest::of(schema.to_string().as_bytes())),
            policy_version: consent.map(|(_, consent)| consent.policy_version).unwrap_or_default(),
        })
    }

    /// Where what happens to a connection is counted.
    pub fn activity(&self, owner: ConnectionKey, connector: &str) -> Arc<Activity> {
        let mut activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner);
        activities.entry(owner).or_insert_with(|| Arc::new(Activity::new(connector, self.metrics.clone()))).clone()
    }

    /// What was counted of a connection so far.
    pub fn activity_of(&self, owner: ConnectionKey) -> Option<Arc<Activity>> {
        self.activities.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned()
    }

    /// What reading a stream of `connector` needs.
    ///
    /// # Errors
    /// When the configuration or credential cannot be read.
    pub fn open(
        &self,
        connection: &Connection<Active>,
        connector: &Arc<Connector>,
        stream: &str,
        state: Option<Value>,
        compat: Compat,
        permit: Permit,
    ) -> Result<StreamOrder, RunError> {
        let (config, hidden) = self.config(connection, connector)?;
        let mut access = Access::of_config(config.clone(), hidden.iter().map(Secret::duplicate).collect());
        access = access.with_sessions(self.grants.sessions(&permit));
        if let Some(renewer) = self.grants.renewer(connector, &config, &hidden, &permit)? {
            let path = connector.treatment.authorization.as_ref().map(|authorization| authorization.access_token_path.clone());
            access = access.with_tokens(renewer, path.unwrap_or_default());
        }
        let rules: Vec<Rule> = connector.treatment.budgets.iter().map(Rule::from).collect();
        Ok(StreamOrder {
            hosts: self.grants.hosts(connector, &config)?,
            budget: self.budgets.application(&connector.name, &rules),
            connector: connector.clone(),
            stream: stream.to_owned(),
            state,
            compat,
            access,
            client: self.client.clone(),
            retries: self.retries.clone(),
            permit,
            clock: self.clock.clone(),
            requests: Arc::new(AtomicU64::new(0)),
            activity: self.activity(connection.key, &connection.connector.name),
        })
    }
}

/// What the retention of a stream runs from: its cursor field where the treatment says `updated_at`.
fn anchor(connector: &Connector, stream: &str, anchor: &treatment::Anchor) -> Anchor {
    match anchor {
        treatment::Anchor::Received => Anchor::Received,
        treatment::Anchor::Pointer(pointer) => Anchor::Field(pointer.clone()),
        treatment::Anchor::UpdatedAt => {
            let sync = connector.stream(stream).and_then(|stream| stream.incremental_sync.as_ref());
            let field = sync.and_then(|sync| match sync {
                IncrementalSync::DatetimeBasedCursor(cursor) => cursor.cursor_field.template().plain(),
                IncrementalSync::IncrementingCountCursor(_) => None,
            });
            let pointer = field.and_then(|field| format!("/{field}").parse().ok());
            pointer.map_or(Anchor::Received, Anchor::Field)
        }
    }
}
