//! Whom to tell of an object's events: a function of the application's, and the context that it is called with. Both
//! may change at any time, and are read for each event: so they are read without a lock, and again if they have changed
//! meanwhile.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};

use crate::abi::{ConnectionCallback, ListenerCallback, StreamCallback};
use crate::boundary::Context;
use crate::brief::Brief;

/// A function of the application's.
pub(crate) trait Handler: Copy {
    fn address(self) -> *mut ();

    /// # Safety
    /// `address` is that of a function of this type.
    unsafe fn at(address: *mut ()) -> Self;
}

macro_rules! handlers {
    ($($name:ty),*) => {$(
        impl Handler for $name {
            fn address(self) -> *mut () {
                self as *mut ()
            }

            unsafe fn at(address: *mut ()) -> Self {
                // SAFETY: as demanded of the caller.
                unsafe { std::mem::transmute::<*mut (), Self>(address) }
            }
        }
    )*};
}

handlers!(ListenerCallback, ConnectionCallback, StreamCallback);

/// See the [module](self).
pub(crate) struct Target<H> {
    /// The address of an `H`, or null.
    handler: AtomicPtr<()>,
    context: AtomicPtr<std::ffi::c_void>,
    /// Grows with each change, and is odd meanwhile.
    changes: AtomicUsize,
    changing: Brief<()>,
    kind: PhantomData<H>,
}

impl<H: Handler> Target<H> {
    pub(crate) fn new(handler: Option<H>, context: Context) -> Self {
        Self {
            handler: AtomicPtr::new(handler.map_or(std::ptr::null_mut(), H::address)),
            context: AtomicPtr::new(context.0),
            changes: AtomicUsize::new(0),
            changing: Brief::new(()),
            kind: PhantomData,
        }
    }

    /// Nobody, so far.
    pub(crate) fn nobody() -> Self {
        Self::new(None, Context::NULL)
    }

    /// The function and its context, if there is anybody to tell.
    pub(crate) fn get(&self) -> Option<(H, Context)> {
        let both = || (self.handler.load(Ordering::Relaxed), self.context.load(Ordering::Relaxed));
        let before = self.changes.load(Ordering::Acquire);
        let mut found = both();
        fence(Ordering::Acquire);
        if !before.is_multiple_of(2) || self.changes.load(Ordering::Relaxed) != before {
            let _changing = self.changing.lock();
            found = both();
        }
        let (handler, context) = found;
        // SAFETY: nothing but the addresses of such functions is put there.
        (!handler.is_null()).then(|| (unsafe { H::at(handler) }, Context(context)))
    }

    fn change(&self, change: impl FnOnce()) {
        let _changing = self.changing.lock();
        let before = self.changes.load(Ordering::Relaxed);
        self.changes.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.changes.store(before.wrapping_add(2), Ordering::Release);
    }

    /// Changes both.
    pub(crate) fn set(&self, handler: Option<H>, context: Context) {
        self.change(|| {
            self.handler.store(handler.map_or(std::ptr::null_mut(), H::address), Ordering::Relaxed);
            self.context.store(context.0, Ordering::Relaxed);
        });
    }

    pub(crate) fn context(&self) -> Context {
        Context(self.context.load(Ordering::Acquire))
    }

    pub(crate) fn set_context(&self, context: Context) {
        self.change(|| self.context.store(context.0, Ordering::Relaxed));
    }

    /// Nothing more is told. The context stays.
    pub(crate) fn silence(&self) {
        self.change(|| self.handler.store(std::ptr::null_mut(), Ordering::Relaxed));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "threads are what is tested")]
mod tests {
    use std::ffi::c_void;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::abi::{Handle, Status, StreamEvent};

    unsafe extern "C" fn one(_: Handle, _: *mut c_void, _: *mut StreamEvent) -> Status {
        Status::SUCCESS
    }

    unsafe extern "C" fn other(_: Handle, _: *mut c_void, _: *mut StreamEvent) -> Status {
        Status::PENDING
    }

    /// No function is called with the context of another.
    #[test]
    fn functions_come_with_their_contexts() {
        let pairs: [(StreamCallback, Context); 2] = [
            (one, Context(std::ptr::without_provenance_mut(1))),
            (other, Context(std::ptr::without_provenance_mut(2))),
        ];
        let target = Target::<StreamCallback>::nobody();
        assert!(target.get().is_none());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..200_000 {
                    let (handler, context) = pairs[turn % 2];
                    target.set(Some(handler), context);
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                if let Some((handler, context)) = target.get() {
                    let with = pairs.iter().find(|(of, _)| of.address() == handler.address()).map(|(_, with)| *with);
                    assert_eq!(with, Some(context));
                }
            }
        });
        target.silence();
        assert_eq!((target.get().is_none(), target.context()), (true, pairs[1].1));
    }
}
