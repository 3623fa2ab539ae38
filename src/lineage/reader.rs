//! The reader: from an id, a key or a stream to records with their whole origin.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::ids::PageId;
use crate::ids::RecordId;
use crate::lineage::TombstoneRow;
use crate::lineage::block;
use crate::lineage::block::Block;
use crate::lineage::block::Entry;
use crate::lineage::block::Placement;
use crate::lineage::block::block_aad;
use crate::lineage::rows::BusinessKeyRow;
use crate::lineage::rows::DeletedAtSource;
use crate::lineage::rows::Location;
use crate::lineage::rows::PageRow;
use crate::lineage::rows::RecordRow;
use crate::record::PageFacts;
use crate::record::Patch;
use crate::record::RecordFacts;
use crate::record::Tag;
use crate::record::content_digest;
use crate::store::Placed;
use crate::store::RowKey;
use crate::store::Store;
use crate::store::StoreError;
use crate::vault::Vault;
use crate::vault::VaultError;

/// Why a record cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// The store failed.
    #[error("the record cannot be read")]
    Store(#[from] StoreError),
    /// Its keys are gone, or it does not open.
    #[error("the record cannot be opened")]
    Vault(#[from] VaultError),
    /// It opens, but is not what was written.
    #[error("page {page} of connection {owner} is damaged; restore it from a backup")]
    Damaged {
        /// Whose page.
        owner: ConnectionKey,
        /// Its number.
        page: u64,
        /// What does not add up.
        source: io::Error,
    },
}

/// One version of a record with all that is known of it.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Its id.
    pub id: RecordId,
    /// Where it lies.
    pub location: Location,
    /// As received, cards masked: JSON.
    pub raw: Bytes,
    /// The patch to the emitted record; empty when they are equal.
    pub patch: Bytes,
    /// What its page shares.
    pub page: Arc<PageFacts>,
    /// Its own facts.
    pub facts: RecordFacts,
    /// Of the newest version, found as such: since when the application has the record no more.
    pub deleted: Option<DeletedAtSource>,
    previous: Option<Location>,
}

impl StoredRecord {
    /// The whole tag.
    ///
    /// # Errors
    /// When what was stored is not JSON any more.
    pub fn tag(&self) -> Result<Tag, LineageError> {
        Ok(Tag::join(&self.page, &self.facts, self.content_digest()?))
    }

    /// The digest of the canonical form of the stored text. It is computed: what is kept of it is the keyed hash in the
    /// record's row, which tells whether a version is new.
    ///
    /// # Errors
    /// When what was stored is not JSON any more.
    pub fn content_digest(&self) -> Result<Digest, LineageError> {
        let damaged = |source| LineageError::Damaged { owner: self.id.owner, page: self.page.page, source: io::Error::other(source) };
        content_digest(&self.raw).map_err(damaged)
    }

    /// The record as the connector emitted it.
    ///
    /// # Errors
    /// When what was stored is not JSON any more.
    pub fn data(&self) -> Result<Value, LineageError> {
        let damaged =
            |source: serde_json::Error| LineageError::Damaged { owner: self.id.owner, page: self.page.page, source: source.into() };
        let raw = serde_json::from_slice(&self.raw).map_err(damaged)?;
        if self.patch.is_empty() {
            return Ok(raw);
        }
        let patch: Patch = serde_json::from_slice(&self.patch).map_err(damaged)?;
        patch.apply(raw).map_err(|error| damaged(serde::de::Error::custom(error)))
    }
}

/// One version of a record, as its history names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its number.
    pub version: u32,
    /// Where it lies.
    pub location: Location,
    /// The page that brought it.
    pub page: PageId,
    /// When that was received.
    pub received_at: Timestamp,
}

impl KeptVersion {
    /// Of a version that was read.
    pub fn of(record: &StoredRecord) -> Self {
        let received_at = record.page.exchange.received_at;
        KeptVersion { version: record.facts.version, location: record.location, page: record.page.id(), received_at }
    }
}

/// Some records of a listing.
#[derive(Debug)]
pub struct RecordPage {
    /// The records, in the order in which they were stored.
    pub items: Vec<StoredRecord>,
    /// Where the next ones begin, when there may be more.
    pub next: Option<Location>,
}

/// Answers where records came from. Clones share it.
#[derive(Clone)]
pub struct Reader {
    store: Store,
    vault: Arc<Vault>,
}

