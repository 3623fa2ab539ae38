//! `read`: stream after stream, page after page, straight from the bytes that came.
//!
//! A page is written by a thread of its own while the next one is asked for. A record that no transformation changed is copied
//! from the page's body; nothing is built for it.

use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::airbyte::AirbyteError;
use crate::airbyte::Catalog;
use crate::airbyte::Options;
use crate::airbyte::Outlet;
use crate::airbyte::OutletError;
use crate::airbyte::Source;
use crate::airbyte::States;
use crate::airbyte::data::Data;
use crate::airbyte::failure::told;
use crate::airbyte::input::SyncMode;
use crate::airbyte::message;
use crate::airbyte::message::Level;
use crate::airbyte::message::Status;
use crate::airbyte::source::Config;
use crate::clock::Clock;
use crate::connector::reading::Compat;
use crate::fetch::stream;
use crate::record::FetchedPage;

/// Pages that are read and not yet written: one, so that reading waits when the client is slower.
const PAGES_AHEAD: usize = 1;

/// Bytes of messages that are written at once.
const LINES_BYTES: usize = 256 * 1024;

/// How a reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Streams that were not read to their end.
    pub incomplete: usize,
}

impl Source {
    /// Reads the streams of a catalog, one after another. A stream that fails is told, and the others go on.
    ///
    /// # Errors
    /// When standard output cannot be written; when the configuration does not fit.
    pub async fn read(&self, config: Value, catalog: &Catalog, states: &States) -> Result<Ended, ReadError> {
        let config = self.config(config).await?;
        if config.is_migrated {
            self.outlet.message(&message::control(&config.kept, self.options.clock.now()))?;
        }
        let outlet = &self.outlet;
        let mut incomplete = 0;
        for (position, configured) in catalog.streams.iter().enumerate() {
            if self.is_stopped() {
                incomplete += catalog.streams.len() - position;
                break;
            }
            let stream = &configured.stream.name;
            // The reference engine goes on from a state even where everything is asked for.
            let goes_on = configured.sync_mode == SyncMode::Incremental || self.options.compat == Compat::Strict;
            let state = states.of(stream).filter(|_| goes_on).cloned();
            if let Err(error) = self.stream(stream, state, &config).await? {
                let text = told(&error, &config.secrets);
                let now = self.options.clock.now();
                outlet.message(&message::error(Some(stream), error.kind(), &text, now))?;
                outlet.message(&message::status(stream, Status::Incomplete, now))?;
                incomplete += 1;
            }
        }
        Ok(Ended { incomplete })
    }

    /// Reads one stream, and says how that begins and, unless it fails, ends.
    async fn stream(&self, stream: &str, state: Option<Value>, config: &Config) -> Result<Result<(), AirbyteError>, OutletError> {
        let (clock, outlet) = (&self.options.clock, &self.outlet);
        outlet.message(&message::status(stream, Status::Started, clock.now()))?;
        let order = match self.order(stream, state.clone().filter(has_cursor), config) {
            Ok(order) => order,
            Err(error) => return Ok(Err(error)),
        };
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let writer = Writer::new(stream, state, outlet.clone(), &self.options);
        let (reached, reaching) = oneshot::channel();
        let writing = tokio::task::spawn_blocking(move || writer.write(pages, reaching));
        let ended = stream::read(order, sender).await;
        // When the writer is gone already, its error says why.
        let _ = reached.send(ended.state);
        let Ok(written) = writing.await else {
            return Err(OutletError::Failed { source: std::io::Error::other("the thread that writes records broke off") });
        };
        match written {
            Ok(counts) => counts.tell(stream, outlet)?,
            Err(error) => {
                self.stop();
                return Err(error);
            }
        }
        match ended.failure {
            None => {}
            Some(_) if self.is_stopped() => return Ok(Err(AirbyteError::Stopped)),
            Some(failure) => return Ok(Err(failure.into())),
        }
        outlet.message(&message::status(stream, Status::Complete, clock.now()))?;
        Ok(Ok(()))
    }
}

/// What became of the items of a stream.
#[derive(Debug, Default)]
struct Counts {
    records: u64,
    filtered: u64,
    ignored: u64,
    coerced: u64,
    coerced_keys: u64,
}

impl Counts {
    fn add(&mut self, page: &FetchedPage) {
        self.records += page.records.len() as u64;
        self.filtered += page.filtered;
        self.ignored += page.ignored;
        self.coerced += page.coerced;
        self.coerced_keys += page.coerced_keys;
    }

