//! The rows of runs under way.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::ids::PullId;
use crate::ids::RunId;
use crate::lineage::RunRow;
use crate::lineage::RunState;
use crate::store::Row;
use crate::store::Table;

/// A run that has not ended, under its id: what a crash leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunUnderWayRow(pub ConnectionKey);

impl Row for RunUnderWayRow {
    const TABLE: Table = Table::RunsUnderWay;
    type Key = [u8; 16];
}

/// A run at its beginning.
pub(super) fn started(pull: PullId, stream: String, credential: u64, at: Timestamp, entropy: &Entropy) -> RunRow {
    RunRow {
        id: RunId::new(at, entropy),
        pull,
        stream,
        state: RunState::Running,
        pages: 0,
        requests: 0,
        new: 0,
        changed: 0,
        unchanged: 0,
        deleted: None,
        filtered: 0,
        ignored: 0,
        coerced: 0,
        coerced_keys: 0,
        masked: 0,
        credential,
        entry: None,
        error: None,
        started_at: at,
        ended_at: None,
    }
}
