//! What the authorization server remembers: clients, codes, grants and their tokens. No HTTP here.
//!
//! A grant is what RFC 9700 calls a family: all tokens that come from one consent. It lives until a code or a refresh
//! token is used twice, or its refresh token is revoked; no token of a dead grant is good for anything.

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use jiff::SignedDuration;
use jiff::Timestamp;
use ring::digest;
use serde::Deserialize;

use crate::ids::Entropy;

/// How long a code may be redeemed.
pub const CODE_SECONDS: i64 = 60;

/// A client of the authorization server: for Headgate's tests and demo, the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The client's public name.
    pub id: String,
    /// Its secret; a public client has none and sends none.
    #[serde(default)]
    pub secret: Option<String>,
    /// Where answers may be sent: compared character by character (RFC 9700, 2.1).
    pub redirect_uris: Vec<String>,
}

/// Why the authorization server refuses; the codes of RFC 6749, 5.2 and of RFC 7009.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// No such client, a wrong secret, or none where one is needed.
    #[error("the client is unknown or its secret is wrong")]
    InvalidClient,
    /// The code is unknown, used, expired, or bound to another client, redirect URI or verifier.
    #[error("the code is unknown, used, expired, or was given to another client, redirect URI or verifier")]
    InvalidCode,
    /// The refresh token is unknown, revoked, used before, or another client's.
    #[error("the refresh token is unknown, revoked, used before, or another client's")]
    InvalidRefreshToken,
    /// More is asked for than was granted.
    #[error("the scope goes beyond what was granted")]
    InvalidScope,
    /// A client revokes what is another's.
    #[error("the token belongs to another client")]
    ForeignToken,
}

impl GrantError {
    /// The `error` member of the answer.
    pub fn code(self) -> &'static str {
        match self {
            GrantError::InvalidClient => "invalid_client",
            GrantError::InvalidCode | GrantError::InvalidRefreshToken => "invalid_grant",
            GrantError::InvalidScope => "invalid_scope",
            GrantError::ForeignToken => "unauthorized_client",
        }
    }
}

/// What a consent fixed, and what the code is bound to.
#[derive(Debug, Clone)]
pub struct Consent {
    /// The client that asked.
    pub client: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// The S256 challenge (RFC 7636, 4.2).
    pub challenge: String,
    /// What was granted.
    pub scopes: Vec<String>,
}

/// An answer of the token endpoint.
#[derive(Debug)]
pub struct Tokens {
    /// Opens the API.
    pub access: String,
    /// Brings the next pair, once.
    pub refresh: String,
    /// What the access token opens.
    pub scopes: Vec<String>,
}

/// What a good access token stands for.
#[derive(Debug, Clone)]
pub struct Access {
    /// The grant's number.
    pub grant: u64,
    /// What it opens.
    pub scopes: Vec<String>,
}

struct Code {
    consent: Consent,
    expires_at: Timestamp,
    /// The grant that it was redeemed for.
    used: Option<u64>,
}

struct Grant {
    client: String,
    scopes: Vec<String>,
    alive: bool,
    /// The one refresh token that is still good.
    refresh: String,
}

struct AccessToken {
    grant: u64,
    scopes: Vec<String>,
    expires_at: Timestamp,
    revoked: bool,
}

/// The authorization server's memory.
pub struct Grants {
    access_seconds: i64,
    clients: HashMap<String, Client>,
    codes: HashMap<String, Code>,
    grants: HashMap<u64, Grant>,
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, u64>,
}

impl Grants {
    /// No grants yet; access tokens will live `access_seconds`.
    pub fn new(access_seconds: i64, clients: impl IntoIterator<Item = Client>) -> Self {
        let clients = clients.into_iter().map(|client| (client.id.clone(), client)).collect();
        let (codes, grants, access, refresh) = Default::default();
        Self { access_seconds, clients, codes, grants, access, refresh }
    }

    /// Adds a client, or replaces the one with the same id.
    pub fn register(&mut self, client: Client) {
        self.clients.insert(client.id.clone(), client);
    }

    /// The client of that id.
    pub fn client(&self, id: &str) -> Option<&Client> {
        self.clients.get(id)
    }

    /// How long new access tokens live, in seconds.
    pub fn access_seconds(&self) -> i64 {
        self.access_seconds
    }

    /// The number of grants whose tokens still work.
    pub fn alive(&self) -> usize {
        self.grants.values().filter(|grant| grant.alive).count()
    }

    /// Ends every grant, as when the customer removes the client in the application's own settings.
    pub fn end_all(&mut self) {
        self.grants.values_mut().for_each(|grant| grant.alive = false);
    }

