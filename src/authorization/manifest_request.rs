//! The token request of a manifest's own `OAuthAuthenticator`: an endpoint, a grant and field names of the author's choice.
//!
//! What is asked stands in [`TokenPlan`]; a renewal puts the refresh token that is held now in the place of the one from the
//! configuration, and reads the answer by the manifest's names. An answer without a lifetime is good for an hour.

use std::time::Duration;

use url::Url;
use url::form_urlencoded;

use crate::connector::component::authenticator::GrantType;
use crate::connector::component::authenticator::OAuthAuthenticator;
use crate::connector::reading::TokenPlan;
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
    /// The form's fields, in order.
    pub form: Vec<(String, Secret<String>)>,
    /// The field that holds the refresh token, for a grant that spends one.
    pub refresh_token_name: Option<String>,
    /// The names in the answer.
    pub answer: AnswerNames,
    /// Secret config values that a template has put into [`ManifestRequest::url`].
    pub hidden: Vec<Secret<String>>,
}

impl ManifestRequest {
    /// The request that an authenticator plans. `hidden` are the secret config values, which its URL may hold.
    pub fn new(plan: TokenPlan, oauth: &OAuthAuthenticator, hidden: Vec<Secret<String>>) -> Self {
        let refresh_token_name = (oauth.grant_type == GrantType::RefreshToken).then(|| oauth.refresh_token_name.clone());
        let answer = AnswerNames {
            access_token: oauth.access_token_name.clone(),
            expires_in: oauth.expires_in_name.clone(),
            refresh_token: oauth.refresh_token_name.clone(),
        };
        Self { url: plan.url, headers: plan.headers, form: plan.form, refresh_token_name, answer, hidden }
    }

    /// The refresh token of the configuration: what a credential without tokens begins with.
    pub fn configured_refresh_token(&self) -> Option<&Secret<String>> {
        let name = self.refresh_token_name.as_ref()?;
        self.form.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// The request with this refresh token in the place of the configured one.
    pub(super) fn write(&self, refresh_token: Option<&Secret<String>>) -> WireRequest {
        let current = |name: &String| refresh_token.filter(|_| self.refresh_token_name.as_ref() == Some(name));
        let fields = self.form.iter().map(|(name, value)| (name.as_str(), current(name).unwrap_or(value).expose().as_str()));
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
