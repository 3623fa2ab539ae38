//! What Marquez' clients ask, and the answers. Each costs what it answers, or a bound that has a name here.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::clock::Timestamp;
use crate::openlineage::Book;
use crate::openlineage::Direction;
use crate::openlineage::Head;
use crate::openlineage::NodeKind;
use crate::openlineage::OpenLineageError;
use crate::openlineage::Stop;
use crate::openlineage::admission::order;
use crate::openlineage::rows::List;
use crate::openlineage::rows::WHOLE;
use crate::openlineage::stats;

/// Nodes of one graph.
pub const NODES_MAX: usize = 2000;
/// Nodes that a search or a filter looks at, the newest first.
pub const LOOKED_AT_MAX: usize = 20_000;
/// Events that are counted between two times.
pub const COUNTED_MAX: usize = 100_000;
/// Runs that one answer goes back over.
const UPSTREAM_RUNS_MAX: usize = 500;

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many items at most.
    pub limit: usize,
    /// How many before them.
    pub offset: usize,
}

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// All nodes of a kind: namespaces, sources, tags, jobs.
    All(NodeKind, Part),
    /// The jobs or datasets of a namespace, and of the jobs those whose latest run is in one of these states.
    Of(NodeKind, Option<String>, Vec<String>, Part),
    /// One node: kind, namespace, name.
    One(NodeKind, String, String),
    /// The versions of a dataset or job.
    Versions(NodeKind, String, String, Part),
    /// One of them.
    Version(NodeKind, String, String, String),
    /// The runs of a job.
    Runs(String, String, Part),
    /// One run.
    Run(String),
    /// The facets of a run, or those of its job on that run.
    RunFacets(String, bool),
    /// What stands around a node.
    Around(String, u32),
    /// The runs that a run's inputs come from.
    Upstream(String, u32),
    /// Where columns come from, and with `true` where they go.
    Columns(String, u32, bool),
    /// Events as they came: of a namespace, before, from, whether the newest come first.
    Events(Option<String>, Option<Timestamp>, Option<Timestamp>, bool, Part),
    /// Names that hold a text.
    Search(Search),
    /// Counts over time: events, jobs, datasets or sources; of days instead of hours.
    Stats(Counted, bool),
}

/// What is counted over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Events by kind.
    Events,
    /// Jobs at the end of each time.
    Jobs,
    /// Datasets likewise.
    Datasets,
    /// Sources likewise.
    Sources,
}

/// A search by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// What names hold, whatever the case.
    pub text: String,
    /// Of one kind.
    pub kind: Option<NodeKind>,
    /// Of one namespace.
    pub namespace: Option<String>,
    /// Updated before then.
    pub before: Option<Timestamp>,
    /// Updated after then.
    pub after: Option<Timestamp>,
    /// By their last update instead of by their names.
    pub by_update: bool,
    /// How many.
    pub limit: usize,
}

impl Question {
    /// The answer where a tenant has no graph; none where that means that the thing is unknown.
    pub fn answer_of_nothing(&self, now: Timestamp) -> Result<Value, OpenLineageError> {
        let unknown = |noun: &'static str, name: &str| OpenLineageError::Unknown { noun, name: name.to_owned() };
        match self {
            Question::All(kind, _) | Question::Of(kind, None, ..) => Ok(listed(*kind, Vec::new(), 0)),
            Question::Of(_, Some(namespace), ..) => Err(unknown("namespace", namespace)),
            Question::One(kind, _, name) | Question::Versions(kind, _, name, _) | Question::Version(kind, _, name, _) => {
                Err(unknown(kind.word(), name))
            }
            Question::Runs(_, name, _) => Err(unknown("job", name)),
            Question::Run(id) | Question::RunFacets(id, _) | Question::Upstream(id, _) => Err(unknown("run", id)),
            Question::Around(node, _) | Question::Columns(node, ..) => Err(unknown("node", node)),
            Question::Events(..) => Ok(json!({ "events": [], "totalCount": 0, "warnings": [] })),
            Question::Search(_) => Ok(json!({ "totalCount": 0, "results": [] })),
            Question::Stats(counted, weekly) => Ok(stats::answer(&[], *counted, *weekly, now)),
        }
    }
}

