//! What the application is told, and the traits of those who are told.
//!
//! Per connection the events follow a grammar:
//! `PeerCertificate? Connected? (streams, datagrams ...)* (ShutdownInitiatedByPeer | ShutdownInitiatedByTransport)?
//! (every stream's ShutdownComplete)* ShutdownComplete`, and nothing follows.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tercel_proto::connection::ClientHello;
use tercel_proto::datagram::DatagramSendState;
use tercel_proto::error::CloseReason;
use tercel_proto::stats::ConnectionStats;
use tercel_proto::time::Time;
use tercel_wire::{ApplicationErrorCode, Direction, StreamId, TransportErrorCode, Version};

use crate::certificate::{Cancelled, PeerCertificate, PendingVerdict, Question};
use crate::configuration::Configuration;
use crate::connection::Connection;
use crate::listener::Listener;
use crate::operation::{Acceptance, ConnectionOperation, Resumption, StreamOperation};
use crate::receive::{FilledBuffer, Receive};
use crate::resumption::{OfferedTicket, Resume, ResumptionTicket};
use crate::status::Error;
use crate::stream::Stream;

/// Hears the events of one connection. Runs on the worker that owns it, so it should not block.
/// Calls on `connection` and its streams from within take effect at once and never call back
/// before `event` has returned. Closures `FnMut(&Connection, ConnectionEvent<'_>)` are handlers.
pub trait ConnectionHandler: Send + 'static {
    /// Something happened.
    fn event(&mut self, connection: &Connection, event: ConnectionEvent<'_>);

    /// Datagrams came in together: for those who do something with many at a time, such as to send them on
    /// ([`Connection::send_datagrams`]). Default: each is an event, [`DatagramReceived`](ConnectionEvent::DatagramReceived).
    fn datagrams(&mut self, connection: &Connection, received: std::vec::Drain<'_, Bytes>) {
        received.for_each(|data| self.event(connection, ConnectionEvent::DatagramReceived(data)));
    }

    /// Events of the connection or of its streams follow, all on this thread, until [`turn_ends`](Self::turn_ends): for
    /// what would be dear to do for each of them, such as to take a lock. Default: nothing.
    fn turn_begins(&mut self) {}

    /// No more follow for now. A handler that is dropped, since it has heard the last event or has panicked, is not told.
    /// Default: nothing.
    fn turn_ends(&mut self) {}
}

impl<F: FnMut(&Connection, ConnectionEvent<'_>) + Send + 'static> ConnectionHandler for F {
    fn event(&mut self, connection: &Connection, event: ConnectionEvent<'_>) {
        self(connection, event);
    }
}

/// Hears the events of one stream, under the rules of [`ConnectionHandler`]: never in parallel with
/// any other handler of the same connection.
pub trait StreamHandler: Send + 'static {
    /// Something happened.
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>);

    /// Puts it where it stays until it has heard the last event. Default: into new memory.
    fn boxed(self) -> Box<dyn StreamHandler>
    where
        Self: Sized,
    {
        Box::new(self)
    }

    /// It has heard the last event. A program that has many short streams may keep the memory for the
    /// [next](Self::boxed). Default: it is dropped.
    fn unboxed(self: Box<Self>) {}
}

impl<F: FnMut(&Stream, StreamEvent<'_>) + Send + 'static> StreamHandler for F {
    fn event(&mut self, stream: &Stream, event: StreamEvent<'_>) {
        self(stream, event);
    }
}

/// Hears the events of one listener. Several workers may call it at the same time, each for a
/// connection of its own.
pub trait ListenerHandler: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, listener: &Listener, event: ListenerEvent);
}

impl<F: Fn(&Listener, ListenerEvent) + Send + Sync + 'static> ListenerHandler for F {
    fn event(&self, listener: &Listener, event: ListenerEvent) {
        self(listener, event);
    }
}

/// What happened to a listener.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenerEvent {
    /// A client wants a connection and has named a protocol that this listener serves. Answer now
    /// or later, from any thread.
    NewConnection(NewConnection),
    /// Clients are kept away because of the load, of which [`RegistrationConfig`](crate::RegistrationConfig)
    /// sets the limits: they must prove their address first (Retry), or are refused. Told when the first
    /// worker begins, and when the last has had no reason for it for a second.
    LoadShedding {
        /// Whether it begins; otherwise it is over.
        active: bool,
    },
    /// The listener has stopped; the last event.
    StopComplete,
}

