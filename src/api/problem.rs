//! The one place where an error becomes an answer: `application/problem+json` (RFC 9457).
//!
//! A problem is a variant of [`Problem`], a row of [`Kind`] and a page in `docs/problems/`; a row without its page does not
//! compile. The cause of an inner failure goes to the log, never to the caller.

use std::error::Error;
use std::fmt::Write;
use std::io;

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

/// The content type of every refusal.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Too many files are open in the process, or on the machine: `errno` values of Linux.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// Why a request was refused. `Display` is the `detail` that the caller reads: what happened, to what, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The request's syntax is broken.
    #[error("{reason}")]
    Malformed {
        /// What is broken and what to do.
        reason: String,
    },
    /// A query parameter that the route does not take.
    #[error("`{name}` is not a query parameter here; this route takes {known}")]
    UnknownParameter {
        /// The parameter, cut to 64 characters.
        name: String,
        /// What the route takes, as text.
        known: String,
    },
    /// A query parameter's value that cannot be read, is missing, or is given twice.
    #[error("query parameter `{name}`: {reason}")]
    BadParameter {
        /// The parameter.
        name: String,
        /// What is wrong and what to give.
        reason: String,
    },
    /// Payload was asked for without saying what for.
    #[error("reading payload needs the header `Headgate-Purpose`, one of: {allowed}")]
    PurposeMissing {
        /// The purposes of the key.
        allowed: String,
    },
    /// The stated purpose is none of the key's.
    #[error("purpose `{purpose}` is not one of this key's ({allowed}); use one of those, or a key made for it")]
    PurposeRefused {
        /// The stated purpose, cut to 64 characters.
        purpose: String,
        /// The purposes of the key.
        allowed: String,
    },
    /// The stated purpose is none that the customer agreed to.
    #[error("the customer of connection {connection} did not agree to `{purpose}`, only to: {allowed}; use one of those")]
    PurposeNotAgreed {
        /// The connection.
        connection: String,
        /// The stated purpose.
        purpose: &'static str,
        /// The purposes of the connection.
        allowed: String,
    },
    /// No key, or none that is known. Says nothing about which of the two.
    #[error("this route needs a valid API key: send `Authorization: Bearer hg_…`")]
    Unauthenticated,
    /// The key's role does not reach the route.
    #[error("a {role} key may not do this; it needs one of: {needed}")]
    RoleRefused {
        /// The key's role.
        role: &'static str,
        /// The roles that may.
        needed: String,
    },
    /// Nothing with that id, or nothing that this caller may see: the two are one.
    #[error("there is no {noun} `{id}`, or this key may not see it")]
    NotFound {
        /// What was looked for.
        noun: &'static str,
        /// The id as given, cut to 128 characters.
        id: String,
    },
    /// No route has that path.
    #[error("nothing answers at this path; /docs lists every route")]
    NoRoute,
    /// The path is there, the method is not.
    #[error("this path does not take {method}; it takes {allow}")]
    MethodNotAllowed {
        /// The method of the request.
        method: String,
        /// The value of `Allow`.
        allow: String,
    },
    /// The connection's gate is closed: nothing is fetched for it.
    #[error("connection {connection} is {state}, so nothing is fetched for it; {remedy}")]
    GateClosed {
        /// The connection.
        connection: String,
        /// Its state.
        state: String,
        /// What to do.
        remedy: String,
    },
    /// The noun's state does not allow the act.
    #[error("{reason}")]
    StateConflict {
        /// What stands in the way and what to do.
        reason: String,
    },
    /// The customer was shown another version of the policy.
    #[error("the policy is at version {current}, the consent names {given}; show GET /v1/policy and ask again")]
    PolicyChanged {
        /// The version in force.
        current: String,
        /// The version given, cut to 64 characters.
        given: String,
    },
    /// A pull of that connection is under way.
    #[error("pull {pull} of connection {connection} is under way; wait for its runs to end (GET /v1/runs?pull={pull})")]
    PullUnderWay {
        /// The connection.
        connection: String,
        /// The pull.
        pull: String,
    },
    /// An erasure that holds an unrevoked connection whole, without revoking it.
    #[error("connection {connection} is not revoked, so it would fill again; revoke it first, or ask for both with `revoke`")]
    NotRevoked {
        /// The connection.
        connection: String,
    },
    /// A request with this idempotency key is under way.
    #[error("a request with this Idempotency-Key is under way on this route; wait for its answer, then repeat")]
    IdempotencyUnderWay,
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used on this route for a request with another path, query or body; use a new key")]
    IdempotencyMismatch,
    /// The body is longer than the limit.
    #[error("the body is longer than {limit_bytes} bytes, the limit of this route")]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The body's content type is none that the route reads.
    #[error("the body must be {expected}; say so in `Content-Type`")]
    UnsupportedMediaType {
        /// What the route reads.
        expected: &'static str,
    },
    /// The body is encoded in a way that the route does not undo.
    #[error("`Content-Encoding: {encoding}` is not undone here; send gzip, or the body as it is")]
    UnsupportedEncoding {
        /// The encoding, cut to 64 characters.
        encoding: String,
    },
    /// The body is well-formed, and its members are not as the route needs them. Lists every fault.
    #[error("what was sent cannot be used; `errors` names each fault")]
    InvalidMembers {
        /// Each fault.
        errors: Vec<MemberFault>,
    },
    /// Too many requests: come back later.
    #[error("too many requests; repeat after {retry_after_seconds} seconds")]
    TooMany {
        /// When to come back.
        retry_after_seconds: u32,
    },
    /// The body did not arrive in time.
    #[error("the request's body did not arrive within {seconds} seconds")]
    BodyTimeout {
        /// The limit.
        seconds: u64,
    },
    /// The answer was not ready in time.
    #[error("no answer within {seconds} seconds; what was begun may still take effect, so look before repeating")]
    AnswerTimeout {
        /// The limit.
        seconds: u64,
    },
    /// Something that Headgate needs is not there: it serves nothing unaudited and nothing unreadable.
    #[error("{what} is not available{}, so nothing is served but stopping; the operator's log has the cause", shortage(source.as_ref()))]
    Unavailable {
        /// What is missing.
        what: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The application on the other side failed or refused.
    #[error("{reason}")]
    ApplicationFailed {
        /// What the application did, and what to do.
        reason: String,
    },
    /// A fault of Headgate's own.
    #[error("Headgate failed; give the operator the `x-request-id` of this answer")]
    Internal {
        /// What happened, for the log.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// One fault in a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberFault {
    /// JSON Pointer (RFC 6901) to the member; empty for the body as a whole.
    pub pointer: String,
    /// A stable word for the fault: the JSON Schema keyword that failed, or the reader's own.
    pub code: String,
    /// What is wrong; never the value that was given.
    pub message: String,
}

/// Declares the kinds: name of the page, status, title. The page is part of the binary, so a missing one does not compile.
macro_rules! kinds {
    ($($kind:ident = $name:literal, $status:ident, $title:literal;)+) => {
        /// What kind of problem: the `type`, `status` and `title` that all problems of the kind share.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $(#[doc = $title] $kind),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),+];

            /// The last part of the `type`, and the name of the page.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),+ }
            }

            /// The status of its answers.
            pub const fn status(self) -> StatusCode {
                match self { $(Kind::$kind => StatusCode::$status),+ }
            }

            /// The title of its answers.
            pub const fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title),+ }
            }

            /// The page that explains it, in Markdown.
            pub const fn page(self) -> &'static str {
                match self { $(Kind::$kind => include_str!(concat!("../../docs/problems/", $name, ".md"))),+ }
            }
        }
    };
}