impl Reader {
    /// Over a store and the keys of what lies in it.
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Reader { store, vault }
    }

    /// Whether nothing of a connection opens any more.
    pub(super) fn is_gone(&self, owner: ConnectionKey) -> bool {
        matches!(self.vault.connection(owner), Err(VaultError::Destroyed { .. }))
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// A record by its id: the newest version, or the one asked for.
    ///
    /// # Errors
    /// When it is there but does not read back.
    pub fn record(&self, id: RecordId, version: Option<u32>) -> Result<Option<StoredRecord>, LineageError> {
        let Some(newest) = self.store.get::<RecordRow>(&(id.owner, (id.stream, id.hash)))? else { return Ok(None) };
        if version.is_some_and(|version| version == 0 || version > newest.version) {
            return Ok(None);
        }
        let mut location = newest.location;
        loop {
            let Some(mut record) = self.at(id.owner, location)? else { return Ok(None) };
            record.deleted = newest.deleted.filter(|_| location == newest.location);
            match (version, record.previous) {
                (Some(version), Some(previous)) if record.facts.version != version => location = previous,
                (Some(version), None) if record.facts.version != version => return Ok(None),
                _ => return Ok(Some(record)),
            }
        }
    }

    /// The versions of a record from this one backwards, at most `limit`.
    ///
    /// # Errors
    /// When one does not read back.
    pub fn history(&self, record: &StoredRecord, limit: usize) -> Result<Vec<KeptVersion>, LineageError> {
        let mut history = vec![KeptVersion::of(record)];
        let mut previous = record.previous;
        while let Some(location) = previous.filter(|_| history.len() < limit) {
            let Some(record) = self.at(record.id.owner, location)? else { break };
            history.push(KeptVersion::of(&record));
            previous = record.previous;
        }
        Ok(history)
    }

    /// Whether what is stored has the content whose keyed hash is in the record's row. Of an older version there is no such hash:
    /// its seal alone says that it is what was written.
    ///
    /// # Errors
    /// When the connection's keys are gone or the store fails.
    pub fn content_agrees(&self, record: &StoredRecord) -> Result<bool, LineageError> {
        let id = record.id;
        let Some(row) = self.store.get::<RecordRow>(&(id.owner, (id.stream, id.hash)))? else { return Ok(false) };
        if row.location != record.location {
            return Ok(true);
        }
        let digest = record.content_digest()?.to_bytes();
        Ok(row.content == first_half(self.vault.connection(id.owner)?.index_hmac(&[b"content", &digest])))
    }

    /// The record in a slot.
    fn at(&self, owner: ConnectionKey, location: Location) -> Result<Option<StoredRecord>, LineageError> {
        let Some(row) = self.store.get::<PageRow>(&(owner, location.page))? else { return Ok(None) };
        let facts = Arc::new(self.facts(owner, location.page, &row)?);
        let entries = self.entries(owner, location.page, location.block, &row)?;
        let entry = entries.into_iter().nth(usize::from(location.slot));
        Ok(entry.map(|entry| stored(owner, row.stream, location, facts, entry)))
    }

    /// What is left of a record that was erased: who erased it, and when.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tombstone(&self, id: RecordId) -> Result<Option<TombstoneRow>, LineageError> {
        Ok(tombstone(&self.store, id.owner, id.stream, id.hash)?)
    }

    /// Whether an index row of a record is there, whatever its keys are.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_indexed(&self, id: RecordId) -> Result<bool, LineageError> {
        Ok(self.store.contains::<RecordRow>(&(id.owner, (id.stream, id.hash)))?)
    }

    /// The newest versions of a connection's records in the order in which they were stored, from `from` on.
    ///
    /// # Errors
    /// When a page does not read back.
    pub fn records(
        &self,
        owner: ConnectionKey,
        stream: Option<u16>,
        from: Option<Location>,
        limit: usize,
    ) -> Result<RecordPage, LineageError> {
        let mut items = Vec::with_capacity(limit.min(1024));
        let from = from.unwrap_or(Location { page: 0, block: 0, slot: 0 });
        let mut after = from.page.checked_sub(1).map(|page| (owner, page));
        loop {
            let rows = self.store.scan::<PageRow>(&owner.to_bytes(), after.as_ref(), 64)?;
            let Some((last, _)) = rows.last() else { return Ok(RecordPage { items, next: None }) };
            after = Some(*last);
            for ((_, page), row) in rows.iter().filter(|(_, row)| stream.is_none_or(|stream| stream == row.stream)) {
                if let Some(next) = self.page_records(owner, *page, row, from, limit, &mut items)? {
                    return Ok(RecordPage { items, next: Some(next) });
                }
            }
        }
    }

    /// Adds a page's records that are newest versions; where to go on, when the limit is reached.
    fn page_records(
        &self,
        owner: ConnectionKey,
        page: u64,
        row: &PageRow,
        from: Location,
        limit: usize,
        items: &mut Vec<StoredRecord>,
    ) -> Result<Option<Location>, LineageError> {
        let mut facts = None;
        for block in 0..row.block_bytes.len() as u16 {
            if page == from.page && block < from.block {
                continue;
            }
            for (slot, entry) in self.entries(owner, page, block, row)?.into_iter().enumerate() {
                let location = Location { page, block, slot: slot as u16 };
                if page == from.page && block == from.block && location.slot < from.slot {
                    continue;
                }
                let newest = self.store.get::<RecordRow>(&(owner, (row.stream, entry.hash)))?;
                let Some(newest) = newest.filter(|newest| newest.location == location) else { continue };
                if items.len() == limit {
                    return Ok(Some(location));
                }
                let facts = match &facts {
                    Some(facts) => Arc::clone(facts),
                    None => Arc::clone(facts.insert(Arc::new(self.facts(owner, page, row)?))),
                };
                items.push(StoredRecord { deleted: newest.deleted, ..stored(owner, row.stream, location, facts, entry) });
            }
        }
        Ok(None)
    }

    /// At most `limit` records of a connection that carry or carried a business key, those behind `after` in the order of ids.
    ///
    /// # Errors
    /// When the connection's keys are gone or the store fails.
    pub fn by_key(
        &self,
        owner: ConnectionKey,
        kind: &str,
        normalised: &str,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, LineageError> {
        let hash = key_hash(&*self.vault.connection(owner)?, kind, normalised);
        let mut prefix = Vec::with_capacity(24);
        (owner, hash).encode(&mut prefix);
        let after = after.map(|id| (owner, (hash, (id.stream, id.hash))));
        let rows = self.store.scan::<BusinessKeyRow>(&prefix, after.as_ref(), limit)?;
        Ok(rows.into_iter().map(|((owner, (_, (stream, hash))), _)| RecordId { owner, stream, hash }).collect())
    }

    /// What a page's records share.
    ///
    /// # Errors
    /// When it does not read back.
    pub fn facts(&self, owner: ConnectionKey, page: u64, row: &PageRow) -> Result<PageFacts, LineageError> {
        let plain = block::decompress(&self.open(owner, page, Placement::Facts, row.facts())?);
        let facts = plain.and_then(|plain| postcard::from_bytes(&plain).map_err(io::Error::other));
        facts.map_err(|source| LineageError::Damaged { owner, page, source })
    }

    /// The records of a page's block.
    ///
    /// # Errors
    /// When it does not read back.
    pub fn entries(&self, owner: ConnectionKey, page: u64, number: u16, row: &PageRow) -> Result<Vec<Entry>, LineageError> {
        let Some(placed) = row.block(number) else { return Ok(Vec::new()) };
        let compressed = self.open(owner, page, Placement::Records(number), placed)?;
        Block::read(&compressed).map_err(|source| LineageError::Damaged { owner, page, source })
    }

    fn open(&self, owner: ConnectionKey, page: u64, placement: Placement, placed: Placed) -> Result<Vec<u8>, LineageError> {
        let key = self.vault.extent(owner, placed.extent)?;
        let mut bytes = self.store.read_block(owner, placed)?;
        key.open_block(&block_aad(owner, page, placement), &mut bytes)?;
        Ok(bytes)
    }
}