/// What happened to a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionEvent<'a> {
    /// The peer has proved that it owns this certificate, and the configuration leaves it to the
    /// application to judge it ([`Trust::deferred`](crate::Trust::deferred)). Until the verdict no
    /// data flows and the handshake is not completed. Dropping `verdict` rejects.
    PeerCertificate {
        /// The certificate.
        certificate: PeerCertificate,
        /// By which to answer, now or later.
        verdict: PendingVerdict,
    },
    /// The handshake is complete: the peer is known and data may flow.
    Connected {
        /// The application protocol agreed on.
        alpn: &'a [u8],
        /// Whether an earlier session was resumed.
        resumed: bool,
        /// Whether early data was sent and accepted.
        early_data_accepted: bool,
        /// The version of QUIC that the two ends have negotiated.
        version: Version,
    },
    /// The handshake is confirmed (RFC 9001 section 4.1.2).
    HandshakeConfirmed,
    /// Client: the server refused early data. What was sent is sent again without further ado; an
    /// application that must know learns it here.
    EarlyDataRejected,
    /// The peer opened a stream. Dropping the [`NewStream`] refuses it.
    PeerStreamStarted(NewStream),
    /// The peer permits more streams than before.
    StreamsAvailable {
        /// Bidirectional streams that can be opened now.
        bidirectional: u64,
        /// Unidirectional streams that can be opened now.
        unidirectional: u64,
    },
    /// The peer would open more streams than it may. Once for each limit; it may be permitted more
    /// ([`Connection::change_settings`]).
    PeerNeedsStreams(Direction),
    /// How the network does, after something was acknowledged: told to who wants it
    /// ([`Connection::tell_network`]), once in a turn of the connection.
    Network {
        /// What the connection has done so far.
        stats: &'a ConnectionStats,
        /// Bytes of streams that were given to send and are not acknowledged.
        posted: u64,
        /// How many of these keep the path busy, as for
        /// [`IdealSendBufferSize`](StreamEvent::IdealSendBufferSize).
        ideal: u64,
    },
    /// A datagram came in; see also [`ConnectionHandler::datagrams`].
    DatagramReceived(Bytes),
    /// What can be sent as a datagram has changed.
    DatagramStateChanged {
        /// The largest datagram in bytes; `None` if none can be sent.
        max_size: Option<usize>,
    },
    /// What became of a datagram. Every accepted one gets exactly one
    /// [final](DatagramSendState::is_final) state: `Canceled`; or, after `Sent`, `Acknowledged`; or, after
    /// `LostSuspect` as well, `AcknowledgedSpurious` or `LostDiscarded`. When the connection ends,
    /// datagrams under way are `LostDiscarded`.
    DatagramSendStateChanged {
        /// The context that was given with it.
        context: u64,
        /// Its state now.
        state: DatagramSendState,
    },
    /// The peer now speaks from another address.
    PeerAddressChanged(SocketAddr),
    /// The peer says at which address it sees this end (see
    /// [`Settings::learn_address`](crate::Settings::learn_address)). It may say what it wants.
    AddressObserved(SocketAddr),
    /// This end now speaks from another address: a client that has moved, or whose path has failed
    /// ([`Connection::add_local_address`]), or a server whose client came to its preferred address. It is that of the socket, possibly a wildcard.
    LocalAddressChanged(SocketAddr),
    /// The peer has shown that it is reached on this path (RFC 9000 section 8.2): after a change of
    /// address, or when a path was probed ([`Connection::migrate`], [`Connection::add_local_address`], a server's
    /// preferred address).
    PathValidated {
        /// This end's address, where it is known.
        local: Option<SocketAddr>,
        /// The peer's.
        remote: SocketAddr,
    },
    /// The peer does not answer on this path, or the system sends nothing there. The connection goes on by another,
    /// that which it had or one that is held ready; if there is none it goes on as long as it can.
    PathFailed {
        /// This end's address, where it is known.
        local: Option<SocketAddr>,
        /// The peer's.
        remote: SocketAddr,
    },
    /// Client: a token for a later connection to the same server ([`crate::Connect::token`]).
    NewToken(&'a Bytes),
    /// Client: a ticket by which a later connection can go on with the session
    /// ([`crate::Connect::ticket`]), even one of another process. A configuration resumes the sessions
    /// that it made itself; only who wants to keep tickets elsewhere needs this.
    ResumptionTicket(&'a ResumptionTicket),
    /// The peer's application ended the connection.
    ShutdownInitiatedByPeer {
        /// Its error code.
        code: ApplicationErrorCode,
        /// Its words.
        reason: &'a Bytes,
    },
    /// The transport ended the connection: a timeout, a breach of the protocol, or the peer's
    /// transport.
    ShutdownInitiatedByTransport {
        /// Why.
        reason: &'a CloseReason,
    },
    /// The connection has ended; the last event.
    ShutdownComplete {
        /// Whether [`Connected`](Self::Connected) was told before. It is not told to who has closed
        /// the connection already, though the handshake may yet be completed, to bring the peer the code.
        handshake_completed: bool,
        /// Why the connection ended.
        reason: &'a CloseReason,
    },
}

/// What happened to a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A stream that this end opened has an ID now, or never will.
    Started(Result<StreamId, Error>),
    /// The peer permits the stream, which was opened ahead of its limit
    /// ([`AtLimit::Ahead`](crate::AtLimit::Ahead)).
    PeerAccepted,
    /// Data came in, in order. All of it counts as consumed when the handler returns, unless
    /// [`Receive::defer`], [`Receive::pend`] or [`Receive::accept`] says otherwise.
    Receive(Receive<'a>),
    /// Data came in and was put into a buffer of the application, which is given back with it (see
    /// [`Connection::open_stream_into`], [`NewStream::accept_into`]).
    ReceiveBuffer(FilledBuffer),
    /// All buffers that the application provided are full and were given back: until there are more
    /// ([`Stream::provide_receive_buffers`]) the peer is held back. Once each time that they are used up.
    ReceiveBufferNeeded,
    /// The memory that the application has lent is full: until there is more ([`Stream::lend_memory`]) the peer is
    /// held back. Once each time that it is used up; and once more if data comes in for which there is no room,
    /// because the peer was permitted to send it before.
    ReceiveMemoryNeeded {
        /// How many bytes wait, up to the highest offset that came in; perhaps none.
        bytes: u64,
    },
    /// The peer has sent everything, and it was delivered.
    PeerSendShutdown,
    /// The peer reset its sending part; no more data comes.
    PeerSendAborted(ApplicationErrorCode),
    /// The peer wants no more data; the sending part is reset with the same code.
    PeerReceiveAborted(ApplicationErrorCode),
    /// A send is done with: the peer has acknowledged it, or it was canceled. Exactly one for every
    /// accepted send.
    SendComplete {
        /// The context that was given with the send.
        context: u64,
        /// Whether it was canceled: the peer may or may not have it.
        canceled: bool,
    },
    /// Something that was sent is lost, and that was to be the end of the stream
    /// ([`SendOptions::cancel_on_loss`](crate::SendOptions::cancel_on_loss)): it is reset with this code,
    /// which the handler may change; 0 if it does not. All sends that are not complete are canceled.
    CanceledByLoss(&'a mut ApplicationErrorCode),
    /// The sending part is done.
    SendShutdownComplete {
        /// Whether the peer has acknowledged everything, the end included.
        graceful: bool,
    },
    /// How many bytes to have under way (sent and not completed) to keep the path busy: 128 KiB as long as
    /// nothing is told. It grows with the congestion window of the connection, by doubling, up to 128 MiB;
    /// a stream that starts or is accepted later hears it at once if it is more. Who has given all that there is to send
    /// hears nothing of it.
    IdealSendBufferSize(u64),
    /// The stream has ended; its last event.
    ShutdownComplete,
}

/// A stream that the peer opened and that waits for an answer. Until then its data waits within the
/// receive window. Dropping it refuses the stream: it is reset and stopped with code 0.
#[derive(Debug)]
#[must_use = "dropping it refuses the stream"]
pub struct NewStream {
    stream: Stream,
    id: StreamId,
    early: bool,
}

impl NewStream {
    pub(crate) const fn new(stream: Stream, id: StreamId, early: bool) -> Self {
        Self { stream, id, early }
    }

    /// Takes the stream; `handler` hears its events from now on.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::ConnectionClosed`] if the connection has ended meanwhile. The
    /// handler is dropped and hears nothing.
    pub fn accept(self, handler: impl StreamHandler) -> Result<Stream, Error> {
        self.stream.submit(StreamOperation::Accept(handler.boxed()))?;
        Ok(self.stream)
    }

    /// Takes the stream as [`accept`](Self::accept) does, to receive into `buffers`: see
    /// [`Connection::open_stream_into`], whose rules hold here, too.
    ///
    /// # Errors
    /// As [`accept`](Self::accept); [`Error::InvalidArgument`]: a buffer has no capacity.
    pub fn accept_into(self, buffers: Vec<BytesMut>, handler: impl StreamHandler) -> Result<Stream, Error> {
        self.stream.provide_first(buffers)?;
        self.accept(handler)
    }

    /// Refuses the stream: resets and stops it with `code`.
    pub fn refuse(self, code: ApplicationErrorCode) {
        // What cannot be aborted any more needs no refusal.
        let _ = self.stream.reset(code);
        let _ = self.stream.stop_sending(code);
    }

    /// Its ID.
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Whether it came as early data: an attacker may have repeated it (RFC 8446 section 8).
    pub const fn is_early(&self) -> bool {
        self.early
    }

    /// Whether it carries data both ways.
    pub const fn direction(&self) -> Direction {
        self.id.direction()
    }
}

/// A connection that a client wants and that waits for an answer. Dropping it refuses with
/// CONNECTION_REFUSED. It is `Send`: the answer may come later and from any thread.
#[derive(Debug)]
#[must_use = "dropping it refuses the connection"]
pub struct NewConnection {
    connection: Connection,
    hello: ClientHello,
    question: Arc<Question>,
    arrived: Time,
    version: Version,
    resume: Resume,
}

impl NewConnection {
    pub(crate) const fn new(
        connection: Connection,
        hello: ClientHello,
        question: Arc<Question>,
        arrived: Time,
        version: Version,
    ) -> Self {
        Self { connection, hello, question, arrived, version, resume: Resume::Session }
    }

    /// Takes the connection on, with the certificate, protocols and settings of `configuration`;
    /// `handler` hears its events.
    ///
    /// # Errors
    /// [`Error::Tls`] if the configuration has no credential for a server; [`Error::Closed`] or
    /// [`Error::ConnectionClosed`] if the client has left meanwhile.
    pub fn accept(self, configuration: &Configuration, handler: impl ConnectionHandler) -> Result<Connection, Error> {
        let (tls, transport) = (configuration.server_tls()?, configuration.transport());
        let ticket = match self.resume {
            Resume::Session | Resume::WithoutEarlyData => self.ticket(configuration),
            Resume::Refuse => None,
        };
        let resumption = Resumption {
            tickets: configuration.tickets(),
            ticket: ticket.map(|ticket| ticket.opened),
            early_data: self.resume == Resume::Session,
        };
        let handler = Box::new(handler);
        let acceptance = Acceptance { tls, transport, handler, resumption };
        self.connection.submit(ConnectionOperation::Accept(Box::new(acceptance)))?;
        Ok(self.connection)
    }

    /// The ticket of an earlier session that the client shows, if `configuration` can resume it. With
    /// what the application put into it, and knowing whether early data comes with it, the application
    /// can decide, now or later, whether [`the session goes on`](Self::resume).
    pub fn ticket(&self, configuration: &Configuration) -> Option<OfferedTicket> {
        let opened = configuration.tickets()?.open(&self.hello.tickets, self.arrived)?;
        Some(OfferedTicket { opened, early_data: self.hello.early_data })
    }

    /// What to make of the client's ticket, if it shows one, when the connection is accepted. Without
    /// this the session goes on.
    pub const fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// Whether the answer no longer matters, because the client has left or its patience is at an end.
    pub fn is_cancelled(&self) -> bool {
        self.question.is_settled()
    }

    /// Waits until the answer no longer matters. Does not borrow.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::of(self.question.clone())
    }

    /// Refuses with a transport error code, such as CONNECTION_REFUSED.
    pub fn refuse(self, code: TransportErrorCode) {
        // A client that has left needs no refusal.
        let _ = self.connection.submit(ConnectionOperation::Refuse { code });
    }

    /// The server name (SNI) that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.hello.server_name.as_deref()
    }

    /// The application protocols that the client offered, most wanted first.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        self.hello.alpn.iter().map(Vec::as_slice)
    }

    /// The ClientHello (RFC 8446 section 4.1.2), with the header of the message: for who knows clients by it.
    pub const fn client_hello(&self) -> &Bytes {
        &self.hello.message
    }

    /// The version of QUIC with which the client began.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Why the answer no longer matters, once the connection has ended.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.connection.close_reason()
    }

    /// Where the client is.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The address that it came to.
    pub fn local_address(&self) -> SocketAddr {
        self.connection.local_address()
    }
}
