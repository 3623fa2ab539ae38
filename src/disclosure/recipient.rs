//! Recipients: who they are is the tenant's own, sealed under its key and found by a keyed hash of the name.

use serde::Deserialize;
use serde::Serialize;

use crate::disclosure::DisclosureError;
use crate::disclosure::Disclosures;
use crate::disclosure::RecipientRow;
use crate::disclosure::rows::Handle;
use crate::ids::ConnectionKey;
use crate::ids::KeyId;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::Unit;
use crate::vault::Purpose;
use crate::vault::VaultError;

/// The local operator's name as a recipient.
const LOCAL: &str = "operator (local)";

/// What a recipient is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientKind {
    /// Whoever holds an API key; its name is the key's id.
    ApiKey,
    /// The operator at the machine.
    Operator,
    /// Somebody that a service has named.
    External,
}

impl RecipientKind {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            RecipientKind::ApiKey => "api_key",
            RecipientKind::Operator => "operator",
            RecipientKind::External => "external",
        }
    }
}

/// Whoever receives records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The name that it is found by.
    pub name: String,
    /// What it is.
    pub kind: RecipientKind,
    /// What it is in the words of whoever named it: `carrier`, `processor`.
    pub category: Option<String>,
    /// Where it is.
    pub region: Option<String>,
}

impl Recipient {
    /// Whoever holds an API key.
    pub fn key(key: KeyId) -> Self {
        Recipient { name: key.to_string(), kind: RecipientKind::ApiKey, category: None, region: None }
    }

    /// The operator at the machine.
    pub fn local() -> Self {
        Recipient { name: LOCAL.to_owned(), kind: RecipientKind::Operator, category: None, region: None }
    }

    /// Somebody named by a service. None for a name that Headgate itself gives to others.
    pub fn external(name: String, category: Option<String>, region: Option<String>) -> Option<Self> {
        let is_taken = name == LOCAL || name.parse::<KeyId>().is_ok();
        (!is_taken).then_some(Recipient { name, kind: RecipientKind::External, category, region })
    }

    /// One whose row is lost.
    fn lost(handle: Handle) -> Self {
        let name = format!("unknown ({})", data_encoding::HEXLOWER.encode(&handle));
        Recipient { name, kind: RecipientKind::External, category: None, region: None }
    }
}

impl Disclosures {
    /// What finds a recipient of a tenant.
    pub(super) fn handle(&self, tenant: u32, name: &str) -> Result<Handle, VaultError> {
        let hash = self.vault.tenant_keys(tenant)?.index_hmac(&[b"recipient", name.as_bytes()]);
        let mut handle = Handle::default();
        handle.copy_from_slice(&hash[..size_of::<Handle>()]);
        Ok(handle)
    }

    /// A recipient by its handle.
    pub(super) fn recipient(&self, tenant: u32, handle: Handle) -> Result<Recipient, DisclosureError> {
        Ok(self.known(tenant, handle)?.unwrap_or_else(|| Recipient::lost(handle)))
    }

    fn known(&self, tenant: u32, handle: Handle) -> Result<Option<Recipient>, DisclosureError> {
        let key = (ConnectionKey::of_tenant(tenant), handle);
        let Some(RecipientRow(sealed)) = self.store.get::<RecipientRow>(&key)? else { return Ok(None) };
        let plain = self.vault.tenant_keys(tenant)?.open(Purpose::Lineage, &place(&key), &sealed)?;
        Ok(postcard::from_bytes(plain.expose()).ok())
    }

    /// Puts a recipient that is new, or of whom more is known now.
    pub(super) fn put_recipient(&self, unit: &mut Unit, tenant: u32, handle: Handle, said: &Recipient) -> Result<(), DisclosureError> {
        let key = (ConnectionKey::of_tenant(tenant), handle);
        if said.category.is_none() && said.region.is_none() && self.store.contains::<RecipientRow>(&key)? {
            return Ok(());
        }
        let before = self.known(tenant, handle)?;
        let of =
            |part: fn(&Recipient) -> &Option<String>| part(said).clone().or_else(|| before.as_ref().and_then(|known| part(known).clone()));
        let merged = Recipient { category: of(|known| &known.category), region: of(|known| &known.region), ..said.clone() };
        if before.as_ref() != Some(&merged) {
            let plain = postcard::to_stdvec(&merged).unwrap_or_default();
            unit.put(&key, &RecipientRow(self.vault.tenant_keys(tenant)?.seal(Purpose::Lineage, &place(&key), &plain)?));
        }
        Ok(())
    }
}

/// What binds a sealed recipient to its row: the whole key.
fn place(key: &<RecipientRow as Row>::Key) -> Vec<u8> {
    let mut place = vec![RecipientRow::TABLE.tag()];
    key.encode(&mut place);
    place
}
