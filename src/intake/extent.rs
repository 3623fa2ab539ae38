//! Extents: runs of pages under one key and in one segment file, and the numbers of pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::ids::ConnectionKey;
use crate::lineage::PageRow;
use crate::store::Store;
use crate::vault::ExtentKey;
use crate::vault::Vault;

use super::IntakeError;

/// Pages of one extent at most.
const EXTENT_PAGES_MAX: u64 = 64;
/// Bytes after which an extent takes no further page.
const EXTENT_BYTES_MAX: u64 = 16 << 20;

/// The extents being filled, one a connection.
pub(super) struct Extents {
    store: Store,
    vault: Arc<Vault>,
    open: Mutex<HashMap<ConnectionKey, Arc<Mutex<Filling>>>>,
}

struct Filling {
    next_page: u64,
    extent: Option<Arc<Extent>>,
    pages: u64,
}

/// An extent being filled: its key, and how far its file is given away.
pub(super) struct Extent {
    pub key: Arc<ExtentKey>,
    end: Mutex<u64>,
}

impl Extent {
    /// Gives away the next bytes of the file.
    pub fn place(&self, bytes: u64) -> u64 {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = *end;
        *end += bytes;
        offset
    }

    fn end(&self) -> u64 {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Extents {
    pub fn new(store: Store, vault: Arc<Vault>) -> Self {
        Extents { store, vault, open: Mutex::default() }
    }

    /// The number of the next page of a connection, and the extent it goes into.
    pub fn next_page(&self, owner: ConnectionKey) -> Result<(u64, Arc<Extent>), IntakeError> {
        let filling = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.get(&owner) {
                Some(filling) => filling.clone(),
                None => open.entry(owner).or_insert(Arc::new(Mutex::new(self.load(owner)?))).clone(),
            }
        };
        let mut filling = filling.lock().unwrap_or_else(PoisonError::into_inner);
        let page = filling.next_page;
        filling.next_page += 1;
        let extent = match &filling.extent {
            Some(extent) if filling.pages < EXTENT_PAGES_MAX && extent.end() < EXTENT_BYTES_MAX => extent.clone(),
            _ => {
                let last = filling.extent.as_ref().map(|extent| extent.key.number());
                let (_, key) = self.vault.extent_create(owner, last)?;
                filling.pages = 0;
                filling.extent.insert(Arc::new(Extent { key, end: Mutex::new(0) })).clone()
            }
        };
        filling.pages += 1;
        Ok((page, extent))
    }

    /// Goes on where the rows say that the last extent ends: bytes behind that are leftovers of a crash.
    fn load(&self, owner: ConnectionKey) -> Result<Filling, IntakeError> {
        let rows = self.store.scan_back::<PageRow>(&owner.to_bytes(), None, EXTENT_PAGES_MAX as usize)?;
        let Some(((_, last), row)) = rows.first() else { return Ok(Filling { next_page: 1, extent: None, pages: 0 }) };
        let number = rows.iter().map(|(_, row)| row.extent).max().unwrap_or(row.extent);
        let inside = || rows.iter().filter(|(_, row)| row.extent == number);
        let end = inside().map(|(_, row)| row.end()).max().unwrap_or(0);
        let extent = Arc::new(Extent { key: self.vault.extent(owner, number)?, end: Mutex::new(end) });
        Ok(Filling { next_page: last + 1, extent: Some(extent), pages: inside().count() as u64 })
    }

    pub fn forget(&self, owner: ConnectionKey) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&owner);
    }
}
