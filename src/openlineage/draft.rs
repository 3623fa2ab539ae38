//! A change of a tenant's graph: what is read is kept, what is changed is written once, as one unit.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Map;
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::openlineage::OpenLineageError;
use crate::openlineage::book::Book;
use crate::openlineage::book::version_key;
use crate::openlineage::head::Facets;
use crate::openlineage::head::Head;
use crate::openlineage::head::NodeKind;
use crate::openlineage::link::Link;
use crate::openlineage::rows::CountersRow;
use crate::openlineage::rows::EdgeRow;
use crate::openlineage::rows::FacetsRow;
use crate::openlineage::rows::HOURS_KEPT;
use crate::openlineage::rows::Hour;
use crate::openlineage::rows::List;
use crate::openlineage::rows::NameRow;
use crate::openlineage::rows::Named;
use crate::openlineage::rows::NodeRow;
use crate::openlineage::rows::RunRow;
use crate::openlineage::rows::WHOLE;
use crate::openlineage::run::Run;
use crate::store::StoreError;
use crate::store::Unit;

/// A graph that is being changed. Whoever has one has the tenant's turn.
pub(super) struct Draft<'a> {
    pub book: &'a Book,
    pub counters: CountersRow,
    former: Option<CountersRow>,
    heads: BTreeMap<u32, (Head, bool)>,
    facets: BTreeMap<u32, (Facets, bool)>,
    runs: BTreeMap<u32, (Run, bool)>,
    names: HashMap<(Named, [u8; 16]), u64>,
    /// Rows that are known whole when they are made.
    pub unit: Unit,
    /// Bytes of what is to be written, roughly: so that a batch is cut in time.
    pub weight: usize,
}

impl<'a> Draft<'a> {
    pub fn begin(book: &'a Book) -> Result<Self, OpenLineageError> {
        let former = book.store.get::<CountersRow>(&book.owner)?;
        Ok(Draft {
            book,
            counters: former.clone().unwrap_or_default(),
            former,
            heads: BTreeMap::new(),
            facets: BTreeMap::new(),
            runs: BTreeMap::new(),
            names: HashMap::new(),
            unit: Unit::default(),
            weight: 0,
        })
    }

    /// The unit that writes everything. It is refused when somebody else has changed the graph meanwhile.
    pub fn finish(mut self) -> Result<Unit, OpenLineageError> {
        let (book, mut unit) = (self.book, std::mem::take(&mut self.unit));
        for (number, (head, _)) in self.heads.iter().filter(|(_, (_, changed))| *changed) {
            let plain = postcard::to_stdvec(head).map_err(|_| StoreError::Malformed { table: "graph nodes" })?;
            book.write::<NodeRow>(&mut unit, u64::from(*number), &plain)?;
        }
        for (number, (facets, _)) in self.facets.iter().filter(|(_, (_, changed))| *changed) {
            book.write::<FacetsRow>(&mut unit, version_key(*number, 0), &json(facets)?)?;
        }
        for (number, (run, _)) in self.runs.iter().filter(|(_, (_, changed))| *changed) {
            book.write::<RunRow>(&mut unit, u64::from(*number), &json(run)?)?;
        }
        unit.expect(&book.owner, self.former.as_ref()).put(&book.owner, &self.counters);
        Ok(unit)
    }

    /// A number behind a hash, those of this change included.
    pub fn number(&self, named: Named, hash: [u8; 16]) -> Result<Option<u64>, OpenLineageError> {
        match self.names.get(&(named, hash)) {
            Some(number) => Ok(Some(*number)),
            None => self.book.number(named, hash),
        }
    }

    pub fn name(&mut self, named: Named, hash: [u8; 16], number: u64) {
        self.names.insert((named, hash), number);
        self.unit.put(&(self.book.owner, (named as u8, hash)), &NameRow(number));
    }

