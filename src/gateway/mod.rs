//! Composition: one data directory opened, its services joined, its workers started and ended.

mod house;
pub mod scrub;
pub mod services;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::api::Api;
use crate::api::door::Door;
use crate::api::keep;
use crate::api::problem::Problem;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::AuditError;
use crate::audit::Entry;
use crate::audit::Log;
use crate::authorization::keeping::Authorizations;
use crate::authorization::keeping::CredentialKeeper;
use crate::authorization::renewal::Renewers;
use crate::clock::Clock;
use crate::config::ConnectorConfig;
use crate::config::HeldDirectory;
use crate::config::Settings;
use crate::connect;
use crate::connect::Connecting;
use crate::connect::Surrenders;
use crate::connection::Connections;
use crate::connection::Connectors;
use crate::connection::ConnectorsError;
use crate::connection::Definitions;
use crate::connection::gate::Gates;
use crate::copies::Copies;
use crate::disclosure::Disclosures;
use crate::erasure;
use crate::erasure::ErasureError;
use crate::erasure::Erasures;
use crate::fetch::budget;
use crate::fetch::budget::Budgets;
use crate::fetch::client::Client;
use crate::fetch::egress::Egress;
use crate::fetch::egress::EgressError;
use crate::fetch::egress::Rewrites;
use crate::fetch::grants::Grants;
use crate::fetch::grants::Registration;
use crate::fetch::retry::Policy;
use crate::ids::Entropy;
use crate::intake::Intake;
use crate::lineage::Reader;
use crate::lineage::Volume;
use crate::openlineage::Graph;
use crate::revocation::RevocationError;
use crate::revocation::Revocations;
use crate::run::Pulls;
use crate::run::RunError;
use crate::run::Scheduler;
use crate::run::Sources;
use crate::store;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::watch::Ending;
use crate::telemetry::metrics::Metrics;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::house::House;

use self::scrub::Scrubs;

/// How often what is past is forgotten: links, idempotent answers, idle budgets.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);
/// How often the disk is looked at.
const DISK_LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a signed checkpoint of the audit log is kept (TRUST.md 2.4: at least one an hour).
const CHECKPOINT_EVERY: Duration = Duration::from_secs(3600);