kinds! {
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read";
    UnknownParameter = "unknown-parameter", BAD_REQUEST, "The route does not take this parameter";
    BadParameter = "bad-parameter", BAD_REQUEST, "A parameter's value cannot be used";
    PurposeMissing = "purpose-missing", BAD_REQUEST, "A purpose is needed";
    PurposeRefused = "purpose-refused", FORBIDDEN, "The key has no such purpose";
    PurposeNotAgreed = "purpose-not-agreed", FORBIDDEN, "The customer did not agree to the purpose";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "An API key is needed";
    RoleRefused = "role-refused", FORBIDDEN, "The key's role may not do this";
    NotFound = "not-found", NOT_FOUND, "There is no such thing";
    NoRoute = "no-route", NOT_FOUND, "There is no such path";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not take this method";
    GateClosed = "gate-closed", CONFLICT, "The connection's gate is closed";
    StateConflict = "state-conflict", CONFLICT, "The present state does not allow this";
    PolicyChanged = "policy-changed", CONFLICT, "The policy has another version";
    PullUnderWay = "pull-under-way", CONFLICT, "A pull is under way";
    NotRevoked = "not-revoked", CONFLICT, "The connection is not revoked";
    IdempotencyUnderWay = "idempotency-under-way", CONFLICT, "The same request is under way";
    IdempotencyMismatch = "idempotency-mismatch", UNPROCESSABLE_ENTITY, "The idempotency key belongs to another request";
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body has another content type";
    UnsupportedEncoding = "unsupported-encoding", UNSUPPORTED_MEDIA_TYPE, "The body is encoded in another way";
    InvalidMembers = "invalid-members", UNPROCESSABLE_ENTITY, "The body's members cannot be used";
    TooMany = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests";
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "The body came too slowly";
    AnswerTimeout = "answer-timeout", SERVICE_UNAVAILABLE, "The answer took too long";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Headgate cannot serve now";
    ApplicationFailed = "application-failed", BAD_GATEWAY, "The application failed";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Headgate failed";
}

