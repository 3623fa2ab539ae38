//! The only writer of records: masks, tags, seals and commits pages.
//!
//! A page goes through three types, in this order and no other: [`crate::record::FetchedPage`], then `SealedPage`, then the
//! unit that the store takes. There is no other way to a record's row, so a record without its complete tag cannot exist.

mod deletion;
mod extent;
mod fresh;
mod seal;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::connection::Active;
use crate::connection::Connection;
use crate::connection::gate::Permit;
use crate::ids::ConnectionKey;
use crate::lineage::Block;
use crate::lineage::CursorRow;
use crate::lineage::RecordRow;
use crate::lineage::RunRow;
use crate::lineage::StreamRow;
use crate::record::FetchedPage;
use crate::record::Kind;
use crate::record::Pointer;
use crate::store::Committed;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unit;
use crate::telemetry::activity::Activity;
use crate::telemetry::activity::Wait;
use crate::vault::ConnectionKeys;
use crate::vault::Purpose;
use crate::vault::Vault;
use crate::vault::VaultError;

use self::deletion::Met;
use self::extent::Extents;
use self::fresh::FreshStream;

/// Pages of one stream that may be sealed and not yet durable.
const PAGES_UNDER_WAY_MAX: usize = 4;

/// Why a page was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The store refused it: above all, because the connection was stopped meanwhile.
    #[error("the page is not stored")]
    Store(#[from] StoreError),
    /// The connection's keys are gone or cannot be read.
    #[error("the page cannot be sealed")]
    Vault(#[from] VaultError),
    /// A record that cannot be stored.
    #[error("record {pointer} of the page cannot be stored: {why}")]
    Record {
        /// Where in the response.
        pointer: String,
        /// What is wrong with it.
        why: String,
    },
}

/// How a connector treats one stream: what intake must know of it.
#[derive(Debug, Clone)]
pub struct StreamTreatment {
    /// What its records are.
    pub kind: Option<Kind>,
    /// Business keys by kind, each a pointer into the raw record.
    pub business_keys: Vec<(String, Pointer)>,
    /// The retention class.
    pub retention_class: String,
    /// Days until a record is to be erased.
    pub retention_days: u32,
    /// What the days count from.
    pub retention_anchor: Anchor,
    /// The digest of the declared schema.
    pub schema_digest: Option<crate::digest::Digest>,
    /// The version of the policy that the consent names.
    pub policy_version: String,
}

/// From when a retention window runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// From the time of the fetch.
    Received,
    /// From a time in the record, at a pointer; from the fetch while the record has none there.
    Field(Pointer),
}

/// Takes pages in. Clones share it.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    vault: Arc<Vault>,
    extents: Arc<Extents>,
}

impl Intake {
    /// Over a store and its vault.
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Intake { extents: Arc::new(Extents::new(store.clone(), vault.clone())), store, vault }
    }

    /// Begins to take in one stream of a connection.
    ///
    /// # Errors
    /// When the stream is not one of the connection's, or its keys cannot be read.
    pub fn stream(
        &self,
        connection: Arc<Connection<Active>>,
        permit: Permit,
        run: RunRow,
        treatment: StreamTreatment,
        activity: Arc<Activity>,
    ) -> Result<StreamIntake, IntakeError> {
        let unknown = || IntakeError::Record { pointer: String::new(), why: format!("stream {} is not connected", run.stream) };
        let stream = connection.stream_number(&run.stream).ok_or_else(unknown)?;
        let keys = self.vault.connection(connection.key)?;
        let counters = self.store.get::<StreamRow>(&(connection.key, stream))?.unwrap_or_default();
        let fresh = (counters.records == 0).then(FreshStream::new);
        let block = Block::new().map_err(seal::failed)?;
        Ok(StreamIntake {
            intake: self.clone(),
            connection,
            permit,
            keys,
            stream,
            run,
            treatment,
            activity,
            counters,
            fresh,
            met: None,
            block,
            recent: HashMap::new(),
            under_way: Vec::new(),
            acknowledged: None,
        })
    }

    /// The saved state of a stream.
    ///
    /// # Errors
    /// When it does not read back.
    pub fn cursor(&self, owner: ConnectionKey, stream: u16) -> Result<Option<serde_json::Value>, IntakeError> {
        let Some(CursorRow(sealed)) = self.store.get::<CursorRow>(&(owner, stream))? else { return Ok(None) };
        let plain = self.vault.connection(owner)?.open(Purpose::Row, &cursor_place(stream), &sealed)?;
        let damaged = |error: serde_json::Error| IntakeError::Record { pointer: String::new(), why: format!("its cursor: {error}") };
        serde_json::from_slice(plain.expose()).map(Some).map_err(damaged)
    }

    /// Forgets the extents of a connection whose files are about to go.
    pub fn forget(&self, owner: ConnectionKey) {
        self.extents.forget(owner);
    }
}

