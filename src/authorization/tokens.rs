//! What a token endpoint answers, read tolerantly: applications differ from RFC 6749 section 5.1 in every field but one.
//!
//! `expires_in` may be a number or a text, or `expires_at` may say a date; scopes are joined by spaces or commas; the token
//! type is in any case or missing; some answer in a form instead of JSON. What is not understood is left in [`Tokens::extra`]. An answer without an access token is an error.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use url::form_urlencoded;

use crate::clock::Timestamp;
use crate::connection::credential::Tokens;
use crate::secret::Secret;

/// The earliest that an access token is renewed before its end.
const EARLY_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The part of its lifetime by which a token is renewed early, if that is less than [`EARLY_MAX`].
const EARLY_PART: i32 = 10;

/// How deep a manifest's field names are looked for in an answer.
const DEPTH_MAX: usize = 5;

/// Lifetimes beyond this are taken as "does not expire": about 100 years.
const LIFETIME_SECONDS_MAX: f64 = 3.2e9;

/// Characters of an error code; the longest registered one has 34.
const CODE_CHARACTERS_MAX: usize = 48;

/// Numbers from here on are a Unix time, not a lifetime.
const UNIX_SECONDS_MIN: f64 = 1e9;

/// The names of an answer's fields. A dot has no meaning: names are looked for at any depth up to five.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerNames {
    /// The access token's.
    pub access_token: String,
    /// The lifetime's.
    pub expires_in: String,
    /// The refresh token's.
    pub refresh_token: String,
}

impl Default for AnswerNames {
    fn default() -> Self {
        Self { access_token: "access_token".into(), expires_in: "expires_in".into(), refresh_token: "refresh_token".into() }
    }
}

/// What renewals know of tokens.
impl Tokens {
    /// Whether the access token is past its end, or at most min(60 s, a tenth of its lifetime) before.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| {
            let lifetime = end.duration_since(self.issued_at).max(SignedDuration::ZERO);
            end.duration_since(now) <= (lifetime / EARLY_PART).min(EARLY_MAX)
        })
    }

    /// Whether the access token is past its end.
    pub fn is_past(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// A refresh token alone, as a manifest's config gives it: its access token has ended before it began.
    pub fn of_refresh_token(refresh_token: Secret<String>, now: Timestamp) -> Self {
        Self {
            access_token: Secret::new(String::new()),
            refresh_token: Some(refresh_token),
            expires_at: Some(now),
            issued_at: now,
            token_type: String::new(),
            scopes: Vec::new(),
            extra: Secret::new("{}".to_owned()),
        }
    }

    /// A second keeper of the same tokens, made on purpose and visibly.
    pub fn duplicate(&self) -> Self {
        Self {
            access_token: self.access_token.duplicate(),
            refresh_token: self.refresh_token.as_ref().map(Secret::duplicate),
            expires_at: self.expires_at,
            issued_at: self.issued_at,
            token_type: self.token_type.clone(),
            scopes: self.scopes.clone(),
            extra: self.extra.duplicate(),
        }
    }

    /// Takes over what a renewal's answer left out (RFC 6749 section 6).
    #[must_use]
    pub fn succeeding(mut self, old: &Tokens) -> Self {
        self.refresh_token = self.refresh_token.or_else(|| old.refresh_token.as_ref().map(Secret::duplicate));
        if self.scopes.is_empty() {
            self.scopes.clone_from(&old.scopes);
        }
        let mut extra = old.extra_members();
        extra.extend(self.extra_members());
        self.extra = written(&extra);
        self
    }

    /// The other members of the answer, such as an `instance_url` that belongs into the connection's config.
    pub fn extra_members(&self) -> Map<String, Value> {
        serde_json::from_str(self.extra.expose()).unwrap_or_default()
    }

    /// Reads an answer's body; `lifetime_default` stands in for a lifetime that it does not say.
    ///
    /// # Errors
    /// What is missing, without any value of the answer.
    pub fn read(body: &[u8], names: &AnswerNames, lifetime_default: Option<Duration>, now: Timestamp) -> Result<Self, &'static str> {
        let fields = object(body).ok_or("the answer is neither a JSON object nor a form")?;
        Self::of(fields, names, lifetime_default, now)
    }

    /// As [`Tokens::read`], from the answer's fields.
    pub(super) fn of(
        mut fields: Map<String, Value>,
        names: &AnswerNames,
        lifetime_default: Option<Duration>,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let text = |name: &str| find(&fields, name, DEPTH_MAX).and_then(Value::as_str).filter(|token| !token.is_empty());
        let secret = |token: &str| Secret::new(token.to_owned());
        let access_token = text(&names.access_token).map(secret).ok_or("the answer holds no access token")?;
        let refresh_token = text(&names.refresh_token).map(secret);
        let expires_at = find(&fields, &names.expires_in, DEPTH_MAX)
            .and_then(|value| end(value, now))
            .or_else(|| fields.get("expires_at").and_then(|value| end(value, now)))
            .or_else(|| now.checked_add(SignedDuration::try_from(lifetime_default?).ok()?).ok());
        let scopes = scopes(fields.get("scope"));
        let token_type = fields.get("token_type").and_then(Value::as_str).unwrap_or_default().to_owned();
        for known in [names.access_token.as_str(), &names.refresh_token, &names.expires_in, "token_type", "scope", "expires_at"] {
            remove(&mut fields, known, DEPTH_MAX);
        }
        let extra = written(&fields);
        Ok(Self { access_token, refresh_token, expires_at, issued_at: now, token_type, scopes, extra })
    }
}

