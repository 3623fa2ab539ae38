//! Which authenticator a configuration chooses, and what it adds to a request.
//!
//! Source: the authenticators of airbyte-cdk (LOWCODE.md section 4.10).

use data_encoding::BASE64;
use serde_json::Value;

use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::authenticator::LegacySessionTokenAuthenticator;
use crate::connector::component::authenticator::SessionTokenPlacement;
use crate::connector::component::requester::RequestOption;
use crate::connector::component::value::Expression;
use crate::connector::expression::Scope;
use crate::connector::expression::python_text;
use crate::connector::path::FieldPath;
use crate::connector::reading::PlacedSecret;
use crate::connector::reading::ReadingError;
use crate::connector::reading::SecretPlace;
use crate::connector::reading::Target;
use crate::secret::Secret;

/// The header that most credentials go into.
const AUTHORIZATION: &str = "Authorization";

/// The authenticator that `config` chooses where a manifest offers several, or else `authenticator` itself.
///
/// # Errors
/// When the configuration chooses none, or one that the manifest does not have.
pub fn chosen<'a>(authenticator: &'a Authenticator, config: &Value) -> Result<&'a Authenticator, ReadingError> {
    let Authenticator::SelectiveAuthenticator(selective) = authenticator else { return Ok(authenticator) };
    let path = FieldPath::new(selective.authenticator_selection_path.iter().cloned());
    let found = path.get(config).map_err(|source| ReadingError::Records { source })?;
    let name = found.map(python_text);
    let choices = &selective.authenticators.0;
    match choices.iter().find(|(known, _)| Some(known) == name.as_ref()) {
        Some((_, choice)) => chosen(choice, config),
        None => Err(ReadingError::Choice {
            path: selective.authenticator_selection_path.join("."),
            found: name.map_or_else(|| "nothing".to_owned(), |name| format!("`{}`", crate::ids::cut(&name))),
            accepted: choices.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// What a chosen authenticator adds to a request. `token` is what an OAuth grant, a login or a signature gave.
pub(super) fn secrets(
    authenticator: &Authenticator,
    scope: &Scope,
    token: Option<&Secret<String>>,
) -> Result<Vec<PlacedSecret>, ReadingError> {
    let render = |expression: &Expression, field| expression.text(scope).map_err(ReadingError::expression(field));
    let place = |option: &RequestOption| Target::of(option, scope).map(SecretPlace::from);
    let authorization = || SecretPlace::Header(AUTHORIZATION.to_owned());
    let needed = || token.ok_or(ReadingError::NoAccessToken);
    let (place, value) = match authenticator {
        Authenticator::NoAuth(_) => return Ok(Vec::new()),
        // Chosen already.
        Authenticator::SelectiveAuthenticator(_) => return Err(ReadingError::NoAccessToken),
        Authenticator::BearerAuthenticator(bearer) => (authorization(), format!("Bearer {}", render(&bearer.api_token, "api_token")?)),
        Authenticator::BasicHttpAuthenticator(basic) => {
            let password = basic.password.as_ref().map(|password| render(password, "password")).transpose()?;
            let pair = Secret::new(format!("{}:{}", render(&basic.username, "username")?, password.unwrap_or_default()));
            (authorization(), format!("Basic {}", BASE64.encode(pair.expose().as_bytes())))
        }
        Authenticator::OAuthAuthenticator(oauth) => match (token, &oauth.access_token_value) {
            (None, Some(given)) => (authorization(), format!("Bearer {}", render(given, "access_token_value")?)),
            _ => (authorization(), format!("Bearer {}", needed()?.expose())),
        },
        Authenticator::ApiKeyAuthenticator(key) => {
            let place = match (&key.inject_into, &key.header) {
                (Some(option), _) => place(option)?,
                (None, Some(header)) => SecretPlace::Header(render(header, "header")?),
                (None, None) => authorization(),
            };
            (place, key.api_token.as_ref().map(|token| render(token, "api_token")).transpose()?.unwrap_or_default())
        }
        Authenticator::SessionTokenAuthenticator(session) => match &session.request_authentication {
            SessionTokenPlacement::Bearer(_) => (authorization(), format!("Bearer {}", needed()?.expose())),
            SessionTokenPlacement::ApiKey(key) => {
                let token = needed()?.expose();
                let value = match &key.api_token {
                    None => token.clone(),
                    Some(template) => {
                        let mut scope = scope.clone();
                        scope.set("session_token", token.as_str().into());
                        template.text(&scope).map_err(ReadingError::expression("api_token"))?
                    }
                };
                (place(&key.inject_into)?, value)
            }
        },
        Authenticator::LegacySessionTokenAuthenticator(legacy) => {
            (SecretPlace::Header(render(&legacy.header, "header")?), needed()?.expose().clone())
        }
        Authenticator::JwtAuthenticator(jwt) => {
            let place = jwt.request_option.as_ref().map(place).transpose()?;
            (place.unwrap_or_else(authorization), needed()?.expose().clone())
        }
    };
    // A header without a name is none.
    if matches!(&place, SecretPlace::Header(name) if name.is_empty()) {
        return Ok(Vec::new());
    }
    Ok(vec![PlacedSecret { place, value: Secret::new(value) }])
}

impl From<Target> for SecretPlace {
    fn from(target: Target) -> Self {
        match target {
            Target::Parameter(name) => SecretPlace::Parameter(name),
            Target::Header(name) => SecretPlace::Header(name),
            Target::Form(name) => SecretPlace::Form(name),
            Target::Json(path) => SecretPlace::Json(path),
        }
    }
}

/// What the older kind of session authenticator asks for. All of it may be secret.
#[derive(Debug)]
pub struct LegacyLogin {
    /// The header that the token goes into.
    pub header: String,
    /// The token of the configuration, if there is one.
    pub token: Option<Secret<String>>,
    /// Where that token is tried.
    pub validate_url: String,
    /// Where name and password buy a token.
    pub login_url: String,
    /// Name and password, if there are both.
    pub credentials: Option<(Secret<String>, Secret<String>)>,
    /// The member of the login's answer that is the token.
    pub response_key: String,
}

impl LegacyLogin {
    /// What `legacy` asks for, below `base`. `scope` has `config` with its secrets.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn new(legacy: &LegacySessionTokenAuthenticator, base: Option<&Expression>, scope: &Scope) -> Result<Self, ReadingError> {
        let render = |expression: &Expression, field| expression.text(scope).map_err(ReadingError::expression(field));
        let optional = |expression: &Option<Expression>, field| {
            let text = expression.as_ref().map(|expression| render(expression, field)).transpose()?;
            Ok::<_, ReadingError>(text.filter(|text| !text.is_empty()))
        };
        // The two are put together as they are: the base of such manifests ends with a slash.
        let base = base.map(|base| render(base, "url_base")).transpose()?.unwrap_or_default();
        let username = optional(&legacy.username, "username")?;
        let password = optional(&legacy.password, "password")?;
        Ok(LegacyLogin {
            header: render(&legacy.header, "header")?,
            token: optional(&legacy.session_token, "session_token")?.map(Secret::new),
            validate_url: format!("{base}{}", render(&legacy.validate_session_url, "validate_session_url")?),
            login_url: format!("{base}{}", render(&legacy.login_url, "login_url")?),
            credentials: username.zip(password).map(|(name, password)| (Secret::new(name), Secret::new(password))),
            response_key: render(&legacy.session_token_response_key, "session_token_response_key")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn placed(yaml: &str, config: &Value, token: Option<&str>) -> Result<Vec<(SecretPlace, String)>, ReadingError> {
        let authenticator: Authenticator = component(yaml, "HttpRequester", "authenticator");
        let token = token.map(|token| Secret::new(token.to_owned()));
        let secrets = secrets(chosen(&authenticator, config)?, &scope(config), token.as_ref())?;
        Ok(secrets.into_iter().map(|secret| (secret.place, secret.value.expose().clone())).collect())
    }

    /// The configuration chooses by its value's text, as Python writes it; a choice that there is not is told with those there are.
    #[test]
    fn configurations_choose() {
        let yaml = "{type: SelectiveAuthenticator, authenticator_selection_path: [auth, kind], authenticators: {
            token: {type: BearerAuthenticator, api_token: \"{{ config['key'] }}\"},
            'True': {type: BasicHttpAuthenticator, username: u},
            '1': {type: NoAuth}}}";
        let authorization = |value: &str| vec![(SecretPlace::Header("Authorization".into()), value.to_owned())];
        let check = |kind: Value| placed(yaml, &json!({"auth": {"kind": kind}, "key": "k"}), None);
        assert_eq!(check(json!("token")).unwrap(), authorization("Bearer k"));
        assert_eq!(check(json!(true)).unwrap(), authorization("Basic dTo="));
        assert_eq!(check(json!(1)).unwrap(), []);
        let refused = check(json!("other")).unwrap_err().to_string();
        assert!(refused.contains("auth.kind") && refused.contains("`other`") && refused.contains("token, True, 1"), "{refused}");
        assert!(matches!(placed(yaml, &json!({}), None), Err(ReadingError::Choice { .. })));
    }

    /// A session's token goes where the manifest says, bare or in a text around it; keys are read as literals are (measured).
    #[test]
    fn tokens_are_placed() {
        let session = |placement: &str| {
            format!(
                "{{type: SessionTokenAuthenticator, login_requester: {{type: HttpRequester, url: 'https://a.example/'}}, session_token_path: [t], request_authentication: {placement}}}"
            )
        };
        let check = |yaml: &str| placed(yaml, &json!({"key": "1_000", "quoted": "'abc'"}), Some("t0ken")).unwrap();
        let header = |name: &str, value: &str| vec![(SecretPlace::Header(name.into()), value.to_owned())];
        assert_eq!(check(&session("{type: Bearer}")), header("Authorization", "Bearer t0ken"));
        let key = "{type: ApiKey, inject_into: {type: RequestOption, inject_into: header, field_name: X-Key}";
        assert_eq!(check(&session(&format!("{key}}}"))), header("X-Key", "t0ken"));
        assert_eq!(check(&session(&format!("{key}, api_token: \"Token {{{{ session_token }}}}\"}}"))), header("X-Key", "Token t0ken"));
        let body = "{type: ApiKeyAuthenticator, api_token: \"{{ config['key'] }}\", inject_into: {type: RequestOption, inject_into: body_json, field_path: [a, b]}}";
        assert_eq!(check(body), [(SecretPlace::Json(vec!["a".into(), "b".into()]), "1000".to_owned())]);
        let quoted = "{type: BearerAuthenticator, api_token: \"{{ config['quoted'] }}\"}";
        assert_eq!(check(quoted), header("Authorization", "Bearer abc"));
        let empty = "{type: ApiKeyAuthenticator, api_token: \"{{ config['none'] }}\", header: X-Key}";
        assert_eq!(check(empty), header("X-Key", ""), "an empty key is sent empty");
        let form = "{type: ApiKeyAuthenticator, api_token: k, inject_into: {type: RequestOption, inject_into: body_data, field_name: key}}";
        assert_eq!(check(form), [(SecretPlace::Form("key".into()), "k".to_owned())]);
        let given = "{type: OAuthAuthenticator, access_token_value: given}";
        assert_eq!(placed(given, &json!({}), None).unwrap(), header("Authorization", "Bearer given"));
        assert!(matches!(placed(&session("{type: Bearer}"), &json!({}), None), Err(ReadingError::NoAccessToken)));
    }

    /// The older kind puts its addresses behind the base as they are.
    #[test]
    fn older_logins_are_read() {
        let yaml = "{type: LegacySessionTokenAuthenticator, header: X-S, login_url: session, validate_session_url: user/current,
            session_token: \"{{ config['token'] }}\", session_token_response_key: id, username: \"{{ config['user'] }}\", password: p}";
        let Authenticator::LegacySessionTokenAuthenticator(legacy) = component(yaml, "HttpRequester", "authenticator") else { panic!() };
        let login = LegacyLogin::new(&legacy, None, &scope(&json!({"user": "u"}))).unwrap();
        assert_eq!((login.login_url.as_str(), login.validate_url.as_str()), ("session", "user/current"));
        assert!(login.token.is_none() && login.credentials.is_some());
    }
}
