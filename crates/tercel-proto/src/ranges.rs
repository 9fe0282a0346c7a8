//! Sets of numbers as ranges: packet numbers received, bytes acknowledged, bytes lost.

use std::collections::VecDeque;
use std::ops::Range;

use crate::rare_queue::RareQueue;

/// A set of `u64`, held as sorted ranges that neither overlap nor touch. Most sets have one, which takes no memory of its
/// own: a connection that rests would keep a few bytes here and there for it.
#[derive(Debug, Default)]
pub struct RangeSet {
    /// All but the highest.
    below: RareQueue<Range<u64>>,
    /// Empty if the set is.
    highest: Range<u64>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { below: RareQueue::new(), highest: 0..0 }
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.below.len() + usize::from(!self.is_empty())
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + Clone + '_ {
        self.below.iter().cloned().chain(self.highest())
    }

    /// The lowest range.
    pub fn first(&self) -> Option<Range<u64>> {
        // Mostly nothing is lost, and nothing is acknowledged out of order.
        let highest = self.highest()?;
        Some(self.below.front().cloned().unwrap_or(highest))
    }

    fn highest(&self) -> Option<Range<u64>> {
        Some(self.highest.clone()).filter(|range| !range.is_empty())
    }

    /// The largest number.
    pub fn max(&self) -> Option<u64> {
        self.highest().map(|range| range.end - 1)
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u64) -> bool {
        self.range_with(value).is_some()
    }

    /// The smallest number from `value` on that is not in the set.
    pub fn first_missing_from(&self, value: u64) -> u64 {
        self.range_with(value).map_or(value, |range| range.end)
    }

    /// The range that holds `value`. Most questions are about the newest numbers.
    fn range_with(&self, value: u64) -> Option<&Range<u64>> {
        let range = match self.highest.start <= value {
            true => &self.highest,
            false => self.below.get(self.below.partition_point(|range| range.end <= value))?,
        };
        range.contains(&value).then_some(range)
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.below.rest();
    }

    /// Adds a number; false if it was there.
    pub fn insert_one(&mut self, value: u64) -> bool {
        // The common case is the next number in order.
        if self.highest.end == value {
            self.highest.end += 1;
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
        if self.is_empty() {
            self.highest = range;
        } else if range.start > self.highest.end {
            self.below.push_back(std::mem::replace(&mut self.highest, range));
        } else if range.start >= self.highest.start {
            self.highest.end = self.highest.end.max(range.end);
        } else {
            self.in_a_row(|ranges| insert(ranges, range));
        }
    }

    /// Removes a range.
    pub fn remove(&mut self, range: Range<u64>) {
        let Range { start, end } = self.highest;
        if range.is_empty() || end <= range.start {
            return;
        }
        match self.below.is_empty() && range.start <= start {
            true => self.highest.start = range.end.clamp(start, end),
            false => self.in_a_row(|ranges| remove(ranges, &range)),
        }
    }

    /// Changes all ranges.
    fn in_a_row(&mut self, change: impl FnOnce(&mut VecDeque<Range<u64>>)) {
        let highest = self.highest();
        let ranges = self.below.as_queue();
        ranges.extend(highest);
        change(ranges);
        self.highest = ranges.pop_back().unwrap_or_default();
    }

    /// Removes and returns the lowest range, at most `max` numbers of it.
    pub fn pop_first(&mut self, max: u64) -> Option<Range<u64>> {
        let first = self.first()?;
        let end = first.end.min(first.start.saturating_add(max));
        match end < first.end {
            true => self.first_mut().start = end,
            false => self.drop_first(),
        }
        Some(first.start..end)
    }

    /// Removes the lowest range whole.
    pub fn drop_first(&mut self) {
        if self.below.pop_front().is_none() {
            self.highest = 0..0;
        }
    }

    fn first_mut(&mut self) -> &mut Range<u64> {
        match self.below.is_empty() {
            true => &mut self.highest,
            false => &mut self.below.as_queue()[0],
        }
    }

    /// The parts of `range` that are not in the set, ascending.
    pub fn missing_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut next = range.start;
        let from = self.below.partition_point(|known| known.end <= range.start);
        let end = range.end;
        let known = self.below.range(from..).cloned().chain(self.highest()).take_while(move |known| known.start < end);
        known.chain(std::iter::once(end..end)).filter_map(move |known| {
            let gap = next..known.start.min(end);
            next = next.max(known.end);
            (!gap.is_empty()).then_some(gap)
        })
    }
}

fn insert(ranges: &mut VecDeque<Range<u64>>, range: Range<u64>) {
    let from = ranges.partition_point(|known| known.end < range.start);
    let to = ranges.partition_point(|known| known.start <= range.end);
    if from >= to {
        ranges.insert(from, range);
        return;
    }
    let start = range.start.min(ranges[from].start);
    let end = range.end.max(ranges[to - 1].end);
    ranges[from] = start..end;
    if to - from > 1 {
        ranges.drain(from + 1..to);
    }
}

fn remove(ranges: &mut VecDeque<Range<u64>>, range: &Range<u64>) {
    let from = ranges.partition_point(|known| known.end <= range.start);
    let to = ranges.partition_point(|known| known.start < range.end);
    if from >= to {
        return;
    }
    let before = ranges[from].start..range.start;
    let behind = range.end..ranges[to - 1].end;
    ranges.drain(from..to);
    for rest in [behind, before].into_iter().filter(|rest| !rest.is_empty()) {
        ranges.insert(from, rest);
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
        fn behaves_as_a_set(operations in proptest::collection::vec((0u8..5, 0u64..60, 0u64..12), 0..60)) {
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
                    2 => {
                        let taken: Vec<u64> = ranges.pop_first(len + 1).into_iter().flatten().collect();
                        prop_assert!(taken.iter().eq(model.iter().take(taken.len())));
                        prop_assert_eq!(taken.is_empty(), model.is_empty());
                        model.retain(|value| !taken.contains(value));
                    }
                    3 => ranges.rest(),
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
    fn one_range_takes_no_memory_of_its_own() {
        let mut ranges = RangeSet::new();
        (3..9).for_each(|value| assert!(ranges.insert_one(value)));
        ranges.insert(7..12);
        assert_eq!((ranges.len(), ranges.below.capacity()), (1, 0));
        assert!(ranges.insert_one(14));
        ranges.insert(12..14);
        assert_ne!((ranges.len(), ranges.below.capacity()), (1, 0));
        ranges.rest();
        ranges.remove(1..5);
        assert_eq!((ranges.first(), ranges.below.capacity()), (Some(5..15), 0));
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
