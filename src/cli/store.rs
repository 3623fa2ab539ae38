//! `headgate store`: what is kept, and how much of it.

use clap::Subcommand;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Store {
    /// Print the size of the store and its parts, in rows and bytes.
    Stats,
}

impl Store {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Store::Stats = self;
        let stats = session.client.json(&Request::get(["admin", "store", "stats"])).await?;
        session.output.result(&stats, output::details)
    }
}
