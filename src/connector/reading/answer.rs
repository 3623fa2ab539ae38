//! An answer as expressions see it.

use std::sync::Arc;

use bytes::Bytes;
use minijinja::Value;
use minijinja::value::Enumerator;
use minijinja::value::Object;

use crate::connector::expression::lazy_json;

/// An answer of the application, after content decoding.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// Where it came from, without query, fragment and credentials.
    pub url: String,
}

/// Header fields in the order they came. Names are found whatever their case (RFC 9110, section 5.1).
#[derive(Debug, Clone, Default)]
pub struct Headers(Arc<Vec<(String, String)>>);

impl Answer {
    /// The value of `response`: the body as JSON, parsed only where it is looked at.
    pub fn response(&self) -> Value {
        lazy_json(self.body.clone())
    }
}

impl Answer {
    /// The value of `response` in a paginator: of a list its first element, and an empty map when there is none.
    pub fn first_value(&self) -> Value {
        let whole = self.response();
        if self.body.trim_ascii_start().first() != Some(&b'[') {
            return whole;
        }
        whole.get_item_by_index(0).ok().filter(|first| !first.is_undefined()).unwrap_or_else(|| Value::from_iter::<[(&str, Value); 0]>([]))
    }
}

impl Headers {
    /// Headers from pairs of name and value.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Headers(Arc::new(pairs.into_iter().collect()))
    }

    /// The value of the field called `name`; of several, all with commas (RFC 9110, section 5.3).
    pub fn get(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.0.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The fields as members of a map, each in lower case and in the case that most documentation writes.
    pub fn members(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut members = serde_json::Map::new();
        for (name, _) in self.0.iter() {
            let value = self.get(name).unwrap_or_default();
            let capital = |part: &str| part.chars().take(1).map(|first| first.to_ascii_uppercase()).chain(part.chars().skip(1)).collect();
            let lower = name.to_ascii_lowercase();
            let title = lower.split('-').map(capital).collect::<Vec<String>>().join("-");
            members.insert(lower, value.clone().into());
            members.insert(title, value.into());
        }
        members
    }

    /// The value of `headers` in an error handler.
    pub fn value(&self) -> Value {
        Value::from_object(HeaderValues { headers: self.clone(), links: None })
    }

    /// The value of `headers` in a paginator, where `link`, in lower case, is parsed: `headers.link.next.url` (RFC 8288).
    pub fn value_with_links(&self) -> Value {
        let link = self.get("link").unwrap_or_default();
        let links = links(&link).into_iter().map(|link| (link.key(), link.value())).collect();
        Value::from_object(HeaderValues { headers: self.clone(), links: Some(links) })
    }
}

#[derive(Debug)]
struct HeaderValues {
    headers: Headers,
    links: Option<Value>,
}

impl Object for HeaderValues {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        match &self.links {
            // Any other spelling is the header as it came, as in the reference engine.
            Some(links) if name == "link" => Some(links.clone()),
            _ => self.headers.get(name).map(Value::from),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.headers.0.iter().map(|(name, _)| Value::from(name.as_str())).collect())
    }
}

/// One link of a Link header.
struct Link<'a> {
    url: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Link<'_> {
    /// Its relation, or its address when it has none.
    fn key(&self) -> String {
        let relation = self.parameters.iter().find(|(name, _)| *name == "rel").map(|(_, value)| *value);
        relation.unwrap_or(self.url).to_owned()
    }

    fn value(&self) -> Value {
        let url = std::iter::once(("url", self.url));
        url.chain(self.parameters.iter().copied()).map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }
}

/// Splits `<url>; rel="next", <url>; rel="last"`. What is malformed is left out.
fn links(header: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    for part in header.split('<').skip(1) {
        let Some((url, rest)) = part.split_once('>') else { continue };
        let parameters = rest.split(';').filter_map(|parameter| parameter.split_once('='));
        let parameters = parameters.map(|(name, value)| (unquoted(name), unquoted(value))).collect();
        links.push(Link { url, parameters });
    }
    links
}

fn unquoted(text: &str) -> &str {
    text.trim_matches([' ', '"', '\'', ','])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::connector::expression::Place;
    use crate::connector::expression::Scope;
    use crate::connector::expression::Template;

    fn check(headers: &[(&str, &str)], template: &str) -> String {
        let headers = Headers::new(headers.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let mut scope = Scope::new(Clock::manual("2026-11-24T10:00:00Z".parse().unwrap()));
        scope.set("headers", headers.value_with_links());
        Template::compile(template, Place::Paginator).unwrap().text(&scope).unwrap()
    }

    /// Header names have no case, and links are found by their relation.
    #[test]
    fn headers_are_found() {
        let link = ("Link", r#"<https://a.example/?page_info=x%2Cy>; rel="previous", <https://a.example/?page_info=z>; rel="next""#);
        assert_eq!(check(&[link], "{{ headers['link']['next']['url'] }}"), "https://a.example/?page_info=z");
        assert_eq!(check(&[link], "{{ headers.link.previous.url }}"), "https://a.example/?page_info=x%2Cy");
        assert_eq!(check(&[], "{{ headers.link.next.url if headers.link.next else 'end' }}"), "end");
        assert_eq!(check(&[("x-next", "7")], "{{ headers['X-Next'] }}"), "7");
        assert_eq!(check(&[("Link", "<broken; rel=next")], "{{ headers.get('link', {}).get('next', {}).get('url', 'end') }}"), "end");
    }
}
