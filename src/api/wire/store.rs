//! What is asked of the store.

use serde::Deserialize;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;

/// How the store is to be checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct CheckOrder {
    /// Seconds after which the check is given up, in place of the limit by size.
    #[serde(default)]
    pub time_limit: Option<u64>,
}

/// The schema of [`CheckOrder`].
pub const CHECK_ORDER: Schema = Schema { name: "CheckOrder", make: || object(&[], &[("time_limit", nullable(integer()))]) };
