//! The graph that both sides are given: made from a seed, and the judge of what they answer.

use std::collections::BTreeSet;
use std::collections::HashMap;

/// Tenants; artifacts are made of one tenant's data.
pub const TENANTS: usize = 2;
/// Connections of each tenant.
pub const CONNECTIONS_EACH: usize = 100;
/// Connections of a tenant that know the same orders, so that a business key has as many records.
pub const SHARING: usize = 10;
/// Records of one answer of the shop.
pub const PER_PAGE: usize = 250;
/// Artifacts that a document is made of.
const ARTIFACTS_A_DOCUMENT: usize = 3;
/// Jobs that form one graph.
pub const JOBS_A_GROUP: usize = 20;
/// Datasets of such a graph: ten that nobody here writes, and one that each job writes.
pub const DATASETS_A_GROUP: usize = 10 + JOBS_A_GROUP;

/// When an artifact goes with what it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// As soon as one input goes.
    All,
    /// When the last input goes.
    Any,
}

impl Need {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Need::All => "all",
            Need::Any => "any",
        }
    }
}

/// Something made of records, or of other artifacts.
#[derive(Debug)]
pub struct Made {
    /// Its number among all nodes.
    pub number: i64,
    /// Whose it is.
    pub tenant: usize,
    /// What it is.
    pub kind: &'static str,
    /// What it is called.
    pub name: String,
    /// When it goes.
    pub need: Need,
    /// What it was made of.
    pub inputs: Vec<i64>,
}

/// Nodes by number: records first, then artifacts, then documents.
pub struct Graph {
    /// How many records.
    pub records: usize,
    /// Artifacts and documents, each after its inputs.
    pub made: Vec<Made>,
    down: HashMap<i64, Vec<i64>>,
}

/// What goes and what only loses a part when records go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Impact {
    /// The records themselves.
    pub own: BTreeSet<i64>,
    /// What is made of them and goes with them.
    pub dies: BTreeSet<i64>,
    /// What loses an input and stays. What is made of that loses nothing.
    pub survives: BTreeSet<i64>,
}

impl Graph {
    /// The graph of a seed.
    pub fn new(records: usize, seed: u64) -> Self {
        let each = TENANTS * CONNECTIONS_EACH;
        let records = records.div_ceil(each) * each;
        let mut dice = fastrand::Rng::with_seed(seed);
        let of_tenant = records / TENANTS;
        let mut made = Vec::with_capacity(records / 10 + records / 100);
        for artifact in 0..records / 10 {
            let tenant = artifact % TENANTS;
            let count = dice.usize(2..=4);
            let inputs = draw(&mut dice, count, |dice| (tenant * of_tenant + dice.usize(..of_tenant)) as i64);
            let number = (records + artifact) as i64;
            made.push(Made { number, tenant, kind: "profile", name: format!("profile {artifact}"), need: need(&mut dice), inputs });
        }
        let artifacts = made.len();
        for document in 0..records / 100 {
            let tenant = document % TENANTS;
            let any = |dice: &mut fastrand::Rng| (records + dice.usize(..artifacts / TENANTS) * TENANTS + tenant) as i64;
            let inputs = draw(&mut dice, ARTIFACTS_A_DOCUMENT, any);
            let number = (records + artifacts + document) as i64;
            made.push(Made { number, tenant, kind: "report", name: format!("report {document}"), need: need(&mut dice), inputs });
        }
        let mut down: HashMap<i64, Vec<i64>> = HashMap::new();
        for one in &made {
            for input in &one.inputs {
                down.entry(*input).or_default().push(one.number);
            }
        }
        Graph { records, made, down }
    }

    /// Records of each connection.
    pub fn each(&self) -> usize {
        self.records / (TENANTS * CONNECTIONS_EACH)
    }

    /// Pages of each connection.
    pub fn pages_each(&self) -> usize {
        self.each().div_ceil(PER_PAGE)
    }

    /// The connection that brings a record.
    pub fn connection_of(&self, record: usize) -> usize {
        record / self.each()
    }

    /// Whose a node is.
    pub fn tenant_of(&self, node: i64) -> usize {
        match self.made(node) {
            Some(made) => made.tenant,
            None => tenant_of_connection(self.connection_of(node as usize)),
        }
    }

    /// The order number of a record: the same in every tenth connection of a tenant.
    pub fn order_number(&self, record: usize) -> String {
        let connection = self.connection_of(record);
        let tenth = connection % CONNECTIONS_EACH % (CONNECTIONS_EACH / SHARING);
        format!("S-{tenth}-{:07}", record % self.each())
    }

