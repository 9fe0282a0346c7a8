//! Packets that were declared lost, remembered for a while: an acknowledgement that comes after all
//! proves that they were only late, and that the window was cut for nothing.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::time::Time;

/// How many lost packets are remembered.
const MAX_NOTES: usize = 1024;

/// The cut of the congestion window that a loss belongs to, if any.
pub(super) type Epoch = Option<u32>;

#[derive(Debug)]
struct Note {
    number: u64,
    declared: Time,
    epoch: Epoch,
    arrived: bool,
}

/// The recently lost packets of a space, in order of number.
#[derive(Debug, Default)]
pub(super) struct LostNotes(VecDeque<Note>);

impl LostNotes {
    /// The lowest number remembered.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.0.front().map(|note| note.number)
    }

    /// Remembers a lost packet. `gone` gets the cut of a packet forgotten to make room.
    pub(super) fn push(&mut self, number: u64, declared: Time, epoch: Epoch, gone: impl FnMut(Epoch)) {
        if self.0.len() == MAX_NOTES {
            self.pop(gone);
        }
        self.0.push_back(Note { number, declared, epoch, arrived: false });
    }

    /// Tells `arrived` the cut of each remembered packet in `range`, once.
    pub(super) fn acknowledge(&mut self, range: &RangeInclusive<u64>, mut arrived: impl FnMut(Epoch)) {
        let first = self.0.partition_point(|note| note.number < *range.start());
        for note in self.0.range_mut(first..).take_while(|note| note.number <= *range.end()) {
            if !std::mem::replace(&mut note.arrived, true) {
                arrived(note.epoch);
            }
        }
    }

    /// Forgets the packets declared lost before `time`; `gone` gets the cut of each that never
    /// arrived.
    pub(super) fn expire(&mut self, time: Time, mut gone: impl FnMut(Epoch)) {
        while self.0.front().is_some_and(|note| note.declared < time || note.arrived) {
            self.pop(&mut gone);
        }
    }

    fn pop(&mut self, mut gone: impl FnMut(Epoch)) {
        if let Some(note) = self.0.pop_front()
            && !note.arrived
        {
            gone(note.epoch);
        }
    }
}
