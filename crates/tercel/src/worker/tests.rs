//! Whole workers in virtual time, over a network in memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tercel_proto::connection::Transmit;
use tercel_wire::{ConnectionId, Direction, VarInt};

use tercel_proto::path::{Ecn, MAX_LOCAL_ADDRESSES, PathAddress};

use super::*;
use crate::configuration::Configuration;
use crate::datapath::buffers::Buffers;
use crate::datapath::{Bind, Datapath, Left, Received};
use crate::event::{ListenerEvent, StreamEvent};
use crate::listener::Listener;
use crate::registration::{Connect, Listen, Registration, RegistrationConfig};
use crate::status::Error;
use crate::stream::Stream;

type Queue = VecDeque<(SocketAddr, Ecn, Vec<u8>)>;

/// Sockets by address, and what was sent.
#[derive(Default)]
struct Net {
    sockets: BTreeMap<SocketAddr, Queue>,
    /// How many sends are refused before one is taken.
    refuse: usize,
    refused: usize,
    /// From where nothing can be sent, so the system says.
    cut: Option<SocketAddr>,
    bytes_sent: usize,
    calls: usize,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Net>>);

struct MemorySocket {
    net: Memory,
    address: SocketAddr,
}

impl Datapath for Memory {
    fn open(&self, _: usize, id: SocketId, bind: Bind) -> io::Result<Box<dyn Socket>> {
        let mut address = bind.address;
        if address.port() == 0 {
            address = SocketAddr::from(([10, 0, 0, 1], 1000 + id.0 as u16));
        }
        self.0.lock().unwrap().sockets.insert(address, Queue::new());
        Ok(Box::new(MemorySocket { net: self.clone(), address }))
    }

    fn wake(&self, _: usize) {}
}

impl Socket for MemorySocket {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn max_segments(&self) -> usize {
        4
    }

    fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<()> {
        let mut net = self.net.0.lock().unwrap();
        net.refused += 1;
        if net.refused <= net.refuse {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        net.refused = 0;
        net.calls += 1;
        if net.cut == Some(self.address) {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        net.bytes_sent += contents.len();
        if let Some(queue) = net.sockets.get_mut(&transmit.path.remote) {
            let size = transmit.segment_size.unwrap_or(contents.len());
            contents.chunks(size).for_each(|data| queue.push_back((self.address, transmit.ecn, data.to_vec())));
        }
        Ok(())
    }

    fn receive(&mut self, _: &mut Buffers, into: &mut Vec<Received>) -> io::Result<Left> {
        let mut net = self.net.0.lock().unwrap();
        let next = net.sockets.get_mut(&self.address).and_then(VecDeque::pop_front);
        let (remote, ecn, data) = next.ok_or(io::ErrorKind::WouldBlock)?;
        let path = PathAddress { remote, local: Some(self.address) };
        into.push(Received { path, ecn, segment_size: data.len().max(1), data: data[..].into() });
        Ok(Left::Perhaps)
    }
}

/// A client and a server, each with one worker.
struct World {
    net: Memory,
    now: Time,
    client: Registration,
    server: Option<Registration>,
    workers: Vec<Worker>,
    configuration: Configuration,
    listener: Option<Listener>,
}

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 443);

fn configuration(transport: TransportConfig) -> Configuration {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13];
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"test".to_vec()];
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"test".to_vec()];
    Configuration::from_tls(Some(Arc::new(client)), Some(Arc::new(server)), Arc::new(transport))
}

impl World {
    fn new(transport: TransportConfig) -> Self {
        Self::with_server(transport, RegistrationConfig::default())
    }

    fn with_server(transport: TransportConfig, config: RegistrationConfig) -> Self {
        let net = Memory::default();
        let client = Registration::manual(RegistrationConfig::default(), Arc::new(net.clone()), [1; 32]);
        let (client, mut workers) = client.unwrap();
        let (server, more) = Registration::manual(config, Arc::new(net.clone()), [2; 32]).unwrap();
        workers.extend(more);
        let now = Time::ZERO + Duration::from_secs(1_800_000_000);
        let configuration = configuration(transport);
        Self { net, now, client, server: Some(server), workers, configuration, listener: None }
    }

