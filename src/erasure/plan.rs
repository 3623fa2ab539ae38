//! What an erasure covers, before it takes place: the set of records and artifacts, and the root that commits to it.
//!
//! The root is computed as the sweep computes it: over every index row of a record in the order of keys, then over every
//! artifact that dies in the order of ids. Once an erasure's keys are destroyed nothing can be added to its scope; then it is planned
//! for good, and its certificate has to sign that root.

use serde::Deserialize;
use serde::Serialize;

use crate::connection::Connection;
use crate::connection::State;
use crate::digest::Digest;
use crate::erasure::ErasureError;
use crate::erasure::ErasureRow;
use crate::erasure::Erasures;
use crate::erasure::Scope;
use crate::ids::TenantId;
use crate::lineage;
use crate::lineage::Affected;
use crate::lineage::StreamRow;
use crate::merkle;
use crate::merkle::Frontier;
use crate::store::Row;
use crate::store::Table;
use crate::store::Unit;

/// Rows looked at in one step.
const STEP: usize = 4096;

/// How much an erasure covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Versions of those records.
    pub versions: u64,
}

/// What an erasure would cover, by its counters.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it covers.
    pub scope: Scope,
    /// Whose that is.
    pub tenant: TenantId,
    /// The first connection in it that is not revoked, if there is one.
    pub unrevoked: Option<Connection>,
    /// How much it holds.
    pub counts: Counts,
}

/// The set that an erasure would remove, one by one.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Records.
    pub records: u64,
    /// Artifacts.
    pub artifacts: Affected,
    /// The root over all of them.
    pub digest: Digest,
}

/// What was planned when nothing could be added any more, under the erasure's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRow {
    /// Records.
    pub records: u64,
    /// Artifacts that die.
    pub artifacts: u64,
    /// Artifacts that lose an input and outlive it.
    pub survivors: u64,
    /// The root that the certificate must sign.
    pub root: [u8; 32],
}

impl Row for PlanRow {
    const TABLE: Table = Table::ErasurePlans;
    type Key = [u8; 16];
}

impl Erasures {
    /// What an erasure of this scope would remove, to the last record. It reads every index row of the scope: about a second for a
    /// million records.
    ///
    /// # Errors
    /// When the store fails.
    pub fn extent(&self, scope: &Scope) -> Result<Extent, ErasureError> {
        let mut commitment = Frontier::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let mut last = None;
            let looked_at = self.store.look_below(Table::Records, &scope.prefix(), after.as_deref(), STEP, |key, value| {
                commitment.push(merkle::leaf_hash(&[key, value].concat()));
                last = Some(key.to_vec());
            })?;
            after = last;
            if looked_at < STEP {
                break;
            }
        }
        let records = commitment.size();
        let artifacts = self.affected(scope)?;
        for artifact in &artifacts.dies {
            commitment.push(lineage::artifact_leaf(scope.tenant(), *artifact));
        }
        Ok(Extent { records, artifacts, digest: Digest::from_bytes(commitment.root()) })
    }

    /// What an erasure of this scope would do to artifacts. With a tenant all of its artifacts die.
    ///
    /// # Errors
    /// When the store fails.
    pub fn affected(&self, scope: &Scope) -> Result<Affected, ErasureError> {
        let Scope::Tenant { number } = scope else {
            return match scope {
                Scope::Connection { owner, .. } => Ok(self.derivations.affected(*owner, None)?),
                Scope::Tenant { .. } => Ok(Affected::default()),
            };
        };
        let mut affected = Affected::default();
        let mut after = None;
        loop {
            let step = self.derivations.artifacts(*number, after, STEP)?;
            let Some((last, _)) = step.last() else { return Ok(affected) };
            after = Some(*last);
            affected.dies.extend(step.iter().filter(|(_, is_alive)| *is_alive).map(|(artifact, _)| *artifact));
        }
    }

    pub(super) fn counts(&self, scope: &Scope) -> Result<Counts, ErasureError> {
        let (mut counts, mut after) = (Counts::default(), None);
        loop {
            let step = self.store.scan::<StreamRow>(&scope.prefix(), after.as_ref(), STEP)?;
            let Some((last, _)) = step.last() else { return Ok(counts) };
            after = Some(*last);
            for (_, stream) in &step {
                counts.records += stream.records;
                counts.versions += stream.versions;
            }
        }
    }

    /// What was planned for an erasure when nothing could be added to it any more; none before.
    ///
    /// # Errors
    /// When the store fails.
    pub fn planned(&self, row: &ErasureRow) -> Result<Option<PlanRow>, ErasureError> {
        Ok(self.store.get::<PlanRow>(&row.id.to_bytes())?)
    }

    /// Plans an erasure for good, unless that is done. Its keys are gone and no other erasure is in the middle of its sweep.
    pub(super) async fn plan_for_good(&self, row: &ErasureRow) -> Result<PlanRow, ErasureError> {
        if let Some(plan) = self.planned(row)? {
            return Ok(plan);
        }
        let extent = tokio::task::block_in_place(|| self.extent(&row.scope))?;
        let (artifacts, survivors) = (extent.artifacts.dies.len() as u64, extent.artifacts.survives.len() as u64);
        let plan = PlanRow { records: extent.records, artifacts, survivors, root: extent.digest.to_bytes() };
        let mut unit = Unit::default();
        unit.expect::<PlanRow>(&row.id.to_bytes(), None).put(&row.id.to_bytes(), &plan);
        self.store.commit(unit).await?;
        Ok(plan)
    }
}

pub(super) fn is_unrevoked(connection: &Connection) -> bool {
    !matches!(connection.state, State::Revoked(_) | State::Erased(_))
}
