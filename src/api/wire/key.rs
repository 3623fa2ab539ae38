//! API keys, as they are listed and made.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::api::key::ApiKey;
use crate::api::principal::Role;
use crate::api::wire::schema::Schema;
use crate::api::wire::schema::array;
use crate::api::wire::schema::id;
use crate::api::wire::schema::list;
use crate::api::wire::schema::nullable;
use crate::api::wire::schema::object;
use crate::api::wire::schema::one_of;
use crate::api::wire::schema::purpose;
use crate::api::wire::schema::string;
use crate::api::wire::schema::tenant;
use crate::api::wire::schema::time;
use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::KeyId;
use crate::ids::TenantId;

/// A key, as it is listed: without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its public name.
    pub id: KeyId,
    /// What it may do.
    pub role: Role,
    /// The tenant it speaks for.
    pub tenant: Option<TenantId>,
    /// The purposes it may state.
    pub purposes: BTreeSet<Purpose>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl From<ApiKey> for Key {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, hash: _, role, tenant, purposes, created_at, revoked_at } = key;
        Key { id, role, tenant, purposes, created_at, revoked_at }
    }
}

/// The schema of [`Key`].
pub const KEY: Schema = Schema {
    name: "Key",
    make: || {
        let members = [
            ("id", id("key")),
            ("role", role()),
            ("tenant", nullable(tenant())),
            ("purposes", array(purpose())),
            ("created_at", time()),
            ("revoked_at", nullable(time())),
        ];
        object(&members, &[])
    },
};

/// The schema of a page of keys.
pub const KEYS: Schema = Schema { name: "Keys", make: || list(&KEY) };

/// A key, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyOrder {
    /// What it may do.
    pub role: Role,
    /// The tenant it speaks for: needed unless the role is operator.
    pub tenant: Option<TenantId>,
    /// The purposes it may state.
    #[serde(default)]
    pub purposes: BTreeSet<Purpose>,
}

/// The schema of [`KeyOrder`].
pub const KEY_ORDER: Schema =
    Schema { name: "KeyOrder", make: || object(&[("role", role())], &[("tenant", nullable(tenant())), ("purposes", array(purpose()))]) };

/// A new key: the one time that its text is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// Its public name.
    pub id: KeyId,
    /// What it may do.
    pub role: Role,
    /// The tenant it speaks for.
    pub tenant: Option<TenantId>,
    /// The purposes it may state.
    pub purposes: BTreeSet<Purpose>,
    /// The text.
    pub key: String,
}

/// The schema of [`NewKey`].
pub const NEW_KEY: Schema = Schema {
    name: "NewKey",
    make: || {
        let members =
            [("id", id("key")), ("role", role()), ("tenant", nullable(tenant())), ("purposes", array(purpose())), ("key", string())];
        object(&members, &[])
    },
};

fn role() -> serde_json::Value {
    one_of(&Role::ALL.iter().map(|role| role.name()).collect::<Vec<_>>())
}
