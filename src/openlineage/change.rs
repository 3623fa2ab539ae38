//! What people and older clients write beside events: declared nodes, words, and what is taken out of the lists.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::TenantId;
use crate::openlineage::Book;
use crate::openlineage::Graph;
use crate::openlineage::NodeKind;
use crate::openlineage::OpenLineageError;
use crate::openlineage::draft::Draft;
use crate::openlineage::event::Phase;
use crate::openlineage::event::time_of;
use crate::openlineage::link::Told;
use crate::openlineage::rows::List;
use crate::openlineage::shape;

/// Members of a namespace that one unit takes out of the lists.
const HIDDEN_AT_ONCE: usize = 500;

/// A change that is no event.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Declares a node: kind, namespace, name and what is said of it.
    Declare(NodeKind, String, String, Map<String, Value>),
    /// Takes a node out of the lists; an event brings it back.
    Hide(NodeKind, String, String),
    /// Gives a dataset, one of its fields, or a job a word, or takes it away.
    Word {
        /// Of a dataset or a job.
        kind: NodeKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The field, if it is one's.
        field: Option<String>,
        /// The word.
        word: String,
        /// Whether it is given.
        given: bool,
    },
    /// Declares a run of a job: namespace, name, and the run's members; its id is made where none is given.
    Begin(String, String, Map<String, Value>, Uuid),
    /// Moves a run: its id, `start`, `complete`, `fail` or `abort`, and when.
    Mark(String, String, Option<Timestamp>),
}

impl Graph {
    /// Makes a change, durably, and answers what it changed as its route answers it.
    ///
    /// # Errors
    /// As [`Graph::admit`]; [`OpenLineageError::Unknown`] for what is not there, [`OpenLineageError::Malformed`] for a run's id
    /// that is none.
    pub async fn change(&self, tenant: &TenantId, change: Change) -> Result<Value, OpenLineageError> {
        let turn = self.turn(tenant);
        let _turn = turn.lock().await;
        let number = self.connections.use_tenant(tenant).await?;
        let keys = tokio::task::block_in_place(|| self.vault.tenant_keys(number))?;
        let (book, now) = (Book::new(self.store.clone(), keys), self.clock.now());
        if let Change::Hide(NodeKind::Namespace, _, name) = &change {
            self.hide_members(tenant, &book, name).await?;
        }
        let mut draft = Draft::begin(&book)?;
        let changed = draft.make(change, now)?;
        draft.tick(now, None);
        let mut unit = draft.finish()?;
        self.connections.expect_active(tenant, &mut unit)?;
        self.store.commit(unit).await?;
        match changed {
            Changed::Node(node) => book.shown(node, &*book.head(node)?),
            Changed::Run(run) => book.run_shown(run),
        }
    }

    async fn hide_members(&self, tenant: &TenantId, book: &Book, name: &str) -> Result<(), OpenLineageError> {
        let (namespace, _) = book.known(NodeKind::Namespace, "", name)?;
        for list in [List::Jobs, List::Datasets] {
            loop {
                let members = book.list(namespace, list, None, HIDDEN_AT_ONCE)?;
                if members.is_empty() {
                    break;
                }
                let mut draft = Draft::begin(book)?;
                for node in members.into_iter().filter_map(|(_, node)| u32::try_from(node).ok()) {
                    draft.hide(node)?;
                }
                let mut unit = draft.finish()?;
                self.connections.expect_active(tenant, &mut unit)?;
                self.store.commit(unit).await?;
            }
        }
        Ok(())
    }
}

/// What a change has changed.
enum Changed {
    Node(u32),
    Run(u32),
}