    /// The server accepts everything and hands connection events to `event`.
    fn serve(&mut self, event: impl Fn(&Connection, ConnectionEvent<'_>) + Clone + Send + Sync + 'static) {
        let configuration = self.configuration.clone();
        let server = self.server.as_ref().unwrap();
        let accept = move |_: &Listener, listened: ListenerEvent| {
            let ListenerEvent::NewConnection(new) = listened else { return };
            let event = event.clone();
            let handler = move |connection: &Connection, happened: ConnectionEvent<'_>| event(connection, happened);
            new.accept(&configuration, handler).unwrap().detach();
        };
        self.listener = Some(server.listen(Listen::new(SERVER.into(), ["test"]), accept).unwrap());
    }

    fn connect(&self) -> (Connection, mpsc::Receiver<String>) {
        self.connect_with(|_, _| {})
    }

    fn connect_with(
        &self,
        mut act: impl FnMut(&Connection, &ConnectionEvent<'_>) + Send + 'static,
    ) -> (Connection, mpsc::Receiver<String>) {
        let (tell, heard) = mpsc::channel();
        let handler = move |connection: &Connection, event: ConnectionEvent<'_>| {
            act(connection, &event);
            drop(tell.send(format!("{event:?}")));
        };
        let to = Connect::new(SERVER.into(), "localhost");
        (self.client.connect(&self.configuration, to, handler).unwrap(), heard)
    }

    /// Turns every worker once and lets a little time pass.
    fn step(&mut self) {
        self.now += Duration::from_micros(100);
        for worker in &mut self.workers {
            let sockets: Vec<SocketId> = (0..16).map(SocketId).collect();
            sockets.iter().for_each(|socket| worker.readable(*socket));
            sockets.iter().for_each(|socket| worker.writable(*socket));
            let _ = worker.turn(self.now);
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step();
        }
    }

    fn run_until(&mut self, mut done: impl FnMut() -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !done() {
            assert!(self.now < end, "not done within a minute");
            self.step();
        }
    }

    /// Datagrams to the server from elsewhere.
    fn inject(&self, data: Vec<u8>) {
        let from = SocketAddr::from(([192, 0, 2, 7], 7777));
        self.net.0.lock().unwrap().sockets.get_mut(&SERVER.into()).unwrap().push_back((from, Ecn::NotEct, data));
    }

    fn cells(&self) -> usize {
        self.workers.iter().map(|worker| worker.cells.iter().flatten().count()).sum()
    }

    fn routes(&self) -> usize {
        self.workers.iter().map(|worker| worker.floor.routes.len()).sum()
    }
}

fn heard(heard: &mpsc::Receiver<String>, start: &str) -> bool {
    heard.try_iter().any(|event| event.starts_with(start))
}

#[test]
fn a_connection_leaves_nothing_behind() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (connection, events) = world.connect();
    world.run_until(|| heard(&events, "HandshakeConfirmed"));
    assert_eq!(world.cells(), 2);
    connection.close(VarInt::from_u32(1), Bytes::new());
    world.run_until(|| heard(&events, "ShutdownComplete"));
    world.run(Duration::from_secs(5));
    assert_eq!((world.cells(), world.routes()), (0, 0));
    assert!(world.workers.iter().all(|worker| worker.load.half_open() == 0));
}

/// Of a connection that its peer has closed nothing stays but what leads to it; what comes by that is not unknown.
#[test]
// RFC 9000 section 10.2.2#1#2.
fn who_drains_keeps_only_its_routes() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (connection, events) = world.connect();
    world.run_until(|| heard(&events, "HandshakeConfirmed"));
    connection.close(VarInt::from_u32(1), Bytes::new());
    while world.cells() == 2 {
        world.step();
    }
    let server = &world.workers[1];
    assert_eq!((server.cells.iter().flatten().count(), server.stats().connections), (0, 1));
    let (_, routes) = &server.drained[&0];
    let ids: Vec<_> =
        routes.iter().filter_map(|route| if let RouteChange::Add(id) = route { Some(*id) } else { None }).collect();
    assert!(!ids.is_empty() && server.floor.routes.len() == routes.len());
    let short = |id: &ConnectionId| [&[0x40][..], id, &[7; 40]].concat();
    for id in &ids {
        world.inject(short(id));
        world.step();
    }
    assert_eq!(world.workers[1].floor.counters.resets_sent, 0);
    world.run(Duration::from_secs(5));
    let server = &world.workers[1];
    assert_eq!((world.cells(), world.routes(), server.stats().connections), (0, 0, 0));
    world.inject(short(&ids[0]));
    world.step();
    assert_eq!(world.workers[1].floor.counters.resets_sent, 1);
}

