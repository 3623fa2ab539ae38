//! `headgate audit`: the log of every act, and proofs about it.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List the entries, newest first.
    Tail(Paging),
    /// Read the whole log and check every hash of it, against a checkpoint that was kept elsewhere if one is given. Any entry
    /// that was deleted, edited or moved is found, and the exit code is 1.
    Verify {
        /// A file that holds a checkpoint, as `audit checkpoint` printed it.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// Print the signed head of the log (a C2SP signed note). Keep it somewhere else.
    Checkpoint,
    /// Print the proof that an entry is in the log.
    Prove {
        /// The entry's index, from 0.
        #[arg(value_name = "ENTRY")]
        entry: u64,
    },
}

const COLUMNS: &[(&str, &str)] =
    &[("ENTRY", "/index"), ("TIME", "/entry/at"), ("ACTOR", "/entry/actor"), ("ACT", "/entry/act"), ("SUBJECT", "/entry/subject")];

impl Audit {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Audit::Tail(paging) => paging.show(session, Request::get(["v1", "audit"]), COLUMNS, "the log is empty").await,
            Audit::Verify { checkpoint } => verify(session, checkpoint).await,
            Audit::Checkpoint => {
                let note = session.client.text(&Request::get(["v1", "audit", "checkpoint"])).await?;
                if session.output.is_json() {
                    return session.output.object(&json!({"checkpoint": note}));
                }
                session.output.raw(note.as_bytes())?;
                session.output.flush()
            }
            Audit::Prove { entry } => {
                let request = Request::get(["v1", "audit", "proof"]).query("entry", &entry.to_string());
                let proof = session.client.json(&request).await?;
                session.output.object(&proof)
            }
        }
    }
}

async fn verify(session: &mut Session<'_>, checkpoint: Option<PathBuf>) -> Result<(), Failure> {
    let mut body = json!({});
    if let Some(path) = checkpoint {
        let note = std::fs::read_to_string(&path).map_err(|source| Failure::FileAccess { path, act: "read", source })?;
        body["checkpoint"] = json!(note);
    }
    let verdict = session.client.json(&Request::post(["admin", "audit", "verify"], body).carrying_file()).await?;
    session.output.result(&verdict, told)?;
    if verdict["ok"] == true { Ok(()) } else { Err(Failure::outcome("the audit log is not what it was")) }
}

fn told(verdict: &Value) -> String {
    let size = output::shown(&verdict["tree_size"]);
    if verdict["ok"] == true {
        return format!("the log of {size} entries is whole");
    }
    let problems = verdict["problems"].as_array().into_iter().flatten();
    problems.fold(format!("the log of {size} entries is NOT whole"), |text, problem| format!("{text}\n  {}", output::shown(problem)))
}
