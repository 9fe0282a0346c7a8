//! What belongs to packets under way and is not in them, in the order in which they were sent: so a packet is small, and
//! none needs memory of its own, however much belongs to it.

use std::collections::VecDeque;

/// So many things, from a place on: of those under way, or in an [`AckOutcome`](super::AckOutcome).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    /// Places under way are counted from the first thing ever, and wrap around.
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Stretch {
    /// The one at this place.
    #[cfg(test)]
    pub(crate) fn one(first: u32) -> Self {
        Self { first, count: 1 }
    }

    /// The things themselves, of those of the outcome.
    pub(crate) fn of<T>(self, all: &[T]) -> &[T] {
        all.get(self.first as usize..).and_then(|all| all.get(..self.count as usize)).unwrap_or_default()
    }
}

/// A ring of such things.
#[derive(Debug)]
pub(super) struct Attached<T> {
    /// The place of the first.
    first: u32,
    things: VecDeque<T>,
}

impl<T> Default for Attached<T> {
    fn default() -> Self {
        Self { first: 0, things: VecDeque::new() }
    }
}

impl<T: Copy> Attached<T> {
    /// The place of the next.
    pub(super) fn end(&self) -> u32 {
        self.first.wrapping_add(self.things.len() as u32)
    }

    pub(super) fn push(&mut self, things: &[T]) -> Stretch {
        let stretch = Stretch { first: self.end(), count: things.len() as u32 };
        for thing in things {
            self.things.push_back(*thing);
        }
        stretch
    }

    /// Copies what belongs to a packet into an outcome, and tells where it is there.
    pub(super) fn hand_over(&self, stretch: Stretch, to: &mut Vec<T>) -> Stretch {
        let first = to.len() as u32;
        // One by one: an iterator of them would copy each twice, and wait for the first copy.
        for place in 0..stretch.count {
            if let Some(thing) = self.things.get(self.index(stretch) + place as usize) {
                to.push(*thing);
            }
        }
        Stretch { first, ..stretch }
    }

    /// Takes out what `taken` says of a packet's. What stays is moved to the front of the stretch that is given.
    pub(super) fn take(&mut self, stretch: Stretch, mut taken: impl FnMut(&T) -> bool) -> Stretch {
        let from = self.index(stretch);
        let mut kept = from;
        for at in from..from + stretch.count as usize {
            let thing = self.things[at];
            if !taken(&thing) {
                self.things[kept] = thing;
                kept += 1;
            }
        }
        Stretch { count: (kept - from) as u32, ..stretch }
    }

    /// What lies before this place belongs to nobody any more.
    pub(super) fn trim(&mut self, first: u32) {
        self.things.drain(..first.wrapping_sub(self.first) as usize);
        self.first = first;
    }

    /// Lets go of room that is not in use.
    pub(super) fn rest(&mut self) {
        self.things.shrink_to_fit();
    }

    fn index(&self, stretch: Stretch) -> usize {
        stretch.first.wrapping_sub(self.first) as usize
    }
}
