//! `headgate keyring`: the keys that everything stands under.

use std::path::Path;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;
use crate::vault::EXPORT_LIFE_DAYS;
use crate::vault::EXPORT_LIFE_DAYS_MAX;

#[derive(Debug, Subcommand)]
pub enum Keyring {
    /// Copy the keyring into one file, sealed under the master key, for a restore. With the copy and the master key of today
    /// everything that is readable today is readable: keep the two apart, and destroy the copy when it has expired.
    Export {
        /// The file to make; one that is there is never overwritten.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// For how long a restore accepts the copy, at most 90 days.
        #[arg(long, value_name = "DAYS", default_value_t = EXPORT_LIFE_DAYS, value_parser = days)]
        expires: u32,
    },
}

impl Keyring {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Keyring::Export { to, expires } => export(session, &to, expires).await,
        }
    }
}

async fn export(session: &mut Session<'_>, to: &Path, days: u32) -> Result<(), Failure> {
    // The store may be held by another process, with another working directory.
    let to = std::path::absolute(to).map_err(|source| Failure::FileAccess { path: to.to_owned(), act: "written", source })?;
    let export = session.client.json(&Request::post(["admin", "keyring", "export"], json!({"to": to, "days": days}))).await?;
    session.output.result(&export, told)
}

fn told(export: &Value) -> String {
    let advice = "A restore also needs the newest `keyring/destroyed`: keep copies of that list, it holds no key.";
    format!("{}\n\n{advice}", output::details(export))
}

/// `30` or `30d`.
fn days(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('d').unwrap_or(text).parse().ok();
    let within = number.filter(|days| (1..=EXPORT_LIFE_DAYS_MAX).contains(days));
    within.ok_or_else(|| format!("give a number of days from 1 to {EXPORT_LIFE_DAYS_MAX}, such as 30d"))
}
