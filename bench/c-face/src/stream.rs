//! Streams: each closes itself when it is over.

use std::cell::UnsafeCell;
use std::ffi::c_void;

use bytes::Bytes;
use tercel_msquic::abi::{self, Buffer, Handle, Status, receive, send, stream_event as kind};

use crate::{Failed, Library, spare, succeeded};

/// What happens to a stream.
pub enum StreamEvent<'a> {
    /// It has started.
    Started,
    /// Data came.
    Receive {
        /// The pieces; see [`pieces`](Self::pieces).
        buffers: &'a [Buffer],
        /// Nothing follows.
        fin: bool,
    },
    /// So many bytes of a send need not be kept any more.
    SendComplete(u64),
    /// How much to have under way.
    IdealSendBufferSize(u64),
}

impl StreamEvent<'_> {
    /// The pieces of what was received.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let buffers = match self {
            Self::Receive { buffers, .. } => *buffers,
            _ => &[],
        };
        // SAFETY: events are made here and nowhere else, and their buffers lead to as many bytes as they say until the
        // callback has returned.
        buffers.iter().map(|buffer| unsafe {
            match buffer.length {
                0 => &[],
                len => std::slice::from_raw_parts(buffer.buffer.cast_const(), len as usize),
            }
        })
    }
}

/// Hears the events of a stream, one at a time.
pub trait StreamHandler: Send + 'static {
    /// Hears one.
    fn event(&mut self, stream: &Stream<'_>, event: StreamEvent<'_>);
}

/// A stream, lent for as long as a callback runs.
pub struct Stream<'a> {
    library: Library,
    handle: Handle,
    connection: Handle,
    first: &'a First,
}

struct Context<H> {
    library: Library,
    connection: Handle,
    handler: H,
    first: First,
}

impl<H: StreamHandler> Context<H> {
    fn put(library: Library, connection: Handle, handler: H) -> *mut Self {
        spare::put(Self { library, connection, handler, first: First::default() })
    }
}

/// What is sent, until that is complete.
struct Sent {
    data: Bytes,
    buffer: Buffer,
}

/// Where what is sent first lies: most streams send once.
type First = UnsafeCell<Option<Sent>>;

/// Gives what was sent back.
///
/// # Safety
/// It was put there for this send, and is not used by the library any more.
unsafe fn take_back(first: &First, sent: *mut Sent) -> Bytes {
    // SAFETY: it is either there or in a box; nobody else uses it.
    unsafe {
        let there = &mut *first.get();
        match there.as_mut().is_some_and(|first| std::ptr::eq(first, sent)) {
            true => there.take().map(|sent| sent.data).unwrap_or_default(),
            false => Box::from_raw(sent).data,
        }
    }
}

