//! The one HTTP client, behind the egress guard and the connection's gate.
//!
//! A request holds an `InFlight` from just before its first byte until its body is read, and is dropped the moment the
//! gate closes. Redirects are followed here, each hop judged like the first; a credential that was dropped on the way to
//! another host never comes back.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use reqwest::Method;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::LOCATION;
use url::Url;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::gate::Permit;
use crate::digest::Digest;

use super::FetchError;
use super::egress::AllowedHosts;
use super::egress::Egress;
use super::egress::EgressError;
use super::error::denied_address;
use super::request::Request;

/// The limits of every request.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time for name, connection and TLS.
    pub connect_timeout: Duration,
    /// Time from the request's start to the end of the answer's headers.
    pub answer_timeout: Duration,
    /// Time without a byte of the body.
    pub idle_timeout: Duration,
    /// Time for everything, redirects included: what stops a body that drips.
    pub total_timeout: Duration,
    /// Bytes of a body after content decoding.
    pub body_bytes_max: usize,
    /// Bytes of all header names and values of one answer.
    pub header_bytes_max: usize,
    /// Headers of one answer.
    pub headers_max: usize,
    /// Redirects of one request.
    pub redirects_max: usize,
    /// Connections kept open per host while nothing is asked.
    pub idle_connections_max: usize,
    /// How long they are kept. Common servers close theirs after 5 s, and a request that meets such a close has an unknown
    /// outcome, which a token request can ill afford.
    pub idle_connection_timeout: Duration,
    /// Whether the digest of every answer is made. Where nothing is kept, nobody asks for it, and it is a twelfth of the work.
    pub digests_bodies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(300),
            body_bytes_max: 32 * 1024 * 1024,
            header_bytes_max: 64 * 1024,
            headers_max: 256,
            redirects_max: 5,
            idle_connections_max: 4,
            idle_connection_timeout: Duration::from_secs(4),
            digests_bodies: true,
        }
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The HTTP status.
    pub status: u16,
    /// The headers, after content decoding.
    pub headers: HeaderMap,
    /// The body, after content decoding.
    pub body: Bytes,
    /// SHA-256 of [`Incoming::body`]; of nothing where [`Options::digests_bodies`] says so.
    pub sha256: Digest,
    /// When the hop that answered was sent.
    pub requested_at: Timestamp,
    /// When its body was complete.
    pub received_at: Timestamp,
    /// The method of the hop that answered.
    pub method: String,
    /// The URL that answered: absolute, public, without secrets.
    pub url_recorded: String,
    /// The application's own id of the request, if it gave one.
    pub request_id: Option<String>,
}

impl Incoming {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// This answer as the error that its status is.
    pub fn refusal(&self) -> FetchError {
        FetchError::Status {
            method: self.method.clone(),
            url: self.url_recorded.clone(),
            status: self.status,
            request_id: self.request_id.clone(),
        }
    }
}

/// The one HTTP client; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    egress: Egress,
    options: Options,
    clock: Clock,
}

/// What every client of ours begins with: our name, no proxy, and neither redirects nor repetitions that nobody has decided on.
pub fn plain_builder() -> reqwest::ClientBuilder {
    // The only provider compiled in; an error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("headgate/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
}

