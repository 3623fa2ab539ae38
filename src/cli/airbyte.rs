//! `headgate airbyte`: a manifest as a source of the Airbyte protocol.
//!
//! The one command that is no client of the HTTP face: it works without a data directory, so there is no gateway to ask.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use crate::airbyte;
use crate::airbyte::AirbyteError;
use crate::airbyte::Catalog;
use crate::airbyte::Options;
use crate::airbyte::Outlet;
use crate::airbyte::OutletError;
use crate::airbyte::ReadError;
use crate::airbyte::Source;
use crate::airbyte::States;
use crate::cli::failure::Failure;
use crate::cli::serve::until_stopped;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connector::reading;

#[derive(Debug, Subcommand)]
pub enum Airbyte {
    /// What a configuration holds.
    Spec(Common),
    /// Whether the application can be read with a configuration.
    Check(Check),
    /// Which streams there are.
    Discover(Discover),
    /// Read the streams of a configured catalog.
    Read(Read),
}

#[derive(Debug, Args)]
pub struct Common {
    /// The manifest: a file, or a folder with manifest.yaml and perhaps headgate.yaml.
    #[arg(long, value_name = "PATH")]
    manifest_path: PathBuf,
    /// Stop the clock at this time (RFC 3339); waits then return at once.
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Allow requests to this machine, also by plain http.
    #[arg(long)]
    allow_loopback: bool,
    /// Reproduce the reference engine's mistakes, or be right where it is wrong.
    #[arg(long, value_enum, default_value_t = Compat::Strict)]
    compat: Compat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compat {
    Strict,
    Safe,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    common: Common,
    /// The configuration, a JSON file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
pub struct Discover {
    #[command(flatten)]
    common: Common,
    /// The configuration, a JSON file; streams that are made from a configuration need one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Read {
    #[command(flatten)]
    common: Common,
    /// The configuration, a JSON file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The configured catalog, a JSON file.
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
    /// The state of the last reading, a JSON file.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

impl Airbyte {
    /// Carries the command out; messages go to standard output.
    ///
    /// # Errors
    /// When a file is malformed, or a stream was not read to its end.
    pub async fn carry_out(self) -> Result<(), Failure> {
        let outlet = Outlet::new(std::io::stdout());
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move {
            if until_stopped().await.is_ok() {
                stopping.cancel();
            }
        });
        let outcome = self.answered(&outlet, stop).await;
        match outcome {
            // The client reads standard output and nothing else, so a command that fails as a whole is told there too.
            Err(Failure::Airbyte(error)) => {
                written(outlet.message(&error.message(Clock::System.now())))?;
                Err(Failure::Airbyte(error))
            }
            other => other,
        }
    }

    async fn answered(self, outlet: &Outlet, stop: CancellationToken) -> Result<(), Failure> {
        match self {
            Airbyte::Spec(common) => written(outlet.message(&common.source(outlet, stop)?.spec())),
            Airbyte::Check(check) => {
                let source = check.common.source(outlet, stop)?;
                let config = airbyte::config(&check.config)?;
                written(outlet.message(&source.check(config).await))
            }
            Airbyte::Discover(discover) => {
                let source = discover.common.source(outlet, stop)?;
                let config = discover.config.as_deref().map(airbyte::config).transpose()?;
                written(outlet.message(&source.discover(config).await?))
            }
            Airbyte::Read(read) => read.carry_out(outlet, stop).await,
        }
    }
}

fn written(outcome: Result<(), OutletError>) -> Result<(), Failure> {
    outcome.map_err(|error| match error {
        OutletError::Closed => Failure::Closed,
        OutletError::Failed { source } => Failure::Output { source },
    })
}

impl Common {
    fn source(&self, outlet: &Outlet, stop: CancellationToken) -> Result<Source, AirbyteError> {
        let compat = match self.compat {
            Compat::Strict => reading::Compat::Strict,
            Compat::Safe => reading::Compat::Safe,
        };
        let clock = self.now.map_or(Clock::System, Clock::manual);
        Source::open(&self.manifest_path, Options { compat, clock, allow_loopback: self.allow_loopback }, outlet.clone(), stop)
    }
}

impl Read {
    async fn carry_out(self, outlet: &Outlet, stop: CancellationToken) -> Result<(), Failure> {
        let source = self.common.source(outlet, stop)?;
        let config = airbyte::config(&self.config)?;
        let catalog = Catalog::read(&self.catalog)?;
        let states = self.state.as_deref().map_or_else(|| Ok(States::default()), States::read)?;
        match source.read(config, &catalog, &states).await {
            Ok(ended) if ended.incomplete == 0 => Ok(()),
            Ok(ended) => Err(Failure::outcome(format!("{} of {} streams are incomplete", ended.incomplete, catalog.streams.len()))),
            Err(ReadError::Refused(error)) => Err(error.into()),
            Err(ReadError::Outlet(error)) => written(Err(error)),
        }
    }
}
