//! The two pulls: everything, and then what has changed.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use super::Connected;
use super::Story;
use super::items;
use super::sum;
use super::text;
use crate::cli::demo::narrator::grouped;
use crate::cli::demo::progress::Bars;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::transport::Request;
use crate::sandbox::Counts;
use crate::sandbox::Faults;

/// The time between two looks at the runs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a pull may stand still. The shop's longest wait, after too many requests, is ten seconds.
const STANDSTILL_WAIT: Duration = Duration::from_secs(60);

/// The status with which the shop refuses what comes too fast.
const TOO_MANY_REQUESTS: u16 = 429;

/// The columns of the table of runs.
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

/// What a pull of one stream must come to.
struct Expected {
    stream: &'static str,
    new: u64,
    changed: u64,
}

/// What the gateway holds after the second pull.
pub(super) struct Holding {
    pub records: u64,
    pub versions: u64,
}

impl Story<'_, '_> {
    pub(super) async fn pull_everything(&mut self, connected: &Connected) -> Result<(), Failure> {
        self.narrator.begin("pull", "The first pull reads everything, page by page, in the three ways of paging that the shop has.")?;
        let counts = self.stage.sandbox.counts();
        self.stage.sandbox.set_faults(Faults { limit: 1, ..Faults::default() });
        let runs = self.pull(connected, &counts).await?;
        let expected = shelves(&counts).map(|(stream, new)| Expected { stream, new, changed: 0 });
        self.compare(&runs, &expected)?;
        let refused = self.stage.sandbox.log().iter().filter(|request| request.status == Some(TOO_MANY_REQUESTS)).count();
        self.narrator.holds(refused > 0, "requests that the shop refused with 429", "one at least", || refused)?;
        self.narrator.equal("drafts of products that the manifest leaves out", sum(&runs, "filtered"), counts.drafts)?;
        self.narrator.say(&format!(
            "{} records, as many as the shop has, each stored with its complete tag. The shop answered 429 to a request on the way; \
             the gateway waited as long as it was told, and asked again.",
            grouped(counts.total())
        ))?;
        self.narrator.held()
    }

    pub(super) async fn pull_the_changes(&mut self, connected: &Connected) -> Result<Holding, Failure> {
        self.narrator
            .begin("changes", "Meanwhile the shop sells, bills and ships. The second pull brings what changed, and nothing else.")?;
        let change = self.stage.sandbox.advance();
        let moved = change.orders_paid + change.orders_shipped;
        self.narrator.show(&[
            ("new", format!("{} orders, {} invoices, {} shipments", change.orders_created, change.orders_paid, change.orders_shipped)),
            ("changed", format!("{moved} orders paid or shipped, {} customer, {} product", change.customers, change.products)),
        ])?;
        let counts = self.stage.sandbox.counts();
        let runs = self.pull(connected, &counts).await?;
        let expected = [
            Expected { stream: "customers", new: 0, changed: change.customers },
            Expected { stream: "orders", new: change.orders_created, changed: moved },
            Expected { stream: "invoices", new: change.orders_paid, changed: 0 },
            Expected { stream: "shipments", new: change.orders_shipped, changed: 0 },
            Expected { stream: "products", new: 0, changed: change.products },
        ];
        self.compare(&runs, &expected)?;
        let (new, changed, unchanged) = (sum(&runs, "new"), sum(&runs, "changed"), sum(&runs, "unchanged"));
        self.narrator.equal("new and changed records together", new + changed, change.records())?;
        self.narrator.say(&format!(
            "{new} new and {changed} changed records: exactly what the shop says of itself. {unchanged} more came along unchanged \
             and made no version."
        ))?;
        self.narrator.held()?;
        Ok(Holding { records: counts.total(), versions: counts.total() + changed })
    }

    /// Pulls every stream, with bars that move while it lasts, and shows what came.
    async fn pull(&mut self, connected: &Connected, counts: &Counts) -> Result<Vec<Value>, Failure> {
        let service = &self.stage.service;
        let started = service.json(&Request::post(["v1", "connections", &connected.connection, "runs"], json!({}))).await?;
        let pull = text(&started, "/pull");
        let request = Request::get(["v1", "runs"]).query("pull", &pull).query("limit", super::PAGE_ITEMS);
        let bars = Bars::new(self.narrator.output(), &shelves(counts));
        let mut runs = Vec::new();
        let mut moved = Instant::now();
        while runs.is_empty() || runs.iter().any(|run: &Value| run["state"] == "running") {
            let seen = items(service, &request).await?;
            if seen != runs {
                (runs, moved) = (seen, Instant::now());
                bars.show(&runs);
            } else if moved.elapsed() > STANDSTILL_WAIT {
                return Err(Failure::outcome(format!("{pull}: expected to go on, saw no progress for {} s", STANDSTILL_WAIT.as_secs())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bars.clear();
        runs.sort_by_key(|run| shelves(counts).iter().position(|(stream, _)| run["stream"] == *stream));
        self.narrator.table(&output::table(COLUMNS, &runs))?;
        self.narrator.note("pull", pull);
        for counter in ["new", "changed", "unchanged", "filtered", "pages", "requests"] {
            self.narrator.note(counter, sum(&runs, counter));
        }
        Ok(runs)
    }

    /// Sees that each stream has one complete run with the expected counts.
    fn compare(&mut self, runs: &[Value], expected: &[Expected]) -> Result<(), Failure> {
        self.narrator.equal("runs, one for each stream", runs.len(), expected.len())?;
        for Expected { stream, new, changed } in expected {
            let found = runs.iter().find(|run| run["stream"] == **stream).cloned().unwrap_or_default();
            let whole = found["state"] == "complete" && found["new"].as_u64() == Some(*new) && found["changed"].as_u64() == Some(*changed);
            let wanted = format!("complete, {new} new, {changed} changed");
            self.narrator.holds(whole, stream, &wanted, || {
                let count = |name: &str| text(&found, &format!("/{name}"));
                format!("{}, {} new, {} changed {}", count("state"), count("new"), count("changed"), count("error"))
            })?;
        }
        Ok(())
    }
}

/// The streams and how many records the shop has of each, drafts left out.
fn shelves(counts: &Counts) -> [(&'static str, u64); 5] {
    [
        ("customers", counts.customers),
        ("orders", counts.orders),
        ("invoices", counts.invoices),
        ("shipments", counts.shipments),
        ("products", counts.products),
    ]
}
