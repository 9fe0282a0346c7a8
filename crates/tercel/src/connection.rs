//! The handle of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tercel_proto::datagram::DatagramPriority;
use tercel_proto::error::CloseReason;
use tercel_proto::path::MAX_LOCAL_ADDRESSES;
use tercel_proto::stats::{ConnectionStats, PathStats};
use tercel_proto::stream::StreamScheduling;
use tercel_proto::tls::{MAX_TICKET_DATA, Negotiated, TlsSecrets};
use tercel_wire::{ApplicationErrorCode, Direction, StreamId, TransportParameters, Version};

use crate::cell::{ConnectionShared, StreamShared};
use crate::event::StreamHandler;
use crate::handshake_info::HandshakeInfo;
use crate::operation::{ConnectionOperation, Datagram, Opened, Operation, PathChange, StreamOperation};
use crate::receive::{ReceiveMemory, Space, lent};
use crate::settings::Settings;
use crate::status::Error;
use crate::stream::{Stream, StreamOptions, emptied};

/// A connection. Cheap to clone, usable from any thread: calls are queued, in the order made, for
/// the worker that owns the connection; from a handler of the same connection they take effect at
/// once. Dropping the last handle closes the connection with code 0.
///
/// ```
/// use tercel::{Bytes, Connection, ConnectionEvent, Direction, Stream, StreamEvent};
///
/// /// A handler: asks on a stream of its own as soon as the handshake is complete, and closes.
/// fn handler(connection: &Connection, event: ConnectionEvent<'_>) {
///     match event {
///         ConnectionEvent::Connected { .. } => {
///             let answer = |stream: &Stream, event: StreamEvent<'_>| match event {
///                 StreamEvent::Receive(data) => println!("{} bytes", data.len()),
///                 StreamEvent::ShutdownComplete => stream.connection().close(0u32.into(), Bytes::new()),
///                 _ => {}
///             };
///             if let Ok(stream) = connection.open_stream(Direction::Bidirectional, answer) {
///                 // The end of the stream goes with its only data.
///                 let _ = stream.send(Bytes::from_static(b"question"), true, 0);
///                 stream.detach();
///             }
///         }
///         ConnectionEvent::ShutdownComplete { reason, .. } => println!("{reason}"),
///         _ => {}
///     }
/// }
///
/// /// What only the worker knows is asked of the worker.
/// fn print_keys(connection: &Connection) -> Result<(), tercel::Error> {
///     connection.inspect(|look| {
///         let mut secret = [0; 32];
///         if look.export_keying_material(&mut secret, b"EXPORTER-example", b"").is_ok() {
///             println!("{secret:02x?}");
///         }
///     })
/// }
/// ```
pub struct Connection {
    pub(crate) shared: Arc<ConnectionShared>,
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        self.shared.handles.add();
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.shared.handles.remove() {
            // Nothing is left to close if it has ended.
            let _ = self.submit(ConnectionOperation::Dropped);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("remote", &self.remote_address()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn submit(&self, operation: ConnectionOperation) -> Result<(), Error> {
        self.shared.submit(operation)
    }

    /// Opens a stream. If the peer's limit permits none for now it waits; what is sent meanwhile is
    /// kept. [`crate::StreamEvent::Started`] tells the ID.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn open_stream(&self, direction: Direction, handler: impl StreamHandler) -> Result<Stream, Error> {
        self.open_stream_with(direction, StreamOptions::default(), handler)
    }

    /// The same, with all that can be chosen.
    ///
    /// # Errors
    /// As [`open_stream`](Self::open_stream).
    pub fn open_stream_with(
        &self,
        direction: Direction,
        options: StreamOptions,
        handler: impl StreamHandler,
    ) -> Result<Stream, Error> {
        self.open(direction, options, handler).map(|(stream, _)| stream)
    }

    /// The same, and tells whether it is certain that the stream need not wait for the peer's permission.
    pub(crate) fn open(
        &self,
        direction: Direction,
        options: StreamOptions,
        handler: impl StreamHandler,
    ) -> Result<(Stream, bool), Error> {
        let stream = Stream { shared: StreamShared::new(self.shared.clone(), direction, true) };
        let permitted = self.shared.count_opening(direction);
        stream.submit(StreamOperation::Open { handler: handler.boxed(), options, into: None })?;
        Ok((stream, permitted))
    }

    /// Opens a bidirectional stream whose data is received into `buffers`, and into those that
    /// [`Stream::provide_receive_buffers`] adds, one after the other. They are given back by
    /// [`StreamEvent::ReceiveBuffer`](crate::StreamEvent::ReceiveBuffer), in parts as data comes;
    /// [`StreamEvent::Receive`](crate::StreamEvent::Receive) is not told on such a stream, and what is given
    /// back is consumed.
    ///
    /// The space in the buffers takes the place of the stream's receive window: the peer may send as much
    /// as there is, and is held back when there is no more. Only at its start every stream has the window
    /// of the [setting](crate::Settings::stream_receive_window), for this is promised before there are
    /// streams; what comes beyond the buffers waits until there are more.
    ///
    /// ```
    /// use tercel::{BytesMut, Connection, Error, Stream, StreamEvent, StreamOptions};
    ///
    /// /// Receives into two buffers in turn.
    /// fn open(connection: &Connection) -> Result<Stream, Error> {
    ///     let mut parts = BytesMut::new();
    ///     let handler = move |stream: &Stream, event: StreamEvent<'_>| {
    ///         let StreamEvent::ReceiveBuffer(filled) = event else { return };
    ///         let used_up = filled.is_used_up();
    ///         // Parts of one buffer become one again, without a copy.
    ///         parts.unsplit(filled.into_data());
    ///         if used_up {
    ///             println!("{} bytes", parts.len());
    ///             // It can be filled again. Fails only if the stream has ended.
    ///             let _ = stream.provide_receive_buffers(vec![std::mem::take(&mut parts)]);
    ///         }
    ///     };
    ///     let buffers = (0..2).map(|_| BytesMut::with_capacity(1 << 20)).collect();
    ///     connection.open_stream_into(StreamOptions::default(), buffers, handler)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`open_stream`](Self::open_stream); [`Error::InvalidArgument`]: a buffer has no capacity.
    pub fn open_stream_into(
        &self,
        options: StreamOptions,
        buffers: Vec<BytesMut>,
        handler: impl StreamHandler,
    ) -> Result<Stream, Error> {
        let stream = self.open_into(options, emptied(buffers)?, handler)?;
        stream.shared.receives_into.store(true, Ordering::Relaxed);
        Ok(stream)
    }

    /// Opens a bidirectional stream whose data is put into `memory`, and into what [`Stream::lend_memory`] adds,
    /// piece by piece, and [`StreamEvent::Receive`](crate::StreamEvent::Receive) shows it there. For the rest as
    /// [`open_stream_into`](Self::open_stream_into): the room in the memory takes the place of the receive window.
    ///
    /// # Errors
    /// As [`open_stream`](Self::open_stream); [`Error::InvalidArgument`]: there is no room in a piece.
    pub fn open_stream_into_memory(
        &self,
        options: StreamOptions,
        memory: Vec<Box<dyn ReceiveMemory>>,
        handler: impl StreamHandler,
    ) -> Result<Stream, Error> {
        self.open_into(options, lent(memory)?, handler)
    }

    fn open_into(&self, options: StreamOptions, space: Space, handler: impl StreamHandler) -> Result<Stream, Error> {
        let stream = Stream { shared: StreamShared::new(self.shared.clone(), Direction::Bidirectional, true) };
        self.shared.count_opening(Direction::Bidirectional);
        stream.submit(StreamOperation::Open { handler: handler.boxed(), options, into: Some(space) })?;
        Ok(stream)
    }

    /// Sends a datagram (RFC 9221). `context` comes back with
    /// [`crate::ConnectionEvent::DatagramSendStateChanged`]; without one (`None`) nobody hears what becomes of the
    /// datagram, which costs less.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over; from its own handlers also
    /// [`Error::Misuse`] if datagrams are off or it is too large, which is otherwise told as
    /// `Canceled`.
    pub fn send_datagram(&self, data: Bytes, context: impl Into<Option<u64>>) -> Result<(), Error> {
        self.send_datagram_with(data, context, DatagramPriority::Normal)
    }

    /// The same, perhaps ahead of the datagrams that wait already.
    ///
    /// # Errors
    /// As for [`send_datagram`](Self::send_datagram).
    pub fn send_datagram_with(
        &self,
        data: Bytes,
        context: impl Into<Option<u64>>,
        priority: DatagramPriority,
    ) -> Result<(), Error> {
        self.shared.submit_as(
            Datagram { data, context: context.into(), priority },
            |core, datagram| core.send_datagram(datagram),
            |datagram| Operation::Connection(ConnectionOperation::SendDatagram(datagram)),
        )
    }

    /// Sends datagrams, in this order, of which nobody hears what becomes of them: for many small ones this costs less than
    /// a call for each. What `datagrams` itself calls on the connection comes later.
    ///
    /// ```
    /// use tercel::{Bytes, Connection, ConnectionEvent, ConnectionHandler};
    ///
    /// /// Sends everything back, as many at a time as have come together.
    /// struct Echo;
    ///
    /// impl ConnectionHandler for Echo {
    ///     fn event(&mut self, _: &Connection, _: ConnectionEvent<'_>) {}
    ///
    ///     fn datagrams(&mut self, connection: &Connection, received: std::vec::Drain<'_, Bytes>) {
    ///         // What can be lost need not be sent.
    ///         let _ = connection.send_datagrams(received);
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over; from its own handlers also [`Error::Misuse`] if datagrams are
    /// off or one is too large. That one and all behind it are not sent, which from elsewhere nobody hears of.
    pub fn send_datagrams(&self, datagrams: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        self.shared.submit_as(
            datagrams,
            |core, datagrams| core.send_datagrams(datagrams),
            |datagrams| Operation::Connection(ConnectionOperation::SendDatagrams(datagrams.into_iter().collect())),
        )
    }

    /// The largest datagram that can be sent now, in bytes; `None` if none can be.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.shared.facts().max_datagram
    }

