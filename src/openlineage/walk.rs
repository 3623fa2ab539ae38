//! Walks: from a node over the links that it takes part in. What a walk reads is what it answers; the size of the graph is no
//! part of its cost.
//!
//! A job is passed by one of its links at a time: what comes in by a link goes out by the same. So a job that copies ten tables
//! to ten others joins ten pairs, if its events say so, and not a hundred.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use crate::openlineage::Book;
use crate::openlineage::Head;
use crate::openlineage::NodeKind;
use crate::openlineage::OpenLineageError;
use crate::openlineage::link::Link;
use crate::openlineage::rows::List;

/// Colons of a node id at which it is tried to be cut.
const COLONS_MAX: usize = 24;
/// What a node id looks like.
const NODE_ID: &str = "dataset:NAMESPACE:NAME, job:NAMESPACE:NAME, datasetField:NAMESPACE:NAME:FIELD or run:UUID";

/// Which way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Against the data.
    Up,
    /// With the data.
    Down,
    /// Both ways from every node: everything that is joined with the first.
    Both,
}

impl Direction {
    fn goes_down(self) -> bool {
        self != Direction::Up
    }

    fn goes_up(self) -> bool {
        self != Direction::Down
    }
}

/// What a node id names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A dataset or job, perhaps at a version.
    Node(u32, Option<Uuid>),
    /// A field of a dataset, perhaps at a version.
    Field(u32, String, Option<Uuid>),
    /// A run, by its number.
    Run(u32),
}

/// What stands around a node.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The nodes and their numbers, the first one first, then the nearer before the farther.
    pub nodes: Vec<(u32, Arc<Head>)>,
    /// From what to what, in the direction of the data, by number.
    pub edges: BTreeSet<(u32, u32)>,
    /// Whether there is more within the depth than the limit allows.
    pub truncated: bool,
}

impl Book {
    /// What a node id names. It is held against the names that are known, for names may have colons.
    ///
    /// # Errors
    /// [`OpenLineageError::Malformed`] for a text that is no node id, [`OpenLineageError::Unknown`] for one that names nothing.
    pub fn resolve(&self, text: &str) -> Result<Stop, OpenLineageError> {
        let malformed = || OpenLineageError::Malformed { text: crate::ids::cut(text), expected: NODE_ID };
        let (kind, rest) = text.split_once(':').ok_or_else(malformed)?;
        let (rest, version) = match rest.rsplit_once('#').map(|(rest, id)| (rest, Uuid::parse_str(id))) {
            Some((before, Ok(id))) => (before, Some(id)),
            _ => (rest, None),
        };
        let missing = |noun| OpenLineageError::Unknown { noun, name: text.to_owned() };
        match kind {
            "run" => {
                let id = Uuid::parse_str(rest).map_err(|_| malformed())?;
                self.run_number(id)?.map(Stop::Run).ok_or_else(|| missing("run"))
            }
            "job" | "dataset" => {
                let (kind, noun) = if kind == "job" { (NodeKind::Job, "job") } else { (NodeKind::Dataset, "dataset") };
                if !rest.contains(':') {
                    return Err(malformed());
                }
                self.named(kind, rest)?.map(|node| Stop::Node(node, version)).ok_or_else(|| missing(noun))
            }
            "datasetField" => {
                if rest.matches(':').count() < 2 {
                    return Err(malformed());
                }
                for (at, _) in rest.match_indices(':').collect::<Vec<_>>().into_iter().rev().take(COLONS_MAX) {
                    if let Some(node) = self.named(NodeKind::Dataset, &rest[..at])? {
                        return Ok(Stop::Field(node, rest[at + 1..].to_owned(), version));
                    }
                }
                Err(missing("field"))
            }
            _ => Err(malformed()),
        }
    }

