//! How much is kept, and what keeping where it came from costs: from the counters of streams, without a walk over records.

use crate::ids::ConnectionKey;
use crate::lineage::StreamRow;
use crate::store::Store;
use crate::store::StoreError;

/// Streams read at a time.
const STREAMS_AT_ONCE: usize = 1000;

/// The counters of all streams together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Volume {
    /// The sums; pages are summed too, and mean nothing together.
    pub streams: StreamRow,
}

impl Volume {
    /// Of a whole store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let mut volume = Volume::default();
        let mut after: Option<(ConnectionKey, u16)> = None;
        loop {
            let rows = store.scan::<StreamRow>(&[], after.as_ref(), STREAMS_AT_ONCE)?;
            rows.iter().for_each(|(_, row)| volume.add(row));
            match rows.last() {
                Some((last, _)) if rows.len() == STREAMS_AT_ONCE => after = Some(*last),
                _ => return Ok(volume),
            }
        }
    }

    fn add(&mut self, row: &StreamRow) {
        let sum = &mut self.streams;
        sum.records += row.records;
        sum.deleted += row.deleted;
        sum.versions += row.versions;
        sum.pages += row.pages;
        sum.bytes += row.bytes;
        sum.lineage_bytes += row.lineage_bytes;
        sum.key_bytes += row.key_bytes;
    }

    /// `bytes` for each record; none when there is no record.
    pub fn per_record(&self, bytes: u64) -> Option<f64> {
        per(bytes, self.streams.records)
    }

    /// Bytes of tag, origin and index for each version.
    pub fn lineage_per_version(&self) -> Option<f64> {
        per(self.streams.lineage_bytes, self.streams.versions)
    }
}

/// To a tenth.
fn per(bytes: u64, number: u64) -> Option<f64> {
    (number > 0).then(|| (bytes as f64 / number as f64 * 10.0).round() / 10.0)
}
