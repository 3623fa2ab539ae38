//! Why there is no token. Causes are shared, because all callers of one renewal get the same answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::gate::GateClosed;
use crate::ids::ConnectionKey;

/// A cause that several callers hold.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// The cause of a failed authorization: what happened, to what, what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthorizationError {
    /// A callback whose state was never given, was altered, was used, or is older than ten minutes. No token is asked for.
    #[error("this authorization link is unknown, used or expired; start again from the page or the command that gave it")]
    UnknownState,
    /// The application's user or administrator said no. The connection stays as it was.
    #[error("the application did not authorize connection {owner}: {code}; open the link again to try once more")]
    Denied {
        /// Whose authorization.
        owner: ConnectionKey,
        /// The application's error code, cut short.
        code: String,
    },
    /// A callback that lacks its code.
    #[error("the application's answer for connection {owner} holds no `code`; open the link again")]
    CodeMissing {
        /// Whose authorization.
        owner: ConnectionKey,
    },
    /// A callback from another authorization server than the one asked (RFC 9207). No token is asked for.
    #[error(
        "the authorization of connection {owner} was answered by another server than {expected}; do not use that link again, and tell the operator"
    )]
    Issuer {
        /// Whose authorization.
        owner: ConnectionKey,
        /// The issuer that the connector declares.
        expected: String,
    },
    /// A URL, client id or the like in the connector's authorization that cannot be used.
    #[error("the authorization of {what} cannot be used; correct headgate.yaml or headgate.toml")]
    Configuration {
        /// What it is.
        what: String,
    },
    /// The application refuses this credential for good. The connection needs its customer.
    #[error("connection {owner} needs to be authorized again ({why}); `headgate connections reconnect` gives the link")]
    NeedsReauthorization {
        /// Whose credential.
        owner: ConnectionKey,
        /// What was refused.
        why: String,
    },
    /// The token endpoint refuses the request as such: a fault of the registration, not of the customer's authorization.
    #[error(
        "the token endpoint refused the request of connection {owner} with `{code}` (status {status}); check client id, secret and scopes"
    )]
    Refused {
        /// Whose credential.
        owner: ConnectionKey,
        /// The error code of RFC 6749 section 5.2, cut short.
        code: String,
        /// The HTTP status.
        status: u16,
    },
    /// The token endpoint is overloaded or broken. Nothing has changed.
    #[error("the token endpoint of connection {owner} answered with status {status}; it is tried again later")]
    Busy {
        /// Whose credential.
        owner: ConnectionKey,
        /// The HTTP status.
        status: u16,
        /// The wait that it asks for.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent. Nothing has changed.
    #[error("the token endpoint of connection {owner} was not reached; it is tried again later")]
    Unreachable {
        /// Whose credential.
        owner: ConnectionKey,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The answer was lost or cannot be read: whether the refresh token was used is not known.
    #[error(
        "the answer to a token request of connection {owner} was lost; the old token is tried first, the refresh token once more at most"
    )]
    OutcomeUnknown {
        /// Whose credential.
        owner: ConnectionKey,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The gate closed: what was on its way is not kept.
    #[error("the authorization was stopped")]
    Closed {
        /// The gate's answer.
        #[source]
        source: GateClosed,
    },
    /// The manifest's own token request cannot be made from this configuration.
    #[error("the token request of connection {owner} cannot be made from its configuration; see the cause")]
    Unusable {
        /// Whose credential.
        owner: ConnectionKey,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The credential cannot be read or written.
    #[error("the credential of connection {owner} cannot be kept; see the cause")]
    Keeping {
        /// Whose credential.
        owner: ConnectionKey,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl AuthorizationError {
    /// Whether the same request may succeed later without anyone acting.
    pub fn is_transient(&self) -> bool {
        use AuthorizationError::*;
        matches!(self, Busy { .. } | Unreachable { .. } | OutcomeUnknown { .. })
    }

    /// Whether the connection's customer has to act: the connection's state changes, its gate closes.
    pub fn needs_reauthorization(&self) -> bool {
        matches!(self, AuthorizationError::NeedsReauthorization { .. })
    }
}