impl Kind {
    /// The `type` of its answers.
    pub fn uri(self) -> String {
        format!("/problems/{}", self.name())
    }

    /// The kind whose page has that name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl Problem {
    /// Nothing that this caller may see has that id.
    pub fn not_found(noun: &'static str, id: &str) -> Self {
        Problem::NotFound { noun, id: id.chars().take(ECHO_CHARACTERS_MAX).collect() }
    }

    /// A fault of Headgate's own; the cause is logged when the answer is made.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Problem::Internal { source: source.into() }
    }

    /// One fault in one member of the body.
    pub fn member(pointer: &str, code: &str, message: impl Into<String>) -> Self {
        Problem::InvalidMembers { errors: vec![MemberFault { pointer: pointer.into(), code: code.into(), message: message.into() }] }
    }

    /// The kind of this problem.
    pub fn kind(&self) -> Kind {
        match self {
            Problem::Malformed { .. } => Kind::Malformed,
            Problem::UnknownParameter { .. } => Kind::UnknownParameter,
            Problem::BadParameter { .. } => Kind::BadParameter,
            Problem::PurposeMissing { .. } => Kind::PurposeMissing,
            Problem::PurposeRefused { .. } => Kind::PurposeRefused,
            Problem::PurposeNotAgreed { .. } => Kind::PurposeNotAgreed,
            Problem::Unauthenticated => Kind::Unauthenticated,
            Problem::RoleRefused { .. } => Kind::RoleRefused,
            Problem::NotFound { .. } => Kind::NotFound,
            Problem::NoRoute => Kind::NoRoute,
            Problem::MethodNotAllowed { .. } => Kind::MethodNotAllowed,
            Problem::GateClosed { .. } => Kind::GateClosed,
            Problem::StateConflict { .. } => Kind::StateConflict,
            Problem::PolicyChanged { .. } => Kind::PolicyChanged,
            Problem::PullUnderWay { .. } => Kind::PullUnderWay,
            Problem::NotRevoked { .. } => Kind::NotRevoked,
            Problem::IdempotencyUnderWay => Kind::IdempotencyUnderWay,
            Problem::IdempotencyMismatch => Kind::IdempotencyMismatch,
            Problem::TooLarge { .. } => Kind::TooLarge,
            Problem::UnsupportedMediaType { .. } => Kind::UnsupportedMediaType,
            Problem::UnsupportedEncoding { .. } => Kind::UnsupportedEncoding,
            Problem::InvalidMembers { .. } => Kind::InvalidMembers,
            Problem::TooMany { .. } => Kind::TooMany,
            Problem::BodyTimeout { .. } => Kind::BodyTimeout,
            Problem::AnswerTimeout { .. } => Kind::AnswerTimeout,
            Problem::Unavailable { .. } => Kind::Unavailable,
            Problem::ApplicationFailed { .. } => Kind::ApplicationFailed,
            Problem::Internal { .. } => Kind::Internal,
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let kind = self.kind();
        let mut body = json!({
            "type": kind.uri(),
            "title": kind.title(),
            "status": kind.status().as_u16(),
            "detail": self.to_string(),
        });
        match self {
            Problem::InvalidMembers { errors } => body["errors"] = json!(errors),
            Problem::GateClosed { connection, state, .. } => {
                body["connection"] = json!(connection);
                body["state"] = json!(state);
            }
            Problem::PullUnderWay { connection, pull } => {
                body["connection"] = json!(connection);
                body["pull"] = json!(pull);
            }
            Problem::PolicyChanged { current, .. } => body["version"] = json!(current),
            _ => {}
        }
        body
    }

    /// The chain of causes as one line, for the log alone.
    fn causes(&self) -> String {
        let mut line = String::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            let separator = if line.is_empty() { "" } else { ": " };
            let _ = write!(line, "{separator}{error}");
            cause = error.source();
        }
        line
    }

    /// The header that belongs to this problem alone.
    fn header(&self) -> Option<(header::HeaderName, HeaderValue)> {
        let (name, text) = match self {
            Problem::Unauthenticated => (header::WWW_AUTHENTICATE, "Bearer realm=\"headgate\"".to_owned()),
            Problem::MethodNotAllowed { allow, .. } => (header::ALLOW, allow.clone()),
            Problem::TooMany { retry_after_seconds } => (header::RETRY_AFTER, retry_after_seconds.to_string()),
            Problem::AnswerTimeout { .. } | Problem::Unavailable { .. } => (header::RETRY_AFTER, RETRY_AFTER_SECONDS.to_string()),
            _ => return None,
        };
        HeaderValue::from_str(&text).ok().map(|value| (name, value))
    }
}

