//! The gate between the events of a connection and the application: one callback at a time, on whichever thread,
//! and none after a close. Whoever closes from another thread waits at the gate until the callbacks of the turn that runs
//! have returned; who closes from within one does not.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::called;

thread_local! {
    /// In how many crowds this thread is.
    static CROWDS: Cell<usize> = const { Cell::new(0) };
    /// Twice the number of this thread, which begin with 1; [`NO_NUMBER`] while it has none.
    static THIS: Cell<u64> = const { Cell::new(NO_NUMBER) };
}

const NO_NUMBER: u64 = 1;

/// The number of this thread, which no other has.
#[inline]
pub(crate) fn this_thread() -> u64 {
    match THIS.get() {
        NO_NUMBER => number_this_thread(),
        this => this >> 1,
    }
}

#[cold]
fn number_this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let this = NEXT.fetch_add(1, Ordering::Relaxed);
    THIS.set(this << 1);
    this
}

/// See the [module](self). Every event passes it, so that it is no mutex: the connection's worker comes in once for a
/// turn, which is one atomic operation, and another to leave, while nobody waits.
#[derive(Default)]
pub(crate) struct Gate {
    /// Twice the number of the thread that is inside, or 0; and [`AWAITED`] if others wait.
    inside: AtomicU64,
    waiting: Mutex<Waiting>,
    left: Condvar,
    /// The thread that has the connection's turns; 0 while that is not known.
    worker: AtomicU64,
}

const AWAITED: u64 = 1;

/// Those who wait, in the order in which they came: a worker that has one turn after the other does not overtake them.
#[derive(Default)]
struct Waiting {
    came: u64,
    went_in: u64,
}

/// The right to call the application. It stays on its thread.
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
    /// It came in by this one, and was not inside already.
    came_in: bool,
    stays: PhantomData<*const ()>,
}

