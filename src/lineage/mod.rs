//! Where a record came from: how pages, records and runs are kept, and the reader that answers from them.
//!
//! The facts of a page are kept once; a record's own facts lie beside its text in a sealed block. A record's id names its
//! index entry, which names the newest version; each version names the one before.

mod block;
mod change;
mod derivation;
mod feed;
mod impact;
pub(crate) mod reader;
mod rows;
mod volume;

pub use self::block::Block;
pub use self::block::Entry;
pub use self::block::Placement;
pub use self::block::RECORDS_PER_BLOCK;
pub use self::block::block_aad;
pub use self::change::ChangeRow;
pub use self::change::TombstoneRow;
pub use self::derivation::Artifact;
pub use self::derivation::Derivation;
pub use self::derivation::DerivationError;
pub use self::derivation::Derivations;
pub use self::derivation::Derived;
pub use self::derivation::DerivedRow;
pub use self::derivation::EpochRow;
pub use self::derivation::Facts;
pub use self::derivation::INPUTS_MAX;
pub use self::derivation::Input;
pub use self::derivation::Lost;
pub use self::derivation::Named;
pub use self::derivation::Need;
pub use self::derivation::NewDerivation;
pub use self::feed::Change;
pub use self::feed::FeedPart;
pub use self::feed::FeedPlace;
pub use self::impact::Affected;
pub use self::impact::artifact_leaf;
pub use self::reader::KeptVersion;
pub use self::reader::LineageError;
pub use self::reader::Reader;
pub use self::reader::RecordPage;
pub use self::reader::StoredRecord;
pub use self::rows::BusinessKeyRow;
pub use self::rows::CursorRow;
pub use self::rows::DeletedAtSource;
pub use self::rows::Location;
pub use self::rows::PageRow;
pub use self::rows::PullRow;
pub use self::rows::RecordRow;
pub use self::rows::RunIdRow;
pub use self::rows::RunRow;
pub use self::rows::RunState;
pub use self::rows::StreamRow;
pub use self::volume::Volume;

use crate::store::check::RowCheck;

/// Keyed hashes that one row holds at most: 16 KB of them.
pub const HASHES_PER_ROW: usize = 1000;

/// How a scrub reads the rows of records, pages and runs back.
pub fn row_checks() -> Vec<RowCheck> {
    vec![
        RowCheck::of::<RecordRow>(),
        RowCheck::of::<BusinessKeyRow>(),
        RowCheck::of::<PageRow>(),
        RowCheck::of::<StreamRow>(),
        RowCheck::of::<CursorRow>(),
        RowCheck::of::<RunRow>(),
        RowCheck::of::<RunIdRow>(),
        RowCheck::of::<PullRow>(),
        RowCheck::of::<ChangeRow>(),
        RowCheck::of::<TombstoneRow>(),
        RowCheck::of::<derivation::ArtifactRow>(),
        RowCheck::of::<derivation::DerivationRow>(),
        RowCheck::of::<DerivedRow>(),
        RowCheck::of::<EpochRow>(),
    ]
}
