//! A server under attack while honest clients come: first flights under made-up addresses, clients that
//! prove their address and then fall silent, garbage, and copies of what honest clients send.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tercel::{Counters, RegistrationConfig, RegistrationStats, Time, Version};
use tercel_proto::config::{ConnectionIdIssuer, TransportConfig};
use tercel_proto::connection::{self as proto, ClientStart, Connection};
use tercel_proto::entropy::Entropy;
use tercel_proto::path::{Ecn, PathAddress};
use tercel_wire::{ConnectionId, ResetToken};

use super::{Deed, Machine, MachineSetup, Script};
use crate::crypto::{self, KeyShares};
use crate::network::{Datagram, Delay, Network, Node};
use crate::random::Random;
use crate::scenario::{CLIENT, SERVER, client_address, server_address};
use crate::world::{Host, START, World};

const ATTACKER: usize = 2;
const TICK: Duration = Duration::from_millis(1);

/// How hard it is.
#[derive(Debug, Clone)]
pub struct Storm {
    /// How the server's registration runs.
    pub registration: RegistrationConfig,
    /// For how long.
    pub length: Duration,
    /// First flights under made-up addresses, in a millisecond.
    pub spoofed: u32,
    /// Datagrams of garbage, in a millisecond.
    pub garbage: u32,
    /// Copies of honest datagrams under made-up addresses, in a millisecond.
    pub replayed: u32,
    /// Clients that prove their address and fall silent, in all.
    pub silent: u32,
    /// Honest clients, spread over the time of the attack.
    pub honest: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Honest clients that reached their goals.
    pub completed: u32,
    /// How the others ended.
    pub failed: Vec<String>,
    /// The most that the server's workers ever held.
    pub most: RegistrationStats,
    /// What they hold when all is over.
    pub left: RegistrationStats,
    /// What they did.
    pub counters: Counters,
    /// What the listener heard of load being shed.
    pub shedding: Vec<bool>,
    /// The most bytes sent for one received, to an address that was not validated.
    pub amplification: f64,
    /// How many datagrams the attacker sent.
    pub attacks: u64,
}

/// Copies what passes.
#[derive(Debug)]
struct Tap(Rc<RefCell<Vec<Bytes>>>);

impl Node for Tap {
    fn pass(&mut self, now: Time, datagram: Datagram, _: &mut Random, onward: &mut Vec<(Time, Datagram)>) {
        let mut seen = self.0.borrow_mut();
        if seen.len() < 1000 {
            seen.push(Bytes::copy_from_slice(&datagram.data));
        }
        onward.push((now, datagram));
    }
}

struct Issuer;

impl ConnectionIdIssuer for Issuer {
    fn issue(&mut self, entropy: &mut Entropy) -> (ConnectionId, ResetToken) {
        (ConnectionId::new(&entropy.array::<8>()).unwrap_or(ConnectionId::EMPTY), ResetToken(entropy.array()))
    }

    fn len(&self) -> usize {
        8
    }
}

/// A client that is not going to finish its handshake.
fn begin(now: Time, random: &mut Random) -> Connection {
    let start = ClientStart {
        tls: crypto::client(KeyShares::Small),
        server_name: crypto::server_name(),
        version: Version::V1,
        path: PathAddress { remote: server_address(), local: None },
        token: Bytes::new(),
        session: None,
    };
    let shared = proto::Shared {
        transport: TransportConfig::default().into(),
        issuer: Box::new(Issuer),
        entropy: Entropy::from_seed(random.array()),
    };
    Connection::client(now, shared, start).unwrap_or_else(|error| panic!("TLS does not start: {error}"))
}

fn flight(now: Time, connection: &mut Connection) -> Vec<u8> {
    let mut buf = vec![0; 1500];
    let len = connection.poll_transmit(now, 1, &mut buf).map_or(0, |transmit| transmit.len);
    buf.truncate(len);
    buf
}

/// See the module.
struct Attacker {
    storm: Storm,
    random: Random,
    next: Time,
    flights: Vec<Vec<u8>>,
    seen: Rc<RefCell<Vec<Bytes>>>,
    /// Those who answer a Retry, and nothing else.
    silent: Vec<(SocketAddr, Option<Connection>)>,
    out: Vec<Datagram>,
    sent: u64,
}

