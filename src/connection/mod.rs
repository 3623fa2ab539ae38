//! A connection's life, its gate and its credential.

pub mod credential;
pub mod gate;
mod state;

pub use self::state::Active;
pub use self::state::Connection;
pub use self::state::Erased;
pub use self::state::NeedsReauthorization;
pub use self::state::Paused;
pub use self::state::Revoked;
pub use self::state::State;
