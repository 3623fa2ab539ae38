//! The client against servers that misbehave: real sockets on this machine, each fault by name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Seen;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;
use axum::routing::any;
use axum::routing::get;
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::Url;

use crate::clock::Clock;
use crate::connection::test_gate::TestGates;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::secret::Secret;

use super::FetchError;
use super::client::Client;
use super::client::Options;
use super::egress::AllowedHosts;
use super::egress::Egress;
use super::egress::EgressError;
use super::egress::Rewrites;
use super::request::Request;

const CANARY: &str = "canary-7f3a91";

const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 1 };

static GATES: LazyLock<TestGates> = LazyLock::new(|| TestGates::open(&[OWNER]));

/// What a server saw, one line a request: path and query, then its credential headers.
type Log = Arc<Mutex<Vec<String>>>;

async fn serve(routes: Router) -> (SocketAddr, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let routes = routes.layer(axum::middleware::from_fn(move |request: Seen, next: axum::middleware::Next| {
        let header = |name: &str| request.headers().get(name).map(|value| format!(" {name}={}", value.to_str().unwrap_or("?")));
        let credentials = ["authorization", "x-key", "cookie"].into_iter().filter_map(header).collect::<String>();
        seen.lock().expect("log").push(format!("{}{credentials}", request.uri()));
        next.run(request)
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, log)
}

/// A server that answers every connection with these bytes, then does what `after` says.
async fn serve_raw(answer: &'static [u8], keep_open: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = socket.read(&mut buffer).await;
                let _ = socket.write_all(answer).await;
                if keep_open {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            });
        }
    });
    address
}

fn client(listed: &[SocketAddr], options: Options) -> Client {
    let egress = Egress::parse(listed.iter().map(SocketAddr::to_string)).expect("egress");
    Client::new(egress, options, Clock::System).expect("a client")
}

fn hosts(listed: &[SocketAddr]) -> AllowedHosts {
    AllowedHosts::parse(listed.iter().map(SocketAddr::to_string)).expect("hosts")
}

fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).expect("a URL")
}

/// The whole text of an error, causes included, which must not hold the canary.
fn chain(error: &FetchError) -> String {
    let mut text = format!("{error:?} {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(present) = cause {
        text.push_str(&format!(": {present}"));
        cause = present.source();
    }
    assert!(!text.contains(CANARY), "a secret in an error: {text}");
    text
}

/// An answer carries the body after decoding, its digest, and the URL without its secrets.
#[tokio::test]
async fn an_answer_is_read_whole_and_recorded_without_secrets() {
    let (address, log) = serve(Router::new().route("/orders", get(|| async { ([("x-request-id", "r-1")], "[1]") }))).await;
    let request = Request::get(url(address, "/orders?limit=2#top"))
        .with_query("key", Secret::new(CANARY.to_owned()))
        .with_header("X-Key", Secret::new(CANARY.to_owned()));
    let answer = client(&[address], Options::default()).send(&request, &hosts(&[address]), &GATES.permit(OWNER)).await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..], answer.request_id.as_deref()), (200, &b"[1]"[..], Some("r-1")));
    assert_eq!(answer.sha256, Digest::of(b"[1]"));
    assert_eq!(answer.url_recorded, format!("http://{address}/orders?limit=2&key=***"));
    assert_eq!(log.lock().expect("log").as_slice(), [format!("/orders?limit=2&key={CANARY} x-key={CANARY}")]);
}

/// Nothing is sent to a server that the operator does not list, or to a name that resolves to this machine.
#[tokio::test]
async fn private_servers_are_out_of_reach() {
    let (address, log) = serve(Router::new().fallback(|| async { "reached" })).await;
    let bare = client(&[], Options::default());
    for url in [
        format!("http://{address}/"),
        format!("https://{address}/"),
        format!("https://localhost:{}/", address.port()),
        format!("https://2130706433:{}/", address.port()),
        format!("https://0x7f.1:{}/", address.port()),
        format!("https://[::ffff:127.0.0.1]:{}/", address.port()),
    ] {
        let url = Url::parse(&url).expect("a URL");
        let error =
            bare.send(&Request::get(url.clone()), &AllowedHosts::of_urls([&url]), &GATES.permit(OWNER)).await.expect_err(url.as_str());
        assert!(matches!(error, FetchError::Egress { .. }) && !error.is_transient(), "{url}: {}", chain(&error));
    }
    assert!(log.lock().expect("log").is_empty());
}

