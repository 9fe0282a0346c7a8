//! Whom to tell of an object's events: a function of the application's, and the context that it is called with. Both
//! may change at any time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::boundary::Context;

#[derive(Clone, Copy)]
struct Callback<H> {
    handler: Option<H>,
    context: Context,
}

/// See the [module](self).
pub(crate) struct Target<H>(Mutex<Callback<H>>);

impl<H: Copy> Target<H> {
    pub(crate) const fn new(handler: Option<H>, context: Context) -> Self {
        Self(Mutex::new(Callback { handler, context }))
    }

    /// Nobody, so far.
    pub(crate) const fn nobody() -> Self {
        Self::new(None, Context::NULL)
    }

    fn callback(&self) -> MutexGuard<'_, Callback<H>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function and its context, if there is anybody to tell.
    pub(crate) fn get(&self) -> Option<(H, Context)> {
        let callback = *self.callback();
        Some((callback.handler?, callback.context))
    }

    /// Changes both.
    pub(crate) fn set(&self, handler: Option<H>, context: Context) {
        *self.callback() = Callback { handler, context };
    }

    pub(crate) fn context(&self) -> Context {
        self.callback().context
    }

    pub(crate) fn set_context(&self, context: Context) {
        self.callback().context = context;
    }

    /// Nothing more is told. The context stays.
    pub(crate) fn silence(&self) {
        self.callback().handler = None;
    }
}
