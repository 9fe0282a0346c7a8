//! A QUIC connection as a value.
//!
//! [`Connection`] is a wiring board: it holds the components, each of which owns its state, its
//! timers and its frames, and takes data from one to the other. Data enters by
//! [`receive`](Connection::receive), by [`timeout`](Connection::timeout) and by the application's
//! calls; it leaves by the four polls.

mod acks;
mod certificate;
mod closing;
mod event;
mod failover;
mod frames;
mod handshake;
mod migration;
mod packetize;
mod phase;
mod preferred;
mod receive;
mod timeout;
mod tracing;
mod transmit;
mod workspace;

pub use event::{ClientHello, Connected, Event, RouteChange};
pub use workspace::Workspace;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tercel_wire::{
    ApplicationErrorCode, ConnectionId, Direction, ResetToken, Role, SpaceId, StreamId, TransportErrorCode,
    TransportParameters, Version,
};

use self::closing::{Farewell, PendingEnd};
use self::handshake::{Again, Handshake, Tls};
use self::phase::Phase;
use self::receive::{Arrival, Waiting};
use crate::cid::{LocalIds, PeerIds};
use crate::close::HandshakeState;
use crate::config::{ConnectionIdIssuer, TransportConfig};
use crate::congestion::SavedPath;
use crate::datagram::{DatagramPriority, Datagrams};
use crate::entropy::Entropy;
use crate::error::{ApiMisuse, CloseReason, Violation};
use crate::grease::FixedBit;
use crate::idle::Idle;
use crate::keys;
use crate::path::{AntiAmplification, ChallengeSize, Ecn, Path, PathAddress, Paths, Validation};
use crate::rare_queue::RareQueue;
use crate::recovery::{OneWayDelay, Recovery};
use crate::space::{Parked, Spaces};
use crate::stats::{ConnectionStats, Counts, PathCongestion, PathState, PathStats};
pub use crate::stream::Read;
use crate::stream::{EndedStats, Flush, StreamEvent, StreamScheduling, StreamStats, Streams};
use crate::time::Time;
use crate::tls;
use crate::token::{GREASE_LIFETIME, KeptToken};
use crate::trace::{Trace, TraceEvent};
use crate::version::Negotiation;

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

/// Datagrams that were received together: from one sender, with one mark.
#[derive(Debug)]
pub struct Received {
    /// Between which addresses they came.
    pub path: PathAddress,
    /// Their ECN mark.
    pub ecn: Ecn,
    /// Their bytes, laid end to end; decrypted in place.
    pub data: BytesMut,
    /// How many bytes each has, but for the last, which may have fewer. At least 1.
    pub segment_size: usize,
}

impl Received {
    /// Cuts off the bytes of the first; none if none is left.
    #[inline]
    pub fn cut_first(&mut self) -> BytesMut {
        let len = self.segment_size.max(1);
        match self.data.len() <= len {
            true => std::mem::take(&mut self.data),
            false => self.data.split_to(len),
        }
    }
}

impl From<Datagram> for Received {
    fn from(Datagram { path, ecn, data }: Datagram) -> Self {
        Self { path, ecn, segment_size: data.len(), data }
    }
}

/// Datagrams to send, all to the same place: the first [`len`](Self::len) bytes of the buffer given
/// to [`Connection::poll_transmit`], laid end to end.
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
    /// Whether this is one datagram that finds out if the path carries its size: what is sent together with it may be lost
    /// with it.
    pub mtu_probe: bool,
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
    /// The token of an earlier connection to this server ([`Event::NewToken`]), or empty. It is used if it
    /// is for `version`.
    pub token: Bytes,
    /// The session to go on with ([`tls::restore`]), if the session store of `tls` is
    /// [`tls::ClientSessions`].
    pub session: Option<rustls::client::Tls13ClientSessionValue>,
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
    /// The client's ticket, if its session may be resumed and the session store of `tls` is
    /// [`tls::SessionsInTickets`].
    pub ticket: Option<tls::OpenedTicket>,
    /// Whether early data may be taken, if all else permits it.
    pub early_data: bool,
}

/// What every connection needs from its driver.
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
/// Several received datagrams may be given before one round of polls. After [`Event::Closed`] the
/// connection can be dropped; polled further it gives nothing.
pub struct Connection {
    role: Role,
    versions: Negotiation,
    config: Arc<TransportConfig>,
    issuer: Box<dyn ConnectionIdIssuer>,
    entropy: Entropy,
    phase: Phase,
    handshake: Handshake,
    spaces: Spaces,
    parked: Parked<Waiting>,
    recovery: Recovery,
    one_way: OneWayDelay,
    paths: Paths,
    local_ids: LocalIds,
    local_reset_token: ResetToken,
    peer_ids: PeerIds,
    peer_parameters: TransportParameters,
    streams: Streams,
    datagrams: Datagrams,
    idle: Idle,
    events: RareQueue<Event>,
    routes: RareQueue<RouteChange>,
    /// Why the connection ended; an end that is still to be told.
    close_reason: Option<Box<CloseReason>>,
    pending_end: Option<Box<PendingEnd>>,
    /// Whether a PING is to be sent; whether the datagram being written is to be padded.
    ping_due: bool,
    pad_datagram: bool,
    /// How large a challenge in that datagram can be.
    challenge_size: ChallengeSize,
    /// Whether packets go without the fixed bit.
    fixed_bit: FixedBit,
    /// When the pacer lets more through.
    blocked_until: Option<Time>,
    /// When there was last nothing to send, or nothing that may be sent.
    silent_at: Time,
    workspace: Workspace,
    stats: Counts,
    /// It has come to rest since that was last asked.
    rested: bool,
    /// What happened, if anybody wants to know.
    trace: Option<Box<Trace>>,
}

