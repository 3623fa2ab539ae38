//! Which records of a stream cannot be in the store yet, so that nobody has to look.

/// Bits of the filter: 2 MiB, touched as it fills. A million records leave it right 98 times in 100.
const BITS: usize = 1 << 24;

/// What is known of a stream that held nothing when the run began: the hashes that went in since. A Bloom filter over hashes
/// that are uniform already, so each of its two places is a part of the hash.
///
/// It errs on one side only: what it has not seen is not there; what it has seen, the store is asked for.
pub(super) struct FreshStream(Vec<u64>);

impl FreshStream {
    /// Nothing is there.
    pub fn new() -> Self {
        FreshStream(vec![0; BITS / 64])
    }

    /// Remembers a hash; whether it may have been there before.
    pub fn insert(&mut self, hash: &[u8; 16]) -> bool {
        let (high, low) = hash.split_at(8);
        let places = [high, low].map(|half| half.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) % BITS);
        places.iter().fold(true, |known, place| {
            let (word, bit) = (&mut self.0[place / 64], 1 << (place % 64));
            let was = *word & bit != 0;
            *word |= bit;
            known && was
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    /// What went in is always known; of what did not, few are taken for known.
    #[test]
    fn errs_on_one_side() {
        let hash = |number: u32| Digest::of(&number.to_be_bytes()).to_bytes()[..16].try_into().unwrap();
        let mut stream = FreshStream::new();
        let wrong = (0..100_000).filter(|number| stream.insert(&hash(*number))).count();
        assert!(wrong < 100, "{wrong} of 100,000 were looked up for nothing");
        assert!((0..100_000).all(|number| stream.insert(&hash(number))));
    }
}
