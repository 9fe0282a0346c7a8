//! Packets that were declared lost, remembered for a while: an acknowledgement that comes after all
//! proves that they were only late, and that the window was cut for nothing.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::frames::SentFrame;
use crate::time::Time;

/// How many lost packets are remembered.
const MAX_NOTES: usize = 1024;

/// The cut of the congestion window that a loss belongs to, if any.
pub(super) type Epoch = Option<u32>;

/// A lost packet.
#[derive(Debug)]
pub(super) struct Note {
    number: u64,
    declared: Time,
    arrived: bool,
    /// The cut that was made for it.
    pub(super) epoch: Epoch,
    /// Its frames whose owner wants to know whether they arrived after all.
    pub(super) frames: Vec<SentFrame>,
}

impl Note {
    fn is_awaited(&self) -> bool {
        !self.arrived && !self.frames.is_empty()
    }
}

/// The recently lost packets of a space, in order of number.
#[derive(Debug, Default)]
pub(super) struct LostNotes {
    notes: VecDeque<Note>,
    /// Of how many somebody waits for the frames: mostly none, and there may be a thousand to look at.
    awaited: usize,
}

impl LostNotes {
    /// The lowest number remembered.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.notes.front().map(|note| note.number)
    }

    /// Since when the first is remembered whose frames somebody waits for.
    pub(super) fn first_awaited(&self) -> Option<Time> {
        if self.awaited == 0 {
            return None;
        }
        self.notes.iter().find(|note| note.is_awaited()).map(|note| note.declared)
    }

    /// Remembers a lost packet and its frames. `gone` gets one forgotten to make room.
    pub(super) fn push(
        &mut self,
        number: u64,
        frames: &[SentFrame],
        declared: Time,
        epoch: Epoch,
        gone: &mut impl FnMut(Note),
    ) {
        if self.notes.len() == MAX_NOTES {
            self.pop(gone);
        }
        let frames = frames.iter().copied().filter(|frame| matches!(frame, SentFrame::Datagram { .. }));
        let note = Note { number, declared, arrived: false, epoch, frames: frames.collect() };
        self.awaited += usize::from(note.is_awaited());
        self.notes.push_back(note);
    }

    /// Gives `arrived` each remembered packet in `range`, once.
    pub(super) fn acknowledge(&mut self, range: &RangeInclusive<u64>, mut arrived: impl FnMut(&mut Note)) {
        let first = self.notes.partition_point(|note| note.number < *range.start());
        for note in self.notes.range_mut(first..).take_while(|note| note.number <= *range.end()) {
            self.awaited -= usize::from(note.is_awaited());
            if !std::mem::replace(&mut note.arrived, true) {
                arrived(note);
            }
        }
    }

    /// Forgets the packets declared lost at `time` or before; `gone` gets each that never arrived.
    pub(super) fn expire(&mut self, time: Time, gone: &mut impl FnMut(Note)) {
        while self.notes.front().is_some_and(|note| note.declared <= time || note.arrived) {
            self.pop(gone);
        }
    }

    fn pop(&mut self, gone: &mut impl FnMut(Note)) {
        if let Some(note) = self.notes.pop_front()
            && !note.arrived
        {
            self.awaited -= usize::from(note.is_awaited());
            gone(note);
        }
    }

    /// The cuts were of another path's window.
    pub(super) fn forget_epochs(&mut self) {
        self.notes.iter_mut().for_each(|note| note.epoch = None);
    }
}
