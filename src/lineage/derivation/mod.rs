//! What the company's own services made of records: artifacts, each with the ways in which it was made.
//!
//! An artifact holds while one of its derivations does; a derivation holds while all its inputs do, or one of them, as it says. What
//! an artifact came from lies under the connections that its records came by, so that all that may die with a connection
//! is one range of keys.

mod adding;
mod keeping;
mod rows;

use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::ArtifactId;
use crate::ids::ConnectionKey;
use crate::ids::ErasureId;
use crate::lineage::LineageError;
use crate::lineage::TombstoneRow;
use crate::lineage::reader::first_half;
use crate::lineage::reader::tombstone;
use crate::store::RowKey;
use crate::store::Store;
use crate::store::StoreError;
use crate::vault::ArtifactKey;
use crate::vault::Vault;
use crate::vault::VaultError;

pub use self::adding::Derived;
pub use self::adding::INPUTS_MAX;
pub use self::adding::NewDerivation;
use self::keeping::Opened;
pub use self::rows::Alive;
pub use self::rows::ArtifactRow;
pub use self::rows::ArtifactState;
pub use self::rows::DerivationRow;
pub use self::rows::DerivedKey;
pub use self::rows::DerivedRow;
pub use self::rows::EpochRow;
pub use self::rows::Input;
pub use self::rows::Lost;
pub use self::rows::Need;
pub(crate) use self::rows::OF_ARTIFACTS;
pub use self::rows::Source;
pub(crate) use self::rows::holders;

/// Why a derivation was not written down.
#[derive(Debug, thiserror::Error)]
pub enum DerivationError {
    /// An input is not there.
    #[error("there is no input {input}")]
    Unknown {
        /// Which.
        input: Input,
    },
    /// An artifact is being erased, or was.
    #[error("artifact {artifact} was erased with what it came from; make it again from what is there")]
    Gone {
        /// Which.
        artifact: ArtifactId,
    },
    /// The artifact would come from itself.
    #[error("artifact {artifact} would come from itself, by {input}; name what it was really made from")]
    Cycle {
        /// Which.
        artifact: ArtifactId,
        /// The input that comes from it.
        input: Input,
    },
    /// Something is more than is kept.
    #[error("a derivation has at most {max} {what}; name fewer, or make artifacts in between")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Others wrote to the same artifacts all the time.
    #[error("others change the same artifacts; send it again")]
    Busy,
    /// Something could not be read.
    #[error("the derivation cannot be written down")]
    Lineage(#[from] LineageError),
}

impl From<StoreError> for DerivationError {
    fn from(error: StoreError) -> Self {
        DerivationError::Lineage(error.into())
    }
}

impl From<VaultError> for DerivationError {
    fn from(error: VaultError) -> Self {
        DerivationError::Lineage(error.into())
    }
}

/// What was said of a derivation besides its inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The job that made it.
    pub job: Option<String>,
    /// The run of that job.
    pub run: Option<String>,
    /// From which field of the inputs to which of the artifact.
    pub fields: Vec<(String, String)>,
}

/// The name that an artifact has with those who made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Option<String>,
}

/// An artifact, as much as is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// Its name; none once what it needs is gone.
    pub named: Option<Named>,
    /// Which erasure took it, and when, if one did.
    pub erased: Option<(Timestamp, ErasureId)>,
    /// Connections whose records it came from, by their numbers; none where that is not known any more.
    pub roots: Vec<u32>,
    /// The erasures that took inputs from it.
    pub lost: Vec<Lost>,
}

/// One way in which an artifact was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// What it needs.
    pub need: Need,
    /// When it was made.
    pub at: Timestamp,
    /// From what.
    pub inputs: Vec<Input>,
    /// What else was said; none once what the artifact needs is gone.
    pub facts: Option<Facts>,
}

/// All derivations. Clones share them.
#[derive(Clone)]
pub struct Derivations {
    pub(super) store: Store,
    vault: Arc<Vault>,
}

