//! A queue that mostly holds one element, which then takes no memory of its own: the pieces of a stream, say, of
//! which there may be thousands, but on a stream that carries a request there is one.

use std::collections::VecDeque;

/// A queue.
#[derive(Debug, Clone)]
pub struct ShortQueue<T> {
    /// If this is empty there is nothing in `rest`.
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for ShortQueue<T> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}

impl<T> ShortQueue<T> {
    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The first element.
    pub const fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    /// The first element.
    pub const fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    /// The last element.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.rest.back_mut().or(self.first.as_mut())
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, value: T) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.rest.push_back(value),
        }
    }

    /// Takes the first element.
    pub fn pop_front(&mut self) -> Option<T> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    /// Takes the last element.
    pub fn pop_back(&mut self) -> Option<T> {
        self.rest.pop_back().or_else(|| self.first.take())
    }

    /// Takes the element with this many before it.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        match index.checked_sub(1) {
            None => self.pop_front(),
            Some(index) => self.rest.remove(index),
        }
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    /// The element with this many before it.
    pub fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.rest.get(index),
        }
    }

    /// How many elements come before the first for which `is_before` does not hold; it holds for none after that.
    pub fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        match self.first.as_ref().is_some_and(&is_before) {
            true => 1 + self.rest.partition_point(is_before),
            false => 0,
        }
    }

    /// Cuts off the elements from the first on for which `is_kept` does not hold, and gives them; it holds for none
    /// after that.
    pub fn split_off(&mut self, is_kept: impl Fn(&T) -> bool) -> Self {
        if !self.first.as_ref().is_some_and(&is_kept) {
            return std::mem::take(self);
        }
        let mut rest = self.rest.split_off(self.rest.partition_point(is_kept));
        Self { first: rest.pop_front(), rest }
    }
}

impl<T> Iterator for ShortQueue<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plain one.
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((0u8..13, 0u32..30), 0..60)) {
            let (mut queue, mut model) = (ShortQueue::default(), VecDeque::new());
            let mut next = 0;
            for (what, at) in steps {
                match what {
                    0..6 => {
                        next += 1;
                        queue.push_back(next);
                        model.push_back(next);
                    }
                    6..9 => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    9 => prop_assert_eq!(queue.pop_back(), model.pop_back()),
                    10 => {
                        let index = (at / 4) as usize;
                        prop_assert_eq!(queue.remove(index), model.remove(index));
                    }
                    11 => {
                        let cut = queue.split_off(|value| *value <= at);
                        let cut: Vec<_> = cut.collect();
                        prop_assert_eq!(cut, Vec::from(model.split_off(model.partition_point(|value| *value <= at))));
                    }
                    _ => {
                        let found = queue.partition_point(|value| *value < at);
                        prop_assert_eq!(found, model.partition_point(|value| *value < at));
                    }
                }
                prop_assert_eq!(queue.iter().copied().collect::<Vec<_>>(), Vec::from(model.clone()));
                prop_assert_eq!(queue.front(), model.front());
                prop_assert_eq!(queue.back_mut().copied(), model.back().copied());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}
