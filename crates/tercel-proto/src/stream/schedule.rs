//! Which stream sends next: higher priorities first, and in turns within one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tercel_wire::StreamId;

/// The streams that have something to send, in their order.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    turns: BTreeMap<Reverse<i32>, VecDeque<StreamId>>,
    members: BTreeSet<StreamId>,
    /// The room of a priority that had its turn, for the next one.
    spare: VecDeque<StreamId>,
}

impl Schedule {
    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<StreamId> {
        self.turns.first_key_value().and_then(|(_, turn)| turn.front().copied())
    }

    /// The priority of the stream whose turn it is; less than any if there is none.
    pub(super) fn priority(&self) -> Option<i32> {
        self.turns.first_key_value().map(|(Reverse(priority), _)| *priority)
    }

    /// Adds a stream at the end of its priority, unless it is there.
    pub(super) fn insert(&mut self, id: StreamId, priority: i32) {
        if self.members.insert(id) {
            let turn = self.turns.entry(Reverse(priority));
            turn.or_insert_with(|| std::mem::take(&mut self.spare)).push_back(id);
        }
    }

    /// Removes a stream.
    pub(super) fn remove(&mut self, id: StreamId, priority: i32) {
        if self.members.remove(&id)
            && let Some(turn) = self.turns.get_mut(&Reverse(priority))
        {
            turn.retain(|known| *known != id);
            if turn.is_empty() {
                self.turns.remove(&Reverse(priority));
            }
        }
    }

    /// Removes the stream whose turn it is.
    pub(super) fn remove_first(&mut self) {
        if let Some(mut turn) = self.turns.first_entry() {
            if let Some(id) = turn.get_mut().pop_front() {
                self.members.remove(&id);
            }
            if turn.get().is_empty() {
                self.spare = turn.remove();
            }
        }
    }

    /// It is the next stream's turn.
    pub(super) fn rotate(&mut self) {
        if let Some(mut turn) = self.turns.first_entry()
            && let Some(id) = turn.get_mut().pop_front()
        {
            turn.get_mut().push_back(id);
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
        assert_eq!(schedule.first(), Some(id(8)));
        schedule.remove(id(8), 5);
        assert_eq!(schedule.first(), Some(id(0)));
        schedule.rotate();
        assert_eq!(schedule.first(), Some(id(4)));
        schedule.rotate();
        assert_eq!(schedule.first(), Some(id(0)));
        schedule.remove_first();
        schedule.remove_first();
        assert_eq!(schedule.first(), Some(id(12)));
        schedule.remove_first();
        assert_eq!(schedule.first(), None);
    }
}
