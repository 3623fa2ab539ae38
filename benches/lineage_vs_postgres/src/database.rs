//! PostgreSQL: the same graph in tables with covering indexes both ways, asked by prepared statements over a local socket.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use postgres::Client;
use postgres::NoTls;
use postgres::Statement;

use crate::graph::Graph;
use crate::graph::Job;
use crate::graph::Made;
use crate::graph::PER_PAGE;
use crate::graph::dataset_name;
use crate::graph::tenant_of_connection;
use crate::question::Part;
use crate::question::Question;
use crate::question::Side;
use crate::shop;

/// Pages that are written at the same time when PostgreSQL is fed page by page: as many as the gateway pulls at the same time.
const WRITERS: usize = 4;
/// Derivations of one transaction when PostgreSQL is fed bit by bit: as many as the gateway is told in one request.
const DERIVATIONS_A_BATCH: usize = 500;

const TABLES: &str = include_str!("../sql/tables.sql");
const INDEXES: &str = include_str!("../sql/indexes.sql");
const IMPACT: &str = include_str!("../sql/impact.sql");
const IMPACT_LIST: &str = "SELECT id FROM own UNION ALL SELECT id FROM first UNION ALL SELECT id FROM second";
const IMPACT_COUNTS: &str = "SELECT (SELECT count(*) FROM own), count(*) FILTER (WHERE dies), count(*) FILTER (WHERE NOT dies)
    FROM (SELECT dies FROM first UNION ALL SELECT dies FROM second) reached";
const JOB_TABLES: &str = include_str!("../sql/job_tables.sql");

/// A connection with its statements prepared.
pub struct Session {
    client: Client,
    graph: Arc<Graph>,
    origin: Statement,
    key: Statement,
    descendants: Statement,
    ancestors: Statement,
    impact_counts: Statement,
    impact_list: Statement,
    jobs: Statement,
}

/// How long each part of a load took.
pub struct Load {
    /// Records, pages, keys and payloads, with their indexes.
    pub records: Duration,
    /// Artifacts and edges, with their indexes.
    pub derivations: Duration,
}

/// Walks by index lookups alone: the planner guesses too many rows for a recursion and would read all edges instead, which takes an impact of
/// 7,000 nodes among a million records from 33 to 80 ms.
const WALK_BY_INDEX: &str = "SET enable_hashjoin = off; SET enable_mergejoin = off";

fn open(socket: &Path, schema: &str) -> anyhow::Result<Client> {
    let mut client = Client::connect(&format!("host={} user=bench dbname=bench", socket.display()), NoTls)?;
    client.batch_execute(&format!("SET search_path TO {schema}; {WALK_BY_INDEX}"))?;
    Ok(client)
}

impl Session {
    /// Opens a session on what [`in_bulk`] has loaded.
    pub fn open(socket: &Path, graph: &Arc<Graph>) -> anyhow::Result<Self> {
        let mut client = open(socket, "bulk")?;
        Ok(Session {
            graph: Arc::clone(graph),
            origin: client.prepare(include_str!("../sql/origin.sql"))?,
            key: client.prepare(include_str!("../sql/key.sql"))?,
            descendants: client.prepare(include_str!("../sql/descendants.sql"))?,
            ancestors: client.prepare(include_str!("../sql/ancestors.sql"))?,
            impact_counts: client.prepare(&format!("{IMPACT} {IMPACT_COUNTS}"))?,
            impact_list: client.prepare(&format!("{IMPACT} {IMPACT_LIST}"))?,
            jobs: client.prepare(include_str!("../sql/jobs.sql"))?,
            client,
        })
    }
}

/// Bytes of what was loaded in bulk, with indexes.
pub fn bytes_on_disk(socket: &Path) -> anyhow::Result<u64> {
    let sizes = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relnamespace = 'bulk'::regnamespace AND relkind = 'r'";
    Ok(open(socket, "bulk")?.query_one(sizes, &[])?.get::<_, i64>(0) as u64)
}

impl Side for Session {
    fn ask(&mut self, question: &Question) -> anyhow::Result<Vec<Part>> {
        let client = &mut self.client;
        let number = |row: &postgres::Row| Part::Number(row.get(0));
        Ok(match question {
            Question::Origin(record) => {
                let row = client.query_one(&self.origin, &[&(*record as i64)])?;
                vec![Part::Text(row.get(0)), Part::Text(row.get(1))]
            }
            Question::Key(record) => {
                let tenant = tenant_of_connection(self.graph.connection_of(*record)) as i32;
                client.query(&self.key, &[&tenant, &self.graph.order_number(*record)])?.iter().map(number).collect()
            }
            Question::Descendants(node) => client.query(&self.descendants, &[node])?.iter().map(number).collect(),
            Question::Ancestors(node) => client.query(&self.ancestors, &[node])?.iter().map(number).collect(),
            Question::ImpactCounts(connection) => {
                let row = client.query_one(&self.impact_counts, &[&(*connection as i32)])?;
                vec![Part::counts([row.get(0), row.get(1), row.get(2)])]
            }
            Question::ImpactList(connection) => client.query(&self.impact_list, &[&(*connection as i32)])?.iter().map(number).collect(),
            Question::Jobs(job) => {
                let job = Job::new(*job);
                let rows = client.query(&self.jobs, &[&job.namespace(), &job.name()])?;
                let text = |row: &postgres::Row| format!("{}:{}:{}", row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, &str>(2));
                rows.iter().map(|row| Part::Text(text(row))).collect()
            }
        })
    }
}

