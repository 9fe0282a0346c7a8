//! Unpredictable bytes, grown from a seed that the driver passes in. This crate never asks the
//! operating system for randomness, so a connection with a known seed repeats exactly.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A source of unpredictable bytes, as strong as its seed.
pub struct Entropy(ChaCha12Rng);

impl Entropy {
    /// A source grown from `seed`, which must be secret and never used twice outside of tests.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// An array of unpredictable bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// An unpredictable number below `bound` (0 if `bound` is 0), even enough for jitter.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64().checked_rem(bound).unwrap_or(0)
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}