impl Attacker {
    fn new(storm: Storm, seen: Rc<RefCell<Vec<Bytes>>>, mut random: Random) -> Self {
        let flights = (0..400).map(|_| flight(START, &mut begin(START, &mut random))).collect();
        Self { storm, random, next: START, flights, seen, silent: Vec::new(), out: Vec::new(), sent: 0 }
    }

    fn send(&mut self, from: SocketAddr, data: &[u8]) {
        self.sent += 1;
        // `genuine`: it may be the attacker's own address.
        self.out.push(Datagram::new(from, server_address(), Ecn::NotEct, data));
    }

    /// An address of a network of which nothing comes back.
    fn made_up(&mut self, net: u8) -> SocketAddr {
        let [a, b, c, d] = self.random.array();
        SocketAddr::from(([net, 0, a, b], u16::from_be_bytes([c, d]).max(1)))
    }

    fn tick(&mut self, now: Time) {
        for _ in 0..self.storm.spoofed {
            let flight = self.random.one_of(&self.flights);
            let from = self.made_up(203);
            self.send(from, &flight);
        }
        for _ in 0..self.storm.garbage {
            let from = self.made_up(198);
            let garbage = self.garbage();
            self.send(from, &garbage);
        }
        for _ in 0..self.storm.replayed {
            let copy = match self.seen.borrow().as_slice() {
                [] => continue,
                seen => self.random.one_of(seen),
            };
            let from = self.made_up(204);
            self.send(from, &copy);
        }
        let begun = self.silent.len() as u32;
        let due = (now.since(START).as_nanos() * u128::from(self.storm.silent) / self.storm.length.as_nanos()) as u32;
        for number in begun..due.min(self.storm.silent) {
            let from = SocketAddr::from(([192, 0, 2, 1], 10_000 + number as u16));
            let mut connection = begin(now, &mut self.random);
            let data = flight(now, &mut connection);
            self.silent.push((from, Some(connection)));
            self.send(from, &data);
        }
    }

    /// Of all kinds: noise, unknown versions, short headers, first flights with a flaw.
    fn garbage(&mut self) -> Vec<u8> {
        let mut data = vec![0; self.random.one_of(&[1, 20, 43, 100, 1200, 1400])];
        self.random.fill(&mut data);
        match self.random.below(4) {
            0 => data[0] &= 0x7f,
            1 if data.len() > 5 => {
                data[0] |= 0xc0;
                data[1..6].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a, 8]);
            }
            2 => {
                data = self.random.one_of(&self.flights);
                let at = self.random.below(data.len() as u64) as usize;
                data[at] ^= 1 << self.random.below(8);
            }
            _ => {}
        }
        data
    }
}

impl Host for Attacker {
    fn receive(&mut self, now: Time, datagram: Datagram) {
        let Some((from, connection)) = self.silent.iter_mut().find(|(from, _)| *from == datagram.to) else { return };
        let (from, Some(mut silent)) = (*from, connection.take()) else { return };
        let path = PathAddress { remote: datagram.from, local: None };
        silent.receive(now, proto::Datagram { path, ecn: Ecn::NotEct, data: BytesMut::from(&datagram.data[..]) });
        if silent.was_retried() {
            let data = flight(now, &mut silent);
            self.send(from, &data);
        }
    }

    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time> {
        while self.next <= now && self.next < START + self.storm.length {
            self.tick(self.next);
            self.next += TICK;
        }
        out.append(&mut self.out);
        (self.next < START + self.storm.length).then_some(self.next)
    }
}

enum Party {
    Machine(Box<Machine>),
    Attacker(Box<Attacker>),
}

impl Party {
    fn machine(&mut self) -> &mut Machine {
        match self {
            Self::Machine(machine) => machine,
            Self::Attacker(_) => panic!("not a machine"),
        }
    }
}

impl Host for Party {
    fn receive(&mut self, now: Time, datagram: Datagram) {
        match self {
            Self::Machine(machine) => machine.receive(now, datagram),
            Self::Attacker(attacker) => attacker.receive(now, datagram),
        }
    }

