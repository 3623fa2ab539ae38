//! The Merkle tree of RFC 6962: hashes, proofs, and the pure arithmetic of an append-only log.

use ring::digest;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The root of the empty tree.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The hash of a leaf (RFC 6962 section 2.1): a zero byte goes before it.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of two subtrees (RFC 6962 section 2.1): a one byte goes before them.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