impl Gate {
    /// Waits until no other thread is inside, and goes in.
    #[inline]
    pub(crate) fn enter(&self) -> Pass<'_> {
        let came_in = !self.is_mine();
        if came_in {
            self.come_in();
        }
        Pass { gate: self, came_in, stays: PhantomData }
    }

    /// The connection has a turn on this thread: the same for all callbacks of it. It has all of them here. Whether the turn
    /// is what came in, and has to [leave](Self::end_turn).
    #[must_use]
    pub(crate) fn begin_turn(&self) -> bool {
        self.worker.store(this_thread(), Ordering::Relaxed);
        let came_in = !self.is_mine();
        if came_in {
            self.come_in();
        }
        came_in
    }

    /// The turn is over by which this thread came in.
    pub(crate) fn end_turn(&self) {
        self.leave();
    }

    #[cold]
    fn come_in(&self) {
        let this = this_thread() << 1;
        if self.inside.compare_exchange(0, this, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait_to_come_in(this);
        }
    }

    fn wait_to_come_in(&self, this: u64) {
        let mut waiting = self.waiting();
        let number = waiting.came;
        waiting.came += 1;
        loop {
            let inside = self.inside.load(Ordering::Relaxed);
            let is_empty = inside & !AWAITED == 0;
            let others_wait = waiting.came - waiting.went_in > 1;
            let next = match is_empty && number == waiting.went_in {
                true => this | if others_wait { AWAITED } else { 0 },
                // Who leaves after this takes the lock, so it does not come between this and the sleep.
                false => inside | AWAITED,
            };
            let changed = self.inside.compare_exchange(inside, next, Ordering::Acquire, Ordering::Relaxed);
            if changed.is_ok() && next & !AWAITED == this {
                waiting.went_in += 1;
                return;
            }
            if changed.is_ok() {
                waiting = self.left.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    #[cold]
    fn leave(&self) {
        let this = this_thread() << 1;
        if self.inside.compare_exchange(this, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            // Empty, and not for who comes now: those who wait are woken, of whom one is the next.
            let waiting = self.waiting();
            self.inside.store(AWAITED, Ordering::Release);
            drop(waiting);
            self.left.notify_all();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this thread that is inside.
    #[inline]
    pub(crate) fn is_mine(&self) -> bool {
        self.inside.load(Ordering::Relaxed) & !AWAITED == THIS.get()
    }

    /// Whether to wait for the connection's own thread would be to wait for oneself.
    pub(crate) fn is_own_thread(&self) -> bool {
        match self.worker.load(Ordering::Relaxed) {
            // Which thread it is is not known yet.
            0 => is_in_callback(),
            worker => worker == this_thread(),
        }
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.came_in {
            self.gate.leave();
        }
    }
}

/// Whether a callback of the application is running on this thread.
pub(crate) fn is_in_callback() -> bool {
    CROWDS.get() > 0 || called::is_any()
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
    state: Mutex<CrowdState>,
    left: Condvar,
}

#[derive(Default)]
struct CrowdState {
    /// By the numbers of their threads.
    inside: Vec<u64>,
    /// How many wait.
    waiting: usize,
}

/// One of the crowd.
pub(crate) struct Member<'a>(&'a Crowd);

impl Crowd {
    fn state(&self) -> MutexGuard<'_, CrowdState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self) -> Member<'_> {
        self.state().inside.push(this_thread());
        CROWDS.set(CROWDS.get() + 1);
        Member(self)
    }

    /// Waits until no other thread is inside.
    pub(crate) fn wait_for_others(&self) {
        let this = this_thread();
        let mut state = self.state();
        while state.inside.iter().any(|thread| *thread != this) {
            state.waiting += 1;
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        CROWDS.set(CROWDS.get().saturating_sub(1));
        let this = this_thread();
        let mut state = self.0.state();
        if let Some(at) = state.inside.iter().rposition(|thread| *thread == this) {
            state.inside.swap_remove(at);
        }
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.0.left.notify_all();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "threads are what is tested")]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// Threads that go in by turns, now and then twice, are alone inside, and none is left waiting.
    #[test]
    fn one_is_inside() {
        const THREADS: usize = 4;
        const EACH: u64 = 20_000;
        let (gate, visits, start) = (Gate::default(), AtomicU64::new(0), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for turn in 0..EACH {
                        assert!(!gate.is_mine());
                        let pass = gate.enter();
                        let within = (turn % 3 == 0).then(|| gate.enter());
                        // Not one operation: two that are inside would lose visits.
                        let before = visits.load(Ordering::Relaxed);
                        if turn % 64 == 0 {
                            std::thread::yield_now();
                        }
                        visits.store(before + 1, Ordering::Relaxed);
                        drop(within);
                        assert!(gate.is_mine());
                        drop(pass);
                    }
                });
            }
        });
        assert_eq!(visits.into_inner(), THREADS as u64 * EACH);
        assert_eq!(gate.inside.into_inner(), 0);
    }

    /// A worker that has one turn after the other lets in who waits; within a turn it is inside between callbacks.
    #[test]
    fn who_waits_comes_in_between_turns() {
        const THREADS: usize = 3;
        const EACH: usize = 200;
        let (gate, start) = (Gate::default(), Barrier::new(THREADS + 1));
        let (visits, done) = (AtomicU64::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..EACH {
                        let _pass = gate.enter();
                        visits.store(visits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                    done.fetch_add(1, Ordering::Release);
                });
            }
            start.wait();
            while done.load(Ordering::Acquire) < THREADS as u32 {
                assert!(gate.begin_turn());
                let before = visits.load(Ordering::Relaxed);
                for _ in 0..3 {
                    assert!(gate.is_mine());
                    let pass = gate.enter();
                    std::thread::yield_now();
                    drop(pass);
                }
                assert_eq!(visits.load(Ordering::Relaxed), before);
                gate.end_turn();
            }
        });
        assert_eq!(visits.into_inner(), (THREADS * EACH) as u64);
        assert_eq!(gate.inside.into_inner(), 0);
    }

    /// A turn on a thread that is inside already leaves it there.
    #[test]
    fn who_is_inside_stays_there_after_a_turn() {
        let gate = Gate::default();
        let pass = gate.enter();
        assert!(!gate.begin_turn() && gate.is_own_thread());
        drop(gate.enter());
        assert!(gate.is_mine());
        drop(pass);
        assert_eq!(gate.inside.into_inner(), 0);
    }

    #[test]
    fn a_crowd_is_waited_for() {
        let (crowd, started) = (Crowd::default(), Barrier::new(2));
        let left = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let member = crowd.enter();
                started.wait();
                std::thread::yield_now();
                left.store(1, Ordering::Relaxed);
                drop(member);
            });
            started.wait();
            // Oneself is not waited for.
            let _member = crowd.enter();
            assert!(is_in_callback());
            crowd.wait_for_others();
            assert_eq!(left.load(Ordering::Relaxed), 1);
        });
    }
}