    /// The node of that name, made if there is none, and back in the lists if somebody took it out.
    pub fn node(&mut self, kind: NodeKind, namespace: &str, name: &str, at: Timestamp) -> Result<u32, OpenLineageError> {
        let hash = self.book.node_hash(kind, namespace, name);
        if let Some(number) = self.number(Named::Node, hash)?.and_then(|number| u32::try_from(number).ok()) {
            if self.head(number)?.hidden {
                self.change(number)?.hidden = false;
                self.enlist(number)?;
            }
            return Ok(number);
        }
        let place = match kind {
            NodeKind::Dataset | NodeKind::Job => (self.node(NodeKind::Namespace, "", namespace, at)?, namespace.to_owned()),
            _ => (0, String::new()),
        };
        self.counters.nodes += 1;
        let number = self.counters.nodes;
        self.name(Named::Node, hash, u64::from(number));
        self.heads.insert(number, (Head::new(kind, place, name.to_owned(), at), true));
        self.facets.insert(number, (Facets::default(), true));
        self.weight += 1000;
        self.enlist(number)?;
        Ok(number)
    }

    pub fn head(&mut self, node: u32) -> Result<&Head, OpenLineageError> {
        self.load_head(node).map(|(head, _)| &*head)
    }

    /// The head, to be changed.
    pub fn change(&mut self, node: u32) -> Result<&mut Head, OpenLineageError> {
        let (head, changed) = self.load_head(node)?;
        *changed = true;
        Ok(head)
    }

    fn load_head(&mut self, node: u32) -> Result<&mut (Head, bool), OpenLineageError> {
        if !self.heads.contains_key(&node) {
            let head = Arc::unwrap_or_clone(self.book.head(node)?);
            self.heads.insert(node, (head, false));
        }
        self.heads.get_mut(&node).ok_or(OpenLineageError::Damaged { what: "node" })
    }

    pub fn facets(&mut self, node: u32) -> Result<&Facets, OpenLineageError> {
        self.load_facets(node).map(|(facets, _)| &*facets)
    }

    /// The facets, to be changed.
    pub fn change_facets(&mut self, node: u32) -> Result<&mut Facets, OpenLineageError> {
        let (facets, changed) = self.load_facets(node)?;
        *changed = true;
        Ok(facets)
    }

    /// Adds facets to a node's. Whether anything changed.
    pub fn merge(&mut self, node: u32, facets: &Map<String, Value>) -> Result<bool, OpenLineageError> {
        let (known, changed) = self.load_facets(node)?;
        let merged = known.merge(facets);
        *changed |= merged;
        Ok(merged)
    }

    fn load_facets(&mut self, node: u32) -> Result<&mut (Facets, bool), OpenLineageError> {
        if !self.facets.contains_key(&node) {
            let facets = self.book.facets(node, 0)?.unwrap_or_default();
            self.facets.insert(node, (facets, false));
        }
        self.facets.get_mut(&node).ok_or(OpenLineageError::Damaged { what: "version" })
    }

    /// The run of that id, begun if there is none.
    pub fn run(&mut self, id: Uuid, at: Timestamp) -> Result<u32, OpenLineageError> {
        let hash = self.book.run_hash(id);
        if let Some(number) = self.number(Named::Run, hash)?.and_then(|number| u32::try_from(number).ok()) {
            if !self.runs.contains_key(&number) {
                let run = self.book.run(number)?.ok_or(OpenLineageError::Damaged { what: "run" })?;
                self.runs.insert(number, (run, false));
            }
            return Ok(number);
        }
        self.counters.runs += 1;
        let number = self.counters.runs;
        self.name(Named::Run, hash, u64::from(number));
        self.runs.insert(number, (Run::new(id, at), true));
        Ok(number)
    }

    /// A run that [`Draft::run`] has given the number of, to be changed.
    pub fn change_run(&mut self, number: u32) -> Result<&mut Run, OpenLineageError> {
        let (run, changed) = self.runs.get_mut(&number).ok_or(OpenLineageError::Damaged { what: "run" })?;
        *changed = true;
        Ok(run)
    }

    pub fn edge(&mut self, node: u32, list: List, entry: (u64, u64)) {
        self.unit.put(&self.book.edge_key(node, list, entry), &EdgeRow);
        self.weight += 40;
    }

    pub fn unedge(&mut self, node: u32, list: List, entry: (u64, u64)) {
        self.unit.remove::<EdgeRow>(&self.book.edge_key(node, list, entry));
    }

    /// Makes these the links that a node holds.
    pub fn link(&mut self, owner: u32, links: Vec<Link>) -> Result<(), OpenLineageError> {
        let head = self.change(owner)?;
        let members = |links: &[Link]| links.iter().flat_map(Link::members).filter(|node| *node != owner).collect::<BTreeSet<u32>>();
        let (before, after) = (members(&head.links), members(&links));
        head.links = links;
        for node in before.difference(&after) {
            self.unedge(*node, List::Linked, (0, u64::from(owner)));
        }
        for node in after.difference(&before) {
            self.edge(*node, List::Linked, (0, u64::from(owner)));
        }
        Ok(())
    }

