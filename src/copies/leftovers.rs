//! Bytes of segment files that no page names: what a crash between the writing of blocks and of their rows has left.
//!
//! They are sealed and unreachable, and would be overwritten as the extent goes on; where it does not, they are removed here.
//! A page that is on its way has its place already and its row not yet, so nothing is removed while any run is under way.

use std::collections::HashMap;

use crate::ids::ConnectionKey;
use crate::lineage::PageRow;
use crate::store::CopyError;
use crate::store::Store;
use crate::store::StoreError;

/// Pages looked at in one step.
const STEP: usize = 1000;

/// Removes them; how many files were removed or cut. For a blocking thread.
pub(super) fn trim(store: &Store) -> Result<u64, CopyError> {
    let mut trimmed = 0;
    for owner in store.segment_owners()? {
        let (newest, ends) = named(store, owner)?;
        let mut beyond = store.segment_lengths(owner)?;
        beyond.retain(|(extent, bytes)| *bytes > ends.get(extent).copied().unwrap_or(0));
        if !beyond.is_empty() {
            let ends = beyond.into_iter().map(|(extent, _)| (extent, ends.get(&extent).copied().unwrap_or(0))).collect();
            trimmed += store.trim_segments(owner, newest, ends)?;
        }
    }
    Ok(trimmed)
}

/// The newest page of a connection, and where the last page of each extent ends.
fn named(store: &Store, owner: ConnectionKey) -> Result<(Option<u64>, HashMap<u32, u64>), StoreError> {
    let (mut newest, mut ends) = (None, HashMap::new());
    loop {
        let after = newest.map(|page| (owner, page));
        let pages = store.scan::<PageRow>(&owner.to_bytes(), after.as_ref(), STEP)?;
        let Some(((_, page), _)) = pages.last() else { return Ok((newest, ends)) };
        newest = Some(*page);
        for (_, row) in &pages {
            let end = ends.entry(row.extent).or_insert(0);
            *end = row.end().max(*end);
        }
    }
}