impl Book {
    /// Answers a question.
    ///
    /// # Errors
    /// [`OpenLineageError::Unknown`] and [`OpenLineageError::Malformed`] as the question deserves; when a row does not read
    /// back, or the store or the keyring fails.
    pub fn answer(&self, question: &Question, now: Timestamp) -> Result<Value, OpenLineageError> {
        match question {
            Question::All(kind, part) => self.list_nodes(WHOLE, *kind, *part),
            Question::Of(NodeKind::Job, namespace, states, part) if !states.is_empty() => self.jobs_in(namespace.as_deref(), states, *part),
            Question::Of(kind, namespace, _, part) => self.list_nodes(self.namespace_or_all(namespace.as_deref())?, *kind, *part),
            Question::One(kind, namespace, name) => {
                let (node, head) = self.known(*kind, namespace, name)?;
                self.shown(node, &head)
            }
            Question::Versions(kind, namespace, name, part) => {
                let (node, head) = self.known(*kind, namespace, name)?;
                let numbers = (1..=head.versions).rev().skip(part.offset).take(part.limit);
                let versions = numbers.filter_map(|version| self.version_shown(node, &head, version).transpose());
                Ok(json!({ "versions": versions.collect::<Result<Vec<_>, _>>()?, "totalCount": head.versions }))
            }
            Question::Version(kind, namespace, name, id) => {
                let (node, head) = self.known(*kind, namespace, name)?;
                let missing = || OpenLineageError::Unknown { noun: "version", name: id.clone() };
                let version = id.parse().ok().and_then(|id| self.version_of(node, id)).ok_or_else(missing)?;
                self.version_shown(node, &head, version)?.ok_or_else(missing)
            }
            Question::Runs(namespace, name, part) => self.runs(namespace, name, *part),
            Question::Run(id) => self.run_shown(self.known_run(id)?),
            Question::RunFacets(id, of_job) => {
                let run = self.run(self.known_run(id)?)?.ok_or(OpenLineageError::Damaged { what: "run" })?;
                Ok(json!({ "runId": run.id, "facets": if *of_job { run.job_facets } else { run.facets } }))
            }
            Question::Around(node, depth) => self.graph(node, *depth),
            Question::Upstream(id, depth) => self.upstream(id, *depth),
            Question::Columns(node, depth, downstream) => self.column_graph(node, *depth, *downstream),
            Question::Events(namespace, before, after, newest_first, part) => {
                self.events(namespace.as_deref(), (*before, *after), *newest_first, *part)
            }
            Question::Search(search) => self.search(search),
            Question::Stats(counted, weekly) => Ok(stats::answer(&self.counters()?.hours, *counted, *weekly, now)),
        }
    }

    /// A node that is there and not hidden.
    pub(super) fn known(&self, kind: NodeKind, namespace: &str, name: &str) -> Result<(u32, Arc<Head>), OpenLineageError> {
        let missing = || OpenLineageError::Unknown { noun: kind.word(), name: name.to_owned() };
        let node = self.node(kind, namespace, name)?.ok_or_else(missing)?;
        let head = self.head(node)?;
        if head.hidden && kind != NodeKind::Namespace { Err(missing()) } else { Ok((node, head)) }
    }

    pub(super) fn known_run(&self, id: &str) -> Result<u32, OpenLineageError> {
        let number = id.parse().ok().map(|id| self.run_number(id)).transpose()?.flatten();
        number.ok_or_else(|| OpenLineageError::Unknown { noun: "run", name: id.to_owned() })
    }

    fn namespace_or_all(&self, namespace: Option<&str>) -> Result<u32, OpenLineageError> {
        namespace.map_or(Ok(WHOLE), |name| Ok(self.known(NodeKind::Namespace, "", name)?.0))
    }

    fn version_shown(&self, node: u32, head: &Head, version: u32) -> Result<Option<Value>, OpenLineageError> {
        match head.kind {
            NodeKind::Job => self.job_version(node, head, version),
            _ => self.dataset_version(node, head, version),
        }
    }

    fn list_nodes(&self, owner: u32, kind: NodeKind, part: Part) -> Result<Value, OpenLineageError> {
        let list = list_of(kind);
        let entries = self.list(owner, list, None, part.offset.saturating_add(part.limit))?;
        let mut items = Vec::new();
        for node in entries.into_iter().skip(part.offset).filter_map(|(_, node)| u32::try_from(node).ok()) {
            items.push(self.shown(node, &*self.head(node)?)?);
        }
        let total = match (kind, owner) {
            (NodeKind::Job, WHOLE) => self.counters()?.listed[0],
            (NodeKind::Dataset, WHOLE) => self.counters()?.listed[1],
            (NodeKind::Job, owner) => self.head(owner)?.members[0],
            (NodeKind::Dataset, owner) => self.head(owner)?.members[1],
            _ => 0,
        };
        Ok(listed(kind, items, total as usize))
    }

