//! The Merkle tree of RFC 6962: hashes, proofs, and the pure arithmetic of an append-only log.
//!
//! Only complete subtrees are stored, each once, under ([`NodeId::level`], [`NodeId::index`]); every root and proof of every
//! earlier size is computed from them. Nothing here reads or writes: stored nodes come through a closure, new ones are
//! returned. Hash is SHA-256 throughout.

mod frontier;
mod proof;

use ring::digest;

pub use frontier::Frontier;
pub use frontier::FrontierError;
pub use proof::ProofError;
pub use proof::consistency_proof;
pub use proof::inclusion_proof;
pub use proof::root;
pub use proof::verify_consistency;
pub use proof::verify_inclusion;

/// A SHA-256 hash of a leaf, a node or a tree.
pub type Hash = [u8; 32];

/// The place of a complete subtree: that of the leaves `index << level .. (index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// The height above the leaves, which are at 0.
    pub level: u8,
    /// The position at that height.
    pub index: u64,
}

/// The hash of a leaf (RFC 6962, 2.1): a leading zero, so that no leaf can be taken for a node.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// The hash of a node over two others (RFC 6962, 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of the tree without leaves: the hash of nothing.
pub fn empty_root() -> Hash {
    sha256(&[])
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    std::array::from_fn(|index| digest.as_ref()[index])
}

#[cfg(test)]
pub(crate) mod naive {
    //! The definitions of RFC 6962 as they stand there, over all leaves at once: what the rest is held against.

    use super::*;

    fn split(count: usize) -> usize {
        count.next_power_of_two() / 2
    }

