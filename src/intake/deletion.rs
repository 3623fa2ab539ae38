//! What the application has no more, as a run over the whole of a stream can tell: what was there and was not met.

use crate::clock::Timestamp;
use crate::lineage::ChangeRow;
use crate::lineage::DeletedAtSource;
use crate::lineage::HASHES_PER_ROW;
use crate::lineage::RecordRow;
use crate::store::Unit;

use super::IntakeError;
use super::StreamIntake;

/// Records of a run that are remembered: 8 MiB. A run that meets more tells of no deletion.
const MET_MAX: usize = 1 << 20;
/// Rows of the index that are looked at in one step.
const ROWS_STEP: usize = 2000;

/// The records that a run has met, each by the first eight bytes of its hash: two that share these are rarer than a lost disk, and
/// then a deletion is not told.
#[derive(Default)]
pub(super) struct Met {
    prefixes: Vec<u64>,
    is_over: bool,
}

impl Met {
    /// Remembers a record.
    pub fn note(&mut self, hash: &[u8; 16]) {
        if self.prefixes.len() < MET_MAX {
            self.prefixes.push(prefix(hash));
        } else if !self.is_over {
            self.prefixes.sort_unstable();
            self.prefixes.dedup();
            self.is_over = self.prefixes.len() == MET_MAX;
            self.prefixes.push(prefix(hash));
        }
    }

    /// Every record once, in order; none when there were too many.
    fn settle(mut self) -> Option<Vec<u64>> {
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        (!self.is_over).then_some(self.prefixes)
    }
}

fn prefix(hash: &[u8; 16]) -> u64 {
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl StreamIntake {
    /// Remembers from now on which records are met, for a run that asks for the whole of the stream. Of a stream that holds nothing
    /// nothing can be missed.
    pub fn watch_deletions(&mut self) {
        self.met = (self.counters.records > 0).then(Met::default);
        self.run.deleted = self.met.is_some().then_some(0);
    }

    /// Tells, at the end of a run that read everything, which records the application has no more: they are marked, and stand in the log
    /// of changes. The records themselves are kept; erasing them is another act.
    ///
    /// Nothing is told when a record may have been there and not been counted: something was filtered out or ignored, more was met than
    /// can be remembered, or nothing was met at all, which an application also answers when it has lost its way.
    ///
    /// # Errors
    /// When the connection was stopped meanwhile, or the store fails.
    pub async fn tell_deletions(&mut self, at: Timestamp) -> Result<(), IntakeError> {
        self.settle().await?;
        let Some(met) = self.met.take() else { return Ok(()) };
        let is_whole = self.run.filtered == 0 && self.run.ignored == 0;
        let Some(met) = met.settle().filter(|met| is_whole && !met.is_empty()) else {
            tracing::info!(run.id = %self.run.id, stream = self.run.stream, "what the application has deleted cannot be told from this run");
            self.run.deleted = None;
            return self.report().await;
        };
        if met.len() as u64 == self.counters.records.saturating_sub(self.counters.deleted) {
            return self.report().await;
        }
        let owner = self.connection.key;
        let mut prefix_of_rows = owner.to_bytes().to_vec();
        prefix_of_rows.extend_from_slice(&self.stream.to_be_bytes());
        let mut after = None;
        loop {
            let store = &self.intake.store;
            let rows = tokio::task::block_in_place(|| store.scan::<RecordRow>(&prefix_of_rows, after.as_ref(), ROWS_STEP))?;
            after = rows.last().map(|(key, _)| *key);
            let is_last = rows.len() < ROWS_STEP;
            let is_missed = |hash: &[u8; 16], row: &RecordRow| row.deleted.is_none() && met.binary_search(&prefix(hash)).is_err();
            let missed: Vec<([u8; 16], RecordRow)> =
                rows.into_iter().map(|((_, (_, hash)), row)| (hash, row)).filter(|(hash, row)| is_missed(hash, row)).collect();
            for missed in missed.chunks(HASHES_PER_ROW) {
                self.mark_deleted(missed, at).await?;
            }
            if is_last {
                return self.report().await;
            }
        }
    }

    async fn mark_deleted(&mut self, missed: &[([u8; 16], RecordRow)], at: Timestamp) -> Result<(), IntakeError> {
        let (owner, stream, run) = (self.connection.key, self.stream, self.run.id);
        let mut unit = Unit::default();
        for (hash, row) in missed {
            unit.put(&(owner, (stream, *hash)), &RecordRow { deleted: Some(DeletedAtSource { run, at }), ..*row });
        }
        let hashes = missed.iter().map(|(hash, _)| *hash).collect();
        unit.put_numbered(move |unit| ((owner.tenant, unit), ChangeRow::DeletedAtSource { owner, stream, run, at, hashes }));
        self.counters.deleted += missed.len() as u64;
        self.run.deleted = Some(self.run.deleted.unwrap_or_default() + missed.len() as u64);
        self.close_unit(&mut unit, None)?;
        self.intake.store.commit(unit).await?;
        self.acknowledged = Some(self.run.clone());
        Ok(())
    }

    /// What was told is what the run's row says from now on.
    async fn report(&mut self) -> Result<(), IntakeError> {
        if let Some(acknowledged) = &mut self.acknowledged {
            acknowledged.deleted = self.run.deleted;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a record met often counts once, and too many are never taken for all of them.
    #[test]
    fn too_many_are_not_all() {
        let hash = |number: u32| {
            let mut hash = [0; 16];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            hash
        };
        let mut met = Met::default();
        (0..3 * MET_MAX as u32).for_each(|number| met.note(&hash(number % 1000)));
        assert_eq!(met.settle().map(|met| met.len()), Some(1000));
        let mut met = Met::default();
        (0..=MET_MAX as u32).for_each(|number| met.note(&hash(number)));
        assert!(met.settle().is_none());
    }
}
