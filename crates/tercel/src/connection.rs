//! The handle of a connection.

use std::net::SocketAddr;

use bytes::Bytes;
use tercel_proto::error::CloseReason;
use tercel_proto::stats::ConnectionStats;
use tercel_wire::{ApplicationErrorCode, Direction};

use crate::event::StreamHandler;
use crate::status::Error;
use crate::stream::Stream;

/// A connection. Cheap to clone, usable from any thread: calls are queued, in the order made, for
/// the worker that owns the connection; from a handler of the same connection they take effect at
/// once. Dropping the last handle closes the connection with code 0.
#[derive(Clone)]
pub struct Connection {}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

#[allow(unused_variables, clippy::todo)]
impl Connection {
    /// Opens a stream. If the peer's limit permits none for now it waits; what is sent meanwhile is
    /// kept. [`crate::StreamEvent::Started`] tells the ID.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing.
    pub fn open_stream(&self, direction: Direction, handler: impl StreamHandler) -> Result<Stream, Error> {
        todo!()
    }

    /// Sends a datagram (RFC 9221). `context` comes back with
    /// [`crate::ConnectionEvent::DatagramSendStateChanged`].
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing.
    pub fn send_datagram(&self, data: Bytes, context: u64) -> Result<(), Error> {
        todo!()
    }

    /// The largest datagram that can be sent now, in bytes; `None` if none can be.
    pub fn max_datagram_size(&self) -> Option<usize> {
        todo!()
    }

    /// Closes the connection; `reason` is for people. The first close wins; a later one does
    /// nothing.
    pub fn close(&self, code: ApplicationErrorCode, reason: Bytes) {
        todo!()
    }

    /// Ends the connection without a word to the peer.
    pub fn close_silently(&self) {
        todo!()
    }

    /// Leaves the connection to its handler: dropping the last handle no longer closes it.
    pub fn detach(self) {
        todo!()
    }

    /// Sends a PING.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing.
    pub fn ping(&self) -> Result<(), Error> {
        todo!()
    }

    /// Updates the keys (RFC 9001 section 6); asked before the handshake is confirmed it does
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing.
    pub fn update_keys(&self) -> Result<(), Error> {
        todo!()
    }

    /// Client: moves the connection to a new socket bound to `local` (port 0 for any port).
    ///
    /// # Errors
    /// [`Error::Io`] if the socket cannot be opened, [`Error::Closed`] if the connection is closing.
    pub fn rebind(&self, local: SocketAddr) -> Result<(), Error> {
        todo!()
    }

    /// Runs `look` on the worker that owns the connection, in order with the other calls. It is
    /// dropped without being run if the connection ends first.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closed.
    pub fn inspect(&self, look: impl FnOnce(&Inspect<'_>) + Send + 'static) -> Result<(), Error> {
        todo!()
    }

    /// What the connection has done so far: exact from its own handlers, and otherwise at most
    /// about 100 ms old. After the last event it is final.
    pub fn stats(&self) -> ConnectionStats {
        todo!()
    }

    /// The peer's address.
    pub fn remote_address(&self) -> SocketAddr {
        todo!()
    }

    /// The address that this end is bound to (possibly a wildcard).
    pub fn local_address(&self) -> SocketAddr {
        todo!()
    }

    /// The application protocol, once the handshake is complete.
    pub fn alpn(&self) -> Option<Bytes> {
        todo!()
    }

    /// Why the connection is ending or has ended, once it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        todo!()
    }
}

/// A look at a connection from its own worker.
pub struct Inspect<'a> {
    proto: &'a tercel_proto::connection::Connection,
}

impl Inspect<'_> {
    /// What the connection has done so far.
    pub fn stats(&self) -> ConnectionStats {
        self.proto.stats()
    }

    /// The peer's certificates (DER, leaf first), once known.
    pub fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        self.proto.peer_certificates()
    }

    /// How many more streams can be opened in `direction` now.
    pub fn streams_available(&self, direction: Direction) -> u64 {
        self.proto.streams_available(direction)
    }

    /// Keying material for the application (RFC 5705, RFC 8446 section 7.5).
    ///
    /// # Errors
    /// [`Error::Misuse`] before the handshake is complete.
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), Error> {
        Ok(self.proto.export_keying_material(out, label, context)?)
    }
}
