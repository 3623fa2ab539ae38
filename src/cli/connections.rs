//! `headgate connections`: what is connected.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::connect;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::pages::Paging;
use crate::cli::run;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Connections {
    /// List the connections.
    List {
        /// Those of this tenant alone.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one connection; also after it was revoked or erased.
    Show {
        /// The connection's id.
        id: String,
    },
    /// Close the gate until `resume`: nothing is fetched, data and authorization stay.
    Pause {
        /// The connection's id.
        id: String,
    },
    /// Open a paused connection's gate again.
    Resume {
        /// The connection's id.
        id: String,
    },
    /// Authorize a connection again that needs it; id and data stay. Prints what `connect` prints.
    Reconnect {
        /// The connection's id.
        id: String,
        /// A JSON file with another configuration, such as a new API key; - reads standard input. For connections that
        /// are authorized by their configuration alone.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("CONNECTION", "/id"),
    ("CONNECTOR", "/connector"),
    ("TENANT", "/tenant"),
    ("STATE", "/state"),
    ("PURPOSES", "/purposes"),
    ("CREATED", "/created_at"),
];

const STREAM_COLUMNS: &[(&str, &str)] = &[("STREAM", "/stream"), ("RECORDS", "/records"), ("VERSIONS", "/versions")];

const RUN_COLUMNS: &[(&str, &str)] = &[
    ("LAST RUNS", "/id"),
    ("STREAM", "/stream"),
    ("STATE", "/state"),
    ("STARTED", "/started_at"),
    ("NEW", "/new"),
    ("CHANGED", "/changed"),
    ("PAGES", "/pages"),
    ("REQUESTS", "/requests"),
];

/// How many runs `show` tells of.
const RUNS_SHOWN: &str = "10";

impl Connections {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Connections::List { tenant, paging } => {
                let list = Request::get(["v1", "connections"]).query_maybe("tenant", tenant);
                paging.show(session, list, COLUMNS, "no connections; `headgate connect` makes one").await
            }
            Connections::Show { id } => show_whole(session, &id).await,
            Connections::Pause { id } => show(session, Request::patch(["v1", "connections", &id], json!({"state": "paused"}))).await,
            Connections::Resume { id } => show(session, Request::patch(["v1", "connections", &id], json!({"state": "active"}))).await,
            Connections::Reconnect { id, config } => {
                let config = config.as_deref().map(connect::read_config).transpose()?;
                let order = config.map_or_else(|| json!({}), |config| json!({ "config": config }));
                let request = Request::post(["admin", "connections", &id, "reconnect"], order).carrying_file();
                connect::authorize(session, &request).await
            }
        }
    }
}

/// The connection; for a person also what is stored of its streams, and its last runs.
async fn show_whole(session: &mut Session<'_>, id: &str) -> Result<(), Failure> {
    let connection = session.client.json(&Request::get(["v1", "connections", id])).await?;
    if session.output.is_json() {
        return session.output.object(&connection);
    }
    let impact = session.client.json(&Request::get(["v1", "connections", id, "impact"])).await?;
    let last = Request::get(["v1", "runs"]).query("connection", id).query("limit", RUNS_SHOWN);
    let runs = session.client.json(&last).await?;
    let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let (streams, runs) = (items(&impact["streams"]), items(&runs["items"]));
    let mut text = output::details(&connection);
    for (columns, rows) in [(STREAM_COLUMNS, &streams), (RUN_COLUMNS, &runs)] {
        if !rows.is_empty() {
            text.push_str(&format!("\n\n{}", output::table(columns, rows)));
        }
    }
    text.push_str(&run::errors(&runs));
    session.output.line(&text)
}

async fn show(session: &mut Session<'_>, request: Request) -> Result<(), Failure> {
    let connection = session.client.json(&request).await?;
    session.output.result(&connection, output::details)
}
