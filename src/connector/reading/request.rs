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
}

impl<'a> Requests<'a> {
    /// The requests of a requester with the authenticator that was chosen for it. `scope` has `config`.
    pub fn new(requester: &'a HttpRequester, authenticator: Option<&'a Authenticator>, scope: Scope) -> Self {
        Requests { requester, authenticator, scope }
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
            parts.refuse_occupied(&secret.place)?;
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
        Ok(RequestPlan { method, url, headers: parts.headers, body: parts.body, secrets })
    }

    /// The parts that the requester itself declares.
    fn declared(&self, scope: &Scope, parts: &mut Parts) -> Result<(), ReadingError> {
        let requester = self.requester;
        if let Some(parameters) = &requester.request_parameters {
            for (name, value) in entries(parameters, "request_parameters", scope, Literals::TextAndLists)? {
                parts.parameter(name, &value)?;
            }
        }
        if let Some(headers) = &requester.request_headers {
            for (name, value) in entries(headers, "request_headers", scope, Literals::Any)? {
                parts.header(name, text(&value))?;
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
            let value = json.value(scope, Literals::Any).map_err(ReadingError::expression("request_body_json"))?;
            parts.body = if value.is_null() { Body::Empty } else { Body::Json(value) };
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
        let base = match &requester.url {
            Some(_) => render(&requester.url, "url")?,
            None => render(&requester.url_base, "url_base")?,
        };
        let path = match path {
            Some(path) => path.to_owned(),
            None => render(&requester.path, "path")?,
        };
        let refused = |text: &str| ReadingError::Address { text: crate::ids::cut(text) };
        let base = base.trim();
        let path = path.trim_matches(['\n', '\r', '\t']).trim_start_matches('/');
        // Spaces at the end are part of it, but no part of a URL's text.
        let shown = path.trim_end_matches(' ');
        let path = format!("{shown}{}", "%20".repeat(path.len() - shown.len()));
        let whole = if path.is_empty() {
            Url::parse(base)
        } else {
            let slash = if base.ends_with('/') { "" } else { "/" };
            Url::parse(&format!("{base}{slash}")).and_then(|base| base.join(&path))
        };
        let mut url = whole.map_err(|_| refused(base))?;
        if !path.is_empty() && !path.contains("://") {
            single_slashes(&mut url);
        }
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        if is_web { Ok(url) } else { Err(refused(base)) }
    }
}

/// The parts of a request as they are gathered; a name set twice is an error.
#[derive(Debug)]
struct Parts {
    parameters: Vec<(String, Vec<String>)>,
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
            Value::Null => return Ok(()),
            Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(text).collect(),
            Value::Object(_) => {
                return Err(ReadingError::Value {
                    field: "request_parameters",
                    found: crate::ids::cut(&value.to_string()),
                    needs: "a text, a number or a list",
                });
            }
            value => vec![text(value)],
        };
        if self.parameters.iter().any(|(known, _)| *known == name) {
            return Err(ReadingError::Duplicate { part: "parameter", name });
        }
        self.parameters.push((name, values));
        Ok(())
    }

    fn header(&mut self, name: String, value: String) -> Result<(), ReadingError> {
        if self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            return Err(ReadingError::Duplicate { part: "header", name });
        }
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
            Value::Array(items) => fields.extend(items.iter().map(|item| (name.clone(), text(item)))),
            value => fields.push((name, text(value))),
        }
        Ok(())
    }

    /// A form when the value is a map, else a text.
    fn data(&mut self, data: &Nested, scope: &Scope) -> Result<(), ReadingError> {
        if let Body::Json(_) = self.body {
            return Err(ReadingError::Duplicate { part: "body", name: "request_body_data".to_owned() });
        }
        match data {
            Nested::Map(_) => {
                for (name, value) in entries(data, "request_body_data", scope, Literals::TextAndLists)? {
                    self.field(name, &value)?;
                }
            }
            other => {
                let value = other.value(scope, Literals::Text).map_err(ReadingError::expression("request_body_data"))?;
                if !value.is_null() {
                    self.body = Body::Text(text(&value));
                }
            }
        }
        Ok(())
    }

    fn inject(&mut self, target: &Target, value: Value) -> Result<(), ReadingError> {
        match target {
            Target::Parameter(name) => self.parameter(name.clone(), &value),
            Target::Header(name) => self.header(name.clone(), text(&value)),
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

    fn refuse_occupied(&self, place: &SecretPlace) -> Result<(), ReadingError> {
        let (part, name) = match place {
            SecretPlace::Header(name) if self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) => ("header", name),
            SecretPlace::Parameter(name) if self.parameters.iter().any(|(known, _)| known == name) => ("parameter", name),
            _ => return Ok(()),
        };
        Err(ReadingError::Duplicate { part, name: name.clone() })
    }

    /// Adds the parameters to the address, but for those that it has already with the same value: a next page's address repeats them.
    fn add_to_query(&mut self, url: &mut Url) {
        let present: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut added = Vec::new();
        for (name, values) in std::mem::take(&mut self.parameters) {
            let fresh = values.into_iter().filter(|value| !present.iter().any(|(known, there)| *known == name && there == value));
            added.extend(fresh.map(|value| (name.clone(), value)));
        }
        if !added.is_empty() {
            url.query_pairs_mut().extend_pairs(added);
        }
    }
}

