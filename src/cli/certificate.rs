//! `headgate certificate`: the proof in hand.

use clap::Subcommand;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Certificate {
    /// Print an erasure's certificate, byte for byte as it was signed: redirect it into a file.
    Show {
        /// The erasure's id.
        id: String,
    },
}

impl Certificate {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Certificate::Show { id } = self;
        let envelope = session.client.bytes(&Request::get(["v1", "erasures", &id, "certificate"])).await?;
        // The envelope is one line of JSON already, and any other byte would break its signature check.
        session.output.raw(&envelope)?;
        session.output.flush()
    }
}