/// The exit code of a process whose store has hung or panicked.
const EXIT_ENDED: u8 = 1;

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The keyring.
    #[error("the keyring cannot be opened")]
    Vault(#[from] VaultError),
    /// The store.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// It was opened without a damaged snapshot, and something in it is not as it was written.
    #[error(
        "the store was opened without its damaged snapshot, and {problems} things in it are not as they were written ({first}); see \
         all with `headgate store check`, and bring a backup back with `headgate store restore`"
    )]
    Unverified {
        /// How many.
        problems: usize,
        /// The first of them.
        first: String,
    },
    /// A connector.
    #[error("a connector cannot be used")]
    Connectors(#[from] ConnectorsError),
    /// The egress list or a rewrite.
    #[error("the configuration's egress list or a rewrite cannot be used")]
    Egress(#[from] EgressError),
    /// The HTTP client.
    #[error("the HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
    /// The audit log.
    #[error("the audit log cannot be written, and nothing is served without it")]
    Audit(#[from] AuditError),
    /// A revocation that was interrupted.
    #[error("a revocation that was interrupted cannot be finished")]
    Revocation(#[from] RevocationError),
    /// An erasure that was interrupted.
    #[error("an erasure that was interrupted cannot be finished")]
    Erasure(#[from] ErasureError),
    /// A run that was interrupted.
    #[error("the runs that were interrupted cannot be marked")]
    Run(#[from] RunError),
}

/// An open data directory with everything that works on it.
pub struct Gateway {
    api: Arc<Api>,
    scheduler: Scheduler,
    parts: services::Parts,
    pending: Authorizations,
    budgets: Arc<Budgets>,
    clock: Clock,
    end: CancellationToken,
    tasks: TaskTracker,
    /// Held until everything else is closed; the lock of the directory goes with it.
    directory: Mutex<Option<HeldDirectory>>,
}

impl Gateway {
    /// Opens a data directory: keyring, store and log, then what a crash left undone, then the services.
    ///
    /// # Errors
    /// When a part cannot be opened; the message says which and what to do.
    pub async fn open(settings: Settings) -> Result<Self, GatewayError> {
        let Settings { directory, config, public_url, master_key, clock, entropy } = settings;
        let (path, test) = (directory.directory().path().to_owned(), directory.is_test());
        Store::finish_replacing(&path)?;
        // Never beside a store: what stands there is sealed under a keyring that is missing.
        let fresh = !Vault::is_in(&path) && !path.join("store").exists();
        let vault = if fresh {
            Vault::create(&path, &master_key, entropy.clone(), clock.clone())?
        } else {
            Vault::open(&path, &master_key, entropy.clone(), clock.clone())?
        };
        let vault = Arc::new(vault);
        let metrics = Arc::new(Metrics::new());
        let options = store::Options {
            metrics: metrics.clone(),
            end: Arc::new(end_process),
            disk: config.disk,
            clock: clock.clone(),
            ..store::Options::default()
        };
        let store = Store::open(&path, &options)?;
        let readable = scrub::Ground::new(store.clone(), vault.clone(), clock.clone(), entropy.clone());
        verify_unless_verified(&store, &readable, &clock).await?;
        let log = Log::new(store.clone(), vault.clone());
        if log.head()?.size == 0 {
            log.append(&[Entry::new(clock.now(), Actor::System, Action::StoreCreated)]).await?;
        }
        let connections = Connections::new(store.clone(), vault.clone(), Gates::new(store.clone()), clock.clone(), entropy.clone());
        let connectors = Connectors::load(store.clone(), clock.clone(), &config.connector_dirs)?;
        let client = Client::new(Egress::parse(&config.egress_allow)?, config.fetch, clock.clone())?;
        let keeper = Arc::new(CredentialKeeper::new(store.clone(), connections.clone(), clock.clone()));
        let registrations = registrations(config.connectors)?;
        let grants = Grants::new(client.clone(), Renewers::new(keeper, clock.clone()), registrations, clock.clone());
        let budgets = Arc::new(Budgets::new(budget::Options::default(), clock.clone()));
        let pending = Authorizations::new(store.clone(), vault.clone());
        let ground = Ground {
            graph: Graph::new(store.clone(), vault.clone(), connections.clone(), clock.clone()),
            store,
            vault,
            log,
            connections,
            connectors,
            clock: clock.clone(),
            entropy: entropy.clone(),
            metrics: metrics.clone(),
            scrubs: Scrubs::new(readable),
            data: path,
            test,
        };
        let acts = Acts::new(&ground, grants, budgets.clone(), client, pending.clone(), public_url.clone());
        acts.resume().await?;
        let parts = acts.parts(ground);
        let book = Arc::new(parts.store.clone());
        let api = Api {
            services: services::services(&parts),
            keys: book.clone(),
            answers: book.clone(),
            sessions: book,
            under_way: Default::default(),
            clock: clock.clone(),
            entropy,
            metrics,
            public_url,
        };
        let gateway = Gateway {
            api: Arc::new(api),
            scheduler: parts.scheduler.clone(),
            parts,
            pending,
            budgets,
            clock,
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
            directory: Mutex::new(Some(directory)),
        };
        gateway.keep_house();
        gateway.watch_disk();
        Ok(gateway)
    }

    /// Forgets what is past and keeps checkpoints, until the end.
    fn keep_house(&self) {
        let (store, pending, budgets, log) = (self.parts.store.clone(), self.pending.clone(), self.budgets.clone(), self.parts.log.clone());
        let (clock, end) = (self.clock.clone(), self.end.clone());
        self.tasks.spawn(async move {
            let mut housekeeping = tokio::time::interval(HOUSEKEEPING_EVERY);
            let mut checkpoints = tokio::time::interval_at(tokio::time::Instant::now() + CHECKPOINT_EVERY, CHECKPOINT_EVERY);
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    _ = housekeeping.tick() => {
                        budgets.sweep();
                        let swept = pending.sweep(clock.now()).await;
                        let forgotten = keep::forget_past(&store, clock.now()).await;
                        if let Err(error) = swept.and(forgotten) {
                            tracing::warn!(error = &error as &dyn std::error::Error, "what is past is not forgotten yet");
                        }
                    }
                    _ = checkpoints.tick() => {
                        if let Err(error) = log.checkpoint().await {
                            tracing::error!(error = &error as &dyn std::error::Error, "the hourly checkpoint is not kept");
                        }
                    }
                }
            }
        });
    }

    /// Looks at the disk, until the end. Apart from the housekeeping, for a look may have to count many rows.
    fn watch_disk(&self) {
        let (store, end) = (self.parts.store.clone(), self.end.clone());
        self.tasks.spawn(async move {
            let mut looks = tokio::time::interval(DISK_LOOK_EVERY);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut failing = false;
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    _ = looks.tick() => {}
                }
                let (looked, stopping) = (store.clone(), end.clone());
                let look = tokio::task::spawn_blocking(move || look(&looked, &stopping)).await;
                if let Ok(Err(error)) = &look
                    && !failing
                {
                    tracing::warn!(error = error as &dyn std::error::Error, "the room on the disk cannot be told");
                }
                failing = !matches!(look, Ok(Ok(_)));
            }
        });
    }

    async fn shut(&self) {
        self.end.cancel();
        self.parts.pulls.close().await;
        self.parts.scrubs.close().await;
        self.parts.revocations.close().await;
        self.parts.copies.close().await;
        self.parts.erasures.close().await;
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.parts.store.settle().await {
            tracing::error!(error = &error as &dyn std::error::Error, "the store did not settle; what it had acknowledged is on disk");
        }
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl House for Gateway {
    fn local(&self) -> Router {
        durable(api::router(self.api.clone(), Door::Local), &self.parts.store)
    }

    fn public(&self) -> Router {
        durable(api::router(self.api.clone(), Door::Network), &self.parts.store)
    }

    fn start_schedule(&self) {
        let (scheduler, end) = (self.scheduler.clone(), self.end.clone());
        self.tasks.spawn(async move { scheduler.run(end).await });
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shut().boxed()
    }
}

/// Reads everything again after a snapshot was set aside: nothing is served that is not as it was written.
async fn verify_unless_verified(store: &Store, ground: &scrub::Ground, clock: &Clock) -> Result<(), GatewayError> {
    if store.set_aside()?.iter().all(|aside| aside.verified) {
        return Ok(());
    }
    let (ground, clock) = (ground.clone(), clock.clone());
    let read = tokio::task::spawn_blocking(move || {
        let report = scrub::scrub(&ground, scrub::Pace::Full, &mut scrub::Nobody);
        let verified = scrub::settle_snapshots(&ground, &report, &clock);
        (report, verified)
    });
    match read.await {
        Ok((_, true)) => Ok(()),
        Ok((report, false)) => {
            let first = report.of_the_engine().next().map(|problem| problem.what.clone()).unwrap_or_default();
            Err(GatewayError::Unverified { problems: report.of_the_engine().count(), first })
        }
        // The watchdog has ended the process, or is about to.
        Err(_) => Err(StoreError::Stopped.into()),
    }
}

/// Ends the process when the store has hung or panicked: it never comes back, and nobody knows what it would do next. What
/// was acknowledged is on disk, and the next start reads the stops before anything else.
fn end_process(ending: &Ending) {
    tracing::error!(
        store.ending = %ending,
        "headgate ends: {ending}; nothing that was acknowledged is lost; start it again, and see with `headgate store check` \
         whether the store is damaged"
    );
    std::process::exit(i32::from(EXIT_ENDED));
}

/// Looks at the disk and at what a record takes of it.
fn look(store: &Store, stopping: &CancellationToken) -> Result<(), StoreError> {
    store.look_at_disk(|| stopping.is_cancelled())?;
    let (volume, (engine, segments)) = (Volume::of(store)?, store.disk_bytes()?);
    store.metrics().bytes_per_record.set(volume.per_record(engine + segments).unwrap_or_default());
    store.metrics().lineage_bytes_per_record.set(volume.lineage_per_version().unwrap_or_default());
    Ok(())
}

/// Lets no answer out before what it tells is on disk (P5): a read sees a page while the page's sync is still under way.
///
/// When the store can make nothing durable any more, reads are not served; acts have waited for their own units.
fn durable(router: Router, store: &Store) -> Router {
    let store = store.clone();
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (store, reads) = (store.clone(), request.method().is_safe());
        let is_lineage = is_lineage(request.uri().path());
        async move {
            let answer = next.run(request).await;
            // The log's entries about questions of lineage need not be on disk yet (P8), and these answers tell of no entry.
            let durable = if is_lineage { store.rows_seen_are_durable().await } else { store.seen_is_durable().await };
            match durable {
                Err(source) if reads => Problem::Unavailable { what: "the store", source: Box::new(source) }.into_response(),
                _ => answer,
            }
        }
    }))
}

