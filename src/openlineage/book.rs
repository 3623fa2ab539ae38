//! A tenant's graph, to read in: names to numbers, numbers to what is sealed behind them, and the lists.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Builder;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::ConnectionKey;
use crate::openlineage::OpenLineageError;
use crate::openlineage::head::Facets;
use crate::openlineage::head::Head;
use crate::openlineage::head::NodeKind;
use crate::openlineage::rows::CountersRow;
use crate::openlineage::rows::EdgeKey;
use crate::openlineage::rows::EdgeRow;
use crate::openlineage::rows::EventRow;
use crate::openlineage::rows::FacetsRow;
use crate::openlineage::rows::List;
use crate::openlineage::rows::NameRow;
use crate::openlineage::rows::Named;
use crate::openlineage::rows::NodeRow;
use crate::openlineage::rows::Piece;
use crate::openlineage::rows::PieceRow;
use crate::openlineage::rows::RunRow;
use crate::openlineage::run::Run;
use crate::store::RowKey;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::vault::ConnectionKeys;
use crate::vault::Purpose;

/// Bytes of a piece before it is sealed: well below what a row holds.
const PIECE_BYTES: usize = 40 << 10;
/// What is shorter is not compressed: it would hardly shrink.
const COMPRESSED_FROM_BYTES: usize = 400;
const COMPRESSION_LEVEL: i32 = 1;
/// The longest thing that is read back; an event is far below.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// What is kept of an event beside its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventNote {
    /// When it came.
    pub received_at: Timestamp,
    /// What was odd about it.
    pub warnings: Vec<String>,
}

/// Nodes that were read, by their numbers.
type Heads = Mutex<HashMap<u32, Arc<Head>>>;

/// One tenant's graph.
#[derive(Clone)]
pub struct Book {
    pub(super) store: Store,
    pub(super) keys: Arc<ConnectionKeys>,
    pub(super) owner: ConnectionKey,
    /// The nodes that one answer has read: each is opened once. None where nodes change meanwhile.
    heads: Option<Arc<Heads>>,
}

impl Book {
    pub(super) fn new(store: Store, keys: Arc<ConnectionKeys>) -> Self {
        let owner = keys.owner();
        Book { store, keys, owner, heads: None }
    }

    /// For one answer: a node is opened once, however often it is named.
    pub(super) fn for_an_answer(self) -> Self {
        Book { heads: Some(Arc::default()), ..self }
    }

