//! Who received which version of which record, for what and how.
//!
//! A disclosure is kept by page, not by record: under (owner, page, recipient, purpose, mechanism) stands which slots of the page's
//! blocks were handed over. So a listing of fifty records is a row or two, and what was handed over before is no write at all.
//! Those rows go with the connection. The list of a tenant, with counts and times and no record in it, stays until the tenant
//! goes: whoever received something has to be told that it is erased.
//!
//! What is handed over is written in the unit of the audit entry of the same reading, so that no answer leaves without it.

mod list;
mod recipient;
mod rows;
mod turn;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;
use crate::lineage::Location;
use crate::lineage::RecordRow;
use crate::store::Committed;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::list::Disclosure;
pub use self::list::Place;
pub use self::list::Received;
pub use self::recipient::Recipient;
pub use self::recipient::RecipientKind;
pub use self::rows::DisclosedPageRow;
pub use self::rows::DisclosureRow;
pub use self::rows::Mechanism;
pub use self::rows::MechanismError;
pub use self::rows::RecipientRow;

use self::turn::Turn;

/// Rows of pages that one unit writes at most: what is handed over in one request, or a part of a whole stream.
const PAGES_PER_UNIT: usize = 500;

/// Records of a stream that are looked at in one step, when the whole of it is stated.
const STREAM_STEP: usize = 20_000;

/// How a scrub reads disclosures back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<DisclosedPageRow>(), RowCheck::of::<RecipientRow>(), RowCheck::of::<DisclosureRow>()]
}