impl Derivations {
    /// Over a store and the keys of what lies in it.
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Derivations { store, vault }
    }

    /// The id of an artifact by its name, whether or not there is one.
    ///
    /// # Errors
    /// When the tenant's key is gone.
    pub fn id(&self, tenant: u32, named: &Named) -> Result<ArtifactId, LineageError> {
        let kind = named.kind.as_deref().unwrap_or_default().as_bytes();
        let hash = self.vault.tenant_keys(tenant)?.index_hmac(&[b"artifact", kind, named.name.as_bytes()]);
        Ok(ArtifactId { tenant, hash: first_half(hash) })
    }

    /// Whether there is an artifact, or was one that is not forgotten.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_known(&self, id: ArtifactId) -> Result<bool, LineageError> {
        Ok(self.store.contains::<ArtifactRow>(&(ConnectionKey::of_tenant(id.tenant), id.hash))?)
    }

    /// What is known of an artifact; none where there never was one.
    ///
    /// # Errors
    /// When it is there but does not read back.
    pub fn artifact(&self, id: ArtifactId) -> Result<Option<Artifact>, LineageError> {
        let owner = ConnectionKey::of_tenant(id.tenant);
        let Some(row) = self.store.get::<ArtifactRow>(&(owner, id.hash))? else {
            let erased = tombstone(&self.store, owner, 0, id.hash)?.map(|TombstoneRow { at, erasure, .. }| (at, erasure));
            return Ok(erased.map(|erased| Artifact { id, named: None, erased: Some(erased), roots: Vec::new(), lost: Vec::new() }));
        };
        let ArtifactRow { state, lost } = row;
        Ok(Some(match state {
            ArtifactState::Dead { at, erasure, roots } => Artifact { id, named: None, erased: Some((at, erasure)), roots, lost },
            ArtifactState::Alive(Alive { sealed, roots, .. }) => {
                let opened = self.key(id)?.map(|key| key.open(&named_aad(owner, id.hash), &sealed)).transpose()?;
                let named = opened.and_then(|plain| postcard::from_bytes(plain.expose()).ok());
                let roots = self.standing(id.tenant, &roots).collect();
                Artifact { id, named, erased: None, roots, lost }
            }
        }))
    }

    /// The ways in which an artifact was made, as far as they still hold.
    ///
    /// # Errors
    /// When one does not read back.
    pub fn inputs(&self, id: ArtifactId) -> Result<Vec<Derivation>, LineageError> {
        let rows = self.derivations(id.tenant, id.hash)?;
        let key = self.key(id)?;
        let told = rows.into_iter().map(|((owner, (artifact, hash)), row)| {
            let plain = key.as_ref().and_then(|key| key.open(&facts_aad(owner, artifact, hash), &row.facts).ok());
            let facts = plain.and_then(|plain| postcard::from_bytes(plain.expose()).ok());
            let inputs = row.sources.iter().map(|source| Input::of(id.tenant, *source)).collect();
            Derivation { need: row.need, at: row.at, inputs, facts }
        });
        Ok(told.collect())
    }

    /// At most `limit` artifacts that were made from a record or an artifact, in the order of their ids.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(&self, input: Input, limit: usize) -> Result<Vec<ArtifactId>, LineageError> {
        let (owner, stream, hash) = match input {
            Input::Record(id) => (id.owner, id.stream, id.hash),
            Input::Artifact(id) => {
                let row = self.store.get::<ArtifactRow>(&(ConnectionKey::of_tenant(id.tenant), id.hash))?;
                let alive = row.as_ref().and_then(ArtifactRow::alive);
                let Some(root) = alive.and_then(|alive| self.standing(id.tenant, &alive.roots).next()) else {
                    return Ok(Vec::new());
                };
                (ConnectionKey { tenant: id.tenant, connection: root }, OF_ARTIFACTS, id.hash)
            }
        };
        let rows = self.store.scan::<DerivedRow>(&derived_prefix(owner, stream, hash), None, limit)?;
        Ok(rows.into_iter().map(|((_, (_, (_, artifact))), _)| ArtifactId { tenant: owner.tenant, hash: artifact }).collect())
    }

    /// Those of an artifact's roots that are not erased. A root may outlast the way that it came by: an input that no other way needs
    /// is dropped with its way, and an erasure of its connection then does not come to the artifact any more.
    pub(super) fn standing<'a>(&'a self, tenant: u32, roots: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        roots.iter().copied().filter(move |root| !self.vault.is_destroyed(ConnectionKey { tenant, connection: *root }))
    }

    /// The rows of an artifact's derivations.
    pub(super) fn derivations(&self, tenant: u32, artifact: [u8; 16]) -> Result<Vec<DerivationEntry>, LineageError> {
        let prefix = [&ConnectionKey::of_tenant(tenant).to_bytes()[..], &artifact].concat();
        Ok(self.store.scan::<DerivationRow>(&prefix, None, usize::MAX)?)
    }

    fn key(&self, id: ArtifactId) -> Result<Option<ArtifactKey>, LineageError> {
        let mut opened = Opened::default();
        if !self.open(id.tenant, id.hash, &mut opened)? {
            return Ok(None);
        }
        let keys = self.vault.tenant_keys(id.tenant)?;
        Ok(opened.get(&id.hash).map(|bytes| keys.artifact_key(Some(bytes))))
    }
}

/// A derivation with its key.
pub(super) type DerivationEntry = (<DerivationRow as crate::store::Row>::Key, DerivationRow);

/// What begins the keys of everything made from something.
pub(super) fn derived_prefix(owner: ConnectionKey, stream: u16, hash: [u8; 16]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(26);
    (owner, (stream, hash)).encode(&mut prefix);
    prefix
}

fn named_aad(owner: ConnectionKey, artifact: [u8; 16]) -> Vec<u8> {
    [&b"name"[..], &owner.to_bytes(), &artifact].concat()
}

fn facts_aad(owner: ConnectionKey, artifact: [u8; 16], derivation: [u8; 16]) -> Vec<u8> {
    [&b"facts"[..], &keeping::aad(&owner, &artifact, &derivation)].concat()
}

#[cfg(test)]
mod tests;
