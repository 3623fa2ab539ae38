//! What is asked of the application: method, address, headers and body of one request, and the secrets apart.
//!
//! Source for how the parts are merged: the requester of airbyte-cdk (LOWCODE.md section 4.4).

use serde_json::Map;
use serde_json::Value;
use url::Url;

use crate::connector::component::authenticator::Authenticator;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::RequestBody;
use crate::connector::component::value::Expression;
use crate::connector::component::value::Nested;
use crate::connector::expression::Literals;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::connector::expression::python_text;
use crate::connector::reading::Compat;
use crate::connector::reading::Injection;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Target;
use crate::connector::reading::counts_as_empty;
use crate::connector::reading::credential;
use crate::secret::Secret;

/// One request, without its secrets.
#[derive(Debug)]
pub struct RequestPlan {
    /// The verb, upper case.
    pub method: &'static str,
    /// The absolute address with all parameters that are no credential.
    pub url: Url,
    /// The header fields that are no credential.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// What the authenticator adds; it is sent only to allowed hosts and never recorded.
    pub secrets: Vec<PlacedSecret>,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// JSON, with the media type `application/json`.
    Json(Value),
    /// A form, with the media type `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// A text as it is.
    Text(String),
}

/// A secret and where it goes.
#[derive(Debug)]
pub struct PlacedSecret {
    /// Where.
    pub place: SecretPlace,
    /// The value of the header, parameter or field.
    pub value: Secret<String>,
}

/// Where a secret goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// A header.
    Header(String),
    /// A query parameter.
    Parameter(String),
    /// A field of a form.
    Form(String),
    /// A field of a JSON body, by its path.
    Json(Vec<String>),
}

/// The requests of one stream.
#[derive(Debug)]
pub struct Requests<'a> {
    requester: &'a HttpRequester,
    authenticator: Option<&'a Authenticator>,
    scope: Scope,
    compat: Compat,
}

impl<'a> Requests<'a> {
    /// The requests of a requester with the authenticator that was chosen for it. `scope` has `config`.
    pub fn new(requester: &'a HttpRequester, authenticator: Option<&'a Authenticator>, scope: Scope, compat: Compat) -> Self {
        Requests { requester, authenticator, scope, compat }
    }

    /// The request for one page: `token` is the page's token, `path` the path that replaces the requester's own, `injections` what
    /// paginator, cursor and router add. `secret` is what an OAuth grant, a login or a signature gave.
    ///
    /// # Errors
    /// When an expression fails, an address is none, or two parts set the same name.
    pub fn plan(
        &self,
        slice: &Slice,
        token: Option<&Value>,
        path: Option<&str>,
        injections: &[Injection],
        secret: Option<&Secret<String>>,
    ) -> Result<RequestPlan, ReadingError> {
        let mut scope = self.scope.clone();
        let token = token.map_or(Value::Null, |token| Value::Object(Map::from_iter([("next_page_token".to_owned(), token.clone())])));
        scope.set("next_page_token", dynamic(&token)).set_slice(slice);
        let mut parts = Parts::default();
        self.declared(&scope, &mut parts)?;
        for injection in injections {
            parts.inject(&injection.target, injection.value.clone())?;
        }
        let secrets = match self.authenticator {
            Some(authenticator) => credential::secrets(authenticator, &scope, secret)?,
            None => Vec::new(),
        };
        for secret in &secrets {
            parts.make_room(&secret.place)?;
        }
        let mut url = self.address(&scope, path)?;
        parts.add_to_query(&mut url);
        // The address of a next page may hold the credential already.
        let is_there = |secret: &PlacedSecret| match &secret.place {
            SecretPlace::Parameter(name) => {
                url.query_pairs().any(|(known, value)| known == name.as_str() && value == secret.value.expose().as_str())
            }
            _ => false,
        };
        let secrets = secrets.into_iter().filter(|secret| !is_there(secret)).collect();
        // An empty body is none.
        if matches!(&parts.body, Body::Json(body) if counts_as_empty(body)) {
            parts.body = Body::Empty;
        }
        let method = self.requester.http_method.as_str();
        // Other verbs carry no body.
        if !matches!(method, "GET" | "POST" | "PUT" | "PATCH") {
            parts.body = Body::Empty;
        }
        Ok(RequestPlan { method, url, headers: parts.headers, body: parts.body, secrets })
    }

