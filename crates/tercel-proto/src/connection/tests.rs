//! Two connections, joined by a line that may lose datagrams.

mod early_data;
mod extensions;
mod failover;
mod paths;
mod preferred;
mod rules;
mod tls_over;
mod verdict;
mod versions;

use std::collections::VecDeque;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tercel_wire::packet::invariant::{Invariant, LongHeader};
use tercel_wire::{Direction, SpaceId};

use super::*;
use crate::datagram::{DatagramEvent, DatagramPriority};
use crate::path::Validation;
use crate::stateless::version_negotiation;
use crate::stats::PathState;
use crate::stream::StreamEvent;

struct Issuer(u8, u64);

impl ConnectionIdIssuer for Issuer {
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken) {
        self.1 += 1;
        let mut id = [self.0; 8];
        id[7] = self.1 as u8;
        (ConnectionId::new(&id).unwrap(), ResetToken(entropy.array()))
    }

    fn len(&self) -> usize {
        8
    }
}

struct Pair {
    now: Time,
    client: Connection,
    server: Option<Connection>,
    server_config: Arc<rustls::ServerConfig>,
    client_config: Arc<rustls::ClientConfig>,
    /// The server's settings, which are the client's unless something else is said.
    server_transport: Arc<TransportConfig>,
    /// What the server decides on once it has seen the ClientHello.
    accept_with: Option<Arc<TransportConfig>>,
    to_server: VecDeque<(Time, Vec<u8>, PathAddress)>,
    to_client: VecDeque<(Time, Vec<u8>, PathAddress)>,
    client_events: Vec<Event>,
    server_events: Vec<Event>,
    /// The client's address as the server sees it.
    client_address: SocketAddr,
    /// Says whether the datagram with this number is lost.
    lose: Box<dyn FnMut(u64) -> bool>,
    sent: u64,
    /// An address of the client's from which, and to which, nothing gets through.
    hole: Option<SocketAddr>,
    /// Of 1-RTT packets: whether they are of the client, its address, and their connection ID.
    seen: Vec<(bool, SocketAddr, Vec<u8>)>,
    /// Of the client's datagrams: where they came from, and how large they were.
    asked: Vec<(SocketAddr, usize)>,
}

const DELAY: Duration = Duration::from_millis(10);

fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    tls_by(rustls::crypto::aws_lc_rs::default_provider())
}

fn tls_by(provider: rustls::crypto::CryptoProvider) -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(provider);
    let versions = [&rustls::version::TLS13];
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"test".to_vec()];
    server.max_early_data_size = u32::MAX;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"test".to_vec()];
    client.enable_early_data = true;
    (Arc::new(server), Arc::new(client))
}

fn shared(transport: &Arc<TransportConfig>, seed: u8) -> Shared {
    Shared { transport: transport.clone(), issuer: Box::new(Issuer(seed, 0)), entropy: Entropy::from_seed([seed; 32]) }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

const SERVER: ([u8; 4], u16) = ([198, 51, 100, 1], 443);

/// The client's address as it knows it.
const HOME: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 1000));

impl Pair {
    fn new(transport: TransportConfig) -> Self {
        let (server, client) = tls();
        Self::with_tls(transport, server, client, Time::from_nanos(1 << 40))
    }

    fn with_tls(
        transport: TransportConfig,
        server_config: Arc<rustls::ServerConfig>,
        client_config: Arc<rustls::ClientConfig>,
        now: Time,
    ) -> Self {
        Self::with_token(transport, server_config, client_config, now, Bytes::new())
    }

