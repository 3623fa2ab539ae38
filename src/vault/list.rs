//! The list of destroyed keys as bytes: entries of one length, each with a check, added at the end and never changed.

use crate::clock::Timestamp;
use crate::digest::Digest;
use crate::ids::ConnectionKey;
use crate::vault::DestroyedKey;
use crate::vault::KeyKind;

/// The bytes of SHA-256 that guard a file or an entry against damage; against attack the AEAD inside does.
pub(super) const CHECK_BYTES: usize = 8;
/// The bytes of an entry of the list of destroyed keys.
pub(super) const ENTRY_BYTES: usize = ENTRY_BODY_BYTES + CHECK_BYTES;
const ENTRY_BODY_BYTES: usize = 1 + 1 + 8 + 4 + 16 + 8;
/// The version of an entry's form, its first byte.
const ENTRY_VERSION: u8 = 1;

/// The entries, oldest first; none when the list is damaged.
///
/// The entries of one destruction have one time and share one sync, so a power loss may leave any of the last destruction's and
/// tear the others: those are left out, for nobody was told of them. An unreadable entry with whole ones of two times behind it
/// was synced long ago: that is damage, and what the list has lost would come back to life.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<DestroyedKey>> {
    let entries: Vec<Option<DestroyedKey>> = bytes.chunks(ENTRY_BYTES).map(parse).collect();
    let torn_from = entries.iter().position(Option::is_none).unwrap_or(entries.len());
    let last = entries.iter().rev().flatten().next().map(|key| key.at);
    if entries[torn_from..].iter().flatten().any(|key| Some(key.at) != last) {
        return None;
    }
    Some(entries.into_iter().flatten().collect())
}

/// The bytes of one entry.
pub(super) fn entry(key: &DestroyedKey) -> Vec<u8> {
    let mut entry = Vec::with_capacity(ENTRY_BYTES);
    entry.extend_from_slice(&[ENTRY_VERSION, key.kind as u8]);
    entry.extend_from_slice(&key.owner.to_bytes());
    entry.extend_from_slice(&key.extent.to_be_bytes());
    entry.extend_from_slice(&key.id);
    entry.extend_from_slice(&key.at.as_millisecond().to_be_bytes());
    entry.extend_from_slice(&check(&entry));
    entry
}

fn parse(entry: &[u8]) -> Option<DestroyedKey> {
    let (body, sum) = entry.split_last_chunk::<CHECK_BYTES>()?;
    if check(body) != *sum {
        return None;
    }
    let (&[version, kind], rest) = body.split_first_chunk::<2>()?;
    let (owner, rest) = rest.split_first_chunk::<8>()?;
    let (extent, rest) = rest.split_first_chunk::<4>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let at = Timestamp::from_millisecond(i64::from_be_bytes(rest.try_into().ok()?)).ok()?;
    let kind = KeyKind::from_number(kind).filter(|_| version == ENTRY_VERSION)?;
    Some(DestroyedKey { kind, owner: ConnectionKey::from_bytes(*owner), extent: u32::from_be_bytes(*extent), id: *id, at })
}

/// The check of some bytes.
pub(super) fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Digest::of(bytes).to_bytes();
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(connection: u32, second: i64) -> DestroyedKey {
        let owner = ConnectionKey { tenant: 1, connection };
        DestroyedKey { kind: KeyKind::Connection, owner, extent: 0, id: [7; 16], at: Timestamp::from_second(second).unwrap() }
    }

    /// Of the last destruction, which nobody was told of, any entry may be torn (the first of it cannot be told from the one
    /// before); of an earlier one, none.
    #[test]
    fn only_the_last_destruction_may_be_torn() {
        let keys = [key(1, 1), key(2, 2), key(3, 2), key(4, 3), key(5, 3), key(6, 3)];
        let bytes: Vec<u8> = keys.iter().flat_map(entry).collect();
        assert_eq!(read(&bytes), Some(keys.to_vec()));
        for torn in 0..keys.len() {
            let mut bytes = bytes.clone();
            bytes[torn * ENTRY_BYTES + 3..(torn + 1) * ENTRY_BYTES].fill(0);
            let left = (torn >= 2).then(|| [&keys[..torn], &keys[torn + 1..]].concat());
            assert_eq!(read(&bytes), left, "entry {torn}");
        }
        assert_eq!(read(&bytes[..bytes.len() - 1]), Some(keys[..5].to_vec()), "cut within the last");
    }
}
