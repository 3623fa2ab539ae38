//! Writing derivations down: all of an order in one unit, which an erasure that began meanwhile makes void.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::ids::ArtifactId;
use crate::ids::ConnectionKey;
use crate::lineage::LineageError;
use crate::lineage::RecordRow;
use crate::lineage::derivation::DerivationError;
use crate::lineage::derivation::Derivations;
use crate::lineage::derivation::Facts;
use crate::lineage::derivation::Named;
use crate::lineage::derivation::derived_prefix;
use crate::lineage::derivation::facts_aad;
use crate::lineage::derivation::keeping::Opened;
use crate::lineage::derivation::keeping::aad;
use crate::lineage::derivation::named_aad;
use crate::lineage::derivation::rows::Alive;
use crate::lineage::derivation::rows::ArtifactRow;
use crate::lineage::derivation::rows::ArtifactState;
use crate::lineage::derivation::rows::DerivationRow;
use crate::lineage::derivation::rows::DerivedKey;
use crate::lineage::derivation::rows::DerivedRow;
use crate::lineage::derivation::rows::EpochRow;
use crate::lineage::derivation::rows::Input;
use crate::lineage::derivation::rows::Need;
use crate::lineage::derivation::rows::OF_ARTIFACTS;
use crate::lineage::derivation::rows::Source;
use crate::lineage::derivation::rows::holders;
use crate::lineage::reader::first_half;
use crate::store::StoreError;
use crate::store::Unit;
use crate::store::VALUE_BYTES_MAX;
use crate::vault::ArtifactKey;
use crate::vault::VaultError;

/// Inputs of one derivation.
pub const INPUTS_MAX: usize = 1000;
/// Different connections and artifacts among the inputs of one derivation: each adds a wrapped key to its row.
const HOLDERS_MAX: usize = 400;
/// Connections that one artifact comes from, through other artifacts too.
const ROOTS_MAX: usize = 256;
/// Artifacts one above the other.
const LEVELS_MAX: u16 = 64;
/// Ways in which one artifact was made.
const WAYS_MAX: u16 = 100;
/// Rows that a derivation puts at most: its inputs times the connections that these come from.
const EDGES_MAX: usize = 10_000;
/// Artifacts looked at for one derivation: those that come from an artifact which is made in a further way.
const WALK_MAX: usize = 10_000;
/// How often an order is tried that others get in the way of.
const TRIES: u32 = 5;
/// Bytes of a row besides its texts and inputs.
const ROW_BYTES_SPARE: usize = 256;

/// A derivation to be written down.
#[derive(Debug, Clone)]
pub struct NewDerivation {
    /// What was made.
    pub named: Named,
    /// What it needs of its inputs.
    pub need: Need,
    /// What it was made from; all of one tenant.
    pub inputs: Vec<Input>,
    /// What else is said of it.
    pub facts: Facts,
    /// When it was made.
    pub at: Timestamp,
}

/// A derivation that is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// What was made.
    pub artifact: ArtifactId,
    /// When: the first time that it was told.
    pub at: Timestamp,
}

impl Derivations {
    /// Writes derivations of one tenant down, all or none; an order may use artifacts of the orders before it. Told again, the
    /// same need and inputs of an artifact are the same derivation.
    ///
    /// # Errors
    /// For the first derivation that cannot be: its index, and why.
    pub async fn derive(&self, tenant: u32, orders: &[NewDerivation]) -> Result<Vec<Derived>, (usize, DerivationError)> {
        for _ in 0..TRIES {
            let (unit, derived) = tokio::task::block_in_place(|| self.drafted(tenant, orders))?;
            let Some(unit) = unit else { return Ok(derived) };
            match self.store.commit(unit).await {
                Ok(_) => return Ok(derived),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err((0, error.into())),
            }
        }
        Err((0, DerivationError::Busy))
    }

