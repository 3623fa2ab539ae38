//! Bodies and query strings, read with limits and refused in plain words.

use axum::body::Body;
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Query as AxumQuery;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::response::Response;
use http_body_util::BodyExt;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Duration;
use tokio::time::timeout;

use crate::api::problem::MemberFault;
use crate::api::problem::Problem;

/// The longest body that a route reads, unless its row says otherwise.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a body may take to arrive.
pub const BODY_SECONDS_MAX: u64 = 30;

/// Reads a whole body.
///
/// # Errors
/// When it is longer than `limit_bytes`, comes too slowly, or breaks off.
pub async fn read(body: Body, limit_bytes: usize) -> Result<Bytes, Problem> {
    let whole = timeout(Duration::from_secs(BODY_SECONDS_MAX), Limited::new(body, limit_bytes).collect());
    match whole.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge { limit_bytes }),
        Ok(Err(_)) => Err(Problem::Malformed { reason: "the body broke off before its end; send the request again".into() }),
        Err(_) => Err(Problem::BodyTimeout { seconds: BODY_SECONDS_MAX }),
    }
}

/// Reads `bytes` as JSON and checks it against the schema of the route's row.
///
/// # Errors
/// 415 for another content type, 400 for a text that is no JSON, 422 with every fault for one that breaks the schema. The
/// values themselves are not repeated: a body may hold secrets.
pub fn check(headers: &HeaderMap, bytes: &[u8], schema: &jsonschema::Validator) -> Result<(), Problem> {
    if !is_json(headers) {
        return Err(Problem::UnsupportedMediaType { expected: "application/json" });
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Problem::Malformed {
        reason: format!("the body is no JSON: line {}, column {}; correct it there", error.line(), error.column()),
    })?;
    let fault = |error: jsonschema::ValidationError<'_>| MemberFault {
        pointer: error.instance_path().to_string(),
        code: error.kind().keyword().to_owned(),
        message: error.masked_with("the value").to_string(),
    };
    let errors: Vec<MemberFault> = schema.iter_errors(&value).take(FAULTS_MAX).map(fault).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::InvalidMembers { errors }) }
}

/// A JSON body, already checked against its row's schema; an absent optional body reads as `{}`.
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = read(request.into_body(), BODY_BYTES_MAX).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // The reader's own message may repeat the value, so only the place is told.
        serde_json::from_slice(text).map(Json).map_err(|error| {
            let place = format!("cannot be read at line {}, column {}", error.line(), error.column());
            Problem::member("", "unreadable", place)
        })
    }
}

/// An answer as JSON.
pub struct Answer<T>(pub T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

/// A query string, read into `T`; its names were compared with the row's before.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let read = AxumQuery::<T>::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let (name, reason) = text.split_once(": ").unwrap_or(("", text));
            Problem::BadParameter { name: name.to_owned(), reason: reason.to_owned() }
        })?;
        Ok(Query(read.0))
    }
}

/// An id in the path. A text that is no id of that kind is answered as an id that is unknown.
pub struct Id<T>(pub T);

/// The id that `text` is. A text that is no id of that kind is answered as an id that is unknown.
///
/// # Errors
/// [`Problem::NotFound`].
pub fn id<T: Named>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(T::NOUN, text))
}

/// Plain segments of the path.
pub struct Segments<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<T>::from_request_parts(parts, state).await.map(|Path(segments)| Segments(segments)).map_err(|_| Problem::NoRoute)
    }
}

/// A kind of id that stands in a path, and what it names.
pub trait Named: std::str::FromStr {
    /// What such an id names, for messages.
    const NOUN: &'static str;
}

macro_rules! named {
    ($($id:ident = $noun:literal),+ $(,)?) => {
        $(impl Named for crate::ids::$id {
            const NOUN: &'static str = $noun;
        })+
    };
}

named! {
    ConnectionId = "connection",
    ConsentId = "consent",
    ErasureId = "erasure",
    KeyId = "key",
    PullId = "pull",
    RecordId = "record",
    RunId = "run",
}

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| Problem::not_found(T::NOUN, ""))?;
        id(&text).map(Id)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The most faults of a body that one answer lists.
const FAULTS_MAX: usize = 50;
