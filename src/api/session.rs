//! Connect sessions: a link that one browser opens once.
//!
//! The link's token is kept as a hash alone. The first GET swaps it for an HttpOnly cookie; from then on the token opens
//! nothing without that cookie, so a link found in a mailbox or a history is worth nothing.

use axum::http::HeaderMap;
use axum::http::header;
use data_encoding::BASE64URL_NOPAD;
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use ring::digest::SHA256;
use ring::digest::digest;
use serde::Deserialize;
use serde::Serialize;
use url::Host;
use url::Url;

use crate::api::Api;
use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::wire;
use crate::audit::Actor;
use crate::clock;
use crate::clock::Timestamp;
use crate::consent::Purpose;
use crate::ids::ConnectionId;
use crate::ids::SessionId;
use crate::ids::TenantId;
use crate::secret::Secret;

/// How long a link works.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectSession {
    /// Its public name, which stands in the page's URL once the link is opened.
    pub id: SessionId,
    /// SHA-256 of the link's token.
    pub link_hash: [u8; 32],
    /// SHA-256 of the cookie; none until the link is opened.
    pub cookie_hash: Option<[u8; 32]>,
    /// The connector.
    pub connector: String,
    /// For whom.
    pub tenant: TenantId,
    /// The purposes; those of the connector when empty.
    pub purposes: Vec<Purpose>,
    /// Where the customer goes back to.
    pub return_url: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What came of it.
    pub connection: Option<ConnectionId>,
}

/// How a session is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handle {
    /// By the hash of its link's token.
    Link([u8; 32]),
    /// By its public name.
    Id(SessionId),
    /// By what came of it.
    Connection(ConnectionId),
}

/// Where sessions are kept.
pub trait SessionBook: Send + Sync {
    /// Keeps a new session; audited as made by `actor`.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be written.
    fn insert(&self, session: ConnectSession, actor: Actor, at: Timestamp) -> BoxFuture<'_, Result<(), Problem>>;

    /// The session, past ones included.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be read.
    fn find(&self, handle: Handle) -> BoxFuture<'_, Result<Option<ConnectSession>, Problem>>;

    /// Puts `new` in the place of `expected`; false where something else stands there by now.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be written.
    fn replace(&self, expected: ConnectSession, new: ConnectSession) -> BoxFuture<'_, Result<bool, Problem>>;
}

/// What a browser's request amounts to.
#[derive(Debug)]
pub enum Visit {
    /// No such link, or its time is over.
    Unknown,
    /// The link was opened before, in another browser.
    Spent,
    /// The link is opened now: the cookie to set.
    Fresh(Box<ConnectSession>, Secret<String>),
    /// The browser that opened the link.
    Known(Box<ConnectSession>),
}

/// Opens a session.
///
/// # Errors
/// 404 for a tenant that the principal may not see or an unknown connector, 409 for a tenant that is erased, 422 for a `return_url` that browsers must not
/// be sent to.
pub async fn open(api: &Api, by: &Principal, order: wire::session::Order) -> Result<wire::session::Opened, Problem> {
    by.must_see(&order.tenant)?;
    api.services.tenants.must_be_open(&order.tenant).await?;
    let return_url = order.return_url.as_deref().map(return_url).transpose()?;
    let connector = api.services.connectors.get(&order.connector).await?;
    let token = Secret::new(BASE64URL_NOPAD.encode(&api.entropy.bytes::<32>()));
    let now = api.clock.now();
    let session = ConnectSession {
        id: SessionId::new(now, &api.entropy),
        link_hash: hash(token.expose()),
        cookie_hash: None,
        connector: connector.name,
        tenant: order.tenant,
        purposes: order.purposes.unwrap_or_default(),
        return_url,
        expires_at: now + LIFETIME,
        connection: None,
    };
    let expires_at = session.expires_at;
    api.sessions.insert(session, by.actor(), now).await?;
    let base = api.public_url.as_str().trim_end_matches('/');
    Ok(wire::session::Opened { url: Some(format!("{base}/connect/{}", token.expose())), expires_at })
}

/// Who visits: swaps a link that was never opened for a cookie when `may_open`.
///
/// # Errors
/// [`Problem::Unavailable`] when the store does not answer.
pub async fn visit(api: &Api, token: &str, headers: &HeaderMap, may_open: bool) -> Result<Visit, Problem> {
    let by_name = token.parse::<SessionId>().ok();
    let handle = by_name.map_or_else(|| Handle::Link(hash(token)), Handle::Id);
    let found = api.sessions.find(handle).await?.filter(|session| !clock::is_over(session.expires_at, LIFETIME, api.clock.now()));
    let Some(session) = found else { return Ok(Visit::Unknown) };
    if holds_cookie(&session, headers) {
        return Ok(Visit::Known(Box::new(session)));
    }
    match (by_name, session.cookie_hash) {
        (Some(_), _) => Ok(Visit::Unknown),
        (None, Some(_)) => Ok(Visit::Spent),
        (None, None) if !may_open => Ok(Visit::Spent),
        (None, None) => {
            let cookie = Secret::new(BASE64URL_NOPAD.encode(&api.entropy.bytes::<32>()));
            let opened = ConnectSession { cookie_hash: Some(hash(cookie.expose())), ..session.clone() };
            match api.sessions.replace(session, opened.clone()).await? {
                true => Ok(Visit::Fresh(Box::new(opened), cookie)),
                false => Ok(Visit::Spent),
            }
        }
    }
}

/// Whether the request comes from the browser that opened the session's link.
pub fn holds_cookie(session: &ConnectSession, headers: &HeaderMap) -> bool {
    let Some(expected) = session.cookie_hash else { return false };
    let name = cookie_name(session.id);
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
    // Hashes of 256 random bits: how far two of them agree says nothing about the cookie.
    values.any(|(_, value)| hash(value) == expected)
}

/// The `Set-Cookie` of a link that was opened. `Lax`, because the application's redirect comes from another site.
pub fn set_cookie(api: &Api, session: &ConnectSession, cookie: &Secret<String>) -> String {
    let name = cookie_name(session.id);
    let secure = if api.public_url.scheme() == "https" { "; Secure" } else { "" };
    format!("{name}={}; HttpOnly; SameSite=Lax; Path=/; Max-Age={}{secure}", cookie.expose(), LIFETIME.as_secs())
}

/// One cookie a session, so that two links may be open at once.
fn cookie_name(id: SessionId) -> String {
    format!("headgate_connect_{}", HEXLOWER.encode(&id.to_bytes()[8..]))
}

/// Where a browser may be sent back to: no script, no plain http but to the machine itself, no password in it.
fn return_url(text: &str) -> Result<String, Problem> {
    let refuse =
        || Problem::member("/return_url", "format", "must be an absolute https URL without user name, or http on a loopback address");
    let url = Url::parse(text).map_err(|_| refuse())?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(refuse()),
    };
    let safe = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    if safe && url.username().is_empty() && url.password().is_none() { Ok(url.into()) } else { Err(refuse()) }
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A customer's browser is sent to https, or to the machine itself, and nowhere else.
    #[test]
    fn return_urls_lead_nowhere_strange() {
        for good in ["https://shop.example/back?x=1", "http://127.0.0.1:9000/", "http://localhost/x", "http://[::1]:1/"] {
            assert!(return_url(good).is_ok(), "{good}");
        }
        for bad in ["http://shop.example/", "javascript:alert(1)", "https://a:b@shop.example/", "//shop.example", "data:text/html,x", ""] {
            assert!(return_url(bad).is_err(), "{bad}");
        }
    }
}
