//! Randomness that repeats.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of random values that is the same for the same seed on every machine.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A stream of its own for one part of a run, so that what other parts draw does not change it.
    pub fn fork(&mut self) -> Self {
        Self(ChaCha8Rng::from_seed(self.array()))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// Random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Any number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.u64().checked_rem(bound).unwrap_or(0)
    }

    /// A number within `range`.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (start, end) = range.into_inner();
        start + self.below((end - start).saturating_add(1))
    }

    /// Milliseconds within `range`.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// A part of `most`, evenly spread.
    pub fn part_of(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)))
    }

    /// True with this chance, from 0 to 1.
    pub fn chance(&mut self, chance: f64) -> bool {
        // 53 bits make every such number a float exactly.
        ((self.u64() >> 11) as f64) < chance * (1u64 << 53) as f64
    }

    /// One of `choices`, which are not empty.
    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let draw = |seed| Random::new(seed).array::<32>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn chances_are_met() {
        let mut random = Random::new(1);
        for percent in [0, 1, 10, 50, 99, 100] {
            let hits = (0..20_000).filter(|_| random.chance(f64::from(percent) / 100.0)).count();
            assert!((hits as f64 / 200.0 - f64::from(percent)).abs() < 1.5, "{percent} %: {hits}");
        }
        assert!((0..1000).map(|_| random.within(3..=5)).all(|n| (3..=5).contains(&n)));
    }
}
