//! The keyring rotated, and copied.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::json;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::boolean;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::vault::EXPORT_LIFE_DAYS;
use crate::vault::EXPORT_LIFE_DAYS_MAX;

/// A rotation, asked for.
#[derive(Debug, Deserialize)]
pub struct RotationOrder {
    /// The new master key, in base64; without one, the key beside the data directory is replaced by one that is made.
    #[serde(default, deserialize_with = "kept_secret")]
    pub master_key: Option<Secret<String>>,
}

fn kept_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// The schema of [`RotationOrder`].
pub const ROTATION_ORDER: Schema =
    Schema { name: "KeyringRotationOrder", make: || object(&[], &[("master_key", nullable(short_text(100)))]) };

/// A rotation, done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// When.
    pub rotated_at: Timestamp,
    /// The file of the new master key, when Headgate made it.
    pub master_key_file: Option<String>,
    /// Whether the old master key lay beside the data directory, and was overwritten there.
    pub old_key_wiped: bool,
}

/// The schema of [`Rotated`].
pub const ROTATED: Schema = Schema {
    name: "KeyringRotation",
    make: || object(&[("rotated_at", time()), ("master_key_file", nullable(string())), ("old_key_wiped", boolean())], &[]),
};

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
