//! What would go with a connection, and what would stay: which artifacts die, which outlive it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::ids::ErasureId;
use crate::lineage::LineageError;
use crate::lineage::TombstoneRow;
use crate::lineage::derivation::ArtifactRow;
use crate::lineage::derivation::ArtifactState;
use crate::lineage::derivation::DerivationRow;
use crate::lineage::derivation::Derivations;
use crate::lineage::derivation::DerivedKey;
use crate::lineage::derivation::DerivedRow;
use crate::lineage::derivation::Lost;
use crate::lineage::derivation::Need;
use crate::lineage::derivation::OF_ARTIFACTS;
use crate::lineage::derivation::Source;
use crate::lineage::derivation::holders;
use crate::merkle;
use crate::merkle::Hash;
use crate::store::RowKey;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;

/// Rows looked at in one step.
const STEP: usize = 4096;

/// What an erasure of a connection does to artifacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affected {
    /// Those that die, in the order of their ids.
    pub dies: Vec<[u8; 16]>,
    /// Those that lose an input and outlive it, in the order of their ids.
    pub survives: Vec<[u8; 16]>,
    /// Those that come from it through others that outlive it, and lose nothing themselves.
    pub beyond: Vec<[u8; 16]>,
    /// Those that die or have died, each behind one that it comes from.
    pub order: Vec<[u8; 16]>,
}

/// Everything that was made from a connection's records, as one range of rows tells it.
#[derive(Default)]
struct Made {
    /// From records: the artifact, and whether it dies for certain.
    direct: HashMap<[u8; 16], bool>,
    /// From artifacts.
    further: HashMap<[u8; 16], Vec<([u8; 16], bool)>>,
}

impl Derivations {
    /// What an erasure of a connection does to artifacts. With `erasure`, the one that is under way, those that it has taken
    /// already count as dead, and are not among those that die.
    ///
    /// One range of rows tells what came from what, and of most artifacts also that they die; only those that were made in
    /// several ways, or with one input sufficing, are looked at. Round by round from the records outwards, each once a round, so
    /// that the work is bounded by what is there times the levels above it.
    ///
    /// # Errors
    /// When a row does not read back.
    pub fn affected(&self, owner: ConnectionKey, erasure: Option<ErasureId>) -> Result<Affected, LineageError> {
        let made = self.made(owner)?;
        let mut ways: HashMap<[u8; 16], Vec<DerivationRow>> = HashMap::new();
        let (mut dead, mut order, mut touched) = (HashSet::new(), Vec::new(), HashSet::new());
        let mut ahead: Vec<([u8; 16], bool)> = made.direct.iter().map(|(artifact, is_fatal)| (*artifact, *is_fatal)).collect();
        ahead.sort_unstable();
        while !ahead.is_empty() {
            let mut next: HashMap<[u8; 16], bool> = HashMap::new();
            for (artifact, is_fatal) in std::mem::take(&mut ahead) {
                touched.insert(artifact);
                let dies = is_fatal || !self.holds(owner, artifact, &dead, &mut ways)?;
                if dies && dead.insert(artifact) {
                    order.push(artifact);
                    for (to, is_fatal) in made.further.get(&artifact).into_iter().flatten() {
                        *next.entry(*to).or_default() |= *is_fatal;
                    }
                }
            }
            ahead = next.into_iter().filter(|(artifact, _)| !dead.contains(artifact)).collect();
            ahead.sort_unstable();
        }
        let mut found = Affected { order, ..Affected::default() };
        found.dies = found.order.clone();
        if erasure.is_some() {
            // An artifact that is dead has no row that says how it was made, or will have none soon.
            found.dies = self.those_alive(owner, &found.dies)?;
        }
        found.survives = touched.iter().filter(|artifact| !dead.contains(*artifact)).copied().collect();
        let further = made.further.values().flatten().map(|(to, _)| *to);
        found.beyond = further.filter(|to| !touched.contains(to)).collect::<HashSet<_>>().into_iter().collect();
        for list in [&mut found.dies, &mut found.survives, &mut found.beyond] {
            list.sort_unstable();
        }
        Ok(found)
    }

