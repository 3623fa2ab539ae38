//! An application's authorization server as the connector and the operator describe it, spoken to by the oauth2 crate.

use oauth2::AuthType;
use oauth2::AuthUrl;
use oauth2::AuthorizationCode;
use oauth2::Client;
use oauth2::ClientId;
use oauth2::ClientSecret;
use oauth2::CsrfToken;
use oauth2::EndpointNotSet;
use oauth2::EndpointSet;
use oauth2::PkceCodeChallenge;
use oauth2::PkceCodeVerifier;
use oauth2::RedirectUrl;
use oauth2::RefreshToken;
use oauth2::Scope;
use oauth2::StandardRevocableToken;
use oauth2::TokenUrl;
use oauth2::basic::BasicErrorResponse;
use oauth2::basic::BasicRevocationErrorResponse;
use oauth2::basic::BasicTokenIntrospectionResponse;
use url::Url;

use crate::connection::credential::Tokens;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope as TemplateScope;
use crate::connector::treatment::Authorization;
use crate::connector::treatment::ClientAuth;
use crate::secret::Secret;

use super::AuthorizationError;
use super::call::Answer;
use super::call::Call;

/// The application's endpoints and this gateway's registration there.
#[derive(Debug)]
pub struct Provider {
    /// Where the customer authorizes; a query that it has is kept. A grant of the client's own has none.
    pub authorize_url: Option<Url>,
    /// Where codes and refresh tokens are exchanged.
    pub token_url: Url,
    /// Where tokens are revoked (RFC 7009), if the application has it.
    pub revoke_url: Option<Url>,
    /// The issuer; when it is set, a callback's `iss` must equal it (RFC 9207).
    pub issuer: Option<String>,
    /// Whether PKCE is used; the method is S256, always.
    pub pkce: bool,
    /// How the client authenticates.
    pub client_auth: ClientAuth,
    /// The client id.
    pub client_id: String,
    /// The client secret, if the registration has one.
    pub client_secret: Option<Secret<String>>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
    /// What joins them: a space (RFC 6749 section 3.3), for some applications a comma.
    pub scope_separator: String,
    /// Parameters of the callback that belong into the connection's config, under their own names.
    pub redirect_params: Vec<String>,
}

