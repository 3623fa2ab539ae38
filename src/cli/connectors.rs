//! `headgate connectors`: what can be connected.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::pages::Paging;
use crate::cli::transport::Request;
use crate::connector::catalogue;
use crate::connector::catalogue::Verdict;

#[derive(Debug, Subcommand)]
pub enum Connectors {
    /// List the connectors: built in, and in the folders that the configuration names.
    List(Paging),
    /// Show what a connector reads, asks for and may reach.
    Show {
        /// The connector's name.
        name: String,
    },
    /// Check a connector before it is used: every problem with its line, what runs and what does not. Needs neither the store
    /// nor a server.
    Check(Check),
    /// Refuse new connections of a connector until it is enabled again. Those that are there go on: `revoke --connector` stops
    /// them.
    Disable {
        /// The connector's name.
        name: String,
    },
    /// Let a disabled connector be connected again.
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
        session.output.result(&connector, told)
    }
}

/// The connector, with what `connect --config` has to say in place of its JSON Schema.
fn told(connector: &Value) -> String {
    let mut told = connector.clone();
    if let Some(members) = told.as_object_mut() {
        let spec = members.remove("spec").unwrap_or_default();
        let required: Vec<&str> = spec["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let fields = spec["properties"].as_object().into_iter().flatten().map(|(name, field)| {
            let needed = if required.contains(&name.as_str()) { "needed" } else { "may be left out" };
            let texts = [field["title"].as_str(), field["description"].as_str()].into_iter().flatten().collect::<Vec<_>>();
            json!({"name": format!("{name} ({needed})"), "text": texts.join(". ")})
        });
        let fields: Vec<Value> = fields.collect();
        members.insert("config".into(), Value::Array(fields));
    }
    output::details(&told)
}

impl Check {
    /// Checks the connector at the path. The exit code is 2 when it cannot be used.
    pub fn carry_out(&self, output: &mut Output) -> Result<(), Failure> {
        let verdict = catalogue::check(&self.path);
        let whole = serde_json::to_value(&verdict).unwrap_or_default();
        output.result(&whole, |_| report(&self.path, &verdict))?;
        let problems = if verdict.ok { &[] } else { verdict.problems.as_slice() };
        match problems.len() {
            0 => Ok(()),
            1 => Err(Failure::File { path: self.path.clone(), fault: "cannot be used: 1 problem".into() }),
            count => Err(Failure::File { path: self.path.clone(), fault: format!("cannot be used: {count} problems") }),
        }
    }
}

/// What a check found, a line each: problems, warnings, then what does not run and what does.
fn report(path: &Path, verdict: &Verdict) -> String {
    let mut lines: Vec<String> = verdict.problems.iter().map(ToString::to_string).collect();
    lines.extend(verdict.warnings.iter().map(|warning| format!("warning: {warning}")));
    for stream in &verdict.refused {
        let codes: BTreeSet<_> = stream.problems.iter().map(|problem| problem.code.as_str()).collect();
        lines.push(format!("refused: {} ({})", stream.name, codes.into_iter().collect::<Vec<_>>().join(", ")));
    }
    if verdict.ok && !verdict.refused.is_empty() {
        lines.push(format!("runs: {}", verdict.streams.join(", ")));
        let all = verdict.streams.len() + verdict.refused.len();
        lines.push(format!("{path:?} can be used without {} of its {all} streams", verdict.refused.len()));
    } else if verdict.ok {
        lines.push(format!("{path:?} can be used"));
    }
    lines.join("\n")
}
