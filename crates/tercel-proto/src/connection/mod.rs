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
mod looking;
mod migration;
mod packetize;
mod phase;
mod preferred;
mod receive;
mod streams;
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
    ApplicationErrorCode, ConnectionId, ResetToken, Role, TransportErrorCode, TransportParameters, Version,
};

use self::closing::{Farewell, PendingEnd};
use self::handshake::{Again, Handshake, Tls};
use self::phase::Phase;
use self::receive::{Arrival, Waiting};
use crate::cid::{LocalIds, PeerIds};
use crate::close::HandshakeState;
use crate::config::{ConnectionIdIssuer, TransportConfig};
use crate::congestion::SavedPath;
use crate::datagram::Datagrams;
use crate::entropy::Entropy;
use crate::error::{ApiMisuse, CloseReason, Violation};
use crate::grease::FixedBit;
use crate::idle::Idle;
use crate::keys;
use crate::path::{AntiAmplification, ChallengeSize, Ecn, Path, PathAddress, Paths};
use crate::rare_queue::RareQueue;
use crate::recovery::{OneWayDelay, Recovery};
use crate::space::{Parked, Spaces};
use crate::stats::Counts;
pub use crate::stream::Read;
use crate::stream::{StreamEvent, Streams};
use crate::time::Time;
use crate::tls;
use crate::token::{GREASE_LIFETIME, KeptToken};
use crate::trace::Trace;
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
}

/// What chance is drawn from where it need not be secret, as when bandwidth is probed.
fn seed_of(id: &ConnectionId) -> u64 {
    id.iter().fold(0, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte))
}

#[cfg(test)]
mod tests;
