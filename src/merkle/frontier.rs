//! The right edge of a tree: all that appending and the root need.

use serde::Deserialize;
use serde::Serialize;

use crate::merkle::Hash;
use crate::merkle::NodeId;
use crate::merkle::empty_root;
use crate::merkle::node_hash;

/// The complete subtrees of a tree, largest first: one hash for each one-bit of the size, at most 64.
///
/// It serialises, so that a long computation of a root can stop and go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// A frontier whose hashes do not fit its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has {expected} complete subtrees, not {found}; compute this root again from its leaves")]
pub struct FrontierError {
    /// The number of leaves it claims.
    pub size: u64,
    /// How many hashes that size has.
    pub expected: u32,
    /// How many there are.
    pub found: usize,
}

#[derive(Deserialize)]
struct Parts {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash and returns the nodes that are complete with it, the leaf first: those to be stored.
    ///
    /// # Panics
    /// After 2^64 - 1 leaves.
    pub fn push(&mut self, leaf: Hash) -> Vec<(NodeId, Hash)> {
        let mut node = (NodeId { level: 0, index: self.size }, leaf);
        let mut complete = vec![node];
        for left in self.peaks.split_off(self.peaks.len() - self.size.trailing_ones() as usize).iter().rev() {
            node = (NodeId { level: node.0.level + 1, index: node.0.index >> 1 }, node_hash(left, &node.1));
            complete.push(node);
        }
        self.peaks.push(node.1);
        self.size += 1;
        complete
    }

    /// The root of the tree as it stands.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(smallest) = peaks.next() else { return empty_root() };
        peaks.fold(smallest, |right, left| node_hash(&left, &right))
    }

    /// The frontier of the first `size` leaves of a stored tree.
    ///
    /// # Errors
    /// Whatever `read` fails with.
    pub fn load<E>(size: u64, read: &mut impl FnMut(NodeId) -> Result<Hash, E>) -> Result<Self, E> {
        let levels = (0..64u8).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels.map(|level| read(NodeId { level, index: (size >> level) - 1 })).collect::<Result<_, E>>()?;
        Ok(Frontier { size, peaks })
    }
}

impl TryFrom<Parts> for Frontier {
    type Error = FrontierError;

    fn try_from(parts: Parts) -> Result<Self, FrontierError> {
        let Parts { size, peaks } = parts;
        let expected = size.count_ones();
        if peaks.len() == expected as usize {
            Ok(Frontier { size, peaks })
        } else {
            Err(FrontierError { size, expected, found: peaks.len() })
        }
    }
}
