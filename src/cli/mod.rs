//! The command line: a client of the HTTP face.
//!
//! A command builds requests, sends them through a [`transport::Door`] and says what came back, so its `--json` result is
//! the endpoint's own JSON. `Command` lists every command; each has a file of its own here.

mod airbyte;
mod audit;
mod certificate;
mod check;
mod connect;
mod connections;
mod connectors;
mod demo;
mod erase;
mod explain;
mod failure;
mod impact;
mod keyring;
mod keys;
mod lineage;
mod opening;
mod output;
mod pages;
mod progress;
mod records;
mod revoke;
mod run;
mod serve;
mod store;
mod tenants;
#[cfg(test)]
mod tests;
pub mod transport;

pub use failure::EXIT_MALFORMED;
pub use failure::EXIT_REFUSED;
pub use failure::Failure;
pub use failure::Problem;
pub use opening::Environment;
pub use output::Output;

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::cli::certificate::Certificate;
use crate::cli::connections::Connections;
use crate::cli::connectors::Connectors;
use crate::cli::keyring::Keyring;
use crate::cli::opening::Opening;
use crate::cli::tenants::Tenants;
use crate::cli::transport::Client;
use crate::telemetry::log;
use crate::telemetry::log::Format;

/// The data directory when none is named.
const DATA_DEFAULT: &str = "./headgate-data";

/// A connector gateway whose every record knows where it came from, and that stops, and deletes, provably.
#[derive(Debug, Parser)]
#[command(name = "headgate", version, propagate_version = true, max_term_width = 120, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done; 1 well-formed but refused, failed or not verified; 2 the command line, the \
                        configuration, a manifest or a file is malformed.")]
pub struct CommandLine {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// The data directory; made, readable by its owner alone, when it is absent or empty [default: ./headgate-data].
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print results as JSON, one object a line, the last one in the shape of the matching endpoint; messages go to standard
    /// error.
    #[arg(long, global = true)]
    json: bool,
    /// The file that holds the master key: 32 bytes in base64. Without this, the command below or HEADGATE_MASTER_KEY, it is
    /// `<DIR>.master.key`, made with a new directory.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "master_key_command")]
    master_key_file: Option<PathBuf>,
    /// A shell command that prints the master key.
    #[arg(long, global = true, value_name = "COMMAND")]
    master_key_command: Option<String>,
    /// Make a new data directory a test directory, for good: it may rewrite hosts and take its time from a file, and what it
    /// signs says `test: true`. Refused for a directory that was made without.
    #[arg(long, global = true)]
    test: bool,
}

impl Globals {
    fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(DATA_DEFAULT))
    }
}

/// Every command: those that hold the store for as long as they run, then those that ask whoever holds it.
#[derive(Debug, Subcommand)]
enum Command {
    /// The whole life of a connection on a built-in sandbox application: connect, pull, trace, revoke, erase, prove. Needs
    /// nothing; works in a temporary directory unless --data is given.
    Demo(demo::Demo),
    /// Serve the HTTP face, let connections pull by themselves, and answer the other commands.
    Serve(serve::Serve),
    /// A manifest as a source of the Airbyte protocol, on standard output: without a data directory, and keeping nothing.
    #[command(subcommand)]
    Airbyte(airbyte::Airbyte),
    #[command(flatten)]
    Asking(Asking),
}

/// The commands that ask the gateway, whether it is in this process or in another.
#[derive(Debug, Subcommand)]
enum Asking {
    /// Applications that can be connected.
    #[command(subcommand)]
    Connectors(Connectors),
    /// Connect an application for a tenant, with the customer's consent.
    Connect(connect::Connect),
    /// Connections: what is connected, for whom, in which state.
    #[command(subcommand)]
    Connections(Connections),
    /// Pull a connection now, and wait until its runs have ended.
    Run(run::Run),
    /// Read the records of a stream.
    Records(records::Records),
    /// Where a record came from and where it went, or everything known under a business key.
    Lineage(lineage::Lineage),
    /// What the fields of a record are made of, derived anew and compared with what is answered.
    Explain(explain::Explain),
    /// Stop: nothing is fetched any more. What was fetched before stays, until it is erased.
    Revoke(revoke::Revoke),
    /// Make what was fetched unreadable, for good, with a certificate.
    Erase(erase::Erase),
    /// Certificates of erasure: print one, or verify one without service or store.
    #[command(subcommand)]
    Certificate(Certificate),
    /// The audit log: read it, verify it, prove an entry.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// API keys, and the public keys that verify what is signed here.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Tenants: for whom there are connections, and whose data was erased.
    #[command(subcommand)]
    Tenants(Tenants),
    /// The keys that everything stands under: rotate them, copy them.
    #[command(subcommand)]
    Keyring(Keyring),
    /// The store: its size, and copies of it.
    #[command(subcommand)]
    Store(store::Store),
}

