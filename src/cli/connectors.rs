//! `headgate connectors`: what can be connected.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;
use crate::connector::catalogue;

#[derive(Debug, Subcommand)]
pub enum Connectors {
    /// List the connectors: built in, and in the folders that the configuration names.
    List(Paging),
    /// Show what a connector reads, asks for and may reach.
    Show {
        /// The connector's name.
        name: String,
    },
    /// Check a connector before it is used: every problem with its line. Needs neither the store nor a server.
    Check(Check),
    /// Stop every connection of a connector from pulling, and refuse new ones, until it is enabled again.
    Disable {
        /// The connector's name.
        name: String,
    },
    /// Let a disabled connector's connections pull again.
    Enable {
        /// The connector's name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct Check {
    /// A manifest file, or a folder with manifest.yaml and perhaps headgate.yaml.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "/name"),
    ("APPLICATION", "/display_name"),
    ("AUTHORIZATION", "/authorization"),
    ("STREAMS", "/streams"),
    ("STATE", "/state"),
];

impl Connectors {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let request = match &self {
            Connectors::List(paging) => {
                let list = Request::get(["admin", "connectors"]);
                return paging.clone().show(session, list, COLUMNS, "no connectors").await;
            }
            Connectors::Check(check) => return check.carry_out(session.output),
            Connectors::Show { name } => Request::get(["admin", "connectors", name]),
            Connectors::Disable { name } => Request::post(["admin", "connectors", name, "disable"], json!({})),
            Connectors::Enable { name } => Request::post(["admin", "connectors", name, "enable"], json!({})),
        };
        let connector = session.client.json(&request).await?;
        session.output.result(&connector, output::details)
    }
}

impl Check {
    /// Checks the connector at the path. The exit code is 2 when it cannot be used.
    pub fn carry_out(&self, output: &mut Output) -> Result<(), Failure> {
        let problems = catalogue::check(&self.path);
        let verdict = json!({"ok": problems.is_empty(), "problems": problems});
        output.result(&verdict, |_| {
            let listed = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            if problems.is_empty() { format!("{:?} can be used", self.path) } else { listed }
        })?;
        match problems.len() {
            0 => Ok(()),
            count => Err(Failure::File { path: self.path.clone(), fault: format!("cannot be used: {count} problems") }),
        }
    }
}
