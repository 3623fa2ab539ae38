//! Authorization against an authorization server on a real socket that rotates refresh tokens, detects their reuse, loses
//! answers and overloads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use data_encoding::BASE64;
use data_encoding::BASE64URL_NOPAD;
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::Url;

use super::*;
use crate::authorization::AuthorizationError;
use crate::authorization::code;
use crate::authorization::code::Callback;
use crate::authorization::code::Pending;
use crate::authorization::code::PendingStore;
use crate::authorization::error::Cause;
use crate::authorization::manifest_request::ManifestRequest;
use crate::authorization::provider::Provider;
use crate::authorization::renewal::Change;
use crate::authorization::renewal::Grant;
use crate::authorization::renewal::Held;
use crate::authorization::renewal::Keeper;
use crate::authorization::renewal::KeeperError;
use crate::authorization::renewal::Renewer;
use crate::authorization::renewal::Renewers;
use crate::authorization::renewal::Source;
use crate::authorization::revocation_endpoint;
use crate::authorization::tokens::AnswerNames;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::connection::credential::Renewal;
use crate::connection::credential::Tokens;
use crate::connection::test_gate::TestGates;
use crate::connector::reading::RefreshRefusal;
use crate::connector::reading::TokenNames;
use crate::connector::reading::TokenPlan;
use crate::connector::treatment::ClientAuth;
use crate::digest::Digest;
use crate::fetch::client::Options;
use crate::fetch::egress::Egress;
use crate::ids::ConnectionKey;
use crate::ids::Entropy;

const OWNER: ConnectionKey = ConnectionKey { tenant: 1, connection: 7 };

/// What the server does with the next token request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Mood {
    /// Answers.
    #[default]
    Good,
    /// Does nothing and cuts the answer off.
    LosesBefore,
    /// Rotates the tokens and cuts the answer off.
    LosesAfter,
    /// Refuses with a status and an error code.
    Refuses(u16, &'static str),
    /// Rotates the tokens, and answers after a while.
    Slow(u64),
}

#[derive(Default)]
struct Server {
    mood: Mood,
    serial: u32,
    refresh: String,
    access: String,
    dead: bool,
    challenge: String,
    lifetime: Option<u32>,
    requests: Vec<HashMap<String, String>>,
    revoked: Vec<String>,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn rotate(&mut self) -> String {
        self.serial += 1;
        (self.refresh, self.access) = (format!("refresh-{}", self.serial), format!("access-{}", self.serial));
        serde_json::json!({
            "access_token": self.access, "refresh_token": self.refresh, "token_type": "bEaReR", "expires_in": self.lifetime.unwrap_or(3600).to_string(), "shop": "s",
        })
        .to_string()
    }

