//! Connect sessions: one link that a customer opens once.

use serde::Deserialize;
use serde::Serialize;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::short_text;
use crate::api::wire::schema::string;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::TenantId;

/// A session, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// The connector's name.
    pub connector: String,
    /// For whom.
    pub tenant: TenantId,
    /// What the data may be used for; those of the connector when absent.
    pub purposes: Option<Vec<Purpose>>,
    /// Where the customer goes back to afterwards: https, or http on a loopback address.
    pub return_url: Option<String>,
}

/// The schema of [`Order`].
pub const ORDER: Schema = Schema {
    name: "ConnectSessionOrder",
    make: || {
        let required = [("connector", short_text(128)), ("tenant", tenant())];
        object(&required, &[("purposes", array(purpose())), ("return_url", nullable(short_text(2048)))])
    },
};

/// A session, opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// The link for the customer. A secret: a repeat under the same idempotency key answers null.
    pub url: Option<String>,
    /// When the link stops working.
    pub expires_at: Timestamp,
}

/// The schema of [`Opened`].
pub const OPENED: Schema = Schema { name: "ConnectSession", make: || object(&[("url", nullable(string())), ("expires_at", time())], &[]) };
