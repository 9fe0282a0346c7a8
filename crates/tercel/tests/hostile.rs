//! Live servers and clients under corrupt, cut, spliced, replayed, random and forged datagrams that are
//! grown from real traffic. `TERCEL_DATAGRAMS` says how many (200,000 if not set), `TERCEL_SEED` which.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests have threads of their own and measure time")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use support::mutate::{Mutator, answers};
use support::relay::{Relay, Seen, To};
use support::*;
use tercel::{
    Connect, Connection, ConnectionEvent, Listen, Listener, ListenerEvent, Registration, RegistrationStats, VarInt,
};
use tercel_proto::config::TransportConfig;

/// How many datagrams each of the tests sends.
fn datagrams() -> usize {
    let all = std::env::var("TERCEL_DATAGRAMS").map_or(200_000, |count| count.replace('_', "").parse().unwrap());
    all / 2
}

/// A seed for `part` of a test.
fn seed(part: u8) -> [u8; 32] {
    let seed: u64 = std::env::var("TERCEL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut bytes = [part; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// The memory of this process, in MiB, where the system tells.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}

/// A server that echoes, and a connection to it through a relay.
struct Scene {
    servers: Registration,
    clients: Registration,
    listener: Listener,
    configuration: tercel::Configuration,
    /// For handshakes that may fail.
    impatient: tercel::Configuration,
    relay: Relay,
    seen: Arc<Mutex<Seen>>,
    connection: Connection,
    record: Record,
}

impl Scene {
    fn new() -> Self {
        let transport = TransportConfig {
            max_datagram_frame_size: 65_535,
            keep_alive: Some(Duration::from_secs(5)),
            ..TransportConfig::default()
        };
        let impatient = TransportConfig { handshake_timeout: Duration::from_secs(2), ..transport.clone() };
        let [configuration, impatient] = configurations([transport, impatient]);
        let (servers, clients) = (registration(2), registration(1));
        let server = configuration.clone();
        let listen = move |_: &Listener, event| {
            if let ListenerEvent::NewConnection(new) = event
                && let Ok(connection) = new.accept(&server, echo_streams)
            {
                connection.detach();
            }
        };
        let listener = servers.listen(Listen::new(loopback(), [ALPN]), listen).unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let relay = Relay::new(listener.local_address(), seen.clone());
        let (connection, record, heard) = connect(&clients, &configuration, relay.address());
        wait_for(&heard, "HandshakeConfirmed");
        let scene = Self { servers, clients, listener, configuration, impatient, relay, seen, connection, record };
        // Something of everything to learn from.
        for round in 0..8 {
            scene.connection.send_datagram(pattern(50 * round), 0).unwrap();
            echo_once(&scene.connection, 3_000 * round, PATIENCE);
        }
        scene.connection.update_keys().unwrap();
        echo_once(&scene.connection, 100_000, PATIENCE);
        scene
    }

    fn server(&self) -> SocketAddr {
        self.listener.local_address()
    }

    /// The connection through the relay is as well as ever.
    fn assert_well(&self) {
        echo_once(&self.connection, 100_000, PATIENCE);
        assert_eq!(self.connection.close_reason(), None, "{:?}", self.record.words());
    }
}

/// Keeps nothing of what it hears.
fn echo_streams(connection: &Connection, event: ConnectionEvent<'_>) {
    if let ConnectionEvent::PeerStreamStarted(new) = event {
        echo(connection, new);
    }
}

fn connect(
    clients: &Registration,
    configuration: &tercel::Configuration,
    to: SocketAddr,
) -> (Connection, Record, mpsc::Receiver<String>) {
    let (record, heard) = Record::new();
    let events = recorder(record.clone(), |_, new| drop(new));
    (clients.connect(configuration, Connect::new(to, "localhost"), events).unwrap(), record, heard)
}

/// Has `len` bytes sent back by the server.
fn echo_once(connection: &Connection, len: usize, patience: Duration) {
    let data = pattern(len);
    let answer = exchange(connection, data.clone()).recv_timeout(patience);
    assert!(answer.as_deref() == Ok(&data[..]), "no echo: {:?}", connection.close_reason());
}

/// An attacker who sends from addresses of his own and counts, for each, what comes back.
struct Attacker {
    server: SocketAddr,
    mutator: Mutator,
    addresses: Vec<Address>,
}

struct Address {
    socket: UdpSocket,
    sent: usize,
    received: usize,
}

impl Address {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(loopback()).unwrap();
        socket.connect(server).unwrap();
        Self { socket, sent: 0, received: 0 }
    }

    fn send(&mut self, datagram: &[u8]) {
        // Should it not be sent, it counts for nothing.
        if self.socket.send(datagram).is_ok() {
            self.sent += datagram.len();
        }
    }

    fn take(&mut self) {
        self.drain(|_| false);
    }

    /// Takes in what has come; tells whether something of it was wanted.
    fn drain(&mut self, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let mut buffer = [0; 2048];
        let mut found = false;
        self.socket.set_nonblocking(true).unwrap();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.received += len;
            found |= wanted(&buffer[..len]);
        }
        assert!(self.received <= 3 * self.sent, "{} bytes for {}", self.received, self.sent);
        found
    }
}

