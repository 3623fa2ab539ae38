//! The store and its readiness.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::api::problem::Problem;
use crate::api::services;
use crate::api::services::Reply;
use crate::audit::Log;
use crate::gateway::scrub::Scrubs;
use crate::gateway::services::visible;
use crate::lineage::Volume;
use crate::store::Store;
use crate::store::Table;
use crate::vault::SigningUse;
use crate::vault::Vault;

/// [`services::Ground`] over a data directory.
pub struct Ground {
    store: Store,
    vault: Arc<Vault>,
    log: Log,
    scrubs: Scrubs,
}

impl Ground {
    /// Over a store, its keyring and its log.
    pub fn new(store: Store, vault: Arc<Vault>, log: Log, scrubs: Scrubs) -> Self {
        Ground { store, vault, log, scrubs }
    }
}

/// How long writes take to be durable: the times since the process began, and the age of the oldest that is not yet.
fn sync(store: &Store) -> Value {
    let (syncs, milliseconds) = (store.metrics().syncs(), |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0);
    json!({
        "count": syncs.count,
        "mean_ms": syncs.total.checked_div(syncs.count).map(milliseconds),
        "longest_ms": milliseconds(syncs.longest),
        "oldest_unsynced_ms": store.metrics().unsynced().map(milliseconds),
    })
}

impl services::Ground for Ground {
    /// `{records, versions, record_bytes, bytes_per_record, lineage_bytes_per_record, key_bytes_per_record, audit_entries,
    /// engine_bytes, segment_bytes, row_bytes, amplification, disk_free_bytes, disk, sync{count, mean_ms, longest_ms, oldest_unsynced_ms},
    /// snapshots, rows{TABLE: count}}`: by a walk over every key. `bytes_per_record` is of the disk, `lineage_bytes_per_record` and
    /// `key_bytes_per_record` count what each version's tag, origin and index and its business keys take before compression.
    /// `disk` is `ok`, `low` or `full`; `snapshots` are those that were found damaged.
    fn stats(&self) -> Reply<'_, Value> {
        let (store, log) = (self.store.clone(), self.log.clone());
        visible::blocking(move || {
            let counts = store.row_counts()?;
            let (engine_bytes, segment_bytes) = store.disk_bytes()?;
            let seen = store.look_at_disk(|| false)?;
            let disk = if seen.full {
                "full"
            } else if seen.low {
                "low"
            } else {
                "ok"
            };
            let snapshots: Vec<Value> = store
                .set_aside()?
                .into_iter()
                .map(|aside| json!({ "set_aside": aside.folder, "state": if aside.verified { "verified" } else { "not verified" } }))
                .collect();
            let volume = Volume::of(&store)?;
            let records = counts.iter().find(|(table, _)| *table == Table::Records).map_or(0, |(_, rows)| *rows);
            let rows: Map<String, Value> = counts.into_iter().map(|(table, rows)| (table.name().to_owned(), rows.into())).collect();
            Ok(json!({
                "records": records,
                "versions": volume.streams.versions,
                "record_bytes": volume.streams.bytes,
                "bytes_per_record": volume.per_record(engine_bytes + segment_bytes),
                "lineage_bytes_per_record": volume.lineage_per_version(),
                "key_bytes_per_record": volume.per_record(volume.streams.key_bytes),
                "sync": sync(&store),
                "audit_entries": log.head()?.size,
                "engine_bytes": engine_bytes,
                "segment_bytes": segment_bytes,
                "row_bytes": seen.row_bytes,
                "amplification": seen.amplification.map(|times| (times * 10.0).round() / 10.0),
                "disk_free_bytes": seen.free_bytes,
                "disk": disk,
                "snapshots": snapshots,
                "rows": rows,
            }))
        })
        .boxed()
    }

    fn begin_check(&self, limit: Option<Duration>) -> Reply<'_, Value> {
        async move {
            let status = self.scrubs.start(limit).map_err(Problem::internal)?;
            serde_json::to_value(status).map_err(Problem::internal)
        }
        .boxed()
    }

    fn check(&self) -> Reply<'_, Value> {
        async move { serde_json::to_value(self.scrubs.status()).map_err(Problem::internal) }.boxed()
    }

    fn writes(&self) -> bool {
        self.store.writes()
    }

    fn readiness(&self) -> Vec<(&'static str, bool)> {
        if !self.store.answers() {
            // The others ask it, and would wait with whoever is waiting.
            return vec![("store", false), ("audit log", false)];
        }
        vec![
            ("store", self.writes()),
            ("audit log", self.log.head().is_ok()),
            ("keyring", self.vault.signing_key(SigningUse::Statement).is_ok()),
        ]
    }
}
