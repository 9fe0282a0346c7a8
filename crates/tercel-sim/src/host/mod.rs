//! A host that runs bare protocol connections, with no runtime between them and the network.
//!
//! Datagrams enter by [`Host::receive`] and find their connection by its IDs; a first Initial packet
//! begins one. In its turn each connection is polled in the documented order, and an
//! [`Application`] answers its events. What a connection does is checked on the way: the grammar of
//! its events ([`Grammar`]), the shape of what it sends, and that it comes to rest.

mod application;
mod grammar;
mod lines;
pub(crate) mod pattern;
mod peer;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use application::Application;
use bytes::{Bytes, BytesMut};
pub use grammar::Grammar;
pub use peer::{DONE, How, Move, Peer, Reading, Script};
use tercel_proto::config::{ConnectionIdIssuer, TransportConfig};
use tercel_proto::congestion::SavedPath;
use tercel_proto::connection::{
    self as proto, ClientStart, Connection, Event, RouteChange, ServerAccept, ServerStart, Transmit,
};
use tercel_proto::entropy::Entropy;
use tercel_proto::error::CloseReason;
use tercel_proto::path::{Ecn, PathAddress};
use tercel_proto::stateless::{retry, version_negotiation};
use tercel_proto::time::Time;
use tercel_proto::token::{Token, TokenKeys};
use tercel_proto::trace::TraceEvent;
use tercel_wire::packet::invariant::{Invariant, LongHeader};
use tercel_wire::{ConnectionId, ResetToken, Version};

use crate::crypto;
use crate::network::Datagram;
use crate::random::Random;
use crate::world::Host;

/// The length of all connection IDs made here.
const CID_LEN: usize = 8;
/// So many rounds of polls may one turn take.
const MAX_ROUNDS: u32 = 10_000;
/// So many sends may one turn make.
const MAX_TRANSMITS: u32 = 10_000;

/// Makes connection IDs.
struct Issuer;

impl ConnectionIdIssuer for Issuer {
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken) {
        let id: [u8; CID_LEN] = entropy.array();
        (ConnectionId::new(&id).unwrap_or(ConnectionId::EMPTY), ResetToken(entropy.array()))
    }

    fn len(&self) -> usize {
        CID_LEN
    }
}

/// A connection and its application.
pub struct Session<A> {
    /// The connection, until it is closed.
    pub connection: Option<Connection>,
    /// The application.
    pub application: A,
    /// What it has said so far.
    pub grammar: Grammar,
    /// Why it ended, and when that was told.
    pub ended: Option<(Time, CloseReason)>,
    /// The figures of the connection when it was last looked at.
    pub stats: tercel_proto::stats::ConnectionStats,
    /// The version that it spoke then.
    pub version: Version,
    /// When it last received something.
    pub last_received: Time,
    /// What happened inside, if the endpoint is traced.
    pub trace: Vec<(Time, TraceEvent)>,
    deadline: Option<Time>,
}

/// What a server does for those who come.
pub struct Service<A> {
    /// Its TLS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Makes the application of a new connection.
    pub application: Box<dyn FnMut(&mut Random) -> A>,
}

/// A host with one address.
pub struct Endpoint<A> {
    /// Its address.
    pub address: SocketAddr,
    /// The settings of its connections.
    pub transport: Arc<TransportConfig>,
    /// What it serves, if it does.
    pub service: Option<Service<A>>,
    /// Its connections; those that are over stay, without the connection.
    pub sessions: Vec<Session<A>>,
    /// How many datagrams of equal size one send takes.
    pub segments: usize,
    /// Whether its connections tell what happens inside.
    pub traced: bool,
    /// Whether clients must prove their address by a Retry.
    pub retries: bool,
    tokens: TokenKeys,
    /// What is to be sent without a connection.
    answers: Vec<Datagram>,
    /// What it knows of the path to the next that it talks to.
    pub saved_path: Option<SavedPath>,
    routes: BTreeMap<ConnectionId, usize>,
    resets: BTreeMap<[u8; ResetToken::LEN], usize>,
    random: Random,
    buf: Vec<u8>,
}

impl<A: Application> Endpoint<A> {
    /// A host without connections.
    ///
    /// # Panics
    /// If there is no key for tokens, which cannot be.
    pub fn new(address: SocketAddr, transport: TransportConfig, mut random: Random) -> Self {
        let tokens = TokenKeys::new(&[[7; 32]]).unwrap_or_else(|| panic!("no key for tokens"));
        Self {
            address,
            transport: Arc::new(transport),
            service: None,
            sessions: Vec::new(),
            segments: random.one_of(&[1, 4, 10]),
            traced: false,
            retries: false,
            tokens,
            answers: Vec::new(),
            saved_path: None,
            routes: BTreeMap::new(),
            resets: BTreeMap::new(),
            random,
            buf: vec![0; 1 << 17],
        }
    }