    /// The parts that the requester itself declares.
    fn declared(&self, scope: &Scope, parts: &mut Parts) -> Result<(), ReadingError> {
        let requester = self.requester;
        if let Some(parameters) = &requester.request_parameters {
            for (name, value) in entries(&parameters.values, "request_parameters", scope, Literals::TextAndLists)? {
                parts.parameter(name, &value)?;
            }
        }
        if let Some(headers) = &requester.request_headers {
            for (name, value) in entries(headers, "request_headers", scope, Literals::Any)? {
                parts.header(name, python_text(&value))?;
            }
        }
        let (json, data) = match &requester.request_body {
            Some(RequestBody::RequestBodyJsonObject(body)) => (Some(&body.value), None),
            Some(RequestBody::RequestBodyGraphQL(body)) => (Some(&body.value), None),
            Some(RequestBody::RequestBodyUrlEncodedForm(body)) => (None, Some(&body.value)),
            Some(RequestBody::RequestBodyPlainText(body)) => (None, Some(&body.value)),
            None => (requester.request_body_json.as_ref(), requester.request_body_data.as_ref()),
        };
        if let Some(json) = json {
            parts.json(json, scope, self.compat)?;
        }
        if let Some(data) = data {
            parts.data(data, scope)?;
        }
        Ok(())
    }

    /// The address: the base and the path joined by a single slash, or what replaces the path.
    fn address(&self, scope: &Scope, path: Option<&str>) -> Result<Url, ReadingError> {
        let requester = self.requester;
        let render = |expression: &Option<Expression>, field| match expression {
            Some(expression) => expression.text(scope).map_err(ReadingError::expression(field)),
            None => Ok(String::new()),
        };
        let mut base = render(&requester.url_base, "url_base")?;
        if base.is_empty() {
            base = render(&requester.url, "url")?;
        }
        let path = match path.filter(|path| !path.is_empty()) {
            Some(path) => path.to_owned(),
            None => render(&requester.path, "path")?.trim_start_matches('/').to_owned(),
        };
        // Spaces at the end are part of it, but no part of a URL's text.
        let path = path.trim_start().trim_end_matches(['\n', '\r', '\t']);
        let shown = path.trim_end_matches(' ');
        let path = format!("{shown}{}", "%20".repeat(path.len() - shown.len()));
        let url = joined(base.trim(), &path).filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.ok_or_else(|| ReadingError::Address { text: crate::ids::cut(base.trim()) })
    }
}

/// A reference resolved against a base (RFC 3986, section 5.2) that ends with a slash. As the reference engine does it, slashes that
/// follow each other become one, but not where nothing is joined.
fn joined(base: &str, path: &str) -> Option<Url> {
    if path.is_empty() {
        return Url::parse(base).ok();
    }
    if let Ok(url) = Url::parse(path) {
        return Some(url);
    }
    let slash = if base.ends_with('/') { "" } else { "/" };
    let mut base = Url::parse(&format!("{base}{slash}")).ok()?;
    let own = single_slashes(base.path());
    base.set_path(&own);
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let (path, rest) = path.split_at(end);
    if path.starts_with("//") {
        return base.join(&format!("{path}{rest}")).ok();
    }
    base.join(&format!("{}{rest}", single_slashes(path))).ok()
}

fn single_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

/// The values of a parameter.
#[derive(Debug)]
enum Values {
    One(String),
    Several(Vec<String>),
}

/// The parts of a request as they are gathered; a name set twice is an error.
#[derive(Debug)]
struct Parts {
    parameters: Vec<(String, Values)>,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Default for Parts {
    fn default() -> Self {
        Parts { parameters: Vec::new(), headers: Vec::new(), body: Body::Empty }
    }
}

impl Parts {
    fn parameter(&mut self, name: String, value: &Value) -> Result<(), ReadingError> {
        let values = match value {
            Value::Array(items) => Values::Several(items.iter().filter(|item| !item.is_null()).map(python_text).collect()),
            Value::Object(_) => {
                return Err(ReadingError::Value {
                    field: "request_parameters",
                    found: crate::ids::cut(&value.to_string()),
                    needs: "a text, a number or a list",
                });
            }
            value => Values::One(python_text(value)),
        };
        if self.parameters.iter().any(|(known, _)| *known == name) {
            return Err(ReadingError::Duplicate { part: "parameter", name });
        }
        self.parameters.push((name, values));
        Ok(())
    }

