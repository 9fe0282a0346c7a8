//! Which connections have work, in the order in which they are to have their turn.

use std::collections::VecDeque;

/// A queue of connection slots; each stands in it at most once.
#[derive(Default)]
pub(crate) struct Ready {
    queue: VecDeque<u32>,
    queued: Vec<bool>,
}

impl Ready {
    /// Puts `key` at the end, unless it stands in the queue already.
    pub(crate) fn push(&mut self, key: u32) {
        let index = key as usize;
        if index >= self.queued.len() {
            self.queued.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.queued[index], true) {
            self.queue.push_back(key);
        }
    }

    /// Takes the first.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let key = self.queue.pop_front()?;
        self.queued[key as usize] = false;
        Some(key)
    }

    /// How many stand in it.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once_in_order() {
        let mut ready = Ready::default();
        [3, 1, 3, 2, 1].into_iter().for_each(|key| ready.push(key));
        assert_eq!(ready.len(), 3);
        assert_eq!([ready.pop(), ready.pop(), ready.pop(), ready.pop()], [Some(3), Some(1), Some(2), None]);
        ready.push(3);
        assert_eq!(ready.pop(), Some(3));
    }
}
