//! The rows of disclosures.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::ConnectionKey;
use crate::ids::DisclosureId;
use crate::lineage::Location;
use crate::lineage::RECORDS_PER_BLOCK;
use crate::store::Row;
use crate::store::Table;

/// How records were handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// As the answer to a request for records.
    Api,
    /// In an export.
    Export,
    /// By the change feed.
    Feed,
    /// Elsewhere: a service has said so.
    Stated,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Mechanism; 4] = [Mechanism::Api, Mechanism::Export, Mechanism::Feed, Mechanism::Stated];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Mechanism::Api => "api",
            Mechanism::Export => "export",
            Mechanism::Feed => "feed",
            Mechanism::Stated => "stated",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no mechanism.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no mechanism; use one of api, export, feed, stated")]
pub struct MechanismError(String);

impl FromStr for Mechanism {
    type Err = MechanismError;

    fn from_str(text: &str) -> Result<Self, MechanismError> {
        let found = Mechanism::ALL.into_iter().find(|mechanism| mechanism.as_str() == text);
        found.ok_or_else(|| MechanismError(crate::ids::cut(text)))
    }
}

/// What finds a recipient of a tenant: the beginning of a keyed hash of its name.
pub(super) type Handle = [u8; 8];

/// Purpose and mechanism, as keys hold them.
pub(super) type Way = [u8; 2];

pub(super) fn way(purpose: Option<Purpose>, mechanism: Mechanism) -> Way {
    let number = |purpose: Purpose| Purpose::ALL.iter().position(|other| *other == purpose).map_or(0, |index| index as u8 + 1);
    [purpose.map_or(0, number), mechanism as u8]
}

pub(super) fn unway([purpose, mechanism]: Way) -> (Option<Purpose>, Mechanism) {
    let purpose = usize::from(purpose).checked_sub(1).and_then(|index| Purpose::ALL.get(index).copied());
    (purpose, Mechanism::ALL.get(usize::from(mechanism)).copied().unwrap_or(Mechanism::Stated))
}

/// Blocks of a page that one row is about: a page of any size is rows of a bounded one.
const BLOCKS_PER_PART: u16 = 1024;

const _: () = assert!(RECORDS_PER_BLOCK <= u64::BITS as usize, "the slots of a block are the bits of a number");

/// The page and the part of it that a version lies in.
pub(super) fn part_of(version: &Location) -> (u64, u16) {
    (version.page, version.block / BLOCKS_PER_PART)
}

/// Which slots of a page a recipient was handed, under (owner, page, part of 1,024 blocks, recipient, purpose and mechanism).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisclosedPageRow {
    /// When the first of them was.
    pub first_at: Timestamp,
    /// For each block of the part, a bit a slot; blocks behind the last that has one are left out.
    pub blocks: Vec<u64>,
}

impl Row for DisclosedPageRow {
    const TABLE: Table = Table::DisclosedPages;
    type Key = (ConnectionKey, (u64, (u16, (Handle, Way))));
}

impl DisclosedPageRow {
    pub(super) fn new(first_at: Timestamp) -> Self {
        DisclosedPageRow { first_at, blocks: Vec::new() }
    }

    /// Notes a version; whether it was not there before.
    pub(super) fn add(&mut self, version: &Location) -> bool {
        let (block, bit) = place(version);
        if self.blocks.len() <= block {
            self.blocks.resize(block + 1, 0);
        }
        let was = self.blocks[block] & bit != 0;
        self.blocks[block] |= bit;
        !was
    }

    /// Whether a version of its page and part was handed over.
    pub(super) fn has(&self, version: &Location) -> bool {
        let (block, bit) = place(version);
        self.blocks.get(block).is_some_and(|bits| bits & bit != 0)
    }
}

fn place(version: &Location) -> (usize, u64) {
    (usize::from(version.block % BLOCKS_PER_PART), 1 << (version.slot % u64::BITS as u16))
}

/// A recipient of a tenant, sealed under the tenant's own key, under (tenant, recipient).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow(pub Vec<u8>);

impl Row for RecipientRow {
    const TABLE: Table = Table::Recipients;
    type Key = (ConnectionKey, Handle);
}

/// That a recipient received of a connection, under (tenant, recipient, connection's number, purpose and mechanism): what stays
/// when the connection is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisclosureRow {
    /// Its id.
    pub id: DisclosureId,
    /// When the first was handed over.
    pub first_at: Timestamp,
    /// When the last was; behind by a minute at most where the same was handed over again.
    pub last_at: Timestamp,
    /// How many versions of records, each counted once.
    pub versions: u64,
}

impl Row for DisclosureRow {
    const TABLE: Table = Table::Disclosures;
    type Key = (ConnectionKey, (Handle, (u32, Way)));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: a row knows exactly the versions it was told, and tells once of each that it is new. Method: against a set.
        #[test]
        fn a_row_is_a_set(added in prop::collection::vec((0_u16..2000, 0_u16..24), 0..200), asked in (0_u16..2000, 0_u16..24)) {
            let location = |(block, slot)| Location { page: 1, block, slot };
            let mut rows = std::collections::BTreeMap::new();
            let mut model = BTreeSet::new();
            for version in added {
                let row = rows.entry(part_of(&location(version))).or_insert_with(|| DisclosedPageRow::new(Timestamp::UNIX_EPOCH));
                prop_assert_eq!(row.add(&location(version)), model.insert(version));
            }
            let has = rows.get(&part_of(&location(asked))).is_some_and(|row| row.has(&location(asked)));
            prop_assert_eq!(has, model.contains(&asked));
        }

        /// Purpose and mechanism come back from a key.
        #[test]
        fn ways_round_trip(purpose in 0..9_usize, mechanism in 0..4_usize) {
            let said = (purpose.checked_sub(1).map(|index| Purpose::ALL[index]), Mechanism::ALL[mechanism]);
            prop_assert_eq!(unway(way(said.0, said.1)), said);
        }
    }
}
