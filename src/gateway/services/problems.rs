//! What the domain's refusals mean to a caller: the one place where they become [`Problem`]s.
//!
//! A message that says what to do goes out; a cause goes to the log. What a caller may not see does not exist, so nothing
//! here tells another tenant's thing from none: the services ask only for what is within the scope.

use crate::api::paging::foreign_token;
use crate::api::problem::MemberFault;
use crate::api::problem::Problem;
use crate::audit::AuditError;
use crate::authorization::AuthorizationError;
use crate::connect::ConnectError;
use crate::connection::Connection;
use crate::connection::ConnectionError;
use crate::connection::ConnectorsError;
use crate::connection::DefinitionError;
use crate::connection::State;
use crate::connection::schedule::IntervalError;
use crate::connector;
use crate::connector::definition::ConnectorError;
use crate::consent::ConsentError;
use crate::consent::ConsentProblem;
use crate::disclosure::DisclosureError;
use crate::erasure::ErasureError;
use crate::fetch::grants::GrantsError;
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
        State::Paused(_) => "resume it first",
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
            ConnectionError::State { .. } | ConnectionError::TenantEnded { .. } => Problem::StateConflict { reason: error.to_string() },
            ConnectionError::Store(error) => error.into(),
            ConnectionError::Vault(error) => error.into(),
            ConnectionError::Credential(error) => Problem::Unavailable { what: "the connection's credential", source: error.into() },
        }
    }
}

impl From<DisclosureError> for Problem {
    fn from(error: DisclosureError) -> Self {
        match error {
            DisclosureError::Store(error) => error.into(),
            DisclosureError::Vault(error) => error.into(),
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
            ConnectorsError::Refused(refused) => refused.into(),
            ConnectorsError::Folder { .. } => Problem::internal(error),
            ConnectorsError::Store(error) => error.into(),
        }
    }
}

impl From<ConnectorError> for Problem {
    fn from(error: ConnectorError) -> Self {
        match error {
            ConnectorError::Refused { problems, .. } => {
                Problem::InvalidMembers { errors: problems.iter().map(|problem| fault("/connector", problem)).collect() }
            }
            // What the configuration renders to is not repeated: it may hold secrets.
            ConnectorError::Expression { what, .. } | ConnectorError::Address { what, .. } => {
                Problem::member("/config", "unusable", format!("gives no usable `{what}` of the connector; correct what that is made of"))
            }
        }
    }
}

impl From<ConsentError> for Problem {
    fn from(error: ConsentError) -> Self {
        let fault = |problem: ConsentProblem| {
            let member = match problem {
                ConsentProblem::Name { field } => field,
                ConsentProblem::NotAcknowledged { .. } | ConsentProblem::UnknownStatement { .. } => "acknowledged",
                ConsentProblem::NoPurpose => "purposes",
            };
            MemberFault { pointer: format!("/consent/{member}"), code: "consent".into(), message: problem.to_string() }
        };
        match error {
            ConsentError::OtherVersion { given, current } => Problem::PolicyChanged { current: current.into(), given },
            ConsentError::Incomplete { problems } => Problem::InvalidMembers { errors: problems.into_iter().map(fault).collect() },
        }
    }
}

impl From<GrantsError> for Problem {
    fn from(error: GrantsError) -> Self {
        match error {
            GrantsError::NotRegistered { .. } => Problem::StateConflict { reason: error.to_string() },
            GrantsError::Connector(error) => error.into(),
            GrantsError::Hosts(_) | GrantsError::Manifest(_) => Problem::member(
                "/config",
                "unusable",
                "gives the connector no usable hosts or authenticator; correct what those are made of",
            ),
            GrantsError::Authorization(error) => error.into(),
        }
    }
}

impl From<AuthorizationError> for Problem {
    fn from(error: AuthorizationError) -> Self {
        use AuthorizationError as Error;
        let reason = error.to_string();
        match error {
            Error::UnknownState | Error::CodeMissing { .. } | Error::Issuer { .. } => Problem::Malformed { reason },
            Error::Denied { .. } | Error::Configuration { .. } | Error::Unusable { .. } | Error::Closed { .. } => {
                Problem::StateConflict { reason }
            }
            Error::NeedsReauthorization { .. }
            | Error::Refused { .. }
            | Error::Busy { .. }
            | Error::Unreachable { .. }
            | Error::OutcomeUnknown { .. } => Problem::ApplicationFailed { reason },
            Error::Keeping { .. } => Problem::Unavailable { what: "the connection's credential", source: error.into() },
        }
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Consent(error) => error.into(),
            ConnectError::Config { problems } => {
                Problem::InvalidMembers { errors: problems.iter().map(|problem| fault("/config", problem)).collect() }
            }
            ConnectError::UnknownStream { .. } => Problem::member("/streams", "unknown", error.to_string()),
            ConnectError::UnnamedStreams { .. } => Problem::member("/streams", "missing", error.to_string()),
            ConnectError::RefusedStream { .. } => Problem::member("/streams", "refused", error.to_string()),
            ConnectError::NotByConfig { .. } => Problem::member("/config", "unexpected", error.to_string()),
            ConnectError::Ended { .. } | ConnectError::Closed(_) => Problem::StateConflict { reason: error.to_string() },
            ConnectError::Connectors(error) => error.into(),
            ConnectError::Connector(error) => error.into(),
            ConnectError::Definition(error) => error.into(),
            ConnectError::Grants(error) => error.into(),
            ConnectError::Authorization(error) => error.into(),
            ConnectError::Connection(error) => error.into(),
            ConnectError::Store(error) => error.into(),
        }
    }
}

/// A problem of a connector or configuration, as a fault of the member that brought it.
fn fault(member: &str, problem: &connector::problem::Problem) -> MemberFault {
    let (pointer, message) = match member {
        "/config" => (format!("/config{}", problem.path), problem.message.clone()),
        other => (other.to_owned(), problem.to_string()),
    };
    MemberFault { pointer, code: problem.code.as_str().into(), message }
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
            ErasureError::Covered { .. } | ErasureError::UnderWay { .. } | ErasureError::NotRequested { .. } => {
                Problem::StateConflict { reason: error.to_string() }
            }
            ErasureError::UnknownTenant { tenant } => Problem::not_found("tenant", tenant.as_str()),
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