#[test]
fn flights_of_handshakes_leave_one_by_one() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let clients: Vec<_> = (0..3).map(|_| world.connect()).collect();
    world.step();
    assert_eq!(world.net.0.lock().unwrap().calls, 6, "one of each client, and of the server to it");
    let mut confirmed = 0;
    world.run_until(|| {
        confirmed += clients.iter().filter(|(_, events)| heard(events, "HandshakeConfirmed")).count();
        confirmed == clients.len()
    });
}

#[test]
fn so_many_connections_have_their_turn_before_what_came_meanwhile_is_taken_in() {
    let mut world = World::new(TransportConfig::default());
    let clients: Vec<_> = (0..TURNS + 20).map(|_| world.connect()).collect();
    let now = world.now;
    let mut turn = || (world.workers[0].turn(now), world.net.0.lock().unwrap().calls);
    assert_eq!(turn(), (Park::Now, TURNS));
    assert_eq!(turn().1, clients.len());
}

#[test]
fn what_is_not_authentic_costs_no_state_and_is_not_amplified() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    world.step();
    let mut random = Entropy::from_seed([3; 32]);
    let (mut received, mut versions) = (0, 0);
    for _ in 0..3000 {
        let mut data = vec![0; [40, 100, 1199, 1200, 1400][random.below(5) as usize]];
        random.fill(&mut data);
        match random.below(4) {
            // An Initial packet of version 1 but for its contents.
            0 => data[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]),
            1 => {
                data[..6].copy_from_slice(&[0xc3, 0x5a, 0x5a, 0x5a, 0x5a, 8]);
                data[14] = 8;
                versions += usize::from(data.len() >= 1200);
            }
            2 => data[0] &= 0x7f,
            _ => {}
        }
        received += data.len();
        world.inject(data);
        if random.below(10) == 0 {
            world.step();
        }
    }
    world.run(Duration::from_millis(50));
    assert_eq!((world.cells(), world.routes()), (0, 0));
    let sent = world.net.0.lock().unwrap().bytes_sent;
    assert!(sent < received / 10 && versions > 0 && sent > 0, "{sent} of {received}");
    // And the worker still works.
    let (_connection, events) = world.connect();
    world.run_until(|| heard(&events, "Connected"));
}

/// Of a client's datagrams the first arrives, and no other.
#[test]
fn half_a_client_hello_is_waited_for_as_long_as_is_said() {
    let config = RegistrationConfig { hello_timeout: Duration::from_secs(2), ..RegistrationConfig::default() };
    let mut world = World::with_server(TransportConfig::default(), config);
    world.serve(|_, _| {});
    world.step();
    let (_connection, events) = world.connect();
    let (start, mut room) = (world.now, 1);
    while !heard(&events, "Shutdown") {
        world.now += Duration::from_micros(100);
        for worker in &mut world.workers {
            (0..16).map(SocketId).for_each(|socket| worker.readable(socket));
            let _ = worker.turn(world.now);
            let mut net = world.net.0.lock().unwrap();
            let queue = net.sockets.get_mut(&SERVER.into()).unwrap();
            queue.truncate(room);
            room -= queue.len().min(room);
        }
    }
    let waited = world.now.since(start);
    assert!((Duration::from_secs(2)..Duration::from_millis(2_010)).contains(&waited), "{waited:?}");
}

/// Sends `count` streams of `len` bytes and counts what arrives at the server.
fn streams(world: &mut World, connection: &Connection, count: usize, len: usize, arrived: &AtomicUsize) {
    let data = Bytes::from(vec![9; len]);
    for _ in 0..count {
        let stream = connection.open_stream(Direction::Unidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
        stream.send(data.clone(), true, 0).unwrap();
        stream.detach();
    }
    world.run_until(|| arrived.load(Ordering::SeqCst) == count * len);
}

#[test]
fn a_socket_that_blocks_delays_and_loses_nothing() {
    let mut world = World::new(TransportConfig::default());
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    world.serve(move |_, event| {
        if let ConnectionEvent::PeerStreamStarted(new) = event {
            let count = count.clone();
            let handler = move |_: &Stream, event: StreamEvent<'_>| {
                if let StreamEvent::Receive(receive) = event {
                    count.fetch_add(receive.len(), Ordering::SeqCst);
                }
            };
            new.accept(handler).unwrap().detach();
        }
    });
    world.net.0.lock().unwrap().refuse = 2;
    let (connection, _events) = world.connect();
    let (other, _events) = world.connect();
    streams(&mut world, &connection, 20, 50_000, &arrived);
    arrived.store(0, Ordering::SeqCst);
    streams(&mut world, &other, 20, 50_000, &arrived);
    assert!(connection.stats().packets_lost == 0);
}

