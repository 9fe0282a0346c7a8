//! A queue that is seldom used: a pointer while it is not. A connection has a dozen of them, and most connections
//! never put anything into most.

use std::collections::VecDeque;
use std::ops::Deref;

/// A queue.
#[derive(Debug)]
// What is in the box need not be small: it mostly is not there.
#[allow(clippy::box_collection, reason = "a VecDeque has four words, and this one")]
pub struct RareQueue<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for RareQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> RareQueue<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, value: T) {
        self.0.get_or_insert_default().push_back(value);
    }

    /// Takes the first element.
    pub fn pop_front(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_front()
    }

    /// Takes the element with this many before it.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        self.0.as_mut()?.remove(index)
    }

    /// Keeps those of which `is_kept` is true.
    pub fn retain(&mut self, is_kept: impl FnMut(&T) -> bool) {
        if let Some(queue) = &mut self.0 {
            queue.retain(is_kept);
        }
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// To change it in other ways.
    pub fn as_queue(&mut self) -> &mut VecDeque<T> {
        self.0.get_or_insert_default()
    }

    /// Lets go of room that is not in use.
    pub fn rest(&mut self) {
        self.0.take_if(|queue| queue.is_empty());
    }
}

impl<T: 'static> RareQueue<T> {
    const EMPTY: &VecDeque<T> = &VecDeque::new();
}

impl<T: 'static> Deref for RareQueue<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        self.0.as_deref().unwrap_or(Self::EMPTY)
    }
}

impl<T> Extend<T> for RareQueue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push_back(value));
    }
}

impl<T> FromIterator<T> for RareQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut queue = Self::new();
        queue.extend(values);
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_and_a_word() {
        assert_eq!(size_of::<RareQueue<[u64; 9]>>(), size_of::<usize>());
        let mut queue = RareQueue::new();
        assert_eq!((queue.pop_front(), queue.remove(0), queue.front(), queue.len()), (None, None, None, 0));
        queue.extend(0..6);
        queue.rest();
        queue.retain(|value| *value != 3);
        assert_eq!((queue.remove(1), queue.pop_front()), (Some(1), Some(0)));
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [2, 4, 5]);
        queue.clear();
        queue.push_back(7);
        assert_eq!((queue.pop_front(), queue.0.is_some()), (Some(7), true));
        queue.rest();
        assert!(queue.is_empty() && queue.0.is_none());
    }
}