    /// Jobs by the state of their latest run: among the newest jobs, as far as a filter looks.
    fn jobs_in(&self, namespace: Option<&str>, states: &[String], part: Part) -> Result<Value, OpenLineageError> {
        let owner = self.namespace_or_all(namespace)?;
        let (mut items, mut total) = (Vec::new(), 0);
        for (_, node) in self.list_back(owner, List::Jobs, None, LOOKED_AT_MAX)? {
            let Ok(node) = u32::try_from(node) else { continue };
            let head = self.head(node)?;
            let Some(run) = head.latest.first().map(|run| self.run(*run)).transpose()?.flatten() else { continue };
            if states.iter().any(|state| state.eq_ignore_ascii_case(run.state.word())) {
                total += 1;
                if total > part.offset && items.len() < part.limit {
                    items.push(self.shown(node, &head)?);
                }
            }
        }
        Ok(listed(NodeKind::Job, items, total))
    }

    fn runs(&self, namespace: &str, name: &str, part: Part) -> Result<Value, OpenLineageError> {
        let (job, head) = self.known(NodeKind::Job, namespace, name)?;
        let entries = self.list_back(job, List::Runs, None, part.offset.saturating_add(part.limit))?;
        let numbers = entries.into_iter().skip(part.offset).filter_map(|(_, run)| u32::try_from(run).ok());
        let runs = numbers.map(|run| self.run_shown(run)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "runs": runs, "totalCount": head.runs }))
    }

    fn graph(&self, id: &str, depth: u32) -> Result<Value, OpenLineageError> {
        let start = match self.resolve(id)? {
            Stop::Node(node, _) | Stop::Field(node, ..) => node,
            Stop::Run(run) => match self.run(run)?.map(|run| run.job).filter(|job| *job > 0) {
                Some(job) => job,
                None => return Err(OpenLineageError::Unknown { noun: "run", name: id.to_owned() }),
            },
        };
        let found = self.around(start, depth, Direction::Both, NODES_MAX)?;
        let ids: HashMap<u32, String> = found.nodes.iter().map(|(number, head)| (*number, head.id())).collect();
        let edge = |(from, to): &(u32, u32)| json!({ "origin": ids.get(from), "destination": ids.get(to) });
        let mut nodes = Vec::with_capacity(found.nodes.len());
        for (node, head) in &found.nodes {
            let facets = self.facets(*node, 0)?.unwrap_or_default();
            let data = match head.kind {
                NodeKind::Job => self.job(*node, head, &facets, 1)?,
                _ => self.dataset(*node, head, &facets, head.versions),
            };
            let edges = |is: &dyn Fn(&(u32, u32)) -> bool| found.edges.iter().filter(|pair| is(pair)).map(edge).collect::<Vec<_>>();
            nodes.push((
                head.id(),
                json!({
                    "id": head.id(), "type": if head.kind == NodeKind::Job { "JOB" } else { "DATASET" }, "data": data,
                    "inEdges": edges(&|(_, to)| to == node), "outEdges": edges(&|(from, _)| from == node),
                }),
            ));
        }
        nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(json!({ "graph": nodes.into_iter().map(|(_, node)| node).collect::<Vec<_>>(), "truncated": found.truncated }))
    }

    fn upstream(&self, id: &str, depth: u32) -> Result<Value, OpenLineageError> {
        let (mut runs, mut seen) = (Vec::new(), HashSet::new());
        let mut ahead = VecDeque::from([(self.known_run(id)?, 0)]);
        while let Some((number, steps)) = ahead.pop_front() {
            if runs.len() >= UPSTREAM_RUNS_MAX || !seen.insert(number) {
                continue;
            }
            let Some(run) = self.run(number)? else { continue };
            let (shown, makers) = self.run_upstream(&run)?;
            runs.push(shown);
            if steps < depth {
                for maker in makers {
                    let maker = maker.parse().ok().map(|id| self.run_number(id)).transpose()?.flatten();
                    ahead.extend(maker.map(|maker| (maker, steps + 1)));
                }
            }
        }
        Ok(json!({ "runs": runs }))
    }

    fn events(
        &self,
        namespace: Option<&str>,
        (before, after): (Option<Timestamp>, Option<Timestamp>),
        newest_first: bool,
        part: Part,
    ) -> Result<Value, OpenLineageError> {
        let owner = match namespace {
            None => WHOLE,
            Some(name) => self.known(NodeKind::Namespace, "", name)?.0,
        };
        // Events have numbers above 0, so nothing stands at these places themselves.
        let (low, high) = (after.map(|after| (order(after), 0)), before.map(|before| (order(before), 0)));
        let within = |entry: &(u64, u64)| high.is_none_or(|high| *entry < high) && low.is_none_or(|low| *entry >= low);
        let count = part.offset.saturating_add(part.limit);
        let entries = match newest_first {
            true => self.list_back(owner, List::Events, high, count)?,
            false => self.list(owner, List::Events, low, count)?,
        };
        let (mut events, mut warnings) = (Vec::new(), Vec::new());
        for (_, number) in entries.into_iter().take_while(within).skip(part.offset) {
            let Some((note, text)) = self.event(number)? else { continue };
            events.push(serde_json::from_slice::<Value>(&text).map_err(|_| OpenLineageError::Damaged { what: "event" })?);
            warnings.push(json!({ "receivedAt": note.received_at, "warnings": note.warnings }));
        }
        let total = match (owner, self.reaches_all(owner, low, high)?) {
            (WHOLE, true) => self.counters()?.events as usize,
            _ => self.list(owner, List::Events, low, COUNTED_MAX)?.iter().take_while(|entry| within(entry)).count(),
        };
        Ok(json!({ "events": events, "totalCount": total, "warnings": warnings }))
    }

    /// Whether every event of a list lies between two places.
    fn reaches_all(&self, owner: u32, low: Option<(u64, u64)>, high: Option<(u64, u64)>) -> Result<bool, OpenLineageError> {
        let first = self.list(owner, List::Events, None, 1)?;
        let last = self.list_back(owner, List::Events, None, 1)?;
        let is_below = first.first().is_none_or(|first| low.is_none_or(|low| *first >= low));
        Ok(is_below && last.first().is_none_or(|last| high.is_none_or(|high| *last < high)))
    }

    fn search(&self, search: &Search) -> Result<Value, OpenLineageError> {
        let text = search.text.to_lowercase();
        let mut found = Vec::new();
        for kind in [NodeKind::Dataset, NodeKind::Job].into_iter().filter(|kind| search.kind.is_none_or(|only| only == *kind)) {
            let owner = match &search.namespace {
                Some(name) => match self.node(NodeKind::Namespace, "", name)? {
                    Some(node) => node,
                    None => continue,
                },
                None => WHOLE,
            };
            for (_, node) in self.list_back(owner, list_of(kind), None, LOOKED_AT_MAX)? {
                let Ok(node) = u32::try_from(node) else { continue };
                let head = self.head(node)?;
                let at = head.updated_at;
                let is_within = search.before.is_none_or(|before| at < before) && search.after.is_none_or(|after| at > after);
                if is_within && head.name.to_lowercase().contains(&text) {
                    found.push(head);
                }
            }
        }
        match search.by_update {
            true => found.sort_by_key(|head| std::cmp::Reverse(head.updated_at)),
            false => found.sort_by(|one, other| one.name.cmp(&other.name)),
        }
        let shown = |head: &Arc<Head>| {
            json!({
                "type": if head.kind == NodeKind::Job { "JOB" } else { "DATASET" }, "name": head.name, "updatedAt": head.updated_at,
                "namespace": head.namespace, "nodeId": head.id(),
            })
        };
        Ok(json!({ "totalCount": found.len(), "results": found.iter().take(search.limit).map(shown).collect::<Vec<_>>() }))
    }
}

fn list_of(kind: NodeKind) -> List {
    match kind {
        NodeKind::Namespace => List::Namespaces,
        NodeKind::Source => List::Sources,
        NodeKind::Dataset => List::Datasets,
        NodeKind::Job => List::Jobs,
        NodeKind::Tag => List::Tags,
    }
}

/// A list under the name that its kind has in the plural.
fn listed(kind: NodeKind, items: Vec<Value>, total: usize) -> Value {
    match kind {
        NodeKind::Namespace => json!({ "namespaces": items }),
        NodeKind::Source => json!({ "sources": items }),
        NodeKind::Tag => json!({ "tags": items }),
        NodeKind::Dataset => json!({ "datasets": items, "totalCount": total }),
        NodeKind::Job => json!({ "jobs": items, "totalCount": total }),
    }
}
