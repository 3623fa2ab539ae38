//! One listener, served until it is told to stop, and then for a few seconds more.

use std::io;

use axum::Extension;
use axum::Router;
use axum::serve::Listener;
use tokio::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long requests under way may go on after the stop.
pub const GRACE_SECONDS: u64 = 5;

/// Cancelled when the door closes: an answer without an end ends then.
#[derive(Debug, Clone, Default)]
pub struct Stopping(pub CancellationToken);

/// Serves `router` on a TCP or Unix listener until `stop` is cancelled. New connections are refused from then on; requests
/// under way have [`GRACE_SECONDS`], and what they began goes on in tasks of its own.
///
/// # Errors
/// When the listener fails.
pub async fn serve<L>(listener: L, router: Router, stop: CancellationToken) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let (signal, router) = (stop.clone(), router.layer(Extension(Stopping(stop.clone()))));
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { signal.cancelled().await });
    let served = std::future::IntoFuture::into_future(served);
    tokio::pin!(served);
    tokio::select! {
        ended = &mut served => return ended,
        () = stop.cancelled() => {}
    }
    match timeout(Duration::from_secs(GRACE_SECONDS), served).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!("requests were still under way {GRACE_SECONDS} seconds after the stop; their connections are dropped");
            Ok(())
        }
    }
}
