//! `headgate revoke`: stop, and say what was stopped.

use std::time::Duration;

use clap::ArgGroup;
use clap::Args;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;

/// The longest wait of `--wait`: the application may be down, and the credential is destroyed after 24 hours in any case.
const DESTRUCTION_WAIT: Duration = Duration::from_secs(600);

/// The time between two looks at the credential's state.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a receipt says of a credential that still waits for the application's revocation endpoint.
const CREDENTIAL_WAITS: &str = "revoking";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").required(true))]
pub struct Revoke {
    /// The connection's id.
    #[arg(group = "scope", value_name = "CONNECTION")]
    connection: Option<String>,
    /// Every connection of this connector, for every tenant.
    #[arg(group = "scope", long, value_name = "NAME")]
    connector: Option<String>,
    /// Every connection of this tenant.
    #[arg(group = "scope", long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Why; the receipt and the audit log keep it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be revoked, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until each credential is destroyed, at most 10 minutes. The stop itself never waits for that.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
}

const COLUMNS: &[(&str, &str)] = &[("CONNECTION", "/connection"), ("STATE", "/state"), ("CREDENTIAL", "/credential")];

const DRY_COLUMNS: &[(&str, &str)] = &[
    ("CONNECTION", "/connection"),
    ("STATE", "/state"),
    ("CREDENTIAL", "/credential"),
    ("PULLS CUT SHORT", "/impact/pulls_running"),
    ("RECORDS", "/impact/records"),
    ("WOULD DIE IF ERASED", "/impact/derived/dies"),
];

impl Revoke {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let scope = match (&self.connection, &self.connector, &self.tenant) {
            (Some(connection), ..) => json!({"connection": connection}),
            (_, Some(connector), _) => json!({"connector": connector}),
            (_, _, tenant) => json!({"tenant": tenant}),
        };
        let mut body = json!({"scope": scope});
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        let request = Request::post(["v1", "revocations"], body).query_maybe("dry_run", self.dry_run.then_some(true));
        let mut answer = session.client.json(&request).await?;
        let waits_on = if self.wait { wait_for_destruction(session, &mut answer).await? } else { 0 };
        let is_dry = self.dry_run;
        session.output.result(&answer, |answer| told(answer, is_dry))?;
        match waits_on {
            0 => Ok(()),
            count => Err(Failure::outcome(format!(
                "revoked, but {count} credentials still wait for the application's revocation endpoint; they are destroyed after 24 hours at the latest"
            ))),
        }
    }
}

/// Asks again for each receipt until its credential is gone; repeating a revocation answers with the same receipt. Gives the
/// number of credentials that still wait at the end.
async fn wait_for_destruction(session: &mut Session<'_>, answer: &mut Value) -> Result<usize, Failure> {
    let deadline = Instant::now() + DESTRUCTION_WAIT;
    let Some(revoked) = answer["revoked"].as_array_mut() else { return Ok(0) };
    loop {
        let mut waiting = 0;
        for entry in revoked.iter_mut().filter(|entry| entry["credential"] == CREDENTIAL_WAITS) {
            let connection = entry["connection"].as_str().unwrap_or_default().to_owned();
            let again = session.client.json(&Request::post(["v1", "connections", &connection, "revoke"], json!({}))).await?;
            *entry = again["revoked"][0].clone();
            waiting += usize::from(entry["credential"] == CREDENTIAL_WAITS);
        }
        if waiting == 0 || Instant::now() >= deadline {
            return Ok(waiting);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn told(answer: &Value, is_dry: bool) -> String {
    match answer["revoked"].as_array() {
        Some(entries) if !entries.is_empty() => {
            if is_dry {
                let rest = "records and what was made from them are kept; `headgate erase --dry-run` tells what an erasure would take";
                return format!("would be revoked; nothing was changed\n{}\n{rest}", output::table(DRY_COLUMNS, entries));
            }
            format!("revoked; records fetched before are kept\n{}", output::table(COLUMNS, entries))
        }
        _ => "no connection in that scope".to_owned(),
    }
}