    fn with_token(
        transport: TransportConfig,
        server_config: Arc<rustls::ServerConfig>,
        client_config: Arc<rustls::ClientConfig>,
        now: Time,
        token: Bytes,
    ) -> Self {
        let transport = Arc::new(transport);
        let start = ClientStart {
            tls: client_config.clone(),
            server_name: "localhost".try_into().unwrap(),
            version: transport.first_version(),
            path: PathAddress { remote: SERVER.into(), local: Some(HOME) },
            token,
            session: None,
        };
        Self {
            server_transport: transport.clone(),
            now,
            client: Connection::client(now, shared(&transport, 1), start).unwrap(),
            server: None,
            server_config,
            client_config,
            accept_with: None,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            client_events: Vec::new(),
            server_events: Vec::new(),
            client_address: address(1000),
            lose: Box::new(|_| false),
            sent: 0,
            hole: None,
            seen: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Polls one end; puts what it sends on the line.
    fn flush(&mut self, client: bool) {
        let (connection, line, events) = match client {
            true => (&mut self.client, &mut self.to_server, &mut self.client_events),
            false => match &mut self.server {
                Some(server) => (server, &mut self.to_client, &mut self.server_events),
                None => return,
            },
        };
        while connection.poll_route().is_some() {}
        while let Some(event) = connection.poll_event() {
            if let Event::ClientHello(hello) = &event {
                assert_eq!(hello.alpn, [b"test".to_vec()]);
                let accept = ServerAccept {
                    tls: self.server_config.clone(),
                    transport: self.accept_with.clone(),
                    new_token: Bytes::from_static(b"t"),
                    ticket: None,
                    early_data: true,
                };
                connection.accept(self.now, accept).unwrap();
            }
            events.push(event);
        }
        let mut buf = vec![0; 1 << 16];
        while let Some(transmit) = connection.poll_transmit(self.now, 10, &mut buf) {
            let size = transmit.segment_size.unwrap_or(transmit.len);
            let path = match client {
                true => {
                    // Behind a NAT the first address is seen as another.
                    let local = transmit.path.local.filter(|local| *local != HOME);
                    PathAddress { remote: local.unwrap_or(self.client_address), local: Some(transmit.path.remote) }
                }
                false => {
                    let to = transmit.path.remote;
                    let local = if to == self.client_address { HOME } else { to };
                    PathAddress { remote: transmit.path.local.unwrap_or(SERVER.into()), local: Some(local) }
                }
            };
            let address = if client { path.remote } else { transmit.path.remote };
            for datagram in buf[..transmit.len].chunks(size) {
                self.sent += 1;
                if client {
                    self.asked.push((address, datagram.len()));
                }
                if datagram[0] & 0x80 == 0 {
                    self.seen.push((client, address, datagram[1..9].to_vec()));
                }
                if !(self.lose)(self.sent) && self.hole != Some(address) {
                    line.push_back((self.now + DELAY, datagram.to_vec(), path));
                }
            }
        }
    }

    fn deliver(&mut self) {
        let due = |line: &mut VecDeque<(Time, Vec<u8>, PathAddress)>, now| {
            let mut due = Vec::new();
            while line.front().is_some_and(|(at, ..)| *at <= now) {
                due.extend(line.pop_front());
            }
            due
        };
        for (_, data, path) in due(&mut self.to_server, self.now) {
            if self.server.is_none() {
                let Ok(Invariant::Long(header)) = Invariant::peek(&data, 8) else { continue };
                let (versions, mut entropy) = (self.server_transport.spoken_versions(), Entropy::from_seed([3; 32]));
                if !versions.contains(&header.version) {
                    let answer = version_negotiation::respond(&header, data.len(), &versions, &mut entropy);
                    let path = PathAddress { remote: SERVER.into(), local: None };
                    self.to_client.extend(answer.map(|answer| (self.now + DELAY, answer, path)));
                    continue;
                }
                let LongHeader { version, dcid, scid, .. } = header;
                let start = ServerStart {
                    version,
                    path,
                    initial_dcid: ConnectionId::new(dcid).unwrap(),
                    peer_cid: ConnectionId::new(scid).unwrap(),
                    original_dcid: None,
                    validated: false,
                };
                self.server = Some(Connection::server(self.now, shared(&self.server_transport, 2), start).unwrap());
            }
            if let Some(server) = &mut self.server {
                server.receive(self.now, Datagram { path, ecn: Ecn::NotEct, data: BytesMut::from(&data[..]) });
            }
        }
        for (_, data, path) in due(&mut self.to_client, self.now) {
            self.client.receive(self.now, Datagram { path, ecn: Ecn::NotEct, data: BytesMut::from(&data[..]) });
        }
    }

    fn next_event(&mut self) -> Option<Time> {
        let lines = [self.to_server.front(), self.to_client.front()].into_iter().flatten().map(|(at, ..)| *at);
        let timers = [self.client.poll_timeout(), self.server.as_mut().and_then(Connection::poll_timeout)];
        lines.chain(timers.into_iter().flatten()).min()
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.flush(true);
        self.flush(false);
        while self.next_event().is_some_and(|at| at <= end) && self.step() {}
        self.now = end;
    }

    /// One step of time: whatever is next. False if nothing is.
    fn step(&mut self) -> bool {
        // The application may have called in between.
        self.flush(true);
        self.flush(false);
        let Some(next) = self.next_event() else { return false };
        self.now = self.now.max(next);
        self.deliver();
        if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
            self.client.timeout(self.now);
        }
        if let Some(server) = &mut self.server
            && server.poll_timeout().is_some_and(|at| at <= self.now)
        {
            server.timeout(self.now);
        }
        self.flush(true);
        self.flush(false);
        true
    }

    /// Steps until `done` says yes.
    fn run(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            let ends = format!("{:?} {:?}", ends(&self.client_events), ends(&self.server_events));
            assert!(self.step() || done(self), "{what}: nothing happens any more, {ends}");
        }
        panic!("{what}: not reached; {:?} {:?}", self.client.stats(), self.client_events);
    }

