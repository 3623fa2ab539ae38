//! Compactions and backups of the store.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::digest::Digest;

/// Bytes of the engine's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// How many.
    pub bytes: u64,
}

/// A compaction, done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compacted {
    /// Before.
    pub before: Bytes,
    /// After.
    pub after: Bytes,
    /// Rows.
    pub rows: u64,
    /// Over the rows as they were compared.
    pub digest: Digest,
    /// Segment files that were removed or cut, because no page lies in what is gone of them.
    pub segments_trimmed: u64,
    /// How long nothing was written, in milliseconds.
    pub pause_ms: f64,
    /// How long all of it took.
    pub seconds: f64,
}

/// The schema of [`Compacted`].
pub const COMPACTED: Schema = Schema {
    name: "Compaction",
    make: || {
        let bytes = || object(&[("bytes", integer())], &[]);
        let members = [
            ("before", bytes()),
            ("after", bytes()),
            ("rows", integer()),
            ("digest", string()),
            ("segments_trimmed", integer()),
            ("pause_ms", number()),
            ("seconds", number()),
        ];
        object(&members, &[])
    },
};

/// A backup, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BackupOrder {
    /// The folder to make: an absolute path on the machine that holds the store.
    pub to: PathBuf,
}

/// The schema of [`BackupOrder`].
pub const BACKUP_ORDER: Schema = Schema { name: "BackupOrder", make: || object(&[("to", short_text(4096))], &[]) };

/// A backup, made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackedUp {
    /// The folder.
    pub backup: String,
    /// The moment that it is of.
    pub made_at: Timestamp,
    /// Of the whole backup: the last line of its `backup.json`.
    pub digest: Digest,
    /// Rows.
    pub rows: u64,
    /// Size of the audit log.
    pub audit_entries: u64,
    /// Segment files.
    pub segment_files: u64,
    /// Segment files that were erased before they were copied.
    pub segments_erased: u64,
    /// Bytes of the backup.
    pub bytes: u64,
    /// How long nothing was written, in milliseconds.
    pub pause_ms: f64,
    /// How long all of it took.
    pub seconds: f64,
}

/// The schema of [`BackedUp`].
pub const BACKED_UP: Schema = Schema {
    name: "Backup",
    make: || {
        let members = [
            ("backup", string()),
            ("made_at", time()),
            ("digest", string()),
            ("rows", integer()),
            ("audit_entries", integer()),
            ("segment_files", integer()),
            ("segments_erased", integer()),
            ("bytes", integer()),
            ("pause_ms", number()),
            ("seconds", number()),
        ];
        object(&members, &[])
    },
};

/// What is being copied now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyUnderWay {
    /// `compaction` or `backup`; null when nothing is.
    pub what: Option<String>,
    /// What of it is being done.
    pub phase: Option<String>,
    /// Rows or bytes that are done of that.
    pub done: u64,
}

/// The schema of [`CopyUnderWay`].
pub const COPY_UNDER_WAY: Schema = Schema {
    name: "CopyUnderWay",
    make: || object(&[("what", nullable(string())), ("phase", nullable(string())), ("done", integer())], &[]),
};

fn number() -> serde_json::Value {
    json!({ "type": "number" })
}
