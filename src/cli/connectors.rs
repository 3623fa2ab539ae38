//! `headgate connectors`: what can be connected.

use clap::Subcommand;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Connectors {
    /// List the connectors: built in, and in the folders that the configuration names.
    List(Paging),
    /// Show what a connector reads, asks for and may reach.
    Show {
        /// The connector's name.
        name: String,
    },
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
            Connectors::Show { name } => Request::get(["admin", "connectors", name]),
            Connectors::Disable { name } => Request::post(["admin", "connectors", name, "disable"], json!({})),
            Connectors::Enable { name } => Request::post(["admin", "connectors", name, "enable"], json!({})),
        };
        let connector = session.client.json(&request).await?;
        session.output.result(&connector, output::details)
    }
}