impl Connection {
    /// A client connection, about to send its first flight.
    ///
    /// # Errors
    /// The TLS configuration does not suit QUIC.
    pub fn client(now: Time, mut shared: Shared, start: ClientStart) -> Result<Self, rustls::Error> {
        let initial_dcid = handshake::made_up_id(&mut shared.entropy);
        let (scid, reset_token) = shared.issuer.issue(&mut shared.entropy);
        let compatible = tls::can_go_on(start.tls.crypto_provider());
        let versions = Negotiation::client(&shared.transport.versions, start.version, compatible);
        let again = Again { tls: start.tls.clone(), server_name: start.server_name.clone() };
        let parameters = handshake::parameters(&shared.transport, scid);
        let bytes = handshake::encode(parameters, &versions, &shared.transport, &mut shared.entropy);
        let server_name = Some(start.server_name.to_str().into_owned());
        let tls = tls::Handshake::client(start.tls, start.version, start.server_name, bytes, start.session)?;
        let path = Path::new(0, start.path, &shared.transport, AntiAmplification::Validated);
        // RFC 9369 section 5#1: a token is for connections of its version.
        let kept = KeptToken::from_bytes(&start.token).ok().filter(|kept| kept.version == start.version);
        let unix_time = now.since(Time::ZERO);
        // RFC 9287 section 3.1#2.
        let greased = |kept: &KeptToken| kept.greased && unix_time < kept.received + GREASE_LIFETIME;
        let greases = shared.transport.grease && kept.as_ref().is_some_and(greased);
        let handshake = Handshake {
            token: kept.map(|kept| kept.token).unwrap_or_default(),
            server_name,
            again: Some(Box::new(again)),
            ..Handshake::new(now, Tls::Running(Box::new(tls)), initial_dcid, scid)
        };
        let mut connection = Self::new(now, versions, shared, handshake, path, reset_token, initial_dcid)?;
        connection.fixed_bit.set_peer(greases);
        connection.offer_early_data();
        // Nothing can be wrong yet: TLS has only written.
        let _ = connection.drive_tls(now);
        connection.update_progress(now);
        Ok(connection)
    }

    /// A server connection; give it the first datagram by [`receive`](Self::receive) next. It raises
    /// [`Event::ClientHello`] when that is whole and then waits for [`accept`](Self::accept).
    ///
    /// # Errors
    /// The crypto provider cannot make Initial keys.
    pub fn server(now: Time, mut shared: Shared, start: ServerStart) -> Result<Self, rustls::Error> {
        let (scid, reset_token) = shared.issuer.issue(&mut shared.entropy);
        let amplification = match start.validated {
            true => AntiAmplification::Validated,
            false => AntiAmplification::limited(),
        };
        let path = Path::new(0, start.path, &shared.transport, amplification);
        let handshake = Handshake {
            original_dcid: start.original_dcid.unwrap_or(start.initial_dcid),
            retry_scid: start.original_dcid.map(|_| start.initial_dcid),
            peer_scid: Some(start.peer_cid),
            ..Handshake::new(now, Tls::AwaitHello(Vec::new()), start.initial_dcid, scid)
        };
        let versions = Negotiation::server(&shared.transport.versions, start.version);
        let mut connection = Self::new(now, versions, shared, handshake, path, reset_token, start.peer_cid)?;
        connection.routes.push_back(RouteChange::Add(start.initial_dcid));
        connection.update_progress(now);
        Ok(connection)
    }

    fn new(
        now: Time,
        versions: Negotiation,
        shared: Shared,
        handshake: Handshake,
        path: Path,
        local_reset_token: ResetToken,
        peer_cid: ConnectionId,
    ) -> Result<Self, rustls::Error> {
        let Shared { transport: config, issuer, entropy } = shared;
        let role = versions.role();
        let spaces = Spaces::at_the_start(keys::initial(versions.current(), &handshake.initial_dcid, role)?, &config);
        Ok(Self {
            role,
            versions,
            phase: Phase::Alive,
            spaces,
            parked: Parked::new(config.parked_bytes),
            recovery: Recovery::new(role, &config).with_seed(seed_of(&handshake.local_scid)),
            one_way: OneWayDelay::default(),
            paths: Paths::new(path),
            local_ids: LocalIds::new(handshake.local_scid, local_reset_token),
            local_reset_token,
            peer_ids: PeerIds::new(peer_cid, config.active_connection_id_limit.max(2)),
            peer_parameters: TransportParameters::default(),
            streams: Streams::new(role, &config),
            datagrams: Datagrams::new(config.max_datagram_frame_size.into(), config.datagram_send_buffer),
            idle: Idle::new(now, config.max_idle_timeout, config.handshake_timeout, config.keep_alive),
            handshake,
            config,
            issuer,
            entropy,
            events: RareQueue::new(),
            routes: RareQueue::new(),
            close_reason: None,
            pending_end: None,
            ping_due: false,
            pad_datagram: false,
            challenge_size: ChallengeSize::Small,
            // RFC 9287 section 3.1#4.
            fixed_bit: FixedBit::default(),
            blocked_until: None,
            silent_at: Time::ZERO,
            workspace: Workspace::default(),
            rested: false,
            stats: Counts::default(),
            trace: None,
        })
    }

