//! Proofs that a leaf is in a tree, and that a tree is the beginning of a later one: made from stored nodes, checked from
//! nothing but themselves (RFC 6962, 2.1.1 and 2.1.2; checked as RFC 9162, 2.1.3.2 and 2.1.4.2 prescribe).

use crate::merkle::Hash;
use crate::merkle::NodeId;
use crate::merkle::empty_root;
use crate::merkle::node_hash;

/// What is wrong with a proof, or with the question for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf is not in a tree of that size.
    #[error("entry {index} is not in a tree of {size} entries; ask for a later checkpoint")]
    IndexBeyond {
        /// The leaf's position.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A tree cannot be the beginning of a smaller one, and nothing follows from the empty one.
    #[error("a tree of {from} entries cannot be shown to begin a tree of {to} entries; `from` is from 1 to `to`")]
    SizeBeyond {
        /// The earlier size.
        from: u64,
        /// The later size.
        to: u64,
    },
    /// The number of hashes does not fit the sizes.
    #[error("the proof has {found} hashes, which does not fit a tree of {size} entries")]
    WrongLength {
        /// The tree's size.
        size: u64,
        /// The number of hashes given.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root than that of the tree of {size} entries: the entry, the proof or the tree was altered")]
    WrongRoot {
        /// The tree's size.
        size: u64,
    },
}

/// The root of the first `size` leaves of a stored tree.
///
/// # Errors
/// Whatever `read` fails with.
pub fn root<E>(size: u64, read: &mut impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Hash, E> {
    if size == 0 { Ok(empty_root()) } else { range_root(0, size, read) }
}

/// The hashes that lead from leaf `index` to the root of the first `size` leaves, lowest first.
///
/// # Errors
/// [`ProofError::IndexBeyond`], or whatever `read` fails with.
pub fn inclusion_proof<E: From<ProofError>>(
    index: u64,
    size: u64,
    read: &mut impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if index >= size {
        return Err(ProofError::IndexBeyond { index, size }.into());
    }
    let (mut begin, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            proof.push(range_root(middle, end, read)?);
            end = middle;
        } else {
            proof.push(range_root(begin, middle, read)?);
            begin = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that show that the first `from` leaves are the beginning of the first `to`.
///
/// # Errors
/// [`ProofError::SizeBeyond`], or whatever `read` fails with.
pub fn consistency_proof<E: From<ProofError>>(
    from: u64,
    to: u64,
    read: &mut impl FnMut(NodeId) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if from == 0 || from > to {
        return Err(ProofError::SizeBeyond { from, to }.into());
    }
    let (mut begin, mut end) = (0, to);
    let mut proof = Vec::new();
    while end > from {
        let middle = begin + split(end - begin);
        if from <= middle {
            proof.push(range_root(middle, end, read)?);
            end = middle;
        } else {
            proof.push(range_root(begin, middle, read)?);
            begin = middle;
        }
    }
    // Of a complete tree at the very beginning the verifier knows the root.
    if begin > 0 {
        proof.push(range_root(begin, end, read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that the leaf of this hash stands at `index` of the tree of `size` leaves and this root.
///
/// # Errors
/// What does not fit.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::IndexBeyond { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for beside in proof {
        if last == 0 {
            return Err(ProofError::WrongLength { size, found: proof.len() });
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(beside, &hash);
            skip_lone_nodes(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::WrongRoot { size }),
        _ => Err(ProofError::WrongLength { size, found: proof.len() }),
    }
}

/// Checks that the tree of `from` leaves and `from_root` is the beginning of the tree of `to` leaves and `to_root`.
///
/// # Errors
/// What does not fit.
pub fn verify_consistency(from: u64, to: u64, proof: &[Hash], from_root: &Hash, to_root: &Hash) -> Result<(), ProofError> {
    let wrong_length = ProofError::WrongLength { size: to, found: proof.len() };
    if from == 0 || from > to {
        return Err(ProofError::SizeBeyond { from, to });
    }
    if from == to {
        let same = from_root == to_root;
        return if !proof.is_empty() { Err(wrong_length) } else { same.then_some(()).ok_or(ProofError::WrongRoot { size: to }) };
    }
    let mut hashes = proof.iter();
    let start = if from.is_power_of_two() { from_root } else { hashes.next().ok_or(wrong_length)? };
    let (mut node, mut last) = (from - 1, to - 1);
    let complete = node.trailing_ones();
    (node, last) = (node >> complete, last >> complete);
    let (mut old, mut new) = (*start, *start);
    for beside in hashes {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(beside, &old);
            new = node_hash(beside, &new);
            skip_lone_nodes(&mut node, &mut last);
        } else {
            new = node_hash(&new, beside);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    match (last, old == *from_root, new == *to_root) {
        (0, true, true) => Ok(()),
        (0, false, _) => Err(ProofError::WrongRoot { size: from }),
        (0, true, false) => Err(ProofError::WrongRoot { size: to }),
        _ => Err(wrong_length),
    }
}

/// On the right edge a node without a sibling is its own parent: climbs to where it has one.
fn skip_lone_nodes(node: &mut u64, last: &mut u64) {
    let lone = if *node == 0 { 0 } else { node.trailing_zeros() };
    (*node, *last) = (*node >> lone, *last >> lone);
}

/// The root of the leaves `begin..end`, where `begin` is a multiple of the largest power of two in the range.
fn range_root<E>(begin: u64, end: u64, read: &mut impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Hash, E> {
    let count = end - begin;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return read(NodeId { level: u8::try_from(level).unwrap_or(u8::MAX), index: begin >> level });
    }
    let middle = begin + split(count);
    let left = range_root(begin, middle, read)?;
    Ok(node_hash(&left, &range_root(middle, end, read)?))
}

/// The largest power of two below `count`, which is at least two.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}
