//! Finding whoever holds the store: this process, when nobody does, or the one that does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::cli::Globals;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::transport::Client;
use crate::cli::transport::OwnDoor;
use crate::cli::transport::SocketDoor;
use crate::clock::Clock;
use crate::config::Access;
use crate::config::DataDirectory;
use crate::config::HeldDirectory;
use crate::config::MASTER_KEY_VARIABLE;
use crate::config::MasterKeySource;
use crate::config::Settings;
use crate::config::SettingsError;
use crate::gateway::Gateway;
use crate::gateway::House;
use crate::ids::Entropy;
use crate::secret::Secret;
use crate::vault::MasterKey;

/// How long a command waits for a holder that does not answer: a short command holds the store without answering, and a
/// server that starts answers soon.
const HOLDER_WAIT: Duration = Duration::from_secs(10);

/// The time between two attempts.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// `HEADGATE_CONFIG`: the configuration file, instead of the one in the data directory.
    pub config: Option<PathBuf>,
    /// `HEADGATE_MASTER_KEY`: the master key in base64.
    pub master_key: Option<Secret<String>>,
}

impl Environment {
    /// The process's own environment.
    pub fn of_process() -> Self {
        Self {
            config: std::env::var_os("HEADGATE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from),
            master_key: std::env::var(MASTER_KEY_VARIABLE).ok().filter(|text| !text.is_empty()).map(Secret::new),
        }
    }
}

/// How a command finds the gateway.
pub struct Opening<'a> {
    /// The options of every command.
    pub globals: &'a Globals,
    /// What the environment says.
    pub environment: Environment,
    /// The command's name, for the lock file.
    pub command: &'a str,
    /// Whether an application may be authorized, so that a browser has to find this process if it holds the store.
    pub is_visited: bool,
}

/// Who holds the store.
pub enum Found {
    /// Nobody did: this process does now.
    Nobody(Box<HeldDirectory>),
    /// Another process, and the way to it.
    Holder(Client),
}

impl Opening<'_> {
    /// The way to the gateway: in this process if nobody holds the store, else to the one that does.
    ///
    /// # Errors
    /// When the directory cannot be used, its configuration or key are wrong, or another process holds it and does not answer.
    pub async fn client(self, output: &mut Output) -> Result<Client, Failure> {
        match self.find().await? {
            Found::Nobody(held) => Ok(Client::new(Box::new(self.own(*held, output).await?))),
            Found::Holder(client) => Ok(client),
        }
    }

    /// Whoever holds the store; this process does from now on, if nobody did.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process holds it and does not answer.
    pub async fn find(&self) -> Result<Found, Failure> {
        let directory = DataDirectory::at(self.globals.data())?;
        let deadline = Instant::now() + HOLDER_WAIT;
        loop {
            let holder = match directory.access(self.command, self.globals.test, Clock::System.now())? {
                Access::Held(held) => return Ok(Found::Nobody(Box::new(held))),
                Access::HeldBy(holder) => holder,
            };
            let door = SocketDoor::new(&directory.socket()).map_err(|broken| Failure::Open { source: broken.source })?;
            match door.probe().await {
                Ok(()) => return Ok(Found::Holder(Client::new(Box::new(door)))),
                Err(broken) if Instant::now() >= deadline => {
                    let (data, socket) = (directory.path().into(), directory.socket());
                    return Err(Failure::Unanswered { data, holder, socket, source: broken.source });
                }
                Err(_) => tokio::time::sleep(TRY_EVERY).await,
            }
        }
    }

    async fn own(self, held: HeldDirectory, output: &mut Output) -> Result<OwnDoor, Failure> {
        let is_visited = self.is_visited;
        let socket = held.directory().socket();
        let mut settings = self.settings(held, Clock::System, output)?;
        // Whether the browser comes is known only later, so a taken address is no error yet.
        let listener = if is_visited { TcpListener::bind(settings.config.listen).await.ok() } else { None };
        if let Some(address) = listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
            settings = settings.listening_on(address);
        }
        let mut door = OwnDoor::new(compose(settings).await?, listener);
        if let Err(failure) = door.open_socket(socket) {
            output.say(&format!("headgate: other commands have to wait until this one has ended: {}", failure.told()));
        }
        Ok(door)
    }

    /// Takes the directory for a command that must hold it itself.
    ///
    /// # Errors
    /// When another process has it, or it cannot be used.
    pub fn hold(&self) -> Result<HeldDirectory, Failure> {
        let directory = DataDirectory::at(self.globals.data())?;
        match directory.access(self.command, self.globals.test, Clock::System.now())? {
            Access::Held(held) => Ok(held),
            Access::HeldBy(holder) => Err(Failure::Held { data: directory.path().into(), holder }),
        }
    }

    /// The master key of what is there: none is made.
    ///
    /// # Errors
    /// When it is malformed or missing.
    pub fn master_key(self, held: &HeldDirectory, output: &mut Output) -> Result<MasterKey, Failure> {
        let mut announce = |message: String| output.say(&format!("headgate: {message}"));
        let source = key_source(self.globals, self.environment.master_key);
        let key = source.resolve(held.directory().path(), false, &Entropy::system(), &mut announce);
        Ok(key.map_err(SettingsError::MasterKey)?)
    }

    /// Gathers what a gateway is opened with.
    ///
    /// # Errors
    /// When the configuration or the master key is malformed or missing.
    pub fn settings(self, held: HeldDirectory, clock: Clock, output: &mut Output) -> Result<Settings, Failure> {
        let Environment { config, master_key } = self.environment;
        let key = key_source(self.globals, master_key);
        let config = config.as_deref();
        let mut announce = |message: String| output.say(&format!("headgate: {message}"));
        Ok(Settings::gather(held, config, &key, clock, Entropy::system(), &mut announce)?)
    }
}

fn key_source(globals: &Globals, of_environment: Option<Secret<String>>) -> MasterKeySource {
    match (&globals.master_key_file, &globals.master_key_command, of_environment) {
        (Some(path), ..) => MasterKeySource::File(path.clone()),
        (_, Some(command), _) => MasterKeySource::Command(command.clone()),
        (_, _, Some(text)) => MasterKeySource::Text(text),
        (None, None, None) => MasterKeySource::Beside,
    }
}

/// Opens the gateway in this process.
///
/// # Errors
/// When the store or the keyring cannot be opened.
pub async fn compose(settings: Settings) -> Result<Arc<dyn House>, Failure> {
    let gateway = Gateway::open(settings).await.map_err(|error| Failure::Open { source: Box::new(error) })?;
    Ok(Arc::new(gateway))
}
