//! A manifest made ready to read from, without anything that is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::airbyte::AirbyteError;
use crate::airbyte::Outlet;
use crate::airbyte::tokens::AccessTokens;
use crate::clock::Clock;
use crate::connection::gate::Permit;
use crate::connector::catalogue;
use crate::connector::definition::Connector;
use crate::connector::expression::Scope;
use crate::connector::expression::dynamic;
use crate::connector::reading::Compat;
use crate::fetch::budget;
use crate::fetch::budget::Budgets;
use crate::fetch::budget::Rule;
use crate::fetch::client;
use crate::fetch::client::Client;
use crate::fetch::dynamic::connector_for;
use crate::fetch::egress::AllowedHosts;
use crate::fetch::egress::Egress;
use crate::fetch::grants::own_authenticator;
use crate::fetch::retry::Policy;
use crate::fetch::stream::Access;
use crate::fetch::stream::ConnectionSessions;
use crate::fetch::stream::Sessions;
use crate::fetch::stream::StreamOrder;
use crate::fetch::wait::Waits;
use crate::secret::Secret;
use crate::secret::add_texts;
use crate::telemetry::activity::Activity;
use crate::telemetry::metrics::Metrics;

/// The longest wait that an application is given. There is no scheduler that would come back later.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// How a source reads.
#[derive(Debug, Clone)]
pub struct Options {
    /// How faithful to the reference engine.
    pub compat: Compat,
    /// The clock; one that stands still makes waits return at once.
    pub clock: Clock,
    /// Whether this machine may be reached, also by plain http.
    pub allow_loopback: bool,
}

/// A manifest, and what its streams are read with.
pub struct Source {
    pub(super) connector: Arc<Connector>,
    pub(super) options: Options,
    pub(super) outlet: Outlet,
    client: Client,
    waits: Waits,
    budgets: Budgets,
    tokens: AccessTokens,
    sessions: Sessions,
    activity: Arc<Activity>,
    stop: CancellationToken,
    permit: Permit,
}

/// A configuration that fits the manifest.
pub(super) struct Config {
    pub value: Value,
    /// The configuration as the manifest's migrations leave it: what the client is to keep.
    pub kept: Value,
    /// Whether they change it.
    pub is_migrated: bool,
    /// The connector with the streams that this configuration has.
    pub connector: Arc<Connector>,
    /// Its secret texts, for whatever is told.
    pub secrets: Vec<Secret<String>>,
    hosts: AllowedHosts,
    /// What its streams share; it lasts as long as they are read.
    sessions: Arc<ConnectionSessions>,
}

impl Source {
    /// Reads the manifest at `path`, a file or a folder. Messages go to `outlet`. When `stop` is cancelled, every reading ends.
    ///
    /// # Errors
    /// When the manifest cannot be used.
    pub fn open(path: &Path, options: Options, outlet: Outlet, stop: CancellationToken) -> Result<Self, AirbyteError> {
        let connector = Arc::new(catalogue::load_path(path)?);
        let waits = if matches!(options.clock, Clock::System) { Waits::Real } else { Waits::Skipped };
        let egress = if options.allow_loopback { Egress::default().with_loopback() } else { Egress::default() };
        let limits = client::Options { digests_bodies: false, ..client::Options::default() };
        let client = Client::new(egress, limits, options.clock.clone());
        let client = client.map_err(|error| AirbyteError::Client { source: error.into() })?;
        let budget = budget::Options { wait_max: WAIT_MAX, hold_max: WAIT_MAX, waits };
        Ok(Source {
            client,
            waits,
            budgets: Budgets::new(budget, options.clock.clone()),
            tokens: AccessTokens::new(&options, waits, outlet.clone()),
            sessions: Sessions::default(),
            activity: Arc::new(Activity::new(&connector.name, Arc::new(Metrics::new()))),
            permit: Permit::of_no_connection(stop.clone()),
            stop,
            connector,
            options,
            outlet,
        })
    }

