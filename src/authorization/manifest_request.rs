//! The token request of a manifest's own `OAuthAuthenticator`: an endpoint, a grant and field names of the author's choice.
//!
//! What is asked stands in [`TokenPlan`]; a renewal puts the refresh token that is held now in the place of the one from the
//! configuration, and reads the answer by the manifest's names. An answer without a lifetime is good for an hour.

use std::time::Duration;

use url::Url;
use url::form_urlencoded;

use crate::clock::Timestamp;
use crate::connection::credential::Tokens;
use crate::connector::reading::ReadingError;
use crate::connector::reading::TokenPlan;
use crate::ids::Entropy;
use crate::secret::Secret;

use super::tokens::AnswerNames;
use super::wire::WireRequest;

/// The lifetime of a token whose answer does not say one.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// A token request, templates already evaluated.
pub struct ManifestRequest {
    /// What is asked.
    pub plan: TokenPlan,
    /// Secret config values that a template has put into the plan's address.
    pub hidden: Vec<Secret<String>>,
}

impl ManifestRequest {
    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.plan.url
    }

    /// The refresh token of the configuration: what a credential without tokens begins with.
    pub fn configured_refresh_token(&self) -> Option<&Secret<String>> {
        let name = self.plan.refresh_token_field.as_ref()?;
        self.plan.form.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// The access token of the configuration, with the refresh token that follows it.
    pub(super) fn configured_tokens(&self) -> Option<Tokens> {
        let given = self.plan.given.as_ref()?;
        Some(Tokens {
            access_token: given.token.duplicate(),
            refresh_token: self.configured_refresh_token().map(Secret::duplicate),
            expires_at: Some(given.expires_at.unwrap_or(Timestamp::UNIX_EPOCH)),
            // Nobody knows, so it is taken for long-lived, and renewed as early as any.
            issued_at: Timestamp::UNIX_EPOCH,
            token_type: String::new(),
            scopes: Vec::new(),
            extra: Secret::new("{}".to_owned()),
        })
    }

    /// The names of the answer's fields.
    pub(super) fn names(&self) -> AnswerNames {
        let names = &self.plan.names;
        AnswerNames {
            access_token: names.access_token.clone(),
            expires_in: names.expires_in.clone(),
            refresh_token: names.refresh_token.clone(),
        }
    }

    /// The request with this refresh token in the place of the configured one.
    ///
    /// # Errors
    /// When an assertion cannot be signed.
    pub(super) fn write(&self, refresh_token: Option<&Secret<String>>, now: Timestamp) -> Result<WireRequest, ReadingError> {
        let plan = &self.plan;
        let current = |name: &String| refresh_token.filter(|_| plan.refresh_token_field.as_ref() == Some(name));
        let fields = plan.form.iter().map(|(name, value)| (name.as_str(), current(name).unwrap_or(value).expose().as_str()));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        if let Some((name, assertion)) = &plan.assertion {
            form.append_pair(name, assertion.sign(now, &Entropy::system())?.expose());
        }
        let form = Secret::new(form.finish());
        let mut hidden: Vec<_> = self.hidden.iter().map(Secret::duplicate).collect();
        let mut url = plan.url.clone();
        let body = if plan.in_query {
            let query = [url.query().unwrap_or_default(), form.expose().as_str()].into_iter().filter(|part| !part.is_empty());
            url.set_query(Some(&query.collect::<Vec<_>>().join("&")));
            hidden.extend(plan.form.iter().map(|(name, value)| current(name).unwrap_or(value).duplicate()));
            Secret::new(Vec::new())
        } else {
            Secret::new(form.expose().as_bytes().to_vec())
        };
        let mut headers: Vec<_> = plan.headers.iter().map(|(name, value)| (name.clone(), value.duplicate())).collect();
        for (name, value) in [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")] {
            let is_wanted = name == "Accept" || !plan.in_query;
            if is_wanted && !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                headers.push((name.to_owned(), Secret::new(value.to_owned())));
            }
        }
        Ok(WireRequest { url, headers, body, hidden })
    }
}
