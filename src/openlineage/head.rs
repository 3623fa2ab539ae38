//! What a node is: the small part, which every walk reads, and the facets, which only an answer about the node does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::openlineage::link::Link;

/// Runs that a job names as its latest.
pub(super) const LATEST_RUNS: usize = 10;

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeKind {
    /// Where names are names in.
    Namespace,
    /// Where a dataset physically is.
    Source,
    /// Data.
    Dataset,
    /// What reads and writes it.
    Job,
    /// A word that datasets and jobs carry.
    Tag,
}

impl NodeKind {
    /// The kind's word in messages and node ids.
    pub fn word(self) -> &'static str {
        match self {
            NodeKind::Namespace => "namespace",
            NodeKind::Source => "source",
            NodeKind::Dataset => "dataset",
            NodeKind::Job => "job",
            NodeKind::Tag => "tag",
        }
    }
}

/// The small part of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What it is.
    pub kind: NodeKind,
    /// The namespace of a dataset or job; empty for others.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The number of its namespace; 0 for others than datasets and jobs.
    pub(super) namespace_node: u32,
    /// The time of the first event that named it.
    pub created_at: Timestamp,
    /// The time of the latest.
    pub updated_at: Timestamp,
    /// Whether somebody took it out of the lists.
    pub hidden: bool,
    /// How many versions it had; the last one's number.
    pub versions: u32,
    /// What it links: a job its datasets, a dataset those that it is made of.
    pub links: Vec<Link>,
    /// Of a job: when the run began whose completion told the links. Of a dataset: when a run last wrote it.
    pub(super) told_at: Option<Timestamp>,
    /// The runs of a job, the newest first, at most [`LATEST_RUNS`].
    pub(super) latest: Vec<u32>,
    /// Jobs and datasets in the lists of a namespace.
    pub(super) members: [u32; 2],
    /// How many runs a job had.
    pub(super) runs: u32,
    /// The datasets that the columns of this one come from.
    pub(super) columns_from: Vec<u32>,
}

impl Head {
    pub(super) fn new(kind: NodeKind, namespace: (u32, String), name: String, at: Timestamp) -> Self {
        Head {
            kind,
            namespace: namespace.1,
            name,
            namespace_node: namespace.0,
            created_at: at,
            updated_at: at,
            hidden: false,
            versions: 0,
            links: Vec::new(),
            told_at: None,
            latest: Vec::new(),
            members: [0, 0],
            runs: 0,
            columns_from: Vec::new(),
        }
    }

    /// The node's id, as Marquez writes it.
    pub fn id(&self) -> String {
        match self.kind {
            NodeKind::Dataset | NodeKind::Job => format!("{}:{}:{}", self.kind.word(), self.namespace, self.name),
            kind => format!("{}:{}", kind.word(), self.name),
        }
    }

    /// What a job reads and what it writes, by number.
    pub(super) fn datasets(&self) -> (Vec<u32>, Vec<u32>) {
        let own = || self.links.iter().filter(|link| link.via.is_none());
        let (inputs, outputs): (BTreeSet<u32>, BTreeSet<u32>) =
            (own().flat_map(|link| link.inputs.iter().copied()).collect(), own().flat_map(|link| link.outputs.iter().copied()).collect());
        (inputs.into_iter().collect(), outputs.into_iter().collect())
    }

    pub(super) fn touch(&mut self, at: Timestamp) {
        self.created_at = self.created_at.min(at);
        self.updated_at = self.updated_at.max(at);
    }
}

/// What else is known of a node, now or at a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Facets {
    /// The facets as events brought them, each whole.
    pub facets: Map<String, Value>,
    /// Of a dataset: where its fields come from, as the lineage facet of a job had it.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// Words that somebody gave it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Words that somebody gave its fields.
    #[serde(default)]
    pub field_tags: BTreeMap<String, Vec<String>>,
    /// What somebody declared of it beside events: type, description, owner.
    #[serde(default)]
    pub declared: Map<String, Value>,
    /// The job of the run that started the job's runs.
    #[serde(default)]
    pub parent: Option<String>,
    /// Of a version: the id of the run that made it.
    #[serde(default)]
    pub by_run: Option<String>,
    /// Of a version: when it was made.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// Of a job's version: its inputs and outputs.
    #[serde(default)]
    pub inputs: Vec<u32>,
    /// Likewise.
    #[serde(default)]
    pub outputs: Vec<u32>,
}

impl Facets {
    /// Adds facets: one of the same name replaces the former whole, and `_deleted` removes it. Whether anything changed.
    pub fn merge(&mut self, facets: &Map<String, Value>) -> bool {
        let mut changed = false;
        for (name, facet) in facets {
            if facet.get("_deleted") == Some(&Value::Bool(true)) {
                changed |= self.facets.shift_remove(name).is_some();
            } else if self.facets.get(name) != Some(facet) {
                self.facets.insert(name.clone(), facet.clone());
                changed = true;
            }
        }
        changed
    }

    /// A text within a facet.
    pub fn text(&self, facet: &str, member: &str) -> Option<&str> {
        self.facets.get(facet)?.get(member)?.as_str()
    }
}