    /// Closes the connection; `reason` is for people. The first close wins; a later one does
    /// nothing.
    // RFC 9000 section 19.19#1.
    pub fn close(&self, code: ApplicationErrorCode, reason: Bytes) {
        // Already over is as closed as can be.
        let _ = self.submit(ConnectionOperation::Close { code, reason });
    }

    /// Closes the connection once the peer has acknowledged all that was sent, or after `within`,
    /// whichever is sooner. What is sent after this call is delivered, too, if there is time. Of
    /// several such calls the first one holds; [`close`](Self::close) does not wait for it.
    pub fn close_delivered(&self, code: ApplicationErrorCode, reason: Bytes, within: Duration) {
        // Already over is as closed as can be.
        let _ = self.submit(ConnectionOperation::CloseDelivered { code, reason, within });
    }

    /// Ends the connection without a word to the peer. The first close wins: behind another one, or
    /// behind a verdict that refuses, this does nothing.
    pub fn close_silently(&self) {
        let _ = self.submit(ConnectionOperation::CloseSilently);
    }

    /// Leaves the connection to its handler: dropping the last handle no longer closes it.
    pub fn detach(self) {
        self.shared.handles.detach();
    }

    /// Sends a PING.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn ping(&self) -> Result<(), Error> {
        self.submit(ConnectionOperation::Ping)
    }

    /// Server: sends a ticket by which the client can resume the session, with `data` (at most 4096
    /// bytes) for the application to have then ([`NewConnection::ticket`](crate::NewConnection::ticket)).
    /// As often as wanted, at any time after the handshake.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for too much data, [`Error::ConnectionClosed`] if the connection is over.
    /// From the connection's own handlers also [`Error::Misuse`]: before
    /// [`Connected`](crate::ConnectionEvent::Connected), at a client, if the configuration permits no
    /// resumption or the client cannot resume; otherwise nothing is sent then.
    pub fn send_resumption_ticket(&self, data: Bytes) -> Result<(), Error> {
        if data.len() > MAX_TICKET_DATA {
            return Err(Error::InvalidArgument("a ticket takes no more than 4096 bytes of the application's"));
        }
        self.submit(ConnectionOperation::SendTicket { data })
    }

    /// Updates the keys (RFC 9001 section 6). Asked before the handshake is confirmed it does
    /// nothing, and is an error only from the connection's own handlers.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn update_keys(&self) -> Result<(), Error> {
        self.submit(ConnectionOperation::UpdateKeys)
    }

    /// Sets in which order streams of equal priority send, in place of the
    /// [setting](crate::Settings::stream_scheduling).
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn set_stream_scheduling(&self, scheduling: StreamScheduling) -> Result<(), Error> {
        self.submit(ConnectionOperation::SetStreamScheduling(scheduling))
    }

    /// Takes over from `settings` what may change while the connection runs: `max_idle_timeout` (the peer does not
    /// learn of it) and `keep_alive`; `max_bidi_streams` and `max_uni_streams` (what was permitted stays);
    /// `max_receive_window`, and `max_stream_receive_window` for streams to come; `pacing`; `key_update_bytes`. The
    /// other settings are checked and stay as they were at the start.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: a setting is out of its range; [`Error::ConnectionClosed`] if the connection is
    /// over.
    pub fn change_settings(&self, settings: &Settings) -> Result<(), Error> {
        self.submit(ConnectionOperation::ChangeSettings(settings.transport()?))
    }

    /// A stream that the peer has opened counts as open, also when it is over, until it is
    /// [released](Self::release_stream): the peer may open another in its place only then. For applications that do
    /// more for a stream than to send and receive. Of a stream that is over already, or this end's, it does nothing.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn hold_stream(&self, id: StreamId) -> Result<(), Error> {
        self.submit(ConnectionOperation::HoldStream { id, holds: true })
    }

    /// A stream that was [held](Self::hold_stream) counts no longer than it lives.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn release_stream(&self, id: StreamId) -> Result<(), Error> {
        self.submit(ConnectionOperation::HoldStream { id, holds: false })
    }

    /// Sets whether [`Network`](crate::ConnectionEvent::Network) is told. At the start it is not.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn tell_network(&self, tells: bool) -> Result<(), Error> {
        self.submit(ConnectionOperation::TellNetwork(tells))
    }

    /// Client: moves the connection to a new socket bound to `local` (port 0 for any port), as soon as
    /// the handshake is confirmed: a server hears nothing from elsewhere before (RFC 9000 section 9).
    /// At a server it does nothing, and is an error from the connection's own handlers. Asked for before
    /// the handshake it is ignored if the server turns out to forbid it (disable_active_migration).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the server forbids it,
    /// [`Error::Io`] if the socket cannot be opened, [`Error::ConnectionClosed`] if the connection is
    /// over.
    pub fn rebind(&self, local: SocketAddr) -> Result<(), Error> {
        let change = PathChange::Rebind(self.open_socket(local)?);
        self.submit(ConnectionOperation::ChangePath(change))
    }

    /// Client: moves the connection to a new socket bound to `local` (port 0 for any port) if the server
    /// answers there; until then it stays where it is, and it stays for good if there is no answer (RFC
    /// 9000 section 9.1). [`PathValidated`](crate::ConnectionEvent::PathValidated) and
    /// [`LocalAddressChanged`](crate::ConnectionEvent::LocalAddressChanged), or
    /// [`PathFailed`](crate::ConnectionEvent::PathFailed), tell what came of it. For the rest as
    /// [`rebind`](Self::rebind), which is for when the old address is of no use any more.
    ///
    /// # Errors
    /// As for [`rebind`](Self::rebind).
    pub fn migrate(&self, local: SocketAddr) -> Result<(), Error> {
        let change = PathChange::Probe(self.open_socket(local)?);
        self.submit(ConnectionOperation::ChangePath(change))
    }

    /// Client: opens another socket bound to `local` (port 0 for any port), and has the connection hold a path from
    /// there ready: as soon as the handshake is confirmed it is probed
    /// ([`PathValidated`](crate::ConnectionEvent::PathValidated)), and when the path in use fails the connection
    /// goes on by it on its own ([`PathFailed`](crate::ConnectionEvent::PathFailed) of the old one,
    /// [`LocalAddressChanged`](crate::ConnectionEvent::LocalAddressChanged)). A path has failed when the system
    /// sends nothing from there, when its address is [removed](Self::remove_local_address), or when the server has not
    /// answered three probe timeouts (RFC 9002 section 6.2). An address from which the server is not reached is
    /// tried again from time to time. Gives the address with its port.
    ///
    /// At a server it does nothing, and is an error from the connection's own handlers. A path beside the one in
    /// use takes a connection ID of either end, and both keep one to spare, so a server that gives few may have none
    /// held ready; then the connection moves, when it has to, to an address that was not tried.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: the connection has [`MAX_LOCAL_ADDRESSES`] already, or
    /// the server forbids migration (asked for before the handshake it is forgotten then); [`Error::Io`]: the socket
    /// cannot be opened; [`Error::ConnectionClosed`]: the connection is over.
    pub fn add_local_address(&self, local: SocketAddr) -> Result<SocketAddr, Error> {
        let has_room = |others: &[SocketAddr]| match others.len() + 1 < MAX_LOCAL_ADDRESSES {
            true => Ok(()),
            false => Err(Error::InvalidArgument("so many local addresses are too many for a connection")),
        };
        has_room(&self.shared.facts().others)?;
        let opened = self.open_socket(local)?;
        let address = opened.address();
        let mut facts = self.shared.facts();
        has_room(&facts.others)?;
        facts.others.push(address);
        drop(facts);
        let result = self.submit(ConnectionOperation::ChangePath(PathChange::Add(opened)));
        if result.is_err() {
            self.shared.facts().others.retain(|other| *other != address);
        }
        result.map(|()| address)
    }

    /// Client: takes one of its local addresses from the connection; its socket is closed. If it is the one in use
    /// the connection first goes on from another, as soon as it can.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]: it is not among the [local addresses](Self::local_addresses), or the only one;
    /// [`Error::ConnectionClosed`]: the connection is over.
    pub fn remove_local_address(&self, local: SocketAddr) -> Result<(), Error> {
        let mut facts = self.shared.facts();
        match facts.others.iter().position(|other| *other == local) {
            Some(at) => drop(facts.others.remove(at)),
            None if facts.local != local => {
                return Err(Error::InvalidArgument("the connection has no such local address"));
            }
            None if facts.others.is_empty() => {
                return Err(Error::InvalidArgument("there is no other local address to go on from"));
            }
            None => {}
        }
        drop(facts);
        self.submit(ConnectionOperation::ChangePath(PathChange::Remove(local)))
    }

    fn open_socket(&self, local: SocketAddr) -> Result<Opened, Error> {
        if self.shared.facts().settled {
            return Err(Error::InvalidArgument("the server does not permit migration"));
        }
        let worker = self.shared.worker;
        let binding = self.shared.registration.bindings.own(worker, local)?;
        let socket = binding.socket_of(worker).ok_or(Error::Closed)?;
        Ok(Opened { binding, socket })
    }

    /// Runs `look` on the worker that owns the connection, in order with the other calls. It is
    /// dropped without being run if the connection ends first. It must not block; calls that it makes
    /// on this connection are queued.
    ///
    /// # Errors
    /// [`Error::ConnectionClosed`] if the connection is over.
    pub fn inspect(&self, look: impl FnOnce(&Inspect<'_>) + Send + 'static) -> Result<(), Error> {
        self.submit(ConnectionOperation::Inspect(Box::new(look)))
    }

    /// What the connection has done so far, at most about 100 ms old. After the last event it is
    /// final. For exact figures see [`inspect`](Self::inspect).
    pub fn stats(&self) -> ConnectionStats {
        self.shared.facts().stats
    }

    /// Which of the registration's workers has it, from 0. That does not change.
    pub fn worker(&self) -> usize {
        self.shared.worker
    }

    /// The peer's address.
    pub fn remote_address(&self) -> SocketAddr {
        self.shared.facts().remote
    }

    /// The address that this end is bound to (possibly a wildcard).
    pub fn local_address(&self) -> SocketAddr {
        self.shared.facts().local
    }

    /// The addresses that this end is bound to: the one in use first, then those that were
    /// [added](Self::add_local_address).
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let facts = self.shared.facts();
        std::iter::once(facts.local).chain(facts.others.iter().copied()).collect()
    }

    /// The address at which the peer says that it sees this end, once it has
    /// ([`Settings::learn_address`](crate::Settings::learn_address)); its word only.
    pub fn observed_address(&self) -> Option<SocketAddr> {
        self.shared.facts().observed.as_deref().copied()
    }

    /// The application protocol, once the handshake is complete.
    pub fn alpn(&self) -> Option<Bytes> {
        self.shared.facts().alpn.clone()
    }

    /// What the two ends have agreed on, once the handshake is complete.
    pub fn handshake_info(&self) -> Option<HandshakeInfo> {
        self.shared.facts().handshake.as_deref().cloned()
    }

    /// The version of QUIC that the two ends have negotiated, once the handshake is complete.
    pub fn version(&self) -> Option<Version> {
        self.shared.facts().version
    }

    /// Whether the connection is ending or has ended; [`close_reason`](Self::close_reason) says why.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended()
    }

    /// Why the connection is ending or has ended, once it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.facts().close_reason.as_deref().cloned()
    }
}

