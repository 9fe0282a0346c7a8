//! Unpredictable bytes, grown from a seed that the driver passes in. This crate never asks the
//! operating system for randomness, so a connection with a known seed repeats exactly.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A source of unpredictable bytes, as strong as its seed.
pub struct Entropy {
    seed: [u8; 32],
    /// Where in the key stream the next byte is, in words, when nothing is at hand.
    word: u64,
    /// Has the next bytes at hand, several hundred of them.
    flow: Option<Box<ChaCha12Rng>>,
}

impl Entropy {
    /// A source grown from `seed`, which must be secret and never used twice outside of tests.
    pub const fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, word: 0, flow: None }
    }

    fn flow(&mut self) -> &mut ChaCha12Rng {
        self.flow.get_or_insert_with(|| {
            let mut flow = ChaCha12Rng::from_seed(self.seed);
            flow.set_word_pos(self.word.into());
            Box::new(flow)
        })
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.flow().fill_bytes(bytes);
    }

    /// An array of unpredictable bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// An unpredictable number below `bound` (0 if `bound` is 0), even enough for jitter.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.flow().next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Lets go of what is at hand. What comes next is the same as if it had not.
    pub fn rest(&mut self) {
        if let Some(flow) = self.flow.take() {
            // It is 2^64 words long before it repeats.
            self.word = flow.get_word_pos() as u64;
        }
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often it rests, it gives the same, and that is what the generator gives.
    #[test]
    fn rest_changes_nothing() {
        let (mut plain, mut one, mut other) =
            (ChaCha12Rng::from_seed([7; 32]), Entropy::from_seed([7; 32]), Entropy::from_seed([7; 32]));
        for len in (0..200).chain([1000, 3]) {
            let [mut a, mut b, mut c] = [(); 3].map(|()| vec![0; len]);
            plain.fill_bytes(&mut a);
            one.fill(&mut b);
            other.fill(&mut c);
            other.rest();
            other.rest();
            assert!(a == b && b == c, "{len}");
            assert_eq!(one.below(1 << 40), other.below(1 << 40));
            plain.next_u64();
        }
    }
}
