//! An erasure as it is kept: what was asked for, how far it is, what it came to.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::erasure::Plan;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::ErasureId;
use crate::ids::TenantId;
use crate::merkle::Frontier;
use crate::store::Row;
use crate::store::Table;
use crate::store::layout::Erasure;
use crate::store::layout::TABLES;

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

/// How much an erasure covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Versions of those records.
    pub versions: u64,
}

/// An erasure, under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasureRow {
    /// Its id.
    pub id: ErasureId,
    /// The connection it covers.
    pub connection: ConnectionId,
    /// That connection's numbers.
    pub owner: ConnectionKey,
    /// Whose it is.
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
    /// The tables that are swept.
    pub tables_swept: u16,
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
    pub(super) fn requested(id: ErasureId, plan: &Plan, reason: Option<String>, at: Timestamp) -> Self {
        ErasureRow {
            id,
            connection: plan.connection.id,
            owner: plan.connection.key,
            tenant: plan.connection.tenant.clone(),
            reason,
            state: ErasureState::Requested,
            counts: plan.counts,
            keys_destroyed: Vec::new(),
            requested_at: at,
            started_at: None,
            completed_at: None,
            tables_swept: 0,
            commitment: Frontier::default(),
            entry: None,
            certificate: None,
        }
    }
}

/// What an erasure of a connection leaves, and why: from the rules of the store's tables, so that none is forgotten.
pub fn kept() -> Vec<(String, &'static str)> {
    let rows = TABLES.iter().filter_map(|table| match table.erasure() {
        Erasure::Kept(why) => Some((table.name().to_owned(), why)),
        Erasure::Removed | Erasure::Unrelated => None,
    });
    let files = [
        ("sealed remains in the engine's files", "ciphertext whose keys are destroyed; gone with the next `store compact`"),
        ("backups made before", "ciphertext; a backup never holds keys"),
    ];
    rows.chain(files.map(|(what, why)| (what.to_owned(), why))).collect()
}
