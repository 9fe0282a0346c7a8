//! Whose callback runs on this thread. Most calls come from callbacks, and are of the object that is called, of its
//! connection, or of a stream that was opened just now: these are found here, without the table of handles.

use std::cell::{Cell, OnceCell};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::abi::Handle;
use crate::connection::Connection;
use crate::stream::Stream;

thread_local! {
    /// Of the innermost callback.
    static CALLED: Cell<Option<NonNull<Called<'static>>>> = const { Cell::new(None) };
}

/// See the [module](self).
pub(crate) struct Called<'a> {
    connection: &'a Arc<Connection>,
    stream: Option<&'a Arc<Stream>>,
    /// The first stream that the callback has opened.
    opened: OnceCell<Arc<Stream>>,
    /// Of the callback within which this one was called.
    outer: Option<NonNull<Called<'static>>>,
}

/// Runs a callback of the application's.
#[inline]
pub(crate) fn during<R>(connection: &Arc<Connection>, stream: Option<&Arc<Stream>>, callback: impl FnOnce() -> R) -> R {
    CALLED.with(|innermost| {
        let called = Called { connection, stream, opened: OnceCell::new(), outer: innermost.get() };
        innermost.set(Some(NonNull::from(&called).cast()));
        // It does not unwind: it is a function of C's.
        let result = callback();
        innermost.set(called.outer);
        result
    })
}

/// Looks at whose callback runs on this thread, if one does.
#[inline(always)]
pub(crate) fn look<R>(look: impl FnOnce(Option<&Called<'_>>) -> R) -> R {
    // SAFETY: it lies in the frame of `during`, which is below this one on the stack, and is not told of any more when that
    // has returned.
    look(CALLED.get().map(|called| unsafe { called.as_ref() }))
}

/// Whether any callback of a connection or a stream runs on this thread.
pub(crate) fn is_any() -> bool {
    CALLED.get().is_some()
}

/// Whether one of this connection, or of its streams, does.
pub(crate) fn is_of(connection: &Connection) -> bool {
    let mut next = CALLED.get();
    while let Some(called) = next {
        // SAFETY: as in `look`; those of outer callbacks lie in frames further below.
        let called = unsafe { called.as_ref() };
        if std::ptr::eq(&raw const **called.connection, connection) {
            return true;
        }
        next = called.outer;
    }
    false
}

impl Called<'_> {
    /// The connection, if this is its handle and the handle is not closed.
    pub(crate) fn connection(&self, handle: Handle) -> Option<&Arc<Connection>> {
        (self.connection.handle() == handle && !self.connection.is_closing()).then_some(self.connection)
    }

    /// A stream, likewise.
    pub(crate) fn stream(&self, handle: Handle) -> Option<&Arc<Stream>> {
        let is_it = |stream: &&Arc<Stream>| stream.handle() == handle && !stream.is_closing();
        self.stream.filter(is_it).or_else(|| self.opened.get().filter(is_it))
    }

    /// The callback has opened a stream, for which it will have more to ask.
    pub(crate) fn opens(&self, stream: Arc<Stream>) {
        // Others are found in the table.
        let _ = self.opened.set(stream);
    }
}
