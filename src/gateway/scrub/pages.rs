//! The pages of a connection: every block is there, opens under its key, and holds records that agree with their digests
//! and with the index.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Halted;
use super::PAGES_AT_ONCE;
use super::RESTORE;
use super::RESTORE_FILE;
use super::Scrub;
use super::chain;
use crate::connection::State;
use crate::ids::ConnectionKey;
use crate::lineage::Entry;
use crate::lineage::Location;
use crate::lineage::PageRow;
use crate::lineage::RecordRow;
use crate::lineage::StreamRow;
use crate::lineage::reader::first_half;
use crate::record::content_digest;
use crate::store::RowKey;
use crate::vault::ConnectionKeys;

/// What the walk over a connection's pages has seen.
#[derive(Default)]
pub(super) struct Walked {
    /// Pages and versions by stream.
    pub streams: BTreeMap<u16, Seen>,
    /// Records whose newest version was seen at the place that the index names.
    pub placed: u64,
    /// Whether every block was read.
    pub whole: bool,
}

/// What a stream's counters should say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub pages: u64,
    pub versions: u64,
    pub bytes: u64,
}

/// Which ranges of the segment files are taken (16 bytes a page), and of which files something was told already.
#[derive(Default)]
struct Extents {
    taken: BTreeMap<(u32, u64), u64>,
    told: BTreeSet<u32>,
}

impl Extents {
    /// Takes a page's range; whether nobody had any of it. Pages of streams that are read side by side come in no order.
    fn take(&mut self, row: &PageRow) -> bool {
        let before = self.taken.range((row.extent, 0)..=(row.extent, row.offset)).next_back();
        let after = self.taken.range((row.extent, row.offset)..=(row.extent, u64::MAX)).next();
        let free = before.is_none_or(|(_, end)| *end <= row.offset) && after.is_none_or(|((_, start), _)| row.end() <= *start);
        self.taken.insert((row.extent, row.offset), row.end());
        free
    }
}

