//! What Headgate tells about its own runs, as OpenLineage events: pure and typed, from facts that others hand in.
//!
//! Out we are strict: every event follows the core schema 2-0-2 and the published facets, with the keys `facets`, `inputs` and
//! `outputs` always there. No event holds a token, a configuration, a cursor or anything of a record: names, counts, times, the
//! stream's declared fields, and the error as the integration log has it.

mod erasure;
mod event;
pub mod facets;
mod own;
mod producer;
mod run;
mod schema;
mod source;

pub use self::erasure::Erased;
pub use self::erasure::ErasureRun;
pub use self::event::EventType;
pub use self::event::RunEvent;
pub use self::own::names as own_schema_names;
pub use self::own::schema as own_schema;
pub use self::producer::Producer;
pub use self::run::Beginning;
pub use self::run::Ending;
pub use self::run::Stored;
pub use self::run::StreamRun;
pub use self::schema::StreamShape;
pub use self::source::Source;
pub use self::source::Sources;