/// More data than the connection's window, on streams that end before what they brought is
/// consumed: credit must be withheld until then, and then be given.
#[test]
fn ended_streams_hold_and_return_their_credit() {
    const WINDOW: usize = 64 << 10;
    let transport = TransportConfig {
        receive_window: WINDOW as u64,
        max_receive_window: WINDOW as u64,
        ..TransportConfig::default()
    };
    let mut world = World::new(transport);
    let arrived = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(Mutex::new(Vec::new()));
    let (count, keep) = (arrived.clone(), ended.clone());
    world.serve(move |_, event| {
        if let ConnectionEvent::PeerStreamStarted(new) = event {
            let (count, keep) = (count.clone(), keep.clone());
            let handler = move |stream: &Stream, event: StreamEvent<'_>| match event {
                StreamEvent::Receive(mut receive) => {
                    count.fetch_add(receive.len(), Ordering::SeqCst);
                    receive.defer();
                }
                StreamEvent::ShutdownComplete => keep.lock().unwrap().push(stream.clone()),
                _ => {}
            };
            let stream = new.accept(handler).unwrap();
            stream.detach();
        }
    });
    let (connection, _events) = world.connect();
    // Each fits a packet, and there are more than may be open at once.
    let data = Bytes::from(vec![9; 1000]);
    for _ in 0..500 {
        let stream = connection.open_stream(Direction::Unidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
        stream.send(data.clone(), true, 0).unwrap();
        stream.detach();
    }
    world.run(Duration::from_secs(1));
    assert!(arrived.load(Ordering::SeqCst) <= WINDOW);
    assert!(ended.lock().unwrap().len() > 20, "streams end although nothing is consumed");
    // By a call for half of them, and by dropping the last handle for the others.
    world.run_until(|| {
        for (number, stream) in ended.lock().unwrap().drain(..).enumerate() {
            if number % 2 == 0 {
                stream.consumed(1000);
            }
        }
        arrived.load(Ordering::SeqCst) == 500_000
    });
}

#[test]
fn a_handler_that_panics_ends_its_connection_alone() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, event| assert!(!matches!(event, ConnectionEvent::PeerStreamStarted(_)), "on purpose"));
    let (bad, bad_events) = world.connect();
    let (_good, good_events) = world.connect();
    world.run_until(|| heard(&good_events, "HandshakeConfirmed"));
    let stream = bad.open_stream(Direction::Bidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
    stream.send(Bytes::from_static(b"boo"), true, 0).unwrap();
    world.run_until(|| heard(&bad_events, "ShutdownInitiatedByPeer"));
    world.run(Duration::from_secs(1));
    assert_eq!(good_events.try_iter().filter(|event| event.starts_with("Shutdown")).count(), 0);
}

