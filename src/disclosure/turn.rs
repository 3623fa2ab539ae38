//! One after another, without waiting for the disk: each merges what it hands over into what the one before has submitted.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use jiff::SignedDuration;

use crate::disclosure::DisclosedPageRow;
use crate::disclosure::DisclosureError;
use crate::disclosure::DisclosureRow;
use crate::disclosure::Disclosures;
use crate::disclosure::Handover;
use crate::disclosure::rows::part_of;
use crate::disclosure::rows::way;
use crate::ids::ConnectionKey;
use crate::ids::DisclosureId;
use crate::store::Committed;
use crate::store::Row;
use crate::store::StoreError;
use crate::store::Unit;

/// How far behind [`DisclosureRow::last_at`] may be, where nothing new was handed over.
const LAST_BEHIND_MAX: SignedDuration = SignedDuration::from_secs(60);

type PageKey = <DisclosedPageRow as Row>::Key;
type ListKey = <DisclosureRow as Row>::Key;

/// Whose turn it is, and what was submitted and is perhaps not applied yet.
#[derive(Default)]
pub(super) struct Turn {
    turn: tokio::sync::Mutex<()>,
    pending: Mutex<Pending>,
}

/// Rows as the last who submitted them made them, each with the number of that turn.
#[derive(Default)]
struct Pending {
    turns: u64,
    pages: HashMap<PageKey, (u64, DisclosedPageRow)>,
    lists: HashMap<ListKey, (u64, DisclosureRow)>,
}

/// Rows that a turn changes.
#[derive(Default)]
struct Changed {
    pages: HashMap<PageKey, DisclosedPageRow>,
    lists: HashMap<ListKey, DisclosureRow>,
}

impl Turn {
    /// [`Disclosures::keep`]
    pub async fn keep(all: &Disclosures, mut unit: Unit, handovers: &[Handover]) -> Result<Committed, DisclosureError> {
        let turn = all.turn.turn.lock().await;
        let mut changed = Changed::default();
        for handover in handovers.iter().filter(|handover| !handover.versions.is_empty()) {
            all.turn.merge(all, &mut unit, handover, &mut changed)?;
        }
        changed.pages.iter().for_each(|(key, row)| {
            unit.put(key, row);
        });
        changed.lists.iter().for_each(|(key, row)| {
            unit.put(key, row);
        });
        let answer = all.store.submit(unit).await?;
        // Nothing is awaited between the submission and this: whoever hangs up has done both or neither.
        let pages: Vec<PageKey> = changed.pages.keys().copied().collect();
        let lists: Vec<ListKey> = changed.lists.keys().copied().collect();
        let number = all.turn.pending().remember(changed);
        drop(turn);
        let waited = Arc::clone(&all.turn);
        // A task of its own, so that what is pending is forgotten when it is applied, and not when somebody hangs up.
        let settled = tokio::spawn(async move {
            let outcome = answer.await.map_err(|_| StoreError::Stopped).and_then(|outcome| outcome);
            waited.pending().forget(number, &pages, &lists);
            outcome
        });
        Ok(settled.await.map_err(|_| StoreError::Stopped)??)
    }

    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        let pending = self.pending();
        pending.pages.is_empty() && pending.lists.is_empty()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the rows as they stand, or are about to.
    fn merge(&self, all: &Disclosures, unit: &mut Unit, handover: &Handover, changed: &mut Changed) -> Result<(), DisclosureError> {
        let Handover { owner, recipient, purpose, mechanism, at, versions } = handover;
        let (handle, way) = (all.handle(owner.tenant, &recipient.name)?, way(*purpose, *mechanism));
        let mut new = 0;
        let mut pages: HashMap<PageKey, DisclosedPageRow> = HashMap::new();
        let mut grown = HashSet::new();
        for version in versions {
            let (page, part) = part_of(version);
            let key = (*owner, (page, (part, (handle, way))));
            let row = match pages.entry(key) {
                Entry::Occupied(row) => row.into_mut(),
                Entry::Vacant(place) => place.insert(match changed.pages.get(&key).cloned().or_else(|| self.pending().page(&key)) {
                    Some(row) => row,
                    None => all.store.get::<DisclosedPageRow>(&key)?.unwrap_or_else(|| DisclosedPageRow::new(*at)),
                }),
            };
            if row.add(version) {
                new += 1;
                grown.insert(key);
            }
        }
        changed.pages.extend(pages.into_iter().filter(|(key, _)| grown.contains(key)));
        let key = (ConnectionKey::of_tenant(owner.tenant), (handle, (owner.connection, way)));
        let row = match changed.lists.get(&key).copied().or_else(|| self.pending().lists.get(&key).map(|(_, row)| *row)) {
            Some(row) => Some(row),
            None => all.store.get::<DisclosureRow>(&key)?,
        };
        let is_known = row.is_some();
        let row =
            row.unwrap_or_else(|| DisclosureRow { id: DisclosureId::new(*at, &all.entropy), first_at: *at, last_at: *at, versions: 0 });
        let is_later = row.last_at.checked_add(LAST_BEHIND_MAX).is_ok_and(|behind| behind <= *at);
        if new > 0 || is_later || *at < row.first_at || !is_known {
            let row = DisclosureRow { first_at: row.first_at.min(*at), last_at: row.last_at.max(*at), versions: row.versions + new, ..row };
            changed.lists.insert(key, row);
        }
        all.put_recipient(unit, owner.tenant, handle, recipient)
    }
}

impl Pending {
    fn page(&self, key: &PageKey) -> Option<DisclosedPageRow> {
        self.pages.get(key).map(|(_, row)| row.clone())
    }

    fn remember(&mut self, changed: Changed) -> u64 {
        self.turns += 1;
        let number = self.turns;
        self.pages.extend(changed.pages.into_iter().map(|(key, row)| (key, (number, row))));
        self.lists.extend(changed.lists.into_iter().map(|(key, row)| (key, (number, row))));
        number
    }

    /// What a later turn has built on stays until that is applied.
    fn forget(&mut self, number: u64, pages: &[PageKey], lists: &[ListKey]) {
        for key in pages {
            if self.pages.get(key).is_some_and(|(of, _)| *of == number) {
                self.pages.remove(key);
            }
        }
        for key in lists {
            if self.lists.get(key).is_some_and(|(of, _)| *of == number) {
                self.lists.remove(key);
            }
        }
    }
}