fn written(members: &Map<String, Value>) -> Secret<String> {
    Secret::new(serde_json::to_string(members).unwrap_or_else(|_| "{}".to_owned()))
}

/// The error code of an answer, if it is one of RFC 6749 section 5.2 (also with a status of 200, as some answer).
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    let fields = object(body)?;
    match fields.get("error")? {
        Value::String(code) => Some(legible(code)),
        Value::Object(nested) => ["type", "code", "status"].iter().find_map(|name| nested.get(*name)?.as_str()).map(legible),
        _ => None,
    }
}

/// An error code as it may be shown: a word, not a sentence that repeats what was sent.
pub(super) fn legible(code: &str) -> String {
    let word = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    let fits = (1..=CODE_CHARACTERS_MAX).contains(&code.len()) && code.chars().all(word);
    if fits { code.to_owned() } else { "unreadable code".to_owned() }
}

/// A JSON object, or a form read as one.
pub(super) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Some(fields),
        Ok(_) => None,
        Err(_) => {
            let text = std::str::from_utf8(body).ok().filter(|text| text.contains('=') && !text.contains(['<', '{', '\n']))?;
            Some(form_urlencoded::parse(text.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect())
        }
    }
}

/// The first field of that name, the shallowest objects first within each branch; lists are looked into as well.
fn find<'a>(fields: &'a Map<String, Value>, name: &str, depth: usize) -> Option<&'a Value> {
    let within = || fields.values().find_map(|value| find_within(value, name, depth.checked_sub(1)?));
    fields.get(name).filter(|value| !value.is_null()).or_else(within)
}

fn find_within<'a>(value: &'a Value, name: &str, depth: usize) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => find(fields, name, depth),
        Value::Array(items) => items.iter().find_map(|item| find_within(item, name, depth.checked_sub(1)?)),
        _ => None,
    }
}

fn remove(fields: &mut Map<String, Value>, name: &str, depth: usize) {
    fields.shift_remove(name);
    if let Some(depth) = depth.checked_sub(1) {
        fields.values_mut().for_each(|value| remove_within(value, name, depth));
    }
}

fn remove_within(value: &mut Value, name: &str, depth: usize) {
    match (value, depth.checked_sub(1)) {
        (Value::Object(fields), _) => remove(fields, name, depth),
        (Value::Array(items), Some(depth)) => items.iter_mut().for_each(|item| remove_within(item, name, depth)),
        _ => {}
    }
}

/// A lifetime in seconds, a Unix time, or a date; as number or text.
fn end(value: &Value, now: Timestamp) -> Option<Timestamp> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let Ok(number) = text.parse::<f64>() else { return text.parse().ok() };
    match number {
        lifetime if (0.0..UNIX_SECONDS_MIN).contains(&lifetime) => now.checked_add(SignedDuration::try_from_secs_f64(lifetime).ok()?).ok(),
        unix if (UNIX_SECONDS_MIN..LIFETIME_SECONDS_MAX).contains(&unix) => Timestamp::from_second(unix as i64).ok(),
        past if past < 0.0 => Some(now),
        _ => None,
    }
}

