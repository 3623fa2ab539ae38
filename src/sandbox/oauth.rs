//! The authorization server's doors: consent page, token and revocation endpoints, metadata.
//!
//! It behaves as RFC 9700 wants: exact redirect URIs, PKCE with S256 on every flow, `iss` in every answer to the redirect
//! URI (RFC 9207), codes and refresh tokens that are good once.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Form;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use data_encoding::BASE64;
use maud::DOCTYPE;
use maud::Markup;
use maud::html;
use serde_json::json;
use tokio::time::Duration;
use url::Url;
use url::form_urlencoded;

use super::App;
use super::answer;
use super::faults;
use super::grants::Client;
use super::grants::Consent;
use super::grants::GrantError;
use super::grants::Tokens;
use super::shop::Stream;

/// The pairs of a query or form. A name that comes twice is refused (RFC 6749, 3.1 and 3.2).
type Pairs = Vec<(String, String)>;

/// A form, or why it is none.
type SentForm = Result<Form<Pairs>, FormRejection>;

/// What the client asked for, once it is known where an answer may go.
struct Request {
    client: String,
    redirect_uri: Url,
    state: Option<String>,
}

/// Why the consent page is not shown.
enum Refusal {
    /// It is not known who asks or where an answer may go, so the person is told.
    Page(&'static str),
    /// The client is told, at its redirect URI.
    Redirect(Box<Request>, &'static str, &'static str),
}

/// A refusal of the token or revocation endpoint (RFC 6749, 5.2).
struct Denied {
    status: StatusCode,
    code: &'static str,
    description: String,
    /// Whether the client is asked to authenticate by `Authorization: Basic`, because it tried to.
    challenge: bool,
}

impl Denied {
    fn invalid_request(description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "invalid_request", description: description.into(), challenge: false }
    }

    /// A fault that was asked for.
    fn unavailable() -> Self {
        let description = "a fault was asked for; try again".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "temporarily_unavailable", description, challenge: false }
    }
}