/// What a command works with: the way to the gateway, and where its words go.
struct Session<'a> {
    client: Client,
    output: &'a mut Output,
}

/// Runs a command line to its end and gives the exit code. Failures are told on standard error.
pub async fn run(line: CommandLine, environment: Environment) -> u8 {
    let format = if line.globals.json { Format::Json } else { Format::Text };
    log::start(format, line.command.logged());
    let mut output = Output::standard(line.globals.json);
    let outcome = line.command.open_and_carry_out(&line.globals, environment, &mut output).await;
    exit_code(outcome, &mut output)
}

fn exit_code(outcome: Result<(), Failure>, output: &mut Output) -> u8 {
    let Err(failure) = outcome else { return 0 };
    if !matches!(failure, Failure::Closed) {
        output.say(&format!("headgate: {}", failure.told()));
    }
    failure.exit_code()
}

impl Command {
    async fn open_and_carry_out(self, globals: &Globals, environment: Environment, output: &mut Output) -> Result<(), Failure> {
        let opening = Opening { globals, environment, command: self.name(), is_visited: self.is_visited() };
        let asking = match self {
            Command::Demo(demo) => return demo.carry_out(opening, output).await,
            Command::Serve(serve) => return serve.carry_out(opening, output).await,
            Command::Airbyte(airbyte) => return airbyte.carry_out().await,
            Command::Asking(Asking::Certificate(Certificate::Verify(verify))) => return verify.carry_out(output),
            Command::Asking(Asking::Connectors(Connectors::Check(check))) => return check.carry_out(output),
            Command::Asking(Asking::Store(store::Store::Restore(restore))) => return restore.carry_out(opening, output).await,
            Command::Asking(Asking::Store(store::Store::Check(check))) => return check.carry_out(opening, output).await,
            Command::Asking(Asking::Store(store::Store::Scrub)) => return check::scrub(globals),
            Command::Asking(asking) => asking,
        };
        let client = opening.client(output).await?;
        let mut session = Session { client, output };
        let outcome = asking.carry_out(&mut session).await;
        session.client.door().finish().await;
        outcome
    }

    /// The command's word, by which another process names the holder of the store.
    fn name(&self) -> &'static str {
        match self {
            Command::Demo(_) => "demo",
            Command::Serve(_) => "serve",
            Command::Airbyte(_) => "airbyte",
            Command::Asking(asking) => asking.name(),
        }
    }

    /// What is logged when `HEADGATE_LOG` says nothing: a server tells what it does, a command has its own words.
    fn logged(&self) -> &'static str {
        match self {
            Command::Serve(_) => "info",
            // What it sets aside is told.
            Command::Asking(Asking::Store(store::Store::Scrub)) => "headgate=warn,error",
            _ => "error",
        }
    }

    /// Whether a browser may come back to this process from an application.
    fn is_visited(&self) -> bool {
        matches!(self, Command::Asking(Asking::Connect(_) | Asking::Connections(Connections::Reconnect { .. })))
    }
}

impl Asking {
    async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Asking::Connectors(command) => command.carry_out(session).await,
            Asking::Connect(command) => command.carry_out(session).await,
            Asking::Connections(command) => command.carry_out(session).await,
            Asking::Run(command) => command.carry_out(session).await,
            Asking::Records(command) => command.carry_out(session).await,
            Asking::Explain(command) => command.carry_out(session).await,
            Asking::Lineage(command) => command.carry_out(session).await,
            Asking::Revoke(command) => command.carry_out(session).await,
            Asking::Erase(command) => command.carry_out(session).await,
            Asking::Certificate(command) => command.carry_out(session).await,
            Asking::Audit(command) => command.carry_out(session).await,
            Asking::Keys(command) => command.carry_out(session).await,
            Asking::Tenants(command) => command.carry_out(session).await,
            Asking::Keyring(command) => command.carry_out(session).await,
            Asking::Store(command) => command.carry_out(session).await,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Asking::Connectors(_) => "connectors",
            Asking::Connect(_) => "connect",
            Asking::Connections(_) => "connections",
            Asking::Run(_) => "run",
            Asking::Records(_) => "records",
            Asking::Explain(_) => "explain",
            Asking::Lineage(_) => "lineage",
            Asking::Revoke(_) => "revoke",
            Asking::Erase(_) => "erase",
            Asking::Certificate(_) => "certificate",
            Asking::Audit(_) => "audit",
            Asking::Keys(_) => "keys",
            Asking::Tenants(_) => "tenants",
            Asking::Keyring(_) => "keyring",
            Asking::Store(_) => "store",
        }
    }
}
