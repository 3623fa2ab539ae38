//! The rows of the outbox, and how an event is sealed while it waits.

use serde::Deserialize;
use serde::Serialize;

use crate::ids::TenantId;
use crate::openlineage::emission::EventType;
use crate::store::Row;
use crate::store::Table;
use crate::vault::ConnectionKeys;
use crate::vault::Purpose;
use crate::vault::VaultError;

/// Bytes of one event as JSON, at most.
pub(super) const EVENT_BYTES_MAX: usize = 8 << 20;
/// Bytes of one compressed event, at most: below what the store keeps in one row, with room for the row's other parts.
pub(super) const KEPT_BYTES_MAX: usize = 40 << 10;

/// An event that waits, under (number of the unit that brought it, its place among the events of the process): in the order in which
/// what it tells became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Whose it is.
    pub(super) tenant: TenantId,
    /// The number of whose key seals it; `None` for an erasure's, which must be told after the keys are gone, and says nothing but
    /// what is kept of an erasure anyway.
    pub(super) sealed_for: Option<u32>,
    /// The run that it tells of.
    pub(super) run: [u8; 16],
    /// What it tells: an [`EventType`], in its word.
    pub(super) event_type: String,
    /// The event, compressed and, if `sealed_for` says so, sealed.
    pub(super) event: Vec<u8>,
}

impl Row for EventRow {
    const TABLE: Table = Table::Outbox;
    type Key = (u64, [u8; 4]);
}

/// How far events were told somewhere: the key of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRow(pub(super) u64, pub(super) [u8; 4]);

impl Row for PositionRow {
    const TABLE: Table = Table::OutboxPositions;
    type Key = u8;
}

/// What binds a sealed event to what it tells of.
fn place(tenant: u32, run: [u8; 16], event_type: &str) -> Vec<u8> {
    [&[Table::Outbox.tag()], &tenant.to_be_bytes()[..], &run, event_type.as_bytes()].concat()
}

impl EventRow {
    /// An event that waits under its tenant's key.
    pub(super) fn sealed(
        tenant: &TenantId,
        number: u32,
        keys: &ConnectionKeys,
        (run, event_type): ([u8; 16], EventType),
        compressed: &[u8],
    ) -> Result<Self, VaultError> {
        let event = keys.seal(Purpose::Lineage, &place(number, run, event_type.as_str()), compressed)?;
        Ok(EventRow { sealed_for: Some(number), ..Self::open(tenant, (run, event_type), event) })
    }

    /// An event that waits as it is.
    pub(super) fn open(tenant: &TenantId, (run, event_type): ([u8; 16], EventType), compressed: Vec<u8>) -> Self {
        EventRow { tenant: tenant.clone(), sealed_for: None, run, event_type: event_type.as_str().to_owned(), event: compressed }
    }

    /// The event as JSON, given the key that sealed it; nothing when it does not open or is no event.
    pub(super) fn json(&self, keys: Option<&ConnectionKeys>) -> Option<Vec<u8>> {
        let compressed = match (self.sealed_for, keys) {
            (None, _) => self.event.clone(),
            (Some(number), Some(keys)) => {
                let opened = keys.open(Purpose::Lineage, &place(number, self.run, &self.event_type), &self.event).ok()?;
                opened.expose().clone()
            }
            (Some(_), None) => return None,
        };
        zstd::bulk::decompress(&compressed, EVENT_BYTES_MAX).ok()
    }
}
