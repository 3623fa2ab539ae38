//! An application with an authorization server of its own, strict where RFC 6749, 7636, 9700, 9207 and 7009 let it be, and odd
//! where they let it be odd. It shares no code with Headgate.
//!
//! What it holds to: redirect URIs are compared as texts; PKCE with S256 is mandatory; a code works once, and its second use
//! ends what came of the first; a refresh token works once, and its second use ends its whole family; the client
//! authenticates in the one registered way and no other.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use data_encoding::BASE64;
use data_encoding::BASE64URL_NOPAD;
use headgate::clock::Clock;
use headgate::clock::Timestamp;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::json;

use crate::support::http::Asked;
use crate::support::http::Reply;
use crate::support::http::Server;
use crate::support::http::first;

/// The client's id; `:` is legal in it, and has to be escaped for Basic (RFC 6749 section 2.3.1).
pub const CLIENT_ID: &str = "head:gate";
/// The client's secret, with everything that an encoding can get wrong.
pub const CLIENT_SECRET: &str = "s3cr3t %+/=&:ü~";
/// How long a code is good.
const CODE_SECONDS: i64 = 60;

/// How a client is registered to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMethod {
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
    /// `none`: a public client.
    Public,
}

impl ClientMethod {
    /// The word for it in `headgate.yaml`.
    pub fn word(self) -> &'static str {
        match self {
            ClientMethod::Basic => "basic",
            ClientMethod::Post => "body",
            ClientMethod::Public => "none",
        }
    }
}

/// Where the API looks for an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer`
    Bearer,
    /// A header of the application's own.
    Header(&'static str),
    /// A query parameter.
    Parameter(&'static str),
}

/// What the next token request meets instead of a plain answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer, and nothing is done.
    Answer(Reply),
    /// The request is done, and the answer passes through this.
    Done(fn(Reply) -> Reply),
}

/// What the server does.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the client authenticates.
    pub client: ClientMethod,
    /// The one registered redirect URI.
    pub redirect_uri: String,
    /// Where the API takes its token.
    pub place: TokenPlace,
    /// How long an access token is good.
    pub lifetime_seconds: i64,
    /// What the token answer says of that, in a JSON member; `Null` leaves it out.
    pub expires_in: Value,
    /// Whether a refresh brings a new refresh token and ends the old one.
    pub rotates: bool,
    /// What the redirect's `iss` says; none leaves it out.
    pub iss: Option<String>,
    /// The orders that the API lists.
    pub orders: usize,
}

impl Options {
    /// A usual server: an hour, rotation, `iss`, Bearer, `client_secret_basic`.
    pub fn usual() -> Self {
        Options {
            client: ClientMethod::Basic,
            redirect_uri: "http://127.0.0.1:8080/oauth/callback".into(),
            place: TokenPlace::Bearer,
            lifetime_seconds: 3_600,
            expires_in: 3_600.into(),
            rotates: true,
            iss: Some("https://login.shop.example".into()),
            orders: 3,
        }
    }
}

/// A running application.
pub struct OAuthServer {
    /// The socket, and what it has seen.
    pub server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    options: Options,
    clock: Clock,
    /// Counts everything that is issued, so that no two texts are alike.
    issued: u64,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    dead_families: Vec<u64>,
    faults: VecDeque<Fault>,
    api_faults: VecDeque<Fault>,
    reused: u64,
}

struct Code {
    challenge: String,
    redirect_uri: String,
    until: Timestamp,
    family: u64,
    used: bool,
}

struct Access {
    family: u64,
    until: Timestamp,
    dead: bool,
}

struct Refresh {
    family: u64,
    used: bool,
}

impl OAuthServer {
    /// Starts it; tokens end by `clock`.
    pub async fn start(options: Options, clock: Clock) -> Self {
        let state = State {
            options,
            clock,
            issued: 0,
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            dead_families: Vec::new(),
            faults: VecDeque::new(),
            api_faults: VecDeque::new(),
            reused: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let held = Arc::clone(&state);
        let server = Server::start(move |asked| lock(&held).answer(asked)).await;
        Self { server, state }
    }

    /// What the next token requests meet, in turn.
    pub fn at_token(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state).faults.extend(faults);
    }

