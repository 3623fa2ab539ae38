//! What an answer's headers say about the next request. The shapes are those that applications use in practice:
//!
//! - `Retry-After` in seconds or as an HTTP date (RFC 9110 section 10.2.3), on refusals;
//! - how many requests remain, with a reset in seconds, in milliseconds (`…-ms`), or as a Unix time in either unit;
//! - `RateLimit: limit=…, remaining=…, reset=…` and its successor `"policy";r=…;t=…` (drafts of the IETF HTTPAPI group);
//! - a leaky bucket as `used/size` (Shopify, Gorgias).

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::DATE;
use reqwest::header::HeaderMap;
use reqwest::header::RETRY_AFTER;

use crate::clock::Timestamp;

/// A wait that an application asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// How long, from the answer's arrival.
    pub time: Duration,
    /// The header that says so.
    pub header: &'static str,
}

/// Pairs of headers: how many requests remain, and when that changes.
const REMAINING_AND_RESET: [(&str, &[&str]); 6] = [
    ("x-ratelimit-remaining", &["x-ratelimit-reset", "x-ratelimit-reset-after"]),
    ("ratelimit-remaining", &["ratelimit-reset"]),
    ("x-rate-limit-remaining", &["x-rate-limit-reset"]),
    ("x-rate-limit-requests-left", &["x-rate-limit-time-reset-ms"]),
    ("x-hubspot-ratelimit-remaining", &["x-hubspot-ratelimit-interval-milliseconds-ms"]),
    ("x-minlimit-remaining", &[]),
];

/// Buckets told as `used/size`.
const BUCKETS: [&str; 2] = ["x-shopify-shop-api-call-limit", "x-gorgias-account-api-call-limit"];

/// A full bucket of either application drains in this time: 40 at 2 a second, 40 in 20 seconds (their documentation).
const BUCKET_DRAIN: Duration = Duration::from_secs(20);

/// Without a reset, a spent allowance is taken to be one of a minute (Xero's `X-MinLimit-Remaining` is).
const WINDOW_UNKNOWN: Duration = Duration::from_secs(60);

/// Numbers from here on are Unix seconds, and from the other on Unix milliseconds: no application asks for 31 years.
const UNIX_SECONDS_MIN: f64 = 1e9;
const UNIX_MILLISECONDS_MIN: f64 = 1e12;

/// The longest wait that any of an answer's headers asks for. Dates are read against the answer's own `Date`, so that a
/// wrong clock on either side does not matter; `now` stands in where there is none.
pub fn read(status: u16, headers: &HeaderMap, now: Timestamp) -> Option<Wait> {
    let reference = text(headers, DATE.as_str()).and_then(http_date).unwrap_or(now);
    let mut waits = Vec::new();
    if status >= 400 {
        let asked = text(headers, RETRY_AFTER.as_str()).and_then(|value| retry_after(value, reference));
        waits.extend(asked.map(|time| Wait { time, header: "Retry-After" }));
    }
    for (remaining, resets) in REMAINING_AND_RESET {
        if text(headers, remaining).and_then(|value| value.parse::<f64>().ok()).is_some_and(|left| left < 1.0) {
            let reset = resets.iter().find_map(|reset| moment(text(headers, reset)?, reset.ends_with("-ms"), reference));
            waits.push(Wait { time: reset.unwrap_or(WINDOW_UNKNOWN), header: remaining });
        }
    }
    waits.extend(text(headers, "ratelimit").and_then(structured).map(|time| Wait { time, header: "RateLimit" }));
    waits.extend(BUCKETS.into_iter().filter_map(|header| Some(Wait { time: bucket(text(headers, header)?)?, header })));
    waits.into_iter().filter(|wait| !wait.time.is_zero()).max_by_key(|wait| wait.time)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The value of `Retry-After`.
fn retry_after(value: &str, reference: Timestamp) -> Option<Duration> {
    moment(value, false, reference).or_else(|| until(http_date(value)?, reference))
}

/// A number that is a wait or a Unix time, by its size.
fn moment(value: &str, milliseconds: bool, reference: Timestamp) -> Option<Duration> {
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite())?.max(0.0);
    let seconds = if milliseconds || number >= UNIX_MILLISECONDS_MIN { number / 1000.0 } else { number };
    let wait = if seconds >= UNIX_SECONDS_MIN { seconds - reference.as_millisecond() as f64 / 1000.0 } else { seconds };
    Duration::try_from_secs_f64(wait.max(0.0)).ok()
}

