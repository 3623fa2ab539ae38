//! What a record is: its digest, tag, masks, keys and operational view. Pure.
//!
//! [`FetchedPage`] is what comes in. Of each record, [`mask_cards`] takes out what must not be stored, [`content_digest`]
//! says whether it changed, [`Tag`] says where it came from.

mod canonical;
mod card;
mod json;
mod key;
mod kind;
mod mask;
mod operational;
mod page;
mod patch;
mod pointer;
pub(crate) mod scan;
#[cfg(test)]
mod scrawl;
mod tag;

pub use canonical::canonical_form;
pub use canonical::content_digest;
pub use json::JsonText;
pub use key::KEY_CHARS_MAX;
pub use key::KeyClass;
pub use kind::Kind;
pub use kind::KindError;
pub use mask::Mask;
pub use mask::MaskReason;
pub use mask::Masked;
pub use mask::mask_cards;
pub use mask::mask_text;
pub use mask::mask_value;
pub use operational::Mapping;
pub use page::Exchange;
pub use page::FetchedPage;
pub use page::FetchedRecord;
pub use patch::Operation;
pub use patch::Patch;
pub use patch::PatchError;
pub use pointer::Pointer;
pub use pointer::PointerError;
pub use scan::DEPTH_MAX;
pub use scan::JsonError;
pub use tag::ConnectorRef;
pub use tag::Direction;
pub use tag::PageFacts;
pub use tag::PageTag;
pub use tag::RecordFacts;
pub use tag::Retention;
pub use tag::Tag;