impl Attacker {
    /// What a socket's buffer surely holds.
    const AT_ONCE: usize = 32;
    const PER_ADDRESS: usize = 8_192;

    /// Clients that give their first flight, or some of it, and only listen from then on.
    fn quiet_clients(&mut self, count: usize) {
        for number in 0..count {
            let mut address = Address::new(self.server);
            let flight = self.mutator.first_flight();
            flight.iter().skip(usize::from(number % 4 == 0)).for_each(|datagram| address.send(datagram));
            self.addresses.push(address);
        }
    }

    fn attack(&mut self, count: usize) {
        self.quiet_clients(64);
        for sent in 0..count {
            if sent % Self::PER_ADDRESS == 0 {
                self.addresses.push(Address::new(self.server));
                self.addresses.iter_mut().for_each(Address::take);
            }
            let datagram = self.mutator.next(To::Server);
            self.addresses.last_mut().unwrap().send(&datagram);
            if sent % Self::AT_ONCE == 0 {
                self.wait();
            }
        }
        self.wait();
    }

    /// Waits until the server has read everything: nothing is lost on the way, so that what it sends can
    /// be compared with what it received.
    fn wait(&mut self) {
        let name = self.mutator.name();
        let probe = self.mutator.probe(&name);
        let address = self.addresses.last_mut().unwrap();
        let begun = Instant::now();
        let mut asked = 0;
        while !address.drain(|datagram| answers(datagram, &name)) {
            assert!(begun.elapsed() < PATIENCE, "the server answers nothing any more");
            // Its answers to strangers are rationed by the second, and others have been asking, too.
            if begun.elapsed() >= asked * Duration::from_millis(200) {
                address.send(&probe);
                asked += 1;
            }
            std::thread::yield_now();
        }
    }
}

/// Clients that come, ask something and go, until told to stop; how many, and the longest that one took.
fn honest(scene: &Scene, over: &AtomicBool) -> (usize, Duration) {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let (connection, _, heard) = connect(&scene.clients, &scene.configuration, scene.server());
        wait_for(&heard, "Connected");
        echo_once(&connection, 10_000, PATIENCE);
        connection.close(VarInt::from_u32(1), tercel::Bytes::new());
        echo_once(&scene.connection, 1_000, PATIENCE);
        longest = longest.max(begun.elapsed());
        count += 1;
    }
    (count, longest)
}