    fn drafted(&self, tenant: u32, orders: &[NewDerivation]) -> Result<(Option<Unit>, Vec<Derived>), (usize, DerivationError)> {
        // Before any key is opened: see `EpochRow`.
        let epoch = self.store.get::<EpochRow>(&tenant).map_err(|error| (0, error.into()))?;
        let mut draft = Draft::new(self, tenant);
        let mut derived = Vec::with_capacity(orders.len());
        for (index, order) in orders.iter().enumerate() {
            derived.push(draft.add(order).map_err(|error| (index, error))?);
        }
        if draft.derivations.is_empty() {
            return Ok((None, derived));
        }
        let mut unit = draft.unit();
        unit.expect::<EpochRow>(&tenant, epoch.as_ref());
        Ok((Some(unit), derived))
    }
}

/// What an order would write, over what is there.
struct Draft<'a> {
    derivations_of: &'a Derivations,
    tenant: u32,
    owner: ConnectionKey,
    opened: Opened,
    /// Artifacts as they were when they were first looked at.
    before: HashMap<[u8; 16], Option<ArtifactRow>>,
    artifacts: BTreeMap<[u8; 16], ArtifactRow>,
    derivations: BTreeMap<([u8; 16], [u8; 16]), DerivationRow>,
    derived: BTreeMap<DerivedKey, DerivedRow>,
    records: HashSet<Source>,
}

impl<'a> Draft<'a> {
    fn new(derivations_of: &'a Derivations, tenant: u32) -> Self {
        Draft {
            derivations_of,
            tenant,
            owner: ConnectionKey::of_tenant(tenant),
            opened: Opened::default(),
            before: HashMap::new(),
            artifacts: BTreeMap::new(),
            derivations: BTreeMap::new(),
            derived: BTreeMap::new(),
            records: HashSet::new(),
        }
    }

    fn unit(self) -> Unit {
        let mut unit = Unit::default();
        for (hash, row) in &self.before {
            unit.expect(&(self.owner, *hash), row.as_ref());
        }
        for (hash, row) in &self.artifacts {
            unit.put(&(self.owner, *hash), row);
        }
        for (key, row) in &self.derivations {
            unit.put(&(self.owner, *key), row);
        }
        for (key, row) in &self.derived {
            unit.put(key, row);
        }
        unit
    }

    fn add(&mut self, order: &NewDerivation) -> Result<Derived, DerivationError> {
        let id = self.derivations_of.id(self.tenant, &order.named)?;
        let mut sources: Vec<Source> = order.inputs.iter().map(Input::source).collect();
        sources.sort_unstable();
        sources.dedup();
        at_most(sources.len(), INPUTS_MAX, "inputs")?;
        at_most(holders(&sources).len(), HOLDERS_MAX, "different connections and artifacts among its inputs")?;
        let way = self.way(order.need, &sources)?;
        let row = self.artifact(id.hash)?;
        let (roots, level) = self.checked(id, &sources)?;
        if let (Some(known), Some(ArtifactState::Alive(_))) = (self.derivation(id.hash, way)?, row.as_ref().map(|row| &row.state)) {
            return Ok(Derived { artifact: id, at: known.at });
        }
        let (key, row) = match row {
            Some(ArtifactRow { state: ArtifactState::Alive(alive), lost }) => {
                let (key, alive) = self.one_way_more(id, alive, &sources, &roots, level)?;
                (key, ArtifactRow { state: ArtifactState::Alive(alive), lost })
            }
            row => self.made(id, order, row, roots, level)?,
        };
        let is_sole = row.alive().is_some_and(|alive| alive.derivations == 1);
        self.artifacts.insert(id.hash, row);
        let mut row = DerivationRow { need: order.need, at: order.at, sources, wraps: Vec::new(), facts: Vec::new() };
        let seals_to = aad(&self.owner, &id.hash, &way);
        row.wraps = self.derivations_of.wrap(self.tenant, &seals_to, &row, &key, &self.opened)?;
        let facts = postcard::to_stdvec(&order.facts).unwrap_or_default();
        row.facts = key.seal(&facts_aad(self.owner, id.hash, way), &facts);
        // An upper bound: an input is at most 24 bytes.
        let bytes = row.wraps.iter().map(|wrap| wrap.len() + 3).sum::<usize>() + row.facts.len() + row.sources.len() * 24;
        at_most(bytes + ROW_BYTES_SPARE, VALUE_BYTES_MAX, "bytes with its texts")?;
        let is_fatal = is_sole && (row.need == Need::All || holders(&row.sources).len() == 1);
        self.put_derived(id.hash, &row.sources, is_fatal)?;
        self.derivations.insert((id.hash, way), row);
        Ok(Derived { artifact: id, at: order.at })
    }

