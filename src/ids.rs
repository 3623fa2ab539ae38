//! Identifiers: one prefix per kind, so that an id is legible in a log and cannot be passed for another.
//!
//! Ids that go outside are UUID version 7 (RFC 9562) behind a prefix. Keys inside the store use the short numbers of
//! [`ConnectionKey`], which begin every key of a connection: tenant first.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use data_encoding::HEXLOWER;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id; one looks like `{prefix}_` followed by {length} characters")]
pub struct IdError {
    /// What was given, cut to 64 characters.
    pub text: String,
    /// The kind that was expected.
    pub kind: &'static str,
    /// The prefix of that kind.
    pub prefix: &'static str,
    /// The number of characters behind the underscore.
    pub length: usize,
}

/// The source of randomness, passed in so that no function reaches for an ambient one.
#[derive(Clone, Default)]
pub struct Entropy(SystemRandomHandle);

#[derive(Clone)]
struct SystemRandomHandle(SystemRandom);

impl Default for SystemRandomHandle {
    fn default() -> Self {
        #[allow(clippy::disallowed_methods, reason = "the one place where the system generator is made")]
        let generator = SystemRandom::new();
        SystemRandomHandle(generator)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

impl Entropy {
    /// The operating system's generator.
    pub fn system() -> Self {
        Self::default()
    }

    /// `N` random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing that Headgate does is safe then.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.0.fill(&mut bytes).expect("the operating system's random generator answers");
        bytes
    }

    /// A number in `0..bound` (0 for a bound of 0), for jitter; not for keys.
    pub fn below(&self, bound: u64) -> u64 {
        u64::from_be_bytes(self.bytes()).checked_rem(bound).unwrap_or(0)
    }

    /// The underlying generator, for signatures and keys made by `ring`.
    pub fn generator(&self) -> &SystemRandom {
        &self.0.0
    }
}

/// Declares an id kind: `id!(/** doc */ ConnectionId, "conn");`
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: ordered by `now`, unguessable in its last 74 bits.
            pub fn new(now: Timestamp, entropy: &Entropy) -> Self {
                let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
                Self(*uuid::Builder::from_unix_timestamp_millis(milliseconds, &entropy.bytes()).into_uuid().as_bytes())
            }

            /// The sixteen bytes, for storage keys.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0
            }

            /// From the sixteen bytes of a storage key.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok())
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| IdError { text: cut(text), kind: stringify!($name), prefix: $prefix, length: 32 })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(/** One customer's authorization of one connector. */ ConnectionId, "conn");
id!(/** The runs that were started together. */ PullId, "pull");
id!(/** One attempt to read one stream. */ RunId, "run");
id!(/** What a customer agreed to, and when. */ ConsentId, "cons");
id!(/** One act of revocation, as its receipt names it. */ RevocationId, "rvk");
id!(/** One request to make records unreadable. */ ErasureId, "eras");
id!(/** Records of a connection handed to a recipient, for a purpose and in a way. */ DisclosureId, "disc");
id!(/** An API key's public name; the key itself is a secret. */ KeyId, "key");
id!(/** A connect session: one link that a customer may open. */ SessionId, "sess");

/// The first 64 characters of a text that came from outside, for messages.
pub fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A tenant's slug: 1 to 64 characters of `a-z 0-9 - _ .`, the first a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

/// A text that is no tenant slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tenant name: use 1 to 64 of a-z, 0-9, `-`, `_`, `.`, beginning with a letter or digit")]
pub struct TenantError(pub String);

impl TenantId {
    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = TenantError;

    fn try_from(text: String) -> Result<Self, TenantError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        let bytes = text.as_bytes();
        let good = (1..=64).contains(&bytes.len()) && bytes.iter().copied().all(allowed) && bytes[0].is_ascii_alphanumeric();
        if good { Ok(TenantId(text)) } else { Err(TenantError(cut(&text))) }
    }
}

impl FromStr for TenantId {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        text.to_owned().try_into()
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> String {
        tenant.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The two numbers that begin every storage key of a connection. Neither is ever used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnectionKey {
    /// The tenant's number.
    pub tenant: u32,
    /// The connection's number.
    pub connection: u32,
}

impl ConnectionKey {
    /// What is a tenant's own and no connection's stands under connection number zero, which no connection has.
    pub fn of_tenant(tenant: u32) -> Self {
        ConnectionKey { tenant, connection: 0 }
    }

    /// Tenant, then connection, big-endian: the order of bytes is the order of numbers.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.tenant.to_be_bytes());
        bytes[4..].copy_from_slice(&self.connection.to_be_bytes());
        bytes
    }

    /// The inverse of [`ConnectionKey::to_bytes`].
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { tenant: u32::from_be_bytes([a, b, c, d]), connection: u32::from_be_bytes([e, f, g, h]) }
    }
}

