//! A map by stream ID, made for how streams come and go: IDs of a kind (who opened it, and whether both ends
//! send) count up, and most streams do not last long.
//!
//! So the streams of a kind lie in a window that slides along with the IDs, and finding one is a subtraction.
//! Streams that outlast those after them would hold the window open: when it is mostly empty its oldest are
//! moved out of it, into a tree. Every stream is moved at most once, and every ID passes the window once, so
//! that nothing costs more than its share.

use std::collections::{BTreeMap, VecDeque};

use tercel_wire::{Direction, Role, StreamId};

/// A map from [`StreamId`] to `T`.
#[derive(Debug)]
pub struct IdMap<T> {
    /// Most connections have streams of one or two kinds.
    kinds: [Option<Box<Kind<T>>>; 4],
}

/// The streams of one kind, by their index.
#[derive(Debug)]
struct Kind<T> {
    /// The index at the front of the window, and the entries from there on.
    base: u64,
    window: VecDeque<Option<T>>,
    /// How many entries the window holds.
    live: usize,
    /// Those below the window.
    old: BTreeMap<u64, T>,
}

/// A window of this length may be as empty as it likes.
const SHORT: usize = 64;

/// Where the kind of a stream is kept.
const fn kind(id: StreamId) -> usize {
    (id.into_wire() & 3) as usize
}

impl<T> Default for IdMap<T> {
    fn default() -> Self {
        Self { kinds: [const { None }; 4] }
    }
}

impl<T> IdMap<T> {
    /// What is kept for a stream.
    pub fn get(&self, id: StreamId) -> Option<&T> {
        self.kinds[kind(id)].as_ref()?.get(id.index())
    }

    /// What is kept for a stream.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut T> {
        self.kinds[kind(id)].as_mut()?.get_mut(id.index())
    }

    /// Whether anything is kept for a stream.
    pub fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    /// Keeps something for a stream; gives what was kept before.
    pub fn insert(&mut self, id: StreamId, value: T) -> Option<T> {
        self.kinds[kind(id)].get_or_insert_default().insert(id.index(), value)
    }

    /// Forgets a stream; gives what was kept for it.
    pub fn remove(&mut self, id: StreamId) -> Option<T> {
        self.kinds[kind(id)].as_mut()?.remove(id.index())
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        for place in &mut self.kinds {
            place.take_if(|kind| kind.live == 0 && kind.old.is_empty());
            if let Some(kind) = place {
                kind.window.shrink_to_fit();
            }
        }
    }

    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.kinds.iter().flatten().map(|kind| kind.live + kind.old.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All streams, those of a kind in the order of their IDs.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut T)> {
        let kinds = [
            (Role::Client, Direction::Bidirectional),
            (Role::Server, Direction::Bidirectional),
            (Role::Client, Direction::Unidirectional),
            (Role::Server, Direction::Unidirectional),
        ];
        let there = kinds.into_iter().zip(&mut self.kinds).filter_map(|(name, kind)| Some((name, kind.as_mut()?)));
        there.flat_map(|((role, direction), kind)| {
            let window =
                (kind.base..).zip(&mut kind.window).filter_map(|(index, value)| Some((index, value.as_mut()?)));
            let old = kind.old.iter_mut().map(|(index, value)| (*index, value));
            old.chain(window).map(move |(index, value)| (StreamId::new(role, direction, index), value))
        })
    }

    /// The IDs of all streams, those of a kind in their order.
    pub fn ids(&mut self) -> Vec<StreamId> {
        self.iter_mut().map(|(id, _)| id).collect()
    }
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self { base: 0, window: VecDeque::new(), live: 0, old: BTreeMap::new() }
    }
}

impl<T> Kind<T> {
    /// Where in the window an index is, or would be. Nowhere (very far behind it) if it is below.
    fn place(&self, index: u64) -> usize {
        usize::try_from(index.wrapping_sub(self.base)).unwrap_or(usize::MAX)
    }