/// Notes what it hears, and when turns begin and end.
struct Turns(mpsc::Sender<&'static str>);

impl ConnectionHandler for Turns {
    fn event(&mut self, _: &Connection, event: ConnectionEvent<'_>) {
        let last = matches!(event, ConnectionEvent::ShutdownComplete { .. });
        let _ = self.0.send(if last { "last event" } else { "event" });
    }

    fn turn_begins(&mut self) {
        let _ = self.0.send("begins");
    }

    fn turn_ends(&mut self) {
        let _ = self.0.send("ends");
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

#[test]
fn events_of_a_connection_and_its_streams_come_within_turns() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (tell, told) = mpsc::channel();
    let to = Connect::new(SERVER.into(), "localhost");
    let connection = world.client.connect(&world.configuration, to, Turns(tell.clone())).unwrap();
    for _ in 0..3 {
        let (tell, mut told) = (tell.clone(), 0);
        let handler = move |_: &Stream, _: StreamEvent<'_>| {
            told += 1;
            let _ = tell.send(if told == 1 { "a stream's first event" } else { "event" });
        };
        let stream = connection.open_stream(Direction::Bidirectional, handler).unwrap();
        stream.send(Bytes::from_static(b"word"), true, 0).unwrap();
        stream.detach();
    }
    drop(tell);
    world.run(Duration::from_secs(1));
    connection.close(VarInt::from_u32(0), Bytes::new());
    world.run(Duration::from_secs(1));
    let told: Vec<_> = told.try_iter().collect();
    let (mut within, mut turns, mut streams) = (false, 0, 0);
    for (at, what) in told.iter().enumerate() {
        match *what {
            "begins" => assert!(!std::mem::replace(&mut within, true), "twice: {told:?}"),
            "ends" => {
                assert!(std::mem::replace(&mut within, false) && told[at - 1] != "begins", "for nothing: {told:?}");
                turns += 1;
            }
            "dropped" => assert_eq!((told[at - 1], at), ("last event", told.len() - 1)),
            event => {
                assert!(within, "outside of a turn: {told:?}");
                streams += usize::from(event == "a stream's first event");
            }
        }
    }
    // Not one for each event.
    assert!(streams == 3 && turns > 1 && turns * 2 < told.len(), "{told:?}");
    assert_eq!(told.last(), Some(&"dropped"));
}

/// Hands on the datagrams that it hears of together.
struct Together(mpsc::Sender<Vec<Bytes>>);

impl ConnectionHandler for Together {
    fn event(&mut self, _: &Connection, event: ConnectionEvent<'_>) {
        assert!(!matches!(event, ConnectionEvent::DatagramReceived(_)), "told twice");
    }

    fn datagrams(&mut self, connection: &Connection, received: std::vec::Drain<'_, Bytes>) {
        let all: Vec<Bytes> = received.collect();
        if all.contains(&Bytes::from_static(b"and")) {
            // What cannot be sent ends it.
            let some = [Bytes::from_static(b"these"), Bytes::from(vec![0; 5000]), Bytes::from_static(b"not this")];
            let refused = connection.send_datagrams(some);
            assert!(matches!(refused, Err(Error::Misuse(_))), "{refused:?}");
        }
        let _ = self.0.send(all);
    }
}

/// Many small datagrams there and back: in order, each once, and in parts that leave before all are answered.
#[test]
fn datagrams_are_sent_and_told_of_together() {
    let mut world = World::new(TransportConfig { max_datagram_frame_size: 65_535, ..TransportConfig::default() });
    world.serve(|connection, event| {
        if let ConnectionEvent::DatagramReceived(data) = event {
            connection.send_datagram(data, None).unwrap();
        }
    });
    let (tell, told) = mpsc::channel();
    let to = Connect::new(SERVER.into(), "localhost");
    let connection = world.client.connect(&world.configuration, to, Together(tell)).unwrap();
    world.run(Duration::from_secs(1));
    let numbered: Vec<Bytes> = (0..64).map(|number| Bytes::from(vec![number; 64])).collect();
    connection.send_datagrams(numbered.iter().cloned()).unwrap();
    let calls = |world: &World| world.net.0.lock().unwrap().calls;
    let before = calls(&world);
    let mut echoed = Vec::new();
    world.run_until(|| {
        echoed.extend(told.try_iter());
        echoed.iter().flatten().count() == 64
    });
    assert_eq!(echoed.concat(), numbered);
    assert!(echoed.len() < 16 && echoed.iter().all(|part| part.len() <= 21), "{echoed:?}");
    // Those of the client leave together. Then echoes of 42 and the others, in batches of up to 4 packets.
    let calls = calls(&world) - before;
    assert!((4..=8).contains(&calls), "{calls}");

    connection.send_datagrams([Bytes::from_static(b"and")]).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(told.try_iter().flatten().collect::<Vec<_>>(), ["and", "these"]);
    connection.send_datagrams([]).unwrap();
    connection.close(VarInt::from_u32(0), Bytes::new());
    world.run(Duration::from_secs(1));
    let refused = connection.send_datagrams(numbered);
    assert!(matches!(refused, Err(Error::ConnectionClosed(_))), "{refused:?}");
}

#[test]
fn a_stream_that_never_starts_is_told_so_before_it_ends() {
    let mut world = World::new(TransportConfig::default());
    let (connection, events) = world.connect();
    let (tell, told) = mpsc::channel();
    let handler =
        move |_: &Stream, event: StreamEvent<'_>| {
            let text = format!("{event:?}");
            drop(tell.send(
                text.split(['(', ' ']).next().unwrap().to_owned() + if text.contains("Err(") { " Err" } else { "" },
            ));
        };
    let stream = connection.open_stream(Direction::Bidirectional, handler).unwrap();
    stream.send(Bytes::from_static(b"in vain"), true, 7).unwrap();
    // Nobody listens.
    world.run_until(|| heard(&events, "ShutdownComplete"));
    let told: Vec<String> = told.try_iter().collect();
    assert_eq!(told, ["Started Err", "SendComplete", "SendShutdownComplete", "ShutdownComplete"]);
}

