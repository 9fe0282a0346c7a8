//! Which stream sends next: higher priorities first, and within one as the scheme says.
//!
//! Every stream that has something to send stands in one line: behind those of higher priority, and behind
//! those of its own that were there before. A turn that is over is a new place at the end. Streams that have
//! nothing to send cost nothing. Who leaves before its turn leaves an empty place, which its ticket tells: it is
//! passed over when it comes to the front, and before a line has twice as many places as there are streams it is
//! cleared of empty ones. So each step takes a constant time, on average, besides that of finding a priority.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use tercel_wire::StreamId;

use super::id_map::IdMap;

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

/// Those of one priority, with the tickets that they drew on coming to the end.
type Line = VecDeque<(StreamId, u64)>;

/// The streams that have something to send, in their order.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// By priority, highest first. None is empty, and whose place is at the front of one has its ticket.
    lines: BTreeMap<Reverse<i32>, Line>,
    /// The priority and the ticket of those who stand in line.
    places: IdMap<(i32, u64)>,
    next: u64,
    /// The line that was emptied last: its room is used again.
    spare: Line,
}

impl Schedule {
    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.places.rest();
        self.spare = Line::default();
        if self.lines.is_empty() {
            // A tree keeps room for eleven.
            self.lines = BTreeMap::new();
        }
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<StreamId> {
        self.lines.first_key_value()?.1.front().map(|(id, _)| *id)
    }

    /// The priority of the stream whose turn it is; less than any if there is none.
    pub(super) fn priority(&self) -> Option<i32> {
        self.lines.first_key_value().map(|(Reverse(priority), _)| *priority)
    }

    /// Adds a stream at the end of its priority, unless it is there.
    pub(super) fn insert(&mut self, id: StreamId, priority: i32) {
        if self.places.contains(id) {
            return;
        }
        self.places.insert(id, (priority, self.next));
        let line = self.lines.entry(Reverse(priority)).or_insert_with(|| std::mem::take(&mut self.spare));
        line.push_back((id, self.next));
        self.next += 1;
    }

    /// Removes a stream. True if it was there.
    pub(super) fn remove(&mut self, id: StreamId) -> bool {
        let Some((priority, _)) = self.places.remove(id) else { return false };
        self.pass_empty(priority);
        true
    }

    /// Passes over empty places at the front of a line.
    fn pass_empty(&mut self, priority: i32) {
        let Some(line) = self.lines.get_mut(&Reverse(priority)) else { return };
        let places = &self.places;
        let is_taken = |(id, ticket): &(StreamId, u64)| places.get(*id).is_some_and(|(_, drawn)| drawn == ticket);
        while line.front().is_some_and(|place| !is_taken(place)) {
            line.pop_front();
        }
        if line.len() > 2 * places.len() {
            line.retain(is_taken);
        }
        if line.is_empty() {
            self.spare = self.lines.remove(&Reverse(priority)).unwrap_or_default();
        }
    }

    /// Removes the stream whose turn it is.
    pub(super) fn remove_first(&mut self) {
        if let Some(id) = self.first() {
            self.remove(id);
        }
    }

    /// It is the next stream's turn.
    pub(super) fn rotate(&mut self) {
        let Some(mut first) = self.lines.first_entry() else { return };
        let (Reverse(priority), line) = (*first.key(), first.get_mut());
        line.rotate_left(1);
        self.pass_empty(priority);
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
        assert!(schedule.lines.is_empty() && schedule.places.is_empty());
    }

    #[test]
    fn who_leaves_and_comes_back_stands_at_the_end_and_takes_no_more_room() {
        let mut schedule = Schedule::default();
        let id = StreamId::from_wire;
        [0, 4, 8].into_iter().for_each(|stream| schedule.insert(id(stream), 0));
        for _ in 0..1000 {
            assert!(schedule.remove(id(4)));
            schedule.insert(id(4), 0);
            assert!(schedule.lines[&Reverse(0)].len() <= 8);
        }
        let mut order = Vec::new();
        while let Some(first) = schedule.first() {
            order.push(first.into_wire());
            schedule.remove_first();
        }
        assert_eq!(order, [0, 8, 4]);
    }
}