    /// The same, serving whoever comes.
    pub fn serving(self, service: Service<A>) -> Self {
        Self { service: Some(service), ..self }
    }

    fn shared(&mut self) -> proto::Shared {
        let entropy = Entropy::from_seed(self.random.array());
        proto::Shared { transport: self.transport.clone(), issuer: Box::new(Issuer), entropy }
    }

    /// Begins a connection to `remote`.
    ///
    /// # Panics
    /// If TLS cannot start.
    pub fn connect(&mut self, now: Time, remote: SocketAddr, tls: Arc<rustls::ClientConfig>, application: A) {
        let start = ClientStart {
            tls,
            server_name: crypto::server_name(),
            version: self.transport.first_version(),
            path: PathAddress { remote, local: Some(self.address) },
            token: Bytes::new(),
            session: None,
        };
        let connection = Connection::client(now, self.shared(), start);
        let mut connection = connection.unwrap_or_else(|error| panic!("TLS does not start: {error}"));
        if self.traced {
            connection.start_trace(now);
        }
        if let Some(saved) = self.saved_path {
            connection.set_saved_path(saved);
        }
        self.add(now, connection, application);
    }

    fn add(&mut self, now: Time, connection: Connection, application: A) -> usize {
        self.sessions.push(Session {
            stats: connection.stats(),
            version: connection.version(),
            connection: Some(connection),
            application,
            grammar: Grammar::default(),
            ended: None,
            last_received: now,
            trace: Vec::new(),
            deadline: Some(now),
        });
        self.sessions.len() - 1
    }

    fn find(&self, datagram: &[u8]) -> Option<usize> {
        let dcid = match Invariant::peek(datagram, CID_LEN).ok()? {
            Invariant::Short { dcid } => dcid,
            Invariant::Long(header) => ConnectionId::new(header.dcid).ok()?,
        };
        self.routes.get(&dcid).copied()
    }

    /// The connection that a datagram begins, if it does.
    fn begin(&mut self, now: Time, path: PathAddress, datagram: &[u8]) -> Option<Connection> {
        self.service.as_ref()?;
        let Ok(Invariant::Long(header)) = Invariant::peek(datagram, CID_LEN) else { return None };
        let versions = self.transport.spoken_versions();
        if !versions.contains(&header.version) {
            let mut entropy = Entropy::from_seed(self.random.array());
            let answer = version_negotiation::respond(&header, datagram.len(), &versions, &mut entropy)?;
            self.answers.push(Datagram::new(self.address, path.remote, Ecn::NotEct, &answer));
            return None;
        }
        // RFC 9000 section 14.1, and section 7.2 for the length of the ID.
        if !header.is_initial() || datagram.len() < 1200 || header.dcid.len() < 8 {
            return None;
        }
        let (version, unix_time) = (header.version, now.since(Time::ZERO));
        let [dcid, scid] = [header.dcid, header.scid].map(ConnectionId::new);
        let (dcid, scid) = (dcid.ok()?, scid.ok()?);
        let mut original_dcid = None;
        if self.retries {
            let (_, mut reader) = LongHeader::decode(datagram).ok()?;
            match self.tokens.open(reader.length_prefixed().ok()?, version, path.remote, unix_time) {
                Ok(Token::Retry { original_dcid: original, retry_scid }) if retry_scid == dcid => {
                    original_dcid = Some(original);
                }
                _ => {
                    let mut entropy = Entropy::from_seed(self.random.array());
                    let (retry_scid, _) = Issuer.issue(&mut entropy);
                    let token = Token::Retry { original_dcid: dcid, retry_scid };
                    let token = self.tokens.seal(&token, version, path.remote, unix_time, &mut entropy);
                    let answer = retry::respond(version, &scid, &dcid, &retry_scid, &token)?;
                    self.answers.push(Datagram::new(self.address, path.remote, Ecn::NotEct, &answer));
                    return None;
                }
            }
        }
        let validated = original_dcid.is_some();
        let start = ServerStart { version, path, initial_dcid: dcid, peer_cid: scid, original_dcid, validated };
        let mut connection = Connection::server(now, self.shared(), start).ok()?;
        if self.traced {
            connection.start_trace(now);
        }
        if let Some(saved) = self.saved_path {
            connection.set_saved_path(saved);
        }
        Some(connection)
    }

