//! Tenants, as they are listed.

use serde::Deserialize;
use serde::Serialize;

use crate::api::wire::schema::Schema;
use crate::api::wire::schema::id;
use crate::api::wire::schema::integer;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::ids::ErasureId;
use crate::ids::TenantId;

/// The states of a tenant.
pub const STATES: &[&str] = &["active", "erasing", "erased"];

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its slug.
    pub tenant: TenantId,
    /// One of [`STATES`].
    pub state: String,
    /// When it was first used.
    pub created_at: Timestamp,
    /// How many connections were made under it.
    pub connections: u32,
    /// The erasure that ended it.
    pub erasure: Option<ErasureId>,
}

/// The schema of [`Tenant`].
pub const TENANT: Schema = Schema {
    name: "Tenant",
    make: || {
        let members = [
            ("tenant", tenant()),
            ("state", one_of(STATES)),
            ("created_at", time()),
            ("connections", integer()),
            ("erasure", nullable(id("eras"))),
        ];
        object(&members, &[])
    },
};

/// The schema of a page of tenants.
pub const TENANTS: Schema = Schema { name: "Tenants", make: || list(&TENANT) };
