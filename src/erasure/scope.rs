//! What an erasure covers. This is the one place that tells scopes apart: the way from plan to certificate is the same for
//! all, and asks here what its steps are over.
//!
//! A scope that is narrower than a connection will be a variant more: its keys are those of the extents that it touches, and
//! a step before their destruction seals the survivors anew.

use serde::Deserialize;
use serde::Serialize;

use crate::audit;
use crate::clock::Timestamp;
use crate::ids::ConnectionId;
use crate::ids::ConnectionKey;
use crate::ids::TenantId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Table;
use crate::store::layout::Erasure;
use crate::store::layout::TABLES;
use crate::vault::DestroyedKeys;
use crate::vault::Vault;
use crate::vault::VaultError;

/// What an erasure covers, by the numbers under which it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// One connection, whole.
    Connection {
        /// Its id.
        connection: ConnectionId,
        /// Its numbers.
        owner: ConnectionKey,
    },
    /// Every connection of a tenant, and what is the tenant's own.
    Tenant {
        /// Its number.
        number: u32,
    },
}

/// One step of a sweep. Each may be done twice, and a crash goes on with the one that it interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// What stands under the tenant's name and not under a connection.
    Belongings,
    /// The connections' own rows say that they are erased.
    Connections,
    /// Artifacts that die are reduced to tombstones, and those that outlive the erasure lose what it took.
    Artifacts,
    /// Segment files are unlinked.
    Segments,
    /// The rows of a table are removed.
    Rows(Table),
}

impl Scope {
    /// Whether whatever the other covers is covered by this one too.
    pub fn covers(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::Tenant { number }, Scope::Tenant { number: other }) => number == other,
            (Scope::Tenant { number }, Scope::Connection { owner, .. }) => *number == owner.tenant,
            (Scope::Connection { owner, .. }, Scope::Connection { owner: other, .. }) => owner == other,
            (Scope::Connection { .. }, Scope::Tenant { .. }) => false,
        }
    }

    /// The one connection that it names.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            Scope::Connection { connection, .. } => Some(*connection),
            Scope::Tenant { .. } => None,
        }
    }

    /// The number of whose data it is.
    pub(super) fn tenant(&self) -> u32 {
        match self {
            Scope::Connection { owner, .. } => owner.tenant,
            Scope::Tenant { number } => *number,
        }
    }

    /// As certificates name it.
    pub fn named(&self, tenant: &TenantId) -> audit::Scope {
        match self {
            Scope::Connection { connection, .. } => audit::Scope::Connection { connection: *connection },
            Scope::Tenant { .. } => audit::Scope::Tenant { tenant: tenant.clone() },
        }
    }

    /// The bytes that begin the keys of its rows, after the table's.
    pub fn prefix(&self) -> Vec<u8> {
        match self {
            Scope::Connection { owner, .. } => owner.to_bytes().to_vec(),
            Scope::Tenant { number } => number.to_be_bytes().to_vec(),
        }
    }

    /// Destroys its keys; asked again, the answer is that of the first time.
    pub(super) fn destroy(&self, vault: &Vault) -> Result<DestroyedKeys, VaultError> {
        match self {
            Scope::Connection { owner, .. } => vault.connection_destroy(*owner),
            Scope::Tenant { number } => vault.tenant_destroy(*number),
        }
    }

    /// When its keys were destroyed, if they were.
    pub(super) fn destroyed_at(&self, vault: &Vault) -> Option<Timestamp> {
        match self {
            Scope::Connection { owner, .. } => vault.destroyed_at(*owner),
            Scope::Tenant { number } => vault.tenant_destroyed_at(*number),
        }
    }

    pub(super) fn unlink_segments(&self, store: &Store) -> Result<(), StoreError> {
        match self {
            Scope::Connection { owner, .. } => store.unlink_segments(*owner).map(drop),
            Scope::Tenant { number } => store.unlink_tenant_segments(*number),
        }
    }

    /// The steps of its sweep, in their order. Of the rows the index of records is first and artifacts follow: what the certificate
    /// commits to.
    pub(super) fn steps(&self) -> Vec<Step> {
        let is_removed = |table: &Table| match table.erasure() {
            Erasure::Removed => true,
            Erasure::RemovedOfTenant => matches!(self, Scope::Tenant { .. }),
            _ => false,
        };
        let removed = TABLES.iter().copied().filter(is_removed);
        let rows = removed.filter(|table| *table != Table::Records).map(Step::Rows);
        let own = match self {
            Scope::Connection { .. } => vec![],
            Scope::Tenant { .. } => vec![Step::Belongings, Step::Connections],
        };
        own.into_iter().chain([Step::Segments, Step::Rows(Table::Records), Step::Artifacts]).chain(rows).collect()
    }

    /// What it leaves, and why: from the rules of the store's tables, so that none is forgotten.
    pub fn kept(&self) -> Vec<(String, &'static str)> {
        let rows = TABLES.iter().filter_map(|table| match (table.erasure(), self) {
            (Erasure::Kept(why), _) | (Erasure::KeptOfTenant(why), Scope::Tenant { .. }) => Some((table.name().to_owned(), why)),
            (Erasure::KeptOfTenant(_), Scope::Connection { .. }) => None,
            (Erasure::Removed | Erasure::RemovedOfTenant | Erasure::RemovedWithTenant | Erasure::Unrelated, _) => None,
        });
        let files = [
            ("sealed remains in the engine's files", "ciphertext whose keys are destroyed; gone with the next `store compact`"),
            ("backups made before", "ciphertext; a backup never holds keys"),
        ];
        rows.chain(files.map(|(what, why)| (what.to_owned(), why))).collect()
    }
}