    /// Says so, and warns of what may have made one record of two.
    fn tell(&self, stream: &str, outlet: &Outlet) -> Result<(), OutletError> {
        let Counts { records, filtered, ignored, coerced, coerced_keys } = self;
        let text = format!(
            "stream {stream}: {records} records were written; {filtered} were left out by the filter, {ignored} items were no records, {coerced} added values changed their type"
        );
        outlet.message(&message::log(Level::Info, &text))?;
        if self.coerced_keys == 0 {
            return Ok(());
        }
        let text = format!(
            "stream {stream}: {coerced_keys} values of the primary key were texts and became another type, so that different records may be taken for one; give the added field a `value_type` of string, or read with --compat safe"
        );
        outlet.message(&message::log(Level::Warn, &text))
    }
}

/// Why a reading was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be begun.
    #[error(transparent)]
    Refused(#[from] AirbyteError),
    /// Nobody can be told.
    #[error(transparent)]
    Outlet(#[from] OutletError),
}

/// The state of a stream that has none, as platforms keep it.
const NO_CURSOR: &str = "__ab_no_cursor_state_message";

/// Whether a state says where to go on.
fn has_cursor(state: &Value) -> bool {
    state.get(NO_CURSOR).is_none() && state.as_object().is_none_or(|members| !members.is_empty())
}

/// Writes the records and states of one stream.
struct Writer {
    stream: String,
    outlet: Outlet,
    clock: Clock,
    compat: Compat,
    head: Vec<u8>,
    lines: Vec<u8>,
    counts: Counts,
    /// Records since the last state that was written.
    records_since: u64,
    /// Bytes of records since the last state that was written, and of that state.
    bytes_since: usize,
    state_bytes: usize,
    /// The newest state, and whether it has been written.
    state: Value,
    is_written: bool,
}

impl Writer {
    fn new(stream: &str, state: Option<Value>, outlet: Outlet, options: &Options) -> Self {
        Writer {
            stream: stream.to_owned(),
            outlet,
            clock: options.clock.clone(),
            compat: options.compat,
            head: message::record_head(stream),
            lines: Vec::with_capacity(LINES_BYTES),
            counts: Counts::default(),
            records_since: 0,
            bytes_since: 0,
            state_bytes: 0,
            state: state.unwrap_or_else(|| json!({ NO_CURSOR: true })),
            is_written: false,
        }
    }

    /// Writes pages until there are no more, then the state. Answers what there was.
    fn write(mut self, mut pages: mpsc::Receiver<FetchedPage>, reached: oneshot::Receiver<Option<Value>>) -> Result<Counts, OutletError> {
        while let Some(page) = pages.blocking_recv() {
            self.page(page)?;
        }
        if let Ok(Some(state)) = reached.blocking_recv()
            && (state != self.state || !self.is_written)
        {
            self.state = state;
            self.is_written = false;
        }
        if !self.is_written {
            self.checkpoint()?;
        }
        Ok(self.counts)
    }

    fn page(&mut self, page: FetchedPage) -> Result<(), OutletError> {
        if self.counts.records == 0 && !page.records.is_empty() {
            self.outlet.message(&message::status(&self.stream, Status::Running, self.clock.now()))?;
        }
        let tail = message::record_tail(page.exchange.received_at);
        let data = Data::new(&page, self.compat);
        for record in &page.records {
            self.lines.extend_from_slice(&self.head);
            data.write(record, &mut self.lines);
            self.lines.extend_from_slice(&tail);
            if self.lines.len() >= LINES_BYTES {
                self.flush()?;
            }
        }
        self.flush()?;
        self.counts.add(&page);
        self.records_since += page.records.len() as u64;
        if let Some(state) = page.cursor {
            self.state = state;
            self.is_written = false;
            // States of many partitions are long: what they cost stays below what the records cost.
            if self.bytes_since >= self.state_bytes {
                self.checkpoint()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutletError> {
        self.outlet.lines(&self.lines)?;
        self.bytes_since += self.lines.len();
        self.lines.clear();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), OutletError> {
        let line = format!("{}\n", message::state(&self.stream, &self.state, self.records_since));
        self.outlet.lines(line.as_bytes())?;
        (self.records_since, self.bytes_since, self.state_bytes, self.is_written) = (0, 0, line.len(), true);
        Ok(())
    }
}
