//! How an OAuth authenticator of a manifest gets its access tokens: what is asked. The answer is read where every token
//! answer is, in `authorization`.
//!
//! Source: RFC 6749, RFC 7523 and the OAuth authenticators of airbyte-cdk (LOWCODE.md section 4.10).

use serde_json::Value;
use url::Url;

use crate::clock::Timestamp;
use crate::connector::component::authenticator::OAuthAuthenticator;
use crate::connector::component::authenticator::ProfileAssertion;
use crate::connector::component::authenticator::RefreshTokenUpdater;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;
use crate::connector::datetime::DateTime;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::expression::python_text;
use crate::connector::path::FieldPath;
use crate::connector::reading::JwtPlan;
use crate::connector::reading::ReadingError;
use crate::secret::Secret;

/// The grant type of a signed assertion (RFC 7523, section 2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The name of the assertion in the request.
const ASSERTION: &str = "assertion";

/// A request for an access token: a POST of a form. Everything in it may be secret.
#[derive(Debug)]
pub struct TokenPlan {
    /// Where.
    pub url: Url,
    /// The header fields.
    pub headers: Vec<(String, Secret<String>)>,
    /// The form's fields.
    pub form: Vec<(String, Secret<String>)>,
    /// Whether the fields go into the address instead, and the body is empty.
    pub in_query: bool,
    /// The assertion, signed anew for every request, and the name of its field.
    pub assertion: Option<(String, JwtPlan)>,
    /// The field that holds the refresh token, for a grant that spends one.
    pub refresh_token_field: Option<String>,
    /// The names in the answer.
    pub names: TokenNames,
    /// How the endpoint says that a refresh token is no good.
    pub refusal: RefreshRefusal,
    /// The access token that is there already.
    pub given: Option<GivenToken>,
}

/// The names of the answer's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenNames {
    /// The access token's.
    pub access_token: String,
    /// The lifetime's, or the end's.
    pub expires_in: String,
    /// The new refresh token's.
    pub refresh_token: String,
}

/// How a token endpoint says that a refresh token is no good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRefusal {
    /// One of these statuses,
    pub statuses: Vec<u32>,
    /// and this member of the answer
    pub key: String,
    /// with one of these values.
    pub values: Vec<String>,
}

/// An access token of the configuration.
#[derive(Debug)]
pub struct GivenToken {
    /// The token.
    pub token: Secret<String>,
    /// Its end; without one it is taken to be past.
    pub expires_at: Option<Timestamp>,
}

impl TokenPlan {
    /// The request that `oauth` makes; none when it has no endpoint. `scope` has `config` with its secrets, and `config` is the same.
    ///
    /// # Errors
    /// When an expression fails, or something is missing that the grant needs.
    pub fn new(oauth: &OAuthAuthenticator, config: &Value, scope: &Scope) -> Result<Option<Self>, ReadingError> {
        let Some(endpoint) = text(&oauth.token_refresh_endpoint, "token_refresh_endpoint", scope)? else { return Ok(None) };
        let url = Url::parse(endpoint.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(|| ReadingError::Address { text: crate::ids::cut(&endpoint) })?;
        let mut headers = Vec::new();
        for (name, value) in entries(&oauth.refresh_request_headers, "refresh_request_headers", scope)? {
            headers.push((name, Secret::new(python_text(&value))));
        }
        let grant = Grant::new(oauth, config, scope)?;
        let asserts = oauth.use_profile_assertion.as_ref().map(|used| used.truth(scope)).transpose();
        let asserts = asserts.map_err(ReadingError::expression("use_profile_assertion"))?.unwrap_or(false);
        let (form, assertion) = if asserts {
            let Some(ProfileAssertion::JwtAuthenticator(jwt)) = &oauth.profile_assertion else {
                return Err(missing("profile_assertion", "a JwtAuthenticator beside `use_profile_assertion`"));
            };
            (vec![(grant.type_name, JWT_BEARER.to_owned())], Some((ASSERTION.to_owned(), JwtPlan::new(jwt, scope)?)))
        } else {
            // Compared as written: the reference engine looks for this spelling alone.
            let authorized_by_header = headers.iter().any(|(name, _)| name == "Authorization");
            (grant.form(oauth, authorized_by_header, scope)?, None)
        };
        let spends = !asserts && grant.kind == REFRESH_TOKEN && grant.refresh_token.is_some();
        Ok(Some(TokenPlan {
            url,
            headers,
            form: form.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
            in_query: oauth.send_refresh_request_as_query_params && !asserts,
            assertion,
            refresh_token_field: spends.then(|| grant.refresh_token_name.clone()),
            names: TokenNames {
                access_token: text(&oauth.access_token_name, "access_token_name", scope)?.unwrap_or_else(|| "access_token".to_owned()),
                expires_in: text(&oauth.expires_in_name, "expires_in_name", scope)?.unwrap_or_else(|| "expires_in".to_owned()),
                refresh_token: grant.refresh_token_name,
            },
            refusal: RefreshRefusal::of(oauth),
            given: grant.given,
        }))
    }
}

/// The grant type that spends a refresh token.
const REFRESH_TOKEN: &str = "refresh_token";

/// What the fields of the request are made of.
struct Grant {
    type_name: String,
    kind: String,
    refresh_token_name: String,
    refresh_token: Option<String>,
    given: Option<GivenToken>,
}

impl Grant {
    fn new(oauth: &OAuthAuthenticator, config: &Value, scope: &Scope) -> Result<Self, ReadingError> {
        let type_name = text(&oauth.grant_type_name, "grant_type_name", scope)?.unwrap_or_else(|| "grant_type".to_owned());
        let kind = text(&oauth.grant_type, "grant_type", scope)?.unwrap_or_else(|| REFRESH_TOKEN.to_owned());
        if let Some(updater) = &oauth.refresh_token_updater {
            return Ok(Grant {
                type_name,
                kind,
                refresh_token_name: updater.refresh_token_name.clone(),
                refresh_token: Some(member(config, &updater.refresh_token_config_path)?.unwrap_or_default()),
                given: GivenToken::of_config(updater, config)?,
            });
        }
        let refresh_token = text(&oauth.refresh_token, "refresh_token", scope)?;
        let asserts = oauth.use_profile_assertion.is_some();
        if kind == REFRESH_TOKEN && refresh_token.is_none() && !asserts {
            return Err(missing("refresh_token", "a refresh token, or another `grant_type`"));
        }
        Ok(Grant {
            type_name,
            kind,
            refresh_token_name: text(&oauth.refresh_token_name, "refresh_token_name", scope)?.unwrap_or_else(|| REFRESH_TOKEN.to_owned()),
            refresh_token,
            given: GivenToken::of_fields(oauth, scope)?,
        })
    }

