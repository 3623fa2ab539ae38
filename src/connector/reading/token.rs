//! How an OAuth authenticator of a manifest gets its access tokens: what is asked. The answer is read where every token
//! answer is, in `authorization`.
//!
//! Source: RFC 6749 and the OAuth authenticator of airbyte-cdk (LOWCODE.md section 4.10).

use serde_json::Value;
use url::Url;

use crate::connector::component::authenticator::GrantType;
use crate::connector::component::authenticator::OAuthAuthenticator;
use crate::connector::component::value::Expression;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::reading::ReadingError;
use crate::secret::Secret;

/// A request for an access token: a POST of a form. Everything in it may be secret.
#[derive(Debug)]
pub struct TokenPlan {
    /// Where.
    pub url: Url,
    /// The header fields.
    pub headers: Vec<(String, Secret<String>)>,
    /// The form's fields.
    pub form: Vec<(String, Secret<String>)>,
}

impl TokenPlan {
    /// The request that `oauth` makes. `scope` has `config` with its secrets.
    ///
    /// # Errors
    /// When an expression fails, or there is no endpoint.
    pub fn new(oauth: &OAuthAuthenticator, scope: &Scope) -> Result<Self, ReadingError> {
        let text = |expression: &Option<Expression>, field| match expression {
            Some(expression) => expression.text(scope).map(Some).map_err(ReadingError::expression(field)),
            None => Ok(None),
        };
        let endpoint = text(&oauth.token_refresh_endpoint, "token_refresh_endpoint")?.unwrap_or_default();
        let url = Url::parse(endpoint.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| ReadingError::Address { text: crate::ids::cut(&endpoint) })?;
        let mut headers = Vec::new();
        for (name, value) in entries(&oauth.refresh_request_headers, "refresh_request_headers", scope)? {
            headers.push((name, Secret::new(plain(&value))));
        }
        let authorized_by_header = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let mut form = vec![(oauth.grant_type_name.clone(), oauth.grant_type.as_str().to_owned())];
        if !authorized_by_header {
            form.extend(text(&oauth.client_id, "client_id")?.map(|id| (oauth.client_id_name.clone(), id)));
            form.extend(text(&oauth.client_secret, "client_secret")?.map(|secret| (oauth.client_secret_name.clone(), secret)));
        }
        if oauth.grant_type == GrantType::RefreshToken {
            form.extend(text(&oauth.refresh_token, "refresh_token")?.map(|token| (oauth.refresh_token_name.clone(), token)));
        }
        form.extend(oauth.scopes.iter().map(|scope| ("scopes".to_owned(), scope.clone())));
        for (name, value) in entries(&oauth.refresh_request_body, "refresh_request_body", scope)? {
            if !form.iter().any(|(known, _)| *known == name) {
                form.push((name, plain(&value)));
            }
        }
        Ok(TokenPlan { url, headers, form: form.into_iter().map(|(name, value)| (name, Secret::new(value))).collect() })
    }
}

fn entries(
    nested: &Option<crate::connector::component::value::Nested>,
    field: &'static str,
    scope: &Scope,
) -> Result<Vec<(String, Value)>, ReadingError> {
    let Some(nested) = nested else { return Ok(Vec::new()) };
    match nested.value(scope, Literals::Any).map_err(ReadingError::expression(field))? {
        Value::Object(map) => Ok(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        _ => Ok(Vec::new()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::authenticator::Authenticator;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn oauth(members: &str) -> Box<OAuthAuthenticator> {
        let yaml = format!(
            "{{type: OAuthAuthenticator, token_refresh_endpoint: 'https://{{{{ config.shop }}}}.example/token', client_id: c, client_secret: \"{{{{ config['secret'] }}}}\", {members}}}"
        );
        match component(&yaml, "HttpRequester", "authenticator") {
            Authenticator::OAuthAuthenticator(oauth) => oauth,
            other => panic!("{other:?}"),
        }
    }

    fn form(members: &str) -> Vec<(String, String)> {
        let plan = TokenPlan::new(&oauth(members), &scope(&json!({"shop": "blue", "secret": "s", "refresh": "r"}))).unwrap();
        assert_eq!(plan.url.as_str(), "https://blue.example/token");
        plan.form.into_iter().map(|(name, value)| (name, value.expose().clone())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// Both grants name what they need; own fields do not override; credentials in a header leave the body.
    #[test]
    fn grants_are_asked_for() {
        let refresh = form("refresh_token: \"{{ config['refresh'] }}\", refresh_request_body: {grant_type: x, audience: a}");
        let expected = pairs(&[
            ("grant_type", "refresh_token"),
            ("client_id", "c"),
            ("client_secret", "s"),
            ("refresh_token", "r"),
            ("audience", "a"),
        ]);
        assert_eq!(refresh, expected);
        let client = form("grant_type: client_credentials, scopes: [a, b]");
        assert_eq!(
            client,
            pairs(&[("grant_type", "client_credentials"), ("client_id", "c"), ("client_secret", "s"), ("scopes", "a"), ("scopes", "b")])
        );
        let header = form("grant_type: client_credentials, refresh_request_headers: {Authorization: Basic x}");
        assert_eq!(header, pairs(&[("grant_type", "client_credentials")]));
    }
}
