//! A request as the guard sees it: which of its parts are secret, and where those may go.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use url::Url;
use url::form_urlencoded;

use crate::secret::Secret;

use super::egress::AllowedHosts;

/// What stands in a recorded URL where a secret was.
pub const REDACTED: &str = "***";

/// Texts shorter than this are not searched for in URLs: nobody's secret, and everywhere.
const SECRET_CHARACTERS_MIN: usize = 4;

/// A part's value.
#[derive(Debug)]
pub enum Text {
    /// It may be recorded.
    Plain(String),
    /// It goes to the credential's hosts only and is never recorded.
    Secret(Secret<String>),
}

impl Text {
    fn expose(&self) -> &str {
        match self {
            Text::Plain(text) => text,
            Text::Secret(secret) => secret.expose(),
        }
    }

    fn is_secret(&self) -> bool {
        matches!(self, Text::Secret(_))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::Plain(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::Plain(text)
    }
}

impl From<Secret<String>> for Text {
    fn from(secret: Secret<String>) -> Self {
        Text::Secret(secret)
    }
}

/// A request's body.
#[derive(Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, Text)>),
    /// Anything else.
    Bytes {
        /// The `Content-Type`; empty: none is said.
        content_type: String,
        /// The bytes.
        bytes: Bytes,
        /// Whether they hold a credential, and so go to its hosts only.
        secret: bool,
    },
}

impl Body {
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Body::Empty => false,
            Body::Form(fields) => fields.iter().any(|(_, text)| text.is_secret()),
            Body::Bytes { secret, .. } => *secret,
        }
    }

    /// The content type and the bytes, unless empty.
    pub(super) fn write(&self) -> Option<(Option<HeaderValue>, Bytes)> {
        match self {
            Body::Empty => None,
            Body::Form(fields) => {
                let pairs = fields.iter().map(|(name, text)| (name.as_str(), text.expose()));
                let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                Some((Some(HeaderValue::from_static("application/x-www-form-urlencoded")), form.into()))
            }
            Body::Bytes { content_type, bytes, .. } => {
                let fallback = || HeaderValue::from_static("application/octet-stream");
                let said = (!content_type.is_empty()).then(|| HeaderValue::from_str(content_type).unwrap_or_else(|_| fallback()));
                Some((said, bytes.clone()))
            }
        }
    }
}

/// How long an answer is waited for, where it is not the client's own limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    /// From the request's start to the end of the answer's headers.
    pub answer: Option<Duration>,
    /// Without a byte of the body.
    pub idle: Option<Duration>,
}

/// One request to an application.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL; a query that it has already is kept, and [`Request::query`] is appended.
    pub url: Url,
    /// Query parameters.
    pub query: Vec<(String, Text)>,
    /// Headers.
    pub headers: Vec<(String, Text)>,
    /// The body.
    pub body: Body,
    /// The hosts that secret parts may be sent to; `None`: the scheme, host and port of [`Request::url`] alone.
    pub credential_hosts: Option<AllowedHosts>,
    /// Whether a redirect is followed; never for token calls.
    pub follow_redirects: bool,
    /// How long this answer is waited for, and how long its body may be silent, where it is not the client's own limits.
    pub patience: Patience,
    /// Further secrets that stand somewhere in [`Request::url`] and are hidden where it is recorded.
    pub hidden: Vec<Secret<String>>,
}

impl Request {
    /// A request without parts.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            credential_hosts: None,
            follow_redirects: true,
            patience: Patience::default(),
            hidden: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST of a form, as token endpoints take it: redirects are not followed.
    pub fn form(url: Url, fields: Vec<(String, Text)>) -> Self {
        Self { body: Body::Form(fields), follow_redirects: false, ..Self::new(Method::POST, url) }
    }

    /// With one more query parameter.
    #[must_use]
    pub fn with_query(mut self, name: impl Into<String>, value: impl Into<Text>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Text>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The URL as it may be written down: absolute, every secret replaced by [`REDACTED`].
    pub fn recorded_url(&self) -> String {
        self.redact(&with_pairs(
            &self.url,
            self.query.iter().map(|(name, text)| match text {
                Text::Plain(text) => (name.as_str(), text.as_str()),
                Text::Secret(_) => (name.as_str(), REDACTED),
            }),
        ))
    }

    /// The URL that is sent.
    pub(super) fn sent_url(&self) -> Url {
        with_pairs(&self.url, self.query.iter().map(|(name, text)| (name.as_str(), text.expose())))
    }

    /// Whether any part is secret.
    pub(super) fn has_secret(&self) -> bool {
        let secret_header = self.headers.iter().any(|(name, text)| text.is_secret() || is_credential_header(name));
        secret_header || self.body.is_secret() || !self.hidden.is_empty() || self.query.iter().any(|(_, text)| text.is_secret())
    }

    /// The headers of one hop; without the secret ones when `credential` is false.
    ///
    /// # Errors
    /// The name of a header that cannot be written.
    pub(super) fn header_map(&self, credential: bool) -> Result<HeaderMap, String> {
        let mut map = HeaderMap::new();
        for (name, text) in &self.headers {
            let secret = text.is_secret() || is_credential_header(name);
            if secret && !credential {
                continue;
            }
            let unwritable = |_| format!("header `{}`", crate::ids::cut(name));
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unwritable(()))?;
            let mut value = HeaderValue::from_str(text.expose()).map_err(|_| unwritable(()))?;
            value.set_sensitive(secret);
            map.append(key, value);
        }
        Ok(map)
    }

