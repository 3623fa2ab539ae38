//! `headgate run`: pull now, and watch.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::pages::Pages;
use crate::cli::progress::Bars;
use crate::cli::transport::Client;
use crate::cli::transport::Request;

/// The longest time between two looks at the runs; the first ones follow each other faster, for pulls that bring little.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The time before the second look.
const LOOK_FIRST: Duration = Duration::from_millis(5);

#[derive(Debug, Args)]
pub struct Run {
    /// The connection's id.
    #[arg(value_name = "CONNECTION")]
    connection: String,
    /// A stream to pull; may be given more than once. Without it: all that the connection reads.
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<String>,
    /// Read each stream from its beginning instead of from its saved state. Records that did not change make no new version.
    #[arg(long)]
    full: bool,
    /// What to do where a manifest asks for a behaviour that may lose data: reproduce it, or take the safe reading.
    #[arg(long, value_enum, value_name = "MODE")]
    compat: Option<Compat>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compat {
    /// As the manifest language's own runtime does it.
    Strict,
    /// Never lose a record, even where that runtime would.
    Safe,
}

const COLUMNS: &[(&str, &str)] = &[
    ("STREAM", "/stream"),
    ("STATE", "/state"),
    ("NEW", "/new"),
    ("CHANGED", "/changed"),
    ("UNCHANGED", "/unchanged"),
    ("FILTERED", "/filtered"),
    ("PAGES", "/pages"),
    ("REQUESTS", "/requests"),
];

impl Run {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut body = json!({});
        if !self.streams.is_empty() {
            body["streams"] = json!(self.streams);
        }
        if self.full {
            body["full"] = json!(true);
        }
        if let Some(compat) = self.compat {
            body["compat"] = json!(match compat {
                Compat::Strict => "strict",
                Compat::Safe => "safe",
            });
        }
        let started = session.client.json(&Request::post(["v1", "connections", &self.connection, "runs"], body)).await?;
        let pull = started["pull"].as_str().unwrap_or_default().to_owned();
        let runs = tokio::select! {
            runs = watch(&session.client, session.output, &pull) => runs?,
            _ = tokio::signal::ctrl_c() => return Err(stopped(session, &pull).await),
        };
        tell(session, &pull, runs)
    }
}

/// Looks at the pull's runs until all have ended.
pub async fn watch(client: &Client, output: &Output, pull: &str) -> Result<Vec<Value>, Failure> {
    let mut bars = Bars::new(output);
    let request = Request::get(["v1", "runs"]).query("pull", pull);
    let mut wait = LOOK_FIRST;
    loop {
        let mut pages = Pages::new(request.clone(), None, None);
        let mut runs = Vec::new();
        while let Some(items) = pages.next(client).await? {
            runs.extend(items);
        }
        bars.show(&runs);
        if runs.iter().all(|run| run["state"] != "running") {
            return Ok(runs);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_EVERY);
    }
}

/// Ctrl-C: a pull of this process ends with it, at a page's end; a server's pull goes on, because others wait for it too.
async fn stopped(session: &mut Session<'_>, pull: &str) -> Failure {
    let door = session.client.door();
    if door.is_own() {
        session.output.say("stopping after the pages under way; what was stored stays");
        door.close().await;
        Failure::outcome(format!("{pull} was cancelled; the next run continues where it ended"))
    } else {
        Failure::outcome(format!("{pull} goes on in the server; `headgate connections pause` stops it, `revoke` stops it for good"))
    }
}

fn tell(session: &mut Session<'_>, pull: &str, runs: Vec<Value>) -> Result<(), Failure> {
    let bad: Vec<String> = runs
        .iter()
        .filter(|run| run["state"] != "complete")
        .map(|run| format!("{} {}", output::shown(&run["stream"]), output::shown(&run["state"])))
        .collect();
    let result = json!({"pull": pull, "runs": runs});
    session.output.result(&result, told)?;
    if bad.is_empty() { Ok(()) } else { Err(Failure::outcome(format!("{pull}: {}", bad.join(", ")))) }
}

/// The runs as a table in the order of streams, and below it why some failed.
fn told(result: &Value) -> String {
    let mut runs = result["runs"].as_array().cloned().unwrap_or_default();
    runs.sort_by(|one, other| one["stream"].as_str().cmp(&other["stream"].as_str()));
    format!("{}{}", output::table(COLUMNS, &runs), errors(&runs))
}

/// Each error of some runs on a line of its own behind an empty one, with the streams that had it; nothing when none had one.
pub fn errors(runs: &[Value]) -> String {
    let mut streams_by_error = BTreeMap::<String, BTreeSet<String>>::new();
    for run in runs.iter().filter(|run| run["error"].is_string()) {
        streams_by_error.entry(output::shown(&run["error"])).or_default().insert(output::shown(&run["stream"]));
    }
    let line = |(error, streams): (&String, &BTreeSet<String>)| {
        format!("\n{}: {error}", streams.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    let lines: String = streams_by_error.iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}