    /// Makes these the datasets that a dataset's columns come from.
    pub fn columns(&mut self, owner: u32, from: BTreeSet<u32>) -> Result<(), OpenLineageError> {
        let before: BTreeSet<u32> = self.head(owner)?.columns_from.iter().copied().collect();
        for node in before.difference(&from) {
            self.unedge(*node, List::ColumnsTo, (0, u64::from(owner)));
        }
        for node in from.difference(&before) {
            self.edge(*node, List::ColumnsTo, (0, u64::from(owner)));
        }
        if before != from {
            self.change(owner)?.columns_from = from.into_iter().collect();
        }
        Ok(())
    }

    /// Keeps what a node is now as a version of it: a new one, or that one again.
    pub fn version(&mut self, node: u32, version: Option<u32>, note: impl FnOnce(&mut Facets)) -> Result<u32, OpenLineageError> {
        let version = match version {
            Some(version) => version,
            None => {
                let head = self.change(node)?;
                head.versions += 1;
                head.versions
            }
        };
        let mut facets = self.facets(node)?.clone();
        note(&mut facets);
        let plain = json(&facets)?;
        self.weight += plain.len();
        self.book.write::<FacetsRow>(&mut self.unit, version_key(node, version), &plain)?;
        Ok(version)
    }

    /// Puts a node into the lists that it belongs to.
    pub fn enlist(&mut self, node: u32) -> Result<(), OpenLineageError> {
        let (head, entry) = (self.head(node)?, (0, u64::from(node)));
        let (kind, namespace) = (head.kind, head.namespace_node);
        for (owner, list) in lists(kind, namespace) {
            self.edge(owner, list, entry);
        }
        self.count(kind, namespace, 1)
    }

    /// Takes a node out of the lists; it stays where links name it.
    pub fn hide(&mut self, node: u32) -> Result<(), OpenLineageError> {
        let head = self.change(node)?;
        if std::mem::replace(&mut head.hidden, true) {
            return Ok(());
        }
        let (kind, namespace) = (head.kind, head.namespace_node);
        for (owner, list) in lists(kind, namespace) {
            self.unedge(owner, list, (0, u64::from(node)));
        }
        self.count(kind, namespace, -1)
    }

    fn count(&mut self, kind: NodeKind, namespace: u32, change: i32) -> Result<(), OpenLineageError> {
        let index = match kind {
            NodeKind::Job => 0,
            NodeKind::Dataset => 1,
            NodeKind::Source => 2,
            NodeKind::Namespace | NodeKind::Tag => return Ok(()),
        };
        self.counters.listed[index] = self.counters.listed[index].saturating_add_signed(change);
        if namespace > 0 {
            let members = &mut self.change(namespace)?.members[index];
            *members = members.saturating_add_signed(change);
        }
        Ok(())
    }

    /// Counts an event of a kind in its hour, and how many jobs, datasets and sources there are at its end.
    pub fn tick(&mut self, now: Timestamp, event: Option<usize>) {
        let hour = u32::try_from(now.as_second().div_euclid(3600)).unwrap_or_default();
        let hours = &mut self.counters.hours;
        if hours.last().is_none_or(|last| last.hour < hour) {
            hours.push(Hour { hour, ..Hour::default() });
            hours.drain(..hours.len().saturating_sub(HOURS_KEPT));
        }
        if let Some(last) = hours.last_mut() {
            last.listed = self.counters.listed;
            if let Some(event) = event {
                last.events[event] += 1;
            }
        }
    }
}

fn lists(kind: NodeKind, namespace: u32) -> Vec<(u32, List)> {
    match kind {
        NodeKind::Job => vec![(WHOLE, List::Jobs), (namespace, List::Jobs)],
        NodeKind::Dataset => vec![(WHOLE, List::Datasets), (namespace, List::Datasets)],
        NodeKind::Namespace => vec![(WHOLE, List::Namespaces)],
        NodeKind::Source => vec![(WHOLE, List::Sources)],
        NodeKind::Tag => vec![(WHOLE, List::Tags)],
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|_| StoreError::Malformed { table: "graph" })
}
