//! What a fetch hands to intake: one response as it came, and where the records lie in it.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::record::JsonText;

/// One request to a Connected Application and the answer it got, without bodies and without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The request method, upper case.
    pub method: String,
    /// The absolute URL that was asked for, with every secret in it replaced.
    pub url: String,
    /// The answer's status.
    pub status: u16,
    /// Which try this was, from 1.
    pub attempt: u32,
    /// When the request left.
    pub requested_at: Timestamp,
    /// When the whole body had been read.
    pub received_at: Timestamp,
    /// The digest of the body after content decoding.
    pub response_sha256: Digest,
    /// The length of the body after content decoding.
    pub bytes: u64,
    /// The application's own name for the request, from its answer.
    pub request_id: Option<String>,
    /// The generation of the credential that it carried; none as long as nobody knows (a connection without tokens).
    pub credential: Option<u64>,
}

/// One page of a stream: a body, and the records that were selected from it.
#[derive(Debug, Clone)]
pub struct FetchedPage {
    /// The stream's name.
    pub stream: String,
    /// The request and its answer.
    pub exchange: Exchange,
    /// The body after content decoding; for an answer that is no JSON, its decoded form, which the exchange's digest is not of.
    pub body: Bytes,
    /// The slice of the stream that was asked for, if it is cut into slices.
    pub partition: Option<Value>,
    /// The records that passed the filter, in the order of the body.
    pub records: Vec<FetchedRecord>,
    /// How many records the manifest's filter left out.
    pub filtered: u64,
    /// How many items were no records (not an object, or in an answer that the manifest ignores).
    pub ignored: u64,
    /// How many values that a transformation added were texts that an expression's result made into another type, such as an identifier of digits.
    pub coerced: u64,
    /// How many of those are part of the primary key: two records may have become one.
    pub coerced_keys: u64,
    /// The stream's state after this page, to be written in the same unit as the page.
    pub cursor: Option<Value>,
}

/// One record of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedRecord {
    /// Where its JSON text lies in the body.
    pub range: Range<usize>,
    /// The JSON Pointer (RFC 6901) of the record within the response; where that is no JSON, within its decoded form: `/0` is the first
    /// row of a table below its header, the first line, the first file's first record.
    pub pointer: String,
    /// The values of the stream's primary key, in the declared order; empty when the stream has none.
    pub primary_key: Vec<Value>,
    /// The record after the manifest's transformations; absent when they changed nothing.
    ///
    /// As text, because most changes are made in the text: a tree is built by those that need one.
    pub emitted: Option<JsonText>,
    /// The transformations that changed it, by name.
    pub transformations: Vec<String>,
    /// Its own members that a transformation made infinite or not a number: JSON lacks those, so they are null in `emitted`.
    pub boundless: Vec<String>,
}

impl FetchedRecord {
    /// The record's text as emitted: its own, or what transformations made of the part of `body` that it is.
    pub fn text<'a>(&'a self, body: &'a [u8]) -> &'a [u8] {
        match &self.emitted {
            Some(emitted) => emitted.as_str().as_bytes(),
            None => body.get(self.range.clone()).unwrap_or(b"{}"),
        }
    }
}

impl FetchedPage {
    /// The JSON text of `record`, or nothing when its range does not lie in this page's body.
    pub fn raw(&self, record: &FetchedRecord) -> Option<Bytes> {
        self.body.get(record.range.clone()).map(|raw| self.body.slice_ref(raw))
    }
}