/// A redirect to another allowed host goes without the credential, also when that host leads back; one to a host that is
/// not allowed, or that carries the credential in its query, is refused.
#[tokio::test]
async fn redirects_never_carry_the_credential_away() {
    let back = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&back);
    let (other, other_log) = serve(Router::new().route(
        "/bounce",
        get(move || {
            let to = told.lock().expect("address").clone();
            async move { Redirect::temporary(&to) }
        }),
    ))
    .await;
    let stranger = serve(Router::new().fallback(|| async { "stolen" })).await;
    let (own, own_log) = serve(
        Router::new()
            .route("/away", get(move || async move { Redirect::temporary(&format!("http://{other}/bounce")) }))
            .route("/steal", get(move || async move { Redirect::temporary(&format!("http://{}/", stranger.0)) }))
            .route("/leak", get(move || async move { Redirect::temporary(&format!("http://{other}/bounce?k={CANARY}")) }))
            .route("/meta", get(|| async { Redirect::temporary("https://169.254.169.254/latest") }))
            .route("/loop", get(|| async { Redirect::temporary("/loop") }))
            .route("/home", get(|| async { "home" })),
    )
    .await;
    *back.lock().expect("address") = format!("http://{own}/home");
    let listed = [own, other, stranger.0];
    let client = client(&listed, Options::default());
    let allowed = hosts(&[own, other]);
    let permit = GATES.permit(OWNER);
    let request = |path: &str| {
        Request::get(url(own, path))
            .with_header("Authorization", format!("Bearer {CANARY}"))
            .with_header("X-Key", Secret::new(CANARY.to_owned()))
    };
    let answer = client.send(&request("/away"), &allowed, &permit).await.expect("followed");
    assert_eq!(answer.url_recorded, format!("http://{own}/home"));
    assert_eq!(other_log.lock().expect("log").as_slice(), ["/bounce"]);
    assert_eq!(own_log.lock().expect("log").last().map(String::as_str), Some("/home"), "dropped for good");
    let within = client.send(&request("/home"), &allowed, &permit).await.expect("an answer");
    assert!(within.is_success() && own_log.lock().expect("log").last().is_some_and(|line| line.contains(CANARY)));
    for (path, expected) in
        [("/steal", "not one of"), ("/leak", "carries the credential"), ("/meta", "not one of"), ("/loop", "redirects_max")]
    {
        let error = client.send(&request(path), &allowed, &permit).await.expect_err(path);
        assert!(chain(&error).contains(expected), "{path}: {}", chain(&error));
    }
    assert!(stranger.1.lock().expect("log").is_empty());
    let elsewhere = Request { credential_hosts: Some(hosts(&[other])), ..request("/home") };
    let error = client.send(&elsewhere, &allowed, &permit).await.expect_err("bound to another host");
    assert!(matches!(error, FetchError::CredentialElsewhere { .. }));
}

fn gzip_of_zeros(mebibytes: usize) -> Vec<u8> {
    // A fixed deflate block of a run: one zero byte, then matches of 258 at distance 1, written bit by bit.
    let mut bits = Bits::default();
    bits.put(1, 1);
    bits.put(1, 2);
    bits.put_code(0b0011_0000, 8);
    for _ in 0..(mebibytes * 1024 * 1024) / 258 {
        bits.put_code(0b1100_0101, 8);
        bits.put_code(0, 5);
    }
    bits.put_code(0, 7);
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(bits.finish());
    file.extend([0; 8]);
    file
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
    held: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.held |= value << self.used;
        self.used += count;
        while self.used >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.used -= 8;
        }
    }

    /// Huffman codes stand with their first bit first.
    fn put_code(&mut self, code: u32, count: u32) {
        self.put(code.reverse_bits() >> (32 - count), count);
    }

    fn finish(mut self) -> Vec<u8> {
        self.put(0, 7);
        self.bytes
    }
}

/// Bodies and headers beyond their limits end the request, however small they look on the wire.
#[tokio::test]
async fn sizes_are_limited_after_decoding() {
    let bomb = gzip_of_zeros(64);
    assert!(bomb.len() < 1024 * 1024, "the bomb is small on the wire");
    let (address, _) = serve(
        Router::new()
            .route("/bomb", get(move || async move { ([(header::CONTENT_ENCODING, "gzip")], bomb) }))
            .route("/long", get(|| async { vec![b' '; 3 * 1024 * 1024] }))
            .route("/fits", get(|| async { vec![b' '; 1024 * 1024] }))
            .route("/brotli", get(|| async { ([(header::CONTENT_ENCODING, "br")], "??") }))
            .route("/headers", get(|| async { ([("x-long", "h".repeat(70 * 1024))], "") })),
    )
    .await;
    let client = client(&[address], Options { body_bytes_max: 2 * 1024 * 1024, ..Options::default() });
    let permit = GATES.permit(OWNER);
    let fits = client.send(&Request::get(url(address, "/fits")), &hosts(&[address]), &permit).await.expect("fits");
    assert_eq!(fits.body.len(), 1024 * 1024);
    for (path, expected) in
        [("/bomb", "2097152 bytes of body"), ("/long", "2097152 bytes of body"), ("/headers", "bytes of headers"), ("/brotli", "`br`")]
    {
        let error = client.send(&Request::get(url(address, path)), &hosts(&[address]), &permit).await.expect_err(path);
        assert!(chain(&error).contains(expected), "{path}: {}", chain(&error));
    }
}