    fn connect(&mut self) {
        self.run("the handshake", |pair| {
            let confirmed = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Confirmed));
            confirmed(&pair.client_events) && confirmed(&pair.server_events)
        });
    }

    fn server(&mut self) -> &mut Connection {
        self.server.as_mut().unwrap()
    }

    /// Sends `len` bytes from the client, and checks them at the server.
    fn upload(&mut self, len: usize) {
        let data: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
        let id = self.client.open_stream(Direction::Unidirectional).unwrap();
        self.client.send(id, Bytes::from(data.clone()), true).unwrap();
        let mut received = Vec::new();
        let mut finished = false;
        self.run("an upload", |pair| {
            let now = pair.now;
            let Some(server) = &mut pair.server else { return false };
            loop {
                match server.read(id, usize::MAX) {
                    Ok(Read::Data(bytes)) => {
                        server.consumed(now, id, bytes.len() as u64);
                        received.extend_from_slice(&bytes);
                    }
                    Ok(Read::Finished) => finished = true,
                    _ => break,
                }
            }
            finished
        });
        assert!(received == data);
    }
}

fn has(events: &[Event], what: fn(&Event) -> bool) -> bool {
    events.iter().any(what)
}

fn ends(events: &[Event]) -> Vec<&CloseReason> {
    let mut ends = Vec::new();
    for event in events {
        if let Event::Closing(reason) = event {
            ends.push(reason);
        }
    }
    ends
}

#[test]
// RFC 9000 sections 8.1#3, 12.2#1, 14.1#1#2.
fn a_handshake_takes_what_it_must() {
    let mut pair = Pair::new(TransportConfig::default());
    let start = pair.now;
    pair.connect();
    // One round trip to complete, another half for the confirmation (and the second Initial of a
    // large ClientHello travels with the first).
    assert!(pair.now.since(start) <= 5 * DELAY, "{:?}", pair.now.since(start));
    assert!(pair.client_events.iter().any(|event| matches!(event, Event::Connected(connected)
        if connected.alpn == b"test" && !connected.resumed)));
    pair.run("the token", |pair| pair.client_events.iter().any(|event| matches!(event, Event::NewToken(_))));
}

