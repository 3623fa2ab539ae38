//! Why nothing was fetched. No variant holds a secret: URLs are the recorded ones, causes are stripped of theirs.

use crate::authorization::AuthorizationError;
use crate::clock::Timestamp;
use crate::connection::gate::GateClosed;
use crate::connector::definition::ConnectorError;
use crate::connector::reading::ReadingError;

use super::egress::EgressError;

/// The cause of a request's failure: what happened, to what, what to do.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection was revoked, paused or lost its authorization; what was on its way was cut.
    #[error("{method} {url} was stopped because the connection's gate is closed; nothing of it is kept")]
    Closed {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// Whether bytes may have left before the gate closed.
        sent: bool,
        /// The gate's own answer, if the request had not begun.
        #[source]
        source: Option<GateClosed>,
    },
    /// The guard refused it; nothing was sent.
    #[error("{method} {url} was not sent")]
    Egress {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// Which list or rule.
        #[source]
        source: EgressError,
    },
    /// The credential is bound to other hosts; nothing was sent.
    #[error(
        "{method} {url} was not sent because the credential is bound to other hosts; correct the URL, or the hosts of the authenticator"
    )]
    CredentialElsewhere {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
    },
    /// The request cannot be written; nothing was sent.
    #[error("{method} {url} cannot be written: {what}; correct the manifest")]
    Malformed {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// Which part, without its value.
        what: String,
    },
    /// No connection was made; nothing was sent.
    #[error("{method} {url} found no server: name, address, port or certificate; it is tried again later")]
    Unreachable {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke after the request had begun: whether it took effect is not known.
    #[error("{method} {url} lost its connection before the answer was complete; whether it took effect is not known")]
    Broken {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// A time-out after the request had begun.
    #[error(
        "{method} {url} was given up after {seconds} s: {phase}; if the application is always this slow, raise `{phase}` under [fetch] in headgate.toml"
    )]
    TimedOut {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// The limit, by name.
        phase: &'static str,
        /// Its value in seconds.
        seconds: u64,
    },
    /// An answer beyond a named limit.
    #[error("the answer to {method} {url} is longer than {limit} bytes of {part}; {}", too_large_advice(part))]
    TooLarge {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// `body` or `headers`.
        part: &'static str,
        /// The limit in bytes; of the body after content decoding.
        limit: usize,
    },
    /// An encoding that was not asked for.
    #[error("the answer to {method} {url} has the content encoding `{encoding}`, which was not asked for; nothing of it is kept")]
    Encoding {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// The encoding's name.
        encoding: String,
    },
    /// A redirect that is not followed.
    #[error("{method} {url} was redirected, but {reason}; name the final URL in the manifest")]
    Redirect {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// The budget or the application asks for a longer wait than is spent in process.
    #[error("no request may start before {until}: {reason}; the scheduler tries again then")]
    NotBefore {
        /// The earliest time of the next request.
        until: Timestamp,
        /// Who asks for the wait.
        reason: String,
    },
    /// An answer that says no.
    #[error("{method} {url} was answered with {status}{}; {}", request_id_text(request_id), advice(*status))]
    Status {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The application's own id of the request, for its support.
        request_id: Option<String>,
    },
    /// The manifest's error handlers, or HTTP's own meaning, say that the stream fails.
    #[error("{method} {url} was answered with {status}: {reason}; {}", advice(*status))]
    Refused {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the manifest or the status says.
        reason: String,
    },
    /// The manifest cannot be followed.
    #[error("stream `{stream}` cannot be read on")]
    Reading {
        /// Which.
        stream: String,
        /// What does not fit.
        #[source]
        source: Box<ReadingError>,
    },
    /// An answer that is not what the manifest promises.
    #[error("the answer to {method} {url} cannot be used")]
    Answer {
        /// The method.
        method: String,
        /// The recorded URL.
        url: String,
        /// What does not fit.
        #[source]
        source: Box<ReadingError>,
    },
    /// The connector has no such stream.
    #[error("the connector has no stream `{stream}`")]
    UnknownStream {
        /// What was asked for.
        stream: String,
    },
    /// Which streams there are is not known.
    #[error("the streams that this connector makes cannot be made; correct its `dynamic_streams`")]
    Streams {
        /// Why, unless the making itself broke off.
        #[source]
        source: Option<Box<ConnectorError>>,
    },
    /// More streams than are made.
    #[error("the application names more than {limit} streams; narrow what `{stream}` of the manifest's dynamic streams asks for")]
    TooManyStreams {
        /// What was read.
        stream: String,
        /// The limit.
        limit: usize,
    },
    /// A paging that does not end.
    #[error("stream `{stream}` has more than {limit} pages in one slice; cut it into windows with `step`, or report a paging that circles")]
    TooManyPages {
        /// Which.
        stream: String,
        /// The limit.
        limit: u64,
    },
    /// A paging that is begun anew and gets no further.
    #[error("stream `{stream}` was paged anew and got no further; correct `pagination_reset`, or the error handler that asks for it")]
    PagesAgain {
        /// Which.
        stream: String,
    },
    /// An asynchronous job that failed as often as it may.
    #[error("a job of stream `{stream}` was given up after {attempts} attempts: {reason}; it is tried again at the next run")]
    Job {
        /// Which.
        stream: String,
        /// How often it was created.
        attempts: u32,
        /// What became of the last.
        reason: String,
    },
    /// There is no token to send.
    #[error(transparent)]
    Authorization {
        /// Why.
        #[from]
        source: AuthorizationError,
    },
    /// The named number of attempts, or the named time, is used up.
    #[error("given up after {attempts} attempts; it is tried again at the next run")]
    GaveUp {
        /// How many were made.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<FetchError>,
    },
}

