//! A QUIC connection as a value.

mod event;

pub use event::{ClientHello, Connected, Event, RouteChange};

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tercel_wire::{ApplicationErrorCode, ConnectionId, Direction, StreamId, TransportErrorCode, Version};

use crate::config::{ConnectionIdIssuer, TransportConfig};
use crate::entropy::Entropy;
use crate::error::{ApiMisuse, CloseReason, Violation};
use crate::path::{Ecn, PathAddress};
use crate::stats::ConnectionStats;
use crate::time::Time;

/// A received datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Between which addresses it came.
    pub path: PathAddress,
    /// Its ECN mark.
    pub ecn: Ecn,
    /// Its bytes; decrypted in place.
    pub data: BytesMut,
}

/// Datagrams to send, all to the same place, laid end to end in the buffer given to
/// [`Connection::poll_transmit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Where to, and from which address if one is to be chosen.
    pub path: PathAddress,
    /// The ECN mark to send with.
    pub ecn: Ecn,
    /// How many bytes in all.
    pub len: usize,
    /// The size of each datagram but the last, which may be smaller. `None` if there is one only.
    pub segment_size: Option<usize>,
}

/// What a client connection needs to begin.
pub struct ClientStart {
    /// TLS, with ALPN protocols, roots and resumption store set.
    pub tls: Arc<rustls::ClientConfig>,
    /// The name or address that the server's certificate must carry.
    pub server_name: rustls::pki_types::ServerName<'static>,
    /// The version to begin with.
    pub version: Version,
    /// Where the server is.
    pub path: PathAddress,
    /// A token of an earlier connection to this server, or empty.
    pub token: Bytes,
}

/// What a server connection needs to begin: facts of the first Initial packet.
#[derive(Debug, Clone)]
pub struct ServerStart {
    /// The version of the packet.
    pub version: Version,
    /// Where it came from.
    pub path: PathAddress,
    /// Its destination connection ID (of the client's choice, or of our Retry).
    pub initial_dcid: ConnectionId,
    /// Its source connection ID.
    pub peer_cid: ConnectionId,
    /// If a Retry was sent: the destination connection ID of the very first Initial packet; from
    /// the token.
    pub original_dcid: Option<ConnectionId>,
    /// Whether a token proved the client's address (RFC 9000 section 8.1).
    pub validated: bool,
}

/// What a server decides on a ClientHello.
#[derive(Debug, Clone)]
pub struct ServerAccept {
    /// TLS, with the certificate and the ALPN protocols that may be chosen.
    pub tls: Arc<rustls::ServerConfig>,
    /// Settings for this connection in place of those it began with, if any.
    pub transport: Option<Arc<TransportConfig>>,
    /// A token for the client's next connection, sent as NEW_TOKEN once the handshake is done; or
    /// empty.
    pub new_token: Bytes,
}

/// Everything that a connection shares with its driver's other connections.
pub struct Shared {
    /// The settings.
    pub transport: Arc<TransportConfig>,
    /// Makes connection IDs.
    pub issuer: Box<dyn ConnectionIdIssuer>,
    /// Unpredictable bytes of this connection's own.
    pub entropy: Entropy,
}

/// A QUIC connection.
///
/// # Calling contract
/// After any call that takes `&mut self`, poll in this order, each until it gives `None`:
/// [`poll_route`](Self::poll_route), [`poll_event`](Self::poll_event),
/// [`poll_transmit`](Self::poll_transmit), and then ask [`poll_timeout`](Self::poll_timeout) once.
/// Several received datagrams may be given before one round of polls.
pub struct Connection {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Connection {
    /// A client connection, about to send its first flight.
    pub fn client(now: Time, shared: Shared, start: ClientStart) -> Result<Self, rustls::Error> {
        todo!()
    }
    /// A server connection; give it the first datagram by [`receive`](Self::receive) next. It raises
    /// [`Event::ClientHello`] when that is whole and then waits for [`accept`](Self::accept).
    pub fn server(now: Time, shared: Shared, start: ServerStart) -> Self {
        todo!()
    }
    /// Server: goes on with the handshake after [`Event::ClientHello`].
    pub fn accept(&mut self, now: Time, accept: ServerAccept) -> Result<(), ApiMisuse> {
        todo!()
    }
    /// Server: refuses after [`Event::ClientHello`], with a transport code such as
    /// CONNECTION_REFUSED or CRYPTO_ERROR + no_application_protocol.
    pub fn refuse(&mut self, now: Time, code: TransportErrorCode) -> Result<(), ApiMisuse> {
        todo!()
    }

