//! Rows: typed keys and values, and how they are written as bytes.

use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::ConnectionKey;
use crate::store::StoreError;
use crate::store::Table;

/// The version byte before every value; a new meaning of a row takes a new one.
const VALUE_VERSION: u8 = 1;

/// A row of one table. Values are postcard behind a version byte: add fields only with a new version.
pub trait Row: Serialize + DeserializeOwned {
    /// Where it lives.
    const TABLE: Table;
    /// What finds it.
    type Key: RowKey;
}

/// A key's parts as bytes, in an order where bytes sort as the parts do.
pub trait RowKey: Sized {
    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads them back from the whole rest of a key.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

impl RowKey for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl RowKey for String {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

impl<const N: usize> RowKey for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

macro_rules! fixed_key {
    ($type:ty, $width:literal, $to:expr, $from:expr) => {
        impl RowKey for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                let to: fn(&$type) -> [u8; $width] = $to;
                out.extend_from_slice(&to(self));
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                let from: fn([u8; $width]) -> $type = $from;
                bytes.try_into().ok().map(from)
            }
        }

        impl FixedWidth for $type {
            const WIDTH: usize = $width;
        }
    };
}

/// A part of known width, which may stand before others.
pub trait FixedWidth: RowKey {
    /// Its width in bytes.
    const WIDTH: usize;
}

fixed_key!(u8, 1, |n| [*n], |[n]| n);
fixed_key!(u16, 2, |n| n.to_be_bytes(), u16::from_be_bytes);
fixed_key!(u32, 4, |n| n.to_be_bytes(), u32::from_be_bytes);
fixed_key!(u64, 8, |n| n.to_be_bytes(), u64::from_be_bytes);
fixed_key!(ConnectionKey, 8, |key| key.to_bytes(), ConnectionKey::from_bytes);

impl<const N: usize> FixedWidth for [u8; N] {
    const WIDTH: usize = N;
}

impl<A: FixedWidth, B: RowKey> RowKey for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_at_checked(A::WIDTH)?;
        Some((A::decode(first)?, B::decode(rest)?))
    }
}

impl<A: FixedWidth, B: FixedWidth> FixedWidth for (A, B) {
    const WIDTH: usize = A::WIDTH + B::WIDTH;
}

/// The whole key of a row.
pub(super) fn key_bytes<R: Row>(key: &R::Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.push(R::TABLE.tag());
    key.encode(&mut bytes);
    bytes
}

/// The whole value of a row.
pub(super) fn value_bytes<R: Row>(row: &R) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(row, vec![VALUE_VERSION]).map_err(|_| StoreError::Malformed { table: R::TABLE.name() })
}

/// A row from its value.
pub(super) fn decode<R: Row>(value: &[u8]) -> Result<R, StoreError> {
    match value.split_first() {
        Some((&VALUE_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| StoreError::Malformed { table: R::TABLE.name() }),
        _ => Err(StoreError::Malformed { table: R::TABLE.name() }),
    }
}

/// Key and row from the engine's bytes.
pub(super) fn entry<R: Row>(key: &[u8], value: &[u8]) -> Result<(R::Key, R), StoreError> {
    let key = key.get(1..).and_then(R::Key::decode).ok_or(StoreError::Malformed { table: R::TABLE.name() })?;
    Ok((key, decode(value)?))
}

/// The range of a table's keys that begin with `prefix`.
pub(super) fn range<R: Row>(prefix: &[u8]) -> (Vec<u8>, Bound<Vec<u8>>) {
    prefixed(R::TABLE, prefix)
}

/// [`range`] for whatever rows the table has.
pub(super) fn prefixed(table: Table, prefix: &[u8]) -> (Vec<u8>, Bound<Vec<u8>>) {
    let mut start = vec![table.tag()];
    start.extend_from_slice(prefix);
    let mut end = start.clone();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (start, Bound::Excluded(end));
        }
    }
    (start, Bound::Unbounded)
}