fn scopes(value: Option<&Value>) -> Vec<String> {
    let words = |text: &str| text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    match value {
        Some(Value::String(text)) => words(text),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T10:00:00Z".parse().expect("a time")
    }

    fn read(body: &str) -> Result<Tokens, &'static str> {
        Tokens::read(body.as_bytes(), &AnswerNames::default(), None, now())
    }

    /// Lifetimes and scopes are read in every form that applications send.
    #[test]
    fn answers_are_read_tolerantly() {
        for (fields, seconds) in [
            (r#""expires_in":3600"#, Some(3600)),
            (r#""expires_in":"3600""#, Some(3600)),
            (r#""expires_in":3599.0"#, Some(3599)),
            (r#""expires_in":null"#, None),
            (r#""expires_in":"never""#, None),
            (r#""expires_in":-1"#, Some(0)),
            (r#""expires_in":99999999999"#, None),
            (r#""expires_at":"2026-11-24T11:00:00Z""#, Some(3600)),
            (r#""expires_at":1795518000"#, Some(3600)),
            (r#""expires_in":[]"#, None),
            (r#""x":1"#, None),
        ] {
            let tokens = read(&format!(r#"{{"access_token":"a",{fields}}}"#)).expect(fields);
            assert_eq!(tokens.expires_at.map(|end| end.duration_since(now()).as_secs()), seconds, "{fields}");
        }
        for scope in [r#""a b""#, r#""a,b""#, r#""a, b""#, r#"["a","b"]"#] {
            let tokens = read(&format!(r#"{{"access_token":"a","token_type":"BEARER","scope":{scope}}}"#)).expect(scope);
            assert_eq!((tokens.scopes, tokens.token_type.as_str()), (vec!["a".to_owned(), "b".to_owned()], "BEARER"));
        }
        let form = read("access_token=a%2Fb&refresh_token=r&token_type=bearer").expect("a form");
        assert_eq!(
            (form.access_token.expose().as_str(), form.refresh_token.map(|token| token.expose().clone())),
            ("a/b", Some("r".into()))
        );
        for bad in ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#, "<html>a=b</html>", r#"{"access_token":"a""#] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let nested = AnswerNames { access_token: "token".into(), ..AnswerNames::default() };
        let body = br#"{"data":{"session":{"token":"t","expires_in":60}},"shop":"s"}"#;
        let tokens = Tokens::read(body, &nested, None, now()).expect("nested");
        assert_eq!((tokens.access_token.expose().as_str(), tokens.extra.expose().as_str()), ("t", r#"{"data":{"session":{}},"shop":"s"}"#));
        assert!(tokens.expires_at.is_some());
        let listed = Tokens::read(br#"{"tokens":[{"kind":"x"},{"token":"t"}]}"#, &nested, None, now()).expect("in a list");
        assert_eq!(listed.extra.expose(), r#"{"tokens":[{"kind":"x"},{}]}"#);
    }

    /// A token is due at its end, or a minute before, or a tenth of a short lifetime before.
    #[test]
    fn tokens_are_due_in_time() {
        for (lifetime, early) in [(3600, 60), (600, 60), (100, 10), (10, 1), (0, 0)] {
            let tokens = read(&format!(r#"{{"access_token":"a","expires_in":{lifetime}}}"#)).expect("tokens");
            let at = |seconds: i64| now().checked_add(SignedDuration::from_secs(seconds)).expect("a time");
            assert!(!tokens.is_due(at(lifetime - early - 1)) && tokens.is_due(at(lifetime - early)), "{lifetime}");
            assert!(!tokens.is_past(at(lifetime - 1)) && tokens.is_past(at(lifetime)), "{lifetime}");
        }
    }

    proptest! {
        /// No body panics, and no error or debug text holds a token.
        #[test]
        fn any_body_is_survived(body in "[ -~]{0,60}", token in "[a-z]{20}") {
            let _ = read(&body).is_ok();
            let body = format!(r#"{{"access_token":"{token}","x":"{token}"}}"#);
            let shown = format!("{:?}", Tokens::read(body.as_bytes(), &AnswerNames::default(), None, now()).expect("tokens"));
            prop_assert!(!shown.contains(&token));
        }
    }
}
