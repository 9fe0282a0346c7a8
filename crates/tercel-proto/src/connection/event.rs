//! What a connection tells its driver.

use std::net::SocketAddr;

use bytes::Bytes;
use tercel_wire::{ConnectionId, ResetToken, Version};

use crate::congestion::SavedPath;
use crate::datagram::DatagramEvent;
use crate::error::CloseReason;
use crate::path::PathAddress;
use crate::stream::StreamEvent;
use crate::tls::{Presented, ResumptionTicket};

/// What happened, in order. See `shared grammar` in [`super::Connection`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Server: the ClientHello is here. Answer with `Connection::accept` or `Connection::refuse`.
    ClientHello(ClientHello),
    /// The peer has proved that it owns this certificate, and TLS was told to leave the verdict to
    /// the application ([`tls::DeferredServerVerifier`](crate::tls::DeferredServerVerifier)). Until
    /// `Connection::give_verdict` the handshake does not go on.
    Certificate(Presented),
    /// The handshake is complete at this end (RFC 9001 section 4.1.1): the peer is known and data
    /// may flow.
    Connected(Connected),
    /// The handshake is confirmed (RFC 9001 section 4.1.2).
    Confirmed,
    /// The server refused early data; what was sent as such is sent again by the streams
    /// themselves.
    EarlyDataRejected,
    /// Something happened on a stream.
    Stream(StreamEvent),
    /// Something happened to datagrams.
    Datagram(DatagramEvent),
    /// The peer now speaks from, or is spoken to at, another address.
    PathChanged(PathAddress),
    /// The peer says that it sees this end at `address`, on the path on which it said so. Its word only.
    AddressObserved {
        /// The path.
        path: PathAddress,
        /// The address.
        address: SocketAddr,
    },
    /// The peer answers on this path (RFC 9000 section 8.2).
    PathValidated(PathAddress),
    /// The peer does not answer on this path: it is not used any more, or will not be. If it is the one
    /// in use, and the only one, it stays so, for there is nothing better.
    PathFailed(PathAddress),
    /// Client: the server would rather be reached at `remote` (RFC 9000 section 9.6), of the other address family
    /// than the connection uses, for which an address of this end's is wanted
    /// ([`super::Connection::offer_local_address`]). Without one the connection stays where it is.
    LocalAddressWanted {
        /// The preferred address.
        remote: SocketAddr,
    },
    /// Client: a token for a later connection to the same server (RFC 9000 section 8.1.3), as
    /// [`KeptToken`](crate::token::KeptToken) writes it.
    NewToken(Bytes),
    /// Client: a ticket by which a later connection can go on with the session.
    Ticket(Box<ResumptionTicket>),
    /// Server with careful resume (RFC 9959): so much was learnt of the client's path. It may be told
    /// to the next connection from the same address ([`super::Connection::set_saved_path`]), once.
    PathObserved(SavedPath),
    /// The connection is ending; no more data flows.
    Closing(CloseReason),
    /// The connection has ended and can be dropped. The last event.
    Closed,
}

/// What a ClientHello asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name (SNI), if any.
    pub server_name: Option<String>,
    /// The application protocols offered, most wanted first.
    pub alpn: Vec<Vec<u8>>,
    /// The tickets that the client shows, most wanted first.
    pub tickets: Vec<Vec<u8>>,
    /// Whether it offers early data.
    pub early_data: bool,
    /// The message itself (RFC 8446 section 4).
    pub message: Bytes,
}

/// What the handshake settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The application protocol.
    pub alpn: Vec<u8>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether early data was sent and accepted.
    pub early_data_accepted: bool,
    /// The version of QUIC that the two ends have negotiated.
    pub version: Version,
}

/// A change in what datagrams belong to this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteChange {
    /// Datagrams to this connection ID are for this connection.
    Add(ConnectionId),
    /// They no longer are.
    Remove(ConnectionId),
    /// A datagram that ends with this token is a stateless reset of this connection.
    AddResetToken(ResetToken),
    /// It no longer is.
    RemoveResetToken(ResetToken),
}
