//! The same lineage in the gateway and in PostgreSQL: equal answers first, then times side by side. README.md says what favours whom.

mod database;
mod gateway;
mod graph;
mod measure;
mod names;
mod question;
mod shop;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use clap::Parser;

use crate::database::Session;
use crate::gateway::Gateway;
use crate::graph::Graph;
use crate::measure::Times;
use crate::names::Names;
use crate::question::Kind;
use crate::question::Question;
use crate::question::Side;
use crate::question::must_agree;

/// Jobs that are installed when the graph of jobs is first asked for.
const JOBS_AT_FIRST: usize = 1_000;
/// Questions of each kind whose answers are compared, on both sides, before any time is taken.
const COMPARED: usize = 40;

/// Asks the gateway and PostgreSQL the same lineage questions.
#[derive(Parser)]
struct Options {
    /// The `headgate` binary.
    #[arg(long)]
    gateway: PathBuf,
    /// The folder of PostgreSQL's socket; user and database are `bench`.
    #[arg(long)]
    postgres: PathBuf,
    /// An empty folder for the gateway's data.
    #[arg(long)]
    data: PathBuf,
    /// Raw records; a tenth as many artifacts and a hundredth as many documents are made of them.
    #[arg(long, default_value_t = 100_000)]
    records: usize,
    /// OpenLineage jobs in the end; the first thousand are measured alone.
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
    /// Questions of each kind.
    #[arg(long, default_value_t = 2_000)]
    questions: usize,
    /// Callers at the same time.
    #[arg(long, value_delimiter = ',', default_value = "8,100")]
    callers: Vec<usize>,
    /// Where the graph and the questions come from.
    #[arg(long, default_value_t = 5)]
    seed: u64,
    /// Kinds of questions to leave out, by the first word of their title.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let graph = Arc::new(Graph::new(options.records, options.seed));
    let shop = shop::open(&graph)?;
    let mut bench = Bench {
        gateway: Gateway::start(&options.gateway, &options.data, shop)?,
        names: Arc::default(),
        shop: shop.to_string(),
        graph,
        options,
        differences: Cell::new(0),
    };
    bench.load()?;
    println!("\n| question | nodes | callers | Headgate p50, p99 | PostgreSQL p50, p99 | ratio p50, p99 | answers a second |");
    println!("|---|---|---|---|---|---|---|");
    for kind in [Kind::Origin, Kind::Key, Kind::Descendants, Kind::Ancestors, Kind::ImpactCounts, Kind::ImpactList] {
        bench.ask(kind, 0)?;
    }
    bench.jobs()?;
    anyhow::ensure!(bench.differences.get() == 0, "{} kinds of questions have answers that differ", bench.differences.get());
    Ok(())
}

struct Bench {
    options: Options,
    graph: Arc<Graph>,
    gateway: Gateway,
    names: Arc<Names>,
    shop: String,
    /// Kinds of questions whose answers were not equal.
    differences: Cell<usize>,
}

impl Bench {
    fn leaves_out(&self, title: &str) -> bool {
        self.options.without.iter().any(|word| title.starts_with(word.as_str()))
    }

    /// Gives both sides the graph, and says how long that took.
    fn load(&mut self) -> anyhow::Result<()> {
        let (graph, made) = (Arc::clone(&self.graph), self.graph.made.len());
        let address = self.shop.parse()?;
        println!("{} records, {made} made of them, seed {}, load average {}", graph.records, self.options.seed, load_average());
        self.gateway.connect(&graph, address, Arc::get_mut(&mut self.names).expect("nobody else has the names yet"))?;
        let bulk = database::in_bulk(&self.options.postgres, &graph, &self.shop)?;
        let began = Instant::now();
        gateway::pull(&self.gateway, &graph, &self.names)?;
        let pulled = began.elapsed();
        let fed = database::bit_by_bit(&self.options.postgres, &graph, &self.shop)?;
        gateway::learn(&self.gateway, &graph, &mut self.names)?;
        let derived =
            if self.leaves_out("derivations") { Duration::ZERO } else { gateway::derive(&self.gateway, &graph, &mut self.names)? };
        let rate =
            |count: usize, spent: Duration| format!("{:.1} s, {:.0} a second", spent.as_secs_f64(), count as f64 / spent.as_secs_f64());
        println!(
            "\n| load | Headgate | PostgreSQL, page by page, durable | PostgreSQL, COPY, unlogged, indexes after |\n|---|---|---|---|"
        );
        println!(
            "| records | {} | {} | {} |",
            rate(graph.records, pulled),
            rate(graph.records, fed.records),
            rate(graph.records, bulk.records)
        );
        println!(
            "| artifacts and documents | {} | {} | {} |",
            rate(made, derived),
            rate(made, fed.derivations),
            rate(made, bulk.derivations)
        );
        let disk = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
        let of_postgres = database::bytes_on_disk(&self.options.postgres)?;
        println!("| on disk | {} | | {} |", disk(self.gateway.bytes_on_disk()?), disk(of_postgres));
        println!("| load average afterwards | {} | | |", load_average());
        Ok(())
    }