/// Whether what is asked for is where something came from, and no payload.
fn is_lineage(path: &str) -> bool {
    path.starts_with("/v1/lineage") || (path.starts_with("/v1/records/") && path.ends_with("/lineage"))
}

/// What everything stands on.
struct Ground {
    store: Store,
    vault: Arc<Vault>,
    log: Log,
    connections: Connections,
    connectors: Connectors,
    graph: Graph,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
    scrubs: Scrubs,
    data: PathBuf,
    test: bool,
}

/// What is done with connections.
struct Acts {
    definitions: Definitions,
    connecting: Connecting,
    pulls: Pulls,
    scheduler: Scheduler,
    revocations: Revocations,
    erasures: Erasures,
    reader: Reader,
    disclosures: Disclosures,
}

impl Acts {
    fn new(ground: &Ground, grants: Grants, budgets: Arc<Budgets>, client: Client, pending: Authorizations, public_url: url::Url) -> Self {
        let Ground { store, vault, log, connections, clock, entropy, test, .. } = ground;
        let definitions = Definitions::new(store.clone());
        let connecting = Connecting::new(connect::Parts {
            store: store.clone(),
            connections: connections.clone(),
            definitions: definitions.clone(),
            grants: grants.clone(),
            pending,
            public_url,
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let intake = Intake::new(store.clone(), vault.clone());
        let surrenders = Surrenders::new(connections.clone(), definitions.clone(), grants.clone());
        let sources = Sources {
            connections: connections.clone(),
            definitions: definitions.clone(),
            grants,
            budgets,
            client,
            retries: Policy::default(),
            clock: clock.clone(),
            metrics: ground.metrics.clone(),
            activities: Arc::default(),
            made: Arc::default(),
        };
        let pulls = Pulls::new(store.clone(), connections.clone(), intake.clone(), sources, clock.clone(), entropy.clone());
        let (clock_of, entropy_of) = (clock.clone(), entropy.clone());
        let erasing = erasure::Ground { belongings: Arc::new(store.clone()), clock: clock.clone(), entropy: entropy.clone(), test: *test };
        Acts {
            definitions,
            connecting,
            scheduler: Scheduler::new(pulls.clone(), store.clone(), connections.clone(), clock.clone(), entropy.clone()),
            pulls,
            revocations: Revocations::new(
                store.clone(),
                vault.clone(),
                connections.clone(),
                Arc::new(surrenders),
                (clock_of, entropy_of, *test),
            ),
            erasures: Erasures::new(connections.clone(), intake, store.clone(), vault.clone(), log.clone(), erasing),
            reader: Reader::new(store.clone(), vault.clone()),
            disclosures: Disclosures::new(store.clone(), vault.clone(), entropy.clone()),
        }
    }

    /// Finishes what a crash left: stops first, then runs, then erasures.
    async fn resume(&self) -> Result<(), GatewayError> {
        self.revocations.resume().await?;
        self.pulls.resume().await?;
        self.erasures.resume().await?;
        Ok(())
    }

    fn parts(self, ground: Ground) -> services::Parts {
        let copies = Copies::new(ground.store.clone(), ground.vault.clone(), ground.log.clone(), ground.clock.clone(), ground.test);
        services::Parts {
            copies,
            store: ground.store,
            vault: ground.vault,
            connections: ground.connections,
            connectors: ground.connectors,
            graph: ground.graph,
            definitions: self.definitions,
            connecting: self.connecting,
            pulls: self.pulls,
            scheduler: self.scheduler,
            revocations: self.revocations,
            erasures: self.erasures,
            reader: self.reader,
            disclosures: self.disclosures,
            log: ground.log,
            scrubs: ground.scrubs,
            clock: ground.clock,
            entropy: ground.entropy,
            data: ground.data,
            test: ground.test,
        }
    }
}

/// What the operator registered, by connector.
fn registrations(connectors: BTreeMap<String, ConnectorConfig>) -> Result<BTreeMap<String, Registration>, EgressError> {
    let registration = |(name, config): (String, ConnectorConfig)| {
        let pairs: Vec<(String, String)> =
            config.rewrite.iter().map(|rewrite| (rewrite.from.to_string(), rewrite.to.to_string())).collect();
        let rewrites = Arc::new(Rewrites::parse(pairs.iter().map(|(from, to)| (from.as_str(), to.as_str())))?);
        Ok((name, Registration { client_id: config.client_id, client_secret: config.client_secret, rewrites }))
    };
    connectors.into_iter().map(registration).collect()
}
