//! Answers that several streams of one connection ask for while it is read: a parent of three children is asked once, not three times.
//!
//! They are kept in memory, up to a limit, by those who read the connection now, and go with them; a gate that closes leaves
//! nothing to the next who reads. Which answers are kept: those of parents, and of requesters with `use_cache`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use reqwest::Method;

use crate::digest::Digest;
use crate::fetch::client::Incoming;
use crate::fetch::request::Request;

/// The bytes of all bodies that are kept for one connection; what comes after them is asked for anew each time.
pub const ANSWERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The answers that are kept.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_request: HashMap<Digest, Incoming>,
    bytes: usize,
}

impl Answers {
    /// What tells a request from others: address, headers and credential. Only what is read with GET can be kept.
    pub fn key(request: &Request) -> Option<Digest> {
        if request.method != Method::GET {
            return None;
        }
        let mut text = request.sent_url().to_string().into_bytes();
        for (name, value) in &request.header_map(true).ok()? {
            text.push(0);
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(0);
            text.extend_from_slice(value.as_bytes());
        }
        if let Some((_, body)) = request.body.write() {
            text.push(0);
            text.extend_from_slice(&body);
        }
        Some(Digest::of(&text))
    }

    /// The answer to a request that was asked before.
    pub fn find(&self, key: &Digest) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_request.get(key).cloned()
    }

    /// Keeps an answer, if it is a good one and there is room.
    pub fn keep(&self, key: Digest, answer: &Incoming) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = kept.bytes + answer.body.len();
        if answer.is_success() && bytes <= ANSWERS_BYTES_MAX && kept.by_request.insert(key, answer.clone()).is_none() {
            kept.bytes = bytes;
        }
    }
}