#[test]
fn data_arrives() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(1);
    pair.upload(3_000_000);
    assert_eq!(pair.client.stats().packets_lost, 0);
    assert_eq!(pair.client.stats().mtu, 1472);
}

#[test]
fn data_arrives_over_losses() {
    for every in [3, 5, 10, 50] {
        let mut pair = Pair::new(TransportConfig::default());
        // No regular pattern: a regular one can lose the same packet for ever.
        let mut entropy = Entropy::from_seed([every as u8; 32]);
        pair.lose = Box::new(move |_| entropy.below(every) == 0);
        pair.connect();
        pair.upload(200_000);
    }
}

/// A server that hears nothing but the last datagram of a client's first probe timeout has the ClientHello: the
/// second probe is no mere PING.
#[test]
fn every_probe_of_a_client_begins_the_handshake() {
    // Without a large key share a ClientHello fits into one datagram.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let (server, client) = tls_by(provider);
    let transport = TransportConfig { initial_rtt: DELAY, ..TransportConfig::default() };
    let mut pair = Pair::with_tls(transport, server, client, Time::from_nanos(1 << 40));
    pair.lose = Box::new(|number| number <= 2);
    pair.run("the server's flight", |pair| pair.to_client.iter().any(|(_, data, _)| data.len() >= 1200));
    assert_eq!(pair.client.stats().datagrams_sent, 3);
}

/// What acknowledges a client's data is lost, and so is all that the client sends after it: the server's next probe tells
/// the client all the same.
#[test]
fn a_probe_says_again_what_was_received() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.pass(Duration::from_secs(1));
    // Its acknowledgement is of all that the client has sent.
    pair.client.ping();
    pair.pass(Duration::from_secs(1));
    let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
    // More than one packet is acknowledged at once.
    pair.client.send(id, Bytes::from(vec![1; 2000]), true).unwrap();
    pair.flush(true);
    let unheard = pair.server().open_stream(Direction::Unidirectional).unwrap();
    pair.server().send(unheard, Bytes::from_static(b"unheard"), true).unwrap();
    pair.flush(false);
    let before = pair.server().stats().probe_timeouts;
    let (mut lost, mut heard) = (0, false);
    while pair.server().stats().probe_timeouts == before {
        lost += std::mem::take(&mut pair.to_client).len();
        assert!(pair.step());
        heard |= pair.to_server.is_empty();
        if heard {
            pair.to_server.clear();
        }
    }
    assert_eq!(lost, 2, "data, and an acknowledgement");
    let (acked, end) = (pair.client.stats().packets_acked, pair.now + DELAY);
    while pair.now < end {
        pair.to_server.clear();
        assert!(pair.step());
    }
    assert_eq!(pair.client.stats().packets_acked, acked + 2);
}

/// RFC 9002 section 6.2: a probe timeout is no loss. An acknowledgement that comes after it, or that of the probe,
/// shows what became of the packet.
#[test]
fn a_stream_that_a_loss_would_end_outlives_a_probe_timeout() {
    for lost in [false, true] {
        let mut pair = Pair::new(TransportConfig::default());
        pair.connect();
        pair.pass(Duration::from_secs(1));
        let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
        pair.client.cancel_on_loss(id).unwrap();
        pair.client.send(id, Bytes::from_static(b"once"), true).unwrap();
        pair.flush(true);
        let late = std::mem::take(&mut pair.to_server);
        assert_eq!(late.len(), 1);
        let before = pair.client.stats().probe_timeouts;
        while pair.client.stats().probe_timeouts == before {
            assert!(pair.step());
        }
        if !lost {
            pair.to_server.extend(late);
            pair.to_server.rotate_right(1);
        }
        pair.pass(Duration::from_secs(1));
        let events = pair.client_events.iter();
        let happened = |what| events.clone().any(|event| matches!(event, Event::Stream(event) if *event == what));
        assert_eq!(happened(StreamEvent::CanceledByLoss(id)), lost);
        assert_eq!(happened(StreamEvent::Acked { id, offset: 4, fin: true }), !lost);
    }
}

