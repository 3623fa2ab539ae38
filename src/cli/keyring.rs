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
use crate::config::MasterKeySource;
use crate::config::SettingsError;
use crate::ids::Entropy;
use crate::vault::EXPORT_LIFE_DAYS;
use crate::vault::EXPORT_LIFE_DAYS_MAX;

#[derive(Debug, Subcommand)]
pub enum Keyring {
    /// Put new keys above everything that seals data, under a new master key; with or without a running server. Old copies of
    /// the keyring open with the old master key alone: destroy that where it lies, and they are worth nothing.
    Rotate {
        /// The file that holds the new master key: 32 bytes in base64. Without this and the command below, a new key takes the
        /// place of the one in `<DIR>.master.key`.
        #[arg(long, value_name = "FILE", conflicts_with = "new_master_key_command")]
        new_master_key_file: Option<PathBuf>,
        /// A shell command that prints the new master key.
        #[arg(long, value_name = "COMMAND")]
        new_master_key_command: Option<String>,
    },
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
            Keyring::Rotate { new_master_key_file, new_master_key_command } => {
                let file = new_master_key_file.map(MasterKeySource::File);
                rotate(session, file.or(new_master_key_command.map(MasterKeySource::Command))).await
            }
            Keyring::Export { to, expires } => export(session, &to, expires).await,
        }
    }
}

async fn rotate(session: &mut Session<'_>, source: Option<MasterKeySource>) -> Result<(), Failure> {
    let mut body = json!({});
    if let Some(source) = &source {
        let mut announce = |message: String| session.output.say(&format!("headgate: {message}"));
        let key = source.resolve(Path::new(""), false, &Entropy::system(), &mut announce).map_err(SettingsError::MasterKey)?;
        body["master_key"] = json!(key.to_base64().expose());
    }
    let rotated = session.client.json(&Request::post(["admin", "keyring", "rotate"], body)).await?;
    session.output.result(&rotated, |rotated| match rotated["master_key_file"].as_str() {
        Some(file) => format!("rotated; the new master key is in {file}, and the old one is overwritten: keep a copy of the new one in a safe place"),
        None => "rotated; from now on headgate is started with the new master key. Destroy the old one where it lies: with it and an old copy of \
                 the keyring, what was readable then still is"
            .to_owned(),
    })
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
