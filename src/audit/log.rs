//! The log itself: leaves and nodes in the store, heads signed by the vault.
//!
//! Whoever acts puts the entry into the unit of the act (`unit.audit(entry.to_leaf())`); [`Log::append`] is for acts that
//! write nothing else. Proofs are computed from stored nodes, so they cost a few look-ups at any size.

use std::sync::Arc;

use data_encoding::BASE64;
use serde::Deserialize;
use serde::Serialize;

use crate::audit::AuditProof;
use crate::audit::Checkpoint;
use crate::audit::Entry;
use crate::audit::InclusionProof;
use crate::audit::KeySet;
use crate::audit::NoteError;
use crate::merkle;
use crate::merkle::Hash;
use crate::merkle::NodeId;
use crate::merkle::ProofError;
use crate::store::AuditHead;
use crate::store::AuditLeaf;
use crate::store::AuditNode;
use crate::store::Row;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;
use crate::store::check::RowCheck;
use crate::vault::SigningUse;
use crate::vault::Vault;
use crate::vault::VaultError;

/// Why the log cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store refused.
    #[error("the audit log cannot be read or written")]
    Store(#[from] StoreError),
    /// The keyring refused.
    #[error("the audit log's signing key cannot be used")]
    Vault(#[from] VaultError),
    /// A checkpoint cannot be made or read.
    #[error("a checkpoint of the audit log cannot be used")]
    Note(#[from] NoteError),
    /// The question cannot be answered.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// There is no such entry.
    #[error("the audit log has no entry {index}; it has {size}, counted from 0")]
    NoEntry {
        /// What was asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// A node that should be stored is not.
    #[error("node {index} of level {level} is missing from the audit log; run `headgate audit verify`")]
    NodeMissing {
        /// Its height.
        level: u8,
        /// Its place at that height.
        index: u64,
    },
}

/// The audit log of one data directory.
#[derive(Clone)]
pub struct Log {
    pub(super) store: Store,
    vault: Arc<Vault>,
}

/// An entry as it is listed: its index and the bytes that are hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedEntry {
    /// Where it stands.
    pub index: u64,
    /// The leaf, in base64.
    pub leaf: String,
}

/// The proof that the log of one checkpoint is the beginning of another's; hashes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsistencyProof {
    /// The earlier size.
    pub from: u64,
    /// The later size.
    pub to: u64,
    /// The hashes.
    pub hashes: Vec<String>,
}

/// A signed checkpoint, by the log's size.
#[derive(Serialize, Deserialize)]
pub(super) struct SignedCheckpoint {
    pub(super) note: String,
}

impl Row for SignedCheckpoint {
    const TABLE: Table = Table::Checkpoints;
    type Key = u64;
}

/// How a scrub reads the kept checkpoints back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![RowCheck::of::<SignedCheckpoint>()]
}