    fn get(&self, index: u64) -> Option<&T> {
        match self.window.get(self.place(index)) {
            Some(value) => value.as_ref(),
            None => self.old.get(&index),
        }
    }

    fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        let place = self.place(index);
        match self.window.get_mut(place) {
            Some(value) => value.as_mut(),
            None => self.old.get_mut(&index),
        }
    }

    fn insert(&mut self, index: u64, value: T) -> Option<T> {
        if self.window.is_empty() {
            self.base = self.base.max(index);
        }
        if index < self.base {
            return self.old.insert(index, value);
        }
        self.make_room(index);
        let place = self.place(index);
        while self.window.len() <= place {
            self.window.push_back(None);
        }
        let before = self.window[place].replace(value);
        self.live += usize::from(before.is_none());
        before
    }

    /// Lets go of the front while the window, up to `index`, would be mostly empty.
    fn make_room(&mut self, index: u64) {
        while self.place(index) >= SHORT + 4 * self.live
            && let Some(front) = self.window.pop_front()
        {
            if let Some(value) = front {
                self.live -= 1;
                self.old.insert(self.base, value);
            }
            self.base += 1;
        }
        if self.window.is_empty() {
            self.base = index;
        }
    }

    fn remove(&mut self, index: u64) -> Option<T> {
        let place = self.place(index);
        let Some(value) = self.window.get_mut(place) else { return self.old.remove(&index) };
        let value = value.take()?;
        self.live -= 1;
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.base += 1;
        }
        if self.window.is_empty() && self.window.capacity() > SHORT {
            self.window = VecDeque::new();
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(wire: u64) -> StreamId {
        StreamId::from_wire(wire)
    }

    proptest! {
        /// Against the plainest map, with IDs that go up, now and then come late, and leave gaps.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u64..4, 0u64..40, 0u8..8, 0u64..2000), 0..400)) {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            let mut next = [0u64; 4];
            for (kind, step, what, back) in steps {
                let top = &mut next[kind as usize];
                let wire = |index: u64| 4 * index + kind;
                match what {
                    0..4 => {
                        *top += if what == 0 { step * 20 } else { step / 20 + 1 };
                        prop_assert_eq!(map.insert(id(wire(*top)), *top), model.insert(wire(*top), *top));
                    }
                    4 => {
                        let late = wire(top.saturating_sub(back));
                        prop_assert_eq!(map.insert(id(late), step), model.insert(late, step));
                    }
                    7 if step < 4 => map.rest(),
                    _ => {
                        let chosen = model.keys().copied().filter(|wire| wire & 3 == kind).nth(step as usize % 7);
                        let chosen = chosen.unwrap_or(wire(step));
                        prop_assert_eq!(map.remove(id(chosen)), model.remove(&chosen));
                    }
                }
                prop_assert_eq!(map.len(), model.len());
                let probe = wire(top.saturating_sub(back));
                prop_assert_eq!(map.get(id(probe)), model.get(&probe));
                prop_assert_eq!(map.get_mut(id(probe)), model.get_mut(&probe));
            }
            let mut ids: Vec<u64> = map.ids().into_iter().map(StreamId::into_wire).collect();
            ids.sort_unstable();
            prop_assert_eq!(ids, model.keys().copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_stream_that_lasts_does_not_hold_the_window_open() {
        let mut map = IdMap::default();
        map.insert(id(0), 0);
        for index in 1..100_000 {
            map.insert(id(4 * index), index);
            assert_eq!(map.remove(id(4 * index)), Some(index));
        }
        assert!(map.kinds[0].as_ref().unwrap().window.capacity() <= 4 * SHORT);
        assert_eq!((map.get(id(0)), map.len()), (Some(&0), 1));
        map.insert(id(4 * 1_000_000), 5);
        assert_eq!((map.kinds[0].as_ref().unwrap().window.len(), map.get(id(4_000_000)), map.len()), (1, Some(&5), 2));
    }
}