    fn session_turn(&mut self, now: Time, index: usize, out: &mut Vec<Datagram>) {
        let session = &mut self.sessions[index];
        let Some(mut connection) = session.connection.take() else { return };
        if session.deadline.is_some_and(|deadline| deadline <= now) {
            connection.timeout(now);
        }
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "spins: the polls of one turn come to no end");
            let mut busy = self.poll(now, index, &mut connection);
            busy |= self.sessions[index].application.act(now, &mut connection);
            self.transmit(now, &mut connection, out);
            if !busy {
                break;
            }
        }
        let session = &mut self.sessions[index];
        session.stats = connection.stats();
        session.version = connection.version();
        session.trace.extend(connection.take_trace(None).events());
        session.deadline = connection.poll_timeout();
        if session.grammar.is_over() {
            assert_eq!(session.deadline, None, "a closed connection wants to be called again");
            self.routes.retain(|_, owner| *owner != index);
            self.resets.retain(|_, owner| *owner != index);
        } else {
            session.connection = Some(connection);
        }
    }

    /// Routes and events. Says whether there were any.
    fn poll(&mut self, now: Time, index: usize, connection: &mut Connection) -> bool {
        let mut busy = false;
        while let Some(change) = connection.poll_route() {
            busy = true;
            match change {
                RouteChange::Add(id) => drop(self.routes.insert(id, index)),
                RouteChange::Remove(id) => drop(self.routes.remove(&id)),
                RouteChange::AddResetToken(token) => drop(self.resets.insert(token.0, index)),
                RouteChange::RemoveResetToken(token) => drop(self.resets.remove(&token.0)),
            }
        }
        let session = &mut self.sessions[index];
        while let Some(event) = connection.poll_event() {
            busy = true;
            session.grammar.check(&event);
            match &event {
                Event::ClientHello(_) => {
                    let tls = self.service.as_ref().map(|service| service.tls.clone());
                    let tls = tls.unwrap_or_else(|| panic!("a client is asked to accept"));
                    let accept = ServerAccept {
                        tls,
                        transport: None,
                        new_token: Bytes::from_static(b"come again"),
                        ticket: None,
                        early_data: true,
                    };
                    assert_eq!(connection.accept(now, accept), Ok(()));
                }
                Event::Closing(reason) => session.ended = Some((now, reason.clone())),
                _ => {}
            }
            session.application.event(now, connection, &event);
        }
        busy
    }

    fn transmit(&mut self, now: Time, connection: &mut Connection, out: &mut Vec<Datagram>) {
        for count in 0.. {
            assert!(count < MAX_TRANSMITS, "spins: sends without end");
            let Some(transmit) = connection.poll_transmit(now, self.segments, &mut self.buf) else { break };
            let Transmit { path, ecn, len, segment_size, .. } = transmit;
            let size = segment_size.unwrap_or(len);
            assert!(len > 0 && len <= self.buf.len() && size > 0, "a malformed transmit: {transmit:?}");
            assert!(size <= self.transport.max_mtu.max(1200).into(), "a datagram of {size} bytes");
            assert!(len.div_ceil(size) <= self.segments, "more than {} segments: {transmit:?}", self.segments);
            let from = path.local.unwrap_or(self.address);
            out.extend(self.buf[..len].chunks(size).map(|data| Datagram::new(from, path.remote, ecn, data)));
        }
    }

    /// The addresses that this host can be reached at.
    pub const fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Whether all its connections are over.
    pub fn is_over(&self) -> bool {
        self.sessions.iter().all(|session| session.connection.is_none())
    }
}

impl<A: Application> Host for Endpoint<A> {
    fn receive(&mut self, now: Time, datagram: Datagram) {
        let path = PathAddress { remote: datagram.from, local: Some(datagram.to) };
        let arrival = |data: BytesMut| proto::Datagram { path, ecn: datagram.ecn, data };
        if let Some(index) = self.find(&datagram.data) {
            let session = &mut self.sessions[index];
            session.last_received = now;
            if let Some(connection) = &mut session.connection {
                connection.receive(now, arrival(datagram.data));
            }
        } else if let Some(mut connection) = self.begin(now, path, &datagram.data) {
            connection.receive(now, arrival(datagram.data));
            // What is not authentic costs no state.
            if connection.stats().packets_received > 0
                && let Some(service) = &mut self.service
            {
                let application = (service.application)(&mut self.random);
                let index = self.add(now, connection, application);
                // Its routes, before more arrives.
                if let Some(mut connection) = self.sessions[index].connection.take() {
                    self.poll(now, index, &mut connection);
                    self.sessions[index].connection = Some(connection);
                }
            }
        } else if let Some(index) = datagram.data.last_chunk().and_then(|end| self.resets.get(end))
            && let Some(connection) = &mut self.sessions[*index].connection
        {
            connection.stateless_reset(now);
        }
    }

    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time> {
        out.append(&mut self.answers);
        for index in 0..self.sessions.len() {
            self.session_turn(now, index, out);
        }
        let open = self.sessions.iter().filter(|session| session.connection.is_some());
        open.flat_map(|session| [session.deadline, session.application.next_time()]).flatten().min()
    }
}
