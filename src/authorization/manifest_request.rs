//! The token request of a manifest's own `OAuthAuthenticator`: an endpoint, a grant and field names of the author's choice.
//!
//! The rules are those of the declarative language as its reference implementation has them: `scopes` is plural and a
//! repeated field; extra body fields never take the place of a field that is there; client credentials are left out of the
//! body when a header authorizes; an answer without a lifetime is good for an hour.

use std::time::Duration;

use url::Url;
use url::form_urlencoded;

use crate::secret::Secret;

use super::tokens::AnswerNames;
use super::wire::WireRequest;

/// The lifetime of a token whose answer does not say one.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// A token request, templates already evaluated.
pub struct ManifestRequest {
    /// `token_refresh_endpoint`.
    pub url: Url,
    /// `refresh_request_headers`.
    pub headers: Vec<(String, Secret<String>)>,
    /// `grant_type_name` and `grant_type`, for example `grant_type` and `refresh_token`.
    pub grant: (String, String),
    /// `client_id_name` and `client_id`.
    pub client_id: Option<(String, Secret<String>)>,
    /// `client_secret_name` and `client_secret`.
    pub client_secret: Option<(String, Secret<String>)>,
    /// `refresh_token_name`, such as `refresh_token`.
    pub refresh_token_name: String,
    /// `scopes`.
    pub scopes: Vec<String>,
    /// `refresh_request_body`, in order.
    pub body: Vec<(String, Secret<String>)>,
    /// Secret config values that a template has put into [`ManifestRequest::url`].
    pub hidden: Vec<Secret<String>>,
    /// `access_token_name`, `expires_in_name` and the refresh token's name in the answer.
    pub answer: AnswerNames,
}

impl ManifestRequest {
    /// Whether the grant spends a refresh token.
    pub fn spends_refresh_token(&self) -> bool {
        self.grant.1 == "refresh_token"
    }

    /// The request with this refresh token, which is sent whenever there is one.
    pub(super) fn write(&self, refresh_token: Option<&Secret<String>>) -> WireRequest {
        let authorized = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let mut fields: Vec<(&str, &str)> = vec![(&self.grant.0, &self.grant.1)];
        let client = self.client_id.iter().chain(&self.client_secret).filter(|_| !authorized);
        fields.extend(client.map(|(name, value)| (name.as_str(), value.expose().as_str())));
        fields.extend(refresh_token.map(|token| (self.refresh_token_name.as_str(), token.expose().as_str())));
        fields.extend(self.scopes.iter().map(|scope| ("scopes", scope.as_str())));
        for (name, value) in &self.body {
            if !fields.iter().any(|(known, _)| known == name) {
                fields.push((name, value.expose()));
            }
        }
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
        for (name, value) in [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")] {
            if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                headers.push((name.to_owned(), Secret::new(value.to_owned())));
            }
        }
        let hidden = self.hidden.iter().map(Secret::duplicate).collect();
        WireRequest { url: self.url.clone(), headers, body: Secret::new(form.into_bytes()), hidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn request() -> ManifestRequest {
        ManifestRequest {
            url: Url::parse("https://auth.example.com/token").expect("a URL"),
            headers: Vec::new(),
            grant: ("grant_type".into(), "refresh_token".into()),
            client_id: Some(("client_id".into(), secret("id"))),
            client_secret: Some(("client_secret".into(), secret("s"))),
            refresh_token_name: "refresh_token".into(),
            scopes: vec!["a".into(), "b".into()],
            body: vec![("audience".into(), secret("x y")), ("client_id".into(), secret("other"))],
            hidden: Vec::new(),
            answer: AnswerNames::default(),
        }
    }

    fn body(request: &ManifestRequest, token: Option<&str>) -> String {
        String::from_utf8(request.write(token.map(secret).as_ref()).body.expose().clone()).expect("text")
    }

    /// Fields stand in order, extra ones do not replace them, and a header that authorizes leaves the client out.
    #[test]
    fn fields_follow_the_language() {
        let expected = "grant_type=refresh_token&client_id=id&client_secret=s&refresh_token=r&scopes=a&scopes=b&audience=x+y";
        assert_eq!(body(&request(), Some("r")), expected);
        let authorized = ManifestRequest { headers: vec![("authorization".into(), secret("Basic x"))], ..request() };
        assert_eq!(body(&authorized, None), "grant_type=refresh_token&scopes=a&scopes=b&audience=x+y&client_id=other");
    }
}