impl Client {
    /// Builds the client. Without root certificates on the machine it still reaches what the operator lists by plain http.
    ///
    /// # Errors
    /// When the TLS library cannot be set up at all.
    pub fn new(egress: Egress, options: Options, clock: Clock) -> Result<Self, reqwest::Error> {
        let builder = || {
            plain_builder()
                .referer(false)
                .dns_resolver(egress.resolver())
                .connect_timeout(options.connect_timeout)
                .pool_idle_timeout(options.idle_connection_timeout)
                .pool_max_idle_per_host(options.idle_connections_max)
                .http1_max_headers(options.headers_max)
                .http2_max_header_list_size(u32::try_from(options.header_bytes_max).unwrap_or(u32::MAX))
        };
        let http = builder().build().or_else(|error| {
            tracing::warn!(%error, "no root certificates were found: every https request will fail; install the system's CA bundle");
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self { http, egress, options, clock })
    }

    /// The limits in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Sends a request for a connection and reads the answer whole, whatever its status.
    ///
    /// # Errors
    /// Every [`FetchError`] except those of budgets and retries. When the gate closes, [`FetchError::Closed`] at once.
    pub async fn send(&self, request: &Request, hosts: &AllowedHosts, permit: &Permit) -> Result<Incoming, FetchError> {
        let in_flight = permit.begin_request().map_err(|source| FetchError::Closed {
            method: request.method.to_string(),
            url: request.recorded_url(),
            sent: false,
            source: Some(source),
        })?;
        let outcome = tokio::select! {
            biased;
            () = permit.cancelled() => Err(FetchError::Closed {
                method: request.method.to_string(),
                url: request.recorded_url(),
                sent: true,
                source: None,
            }),
            outcome = self.exchange(request, hosts) => outcome,
        };
        drop(in_flight);
        outcome
    }

    /// The one request that may follow a revocation (RFC 7009): no permit, no redirects, the connector's revocation
    /// endpoint as only host. For `revocation` alone.
    ///
    /// # Errors
    /// As [`Client::send`], without the gate.
    pub async fn send_to_revocation_endpoint(&self, request: &Request, endpoint: &AllowedHosts) -> Result<Incoming, FetchError> {
        if request.follow_redirects {
            return Err(FetchError::Malformed {
                method: request.method.to_string(),
                url: request.recorded_url(),
                what: "a revocation request that follows redirects".into(),
            });
        }
        self.exchange(request, endpoint).await
    }

    async fn exchange(&self, request: &Request, hosts: &AllowedHosts) -> Result<Incoming, FetchError> {
        let first = Hop::first(request, hosts);
        let what = (first.method.clone(), first.url_recorded.clone());
        within(self.options.total_timeout, "total_timeout", &what, self.follow(request, hosts, first)).await?
    }

    async fn follow(&self, request: &Request, hosts: &AllowedHosts, mut hop: Hop) -> Result<Incoming, FetchError> {
        for _ in 0..=self.options.redirects_max {
            let requested_at = self.clock.now();
            let response = self.transmit(request, hosts, &hop).await?;
            let redirect = request.follow_redirects && matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            match response.headers().get(LOCATION) {
                Some(location) if redirect => hop = hop.next(request, hosts, response.status().as_u16(), location.as_bytes(), self)?,
                _ => return self.read(request, response, hop, requested_at).await,
            }
        }
        Err(hop.redirect("it leads on more often than `redirects_max` allows"))
    }

    /// One hop: judged, written, sent, and its headers awaited.
    async fn transmit(&self, request: &Request, hosts: &AllowedHosts, hop: &Hop) -> Result<Response, FetchError> {
        let target = self.egress.admit(&hop.url, hosts).map_err(|source| hop.egress(source))?;
        if hop.credential && request.has_secret() && !self.may_carry_credential(request, hosts, &hop.url) {
            return Err(FetchError::CredentialElsewhere { method: hop.method.to_string(), url: hop.url_recorded.clone() });
        }
        let malformed = |what| FetchError::Malformed { method: hop.method.to_string(), url: hop.url_recorded.clone(), what };
        let mut built = self.http.request(hop.method.clone(), target).headers(request.header_map(hop.credential).map_err(malformed)?);
        if let Some((content_type, bytes)) = request.body.write().filter(|_| hop.body) {
            let own = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()));
            built = match content_type.filter(|_| !own) {
                Some(content_type) => built.header(CONTENT_TYPE, content_type),
                None => built,
            };
            built = built.body(bytes);
        }
        let what = (hop.method.clone(), hop.url_recorded.clone());
        let response =
            within(request.patience.answer.unwrap_or(self.options.answer_timeout), "answer_timeout", &what, built.send()).await?;
        let response = response.map_err(|error| hop.network(error))?;
        let header_bytes = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        if header_bytes > self.options.header_bytes_max {
            return Err(hop.too_large("headers", self.options.header_bytes_max));
        }
        Ok(response)
    }

    /// The body, decoded and counted as it comes.
    async fn read(&self, request: &Request, mut response: Response, hop: Hop, requested_at: Timestamp) -> Result<Incoming, FetchError> {
        let encoding = response.headers().get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let Some(encoding) = encoding.filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")) {
            let encoding = crate::ids::cut(&encoding);
            return Err(FetchError::Encoding { method: hop.method.to_string(), url: hop.url_recorded, encoding });
        }
        let what = (hop.method.clone(), hop.url_recorded.clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = within(request.patience.idle.unwrap_or(self.options.idle_timeout), "idle_timeout", &what, response.chunk())
            .await?
            .map_err(|error| hop.network(error))?
        {
            if body.len() + chunk.len() > self.options.body_bytes_max {
                return Err(hop.too_large("body", self.options.body_bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Incoming {
            status: response.status().as_u16(),
            request_id: request_id(response.headers()),
            headers: std::mem::take(response.headers_mut()),
            sha256: Digest::of(if self.options.digests_bodies { &body } else { &[] }),
            body: body.freeze(),
            requested_at,
            received_at: self.clock.now(),
            method: hop.method.to_string(),
            url_recorded: hop.url_recorded,
        })
    }

    /// Whether secret parts may go to `url`: the credential's own list, or else the origin of the first URL.
    fn may_carry_credential(&self, request: &Request, hosts: &AllowedHosts, url: &Url) -> bool {
        match &request.credential_hosts {
            Some(list) => self.egress.is_on(list, url),
            None => hosts.public(request.url.clone()).origin() == url.origin(),
        }
    }
}

/// One request of a chain of redirects.
struct Hop {
    method: Method,
    url: Url,
    url_recorded: String,
    credential: bool,
    body: bool,
}

impl Hop {
    fn first(request: &Request, hosts: &AllowedHosts) -> Self {
        let url = hosts.public(request.sent_url());
        let recorded = request.recorded_url();
        let url_recorded = Url::parse(&recorded).map_or(recorded, |url| hosts.public(url).into());
        Self { method: request.method.clone(), url, url_recorded, credential: true, body: true }
    }

    /// Where an answer leads: RFC 9110 section 15.4, with the method changes that every client makes.
    fn next(self, request: &Request, hosts: &AllowedHosts, status: u16, location: &[u8], client: &Client) -> Result<Self, FetchError> {
        let text = std::str::from_utf8(location).map_err(|_| self.redirect("its Location is not text"))?;
        let url = self.url.join(text).map_err(|_| self.redirect("its Location is no URL"))?;
        let mut url = hosts.public(url);
        url.set_fragment(None);
        let becomes_get = status == 303 && self.method != Method::HEAD || matches!(status, 301 | 302) && self.method == Method::POST;
        let credential = self.credential && client.may_carry_credential(request, hosts, &url);
        let body = self.body && !becomes_get;
        if !credential && request.stands_in(&url) {
            return Err(self.redirect("its Location carries the credential to another host"));
        }
        if !credential && body && request.body.is_secret() {
            return Err(self.redirect("the body holds a credential and the new host is not on its list"));
        }
        let method = if becomes_get { Method::GET } else { self.method };
        Ok(Self { method, url_recorded: request.redact(&url), url, credential, body })
    }

    fn egress(&self, source: EgressError) -> FetchError {
        FetchError::Egress { method: self.method.to_string(), url: self.url_recorded.clone(), source }
    }

    fn redirect(&self, reason: &'static str) -> FetchError {
        FetchError::Redirect { method: self.method.to_string(), url: self.url_recorded.clone(), reason }
    }

    fn too_large(&self, part: &'static str, limit: usize) -> FetchError {
        FetchError::TooLarge { method: self.method.to_string(), url: self.url_recorded.clone(), part, limit }
    }

    fn network(&self, error: reqwest::Error) -> FetchError {
        let (method, url, source) = (self.method.to_string(), self.url_recorded.clone(), error.without_url());
        match denied_address(&source) {
            Some(denied) => self.egress(EgressError::Address { host: self.url.host_str().unwrap_or_default().into(), source: denied }),
            None if source.is_builder() => FetchError::Malformed { method, url, what: "the HTTP library refuses it".into() },
            None if source.is_connect() => FetchError::Unreachable { method, url, source },
            None => FetchError::Broken { method, url, source },
        }
    }
}

async fn within<T>(limit: Duration, phase: &'static str, what: &(Method, String), work: impl Future<Output = T>) -> Result<T, FetchError> {
    tokio::time::timeout(limit, work).await.map_err(|_| FetchError::TimedOut {
        method: what.0.to_string(),
        url: what.1.clone(),
        phase,
        seconds: limit.as_secs(),
    })
}

/// Header names under which applications give a request's id, the most specific first.
const REQUEST_ID_HEADERS: [&str; 6] =
    ["x-request-id", "request-id", "x-amzn-requestid", "x-correlation-id", "intuit_tid", "xero-correlation-id"];

/// Bytes of a request id that are kept.
const REQUEST_ID_BYTES_MAX: usize = 128;

fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = REQUEST_ID_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok())?;
    (!text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX).then(|| text.to_owned())
}
