//! An erasure as it is kept: what was asked for, how far it is, what it came to.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::erasure::Counts;
use crate::erasure::Plan;
use crate::erasure::Scope;
use crate::ids::ErasureId;
use crate::ids::TenantId;
use crate::merkle::Frontier;
use crate::store::Row;
use crate::store::Table;

/// Where an erasure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasureState {
    /// Asked for; an operator has to approve it.
    Requested,
    /// Approved; the keys are about to be destroyed.
    Approved,
    /// The keys are gone: nothing opens. The sweep is under way.
    Unreadable,
    /// Swept and certified.
    Complete,
    /// Refused.
    Refused,
}

impl ErasureState {
    /// The state as the contract names it.
    pub fn name(self) -> &'static str {
        match self {
            ErasureState::Requested => "requested",
            ErasureState::Approved => "approved",
            ErasureState::Unreadable => "unreadable",
            ErasureState::Complete => "complete",
            ErasureState::Refused => "refused",
        }
    }
}

/// An erasure, under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasureRow {
    /// Its id.
    pub id: ErasureId,
    /// What it covers.
    pub scope: Scope,
    /// Whose that is.
    pub tenant: TenantId,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// Where it stands.
    pub state: ErasureState,
    /// Planned counts at first; those of the sweep once that has begun.
    pub counts: Counts,
    /// The names of the keys that were destroyed.
    pub keys_destroyed: Vec<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was approved.
    pub started_at: Option<Timestamp>,
    /// When the sweep had ended.
    pub completed_at: Option<Timestamp>,
    /// The steps of the sweep that are done.
    pub steps_done: u16,
    /// The commitment to the records swept so far.
    pub commitment: Frontier,
    /// The index of the entry `erasure completed`.
    pub entry: Option<u64>,
    /// The certificate: one line of DSSE.
    pub certificate: Option<String>,
}

impl Row for ErasureRow {
    const TABLE: Table = Table::Erasures;
    type Key = [u8; 16];
}

impl ErasureRow {
    /// Artifacts swept so far: what the commitment holds besides records.
    pub fn artifacts(&self) -> u64 {
        self.commitment.size().saturating_sub(self.counts.records)
    }

    /// Whether it takes place, or has.
    pub(super) fn is_approved(&self) -> bool {
        matches!(self.state, ErasureState::Approved | ErasureState::Unreadable | ErasureState::Complete)
    }

    pub(super) fn requested(id: ErasureId, plan: &Plan, reason: Option<String>, at: Timestamp) -> Self {
        ErasureRow {
            id,
            scope: plan.scope,
            tenant: plan.tenant.clone(),
            reason,
            state: ErasureState::Requested,
            counts: plan.counts,
            keys_destroyed: Vec::new(),
            requested_at: at,
            started_at: None,
            completed_at: None,
            steps_done: 0,
            commitment: Frontier::default(),
            entry: None,
            certificate: None,
        }
    }
}