#[test]
// RFC 9000 section 9#1.
fn a_move_before_the_handshake_is_confirmed_waits_for_it() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (connection, events) = world.connect();
    world.step();
    let before = connection.local_address();
    connection.rebind(SocketAddr::from(([0; 4], 0))).unwrap();
    world.run_until(|| {
        assert_eq!(connection.local_address(), before);
        heard(&events, "Connected")
    });
    world.run_until(|| connection.local_address() != before);
    world.run_until(|| connection.stats().handshake.is_some());
    world.run(Duration::from_secs(2));
    assert!(connection.close_reason().is_none());
}

#[test]
fn dropping_the_registration_ends_everything() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (connection, events) = world.connect();
    world.run_until(|| heard(&events, "HandshakeConfirmed"));
    connection.detach();
    world.listener = None;
    world.server = None;
    let now = world.now;
    assert_eq!(world.workers[1].turn(now), Park::Done);
    assert_eq!(world.cells(), 1);
    // The peer was told.
    world.run_until(|| heard(&events, "ShutdownInitiatedByPeer"));
    // Calls that come too late fail.
    let (late, late_events) = world.connect();
    world.client.shutdown(VarInt::from_u32(3));
    world.run_until(|| heard(&late_events, "ShutdownComplete"));
    assert!(late.ping().is_err());
}

/// A path is left at once when the system says that nothing goes there, and one that is taken away before that.
#[test]
fn a_connection_goes_on_from_its_other_addresses() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (connection, events) = world.connect();
    world.run_until(|| heard(&events, "HandshakeConfirmed"));
    let any = SocketAddr::from(([0; 4], 0));
    let first = connection.local_address();
    let [second, third] = [(); 2].map(|()| connection.add_local_address(any).unwrap());
    assert_eq!(connection.local_addresses(), [first, second, third]);
    let sockets = |world: &World| world.workers[0].floor.sockets.all_addresses();
    let mut validated = 0;
    world.run_until(|| {
        validated += usize::from(heard(&events, "PathValidated"));
        validated == 2
    });
    world.net.0.lock().unwrap().cut = Some(first);
    connection.ping().unwrap();
    // In one turn the system says so, in the next it is acted upon.
    let now = world.now;
    for _ in 0..2 {
        let _ = world.workers[0].turn(now);
    }
    assert_eq!(connection.local_addresses(), [second, third, first]);
    world.run_until(|| heard(&events, "LocalAddressChanged"));
    connection.remove_local_address(first).unwrap();
    connection.remove_local_address(second).unwrap();
    world.run_until(|| heard(&events, "LocalAddressChanged"));
    assert_eq!(connection.local_addresses(), [third]);
    world.step();
    // That which clients share is kept.
    assert_eq!(sockets(&world), [first, third]);
    assert!(matches!(connection.remove_local_address(third), Err(Error::InvalidArgument(_))));
    assert!(matches!(connection.remove_local_address(first), Err(Error::InvalidArgument(_))));
    // As many as may be, before the worker has heard of one.
    let added = (0..20).filter(|_| connection.add_local_address(any).is_ok()).count();
    assert_eq!((added, connection.local_addresses().len()), (MAX_LOCAL_ADDRESSES - 1, MAX_LOCAL_ADDRESSES));
    world.run(Duration::from_secs(2));
    assert_eq!(connection.local_addresses().len(), MAX_LOCAL_ADDRESSES);
    assert!(connection.close_reason().is_none());
}

