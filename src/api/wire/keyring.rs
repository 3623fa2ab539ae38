//! Copies of the keyring.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use serde_json::json;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::object;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::vault::EXPORT_LIFE_DAYS;
use crate::vault::EXPORT_LIFE_DAYS_MAX;

/// An export, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ExportOrder {
    /// The file to make: an absolute path on the machine that holds the store.
    pub to: PathBuf,
    /// For how many days it can be imported.
    #[serde(default = "usual_days")]
    pub days: u32,
}

fn usual_days() -> u32 {
    EXPORT_LIFE_DAYS
}

/// The schema of [`ExportOrder`].
pub const EXPORT_ORDER: Schema = Schema {
    name: "KeyringExportOrder",
    make: || {
        let days = json!({ "type": "integer", "minimum": 1, "maximum": EXPORT_LIFE_DAYS_MAX });
        object(&[("to", short_text(4096))], &[("days", days)])
    },
};

/// An export, made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The file.
    pub file: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it can be imported.
    pub expires_at: Timestamp,
    /// How many keys it holds, those of extents not counted.
    pub keys: u64,
    /// How many keys were destroyed when it was made: a restore needs a list at least as long.
    pub destroyed: u64,
    /// The file's length.
    pub bytes: u64,
}

/// The schema of [`Exported`].
pub const EXPORTED: Schema = Schema {
    name: "KeyringExport",
    make: || {
        let members = [
            ("file", string()),
            ("made_at", time()),
            ("expires_at", time()),
            ("keys", integer()),
            ("destroyed", integer()),
            ("bytes", integer()),
        ];
        object(&members, &[])
    },
};
