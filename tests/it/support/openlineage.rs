//! Judges OpenLineage events: by the published schemas, with every format checked, and by what readers look at unguarded. And takes
//! them over HTTP, as an endpoint would.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::post;
use headgate::openlineage::emission::Producer;
use headgate::openlineage::emission::own_schema;
use headgate::openlineage::emission::own_schema_names;
use jsonschema::Registry;
use jsonschema::Validator;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

/// The schema of all events.
const CORE: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json";

/// Every published schema, and those that the gateway serves.
pub struct Schemas {
    registry: Registry<'static>,
    built: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// From the folder of shared material; nothing, and a line that says so, when it is absent.
    pub fn of(producer: &Producer) -> Option<Self> {
        let shared =
            std::env::var_os("HEADGATE_SHARED").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
        let folder = shared.join("openlineage/published");
        if !folder.is_dir() {
            println!("skipped: {folder:?} is not there, so events are not held against OpenLineage's schemas");
            return None;
        }
        let published =
            super::installation::files(&folder).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        let read = |path: PathBuf| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
        // What follows an older core schema refers to documents that are not all published, and nothing of ours follows it.
        let is_of_core = |schema: &Value| schema["$id"] == CORE || schema.to_string().contains(&format!("\"$ref\":\"{CORE}#"));
        let texts = published.map(read).filter(is_of_core);
        let own = own_schema_names().map(|name| own_schema(producer, "1-0-0", &format!("{name}.json")).unwrap());
        let mut registry = Registry::new();
        for schema in texts.chain(own) {
            let id = schema["$id"].as_str().unwrap().to_owned();
            registry = registry.add(id, schema).unwrap();
        }
        Some(Schemas { registry: registry.prepare().unwrap(), built: Mutex::default() })
    }

    /// Everything that is wrong with an event.
    pub fn faults(&self, event: &Value) -> Vec<String> {
        let mut faults = self.against(CORE, event);
        let (run, job) = (&event["run"], &event["job"]);
        let mut places = vec![("run.facets".to_owned(), &run["facets"]), ("job.facets".to_owned(), &job["facets"])];
        for (list, own) in [("inputs", "inputFacets"), ("outputs", "outputFacets")] {
            let Some(datasets) = event[list].as_array() else {
                faults.push(format!("{list} is not there"));
                continue;
            };
            for dataset in datasets {
                places.push((format!("{list}.facets"), &dataset["facets"]));
                places.push((format!("{list}.{own}"), &dataset[own]));
                faults.extend(dataset["name"].as_str().filter(|name| name.contains(':')).map(|name| format!("{name} has a colon")));
            }
        }
        for (place, facets) in places {
            let Some(facets) = facets.as_object() else {
                faults.push(format!("{place} is not there"));
                continue;
            };
            for (key, facet) in facets {
                let url = facet["_schemaURL"].as_str().unwrap_or_default();
                let whole = url.split('#').next().unwrap_or_default();
                // As the facet alone, and as the property that its schema says it is.
                faults.extend(self.against(url, facet).into_iter().map(|fault| format!("{place}.{key}: {fault}")));
                faults.extend(self.against(whole, &json!({ key: facet })).into_iter().map(|fault| format!("{place}.{key}: {fault}")));
            }
        }
        faults
    }

    fn against(&self, url: &str, value: &Value) -> Vec<String> {
        match self.validator(url) {
            Ok(validator) => validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect(),
            Err(error) => vec![format!("{url} is no schema: {error}")],
        }
    }

    fn validator(&self, url: &str) -> Result<Arc<Validator>, String> {
        let mut built = self.built.lock().unwrap();
        if let Some(validator) = built.get(url) {
            return Ok(validator.clone());
        }
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).with_registry(&self.registry);
        let validator = options.should_validate_formats(true).build(&json!({ "$ref": url })).map_err(|error| error.to_string())?;
        Ok(built.entry(url.to_owned()).or_insert(Arc::new(validator)).clone())
    }
}

/// An event as it arrived.
#[derive(Clone)]
pub struct Arrived {
    pub at: Instant,
    pub authorization: String,
    pub encoding: String,
    pub event: Value,
    pub status: u16,
}

/// An endpoint on a loopback socket.
pub struct Sink {
    pub url: String,
    book: Arc<Book>,
}

#[derive(Default)]
struct Book {
    arrived: Mutex<Vec<Arrived>>,
    /// How many requests are answered 503 with `Retry-After: 1` before one is taken.
    busy: AtomicUsize,
    /// Whether nothing is taken at all.
    down: AtomicBool,
    /// An event type that is refused.
    refused: Mutex<Option<String>>,
}

impl Sink {
    /// Listens; the first `busy` requests are put off.
    pub async fn start(busy: usize) -> Self {
        let book = Arc::new(Book { busy: AtomicUsize::new(busy), ..Book::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/api/v1/lineage", post(take)).with_state(Arc::clone(&book));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Sink { url, book }
    }

    /// Takes nothing from now on, or takes everything again.
    pub fn set_down(&self, down: bool) {
        self.book.down.store(down, Ordering::SeqCst);
    }

    /// Refuses events of this type with 422.
    pub fn refuse(&self, event_type: &str) {
        *self.book.refused.lock().unwrap() = Some(event_type.to_owned());
    }

    /// Every request so far, those included that were not taken.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.book.arrived.lock().unwrap().clone()
    }

    /// The events that were taken, in their order.
    pub fn taken(&self) -> Vec<Value> {
        self.arrived().into_iter().filter(|arrived| arrived.status == 201).map(|arrived| arrived.event).collect()
    }
}

async fn take(State(book): State<Arc<Book>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut text = String::new();
    let event = flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
    let event: Value = event.unwrap_or_default();
    let is_busy = book.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |busy| busy.checked_sub(1)).is_ok();
    let is_refused = book.refused.lock().unwrap().as_ref().is_some_and(|refused| event["eventType"] == refused.as_str());
    let status = match () {
        () if is_busy || book.down.load(Ordering::SeqCst) => StatusCode::SERVICE_UNAVAILABLE,
        () if is_refused => StatusCode::UNPROCESSABLE_ENTITY,
        () => StatusCode::CREATED,
    };
    let arrived = Arrived {
        at: Instant::now(),
        authorization: header("authorization"),
        encoding: header("content-encoding"),
        event,
        status: status.as_u16(),
    };
    book.arrived.lock().unwrap().push(arrived);
    (status, [("retry-after", "1")]).into_response()
}
