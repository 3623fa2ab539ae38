//! Events over HTTP, as OpenLineage's own clients send them: one a request, compressed, in order.
//!
//! The operator names the endpoint, so it may be on this machine or in a private network; the guard of requests to applications has no
//! say here. Redirects are not followed: an event that goes elsewhere is an event lost.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use reqwest::header::CONTENT_ENCODING;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderValue;
use reqwest::header::RETRY_AFTER;
use url::Url;

use crate::clock::Clock;
use crate::fetch::client::plain_builder;
use crate::outbox::Endpoint;
use crate::outbox::delivery::Progress;
use crate::outbox::delivery::Told;
use crate::telemetry;

/// Time for name, connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one request and its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait after an attempt that failed; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The longest wait that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How often an event is tried at an endpoint that refuses whoever asks (a wrong key, a wrong path): about an hour, in which the operator
/// may mend that, before the event is set aside.
const TRIES_MAX: u32 = 20;
/// Where events are taken.
const PATH: &str = "/api/v1/lineage";

/// What an answer means for the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It was taken.
    Taken,
    /// The event is refused, and will be again.
    Refused,
    /// Whoever asks is refused; that may be mended.
    Closed,
    /// The endpoint cannot take it now.
    Later,
}

impl Verdict {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Verdict::Taken,
            401 | 403 | 404 | 405 | 407 | 300..=399 => Verdict::Closed,
            408 | 425 | 429 => Verdict::Later,
            400..=499 => Verdict::Refused,
            _ => Verdict::Later,
        }
    }
}

/// An HTTP endpoint that takes OpenLineage events.
pub(super) struct HttpEndpoint {
    url: Url,
    authorization: Option<HeaderValue>,
    http: reqwest::Client,
    clock: Clock,
    /// Attempts at the present event that failed.
    failed: u32,
}

impl HttpEndpoint {
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(super) fn new(endpoint: Endpoint, clock: Clock) -> Result<Self, reqwest::Error> {
        let builder = || {
            plain_builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(ANSWER_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(1)
        };
        // Without root certificates on the machine an endpoint that speaks plain http is still reached.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build())?;
        // The configuration takes no key that a header could not carry.
        let bearer = |key: &crate::secret::Secret<String>| HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok();
        let mut authorization = endpoint.api_key.as_ref().and_then(bearer);
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        Ok(HttpEndpoint { url: target(endpoint.url), authorization, http, clock, failed: 0 })
    }

    /// Sends events one after another, until one is not taken.
    pub(super) async fn post(&mut self, events: &[Told]) -> Progress {
        let mut progress = Progress::default();
        for event in events {
            let (verdict, asked, what) = match self.send(event).await {
                Ok((status, asked)) => (Verdict::of(status), asked, status.to_string()),
                Err(error) => (Verdict::Later, None, telemetry::chain(&error.without_url())),
            };
            let is_set_aside = verdict == Verdict::Refused || (verdict == Verdict::Closed && self.failed + 1 >= TRIES_MAX);
            if verdict != Verdict::Taken && !is_set_aside {
                if self.failed == 0 {
                    tracing::warn!(run = %event.run, event = event.event_type, tenant = %event.tenant, why = what, "the OpenLineage endpoint does not take an event; it is tried again, and those behind it wait");
                }
                let backoff = RETRY_FIRST.saturating_mul(1 << self.failed.min(16)).min(RETRY_MAX);
                self.failed += 1;
                progress.wait = Some(asked.map_or(backoff, |asked| asked.clamp(RETRY_FIRST, RETRY_AFTER_MAX)));
                return progress;
            }
            if is_set_aside {
                progress.refused += 1;
                tracing::warn!(run = %event.run, event = event.event_type, tenant = %event.tenant, why = what, "the OpenLineage endpoint refuses an event; it is set aside, and those behind it go on");
            }
            self.failed = 0;
            progress.done += 1;
        }
        progress
    }

    async fn send(&self, event: &Told) -> Result<(StatusCode, Option<Duration>), reqwest::Error> {
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        request = match zipped(&event.json) {
            Some(zipped) => request.header(CONTENT_ENCODING, "gzip").body(zipped),
            None => request.body(event.json.clone()),
        };
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await?;
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| self.wait_asked(text));
        Ok((response.status(), asked))
    }

    /// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
    fn wait_asked(&self, text: &str) -> Option<Duration> {
        if let Ok(seconds) = text.trim().parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(self.clock.now())).unwrap_or_default())
    }
}

fn target(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if path.ends_with(PATH) { path } else { path + PATH };
    url.set_path(&path);
    url
}

fn zipped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path is put behind the address once.
    #[test]
    fn the_path_is_put_behind_once() {
        let cases = [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/api/v1/lineage"),
            ("https://x.example/marquez/", "https://x.example/marquez/api/v1/lineage"),
            ("https://x.example/api/v1/lineage/", "https://x.example/api/v1/lineage"),
        ];
        for (url, expected) in cases {
            assert_eq!(target(Url::parse(url).unwrap()).as_str(), expected);
        }
    }

    /// What stands in the way of the event alone sets it aside; what stands in the way of all is waited for.
    #[test]
    fn answers_are_told_apart() {
        let verdict = |status| Verdict::of(StatusCode::from_u16(status).unwrap());
        assert!([200, 201, 204].map(verdict).iter().all(|verdict| *verdict == Verdict::Taken));
        assert!([400, 409, 413, 415, 422].map(verdict).iter().all(|verdict| *verdict == Verdict::Refused));
        assert!([401, 403, 404, 307].map(verdict).iter().all(|verdict| *verdict == Verdict::Closed));
        assert!([408, 429, 500, 502, 503, 504].map(verdict).iter().all(|verdict| *verdict == Verdict::Later));
    }

    /// `Retry-After` is read in both of its forms.
    #[test]
    fn waits_are_read() {
        let clock = Clock::manual("2026-11-24T12:00:00Z".parse().unwrap());
        let endpoint = Endpoint { url: Url::parse("http://127.0.0.1:1").unwrap(), api_key: None };
        let endpoint = HttpEndpoint::new(endpoint, clock).unwrap();
        assert_eq!(endpoint.wait_asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(endpoint.wait_asked("Tue, 24 Nov 2026 12:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(endpoint.wait_asked("Tue, 24 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(endpoint.wait_asked("soon"), None);
    }
}