/// What of a cause a caller may know: that the machine has run out of something, which tells nothing of anybody.
fn shortage(source: &(dyn Error + 'static)) -> &'static str {
    let mut cause = Some(source);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => " (the disk is full)",
                (io::ErrorKind::ReadOnlyFilesystem, _) => " (the disk is read-only)",
                (_, Some(EMFILE | ENFILE)) => " (too many files are open)",
                _ => "",
            };
        }
        cause = error.source();
    }
    ""
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = self.kind();
        if kind.status().is_server_error() {
            tracing::error!(problem = kind.name(), causes = %self.causes(), "request not served: {self}");
        }
        let mut response = (kind.status(), [(header::CONTENT_TYPE, CONTENT_TYPE)], self.body().to_string()).into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// How much of an id from outside is repeated in an answer.
const ECHO_CHARACTERS_MAX: usize = 128;

/// When a caller may come back after a refusal that time may cure.
const RETRY_AFTER_SECONDS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind has a page that begins with its title and says what to do, and the folder holds no other page.
    #[test]
    fn every_kind_has_its_page_and_every_page_its_kind() {
        for kind in Kind::ALL {
            let page = kind.page();
            assert!(page.starts_with(&format!("# {}\n", kind.title())), "docs/problems/{}.md begins with its title", kind.name());
            assert!(page.contains(&format!("Status {}", kind.status().as_u16())), "docs/problems/{}.md states its status", kind.name());
            assert!(page.contains("## What to do"), "docs/problems/{}.md says what to do", kind.name());
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/problems");
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            assert!(Kind::named(name.trim_end_matches(".md")).is_some(), "docs/problems/{name} belongs to no kind");
        }
    }

    /// The cause of an inner failure stays out of the answer.
    #[test]
    fn causes_stay_inside() {
        let problem = Problem::internal("disk /var/secret is full");
        assert_eq!(problem.causes(), "disk /var/secret is full");
        assert!(!problem.body().to_string().contains("secret"));
    }
}
