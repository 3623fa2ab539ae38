//! What was disclosed, told: of a version, of a connection, of a tenant.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::disclosure::DisclosedPageRow;
use crate::disclosure::DisclosureError;
use crate::disclosure::DisclosureRow;
use crate::disclosure::Disclosures;
use crate::disclosure::Mechanism;
use crate::disclosure::Recipient;
use crate::disclosure::RecipientRow;
use crate::disclosure::rows::Handle;
use crate::disclosure::rows::Way;
use crate::disclosure::rows::part_of;
use crate::disclosure::rows::unway;
use crate::ids::ConnectionKey;
use crate::ids::DisclosureId;
use crate::lineage::Location;
use crate::store::RowKey;

/// Recipients of one tenant that are looked through at a time.
const RECIPIENTS_STEP: usize = 500;

/// That somebody received one version of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which version, by where it lies.
    pub version: Location,
    /// Who.
    pub recipient: Recipient,
    /// For what.
    pub purpose: Option<Purpose>,
    /// How.
    pub mechanism: Mechanism,
    /// When the first version of the same page was handed to the same recipient; this one then or later.
    pub first_at: Timestamp,
}

/// That somebody received of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// Its id.
    pub id: DisclosureId,
    /// Of which connection; it may be erased since.
    pub owner: ConnectionKey,
    /// Who.
    pub recipient: Recipient,
    /// For what.
    pub purpose: Option<Purpose>,
    /// How.
    pub mechanism: Mechanism,
    /// When the first was handed over.
    pub first_at: Timestamp,
    /// When the last was.
    pub last_at: Timestamp,
    /// How many versions of records.
    pub versions: u64,
}

/// A place in the list of a tenant's disclosures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(Handle, u32, Way);

impl Disclosures {
    /// Who received these versions of a connection's records.
    ///
    /// # Errors
    /// When the store fails or the tenant's keys are gone.
    pub fn of_record(&self, owner: ConnectionKey, versions: &[Location]) -> Result<Vec<Received>, DisclosureError> {
        let parts: BTreeSet<(u64, u16)> = versions.iter().map(part_of).collect();
        let mut received = Vec::new();
        for (page, part) in parts {
            let mut prefix = Vec::with_capacity(18);
            (owner, (page, part)).encode(&mut prefix);
            for ((_, (_, (_, (handle, way)))), row) in self.store.scan::<DisclosedPageRow>(&prefix, None, usize::MAX)? {
                let of = versions.iter().filter(|version| part_of(version) == (page, part) && row.has(version));
                let of: Vec<Location> = of.copied().collect();
                if of.is_empty() {
                    continue;
                }
                let (recipient, (purpose, mechanism)) = (self.recipient(owner.tenant, handle)?, unway(way));
                let first_at = row.first_at;
                let told = |version| Received { version, recipient: recipient.clone(), purpose, mechanism, first_at };
                received.extend(of.into_iter().map(told));
            }
        }
        Ok(received)
    }

    /// Who received of a connection, and how much: also of one that is erased.
    ///
    /// # Errors
    /// When the store fails or the tenant's keys are gone.
    pub fn of_connection(&self, owner: ConnectionKey) -> Result<Vec<Disclosure>, DisclosureError> {
        let tenant = ConnectionKey::of_tenant(owner.tenant);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let recipients = self.store.scan::<RecipientRow>(&tenant.to_bytes(), after.as_ref(), RECIPIENTS_STEP)?;
            let Some((last, _)) = recipients.last() else { return Ok(found) };
            after = Some(*last);
            for ((_, handle), _) in recipients {
                let mut prefix = Vec::with_capacity(20);
                (tenant, (handle, owner.connection)).encode(&mut prefix);
                for (key, row) in self.store.scan::<DisclosureRow>(&prefix, None, usize::MAX)? {
                    found.push(self.told(key.1, &row, owner)?);
                }
            }
        }
    }

    /// At most `limit` of a tenant's disclosures behind a place: all, or those to the recipient of a name.
    ///
    /// # Errors
    /// When the store fails or the tenant's keys are gone.
    pub fn list(
        &self,
        tenant: u32,
        recipient: Option<&str>,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<(Place, Disclosure)>, DisclosureError> {
        let own = ConnectionKey::of_tenant(tenant);
        let mut prefix = own.to_bytes().to_vec();
        if let Some(name) = recipient {
            let handle = self.handle(tenant, name)?;
            // A place of another recipient's list: nothing lies behind it in this one.
            if after.is_some_and(|Place(of, ..)| of != handle) {
                return Ok(Vec::new());
            }
            prefix.extend_from_slice(&handle);
        }
        let after = after.map(|Place(handle, connection, way)| (own, (handle, (connection, way))));
        let rows = self.store.scan::<DisclosureRow>(&prefix, after.as_ref(), limit)?;
        let told = |((_, key), row): (_, DisclosureRow)| {
            let (handle, (connection, way)) = key;
            let owner = ConnectionKey { tenant, connection };
            Ok((Place(handle, connection, way), self.told(key, &row, owner)?))
        };
        rows.into_iter().map(told).collect()
    }

    fn told(
        &self,
        (handle, (_, way)): (Handle, (u32, Way)),
        row: &DisclosureRow,
        owner: ConnectionKey,
    ) -> Result<Disclosure, DisclosureError> {
        let DisclosureRow { id, first_at, last_at, versions } = *row;
        let (recipient, (purpose, mechanism)) = (self.recipient(owner.tenant, handle)?, unway(way));
        Ok(Disclosure { id, owner, recipient, purpose, mechanism, first_at, last_at, versions })
    }
}
