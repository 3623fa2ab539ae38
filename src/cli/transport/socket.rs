//! The door to another process: HTTP over `admin.sock`, which only the directory's owner can open.

use std::path::Path;
use std::time::Duration;

use axum::http::Request;
use axum::http::Response;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::future::BoxFuture;

use crate::cli::transport::ANSWER_BYTES_MAX;
use crate::cli::transport::Broken;
use crate::cli::transport::Door;
use crate::cli::transport::LOCAL_ORIGIN;
use crate::cli::transport::Lasting;

/// The longest wait for one answer: a revocation of many connections waits for each request in flight to be cut.
const ANSWER_WAIT: Duration = Duration::from_secs(600);

/// The longest wait for an answer that may take hours.
const LASTING_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The longest wait for the socket to accept.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// A socket behind which another headgate serves its router.
#[derive(Debug, Clone)]
pub struct SocketDoor {
    client: reqwest::Client,
}

impl SocketDoor {
    /// A door to the process that listens on `socket`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(socket: &Path) -> Result<Self, Broken> {
        // The client wants a TLS provider although a Unix socket never uses it. A second call does nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .build()
            .map_err(broken)?;
        Ok(Self { client })
    }

    /// Whether a headgate answers there now.
    ///
    /// # Errors
    /// How the attempt failed.
    pub async fn probe(&self) -> Result<(), Broken> {
        self.client.get(format!("{LOCAL_ORIGIN}healthz")).timeout(CONNECT_WAIT).send().await.map_err(broken).map(drop)
    }
}

impl Door for SocketDoor {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Broken>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            let url = format!("{}{target}", LOCAL_ORIGIN.trim_end_matches('/'));
            let wait = if parts.extensions.get::<Lasting>().is_some() { LASTING_WAIT } else { ANSWER_WAIT };
            let request = self.client.request(parts.method, url).headers(parts.headers).timeout(wait).body(body);
            let answer = request.send().await.map_err(broken)?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = limited(answer).await?;
            Ok(response)
        })
    }
}

async fn limited(mut answer: reqwest::Response) -> Result<Bytes, Broken> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Broken { source: format!("the answer is larger than {ANSWER_BYTES_MAX} bytes").into() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn broken(error: reqwest::Error) -> Broken {
    Broken { source: Box::new(error.without_url()) }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use axum::routing::post;

    use super::*;
    use crate::cli::transport::Client;
    use crate::cli::transport::Request as LocalRequest;
    use crate::cli::transport::RouterDoor;

    /// Both doors bring the same answers, statuses and problems, from one router.
    #[tokio::test]
    async fn both_doors_bring_the_same_answers() {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/v1/echo/{word}", post(|request: axum::extract::Request| async move { request.uri().to_string() }))
            .route("/v1/refused", get(|| async { (axum::http::StatusCode::CONFLICT, r#"{"detail":"closed"}"#) }));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(axum::serve(listener, router.clone()).into_future());
        let socket = SocketDoor::new(&path).unwrap();
        socket.probe().await.unwrap();
        for client in [Client::new(Box::new(socket)), Client::new(Box::new(RouterDoor::new(router)))] {
            let echo = LocalRequest::post(["v1", "echo", "a b"], serde_json::json!({})).query("x", "é");
            assert_eq!(client.text(&echo).await.unwrap(), "/v1/echo/a%20b?x=%C3%A9");
            let refused = client.json(&LocalRequest::get(["v1", "refused"])).await.unwrap_err();
            assert_eq!((refused.exit_code(), refused.told().as_str()), (1, "closed"));
        }
    }

    /// A socket that nobody listens on is an error at once, not a wait.
    #[tokio::test]
    async fn a_dead_socket_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(tokio::net::UnixListener::bind(&path).unwrap());
        assert!(SocketDoor::new(&path).unwrap().probe().await.is_err());
    }
}