    /// MTH of section 2.1, over leaf hashes.
    pub(crate) fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&root(left), &root(right))
            }
        }
    }

    /// PATH of section 2.1.1.
    pub(crate) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut path, beside) =
            if index < left.len() { (self::path(index, left), root(right)) } else { (self::path(index - left.len(), right), root(left)) };
        path.push(beside);
        path
    }

    /// SUBPROOF of section 2.1.2.
    pub(crate) fn subproof(size: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
        if size == leaves.len() {
            return if known { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut proof, beside) = if size <= left.len() {
            (subproof(size, left, known), root(right))
        } else {
            (subproof(size - left.len(), right, false), root(left))
        };
        proof.push(beside);
        proof
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn hex(hash: Hash) -> String {
        HEXLOWER.encode(&hash)
    }

    /// A log of leaves and the nodes it stored on the way.
    fn log(count: u64) -> (Vec<Hash>, HashMap<NodeId, Hash>, Frontier) {
        let leaves: Vec<Hash> = (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect();
        let mut frontier = Frontier::default();
        let mut nodes = HashMap::new();
        for leaf in &leaves {
            for (id, hash) in frontier.push(*leaf) {
                assert!(nodes.insert(id, hash).is_none(), "{id:?} is written once");
            }
        }
        (leaves, nodes, frontier)
    }

    fn reader(nodes: &HashMap<NodeId, Hash>) -> impl FnMut(NodeId) -> Result<Hash, ProofError> {
        |id| Ok(nodes[&id])
    }

    /// The test vectors of Certificate Transparency's reference implementation (merkle_tree_test.cc).
    #[test]
    fn known_answers() {
        assert_eq!(hex(empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let mut frontier = Frontier::default();
        for leaf in leaves {
            frontier.push(leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap()));
        }
        assert_eq!(hex(frontier.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    /// All roots and proofs of all sizes up to 70 equal the definitions, and verify.
    #[test]
    fn small_trees_equal_the_definition() {
        const MOST: u64 = 70;
        let (leaves, nodes, _) = log(MOST);
        for size in 0..=MOST {
            let part = &leaves[..usize::try_from(size).unwrap()];
            let whole = naive::root(part);
            assert_eq!(root(size, &mut reader(&nodes)), Ok(whole));
            assert_eq!(Frontier::load(size, &mut reader(&nodes)).map(|frontier| frontier.root()), Ok(whole));
            for index in 0..part.len() {
                let proof = inclusion_proof(index as u64, size, &mut reader(&nodes)).unwrap();
                assert_eq!(proof, naive::path(index, part));
                assert_eq!(verify_inclusion(&part[index], index as u64, size, &proof, &whole), Ok(()));
            }
            for from in 1..=part.len() {
                let proof = consistency_proof(from as u64, size, &mut reader(&nodes)).unwrap();
                assert_eq!(proof, naive::subproof(from, part, true));
                assert_eq!(verify_consistency(from as u64, size, &proof, &naive::root(&part[..from]), &whole), Ok(()));
            }
            assert_eq!(inclusion_proof(size, size, &mut reader(&nodes)), Err(ProofError::IndexBeyond { index: size, size }));
            assert_eq!(consistency_proof(size + 1, size, &mut reader(&nodes)), Err(ProofError::SizeBeyond { from: size + 1, to: size }));
        }
    }

    proptest! {
        /// A proof verifies at its own place only: any other leaf, index, size, root, length or order of hashes is refused.
        #[test]
        fn altered_inclusion_is_refused(size in 1u64..400, seed: u64, at: prop::sample::Index, bit in 0usize..256) {
            let (leaves, nodes, frontier) = log(size);
            let index = seed % size;
            let (leaf, root) = (leaves[usize::try_from(index).unwrap()], frontier.root());
            let proof = inclusion_proof(index, size, &mut reader(&nodes)).unwrap();
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));

            let flip = |hash: &Hash| { let mut hash = *hash; hash[bit / 8] ^= 1 << (bit % 8); hash };
            prop_assert!(verify_inclusion(&flip(&leaf), index, size, &proof, &root).is_err());
            prop_assert!(verify_inclusion(&leaf, index, size, &proof, &flip(&root)).is_err());
            prop_assert!(verify_inclusion(&leaf, index + size, size, &proof, &root).is_err());
            let other = (index + 1) % size;
            prop_assert!(size == 1 || verify_inclusion(&leaf, other, size, &proof, &root).is_err());
            let longer = [proof.as_slice(), &[leaf]].concat();
            prop_assert!(verify_inclusion(&leaf, index, size, &longer, &root).is_err());
            if !proof.is_empty() {
                let mut altered = proof.clone();
                let at = at.index(altered.len());
                altered[at] = flip(&altered[at]);
                prop_assert!(verify_inclusion(&leaf, index, size, &altered, &root).is_err());
                prop_assert!(verify_inclusion(&leaf, index, size, &proof[1..], &root).is_err());
            }
        }

        /// Likewise for consistency.
        #[test]
        fn altered_consistency_is_refused(to in 2u64..400, seed: u64, at: prop::sample::Index, bit in 0usize..256) {
            let (leaves, nodes, frontier) = log(to);
            let from = 1 + seed % to;
            let (old, new) = (naive::root(&leaves[..usize::try_from(from).unwrap()]), frontier.root());
            let proof = consistency_proof(from, to, &mut reader(&nodes)).unwrap();
            prop_assert_eq!(verify_consistency(from, to, &proof, &old, &new), Ok(()));
            let flip = |hash: &Hash| { let mut hash = *hash; hash[bit / 8] ^= 1 << (bit % 8); hash };
            prop_assert!(verify_consistency(from, to, &proof, &flip(&old), &new).is_err());
            prop_assert!(verify_consistency(from, to, &proof, &old, &flip(&new)).is_err());
            prop_assert!(verify_consistency(from, to, &[proof.as_slice(), &[old]].concat(), &old, &new).is_err());
            if !proof.is_empty() {
                let mut altered = proof.clone();
                let at = at.index(altered.len());
                altered[at] = flip(&altered[at]);
                prop_assert!(verify_consistency(from, to, &altered, &old, &new).is_err());
                prop_assert!(verify_consistency(from, to, &proof[1..], &old, &new).is_err());
            }
        }

        /// Hostile numbers and proofs are refused, never a panic and never a long loop.
        #[test]
        fn nonsense_is_refused(index: u64, size: u64, proof: Vec<Hash>, leaf: Hash, root: Hash) {
            prop_assert!(size == 1 && proof.is_empty() || verify_inclusion(&leaf, index, size, &proof, &root).is_err());
            prop_assert!(index == size || index == 0 || verify_consistency(index, size, &proof, &leaf, &root).is_err());
        }

        /// A frontier put away at any size goes on as if it had never been.
        #[test]
        fn a_frontier_survives_being_put_away(first in 0u64..300, more in 0u64..300) {
            let (leaves, _, whole) = log(first + more);
            let (_, _, part) = log(first);
            let kept = postcard::to_stdvec(&part).unwrap();
            let mut again: Frontier = postcard::from_bytes(&kept).unwrap();
            for leaf in &leaves[usize::try_from(first).unwrap()..] {
                again.push(*leaf);
            }
            prop_assert_eq!(again, whole);
        }
    }
}
