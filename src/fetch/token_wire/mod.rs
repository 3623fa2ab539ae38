//! The wire of token requests: the guarded client with the hosts of one connector's token endpoints.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Method;

use crate::authorization::wire::Wire;
use crate::authorization::wire::WireAnswer;
use crate::authorization::wire::WireError;
use crate::authorization::wire::WireRequest;
use crate::connection::gate::Permit;
use crate::secret::Secret;

use super::FetchError;
use super::budget::headers;
use super::client::Client;
use super::client::Incoming;
use super::egress::AllowedHosts;
use super::request::Body;
use super::request::Request;
use super::request::Text;

/// Sends token requests to the hosts that the connector names for them, without redirects.
#[derive(Debug, Clone)]
pub struct TokenWire {
    client: Client,
    hosts: AllowedHosts,
}

impl TokenWire {
    /// `hosts` are those of the token and revocation endpoints, with the connector's rewrites.
    pub fn new(client: Client, hosts: AllowedHosts) -> Self {
        Self { client, hosts }
    }

    fn answer(&self, outcome: Result<Incoming, FetchError>) -> Result<WireAnswer, WireError> {
        match outcome {
            Ok(incoming) => {
                let wait = headers::read(incoming.status, &incoming.headers, incoming.received_at);
                let retry_after = wait.map(|wait| wait.time).filter(|wait| *wait <= RETRY_AFTER_MAX);
                Ok(WireAnswer { status: incoming.status, body: Secret::new(incoming.body.to_vec()), retry_after })
            }
            Err(FetchError::Closed { .. }) => Err(WireError::Closed),
            Err(error) if error.may_have_arrived() => Err(WireError::Lost { source: Box::new(error) }),
            Err(error) => Err(WireError::NotSent { source: Box::new(error) }),
        }
    }
}

/// The longest wait that a token endpoint is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Wire for TokenWire {
    fn post<'a>(&'a self, request: WireRequest, permit: &'a Permit) -> BoxFuture<'a, Result<WireAnswer, WireError>> {
        async move { self.answer(self.client.send(&outgoing(request), &self.hosts, permit).await) }.boxed()
    }

    fn post_revocation(&self, request: WireRequest) -> BoxFuture<'_, Result<WireAnswer, WireError>> {
        async move { self.answer(self.client.send_to_revocation_endpoint(&outgoing(request), &self.hosts).await) }.boxed()
    }
}

fn outgoing(request: WireRequest) -> Request {
    let headers = request.headers.into_iter().map(|(name, value)| (name, Text::Secret(value))).collect();
    let bytes = Bytes::copy_from_slice(request.body.expose());
    let content_type = "application/x-www-form-urlencoded".to_owned();
    let body = Body::Bytes { content_type, bytes, secret: true };
    Request { headers, body, follow_redirects: false, hidden: request.hidden, ..Request::new(Method::POST, request.url) }
}

#[cfg(test)]
mod tests;
