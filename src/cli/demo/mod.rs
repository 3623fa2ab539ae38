//! `headgate demo`: the whole life of a connection, told and checked step by step, on a Connected Application of our own.
//!
//! Everything goes through real sockets: the story is a client of the gateway's public face, with API keys and with a
//! customer's browser, and the gateway is a client of the sandbox's.

mod client;
mod narrator;
mod progress;
mod search;
mod stage;
mod story;

use std::net::Ipv4Addr;
use std::net::SocketAddr;

use clap::Args;
use serde_json::json;

use crate::cli::demo::narrator::Narrator;
use crate::cli::demo::stage::Plan;
use crate::cli::demo::stage::Stage;
use crate::cli::demo::story::Story;
use crate::cli::failure::Failure;
use crate::cli::opening::Opening;
use crate::cli::output::Output;
use crate::cli::serve::until_stopped;

/// The fewest records that make a shop in which every step has something to show.
const RECORDS_MIN: u64 = 10;

/// The most records: ten million are more than a story needs.
const RECORDS_MAX: u64 = 10_000_000;

#[derive(Debug, Args)]
pub struct Demo {
    /// End when the story ends, instead of leaving both servers up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// How many records the shop begins with.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(RECORDS_MIN..=RECORDS_MAX))]
    records: u64,
    /// Where the gateway listens; port 0 takes a free port.
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
}

impl Demo {
    /// Tells the story, and leaves the servers up unless it is to be told once.
    ///
    /// # Errors
    /// When a step did not hold, or the servers cannot start.
    pub async fn carry_out(self, opening: Opening<'_>, output: &mut Output) -> Result<(), Failure> {
        let plan = Plan { records: self.records, listen: self.listen };
        let mut narrator = Narrator::new(output);
        narrator.begin("start", "A gateway and a shop start: two servers, and real sockets between them.")?;
        let stage = match Stage::set(&plan, opening, narrator.output()).await {
            Ok(stage) => stage,
            Err(failure) => return Err(narrator.broken(failure)),
        };
        let told = tokio::select! {
            told = tell(&stage, &mut narrator) => told,
            stopped = until_stopped() => stopped.and(Err(Failure::outcome("the demo was stopped before its end"))),
        };
        let told = match told {
            Ok(()) if !self.once => stay(&stage, &mut narrator).await,
            other => other,
        };
        stage.strike().await;
        told
    }
}

async fn tell(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    if let Err(failure) = Story::new(stage, narrator)?.tell().await {
        return Err(narrator.broken(failure));
    }
    let (steps, milliseconds) = narrator.sum();
    if narrator.output().is_json() {
        let papers = json!({"certificate": stage.certificate, "keys": stage.keys});
        return narrator.output().object(&json!({
            "event": "end", "held": true, "steps": steps, "milliseconds": milliseconds, "papers": papers,
        }));
    }
    narrator.line(&format!("\nAll {steps} steps held, in {}.", narrator::seconds(milliseconds)))
}

/// Says how to go on, and waits for SIGINT or SIGTERM.
async fn stay(stage: &Stage, narrator: &mut Narrator<'_>) -> Result<(), Failure> {
    let (gateway, shop) = (format!("http://{}", stage.gateway), stage.sandbox.base_url().to_owned());
    if narrator.output().is_json() {
        let event = json!({"event": "serving", "gateway": gateway, "sandbox": shop, "data": stage.data});
        narrator.output().object(&event)?;
    }
    stage.start_schedule();
    let key = stage.operator_key.expose();
    let gone = if stage.is_temporary { ", and the data directory goes with it" } else { "" };
    narrator.line(&format!(
        "\nThe gateway stays up at {gateway} and the shop at {shop}. Go on as the operator, for example:

  KEY={key}
  curl -H \"Authorization: Bearer $KEY\" {gateway}/v1/connections
  curl -H \"Authorization: Bearer $KEY\" '{gateway}/v1/audit?limit=5'
  curl -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\
       -d '{{\"connector\":\"sandbox\",\"tenant\":\"acme\"}}' {gateway}/v1/connect/sessions

The last one answers with a link: open it in a browser to connect the shop yourself (its address is {shop}).
{gateway}/docs lists every endpoint; `curl -X POST {shop}/_advance` lets the shop change.

Ctrl-C stops both{gone}."
    ))?;
    until_stopped().await
}
