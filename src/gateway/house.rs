//! What the doors need of a gateway.

use axum::Router;
use futures_util::future::BoxFuture;

/// What a door needs of the gateway behind it.
pub trait House: Send + Sync {
    /// The router that this machine's operator speaks to.
    fn local(&self) -> Router;

    /// The router that the network speaks to.
    fn public(&self) -> Router;

    /// Lets connections pull by themselves from now on.
    fn start_schedule(&self);

    /// Cancels pulls at their next page and waits until everything acknowledged is on disk. A second call does nothing.
    fn close(&self) -> BoxFuture<'_, ()>;
}
