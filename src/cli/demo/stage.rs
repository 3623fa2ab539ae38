//! What the story plays on: a shop that can be connected, a gateway over a data directory, and three who hold keys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::cli::demo::client;
use crate::cli::failure::Failure;
use crate::cli::opening::Opening;
use crate::cli::opening::compose;
use crate::cli::output::Output;
use crate::cli::transport::Client;
use crate::cli::transport::OwnDoor;
use crate::cli::transport::Request;
use crate::clock::Clock;
use crate::config::Access;
use crate::config::ConnectorConfig;
use crate::config::DataDirectory;
use crate::config::MasterKeySource;
use crate::config::Settings;
use crate::gateway::House;
use crate::ids::Entropy;
use crate::sandbox;
use crate::sandbox::Sandbox;
use crate::secret::Secret;

/// Whose shop is connected.
pub const TENANT: &str = "acme";

/// What the records may be used for.
pub const PURPOSE: &str = "fulfilment";

/// The connector that reads the shop.
pub const CONNECTOR: &str = "sandbox";

/// The gateway's name at the shop.
const CLIENT_ID: &str = "headgate-demo";

/// The certificate of the erasure.
const CERTIFICATE_FILE: &str = "headgate-demo-certificate.json";

/// The public keys that verify it.
const KEYS_FILE: &str = "headgate-demo-keys.json";

/// What the demo is told on the command line.
pub struct Plan {
    /// How many records the shop begins with.
    pub records: u64,
    /// Where the gateway listens; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// The servers, while they run, and the keys to them.
pub struct Stage {
    /// The Connected Application.
    pub sandbox: Sandbox,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// A backend service of the tenant.
    pub service: Client,
    /// The customer, as the tenant's own software speaks for it.
    pub customer: Client,
    /// The operator.
    pub operator: Client,
    /// The operator's key, to go on with after the story.
    pub operator_key: Secret<String>,
    /// What must never be readable in the data directory, whatever happens.
    pub secrets: Vec<Secret<String>>,
    /// The data directory.
    pub data: PathBuf,
    /// Whether the data directory goes when the demo ends.
    pub is_temporary: bool,
    /// Where the certificate is written.
    pub certificate: PathBuf,
    /// Where the keys that verify it are written.
    pub keys: PathBuf,
    local: Client,
    house: Arc<dyn House>,
    // Dropped last: the folder may go once nothing writes into it.
    _folder: Option<TempDir>,
}

impl Stage {
    /// Starts the shop, then the gateway, and registers each with the other.
    ///
    /// # Errors
    /// When a server cannot start or the data directory cannot be used.
    pub async fn set(plan: &Plan, opening: Opening<'_>, output: &mut Output) -> Result<Self, Failure> {
        let client_secret = Secret::new(BASE64URL_NOPAD.encode(&Entropy::system().bytes::<32>()));
        let options = sandbox::Options { records: plan.records, ..sandbox::Options::default() };
        let sandbox = Sandbox::start(options).await.map_err(|error| Failure::Open { source: error.into() })?;

        let (mut settings, folder) = settings(opening, output)?;
        let data = settings.directory.directory().clone();
        let refused = |source| Failure::Listen { address: plan.listen.to_string(), source };
        let listener = TcpListener::bind(plan.listen).await.map_err(refused)?;
        let gateway = listener.local_addr().map_err(refused)?;
        // Both servers speak over the loopback address, whatever the directory's own configuration says.
        settings.config.public_url = None;
        settings = settings.listening_on(gateway);
        settings.config.egress_allow.push(sandbox.address().to_string());
        let secret = Some(client_secret.duplicate());
        let registered = ConnectorConfig { client_id: Some(CLIENT_ID.into()), client_secret: secret, ..ConnectorConfig::default() };
        settings.config.connectors.insert(CONNECTOR.into(), registered);
        sandbox.register(sandbox::Client {
            id: CLIENT_ID.into(),
            secret: Some(client_secret.expose().clone()),
            redirect_uris: vec![format!("{}/oauth/callback", settings.public_url.as_str().trim_end_matches('/'))],
        });

        let house = compose(settings).await?;
        let mut door = OwnDoor::new(Arc::clone(&house), Some(listener));
        // Other commands work with --data while the demo runs.
        door.open_socket(data.socket())?;
        door.open_public()?;
        let local = Client::new(Box::new(door));
        let (service, customer) = (key(&local, "service").await?, key(&local, "customer").await?);
        let operator = key(&local, "operator").await?;
        let papers = if folder.is_some() { PathBuf::new() } else { data.path().to_owned() };
        Ok(Self {
            service: client::program(gateway, &service)?,
            customer: client::program(gateway, &customer)?,
            operator: client::program(gateway, &operator)?,
            operator_key: operator.duplicate(),
            secrets: vec![client_secret, service, customer, operator],
            is_temporary: folder.is_some(),
            certificate: papers.join(CERTIFICATE_FILE),
            keys: papers.join(KEYS_FILE),
            data: data.path().to_owned(),
            sandbox,
            gateway,
            local,
            house,
            _folder: folder,
        })
    }

    /// Lets connections pull by themselves, once the story is told.
    pub fn start_schedule(&self) {
        self.house.start_schedule();
    }

    /// Stops both servers; a temporary data directory goes with them.
    pub async fn strike(self) {
        self.local.door().close().await;
        self.sandbox.shutdown().await;
    }
}

/// What the gateway is opened with: over the directory of `--data`, or over a new one that is this demo's alone.
fn settings(opening: Opening<'_>, output: &mut Output) -> Result<(Settings, Option<TempDir>), Failure> {
    if opening.globals.data.is_some() {
        let held = opening.hold()?;
        return Ok((opening.settings(held, Clock::System, output)?, None));
    }
    let unmade = |source| Failure::FileAccess { path: std::env::temp_dir(), act: "written", source };
    let folder = tempfile::Builder::new().prefix("headgate-demo-").tempdir().map_err(unmade)?;
    // A folder below the temporary one, because the master key is kept beside the data directory. Nobody needs to be told
    // where it is: both go when the demo ends.
    let directory = DataDirectory::at(&folder.path().join("data"))?;
    match directory.access(opening.command, opening.globals.test, Clock::System.now())? {
        Access::Held(held) => {
            let settings = Settings::gather(held, None, &MasterKeySource::Beside, Clock::System, Entropy::system(), &mut |_| {})?;
            Ok((settings, Some(folder)))
        }
        Access::HeldBy(holder) => Err(Failure::Held { data: directory.path().into(), holder }),
    }
}

/// Makes an API key, as the operator of this machine.
async fn key(local: &Client, role: &str) -> Result<Secret<String>, Failure> {
    let tenant = if role == "operator" { Value::Null } else { TENANT.into() };
    let order = json!({"role": role, "tenant": tenant, "purposes": [PURPOSE]});
    let made = local.json(&Request::post(["admin", "keys"], order)).await?;
    Ok(Secret::new(made["key"].as_str().unwrap_or_default().to_owned()))
}