/// Leaves out the empty segments of a path that was joined, but for the last, as the reference engine's join does.
fn single_slashes(url: &mut Url) {
    if url.path().contains("//") {
        let path = url.path();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let path = format!("/{}{}", segments.join("/"), if path.ends_with('/') { "/" } else { "" });
        url.set_path(&path);
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
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        other => Err(ReadingError::Value { field, found: crate::ids::cut(&other.to_string()), needs: "a map" }),
    }
}

/// The text of a value in a request: as Python writes it.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        value => value.to_string(),
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
        json!({"shop": "blue", "key": "s3cret", "user": "u", "flag": true, "ids": ["a", "b"]})
    }

    fn plan_with(yaml: &str, path: Option<&str>, injections: &[Injection]) -> Result<RequestPlan, ReadingError> {
        let Requester::HttpRequester(requester) = component(yaml, "SimpleRetriever", "requester");
        let mut slice = Slice::default();
        slice.interval.insert("start_time".into(), json!("2026-01-01"));
        let authenticator =
            requester.authenticator.as_ref().map(|authenticator| credential::chosen(authenticator, &config())).transpose()?;
        Requests::new(&requester, authenticator, scope(&config())).plan(
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
    }

    /// Parameters take texts and lists, drop what is empty, and print as Python does.
    #[test]
    fn parameters_are_rendered() {
        let yaml = "{url: 'https://a.example/', request_parameters: {n: 5, f: \"{{ config['flag'] }}\", yes: true, ids: \"{{ config['ids'] }}\", none: \"{{ config['missing'] }}\", \"k{{ 1 }}\": \"a b&c\"}}";
        assert_eq!(plan(yaml).url.query().unwrap(), "n=5&f=True&yes=True&ids=a&ids=b&k1=a+b%26c");
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
        assert!(refused("{url: 'https://a.example', request_headers: {X-Page: 1}}", &page(Target::Header("x-page".into()))));
        assert!(refused("{url: 'https://a.example', request_body_json: {page: 1}}", &page(Target::Json(vec!["page".into()]))));
        assert!(refused("{url: 'https://a.example', request_body_json: {a: 1}, request_body_data: {b: 1}}", &[]));
        assert!(refused(
            "{url: 'https://a.example', request_headers: {authorization: x}, authenticator: {type: BearerAuthenticator, api_token: k}}",
            &[]
        ));
        assert!(!refused("{url: 'https://a.example', request_body_json: {page: 2}}", &page(Target::Json(vec!["page".into()]))));
    }

    /// Bodies are JSON with any literal, forms with texts, or texts as they are.
    #[test]
    fn bodies_are_built() {
        let json = "{url: 'https://a.example', http_method: POST, request_body_json: {a: \"{{ 5 }}\", b: {c: \"{{ config['flag'] }}\", d: \"{{ config['none'] }}\"}, e: [1, \"{{ 'x' }}\"]}}";
        let paging = [Injection { target: Target::Json(vec!["b".into(), "page".into()]), value: json!(2) }];
        let plan_json = plan_with(json, None, &paging).unwrap();
        assert_eq!((plan_json.method, plan_json.body), ("POST", Body::Json(json!({"a": 5, "b": {"c": true, "page": 2}, "e": [1, "x"]}))));
        let form = plan("{url: 'https://a.example', request_body_data: {a: \"{{ 1.5 }}\", ids: \"{{ config['ids'] }}\"}}").body;
        assert_eq!(form, Body::Form(vec![("a".into(), "1.5".into()), ("ids".into(), "a".into()), ("ids".into(), "b".into())]));
        let text = plan("{url: 'https://a.example', request_body_data: \"q={{ config['shop'] }}\"}").body;
        assert_eq!(text, Body::Text("q=blue".into()));
        let graph =
            plan("{url: 'https://a.example', request_body: {type: RequestBodyGraphQL, value: {query: '{ a }', variables: {n: 1}}}}").body;
        assert_eq!(graph, Body::Json(json!({"query": "{ a }", "variables": {"n": 1}})));
    }
}