    /// The fields of the request, in order; further fields of the manifest do not override.
    fn form(&self, oauth: &OAuthAuthenticator, authorized_by_header: bool, scope: &Scope) -> Result<Vec<(String, String)>, ReadingError> {
        let mut form = vec![(self.type_name.clone(), self.kind.clone())];
        if !authorized_by_header {
            let id = text(&oauth.client_id, "client_id", scope)?.filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| missing("client_id", "a client id"))?;
            form.push((text(&oauth.client_id_name, "client_id_name", scope)?.unwrap_or_else(|| "client_id".to_owned()), id));
            let secret = text(&oauth.client_secret, "client_secret", scope)?.unwrap_or_default();
            let name = text(&oauth.client_secret_name, "client_secret_name", scope)?;
            form.push((name.unwrap_or_else(|| "client_secret".to_owned()), secret));
        }
        form.extend(self.refresh_token.iter().map(|token| (self.refresh_token_name.clone(), token.clone())));
        form.extend(oauth.scopes.iter().map(|scope| ("scopes".to_owned(), scope.clone())));
        for (name, value) in entries(&oauth.refresh_request_body, "refresh_request_body", scope)? {
            if form.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match value {
                Value::Array(items) => form.extend(items.iter().map(|item| (name.clone(), python_text(item)))),
                value => form.push((name, python_text(&value))),
            }
        }
        Ok(form)
    }
}

impl RefreshRefusal {
    /// What the updater says, or the authenticator, or else what most servers do.
    fn of(oauth: &OAuthAuthenticator) -> Self {
        let of = |statuses: &Vec<u32>, key: &Option<String>, values: &Vec<String>| {
            let is_said = !statuses.is_empty() || key.is_some() || !values.is_empty();
            is_said.then(|| RefreshRefusal { statuses: statuses.clone(), key: key.clone().unwrap_or_default(), values: values.clone() })
        };
        let updater = oauth.refresh_token_updater.as_ref().and_then(|updater| {
            of(&updater.refresh_token_error_status_codes, &updater.refresh_token_error_key, &updater.refresh_token_error_values)
        });
        let own = of(&oauth.refresh_token_error_status_codes, &oauth.refresh_token_error_key, &oauth.refresh_token_error_values);
        updater.or(own).unwrap_or_else(|| RefreshRefusal {
            statuses: vec![400],
            key: "error".to_owned(),
            values: vec!["invalid_grant".to_owned(), "invalid_permissions".to_owned()],
        })
    }

    /// Whether an answer says so.
    pub fn is_said_by(&self, status: u16, body: &[u8]) -> bool {
        let said = || serde_json::from_slice::<Value>(body).ok()?.get(&self.key)?.as_str().map(str::to_owned);
        self.statuses.contains(&status.into()) && said().is_some_and(|value| self.values.contains(&value))
    }
}

impl GivenToken {
    fn of_fields(oauth: &OAuthAuthenticator, scope: &Scope) -> Result<Option<Self>, ReadingError> {
        let token = text(&oauth.access_token_value, "access_token_value", scope)?.filter(|token| !token.is_empty());
        let Some(token) = token else { return Ok(None) };
        let expires_at = text(&oauth.token_expiry_date, "token_expiry_date", scope)?;
        Ok(Some(GivenToken { token: Secret::new(token), expires_at: end("token_expiry_date", expires_at)? }))
    }

