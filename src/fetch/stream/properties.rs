//! The properties that the requests of a stream ask for: found once, spread over requests, and put together in the records.

use std::collections::HashMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Map;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::sync::mpsc;

use crate::connector::component::properties::PropertiesFromEndpoint;
use crate::connector::component::properties::PropertyList;
use crate::connector::component::properties::QueryProperties;
use crate::connector::component::requester::HttpRequester;
use crate::connector::expression::Scope;
use crate::connector::expression::Slice;
use crate::connector::expression::python_text;
use crate::connector::path::FieldPath;
use crate::connector::reading::Injection;
use crate::connector::reading::ReadingError;
use crate::connector::reading::Target;
use crate::connector::reading::properties;
use crate::fetch::FetchError;
use crate::record::JsonText;

use super::StreamOrder;
use super::pages::Page;
use super::pages::Pages;
use super::source::Source;

/// The name by which expressions find the properties of a request.
const NAME: &str = "query_properties";

/// The properties of one stream's requests.
pub(super) struct Properties<'a> {
    order: &'a StreamOrder,
    query: Option<&'a QueryProperties>,
    /// The parameter that names them, where it is not the manifest's own expressions that do.
    parameter: Option<&'a str>,
    list: List<'a>,
    /// Those of each request, once they are known.
    chunks: OnceCell<Vec<Vec<String>>>,
}

enum List<'a> {
    Written(&'a [String]),
    Found { source: Box<Source<'a>>, path: FieldPath },
}

impl<'a> Properties<'a> {
    /// Those that a requester asks for, if it names any.
    ///
    /// # Errors
    /// When what they are found by cannot be evaluated.
    pub fn new(order: &'a StreamOrder, requester: &'a HttpRequester, scope: &Scope) -> Result<Option<Self>, FetchError> {
        let named = requester.request_parameters.as_ref().and_then(|parameters| parameters.properties.as_ref());
        let parameter = named.map(|(name, _)| name.as_str());
        let query = named.map(|(_, query)| query.as_ref()).or(requester.query_properties.as_ref());
        let list = match (query.map(|query| &query.property_list), &requester.fetch_properties_from_endpoint) {
            (Some(PropertyList::Written(names)), _) => List::Written(names),
            (Some(PropertyList::Found(found)), _) => List::found(order, found, scope)?,
            (None, Some(found)) => List::found(order, found, scope)?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Properties { order, query, parameter, list, chunks: OnceCell::new() }))
    }

    /// The properties of each request that makes a page.
    ///
    /// # Errors
    /// When they are found at the application, and that fails.
    pub fn chunks(&self) -> BoxFuture<'_, Result<&[Vec<String>], FetchError>> {
        async move {
            let chunks = self.chunks.get_or_try_init(|| async {
                let names = match &self.list {
                    List::Written(names) => names.to_vec(),
                    List::Found { source, path } => self.find(source, path).await?,
                };
                Ok(match self.query {
                    Some(query) => properties::chunks(query, &names),
                    None => vec![names],
                })
            });
            chunks.await.map(Vec::as_slice)
        }
        .boxed()
    }

    /// A slice as the request for these properties has it.
    pub fn slice(slice: &Slice, chunk: &[String]) -> Slice {
        let mut slice = slice.clone();
        slice.extra.insert(NAME.to_owned(), chunk.into());
        slice
    }

    /// What goes into the request for these properties.
    pub fn injection(&self, chunk: &[String]) -> Option<Injection> {
        let parameter = self.parameter?;
        Some(Injection { target: Target::Parameter(parameter.to_owned()), value: chunk.join(",").into() })
    }

    /// Puts the records of a page's requests together: each stands where it came first, with the members of all.
    pub fn merge(&self, pages: &mut [Page]) {
        let Some(chunking) = self.query.and_then(|query| query.property_chunking.as_ref()) else { return };
        let mut whole: HashMap<String, Map<String, Value>> = HashMap::new();
        let mut first: Vec<Vec<Option<String>>> = Vec::with_capacity(pages.len());
        for page in pages.iter() {
            let mut keys = Vec::new();
            for record in page.records() {
                let key = properties::merge_key(chunking, &record);
                let Value::Object(members) = record else {
                    keys.push(None);
                    continue;
                };
                // A record that came before is no record of this page; an empty key says so.
                keys.push(key.map(|key| match whole.get_mut(&key) {
                    Some(known) => {
                        properties::merge(known, members);
                        String::new()
                    }
                    None => {
                        whole.insert(key.clone(), members);
                        key
                    }
                }));
            }
            first.push(keys);
        }
        for (page, keys) in pages.iter_mut().zip(first) {
            page.keep(&keys, |key| whole.get(key).map(|record| JsonText::of(&Value::Object(record.clone()))));
        }
    }

    async fn find(&self, source: &Source<'a>, path: &FieldPath) -> Result<Vec<String>, FetchError> {
        let (cuts, mut next) = mpsc::channel(1);
        let reading = async {
            let mut names = Vec::new();
            while let Some(cut) = next.recv().await {
                let mut pages = Pages::new(source, &cut)?;
                while let Some(page) = pages.next().await? {
                    for record in page.records() {
                        let found = path.get(&record).map_err(|source| self.order.unreadable(ReadingError::Records { source }))?;
                        // A record without a name counts as an empty list in the reference engine.
                        names.push(found.map_or_else(|| "[]".to_owned(), python_text));
                    }
                }
            }
            Ok(names)
        };
        let (made, names) = tokio::join!(source.slices(cuts), reading);
        made.and(names)
    }
}

impl<'a> List<'a> {
    fn found(order: &'a StreamOrder, found: &'a PropertiesFromEndpoint, scope: &Scope) -> Result<Self, FetchError> {
        let segments = found.property_field_path.iter().map(|segment| segment.text(scope)).collect::<Result<Vec<_>, _>>();
        let segments = segments.map_err(ReadingError::expression("property_field_path")).map_err(|error| order.unreadable(error))?;
        let source = Source::new(order, &found.retriever.0, scope.clone(), None)?;
        Ok(List::Found { source: Box::new(source), path: FieldPath::new(segments) })
    }
}