impl Stream<'_> {
    pub(crate) fn open<H: StreamHandler>(library: Library, connection: Handle, handler: H) -> Result<(), Failed> {
        let context = Context::put(library, connection, handler);
        let mut handle = Handle::NULL;
        // SAFETY: the function takes the context that it is given with, which lives until the handle is closed.
        let opened =
            unsafe { (library.0.stream_open)(connection, 0, Some(on_stream::<H>), context.cast(), &raw mut handle) };
        if let Err(failed) = succeeded("StreamOpen", opened) {
            // SAFETY: nobody else has it.
            unsafe { spare::let_go(context) };
            return Err(failed);
        }
        // SAFETY: the handle is open.
        let started = unsafe { (library.0.stream_start)(handle, abi::stream_start::SHUTDOWN_ON_FAIL) };
        if let Err(failed) = succeeded("StreamStart", started) {
            // SAFETY: it is closed once, and nothing calls back with the context after that.
            unsafe {
                (library.0.stream_close)(handle);
                spare::let_go(context);
            }
            return Err(failed);
        }
        Ok(())
    }

    pub(crate) fn accept<H: StreamHandler>(library: Library, connection: Handle, handle: Handle, handler: H) {
        let context = Context::put(library, connection, handler);
        // SAFETY: the function takes the context that it is given with, which lives until the handle is closed.
        unsafe { (library.0.set_callback_handler)(handle, on_stream::<H> as *mut c_void, context.cast()) };
    }

    /// Sends, without a copy; whether it was accepted.
    pub fn send(&self, data: Bytes, fin: bool) -> bool {
        let buffer = Buffer { length: data.len() as u32, buffer: data.as_ptr().cast_mut() };
        let sent = Sent { data, buffer };
        // SAFETY: the buffer and its bytes stay where they are until the completion, which gets them as its context; the
        // place of the first is used by this thread alone, which has the callback.
        unsafe {
            let first = &mut *self.first.get();
            let sent: *mut Sent = match first {
                None => first.insert(sent),
                Some(_) => Box::into_raw(Box::new(sent)),
            };
            let flags = if fin { send::FIN } else { 0 };
            let status = (self.library.0.stream_send)(self.handle, &raw const (*sent).buffer, 1, flags, sent.cast());
            if status.is_failure() {
                drop(take_back(self.first, sent));
            }
            !status.is_failure()
        }
    }

    /// Opens and starts another one on the same connection.
    ///
    /// # Errors
    /// What the library says.
    pub fn open_another(&self, handler: impl StreamHandler) -> Result<(), Failed> {
        Self::open(self.library, self.connection, handler)
    }

    /// Ends the connection, with a word to the peer.
    pub fn shut_down_connection(&self) {
        // SAFETY: the handle of a connection is open as long as its streams call back.
        unsafe { (self.library.0.connection_shutdown)(self.connection, 0, 0) };
    }
}

/// # Safety
/// `context` leads to a [`Context<H>`].
unsafe extern "C" fn on_stream<H: StreamHandler>(
    handle: Handle,
    context: *mut c_void,
    event: *mut abi::StreamEvent,
) -> Status {
    // SAFETY: the event is whole; and as demanded of the caller.
    unsafe {
        // Of these two nothing is wanted.
        if !matches!((*event).event_type, kind::PEER_SEND_SHUTDOWN | kind::SEND_SHUTDOWN_COMPLETE) {
            hear::<H>(handle, context.cast(), event);
        }
    }
    Status::SUCCESS
}

/// # Safety
/// As for [`on_stream`].
unsafe fn hear<H: StreamHandler>(handle: Handle, context: *mut Context<H>, event: *mut abi::StreamEvent) {
    // SAFETY: as demanded of the caller; callbacks of a stream come one at a time; the event is whole. The parts of the
    // union are those of the events. With the last of them the handle is closed, and the context not used any more.
    unsafe {
        let Context { library, connection, ref mut handler, ref first } = *context;
        let stream = Stream { library, handle, connection, first };
        let body = &(*event).body;
        match (*event).event_type {
            kind::START_COMPLETE if !body.start_complete.status.is_failure() => {
                handler.event(&stream, StreamEvent::Started);
            }
            kind::RECEIVE => {
                let told = body.receive;
                let buffers = match told.buffer_count {
                    0 => &[],
                    count => std::slice::from_raw_parts(told.buffers, count as usize),
                };
                handler.event(&stream, StreamEvent::Receive { buffers, fin: told.flags & receive::FIN != 0 });
            }
            kind::SEND_COMPLETE => {
                let len = take_back(first, body.send_complete.client_context.cast::<Sent>()).len() as u64;
                handler.event(&stream, StreamEvent::SendComplete(len));
            }
            kind::IDEAL_SEND_BUFFER_SIZE => {
                handler.event(&stream, StreamEvent::IdealSendBufferSize(body.ideal_send_buffer_size));
            }
            kind::SHUTDOWN_COMPLETE => {
                (library.0.stream_close)(handle);
                spare::let_go(context);
            }
            _ => {}
        }
    }
}