type OAuthClient = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Provider {
    /// From `headgate.yaml` and the operator's registration. `scope` holds `config`, which the URLs may be written with.
    ///
    /// # Errors
    /// [`AuthorizationError::Configuration`] for a URL that is missing or no http(s) URL, and for a missing client id.
    pub fn from_treatment(
        treatment: &Authorization,
        scope: &TemplateScope,
        client_id: Option<String>,
        client_secret: Option<Secret<String>>,
    ) -> Result<Self, AuthorizationError> {
        let unusable = |what: &str| AuthorizationError::Configuration { what: what.to_owned() };
        let text = |expression: &Option<Expression>, key| match expression {
            Some(expression) => expression.text(scope).map(Some).map_err(|_| unusable(key)),
            None => Ok(None),
        };
        let url = |expression, key| {
            let Some(text) = text(expression, key)? else { return Ok(None) };
            // An empty host, from an empty config value, would let the first part of the path take its place.
            let url = Url::parse(text.trim()).ok().filter(|url| url.has_host() && !text.contains(":///"));
            url.map(Some).ok_or_else(|| unusable(key))
        };
        Ok(Self {
            authorize_url: url(&treatment.authorize_url, "authorize_url")?,
            token_url: url(&treatment.token_url, "token_url")?.ok_or_else(|| unusable("token_url"))?,
            revoke_url: url(&treatment.revoke_url, "revoke_url")?,
            issuer: text(&treatment.issuer, "issuer")?,
            pkce: treatment.pkce,
            client_auth: treatment.client_auth,
            client_id: client_id.ok_or_else(|| unusable("client_id"))?,
            client_secret,
            scopes: treatment.scopes.iter().map(|scope| scope.name.clone()).collect(),
            scope_separator: treatment.scope_separator.clone(),
            redirect_params: treatment.redirect_params.clone(),
        })
    }

    /// The URLs that token and revocation requests go to, for the list of allowed hosts.
    pub fn request_urls(&self) -> impl Iterator<Item = &Url> {
        std::iter::once(&self.token_url).chain(&self.revoke_url)
    }

    /// Where the customer goes. `verifier` is there exactly when PKCE is used.
    pub(super) fn authorization_url(
        &self,
        redirect_uri: &Url,
        state: &Secret<String>,
        verifier: Option<&Secret<String>>,
    ) -> Result<Url, AuthorizationError> {
        let missing = || AuthorizationError::Configuration { what: "authorize_url".to_owned() };
        let authorize_url = AuthUrl::from_url(self.authorize_url.clone().ok_or_else(missing)?);
        let client = self.client().set_auth_uri(authorize_url);
        let state = CsrfToken::new(state.expose().clone());
        let redirect = RedirectUrl::from_url(redirect_uri.clone());
        let mut request = client.authorize_url(|| state).set_redirect_uri(std::borrow::Cow::Owned(redirect));
        if !self.scopes.is_empty() {
            request = request.add_scope(Scope::new(self.scopes.join(&self.scope_separator)));
        }
        if let Some(verifier) = verifier {
            let verifier = PkceCodeVerifier::new(verifier.expose().clone());
            request = request.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        }
        Ok(request.url().0)
    }

    /// Exchanges a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    pub(super) async fn exchange_code(
        &self,
        code: &str,
        redirect_uri: &Url,
        verifier: Option<&Secret<String>>,
        call: &Call<'_>,
    ) -> Result<Tokens, AuthorizationError> {
        let client = self.client().set_redirect_uri(RedirectUrl::from_url(redirect_uri.clone()));
        let mut request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        if let Some(verifier) = verifier {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()));
        }
        request.request_async(call).await.map_err(|error| call.fault(error))?.tokens(call)
    }

    /// Exchanges a refresh token (RFC 6749 section 6).
    pub(super) async fn refresh(&self, refresh_token: &Secret<String>, call: &Call<'_>) -> Result<Tokens, AuthorizationError> {
        let (client, token) = (self.client(), RefreshToken::new(refresh_token.expose().clone()));
        let sent = client.exchange_refresh_token(&token).request_async(call).await;
        sent.map_err(|error| call.fault(error))?.tokens(call)
    }

    /// Asks for a token of the client's own (RFC 6749 section 4.4).
    pub(super) async fn client_credentials(&self, call: &Call<'_>) -> Result<Tokens, AuthorizationError> {
        let client = self.client();
        let mut request = client.exchange_client_credentials();
        if !self.scopes.is_empty() {
            request = request.add_scope(Scope::new(self.scopes.join(&self.scope_separator)));
        }
        request.request_async(call).await.map_err(|error| call.fault(error))?.tokens(call)
    }

    fn client(&self) -> OAuthClient {
        let client = Client::new(ClientId::new(self.client_id.clone()))
            .set_token_uri(TokenUrl::from_url(self.token_url.clone()))
            .set_auth_type(match self.client_auth {
                ClientAuth::Basic => AuthType::BasicAuth,
                ClientAuth::Body | ClientAuth::None => AuthType::RequestBody,
            });
        match (&self.client_secret, self.client_auth) {
            (Some(secret), ClientAuth::Basic | ClientAuth::Body) => client.set_client_secret(ClientSecret::new(secret.expose().clone())),
            (Some(_), ClientAuth::None) | (None, _) => client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::clock::Timestamp;
    use crate::connector::expression::dynamic;
    use crate::connector::treatment::Treatment;

    /// URLs are written with the connection's config; what is missing or no URL is named.
    #[test]
    fn a_treatment_describes_a_provider() {
        let provider = |shop: &str, id: Option<&str>| {
            let text = "authorization:\n  type: oauth2_code\n  authorize_url: \"https://{{ config['shop'] }}/authorize\"\n  \
                        token_url: \"https://{{ config['shop'] }}/token\"\n  pkce: false\n  client_auth: body\n  \
                        scopes: [{name: orders, text: Orders}]\n  access_token_path: [token]\n  redirect_params: [realmId]\n";
            let treatment = Treatment::read(text).expect("a treatment");
            let mut scope = TemplateScope::new(Clock::manual(Timestamp::UNIX_EPOCH));
            scope.set("config", dynamic(&serde_json::json!({ "shop": shop })));
            Provider::from_treatment(&treatment.authorization.expect("one"), &scope, id.map(str::to_owned), None)
        };
        let good = provider("blue.example", Some("id")).expect("a provider");
        let urls = good.request_urls().map(Url::as_str).collect::<Vec<_>>();
        assert_eq!((urls, good.pkce, good.client_auth), (vec!["https://blue.example/token"], false, ClientAuth::Body));
        assert!(provider("", Some("id")).is_err_and(|error| error.to_string().contains("authorize_url")));
        assert!(provider("blue.example", None).is_err_and(|error| error.to_string().contains("client_id")));
    }
}