/// The tombstone that holds a hash: the first at or behind it, if that one does.
pub(crate) fn tombstone(store: &Store, owner: ConnectionKey, stream: u16, hash: [u8; 16]) -> Result<Option<TombstoneRow>, StoreError> {
    let mut prefix = Vec::with_capacity(10);
    (owner, stream).encode(&mut prefix);
    let before = u128::from_be_bytes(hash).checked_sub(1).map(|before| (owner, (stream, before.to_be_bytes())));
    let rows = store.scan::<TombstoneRow>(&prefix, before.as_ref(), 1)?;
    Ok(rows.into_iter().map(|(_, row)| row).find(|row| row.hashes.binary_search(&hash).is_ok()))
}

pub(super) fn stored(owner: ConnectionKey, stream: u16, location: Location, page: Arc<PageFacts>, entry: Entry) -> StoredRecord {
    let id = RecordId { owner, stream, hash: entry.hash };
    StoredRecord { id, location, raw: entry.raw, patch: entry.patch, page, facts: entry.facts, deleted: None, previous: entry.previous }
}

/// The keyed hash under which a business key is found; the value is normalised before.
pub(crate) fn key_hash(keys: &crate::vault::ConnectionKeys, kind: &str, normalised: &str) -> [u8; 16] {
    first_half(keys.index_hmac(&[b"key", kind.as_bytes(), normalised.as_bytes()]))
}

/// The first 16 bytes of a keyed hash: enough that two of a connection never meet by chance.
pub(crate) fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}
