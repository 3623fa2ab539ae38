//! `headgate store`: what is kept, how much of it, and copies of it.

mod restore;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::check::Check;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::progress::Spinner;
use crate::cli::transport::Request;

pub use self::restore::Restore;

/// The time between two looks at a copy.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum Store {
    /// Read everything that is kept and hold it against its digests: rows, sealed blocks, the audit log, keys, files. Without a
    /// server a process of its own reads, so that an engine that hangs on damaged bytes is a finding too. Exit code 1 when
    /// anything was found.
    Check(Check),
    /// The reading process of `store check`.
    #[command(hide = true)]
    Scrub,
    /// Print the size of the store and its parts, in rows and bytes.
    Stats,
    /// Copy the rows to a new database, compare all of them, and put it in the place of the present one, while a server goes
    /// on: what was removed or erased is then gone from the disk. Interrupted or killed, it leaves the one or the other.
    Compact,
    /// Write the store of this moment into a folder, while a server goes on. Never with it: the keyring and the master key,
    /// without which nothing of it opens; copy `keyring export` to another place.
    Backup {
        /// The folder to make; it must not exist yet, or be empty.
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
    /// Put the store in the state of a backup. Every byte of that is verified first; what is there now is moved aside, into a
    /// folder that is named. No server may run. Whatever was stopped or erased since stays stopped and erased.
    Restore(Restore),
}

const COLUMNS: &[(&str, &str)] = &[("TABLE", "/table"), ("ROWS", "/rows")];

impl Store {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Store::Stats => {
                let stats = session.client.json(&Request::get(["admin", "store", "stats"])).await?;
                session.output.result(&stats, told)
            }
            Store::Compact => {
                let compacted = copied(session, Request::post(["admin", "store", "compact"], json!({})).lasting()).await?;
                session.output.result(&compacted, output::details)
            }
            Store::Backup { to } => backup(session, &to).await,
            // These hold the directory themselves, or are told whoever does: they do not come here.
            Store::Check(_) | Store::Scrub | Store::Restore(_) => Ok(()),
        }
    }
}

async fn backup(session: &mut Session<'_>, to: &Path) -> Result<(), Failure> {
    // The store may be held by another process, with another working directory.
    let to = std::path::absolute(to).map_err(|source| Failure::FileAccess { path: to.to_owned(), act: "written", source })?;
    let Some(to) = to.to_str() else { return Err(Failure::usage(format!("{to:?} is no path in UTF-8; name another one"))) };
    let made = copied(session, Request::post(["admin", "store", "backup"], json!({"to": to})).lasting()).await?;
    session.output.result(&made, output::details)
}

/// Waits for a copy and shows how far it is. Ctrl-C ends it: nobody waits for the answer any more.
async fn copied(session: &mut Session<'_>, request: Request) -> Result<Value, Failure> {
    let mut spinner = Spinner::new(session.output);
    let client = &session.client;
    let watching = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // A look that fails is no reason to give the copy up; its own answer tells.
            let Ok(copy) = client.json(&Request::get(["admin", "store", "copy"])).await else { continue };
            if let (Some(phase), Some(done)) = (copy["phase"].as_str(), copy["done"].as_u64()) {
                spinner.show(&format!("{phase}: {done}"));
            }
        }
    };
    tokio::select! {
        answer = client.json(&request) => answer,
        () = watching => Err(Failure::outcome("the copy is not watched any more")),
        _ = tokio::signal::ctrl_c() => Err(Failure::outcome("interrupted; everything is as it was before")),
    }
}

/// The totals, and the tables that have rows.
fn told(stats: &Value) -> String {
    let mut totals = stats.clone();
    let tables = totals.as_object_mut().and_then(|totals| totals.remove("rows"));
    let filled = tables.as_ref().and_then(Value::as_object).into_iter().flatten().filter(|(_, rows)| **rows != 0);
    let rows: Vec<Value> = filled.map(|(table, rows)| json!({"table": table, "rows": rows})).collect();
    format!("{}\n\n{}", output::details(&totals), output::table(COLUMNS, &rows))
}