    /// A keyed hash of need and inputs: what makes two derivations of an artifact the same.
    fn way(&self, need: Need, sources: &[Source]) -> Result<[u8; 16], DerivationError> {
        let said = postcard::to_stdvec(&(need, sources)).unwrap_or_default();
        let keys = self.derivations_of.vault.tenant_keys(self.tenant)?;
        Ok(first_half(keys.index_hmac(&[b"derivation", &said])))
    }

    /// That every input is there and none comes from itself; the connections that they come from, and the level above them.
    fn checked(&mut self, id: ArtifactId, sources: &[Source]) -> Result<(BTreeSet<u32>, u16), DerivationError> {
        let (mut roots, mut level) = (BTreeSet::new(), 0);
        for source in sources {
            let input = Input::of(self.tenant, *source);
            match *source {
                Source::Record { connection, stream, hash } => {
                    let owner = ConnectionKey { tenant: self.tenant, connection };
                    let is_there = self.records.contains(source)
                        || self.derivations_of.store.contains::<RecordRow>(&(owner, (stream, hash)))? && self.opens(owner)?;
                    if !is_there {
                        return Err(DerivationError::Unknown { input });
                    }
                    self.records.insert(*source);
                    roots.insert(connection);
                }
                Source::Artifact(hash) if hash == id.hash => return Err(DerivationError::Cycle { artifact: id, input }),
                Source::Artifact(hash) => {
                    let artifact = ArtifactId { tenant: self.tenant, hash };
                    let row = self.artifact(hash)?.ok_or(DerivationError::Unknown { input })?;
                    let alive = row.alive().ok_or(DerivationError::Gone { artifact })?;
                    if !self.derivations_of.open(self.tenant, hash, &mut self.opened)? {
                        return Err(DerivationError::Gone { artifact });
                    }
                    roots.extend(self.derivations_of.standing(self.tenant, &alive.roots));
                    level = level.max(alive.level + 1);
                }
            }
        }
        at_most(roots.len(), ROOTS_MAX, "connections that it comes from")?;
        at_most(level.into(), LEVELS_MAX.into(), "artifacts one above the other")?;
        Ok((roots, level))
    }