    /// The node of a kind whose namespace and name are joined by one of the colons.
    fn named(&self, kind: NodeKind, text: &str) -> Result<Option<u32>, OpenLineageError> {
        for (at, _) in text.match_indices(':').take(COLONS_MAX) {
            if let Some(node) = self.node(kind, &text[..at], &text[at + 1..])?
                && !self.head(node)?.hidden
            {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// The nodes within `depth` edges of a node, at most `limit` of them, and the edges among them that the walk went over.
    ///
    /// # Errors
    /// When a row does not read back, or the store or the keyring fails.
    pub fn around(&self, start: u32, depth: u32, direction: Direction, limit: usize) -> Result<Surroundings, OpenLineageError> {
        let mut walk = Walk { book: self, direction, limit, heads: HashMap::new(), placed: HashSet::new(), found: Surroundings::default() };
        walk.place(start)?;
        walk.go(start, depth)?;
        Ok(walk.found)
    }

    /// The nodes that one edge joins with a node, at most `limit`.
    ///
    /// # Errors
    /// As [`Book::around`].
    pub fn neighbours(&self, node: u32, direction: Direction, limit: usize) -> Result<Vec<(u32, Arc<Head>)>, OpenLineageError> {
        let mut found = self.around(node, 1, direction, limit.saturating_add(1))?.nodes;
        found.remove(0);
        Ok(found)
    }
}

/// Where a walk stands: at a node as a whole, or within a job at one link of a holder.
type Step = (u32, Option<(u32, usize)>);
/// A step, and the edge that leads to it.
type Passage = (Step, (u32, u32));

struct Walk<'a> {
    book: &'a Book,
    direction: Direction,
    limit: usize,
    heads: HashMap<u32, Arc<Head>>,
    placed: HashSet<u32>,
    found: Surroundings,
}

impl Walk<'_> {
    fn go(&mut self, start: u32, depth: u32) -> Result<(), OpenLineageError> {
        let mut seen: HashSet<Step> = HashSet::from([(start, None)]);
        let mut ahead: VecDeque<(Step, u32)> = VecDeque::from([((start, None), 0)]);
        while let Some((step, edges)) = ahead.pop_front() {
            if edges == depth {
                continue;
            }
            for (next, (from, to)) in self.beside(step)? {
                if !self.place(next.0)? {
                    continue;
                }
                self.found.edges.insert((from, to));
                if seen.insert(next) {
                    ahead.push_back((next, edges + 1));
                }
            }
        }
        Ok(())
    }

    /// The steps that follow, each with the edge that leads to it.
    fn beside(&mut self, (node, within): Step) -> Result<Vec<Passage>, OpenLineageError> {
        let mut steps = Vec::new();
        if let Some((holder, index)) = within {
            let head = self.head(holder)?;
            if let Some(link) = head.links.get(index) {
                self.leave(node, link, &mut steps);
            }
            return Ok(steps);
        }
        let mut holders = vec![node];
        let listed = self.book.list(node, List::Linked, None, self.limit + 1)?;
        self.found.truncated |= listed.len() > self.limit;
        holders.extend(listed.into_iter().filter_map(|(_, holder)| u32::try_from(holder).ok()));
        for holder in holders {
            let head = self.head(holder)?;
            for (index, link) in head.links.iter().enumerate() {
                let place = link.via.or((head.kind == NodeKind::Job).then_some(holder));
                if place == Some(node) {
                    self.leave(node, link, &mut steps);
                }
                let (reads, writes) = (link.inputs.binary_search(&node).is_ok(), link.outputs.binary_search(&node).is_ok());
                match place {
                    Some(place) if place != node => {
                        if reads && self.direction.goes_down() {
                            steps.push(((place, Some((holder, index))), (node, place)));
                        }
                        if writes && self.direction.goes_up() {
                            steps.push(((place, Some((holder, index))), (place, node)));
                        }
                    }
                    Some(_) => {}
                    None => {
                        if reads && self.direction.goes_down() {
                            steps.extend(link.outputs.iter().map(|other| ((*other, None), (node, *other))));
                        }
                        if writes && self.direction.goes_up() {
                            steps.extend(link.inputs.iter().map(|other| ((*other, None), (*other, node))));
                        }
                    }
                }
            }
        }
        Ok(steps)
    }

    /// Out of a job by a link.
    fn leave(&self, job: u32, link: &Link, steps: &mut Vec<Passage>) {
        if self.direction.goes_down() {
            steps.extend(link.outputs.iter().map(|other| ((*other, None), (job, *other))));
        }
        if self.direction.goes_up() {
            steps.extend(link.inputs.iter().map(|other| ((*other, None), (*other, job))));
        }
    }

    /// Adds a node to the answer, unless it is hidden or there are too many.
    fn place(&mut self, node: u32) -> Result<bool, OpenLineageError> {
        if self.placed.contains(&node) {
            return Ok(true);
        }
        let head = self.head(node)?;
        if head.hidden && !self.found.nodes.is_empty() {
            return Ok(false);
        }
        if self.found.nodes.len() >= self.limit {
            self.found.truncated = true;
            return Ok(false);
        }
        self.placed.insert(node);
        self.found.nodes.push((node, head));
        Ok(true)
    }

    fn head(&mut self, node: u32) -> Result<Arc<Head>, OpenLineageError> {
        if let Some(head) = self.heads.get(&node) {
            return Ok(head.clone());
        }
        let head = self.book.head(node)?;
        self.heads.insert(node, head.clone());
        Ok(head)
    }
}
