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
use crate::connector::treatment::ClientAuth;
use crate::secret::Secret;

use super::AuthorizationError;
use super::call::Answer;
use super::call::Call;

/// The application's endpoints and this gateway's registration there.
#[derive(Debug)]
pub struct Provider {
    /// Where the customer authorizes; a query that it has is kept.
    pub authorize_url: Url,
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
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl Provider {
    /// Where the customer goes. `verifier` is there exactly when PKCE is used.
    pub(super) fn authorization_url(&self, redirect_uri: &Url, state: &Secret<String>, verifier: Option<&Secret<String>>) -> Url {
        let client = self.client();
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
        request.url().0
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
            .set_auth_uri(AuthUrl::from_url(self.authorize_url.clone()))
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