/// One stream being taken in. Dropping it leaves whatever was submitted to the writer.
pub struct StreamIntake {
    intake: Intake,
    connection: Arc<Connection<Active>>,
    permit: Permit,
    keys: Arc<ConnectionKeys>,
    stream: u16,
    run: RunRow,
    treatment: StreamTreatment,
    activity: Arc<Activity>,
    counters: StreamRow,
    /// Of a stream that held nothing when the run began.
    fresh: Option<FreshStream>,
    /// The records met so far, where the run asks for the whole of the stream.
    met: Option<Met>,
    block: Block,
    /// Newest versions that are submitted and perhaps not applied yet.
    recent: HashMap<[u8; 16], RecordRow>,
    under_way: Vec<PageUnderWay>,
    acknowledged: Option<RunRow>,
}

struct PageUnderWay {
    answer: oneshot::Receiver<Result<Committed, StoreError>>,
    run: RunRow,
    hashes: Vec<[u8; 16]>,
}

impl StreamIntake {
    /// Seals a page and hands it to the writer; waits only when too many pages are under way.
    ///
    /// # Errors
    /// When a record cannot be stored, or an earlier page was refused.
    pub async fn accept(&mut self, page: FetchedPage, requests: u64) -> Result<(), IntakeError> {
        self.run.requests = requests;
        let sealed = tokio::task::block_in_place(|| seal::seal(self, page))?;
        let answer = self.intake.store.submit(sealed.unit).await?;
        self.under_way.push(PageUnderWay { answer, run: self.run.clone(), hashes: sealed.hashes });
        while self.under_way.len() >= PAGES_UNDER_WAY_MAX {
            let _waiting = self.activity.waiting(Wait::Store);
            self.acknowledge_first().await?;
        }
        Ok(())
    }

    /// Waits until every accepted page is durable.
    ///
    /// # Errors
    /// When one was refused.
    pub async fn settle(&mut self) -> Result<(), IntakeError> {
        while !self.under_way.is_empty() {
            self.acknowledge_first().await?;
        }
        Ok(())
    }

    /// Writes the state that a reading has come to, once every page before it is durable.
    ///
    /// # Errors
    /// When a page was refused, or the state cannot be written.
    pub async fn reach(&mut self, state: &serde_json::Value) -> Result<(), IntakeError> {
        self.settle().await?;
        let mut unit = Unit::default();
        let owner = self.connection.key;
        let sealed = self.keys.seal(Purpose::Row, &cursor_place(self.stream), state.to_string().as_bytes())?;
        unit.put(&(owner, self.stream), &CursorRow(sealed));
        unit.fence(owner, self.permit.epoch());
        self.intake.store.commit(unit).await?;
        Ok(())
    }

    async fn acknowledge_first(&mut self) -> Result<(), IntakeError> {
        let page = self.under_way.remove(0);
        page.answer.await.map_err(|_| StoreError::Stopped)??;
        self.activity.page_stored();
        self.acknowledged = Some(page.run);
        let still: std::collections::HashSet<[u8; 16]> = self.under_way.iter().flat_map(|page| page.hashes.iter().copied()).collect();
        for hash in page.hashes.iter().filter(|hash| !still.contains(*hash)) {
            self.recent.remove(hash);
        }
        Ok(())
    }

    /// The run's row with the counters of durable pages only: what may be reported.
    pub fn acknowledged(&self, unstarted: &RunRow) -> RunRow {
        self.acknowledged.clone().unwrap_or_else(|| unstarted.clone())
    }

    /// Puts the rows that every page's unit ends with.
    fn close_unit(&self, unit: &mut Unit, cursor: Option<&serde_json::Value>) -> Result<(), IntakeError> {
        let owner = self.connection.key;
        if let Some(cursor) = cursor {
            let sealed = self.keys.seal(Purpose::Row, &cursor_place(self.stream), cursor.to_string().as_bytes())?;
            unit.put(&(owner, self.stream), &CursorRow(sealed));
        }
        unit.put(&(owner, self.stream), &self.counters);
        unit.put(&(owner, self.run.id.to_bytes()), &self.run);
        unit.fence(owner, self.permit.epoch());
        Ok(())
    }

    /// From when a record of this stream is to be erased.
    fn delete_after(&self, received_at: Timestamp, raw: &[u8]) -> Timestamp {
        let anchor = match &self.treatment.retention_anchor {
            Anchor::Received => None,
            Anchor::Field(pointer) => time_at(raw, pointer),
        };
        let hours = i64::from(self.treatment.retention_days) * 24;
        let end = anchor.unwrap_or(received_at).checked_add(jiff::SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX);
        Timestamp::from_millisecond(end.as_millisecond()).unwrap_or(end)
    }
}

/// What binds a sealed cursor to its stream.
fn cursor_place(stream: u16) -> [u8; 8] {
    let mut place = *b"cursor\0\0";
    place[6..].copy_from_slice(&stream.to_be_bytes());
    place
}

/// The time that a record holds at a pointer, if it is one.
fn time_at(raw: &[u8], pointer: &Pointer) -> Option<Timestamp> {
    let range = pointer.find(raw).ok()?.into_iter().next()?;
    serde_json::from_slice::<String>(raw.get(range)?).ok()?.parse().ok()
}
