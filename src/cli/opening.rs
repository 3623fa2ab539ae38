//! Finding whoever holds the store: this process, when nobody does, or the one that does.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::Globals;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::transport::Client;
use crate::cli::transport::SocketDoor;
use crate::clock::Clock;
use crate::config::Access;
use crate::config::DataDirectory;
use crate::config::HeldDirectory;
use crate::config::MASTER_KEY_VARIABLE;
use crate::config::MasterKeySource;
use crate::config::Settings;
use crate::ids::Entropy;
use crate::secret::Secret;

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

/// The way to the gateway over the data directory that `globals` name.
///
/// # Errors
/// When the directory cannot be used, its configuration or key are wrong, or another process holds it and does not answer.
pub async fn open(globals: &Globals, command: &str, environment: Environment, output: &mut Output) -> Result<Client, Failure> {
    let directory = DataDirectory::at(&globals.data)?;
    let clock = Clock::System;
    let deadline = Instant::now() + HOLDER_WAIT;
    loop {
        let holder = match directory.access(command, globals.test, clock.now())? {
            Access::Held(held) => return compose(settings(held, globals, environment, clock, output)?).await,
            Access::HeldBy(holder) => holder,
        };
        let door = SocketDoor::new(&directory.socket()).map_err(|broken| Failure::Open { source: broken.source })?;
        match door.probe().await {
            Ok(()) => return Ok(Client::new(Box::new(door))),
            Err(broken) if Instant::now() >= deadline => {
                let (data, socket) = (directory.path().into(), directory.socket());
                return Err(Failure::Unanswered { data, holder, socket, source: broken.source });
            }
            Err(_) => tokio::time::sleep(TRY_EVERY).await,
        }
    }
}

/// Gathers what a gateway is opened with.
pub fn settings(
    held: HeldDirectory,
    globals: &Globals,
    environment: Environment,
    clock: Clock,
    output: &mut Output,
) -> Result<Settings, Failure> {
    let key = match (&globals.master_key_file, &globals.master_key_command, environment.master_key) {
        (Some(path), ..) => MasterKeySource::File(path.clone()),
        (_, Some(command), _) => MasterKeySource::Command(command.clone()),
        (_, _, Some(text)) => MasterKeySource::Text(text),
        (None, None, None) => MasterKeySource::Beside,
    };
    let config = environment.config.as_deref();
    let mut announce = |message: String| output.say(&format!("headgate: {message}"));
    Ok(Settings::gather(held, config, &key, clock, Entropy::system(), &mut announce)?)
}

/// Opens the gateway in this process.
async fn compose(settings: Settings) -> Result<Client, Failure> {
    let data = settings.directory.directory().path().display().to_string();
    Err(Failure::Open { source: format!("this build has no gateway to open over {data}").into() })
}
