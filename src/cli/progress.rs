//! The bars of a pull: one line a run, on standard error, only where a person watches.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;

use crate::cli::output;
use crate::cli::output::Output;

/// How often a spinner turns.
const TURN_EVERY: Duration = Duration::from_millis(120);

/// What stands on a run's line.
const LINE: &str = "{spinner} {prefix:<24} {msg}  {elapsed}";

/// The lines of one pull's runs.
pub struct Bars {
    group: Option<MultiProgress>,
    lines: HashMap<String, ProgressBar>,
}

impl Bars {
    /// No lines yet; none ever when nobody watches.
    pub fn new(output: &Output) -> Self {
        Self { group: (output.is_watched() && !output.is_json()).then(MultiProgress::new), lines: HashMap::new() }
    }

    /// Shows where the runs are.
    pub fn show(&mut self, runs: &[Value]) {
        let Some(group) = &self.group else { return };
        for run in runs {
            let id = run["id"].as_str().unwrap_or_default();
            let line = self.lines.entry(id.to_owned()).or_insert_with(|| added(group, &output::shown(&run["stream"])));
            let text = counted(run);
            match run["state"].as_str() {
                Some("running") | None => line.set_message(text),
                Some(state) if !line.is_finished() => line.finish_with_message(format!("{text}  {state}")),
                Some(_) => {}
            }
        }
    }
}

/// One line that tells what is being done, on standard error, only where a person watches.
pub struct Spinner(Option<ProgressBar>);

impl Spinner {
    /// Nothing is shown yet; nothing ever when nobody watches.
    pub fn new(output: &Output) -> Self {
        Spinner((output.is_watched() && !output.is_json()).then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let line = ProgressBar::new_spinner().with_style(style);
            line.enable_steady_tick(TURN_EVERY);
            line
        }))
    }

    /// Shows this instead of what is shown.
    pub fn show(&mut self, text: &str) {
        if let Some(line) = &self.0 {
            line.set_message(text.to_owned());
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.finish_and_clear();
        }
    }
}

fn added(group: &MultiProgress, stream: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let line = group.add(ProgressBar::new_spinner().with_style(style).with_prefix(stream.to_owned()));
    line.enable_steady_tick(TURN_EVERY);
    line
}

/// What a run has done, in words.
fn counted(run: &Value) -> String {
    let count = |name: &str| run[name].as_u64().unwrap_or(0);
    let records = count("new") + count("changed") + count("unchanged");
    format!(
        "{records} records ({} new, {} changed), {} pages, {} requests",
        count("new"),
        count("changed"),
        count("pages"),
        count("requests")
    )
}