    fn those_alive(&self, owner: ConnectionKey, artifacts: &[[u8; 16]]) -> Result<Vec<[u8; 16]>, LineageError> {
        let mut alive = Vec::new();
        for artifact in artifacts {
            if self.row(owner.tenant, *artifact)?.is_some_and(|row| row.alive().is_some()) {
                alive.push(*artifact);
            }
        }
        Ok(alive)
    }

    fn made(&self, owner: ConnectionKey) -> Result<Made, LineageError> {
        let mut made = Made::default();
        let mut after: Option<DerivedKey> = None;
        loop {
            let rows = self.store.scan::<DerivedRow>(&owner.to_bytes(), after.as_ref(), STEP)?;
            let Some((last, _)) = rows.last() else { return Ok(made) };
            after = Some(*last);
            for ((_, (stream, (from, artifact))), row) in rows {
                if stream == OF_ARTIFACTS {
                    made.further.entry(from).or_default().push((artifact, row.is_fatal));
                } else {
                    *made.direct.entry(artifact).or_default() |= row.is_fatal;
                }
            }
        }
    }

    /// Whether an artifact holds without a connection's records and the dead.
    fn holds(
        &self,
        owner: ConnectionKey,
        artifact: [u8; 16],
        dead: &HashSet<[u8; 16]>,
        ways: &mut HashMap<[u8; 16], Vec<DerivationRow>>,
    ) -> Result<bool, LineageError> {
        let rows = match ways.entry(artifact) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.derivations(owner.tenant, artifact)?.into_iter().map(|(_, row)| row).collect()),
        };
        let is_there = |source: &Source| is_there(owner, source, dead);
        let holds = |row: &DerivationRow| match row.need {
            Need::All => row.sources.iter().all(is_there),
            Need::Any => row.sources.iter().any(is_there),
        };
        Ok(rows.iter().any(holds))
    }

    fn row(&self, tenant: u32, artifact: [u8; 16]) -> Result<Option<ArtifactRow>, StoreError> {
        self.store.get::<ArtifactRow>(&(ConnectionKey::of_tenant(tenant), artifact))
    }

    /// At most `limit` artifacts of a tenant behind one, in the order of their ids, and whether each is there.
    ///
    /// # Errors
    /// When a row does not read back.
    pub fn artifacts(&self, tenant: u32, after: Option<[u8; 16]>, limit: usize) -> Result<Vec<([u8; 16], bool)>, LineageError> {
        let owner = ConnectionKey::of_tenant(tenant);
        let rows = self.store.scan::<ArtifactRow>(&owner.to_bytes(), after.map(|after| (owner, after)).as_ref(), limit)?;
        Ok(rows.into_iter().map(|((_, artifact), row)| (artifact, row.alive().is_some())).collect())
    }

    /// Adds that an erasure takes these artifacts: nothing is left of them but that they were there. Those that are gone already
    /// are passed over.
    ///
    /// # Errors
    /// When a row does not read back.
    pub fn bury(
        &self,
        unit: &mut Unit,
        tenant: u32,
        artifacts: &[[u8; 16]],
        (erasure, at): (ErasureId, Timestamp),
    ) -> Result<(), LineageError> {
        let owner = ConnectionKey::of_tenant(tenant);
        for artifact in artifacts {
            let key = (owner, *artifact);
            let Some(row) = self.store.get::<ArtifactRow>(&key)? else { continue };
            if row.alive().is_none() {
                continue;
            }
            let state = ArtifactState::Dead { at, erasure, roots: row.roots().to_vec() };
            unit.expect(&key, Some(&row)).put(&key, &ArtifactRow { state, lost: row.lost.clone() });
        }
        Ok(())
    }

    /// Adds that a tenant's artifacts go with the tenant: hashes in one row, and none in their own.
    ///
    /// # Errors
    /// When the store fails.
    pub fn bury_all(&self, unit: &mut Unit, tenant: u32, artifacts: &[[u8; 16]], (erasure, at): (ErasureId, Timestamp)) {
        let owner = ConnectionKey::of_tenant(tenant);
        for artifact in artifacts {
            unit.remove::<ArtifactRow>(&(owner, *artifact));
        }
        if let Some(last) = artifacts.last() {
            unit.put(&(owner, (0, *last)), &TombstoneRow { erasure, at, hashes: artifacts.to_vec() });
        }
    }

    /// Adds that an artifact loses what an erasure has taken: derivations that hold no more, inputs that no other needs, and the
    /// rows that say what came from what. Of one that outlives it stays that it had inputs of the connection.
    ///
    /// # Errors
    /// When a row does not read back.
    pub fn loosen(
        &self,
        unit: &mut Unit,
        owner: ConnectionKey,
        artifact: [u8; 16],
        (erasure, dead): (ErasureId, &HashSet<[u8; 16]>),
    ) -> Result<(), LineageError> {
        let key = (ConnectionKey::of_tenant(owner.tenant), artifact);
        let Some(row) = self.store.get::<ArtifactRow>(&key)? else { return Ok(()) };
        let is_dead = row.alive().is_none();
        let (mut before, mut after, mut left) = (HashSet::new(), HashSet::new(), 0_u16);
        for (way, derivation) in self.derivations(owner.tenant, artifact)? {
            before.extend(derivation.sources.iter().copied());
            match remaining(owner, &derivation, dead).filter(|_| !is_dead) {
                None => {
                    unit.remove::<DerivationRow>(&way);
                }
                Some(remaining) => {
                    after.extend(remaining.sources.iter().copied());
                    left += 1;
                    if remaining.sources.len() < derivation.sources.len() {
                        unit.put(&way, &remaining);
                    }
                }
            }
        }
        for source in before.difference(&after) {
            self.part(unit, owner.tenant, source, artifact)?;
        }
        let mut changed = row.clone();
        if let ArtifactState::Alive(alive) = &mut changed.state {
            alive.derivations = left;
            alive.roots.retain(|root| *root != owner.connection);
            if before != after {
                changed.lost.push(Lost { connection: owner.connection, erasure });
            }
        }
        unit.expect(&key, Some(&row));
        if changed != row {
            unit.put(&key, &changed);
        }
        Ok(())
    }

    /// Removes the rows which say that an artifact was made from something.
    fn part(&self, unit: &mut Unit, tenant: u32, source: &Source, artifact: [u8; 16]) -> Result<(), LineageError> {
        let of = |connection: u32| ConnectionKey { tenant, connection };
        match *source {
            Source::Record { connection, stream, hash } => {
                unit.remove::<DerivedRow>(&(of(connection), (stream, (hash, artifact))));
            }
            Source::Artifact(from) => {
                let row = self.row(tenant, from)?;
                for root in row.as_ref().map(ArtifactRow::roots).unwrap_or_default() {
                    unit.remove::<DerivedRow>(&(of(*root), (OF_ARTIFACTS, (from, artifact))));
                }
            }
        }
        Ok(())
    }
}

