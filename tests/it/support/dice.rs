//! Choices that a printed seed repeats.

use headgate::ids::Entropy;

/// SplitMix64: small, and the same on every machine.
pub struct Dice(u64);

impl Dice {
    /// From the seed that `variable` names, or a new one; it is printed.
    pub fn seeded(variable: &str) -> Self {
        Self::of(seed(variable))
    }

    /// Dice that always fall the same way for a seed.
    pub fn of(seed: u64) -> Self {
        // Seeds that are neighbours must not be places on the same path.
        let start = Dice(seed).next();
        Dice(start ^ Dice(!start).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `below`, or 0.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.next() % below.max(1)
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// One of them.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap_or(0)]
    }
}

/// The seed that `variable` names, or a new one; it is printed.
pub fn seed(variable: &str) -> u64 {
    let seed = number(variable).unwrap_or_else(|| u64::from_be_bytes(Entropy::system().bytes()));
    println!("{variable}={seed}");
    seed
}

/// A number in an environment variable.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
