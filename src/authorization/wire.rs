//! How a token request leaves: one trait, so that nothing here depends on the HTTP client.

use std::error::Error;
use std::time::Duration;

use futures_util::future::BoxFuture;
use url::Url;

use crate::connection::gate::Permit;
use crate::secret::Secret;

/// A POST to a token or revocation endpoint. All of it counts as secret.
pub struct WireRequest {
    /// The endpoint.
    pub url: Url,
    /// Headers, such as `Authorization`; `Accept` and `Content-Type` are among them when they are wanted.
    pub headers: Vec<(String, Secret<String>)>,
    /// The body: a form, unless a header says otherwise.
    pub body: Secret<Vec<u8>>,
    /// Secrets that stand in the URL, so that no error shows them.
    pub hidden: Vec<Secret<String>>,
}

/// An endpoint's answer, read whole.
#[derive(Debug)]
pub struct WireAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body; it may hold tokens.
    pub body: Secret<Vec<u8>>,
    /// The wait that the answer asks for.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nothing reached the endpoint.
    #[error("the request did not reach the endpoint")]
    NotSent {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The request may have taken effect, but its answer is lost.
    #[error("the answer was lost")]
    Lost {
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The gate is closed.
    #[error("the connection's gate is closed")]
    Closed,
}

/// Sends token requests: through the guarded client, without redirects.
pub trait Wire: Send + Sync {
    /// Sends under the connection's gate.
    ///
    /// # Errors
    /// [`WireError`]; an HTTP error status is an answer.
    fn post<'a>(&'a self, request: WireRequest, permit: &'a Permit) -> BoxFuture<'a, Result<WireAnswer, WireError>>;

    /// Sends to the revocation endpoint, the one request that needs no open gate.
    ///
    /// # Errors
    /// [`WireError`]; an HTTP error status is an answer.
    fn post_revocation(&self, request: WireRequest) -> BoxFuture<'_, Result<WireAnswer, WireError>>;
}
