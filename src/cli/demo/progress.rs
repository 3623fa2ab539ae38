//! The bars of the demo's pulls: one for each stream, as long as what the shop has of it, where a person watches.

use std::collections::BTreeMap;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use serde_json::Value;

use crate::cli::output::Output;

/// What stands on a stream's line.
const LINE: &str = "       {prefix:<10} {bar:32} {pos:>8} of {len} records, {msg}";

/// The bars of one pull.
pub struct Bars {
    bars: BTreeMap<String, ProgressBar>,
    group: Option<MultiProgress>,
}

impl Bars {
    /// A bar for each stream, of the length given with its name; none when nobody watches.
    pub fn new(output: &Output, streams: &[(&str, u64)]) -> Self {
        let group = (output.is_watched() && !output.is_json()).then(MultiProgress::new);
        let style = ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌░");
        let bars = group.iter().flat_map(|group| {
            streams.iter().map(|(name, length)| {
                let bar = ProgressBar::new(*length).with_style(style.clone()).with_prefix((*name).to_owned()).with_message("0 pages");
                ((*name).to_owned(), group.add(bar))
            })
        });
        Self { bars: bars.collect(), group }
    }

    /// Moves each bar to where its run is.
    pub fn show(&self, runs: &[Value]) {
        for run in runs {
            let Some(bar) = run["stream"].as_str().and_then(|stream| self.bars.get(stream)) else { continue };
            let counted = ["new", "changed", "unchanged"].iter().filter_map(|name| run[*name].as_u64()).sum();
            bar.set_message(format!("{} pages", run["pages"]));
            bar.set_position(counted);
        }
    }

    /// Takes the bars off the screen: what they showed is told in words.
    pub fn clear(self) {
        if let Some(group) = self.group {
            // A screen that cannot be cleared keeps its bars.
            let _ = group.clear();
        }
    }
}
