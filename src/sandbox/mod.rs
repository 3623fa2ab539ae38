//! A Connected Application of our own, for the demo and the tests: a shop with an API behind an OAuth 2.0 authorization
//! server, on a real socket.
//!
//! ```text
//! /oauth/authorize  /oauth/token  /oauth/revoke       code + PKCE, rotating refresh tokens, RFC 7009
//! /v1/{customers,orders,invoices,shipments,products}  three ways of paging, updated_since, updated_before, 429
//! /_log  /_counts  /_faults  /_advance  /_clients     for whoever runs it
//! ```
//!
//! It stands beside the floors: it knows nothing of Headgate but time, randomness and ids, so that no fault of Headgate's
//! can hide in it.

mod api;
mod control;
mod faults;
mod grants;
mod oauth;
mod page;
mod shop;
mod traffic;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use axum::routing::put;
use axum::serve::ListenerExt;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::clock::Clock;
use crate::ids::Entropy;

use grants::Grants;
use shop::Shop;
use traffic::Log;
use traffic::Windows;

pub use faults::Faults;
pub use grants::Client;
pub use shop::Change;
pub use shop::Counts;
pub use traffic::LoggedRequest;
pub use traffic::Purpose;
pub use traffic::RateLimit;

/// How long a stop waits for answers that are being sent.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// The most changes that are made up for at once after a jump of the clock.
const CHANGES_AT_ONCE_MAX: u64 = 1_000;

/// How the sandbox behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Another seed, another shop of the same size.
    pub seed: u64,
    /// Records over all streams at the start, at least 10; drafts of products come on top.
    pub records: u64,
    /// The most records in an answer.
    pub page_size_max: u64,
    /// How many data requests a grant may make.
    pub rate_limit: RateLimit,
    /// How long an access token lives, in seconds of `clock`.
    pub access_token_seconds: i64,
    /// How often the shop changes by itself, in seconds of `clock`; never, if none.
    pub change_every_seconds: Option<u64>,
    /// The clients; more can be added while it runs.
    pub clients: Vec<Client>,
    /// The time of tokens and records. The rate limit and the delays run in the runtime's own time.
    pub clock: Clock,
    /// What codes and tokens are made of.
    pub entropy: Entropy,
}

impl Default for Options {
    /// A shop of 2,000 records on a free port of the loopback address, without clients, that changes only when told to.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            records: 2_000,
            page_size_max: 250,
            rate_limit: RateLimit::default(),
            access_token_seconds: 3_600,
            change_every_seconds: None,
            clients: Vec::new(),
            clock: Clock::System,
            entropy: Entropy::system(),
        }
    }
}

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is taken, or not this machine's.
    #[error("the sandbox cannot listen on {address}; choose another address, or port 0 for a free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A running sandbox. It stops when this is dropped; [`Sandbox::shutdown`] also waits until it has.
pub struct Sandbox {
    address: SocketAddr,
    app: Arc<App>,
    server: JoinHandle<()>,
    stop: DropGuard,
}

impl Sandbox {
    /// Listens, and serves until the handle is dropped.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let refused = |source| SandboxError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let app = Arc::new(App::new(options, address));
        let router = app.clone().router();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            // A small answer that waits for an acknowledgement would cost 40 ms a request.
            let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
            // This future gives an error only if accepting does, which it retries instead.
            let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        });
        Ok(Self { address, app, server, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address, which is also the issuer; no slash at the end.
    pub fn base_url(&self) -> &str {
        &self.app.base_url
    }

    /// The requests so far, oldest first, without those of the control doors.
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.app.log().since(0)
    }

    /// How many records there are now.
    pub fn counts(&self) -> Counts {
        self.app.shop().counts()
    }

    /// Lets the shop change once, at the clock's time.
    pub fn advance(&self) -> Change {
        self.app.advance()
    }

    /// Replaces the faults that are due.
    pub fn set_faults(&self, faults: Faults) {
        *self.app.faults() = faults;
    }

    /// The faults that are still due.
    pub fn faults(&self) -> Faults {
        self.app.faults().clone()
    }

    /// Adds a client, or replaces the one with the same id.
    pub fn register(&self, client: Client) {
        self.app.grants().register(client);
    }

    /// The number of grants whose tokens work.
    pub fn grants_alive(&self) -> usize {
        self.app.grants().alive()
    }

    /// Ends every grant, as when a customer removes the client in the application's own settings.
    pub fn end_grants(&self) {
        self.app.grants().end_all();
    }

    /// Lets all access tokens end now; refresh tokens stay good.
    pub fn expire_access_tokens(&self) {
        self.app.grants().expire_access();
    }

    /// Stops listening, and waits up to two seconds for the answers that are being sent.
    pub async fn shutdown(self) {
        drop(self.stop);
        let _ = tokio::time::timeout(STOP_WAIT, self.server).await;
    }
}

