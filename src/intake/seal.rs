//! From a fetched page to the unit that stores it: cards masked, contents digested, tags made, blocks sealed.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use crate::digest::Digest;
use crate::lineage::BusinessKeyRow;
use crate::lineage::ChangeRow;
use crate::lineage::Entry;
use crate::lineage::Location;
use crate::lineage::PageRow;
use crate::lineage::Placement;
use crate::lineage::RecordRow;
use crate::lineage::block_aad;
use crate::lineage::reader::first_half;
use crate::lineage::reader::key_hash;
use crate::record::Direction;
use crate::record::Exchange;
use crate::record::FetchedPage;
use crate::record::FetchedRecord;
use crate::record::JsonText;
use crate::record::KeyClass;
use crate::record::Mask;
use crate::record::PageFacts;
use crate::record::Patch;
use crate::record::RecordFacts;
use crate::record::content_digest;
use crate::record::mask_cards;
use crate::record::mask_text;
use crate::record::mask_value;
use crate::secret::Sealed;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::Unit;

use super::IntakeError;
use super::StreamIntake;
use super::extent::Extent;

/// A state longer than this is left out of the tag (it is in the stream's cursor row all the same).
const TAG_CURSOR_BYTES_MAX: usize = 4 << 10;

/// A page that only the store can still be given.
pub(super) struct SealedPage {
    pub unit: Unit,
    /// The records it makes new versions of.
    pub hashes: Vec<[u8; 16]>,
}

/// A record on its way into a block.
struct Fresh<'a> {
    fetched: &'a FetchedRecord,
    hash: [u8; 16],
    raw: Bytes,
    masks: Vec<Mask>,
    content: [u8; 16],
    before: Option<RecordRow>,
}

/// Seals a page for the writer and counts what it brought.
pub(super) fn seal(stream: &mut StreamIntake, mut page: FetchedPage) -> Result<SealedPage, IntakeError> {
    let mut unit = Unit::default();
    let records = std::mem::take(&mut page.records);
    mask_shared(&mut page);
    let partition = page.partition.as_ref().map(|partition| partition.to_string());
    let mut fresh = Vec::with_capacity(records.len());
    let mut seen = HashMap::new();
    for fetched in &records {
        if let Some(record) = examine(stream, &page, partition.as_deref(), fetched, &mut seen)? {
            fresh.push(record);
        }
    }
    let hashes: Vec<[u8; 16]> = fresh.iter().map(|record| record.hash).collect();
    if !fresh.is_empty() {
        store_page(stream, &page, fresh, &mut unit)?;
    }
    stream.run.pages += 1;
    stream.run.filtered += page.filtered;
    stream.run.ignored += page.ignored;
    stream.run.coerced += page.coerced;
    if page.coerced_keys > 0 && stream.run.coerced_keys == 0 {
        tracing::warn!(run.id = %stream.run.id, stream = page.stream, keys = page.coerced_keys, "texts of the primary key became another type: different records may be taken for one; give the added field a `value_type` of string");
    }
    stream.run.coerced_keys += page.coerced_keys;
    stream.close_unit(&mut unit, page.cursor.as_ref())?;
    Ok(SealedPage { unit, hashes })
}

/// What the page's records share goes through the mask as well; not the state, which has to come back as it was given:
/// only the tag's copy of it is masked.
fn mask_shared(page: &mut FetchedPage) {
    if let Some(partition) = page.partition.as_mut() {
        mask_value(partition);
    }
    if let Some(url) = mask_text(&page.exchange.url) {
        page.exchange.url = url;
    }
}

