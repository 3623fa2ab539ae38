//! The command line: a client of the HTTP face.
//!
//! A command builds requests, sends them through a [`transport::Door`] and says what came back, so its `--json` result is
//! the endpoint's own JSON. [`Command`] lists every command; each has a file of its own here.

mod audit;
mod certificate;
mod connect;
mod connections;
mod connectors;
mod erase;
mod failure;
mod keys;
mod lineage;
mod opening;
mod output;
mod pages;
mod progress;
mod records;
mod revoke;
mod run;
mod store;
#[cfg(test)]
mod tests;
pub mod transport;

pub use failure::EXIT_MALFORMED;
pub use failure::EXIT_REFUSED;
pub use failure::Failure;
pub use failure::Problem;
pub use opening::Environment;
pub use output::Output;

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::cli::transport::Client;

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
    /// The data directory; made, readable by its owner alone, when it is absent or empty.
    #[arg(long, global = true, value_name = "DIR", default_value = "./headgate-data")]
    data: PathBuf,
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

/// Every command.
#[derive(Debug, Subcommand)]
enum Command {
    /// Applications that can be connected.
    #[command(subcommand)]
    Connectors(connectors::Connectors),
    /// Connect an application for a tenant, with the customer's consent.
    Connect(connect::Connect),
    /// Connections: what is connected, for whom, in which state.
    #[command(subcommand)]
    Connections(connections::Connections),
    /// Pull a connection now, and wait until its runs have ended.
    Run(run::Run),
    /// Read the records of a stream.
    Records(records::Records),
    /// Where a record came from and where it went, or everything known under a business key.
    Lineage(lineage::Lineage),
    /// Stop: nothing is fetched any more. What was fetched before stays, until it is erased.
    Revoke(revoke::Revoke),
    /// Make what was fetched unreadable, for good, with a certificate.
    Erase(erase::Erase),
    /// Certificates of erasure: print one, or verify one without service or store.
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    /// The audit log: read it, verify it, prove an entry.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// API keys, and the public keys that verify what is signed here.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// The store's size and health.
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
        match &self {
            Command::Certificate(certificate::Certificate::Verify(verify)) => return verify.carry_out(output),
            Command::Connectors(connectors::Connectors::Check(check)) => return check.carry_out(output),
            _ => {}
        }
        let client = opening::open(globals, self.name(), environment, output).await?;
        let mut session = Session { client, output };
        let outcome = self.carry_out(&mut session).await;
        session.client.door().close().await;
        outcome
    }

    async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Command::Connectors(command) => command.carry_out(session).await,
            Command::Connect(command) => command.carry_out(session).await,
            Command::Connections(command) => command.carry_out(session).await,
            Command::Run(command) => command.carry_out(session).await,
            Command::Records(command) => command.carry_out(session).await,
            Command::Lineage(command) => command.carry_out(session).await,
            Command::Revoke(command) => command.carry_out(session).await,
            Command::Erase(command) => command.carry_out(session).await,
            Command::Certificate(command) => command.carry_out(session).await,
            Command::Audit(command) => command.carry_out(session).await,
            Command::Keys(command) => command.carry_out(session).await,
            Command::Store(command) => command.carry_out(session).await,
        }
    }

    /// The command's word, by which another process names the holder of the store.
    fn name(&self) -> &'static str {
        match self {
            Command::Connectors(_) => "connectors",
            Command::Connect(_) => "connect",
            Command::Connections(_) => "connections",
            Command::Run(_) => "run",
            Command::Records(_) => "records",
            Command::Lineage(_) => "lineage",
            Command::Revoke(_) => "revoke",
            Command::Erase(_) => "erase",
            Command::Certificate(_) => "certificate",
            Command::Audit(_) => "audit",
            Command::Keys(_) => "keys",
            Command::Store(_) => "store",
        }
    }
}
