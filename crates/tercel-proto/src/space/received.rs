//! Which packet numbers were received: for duplicates (RFC 9000 section 12.3) and for ACK frames
//! (section 13.2).

use std::ops::RangeInclusive;

use crate::ranges::RangeSet;

/// So many ranges are remembered, and told in ACK frames (section 13.2.3). Numbers below the lowest
/// range that was forgotten count as received.
const MAX_RANGES: usize = 64;

/// The packet numbers received in a space.
#[derive(Debug, Default)]
pub struct Received {
    /// Every number below is taken as received: told and acknowledged, or forgotten.
    floor: u64,
    numbers: RangeSet,
}

impl Received {
    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.numbers.rest();
    }

    /// The largest number received.
    pub fn largest(&self) -> Option<u64> {
        self.numbers.max()
    }

    /// Whether `number` was received before, or is so old that it can't be told.
    // RFC 9000 sections 12.3#4, 13.2.3#3.
    pub fn is_duplicate(&self, number: u64) -> bool {
        number < self.floor || self.numbers.contains(number)
    }

    /// Notes that `number` was received.
    pub fn insert(&mut self, number: u64) {
        self.numbers.insert_one(number);
        if self.numbers.len() > MAX_RANGES
            && let Some(lowest) = self.numbers.first()
        {
            self.floor = self.floor.max(lowest.end);
            self.numbers.drop_first();
        }
    }

    /// Whether a number between the smallest and the largest received is missing.
    pub fn has_gaps(&self) -> bool {
        self.numbers.len() > 1
    }

    /// The smallest number that is missing, from `from` on.
    pub fn first_missing_from(&self, from: u64) -> u64 {
        self.numbers.first_missing_from(from.max(self.floor))
    }

    /// The ranges to acknowledge, descending.
    // RFC 9000 section 13.2.3#1#5.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + Clone + '_ {
        self.numbers.iter().rev().map(|range| range.start..=range.end - 1)
    }

    /// The peer has seen an ACK frame up to `largest`: what lies below need not be told again
    /// (section 13.2.4). The largest number itself is kept.
    // RFC 9000 section 13.2.3#2#4.
    pub fn forget_up_to(&mut self, largest: u64) {
        let keep = self.numbers.max().map_or(largest, |max| max.min(largest));
        if keep > self.floor {
            self.floor = keep;
            self.numbers.remove(0..keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Section 12.3: no packet is taken twice, whatever was forgotten; and ACK frames tell only of
        /// what was received.
        #[test]
        fn nothing_is_taken_twice(steps in prop::collection::vec((0u64..400, 0u8..20), 0..500)) {
            let (mut received, mut taken, mut told) = (Received::default(), BTreeSet::new(), 0);
            for (number, what) in steps {
                if what == 0 {
                    told = told.max(number);
                    received.forget_up_to(number);
                    continue;
                }
                if !received.is_duplicate(number) {
                    prop_assert!(taken.insert(number));
                    received.insert(number);
                }
                prop_assert!(received.is_duplicate(number));
                prop_assert_eq!(received.largest(), taken.last().copied());
                prop_assert!(received.ranges().flatten().all(|number| taken.contains(&number)));
                // With few gaps, only what was told is left out.
                if received.ranges().count() < 30 && taken.len() < 60 {
                    let acked: BTreeSet<u64> = received.ranges().flatten().collect();
                    prop_assert!(taken.iter().all(|number| *number < told || acked.contains(number)));
                }
            }
        }
    }

    #[test]
    // RFC 9000 section 12.3#4.
    fn duplicates_are_known() {
        let mut received = Received::default();
        for number in [0, 1, 5] {
            assert!(!received.is_duplicate(number));
            received.insert(number);
            assert!(received.is_duplicate(number));
        }
        assert!(!received.is_duplicate(3));
        assert!(received.has_gaps());
        assert_eq!(received.ranges().collect::<Vec<_>>(), [5..=5, 0..=1]);
    }

    #[test]
    // RFC 9000 section 13.2.3#2#3#4.
    fn what_was_told_is_forgotten_but_stays_a_duplicate() {
        let mut received = Received::default();
        (0..10).for_each(|number| received.insert(number));
        received.forget_up_to(7);
        assert_eq!(received.ranges().collect::<Vec<_>>(), [7..=9]);
        assert!((0..10).all(|number| received.is_duplicate(number)));
        received.forget_up_to(100);
        assert_eq!(received.largest(), Some(9));
    }

    #[test]
    // RFC 9000 section 13.2.3#3#4.
    fn the_ranges_are_bounded() {
        let mut received = Received::default();
        (0..1000).for_each(|number| received.insert(2 * number));
        assert_eq!(received.ranges().count(), MAX_RANGES);
        assert_eq!(received.largest(), Some(1998));
        assert!(received.is_duplicate(1), "too old to tell");
        assert!(!received.is_duplicate(1997));
    }
}