    /// The answer in a good mood: rotation with reuse detection, PKCE checked.
    fn grant(&mut self, form: &HashMap<String, String>) -> Response {
        let refused = |code| (StatusCode::BAD_REQUEST, format!(r#"{{"error":"{code}"}}"#)).into_response();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match field("grant_type") {
            "authorization_code" => {
                let verifier = Digest::of(field("code_verifier").as_bytes()).to_bytes();
                let proven = self.challenge.is_empty() || BASE64URL_NOPAD.encode(&verifier) == self.challenge;
                if field("code") == "good" && proven { self.rotate().into_response() } else { refused("invalid_grant") }
            }
            "refresh_token" if self.dead || field("refresh_token") != self.refresh => {
                self.dead = true;
                refused("invalid_grant")
            }
            _ => self.rotate().into_response(),
        }
    }
}

async fn token(State(server): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let mut form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    if let Some(value) = headers.get("authorization").and_then(|value| value.to_str().ok()) {
        form.insert("Authorization".into(), value.into());
    }
    let cut = || Response::new(Body::from_stream(futures_util::stream::iter([Ok("{\"acc"), Err(std::io::Error::other("cut"))])));
    let (answer, wait) = {
        let mut server = server.lock().expect("server");
        server.requests.push(form.clone());
        match server.mood {
            Mood::Good => (server.grant(&form), 0),
            Mood::LosesBefore => (cut(), 0),
            Mood::LosesAfter => {
                server.grant(&form);
                (cut(), 0)
            }
            Mood::Refuses(status, code) => {
                let status = StatusCode::from_u16(status).expect("a status");
                ((status, [("retry-after", "2")], format!(r#"{{"error":"{code}"}}"#)).into_response(), 0)
            }
            Mood::Slow(wait) => (server.grant(&form), wait),
        }
    };
    tokio::time::sleep(Duration::from_millis(wait)).await;
    answer
}

async fn data(State(server): State<Shared>, headers: HeaderMap) -> StatusCode {
    let server = server.lock().expect("server");
    let good = headers.get("authorization").is_some_and(|value| value.as_bytes() == format!("Bearer {}", server.access).as_bytes());
    if good && !server.dead { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

async fn revoked(State(server): State<Shared>, body: String) -> StatusCode {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    server.lock().expect("server").revoked.push(format!("{} {}", form["token_type_hint"], form["token"]));
    StatusCode::OK
}

/// A credential in memory that counts as durable, with a gate of its own and a fault.
#[derive(Default)]
struct Memory {
    held: Mutex<Option<Held>>,
    refuse_tokens: AtomicBool,
    pending: Mutex<HashMap<Digest, Pending>>,
}

impl Memory {
    fn renewal(&self) -> Renewal {
        self.held.lock().expect("held").as_ref().expect("a credential").renewal
    }

    fn copy(&self) -> Held {
        let held = self.held.lock().expect("held");
        let held = held.as_ref().expect("a credential");
        Held { generation: held.generation, tokens: held.tokens.as_ref().map(Tokens::duplicate), renewal: held.renewal }
    }
}

impl Keeper for Memory {
    fn load<'a>(&'a self, _: &'a Permit) -> BoxFuture<'a, Result<Held, KeeperError>> {
        async { Ok(self.copy()) }.boxed()
    }

    fn replace<'a>(&'a self, permit: &'a Permit, generation: u64, change: Change<'a>) -> BoxFuture<'a, Result<u64, KeeperError>> {
        async move {
            let mut held = self.held.lock().expect("held");
            let held = held.as_mut().expect("a credential");
            if permit.is_cancelled() || (matches!(change, Change::Tokens(_)) && self.refuse_tokens.load(Ordering::SeqCst)) {
                return Err(KeeperError::Closed);
            }
            if held.generation != generation {
                return Err(KeeperError::Changed);
            }
            held.generation += 1;
            match change {
                Change::Renewal(renewal) => held.renewal = renewal,
                Change::Tokens(tokens) => (held.tokens, held.renewal) = (Some(tokens.duplicate()), Renewal::Settled),
            }
            Ok(held.generation)
        }
        .boxed()
    }
}

impl PendingStore for Memory {
    fn find(&self, state: Digest) -> BoxFuture<'_, Result<Option<Pending>, Cause>> {
        let copy = |pending: &Pending| Pending {
            owner: pending.owner,
            verifier: pending.verifier.as_ref().map(Secret::duplicate),
            redirect_uri: pending.redirect_uri.clone(),
            expires_at: pending.expires_at,
        };
        let found = self.pending.lock().expect("pending").get(&state).map(copy);
        async { Ok(found) }.boxed()
    }

    fn take(&self, state: Digest) -> BoxFuture<'_, Result<bool, Cause>> {
        let taken = self.pending.lock().expect("pending").remove(&state).is_some();
        async move { Ok(taken) }.boxed()
    }
}

/// Everything of one test.
struct World {
    server: Shared,
    address: SocketAddr,
    memory: Arc<Memory>,
    gates: TestGates,
    clock: Clock,
    client: Client,
    wire: Arc<TokenWire>,
}

impl World {
    async fn new() -> Self {
        let server = Shared::default();
        let routes = Router::new()
            .route("/token", post(token))
            .route("/revoke", post(revoked))
            .route("/data", get(data))
            .with_state(Arc::clone(&server));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let clock = Clock::manual("2026-11-24T10:00:00Z".parse().expect("a time"));
        let egress = Egress::parse([address.to_string()]).expect("egress");
        let client = Client::new(egress, Options::default(), clock.clone()).expect("a client");
        let wire = TokenWire::new(client.clone(), AllowedHosts::parse([address.to_string()]).expect("hosts"));
        let gates = TestGates::open(&[OWNER]);
        Self { server, address, memory: Arc::default(), gates, clock, client, wire: Arc::new(wire) }
    }

    /// A world whose credential has been issued, and is due since `past` seconds.
    async fn due(past: i64) -> Self {
        let world = World::new().await;
        let answer = world.server.lock().expect("server").rotate();
        let tokens = Tokens::read(answer.as_bytes(), &AnswerNames::default(), None, world.clock.now()).expect("tokens");
        *world.memory.held.lock().expect("held") = Some(Held { generation: 1, tokens: Some(tokens), renewal: Renewal::Settled });
        world.clock.set(world.clock.now() + jiff::SignedDuration::from_secs(3600 + past));
        world
    }

    fn provider(&self) -> Provider {
        let url = |path: &str| Url::parse(&format!("http://{}{path}", self.address)).expect("a URL");
        Provider {
            authorize_url: Some(url("/authorize?prompt=consent")),
            token_url: url("/token"),
            revoke_url: Some(url("/revoke")),
            issuer: None,
            pkce: true,
            client_auth: ClientAuth::Basic,
            client_id: "client id".into(),
            client_secret: Some(Secret::new("s3cret+/".into())),
            scopes: vec!["orders".into(), "customers".into()],
            scope_separator: ",".into(),
            redirect_params: vec!["realmId".into()],
        }
    }

    /// As after a start: nothing but what is kept.
    fn renewers(&self) -> Renewers {
        Renewers::new(Arc::clone(&self.memory) as _, self.clock.clone())
    }

    fn renewer(&self, renewers: &Renewers) -> Renewer {
        let source = Arc::new(Source::Provider(self.provider()));
        renewers.of(&self.gates.permit(OWNER), source, Arc::clone(&self.wire) as _)
    }

    async fn fetch(&self, grant: &Grant) -> u16 {
        let url = Url::parse(&format!("http://{}/data", self.address)).expect("a URL");
        let header = Secret::new(format!("Bearer {}", grant.token().expose()));
        let request = Request::get(url).with_header("Authorization", header);
        let hosts = AllowedHosts::parse([self.address.to_string()]).expect("hosts");
        self.client.send(&request, &hosts, &self.gates.permit(OWNER)).await.expect("an answer").status
    }

    fn mood(&self, mood: Mood) {
        self.server.lock().expect("server").mood = mood;
    }

    fn requests(&self) -> usize {
        self.server.lock().expect("server").requests.len()
    }
}

/// Goal: a code is exchanged once, and by no callback but the right one. Method: every wrong callback first, none of which
/// may reach the token endpoint, then the right one, then it again.
#[tokio::test]
async fn a_callback_is_good_once() {
    let world = World::new().await;
    let redirect = Url::parse("http://127.0.0.1:8080/oauth/callback").expect("a URL");
    let mut provider = world.provider();
    let begun = code::begin(&provider, OWNER, &redirect, world.clock.now(), &Entropy::system()).expect("a link");
    let link: HashMap<_, _> = begun.authorize_url.query_pairs().into_owned().collect();
    assert_eq!((link["prompt"].as_str(), link["scope"].as_str()), ("consent", "orders,customers"));
    assert_eq!((link["code_challenge_method"].as_str(), link["redirect_uri"].as_str()), ("S256", redirect.as_str()));
    assert!(link["state"].len() == 43 && begun.state == Digest::of(link["state"].as_bytes()));
    world.server.lock().expect("server").challenge = link["code_challenge"].clone();
    let (key, pending) = (begun.state, begun.pending);
    world.memory.pending.lock().expect("pending").insert(key, pending);
    let (state, permit) = (&link["state"], world.gates.permit(OWNER));
    let answer = async |query: String, provider: &Provider, at: Timestamp| {
        let callback = Callback::read(&query);
        let pending = code::accept(&*world.memory, &callback, at).await?;
        code::redeem(&*world.memory, provider, &callback, &pending, &*world.wire, &permit, &world.clock).await
    };
    let now = world.clock.now();
    let late = now + code::PENDING_MAX;
    for (query, at) in [
        ("code=good".to_owned(), now),
        ("code=good&state=".to_owned(), now),
        (format!("code=good&state={state}x"), now),
        (format!("code=good&state={}", state.to_lowercase()), now),
        (format!("code=good&state={state}&state={state}"), now),
        (format!("code=good&state={state}"), late),
    ] {
        assert!(matches!(answer(query.clone(), &provider, at).await, Err(AuthorizationError::UnknownState)), "{query}");
    }
    let denied = answer(format!("error=access_denied&state={state}"), &provider, now).await.expect_err("denied");
    assert!(matches!(&denied, AuthorizationError::Denied { code, .. } if code == "access_denied"), "{denied}");
    assert!(matches!(answer(format!("state={state}"), &provider, now).await, Err(AuthorizationError::CodeMissing { .. })));
    provider.issuer = Some("https://auth.example.com".into());
    for query in [format!("code=good&state={state}"), format!("code=good&state={state}&iss=https://evil.example.com")] {
        assert!(matches!(answer(query, &provider, now).await, Err(AuthorizationError::Issuer { .. })));
    }
    assert_eq!(world.requests(), 0, "nothing was asked until here");
    let good = format!("code=good&state={state}&realmId=42&iss=https%3A%2F%2Fauth.example.com");
    let redeemed = answer(good.clone(), &provider, now).await.expect("redeemed");
    let tokens = &redeemed.tokens;
    assert_eq!((tokens.access_token.expose().as_str(), tokens.scopes.len()), ("access-1", 2));
    assert_eq!((redeemed.config["realmId"].as_str(), tokens.extra_members()["shop"].as_str()), (Some("42"), Some("s")));
    assert!(matches!(answer(good, &provider, now).await, Err(AuthorizationError::UnknownState)));
    assert_eq!(world.requests(), 1);
    let sent = world.server.lock().expect("server").requests[0].clone();
    assert_eq!(sent["Authorization"], format!("Basic {}", BASE64.encode(b"client+id:s3cret%2B%2F")));
    assert_eq!(sent["redirect_uri"], redirect.as_str());
}

/// The client shows its secret as the connector says, and a grant of its own needs no tokens to begin with.
#[tokio::test]
async fn clients_authenticate_as_declared() {
    for (auth, expected) in [(ClientAuth::Basic, (true, false)), (ClientAuth::Body, (false, true)), (ClientAuth::None, (false, false))] {
        let world = World::new().await;
        *world.memory.held.lock().expect("held") = Some(Held { generation: 1, tokens: None, renewal: Renewal::Settled });
        let source = Arc::new(Source::ClientCredentials(Provider { client_auth: auth, ..world.provider() }));
        let renewer = world.renewers().of(&world.gates.permit(OWNER), source, Arc::clone(&world.wire) as _);
        let grant = renewer.token().await.expect("a token");
        assert_eq!((grant.token().expose().as_str(), world.fetch(&grant).await), ("access-1", 200));
        let sent = world.server.lock().expect("server").requests[0].clone();
        assert_eq!((sent.contains_key("Authorization"), sent.contains_key("client_secret")), expected, "{auth:?}");
        assert_eq!((sent["grant_type"].as_str(), sent["scope"].as_str()), ("client_credentials", "orders,customers"));
    }
}

/// Sixty-four callers of a token that has ended make one refresh, and all get the new token, which is kept by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_one_renewal() {
    let world = Arc::new(World::due(0).await);
    world.mood(Mood::Slow(100));
    let renewers = world.renewers();
    let callers = (0..64).map(|_| {
        let (renewer, world) = (world.renewer(&renewers), Arc::clone(&world));
        tokio::spawn(async move {
            let grant = renewer.token().await.expect("a token");
            let kept = world.memory.copy().tokens.expect("tokens");
            assert_eq!(kept.access_token.expose(), grant.token().expose(), "durable before first use");
            grant.token().expose().clone()
        })
    });
    for token in futures_util::future::join_all(callers.collect::<Vec<_>>()).await {
        assert_eq!(token.expect("no panic"), "access-2");
    }
    assert_eq!((world.requests(), world.memory.renewal()), (1, Renewal::Settled));
}

/// Tokens without any lifetime are renewed for each request, not for ever within one.
#[tokio::test]
async fn tokens_without_a_lifetime_are_used() {
    let world = World::due(0).await;
    world.server.lock().expect("server").lifetime = Some(0);
    let renewers = world.renewers();
    let renewer = world.renewer(&renewers);
    for number in 2..5 {
        assert_eq!(renewer.token().await.expect("a token").token().expose(), &format!("access-{number}"));
    }
}

/// A caller who goes away does not lose the answer.
#[tokio::test]
async fn an_abandoned_renewal_is_finished() {
    let world = World::due(0).await;
    world.mood(Mood::Slow(150));
    let renewers = world.renewers();
    let renewer = world.renewer(&renewers);
    assert!(tokio::time::timeout(Duration::from_millis(50), renewer.token()).await.is_err());
    assert_eq!(renewer.token().await.expect("a token").token().expose(), "access-2");
    assert_eq!(world.requests(), 1);
}

/// Goal: a lost answer never makes the refresh token be used blindly. Method: the answer is lost before or after the server
/// acted; then everything but what is kept is forgotten, as in a crash; the old access token decides.
#[tokio::test]
async fn a_lost_answer_is_settled_by_the_old_token() {
    // The server has done nothing: the old token still works, and later the refresh token once more.
    let world = World::due(0).await;
    world.mood(Mood::LosesBefore);
    let grant = world.renewer(&world.renewers()).token().await.expect("the old token");
    assert_eq!((grant.token().expose().as_str(), world.fetch(&grant).await), ("access-1", 200));
    assert_eq!((world.requests(), world.memory.renewal()), (1, Renewal::Unknown));
    world.mood(Mood::Good);
    let renewers = world.renewers();
    let renewer = world.renewer(&renewers);
    let grant = renewer.token().await.expect("the old token again");
    assert_eq!((grant.token().expose().as_str(), world.requests()), ("access-1", 1), "not asked blindly after a restart");
    let renewed = renewer.refused(&grant).await.expect("the one more use");
    assert_eq!((renewed.token().expose().as_str(), world.requests(), world.memory.renewal()), ("access-2", 2, Renewal::Settled));

    // The server has rotated and watches for reuse: one more use, then the customer is needed.
    let world = World::due(0).await;
    world.mood(Mood::LosesAfter);
    let grant = world.renewer(&world.renewers()).token().await.expect("the old token");
    assert_eq!(world.fetch(&grant).await, 401);
    world.mood(Mood::Good);
    let refused = world.renewer(&world.renewers()).refused(&grant).await.expect_err("reuse is detected");
    assert!(refused.needs_reauthorization() && world.requests() == 2, "{refused}");

    // Lost twice: there is no third use.
    let world = World::due(0).await;
    world.mood(Mood::LosesAfter);
    let grant = world.renewer(&world.renewers()).token().await.expect("the old token");
    let lost = world.renewer(&world.renewers()).refused(&grant).await.expect_err("lost again");
    assert!(matches!(lost, AuthorizationError::OutcomeUnknown { .. }) && world.memory.renewal() == Renewal::TriedAgain, "{lost}");
    let refused = world.renewer(&world.renewers()).refused(&grant).await.expect_err("no third use");
    assert!(refused.needs_reauthorization() && world.requests() == 2, "{refused}");
}

/// Overload changes nothing, a refusal of the registration changes nothing, a refusal of the grant needs the customer.
#[tokio::test]
async fn refusals_are_told_apart() {
    for (status, code, transient, lost) in [
        (503, "temporarily_unavailable", true, false),
        (429, "slow_down", true, false),
        (500, "invalid_grant", true, false),
        (401, "invalid_client", false, false),
        (404, "not_found", false, false),
        (400, "invalid_grant", false, true),
        (401, "token_revoked", false, true),
        (200, "bad_refresh_token", false, true),
    ] {
        let world = World::due(0).await;
        world.mood(Mood::Refuses(status, code));
        let renewers = world.renewers();
        let renewer = world.renewer(&renewers);
        let (first, second) = tokio::join!(renewer.token(), renewer.token());
        let (first, second) = (first.expect_err(code), second.expect_err(code));
        assert_eq!((first.is_transient(), first.needs_reauthorization()), (transient, lost), "{status} {code}: {first}");
        assert_eq!(first.to_string(), second.to_string());
        assert_eq!(world.requests(), 1, "both share one request");
        if !lost {
            assert_eq!(world.memory.renewal(), Renewal::Settled, "{status} {code}");
            world.mood(Mood::Good);
            assert_eq!(world.renewer(&world.renewers()).token().await.expect("later").token().expose(), "access-2");
        }
    }
}

/// A renewal that fails while the token has not ended yet does no harm.
#[tokio::test]
async fn an_early_renewal_may_fail() {
    let world = World::due(-30).await;
    world.mood(Mood::Refuses(503, "busy"));
    let grant = world.renewer(&world.renewers()).token().await.expect("the old token");
    assert_eq!((grant.token().expose().as_str(), world.requests()), ("access-1", 1));
}

/// A 401 makes one renewal; a second one, of the renewed token, needs the customer. A token that another has renewed
/// meanwhile is simply handed out.
#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let world = World::due(-1800).await;
    let renewers = world.renewers();
    let renewer = world.renewer(&renewers);
    let (mine, theirs) = (renewer.token().await.expect("a token"), renewer.token().await.expect("a token"));
    let renewed = renewer.refused(&mine).await.expect("renewed");
    assert_eq!(renewer.refused(&theirs).await.expect("the same").token().expose(), renewed.token().expose());
    assert_eq!(world.requests(), 1);
    assert!(renewer.refused(&renewed).await.expect_err("definitive").needs_reauthorization());
    assert_eq!(world.requests(), 1);
}