    /// What the next requests for orders meet, in turn.
    pub fn at_orders(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state).api_faults.extend(faults);
    }

    /// Ends every access token, as when the customer's session is closed; refresh tokens stay.
    pub fn end_access_tokens(&self) {
        lock(&self.state).access.values_mut().for_each(|access| access.dead = true);
    }

    /// Ends every authorization, as when the customer removes it.
    pub fn end_authorizations(&self) {
        let mut state = lock(&self.state);
        let families: Vec<u64> = state.refresh.values().map(|refresh| refresh.family).collect();
        state.dead_families.extend(families);
    }

    /// How often a code or refresh token came a second time.
    pub fn reused(&self) -> u64 {
        lock(&self.state).reused
    }

    /// Every code, access token and refresh token that was issued.
    pub fn secrets(&self) -> Vec<String> {
        let state = lock(&self.state);
        state.codes.keys().chain(state.access.keys()).chain(state.refresh.keys()).cloned().collect()
    }

    /// The token requests of one grant type so far.
    pub fn token_requests(&self, grant_type: &str) -> usize {
        let of = |asked: &Asked| first(&asked.form(), "grant_type") == Some(grant_type);
        self.server.seen_at("/token").iter().filter(|asked| of(asked)).count()
    }

    /// The customer's browser at the authorization page: the query that it brings back to the redirect URI.
    pub async fn consent(&self, authorize_url: &str) -> String {
        self.browse(authorize_url).await.expect("the server takes the authorization request")
    }

    /// As [`OAuthServer::consent`]; what the page says when it refuses to redirect.
    pub async fn browse(&self, authorize_url: &str) -> Result<String, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = browser.get(authorize_url).send().await.unwrap();
        match answer.headers().get("location") {
            Some(location) => Ok(location.to_str().unwrap().split_once('?').unwrap().1.to_owned()),
            None => Err(answer.text().await.unwrap()),
        }
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Reply {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/authorize") => self.authorize(asked),
            ("POST", "/token") => match self.faults.pop_front() {
                Some(Fault::Answer(reply)) => reply,
                Some(Fault::Done(after)) => after(self.token(asked)),
                None => self.token(asked),
            },
            ("POST", "/revoke") => self.revoke(asked),
            ("GET", "/orders") => match self.api_faults.pop_front() {
                Some(Fault::Answer(reply)) => reply,
                Some(Fault::Done(after)) => after(self.orders(asked)),
                None => self.orders(asked),
            },
            _ => Reply::text(404, "nothing here"),
        }
    }

    /// RFC 6749 section 4.1.1: a wrong client or redirect URI is told to the browser and never redirected.
    fn authorize(&mut self, asked: &Asked) -> Reply {
        let mut names: Vec<&str> = asked.query.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let (client, redirect) = (asked.parameter("client_id"), asked.parameter("redirect_uri"));
        if client != Some(CLIENT_ID) || redirect != Some(&self.options.redirect_uri) || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Reply::text(400, format!("no such client, or not its redirect URI: {:?}", asked.query));
        }
        let challenge = asked.parameter("code_challenge").filter(|challenge| challenge.len() == 43);
        let (Some("code"), Some("S256"), Some(challenge), Some(state)) =
            (asked.parameter("response_type"), asked.parameter("code_challenge_method"), challenge, asked.parameter("state"))
        else {
            return self.redirect(asked, &[("error", "invalid_request")]);
        };
        if state.len() < 22 {
            return self.redirect(asked, &[("error", "invalid_request")]);
        }
        let code = self.fresh("code");
        let until = self.clock.now() + SignedDuration::from_secs(CODE_SECONDS);
        let redirect_uri = self.options.redirect_uri.clone();
        let family = self.issued;
        self.codes.insert(code.clone(), Code { challenge: challenge.to_owned(), redirect_uri, until, family, used: false });
        self.redirect(asked, &[("code", &code), ("shop_id", "shop 42/ü"), ("unheard_of", "x")])
    }

    fn redirect(&self, asked: &Asked, parameters: &[(&str, &str)]) -> Reply {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        query.append_pair("state", asked.parameter("state").unwrap_or_default());
        if let Some(iss) = &self.options.iss {
            query.append_pair("iss", iss);
        }
        Reply::text(302, "").header("Location", format!("{}?{}", self.options.redirect_uri, query.finish()))
    }

    fn token(&mut self, asked: &Asked) -> Reply {
        let form = match self.client_form(asked) {
            Ok(form) => form,
            Err(reply) => return reply,
        };
        let family = match first(&form, "grant_type") {
            Some("authorization_code") => self.redeem(&form),
            Some("refresh_token") => self.spend(&form),
            _ => return refusal(400, "unsupported_grant_type"),
        };
        match family {
            Ok(family) => self.issue(family, first(&form, "grant_type") == Some("authorization_code")),
            Err(code) => refusal(400, code),
        }
    }

    /// The form of an authenticated client, or the refusal.
    fn client_form(&self, asked: &Asked) -> Result<Vec<(String, String)>, Reply> {
        let content_type = asked.header("content-type").unwrap_or_default();
        let form = asked.form();
        let mut names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let accepts = asked.header("accept").unwrap_or("*/*");
        if !content_type.starts_with("application/x-www-form-urlencoded")
            || names.windows(2).any(|pair| pair[0] == pair[1])
            || !asked.query.is_empty()
            || !(accepts.contains("json") || accepts.contains("*/*"))
        {
            return Err(refusal(400, "invalid_request"));
        }
        let decoded = |text: &str| url::form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
        let basic = asked.header("authorization").and_then(|value| {
            let pair = String::from_utf8(BASE64.decode(value.strip_prefix("Basic ")?.as_bytes()).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            Some((decoded(id)?, decoded(secret)?))
        });
        let in_body = (first(&form, "client_id").map(str::to_owned), first(&form, "client_secret").map(str::to_owned));
        let (id, secret) = (CLIENT_ID.to_owned(), CLIENT_SECRET.to_owned());
        let known = match self.options.client {
            ClientMethod::Basic => basic == Some((id, secret)) && in_body.1.is_none(),
            ClientMethod::Post => asked.header("authorization").is_none() && in_body == (Some(id), Some(secret)),
            ClientMethod::Public => asked.header("authorization").is_none() && in_body == (Some(id), None),
        };
        if known { Ok(form) } else { Err(refusal(401, "invalid_client").header("WWW-Authenticate", "Basic realm=\"token\"")) }
    }

    /// RFC 6749 section 4.1.3, RFC 7636 section 4.6, RFC 9700 section 4.5.
    fn redeem(&mut self, form: &[(String, String)]) -> Result<u64, &'static str> {
        let now = self.clock.now();
        let code = first(form, "code").and_then(|code| self.codes.get_mut(code)).ok_or("invalid_grant")?;
        if std::mem::replace(&mut code.used, true) {
            self.reused += 1;
            self.dead_families.push(code.family);
            return Err("invalid_grant");
        }
        let verifier = first(form, "code_verifier").filter(|verifier| (43..=128).contains(&verifier.len())).ok_or("invalid_request")?;
        let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        let good = BASE64URL_NOPAD.encode(digest.as_ref()) == code.challenge
            && first(form, "redirect_uri") == Some(&code.redirect_uri)
            && now < code.until;
        if good { Ok(code.family) } else { Err("invalid_grant") }
    }

    /// RFC 6749 section 6, RFC 9700 section 4.14.
    fn spend(&mut self, form: &[(String, String)]) -> Result<u64, &'static str> {
        let rotates = self.options.rotates;
        let refresh = first(form, "refresh_token").and_then(|token| self.refresh.get_mut(token)).ok_or("invalid_grant")?;
        if refresh.used {
            self.reused += 1;
            self.dead_families.push(refresh.family);
        }
        refresh.used = rotates;
        if self.dead_families.contains(&refresh.family) { Err("invalid_grant") } else { Ok(refresh.family) }
    }

    fn issue(&mut self, family: u64, first: bool) -> Reply {
        let (access, refresh) = (self.fresh("access"), self.fresh("refresh"));
        let until = self.clock.now() + SignedDuration::from_secs(self.options.lifetime_seconds);
        self.access.insert(access.clone(), Access { family, until, dead: false });
        let mut answer =
            json!({"access_token": access, "token_type": "bEaReR", "scope": "orders", "x": {"refresh": false}, "id_token": null});
        if !self.options.expires_in.is_null() {
            answer["expires_in"] = self.options.expires_in.clone();
        }
        if first || self.options.rotates {
            answer["refresh_token"] = refresh.clone().into();
            self.refresh.insert(refresh, Refresh { family, used: false });
        }
        Reply::json(&answer).header("Cache-Control", "no-store")
    }

    /// RFC 7009: always 200 for a client that is known.
    fn revoke(&mut self, asked: &Asked) -> Reply {
        let form = match self.client_form(asked) {
            Ok(form) => form,
            Err(reply) => return reply,
        };
        let Some(token) = first(&form, "token") else { return refusal(400, "invalid_request") };
        if let Some(refresh) = self.refresh.get(token) {
            self.dead_families.push(refresh.family);
        } else if let Some(access) = self.access.get_mut(token) {
            access.dead = true;
        }
        Reply::text(200, "")
    }

    fn orders(&self, asked: &Asked) -> Reply {
        let token = match self.options.place {
            TokenPlace::Bearer => asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")),
            TokenPlace::Header(name) => asked.header(name),
            TokenPlace::Parameter(name) => asked.parameter(name),
        };
        let access = token.and_then(|token| self.access.get(token));
        let good =
            access.is_some_and(|access| !access.dead && self.clock.now() < access.until && !self.dead_families.contains(&access.family));
        if !good {
            return refusal(401, "invalid_token").header("WWW-Authenticate", "Bearer error=\"invalid_token\"");
        }
        let orders: Vec<Value> = (1..=self.options.orders).map(|id| json!({"id": id, "number": format!("SO-{id}")})).collect();
        Reply::json(&json!({"orders": orders}))
    }

    /// A text that nothing else is like.
    fn fresh(&mut self, what: &str) -> String {
        self.issued += 1;
        format!("{what}-{:04}-Zm9yZWlnbg~._", self.issued)
    }
}

/// An error answer of RFC 6749 section 5.2, with all that it may hold.
pub fn refusal(status: u16, code: &str) -> Reply {
    let body =
        json!({"error": code, "error_description": "no \u{201c}reason\u{201d} is given", "error_uri": "https://shop.example/errors"});
    Reply::json(&body).status(status)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test has failed under this lock")
}