impl FetchError {
    /// Whether the server may have received and acted on the request, although no whole answer came back.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            FetchError::Closed { sent, .. } => *sent,
            FetchError::Broken { .. }
            | FetchError::TimedOut { .. }
            | FetchError::TooLarge { .. }
            | FetchError::Encoding { .. }
            | FetchError::Redirect { .. }
            | FetchError::Refused { .. }
            | FetchError::Reading { .. }
            | FetchError::Answer { .. }
            | FetchError::TooManyPages { .. }
            | FetchError::PagesAgain { .. }
            | FetchError::TooManyStreams { .. }
            | FetchError::Job { .. }
            | FetchError::Status { .. } => true,
            FetchError::GaveUp { source, .. } => source.may_have_arrived(),
            FetchError::Egress { .. }
            | FetchError::CredentialElsewhere { .. }
            | FetchError::Malformed { .. }
            | FetchError::Unreachable { .. }
            | FetchError::Authorization { .. }
            | FetchError::UnknownStream { .. }
            | FetchError::Streams { .. }
            | FetchError::NotBefore { .. } => false,
        }
    }

    /// Whether the same request may succeed later without anything being changed here.
    pub fn is_transient(&self) -> bool {
        match self {
            // A name that resolves to refused addresses stays refused, so only real network faults are worth a retry.
            FetchError::Unreachable { source, .. } => denied_address(source).is_none(),
            FetchError::Broken { .. } | FetchError::TimedOut { .. } => true,
            FetchError::Authorization { source } => source.is_transient(),
            FetchError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// The name of the limit that was reached, if it was one.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            FetchError::TimedOut { phase, .. } => Some(phase),
            FetchError::TooLarge { part, .. } => Some(part),
            FetchError::TooManyPages { .. } => Some("pages"),
            FetchError::TooManyStreams { .. } => Some("streams"),
            FetchError::Redirect { .. } => Some("redirects"),
            FetchError::NotBefore { .. } => Some("patience"),
            FetchError::GaveUp { .. } => Some("attempts"),
            _ => None,
        }
    }

    /// Whether the connection's customer has to act: the connection's state changes, its gate closes.
    pub fn needs_reauthorization(&self) -> bool {
        match self {
            FetchError::Authorization { source } => source.needs_reauthorization(),
            FetchError::GaveUp { source, .. } => source.needs_reauthorization(),
            FetchError::Refused { status, .. } => *status == 401,
            _ => false,
        }
    }

    /// Whether nothing more of the stream can be read, whichever slice is asked for.
    pub fn ends_stream(&self) -> bool {
        matches!(self, FetchError::Closed { .. })
    }

    /// Whether the failure is one of the connection as a whole, so that asking for other slices would only repeat it.
    pub fn concerns_connection(&self) -> bool {
        let refuses_all =
            matches!(self, FetchError::Authorization { .. } | FetchError::Egress { .. } | FetchError::CredentialElsewhere { .. });
        refuses_all || self.needs_reauthorization() || self.not_before().is_some()
    }

    /// Whether the application forbids what was asked for.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, FetchError::Refused { status: 403, .. })
    }

    /// The earliest time of the next request, if a wait is asked for that the scheduler has to keep.
    pub fn not_before(&self) -> Option<Timestamp> {
        match self {
            FetchError::NotBefore { until, .. } => Some(*until),
            FetchError::GaveUp { source, .. } => source.not_before(),
            _ => None,
        }
    }
}

/// The refusal of the resolver, found in a connection error's causes.
pub(super) fn denied_address(error: &(dyn std::error::Error + 'static)) -> Option<super::address::AddressDenied> {
    let mut cause = Some(error);
    while let Some(present) = cause {
        if let Some(denied) = present.downcast_ref() {
            return Some(*denied);
        }
        cause = present.source();
    }
    None
}

fn request_id_text(id: &Option<String>) -> String {
    id.as_ref().map(|id| format!(" (its request id: {id})")).unwrap_or_default()
}

fn too_large_advice(part: &str) -> &'static str {
    match part {
        "body" => "ask for smaller pages, or raise `body_bytes_max` under [fetch] in headgate.toml",
        _ => "no application needs that many; tell its support",
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => "the credential is refused; reconnect if this repeats",
        403 => "the credential lacks a right; reconnect with the scopes that the stream needs",
        404 | 410 => "check the connection's configuration and the manifest's path",
        408 | 425 | 429 => "it is tried again later; lower the budget in headgate.yaml if this repeats",
        500..=599 => "it is tried again later; tell the application's support if this repeats",
        _ => "check the manifest's request against the application's documentation",
    }
}
