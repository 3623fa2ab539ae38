//! `headgate certificate`: the proof in hand.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::audit::KeySet;
use crate::audit::verify_file;
use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Certificate {
    /// Print an erasure's certificate, byte for byte as it was signed: redirect it into a file.
    Show {
        /// The erasure's id.
        id: String,
    },
    /// Check a certificate or receipt, with nothing but the file and the signer's public keys.
    Verify(Verify),
}

#[derive(Debug, Args)]
pub struct Verify {
    /// The certificate or receipt, as `certificate show` printed it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The signer's public keys, as `keys public` printed them and as they came to you by a way that you trust. Without them
    /// the signer is not trusted, and the exit code is 1.
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
}

impl Certificate {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let id = match self {
            Certificate::Show { id } => id,
            Certificate::Verify(verify) => return verify.carry_out(session.output),
        };
        let envelope = session.client.bytes(&Request::get(["v1", "erasures", &id, "certificate"])).await?;
        // The envelope is one line of JSON already, and any other byte would break its signature check.
        session.output.raw(&envelope)?;
        session.output.flush()
    }
}

impl Verify {
    /// Verifies the file. Needs neither the store nor a server.
    pub fn carry_out(&self, output: &mut Output) -> Result<(), Failure> {
        let file = read(&self.file)?;
        let keys = self.key.as_deref().map(read_keys).transpose()?;
        let verdict = verify_file(&file, keys.as_ref());
        output.result(&json!(verdict), told)?;
        let problems: Vec<String> = verdict.problems.iter().map(ToString::to_string).collect();
        match (verdict.verified, verdict.malformed) {
            (true, _) => Ok(()),
            (false, true) => Err(Failure::File { path: self.file.clone(), fault: format!("is no certificate: {}", problems.join("; ")) }),
            (false, false) => Err(Failure::outcome(format!("not verified: {}", problems.join("; ")))),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|source| Failure::FileAccess { path: path.into(), act: "read", source })
}

fn read_keys(path: &Path) -> Result<KeySet, Failure> {
    KeySet::parse(&read(path)?).map_err(|error| Failure::File { path: path.into(), fault: format!("is refused: {error}") })
}

fn told(verdict: &Value) -> String {
    let heading = if verdict["verified"] == true { "verified" } else { "NOT verified" };
    format!("{heading}\n{}", output::details(verdict))
}
