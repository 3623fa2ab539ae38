//! How an OAuth authenticator of a manifest gets its access tokens: what is asked, and what the answer says.
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

/// How deep the answer is searched for the token.
const SEARCH_DEPTH: usize = 5;
/// The lifetime that is assumed when the answer names none, in seconds.
pub const LIFETIME_DEFAULT_S: u64 = 3600;

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

/// What the answer to a token request says.
#[derive(Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: Secret<String>,
    /// A new refresh token, which replaces the old one.
    pub refresh_token: Option<Secret<String>>,
    /// The access token's lifetime, in seconds.
    pub expires_in_s: u64,
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

impl TokenAnswer {
    /// What a JSON body says; nothing when it has no access token.
    pub fn read(oauth: &OAuthAuthenticator, body: &Value) -> Option<Self> {
        let find = |name: &str| search(body, name, SEARCH_DEPTH);
        let access_token = find(&oauth.access_token_name)?.as_str().filter(|token| !token.is_empty())?;
        let refresh_token = find(&oauth.refresh_token_name).and_then(Value::as_str).filter(|token| !token.is_empty());
        let expires_in = find(&oauth.expires_in_name);
        let expires_in = expires_in.and_then(|value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()));
        Some(TokenAnswer {
            access_token: Secret::new(access_token.to_owned()),
            refresh_token: refresh_token.map(|token| Secret::new(token.to_owned())),
            expires_in_s: expires_in.filter(|seconds| *seconds >= 0.0).map_or(LIFETIME_DEFAULT_S, |seconds| seconds as u64),
        })
    }
}

/// The first member called `name`, at this level before deeper ones.
fn search<'v>(value: &'v Value, name: &str, depth: usize) -> Option<&'v Value> {
    if depth == 0 {
        return None;
    }
    match value {
        Value::Object(map) => map.get(name).or_else(|| map.values().find_map(|value| search(value, name, depth - 1))),
        Value::Array(items) => items.iter().find_map(|value| search(value, name, depth - 1)),
        _ => None,
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

    /// Token and lifetime are found wherever the answer has them, to a depth.
    #[test]
    fn answers_are_read() {
        let oauth = oauth("access_token_name: token");
        let read = |body: Value| TokenAnswer::read(&oauth, &body);
        let answer = read(json!({"data": {"token": "t", "expires_in": "60", "refresh_token": "n"}})).unwrap();
        assert_eq!((answer.access_token.expose().as_str(), answer.expires_in_s), ("t", 60));
        assert_eq!(answer.refresh_token.unwrap().expose(), "n");
        assert_eq!(read(json!({"token": "t"})).unwrap().expires_in_s, LIFETIME_DEFAULT_S);
        for refused in
            [json!({"access_token": "t"}), json!({"token": ""}), json!([]), json!({"a": {"a": {"a": {"a": {"a": {"token": "t"}}}}}})]
        {
            assert!(read(refused.clone()).is_none(), "{refused}");
        }
    }
}