impl Draft<'_> {
    fn make(&mut self, change: Change, now: Timestamp) -> Result<Changed, OpenLineageError> {
        match change {
            Change::Declare(kind, namespace, name, said) => self.declare(kind, &namespace, &name, said, now).map(Changed::Node),
            Change::Hide(kind, namespace, name) => {
                let (node, _) = self.book.known(kind, &namespace, &name)?;
                self.hide(node)?;
                Ok(Changed::Node(node))
            }
            Change::Word { kind, namespace, name, field, word, given } => {
                let (node, _) = self.book.known(kind, &namespace, &name)?;
                if let Some(field) = &field {
                    let missing = || OpenLineageError::Unknown { noun: "field", name: field.clone() };
                    let is_there = shape::fields(self.facets(node)?).iter().any(|known| known["name"] == json!(field));
                    is_there.then_some(()).ok_or_else(missing)?;
                }
                if given {
                    self.node(NodeKind::Tag, "", &word, now)?;
                }
                let facets = self.change_facets(node)?;
                let words = match field {
                    Some(field) => facets.field_tags.entry(field).or_default(),
                    None => &mut facets.tags,
                };
                words.retain(|known| *known != word);
                if given {
                    words.push(word);
                }
                Ok(Changed::Node(node))
            }
            Change::Begin(namespace, name, said, made) => {
                let id = match said.get("id").and_then(Value::as_str) {
                    Some(id) => {
                        Uuid::parse_str(id).map_err(|_| OpenLineageError::Malformed { text: crate::ids::cut(id), expected: "a UUID" })?
                    }
                    None => made,
                };
                let (job, _) = self.book.known(NodeKind::Job, &namespace, &name)?;
                let number = self.run(id, now)?;
                self.begin_run(job, number)?;
                let run = self.change_run(number)?;
                run.args = shape::texts(said.get("args"));
                let nominal: Map<String, Value> = ["nominalStartTime", "nominalEndTime"]
                    .into_iter()
                    .filter_map(|name| Some((name.to_owned(), said.get(name)?.clone())))
                    .collect();
                if !nominal.is_empty() {
                    run.facets.insert("nominalTime".into(), Value::Object(nominal));
                }
                Ok(Changed::Run(number))
            }
            Change::Mark(id, action, at) => {
                self.book.known_run(&id)?;
                let malformed = || OpenLineageError::Malformed { text: crate::ids::cut(&id), expected: "a UUID" };
                let number = self.run(Uuid::parse_str(&id).map_err(|_| malformed())?, now)?;
                let phase = match action.as_str() {
                    "start" => Phase::Start,
                    "complete" => Phase::Complete,
                    "fail" => Phase::Fail,
                    _ => Phase::Abort,
                };
                self.change_run(number)?.advance(phase, at.unwrap_or(now));
                Ok(Changed::Run(number))
            }
        }
    }

    fn declare(
        &mut self,
        kind: NodeKind,
        namespace: &str,
        name: &str,
        mut said: Map<String, Value>,
        now: Timestamp,
    ) -> Result<u32, OpenLineageError> {
        let node = self.node(kind, namespace, name, now)?;
        self.change(node)?.touch(now);
        if kind == NodeKind::Job {
            let mut told = Told::default();
            for (member, nodes) in [("inputs", &mut told.inputs), ("outputs", &mut told.outputs)] {
                for item in said.get(member).and_then(Value::as_array).into_iter().flatten() {
                    if let (Some(namespace), Some(name)) = (item["namespace"].as_str(), item["name"].as_str()) {
                        nodes.insert(self.node(NodeKind::Dataset, namespace, name, now)?);
                    }
                }
            }
            if said.contains_key("inputs") || said.contains_key("outputs") {
                self.link(node, told.links(|_| false))?;
            }
        }
        if let Some(source) = said.get("sourceName").and_then(Value::as_str) {
            self.node(NodeKind::Source, "", source, now)?;
        }
        for word in said.get("tags").and_then(Value::as_array).cloned().into_iter().flatten() {
            if let Some(word) = word.as_str() {
                self.node(NodeKind::Tag, "", word, now)?;
                let facets = self.change_facets(node)?;
                if !facets.tags.iter().any(|known| known == word) {
                    facets.tags.push(word.to_owned());
                }
            }
        }
        for member in ["inputs", "outputs", "tags", "runId"] {
            said.shift_remove(member);
        }
        self.change_facets(node)?.declared.extend(said);
        if matches!(kind, NodeKind::Dataset | NodeKind::Job) {
            let (inputs, outputs) = self.head(node)?.datasets();
            self.version(node, None, |facets| (facets.at, facets.inputs, facets.outputs) = (Some(now), inputs, outputs))?;
        }
        Ok(node)
    }
}

/// The time in a parameter. An empty text is none.
///
/// # Errors
/// [`OpenLineageError::Malformed`].
pub fn moment(text: &str) -> Result<Option<Timestamp>, OpenLineageError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    // A plus sign that nobody has encoded came as a space.
    let repaired = text.replace(' ', "+");
    let time = time_of(text).or_else(|| time_of(&repaired)).map(|(time, _)| time);
    time.map(Some).ok_or_else(|| OpenLineageError::Malformed { text: crate::ids::cut(text), expected: "a time of RFC 3339" })
}
