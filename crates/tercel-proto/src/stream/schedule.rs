//! Which stream sends next: higher priorities first, and within one as the scheme says.
//!
//! Every stream that has something to send stands in one line: behind those of higher priority, and behind
//! those of its own that were there before. It knows its place, so that nothing is looked up. A turn that
//! is over is a new place at the end. Streams that have nothing to send cost nothing. Who leaves before its turn leaves an
//! empty place: it is passed over when it comes to the front, and when half of the places of a line are such they are
//! cleared away. So each step takes a constant time, on average, besides that of finding a priority.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU64;

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

/// Where in the line of its priority a stream stands, if it does: the ticket that it drew on coming to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place(Option<NonZeroU64>);

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

    /// Adds a stream at the end of its priority, unless it has a place.
    pub(super) fn insert(&mut self, id: StreamId, place: &mut Place, priority: i32) {
        if place.0.is_none() {
            *place = self.0.get_or_insert_default().insert(id, priority);
        }
    }

    /// Removes a stream of this priority, if it has a place.
    pub(super) fn remove(&mut self, place: &mut Place, priority: i32) {
        if let (Some(ticket), Some(lines)) = (place.0.take(), &mut self.0) {
            lines.remove(priority, ticket);
        }
    }

    /// Removes the stream whose turn it is; it has forgotten its place, or does not exist.
    pub(super) fn remove_first(&mut self) {
        if let Some(lines) = &mut self.0 {
            lines.remove_first();
        }
    }

    /// It is the next stream's turn.
    pub(super) fn rotate(&mut self) {
        if let Some(lines) = &mut self.0 {
            lines.line.rotate();
        }
    }
}

#[derive(Debug, Default)]
struct Lines {
    /// The highest priority, and its line. It is empty only if there is no other.
    highest: i32,
    line: Line,
    /// The lines of lower priorities, highest first. None is empty.
    lower: BTreeMap<Reverse<i32>, Line>,
    /// How many tickets were drawn.
    drawn: u64,
}

/// Those of one priority, with their tickets.
#[derive(Debug, Default)]
struct Line {
    /// The first is not empty.
    places: VecDeque<(StreamId, NonZeroU64)>,
    /// The tickets of those who have left.
    left: BTreeSet<NonZeroU64>,
}

impl Lines {
    fn first(&self) -> Option<StreamId> {
        self.line.places.front().map(|(id, _)| *id)
    }

    fn priority(&self) -> Option<i32> {
        (!self.line.places.is_empty()).then_some(self.highest)
    }

    fn insert(&mut self, id: StreamId, priority: i32) -> Place {
        let ticket = NonZeroU64::MIN.saturating_add(self.drawn);
        self.drawn += 1;
        self.line_of(priority).places.push_back((id, ticket));
        Place(Some(ticket))
    }

    /// The line of a priority, which somebody is about to join.
    fn line_of(&mut self, priority: i32) -> &mut Line {
        if self.line.places.is_empty() {
            self.highest = priority;
        } else if priority > self.highest {
            let lower = std::mem::take(&mut self.line);
            self.lower.insert(Reverse(std::mem::replace(&mut self.highest, priority)), lower);
        }
        if priority == self.highest { &mut self.line } else { self.lower.entry(Reverse(priority)).or_default() }
    }

    fn remove(&mut self, priority: i32, ticket: NonZeroU64) {
        if priority == self.highest {
            self.line.remove(ticket);
            self.go_on();
        } else if let Some(line) = self.lower.get_mut(&Reverse(priority)) {
            line.remove(ticket);
            if line.places.is_empty() {
                self.lower.remove(&Reverse(priority));
            }
        }
    }

    fn remove_first(&mut self) {
        self.line.places.pop_front();
        self.line.pass_empty();
        self.go_on();
    }

    /// If nobody is left of the highest priority the next is the highest.
    fn go_on(&mut self) {
        if self.line.places.is_empty()
            && let Some((Reverse(next), line)) = self.lower.pop_first()
        {
            (self.highest, self.line) = (next, line);
        }
    }
}

impl Line {
    fn remove(&mut self, ticket: NonZeroU64) {
        self.left.insert(ticket);
        if 2 * self.left.len() >= self.places.len() {
            let left = std::mem::take(&mut self.left);
            self.places.retain(|(_, ticket)| !left.contains(ticket));
        }
        self.pass_empty();
    }

    fn rotate(&mut self) {
        if !self.places.is_empty() {
            self.places.rotate_left(1);
            self.pass_empty();
        }
    }

    /// Passes over empty places at the front.
    fn pass_empty(&mut self) {
        while !self.left.is_empty()
            && let Some((_, ticket)) = self.places.front()
            && self.left.remove(ticket)
        {
            self.places.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(wire: u64) -> StreamId {
        StreamId::from_wire(wire)
    }

    #[test]
    fn priorities_first_and_turns_within() {
        let mut schedule = Schedule::default();
        let mut places = [Place::default(); 4];
        for (stream, priority) in [(0, 0), (1, 0), (2, 5), (2, 5), (3, -1)] {
            schedule.insert(id(4 * stream), &mut places[stream as usize], priority);
        }
        assert_eq!((schedule.first(), schedule.priority()), (Some(id(8)), Some(5)));
        schedule.remove(&mut places[2], 5);
        schedule.remove(&mut places[2], 5);
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
        assert!(schedule.0.as_ref().unwrap().lower.is_empty());
        schedule.rest();
        assert!(schedule.0.is_none());
    }

    #[test]
    fn who_leaves_and_comes_back_stands_at_the_end_and_takes_no_more_room() {
        let mut schedule = Schedule::default();
        let mut places = [Place::default(); 3];
        for (stream, place) in (0..).zip(&mut places) {
            schedule.insert(id(4 * stream), place, 0);
        }
        for _ in 0..1000 {
            schedule.remove(&mut places[1], 0);
            schedule.insert(id(4), &mut places[1], 0);
            assert!(schedule.0.as_ref().unwrap().line.places.len() <= 6);
        }
        let mut order = Vec::new();
        while let Some(first) = schedule.first() {
            order.push(first.into_wire());
            schedule.remove_first();
        }
        assert_eq!(order, [0, 8, 4]);
        assert!(schedule.0.as_ref().unwrap().line.left.is_empty());
    }

    #[test]
    fn lower_lines_are_left_as_the_highest_is() {
        let mut schedule = Schedule::default();
        let mut places = [Place::default(); 5];
        for (stream, priority) in [(0, 1), (1, 0), (2, 0), (3, 0), (4, 0)] {
            schedule.insert(id(4 * stream), &mut places[stream as usize], priority);
        }
        schedule.remove(&mut places[2], 0);
        schedule.remove_first();
        assert_eq!(schedule.first(), Some(id(4)));
        schedule.rotate();
        // The empty place is passed over.
        assert_eq!(schedule.first(), Some(id(12)));
        [1, 4, 3].into_iter().for_each(|stream: usize| schedule.remove(&mut places[stream], 0));
        assert_eq!(schedule.first(), None);
    }
}