/// The most that a registration ever held, until told to stop.
fn watch(servers: &Registration, over: &AtomicBool) -> RegistrationStats {
    let mut most = RegistrationStats::default();
    while !over.load(Ordering::Relaxed) {
        let now = servers.stats();
        most.connections = most.connections.max(now.connections);
        most.half_open = most.half_open.max(now.half_open);
        most.routes = most.routes.max(now.routes);
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

#[test]
// RFC 9000 sections 8#1, 14.1#4, 21.6#1.
fn a_server_under_attack_serves_on_and_keeps_nothing() {
    const ATTACKERS: u8 = 2;
    let scene = Scene::new();
    let before = (scene.servers.stats(), memory());
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let (served, most, addresses) = std::thread::scope(|scope| {
        let honest = scope.spawn(|| honest(&scene, &over));
        let watch = scope.spawn(|| watch(&scene.servers, &over));
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|part| {
                let mutator = Mutator::new(seed(part), scene.seen.clone());
                let mut attacker = Attacker { server: scene.server(), mutator, addresses: Vec::new() };
                scope.spawn(move || {
                    attacker.attack(datagrams() / usize::from(ATTACKERS));
                    attacker.addresses
                })
            })
            .collect();
        let attacked: Vec<_> = attackers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let addresses: Vec<Address> = attacked.into_iter().flat_map(Result::unwrap).collect();
        (honest.join().unwrap(), watch.join().unwrap(), addresses)
    });
    let took = begun.elapsed();
    scene.assert_well();
    settle(&scene, before.0, addresses, took, served, most, before.1);
}

/// Nothing is left of an attack once handshakes have timed out.
fn settle(
    scene: &Scene,
    before: RegistrationStats,
    mut addresses: Vec<Address>,
    took: Duration,
    (served, longest): (usize, Duration),
    most: RegistrationStats,
    memory_before: u64,
) {
    let memory_after = memory();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        addresses.iter_mut().for_each(Address::take);
        let now = scene.servers.stats();
        if now.half_open == 0 && now.connections <= before.connections {
            break;
        }
        assert!(Instant::now() < deadline, "{now:?} are left; before {before:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    scene.assert_well();
    let [sent, received] = [|address: &Address| address.sent, |address: &Address| address.received]
        .map(|of| addresses.iter().map(of).sum::<usize>());
    let worst = addresses.iter().map(|address| address.received as f64 / address.sent.max(1) as f64).fold(0., f64::max);
    println!(
        "server: {} datagrams from {} addresses in {took:.1?}: {sent} bytes, answered by {received} (for one address \
         at most {worst:.2} times as much); {served} honest connections meanwhile, the slowest {longest:.1?}; at most \
         {most:?}; memory {memory_before} MiB before, {memory_after} MiB after",
        datagrams(),
        addresses.len(),
    );
    assert!(served > 0, "nobody was served");
    // A worker demands a Retry above 256 unfinished handshakes.
    assert!(most.half_open <= 2 * 257, "{most:?}");
    assert!(most.connections <= 2 * 257 + 500, "{most:?}");
    assert!(most.routes <= 16 * most.connections, "{most:?}");
    assert!(memory_after <= memory_before + 200, "{memory_before} MiB before, {memory_after} MiB after");
}

#[test]
fn a_client_under_attack_goes_on_and_hardly_answers() {
    /// Between two looks at the connection.
    const AT_ONCE: usize = 64;
    let scene = Scene::new();
    let before = (scene.clients.stats(), memory(), scene.relay.client_bytes());
    let mut mutator = Mutator::new(seed(9), scene.seen.clone());
    let mut bytes = 0;
    let begun = Instant::now();
    for sent in 0..datagrams() {
        if sent % AT_ONCE == 0 {
            echo_once(&scene.connection, 1_000, PATIENCE);
        }
        // Both ends of a live connection, from where they expect each other.
        let to = if sent % 4 == 0 { To::Server } else { To::Client };
        let datagram = mutator.next(to);
        scene.relay.inject(to, &datagram);
        bytes += if to == To::Client { datagram.len() as u64 } else { 0 };
    }
    let took = begun.elapsed();
    scene.assert_well();
    let (sent, received) = (scene.relay.client_bytes() - before.2, scene.connection.stats().datagrams_received);
    let (now, memory_after) = (scene.clients.stats(), memory());
    println!(
        "client: {} datagrams in {took:.1?}: {bytes} bytes to the client, {received} datagrams reached the connection, \
         which sent {sent} bytes, its own included; {now:?}; memory {} MiB before, {memory_after} MiB after",
        datagrams(),
        before.1,
    );
    assert_eq!(now.connections, before.0.connections);
    assert!(now.routes <= before.0.routes + 8, "{now:?} after {before:?}");
    assert!(sent <= bytes / 4, "{sent} bytes for {bytes}");
    assert!(memory_after <= before.1 + 200);
}

#[test]
fn handshakes_among_forgeries_succeed_or_fail_cleanly() {
    /// What the buffers of the relay surely hold.
    const AT_ONCE: usize = 50;
    let scene = Scene::new();
    let count = (datagrams() / 1000).clamp(100, 1000);
    let mut mutator = Mutator::new(seed(17), scene.seen.clone());
    // Corrupt copies disturb nobody; what is sealed with Initial keys may, for it is as authentic as the
    // server's own.
    for forged in [false, true] {
        let mut mutator = Mutator::new([mutator.name(); 4].concat().try_into().unwrap(), scene.seen.clone());
        scene.relay.set_hook(Some(Box::new(move |first| {
            let mut answers: Vec<_> = (0..4).map(|_| mutator.next(To::Client)).collect();
            answers.extend(mutator.forged_answer(first).filter(|_| forged));
            Some(answers)
        })));
        let begun = Instant::now();
        let connected: usize = (0..count / AT_ONCE).map(|_| handshakes(&scene, AT_ONCE, forged)).sum();
        println!("{connected} of {count} handshakes (forged: {forged}) in {:.1?}", begun.elapsed());
        assert!(forged || connected == count, "{connected} of {count}");
        scene.relay.set_hook(None);
        scene.assert_well();
    }
}

/// So many handshakes at once through the relay; how many succeed.
fn handshakes(scene: &Scene, count: usize, may_fail: bool) -> usize {
    let configuration = if may_fail { &scene.impatient } else { &scene.configuration };
    let connections: Vec<_> =
        (0..count).map(|_| connect(&scene.clients, configuration, scene.relay.address())).collect();
    let succeeds = |(connection, _, heard): &(Connection, Record, mpsc::Receiver<String>)| {
        let succeeded = wait_for_any(heard, &["Connected", "ShutdownComplete"]) == "Connected";
        if succeeded && !may_fail {
            echo_once(connection, 1_000, PATIENCE);
        }
        succeeded
    };
    connections.iter().filter(|connection| succeeds(connection)).count()
}

/// Somebody on the path sends the client's packets on from addresses that are not the client's (RFC 9000
/// section 9.3.2): these addresses hear at most three times as much, and the connection goes on.
#[test]
// RFC 9000 sections 9.3#2, 9.3.2#1, 9.3.3#1.
fn packets_that_are_sent_on_from_elsewhere_bring_little_there() {
    let scene = Scene::new();
    let victims = Arc::new(Mutex::new(Vec::<Address>::new()));
    let (server, stolen, mut count) = (scene.server(), victims.clone(), 0);
    scene.relay.set_hook(Some(Box::new(move |datagram| {
        count += 1;
        if count % 20 != 0 {
            return Some(Vec::new());
        }
        let mut victims = stolen.lock().unwrap();
        if count % 100 == 0 || victims.is_empty() {
            victims.push(Address::new(server));
        }
        victims.last_mut().unwrap().send(datagram);
        None
    })));
    let begun = Instant::now();
    for _ in 0..8 {
        echo_once(&scene.connection, 4 << 20, PATIENCE);
        victims.lock().unwrap().iter_mut().for_each(Address::take);
    }
    scene.relay.set_hook(None);
    scene.assert_well();
    let mut victims = victims.lock().unwrap();
    victims.iter_mut().for_each(Address::take);
    let [sent, received] = [|address: &Address| address.sent, |address: &Address| address.received]
        .map(|of| victims.iter().map(of).sum::<usize>());
    println!(
        "{} victims' addresses in {:.1?}: {sent} bytes from there, {received} bytes there",
        victims.len(),
        begun.elapsed()
    );
    assert!(victims.len() > 8 && received > 0, "the server did not follow");
}