impl From<GrantError> for Denied {
    fn from(error: GrantError) -> Self {
        let status = if error == GrantError::InvalidClient { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        Self { status, code: error.code(), description: error.to_string(), challenge: false }
    }
}

impl From<FormRejection> for Denied {
    fn from(rejection: FormRejection) -> Self {
        Self::invalid_request(rejection.body_text())
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let mut response = uncached(answer(self.status, &json!({"error": self.code, "error_description": self.description})));
        let headers = response.headers_mut();
        if self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"sandbox\""));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

/// `GET /oauth/authorize`: shows the consent page.
pub async fn ask(State(app): State<Arc<App>>, Query(pairs): Query<Pairs>) -> Response {
    match examine(&app, &pairs) {
        Ok((_, consent)) => page(StatusCode::OK, &consent_page(&pairs, &consent)),
        Err(refusal) => refuse(&app, refusal),
    }
}

/// `POST /oauth/authorize`: the same parameters and `decision`, `approve` or `deny`; redirects with a code or an error.
pub async fn decide(State(app): State<Arc<App>>, Form(pairs): Form<Pairs>) -> Response {
    let (request, consent) = match examine(&app, &pairs) {
        Ok(examined) => examined,
        Err(refusal) => return refuse(&app, refusal),
    };
    match get(&pairs, "decision") {
        Some("approve") => {
            let code = app.grants().issue_code(consent, app.clock.now(), &app.entropy);
            redirect(&app, request, &[("code", &code)])
        }
        Some("deny") => refuse(&app, Refusal::Redirect(Box::new(request), "access_denied", "the person said no")),
        _ => refuse(&app, Refusal::Page("The decision must be approve or deny.")),
    }
}

/// `POST /oauth/token`: RFC 6749, 4.1.3 and 6.
pub async fn token(State(app): State<Arc<App>>, headers: HeaderMap, form: SentForm) -> Response {
    let delay = app.faults().token_delay_ms;
    tokio::time::sleep(Duration::from_millis(delay)).await;
    if faults::due(&mut app.faults().token_fail) {
        return Denied::unavailable().into_response();
    }
    let exchanged = form.map_err(Denied::from).and_then(|Form(pairs)| exchange(&app, &headers, &pairs));
    if faults::due(&mut app.faults().token_lose) {
        return faults::lost();
    }
    let Tokens { access, refresh, scopes } = match exchanged {
        Ok(tokens) => tokens,
        Err(denied) => return denied.into_response(),
    };
    let body = json!({
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": app.grants().access_seconds(),
        "refresh_token": refresh,
        "scope": scopes.join(" "),
    });
    uncached(answer(StatusCode::OK, &body))
}

/// `POST /oauth/revoke`: RFC 7009.
pub async fn revoke(State(app): State<Arc<App>>, headers: HeaderMap, form: SentForm) -> Response {
    if faults::due(&mut app.faults().revoke_fail) {
        return Denied::unavailable().into_response();
    }
    let revoked = form.map_err(Denied::from).and_then(|Form(pairs)| {
        let client = authenticate(&app, &headers, &pairs)?;
        let token = get(&pairs, "token").ok_or_else(|| Denied::invalid_request("`token` is missing"))?;
        Ok(app.grants().revoke(&client, token)?)
    });
    revoked.map_or_else(Denied::into_response, |()| StatusCode::OK.into_response())
}

/// `GET /.well-known/oauth-authorization-server`: RFC 8414.
pub async fn metadata(State(app): State<Arc<App>>) -> Response {
    let at = |path: &str| format!("{}{path}", app.base_url);
    let scopes: Vec<String> = Stream::ALL.map(Stream::scope).into();
    let methods = ["client_secret_basic", "client_secret_post", "none"];
    answer(
        StatusCode::OK,
        &json!({
            "issuer": app.base_url,
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint": at("/oauth/revoke"),
            "revocation_endpoint_auth_methods_supported": methods,
            "scopes_supported": scopes,
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        }),
    )
}

/// Checks an authorization request: first what decides where an answer may go, then the rest.
fn examine(app: &App, pairs: &Pairs) -> Result<(Request, Consent), Refusal> {
    let repeated = repeated(pairs);
    let unknown = Refusal::Page("No such client, or it has not registered that redirect URI.");
    let (client, redirect_uri) = (get(pairs, "client_id").unwrap_or(""), get(pairs, "redirect_uri").unwrap_or(""));
    let registered = |client: &Client| client.redirect_uris.iter().any(|uri| uri == redirect_uri);
    if repeated.is_some() || !app.grants().client(client).is_some_and(registered) {
        return Err(unknown);
    }
    let Ok(target) = Url::parse(redirect_uri) else { return Err(unknown) };
    let request = Request { client: client.to_owned(), redirect_uri: target, state: get(pairs, "state").map(str::to_owned) };
    let refuse = |request, code, text| Err(Refusal::Redirect(Box::new(request), code, text));
    if get(pairs, "response_type") != Some("code") {
        return refuse(request, "unsupported_response_type", "response_type must be code");
    }
    let challenge = get(pairs, "code_challenge").filter(|_| get(pairs, "code_challenge_method") == Some("S256"));
    let Some(challenge) = challenge.filter(|challenge| challenge.len() == 43) else {
        return refuse(request, "invalid_request", "code_challenge with code_challenge_method=S256 is required");
    };
    let scopes = scopes(get(pairs, "scope"));
    let Some(scopes) = scopes else { return refuse(request, "invalid_scope", "a scope is not one of those in the metadata") };
    let consent =
        Consent { client: request.client.clone(), redirect_uri: redirect_uri.to_owned(), challenge: challenge.to_owned(), scopes };
    Ok((request, consent))
}

/// The scopes of a text, all if there is none; nothing if one is unknown.
fn scopes(text: Option<&str>) -> Option<Vec<String>> {
    let all: Vec<String> = Stream::ALL.map(Stream::scope).into();
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Some(all) };
    text.split(' ').map(|scope| all.contains(&scope.to_owned()).then(|| scope.to_owned())).collect()
}

