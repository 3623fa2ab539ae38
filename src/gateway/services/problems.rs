//! What the domain's refusals mean to a caller: the one place where they become [`Problem`]s.
//!
//! A message that says what to do goes out; a cause goes to the log. What a caller may not see does not exist, so nothing
//! here tells another tenant's thing from none: the services ask only for what is within the scope.

use crate::api::paging::foreign_token;
use crate::api::problem::Problem;
use crate::audit::AuditError;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::ConnectorsError;
use crate::connection::DefinitionError;
use crate::connection::State;
use crate::connection::schedule::IntervalError;
use crate::erasure::ErasureError;
use crate::lineage::LineageError;
use crate::merkle::ProofError;
use crate::record::KindError;
use crate::revocation::RevocationError;
use crate::run::RunError;
use crate::vault::VaultError;

/// An act that needs an open gate, on a connection whose gate is closed.
pub fn gate_closed(connection: &Connection) -> Problem {
    let remedy = match connection.state {
        State::Pending => "the customer has still to authorize it at the application",
        State::Active(_) => "it was stopped at this moment; look at it again",
        State::Paused(_) => "resume it first: PATCH it to `active`",
        State::NeedsReauthorization(_) => "the application no longer accepts its credential; reconnect it",
        State::Revoked(_) | State::Erased(_) => "that is final; connect again",
    };
    Problem::GateClosed { connection: connection.id.to_string(), state: connection.state.to_string(), remedy: remedy.into() }
}

/// A place in a list, read back from what the caller was given.
pub fn place<T: for<'a> serde::Deserialize<'a>>(bytes: Option<&[u8]>) -> Result<Option<T>, Problem> {
    bytes.map(|bytes| postcard::from_bytes(bytes).map_err(|_| foreign_token())).transpose()
}

impl From<ConnectionError> for Problem {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Unknown { id } => Problem::not_found("connection", &id.to_string()),
            ConnectionError::State { .. } => Problem::StateConflict { reason: error.to_string() },
            ConnectionError::Store(error) => error.into(),
            ConnectionError::Vault(error) => error.into(),
            ConnectionError::Credential(error) => Problem::Unavailable { what: "the connection's credential", source: error.into() },
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Destroyed { .. } => {
                Problem::StateConflict { reason: "what was asked for is erased; nothing of it opens any more".into() }
            }
            other => Problem::Unavailable { what: "the keyring", source: other.into() },
        }
    }
}

impl From<ConnectorsError> for Problem {
    fn from(error: ConnectorsError) -> Self {
        match error {
            ConnectorsError::Unknown { name, .. } => Problem::not_found("connector", &name),
            ConnectorsError::Disabled { .. } => Problem::StateConflict { reason: error.to_string() },
            ConnectorsError::Refused(refused) => Problem::member("/connector", "refused", refused.to_string()),
            ConnectorsError::Folder { .. } => Problem::internal(error),
            ConnectorsError::Store(error) => error.into(),
        }
    }
}

impl From<DefinitionError> for Problem {
    fn from(error: DefinitionError) -> Self {
        match error {
            DefinitionError::Store { source, .. } => source.into(),
            DefinitionError::Missing { .. } | DefinitionError::Refused(_) => {
                Problem::Unavailable { what: "the connection's connector", source: error.into() }
            }
        }
    }
}

impl From<IntervalError> for Problem {
    fn from(error: IntervalError) -> Self {
        Problem::member("/schedule/every", "interval", error.to_string())
    }
}

impl From<KindError> for Problem {
    fn from(error: KindError) -> Self {
        Problem::BadParameter { name: "kind".into(), reason: error.to_string() }
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Unknown { id } => Problem::not_found("run", &id.to_string()),
            RunError::UnderWay { connection, pull } => Problem::PullUnderWay { connection: connection.to_string(), pull: pull.to_string() },
            RunError::UnknownStream { .. } => Problem::member("/streams", "unknown", error.to_string()),
            RunError::NotActive { .. } | RunError::Closed(_) | RunError::NotBefore { .. } => {
                Problem::StateConflict { reason: error.to_string() }
            }
            RunError::Stopping => Problem::Unavailable { what: "the pulling of records", source: error.into() },
            RunError::Connection(error) => error.into(),
            RunError::Definition(error) => error.into(),
            RunError::Store(error) => error.into(),
            other => Problem::internal(other),
        }
    }
}

impl From<RevocationError> for Problem {
    fn from(error: RevocationError) -> Self {
        match error {
            RevocationError::Connection(error) => error.into(),
            RevocationError::NotDurable { .. } => Problem::Unavailable { what: "the list of stops", source: error.into() },
        }
    }
}

impl From<ErasureError> for Problem {
    fn from(error: ErasureError) -> Self {
        match error {
            ErasureError::Unknown { id } => Problem::not_found("erasure", &id.to_string()),
            ErasureError::NotRevoked { connection, .. } => Problem::NotRevoked { connection: connection.to_string() },
            ErasureError::Covered { .. } | ErasureError::NotRequested { .. } => Problem::StateConflict { reason: error.to_string() },
            ErasureError::Connection(error) => error.into(),
            ErasureError::Store(error) => error.into(),
            ErasureError::Vault(error) => Problem::Unavailable { what: "the keyring", source: error.into() },
            ErasureError::Audit(error) => error.into(),
        }
    }
}

impl From<LineageError> for Problem {
    fn from(error: LineageError) -> Self {
        match error {
            LineageError::Store(error) => error.into(),
            LineageError::Vault(error) => error.into(),
            LineageError::Damaged { .. } => Problem::internal(error),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::NoEntry { index, .. } | AuditError::Proof(ProofError::IndexBeyond { index, .. }) => {
                Problem::not_found("audit entry", &index.to_string())
            }
            AuditError::Proof(ref proof @ ProofError::SizeBeyond { .. }) => {
                Problem::BadParameter { name: "to".into(), reason: proof.to_string() }
            }
            AuditError::NodeMissing { .. } | AuditError::Proof(_) => Problem::internal(error),
            AuditError::Store(_) | AuditError::Vault(_) | AuditError::Note(_) => {
                Problem::Unavailable { what: "the audit log", source: error.into() }
            }
        }
    }
}