/// The number of a request in the log.
#[derive(Debug, Clone, Copy)]
struct RequestNumber(u64);

/// What the doors share. No lock is held across an await, and none while another is taken.
struct App {
    base_url: String,
    page_size_max: u64,
    clock: Clock,
    entropy: Entropy,
    opened: Timestamp,
    change_every_seconds: Option<u64>,
    grants: Mutex<Grants>,
    shop: Mutex<OpenShop>,
    log: Mutex<Log>,
    windows: Mutex<Windows>,
    faults: Mutex<Faults>,
}

/// The shop, shared with the answers that are being written, and the changes that the clock has brought so far.
struct OpenShop {
    shop: Arc<Shop>,
    by_clock: u64,
}

impl App {
    fn new(options: Options, address: SocketAddr) -> Self {
        let opened = options.clock.now();
        let shop = Arc::new(Shop::new(options.seed, options.records, opened));
        Self {
            base_url: format!("http://{address}"),
            page_size_max: options.page_size_max.max(1),
            clock: options.clock,
            entropy: options.entropy,
            opened,
            change_every_seconds: options.change_every_seconds.filter(|seconds| *seconds > 0),
            grants: Mutex::new(Grants::new(options.access_token_seconds, options.clients)),
            shop: Mutex::new(OpenShop { shop, by_clock: 0 }),
            log: Mutex::default(),
            windows: Mutex::new(Windows::new(options.rate_limit)),
            faults: Mutex::default(),
        }
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
            .route("/oauth/authorize", get(oauth::ask).post(oauth::decide))
            .route("/oauth/token", post(oauth::token))
            .route("/oauth/revoke", post(oauth::revoke))
            .route("/v1/{stream}", get(api::list))
            .route("/v1/{stream}/{id}", get(api::one))
            .route("/_log", get(control::log))
            .route("/_counts", get(control::counts))
            .route("/_faults", get(control::faults).put(control::set_faults))
            .route("/_advance", post(control::advance))
            .route("/_clients", put(control::register))
            .route("/_end_grants", post(control::end_grants))
            .fallback(async || api::absent())
            .layer(middleware::from_fn_with_state(self.clone(), record))
            .with_state(self)
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        lock(&self.grants)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        lock(&self.windows)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// The shop as it is now, after the changes that the clock has brought.
    fn shop(&self) -> Arc<Shop> {
        let mut open = lock(&self.shop);
        if let Some(every) = self.change_every_seconds {
            let elapsed = self.clock.now().as_second().saturating_sub(self.opened.as_second());
            let due = u64::try_from(elapsed).unwrap_or(0) / every;
            for change in open.by_clock.max(due.saturating_sub(CHANGES_AT_ONCE_MAX))..due {
                let at = self.opened.as_second().saturating_add_unsigned((change + 1) * every);
                Arc::make_mut(&mut open.shop).advance(Timestamp::from_second(at).unwrap_or(self.opened));
            }
            open.by_clock = open.by_clock.max(due);
        }
        open.shop.clone()
    }

    fn advance(&self) -> Change {
        let now = self.clock.now();
        let _ = self.shop();
        Arc::make_mut(&mut lock(&self.shop).shop).advance(now)
    }
}

/// Logs a request from its arrival to the head of its answer, and gives it a number.
async fn record(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let purpose = match path {
        "/oauth/authorize" => Purpose::Authorize,
        "/oauth/token" => Purpose::Token,
        "/oauth/revoke" => Purpose::Revoke,
        _ if path.starts_with("/v1/") => Purpose::Data,
        _ if path.starts_with("/_") => return next.run(request).await,
        _ => Purpose::Other,
    };
    // The other queries hold states, challenges and codes.
    let shown = if purpose == Purpose::Data { request.uri().path_and_query().map_or(path, |uri| uri.as_str()) } else { path };
    let number = app.log().arrived(app.clock.now(), purpose, request.method().as_str(), shown.to_owned());
    request.extensions_mut().insert(RequestNumber(number));
    let mut response = next.run(request).await;
    app.log().answered(number, response.status().as_u16());
    if let Ok(id) = HeaderValue::from_str(&format!("req_{number:08}")) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A panic in one request leaves nothing half done under these locks, so the next one goes on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
