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
/// What follows the first unreadable entry was being written when the power went, unless a whole entry follows: then the
/// list is damaged, and what it has lost would come back to life.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<DestroyedKey>> {
    let mut entries = bytes.chunks(ENTRY_BYTES).map(parse);
    let whole = entries.by_ref().map_while(|entry| entry).collect();
    if entries.any(|entry| entry.is_some()) { None } else { Some(whole) }
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
