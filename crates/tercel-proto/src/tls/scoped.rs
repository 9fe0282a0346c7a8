//! What callbacks on a thread find there for as long as something runs.

use std::cell::RefCell;
use std::thread::LocalKey;

type Place<T> = LocalKey<RefCell<Option<T>>>;

/// Runs `run` while `value` is in `place`, and gives it back as it is then. What was there before is there again, also
/// if `run` panics: nothing must be left to a later caller.
pub(super) fn during<T, R>(place: &'static Place<T>, value: T, run: impl FnOnce() -> R) -> (R, Option<T>) {
    struct Restore<T: 'static>(&'static Place<T>, Option<T>);
    impl<T> Drop for Restore<T> {
        fn drop(&mut self) {
            self.0.set(self.1.take());
        }
    }
    let outer = Restore(place, place.replace(Some(value)));
    let result = run();
    let left = place.take();
    drop(outer);
    (result, left)
}