    fn sides(&self) -> anyhow::Result<(Box<dyn Side>, Box<dyn Side>)> {
        let session = Session::open(&self.options.postgres, &self.graph)?;
        Ok((Box::new(self.gateway.caller(&self.graph, &self.names)), Box::new(session)))
    }

    /// Compares, then measures one kind of question.
    fn ask(&self, kind: Kind, jobs: usize) -> anyhow::Result<()> {
        if self.leaves_out(kind.title()) {
            return Ok(());
        }
        let seed = self.options.seed + 1;
        // A list of thousands of nodes is asked less often than a single record.
        let count = if matches!(kind, Kind::ImpactCounts | Kind::ImpactList) { self.options.questions / 5 } else { self.options.questions };
        let questions: Vec<Question> = kind.questions(&self.graph, jobs, count.max(1), seed);
        let (mut first, mut second) = self.sides()?;
        let compared = &questions[..COMPARED.min(questions.len())];
        let agreed = must_agree(compared, &self.graph, &self.names, &self.shop, [("Headgate", &mut *first), ("PostgreSQL", &mut *second)]);
        let agreed = agreed.and_then(|nodes| self.must_tell_apart(kind).map(|()| nodes));
        let nodes = match agreed {
            Ok(nodes) => nodes,
            Err(error) => {
                println!("| {} | not measured: {error:#} |", kind.title());
                self.differences.set(self.differences.get() + 1);
                return Ok(());
            }
        };
        self.line(kind, jobs, nodes, 1, measure::one_caller(&questions, [&mut *first, &mut *second])?);
        for callers in &self.options.callers {
            let mut both = (Vec::new(), Vec::new());
            for _ in 0..*callers {
                let (gateway, postgres) = self.sides()?;
                both.0.push(gateway);
                both.1.push(postgres);
            }
            self.line(kind, jobs, nodes, *callers, measure::many_callers(&questions, [&mut both.0, &mut both.1])?);
        }
        Ok(())
    }

    fn must_tell_apart(&self, kind: Kind) -> anyhow::Result<()> {
        let connections = if kind == Kind::ImpactList { self.names.connections().len() } else { 0 };
        let caller = self.gateway.caller(&self.graph, &self.names);
        (0..connections).step_by(COMPARED / 2).try_for_each(|connection| caller.must_tell_apart(connection))
    }

    fn line(&self, kind: Kind, jobs: usize, nodes: f64, callers: usize, [mut ours, mut theirs]: [Times; 2]) {
        let among = if jobs > 0 { format!(", {jobs} jobs installed") } else { String::new() };
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        let at = [0.5, 0.99].map(|share| (ours.percentile(share), theirs.percentile(share)));
        let [half, most] = at.map(|(ours, theirs)| (ms(ours), ms(theirs), theirs.as_secs_f64() / ours.as_secs_f64()));
        println!(
            "| {}{among} | {nodes:.1} | {callers} | {}, {} ms | {}, {} ms | {:.2}, {:.2} | {:.0} : {:.0} |",
            kind.title(),
            half.0,
            most.0,
            half.1,
            most.1,
            half.2,
            most.2,
            ours.rate(),
            theirs.rate()
        );
    }

    /// The graph of jobs, with few and with many installed.
    fn jobs(&mut self) -> anyhow::Result<()> {
        if self.leaves_out(Kind::Jobs.title()) {
            return Ok(());
        }
        let mut installed = 0;
        let mut loads = Vec::new();
        for jobs in [JOBS_AT_FIRST.min(self.options.jobs), self.options.jobs] {
            if jobs > installed {
                let ours = gateway::tell_jobs(&self.gateway, &self.graph, &self.names, installed..jobs)?;
                let theirs = database::add_jobs(&self.options.postgres, installed..jobs)?;
                loads.push(format!(
                    "{} jobs: {:.1} s as events over HTTP, {:.1} s by COPY into PostgreSQL",
                    jobs - installed,
                    ours.as_secs_f64(),
                    theirs.as_secs_f64()
                ));
                installed = jobs;
            }
            self.ask(Kind::Jobs, jobs)?;
        }
        println!("\n{}\nload average at the end {}", loads.join("\n"), load_average());
        Ok(())
    }
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}
