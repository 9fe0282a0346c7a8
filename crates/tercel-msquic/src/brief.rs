//! A lock for what is looked at for some hundred instructions, never while the application runs, and seldom by two threads
//! at a time: one atomic operation to take it and none to give it back, where a mutex (also `parking_lot`'s) needs two,
//! since it must know whether to wake somebody. Who waits in vain sleeps for a moment, which the locks of the crate `spin`
//! do not: who has it may need the processor, and be a thread of a lower priority, which neither spinning nor
//! yielding lets run.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Brief<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is lent to one thread at a time.
unsafe impl<T: Send> Sync for Brief<T> {}

/// The value, until this is dropped.
pub(crate) struct Hold<'a, T> {
    of: &'a Brief<T>,
    /// Other threads may have it, or look at it, where they may the value: the lock alone would permit more.
    value: PhantomData<&'a mut T>,
}

impl<T> Brief<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The same; if it is `taken`, who makes it [has](Self::held) it.
    pub(crate) const fn made(value: T, taken: bool) -> Self {
        Self { taken: AtomicBool::new(taken), value: UnsafeCell::new(value) }
    }

    /// The value, for who has it since this was made.
    ///
    /// # Safety
    /// This was [made](Self::made) taken, by who calls this, and this is called once.
    pub(crate) const unsafe fn held(&self) -> Hold<'_, T> {
        Hold { of: self, value: PhantomData }
    }

    /// Waits until nobody else has it.
    pub(crate) fn lock(&self) -> Hold<'_, T> {
        if self.taken.swap(true, Ordering::Acquire) {
            self.wait();
        }
        Hold { of: self, value: PhantomData }
    }

    /// The value, if nobody has it.
    pub(crate) fn try_lock(&self) -> Option<Hold<'_, T>> {
        (!self.taken.swap(true, Ordering::Acquire)).then(|| Hold { of: self, value: PhantomData })
    }

    #[cold]
    #[allow(clippy::disallowed_methods, reason = "see the module")]
    fn wait(&self) {
        for turn in 0u32.. {
            if !self.taken.load(Ordering::Relaxed) && !self.taken.swap(true, Ordering::Acquire) {
                return;
            }
            match turn {
                0..100 => std::hint::spin_loop(),
                100..200 => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }
}

impl<T> Deref for Hold<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody else has it.
        unsafe { &*self.of.value.get() }
    }
}

impl<T> DerefMut for Hold<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: nobody else has it.
        unsafe { &mut *self.of.value.get() }
    }
}

impl<T> Drop for Hold<'_, T> {
    fn drop(&mut self) {
        self.of.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "threads are what is tested")]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        const THREADS: usize = 4;
        const EACH: u64 = 50_000;
        let counts = Brief::new((0u64, 0u64));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for turn in 0..EACH {
                        let mut counts = counts.lock();
                        counts.0 += 1;
                        if turn % 512 == 0 {
                            std::thread::yield_now();
                        }
                        counts.1 += 1;
                        assert_eq!(counts.0, counts.1);
                    }
                });
            }
        });
        let held = counts.lock();
        assert!(held.0 == THREADS as u64 * EACH && counts.try_lock().is_none());
        drop(held);
        assert!(counts.try_lock().is_some());
    }

    #[test]
    fn who_makes_it_may_have_it() {
        let made = Brief::made(7, true);
        assert!(made.try_lock().is_none());
        // SAFETY: it was made so here.
        drop(unsafe { made.held() });
        assert_eq!(made.try_lock().map(|value| *value), Some(7));
    }
}
