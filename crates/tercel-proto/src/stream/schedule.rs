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

/// The streams that have something to send, in their order. It takes no memory until there is one.
#[derive(Debug, Default)]
pub(super) struct Schedule(Option<Box<Lines>>);

impl Schedule {
    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.0.take_if(|lines| lines.first().is_none());
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<StreamId> {
        self.0.as_ref()?.first()
    }

    /// The priority of the stream whose turn it is; less than any if there is none.
    pub(super) fn priority(&self) -> Option<i32> {
        self.0.as_ref()?.priority()
    }

    /// Adds a stream at the end of its priority, unless it is there.
    pub(super) fn insert(&mut self, id: StreamId, priority: i32) {
        self.0.get_or_insert_default().insert(id, priority);
    }

    /// Removes a stream. True if it was there.
    pub(super) fn remove(&mut self, id: StreamId) -> bool {
        self.0.as_mut().is_some_and(|lines| lines.remove(id))
    }

    /// Removes the stream whose turn it is.
    pub(super) fn remove_first(&mut self) {
        if let Some(id) = self.first() {
            self.remove(id);
        }
    }

    /// It is the next stream's turn.
    pub(super) fn rotate(&mut self) {
        if let Some(lines) = &mut self.0 {
            lines.rotate();
        }
    }
}

#[derive(Debug, Default)]
struct Lines {
    /// The highest priority, and its line. It is empty only if there is no other.
    highest: i32,
    line: Line,
    /// The lines of lower priorities, highest first. None is empty, and whose place is at the front of a line has its
    /// ticket.
    lower: BTreeMap<Reverse<i32>, Line>,
    /// The priority and the ticket of those who stand in line.
    places: IdMap<(i32, u64)>,
    next: u64,
}

impl Lines {
    fn first(&self) -> Option<StreamId> {
        self.line.front().map(|(id, _)| *id)
    }

    fn priority(&self) -> Option<i32> {
        (!self.line.is_empty()).then_some(self.highest)
    }

    fn insert(&mut self, id: StreamId, priority: i32) {
        if self.places.contains(id) {
            return;
        }
        self.places.insert(id, (priority, self.next));
        let next = self.next;
        self.line_of(priority).push_back((id, next));
        self.next += 1;
    }

    /// The line of a priority, which somebody is about to join.
    fn line_of(&mut self, priority: i32) -> &mut Line {
        if self.line.is_empty() {
            self.highest = priority;
        } else if priority > self.highest {
            let lower = std::mem::take(&mut self.line);
            self.lower.insert(Reverse(std::mem::replace(&mut self.highest, priority)), lower);
        }
        if priority == self.highest { &mut self.line } else { self.lower.entry(Reverse(priority)).or_default() }
    }

    fn remove(&mut self, id: StreamId) -> bool {
        let Some((priority, _)) = self.places.remove(id) else { return false };
        self.pass_empty(priority);
        true
    }

    /// Passes over empty places at the front of a line.
    fn pass_empty(&mut self, priority: i32) {
        let is_highest = priority == self.highest;
        let line = if is_highest { Some(&mut self.line) } else { self.lower.get_mut(&Reverse(priority)) };
        let Some(line) = line else { return };
        let places = &self.places;
        let is_taken = |(id, ticket): &(StreamId, u64)| places.get(*id).is_some_and(|(_, drawn)| drawn == ticket);
        while line.front().is_some_and(|place| !is_taken(place)) {
            line.pop_front();
        }
        if line.len() > 2 * places.len() {
            line.retain(is_taken);
        }
        if !line.is_empty() {
            return;
        }
        if !is_highest {
            self.lower.remove(&Reverse(priority));
        } else if let Some((Reverse(next), line)) = self.lower.pop_first() {
            (self.highest, self.line) = (next, line);
        }
    }

    fn rotate(&mut self) {
        if !self.line.is_empty() {
            self.line.rotate_left(1);
            self.pass_empty(self.highest);
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
        assert!(schedule.0.as_ref().unwrap().lower.is_empty() && schedule.0.as_ref().unwrap().places.is_empty());
        schedule.rest();
        assert!(schedule.0.is_none());
    }

    #[test]
    fn who_leaves_and_comes_back_stands_at_the_end_and_takes_no_more_room() {
        let mut schedule = Schedule::default();
        let id = StreamId::from_wire;
        [0, 4, 8].into_iter().for_each(|stream| schedule.insert(id(stream), 0));
        for _ in 0..1000 {
            assert!(schedule.remove(id(4)));
            schedule.insert(id(4), 0);
            assert!(schedule.0.as_ref().unwrap().line.len() <= 8);
        }
        let mut order = Vec::new();
        while let Some(first) = schedule.first() {
            order.push(first.into_wire());
            schedule.remove_first();
        }
        assert_eq!(order, [0, 8, 4]);
    }
}
