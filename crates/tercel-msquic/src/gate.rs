//! The gate between the events of a connection and the application: one callback at a time, on whichever thread,
//! and none after a close. Whoever closes from another thread waits at the gate until the callback that runs has
//! returned; who closes from within it does not.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;

thread_local! {
    /// How many callbacks of the application are running on this thread, one within the other.
    static RUNNING: Cell<usize> = const { Cell::new(0) };
    static THIS: ThreadId = std::thread::current().id();
}

/// This thread.
fn this_thread() -> ThreadId {
    THIS.with(|this| *this)
}

#[derive(Default)]
struct State {
    /// Who is inside, and how deep.
    inside: Option<(ThreadId, usize)>,
    /// How many wait.
    waiting: usize,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    left: Condvar,
    /// The thread that has the connection's turns.
    worker: OnceLock<ThreadId>,
}

/// The right to call the application.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other thread is inside, and goes in.
    pub(crate) fn enter(&self) -> Pass<'_> {
        let this = this_thread();
        let mut state = self.state();
        loop {
            match &mut state.inside {
                None => state.inside = Some((this, 1)),
                Some((thread, depth)) if *thread == this => *depth += 1,
                Some(_) => {
                    state.waiting += 1;
                    state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waiting -= 1;
                    continue;
                }
            }
            break;
        }
        drop(state);
        RUNNING.set(RUNNING.get() + 1);
        Pass(self)
    }

    /// Whether this thread is inside: the call comes from a callback.
    pub(crate) fn is_inside(&self) -> bool {
        self.state().inside.is_some_and(|(thread, _)| thread == this_thread())
    }

    /// Whether to wait for the connection's own thread would be to wait for oneself.
    pub(crate) fn is_own_thread(&self) -> bool {
        match self.worker.get() {
            Some(worker) => *worker == this_thread(),
            // Which thread it is is not known yet.
            None => is_in_callback(),
        }
    }

    /// This thread has the connection's turns.
    pub(crate) fn is_worked_here(&self) {
        self.worker.get_or_init(this_thread);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get().saturating_sub(1));
        let mut state = self.0.state();
        match &mut state.inside {
            Some((_, depth)) if *depth > 1 => *depth -= 1,
            inside => *inside = None,
        }
        // To wake nobody would be a system call all the same, for every event.
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.0.left.notify_all();
        }
    }
}

/// Whether a callback of the application is running on this thread.
pub(crate) fn is_in_callback() -> bool {
    RUNNING.get() > 0
}

/// Something that threads wait for, once.
#[derive(Default)]
pub(crate) struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn give(&self) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_given(&self) -> bool {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait(&self) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        while !*given {
            given = self.changed.wait(given).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Gives a signal when it is dropped, wherever that happens.
pub(crate) struct SignalWhenDropped(pub(crate) std::sync::Arc<Signal>);

impl Drop for SignalWhenDropped {
    fn drop(&mut self) {
        self.0.give();
    }
}

/// Those who are inside, several at a time, and who waits until all others have left.
#[derive(Default)]
pub(crate) struct Crowd {
    inside: Mutex<Vec<ThreadId>>,
    left: Condvar,
}

/// One of the crowd.
pub(crate) struct Member<'a>(&'a Crowd);

impl Crowd {
    fn inside(&self) -> MutexGuard<'_, Vec<ThreadId>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self) -> Member<'_> {
        self.inside().push(this_thread());
        RUNNING.set(RUNNING.get() + 1);
        Member(self)
    }

    /// Waits until no other thread is inside.
    pub(crate) fn wait_for_others(&self) {
        let this = this_thread();
        let mut inside = self.inside();
        while inside.iter().any(|thread| *thread != this) {
            inside = self.left.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get().saturating_sub(1));
        let this = this_thread();
        let mut inside = self.0.inside();
        if let Some(at) = inside.iter().rposition(|thread| *thread == this) {
            inside.swap_remove(at);
        }
        drop(inside);
        self.0.left.notify_all();
    }
}
