//! The door to a gateway in this process: its router directly, and its faces for others while the command runs.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::http::Response;
use axum::middleware::Next;
use axum::serve::Listener;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::serve::serve;
use crate::cli::failure::Failure;
use crate::cli::transport::Broken;
use crate::cli::transport::Door;
use crate::cli::transport::RouterDoor;
use crate::gateway::House;

/// The permissions of `admin.sock`: its owner's alone. The directory around it is closed to others as well.
const SOCKET_MODE: u32 = 0o600;

/// How long the socket must be unused before a command that ends leaves the others that speak through it.
const IDLE_BEFORE_END: Duration = Duration::from_secs(1);

/// The time between two looks at the socket's use.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The gateway in this process, and what it opened for others.
pub struct OwnDoor {
    house: Arc<dyn House>,
    router: RouterDoor,
    listener: Mutex<Option<TcpListener>>,
    socket: Option<PathBuf>,
    used_at: Arc<Mutex<Option<Instant>>>,
    stop: CancellationToken,
    faces: TaskTracker,
}

impl OwnDoor {
    /// A door to `house`. `listener` is where its public face may be opened; it is bound before the house is opened, because
    /// the address is part of what applications are told.
    pub fn new(house: Arc<dyn House>, listener: Option<TcpListener>) -> Self {
        let router = RouterDoor::new(house.local());
        let (stop, faces) = (CancellationToken::new(), TaskTracker::new());
        Self { house, router, listener: Mutex::new(listener), socket: None, used_at: Arc::default(), stop, faces }
    }

    /// The house behind the door.
    pub fn house(&self) -> &dyn House {
        self.house.as_ref()
    }

    /// Opens `admin.sock` for the commands of other processes, until the door is closed. A socket that is there already is a
    /// dead one: this process holds the directory.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open_socket(&mut self, path: PathBuf) -> Result<(), Failure> {
        let listener = bind(&path).map_err(|source| Failure::Listen { address: path.display().to_string(), source })?;
        let used_at = Arc::clone(&self.used_at);
        let noted = move |request: axum::extract::Request, next: Next| {
            *used_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            next.run(request)
        };
        self.socket = Some(path);
        self.open(listener, self.house.local().layer(axum::middleware::from_fn(noted)));
        Ok(())
    }

    /// Opens the public face.
    ///
    /// # Errors
    /// When no address was bound for it.
    pub fn open_public(&self) -> Result<SocketAddr, Failure> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = listener.ok_or_else(|| Failure::outcome("the gateway's address is taken; see `listen` in headgate.toml"))?;
        let address = listener.local_addr().map_err(|source| Failure::Listen { address: "the bound address".into(), source })?;
        self.open(listener, self.house.public());
        Ok(address)
    }

    fn open<L>(&self, listener: L, router: Router)
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let stop = self.stop.clone();
        self.faces.spawn(async move {
            if let Err(error) = serve(listener, router, stop).await {
                tracing::error!(%error, "a listener failed; restart headgate");
            }
        });
    }

    /// Waits until the commands of other processes have not used the socket for a moment.
    async fn left_alone(&self) {
        let is_used = || self.used_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < IDLE_BEFORE_END);
        while is_used() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Door for OwnDoor {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Broken>> {
        self.router.send(request)
    }

    fn listen_for_callback(&self) -> BoxFuture<'_, Result<Option<SocketAddr>, Failure>> {
        Box::pin(async { self.open_public().map(Some) })
    }

    fn finish(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.left_alone().await;
            self.close().await;
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            self.faces.close();
            self.faces.wait().await;
            self.house.close().await;
            if let Some(path) = &self.socket {
                let _ = std::fs::remove_file(path);
            }
        })
    }

    fn is_own(&self) -> bool {
        true
    }
}

fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;
    use crate::cli::transport::Client;
    use crate::cli::transport::Request as LocalRequest;
    use crate::cli::transport::SocketDoor;

    struct Cottage;

    impl House for Cottage {
        fn local(&self) -> Router {
            Router::new().route("/admin/who", get(|| async { "operator" })).route("/healthz", get(|| async { "ok" }))
        }

        fn public(&self) -> Router {
            Router::new().route("/healthz", get(|| async { "ok" }))
        }

        fn start_schedule(&self) {}

        fn close(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    /// The socket serves the operator's routes to this user alone, the public face does not have them, and both end with the
    /// door.
    #[tokio::test]
    async fn each_face_serves_its_own_routes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        std::fs::write(&path, "stale").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut door = OwnDoor::new(Arc::new(Cottage), Some(listener));
        door.open_socket(path.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let address = door.listen_for_callback().await.unwrap().unwrap();
        assert!(door.listen_for_callback().await.is_err(), "one public face");

        let socket = Client::new(Box::new(SocketDoor::new(&path).unwrap()));
        assert_eq!(socket.text(&LocalRequest::get(["admin", "who"])).await.unwrap(), "operator");
        let network = reqwest::Client::builder().no_proxy().build().unwrap();
        assert_eq!(network.get(format!("http://{address}/healthz")).send().await.unwrap().status(), 200);
        assert_eq!(network.get(format!("http://{address}/admin/who")).send().await.unwrap().status(), 404);

        let began = Instant::now();
        door.finish().await;
        assert!(began.elapsed() > IDLE_BEFORE_END / 2, "the socket was just used, so the others are given a moment");
        assert!(!path.exists());
        assert!(network.get(format!("http://{address}/healthz")).send().await.is_err());
    }
}