    /// A URL's text without this request's secrets, in whichever encoding they stand in it.
    pub(super) fn redact(&self, url: &Url) -> String {
        let mut text = url.to_string();
        for secret in self.secrets() {
            for form in encodings(secret) {
                text = text.replace(&form, REDACTED);
            }
        }
        text
    }

    /// Whether a URL from outside holds one of this request's secrets.
    pub(super) fn stands_in(&self, url: &Url) -> bool {
        self.secrets().any(|secret| encodings(secret).iter().any(|form| url.as_str().contains(form)))
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        let form = match &self.body {
            Body::Form(fields) => fields.as_slice(),
            Body::Empty | Body::Bytes { .. } => &[],
        };
        let parts = self.query.iter().chain(&self.headers).chain(form).filter(|(_, text)| text.is_secret());
        // A header is `Bearer TOKEN` as often as it is a bare key: the last word is looked for as well.
        parts
            .flat_map(|(_, text)| [text.expose(), text.expose().rsplit(' ').next().unwrap_or_default()])
            .chain(self.hidden.iter().map(|secret| secret.expose().as_str()))
            .filter(|secret| secret.chars().count() >= SECRET_CHARACTERS_MIN)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.recorded_url())
    }
}

/// Headers that are credentials by their meaning (RFC 9110, RFC 6265), however the manifest gave them.
fn is_credential_header(name: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn with_pairs<'a>(url: &Url, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    let mut pairs = pairs.peekable();
    if pairs.peek().is_some() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url
}

/// The ways in which a text may stand in a URL: plain, as a form value, in a query, in a path; the longest first.
fn encodings(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), form_urlencoded::byte_serialize(secret.as_bytes()).collect()];
    if let Ok(mut url) = Url::parse("https://h/") {
        url.set_query(Some(secret));
        forms.extend(url.query().map(str::to_owned));
        url.set_query(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push(secret);
        }
        forms.push(url.path()[1..].to_owned());
    }
    let lower = forms.iter().map(|form| lower_escapes(form)).collect::<Vec<_>>();
    forms.extend(lower);
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.retain(|form| !form.is_empty());
    forms
}

/// `%2F` as `%2f`: both are written in practice.
fn lower_escapes(text: &str) -> String {
    let mut left = 0;
    let lower = |character: char| {
        let escaped = left > 0;
        left = if character == '%' { 2 } else { (left - 1).max(0) };
        if escaped { character.to_ascii_lowercase() } else { character }
    };
    text.chars().map(lower).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wherever a secret stands in a request, its recorded URL does not hold it.
        #[test]
        fn recorded_urls_hold_no_secret(secret in "[a-zA-Z0-9/+=%& é-]{8,40}", page in 0_u32..1000) {
            let mut url = Url::parse("https://api.example.com/a").expect("a URL");
            url.path_segments_mut().expect("a base").push(&secret).push("b");
            url.query_pairs_mut().append_pair("again", &secret);
            let mut request = Request::get(url)
                .with_query("page", page.to_string())
                .with_query("key", Secret::new(secret.clone()))
                .with_header("X-Key", Secret::new(secret.clone()));
            request.hidden.push(Secret::new(secret.clone()));
            let recorded = request.recorded_url();
            for form in encodings(&secret) {
                prop_assert!(!recorded.contains(&form), "{} in {}", form, recorded);
            }
            prop_assert!(recorded.contains(&format!("page={page}")) && recorded.contains("key=***"), "{}", recorded);
            prop_assert!(request.sent_url().query_pairs().any(|(name, value)| name == "key" && value == secret));
            let shown = format!("{request:?}");
            prop_assert!(!shown.contains(&secret));
        }
    }

    /// Escapes are lowered, text is not.
    #[test]
    fn only_escapes_are_lowered() {
        assert_eq!(lower_escapes("AB%2FCD%C3%A9EF"), "AB%2fCD%c3%a9EF");
    }
}
