//! The `headgate` binary.

use std::process::ExitCode;

use clap::Parser;
use headgate::cli;
use headgate::secret;

#[tokio::main]
async fn main() -> ExitCode {
    // Before there is anything to hide.
    if let Err(error) = secret::close_memory() {
        eprintln!("headgate: keys and tokens in memory are open to core files and debuggers of this user: {error}");
    }
    let line = cli::CommandLine::parse();
    ExitCode::from(cli::run(line, cli::Environment::of_process()).await)
}
