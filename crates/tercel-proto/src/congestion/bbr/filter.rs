//! Maxima over a window of time that is not counted by a clock.

use std::collections::VecDeque;

/// The largest rate of this cycle of bandwidth probing and of the last (section 5.5.3 and 5.5.6).
#[derive(Debug, Default)]
pub(super) struct MaxBw {
    current: u64,
    last: u64,
}

impl MaxBw {
    pub(super) fn get(&self) -> u64 {
        self.current.max(self.last)
    }

    pub(super) fn update(&mut self, rate: u64) {
        self.current = self.current.max(rate);
    }

    /// The next cycle begins.
    pub(super) fn advance(&mut self) {
        // A cycle without a sample says nothing.
        if self.current > 0 {
            self.last = std::mem::take(&mut self.current);
        }
    }
}

/// The largest value of the last rounds.
#[derive(Debug, Default)]
pub(super) struct RoundsMax {
    /// By round, each smaller than the one before: what is behind a larger value counts once that one
    /// is too old.
    values: VecDeque<(u64, u64)>,
}

impl RoundsMax {
    pub(super) fn get(&self) -> u64 {
        self.values.front().map_or(0, |(_, value)| *value)
    }

    /// Takes a value of this round, and forgets those of `window` rounds ago and before.
    pub(super) fn update(&mut self, round: u64, window: u64, value: u64) {
        while self.values.back().is_some_and(|(_, last)| *last <= value) {
            self.values.pop_back();
        }
        if self.values.back().is_none_or(|(last, _)| *last < round) {
            self.values.push_back((round, value));
        }
        while self.values.front().is_some_and(|(first, _)| first + window <= round) {
            self.values.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_last_cycle_counts_until_the_next() {
        let mut max = MaxBw::default();
        max.update(5);
        max.advance();
        max.update(3);
        assert_eq!(max.get(), 5);
        max.advance();
        assert_eq!(max.get(), 3);
        max.advance();
        assert_eq!(max.get(), 3, "a cycle without a sample");
    }

    #[test]
    fn the_largest_of_the_last_rounds() {
        let mut max = RoundsMax::default();
        for (round, value, largest) in [(0, 9, 9), (1, 4, 9), (1, 2, 9), (2, 3, 9), (3, 1, 4), (4, 1, 3), (5, 8, 8)] {
            max.update(round, 3, value);
            assert_eq!(max.get(), largest, "round {round}");
        }
        assert!(max.values.len() <= 3);
    }
}
