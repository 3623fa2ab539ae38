//! A connection's life, its gate and its credential.

mod config;
mod connectors;
pub mod credential;
mod definition;
pub mod gate;
mod registry;
pub mod schedule;
mod state;
mod tenant;
#[cfg(test)]
pub(crate) mod test_gate;

pub use self::config::merged;
pub use self::config::split;
pub use self::connectors::Connectors;
pub use self::connectors::ConnectorsError;
pub use self::definition::DefinitionError;
pub use self::definition::Definitions;
pub use self::registry::ConnectionError;
pub use self::registry::Connections;
pub use self::registry::NewConnection;
pub use self::registry::entry;
pub use self::state::Active;
pub use self::state::Connection;
pub use self::state::Erased;
pub use self::state::NeedsReauthorization;
pub use self::state::Paused;
pub use self::state::Revoked;
pub use self::state::State;
pub use self::tenant::TenantRow;
pub use self::tenant::TenantState;

use crate::store::check::RowCheck;

/// How a scrub reads the rows of connections back.
pub fn row_checks() -> Vec<RowCheck> {
    let mut checks = registry::row_checks();
    checks.extend([
        RowCheck::of::<credential::CredentialRow>(),
        RowCheck::of::<schedule::Schedule>(),
        connectors::row_check(),
        definition::row_check(),
    ]);
    checks
}
