//! What both sides are asked, and what they may answer.

use std::collections::BTreeSet;

use anyhow::Context;

use crate::graph::DATASETS_A_GROUP;
use crate::graph::Graph;
use crate::graph::JOBS_A_GROUP;
use crate::graph::TENANTS;
use crate::graph::group_nodes;
use crate::graph::tenant_of_connection;
use crate::names::Names;

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Where a record came from.
    Origin,
    /// Which records carry an order number, and where each came from.
    Key,
    /// What is made of a record.
    Descendants,
    /// What a document is made of.
    Ancestors,
    /// How much goes or loses a part with a connection.
    ImpactCounts,
    /// What goes or loses a part with a connection.
    ImpactList,
    /// What jobs and datasets hang together with a job.
    Jobs,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub enum Question {
    /// [`Kind::Origin`] of a record.
    Origin(usize),
    /// [`Kind::Key`]: the order number of a record.
    Key(usize),
    /// [`Kind::Descendants`] of a node.
    Descendants(i64),
    /// [`Kind::Ancestors`] of a node.
    Ancestors(i64),
    /// [`Kind::ImpactCounts`] of a connection.
    ImpactCounts(usize),
    /// [`Kind::ImpactList`] of a connection.
    ImpactList(usize),
    /// [`Kind::Jobs`] around a job.
    Jobs(usize),
}

/// A part of an answer, as either side names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A node by its number, or a count.
    Number(i64),
    /// A node by the gateway's id, or a text.
    Text(String),
}

impl Part {
    /// How many are a connection's own, go with it, and lose an input and stay.
    pub fn counts([own, dies, survives]: [i64; 3]) -> Self {
        Part::Text(format!("{own} own, {dies} die, {survives} survive"))
    }
}

/// Someone who answers.
pub trait Side: Send {
    /// All that belongs to the answer, in any order.
    fn ask(&mut self, question: &Question) -> anyhow::Result<Vec<Part>>;
}

impl Kind {
    /// Questions of this kind, the same for a seed.
    pub fn questions(self, graph: &Graph, jobs: usize, count: usize, seed: u64) -> Vec<Question> {
        let mut dice = fastrand::Rng::with_seed(seed);
        let connections = graph.records / graph.each();
        let documents = graph.records / 100;
        let one = |_| match self {
            Kind::Origin => Question::Origin(dice.usize(..graph.records)),
            Kind::Key => Question::Key(dice.usize(..graph.records)),
            Kind::Descendants => Question::Descendants(dice.usize(..graph.records) as i64),
            Kind::Ancestors => Question::Ancestors((graph.records + graph.made.len() - 1 - dice.usize(..documents)) as i64),
            Kind::ImpactCounts => Question::ImpactCounts(dice.usize(..connections)),
            Kind::ImpactList => Question::ImpactList(dice.usize(..connections)),
            Kind::Jobs => Question::Jobs(dice.usize(..jobs)),
        };
        (0..count).map(one).collect()
    }

    /// What is printed.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Origin => "origin of a record",
            Kind::Key => "business key, records with origins",
            Kind::Descendants => "descendants of a record",
            Kind::Ancestors => "ancestors of a document",
            Kind::ImpactCounts => "impact of a connection, counts",
            Kind::ImpactList => "impact of a connection, every node",
            Kind::Jobs => "graph of jobs and datasets",
        }
    }
}

impl Question {
    /// Whose key asks.
    pub fn tenant(&self, graph: &Graph) -> usize {
        match self {
            Question::Origin(record) | Question::Key(record) => graph.tenant_of(*record as i64),
            Question::Descendants(node) | Question::Ancestors(node) => graph.tenant_of(*node),
            Question::ImpactCounts(connection) | Question::ImpactList(connection) => tenant_of_connection(*connection),
            Question::Jobs(job) => tenant_of_job(*job),
        }
    }

    /// What the answer has to be, in the names of the graph.
    pub fn expected(&self, graph: &Graph, shop: &str) -> BTreeSet<Part> {
        let numbers = |nodes: BTreeSet<i64>| nodes.into_iter().map(Part::Number).collect();
        match self {
            Question::Origin(record) => {
                let at = record % graph.each();
                let (page, slot) = (at / crate::graph::PER_PAGE, at % crate::graph::PER_PAGE);
                let connection = graph.connection_of(*record);
                let url = format!("http://{shop}/accounts/{connection}/orders?page={page}");
                [Part::Text(url), Part::Text(format!("/orders/{slot}"))].into()
            }
            Question::Key(record) => numbers(graph.sharing(*record)),
            Question::Descendants(node) => numbers(graph.descendants(*node)),
            Question::Ancestors(node) => numbers(graph.ancestors(*node)),
            Question::ImpactCounts(connection) => {
                let impact = graph.impact(*connection);
                [Part::counts([&impact.own, &impact.dies, &impact.survives].map(|nodes| nodes.len() as i64))].into()
            }
            Question::ImpactList(connection) => {
                let impact = graph.impact(*connection);
                numbers(impact.own.into_iter().chain(impact.dies).chain(impact.survives).collect())
            }
            Question::Jobs(job) => group_nodes(job / JOBS_A_GROUP).into_iter().map(Part::Text).collect(),
        }
    }
}

/// Whose a job is: a group has one tenant.
pub fn tenant_of_job(job: usize) -> usize {
    job / JOBS_A_GROUP % TENANTS
}

/// Nodes of a job's graph.
pub const fn nodes_a_group() -> usize {
    JOBS_A_GROUP + DATASETS_A_GROUP
}

/// Asks the first questions of both sides and compares with what the graph says; how many nodes an answer has on average.
pub fn must_agree(
    questions: &[Question],
    graph: &Graph,
    names: &Names,
    shop: &str,
    sides: [(&str, &mut dyn Side); 2],
) -> anyhow::Result<f64> {
    let [(first, gateway), (second, postgres)] = sides;
    let mut nodes = 0;
    for question in questions {
        let expected = question.expected(graph, shop);
        for (name, side) in [(first, &mut *gateway), (second, &mut *postgres)] {
            let told = side.ask(question).with_context(|| format!("{name}: {question:?}"))?;
            let told: BTreeSet<Part> = told.into_iter().map(|part| names.number(part)).collect();
            if told != expected {
                let sample = |set: &BTreeSet<Part>, other: &BTreeSet<Part>| set.difference(other).take(5).cloned().collect::<Vec<_>>();
                anyhow::bail!(
                    "{name} answers {question:?} with {} parts instead of {}: too many {:?}, missing {:?}",
                    told.len(),
                    expected.len(),
                    sample(&told, &expected),
                    sample(&expected, &told)
                );
            }
        }
        nodes += expected.len();
    }
    Ok(nodes as f64 / questions.len() as f64)
}
