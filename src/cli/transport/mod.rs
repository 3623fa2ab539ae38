//! How a command reaches the gateway: in this process when it holds the store, over `admin.sock` when another one does.

mod own;
mod router;
mod socket;

pub use own::OwnDoor;
pub use router::RouterDoor;
pub use socket::SocketDoor;

use std::net::SocketAddr;

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use url::Url;

use crate::cli::failure::Failure;
use crate::cli::failure::Problem;

/// The most bytes that one answer may have.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The origin that local requests name: it is never resolved.
const LOCAL_ORIGIN: &str = "http://headgate.local/";

/// One way to whoever holds the store.
pub trait Door: Send + Sync {
    /// Hands over one request and brings back its answer, whatever its status.
    fn send(&self, request: axum::http::Request<Bytes>) -> BoxFuture<'_, Result<axum::http::Response<Bytes>, Broken>>;

    /// Opens the public face so that a browser can come back from an application with an OAuth code. The address that was
    /// opened, or `None` when a server is listening already.
    fn listen_for_callback(&self) -> BoxFuture<'_, Result<Option<SocketAddr>, Failure>> {
        Box::pin(async { Ok(None) })
    }

    /// Ends what this process does for the command, once other processes that speak through it have had their answers.
    fn finish(&self) -> BoxFuture<'_, ()> {
        self.close()
    }

    /// Ends at once: pulls are cancelled at their next page, everything acknowledged is on disk.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Whether the store is held by this process, so that ending the command ends its pulls.
    fn is_own(&self) -> bool {
        false
    }
}

/// The way to the holder broke before an answer was complete.
#[derive(Debug, thiserror::Error)]
#[error("no complete answer")]
pub struct Broken {
    /// How.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A request to the HTTP face, built by a command.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Value>,
    carries_file: bool,
    lasts: bool,
}

/// Marks a request whose answer may take hours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting;

impl Request {
    /// A GET of the path made of `segments`, each percent-encoded.
    pub fn get<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Method::GET, segments)
    }

    /// A POST with a JSON body.
    pub fn post<'a>(segments: impl IntoIterator<Item = &'a str>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, segments) }
    }

    /// A PATCH with a JSON body.
    pub fn patch<'a>(segments: impl IntoIterator<Item = &'a str>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::PATCH, segments) }
    }

    /// A DELETE.
    pub fn delete<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Method::DELETE, segments)
    }

    fn new<'a>(method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        #[allow(clippy::expect_used, reason = "a constant that a test parses")]
        let mut url = Url::parse(LOCAL_ORIGIN).expect("the local origin is a URL");
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self { method, url, headers: HeaderMap::new(), body: None, carries_file: false, lasts: false }
    }

    /// With a query parameter.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// With a query parameter, if there is a value.
    pub fn query_maybe<T: ToString>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.query(name, &value.to_string()),
            None => self,
        }
    }

    /// For this purpose: every read of payload names one.
    ///
    /// # Errors
    /// When the purpose cannot stand in a header.
    pub fn purpose(mut self, purpose: &str) -> Result<Self, Failure> {
        let value =
            HeaderValue::from_str(purpose).map_err(|_| Failure::usage(format!("`{purpose}` is no purpose; see `records --help`")))?;
        self.headers.insert(HeaderName::from_static("headgate-purpose"), value);
        Ok(self)
    }

    /// Says that the body holds an operator's file, so that 422 means that the file is malformed (exit code 2).
    pub fn carrying_file(mut self) -> Self {
        self.carries_file = true;
        self
    }

    /// Says that the answer may take hours: the more there is, the longer a copy of it takes.
    pub fn lasting(mut self) -> Self {
        self.lasts = true;
        self
    }

    /// Method and path, for messages.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }

    fn to_http(&self) -> axum::http::Request<Bytes> {
        let target = self.url.query().map_or_else(|| self.url.path().to_owned(), |query| format!("{}?{query}", self.url.path()));
        let mut request = axum::http::Request::new(self.body.as_ref().map_or_else(Bytes::new, |body| body.to_string().into()));
        *request.method_mut() = self.method.clone();
        // `Url` has percent-encoded both parts, so the text is always a valid request target.
        *request.uri_mut() = Uri::try_from(target).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        if self.lasts {
            request.extensions_mut().insert(Lasting);
        }
        if self.body.is_some() {
            request.headers_mut().insert(axum::http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request
    }
}

/// A door, and the reading of its answers.
pub struct Client {
    door: Box<dyn Door>,
}

impl Client {
    /// A client of the gateway behind `door`.
    pub fn new(door: Box<dyn Door>) -> Self {
        Self { door }
    }

    /// The door itself.
    pub fn door(&self) -> &dyn Door {
        self.door.as_ref()
    }

    /// Sends a request; the body of the answer, byte for byte.
    ///
    /// # Errors
    /// When there is no answer, or its status is not 2xx.
    pub async fn bytes(&self, request: &Request) -> Result<Bytes, Failure> {
        let answer =
            self.door.send(request.to_http()).await.map_err(|Broken { source }| Failure::Broken { request: request.name(), source })?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let malformed = match parts.status {
            StatusCode::BAD_REQUEST => true,
            StatusCode::UNPROCESSABLE_ENTITY => request.carries_file,
            _ => false,
        };
        let members = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Err(Failure::Problem(Problem { status: parts.status.as_u16(), malformed, members }))
    }

    /// Sends a request; the answer's JSON, null for an empty body.
    ///
    /// # Errors
    /// As [`Client::bytes`], and when the answer is no JSON.
    pub async fn json(&self, request: &Request) -> Result<Value, Failure> {
        let body = self.bytes(request).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Answer { request: request.name(), fault: format!("is no JSON ({error})") })
    }

    /// Sends a request; the answer's text.
    ///
    /// # Errors
    /// As [`Client::bytes`], and when the answer is no UTF-8.
    pub async fn text(&self, request: &Request) -> Result<String, Failure> {
        let body = self.bytes(request).await?;
        String::from_utf8(body.into()).map_err(|_| Failure::Answer { request: request.name(), fault: "is no text".into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path segments and query values arrive as they were given, whatever characters they have.
    #[test]
    fn segments_and_values_are_encoded() {
        let request = Request::get(["v1", "lineage", "keys", "order_number", "a/b?c #%é"]).query("tenant", "a&b=c");
        let uri = request.to_http().uri().clone();
        assert_eq!(uri.path(), "/v1/lineage/keys/order_number/a%2Fb%3Fc%20%23%25%C3%A9");
        assert_eq!(uri.query(), Some("tenant=a%26b%3Dc"));
        assert_eq!(request.name(), "GET /v1/lineage/keys/order_number/a%2Fb%3Fc%20%23%25%C3%A9");
    }
}