impl Log {
    /// Over a store and the vault that signs.
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Log { store, vault }
    }

    /// Appends entries that go with no other write; returns the index of the first when they are durable.
    ///
    /// # Errors
    /// When they cannot be made durable: then what they would have permitted must not happen.
    pub async fn append(&self, entries: &[Entry]) -> Result<u64, AuditError> {
        Ok(self.store.commit(unit_of(entries)).await?.first_leaf)
    }

    /// Hands entries to the writer and does not wait: durable with its next group, in the order of the log.
    ///
    /// # Errors
    /// When the writer takes nothing any more.
    pub async fn append_behind(&self, entries: &[Entry]) -> Result<(), AuditError> {
        self.store.submit(unit_of(entries)).await?;
        Ok(())
    }

    /// Size and root of the log as it stands, durable or about to be.
    ///
    /// # Errors
    /// When the store fails.
    pub fn head(&self) -> Result<AuditHead, AuditError> {
        Ok(self.store.get::<AuditHead>(&())?.unwrap_or(AuditHead { size: 0, root: merkle::empty_root() }))
    }

    /// One entry.
    ///
    /// # Errors
    /// [`AuditError::NoEntry`].
    pub fn entry(&self, index: u64) -> Result<ListedEntry, AuditError> {
        Ok(ListedEntry { index, leaf: BASE64.encode(&self.leaf(index)?) })
    }

    /// At most `limit` entries behind `after`, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn entries(&self, after: Option<u64>, limit: usize) -> Result<Vec<ListedEntry>, AuditError> {
        let rows = self.store.scan::<AuditLeaf>(&[], after.as_ref(), limit)?;
        Ok(rows.into_iter().map(|(index, leaf)| ListedEntry { index, leaf: BASE64.encode(&leaf.0) }).collect())
    }

    /// The signed note of the log as it stands. It is kept, and given out only when the entries below it are durable: a
    /// log that lost what it had signed for would contradict itself.
    ///
    /// # Errors
    /// When the store or the keyring fails.
    pub async fn checkpoint(&self) -> Result<String, AuditError> {
        let (_, note) = self.sign_head().await?;
        Ok(note)
    }

    /// The proof that an entry stands in the log of `size` entries; of the present size when none is given.
    ///
    /// # Errors
    /// [`AuditError::Proof`] when the entry or the size is beyond the log.
    pub fn inclusion(&self, index: u64, size: Option<u64>) -> Result<InclusionProof, AuditError> {
        let present = self.head()?.size;
        let size = size.unwrap_or(present);
        if size > present || index >= size {
            return Err(ProofError::IndexBeyond { index, size: size.min(present) }.into());
        }
        let leaf_hash = self.node(NodeId { level: 0, index })?;
        let hashes = merkle::inclusion_proof(index, size, &mut |id| self.node(id))?;
        Ok(InclusionProof { leaf_index: index, tree_size: size, leaf_hash: BASE64.encode(&leaf_hash), hashes: texts(&hashes) })
    }

    /// The proof that the first `from` entries are the beginning of the first `to`.
    ///
    /// # Errors
    /// [`AuditError::Proof`] for sizes beyond the log, in the wrong order, or zero.
    pub fn consistency(&self, from: u64, to: u64) -> Result<ConsistencyProof, AuditError> {
        let present = self.head()?.size;
        if to > present {
            return Err(ProofError::SizeBeyond { from, to: present }.into());
        }
        let hashes = merkle::consistency_proof(from, to, &mut |id| self.node(id))?;
        Ok(ConsistencyProof { from, to, hashes: texts(&hashes) })
    }

    /// The leaf, a checkpoint of now and the proof between them: what a certificate carries.
    ///
    /// # Errors
    /// [`AuditError::NoEntry`], and those of [`Log::checkpoint`].
    pub async fn prove(&self, index: u64) -> Result<AuditProof, AuditError> {
        let leaf = BASE64.encode(&self.leaf(index)?);
        let (head, checkpoint) = self.sign_head().await?;
        Ok(AuditProof { entry: index, leaf, checkpoint, proof: self.inclusion(index, Some(head.size))? })
    }

    /// The key file that verifies what this installation signs.
    ///
    /// # Errors
    /// When the keyring fails.
    pub fn key_set(&self) -> Result<KeySet, AuditError> {
        Ok(KeySet::new(&self.vault.signing_origin()?, &self.vault.public_keys()?)?)
    }

    async fn sign_head(&self) -> Result<(AuditHead, String), AuditError> {
        let head = self.head()?;
        let checkpoint = Checkpoint { origin: self.vault.signing_origin()?, size: head.size, root: head.root };
        let note = checkpoint.sign(&self.vault.signing_key(SigningUse::Note)?)?;
        let mut unit = Unit::default();
        unit.put(&head.size, &SignedCheckpoint { note: note.clone() });
        self.store.commit(unit).await?;
        Ok((head, note))
    }

    fn leaf(&self, index: u64) -> Result<Vec<u8>, AuditError> {
        let leaf = self.store.get::<AuditLeaf>(&index)?;
        Ok(leaf.ok_or(AuditError::NoEntry { index, size: self.head()?.size })?.0)
    }

    fn node(&self, NodeId { level, index }: NodeId) -> Result<Hash, AuditError> {
        let node = self.store.get::<AuditNode>(&(level, index))?;
        Ok(node.ok_or(AuditError::NodeMissing { level, index })?.0)
    }
}

fn unit_of(entries: &[Entry]) -> Unit {
    let mut unit = Unit::default();
    for entry in entries {
        unit.audit(entry.to_leaf());
    }
    unit
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| BASE64.encode(hash)).collect()
}