/// A client that lacks the ServerHello can read nothing else: the server's probes never leave it out,
/// not even when all that went unheard fills the window.
#[test]
// RFC 9000 section 8.1#4#5.
// RFC 9002 section 6.2.4#1#2#5.
fn every_probe_of_the_handshake_can_be_read() {
    let mut pair = Pair::new(TransportConfig { initial_rtt: DELAY, ..TransportConfig::default() });
    let is_initial = |data: &[u8]| LongHeader::decode(data).is_ok_and(|(header, _)| header.is_initial());
    let (end, mut probes) = (pair.now + Duration::from_secs(9), 0);
    while pair.now < end && pair.step() {
        let lost = std::mem::take(&mut pair.to_client);
        let data: Vec<_> = lost.iter().map(|(_, data, _)| data).filter(|data| data.len() > 100).collect();
        if !data.is_empty() {
            assert!(data.iter().any(|data| data.len() >= 1200 && is_initial(data)), "{data:x?}");
            probes += 1;
        }
    }
    assert!(probes > 6, "{probes} probes");
}

#[test]
fn an_application_close_is_heard() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    let now = pair.now;
    pair.client.close(now, 7u32.into(), Bytes::from_static(b"bye"));
    pair.run("the close", |pair| !ends(&pair.server_events).is_empty());
    assert!(pair.now.since(now) <= DELAY);
    let reason = CloseReason::PeerApplication { code: 7u32.into(), reason: Bytes::from_static(b"bye") };
    assert_eq!(ends(&pair.server_events), [&reason]);
    pair.run("the end", |pair| {
        pair.flush(true);
        let closed = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Closed));
        closed(&pair.server_events) && closed(&pair.client_events)
    });
    assert!(!pair.step());
}

#[test]
// RFC 9000 section 10.2.3#5#6.
fn a_close_during_the_handshake_keeps_the_applications_secrets() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.run("the server", |pair| pair.server.is_some());
    let now = pair.now;
    pair.client.close(now, 7u32.into(), Bytes::from_static(b"bye"));
    pair.run("the close", |pair| !ends(&pair.server_events).is_empty());
    let code = TransportErrorCode::APPLICATION_ERROR;
    assert_eq!(ends(&pair.server_events), [&CloseReason::PeerTransport { code, frame: 0, reason: Bytes::new() }]);
}

#[test]
fn silence_ends_the_connection() {
    let mut pair =
        Pair::new(TransportConfig { max_idle_timeout: Duration::from_secs(5), ..TransportConfig::default() });
    pair.connect();
    pair.run("the end", |pair| !ends(&pair.server_events).is_empty() && !ends(&pair.client_events).is_empty());
    assert_eq!(ends(&pair.client_events), [&CloseReason::IdleTimeout]);
}

#[test]
fn a_handshake_that_nobody_answers_ends() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.lose = Box::new(|_| true);
    let start = pair.now;
    pair.run("the end", |pair| !ends(&pair.client_events).is_empty());
    assert_eq!(ends(&pair.client_events), [&CloseReason::HandshakeTimeout]);
    assert_eq!(pair.now.since(start), Duration::from_secs(10));
}

#[test]
// RFC 9001 section 6.1#1.
fn keys_are_updated_by_both_ends() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    for round in 1..4 {
        pair.upload(10_000);
        pair.run("an update by the client", |pair| pair.client.update_keys().is_ok());
        pair.upload(10_000);
        // Only a packet that was acknowledged proves that the peer has the keys.
        pair.server().ping();
        pair.run("an update by the server", |pair| pair.server().update_keys().is_ok());
        pair.upload(10_000);
        assert_eq!(pair.client.stats().key_updates, 2 * round);
        assert_eq!(pair.server().stats().key_updates, 2 * round);
    }
    assert_eq!(pair.server().stats().packets_dropped, 0);
}