/// Loads everything the way that PostgreSQL likes best: COPY into unlogged tables without indexes, then indexes, then VACUUM ANALYZE.
pub fn in_bulk(socket: &Path, graph: &Graph, shop: &str) -> anyhow::Result<Load> {
    let mut client = open(socket, "bulk")?;
    client.batch_execute("CREATE SCHEMA bulk")?;
    client.batch_execute(TABLES)?;
    client.batch_execute(JOB_TABLES)?;
    let rows = Rows { graph, shop };
    let everything = 0..graph.records / graph.each();
    let began = Instant::now();
    copy(&mut client, "connections", |out| rows.connections(out))?;
    copy(&mut client, "runs", |out| rows.runs(out))?;
    copy(&mut client, "pages", |out| everything.clone().try_for_each(|connection| rows.pages(out, connection, 0..graph.pages_each())))?;
    copy(&mut client, "records", |out| rows.records(out, 0..graph.records))?;
    copy(&mut client, "payloads", |out| rows.payloads(out, 0..graph.records))?;
    copy(&mut client, "keys", |out| rows.keys(out, 0..graph.records))?;
    let copied = began.elapsed();
    copy(&mut client, "artifacts", |out| rows.artifacts(out, &graph.made))?;
    copy(&mut client, "edges", |out| rows.edges(out, &graph.made))?;
    let derived = began.elapsed() - copied;
    let indexing = Instant::now();
    let (of_edges, others): (Vec<&str>, Vec<&str>) = INDEXES.lines().partition(|line| line.contains("edges") || line.contains("artifacts"));
    client.batch_execute(&others.join("\n"))?;
    let records = copied + indexing.elapsed();
    let indexing = Instant::now();
    client.batch_execute(&of_edges.join("\n"))?;
    let derivations = derived + indexing.elapsed();
    client.batch_execute("VACUUM ANALYZE")?;
    Ok(Load { records, derivations })
}

/// Loads everything as the gateway is fed: page after page, each durable before the next, indexes in place.
pub fn bit_by_bit(socket: &Path, graph: &Graph, shop: &str) -> anyhow::Result<Load> {
    let mut client = open(socket, "fed")?;
    client.batch_execute("CREATE SCHEMA fed")?;
    client.batch_execute(&TABLES.replace("UNLOGGED ", ""))?;
    client.batch_execute(INDEXES)?;
    let rows = Rows { graph, shop };
    copy(&mut client, "connections", |out| rows.connections(out))?;
    copy(&mut client, "runs", |out| rows.runs(out))?;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let began = Instant::now();
    crate::gateway::many(WRITERS, || {
        let mut client = open(socket, "fed")?;
        loop {
            let connection = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if connection >= graph.records / graph.each() {
                return Ok(());
            }
            for page in 0..graph.pages_each() {
                let first = connection * graph.each() + page * PER_PAGE;
                let records = first..(first + PER_PAGE).min((connection + 1) * graph.each());
                let mut unit = client.transaction()?;
                copy_in(&mut unit, "pages", |out| rows.pages(out, connection, page..page + 1))?;
                copy_in(&mut unit, "records", |out| rows.records(out, records.clone()))?;
                copy_in(&mut unit, "payloads", |out| rows.payloads(out, records.clone()))?;
                copy_in(&mut unit, "keys", |out| rows.keys(out, records))?;
                unit.commit()?;
            }
        }
    })?;
    let records = began.elapsed();
    for batch in graph.made.chunks(DERIVATIONS_A_BATCH) {
        let mut unit = client.transaction()?;
        copy_in(&mut unit, "artifacts", |out| rows.artifacts(out, batch))?;
        copy_in(&mut unit, "edges", |out| rows.edges(out, batch))?;
        unit.commit()?;
    }
    let derivations = began.elapsed() - records;
    client.batch_execute("DROP SCHEMA fed CASCADE")?;
    Ok(Load { records, derivations })
}

