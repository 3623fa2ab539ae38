//! Why a reading cannot be begun or ended, in the protocol's three kinds, and without a secret.

use std::error::Error;
use std::path::PathBuf;

use serde_json::Value;

use crate::airbyte::message;
use crate::authorization::AuthorizationError;
use crate::clock::Timestamp;
use crate::connector::definition::ConnectorError;
use crate::connector::problem::Problem;
use crate::connector::reading::ReadingError;
use crate::fetch::FetchError;
use crate::fetch::egress::EgressError;
use crate::fetch::request::REDACTED;
use crate::secret::Secret;
use crate::telemetry;

/// Why a command of the protocol cannot be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum AirbyteError {
    /// The manifest has problems.
    #[error("the manifest cannot be used")]
    Manifest(#[from] ConnectorError),
    /// A file cannot be read.
    #[error("{path:?} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it has to be.
    #[error("{path:?} is no {what}: {fault}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it has to be.
        what: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// The configuration is not what the manifest's specification asks for.
    #[error("the configuration does not fit the specification: {}", .problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect::<Vec<_>>().join("; "))]
    Config {
        /// All that is wrong with it.
        problems: Vec<Problem>,
    },
    /// The client cannot be made.
    #[error("the HTTP client cannot be set up")]
    Client {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The manifest's own authenticator cannot be evaluated with this configuration.
    #[error("the manifest's authenticator cannot be used")]
    Authenticator {
        /// Why.
        #[from]
        source: ReadingError,
    },
    /// A host is none.
    #[error("the manifest's hosts cannot be used")]
    Hosts {
        /// Why.
        #[from]
        source: EgressError,
    },
    /// A stream that the manifest does not have.
    #[error("the manifest has no stream `{stream}`; take it out of the catalog, or discover the catalog anew")]
    UnknownStream {
        /// Its name.
        stream: String,
    },
    /// A stream that needs what is not run here.
    #[error("the stream `{stream}` is not run here: {problem}; take it out of the catalog")]
    RefusedStream {
        /// Its name.
        stream: String,
        /// The first reason.
        problem: Problem,
    },
    /// Whoever started the reading ended it.
    #[error("the reading was stopped by a signal; what was written is complete up to the last state, read on from there")]
    Stopped,
    /// The reading ended early.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whoever wrote configuration, catalog or manifest.
    Config,
    /// Nobody: it may work later.
    Transient,
    /// Whoever maintains the connector.
    System,
}

impl Kind {
    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Config => "config_error",
            Kind::Transient => "transient_error",
            Kind::System => "system_error",
        }
    }
}

impl AirbyteError {
    /// The message that says on standard output why a command was not carried out.
    pub fn message(&self, at: Timestamp) -> Value {
        message::error(None, self.kind(), &told(self, &[]), at)
    }

    /// Who has to act.
    pub(super) fn kind(&self) -> Kind {
        match self {
            AirbyteError::Manifest(_) | AirbyteError::Client { .. } | AirbyteError::RefusedStream { .. } => Kind::System,
            AirbyteError::Fetch(error) => kind(error),
            AirbyteError::Stopped => Kind::Transient,
            _ => Kind::Config,
        }
    }
}

fn kind(error: &FetchError) -> Kind {
    match error {
        FetchError::Authorization { source } => authorization(source),
        FetchError::Refused { status: 401 | 403, .. } | FetchError::Egress { .. } | FetchError::CredentialElsewhere { .. } => Kind::Config,
        FetchError::GaveUp { source, .. } if !source.is_transient() => kind(source),
        FetchError::GaveUp { .. } | FetchError::NotBefore { .. } | FetchError::Closed { .. } => Kind::Transient,
        FetchError::Reading { source, .. } if is_of_the_configuration(source) => Kind::Config,
        other if other.is_transient() => Kind::Transient,
        _ => Kind::System,
    }
}

fn authorization(error: &AuthorizationError) -> Kind {
    if error.is_transient() { Kind::Transient } else { Kind::Config }
}

fn is_of_the_configuration(error: &ReadingError) -> bool {
    matches!(error, ReadingError::Value { .. } | ReadingError::Address { .. } | ReadingError::NoAccessToken)
}

/// An error and its causes as one text, in which no secret of the configuration stands.
pub(super) fn told(error: &dyn Error, secrets: &[Secret<String>]) -> String {
    let mut text = telemetry::chain(error);
    for secret in secrets {
        if text.contains(secret.expose().as_str()) {
            text = text.replace(secret.expose().as_str(), REDACTED);
        }
    }
    text
}