    fn of_config(updater: &RefreshTokenUpdater, config: &Value) -> Result<Option<Self>, ReadingError> {
        let token = member(config, &updater.access_token_config_path)?.filter(|token| !token.is_empty());
        let Some(token) = token else { return Ok(None) };
        let expires_at = member(config, &updater.token_expiry_date_config_path)?;
        Ok(Some(GivenToken { token: Secret::new(token), expires_at: end("token_expiry_date_config_path", expires_at)? }))
    }
}

/// A time as seconds since 1970, or as a date of ISO 8601.
fn end(field: &'static str, text: Option<String>) -> Result<Option<Timestamp>, ReadingError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_second(seconds).ok());
    }
    DateTime::parse_iso(&text).map(|at| Some(at.in_utc().timestamp())).map_err(ReadingError::date(field))
}

/// The text of a member of the configuration.
fn member(config: &Value, path: &[String]) -> Result<Option<String>, ReadingError> {
    let found = FieldPath::new(path.iter().cloned()).get(config).map_err(|source| ReadingError::Records { source })?;
    Ok(found.filter(|value| !value.is_null()).map(python_text))
}

fn missing(field: &'static str, needs: &'static str) -> ReadingError {
    ReadingError::Value { field, found: String::new(), needs }
}

fn text(expression: &Option<Expression>, field: &'static str, scope: &Scope) -> Result<Option<String>, ReadingError> {
    expression.as_ref().map(|expression| expression.text(scope)).transpose().map_err(ReadingError::expression(field))
}

fn entries(nested: &Option<Nested>, field: &'static str, scope: &Scope) -> Result<Vec<(String, Value)>, ReadingError> {
    let Some(nested) = nested else { return Ok(Vec::new()) };
    match nested.value(scope, Literals::Any).map_err(ReadingError::expression(field))? {
        Value::Object(map) => Ok(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        _ => Ok(Vec::new()),
    }
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
        let config = json!({"shop": "blue", "secret": "s", "refresh": "r", "credentials": {"refresh_token": "kept"}});
        let plan = TokenPlan::new(&oauth(members), &config, &scope(&config)).unwrap().unwrap();
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
        let kept = form(
            "grant_type: client_credentials, refresh_token: \"{{ config['refresh'] }}\", refresh_request_headers: {Authorization: Basic x}, refresh_request_body: {yes: true, l: \"{{ ['a', 1] }}\", none: \"{{ config['none'] }}\"}",
        );
        let expected = [("grant_type", "client_credentials"), ("refresh_token", "r"), ("yes", "True"), ("l", "a"), ("l", "1")];
        assert_eq!(kept, pairs(&expected), "measured");
    }

    /// An updater reads the tokens from the configuration; an assertion takes the place of everything else.
    #[test]
    fn tokens_stand_where_they_are_kept() {
        let config = json!({"shop": "blue", "secret": "s", "c": {"refresh": "kept", "access": "a", "end": "2026-11-24T11:00:00Z"}});
        let plan = |members: &str| TokenPlan::new(&oauth(members), &config, &scope(&config)).unwrap().unwrap();
        let updated = plan(
            "refresh_token: other, refresh_token_updater: {refresh_token_name: rt, refresh_token_config_path: [c, refresh],
              access_token_config_path: [c, access], token_expiry_date_config_path: [c, end], refresh_token_error_status_codes: [422],
              refresh_token_error_key: why, refresh_token_error_values: [gone]}",
        );
        assert_eq!(updated.refresh_token_field.as_deref(), Some("rt"));
        assert_eq!(updated.form.iter().find(|(name, _)| name == "rt").map(|(_, value)| value.expose().as_str()), Some("kept"));
        let given = updated.given.unwrap();
        assert_eq!((given.token.expose().as_str(), given.expires_at), ("a", Some("2026-11-24T11:00:00Z".parse().unwrap())));
        assert!(updated.refusal.is_said_by(422, br#"{"why": "gone"}"#) && !updated.refusal.is_said_by(400, br#"{"why": "gone"}"#));
        let jwt = "profile_assertion: {type: JwtAuthenticator, secret_key: k, algorithm: HS256}";
        let asserted = plan(&format!("use_profile_assertion: \"{{{{ true }}}}\", {jwt}"));
        assert_eq!(asserted.form.len(), 1);
        assert_eq!(asserted.form[0].1.expose(), JWT_BEARER);
        assert!(asserted.assertion.is_some() && asserted.refresh_token_field.is_none());
        let plan = |members: &str| TokenPlan::new(&oauth(members), &config, &scope(&config));
        assert!(plan("grant_type: refresh_token").is_err() && plan("use_profile_assertion: true").is_err());
    }
}
