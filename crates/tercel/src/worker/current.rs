//! The connection whose handler is running on this thread.
//!
//! While a handler runs, its connection lies here, so that calls from within act on it at once
//! without a lock. They never call handlers; what they cause is told after the handler has returned.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::cell::{ConnectionShared, Core};

thread_local! {
    static CURRENT: RefCell<Option<Box<Core>>> = const { RefCell::new(None) };
}

/// A handler panicked.
pub(crate) struct Panicked;

/// Runs code of the application so that its panic is its own.
pub(crate) fn guard(code: impl FnOnce()) -> Result<(), Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|_| Panicked)
}

/// Runs `handler` while `core` can be reached by [`with`].
pub(crate) fn lend(core: Box<Core>, handler: impl FnOnce()) -> (Box<Core>, Result<(), Panicked>) {
    let outer = CURRENT.replace(Some(core));
    let result = guard(handler);
    let core = CURRENT.replace(outer).expect("the lent connection stays until it is taken back");
    (core, result)
}

/// Runs `act` on the connection if its handler is what runs on this thread; else gives `input` back.
pub(crate) fn with<T, R>(
    shared: &Arc<ConnectionShared>,
    input: T,
    act: impl FnOnce(&mut Core, T) -> R,
) -> Result<R, T> {
    let mut input = Some(input);
    let result = CURRENT
        .try_with(|current| {
            // Borrowed already: a destructor run by an operation calls in. It has to queue.
            let mut current = current.try_borrow_mut().ok()?;
            let core = current.as_deref_mut().filter(|core| Arc::ptr_eq(core.shared(), shared))?;
            Some(act(core, input.take()?))
        })
        .ok()
        .flatten();
    match (result, input) {
        (Some(result), _) => Ok(result),
        (None, Some(input)) => Err(input),
        (None, None) => unreachable!("the input is taken only together with a result"),
    }
}