    /// Ends whatever is being read.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether readings are to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Takes a configuration: brings it up to date, checks it, and makes the streams that depend on it.
    ///
    /// # Errors
    /// When it does not fit the manifest's specification, a host is none, or the streams cannot be made.
    pub(super) async fn config(&self, value: Value) -> Result<Config, AirbyteError> {
        let clock = &self.options.clock;
        let taken = self.connector.take(value.clone(), clock).map_err(|problems| AirbyteError::Config { problems })?;
        let mut config = Config {
            is_migrated: taken.kept != value,
            kept: taken.kept,
            secrets: secrets(&self.connector, &taken.used),
            hosts: AllowedHosts::parse(self.connector.hosts_known(&taken.used, clock))?,
            connector: self.connector.clone(),
            sessions: self.sessions.of(&self.permit),
            value: taken.used,
        };
        if self.connector.manifest.depends_on_config() {
            let open = |connector: &Arc<Connector>, stream: &str| self.order_of(connector, stream, None, &config);
            config.connector = connector_for(&self.connector, &config.value, clock, open).await?;
            config.secrets = secrets(&config.connector, &config.value);
            config.hosts = AllowedHosts::parse(config.connector.hosts_known(&config.value, clock))?;
        }
        Ok(config)
    }

    /// What reading a stream needs.
    ///
    /// # Errors
    /// When there is no such stream, or its authenticator cannot be evaluated.
    pub(super) fn order(&self, stream: &str, state: Option<Value>, config: &Config) -> Result<StreamOrder, AirbyteError> {
        self.order_of(&config.connector, stream, state, config)
    }

    fn order_of(
        &self,
        connector: &Arc<Connector>,
        stream: &str,
        state: Option<Value>,
        config: &Config,
    ) -> Result<StreamOrder, AirbyteError> {
        let declared = connector.stream(stream).ok_or_else(|| missing(connector, stream))?;
        let mut access = Access::of_config(config.value.clone(), config.secrets.iter().map(Secret::duplicate).collect());
        if let Some(oauth) = own_authenticator(declared.requesters().into_iter(), &config.value) {
            let mut scope = Scope::new(self.options.clock.clone());
            scope.set("config", dynamic(&config.value));
            if let Some(renewer) = self.tokens.renewer(oauth, config, &scope, &self.client, &self.permit)? {
                access = access.with_tokens(renewer, Vec::new());
            }
        }
        access = access.with_sessions(config.sessions.clone());
        let rules: Vec<Rule> = connector.treatment.budgets.iter().map(Rule::from).collect();
        Ok(StreamOrder {
            connector: connector.clone(),
            stream: stream.to_owned(),
            state,
            compat: self.options.compat,
            access,
            hosts: config.hosts.clone(),
            budget: self.budgets.application(&connector.name, &rules),
            client: self.client.clone(),
            retries: self.retries(),
            permit: self.permit.clone(),
            clock: self.options.clock.clone(),
            requests: Arc::new(AtomicU64::new(0)),
            activity: self.activity.clone(),
        })
    }

    /// How often and how patiently is asked where the manifest does not say: as the reference engine, whose waits double from
    /// a second.
    fn retries(&self) -> Policy {
        Policy {
            initial_interval: Duration::from_secs(1),
            randomization: 0.0,
            server_wait_max: WAIT_MAX,
            waits: self.waits,
            ..Policy::default()
        }
    }
}

/// Why there is no such stream to read.
fn missing(connector: &Connector, stream: &str) -> AirbyteError {
    let refused = connector.manifest.refused().find(|refused| refused.name == stream);
    match refused.and_then(|refused| refused.problems.first()) {
        Some(problem) => AirbyteError::RefusedStream { stream: stream.to_owned(), problem: problem.clone() },
        None => AirbyteError::UnknownStream { stream: stream.to_owned() },
    }
}

/// The secret texts of a configuration.
fn secrets(connector: &Connector, config: &Value) -> Vec<Secret<String>> {
    let mut secrets = Vec::new();
    for path in connector.secret_paths() {
        let found = path.iter().try_fold(config, |value, name| value.get(name));
        found.into_iter().for_each(|value| add_texts(value, &mut secrets));
    }
    secrets
}