/// A look at a connection from its own worker.
pub struct Inspect<'a> {
    pub(crate) proto: &'a tercel_proto::connection::Connection,
}

impl Inspect<'_> {
    /// What the connection has done so far.
    pub fn stats(&self) -> ConnectionStats {
        self.proto.stats()
    }

    /// Whether the datagram that was last told of ([`DatagramReceived`](crate::ConnectionEvent::DatagramReceived))
    /// came as early data, so that an attacker may have repeated it (RFC 8446 section 8): to be asked in the
    /// handler of that event.
    pub const fn is_datagram_early(&self) -> bool {
        self.proto.is_datagram_early()
    }

    /// The version of QUIC in use.
    pub const fn version(&self) -> Version {
        self.proto.version()
    }

    /// The version of QUIC with which the connection began. A server may have gone on in another one (RFC
    /// 9368 section 2.3).
    pub const fn original_version(&self) -> Version {
        self.proto.original_version()
    }

    /// What TLS agreed on, once it has.
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.proto.negotiated()
    }

    /// The peer's transport parameters, once known.
    pub fn peer_parameters(&self) -> Option<&TransportParameters> {
        self.proto.peer_parameters()
    }

    /// The paths of the connection, the one in use first.
    pub fn paths(&self) -> Vec<PathStats> {
        self.proto.paths()
    }

    /// Whether the server demanded proof of the client's address by a Retry packet.
    pub const fn was_retried(&self) -> bool {
        self.proto.was_retried()
    }

    /// The peer's certificates (DER, leaf first), once known.
    pub fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        self.proto.peer_certificates()
    }

    /// How many more streams can be opened in `direction` now.
    pub fn streams_available(&self, direction: Direction) -> u64 {
        self.proto.streams_available(direction)
    }

    /// Whether the peer's limit permits `id`, a stream that this end has opened: one opened
    /// [ahead of it](crate::AtLimit::Ahead) may have to wait.
    pub const fn permits_stream(&self, id: StreamId) -> bool {
        self.proto.permits_stream(id)
    }

    /// The destination connection ID of the client's first packet.
    pub fn original_destination_id(&self) -> Bytes {
        Bytes::copy_from_slice(self.proto.original_dcid().as_slice())
    }

    /// The secrets of the handshake so far, if the configuration has them
    /// [kept](crate::Configuration::with_tls_secrets_kept).
    pub fn tls_secrets(&self) -> Option<&TlsSecrets> {
        self.proto.tls_secrets()
    }

    /// Keying material for the application (RFC 5705, RFC 8446 section 7.5): what only the two ends of this
    /// connection know, the same at both for the same label, context and length.
    ///
    /// # Errors
    /// [`Error::Misuse`] before the handshake is complete, [`Error::InvalidArgument`] if `out` is empty or longer
    /// than 255 hashes of the cipher suite.
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), Error> {
        Ok(self.proto.export_keying_material(out, label, context)?)
    }
}