impl fmt::Display for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.tenant, self.connection)
    }
}

/// A record's id: it says where the record's index entry is, and means nothing once the connection's key is gone.
///
/// `rec_` and the base32 of tenant, connection, stream and the first 16 bytes of an HMAC (under the connection's index
/// key) of partition and primary key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// Whose record it is.
    pub owner: ConnectionKey,
    /// The stream's number within the connection.
    pub stream: u16,
    /// The keyed hash of partition and primary key.
    pub hash: [u8; 16],
}

impl RecordId {
    /// What stands before the underscore.
    pub const PREFIX: &'static str = "rec";

    /// The 26 bytes of the id.
    pub fn to_bytes(self) -> [u8; 26] {
        let mut bytes = [0; 26];
        bytes[..8].copy_from_slice(&self.owner.to_bytes());
        bytes[8..10].copy_from_slice(&self.stream.to_be_bytes());
        bytes[10..].copy_from_slice(&self.hash);
        bytes
    }

    /// The inverse of [`RecordId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 26]) -> Self {
        let mut owner = [0; 8];
        owner.copy_from_slice(&bytes[..8]);
        let mut hash = [0; 16];
        hash.copy_from_slice(&bytes[10..]);
        Self { owner: ConnectionKey::from_bytes(owner), stream: u16::from_be_bytes([bytes[8], bytes[9]]), hash }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = BASE32_NOPAD.encode(&self.to_bytes());
        text.make_ascii_lowercase();
        write!(f, "rec_{text}")
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("rec_")
            .filter(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
            .and_then(|code| BASE32_NOPAD.decode(code.to_ascii_uppercase().as_bytes()).ok())
            .and_then(|bytes| <[u8; 26]>::try_from(bytes).ok())
            .map(Self::from_bytes)
            .ok_or_else(|| IdError { text: cut(text), kind: "RecordId", prefix: "rec", length: 42 })
    }
}

impl Serialize for RecordId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One stored response: owner and the page's number, strictly rising within the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId {
    /// Whose page it is.
    pub owner: ConnectionKey,
    /// The page's number within the connection.
    pub page: u64,
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.owner.to_bytes());
        bytes[8..].copy_from_slice(&self.page.to_be_bytes());
        let mut text = BASE32_NOPAD.encode(&bytes);
        text.make_ascii_lowercase();
        write!(f, "page_{text}")
    }
}

impl FromStr for PageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError { text: cut(text), kind: "PageId", prefix: "page", length: 26 };
        let code = text.strip_prefix("page_").filter(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        let bytes = code.and_then(|code| BASE32_NOPAD.decode(code.to_ascii_uppercase().as_bytes()).ok());
        let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).ok_or_else(refuse)?;
        let [a, b, c, d, e, f, g, h, page @ ..] = bytes;
        Ok(PageId { owner: ConnectionKey::from_bytes([a, b, c, d, e, f, g, h]), page: u64::from_be_bytes(page) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every record id reads back from its text, and ids of other kinds are refused.
        #[test]
        fn record_ids_round_trip(tenant: u32, connection: u32, stream: u16, hash: [u8; 16]) {
            let id = RecordId { owner: ConnectionKey { tenant, connection }, stream, hash };
            prop_assert_eq!(id.to_string().parse::<RecordId>(), Ok(id));
            prop_assert!(id.to_string().parse::<RunId>().is_err());
        }

        /// Every page id reads back from its text.
        #[test]
        fn page_ids_round_trip(tenant: u32, connection: u32, page: u64) {
            let id = PageId { owner: ConnectionKey { tenant, connection }, page };
            prop_assert_eq!(id.to_string().parse::<PageId>(), Ok(id));
        }

        /// Texts that are no ids are refused, never a panic.
        #[test]
        fn foreign_text_is_no_id(text in ".{0,80}") {
            let _ = text.parse::<RecordId>().is_ok();
            let _ = text.parse::<ConnectionId>().is_ok();
            let _ = text.parse::<TenantId>().is_ok();
        }
    }
}