    /// Lets every access token be past its life; refresh tokens stay good.
    pub fn expire_access(&mut self) {
        self.access.clear();
    }

    /// Checks who calls the token or revocation endpoint.
    ///
    /// # Errors
    /// [`GrantError::InvalidClient`].
    pub fn authenticate(&self, id: &str, secret: Option<&str>) -> Result<(), GrantError> {
        let client = self.clients.get(id).ok_or(GrantError::InvalidClient)?;
        if client.secret.as_deref() == secret { Ok(()) } else { Err(GrantError::InvalidClient) }
    }

    /// A code for a consent just given.
    pub fn issue_code(&mut self, consent: Consent, now: Timestamp, entropy: &Entropy) -> String {
        let code = token("sbc", entropy);
        self.codes.insert(code.clone(), Code { consent, expires_at: later(now, CODE_SECONDS), used: None });
        code
    }

    /// Redeems a code for a first pair of tokens.
    ///
    /// A second use ends the grant that the first one brought (RFC 6749, 4.1.2). A wrong redirect URI or verifier uses
    /// the code up: whoever sends them has the code from somewhere else.
    ///
    /// # Errors
    /// [`GrantError::InvalidCode`].
    pub fn redeem(
        &mut self,
        client: &str,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Tokens, GrantError> {
        let number = self.grants.len() as u64 + 1;
        let Some(code) = self.codes.get_mut(code).filter(|code| code.consent.client == client) else {
            return Err(GrantError::InvalidCode);
        };
        if let Some(grant) = code.used {
            self.end(grant);
            return Err(GrantError::InvalidCode);
        }
        code.used = Some(number);
        let bound = code.consent.redirect_uri == redirect_uri && code.consent.challenge == challenge(verifier);
        let consent = code.consent.clone();
        if !bound || now >= code.expires_at {
            // The number is taken, so that a later grant is not the one that a repeat of this code ends.
            self.grants.insert(number, Grant { client: consent.client, scopes: Vec::new(), alive: false, refresh: String::new() });
            return Err(GrantError::InvalidCode);
        }
        let scopes = consent.scopes;
        self.grants.insert(number, Grant { client: consent.client, scopes: scopes.clone(), alive: true, refresh: String::new() });
        Ok(self.issue(number, scopes, now, entropy))
    }

    /// Exchanges a refresh token for the next pair; `scopes` narrows the new access token.
    ///
    /// A refresh token that was exchanged before ends the grant: one of the two who hold it has stolen it (RFC 9700, 4.14.2).
    ///
    /// # Errors
    /// [`GrantError::InvalidRefreshToken`], [`GrantError::InvalidScope`].
    pub fn refresh(
        &mut self,
        client: &str,
        refresh: &str,
        scopes: Option<Vec<String>>,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Tokens, GrantError> {
        let number = *self.refresh.get(refresh).ok_or(GrantError::InvalidRefreshToken)?;
        let grant = self.grants.get_mut(&number).filter(|grant| grant.client == client).ok_or(GrantError::InvalidRefreshToken)?;
        if !grant.alive || grant.refresh != refresh {
            grant.alive = false;
            return Err(GrantError::InvalidRefreshToken);
        }
        let scopes = scopes.unwrap_or_else(|| grant.scopes.clone());
        if !scopes.iter().all(|scope| grant.scopes.contains(scope)) {
            return Err(GrantError::InvalidScope);
        }
        Ok(self.issue(number, scopes, now, entropy))
    }

    /// Revokes a token (RFC 7009): a refresh token takes its whole grant along, an access token only itself. A token
    /// that nobody knows is revoked already.
    ///
    /// # Errors
    /// [`GrantError::ForeignToken`].
    pub fn revoke(&mut self, client: &str, token: &str) -> Result<(), GrantError> {
        let refresh = self.refresh.get(token).copied();
        let Some(number) = refresh.or_else(|| self.access.get(token).map(|access| access.grant)) else { return Ok(()) };
        if self.grants.get(&number).is_some_and(|grant| grant.client != client) {
            return Err(GrantError::ForeignToken);
        }
        match self.access.get_mut(token) {
            Some(access) => access.revoked = true,
            None => self.end(number),
        }
        Ok(())
    }

    /// What an access token opens; nothing when it is unknown, past its life, revoked, or its grant has ended.
    pub fn access(&self, token: &str, now: Timestamp) -> Option<Access> {
        let access = self.access.get(token).filter(|access| !access.revoked && now < access.expires_at)?;
        self.grants.get(&access.grant).filter(|grant| grant.alive)?;
        Some(Access { grant: access.grant, scopes: access.scopes.clone() })
    }

    fn issue(&mut self, number: u64, scopes: Vec<String>, now: Timestamp, entropy: &Entropy) -> Tokens {
        let tokens = Tokens { access: token("sba", entropy), refresh: token("sbr", entropy), scopes };
        let expires_at = later(now, self.access_seconds);
        let access = AccessToken { grant: number, scopes: tokens.scopes.clone(), expires_at, revoked: false };
        self.access.insert(tokens.access.clone(), access);
        self.refresh.insert(tokens.refresh.clone(), number);
        if let Some(grant) = self.grants.get_mut(&number) {
            grant.refresh.clone_from(&tokens.refresh);
        }
        tokens
    }

    fn end(&mut self, number: u64) {
        if let Some(grant) = self.grants.get_mut(&number) {
            grant.alive = false;
        }
    }
}

/// The S256 challenge of a verifier (RFC 7636, 4.2).
pub fn challenge(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref())
}

/// 256 random bits behind a prefix that tells the kind, so that a leak is found by a search for it.
fn token(prefix: &str, entropy: &Entropy) -> String {
    format!("{prefix}_{}", BASE64URL_NOPAD.encode(&entropy.bytes::<32>()))
}

fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent() -> Consent {
        Consent {
            client: "gateway".to_owned(),
            redirect_uri: "http://127.0.0.1/cb".to_owned(),
            challenge: challenge("v"),
            scopes: vec!["a".to_owned(), "b".to_owned()],
        }
    }

