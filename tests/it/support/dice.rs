//! Choices that a printed seed repeats.

use headgate::ids::Entropy;

/// A small generator.
pub struct Dice(u64);

impl Dice {
    /// From the seed that `variable` names, or a new one; it is printed.
    pub fn seeded(variable: &str) -> Self {
        let seed = number(variable).unwrap_or_else(|| u64::from_be_bytes(Entropy::system().bytes()));
        println!("{variable}={seed}");
        Dice(seed)
    }

    /// A number below `below`, or 0.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }
}

/// A number in an environment variable.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