#[test]
// RFC 9000 sections 9#4, 9.3#1, 9.4#2.
fn a_connection_survives_a_new_port_and_a_new_host() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    for moved_to in [address(2000), SocketAddr::from(([203, 0, 113, 9], 3000))] {
        pair.client_address = moved_to;
        pair.upload(300_000);
        assert_eq!(pair.server().remote_address(), moved_to);
    }
    assert!(ends(&pair.server_events).is_empty());
}

// RFC 9000 section 9.5#1#2: nothing that leaves from the new address carries an ID that the old one used.
/// Section 9.4: the new path is measured anew.
#[test]
fn a_client_that_moves_takes_another_connection_id_and_measures_anew() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.upload(300_000);
    let (window, now) = (pair.client.recovery.window(), pair.now);
    let old = pair.client.peer_ids.current().to_vec();
    pair.client_address = address(2000);
    pair.client.local_address_changed(now, Some(address(2000))).unwrap();
    assert!(pair.client.recovery.window() < window);
    let id = |data: &[u8]| data[1..9].to_vec();
    pair.flush(true);
    let sent: Vec<_> = pair.to_server.iter().map(|(_, data, _)| id(data)).collect();
    assert!(!sent.is_empty() && sent.iter().all(|id| *id != old), "{sent:?} after {old:?}");
    pair.upload(300_000);
    assert_eq!(pair.server().remote_address(), address(2000));
    let moves = pair.server_events.iter().filter(|event| matches!(event, Event::PathChanged(_))).count();
    assert_eq!(moves, 1);
}

#[test]
fn datagrams_are_numbered_and_told_of() {
    let mut pair = Pair::new(TransportConfig { max_datagram_frame_size: 65535, ..TransportConfig::default() });
    pair.connect();
    let max = pair.client.max_datagram_size().unwrap();
    assert_eq!(
        pair.client.send_datagram(Bytes::from(vec![0; max + 1]), DatagramPriority::Normal),
        Err(ApiMisuse::DatagramTooLarge)
    );
    let number = pair.client.send_datagram(Bytes::from(vec![5; max]), DatagramPriority::Normal).unwrap();
    pair.run("the datagram", |pair| {
        pair.server_events
            .iter()
            .any(|event| matches!(event, Event::Datagram(DatagramEvent::Received { data, .. }) if data.len() == max))
    });
    let acknowledged = DatagramEvent::SendState { number, state: crate::datagram::DatagramSendState::Acknowledged };
    pair.run("the news", |pair| {
        pair.client_events.iter().any(|event| matches!(event, Event::Datagram(event) if *event == acknowledged))
    });
}

#[test]
fn early_data_arrives_with_the_first_flight_or_again() {
    let (server, client) = tls();
    let mut first =
        Pair::with_tls(TransportConfig::default(), server.clone(), client.clone(), Time::from_nanos(1 << 40));
    first.connect();
    first.upload(10);
    for _ in 0..20 {
        first.step();
    }
    let (other, _) = tls();
    for (config, accepted) in [(server, true), (other, false)] {
        let mut pair = Pair::with_tls(TransportConfig::default(), config, client.clone(), first.now);
        let start = pair.now;
        if !accepted {
            // The other server's certificate is not one that this client trusts; what matters here
            // is only that it says no, and why.
            pair.client.open_stream(Direction::Unidirectional).unwrap();
            pair.run("the refusal", |pair| !ends(&pair.client_events).is_empty());
            continue;
        }
        let id = pair.client.open_stream(Direction::Unidirectional).unwrap();
        pair.client.send(id, Bytes::from_static(b"early"), true).unwrap();
        pair.run("early data", |pair| {
            pair.server_events.iter().any(|event| matches!(event, Event::Stream(StreamEvent::Readable(_))))
        });
        assert_eq!(pair.now.since(start), DELAY, "early data takes half a round trip");
        assert_eq!(pair.server().read(id, 100), Ok(Read::Data(Bytes::from_static(b"early"))));
        pair.connect();
        assert!(pair.client_events.iter().any(
            |event| matches!(event, Event::Connected(connected) if connected.early_data_accepted && connected.resumed)
        ));
    }
}