/// A gate that closes ends a renewal at once; tokens that come too late are given back to the application.
#[tokio::test]
async fn a_closed_gate_ends_a_renewal() {
    let world = World::due(0).await;
    world.mood(Mood::Slow(30_000));
    let renewers = world.renewers();
    let renewer = world.renewer(&renewers);
    let closer = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let closed_at = Instant::now();
        world.gates.close(OWNER).await;
        closed_at
    };
    let (outcome, closed_at) = tokio::join!(renewer.token(), closer);
    assert!(matches!(outcome, Err(AuthorizationError::Closed { .. })) && closed_at.elapsed() < Duration::from_millis(250), "{outcome:?}");
    assert_eq!(world.memory.copy().tokens.expect("tokens").access_token.expose(), "access-1");
    assert!(matches!(renewer.token().await, Err(AuthorizationError::Closed { .. })));

    let world = World::due(0).await;
    world.memory.refuse_tokens.store(true, Ordering::SeqCst);
    assert!(matches!(world.renewer(&world.renewers()).token().await, Err(AuthorizationError::Closed { .. })));
    assert_eq!(world.server.lock().expect("server").revoked, ["refresh_token refresh-2", "access_token access-2"]);
}

/// Revocation names the refresh token first.
#[tokio::test]
async fn revocation_tells_the_application() {
    let world = World::due(0).await;
    let tokens = world.memory.copy().tokens.expect("tokens");
    world.gates.close(OWNER).await;
    revocation_endpoint::revoke(&world.provider(), &tokens, &*world.wire).await.expect("revoked");
    assert_eq!(world.server.lock().expect("server").revoked, ["refresh_token refresh-1", "access_token access-1"]);
    let without = Provider { revoke_url: None, ..world.provider() };
    assert!(revocation_endpoint::revoke(&without, &tokens, &*world.wire).await.is_err());
}

