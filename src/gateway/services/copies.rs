//! Compactions and backups, as the API tells them.

use std::time::Duration;

use futures_util::FutureExt;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::api::wire::copies::BackedUp;
use crate::api::wire::copies::BackupOrder;
use crate::api::wire::copies::Bytes;
use crate::api::wire::copies::Compacted;
use crate::api::wire::copies::CopyUnderWay;
use crate::copies;
use crate::copies::CopiesError;
use crate::store::CopyError;
use crate::store::StoreError;

/// [`services::Copies`] over the store of the data directory.
pub struct Copies {
    copies: copies::Copies,
}

impl Copies {
    /// Over what makes them.
    pub fn new(copies: copies::Copies) -> Self {
        Copies { copies }
    }
}

impl services::Copies for Copies {
    fn compact<'a>(&'a self, by: &'a Principal) -> Reply<'a, Compacted> {
        async move {
            let (compacted, segments_trimmed, took) = self.copies.compact(by.actor()).await?;
            Ok(Compacted {
                before: Bytes { bytes: compacted.bytes_before },
                after: Bytes { bytes: compacted.bytes_after },
                rows: compacted.rows,
                digest: compacted.digest,
                segments_trimmed,
                pause_ms: milliseconds(compacted.pause),
                seconds: took.as_secs_f64(),
            })
        }
        .boxed()
    }

    fn backup<'a>(&'a self, by: &'a Principal, order: BackupOrder) -> Reply<'a, BackedUp> {
        async move {
            if !order.to.is_absolute() {
                let reason = "must be an absolute path: the server's working directory is not yours";
                return Err(Problem::member("/to", "relative", reason));
            }
            let (made_at, backed_up, took) = self.copies.backup(order.to.clone(), by.actor()).await?;
            Ok(BackedUp {
                backup: order.to.display().to_string(),
                made_at,
                digest: backed_up.digest,
                rows: backed_up.rows,
                audit_entries: backed_up.audit_entries,
                segment_files: backed_up.segment_files,
                segments_erased: backed_up.segments_erased,
                bytes: backed_up.bytes,
                pause_ms: milliseconds(backed_up.pause),
                seconds: took.as_secs_f64(),
            })
        }
        .boxed()
    }

    fn under_way(&self) -> CopyUnderWay {
        self.copies.under_way().map_or_else(CopyUnderWay::default, |now| CopyUnderWay {
            what: Some(now.what.into()),
            phase: Some(now.phase.into()),
            done: now.done,
        })
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl From<CopiesError> for Problem {
    fn from(error: CopiesError) -> Self {
        match error {
            CopiesError::Copy(CopyError::Store(StoreError::Io { what, path, source })) => {
                Problem::StateConflict { reason: format!("cannot {what} {path:?}: {source}; everything is as it was before") }
            }
            CopiesError::Copy(CopyError::Store(error)) => error.into(),
            CopiesError::Copy(error) => Problem::StateConflict { reason: error.to_string() },
            CopiesError::Audit(error) => error.into(),
            CopiesError::Ended(error) => Problem::internal(error),
        }
    }
}