#[test]
// RFC 9000 section 8#1.
fn what_an_attacker_can_make_us_send_is_bounded() {
    let mut pair = Pair::new(TransportConfig::default());
    // The client's answers never arrive.
    let mut first = 0;
    pair.lose = Box::new(move |_| {
        first += 1;
        first > 2
    });
    for _ in 0..200 {
        pair.step();
    }
    let stats = pair.server().stats();
    assert!(stats.bytes_sent <= 3 * stats.bytes_received, "{stats:?}");
}

/// What a server decides on after the ClientHello holds for the path as well.
#[test]
fn the_accepted_settings_hold() {
    let mut pair = Pair::new(TransportConfig { max_mtu: 1472, ..TransportConfig::default() });
    pair.accept_with =
        Some(Arc::new(TransportConfig { initial_mtu: 1250, max_mtu: 1250, ..TransportConfig::default() }));
    pair.connect();
    pair.upload(100_000);
    assert_eq!(pair.server().stats().mtu, 1250);
}

/// A client that seems to move, and whose next probe comes from elsewhere: the server owes an
/// acknowledgement, and may send nothing to where it believes the client to be.
#[test]
fn an_acknowledgement_that_may_not_be_sent_does_not_keep_the_timer_busy() {
    let mut pair = Pair::new(TransportConfig::default());
    pair.connect();
    pair.pass(Duration::from_secs(1));
    pair.client.ping();
    pair.client_address = address(2000);
    pair.flush(true);
    pair.now += DELAY;
    pair.deliver();
    pair.flush(false);
    pair.to_client.clear();
    // All that the server may send to port 2000 is sent. A challenge from port 3000 moves nothing.
    pair.client.paths.active.validation = crate::path::Validation::begin(pair.now, DELAY, DELAY);
    pair.client_address = address(3000);
    pair.flush(true);
    pair.now += DELAY;
    pair.deliver();
    pair.flush(false);
    assert_eq!(pair.server().remote_address(), address(2000));
    let server = pair.server();
    assert!(server.spaces.data.numbers.acks.next_timeout().is_some());
    assert_eq!(server.paths.active.amplification.allowance(), 0);
    // Nor is there a way back.
    server.paths.previous = None;
    while let Some(next) = pair.server().poll_timeout() {
        assert!(next > pair.now, "{next:?} is over at {:?}", pair.now);
        pair.now = next;
        pair.to_client.clear();
        pair.server().timeout(next);
        pair.flush(false);
    }
    let [CloseReason::Violation(violation)] = ends(&pair.server_events)[..] else { panic!() };
    assert_eq!(violation.code, TransportErrorCode::NO_VIABLE_PATH);
    // RFC 9000 section 9.3.2#2.
    assert!(pair.to_client.is_empty(), "nothing is said to nobody");
}

/// However frames fit into packets, small messages on many streams leave in one batch.
#[test]
fn a_packet_that_lacks_a_few_bytes_does_not_end_a_batch() {
    let config = TransportConfig { initial_mtu: 1200, max_mtu: 1200, ..TransportConfig::default() };
    for len in 400..520 {
        let mut pair = Pair::new(config.clone());
        pair.connect();
        pair.pass(Duration::from_secs(1));
        for _ in 0..16 {
            let id = pair.client.open_stream(Direction::Bidirectional).unwrap();
            pair.client.send(id, Bytes::from(vec![1; len]), true).unwrap();
        }
        let (now, mut buf) = (pair.now, vec![0; 1 << 16]);
        let batch = pair.client.poll_transmit(now, 64, &mut buf).unwrap();
        assert!(batch.len >= 16 * len && batch.segment_size == Some(1200), "{len}: {batch:?}");
        assert!(pair.client.poll_transmit(now, 64, &mut buf).is_none());
    }
}
