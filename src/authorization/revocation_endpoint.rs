//! Telling the application that tokens are to die (RFC 7009). The local stop has been made before, and does not wait.
//!
//! The oauth2 crate refuses endpoints without TLS, which operators may list for machines of their own; the request is
//! three fields, so it is written here.

use data_encoding::BASE64;
use url::form_urlencoded;

use crate::connection::credential::Tokens;
use crate::connector::treatment::ClientAuth;
use crate::secret::Secret;

use super::provider::Provider;
use super::wire::Wire;
use super::wire::WireError;
use super::wire::WireRequest;

/// Why tokens may still live at the application.
#[derive(Debug, thiserror::Error)]
pub enum RevocationFailure {
    /// The connector declares no revocation endpoint.
    #[error("the application has no revocation endpoint; the customer can remove the authorization there")]
    NoEndpoint,
    /// The endpoint did not take it.
    #[error("the revocation endpoint answered with status {status}; it is tried again until the credential is destroyed")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// There was no answer.
    #[error("the revocation endpoint gave no answer; it is tried again until the credential is destroyed")]
    Wire {
        /// Why.
        #[source]
        source: WireError,
    },
}

/// Revokes the refresh token, then the access token (RFC 7009 section 2; revoking the first should end the second, but not
/// every application does that).
///
/// # Errors
/// The first failure; a token that the application does not know counts as revoked (section 2.2).
pub async fn revoke(provider: &Provider, tokens: &Tokens, wire: &dyn Wire) -> Result<(), RevocationFailure> {
    let hinted = tokens.refresh_token.iter().map(|token| (token, "refresh_token")).chain([(&tokens.access_token, "access_token")]);
    for (token, hint) in hinted {
        let request = request(provider, token, hint).ok_or(RevocationFailure::NoEndpoint)?;
        let answer = wire.post_revocation(request).await.map_err(|source| RevocationFailure::Wire { source })?;
        // Once the refresh token is gone, some applications refuse to hear about the access token that went with it.
        let gone = hint == "access_token" && tokens.refresh_token.is_some() && (400..500).contains(&answer.status);
        if !(200..300).contains(&answer.status) && !gone {
            return Err(RevocationFailure::Status { status: answer.status });
        }
    }
    Ok(())
}

fn request(provider: &Provider, token: &Secret<String>, hint: &str) -> Option<WireRequest> {
    let url = provider.revoke_url.clone()?;
    let mut fields = vec![("token", token.expose().as_str()), ("token_type_hint", hint)];
    let mut headers = vec![
        ("Accept".to_owned(), Secret::new("application/json".to_owned())),
        ("Content-Type".to_owned(), Secret::new("application/x-www-form-urlencoded".to_owned())),
    ];
    match (&provider.client_secret, provider.client_auth) {
        (Some(secret), ClientAuth::Basic) => {
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = Secret::new(format!("{}:{}", encoded(&provider.client_id), encoded(secret.expose())));
            headers.push(("Authorization".to_owned(), Secret::new(format!("Basic {}", BASE64.encode(pair.expose().as_bytes())))));
        }
        (Some(secret), ClientAuth::Body) => fields.extend([("client_id", provider.client_id.as_str()), ("client_secret", secret.expose())]),
        (Some(_), ClientAuth::None) | (None, _) => fields.push(("client_id", &provider.client_id)),
    }
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Some(WireRequest { url, headers, body: Secret::new(form.into_bytes()), hidden: Vec::new() })
}
