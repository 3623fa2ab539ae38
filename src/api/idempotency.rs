//! `Idempotency-Key`: a request that is repeated under the same key is answered, not done, again.
//!
//! The scope of a key is the API key and the route; within it the idempotency key stands for one path, query and body.
//! An answer is kept for 24 hours when the act was done (2xx): a refused request did nothing, so it may be tried again. It is
//! kept after the act and not with it: should the machine fail between the two, a repeat does the act a second time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use ring::digest::Context;
use ring::digest::SHA256;
use serde_json::Value;

use crate::api::principal::Principal;
use crate::api::problem::Problem;
use crate::api::route::Route;
use crate::clock;
use crate::clock::Timestamp;

/// The header that carries the key.
pub const HEADER: &str = "idempotency-key";

/// The header that marks an answer as a repeat.
pub const REPLAYED_HEADER: &str = "idempotency-replayed";

/// How long an answer is kept.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The longest key, in characters.
pub const KEY_CHARACTERS_MAX: usize = 255;

/// The longest answer that is kept, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// SHA-256 of API key, route and idempotency key: the name of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnswerName(pub [u8; 32]);

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// SHA-256 of the request's path, query and body.
    pub request: [u8; 32],
    /// The answer's status.
    pub status: u16,
    /// The answer's JSON, its secret members null.
    pub body: Vec<u8>,
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// Where answers are kept. A crash must not lose one that was kept.
pub trait AnswerBook: Send + Sync {
    /// The answer of that name, past ones included.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be read.
    fn find(&self, name: AnswerName) -> BoxFuture<'_, Result<Option<KeptAnswer>, Problem>>;

    /// Keeps an answer, in the place of one that is past.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when the store cannot be written.
    fn keep(&self, name: AnswerName, answer: KeptAnswer) -> BoxFuture<'_, Result<(), Problem>>;
}

/// The requests that are being answered now.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Mutex<HashMap<AnswerName, [u8; 32]>>>);

/// Holds a name while its request is answered.
#[derive(Debug)]
pub struct Turn {
    name: AnswerName,
    under_way: UnderWay,
}

impl UnderWay {
    /// Takes the turn of `name`.
    ///
    /// # Errors
    /// When another request holds it: [`Problem::IdempotencyUnderWay`] for the same request, else
    /// [`Problem::IdempotencyMismatch`].
    pub fn take(&self, name: AnswerName, request: [u8; 32]) -> Result<Turn, Problem> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(&name) {
            Some(other) if *other == request => Err(Problem::IdempotencyUnderWay),
            Some(_) => Err(Problem::IdempotencyMismatch),
            None => {
                held.insert(name, request);
                Ok(Turn { name, under_way: self.clone() })
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// The name under which the answer to this request is kept; none where it carries no key or the route honours none.
///
/// # Errors
/// [`Problem::Malformed`] for a key that is empty, too long, or not of visible ASCII.
pub fn name(route: &Route, principal: &Principal, headers: &HeaderMap) -> Result<Option<AnswerName>, Problem> {
    let Some(value) = headers.get(HEADER).filter(|_| route.is_idempotent()) else { return Ok(None) };
    let key = value.as_bytes();
    if key.is_empty() || key.len() > KEY_CHARACTERS_MAX || !key.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        let reason = format!("`Idempotency-Key` must be 1 to {KEY_CHARACTERS_MAX} characters of visible ASCII; a UUID is a good one");
        return Err(Problem::Malformed { reason });
    }
    Ok(Some(AnswerName(digest(&[principal.actor().to_string().as_bytes(), route.verb.name().as_bytes(), route.path.as_bytes(), key]))))
}

/// What the key stands for: the request's path, query and body.
pub fn request_digest(path: &str, query: Option<&str>, body: &[u8]) -> [u8; 32] {
    digest(&[path.as_bytes(), query.unwrap_or_default().as_bytes(), body])
}

/// The kept answer to this very request, if one stands.
///
/// # Errors
/// [`Problem::IdempotencyMismatch`] where the key stands for another request.
pub async fn replay(book: &dyn AnswerBook, name: AnswerName, request: [u8; 32], now: Timestamp) -> Result<Option<Response>, Problem> {
    match book.find(name).await? {
        Some(kept) if clock::is_over(kept.until, KEPT, now) => Ok(None),
        Some(kept) if kept.request != request => Err(Problem::IdempotencyMismatch),
        Some(kept) => {
            let status = StatusCode::from_u16(kept.status).map_err(Problem::internal)?;
            let headers = [(header::CONTENT_TYPE.as_str(), "application/json"), (REPLAYED_HEADER, "true")];
            Ok(Some((status, headers, kept.body).into_response()))
        }
        None => Ok(None),
    }
}

/// Keeps what a repeat will be answered; only an act that was done is kept.
///
/// # Errors
/// [`Problem::Unavailable`] when it cannot be written.
pub async fn keep(
    book: &dyn AnswerBook,
    name: AnswerName,
    request: [u8; 32],
    route: &Route,
    answer: (StatusCode, &Bytes),
    now: Timestamp,
) -> Result<(), Problem> {
    let (status, body) = answer;
    if !status.is_success() || body.len() > ANSWER_BYTES_MAX {
        return Ok(());
    }
    let body = without_secrets(body, route.secret_members)?;
    book.keep(name, KeptAnswer { request, status: status.as_u16(), body, until: now + KEPT }).await
}

/// Marks an answer as one that was done just now.
pub fn mark_fresh(headers: &mut HeaderMap) {
    headers.insert(REPLAYED_HEADER, HeaderValue::from_static("false"));
}

fn without_secrets(body: &Bytes, members: &[&str]) -> Result<Vec<u8>, Problem> {
    if members.is_empty() {
        return Ok(body.to_vec());
    }
    let mut value: Value = serde_json::from_slice(body).map_err(Problem::internal)?;
    for member in members {
        if let Some(secret) = value.get_mut(*member) {
            *secret = Value::Null;
        }
    }
    serde_json::to_vec(&value).map_err(Problem::internal)
}

/// SHA-256 over the parts, each behind its length, so that no two lists of parts collide.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
