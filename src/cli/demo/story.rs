//! The whole life of a connection, step by step. Each step says what it does, does it, and sees that it held.

use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use crate::audit::KeySet;
use crate::audit::verify_file;
use crate::cli::demo::browser;
use crate::cli::failure::Failure;
use crate::cli::lineage;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::pages::Pages;
use crate::cli::run;
use crate::cli::transport::Client;
use crate::cli::transport::Request;
use crate::sandbox::Purpose;
use crate::sandbox::Sandbox;

/// Whose shop the demo connects.
const TENANT: &str = "acme";

/// What the demo's records may be used for.
const PURPOSE: &str = "fulfilment";

/// How many turns the shop takes between the two pulls.
const TURNS: usize = 3;

/// The demo while it runs.
pub struct Story<'a> {
    pub client: &'a Client,
    pub output: &'a mut Output,
    pub sandbox: &'a Sandbox,
    /// Where the certificate and the public keys are written.
    pub certificate: PathBuf,
    /// See `certificate`.
    pub keys: PathBuf,
    step: u32,
}

/// What is remembered from the first pull, to be compared later.
struct Seen {
    record: String,
    content_digest: Value,
    stored: u64,
}

impl<'a> Story<'a> {
    /// A story that has not begun.
    pub fn new(client: &'a Client, output: &'a mut Output, sandbox: &'a Sandbox, certificate: PathBuf, keys: PathBuf) -> Self {
        Self { client, output, sandbox, certificate, keys, step: 0 }
    }

    /// Tells it to the end; an error names the step that did not hold.
    pub async fn tell(&mut self) -> Result<(), Failure> {
        let connection = self.connect().await?;
        let stored = self.pull_everything(&connection).await?;
        let seen = self.show_an_origin(&connection, stored).await?;
        self.follow_a_parcel().await?;
        let stored = self.pull_the_changes(&connection, stored).await?;
        self.revoke(&connection).await?;
        self.still_answers(&connection, &Seen { stored, ..seen }).await
        // The erasure takes what the steps before have shown.
            .map(|_| ())?;
        self.erase(&connection).await
    }
}