fn is_there(owner: ConnectionKey, source: &Source, dead: &HashSet<[u8; 16]>) -> bool {
    match source {
        Source::Record { connection, .. } => *connection != owner.connection,
        Source::Artifact(hash) => !dead.contains(hash),
    }
}

/// A derivation without what is gone, if it still holds.
fn remaining(owner: ConnectionKey, row: &DerivationRow, dead: &HashSet<[u8; 16]>) -> Option<DerivationRow> {
    let is_there = |source: &Source| is_there(owner, source, dead);
    match row.need {
        Need::All => row.sources.iter().all(is_there).then(|| row.clone()),
        Need::Any => {
            let stays = |source: &Source| is_there(source);
            let sources: Vec<Source> = row.sources.iter().filter(|source| stays(source)).copied().collect();
            let left = holders(&sources);
            let wraps = holders(&row.sources).into_iter().zip(&row.wraps).filter(|(holder, _)| left.contains(holder));
            let wraps = wraps.map(|(_, wrap)| wrap.clone()).collect();
            (!sources.is_empty()).then(|| DerivationRow { sources, wraps, ..row.clone() })
        }
    }
}

/// What an erasure commits to of an artifact: that it was there, by the key of its row.
pub fn artifact_leaf(tenant: u32, artifact: [u8; 16]) -> Hash {
    let mut key = vec![Table::Artifacts.tag()];
    (ConnectionKey::of_tenant(tenant), artifact).encode(&mut key);
    merkle::leaf_hash(&key)
}