    /// The records of a tenant that carry the order number of this record.
    pub fn sharing(&self, record: usize) -> BTreeSet<i64> {
        let tenant = tenant_of_connection(self.connection_of(record));
        let of_tenant = self.records / TENANTS;
        let key = self.order_number(record);
        let (first, last) = (tenant * of_tenant + record % self.each(), (tenant + 1) * of_tenant);
        (first..last).step_by(self.each()).filter(|other| self.order_number(*other) == key).map(|other| other as i64).collect()
    }

    /// The node and all that is made of it.
    pub fn descendants(&self, node: i64) -> BTreeSet<i64> {
        walk([node], |node| self.down.get(&node).cloned().unwrap_or_default())
    }

    /// The node and all that it is made of.
    pub fn ancestors(&self, node: i64) -> BTreeSet<i64> {
        walk([node], |node| self.made(node).map(|made| made.inputs.clone()).unwrap_or_default())
    }

    /// What the end of a connection's records means.
    pub fn impact(&self, connection: usize) -> Impact {
        let own: BTreeSet<i64> = (connection * self.each()..(connection + 1) * self.each()).map(|record| record as i64).collect();
        let reached = walk(own.iter().copied(), |node| self.down.get(&node).cloned().unwrap_or_default());
        let mut impact = Impact { own, ..Impact::default() };
        // In the order of numbers, inputs come before what is made of them.
        for number in reached.range(self.records as i64..) {
            let Some(made) = self.made(*number) else { continue };
            let lost = made.inputs.iter().filter(|input| impact.own.contains(input) || impact.dies.contains(input)).count();
            let dies = lost == made.inputs.len() || (lost > 0 && made.need == Need::All);
            match dies {
                true => impact.dies.insert(*number),
                false => lost > 0 && impact.survives.insert(*number),
            };
        }
        impact
    }

    fn made(&self, node: i64) -> Option<&Made> {
        usize::try_from(node).ok()?.checked_sub(self.records).and_then(|index| self.made.get(index))
    }
}

/// Whose a connection is.
pub fn tenant_of_connection(connection: usize) -> usize {
    connection / CONNECTIONS_EACH
}

/// The name of a tenant.
pub fn tenant_name(tenant: usize) -> String {
    format!("bench-{tenant}")
}

/// A job of the whole installation: what it reads and what it writes, as datasets of its group.
pub struct Job {
    /// Its group; the namespace is made of it.
    pub group: usize,
    /// Its number within the group.
    pub number: usize,
    /// Datasets that it reads.
    pub reads: BTreeSet<usize>,
    /// The dataset that it writes.
    pub writes: usize,
}

impl Job {
    /// The job of a number over the whole installation. A group hangs together as a tree, so that a walk of 20 edges sees all of it.
    pub fn new(job: usize) -> Self {
        let (group, number) = (job / JOBS_A_GROUP, job % JOBS_A_GROUP);
        let parent = number.checked_sub(1).map(|before| 10 + before / 2);
        Job { group, number, reads: [number].into_iter().chain(parent).collect(), writes: 10 + number }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        format!("job_{:02}", self.number)
    }

    /// Where its names stand.
    pub fn namespace(&self) -> String {
        format!("shop-{:05}", self.group)
    }

    /// The id of its last run.
    pub fn run(&self) -> String {
        format!("0190f5a0-{:04x}-7000-8000-{:012x}", self.number, self.group)
    }
}

/// What a dataset of a group is called.
pub fn dataset_name(dataset: usize) -> String {
    format!("public.table_{dataset:02}")
}

/// The ids of a group's nodes, as OpenLineage clients write them.
pub fn group_nodes(group: usize) -> BTreeSet<String> {
    let jobs = (0..JOBS_A_GROUP).map(|number| Job::new(group * JOBS_A_GROUP + number));
    let jobs = jobs.map(|job| format!("job:{}:{}", job.namespace(), job.name()));
    let datasets = (0..DATASETS_A_GROUP).map(|dataset| format!("dataset:shop-{group:05}:{}", dataset_name(dataset)));
    jobs.chain(datasets).collect()
}

fn need(dice: &mut fastrand::Rng) -> Need {
    if dice.bool() { Need::All } else { Need::Any }
}

fn draw(dice: &mut fastrand::Rng, count: usize, mut one: impl FnMut(&mut fastrand::Rng) -> i64) -> Vec<i64> {
    let mut drawn = BTreeSet::new();
    while drawn.len() < count {
        drawn.insert(one(dice));
    }
    drawn.into_iter().collect()
}

fn walk(start: impl IntoIterator<Item = i64>, beside: impl Fn(i64) -> Vec<i64>) -> BTreeSet<i64> {
    let mut ahead: Vec<i64> = start.into_iter().collect();
    let mut seen: BTreeSet<i64> = ahead.iter().copied().collect();
    while let Some(node) = ahead.pop() {
        ahead.extend(beside(node).into_iter().filter(|next| seen.insert(*next)));
    }
    seen
}
