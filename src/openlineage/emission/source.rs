//! What a stream is called at its source. OpenLineage's naming has no row for the HTTP APIs of applications, so this is ours:
//!
//! - namespace: `https://{host}` where the host is the account's own, because the configuration names it; where many accounts share
//!   a host, `{connector}://{connection}`, so that two customers' accounts are never taken for one dataset;
//! - name: the path of the resource without versions and ids, such as `admin/orders`. Streams of one connector that ask the same
//!   path (a query endpoint) are told apart by the stream's name behind it.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::connector::component::requester::HttpRequester;
use crate::connector::component::requester::Requester;
use crate::connector::component::source::DeclarativeStream;
use crate::connector::component::source::Retriever;
use crate::connector::definition::Connector;
use crate::connector::definition::host_of;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::dynamic;
use crate::ids::ConnectionId;
use crate::openlineage::emission::event::DatasetName;
use crate::openlineage::emission::producer::plain;

/// The fewest characters of a configured text that says whose host it is: `eu` names a region, `acme` an account.
const ACCOUNT_CHARS_MIN: usize = 3;

/// A stream at its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub dataset: DatasetName,
    /// The application's address: scheme and host; nothing when the configuration does not complete it.
    pub address: Option<String>,
}

/// The streams of a connection at their source, by the stream's name.
#[derive(Debug, Clone)]
pub struct Sources {
    known: BTreeMap<String, Source>,
    connector: String,
    connection: ConnectionId,
}

impl Sources {
    /// Of a connection with this configuration, which holds no secret: an address that needs one is not told.
    pub fn of(connector: &Connector, connection: ConnectionId, config: &Value, streams: &[String], clock: &Clock) -> Self {
        let mut scope = Scope::new(clock.clone());
        scope.set("config", dynamic(config)).set("next_page_token", minijinja::Value::from(())).set_slice(&Slice::default());
        let found = |name: &String| {
            let address = connector.stream(name).and_then(requester).and_then(|requester| address(requester, &scope));
            (name.clone(), address)
        };
        let addresses: Vec<(String, Option<Url>)> = streams.iter().map(found).collect();
        let paths: Vec<String> = addresses.iter().map(|(_, url)| url.as_ref().map(resource).unwrap_or_default()).collect();
        let named = |((stream, url), path): (&(String, Option<Url>), &String)| {
            let name = match paths.iter().filter(|other| *other == path).count() {
                _ if path.is_empty() => stream.clone(),
                1 => path.clone(),
                _ => format!("{path}/{stream}"),
            };
            let address = url.as_ref().map(|url| format!("{}://{}", url.scheme(), host_of(url)));
            let own = url.as_ref().filter(|url| is_of_one_account(url, connector, config)).and(address.clone());
            let namespace = own.unwrap_or_else(|| shared(&connector.name, connection));
            (stream.clone(), Source { dataset: DatasetName { namespace, name: plain(&name) }, address })
        };
        let known = addresses.iter().zip(&paths).map(named).collect();
        Sources { known, connector: connector.name.clone(), connection }
    }

    /// Of a connection whose definition or configuration is not to be had: every stream by its own name.
    pub fn unknown(connector: &str, connection: ConnectionId) -> Self {
        Sources { known: BTreeMap::new(), connector: connector.to_owned(), connection }
    }

    /// One stream.
    pub fn stream(&self, name: &str) -> Source {
        let unknown = || {
            let namespace = shared(&self.connector, self.connection);
            Source { dataset: DatasetName { namespace, name: plain(name) }, address: None }
        };
        self.known.get(name).cloned().unwrap_or_else(unknown)
    }
}

/// A connector's name as the scheme of a URI (RFC 3986 section 3.1): it begins with a letter and has no underscore.
fn scheme(connector: &str) -> String {
    let plain = connector.replace(['_', ':'], "-");
    if plain.starts_with(|first: char| first.is_ascii_alphabetic()) { plain } else { format!("x-{plain}") }
}

/// The namespace where many accounts share a host.
fn shared(connector: &str, connection: ConnectionId) -> String {
    format!("{}://{connection}", scheme(connector))
}

/// What reads the stream itself.
fn requester(stream: &DeclarativeStream) -> Option<&HttpRequester> {
    match &stream.retriever {
        Retriever::SimpleRetriever(retriever) => {
            let Requester::HttpRequester(requester) = &retriever.requester;
            Some(requester.as_ref())
        }
        Retriever::AsyncRetriever(_) => stream.requesters().into_iter().next(),
    }
}