/// Why a disclosure cannot be kept or told.
#[derive(Debug, thiserror::Error)]
pub enum DisclosureError {
    /// The store failed.
    #[error("the disclosure cannot be kept or read")]
    Store(#[from] StoreError),
    /// The tenant's keys are gone or cannot be read.
    #[error("the recipients of the tenant cannot be read")]
    Vault(#[from] VaultError),
}

/// Versions of records of one connection, handed to somebody.
#[derive(Debug, Clone)]
pub struct Handover {
    /// Whose records.
    pub owner: ConnectionKey,
    /// To whom.
    pub recipient: Recipient,
    /// For what.
    pub purpose: Option<Purpose>,
    /// How.
    pub mechanism: Mechanism,
    /// When.
    pub at: Timestamp,
    /// Which versions, by where they lie.
    pub versions: Vec<Location>,
}

/// All disclosures. Clones share them.
#[derive(Clone)]
pub struct Disclosures {
    store: Store,
    vault: Arc<Vault>,
    entropy: Entropy,
    turn: Arc<Turn>,
}

impl Disclosures {
    /// Over a store and the keys of its tenants.
    pub fn new(store: Store, vault: Arc<Vault>, entropy: Entropy) -> Self {
        Disclosures { store, vault, entropy, turn: Arc::default() }
    }

    /// Writes a unit together with what is handed over, and returns when both are durable. What had been handed over before adds
    /// nothing to the unit.
    ///
    /// Nobody waits here for somebody else's write: what is submitted and perhaps not applied yet is known in memory.
    ///
    /// # Errors
    /// When it cannot be made durable, or the tenant's keys are gone: then nothing may be handed over.
    pub async fn keep(&self, unit: Unit, handovers: &[Handover]) -> Result<Committed, DisclosureError> {
        Turn::keep(self, unit, handovers).await
    }

    /// As [`Disclosures::keep`], for the newest version of every record of a stream; `handover` says the rest. Returns how many
    /// versions that were. A stream of many pages takes several units, the first of which is `unit`.
    ///
    /// # Errors
    /// As there; what was written by then stays.
    pub async fn keep_stream(&self, unit: Unit, handover: Handover, stream: u16) -> Result<u64, DisclosureError> {
        let mut prefix = handover.owner.to_bytes().to_vec();
        prefix.extend_from_slice(&stream.to_be_bytes());
        let (mut unit, mut count, mut after) = (Some(unit), 0, None);
        loop {
            let rows = self.store.scan::<RecordRow>(&prefix, after.as_ref(), STREAM_STEP)?;
            after = rows.last().map(|(key, _)| *key);
            count += rows.len() as u64;
            let mut versions: Vec<Location> = rows.iter().map(|(_, row)| row.location).collect();
            versions.sort_unstable_by_key(|location| (location.page, location.block, location.slot));
            for versions in of_few_pages(&versions) {
                let handover = Handover { versions: versions.to_vec(), ..handover.clone() };
                self.keep(unit.take().unwrap_or_default(), &[handover]).await?;
            }
            if rows.len() < STREAM_STEP {
                break;
            }
            tokio::task::yield_now().await;
        }
        if let Some(unit) = unit {
            self.keep(unit, &[]).await?;
        }
        Ok(count)
    }
}

/// Cuts versions, in the order of pages, so that no part is of more pages than one unit writes.
fn of_few_pages(versions: &[Location]) -> Vec<&[Location]> {
    let (mut parts, mut begin, mut pages) = (Vec::new(), 0, 0);
    for (index, pair) in versions.windows(2).enumerate() {
        pages += usize::from(rows::part_of(&pair[0]) != rows::part_of(&pair[1]));
        if pages == PAGES_PER_UNIT {
            parts.push(&versions[begin..=index]);
            (begin, pages) = (index + 1, 0);
        }
    }
    parts.push(&versions[begin..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::clock::Clock;
    use crate::ids::KeyId;
    use crate::secret::Secret;
    use crate::store::Options;
    use crate::vault::MasterKey;

    const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };

    fn versions(of: impl IntoIterator<Item = (u64, u16, u16)>) -> Vec<Location> {
        of.into_iter().map(|(page, block, slot)| Location { page, block, slot }).collect()
    }

    /// Goal: whatever readers hand over at the same time, each version is counted once and none is lost, and what was handed over
    /// before writes no row. Method: a hundred readers of overlapping parts of some pages, some of which hang up.
    #[tokio::test(flavor = "multi_thread")]
    async fn readers_at_the_same_time_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (entropy, clock) = (Entropy::system(), Clock::System);
        let vault = Arc::new(Vault::create(directory.path(), &MasterKey::new(Secret::new([1; 32])), entropy.clone(), clock).unwrap());
        vault.tenant_ensure(OWNER.tenant).unwrap();
        let store = Store::open(directory.path(), &Options::default()).unwrap();
        let all = Disclosures::new(store.clone(), vault, entropy);
        let reader = Recipient::key(KeyId::from_bytes([7; 16]));
        let at = Timestamp::UNIX_EPOCH;
        let handover = |versions| Handover {
            owner: OWNER,
            recipient: reader.clone(),
            purpose: Some(Purpose::Shipping),
            mechanism: Mechanism::Api,
            at,
            versions,
        };
        let (mut reading, mut model) = (Vec::new(), BTreeSet::new());
        for number in 0..100_u16 {
            let of: Vec<_> = (0..10).map(|step| (u64::from(number % 3), 1000 + number % 40, (number + step) % 24)).collect();
            let handover = handover(versions(of.iter().copied()));
            let all = all.clone();
            let task = tokio::spawn(async move { all.keep(Unit::default(), &[handover]).await });
            if number % 10 == 9 {
                tokio::task::yield_now().await;
                task.abort();
            }
            reading.push((task, of));
        }
        for (task, of) in reading {
            if task.await.is_ok_and(|kept| kept.is_ok()) {
                model.extend(of);
            }
        }
        store.settle().await.unwrap();
        let told = all.of_connection(OWNER).unwrap();
        let every: Vec<Location> =
            versions((0..3).flat_map(|page| (960..1100).flat_map(move |block| (0..24).map(move |slot| (page, block, slot)))));
        let received = all.of_record(OWNER, &every).unwrap();
        assert_eq!((told.len(), told[0].versions), (1, received.len() as u64), "counted as they are noted");
        let has: BTreeSet<_> = received.iter().map(|one| (one.version.page, one.version.block, one.version.slot)).collect();
        assert!(model.is_subset(&has), "{:?}", model.difference(&has));
        assert!(received.iter().all(|one| one.recipient == reader && one.purpose == Some(Purpose::Shipping)));
        assert!(all.turn.is_settled(), "nothing is remembered that is applied");
    }
}
