//! Connections.

use std::ffi::{CStr, c_void};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use tercel_msquic::abi::{self, Handle, Status, connection_event as kind, param};

use crate::stream::{Stream, StreamHandler};
use crate::{Failed, Library, succeeded};

/// What happens to a connection.
pub enum ConnectionEvent<'a> {
    /// The handshake is complete.
    Connected,
    /// The peer opened a stream.
    PeerStreamStarted(NewStream<'a>),
    /// It ends, and not by a call of the application: a status or a code.
    ShutdownInitiated(u64),
    /// It is over.
    ShutdownComplete,
}

/// Hears the events of a connection, one at a time.
pub trait ConnectionHandler: Send {
    /// Hears one.
    fn event(&mut self, connection: &Connection, event: ConnectionEvent<'_>);
}

/// A stream that the peer opened; refused if it is not taken.
pub struct NewStream<'a> {
    library: Library,
    connection: &'a Connection,
    stream: Handle,
    taken: &'a mut bool,
}

impl NewStream<'_> {
    /// Takes it.
    pub fn accept(self, handler: impl StreamHandler) {
        *self.taken = true;
        Stream::accept(self.library, self.connection.handle, self.stream, handler);
    }
}

/// A connection: closed when this is dropped, unless it is detached.
pub struct Connection {
    library: Library,
    handle: Handle,
    context: *const Context,
    /// Of an event: lent, and not to be closed.
    lent: bool,
}

// SAFETY: handles may be used from every thread; of the context only an atomic is.
unsafe impl Send for Connection {}
// SAFETY: as above.
unsafe impl Sync for Connection {}

/// Who closes the handle: its owner; its last event; or the owner though the last event was told.
const OWNED: u8 = 0;
const DETACHED: u8 = 1;
const ENDED: u8 = 2;

struct Context {
    library: Library,
    handler: Box<dyn ConnectionHandler>,
    state: AtomicU8,
}

impl Connection {
    pub(crate) fn connect(
        library: Library,
        registration: Handle,
        configuration: Handle,
        name: &CStr,
        server: SocketAddr,
        handler: Box<dyn ConnectionHandler>,
    ) -> Result<Self, Failed> {
        let context = Box::into_raw(Box::new(Context { library, handler, state: AtomicU8::new(OWNED) }));
        let mut handle = Handle::NULL;
        // SAFETY: the function takes the context that it is given with, which lives until the handle is closed.
        let opened =
            unsafe { (library.0.connection_open)(registration, Some(on_connection), context.cast(), &raw mut handle) };
        if let Err(failed) = succeeded("ConnectionOpen", opened) {
            // SAFETY: nobody else has it.
            drop(unsafe { Box::from_raw(context) });
            return Err(failed);
        }
        let connection = Self { library, handle, context, lent: false };
        // As other peers do it: the address is known, and all connections have one socket.
        let (address, shared) = (crate::loopback(server.port()), 1u8);
        // SAFETY: the parameters are as long as said, and the name ends with a zero.
        let started = unsafe {
            let (len, at) = (size_of_val(&address) as u32, (&raw const address).cast());
            succeeded("REMOTE_ADDRESS", (library.0.set_param)(handle, param::CONN_REMOTE_ADDRESS, len, at))?;
            let at = (&raw const shared).cast();
            succeeded("SHARE_UDP_BINDING", (library.0.set_param)(handle, param::CONN_SHARE_UDP_BINDING, 1, at))?;
            let family = libc::AF_INET as u16;
            (library.0.connection_start)(handle, configuration, family, name.as_ptr(), server.port())
        };
        succeeded("ConnectionStart", started)?;
        Ok(connection)
    }

    pub(crate) fn accept(
        library: Library,
        handle: Handle,
        configuration: Handle,
        handler: Box<dyn ConnectionHandler>,
    ) -> Status {
        let context = Box::into_raw(Box::new(Context { library, handler, state: AtomicU8::new(DETACHED) }));
        // SAFETY: the function takes the context that it is given with, which lives until the handle is closed.
        unsafe {
            (library.0.set_callback_handler)(handle, on_connection as *mut c_void, context.cast());
            (library.0.connection_set_configuration)(handle, configuration)
        }
    }

    /// Opens and starts a stream.
    ///
    /// # Errors
    /// What the library says.
    pub fn open(&self, handler: impl StreamHandler) -> Result<(), Failed> {
        Stream::open(self.library, self.handle, handler)
    }

    /// Ends it, with a word to the peer.
    pub fn shutdown(&self) {
        // SAFETY: the handle is open.
        unsafe { (self.library.0.connection_shutdown)(self.handle, 0, 0) };
    }

    /// It closes itself when it is over.
    pub fn detach(self) {
        // SAFETY: the context lives until the handle is closed, which is still to come.
        let state = unsafe { &(*self.context).state };
        if state.compare_exchange(OWNED, DETACHED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            std::mem::forget(self);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        // SAFETY: it is closed once, and nothing calls back with the context after that.
        unsafe {
            (self.library.0.connection_close)(self.handle);
            drop(Box::from_raw(self.context.cast_mut()));
        }
    }
}

/// # Safety
/// `context` leads to a [`Context`].
unsafe extern "C" fn on_connection(handle: Handle, context: *mut c_void, event: *mut abi::ConnectionEvent) -> Status {
    let context = context.cast::<Context>();
    // SAFETY: as demanded of the caller; callbacks of a connection come one at a time; the event is whole. The parts of
    // the union are those of the events.
    unsafe {
        let library = (*context).library;
        let connection = Connection { library, handle, context, lent: true };
        let event = &mut *event;
        let body = &event.body;
        let mut taken = true;
        let told = match event.event_type {
            kind::CONNECTED => Some(ConnectionEvent::Connected),
            kind::PEER_STREAM_STARTED => {
                taken = false;
                let stream = body.peer_stream_started.stream;
                let new = NewStream { library, connection: &connection, stream, taken: &mut taken };
                Some(ConnectionEvent::PeerStreamStarted(new))
            }
            kind::SHUTDOWN_INITIATED_BY_TRANSPORT => {
                let status = body.shutdown_initiated_by_transport.status;
                Some(ConnectionEvent::ShutdownInitiated(status.0.into()))
            }
            kind::SHUTDOWN_INITIATED_BY_PEER => {
                Some(ConnectionEvent::ShutdownInitiated(body.shutdown_initiated_by_peer))
            }
            kind::SHUTDOWN_COMPLETE => Some(ConnectionEvent::ShutdownComplete),
            _ => None,
        };
        if let Some(told) = told {
            (*context).handler.event(&connection, told);
        }
        if event.event_type == kind::SHUTDOWN_COMPLETE && (*context).state.swap(ENDED, Ordering::AcqRel) == DETACHED {
            (library.0.connection_close)(handle);
            drop(Box::from_raw(context));
        }
        if taken { Status::SUCCESS } else { Status::CONNECTION_REFUSED }
    }
}