/// Where a request goes, with nothing in the place of what only a slice knows.
fn address(requester: &HttpRequester, scope: &Scope) -> Option<Url> {
    let text = |expression: &Option<_>| {
        let expression: &crate::connector::component::value::Expression = expression.as_ref()?;
        expression.text(scope).ok()
    };
    let base = text(&requester.url).or_else(|| text(&requester.url_base))?;
    let path = if requester.url.is_some() { None } else { requester.path.as_ref().map(|path| path.text(scope)).transpose().ok()? };
    let whole = match path {
        Some(path) if !path.trim().is_empty() => format!("{}/{}", base.trim().trim_end_matches('/'), path.trim().trim_start_matches('/')),
        _ => base.trim().to_owned(),
    };
    Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The path of an address without versions, ids, and the ending of its format.
fn resource(url: &Url) -> String {
    let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let stays = |(index, segment): (usize, &&str)| {
        let before_version = *segment == "api" && segments.get(index + 1).is_some_and(|next| is_version(next));
        !(before_version || is_version(segment) || is_id(segment))
    };
    let kept: Vec<&str> = segments.iter().enumerate().filter(|entry| stays((entry.0, entry.1))).map(|(_, segment)| *segment).collect();
    let path = kept.join("/");
    path.strip_suffix(".json").map(str::to_owned).unwrap_or(path)
}

/// `v1`, `v2.1`, `2026-07`, `2024-01-15`.
fn is_version(segment: &str) -> bool {
    let numbers =
        |text: &str, by: char| !text.is_empty() && text.split(by).all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    segment.strip_prefix(['v', 'V']).is_some_and(|rest| numbers(rest, '.')) || (segment.contains('-') && numbers(segment, '-'))
}

/// A number, or a long row of hexadecimal digits.
fn is_id(segment: &str) -> bool {
    let hex = segment.len() >= 16 && segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    hex || segment.bytes().all(|b| b.is_ascii_digit())
}

/// Whether the host is in the configuration, as a text that the customer chose and no list of the manifest offers.
fn is_of_one_account(url: &Url, connector: &Connector, config: &Value) -> bool {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let specification = connector.manifest.spec.as_ref().map(|spec| &spec.connection_specification);
    let offered = |name: &str| specification.is_some_and(|spec| spec["properties"][name].get("enum").is_some());
    let members = config.as_object().into_iter().flatten();
    members.filter(|(name, _)| !offered(name)).filter_map(|(_, value)| value.as_str()).any(|text| {
        let text = text.trim().to_ascii_lowercase();
        text.len() >= ACCOUNT_CHARS_MIN && (host.contains(&text) || text.contains(&host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Entropy;

    /// Goal: names as the documentation promises them. Method: addresses of real applications.
    #[test]
    fn resources_have_neither_versions_nor_ids() {
        let cases = [
            ("https://acme.myshopify.com/admin/api/2026-07/orders.json", "admin/orders"),
            ("https://acme.myshopify.com/admin/api/2026-07/orders//refunds.json", "admin/orders/refunds"),
            ("https://api.stripe.com/v1/charges", "charges"),
            ("https://quickbooks.api.intuit.com/v3/company/123145/query", "company/query"),
            ("https://shop.example/wp-json/wc/v3/orders?per_page=10", "wp-json/wc/orders"),
            ("https://x.example/0198c7e2-f4a0-7d3e-9b1c-5a6f7e8d9c0b/items", "items"),
            ("https://x.example/v1/", ""),
        ];
        for (url, name) in cases {
            assert_eq!(resource(&Url::parse(url).unwrap()), name, "{url}");
        }
    }

    const MANIFEST: &str = r#"
version: 6.0.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [orders]}
streams:
  - &orders
    type: DeclarativeStream
    name: orders
    retriever:
      type: SimpleRetriever
      requester: &ask {type: HttpRequester, url_base: "https://{{ config['shop'] }}.shops.example/v2", path: "orders/{{ stream_partition['id'] }}/lines.json"}
      record_selector: &all {type: RecordSelector, extractor: {type: DpathExtractor, field_path: []}}
  - {type: DeclarativeStream, name: "a:b", retriever: {type: SimpleRetriever, requester: {type: HttpRequester, url_base: "https://shared.example", path: query}, record_selector: *all}}
  - {type: DeclarativeStream, name: c, retriever: {type: SimpleRetriever, requester: {type: HttpRequester, url_base: "https://shared.example", path: query}, record_selector: *all}}
spec: {type: Spec, connection_specification: {type: object, properties: {shop: {type: string}}}}
"#;

    /// An account's own host names the namespace; where the host is shared, or the address is not known, the connection does.
    #[test]
    fn namespaces_keep_accounts_apart() {
        let connector = Connector::load("my_shop", MANIFEST, None).unwrap();
        let id = ConnectionId::new(Clock::System.now(), &Entropy::system());
        let streams = ["orders", "a:b", "c"].map(str::to_owned);
        let config = serde_json::json!({"shop": "Acme"});
        let sources = Sources::of(&connector, id, &config, &streams, &Clock::System);
        let name = |stream: &str| (sources.stream(stream).dataset.namespace, sources.stream(stream).dataset.name);
        assert_eq!(name("orders"), ("https://acme.shops.example".into(), "orders/lines".into()));
        assert_eq!(name("a:b"), (format!("my-shop://{id}"), "query/a-b".into()));
        assert_eq!(name("c"), (format!("my-shop://{id}"), "query/c".into()));
        assert_eq!(name("made"), (format!("my-shop://{id}"), "made".into()));
        assert_eq!(sources.stream("c").address.as_deref(), Some("https://shared.example"));
    }
}