/// Masks, digests and identifies a record; nothing when its newest version is the same.
fn examine<'a>(
    stream: &mut StreamIntake,
    page: &FetchedPage,
    partition: Option<&str>,
    fetched: &'a FetchedRecord,
    seen: &mut HashMap<[u8; 16], RecordRow>,
) -> Result<Option<Fresh<'a>>, IntakeError> {
    let refuse = |why: String| IntakeError::Record { pointer: fetched.pointer.clone(), why };
    let raw = page.raw(fetched).ok_or_else(|| refuse("it lies outside the response".into()))?;
    let (raw, masks) = match mask_cards(&raw).map_err(|error| refuse(error.to_string()))? {
        Some(masked) => (Bytes::from(masked.raw), masked.masks),
        None => (raw, Vec::new()),
    };
    let digest = content_digest(&raw).map_err(|error| refuse(error.to_string()))?;
    let hash = identity(stream, partition, fetched, &digest);
    let content = first_half(stream.keys.index_hmac(&[b"content", &digest.to_bytes()]));
    if let Some(met) = &mut stream.met {
        met.note(&hash);
    }
    let may_be_there = stream.fresh.as_mut().is_none_or(|fresh| fresh.insert(&hash));
    let before = match seen.get(&hash).or_else(|| stream.recent.get(&hash)) {
        Some(row) => Some(*row),
        None if !may_be_there => None,
        None => stream.intake.store.get::<RecordRow>(&(stream.connection.key, (stream.stream, hash)))?,
    };
    stream.run.masked += masks.len() as u64;
    match before {
        // One that comes back as it was is a version more, so that its going and its coming are both told.
        Some(row) if row.content == content && row.deleted.is_none() => {
            stream.run.unchanged += 1;
            return Ok(None);
        }
        Some(_) => stream.run.changed += 1,
        None => stream.run.new += 1,
    }
    // The location is set when the record has a block; until then this stands for "in this page".
    let version = before.map_or(1, |row| row.version + 1);
    seen.insert(hash, RecordRow { version, location: Location { page: u64::MAX, block: 0, slot: 0 }, content, deleted: None });
    Ok(Some(Fresh { fetched, hash, raw, masks, content, before }))
}

/// The keyed hash of partition and primary key; of the content where a stream has no primary key.
fn identity(stream: &StreamIntake, partition: Option<&str>, fetched: &FetchedRecord, digest: &Digest) -> [u8; 16] {
    let number = stream.stream.to_be_bytes();
    let partition = partition.unwrap_or_default().as_bytes();
    let hash = if fetched.primary_key.is_empty() {
        stream.keys.index_hmac(&[b"record by content", &number, partition, &digest.to_bytes()])
    } else {
        let key = Value::Array(fetched.primary_key.clone()).to_string();
        stream.keys.index_hmac(&[b"record", &number, partition, key.as_bytes()])
    };
    first_half(hash)
}

fn store_page(stream: &mut StreamIntake, page: &FetchedPage, fresh: Vec<Fresh<'_>>, unit: &mut Unit) -> Result<(), IntakeError> {
    let owner = stream.connection.key;
    let (number, extent) = stream.intake.extents.next_page(owner)?;
    let mut sealed = seal_block(&extent, stream, number, Placement::Facts, compress_facts(&page_facts(stream, page, number))?)?;
    let facts_bytes = sealed.as_bytes().len() as u32;
    let mut block_bytes = Vec::new();
    let mut placed: HashMap<[u8; 16], RecordRow> = HashMap::new();
    for record in fresh {
        if stream.block.is_full() {
            push_block(stream, &extent, number, &mut block_bytes, &mut sealed)?;
        }
        let location = Location { page: number, block: block_bytes.len() as u16, slot: stream.block.len() as u16 };
        put_record(stream, page, record, location, &mut placed, unit)?;
    }
    push_block(stream, &extent, number, &mut block_bytes, &mut sealed)?;
    let row = PageRow {
        run: stream.run.id,
        stream: stream.stream,
        extent: extent.key.number(),
        offset: extent.place(sealed.as_bytes().len() as u64),
        facts_bytes,
        block_bytes,
    };
    unit.blocks(owner, row.extent, row.offset, sealed).put(&(owner, number), &row);
    unit.put_numbered(move |unit| ((owner.tenant, unit), ChangeRow::Page { owner, page: number }));
    stream.counters.pages += 1;
    stream.counters.lineage_bytes += u64::from(facts_bytes) + unit.row_bytes(Table::Records) + unit.row_bytes(Table::Pages);
    stream.counters.key_bytes += unit.row_bytes(Table::BusinessKeys);
    Ok(())
}

/// Puts a record into the block and its rows into the unit.
fn put_record(
    stream: &mut StreamIntake,
    page: &FetchedPage,
    record: Fresh<'_>,
    location: Location,
    placed: &mut HashMap<[u8; 16], RecordRow>,
    unit: &mut Unit,
) -> Result<(), IntakeError> {
    let owner = stream.connection.key;
    // The same record twice in one page: the version before is the one just placed.
    let before = placed.get(&record.hash).copied().or(record.before);
    let version = before.map_or(1, |row| row.version + 1);
    let row = RecordRow { version, location, content: record.content, deleted: None };
    for (kind, pointer) in &stream.treatment.business_keys {
        for value in KeyClass::Business.values(&record.raw, pointer).unwrap_or_default() {
            let hash = key_hash(&stream.keys, kind, &value);
            unit.put(&(owner, (hash, (stream.stream, record.hash))), &BusinessKeyRow);
        }
    }
    let facts = RecordFacts {
        pointer: record.fetched.pointer.clone(),
        primary_key: JsonText::of(&masked(Value::Array(record.fetched.primary_key.clone()))),
        version,
        previous: before.map(|row| row.version),
        transformations: record.fetched.transformations.clone(),
        masks: record.masks,
        delete_after: stream.delete_after(page.exchange.received_at, &record.raw),
    };
    let patch = patch_of(&record.raw, record.fetched)?;
    stream.counters.records += u64::from(before.is_none());
    stream.counters.deleted -= u64::from(before.is_some_and(|row| row.deleted.is_some())).min(stream.counters.deleted);
    stream.counters.versions += 1;
    stream.counters.bytes += record.raw.len() as u64;
    let previous = before.map(|row| row.location);
    stream.block.push(Entry { facts, previous, hash: record.hash, raw: record.raw, patch });
    placed.insert(record.hash, row);
    stream.recent.insert(record.hash, row);
    unit.put(&(owner, (stream.stream, record.hash)), &row);
    Ok(())
}

