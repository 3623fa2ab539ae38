//! The Merkle tree of RFC 6962: hashes, proofs, and the pure arithmetic of an append-only log.
