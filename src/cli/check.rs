//! `headgate store check`: everything that is kept is read again.
//!
//! When nobody serves, a child process reads, for the engine may hang or break on damaged bytes: this process holds the
//! directory, and gives the child up when it does not move. A server reads by itself, on a thread of its own.

use std::io::BufRead;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cli::Globals;
use crate::cli::failure::Failure;
use crate::cli::opening::Found;
use crate::cli::opening::Opening;
use crate::cli::output;
use crate::cli::output::Output;
use crate::cli::transport::Client;
use crate::cli::transport::Request;
use crate::clock::Clock;
use crate::config::DataDirectory;
use crate::config::HeldDirectory;
use crate::gateway::scrub::Limits;
use crate::gateway::scrub::child;
use crate::vault::MasterKey;

/// The time between two questions to a server.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// The time between two lines about the progress where nobody watches a terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Check {
    /// Give up after so many seconds [default: a minute, and a second for each MiB on disk]. What was found by then is told, and
    /// that it was not the whole.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    time_limit: Option<u64>,
}

impl Check {
    /// Checks, and says what was found.
    ///
    /// # Errors
    /// When something was found, or it cannot be checked.
    pub async fn carry_out(self, opening: Opening<'_>, output: &mut Output) -> Result<(), Failure> {
        let mut progress = Progress::new(output);
        let report = match opening.find().await? {
            Found::Nobody(held) => self.apart(opening, *held, &mut progress, output)?,
            Found::Holder(client) => self.by_the_holder(&client, &mut progress, output).await?,
        };
        progress.end();
        output.result(&report, told)?;
        let problems = report["problems"].as_array().map_or(0, Vec::len);
        if report["ok"] == true { Ok(()) } else { Err(Failure::outcome(format!("{problems} problems were found in the store"))) }
    }

    fn apart(&self, opening: Opening<'_>, held: HeldDirectory, progress: &mut Progress, output: &mut Output) -> Result<Value, Failure> {
        let data = held.directory().path().to_owned();
        if held.is_new() {
            return Err(Failure::outcome(format!("{data:?} holds no store yet; there is nothing to check")));
        }
        let settings = opening.settings(held, Clock::System, output)?;
        let limits = Limits::of(&data, self.time_limit.map(Duration::from_secs));
        let refused = |source: std::io::Error| Failure::Open { source: source.into() };
        let mut command = Command::new(std::env::current_exe().map_err(refused)?);
        command.env_remove(crate::config::MASTER_KEY_VARIABLE).arg("--data").arg(&data).args(["store", "scrub"]);
        let key = settings.master_key.to_base64();
        let supervised =
            || child::supervise(command, key.expose().as_bytes(), limits, &mut |place| progress.at(&place.step, place.done, output));
        let report = tokio::task::block_in_place(supervised).map_err(refused)?;
        serde_json::to_value(report).map_err(|error| Failure::Open { source: error.into() })
    }

    async fn by_the_holder(&self, client: &Client, progress: &mut Progress, output: &mut Output) -> Result<Value, Failure> {
        let path = ["admin", "store", "check"];
        let mut status = client.json(&Request::post(path, json!({"time_limit": self.time_limit}))).await?;
        loop {
            match status["state"].as_str() {
                Some("done") => return Ok(status["report"].take()),
                _ => progress.at(&output::shown(&status["step"]), status["done"].as_u64().unwrap_or(0), output),
            }
            tokio::time::sleep(ASK_EVERY).await;
            status = client.json(&Request::get(path)).await?;
        }
    }
}

/// The child of [`Check`], whose parent holds the directory and writes the master key to its standard input.
///
/// # Errors
/// When it was not started by a parent.
pub fn scrub(globals: &Globals) -> Result<(), Failure> {
    let directory = DataDirectory::at(globals.data())?;
    let mut key = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().read_line(&mut key);
    let master = read.ok().and_then(|_| MasterKey::from_base64(key.trim()).ok());
    let master = master.ok_or_else(|| Failure::usage("this command is a part of `headgate store check`; run that"))?;
    child::end_with(std::io::stdin());
    child::run(directory.path(), &master, &Clock::System).map_err(|source| Failure::Output { source })
}

/// Says where a check is: on a line that changes, or now and then on one more.
struct Progress {
    line: Option<ProgressBar>,
    told_at: Instant,
}

impl Progress {
    fn new(output: &Output) -> Self {
        let watched = output.is_watched() && !output.is_json();
        let style = ProgressStyle::with_template("{spinner} reading {msg}  {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        Progress { line: watched.then(|| ProgressBar::new_spinner().with_style(style)), told_at: Instant::now() }
    }

    fn at(&mut self, step: &str, done: u64, output: &mut Output) {
        let text = if done == 0 { step.to_owned() } else { format!("{step}: {done}") };
        match &self.line {
            Some(line) => {
                line.set_message(text);
                line.tick();
            }
            None if self.told_at.elapsed() >= TELL_EVERY => {
                output.say(&format!("headgate: reading {text}"));
                self.told_at = Instant::now();
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

fn told(report: &Value) -> String {
    let counts = report["checked"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    let mut text = format!("read in {} s: {}", output::shown(&report["seconds"]), counts.join(", "));
    for problem in report["problems"].as_array().into_iter().flatten() {
        let [code, what, advice] = ["code", "what", "advice"].map(|member| output::shown(&problem[member]));
        text.push_str(&format!("\n\n{code}: {what}\n  {advice}"));
    }
    if report["ok"] == true { format!("{text}\nthe store is whole") } else { format!("{text}\n\nthe store is NOT whole") }
}
