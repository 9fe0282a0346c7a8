//! Which stream sends next: higher priorities first, and within one as the scheme says.
//!
//! Every stream that has something to send has a place in one line: behind those of higher priority,
//! and behind those of its own that were there before. A turn that is over is a new place at the end.
//! Each step takes time logarithmic in the number of streams that have something to send; streams that
//! have nothing cost nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tercel_wire::StreamId;

/// In which order streams of equal priority send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StreamScheduling {
    /// In turns of 16 KiB: each makes progress, and what the streams carry arrives at about the same
    /// time.
    #[default]
    RoundRobin,
    /// First come, first served: who has begun to send goes on until there is nothing to send, or the
    /// peer's limit on the stream is reached. So each stream is through as early as possible.
    Fifo,
}

/// A place in the line: the priority, and the number drawn on coming to the end.
type Place = (Reverse<i32>, u64);

/// The streams that have something to send, in their order.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    line: BTreeMap<Place, StreamId>,
    places: BTreeMap<StreamId, Place>,
    next: u64,
}

impl Schedule {
    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<StreamId> {
        self.line.first_key_value().map(|(_, id)| *id)
    }

    /// The priority of the stream whose turn it is; less than any if there is none.
    pub(super) fn priority(&self) -> Option<i32> {
        self.line.first_key_value().map(|((Reverse(priority), _), _)| *priority)
    }

    /// Adds a stream at the end of its priority, unless it is there.
    pub(super) fn insert(&mut self, id: StreamId, priority: i32) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.places.entry(id) {
            let place = (Reverse(priority), self.next);
            self.next += 1;
            entry.insert(place);
            self.line.insert(place, id);
        }
    }

    /// Removes a stream. True if it was there.
    pub(super) fn remove(&mut self, id: StreamId) -> bool {
        let place = self.places.remove(&id);
        place.is_some_and(|place| self.line.remove(&place).is_some())
    }

    /// Removes the stream whose turn it is.
    pub(super) fn remove_first(&mut self) {
        if let Some((_, id)) = self.line.pop_first() {
            self.places.remove(&id);
        }
    }

    /// It is the next stream's turn.
    pub(super) fn rotate(&mut self) {
        if let Some(((priority, _), id)) = self.line.pop_first() {
            let place = (priority, self.next);
            self.next += 1;
            self.line.insert(place, id);
            self.places.insert(id, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_first_and_turns_within() {
        let mut schedule = Schedule::default();
        let id = StreamId::from_wire;
        for (stream, priority) in [(0, 0), (4, 0), (8, 5), (8, 5), (12, -1)] {
            schedule.insert(id(stream), priority);
        }
        assert_eq!((schedule.first(), schedule.priority()), (Some(id(8)), Some(5)));
        assert!(schedule.remove(id(8)) && !schedule.remove(id(8)));
        assert_eq!(schedule.first(), Some(id(0)));
        schedule.rotate();
        assert_eq!(schedule.first(), Some(id(4)));
        schedule.rotate();
        assert_eq!(schedule.first(), Some(id(0)));
        schedule.remove_first();
        schedule.remove_first();
        assert_eq!((schedule.first(), schedule.priority()), (Some(id(12)), Some(-1)));
        schedule.remove_first();
        assert_eq!((schedule.first(), schedule.priority()), (None, None));
        assert!(schedule.line.is_empty() && schedule.places.is_empty());
    }
}
