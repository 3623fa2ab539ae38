//! Tenants: the slug by which one is known, the number that begins its storage keys, and how it ends.

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::connection::ConnectionError;
use crate::connection::Connections;
use crate::ids::ErasureId;
use crate::ids::TenantId;
use crate::store::Row;
use crate::store::Table;
use crate::store::Unit;

/// A tenant, under its slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRow {
    /// Its number in storage keys.
    pub number: u32,
    /// When it was first used.
    pub created_at: Timestamp,
    /// Connections that were made under it. Each changes the row, so that whoever expects the row to be what it was knows
    /// that none came in between.
    pub connections: u32,
    /// Where it stands.
    pub state: TenantState,
}

/// Where a tenant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenantState {
    /// Applications can be connected.
    Active,
    /// Its erasure is approved: nothing is connected any more.
    Erasing {
        /// Since when.
        since: Timestamp,
        /// By which erasure.
        by: ErasureId,
    },
    /// Its data is gone, and its slug is not used again.
    Erased {
        /// Since when.
        at: Timestamp,
        /// By which erasure; unknown when only the keyring tells of it (an old copy of the store).
        by: Option<ErasureId>,
    },
}

impl TenantState {
    /// The state as the contract names it.
    pub fn name(&self) -> &'static str {
        match self {
            TenantState::Active => "active",
            TenantState::Erasing { .. } => "erasing",
            TenantState::Erased { .. } => "erased",
        }
    }

    /// The erasure that ends it, if one does.
    pub fn erasure(&self) -> Option<ErasureId> {
        match self {
            TenantState::Active => None,
            TenantState::Erasing { by, .. } => Some(*by),
            TenantState::Erased { by, .. } => *by,
        }
    }
}

impl Row for TenantRow {
    const TABLE: Table = Table::Tenants;
    type Key = String;
}

/// A tenant's slug, under its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TenantNameRow(pub(super) TenantId);

impl Row for TenantNameRow {
    const TABLE: Table = Table::TenantNames;
    type Key = u32;
}

impl Connections {
    /// A tenant's number, if it was ever used.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tenant(&self, tenant: &TenantId) -> Result<Option<u32>, ConnectionError> {
        Ok(self.tenant_row(tenant)?.map(|row| row.number))
    }

    /// The name of a tenant by its number.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tenant_named(&self, number: u32) -> Result<Option<TenantId>, ConnectionError> {
        Ok(self.store().get::<TenantNameRow>(&number)?.map(|row| row.0))
    }

    /// A tenant as it is known, if it was ever used. The keyring knows best whether it is erased: the row is behind in an old
    /// copy of the store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tenant_row(&self, tenant: &TenantId) -> Result<Option<TenantRow>, ConnectionError> {
        Ok(self.store().get::<TenantRow>(&tenant.as_str().to_owned())?.map(|row| self.as_known_tenant(row)))
    }

    /// At most `limit` tenants behind `after`, by their slugs.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<(TenantId, TenantRow)>, ConnectionError> {
        let after = after.map(|tenant| tenant.as_str().to_owned());
        let rows = self.store().scan::<TenantRow>(&[], after.as_ref(), limit)?;
        let known = |(slug, row): (String, TenantRow)| Some((slug.parse().ok()?, self.as_known_tenant(row)));
        Ok(rows.into_iter().filter_map(known).collect())
    }

    /// A tenant that may have new data, or none of that name yet.
    ///
    /// # Errors
    /// [`ConnectionError::TenantEnded`] for one whose erasure is approved.
    pub fn open_tenant(&self, tenant: &TenantId) -> Result<Option<TenantRow>, ConnectionError> {
        match self.tenant_row(tenant)? {
            Some(TenantRow { state: TenantState::Active, .. }) | None => Ok(self.store().get::<TenantRow>(&tenant.as_str().to_owned())?),
            Some(row) => Err(ConnectionError::TenantEnded { tenant: tenant.clone(), state: row.state.name() }),
        }
    }

    /// Lets a unit be written only while the tenant is as it is now, and active.
    ///
    /// # Errors
    /// [`ConnectionError::TenantEnded`] for one whose erasure is approved; when the store fails.
    pub fn expect_active(&self, tenant: &TenantId, unit: &mut Unit) -> Result<(), ConnectionError> {
        let row = self.open_tenant(tenant)?;
        unit.expect(&tenant.as_str().to_owned(), row.as_ref());
        Ok(())
    }

    fn as_known_tenant(&self, row: TenantRow) -> TenantRow {
        match (&row.state, self.vault().tenant_destroyed_at(row.number)) {
            (TenantState::Erased { .. }, _) | (_, None) => row,
            (state, Some(at)) => TenantRow { state: TenantState::Erased { at, by: state.erasure() }, ..row },
        }
    }
}
