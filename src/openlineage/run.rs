//! A run of a job, as its events add up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::openlineage::event::Phase;
use crate::openlineage::event::time_of;
use crate::openlineage::link::Told;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RunState {
    New,
    Running,
    Completed,
    Failed,
    Aborted,
}

impl RunState {
    /// The state's word.
    pub fn word(self) -> &'static str {
        match self {
            RunState::New => "NEW",
            RunState::Running => "RUNNING",
            RunState::Completed => "COMPLETED",
            RunState::Failed => "FAILED",
            RunState::Aborted => "ABORTED",
        }
    }

    fn is_over(self) -> bool {
        matches!(self, RunState::Completed | RunState::Failed | RunState::Aborted)
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub id: String,
    /// The job's number; 0 while no event has named one.
    pub job: u32,
    pub state: RunState,
    /// The times of the first and the latest event.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub facets: Map<String, Value>,
    /// The facets that its job had on its events.
    pub job_facets: Map<String, Value>,
    /// The version of its job that its end made, 0 before.
    pub job_version: u32,
    pub inputs: BTreeMap<u32, Part>,
    pub outputs: BTreeMap<u32, Part>,
    pub told: Told,
    /// What somebody gave it as arguments, when it was declared.
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// A dataset's part in a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The version that was read or made; 0 for none.
    pub version: u32,
    /// The facets of the part.
    pub facets: Map<String, Value>,
}

impl Run {
    pub fn new(id: Uuid, at: Timestamp) -> Self {
        Run {
            id: id.to_string(),
            job: 0,
            state: RunState::New,
            created_at: at,
            updated_at: at,
            started_at: None,
            ended_at: None,
            facets: Map::new(),
            job_facets: Map::new(),
            job_version: 0,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            told: Told::default(),
            args: Map::new(),
        }
    }

    /// Adds what an event says of how far it is. An end stays, whatever comes late.
    pub fn advance(&mut self, phase: Phase, at: Timestamp) {
        self.created_at = self.created_at.min(at);
        self.updated_at = self.updated_at.max(at);
        let (state, begins) = match phase {
            Phase::Start => (RunState::Running, true),
            Phase::Running => (RunState::Running, false),
            Phase::Complete => (RunState::Completed, false),
            Phase::Fail => (RunState::Failed, false),
            Phase::Abort => (RunState::Aborted, false),
            Phase::Other => return,
        };
        if begins || (state == RunState::Running && self.started_at.is_none()) {
            self.started_at = Some(self.started_at.map_or(at, |known| known.min(at)));
        }
        if state.is_over() {
            self.ended_at = Some(at);
            self.state = state;
        } else if !self.state.is_over() {
            self.state = state;
        }
    }

    /// A time that the run was meant for.
    pub fn nominal(&self, member: &str) -> Option<Timestamp> {
        let text = self.facets.get("nominalTime")?.get(member)?.as_str()?;
        Some(time_of(text)?.0)
    }

    /// How long it took, in milliseconds.
    pub fn duration_ms(&self) -> Option<i64> {
        Some(self.ended_at?.as_millisecond() - self.started_at?.as_millisecond())
    }
}
