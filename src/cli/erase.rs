//! `headgate erase`: asked for, approved, made unreadable, swept, certified.

use std::time::Duration;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::impact;
use crate::cli::output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;

/// The longest wait for the sweep. The data is unreadable long before, and the sweep goes on without the command.
const SWEEP_WAIT: Duration = Duration::from_secs(600);

/// The time between two looks at an erasure.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "approve|list|show")]
pub struct Erase {
    #[command(subcommand)]
    command: Option<EraseCommand>,
    #[command(flatten)]
    request: EraseRequest,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true))]
struct EraseRequest {
    /// The connection whose records are to be erased.
    #[arg(group = "scope", value_name = "CONNECTION")]
    connection: Option<String>,
    /// Everything of this tenant: the records of all its connections, its API keys, its links. Nothing is connected under its name
    /// again.
    #[arg(group = "scope", long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Revoke what is not revoked yet; without this such an erasure is refused.
    #[arg(long)]
    revoke: bool,
    /// Why; the certificate's log entry keeps it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be erased and what would be kept, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Approve without being asked, and wait until the erasure is complete. Without this, and without a terminal, the command
    /// ends when the erasure is requested.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum EraseCommand {
    /// Approve a requested erasure, and wait until it is complete.
    Approve {
        /// The erasure's id.
        id: String,
    },
    /// List the erasures.
    List(Paging),
    /// Show one erasure.
    Show {
        /// The erasure's id.
        id: String,
    },
}

const COLUMNS: &[(&str, &str)] =
    &[("ERASURE", "/id"), ("STATE", "/state"), ("SCOPE", "/scope"), ("RECORDS", "/counts/records"), ("VERSIONS", "/counts/versions")];

impl Erase {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self.command {
            None => self.request.carry_out(session).await,
            Some(EraseCommand::Approve { id }) => approve(session, &id).await,
            Some(EraseCommand::List(paging)) => paging.show(session, Request::get(["v1", "erasures"]), COLUMNS, "no erasures").await,
            Some(EraseCommand::Show { id }) => {
                let erasure = session.client.json(&Request::get(["v1", "erasures", &id])).await?;
                session.output.result(&erasure, output::details)
            }
        }
    }
}

impl EraseRequest {
    async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let scope = match &self.tenant {
            Some(tenant) => json!({"tenant": tenant}),
            None => json!({"connection": self.connection}),
        };
        let mut body = json!({"scope": scope, "revoke": self.revoke});
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        let request = Request::post(["v1", "erasures"], body).query_maybe("dry_run", self.dry_run.then_some(true));
        let erasure = session.client.json(&request).await?;
        if self.dry_run {
            return session.output.result(&erasure, planned);
        }
        let id = erasure["id"].as_str().unwrap_or_default().to_owned();
        if self.yes || asked(session, &erasure) {
            return approve(session, &id).await;
        }
        session.output.result(&erasure, output::details)?;
        session.output.say(&format!("nothing was erased yet: `headgate erase approve {id}` carries it out"));
        Ok(())
    }
}

/// What a dry run says: in plain words, then what would be kept.
fn planned(erasure: &Value) -> String {
    let mut rest = erasure.clone();
    let impact = rest.as_object_mut().and_then(|members| members.remove("impact")).unwrap_or_default();
    format!("would be erased; nothing was changed\n{}\n{}", impact::of_erasure(&impact), output::details(&rest))
}

fn asked(session: &mut Session<'_>, erasure: &Value) -> bool {
    if !session.output.can_ask() {
        return false;
    }
    session.output.say(&output::details(erasure));
    session.output.ask("Make these records unreadable for good? This cannot be undone.")
}

async fn approve(session: &mut Session<'_>, id: &str) -> Result<(), Failure> {
    session.client.json(&Request::post(["v1", "erasures", id, "approve"], json!({}))).await?;
    let deadline = Instant::now() + SWEEP_WAIT;
    let request = Request::get(["v1", "erasures", id]);
    loop {
        let erasure = session.client.json(&request).await?;
        match erasure["state"].as_str().unwrap_or_default() {
            "complete" => return session.output.result(&erasure, told),
            "refused" => {
                session.output.result(&erasure, output::details)?;
                return Err(Failure::outcome(format!("{id} was refused; `kept` says why")));
            }
            state if Instant::now() >= deadline => {
                let state = state.to_owned();
                session.output.result(&erasure, output::details)?;
                return Err(Failure::outcome(format!("{id} is {state} and goes on; `headgate erase show {id}` tells when it is complete")));
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn told(erasure: &Value) -> String {
    let id = output::shown(&erasure["id"]);
    format!("erased; `headgate certificate show {id}` prints the certificate\n{}", output::details(erasure))
}
