//! `headgate store`: what is kept, and how much of it.

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::check::Check;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;

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
}

const COLUMNS: &[(&str, &str)] = &[("TABLE", "/table"), ("ROWS", "/rows")];

impl Store {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        // The others hold the directory themselves, or are told whoever does: they do not come here.
        let Store::Stats = self else { return Ok(()) };
        let stats = session.client.json(&Request::get(["admin", "store", "stats"])).await?;
        session.output.result(&stats, told)
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