    /// The number of a node. `namespace` is empty for a kind that has none.
    ///
    /// # Errors
    /// When the store fails.
    pub fn node(&self, kind: NodeKind, namespace: &str, name: &str) -> Result<Option<u32>, OpenLineageError> {
        let number = self.number(Named::Node, self.node_hash(kind, namespace, name))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    /// What a node is.
    ///
    /// # Errors
    /// When there is none of that number, or the store or the keyring fails.
    pub fn head(&self, node: u32) -> Result<Arc<Head>, OpenLineageError> {
        let held = |heads: &Heads| heads.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned();
        if let Some(head) = self.heads.as_deref().and_then(held) {
            return Ok(head);
        }
        let head = Arc::new(self.read_head(node)?);
        if let Some(heads) = &self.heads {
            heads.lock().unwrap_or_else(PoisonError::into_inner).insert(node, head.clone());
        }
        Ok(head)
    }

    fn read_head(&self, node: u32) -> Result<Head, OpenLineageError> {
        let plain = self.read::<NodeRow>(u64::from(node))?.ok_or(OpenLineageError::Damaged { what: NodeRow::NOUN })?;
        postcard::from_bytes(&plain).map_err(|_| OpenLineageError::Damaged { what: NodeRow::NOUN })
    }

    pub(super) fn facets(&self, node: u32, version: u32) -> Result<Option<Facets>, OpenLineageError> {
        self.json::<FacetsRow, _>(version_key(node, version))
    }

    pub(super) fn run(&self, number: u32) -> Result<Option<Run>, OpenLineageError> {
        self.json::<RunRow, _>(u64::from(number))
    }

    pub(super) fn run_number(&self, id: Uuid) -> Result<Option<u32>, OpenLineageError> {
        let number = self.number(Named::Run, self.run_hash(id))?;
        Ok(number.and_then(|number| u32::try_from(number).ok()))
    }

    /// An event's text and what is noted of it.
    pub(super) fn event(&self, number: u64) -> Result<Option<(EventNote, Vec<u8>)>, OpenLineageError> {
        let Some(plain) = self.read::<EventRow>(number)? else { return Ok(None) };
        let damaged = || OpenLineageError::Damaged { what: EventRow::NOUN };
        let (note, text) = postcard::take_from_bytes::<EventNote>(&plain).map_err(|_| damaged())?;
        Ok(Some((note, text.to_vec())))
    }

    pub(super) fn counters(&self) -> Result<CountersRow, OpenLineageError> {
        Ok(self.store.get::<CountersRow>(&self.owner)?.unwrap_or_default())
    }

    /// At most `limit` entries of a list behind `after`, as (order, number).
    pub(super) fn list(&self, node: u32, list: List, after: Option<(u64, u64)>, limit: usize) -> Result<Vec<(u64, u64)>, OpenLineageError> {
        let after = after.map(|entry| self.edge_key(node, list, entry));
        Ok(entries(self.store.scan::<EdgeRow>(&self.list_prefix(node, list), after.as_ref(), limit)?))
    }

    /// As [`Book::list`], from the end backwards.
    pub(super) fn list_back(
        &self,
        node: u32,
        list: List,
        before: Option<(u64, u64)>,
        limit: usize,
    ) -> Result<Vec<(u64, u64)>, OpenLineageError> {
        let before = before.map(|entry| self.edge_key(node, list, entry));
        Ok(entries(self.store.scan_back::<EdgeRow>(&self.list_prefix(node, list), before.as_ref(), limit)?))
    }

    /// The id of a version of a node; its number can be read from it.
    pub(super) fn version_id(&self, node: u32, version: u32) -> Uuid {
        let hash = self.keys.index_hmac(&[b"openlineage version", &node.to_be_bytes(), &version.to_be_bytes()]);
        let mut bytes: [u8; 16] = std::array::from_fn(|index| hash[index]);
        bytes[12..].copy_from_slice(&version.to_be_bytes());
        Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The version of a node that an id names.
    pub(super) fn version_of(&self, node: u32, id: Uuid) -> Option<u32> {
        let bytes = id.as_bytes();
        let version = u32::from_be_bytes(std::array::from_fn(|index| bytes[12 + index]));
        (version > 0 && self.version_id(node, version) == id).then_some(version)
    }

    pub(super) fn node_hash(&self, kind: NodeKind, namespace: &str, name: &str) -> [u8; 16] {
        self.hash(&[b"openlineage node", kind.word().as_bytes(), namespace.as_bytes(), name.as_bytes()])
    }

    pub(super) fn run_hash(&self, id: Uuid) -> [u8; 16] {
        self.hash(&[b"openlineage run", id.as_bytes()])
    }

    pub(super) fn event_hash(&self, canonical: &[u8]) -> [u8; 16] {
        self.hash(&[b"openlineage event", canonical])
    }

    pub(super) fn number(&self, named: Named, hash: [u8; 16]) -> Result<Option<u64>, OpenLineageError> {
        Ok(self.store.get::<NameRow>(&(self.owner, (named as u8, hash)))?.map(|NameRow(number)| number))
    }

    pub(super) fn edge_key(&self, node: u32, list: List, entry: (u64, u64)) -> EdgeKey {
        (self.owner, (node, (list as u8, entry)))
    }

    /// Puts something into its pieces, in place of what was there.
    pub(super) fn write<R: PieceRow>(&self, unit: &mut Unit, id: u64, plain: &[u8]) -> Result<(), OpenLineageError> {
        let packed = pack(plain)?;
        let pieces: Vec<&[u8]> = packed.chunks(PIECE_BYTES).collect();
        let of = u16::try_from(pieces.len()).map_err(|_| OpenLineageError::Damaged { what: R::NOUN })?;
        let former = self.store.get::<R>(&(self.owner, (id, 0)))?.map_or(0, |row| row.piece().of);
        for (part, piece) in (0..).zip(pieces) {
            let sealed = self.keys.seal(Purpose::Lineage, &self.place::<R>(id, part), piece)?;
            unit.put(&(self.owner, (id, part)), &R::of(Piece { of, sealed }));
        }
        for part in of..former {
            unit.remove::<R>(&(self.owner, (id, part)));
        }
        Ok(())
    }

    fn read<R: PieceRow>(&self, id: u64) -> Result<Option<Vec<u8>>, OpenLineageError> {
        let damaged = || OpenLineageError::Damaged { what: R::NOUN };
        let Some(first) = self.store.get::<R>(&(self.owner, (id, 0)))?.map(PieceRow::piece) else { return Ok(None) };
        let open = |part: u16, piece: &Piece| self.keys.open(Purpose::Lineage, &self.place::<R>(id, part), &piece.sealed);
        let mut packed = open(0, &first)?.expose().clone();
        for part in 1..first.of {
            let piece = self.store.get::<R>(&(self.owner, (id, part)))?.ok_or_else(damaged)?.piece();
            packed.extend_from_slice(open(part, &piece)?.expose());
        }
        unpack(&packed).map(Some).ok_or_else(damaged)
    }

    fn json<R: PieceRow, T: DeserializeOwned>(&self, id: u64) -> Result<Option<T>, OpenLineageError> {
        let Some(plain) = self.read::<R>(id)? else { return Ok(None) };
        serde_json::from_slice(&plain).map(Some).map_err(|_| OpenLineageError::Damaged { what: R::NOUN })
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        let hash = self.keys.index_hmac(parts);
        std::array::from_fn(|index| hash[index])
    }

    /// What a sealed piece is bound to: the whole key of its row.
    fn place<R: PieceRow>(&self, id: u64, part: u16) -> Vec<u8> {
        let mut place = vec![R::TABLE.tag()];
        (self.owner, (id, part)).encode(&mut place);
        place
    }

    fn list_prefix(&self, node: u32, list: List) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(13);
        (self.owner, (node, list as u8)).encode(&mut prefix);
        prefix
    }
}

/// Where a version's facets lie.
pub(super) fn version_key(node: u32, version: u32) -> u64 {
    u64::from(node) << 32 | u64::from(version)
}

fn entries(rows: Vec<(EdgeKey, EdgeRow)>) -> Vec<(u64, u64)> {
    rows.into_iter().map(|((_, (_, (_, entry))), _)| entry).collect()
}

/// The length of the plain text, 0 when it follows as it is, and the text.
fn pack(plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    let malformed = |_| StoreError::Malformed { table: "graph" };
    let is_short = plain.len() < COMPRESSED_FROM_BYTES;
    let length = u32::try_from(plain.len()).map_err(|_| StoreError::Malformed { table: "graph" })?;
    let mut packed = if is_short { 0 } else { length }.to_be_bytes().to_vec();
    if is_short {
        packed.extend_from_slice(plain);
    } else {
        packed.extend(zstd::bulk::compress(plain, COMPRESSION_LEVEL).map_err(malformed)?);
    }
    Ok(packed)
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = packed.split_first_chunk()?;
    match u32::from_be_bytes(*length) as usize {
        0 => Some(rest.to_vec()),
        length if length <= PLAIN_BYTES_MAX => zstd::bulk::decompress(rest, length).ok().filter(|plain| plain.len() == length),
        _ => None,
    }
}