impl Scrub<'_> {
    /// The walk for a connection that has data; the counters are held against it as well.
    pub(super) fn segments_of(&mut self, owner: ConnectionKey) -> Result<(), Halted> {
        let Ok(Some(connection)) = self.ground.connections.by_key(owner) else { return Ok(()) };
        if matches!(connection.state, State::Erased(_)) {
            return Ok(());
        }
        self.begin(format!("pages of {}", connection.id));
        let keys = match self.ground.vault.connection(owner) {
            Ok(keys) => keys,
            Err(error) => {
                let what = format!("the keys of connection {}, which is {}: {}", connection.id, connection.state, chain(&error));
                self.problem("keyring.missing", what, "bring an export of the keyring back; without it nothing of the connection opens");
                return Ok(());
            }
        };
        let counters = self.counters(owner);
        let walked = self.walk(owner, &keys)?;
        self.index_agrees(owner, &walked)?;
        if walked.whole && counters == self.counters(owner) {
            self.counters_agree(owner, &counters, &walked);
        }
        Ok(())
    }

    fn walk(&mut self, owner: ConnectionKey, keys: &ConnectionKeys) -> Result<Walked, Halted> {
        let mut walked = Walked { whole: true, ..Walked::default() };
        let (mut after, mut extents) = (None, Extents::default());
        loop {
            let pages = self.some::<PageRow>(&owner.to_bytes(), &mut after, PAGES_AT_ONCE);
            if pages.is_empty() {
                return Ok(walked);
            }
            for ((_, number), row) in pages {
                // An erasure that was approved meanwhile: nothing of it is to be read any more.
                if self.ground.vault.is_destroyed(owner) {
                    return Ok(Walked::default());
                }
                if self.is_in_place(owner, number, &row, &mut extents) {
                    self.page(owner, number, &row, keys, &mut walked);
                } else {
                    walked.whole = false;
                }
                self.advance("pages", 1)?;
            }
        }
    }

    /// Whether the page's range is in its file.
    fn is_in_place(&mut self, owner: ConnectionKey, number: u64, row: &PageRow, extents: &mut Extents) -> bool {
        let path = self.ground.store.segment_path(owner, row.extent);
        if !extents.take(row) {
            let what = format!("page {number} of connection {owner} shares bytes of {path:?} from {} on with another page", row.offset);
            self.problem("page.overlap", what, RESTORE);
        }
        match std::fs::metadata(&path).map(|file| file.len()) {
            Ok(bytes) if bytes >= row.end() => true,
            // The sweep was here.
            Err(_) if self.ground.vault.is_destroyed(owner) => false,
            Ok(bytes) => {
                if extents.told.insert(row.extent) {
                    let what = format!("{path:?} is cut: it has {bytes} bytes, and page {number} ends at {}", row.end());
                    self.problem("segment.truncated", what, RESTORE_FILE);
                }
                false
            }
            Err(error) => {
                if extents.told.insert(row.extent) {
                    let what = format!("{path:?}, which page {number} and others lie in: {error}");
                    self.problem("segment.missing", what, RESTORE_FILE);
                }
                false
            }
        }
    }

    fn page(&mut self, owner: ConnectionKey, number: u64, row: &PageRow, keys: &ConnectionKeys, walked: &mut Walked) {
        let path = self.ground.store.segment_path(owner, row.extent);
        match self.ground.reader.facts(owner, number, row) {
            Ok(facts) if facts.owner != owner || facts.page != number || facts.run != Some(row.run) => {
                let what = format!("the facts of page {number} of connection {owner} are those of page {} of {}", facts.page, facts.owner);
                self.problem("page.facts", what, RESTORE);
            }
            Ok(_) => {}
            Err(_) if self.ground.vault.is_destroyed(owner) => return,
            Err(error) => {
                walked.whole = false;
                let what = format!("{path:?}: the facts of page {number} at {}: {}", row.offset, chain(&error));
                self.problem("block.damaged", what, RESTORE_FILE);
            }
        }
        let seen = walked.streams.entry(row.stream).or_default();
        seen.pages += 1;
        for block in 0..row.block_bytes.len() as u16 {
            match self.ground.reader.entries(owner, number, block, row) {
                Ok(entries) => {
                    for (slot, entry) in (0..).zip(entries) {
                        let location = Location { page: number, block, slot };
                        self.entry(owner, row.stream, location, &entry, keys, walked);
                    }
                }
                Err(_) if self.ground.vault.is_destroyed(owner) => return,
                Err(error) => {
                    walked.whole = false;
                    let at = row.block(block).map_or(row.offset, |placed| placed.offset);
                    let what = format!("{path:?}: block {block} of page {number} at {at}: {}", chain(&error));
                    self.problem("block.damaged", what, RESTORE_FILE);
                }
            }
            *self.checked.entry("blocks".into()).or_default() += 1;
        }
    }

    /// One version of a record: the index knows it, with the content that its text has, or a later one.
    fn entry(&mut self, owner: ConnectionKey, stream: u16, at: Location, entry: &Entry, keys: &ConnectionKeys, walked: &mut Walked) {
        *self.checked.entry("versions".into()).or_default() += 1;
        let seen = walked.streams.entry(stream).or_default();
        seen.versions += 1;
        seen.bytes += entry.raw.len() as u64;
        let place = || format!("version {} in {} of connection {owner}", entry.facts.version, told(at));
        let Ok(digest) = content_digest(&entry.raw) else {
            return self.problem("record.content", format!("{} is no JSON any more", place()), RESTORE);
        };
        let content = first_half(keys.index_hmac(&[b"content", &digest.to_bytes()]));
        let row = match self.ground.store.get::<RecordRow>(&(owner, (stream, entry.hash))) {
            Ok(row) => row,
            Err(error) => return self.engine_failed(&format!("the index row of {}", place()), &error),
        };
        match row {
            Some(row) if row.version == entry.facts.version && row.location == at => {
                walked.placed += 1;
                if row.content != content {
                    self.problem("record.content", format!("the index has another content for {}", place()), RESTORE);
                }
            }
            Some(row) if row.version > entry.facts.version => {}
            Some(row) => {
                let what = format!("the index names version {} in {} for {}", row.version, told(row.location), place());
                self.problem("record.misplaced", what, RESTORE);
            }
            None if self.ground.vault.is_destroyed(owner) => {}
            None => self.problem("record.unindexed", format!("the index has no row for {}", place()), RESTORE),
        }
    }

    /// As many index rows as records were seen in their places; when not, each index row is followed to its slot.
    fn index_agrees(&mut self, owner: ConnectionKey, walked: &Walked) -> Result<(), Halted> {
        let (mut after, mut rows) = (None, 0);
        loop {
            let some = self.some::<RecordRow>(&owner.to_bytes(), &mut after, super::ROWS_AT_ONCE);
            if some.is_empty() {
                break;
            }
            rows += some.len() as u64;
            self.advance("records", some.len() as u64)?;
        }
        if rows == walked.placed { Ok(()) } else { self.follow_index(owner) }
    }

    fn follow_index(&mut self, owner: ConnectionKey) -> Result<(), Halted> {
        let (mut after, mut open) = (None, None);
        loop {
            let some = self.some::<RecordRow>(&owner.to_bytes(), &mut after, super::ROWS_AT_ONCE);
            if some.is_empty() || self.ground.vault.is_destroyed(owner) {
                return Ok(());
            }
            for (key, row) in some {
                let (_, (stream, hash)) = key;
                let fault = self.slot_fault(owner, stream, hash, &row, &mut open);
                // Looked at again: it may have got a new version between the two.
                let same = self.ground.store.get::<RecordRow>(&key).ok().flatten() == Some(row);
                if let Some(fault) = fault.filter(|_| same) {
                    let what = format!("an index row of stream {stream} of connection {owner} names {}: {fault}", told(row.location));
                    self.problem("record.dangling", what, RESTORE);
                }
                self.advance("records followed", 1)?;
            }
        }
    }

    /// What is wrong with the slot that an index row names. A block that does not open was named before.
    fn slot_fault(
        &self,
        owner: ConnectionKey,
        stream: u16,
        hash: [u8; 16],
        row: &RecordRow,
        open: &mut Option<((u64, u16), Vec<Entry>)>,
    ) -> Option<&'static str> {
        let at = row.location;
        let page = match self.ground.store.get::<PageRow>(&(owner, at.page)) {
            Ok(Some(page)) => page,
            Ok(None) => return Some("there is no such page"),
            Err(_) => return None,
        };
        if page.stream != stream {
            return Some("the page is of another stream");
        }
        if usize::from(at.block) >= page.block_bytes.len() {
            return Some("the page has no such block");
        }
        if open.as_ref().is_none_or(|(place, _)| *place != (at.page, at.block)) {
            *open = self.ground.reader.entries(owner, at.page, at.block, &page).ok().map(|entries| ((at.page, at.block), entries));
        }
        let (_, entries) = open.as_ref()?;
        match entries.get(usize::from(at.slot)) {
            Some(entry) if entry.hash == hash && entry.facts.version == row.version => None,
            Some(_) => Some("another record is there"),
            None => Some("the block has no such slot"),
        }
    }

    fn counters(&self, owner: ConnectionKey) -> Vec<(u16, StreamRow)> {
        let mut prefix = Vec::new();
        owner.encode(&mut prefix);
        let rows = self.ground.store.scan::<StreamRow>(&prefix, None, usize::from(u16::MAX)).unwrap_or_default();
        rows.into_iter().map(|((_, stream), row)| (stream, row)).collect()
    }

    fn counters_agree(&mut self, owner: ConnectionKey, counters: &[(u16, StreamRow)], walked: &Walked) {
        for (stream, row) in counters {
            let seen = walked.streams.get(stream).copied().unwrap_or_default();
            let counted = Seen { pages: row.pages, versions: row.versions, bytes: row.bytes };
            if seen != counted {
                let what = format!("the counters of stream {stream} of connection {owner} say {counted:?}, and there are {seen:?}");
                self.problem("stream.miscounted", what, RESTORE);
            }
        }
        for stream in walked.streams.keys().filter(|stream| !counters.iter().any(|(counted, _)| counted == *stream)) {
            let what = format!("stream {stream} of connection {owner} has pages and no counters");
            self.problem("stream.uncounted", what, RESTORE);
        }
    }
}

fn told(at: Location) -> String {
    format!("slot {} of block {} of page {}", at.slot, at.block, at.page)
}
