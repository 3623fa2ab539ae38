//! The door in this process: requests go straight into the router.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use http_body_util::Limited;
use tower::ServiceExt;

use crate::cli::transport::ANSWER_BYTES_MAX;
use crate::cli::transport::Broken;
use crate::cli::transport::Door;

/// A router in this process, whose requests come from the operator of this machine.
#[derive(Debug, Clone)]
pub struct RouterDoor {
    router: Router,
}

impl RouterDoor {
    /// A door to `router`.
    pub fn new(router: Router) -> Self {
        Self { router }
    }
}

impl Door for RouterDoor {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Broken>> {
        let router = self.router.clone();
        Box::pin(async move {
            let Ok(answer) = router.oneshot(request.map(Body::from)).await;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|source| Broken { source })?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        })
    }
}