/// A manifest's own authenticator is renewed by the same machine, starting from the refresh token of its config.
#[tokio::test]
async fn a_manifest_renews_by_its_own_words() {
    let world = World::new().await;
    world.server.lock().expect("server").refresh = "configured".into();
    *world.memory.held.lock().expect("held") = Some(Held { generation: 1, tokens: None, renewal: Renewal::Settled });
    let field = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
    let plan = TokenPlan {
        url: world.provider().token_url,
        headers: Vec::new(),
        form: vec![field("grant_type", "refresh_token"), field("refresh_token", "configured"), field("audience", "api")],
        in_query: false,
        assertion: None,
        refresh_token_field: Some("refresh_token".into()),
        names: TokenNames { access_token: "access_token".into(), expires_in: "expires_in".into(), refresh_token: "refresh_token".into() },
        refusal: RefreshRefusal { statuses: vec![400], key: "error".into(), values: vec!["invalid_grant".into()] },
        given: None,
    };
    let request = ManifestRequest { plan, hidden: Vec::new() };
    let source = Arc::new(Source::Manifest(request));
    let renewer = || world.renewers().of(&world.gates.permit(OWNER), Arc::clone(&source), Arc::clone(&world.wire) as _);
    // There is no old access token to try after a lost answer: the refresh token once more, and no oftener.
    world.mood(Mood::LosesBefore);
    assert!(matches!(renewer().token().await, Err(AuthorizationError::OutcomeUnknown { .. })));
    assert_eq!(world.memory.renewal(), Renewal::Unknown);
    world.mood(Mood::Good);
    let grant = renewer().token().await.expect("a token");
    assert_eq!(grant.token().expose(), "access-1");
    assert_eq!(world.memory.copy().tokens.and_then(|tokens| tokens.refresh_token).expect("rotated").expose(), "refresh-1");
    assert_eq!(world.server.lock().expect("server").requests[1]["audience"], "api");
}