    /// Names that differ in case alone are the same header: the later takes its place.
    fn header(&mut self, name: String, value: String) -> Result<(), ReadingError> {
        if self.headers.iter().any(|(known, _)| *known == name) {
            return Err(ReadingError::Duplicate { part: "header", name });
        }
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        self.headers.push((name, value));
        Ok(())
    }

    fn field(&mut self, name: String, value: &Value) -> Result<(), ReadingError> {
        if let Body::Empty = self.body {
            self.body = Body::Form(Vec::new());
        }
        let Body::Form(fields) = &mut self.body else { return Err(ReadingError::Duplicate { part: "body", name }) };
        if fields.iter().any(|(known, _)| *known == name) {
            return Err(ReadingError::Duplicate { part: "form field", name });
        }
        match value {
            Value::Array(items) => fields.extend(items.iter().map(|item| (name.clone(), python_text(item)))),
            value => fields.push((name, python_text(value))),
        }
        Ok(())
    }

    /// A JSON body: a map, or a text that becomes one. An empty one is none.
    fn json(&mut self, json: &Nested, scope: &Scope, compat: Compat) -> Result<(), ReadingError> {
        let value = json.value(scope, Literals::Any).map_err(ReadingError::expression("request_body_json"))?;
        self.body = match value {
            Value::Object(map) if !map.is_empty() => Body::Json(Value::Object(map)),
            // The reference engine sends no list, and no body at all then.
            Value::Array(items) if compat == Compat::Safe && !items.is_empty() => Body::Json(Value::Array(items)),
            Value::String(text) if !text.is_empty() => {
                let found = crate::ids::cut(&text);
                return Err(ReadingError::Value { field: "request_body_json", found, needs: "a map; in expressions write True for true" });
            }
            _ => Body::Empty,
        };
        Ok(())
    }

