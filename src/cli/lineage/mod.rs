//! `headgate lineage`: where a record came from, and where it went.

pub mod origin;
pub mod tree;

use clap::ArgGroup;
use clap::Args;
use clap::ValueEnum;
use serde_json::json;

use crate::api::drawing::dot;
use crate::api::drawing::prov;
use crate::cli::Session;
use crate::cli::failure::Failure;
use crate::cli::pages::Pages;
use crate::cli::transport::Request;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true))]
pub struct Lineage {
    /// The record's id: its exact origin.
    #[arg(group = "subject", value_name = "RECORD")]
    record: Option<String>,
    /// Everything of a tenant that carries this business key, such as tracking_number=1Z999AA10123456784.
    #[arg(group = "subject", long, value_name = "KIND=VALUE", requires = "tenant")]
    key: Option<String>,
    /// The tenant whose records carry the key.
    #[arg(long, value_name = "TENANT", requires = "key")]
    tenant: Option<String>,
    /// How many edges to follow from the record, 0 for the record alone; without it, its own origin is told.
    #[arg(long, value_name = "N", conflicts_with = "key")]
    depth: Option<u32>,
    /// Which way to follow: up to where it came from, down to what was made of it.
    #[arg(long, value_enum, value_name = "DIRECTION", conflicts_with = "key")]
    direction: Option<Direction>,
    /// How to print it; without it a tree, or with --json the endpoint's JSON.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Direction {
    /// To where it came from.
    Up,
    /// To what was made of it.
    Down,
    /// Both ways.
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines and branches, for a person.
    Tree,
    /// The endpoint's JSON.
    Json,
    /// A graph in the DOT language.
    Dot,
    /// PROV-JSON, in the terms of W3C PROV.
    Prov,
}

impl Lineage {
    pub async fn carry_out(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let format = self.format.unwrap_or(if session.output.is_json() { Format::Json } else { Format::Tree });
        if session.output.is_json() && format != Format::Json {
            return Err(Failure::usage("--json prints JSON: leave out --format"));
        }
        if let Some(key) = &self.key {
            return by_key(session, key, self.tenant.as_deref().unwrap_or_default(), format).await;
        }
        let record = self.record.as_deref().unwrap_or_default();
        if self.depth.is_none() && self.direction.is_none() {
            return of_record(session, record, format).await;
        }
        around(session, record, self.depth, self.direction, format).await
    }
}

/// The exact origin of one record.
async fn of_record(session: &mut Session<'_>, record: &str, format: Format) -> Result<(), Failure> {
    let origin = session.client.json(&Request::get(["v1", "records", record, "lineage"])).await?;
    match format {
        Format::Json => session.output.object(&origin),
        Format::Tree => session.output.line(&origin::branch(&origin).drawn()),
        Format::Dot => session.output.line(&dot::of(&origin::graph(&origin))),
        Format::Prov => session.output.object(&prov::of(&origin::graph(&origin))),
    }
}

/// What stands around a record, edge by edge.
async fn around(
    session: &mut Session<'_>,
    record: &str,
    depth: Option<u32>,
    direction: Option<Direction>,
    format: Format,
) -> Result<(), Failure> {
    let direction = direction.map(|direction| match direction {
        Direction::Up => "up",
        Direction::Down => "down",
        Direction::Both => "both",
    });
    let request = Request::get(["v1", "lineage"]).query("node", record).query_maybe("direction", direction).query_maybe("depth", depth);
    let graph = session.client.json(&request).await?;
    match format {
        Format::Json => session.output.object(&graph),
        Format::Tree => session.output.line(&tree::around(&graph, record).drawn()),
        Format::Dot => session.output.line(&dot::of(&graph)),
        Format::Prov => session.output.object(&prov::of(&graph)),
    }
}

/// Everything that carries one business key.
async fn by_key(session: &mut Session<'_>, key: &str, tenant: &str, format: Format) -> Result<(), Failure> {
    let Some((kind, value)) = key.split_once('=').filter(|(kind, value)| !kind.is_empty() && !value.is_empty()) else {
        return Err(Failure::usage(format!("`{key}` is no business key; write it like tracking_number=1Z999AA10123456784")));
    };
    let request = Request::get(["v1", "lineage", "keys", kind, value]).query("tenant", tenant);
    let mut pages = Pages::new(request, None, None);
    let mut items = Vec::new();
    while let Some(page) = pages.next(&session.client).await? {
        items.extend(page);
    }
    match format {
        Format::Json => session.output.object(&json!({"items": items, "next": null})),
        Format::Tree => session.output.line(&tree::of_key(key, &items).drawn()),
        Format::Dot => session.output.line(&dot::of(&tree::key_graph(key, &items))),
        Format::Prov => session.output.object(&prov::of(&tree::key_graph(key, &items))),
    }
}