/// Servers that are silent, stop in the middle, drip for ever or lie about their length are given up in their time-out.
#[tokio::test]
async fn slow_and_broken_servers_are_given_up() {
    let drip = || async {
        let drops = futures_util::stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, std::io::Error>("x")
        });
        Response::new(Body::from_stream(drops))
    };
    let (dripping, _) = serve(Router::new().route("/", get(drip))).await;
    let silent = serve_raw(b"", true).await;
    let stalled = serve_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab", true).await;
    let cut = serve_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab", false).await;
    let gone = serve_raw(b"", false).await;
    let limits = Options {
        answer_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        total_timeout: Duration::from_millis(1000),
        ..Options::default()
    };
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    for (address, expected, arrived) in [
        (dripping, "total_timeout", true),
        (silent, "answer_timeout", true),
        (stalled, "idle_timeout", true),
        (cut, "lost its connection", true),
        (gone, "lost its connection", true),
        (closed, "found no server", false),
    ] {
        let started = Instant::now();
        let error =
            client(&[address], limits.clone()).send(&Request::get(url(address, "/")), &hosts(&[address]), &GATES.permit(OWNER)).await;
        let error = error.expect_err(expected);
        assert!(chain(&error).contains(expected), "{}", chain(&error));
        assert_eq!((error.may_have_arrived(), error.is_transient()), (arrived, true), "{expected}");
        assert!(started.elapsed() < Duration::from_secs(3), "{expected} after {:?}", started.elapsed());
    }
}

/// Closing the gate ends a request that is under way, and the next one does not start.
#[tokio::test]
async fn a_closed_gate_cuts_at_once() {
    let (address, log) = serve(Router::new().fallback(any(|| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        StatusCode::OK.into_response()
    })))
    .await;
    let client = client(&[address], Options::default());
    let gates = TestGates::open(&[OWNER]);
    let permit = gates.permit(OWNER);
    let (request, allowed) = (Request::get(url(address, "/")), hosts(&[address]));
    let closer = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let closed_at = Instant::now();
        gates.close(OWNER).await;
        closed_at
    };
    let (outcome, closed_at) = tokio::join!(client.send(&request, &allowed, &permit), closer);
    assert!(closed_at.elapsed() < Duration::from_millis(250));
    assert!(matches!(outcome, Err(FetchError::Closed { sent: true, .. })));
    let next = client.send(&request, &allowed, &permit).await;
    assert!(matches!(next, Err(FetchError::Closed { sent: false, source: Some(_), .. })));
    assert_eq!(log.lock().expect("log").len(), 1);
}

/// A rewrite sends the public URL to this machine, records the public one, and follows what the server says of itself.
#[tokio::test]
async fn rewrites_are_invisible_in_what_is_recorded() {
    let (address, log) = serve(
        Router::new()
            .route(
                "/old",
                get(|request: Seen| async move {
                    Redirect::temporary(&format!("http://{}/new", request.headers()["host"].to_str().expect("host")))
                }),
            )
            .route("/new", get(|| async { "new" })),
    )
    .await;
    let rewrites = Rewrites::parse([("https://api.example.com", format!("http://{address}").as_str())]).expect("rewrites");
    let allowed = AllowedHosts::parse(["api.example.com"]).expect("hosts").rewritten(Arc::new(rewrites));
    let request =
        Request::get(Url::parse("https://api.example.com/old").expect("a URL")).with_header("X-Key", Secret::new(CANARY.to_owned()));
    let bare = client(&[], Options::default());
    let answer = bare.send(&request, &allowed, &GATES.permit(OWNER)).await.expect("rewritten");
    assert_eq!((answer.url_recorded.as_str(), &answer.body[..]), ("https://api.example.com/new", &b"new"[..]));
    assert!(log.lock().expect("log").iter().all(|line| line.contains(CANARY)));
    let direct = bare.send(&Request::get(url(address, "/new")), &hosts(&[address]), &GATES.permit(OWNER)).await.expect_err("no entry");
    assert!(matches!(direct, FetchError::Egress { source: EgressError::Plain { .. }, .. }));
}