/// The date format of RFC 9110; its two obsolete forms are not met in practice.
fn http_date(value: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(value).ok()
}

fn until(moment: Timestamp, reference: Timestamp) -> Option<Duration> {
    Some(Duration::try_from(moment.duration_since(reference)).unwrap_or(Duration::ZERO))
}

/// `limit=10, remaining=0, reset=5` or `"default";r=0;t=5`.
fn structured(value: &str) -> Option<Duration> {
    let number = |names: [&str; 2]| {
        let mut parts = value.split([',', ';']).filter_map(|part| part.split_once('='));
        parts.find(|(name, _)| names.contains(&name.trim()))?.1.trim().parse::<u32>().ok()
    };
    let spent = number(["remaining", "r"])? == 0;
    spent.then(|| number(["reset", "t"]).map_or(WINDOW_UNKNOWN, |seconds| Duration::from_secs(seconds.into())))
}

/// The time until a full bucket has room for one more.
fn bucket(value: &str) -> Option<Duration> {
    let (used, size) = value.split_once('/')?;
    let (used, size) = (used.trim().parse::<u32>().ok()?, size.trim().parse::<u32>().ok().filter(|size| *size > 0)?);
    (used >= size).then(|| BUCKET_DRAIN / size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderName;
    use reqwest::header::HeaderValue;

    use super::*;

    fn wait(status: u16, headers: &[(&str, &str)]) -> Option<f64> {
        let pairs = headers.iter().map(|(name, value)| (name.parse::<HeaderName>(), HeaderValue::from_str(value)));
        let map = pairs.map(|(name, value)| (name.expect("a name"), value.expect("a value"))).collect();
        read(status, &map, "2026-11-24T10:00:00Z".parse().expect("a time")).map(|wait| wait.time.as_secs_f64())
    }

    /// Every shape that PROVIDERS describes is read; what says nothing makes no wait.
    #[test]
    fn every_shape_is_read() {
        for (status, headers, expected) in [
            (429, &[("retry-after", "7")][..], Some(7.0)),
            (429, &[("retry-after", "1.5")], Some(1.5)),
            (503, &[("retry-after", "Tue, 24 Nov 2026 10:02:00 GMT")], Some(120.0)),
            (503, &[("retry-after", "Tue, 24 Nov 2026 10:02:00 GMT"), ("date", "Tue, 24 Nov 2026 10:01:30 GMT")], Some(30.0)),
            (429, &[("retry-after", "Tue, 24 Nov 2026 09:00:00 GMT")], None),
            (429, &[("retry-after", "-5")], None),
            (429, &[("retry-after", "soon")], None),
            (200, &[("retry-after", "7")], None),
            (200, &[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "20")], None),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "20")], Some(20.0)),
            (200, &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "12")], Some(12.0)),
            (200, &[("x-rate-limit-requests-left", "0"), ("x-rate-limit-time-reset-ms", "1500")], Some(1.5)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795514460")], Some(60.0)),
            (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795514460500")], Some(60.5)),
            (200, &[("x-minlimit-remaining", "0")], Some(60.0)),
            (200, &[("x-shopify-shop-api-call-limit", "40/40")], Some(0.5)),
            (200, &[("x-shopify-shop-api-call-limit", "32/40")], None),
            (200, &[("x-gorgias-account-api-call-limit", "80/0")], None),
            (200, &[("ratelimit", "limit=10, remaining=0, reset=5")], Some(5.0)),
            (200, &[("ratelimit", "\"default\";r=0;t=9")], Some(9.0)),
            (200, &[("ratelimit", "\"default\";r=4;t=9")], None),
            (429, &[("retry-after", "3"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "20")], Some(20.0)),
            (429, &[], None),
        ] {
            assert_eq!(wait(status, headers), expected, "{status} {headers:?}");
        }
    }

    proptest! {
        /// No header text panics.
        #[test]
        fn any_text_is_survived(status in 200_u16..600, value in "[ -~]{0,40}") {
            for name in ["retry-after", "x-ratelimit-reset", "ratelimit", "x-shopify-shop-api-call-limit", "date"] {
                let _ = wait(status, &[(name, &value), ("x-ratelimit-remaining", "0")]);
            }
        }
    }
}