/// The patch from the stored text to what the manifest emitted; empty when its transformations changed nothing.
fn patch_of(raw: &[u8], fetched: &FetchedRecord) -> Result<Bytes, IntakeError> {
    let Some(emitted) = &fetched.emitted else { return Ok(Bytes::new()) };
    let refuse = |error: serde_json::Error| IntakeError::Record { pointer: fetched.pointer.clone(), why: error.to_string() };
    let raw: Value = serde_json::from_slice(raw).map_err(refuse)?;
    let patch = Patch::between(&raw, &masked(emitted.to_value().map_err(refuse)?));
    if patch.is_empty() { Ok(Bytes::new()) } else { serde_json::to_vec(&patch).map(Bytes::from).map_err(refuse) }
}

fn masked(mut value: Value) -> Value {
    mask_value(&mut value);
    value
}

fn page_facts(stream: &StreamIntake, page: &FetchedPage, number: u64) -> PageFacts {
    let connection = &stream.connection;
    let cursor = page.cursor.clone().map(masked).as_ref().map(JsonText::of).filter(|cursor| cursor.as_str().len() <= TAG_CURSOR_BYTES_MAX);
    PageFacts {
        tenant: connection.tenant.clone(),
        connection: connection.id,
        connector: connection.connector.clone(),
        stream: page.stream.clone(),
        kind: stream.treatment.kind,
        run: Some(stream.run.id),
        owner: connection.key,
        page: number,
        exchange: Exchange { credential: page.exchange.credential.or(Some(stream.run.credential)), ..page.exchange.clone() },
        partition: page.partition.as_ref().map(JsonText::of),
        cursor,
        direction: Direction::Pulled,
        schema_digest: stream.treatment.schema_digest,
        consent: connection.consent,
        policy_version: stream.treatment.policy_version.clone(),
        purposes: connection.purposes.clone(),
        retention_class: stream.treatment.retention_class.clone(),
        filtered: page.filtered,
        ignored: page.ignored,
        coerced: page.coerced,
        coerced_keys: page.coerced_keys,
        entry: stream.run.entry,
    }
}

fn compress_facts(facts: &PageFacts) -> Result<Vec<u8>, IntakeError> {
    let compressed = postcard::to_stdvec(facts).map_err(std::io::Error::other).and_then(|plain| zstd::bulk::compress(&plain, 1));
    compressed.map_err(failed)
}

pub(super) fn failed(error: std::io::Error) -> IntakeError {
    IntakeError::Record { pointer: String::new(), why: format!("it cannot be compressed: {error}") }
}

fn push_block(
    stream: &mut StreamIntake,
    extent: &Extent,
    page: u64,
    lengths: &mut Vec<u32>,
    sealed: &mut Sealed,
) -> Result<(), IntakeError> {
    if stream.block.is_empty() {
        return Ok(());
    }
    let number = u16::try_from(lengths.len()).map_err(|_| StoreError::ValueTooLarge {
        table: Table::Pages.name(),
        bytes: lengths.len(),
        max: usize::from(u16::MAX),
    })?;
    let (plain, facts) = stream.block.take().map_err(failed)?;
    stream.counters.lineage_bytes += facts as u64;
    let added = seal_block(extent, stream, page, Placement::Records(number), plain)?;
    lengths.push(added.as_bytes().len() as u32);
    sealed.append(added);
    Ok(())
}

fn seal_block(extent: &Extent, stream: &StreamIntake, page: u64, placement: Placement, bytes: Vec<u8>) -> Result<Sealed, IntakeError> {
    Ok(extent.key.seal_block(&block_aad(stream.connection.key, page, placement), bytes)?)
}