    /// A form when the value is a map, a text when it is one; anything else is no body.
    fn data(&mut self, data: &Nested, scope: &Scope) -> Result<(), ReadingError> {
        if let Body::Json(_) = self.body {
            return Err(ReadingError::Duplicate { part: "body", name: "request_body_data".to_owned() });
        }
        let literals = if matches!(data, Nested::Map(_)) { Literals::TextAndLists } else { Literals::Any };
        match data.value(scope, literals).map_err(ReadingError::expression("request_body_data"))? {
            Value::Object(map) => {
                map.into_iter().filter(|(_, value)| !value.is_null()).try_for_each(|(name, value)| self.field(name, &value))
            }
            Value::String(text) if !text.is_empty() => {
                self.body = Body::Text(text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn inject(&mut self, target: &Target, value: Value) -> Result<(), ReadingError> {
        match target {
            Target::Parameter(name) => self.parameter(name.clone(), &value),
            Target::Header(name) => self.header(name.clone(), python_text(&value)),
            Target::Form(name) => self.field(name.clone(), &value),
            Target::Json(path) => {
                if let Body::Empty = self.body {
                    self.body = Body::Json(Value::Object(Map::new()));
                }
                let duplicate = || ReadingError::Duplicate { part: "body field", name: path.join(".") };
                let Body::Json(body) = &mut self.body else { return Err(duplicate()) };
                set(body, path, value).ok_or_else(duplicate)
            }
        }
    }

    /// Makes room for a secret: its name must not be set, but a header's other spelling gives way.
    fn make_room(&mut self, place: &SecretPlace) -> Result<(), ReadingError> {
        let occupied = |part, name: &str| Err(ReadingError::Duplicate { part, name: name.to_owned() });
        match place {
            SecretPlace::Header(name) if self.headers.iter().any(|(known, _)| known == name) => occupied("header", name),
            SecretPlace::Header(name) => {
                self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                Ok(())
            }
            SecretPlace::Parameter(name) if self.parameters.iter().any(|(known, _)| known == name) => occupied("parameter", name),
            SecretPlace::Form(name) => match &self.body {
                Body::Form(fields) if fields.iter().any(|(known, _)| known == name) => occupied("form field", name),
                Body::Json(_) | Body::Text(_) => occupied("body", name),
                Body::Form(_) | Body::Empty => Ok(()),
            },
            SecretPlace::Json(path) => match &self.body {
                Body::Form(_) | Body::Text(_) => occupied("body", &path.join(".")),
                Body::Json(body) if !has_room(body, path) => occupied("body field", &path.join(".")),
                Body::Json(_) | Body::Empty => Ok(()),
            },
            SecretPlace::Parameter(_) => Ok(()),
        }
    }

    /// Adds the parameters to the address, but for those that it has already with the same value: a next page's address repeats them.
    fn add_to_query(&mut self, url: &mut Url) {
        let mut present: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        present.retain(|(_, value)| !value.is_empty());
        let mut added = Vec::new();
        for (name, values) in std::mem::take(&mut self.parameters) {
            // Of a name that is there several times, the first counts.
            let there = present.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
            match values {
                Values::One(value) if there == Some(&value) => {}
                Values::One(value) => added.push((name, value)),
                Values::Several(values) => added.extend(values.into_iter().map(|value| (name.clone(), value))),
            }
        }
        if !added.is_empty() {
            url.query_pairs_mut().extend_pairs(added);
        }
    }
}

/// Whether a value can be put at a path of a JSON body.
fn has_room(body: &Value, path: &[String]) -> bool {
    match (path.split_first(), body) {
        (None, _) | (Some(_), Value::Null) => false,
        (Some((name, rest)), Value::Object(map)) => map.get(name).is_none_or(|inner| has_room(inner, rest)),
        _ => false,
    }
}

/// Writes into a JSON body; nothing when there is another value already, or no place for one.
fn set(body: &mut Value, path: &[String], value: Value) -> Option<()> {
    let (last, way) = path.split_last()?;
    let mut at = body;
    for step in way {
        at = at.as_object_mut()?.entry(step.clone()).or_insert_with(|| Value::Object(Map::new()));
    }
    let slot = at.as_object_mut()?.entry(last.clone()).or_insert_with(|| value.clone());
    (*slot == value).then_some(())
}

/// The entries of a map, or of a text that becomes one. Those without a value are left out.
fn entries(nested: &Nested, field: &'static str, scope: &Scope, literals: Literals) -> Result<Vec<(String, Value)>, ReadingError> {
    // A text as a whole has to become a map, which only any literal can.
    let literals = if matches!(nested, Nested::Expression(_)) { Literals::Any } else { literals };
    match nested.value(scope, literals).map_err(ReadingError::expression(field))? {
        Value::Object(map) => Ok(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        // The reference engine leaves out what does not become a map.
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::connector::component::requester::Requester;
    use crate::connector::reading::support::component;
    use crate::connector::reading::support::scope;

    fn config() -> Value {
        json!({"shop": "blue", "key": "s3cret", "user": "u", "flag": true, "ids": ["a", "b"], "n": 5, "f": 1.5, "nul": null, "o": {"a": 1},
            "id": "35E876", "num": "007", "quoted": "'abc'", "empty": ""})
    }

    fn plan_with(yaml: &str, path: Option<&str>, injections: &[Injection]) -> Result<RequestPlan, ReadingError> {
        let Requester::HttpRequester(requester) = component(yaml, "SimpleRetriever", "requester");
        let mut slice = Slice::default();
        slice.interval.insert("start_time".into(), json!("2026-01-01"));
        let authenticator =
            requester.authenticator.as_ref().map(|authenticator| credential::chosen(authenticator, &config())).transpose()?;
        Requests::new(&requester, authenticator, scope(&config()), Compat::Strict).plan(
            &slice,
            Some(&json!(7)),
            path,
            injections,
            Some(&Secret::new("t0ken".into())),
        )
    }

    fn plan(yaml: &str) -> RequestPlan {
        plan_with(yaml, None, &[]).unwrap()
    }

    /// Base and path are joined by one slash; an absolute path replaces both; what is no web address is refused.
    #[test]
    fn addresses_are_joined() {
        for (base, path, expected) in [
            ("https://a.example", "x", "https://a.example/x"),
            ("https://a.example/v1/", "/x/", "https://a.example/v1/x/"),
            ("https://{{ config['shop'] }}.example/v1", "//x?y=1", "https://blue.example/v1/x?y=1"),
            ("https://a.example/v1", "../x", "https://a.example/x"),
            ("https://a.example/v1", "a b/c%20d/é?q=a b&r=%2F", "https://a.example/v1/a%20b/c%20d/%C3%A9?q=a%20b&r=%2F"),
            (" https://a.example/v1 ", " orders/x:y", "https://a.example/v1/orders/x:y"),
            ("https://a.example/v1", "?x=1", "https://a.example/v1/?x=1"),
            ("https://a.example//v1/", "a//b//", "https://a.example/v1/a/b/"),
            ("https://a.example/v1//", "", "https://a.example/v1//"),
            ("https://a.example/v1", "a/./b/../c", "https://a.example/v1/a/c"),
            ("https://a.example", "{{ config['id'] }}", "https://a.example/inf"),
            ("https://a.example", "o/{{ config['id'] }}", "https://a.example/o/35E876"),
            ("https://a.example", "{{ config['num'] }}", "https://a.example/007"),
            ("https://a.example/v1", "", "https://a.example/v1"),
            ("https://a.example/v1", "https://b.example/z", "https://b.example/z"),
            (
                "https://a.example/v1",
                "{{ stream_slice['start_time'] }}/{{ next_page_token['next_page_token'] }}",
                "https://a.example/v1/2026-01-01/7",
            ),
        ] {
            assert_eq!(plan(&format!("{{url_base: \"{base}\", path: \"{path}\"}}")).url.as_str(), expected);
        }
        for base in ["", "a.example", "ftp://a.example", "file:///etc/passwd", "javascript:x"] {
            let refused = plan_with(&format!("{{url_base: '{base}', path: ''}}"), None, &[]);
            assert!(matches!(refused, Err(ReadingError::Address { .. })), "{base}");
        }
        let next = plan_with(
            "{url_base: 'https://a.example/v1', path: x, request_parameters: {limit: 5, page: 1}}",
            Some("https://a.example/v1/x?page=2&limit=5"),
            &[],
        );
        assert_eq!(next.unwrap().url.as_str(), "https://a.example/v1/x?page=2&limit=5&page=1");
        for (path, expected) in
            [("/y?page=2", "https://a.example/y?page=2"), ("0", "https://a.example/v1/0"), ("", "https://a.example/v1/x")]
        {
            let plan = plan_with("{url_base: 'https://a.example/v1', path: x}", Some(path), &[]).unwrap();
            assert_eq!(plan.url.as_str(), expected);
        }
    }

    /// Parameters take texts and lists, drop what is empty, and print as Python does.
    #[test]
    fn parameters_are_rendered() {
        let query = |parameters: &str| {
            plan(&format!("{{url: 'https://a.example/', request_parameters: {parameters}}}")).url.query().map(str::to_owned)
        };
        let many = "{n: 5, f: \"{{ config['f'] }}\", 'yes': true, b: \"{{ config['flag'] }}\", ids: \"{{ config['ids'] }}\",
            none: \"{{ config['missing'] }}\", nul: \"{{ config['nul'] }}\", e: '', \"k{{ 1 }}\": 'a b&c', o: \"{{ config['o'] }}\",
            sp: 'a+b c/é', q: \"{{ config['quoted'] }}\", t: \"{{ (1,2) }}\", id: \"{{ config['id'] }}\"}";
        let expected = "n=5&f=1.5&yes=True&b=True&ids=a&ids=b&nul=None&k1=a+b%26c&o=%7B%27a%27%3A+1%7D&sp=a%2Bb+c%2F%C3%A9&q=abc&t=%281%2C+2%29&id=35E876";
        assert_eq!(query(many).unwrap(), expected);
        assert_eq!((query("a=1&b=2"), query("\"{{ config['empty'] }}\"")), (None, None), "what is no map is left out");
        let there = |url: &str, parameters: &str| plan(&format!("{{url: '{url}', request_parameters: {parameters}}}")).url.to_string();
        let known = "https://a.example/?a=1&b=2&a=3";
        assert_eq!(there(known, "{a: '1', b: 2}"), known);
        assert_eq!(there("https://a.example/?a=1", "{a: \"{{ ['1','2'] }}\"}"), "https://a.example/?a=1&a=1&a=2");
        assert_eq!(there("https://a.example/v1?x=1", "{y: 2}"), "https://a.example/v1?x=1&y=2");
        let text = "{url: 'https://a.example/', request_parameters: \"{{ {'a': 1} }}\"}";
        assert_eq!(plan(text).url.query(), Some("a=1"));
        let map = "{url: 'https://a.example/', request_parameters: {a: {b: c}}}";
        assert!(matches!(plan_with(map, None, &[]), Err(ReadingError::Value { .. })));
    }

    /// The credential goes where the manifest says, apart from what is recorded.
    #[test]
    fn credentials_are_apart() {
        for (authenticator, place, value) in [
            (
                "{type: BearerAuthenticator, api_token: \"{{ config['key'] }}\"}",
                SecretPlace::Header("Authorization".into()),
                "Bearer s3cret",
            ),
            (
                "{type: BasicHttpAuthenticator, username: u, password: \"{{ config['key'] }}\"}",
                SecretPlace::Header("Authorization".into()),
                "Basic dTpzM2NyZXQ=",
            ),
            ("{type: BasicHttpAuthenticator, username: u}", SecretPlace::Header("Authorization".into()), "Basic dTo="),
            ("{type: ApiKeyAuthenticator, api_token: k, header: X-Key}", SecretPlace::Header("X-Key".into()), "k"),
            (
                "{type: ApiKeyAuthenticator, api_token: k, inject_into: {type: RequestOption, inject_into: request_parameter, field_name: q}}",
                SecretPlace::Parameter("q".into()),
                "k",
            ),
            ("{type: OAuthAuthenticator}", SecretPlace::Header("Authorization".into()), "Bearer t0ken"),
        ] {
            let plan = plan(&format!("{{url: 'https://a.example/', authenticator: {authenticator}}}"));
            assert_eq!((&plan.secrets[0].place, plan.secrets[0].value.expose().as_str()), (&place, value));
            assert_eq!((plan.url.as_str(), plan.headers.len()), ("https://a.example/", 0));
            assert!(!format!("{plan:?}").contains(value));
        }
    }

    /// A name that two parts set is an error, and so are two bodies.
    #[test]
    fn duplicates_are_refused() {
        let page = |target: Target| [Injection { target, value: json!(2) }];
        let refused =
            |yaml: &str, injections: &[Injection]| matches!(plan_with(yaml, None, injections), Err(ReadingError::Duplicate { .. }));
        assert!(refused("{url: 'https://a.example', request_parameters: {page: 1}}", &page(Target::Parameter("page".into()))));
        assert!(refused("{url: 'https://a.example', request_headers: {X-Page: 1}}", &page(Target::Header("X-Page".into()))));
        assert!(!refused("{url: 'https://a.example', request_headers: {X-Page: 1}}", &page(Target::Header("x-page".into()))));
        let key = |place: &str| {
            format!("authenticator: {{type: ApiKeyAuthenticator, api_token: k, inject_into: {{type: RequestOption, {place}}}}}")
        };
        let body = key("inject_into: body_json, field_path: [auth, key]");
        assert!(!refused(&format!("{{url: 'https://a.example', request_body_json: {{auth: {{u: 1}}}}, {body}}}"), &[]));
        assert!(refused(&format!("{{url: 'https://a.example', request_body_json: {{auth: {{key: 1}}}}, {body}}}"), &[]));
        assert!(refused(&format!("{{url: 'https://a.example', request_body_data: {{auth: 1}}, {body}}}"), &[]));
        let query = key("inject_into: request_parameter, field_name: key");
        assert!(refused(&format!("{{url: 'https://a.example', request_parameters: {{key: k}}, {query}}}"), &[]));
        assert!(refused("{url: 'https://a.example', request_body_json: {page: 1}}", &page(Target::Json(vec!["page".into()]))));
        assert!(refused("{url: 'https://a.example', request_body_json: {a: 1}, request_body_data: {b: 1}}", &[]));
        assert!(refused(
            "{url: 'https://a.example', request_headers: {Authorization: x}, authenticator: {type: BearerAuthenticator, api_token: k}}",
            &[]
        ));
        let other = plan(
            "{url: 'https://a.example', request_headers: {authorization: x}, authenticator: {type: BearerAuthenticator, api_token: k}}",
        );
        assert!(other.headers.is_empty() && other.secrets.len() == 1, "the credential takes the place of another spelling");
        assert!(!refused("{url: 'https://a.example', request_body_json: {page: 2}}", &page(Target::Json(vec!["page".into()]))));
    }

    /// Headers are texts as Python writes them; those without a value are left out.
    #[test]
    fn headers_are_rendered() {
        let yaml =
            "{url: 'https://a.example/', request_headers: {A: 5, B: true, C: \"{{ config['flag'] }}\", D: \"{{ config['missing'] }}\",
            E: \"{{ config['ids'] }}\", F: \"{{ config['o'] }}\", G: \"{{ config['num'] }}\", I: '', J: \"{{ config['nul'] }}\", K: 1.5}}";
        let expected = [("A", "5"), ("B", "True"), ("C", "True"), ("E", "['a', 'b']"), ("F", "{'a': 1}"), ("G", "007"), ("K", "1.5")];
        let headers = plan(yaml).headers;
        assert_eq!(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    }

    /// Bodies are JSON with any literal, forms with texts, or texts as they are.
    #[test]
    fn bodies_are_built() {
        let json = "{url: 'https://a.example', http_method: POST, request_body_json: {a: \"{{ 5 }}\", b: {c: \"{{ config['flag'] }}\", d: \"{{ config['none'] }}\"}, e: [1, \"{{ 'x' }}\"]}}";
        let paging = [Injection { target: Target::Json(vec!["b".into(), "page".into()]), value: json!(2) }];
        let plan_json = plan_with(json, None, &paging).unwrap();
        assert_eq!((plan_json.method, plan_json.body), ("POST", Body::Json(json!({"a": 5, "b": {"c": true, "page": 2}, "e": [1, "x"]}))));
        let whole = "{a: \"{{ 5 }}\", b: {c: \"{{ config['flag'] }}\", d: \"{{ config['none'] }}\"}, e: [1, \"{{ 'x' }}\", \"{{ config['none'] }}\"], n: null, f: '',
            g: \"{{ config['nul'] }}\", i: \"{{ config['num'] }}\", \"k{{ 2 }}\": {}, l: []}";
        let json = |body: &str| plan(&format!("{{url: 'https://a.example', http_method: POST, request_body_json: {body}}}")).body;
        assert_eq!(json(whole), Body::Json(json!({"a": 5, "b": {"c": true}, "e": [1, "x", null], "i": "007", "k2": {}, "l": []})));
        assert_eq!(json("\"{{ {'a': 1, 'b': [1,2]} }}\""), Body::Json(json!({"a": 1, "b": [1, 2]})));
        assert_eq!((json("'[{\"a\": 1}]'"), json("{}")), (Body::Empty, Body::Empty));
        let Requester::HttpRequester(list) =
            component("{url: 'https://a.example', http_method: POST, request_body_json: '[1]'}", "SimpleRetriever", "requester");
        let safe = Requests::new(&list, None, scope(&config()), Compat::Safe).plan(&Slice::default(), None, None, &[], None);
        assert_eq!(safe.unwrap().body, Body::Json(json!([1])));
        let text = "{url: 'https://a.example', http_method: POST, request_body_json: '{\"t\": true}'}";
        assert!(matches!(plan_with(text, None, &[]), Err(ReadingError::Value { .. })));
        let data = |body: &str| plan(&format!("{{url: 'https://a.example', http_method: POST, request_body_data: {body}}}")).body;
        let fields =
            |fields: &[(&str, &str)]| Body::Form(fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect());
        assert_eq!(data("{t: true, e: \"{{ config['empty'] }}\", n: 5, s: 'a b+c'}"), fields(&[("t", "True"), ("n", "5"), ("s", "a b+c")]));
        assert_eq!((data("\"{{ {'a': 1} }}\""), data("\"{{ config['n'] }}\"")), (fields(&[("a", "1")]), Body::Empty));
        let form = plan("{url: 'https://a.example', request_body_data: {a: \"{{ 1.5 }}\", ids: \"{{ config['ids'] }}\"}}").body;
        assert_eq!(form, Body::Form(vec![("a".into(), "1.5".into()), ("ids".into(), "a".into()), ("ids".into(), "b".into())]));
        let text = plan("{url: 'https://a.example', request_body_data: \"q={{ config['shop'] }}\"}").body;
        assert_eq!(text, Body::Text("q=blue".into()));
        let graph =
            plan("{url: 'https://a.example', request_body: {type: RequestBodyGraphQL, value: {query: '{ a }', variables: {n: 1}}}}").body;
        assert_eq!(graph, Body::Json(json!({"query": "{ a }", "variables": {"n": 1}})));
    }
}
