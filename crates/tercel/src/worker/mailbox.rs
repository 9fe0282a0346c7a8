//! Where other threads leave letters for a worker.
//!
//! Leaving a letter wakes the worker only if it sleeps or is about to; a worker goes to sleep only
//! by [`Mailbox::sleep`], which looks for letters under the same lock. So no wake-up is lost and a
//! busy worker costs its callers no system call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::datapath::Datapath;

/// The letters for one worker.
pub(crate) struct Mailbox<L> {
    worker: usize,
    datapath: Arc<dyn Datapath>,
    state: Mutex<State<L>>,
}

struct State<L> {
    letters: Vec<L>,
    awake: bool,
    closed: bool,
}

impl<L> Mailbox<L> {
    pub(crate) fn new(worker: usize, datapath: Arc<dyn Datapath>) -> Self {
        Self { worker, datapath, state: Mutex::new(State { letters: Vec::new(), awake: false, closed: false }) }
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a letter. Gives it back if the worker has ended.
    pub(crate) fn send(&self, letter: L) -> Result<(), L> {
        let mut state = self.state();
        if state.closed {
            return Err(letter);
        }
        state.letters.push(letter);
        let wake = !std::mem::replace(&mut state.awake, true);
        drop(state);
        if wake {
            self.datapath.wake(self.worker);
        }
        Ok(())
    }

    /// Leaves a letter that may be lost, unless very many lie there.
    pub(crate) fn send_unless_full(&self, letter: L) {
        const FULL: usize = 1 << 16;
        if self.state().letters.len() < FULL {
            // A worker that has ended needs no letters.
            let _ = self.send(letter);
        }
    }

    /// Takes every letter, in order, to the end of `into`. The worker counts as awake from now on.
    pub(crate) fn collect(&self, into: &mut Vec<L>) {
        let mut state = self.state();
        state.awake = true;
        into.append(&mut state.letters);
    }

    /// The worker wants to sleep. `false` if letters have come, and it must not.
    pub(crate) fn sleep(&self) -> bool {
        let mut state = self.state();
        state.awake = !state.letters.is_empty();
        !state.awake
    }

    /// The worker ends: takes no more letters. Gives those that are left.
    pub(crate) fn close(&self) -> Vec<L> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.letters)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::datapath::{Bind, Socket, SocketId};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Datapath for Wakes {
        fn open(&self, _: usize, _: SocketId, _: Bind) -> io::Result<Box<dyn Socket>> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn wake(&self, _: usize) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_a_sleeper_once_and_never_lets_one_sleep_over_letters() {
        let wakes = Arc::new(Wakes::default());
        let mailbox = Mailbox::new(0, wakes.clone());
        mailbox.send(1).unwrap();
        mailbox.send(2).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(!mailbox.sleep());
        let mut letters = Vec::new();
        mailbox.collect(&mut letters);
        assert_eq!(letters, [1, 2]);
        // Awake: no wake needed, and the letter keeps it from sleeping.
        mailbox.send(3).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(!mailbox.sleep());
        mailbox.collect(&mut letters);
        assert!(mailbox.sleep());
        mailbox.send(4).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
        assert_eq!(mailbox.close(), [4]);
        assert_eq!(mailbox.send(5), Err(5));
    }
}