    /// The example of RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        assert_eq!(challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    /// Each way of misusing a code fails, and only a repeat after success ends a grant.
    #[test]
    fn a_code_is_good_once_for_whom_it_was_made() {
        let (entropy, now) = (Entropy::system(), Timestamp::UNIX_EPOCH);
        let at = |seconds| later(now, seconds);
        let cases = [
            ("gateway", "http://127.0.0.1/cb", "v", 59, true),
            ("gateway", "http://127.0.0.1/cb", "v", 60, false),
            ("gateway", "http://127.0.0.1/cb", "w", 0, false),
            ("gateway", "http://127.0.0.1/CB", "v", 0, false),
            ("other", "http://127.0.0.1/cb", "v", 0, false),
        ];
        for (client, redirect, verifier, seconds, good) in cases {
            let mut grants = Grants::new(3_600, []);
            let code = grants.issue_code(consent(), now, &entropy);
            let redeemed = grants.redeem(client, &code, redirect, verifier, at(seconds), &entropy);
            assert_eq!(redeemed.is_ok(), good, "{client} {redirect} {verifier} {seconds}");
            let again = grants.redeem("gateway", &code, "http://127.0.0.1/cb", "v", now, &entropy);
            assert_eq!(again.is_ok(), client == "other", "only another client's attempt leaves the code unused");
            if let Ok(tokens) = redeemed {
                assert!(grants.access(&tokens.access, now).is_none(), "the repeat ends the grant");
            }
        }
    }

    /// Access tokens end by time, one by one, or with their grant; other clients cannot end them.
    #[test]
    fn tokens_end_when_they_should() {
        let (entropy, now) = (Entropy::system(), Timestamp::UNIX_EPOCH);
        let mut grants = Grants::new(10, []);
        let code = grants.issue_code(consent(), now, &entropy);
        let first = grants.redeem("gateway", &code, "http://127.0.0.1/cb", "v", now, &entropy).unwrap();
        assert!(grants.access(&first.access, later(now, 9)).is_some() && grants.access(&first.access, later(now, 10)).is_none());

        let narrow = grants.refresh("gateway", &first.refresh, Some(vec!["a".to_owned()]), now, &entropy).unwrap();
        assert_eq!(grants.access(&narrow.access, now).unwrap().scopes, ["a"]);
        let wide = grants.refresh("gateway", &narrow.refresh, Some(vec!["c".to_owned()]), now, &entropy);
        assert_eq!(wide.unwrap_err(), GrantError::InvalidScope);

        assert_eq!(grants.revoke("other", &narrow.refresh), Err(GrantError::ForeignToken));
        assert_eq!(grants.revoke("gateway", "unheard of"), Ok(()));
        assert_eq!(grants.revoke("gateway", &narrow.access), Ok(()));
        assert!(grants.access(&narrow.access, now).is_none() && grants.access(&first.access, now).is_some());
        assert_eq!(grants.revoke("gateway", &narrow.refresh), Ok(()));
        assert!(grants.access(&first.access, now).is_none() && grants.alive() == 0);
    }
}
