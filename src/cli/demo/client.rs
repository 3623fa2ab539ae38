//! The two that speak to the gateway in the demo, over real sockets: a program with an API key, and a customer's browser.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::Request;
use axum::http::Response;
use axum::http::header;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::redirect::Policy;
use url::Url;

use crate::cli::failure::Failure;
use crate::cli::transport::Broken;
use crate::cli::transport::Client;
use crate::cli::transport::Door;
use crate::secret::Secret;

/// The longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A client of the API that shows `key` with each request.
///
/// # Errors
/// When the HTTP client cannot be made, or `key` cannot stand in a header.
pub fn program(gateway: SocketAddr, key: &Secret<String>) -> Result<Client, Failure> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
        .map_err(|error| Failure::Broken { request: "an API key in a header".into(), source: Box::new(error) })?;
    bearer.set_sensitive(true);
    Ok(Client::new(Box::new(TcpDoor { http: http()?, origin: format!("http://{gateway}"), bearer })))
}

/// The gateway's public face, as a program reaches it.
struct TcpDoor {
    http: reqwest::Client,
    origin: String,
    bearer: HeaderValue,
}

impl Door for TcpDoor {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Broken>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            let sent = self.http.request(parts.method, format!("{}{target}", self.origin)).headers(parts.headers);
            let answer = sent.header(header::AUTHORIZATION, self.bearer.clone()).body(body).send().await.map_err(broken)?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes().await.map_err(broken)?;
            Ok(response)
        })
    }
}

/// A customer's browser: it keeps cookies for each origin, and follows no redirect before the story has looked at it.
pub struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a browser got.
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// Where it is sent on to.
    pub location: Option<Url>,
    /// What it would show.
    pub text: String,
}

impl Browser {
    /// A browser that has been nowhere.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { http: http()?, cookies: BTreeMap::new() })
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(&mut self, url: &Url) -> Result<Page, Failure> {
        self.visit(url, self.http.get(url.clone())).await
    }

    /// Sends a form.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn submit(&mut self, url: &Url, fields: &[(String, String)]) -> Result<Page, Failure> {
        self.visit(url, self.http.post(url.clone()).form(fields)).await
    }

    async fn visit(&mut self, url: &Url, mut request: reqwest::RequestBuilder) -> Result<Page, Failure> {
        // A link's token, a code and a state stand in these URLs: a failure names the origin alone.
        let origin = url.origin().ascii_serialization();
        let failed = |Broken { source }| Failure::Broken { request: format!("the browser's visit to {origin}"), source };
        let kept = self.cookies.entry(origin.clone()).or_default();
        if !kept.is_empty() {
            let pairs: Vec<String> = kept.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        let answer = request.send().await.map_err(broken).map_err(failed)?;
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let pair = line.to_str().ok().and_then(|line| line.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                kept.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        let location = answer.headers().get(header::LOCATION).and_then(|target| url.join(target.to_str().ok()?).ok());
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(broken).map_err(failed)?;
        Ok(Page { status, location, text })
    }
}

#[allow(clippy::disallowed_methods, reason = "the demo plays the customer's browser and a backend service, both outside the gateway")]
fn http() -> Result<reqwest::Client, Failure> {
    // The client wants a TLS provider although nothing here leaves the loopback address. A second call does nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(ANSWER_WAIT).build();
    built.map_err(|error| Failure::Broken { request: "the making of an HTTP client".into(), source: Box::new(error) })
}

fn broken(error: reqwest::Error) -> Broken {
    Broken { source: Box::new(error.without_url()) }
}