fn exchange(app: &App, headers: &HeaderMap, pairs: &Pairs) -> Result<Tokens, Denied> {
    let client = authenticate(app, headers, pairs)?;
    let need = |name| get(pairs, name).ok_or_else(|| Denied::invalid_request(format!("`{name}` is missing")));
    let now = app.clock.now();
    match need("grant_type")? {
        "authorization_code" => {
            let (code, redirect_uri, verifier) = (need("code")?, need("redirect_uri")?, need("code_verifier")?);
            Ok(app.grants().redeem(&client, code, redirect_uri, verifier, now, &app.entropy)?)
        }
        "refresh_token" => {
            let narrowed = get(pairs, "scope").map(|text| text.split(' ').map(str::to_owned).collect());
            Ok(app.grants().refresh(&client, need("refresh_token")?, narrowed, now, &app.entropy)?)
        }
        _ => {
            let denied = Denied::invalid_request("use authorization_code or refresh_token");
            Err(Denied { code: "unsupported_grant_type", ..denied })
        }
    }
}

/// Who calls: by `Authorization: Basic`, or by `client_id` and `client_secret` in the form, never both (RFC 6749, 2.3).
fn authenticate(app: &App, headers: &HeaderMap, pairs: &Pairs) -> Result<String, Denied> {
    if let Some(name) = repeated(pairs) {
        return Err(Denied::invalid_request(format!("`{name}` is given more than once")));
    }
    let header = headers.get(header::AUTHORIZATION);
    let (id, secret) = match header {
        Some(_) if get(pairs, "client_secret").is_some() => {
            return Err(Denied::invalid_request("one way of authenticating at a time"));
        }
        Some(value) => value.to_str().ok().and_then(basic).unwrap_or_default(),
        None => (get(pairs, "client_id").unwrap_or("").to_owned(), get(pairs, "client_secret").map(str::to_owned)),
    };
    let checked = app.grants().authenticate(&id, secret.as_deref());
    checked.map_err(|error| Denied { challenge: header.is_some(), ..error.into() })?;
    Ok(id)
}

/// Reads `Basic`: both halves were form-encoded before base64 (RFC 6749, 2.3.1). A client without a secret has an empty one.
fn basic(value: &str) -> Option<(String, Option<String>)> {
    let text = String::from_utf8(BASE64.decode(value.strip_prefix("Basic ")?.as_bytes()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    // A whole pair is decoded, so that `=` and `&` cannot be smuggled: neither survives form-encoding.
    let decode = |text: &str| form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
    Some((decode(id)?, Some(decode(secret)?).filter(|secret| !secret.is_empty())))
}

fn refuse(app: &App, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Page(text) => page(StatusCode::BAD_REQUEST, &html! { h1 { "This request cannot be answered" } p { (text) } }),
        Refusal::Redirect(request, code, text) => redirect(app, *request, &[("error", code), ("error_description", text)]),
    }
}

/// 303, so that the form is not sent on to the client (RFC 9700, 4.12).
fn redirect(app: &App, request: Request, pairs: &[(&str, &str)]) -> Response {
    let mut target = request.redirect_uri;
    {
        let mut query = target.query_pairs_mut();
        query.extend_pairs(pairs);
        if let Some(state) = &request.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &app.base_url);
    }
    uncached((StatusCode::SEE_OTHER, [(header::LOCATION, String::from(target))]).into_response())
}

/// Nothing here may be kept on the way (RFC 6749, 5.1).
fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn get<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn repeated(pairs: &Pairs) -> Option<&str> {
    let mut seen = BTreeSet::new();
    pairs.iter().map(|(name, _)| name.as_str()).find(|name| !seen.insert(*name))
}

fn page(status: StatusCode, body: &Markup) -> Response {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Sandbox shop" } }
            body { main { (body) } }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // No page may show this one in a frame and have it clicked unseen (RFC 9700, 4.16).
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    uncached((status, headers, document.into_string()).into_response())
}

fn consent_page(pairs: &Pairs, consent: &Consent) -> Markup {
    html! {
        h1 { "Sandbox shop" }
        p { b { (consent.client) } " asks to read from your shop:" }
        ul { @for scope in &consent.scopes { li { code { (scope) } } } }
        p { "Your answer is sent to " code { (consent.redirect_uri) } "." }
        form method="post" action="/oauth/authorize" {
            @for (name, value) in pairs.iter().filter(|(name, _)| name != "decision") {
                input type="hidden" name=(name) value=(value);
            }
            button name="decision" value="approve" { "Allow" }
            " "
            button name="decision" value="deny" { "Do not allow" }
        }
    }
}
