//! The `headgate` binary.

use std::process::ExitCode;

use clap::Parser;
use headgate::cli;

#[tokio::main]
async fn main() -> ExitCode {
    let line = cli::CommandLine::parse();
    ExitCode::from(cli::run(line, cli::Environment::of_process()).await)
}
