//! The notice that a customer reads and the consent that is recorded. Pure.

mod given;
mod policy;
mod purpose;

pub use given::Consent;
pub use given::ConsentError;
pub use given::ConsentProblem;
pub use given::ConsentRequest;
pub use given::NAME_CHARS_MAX;
pub use policy::Acknowledgement;
pub use policy::Policy;
pub use policy::Statement;
pub use purpose::Purpose;
pub use purpose::PurposeError;
