//! The operation queue of a connection: other threads put, the worker takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A queue that keeps the order of what each thread puts, and that knows whether the worker has been
/// told of it: whoever puts the first operation since the worker last took must tell, and no other.
pub(crate) struct Queue<O> {
    state: Mutex<State<O>>,
    /// Whether there may be something in it; changed under the lock.
    waits: AtomicBool,
}

struct State<O> {
    operations: VecDeque<O>,
    announced: bool,
    ended: bool,
}

impl<O> Queue<O> {
    pub(crate) fn new() -> Self {
        let state = State { operations: VecDeque::new(), announced: false, ended: false };
        Self { state: Mutex::new(state), waits: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an operation; `Ok(true)` if the worker must be told. Gives it back if the queue has
    /// ended, or if it comes too late in the eyes of `is_late`. `join` may make it part of the one before it, or gives
    /// it back.
    pub(crate) fn put(
        &self,
        operation: O,
        is_late: impl FnOnce(&O) -> bool,
        join: impl FnOnce(&mut O, O) -> Option<O>,
    ) -> Result<bool, O> {
        let mut state = self.state();
        if state.ended || is_late(&operation) {
            return Err(operation);
        }
        let separate = match state.operations.back_mut() {
            Some(last) => join(last, operation),
            None => Some(operation),
        };
        if let Some(operation) = separate {
            state.operations.push_back(operation);
        }
        self.waits.store(true, Ordering::Release);
        Ok(!std::mem::replace(&mut state.announced, true))
    }

    /// Takes everything, by exchange with `into`, which must be empty. What `seal` changes is seen by
    /// every [`put`](Self::put) after this and by none whose operation is taken now.
    pub(crate) fn take(&self, into: &mut VecDeque<O>, seal: impl FnOnce()) {
        debug_assert!(into.is_empty());
        let mut state = self.state();
        seal();
        state.announced = false;
        self.waits.store(false, Ordering::Release);
        std::mem::swap(&mut state.operations, into);
    }

    /// Whether there may be something in it: certainly if who asks was told so by who has put it.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Lets go of room that is not in use.
    pub(crate) fn rest(&self) {
        self.state().operations.shrink_to_fit();
    }

    /// Takes everything that is left and accepts no more.
    pub(crate) fn end(&self) -> VecDeque<O> {
        let mut state = self.state();
        state.ended = true;
        std::mem::take(&mut state.operations)
    }

    /// Whether it has ended.
    #[cfg(test)]
    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    fn separate<O>(_: &mut O, next: O) -> Option<O> {
        Some(next)
    }

    /// Threads put numbered operations while a worker takes them whenever told: none is lost, none
    /// comes twice, and each thread's order is kept.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "threads are what is tested")]
    fn nothing_is_lost_between_threads() {
        const THREADS: usize = 4;
        const EACH: usize = 20_000;
        let queue = Arc::new(Queue::new());
        let (told, tell) = mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (queue, told) = (queue.clone(), told.clone());
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        if queue.put((thread, number), |_| false, separate).unwrap() {
                            told.send(()).unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(told);
        let mut next = [0; THREADS];
        let mut taken = VecDeque::new();
        while tell.recv().is_ok() {
            queue.take(&mut taken, || {});
            for (thread, number) in taken.drain(..) {
                assert_eq!(number, next[thread]);
                next[thread] += 1;
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(next, [EACH; THREADS]);
    }

    #[test]
    fn an_ended_queue_gives_back() {
        let queue = Queue::new();
        assert!(!queue.waits());
        assert_eq!(queue.put(1, |_| false, separate), Ok(true));
        assert!(queue.waits());
        assert_eq!(queue.put(2, |_| false, separate), Ok(false));
        assert_eq!(queue.put(9, |_| true, separate), Err(9));
        assert_eq!(
            queue.put(
                30,
                |_| false,
                |last, next| {
                    *last += next;
                    None
                }
            ),
            Ok(false)
        );
        assert_eq!(queue.end(), [1, 32]);
        assert_eq!(queue.put(3, |_| false, separate), Err(3));
        assert!(queue.has_ended());
    }
}