    // --- the network
    pub fn receive(&mut self, now: Time, datagram: Datagram) {
        todo!()
    }
    pub fn timeout(&mut self, now: Time) {
        todo!()
    }
    /// The driver recognised a stateless reset by its token.
    pub fn stateless_reset(&mut self, now: Time) {
        todo!()
    }
    pub fn poll_route(&mut self) -> Option<RouteChange> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Writes up to `max_datagrams` datagrams of equal size (the last may be smaller) to the end of
    /// `buf`, which is cleared first.
    pub fn poll_transmit(&mut self, now: Time, max_datagrams: usize, buf: &mut Vec<u8>) -> Option<Transmit> {
        todo!()
    }
    pub fn poll_timeout(&mut self) -> Option<Time> {
        todo!()
    }

    // --- streams
    pub fn open_stream(&mut self, direction: Direction) -> Result<StreamId, ApiMisuse> {
        todo!()
    }
    /// Queues `data` (never copied) and, with `fin`, the end of the stream. Never refuses for lack
    /// of window: the caller limits what it queues, by the `Acked` events.
    pub fn send(&mut self, id: StreamId, data: Bytes, fin: bool) -> Result<(), ApiMisuse> {
        todo!()
    }
    /// Takes the next bytes in order, at most `max`, without giving flow-control credit for them.
    pub fn read(&mut self, id: StreamId, max: usize) -> Result<Read, ApiMisuse> {
        todo!()
    }
    /// Gives the peer credit for `len` bytes that were read and are now consumed.
    pub fn consumed(&mut self, now: Time, id: StreamId, len: u64) {
        todo!()
    }
    pub fn reset(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        todo!()
    }
    pub fn stop_sending(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        todo!()
    }
    /// Higher is sent first; streams of equal priority take turns. Default 0.
    pub fn set_priority(&mut self, id: StreamId, priority: i32) -> Result<(), ApiMisuse> {
        todo!()
    }
    /// How many more streams can be opened in `direction` now.
    pub fn streams_available(&self, direction: Direction) -> u64 {
        todo!()
    }

    // --- datagrams
    /// The largest datagram that can be sent now, in bytes; `None` if datagrams are off.
    pub fn max_datagram_size(&self) -> Option<usize> {
        todo!()
    }
    /// Queues a datagram and returns its number, by which later events name it.
    pub fn send_datagram(&mut self, data: Bytes) -> Result<u64, ApiMisuse> {
        todo!()
    }

    // --- the connection
    /// Closes with an application code. The first close wins.
    pub fn close(&mut self, now: Time, code: ApplicationErrorCode, reason: Bytes) {
        todo!()
    }
    /// Ends without a word to the peer.
    pub fn close_silently(&mut self) {
        todo!()
    }
    pub fn ping(&mut self) {
        todo!()
    }
    pub fn update_keys(&mut self) -> Result<(), ApiMisuse> {
        todo!()
    }
    /// Client: begins to move to another local address (RFC 9000 section 9.2). `None` for the local
    /// address means "the socket was rebound; the system knows".
    pub fn migrate(&mut self, now: Time, path: PathAddress) -> Result<(), ApiMisuse> {
        todo!()
    }
    /// The socket was rebound: probe the path soon so that the server learns the new address.
    pub fn local_address_changed(&mut self, now: Time) {
        todo!()
    }

    // --- looking
    pub fn remote_address(&self) -> SocketAddr {
        todo!()
    }
    pub fn is_handshaking(&self) -> bool {
        todo!()
    }
    pub fn close_reason(&self) -> Option<&CloseReason> {
        todo!()
    }
    pub fn stats(&self) -> ConnectionStats {
        todo!()
    }
    /// The peer's certificates (DER, leaf first), once known.
    pub fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        todo!()
    }
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ApiMisuse> {
        todo!()
    }
}

pub use crate::stream::Read;
#[allow(unused)]
type Unused = Violation;