/// Adds these jobs, with their datasets, in bulk.
pub fn add_jobs(socket: &Path, jobs: std::ops::Range<usize>) -> anyhow::Result<Duration> {
    let mut client = open(socket, "bulk")?;
    let began = Instant::now();
    let jobs: Vec<Job> = jobs.map(Job::new).collect();
    let job_node = |job: &Job| job.group * crate::question::nodes_a_group() + job.number;
    let dataset_node = |job: &Job, dataset: usize| job.group * crate::question::nodes_a_group() + crate::graph::JOBS_A_GROUP + dataset;
    copy(&mut client, "job_nodes", |out| {
        for job in &jobs {
            writeln!(out, "{}\tjob\t{}\t{}\t{}\t2026-11-24T10:00:00Z", job_node(job), job.namespace(), job.name(), job.run())?;
            // The first ten jobs each bring one dataset that nobody writes, beside the one that each job writes.
            for dataset in [Some(job.number).filter(|number| *number < 10), Some(job.writes)].into_iter().flatten() {
                writeln!(out, "{}\tdataset\t{}\t{}\t\\N\t\\N", dataset_node(job, dataset), job.namespace(), dataset_name(dataset))?;
            }
        }
        Ok(())
    })?;
    copy(&mut client, "job_edges", |out| {
        for job in &jobs {
            for dataset in job.reads.iter().chain([&job.writes]) {
                let (job, dataset) = (job_node(job), dataset_node(job, *dataset));
                writeln!(out, "{job}\t{dataset}\n{dataset}\t{job}")?;
            }
        }
        Ok(())
    })?;
    let spent = began.elapsed();
    client.batch_execute("VACUUM ANALYZE job_nodes, job_edges")?;
    Ok(spent)
}

fn copy(client: &mut Client, table: &str, rows: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut unit = client.transaction()?;
    copy_in(&mut unit, table, rows)?;
    Ok(unit.commit()?)
}

fn copy_in(
    unit: &mut postgres::Transaction<'_>,
    table: &str,
    rows: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut writer = std::io::BufWriter::with_capacity(1 << 16, unit.copy_in(&format!("COPY {table} FROM STDIN"))?);
    rows(&mut writer)?;
    writer.into_inner().map_err(|error| error.into_error())?.finish()?;
    Ok(())
}

/// Rows in the text form of COPY.
struct Rows<'a> {
    graph: &'a Graph,
    shop: &'a str,
}

impl Rows<'_> {
    fn connections(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for connection in 0..self.graph.records / self.graph.each() {
            let (tenant, digest) = (tenant_of_connection(connection), digest(connection));
            writeln!(out, "{connection}\t{tenant}\tshop\t{digest}\tcons_{connection:032x}\t2026-11-01\t{{fulfilment}}\t1")?;
        }
        Ok(())
    }

    /// One run a connection.
    fn runs(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for connection in 0..self.graph.records / self.graph.each() {
            writeln!(out, "{connection}\t{connection}\torders\t2026-11-24T10:00:00Z")?;
        }
        Ok(())
    }

    fn pages(&self, out: &mut dyn Write, connection: usize, pages: std::ops::Range<usize>) -> std::io::Result<()> {
        for page in pages {
            let (number, digest) = (connection * self.graph.pages_each() + page, digest(page));
            write!(out, "{number}\t{connection}\tGET\thttp://{}/accounts/{connection}/orders?page={page}\t200\t1\t", self.shop)?;
            writeln!(out, "2026-11-24T10:00:00Z\t2026-11-24T10:00:01Z\t{digest}\t262144\t\\N")?;
        }
        Ok(())
    }

    fn records(&self, out: &mut dyn Write, records: std::ops::Range<usize>) -> std::io::Result<()> {
        for record in records {
            let (connection, at) = (self.graph.connection_of(record), record % self.graph.each());
            let (page, slot) = (connection * self.graph.pages_each() + at / PER_PAGE, at % PER_PAGE);
            writeln!(out, "{record}\t{connection}\t{page}\t1\t/orders/{slot}\t[{record}]\t{}\t2027-11-24T10:00:00Z", digest(record))?;
        }
        Ok(())
    }

    fn payloads(&self, out: &mut dyn Write, records: std::ops::Range<usize>) -> std::io::Result<()> {
        let mut body = String::new();
        for record in records {
            body.clear();
            shop::order(&mut body, self.graph, record);
            writeln!(out, "{record}\t{body}")?;
        }
        Ok(())
    }

    fn keys(&self, out: &mut dyn Write, records: std::ops::Range<usize>) -> std::io::Result<()> {
        for record in records {
            let tenant = tenant_of_connection(self.graph.connection_of(record));
            writeln!(out, "{tenant}\torder_number\t{}\t{record}", self.graph.order_number(record))?;
        }
        Ok(())
    }

    fn artifacts(&self, out: &mut dyn Write, made: &[Made]) -> std::io::Result<()> {
        for one in made {
            writeln!(out, "{}\t{}\t{}\t{}\t{}\t{}", one.number, one.tenant, one.kind, one.name, one.need.name(), one.inputs.len())?;
        }
        Ok(())
    }

    fn edges(&self, out: &mut dyn Write, made: &[Made]) -> std::io::Result<()> {
        for one in made {
            for input in &one.inputs {
                writeln!(out, "{input}\t{}", one.number)?;
            }
        }
        Ok(())
    }
}

/// Thirty-two bytes that no other number has, in the text form of COPY.
fn digest(number: usize) -> String {
    let mut dice = fastrand::Rng::with_seed(number as u64);
    format!("\\\\x{:016x}{:016x}{:016x}{:016x}", dice.u64(..), dice.u64(..), dice.u64(..), dice.u64(..))
}