    fn opens(&self, owner: ConnectionKey) -> Result<bool, DerivationError> {
        match self.derivations_of.vault.connection(owner) {
            Ok(_) => Ok(true),
            Err(VaultError::Destroyed { .. } | VaultError::NoKey { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// An artifact that is not there yet, or not any more.
    fn made(
        &mut self,
        id: ArtifactId,
        order: &NewDerivation,
        before: Option<ArtifactRow>,
        roots: BTreeSet<u32>,
        level: u16,
    ) -> Result<(ArtifactKey, ArtifactRow), DerivationError> {
        // Its erasure is still under way: what is left of it would mix with the new.
        if before.is_some() && !self.derivations_of.derivations(self.tenant, id.hash)?.is_empty() {
            return Err(DerivationError::Gone { artifact: id });
        }
        let key = self.derivations_of.vault.tenant_keys(self.tenant)?.artifact_key(None);
        self.opened.insert(id.hash, &key);
        let named = postcard::to_stdvec(&order.named).unwrap_or_default();
        let sealed = key.seal(&named_aad(self.owner, id.hash), &named);
        let alive = Alive { sealed, roots: roots.into_iter().collect(), level, derivations: 1 };
        let lost = before.map(|row| row.lost).unwrap_or_default();
        Ok((key, ArtifactRow { state: ArtifactState::Alive(alive), lost }))
    }

    /// An artifact that is there, made in one way more: it has no single input any more that it dies with for certain, and what
    /// was made from it comes from the new connections too.
    fn one_way_more(
        &mut self,
        id: ArtifactId,
        mut alive: Alive,
        sources: &[Source],
        roots: &BTreeSet<u32>,
        level: u16,
    ) -> Result<(ArtifactKey, Alive), DerivationError> {
        if !self.derivations_of.open(self.tenant, id.hash, &mut self.opened)? {
            return Err(DerivationError::Gone { artifact: id });
        }
        let bytes = self.opened.get(&id.hash).ok_or(DerivationError::Gone { artifact: id })?;
        let key = self.derivations_of.vault.tenant_keys(self.tenant)?.artifact_key(Some(bytes));
        if sources.iter().any(|source| matches!(source, Source::Artifact(_))) {
            self.refuse_cycle(id, sources)?;
        }
        at_most(usize::from(alive.derivations) + 1, WAYS_MAX.into(), "ways to make the same artifact")?;
        if alive.derivations == 1 {
            for (_, row) in self.ways(id.hash)? {
                self.put_derived(id.hash, &row.sources, false)?;
            }
        }
        let new: Vec<u32> = roots.iter().copied().filter(|root| alive.roots.binary_search(root).is_err()).collect();
        self.comes_from(id.hash, &new)?;
        alive.roots = alive.roots.iter().chain(&new).copied().collect::<BTreeSet<_>>().into_iter().collect();
        at_most(alive.roots.len(), ROOTS_MAX, "connections that it comes from")?;
        alive.derivations += 1;
        alive.level = alive.level.max(level);
        Ok((key, alive))
    }

    /// Everything that was made from an artifact comes from these connections too.
    fn comes_from(&mut self, artifact: [u8; 16], roots: &[u32]) -> Result<(), DerivationError> {
        let mut ahead = vec![(artifact, roots.to_vec())];
        let mut looked_at = 0;
        while let Some((from, roots)) = ahead.pop() {
            if roots.is_empty() {
                continue;
            }
            for (to, row) in self.made_from(from)? {
                looked_at += 1;
                at_most(looked_at, WALK_MAX, "artifacts that come from it when it is made in a further way")?;
                for root in &roots {
                    self.derived.insert((self.of(*root), (OF_ARTIFACTS, (from, to))), row);
                }
                let Some(mut row) = self.artifact(to)? else { continue };
                let ArtifactState::Alive(alive) = &mut row.state else { continue };
                let new: Vec<u32> = roots.iter().copied().filter(|root| alive.roots.binary_search(root).is_err()).collect();
                alive.roots = alive.roots.iter().chain(&new).copied().collect::<BTreeSet<_>>().into_iter().collect();
                at_most(alive.roots.len(), ROOTS_MAX, "connections that it comes from")?;
                self.artifacts.insert(to, row);
                ahead.push((to, new));
            }
        }
        Ok(())
    }

    fn refuse_cycle(&mut self, id: ArtifactId, sources: &[Source]) -> Result<(), DerivationError> {
        let (mut seen, mut ahead) = (HashSet::from([id.hash]), vec![id.hash]);
        while let Some(from) = ahead.pop() {
            for (to, _) in self.made_from(from)? {
                let source = Source::Artifact(to);
                if sources.binary_search(&source).is_ok() {
                    return Err(DerivationError::Cycle { artifact: id, input: Input::of(self.tenant, source) });
                }
                if seen.insert(to) {
                    at_most(seen.len(), WALK_MAX, "artifacts that come from it when it is made in a further way")?;
                    ahead.push(to);
                }
            }
        }
        Ok(())
    }

    /// What was made from an artifact: the same under each connection that it comes from.
    fn made_from(&mut self, artifact: [u8; 16]) -> Result<Vec<([u8; 16], DerivedRow)>, DerivationError> {
        let row = self.artifact(artifact)?;
        let alive = row.as_ref().and_then(ArtifactRow::alive);
        let root = alive.and_then(|alive| self.derivations_of.standing(self.tenant, &alive.roots).next());
        let Some(root) = root else { return Ok(Vec::new()) };
        let owner = self.of(root);
        let stored = self.derivations_of.store.scan::<DerivedRow>(&derived_prefix(owner, OF_ARTIFACTS, artifact), None, WALK_MAX + 1)?;
        let mut found: BTreeMap<[u8; 16], DerivedRow> = stored.into_iter().map(|((_, (_, (_, to))), row)| (to, row)).collect();
        let key = |to| (owner, (OF_ARTIFACTS, (artifact, to)));
        found.extend(self.derived.range(key([0; 16])..=key([u8::MAX; 16])).map(|((_, (_, (_, to))), row)| (*to, *row)));
        Ok(found.into_iter().collect())
    }

    fn put_derived(&mut self, artifact: [u8; 16], sources: &[Source], is_fatal: bool) -> Result<(), DerivationError> {
        let row = DerivedRow { is_fatal };
        let mut put = 0;
        for source in sources {
            match *source {
                Source::Record { connection, stream, hash } => {
                    self.derived.insert((self.of(connection), (stream, (hash, artifact))), row);
                    put += 1;
                }
                Source::Artifact(from) => {
                    let roots = self.artifact(from)?.and_then(|row| row.alive().map(|alive| alive.roots.clone())).unwrap_or_default();
                    put += roots.len();
                    at_most(put, EDGES_MAX, "inputs times the connections that these come from")?;
                    for root in roots {
                        self.derived.insert((self.of(root), (OF_ARTIFACTS, (from, artifact))), row);
                    }
                }
            }
        }
        Ok(())
    }

    fn of(&self, connection: u32) -> ConnectionKey {
        ConnectionKey { tenant: self.tenant, connection }
    }

    /// An artifact as the draft has it, or as it is stored.
    fn artifact(&mut self, hash: [u8; 16]) -> Result<Option<ArtifactRow>, LineageError> {
        if let Some(row) = self.artifacts.get(&hash) {
            return Ok(Some(row.clone()));
        }
        if let Some(row) = self.before.get(&hash) {
            return Ok(row.clone());
        }
        let row = self.derivations_of.store.get::<ArtifactRow>(&(self.owner, hash))?;
        self.before.insert(hash, row.clone());
        Ok(row)
    }

    fn derivation(&self, artifact: [u8; 16], way: [u8; 16]) -> Result<Option<DerivationRow>, LineageError> {
        match self.derivations.get(&(artifact, way)) {
            Some(row) => Ok(Some(row.clone())),
            None => Ok(self.derivations_of.store.get::<DerivationRow>(&(self.owner, (artifact, way)))?),
        }
    }

    /// The ways in which an artifact is made, as the draft has them.
    fn ways(&self, artifact: [u8; 16]) -> Result<BTreeMap<[u8; 16], DerivationRow>, LineageError> {
        let stored = self.derivations_of.derivations(self.tenant, artifact)?;
        let mut ways: BTreeMap<_, _> = stored.into_iter().map(|((_, (_, way)), row)| (way, row)).collect();
        let drafted = self.derivations.range((artifact, [0; 16])..=(artifact, [u8::MAX; 16]));
        ways.extend(drafted.map(|((_, way), row)| (*way, row.clone())));
        Ok(ways)
    }
}

fn at_most(count: usize, max: usize, what: &'static str) -> Result<(), DerivationError> {
    if count <= max { Ok(()) } else { Err(DerivationError::TooMany { what, max }) }
}
