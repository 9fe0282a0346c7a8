//! Sets of numbers as ranges: packet numbers received, bytes acknowledged, bytes lost.

use std::collections::VecDeque;
use std::ops::Range;

/// A set of `u64`, held as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    ranges: VecDeque<Range<u64>>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: VecDeque::new() }
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + Clone + '_ {
        self.ranges.iter().cloned()
    }

    /// The lowest range.
    pub fn first(&self) -> Option<Range<u64>> {
        self.ranges.front().cloned()
    }

    /// The largest number.
    pub fn max(&self) -> Option<u64> {
        self.ranges.back().map(|range| range.end - 1)
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u64) -> bool {
        self.ranges.get(self.first_ending_behind(value)).is_some_and(|range| range.start <= value)
    }

    /// The smallest number from `value` on that is not in the set.
    pub fn first_missing_from(&self, value: u64) -> u64 {
        let range = self.ranges.get(self.first_ending_behind(value));
        range.filter(|range| range.start <= value).map_or(value, |range| range.end)
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.ranges.shrink_to_fit();
    }

    /// Adds a number; false if it was there.
    pub fn insert_one(&mut self, value: u64) -> bool {
        // The common case is the next number in order.
        if let Some(last) = self.ranges.back_mut().filter(|last| last.end == value) {
            last.end += 1;
            return true;
        }
        let new = !self.contains(value);
        if new {
            self.insert(value..value + 1);
        }
        new
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.ranges.partition_point(|known| known.end < range.start);
        let to = self.ranges.partition_point(|known| known.start <= range.end);
        if from >= to {
            self.ranges.insert(from, range);
            return;
        }
        let start = range.start.min(self.ranges[from].start);
        let end = range.end.max(self.ranges[to - 1].end);
        self.ranges[from] = start..end;
        if to - from > 1 {
            self.ranges.drain(from + 1..to);
        }
    }

    /// Removes a range.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.first_ending_behind(range.start);
        let to = self.ranges.partition_point(|known| known.start < range.end);
        if from >= to {
            return;
        }
        let before = self.ranges[from].start..range.start;
        let behind = range.end..self.ranges[to - 1].end;
        self.ranges.drain(from..to);
        for rest in [behind, before].into_iter().filter(|rest| !rest.is_empty()) {
            self.ranges.insert(from, rest);
        }
    }

    /// Removes and returns the lowest range, at most `max` numbers of it.
    pub fn pop_first(&mut self, max: u64) -> Option<Range<u64>> {
        let first = self.ranges.front_mut()?;
        let end = first.end.min(first.start.saturating_add(max));
        let popped = first.start..end;
        first.start = end;
        if first.is_empty() {
            self.ranges.pop_front();
        }
        Some(popped)
    }

    /// Removes the lowest range whole.
    pub fn drop_first(&mut self) {
        self.ranges.pop_front();
    }

    /// The parts of `range` that are not in the set, ascending.
    pub fn missing_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut next = range.start;
        let from = self.first_ending_behind(range.start);
        let end = range.end;
        let known = self.ranges.range(from..).take_while(move |known| known.start < end).cloned();
        known.chain(std::iter::once(end..end)).filter_map(move |known| {
            let gap = next..known.start.min(end);
            next = next.max(known.end);
            (!gap.is_empty()).then_some(gap)
        })
    }

    /// The index of the first range that ends behind `value`.
    fn first_ending_behind(&self, value: u64) -> usize {
        // Most questions are about the newest numbers.
        match self.ranges.back() {
            Some(last) if last.start <= value => self.ranges.len() - usize::from(last.end > value),
            _ => self.ranges.partition_point(|range| range.end <= value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest model: a set of single numbers.
        #[test]
        fn behaves_as_a_set(operations in proptest::collection::vec((0u8..3, 0u64..60, 0u64..12), 0..60)) {
            let (mut ranges, mut model) = (RangeSet::new(), BTreeSet::new());
            for (operation, start, len) in operations {
                let range = start..start + len;
                match operation {
                    0 => {
                        ranges.insert(range.clone());
                        model.extend(range);
                    }
                    1 => {
                        ranges.remove(range.clone());
                        model.retain(|value| !range.contains(value));
                    }
                    _ => prop_assert_eq!(ranges.insert_one(start), model.insert(start)),
                }
                let flat: Vec<u64> = ranges.iter().flatten().collect();
                prop_assert!(flat.iter().eq(model.iter()));
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end < b.start));
                prop_assert!((0..80).all(|value| ranges.contains(value) == model.contains(&value)));
                prop_assert_eq!(ranges.max(), model.last().copied());
                let first_missing = (20..).find(|value| !model.contains(value));
                prop_assert_eq!(Some(ranges.first_missing_from(20)), first_missing);
                let missing: Vec<u64> = ranges.missing_in(10..50).flatten().collect();
                prop_assert!(missing.into_iter().eq((10..50).filter(|value| !model.contains(value))));
            }
        }
    }

    #[test]
    fn the_front_is_taken_in_pieces() {
        let mut ranges = RangeSet::new();
        ranges.insert(3..8);
        assert_eq!(ranges.pop_first(2), Some(3..5));
        assert_eq!(ranges.pop_first(9), Some(5..8));
        assert_eq!(ranges.pop_first(1), None);
    }
}
