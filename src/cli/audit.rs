//! `headgate audit`: the log of every act, and proofs about it.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::audit::Checkpoint;
use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List the last entries, in their order.
    Tail {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
    },
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

const COLUMNS: &[(&str, &str)] = &[
    ("ENTRY", "/index"),
    ("TIME", "/entry/at"),
    ("ACTOR", "/entry/actor"),
    ("ACTION", "/entry/action"),
    ("TENANT", "/entry/tenant"),
    ("CONNECTION", "/entry/connection"),
    ("OBJECT", "/entry/object"),
    ("PURPOSE", "/entry/purpose"),
    ("COUNT", "/entry/count"),
];

impl Audit {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Audit::Tail { limit } => tail(session, limit).await,
            Audit::Verify { checkpoint } => verify(session, checkpoint).await,
            Audit::Checkpoint => {
                let note = checkpoint(session).await?;
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

async fn checkpoint(session: &Session<'_>) -> Result<String, Failure> {
    session.client.text(&Request::get(["v1", "audit", "checkpoint"])).await
}

/// The last entries, found by their index: the log's head says how many there are.
async fn tail(session: &mut Session<'_>, limit: u64) -> Result<(), Failure> {
    let note = checkpoint(session).await?;
    let Some(size) = note.lines().nth(1).and_then(|size| size.parse::<u64>().ok()) else {
        return Err(Failure::Answer { request: "GET /v1/audit/checkpoint".into(), fault: "has no tree size on its second line".into() });
    };
    let mut entries = Vec::new();
    for index in size.saturating_sub(limit)..size {
        entries.push(session.client.json(&Request::get(["v1", "audit", "entries", &index.to_string()])).await?);
    }
    session.output.result(&json!({"items": entries, "next": null}), |list| match list["items"].as_array() {
        Some(entries) if !entries.is_empty() => output::table(COLUMNS, entries),
        _ => "the log is empty".to_owned(),
    })
}

async fn verify(session: &mut Session<'_>, checkpoint: Option<PathBuf>) -> Result<(), Failure> {
    let mut body = json!({});
    if let Some(path) = checkpoint {
        let note = std::fs::read_to_string(&path).map_err(|source| Failure::FileAccess { path: path.clone(), act: "read", source })?;
        // A file that is no checkpoint at all is malformed; one that is, and does not fit the log, is a finding.
        Checkpoint::peek(&note).map_err(|error| Failure::File { path, fault: format!("is refused: {error}") })?;
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