    /// Client: if TLS remembers an earlier connection, data can go with the first flight (RFC 9001
    /// section 4.6).
    fn offer_early_data(&mut self) {
        let Tls::Running(tls) = &self.handshake.tls else { return };
        let Some(keys) = tls.session().early_keys() else { return };
        let remembered = tls.session().peer_parameters().map(|bytes| TransportParameters::decode(bytes, Role::Server));
        if let Some(Ok(parameters)) = remembered {
            self.spaces.data.early = Some(keys);
            // RFC 9000 section 7.4.1#2#3#4.
            let parameters = TransportParameters {
                preferred_address: None,
                stateless_reset_token: None,
                ack_delay_exponent: 3,
                max_ack_delay: 25,
                // draft-ietf-quic-ack-frequency section 3.
                min_ack_delay: None,
                enable_timestamp: 0,
                // RFC 9287 section 3.1#4#5: not from an earlier connection.
                grease_quic_bit: false,
                version_information: None,
                ..parameters
            };
            self.apply_peer_parameters(&parameters);
            self.handshake.early_offered = true;
        }
    }

    /// Server: goes on with the handshake after [`Event::ClientHello`].
    ///
    /// # Errors
    /// There is nothing to decide, or no more; or this is a client.
    pub fn accept(&mut self, now: Time, accept: ServerAccept) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.accept_hello(now, accept)
    }

    /// Server: sends a ticket by which the client can resume the session; as often as wanted, at any
    /// time after the handshake.
    ///
    /// # Errors
    /// [`ApiMisuse::TooEarly`]: the handshake is not complete; [`ApiMisuse::ResumptionUnavailable`]: the
    /// session store of the configuration is not [`tls::SessionsInTickets`], TLS was told to make no
    /// tickets, or the client cannot use any; [`ApiMisuse::InvalidArgument`]: the terms are out of their
    /// ranges; this is a client, or the connection is closing.
    pub fn send_ticket(
        &mut self,
        now: Time,
        keys: &tls::TicketKeys,
        terms: &tls::TicketTerms,
    ) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.issue_ticket(now, keys, terms)
    }

    /// Says what an earlier connection between the same ends has learnt of the path ([`observed_path`] or
    /// [`Event::PathObserved`]), so that sending may begin with half of it (careful resume, RFC 9959). To be
    /// called at once after the connection was made; for one connection at a time, and not after an hour or
    /// so. Without [`careful_resume`](TransportConfig::careful_resume) it is of no account.
    ///
    /// [`observed_path`]: Self::observed_path
    pub fn set_saved_path(&mut self, saved: SavedPath) {
        self.recovery.set_saved_path(saved);
    }

    /// What was learnt of the path so far, if it is worth remembering.
    pub fn observed_path(&self) -> Option<SavedPath> {
        self.recovery.observed_path()
    }

    /// Server: sends another token for the client's next connection, in place of the one of
    /// [`ServerAccept::new_token`]; of no effect before the handshake is confirmed.
    pub fn renew_token(&mut self, token: Bytes) {
        if self.role == Role::Server && self.handshake.state == HandshakeState::Confirmed && !token.is_empty() {
            (self.handshake.new_token, self.handshake.new_token_due) = (token, true);
        }
    }

    /// Server: refuses after [`Event::ClientHello`], with a transport code such as
    /// CONNECTION_REFUSED or CRYPTO_ERROR + no_application_protocol.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub fn refuse(&mut self, now: Time, code: TransportErrorCode) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        if !matches!(self.handshake.tls, Tls::AwaitHello(_) | Tls::AwaitDecision(_)) {
            return Err(if self.role == Role::Client { ApiMisuse::WrongRole } else { ApiMisuse::AlreadyDone });
        }
        self.refuse_hello(now, code);
        Ok(())
    }

    const fn require_alive(&self) -> Result<(), ApiMisuse> {
        if self.phase.is_alive() { Ok(()) } else { Err(ApiMisuse::ConnectionClosed) }
    }

    // The network.

    /// A datagram came in.
    pub fn receive(&mut self, now: Time, datagram: Datagram) {
        self.receive_all(now, datagram.into());
    }

    /// Datagrams for this connection came in together.
    pub fn receive_all(&mut self, now: Time, mut received: Received) {
        self.streams.at(now);
        let (path, ecn) = (received.path, received.ecn);
        while !received.data.is_empty() {
            let mut datagram = received.cut_first();
            let arrival = Arrival { now, came: now, path, ecn, datagram_len: datagram.len() };
            self.receive_datagram(&arrival, &mut datagram);
            self.trace_changes_of_datagram(now);
        }
        self.after_input(now);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Calls too early do no harm.
    pub fn timeout(&mut self, now: Time) {
        self.streams.at(now);
        self.on_timeout(now);
        self.trace_changes(now);
    }

    /// The driver recognised a stateless reset of this connection by its token.
    pub fn stateless_reset(&mut self, now: Time) {
        self.on_stateless_reset(now);
        self.tell_pending_end(now);
        self.trace_changes(now);
    }

    /// What every input may have changed.
    fn after_input(&mut self, now: Time) {
        self.update_progress(now);
        self.tell_pending_end(now);
        if !self.paths.locals.is_empty() {
            self.tend_locals(now);
        }
        self.maybe_update_keys();
        // RFC 9000 section 12.3#3.
        if self.spaces.data.numbers.is_used_up() {
            let code = TransportErrorCode::INTERNAL_ERROR;
            self.end(CloseReason::Violation(Violation::new(code, "no packet number is left")));
        }
    }

    fn maybe_update_keys(&mut self) {
        let bytes = self.config.key_update_bytes;
        if self.handshake.state == HandshakeState::Confirmed
            && let Some(keys) = &mut self.spaces.data.one_rtt
            && keys.should_update(bytes)
            && keys.may_update()
        {
            keys.update();
        }
    }

    /// The next change in what datagrams belong to this connection.
    pub fn poll_route(&mut self) -> Option<RouteChange> {
        self.local_ids.poll_route().or_else(|| self.peer_ids.poll_route()).or_else(|| self.routes.pop_front())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.comes_first()
            && let Some(event) = self.events.pop_front()
        {
            return Some(event);
        }
        if let Some(event) = self.streams.poll_event() {
            return Some(Event::Stream(event));
        }
        if let Some(event) = self.datagrams.poll_event() {
            return Some(Event::Datagram(event));
        }
        self.events.pop_front()
    }

    /// The same if it is something that happened on a stream: they are many, and small.
    pub fn poll_stream_event(&mut self) -> Option<StreamEvent> {
        match self.comes_first() {
            true => None,
            false => self.streams.poll_event(),
        }
    }

    /// Whether the connection itself has something to tell: that comes first, but for the end, before which all else is told.
    fn comes_first(&self) -> bool {
        !matches!(self.events.front(), None | Some(Event::Closing(_) | Event::Closed))
    }

    /// Writes up to `max_datagrams` datagrams of equal size (the last may be smaller) to the front of `buf`, which must
    /// have room for one of the largest size that the [configuration](TransportConfig::max_mtu) permits. Only the first
    /// [`Transmit::len`] bytes mean anything.
    pub fn poll_transmit(&mut self, now: Time, max_datagrams: usize, buf: &mut [u8]) -> Option<Transmit> {
        self.trace_owed(now);
        let transmit = self.transmit(now, max_datagrams, buf);
        if transmit.is_some() {
            self.trace_changes(now);
        }
        transmit
    }

    /// When [`timeout`](Self::timeout) is to be called, unless something else happens before.
    pub fn poll_timeout(&mut self) -> Option<Time> {
        self.next_timeout()
    }

    /// Exchanges the room that it works in: at the beginning of its turn, and back at the end.
    pub const fn exchange_workspace(&mut self, other: &mut Workspace) {
        std::mem::swap(&mut self.workspace, other);
    }

    // Streams.

    /// It is `now`: for calls that follow and are not told the time, where something is measured.
    pub fn at(&mut self, now: Time) {
        self.streams.at(now);
    }

    /// What a stream has done so far. Of one that has ended only if times are measured
    /// ([`stream_statistics`](TransportConfig::stream_statistics)), and only between its
    /// [`Closed`](crate::stream::StreamEvent::Closed) and that of the next.
    pub fn stream_stats(&self, id: StreamId) -> Option<StreamStats> {
        self.streams.stats(id)
    }

    /// The same of the stream whose [`Closed`](crate::stream::StreamEvent::Closed) was the last; nobody else is told.
    pub fn take_ended_stream_stats(&mut self, id: StreamId) -> Option<EndedStats> {
        self.streams.take_ended_stats(id)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The peer permits no more for now, or the connection is closing.
    pub fn open_stream(&mut self, direction: Direction) -> Result<StreamId, ApiMisuse> {
        self.require_alive()?;
        self.streams.open(direction)
    }

    /// Opens a stream even if the peer permits no more for now: it has an ID at once, and what is sent on
    /// it waits until the peer does, of which [`StreamEvent::Accepted`] tells. Gives whether the peer
    /// permits it already.
    ///
    /// # Errors
    /// The connection is closing.
    pub fn open_stream_ahead(&mut self, direction: Direction) -> Result<(StreamId, bool), ApiMisuse> {
        self.require_alive()?;
        Ok(self.streams.open_ahead(direction))
    }

    /// Queues `data` (never copied) and, with `fin`, the end of the stream. Never refuses for lack
    /// of window: the caller limits what it queues, by the `Acked` events.
    ///
    /// # Errors
    /// There is no such stream, its sending part has ended, or the connection is closing.
    pub fn send(&mut self, id: StreamId, data: Bytes, fin: bool) -> Result<(), ApiMisuse> {
        self.send_with(id, data, fin, Flush::Now)
    }

    /// The same, and `flush` says when.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_with(&mut self, id: StreamId, data: Bytes, fin: bool, flush: Flush) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEvent::DataQueued { id, len: data.len() as u64, fin });
        }
        self.streams.send_with(id, data, fin, flush)
    }

    /// What was queued with [`Flush::WithNext`] is sent without anything that follows.
    pub const fn flush(&mut self) {
        self.streams.flush();
    }

    /// From now on a stream is given up as soon as something that was sent on it is lost:
    /// [`StreamEvent::CanceledByLoss`] tells, and it is then for the application to [`reset`](Self::reset) it. A probe
    /// timeout is no loss (RFC 9002 section 6.2): probes repeat nothing of such a stream.
    ///
    /// # Errors
    /// There is no such stream, or it has no sending part.
    pub fn cancel_on_loss(&mut self, id: StreamId) -> Result<(), ApiMisuse> {
        self.streams.cancel_on_loss(id)
    }

    /// Tells the peer of a stream at once, though there is no data yet.
    ///
    /// # Errors
    /// There is no such stream, or it has no sending part.
    pub fn announce_stream(&mut self, id: StreamId) -> Result<(), ApiMisuse> {
        self.streams.announce(id)
    }

    /// Takes the next bytes in order, at most `max`, without giving flow-control credit for them.
    ///
    /// # Errors
    /// There is no such stream, or its receiving part was stopped.
    pub fn read(&mut self, id: StreamId, max: usize) -> Result<Read, ApiMisuse> {
        self.streams.read(id, max)
    }

    /// Takes the bytes that are there, in order and at most `max`, and adds them to `into` in the pieces that they came in.
    /// Gives how many: fewer than there are of all only if `max` is reached. What follows, [`read`](Self::read) tells.
    pub fn read_pieces(&mut self, id: StreamId, max: usize, into: &mut Vec<Bytes>) -> usize {
        self.streams.read_pieces(id, max, into)
    }

    /// The code of a reset by the peer that was not read, without reading data.
    pub fn read_reset(&mut self, id: StreamId) -> Option<ApplicationErrorCode> {
        self.streams.read_reset(id)
    }

    /// Whether the end of a stream is next to be read; it is read then.
    pub fn read_end(&mut self, id: StreamId) -> bool {
        self.streams.read_end(id)
    }

    /// A stream of the peer's counts as open, also when it is over, until it is
    /// [released](Self::release_stream).
    pub fn hold_stream(&mut self, id: StreamId) {
        self.streams.hold(id);
    }

    /// A stream of the peer's counts no longer than it lives.
    pub fn release_stream(&mut self, id: StreamId) {
        self.streams.release(id);
    }

    /// Up to which offset a stream came as early data, if anything of it did and it is not over.
    pub fn early(&self, id: StreamId) -> Option<u64> {
        self.streams.early(id)
    }

    /// Whether the datagram of which the last [`DatagramEvent::Received`](crate::datagram::DatagramEvent::Received)
    /// told came as early data.
    pub const fn is_datagram_early(&self) -> bool {
        self.datagrams.is_early()
    }

    /// Takes up to `most` received datagrams that are next to be told of, if they came as that did of which the last
    /// [`DatagramEvent::Received`](crate::datagram::DatagramEvent::Received) told: as early data, or not.
    pub fn take_datagrams(&mut self, into: &mut Vec<Bytes>, most: usize) {
        self.datagrams.take_received(into, most);
    }

    /// Whether the connection has come to rest since this was last asked: nothing was heard or sent for half a second,
    /// or for two probe timeouts when it is new, and it has let go of memory. Its driver can do the same.
    pub const fn take_rested(&mut self) -> bool {
        std::mem::replace(&mut self.rested, false)
    }

    /// How many bytes of a stream up to the highest offset that came in were not read yet, those that are missing
    /// included.
    pub fn unread(&self, id: StreamId) -> u64 {
        self.streams.unread(id)
    }

    /// The application has provided space for so many more bytes of a stream, and from the first such
    /// call on that is what limits the peer.
    ///
    /// # Errors
    /// There is no such stream, or it has no receiving part.
    pub fn provide_receive_space(&mut self, id: StreamId, bytes: u64) -> Result<(), ApiMisuse> {
        self.streams.provide(id, bytes)
    }

    /// Takes over from `config` what may change while the connection runs: for how long this end bears silence, and
    /// how it is kept from coming up; how many streams the peer may have open; how far receive windows may grow;
    /// pacing; after how many bytes the keys are updated. What was agreed on in the handshake stays.
    pub fn reconfigure(&mut self, now: Time, config: &TransportConfig) {
        self.streams.reconfigure(config);
        self.recovery.set_pacing(config.pacing);
        self.idle.change(now, self.recovery.pto(SpaceId::Data), config.max_idle_timeout, config.keep_alive);
        let own = Arc::make_mut(&mut self.config);
        own.key_update_bytes = config.key_update_bytes;
    }

    /// Gives the peer credit for `len` bytes that were read and are now consumed.
    pub fn consumed(&mut self, now: Time, id: StreamId, len: u64) {
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.push(TraceEvent::DataConsumed { id, len });
        }
        self.streams.consumed(now, self.recovery.rtt().smoothed, id, len);
    }

    /// Ends the sending part of a stream abruptly.
    ///
    /// # Errors
    /// There is no such stream, its sending part has ended, or the connection is closing.
    pub fn reset(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.streams.reset(id, code)
    }

    /// Ends the sending part of a stream abruptly, but for its first `reliable_size` bytes: these are
    /// delivered before the peer's application hears of it. May be called again with a smaller size; the
    /// code stays.
    ///
    /// # Errors
    /// [`ApiMisuse::ResetAtUnsupported`]: the peer does not understand it;
    /// [`ApiMisuse::InvalidArgument`]: the size is larger than what was given to send, or than before;
    /// otherwise as for [`reset`](Self::reset).
    pub fn reset_at(&mut self, id: StreamId, code: ApplicationErrorCode, reliable_size: u64) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.streams.reset_at(id, code, reliable_size)
    }

    /// Whether the peer understands [`reset_at`](Self::reset_at).
    pub const fn can_reset_at(&self) -> bool {
        self.streams.can_reset_at()
    }

    /// Asks the peer to send no more on a stream.
    ///
    /// # Errors
    /// There is no such stream, its receiving part has ended, or the connection is closing.
    pub fn stop_sending(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.streams.stop_sending(id, code)
    }

    /// Higher is sent first; streams of equal priority take turns. Default 0.
    ///
    /// # Errors
    /// There is no such stream, or it has no sending part.
    pub fn set_priority(&mut self, id: StreamId, priority: i32) -> Result<(), ApiMisuse> {
        self.streams.set_priority(id, priority)
    }

    /// Sets in which order streams of equal priority send.
    pub const fn set_stream_scheduling(&mut self, scheduling: StreamScheduling) {
        self.streams.set_scheduling(scheduling);
    }

    /// How many more streams can be opened in `direction` now.
    pub const fn streams_available(&self, direction: Direction) -> u64 {
        self.streams.available(direction)
    }

    /// Whether the peer's limit permits `id`, a stream that this end has opened.
    pub const fn permits_stream(&self, id: StreamId) -> bool {
        self.streams.permits(id)
    }

    /// How many streams the peer permits in `direction` in all, those that were opened included.
    pub const fn stream_limit(&self, direction: Direction) -> u64 {
        self.streams.limit(direction)
    }

    // Datagrams.

    /// The largest datagram that can be sent now, in bytes; `None` if datagrams are off.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.datagrams.max_size()
    }

    /// Queues a datagram and returns its number, by which later events name it: every one gets exactly
    /// one final state, after `Sent` if it left, and after `LostSuspect` if it was taken for lost.
    ///
    /// # Errors
    /// Datagrams are off, it is too large, or the connection is closing.
    pub fn send_datagram(&mut self, data: Bytes, priority: DatagramPriority) -> Result<u64, ApiMisuse> {
        self.require_alive()?;
        self.datagrams.send(data, priority)
    }

    /// Queues a datagram of which is told nothing more.
    ///
    /// # Errors
    /// As for [`send_datagram`](Self::send_datagram).
    pub fn send_datagram_untold(&mut self, data: Bytes, priority: DatagramPriority) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.datagrams.send_untold(data, priority)
    }

    // The connection.

    /// Closes with an application code. The first close wins.
    pub fn close(&mut self, now: Time, code: ApplicationErrorCode, reason: Bytes) {
        self.begin_close(now, Farewell::Application { code, reason }, CloseReason::LocalApplication { code });
        self.trace_changes(now);
    }

    /// Ends without a word to the peer. What it still sends is taken in silence until it must have
    /// given up; so nobody answers it with a stateless reset.
    pub fn close_silently(&mut self, now: Time) {
        self.vanish(now);
        self.trace_changes(now);
    }

    /// Sends a PING, to see whether the peer is there.
    pub const fn ping(&mut self) {
        self.ping_due = true;
    }

    /// Goes on to new packet protection keys (RFC 9001 section 6).
    ///
    /// # Errors
    /// [`ApiMisuse::TooEarly`]: the handshake is not confirmed, or the last update is not over.
    // RFC 9001 section 6.1#1.
    pub fn update_keys(&mut self) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        match &mut self.spaces.data.one_rtt {
            Some(keys) if self.handshake.state == HandshakeState::Confirmed && keys.may_update() => {
                keys.update();
                self.ping_due = true;
                Ok(())
            }
            _ => Err(ApiMisuse::TooEarly),
        }
    }

    /// Makes connection IDs by `issuer` from now on, of the same length, and has the peer retire those
    /// that there are (RFC 9000 section 5.1.2).
    pub fn renew_connection_ids(&mut self, issuer: Box<dyn ConnectionIdIssuer>) {
        if self.phase.is_alive() && issuer.len() == self.issuer.len() {
            self.issuer = issuer;
            self.local_ids.renew();
        }
    }

    /// Client: moves to another path at once (RFC 9000 section 9.2): another local address, or another
    /// socket. If the server does not answer there it goes back to the path before.
    ///
    /// # Errors
    /// [`ApiMisuse::TooEarly`]: the handshake is not confirmed, or one of the ends has no connection ID for another
    /// path yet; [`ApiMisuse::InvalidArgument`]: the server forbids it (disable_active_migration), or uses no
    /// connection IDs;
    /// [`ApiMisuse::WrongRole`]: this is a server; [`ApiMisuse::ConnectionClosed`].
    pub fn migrate(&mut self, now: Time, path: PathAddress) -> Result<(), ApiMisuse> {
        self.begin_migration(now, path)
    }

    /// Client: moves to another path if the server answers there (RFC 9000 section 9.1); until then
    /// everything goes on as it is. [`Event::PathValidated`] and [`Event::PathChanged`], or
    /// [`Event::PathFailed`], tell what came of it. A later call takes the place of an earlier one.
    ///
    /// # Errors
    /// As for [`migrate`](Self::migrate).
    pub fn probe_path(&mut self, now: Time, path: PathAddress) -> Result<(), ApiMisuse> {
        self.begin_probing(now, path)
    }

    /// Client: from now on everything leaves from another local port or address, and there is no way
    /// back. That is a new path: it gets a connection ID of its own, is measured anew, and validated (RFC
    /// 9000 section 9). A PING lets the server learn of it soon.
    ///
    /// # Errors
    /// As for [`migrate`](Self::migrate); until it succeeds, nothing may leave from there.
    pub fn local_address_changed(&mut self, now: Time, local: Option<SocketAddr>) -> Result<(), ApiMisuse> {
        self.leave_local_address(now, local)
    }

    /// Client: whether the server forbids to move from where this end speaks to it now
    /// (disable_active_migration).
    pub fn is_settled(&self) -> bool {
        self.settled()
    }

    // Looking.

    /// Which end this is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Where the peer is.
    pub const fn remote_address(&self) -> SocketAddr {
        self.paths.active.address.remote
    }

    /// Whether the handshake is not complete.
    pub const fn is_handshaking(&self) -> bool {
        !self.is_complete()
    }

    /// Whether the handshake is confirmed (RFC 9001 section 4.1.2), and the connection not over.
    pub fn is_confirmed(&self) -> bool {
        self.phase.is_alive() && self.handshake.state == HandshakeState::Confirmed
    }

    /// Server: whether the peer has acknowledged every ticket that was sent.
    pub const fn are_tickets_delivered(&self) -> bool {
        self.spaces.data.numbers.crypto.is_delivered()
    }

    /// How many bytes of packets and TLS messages the handshake keeps. The state of connection and TLS comes
    /// on top.
    pub fn handshake_bytes(&self) -> usize {
        let hello = match &self.handshake.tls {
            Tls::AwaitHello(hello) | Tls::AwaitDecision(hello) => hello.capacity(),
            Tls::Running(_) | Tls::Over(_) => 0,
        };
        let spaces = [SpaceId::Initial, SpaceId::Handshake, SpaceId::Data];
        let crypto = spaces.into_iter().filter_map(|id| self.spaces.get(id)).map(|numbers| numbers.crypto.held());
        hello + self.parked.held() + crypto.sum::<usize>()
    }

    /// Why the connection ended, if it did.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        self.close_reason.as_deref()
    }

    /// Whether the peer has closed, which was told, and all that is left is to let pass what it has sent before, until
    /// [`poll_timeout`](Self::poll_timeout) (RFC 9000 section 10.2.2).
    pub const fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.pending_end.is_none()
    }

    /// Figures.
    pub fn stats(&self) -> ConnectionStats {
        let (counts, recovery, rtt) = (&self.stats, self.recovery.stats(), self.recovery.rtt());
        let path = &self.paths.active;
        ConnectionStats {
            packets_acked: recovery.packets_acked,
            packets_lost: recovery.packets_lost,
            packets_lost_spuriously: recovery.packets_lost_spuriously,
            congestion_events: recovery.congestion_events,
            persistent_congestion: recovery.persistent_congestion,
            probe_timeouts: recovery.probe_timeouts,
            congestion_window: self.recovery.window(),
            bytes_in_flight: self.recovery.bytes_in_flight(),
            congestion_phase: self.recovery.congestion_phase(),
            pacing_rate: self.recovery.pacing_rate(),
            rtt: rtt.smoothed,
            min_rtt: rtt.min,
            latest_rtt: rtt.adjusted,
            rtt_variation: rtt.var,
            rtt_samples: rtt.samples,
            mtu: path.mtu.current(),
            mtu_black_holes: path.mtu.black_holes(),
            key_updates: self.spaces.data.one_rtt.as_ref().map_or(0, |keys| keys.updates()),
            ecn_capable: path.ecn.is_capable(),
            one_way_delay: self.one_way.smoothed(),
            latest_one_way_delay: self.one_way.latest(),
            stream_bytes_retransmitted: self.streams.retransmitted_bytes(),
            handshake: counts.completed.map(|completed| completed.since(self.handshake.started)),
            phases: counts.phases.since(self.handshake.started),
            datagrams_sent: counts.datagrams_sent,
            datagrams_received: counts.datagrams_received,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            packets_sent: counts.packets_sent,
            packets_received: counts.packets_received,
            packets_dropped: counts.packets_dropped,
        }
    }

    /// How much is under way to the peer: sent, and neither acknowledged nor lost (RFC 9002 section 2).
    pub const fn bytes_in_flight(&self) -> u64 {
        self.recovery.bytes_in_flight()
    }

    /// The congestion window of the path in use, in bytes: one of [`stats`](Self::stats), without the others.
    pub const fn congestion_window(&self) -> u64 {
        self.recovery.window()
    }

    /// The paths of the connection, the one in use first.
    pub fn paths(&self) -> Vec<PathStats> {
        let (rtt, active) = (self.recovery.rtt(), self.paths.active.id);
        let stats = |path: &Path| PathStats {
            id: path.id,
            remote: path.address.remote,
            local: path.address.local,
            state: match (path.id == active, self.paths.previous.as_ref().is_some_and(|old| old.id == path.id)) {
                (true, _) => PathState::Active,
                (_, true) => PathState::Previous,
                _ if path.validation == Validation::Done => PathState::Ready,
                _ => PathState::Probed,
            },
            validated: path.amplification.is_validated() && !matches!(path.validation, Validation::Pending { .. }),
            bytes_sent: path.bytes_sent,
            bytes_received: path.bytes_received,
            mtu: path.mtu.current(),
            ecn_capable: path.ecn.is_capable(),
            congestion: (path.id == active).then(|| PathCongestion {
                rtt: rtt.smoothed,
                min_rtt: rtt.min,
                rtt_samples: rtt.samples,
                congestion_window: self.recovery.window(),
                bytes_in_flight: self.recovery.bytes_in_flight(),
            }),
        };
        self.paths.iter().map(stats).collect()
    }

    /// The destination connection ID of the client's first packet: the same at both ends.
    pub const fn original_dcid(&self) -> ConnectionId {
        self.handshake.original_dcid
    }

    /// The name of the server as the client calls it, if it does.
    pub fn server_name(&self) -> Option<&str> {
        self.handshake.server_name.as_deref()
    }

    /// The application protocol, once chosen.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.session().alpn(),
            Tls::Over(agreed) => agreed.alpn(),
            _ => None,
        }
    }

    /// The version in use: the one that the two ends have negotiated, once they have.
    pub const fn version(&self) -> Version {
        self.versions.current()
    }

    /// The version of the client's first packet, which is also that of early data (RFC 9368 section 2.3).
    pub const fn original_version(&self) -> Version {
        self.versions.original()
    }

    /// Server, before [`accept`](Self::accept): the version that the connection will go on with under these
    /// settings. It is that of tokens and tickets that the client is given (RFC 9369 section 5).
    pub fn version_under(&self, settings: &TransportConfig) -> Version {
        self.versions.choose(&settings.versions).unwrap_or(self.versions.original())
    }

    /// What TLS agreed on, once it has.
    pub fn negotiated(&self) -> Option<tls::Negotiated> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.session().negotiated(),
            Tls::Over(agreed) => agreed.negotiated(),
            _ => None,
        }
    }

    /// The peer's transport parameters, or what is remembered of them while early data is sent; `None`
    /// while nothing is known.
    pub fn peer_parameters(&self) -> Option<&TransportParameters> {
        Some(&self.peer_parameters).filter(|parameters| **parameters != TransportParameters::default())
    }

    /// Whether the server asked for a Retry (RFC 9000 section 8.1.2).
    pub const fn was_retried(&self) -> bool {
        self.handshake.retry_scid.is_some()
    }

    /// The peer's certificates (DER, leaf first), once known.
    pub fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.session().peer_certificates(),
            Tls::Over(agreed) => agreed.peer_certificates(),
            _ => None,
        }
    }

    /// The secrets of the handshake so far, if the TLS configuration has them kept.
    pub fn tls_secrets(&self) -> Option<&tls::TlsSecrets> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.secrets(),
            Tls::Over(agreed) => agreed.secrets(),
            _ => None,
        }
    }

    /// Keying material that only the two ends know (RFC 8446 section 7.5).
    ///
    /// # Errors
    /// [`ApiMisuse::TooEarly`]: the handshake is not complete. [`ApiMisuse::InvalidArgument`]: nothing was asked
    /// for, or more than 255 times the length of the cipher suite's hash; or `label` has more than 249 bytes.
    pub fn export_keying_material(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ApiMisuse> {
        if label.len() > tls::MAX_LABEL {
            return Err(ApiMisuse::InvalidArgument("a label has no more than 249 bytes"));
        }
        let exported = match &self.handshake.tls {
            Tls::Running(tls) if tls.is_complete() => tls.session().export_keying_material(out, label, context),
            Tls::Over(agreed) => agreed.export_keying_material(out, label, context),
            _ => return Err(ApiMisuse::TooEarly),
        };
        match exported {
            true => Ok(()),
            false => Err(ApiMisuse::InvalidArgument("so much keying material cannot be exported")),
        }
    }

    /// Client: the ECH configurations to try again with, if the server refused the encrypted ClientHello.
    pub(crate) fn ech_rejection(&self) -> Option<Bytes> {
        match &self.handshake.tls {
            Tls::Running(tls) => tls.ech_rejection().cloned(),
            _ => None,
        }
    }
}

/// What chance is drawn from where it need not be secret, as when bandwidth is probed.
fn seed_of(id: &ConnectionId) -> u64 {
    id.iter().fold(0, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte))
}

#[cfg(test)]
mod tests;