/// What two connections have made leaves together, so what the system says of it is for both.
#[test]
fn all_who_are_cut_off_together_go_on_from_elsewhere() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let connections = [world.connect(), world.connect()];
    let addresses = connections.each_ref().map(|(connection, events)| {
        world.run_until(|| heard(events, "HandshakeConfirmed"));
        let first = connection.local_address();
        let second = connection.add_local_address(SocketAddr::from(([0; 4], 0))).unwrap();
        world.run_until(|| heard(events, "PathValidated"));
        [first, second]
    });
    assert_eq!(addresses[0][0], addresses[1][0]);
    let calls = |world: &World| world.net.0.lock().unwrap().calls;
    world.run(Duration::from_secs(1));
    let before = calls(&world);
    world.net.0.lock().unwrap().cut = Some(addresses[0][0]);
    connections.iter().for_each(|(connection, _)| connection.ping().unwrap());
    let now = world.now;
    let _ = world.workers[0].turn(now);
    assert_eq!(calls(&world) - before, 1);
    let _ = world.workers[0].turn(now);
    for ((connection, _), [first, second]) in connections.iter().zip(addresses) {
        assert_eq!(connection.local_addresses(), [second, first]);
    }
}

/// From within a handler the socket is not at the worker yet, and is waited for.
#[test]
fn an_address_may_be_added_by_a_handler() {
    let mut world = World::new(TransportConfig::default());
    world.serve(|_, _| {});
    let (connection, events) = world.connect_with(|connection, event| {
        if matches!(event, ConnectionEvent::Connected { .. }) {
            connection.add_local_address(SocketAddr::from(([0; 4], 0))).unwrap();
        }
    });
    let began = world.now;
    world.run_until(|| heard(&events, "PathValidated"));
    // No challenge was lost.
    assert!(world.now.since(began) < Duration::from_millis(300));
    assert_eq!(connection.local_addresses().len(), 2);
}

/// Whoever makes connection IDs in a new way makes them before other workers have read of that, and clients are quick: what
/// comes to those is handed on, and not taken for something of a connection that is no more.
#[test]
fn who_has_not_read_of_new_ids_hands_on_what_bears_them() {
    use crate::binding::routable::RoutableIds;
    use tercel_proto::cid::quic_lb::QuicLb;

    let ids = |rotation| RoutableIds::new(QuicLb::new(rotation, 2, 6, None).unwrap(), [0, 1]).unwrap();
    let mut config = RegistrationConfig::default();
    (config.workers, config.routable_ids) = (2, vec![ids(0)]);
    let mut world = World::with_server(TransportConfig::default(), config);
    world.serve(|_, _| {});
    let (connection, events) = world.connect();
    world.run_until(|| heard(&events, "HandshakeConfirmed"));
    // Both look into one queue, so the first has all.
    let [_, owner, other] = &world.workers[..] else { panic!("a client's worker and two of the server's") };
    assert_eq!([owner, other].map(|worker| worker.cells.iter().flatten().count()), [1, 0]);
    let mut late = world.workers.pop().unwrap();
    world.server.as_ref().unwrap().set_routable_ids(&[ids(1)]).unwrap();
    world.run(Duration::from_secs(1));
    // The client speaks, and the other worker receives before it reads its letters.
    let stream = connection.open_stream(Direction::Unidirectional, |_: &Stream, _: StreamEvent<'_>| {}).unwrap();
    stream.send(Bytes::from_static(b"hello"), true, 0).unwrap();
    world.now += Duration::from_micros(100);
    let now = world.now;
    let _ = world.workers[0].turn(now);
    assert!(!world.net.0.lock().unwrap().sockets[&SERVER.into()].is_empty());
    (0..16).for_each(|socket| late.readable(SocketId(socket)));
    late.floor.begin(now, &late.registration.config);
    late.receive();
    assert_eq!(late.floor.counters.resets_sent, 0);
    world.workers.push(late);
    world.run(Duration::from_secs(1));
    assert!(!heard(&events, "Shutdown"));
    assert_eq!(world.server.as_ref().unwrap().counters().resets_sent, 0);
}

/// A server has a hundred thousand of them: what is seldom used has a place of its own.
#[test]
fn a_connection_is_small() {
    let (size, most) = (size_of::<crate::cell::Core>(), 4800);
    assert!(size <= most, "{size} bytes");
}