    fn turn(&mut self, now: Time, out: &mut Vec<Datagram>) -> Option<Time> {
        match self {
            Self::Machine(machine) => machine.turn(now, out),
            Self::Attacker(attacker) => attacker.turn(now, out),
        }
    }
}

fn setup(registration: RegistrationConfig, serves: Script) -> MachineSetup {
    let transport = TransportConfig::default();
    MachineSetup { registration, transport, serves, own_sockets: true, blocks: 0.0, deeds: Vec::new() }
}

/// Lets it rage, and looks at what is left a while later.
///
/// # Panics
/// If a rule of the simulation is broken: among them that the server sends no more than three times what
/// came from an address that was not validated.
pub fn run(storm: Storm, seed: u64) -> Report {
    crypto::seed(seed);
    let mut random = Random::new(seed ^ 0x0053_544f_524d);
    let script = Script {
        bidi: 1,
        uni: 0,
        bytes: 5_000,
        window: 5_000,
        odd: 0.0,
        datagrams: 0,
        awaits: 0,
        closes: true,
        early: false,
        ways: false,
    };
    let mut client = setup(RegistrationConfig::default(), script.clone());
    client.registration.workers = 1;
    let mut server = setup(storm.registration.clone(), Script { bidi: 0, closes: false, ..script.clone() });
    server.deeds.push((Duration::ZERO, Deed::Listen));
    for _ in 0..storm.honest {
        client.deeds.push((random.part_of(storm.length), Deed::Connect(script.clone())));
    }
    let seen = Rc::default();
    let mut network = Network::new(random.fork());
    network.watch.guard(SERVER);
    let lossless = || -> Box<dyn Node> { Box::new(Delay::steady(Duration::from_millis(10))) };
    let tap: Box<dyn Node> = Box::new(Tap(Rc::clone(&seen)));
    network.link(CLIENT, SERVER, [server_address().ip()], vec![tap, lossless()]);
    network.link(SERVER, CLIENT, [client_address().ip()], vec![lossless()]);
    network.link(ATTACKER, SERVER, [server_address().ip()], vec![lossless()]);
    network.link(SERVER, ATTACKER, [[192, 0, 2, 1].into()], vec![lossless()]);
    let mut machine = |at: SocketAddr, setup| {
        let machine = Machine::new(START, at, server_address(), setup, KeyShares::Small, random.fork());
        Party::Machine(Box::new(machine))
    };
    let hosts = vec![machine(client_address(), client), machine(server_address(), server)];
    let attacker = Party::Attacker(Box::new(Attacker::new(storm.clone(), seen, random.fork())));
    let mut world = World::new(network, hosts.into_iter().chain([attacker]).collect());

    let mut most = RegistrationStats::default();
    // Handshakes that are never completed are forgotten, and what is closed has lingered.
    let end = START + storm.length + Duration::from_secs(60);
    while world.step(end) {
        let held = stats(&mut world);
        most.connections = most.connections.max(held.connections);
        most.half_open = most.half_open.max(held.half_open);
        most.handshake_memory = most.handshake_memory.max(held.handshake_memory);
        most.routes = most.routes.max(held.routes);
    }
    let left = stats(&mut world);
    let counters = world.hosts[SERVER].machine().registration.as_ref().map(|registration| registration.counters());
    let shedding = world.hosts[SERVER].machine().players().shedding.clone();
    let clients = world.hosts[CLIENT].machine();
    let (mut completed, mut failed) = (0, Vec::new());
    for player in &clients.players().all {
        match &player.ended {
            Some((_, true, _)) if player.is_done() => completed += 1,
            _ => failed.push(player.progress()),
        }
    }
    let attacks = match &world.hosts[ATTACKER] {
        Party::Attacker(attacker) => attacker.sent,
        Party::Machine(_) => 0,
    };
    Report {
        completed,
        failed,
        most,
        left,
        counters: counters.unwrap_or_default(),
        shedding,
        amplification: world.network.watch.worst_amplification,
        attacks,
    }
}

fn stats(world: &mut World<Party>) -> RegistrationStats {
    world.hosts[SERVER].machine().registration.as_ref().map(|registration| registration.stats()).unwrap_or_default()
}
